//! ConsumerGroupHeartbeat: the one request with which a consumer joins, stays in and leaves a
//! group of the consumer protocol (KIP-848).

use crate::api::context::RequestContext;
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::calls::{ConsumerBeat, Refusal};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupAssignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupTopicPartitions,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// The client makes its member id from here on (KIP-1082).
const MEMBER_ID_SINCE: i16 = 1;

/// Answers ConsumerGroupHeartbeat.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if let Err(code) = check_served(&context) {
        let error_code = code.number();
        return ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
    }
    let group = request.group_id.clone();
    let beat = GroupRequest::ConsumerHeartbeat(Box::new(beat_of(&context, request)));
    let beaten = match ask_group(&context.shard, &group, beat).await {
        GroupAnswer::ConsumerHeartbeat(Ok(beaten)) => beaten,
        GroupAnswer::ConsumerHeartbeat(Err(refusal)) => return refused(refusal),
        other => {
            let code = other.refusal();
            return refused(Refusal { code, message: code.message().to_owned() });
        }
    };
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: KafkaCode::None.number(),
        error_message: None,
        member_id: Some(beaten.member),
        member_epoch: beaten.epoch,
        heartbeat_interval_ms: beaten.interval_ms,
        assignment: beaten.assignment.map(assignment_of),
    }
}

/// Whether groups of the consumer protocol are on.
///
/// # Errors
/// UNSUPPORTED_VERSION where they are off.
pub fn check_served<D: Disk>(context: &RequestContext<D>) -> Result<(), KafkaCode> {
    match context.shard.borrow().image.has_consumer_groups() {
        true => Ok(()),
        false => Err(KafkaCode::UnsupportedVersion),
    }
}

fn beat_of<D: Disk>(
    context: &RequestContext<D>,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerBeat {
    let topic = |own: ConsumerGroupTopicPartitions| (TopicId(own.topic_id), own.partitions);
    ConsumerBeat {
        group: request.group_id,
        member: request.member_id,
        epoch: request.member_epoch,
        instance: request.instance_id,
        rack: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned: request.topic_partitions.map(|topics| topics.into_iter().map(topic).collect()),
        client_id: context.client_id.clone(),
        // As Java prints an address; tools show it.
        client_host: format!("/{}", context.peer.ip()),
        needs_member_id: context.version >= MEMBER_ID_SINCE,
        fresh: (context.shard.borrow().random)(),
    }
}

fn assignment_of(assignment: Assignment) -> ConsumerGroupAssignment {
    let topic = |(topic, set): (TopicId, std::collections::BTreeSet<i32>)| {
        ConsumerGroupTopicPartitions { topic_id: topic.0, partitions: set.into_iter().collect() }
    };
    ConsumerGroupAssignment { topic_partitions: assignment.into_iter().map(topic).collect() }
}

fn refused(refusal: Refusal) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse {
        error_code: refusal.code.number(),
        error_message: Some(refusal.message),
        ..Default::default()
    }
}
