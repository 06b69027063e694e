//! Heartbeat: a member is alive, and learns whether its group rebalances.

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::Heartbeat;
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// Answers Heartbeat.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let group = request.group_id.clone();
    let beat = Heartbeat {
        group: request.group_id,
        generation: request.generation_id,
        member: request.member_id,
        instance: request.group_instance_id,
    };
    let code = match ask_group(&context.shard, &group, GroupRequest::Heartbeat(beat)).await {
        GroupAnswer::Heartbeat(code) => code,
        // As Kafka: the session only begins when the group is loaded, so nothing is amiss.
        GroupAnswer::Refused(KafkaCode::CoordinatorLoadInProgress) => KafkaCode::None,
        other => other.refusal(),
    };
    HeartbeatResponse { throttle_time_ms: 0, error_code: code.number() }
}
