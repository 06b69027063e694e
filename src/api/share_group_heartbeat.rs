//! ShareGroupHeartbeat: the one request with which a consumer joins, stays in and leaves a share
//! group (KIP-932).

use crate::api::context::RequestContext;
use crate::api::share_requests;
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::calls::Refusal;
use crate::coordinator::group::share::calls::{ShareBeat, ShareGroupAnswer, ShareGroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::share_group_heartbeat::{
    ShareGroupAssignment, ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
    ShareGroupTopicPartitions,
};
use crate::shard::share_groups::{self, ask_share_group};
use crate::storage::disk::Disk;

/// Answers ShareGroupHeartbeat. Partitions that are new to the group are initialized after the
/// answer, as in Kafka: a later heartbeat assigns them.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ShareGroupHeartbeatRequest,
) -> ShareGroupHeartbeatResponse {
    if let Err(code) = share_requests::check_served(&context) {
        let error_code = code.number();
        return ShareGroupHeartbeatResponse { error_code, ..Default::default() };
    }
    let group = request.group_id.clone();
    let beat = ShareBeat {
        group: request.group_id,
        member: request.member_id,
        epoch: request.member_epoch,
        rack: request.rack_id,
        topics: request.subscribed_topic_names,
        client_id: context.client_id.clone(),
        // As Java prints an address; tools show it.
        client_host: format!("/{}", context.peer.ip()),
    };
    let asked = ask_share_group(&context.shard, &group, ShareGroupRequest::Heartbeat(beat)).await;
    let beaten = match asked {
        Ok(ShareGroupAnswer::Heartbeat(Ok(beaten))) => beaten,
        Ok(ShareGroupAnswer::Heartbeat(Err(refusal))) => return refused(refusal),
        Ok(other) => unreachable!("a heartbeat is not answered by {other:?}"),
        Err(code) => return refused(Refusal { code, message: code.message().to_owned() }),
    };
    if let Some(new) = beaten.to_initialize {
        let task = share_groups::initialize(context.shard.clone(), group, new);
        context.shard.borrow_mut().outbox.spawn(task);
    }
    ShareGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: KafkaCode::None.number(),
        error_message: None,
        member_id: Some(beaten.member),
        member_epoch: beaten.epoch,
        heartbeat_interval_ms: beaten.interval_ms,
        assignment: beaten.assignment.map(assignment_of),
    }
}

fn assignment_of(assignment: Assignment) -> ShareGroupAssignment {
    let topics = assignment.into_iter().map(|(topic, set)| ShareGroupTopicPartitions {
        topic_id: topic.0,
        partitions: set.into_iter().collect(),
    });
    ShareGroupAssignment { topic_partitions: topics.collect() }
}

fn refused(refusal: Refusal) -> ShareGroupHeartbeatResponse {
    ShareGroupHeartbeatResponse {
        error_code: refusal.code.number(),
        error_message: Some(refusal.message),
        ..Default::default()
    }
}
