//! ReadShareGroupStateSummary: how far a share group is in partitions (KIP-932). Between brokers
//! only.

use crate::api::context::RequestContext;
use crate::api::share_states;
use crate::coordinator::share::{ShareAnswer, ShareRequest};
use crate::protocol::messages::read_share_group_state_summary::{
    PartitionData, PartitionResult, ReadShareGroupStateSummaryRequest,
    ReadShareGroupStateSummaryResponse, ReadStateSummaryResult,
};
use crate::storage::disk::Disk;

/// Answers ReadShareGroupStateSummary.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ReadShareGroupStateSummaryRequest,
) -> ReadShareGroupStateSummaryResponse {
    let group = &request.group_id;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = topic.topic_id;
        let answer = async |own: PartitionData| {
            let of = (group.as_str(), topic_id, own.partition);
            let asked =
                share_states::ask(&context, of, |key| Ok(ShareRequest::Summary { key })).await;
            let (error_code, error_message) = share_states::code_of(&asked);
            let partition = own.partition;
            let nothing =
                PartitionResult { partition, error_code, error_message, ..Default::default() };
            match asked {
                Ok(ShareAnswer::Summary(summary)) => PartitionResult {
                    state_epoch: summary.state_epoch,
                    leader_epoch: summary.leader_epoch,
                    start_offset: summary.start_offset,
                    ..nothing
                },
                Ok(other) => unreachable!("a summary is not answered by {other:?}"),
                Err(_) => nothing,
            }
        };
        let partitions = share_states::for_each(&topic.partitions, answer).await;
        results.push(ReadStateSummaryResult { topic_id, partitions });
    }
    ReadShareGroupStateSummaryResponse { results }
}
