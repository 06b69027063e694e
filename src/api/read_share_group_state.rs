//! ReadShareGroupState: the leader of partitions begins to serve them to a share group (KIP-932).
//! Between brokers only.

use crate::api::context::RequestContext;
use crate::api::share_states;
use crate::coordinator::share::{self, ShareAnswer, ShareRequest};
use crate::protocol::messages::read_share_group_state::{
    PartitionData, PartitionResult, ReadShareGroupStateRequest, ReadShareGroupStateResponse,
    ReadStateResult, StateBatch,
};
use crate::storage::disk::Disk;

/// Answers ReadShareGroupState.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ReadShareGroupStateRequest,
) -> ReadShareGroupStateResponse {
    let group = &request.group_id;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = topic.topic_id;
        let answer = async |own: PartitionData| {
            let of = (group.as_str(), topic_id, own.partition);
            let leader_epoch = own.leader_epoch;
            let read = |key| Ok(ShareRequest::Read { key, leader_epoch });
            let asked = share_states::ask(&context, of, read).await;
            let (error_code, error_message) = share_states::code_of(&asked);
            let partition = own.partition;
            let nothing =
                PartitionResult { partition, error_code, error_message, ..Default::default() };
            match asked {
                Ok(ShareAnswer::State(state)) => PartitionResult {
                    state_epoch: state.state_epoch,
                    start_offset: state.start_offset,
                    state_batches: state.batches.into_iter().map(batch).collect(),
                    ..nothing
                },
                Ok(other) => unreachable!("a read is not answered by {other:?}"),
                Err(_) => nothing,
            }
        };
        let partitions = share_states::for_each(&topic.partitions, answer).await;
        results.push(ReadStateResult { topic_id, partitions });
    }
    ReadShareGroupStateResponse { results }
}

fn batch(own: share::StateBatch) -> StateBatch {
    StateBatch {
        first_offset: own.first,
        last_offset: own.last,
        delivery_state: own.state.number(),
        delivery_count: own.delivery_count,
    }
}
