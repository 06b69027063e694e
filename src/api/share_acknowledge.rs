//! ShareAcknowledge: a member of a share group says what became of its records, without asking for
//! more (KIP-932). Under the final epoch it also ends its session, and what it still holds is
//! released.

use crate::api::brokers::Reachable;
use crate::api::context::RequestContext;
use crate::api::share_requests::{self, Acknowledgement, Leaders, PartAnswer, PartAnswers};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::share_acknowledge::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeRequest,
    ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};
use crate::shard::share_calls;
use crate::shard::share_session::{
    EndedSession, SHARE_EPOCH_FINAL, SHARE_EPOCH_INITIAL, ShareMember,
};
use crate::storage::disk::Disk;

/// Answers ShareAcknowledge.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ShareAcknowledgeRequest,
) -> ShareAcknowledgeResponse {
    let of = share_requests::check_served(&context)
        .and_then(|()| share_requests::member(&request.group_id, &request.member_id));
    let of = match of.and_then(|of| turn(&context, &of, &request).map(|ended| (of, ended))) {
        Ok(of) => of,
        Err(code) => {
            let error_code = code.number();
            return ShareAcknowledgeResponse { error_code, ..ShareAcknowledgeResponse::default() };
        }
    };
    let (of, ended) = of;
    let mut acknowledged = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let named = (topic.topic_id, partition.partition_index);
            let batches = partition
                .acknowledgement_batches
                .iter()
                .map(|batch| (batch.first_offset, batch.last_offset, &batch.acknowledge_types[..]));
            acknowledged.push(Acknowledgement::new(named, batches));
        }
    }
    let mut answers = PartAnswers::default();
    share_requests::acknowledge(&context, &of, acknowledged, &mut answers).await;
    if let Some(ended) = ended {
        share_calls::release(&context.shard, &ended).await;
    }
    response(&context, answers)
}

fn turn<D: Disk>(
    context: &RequestContext<D>,
    of: &ShareMember,
    request: &ShareAcknowledgeRequest,
) -> Result<Option<EndedSession>, KafkaCode> {
    let sessions = &mut context.shard.borrow_mut().share_sessions;
    match request.share_session_epoch {
        // Nothing can have been acquired in a session that only begins.
        SHARE_EPOCH_INITIAL => Err(KafkaCode::InvalidShareSessionEpoch),
        SHARE_EPOCH_FINAL => Ok(Some(sessions.close(of)?)),
        epoch => sessions.advance(of, epoch).map(|_| None),
    }
}

fn response<D: Disk>(
    context: &RequestContext<D>,
    answers: PartAnswers,
) -> ShareAcknowledgeResponse {
    let leaders = Leaders::of(context, &answers);
    let topics = answers.by_topic().into_iter();
    let responses = topics.map(|(topic_id, parts)| {
        let part = |(partition_index, answer): (i32, PartAnswer)| PartitionData {
            partition_index,
            error_code: answer.acknowledge_code.number(),
            current_leader: leaders
                .leader((topic_id, partition_index))
                .map_or(LeaderIdAndEpoch::default(), |(leader_id, leader_epoch)| {
                    LeaderIdAndEpoch { leader_id, leader_epoch }
                }),
            ..PartitionData::default()
        };
        let partitions = parts.into_iter().map(part).collect();
        ShareAcknowledgeTopicResponse { topic_id, partitions }
    });
    let responses = responses.collect();
    let node = |node: Reachable| NodeEndpoint {
        node_id: node.id.0,
        host: node.endpoint.host,
        port: i32::from(node.endpoint.port),
        rack: node.rack,
    };
    ShareAcknowledgeResponse {
        responses,
        node_endpoints: leaders.into_nodes().map(node).collect(),
        ..ShareAcknowledgeResponse::default()
    }
}
