//! DeleteShareGroupState: a share group has done with partitions (KIP-932). Between brokers only.

use crate::api::context::RequestContext;
use crate::api::share_states;
use crate::coordinator::share::ShareRequest;
use crate::protocol::messages::delete_share_group_state::{
    DeleteShareGroupStateRequest, DeleteShareGroupStateResponse, DeleteStateResult, PartitionData,
    PartitionResult,
};
use crate::storage::disk::Disk;

/// Answers DeleteShareGroupState.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteShareGroupStateRequest,
) -> DeleteShareGroupStateResponse {
    let group = &request.group_id;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = topic.topic_id;
        let answer = async |own: PartitionData| {
            let of = (group.as_str(), topic_id, own.partition);
            let asked =
                share_states::ask(&context, of, |key| Ok(ShareRequest::Delete { key })).await;
            let (error_code, error_message) = share_states::code_of(&asked);
            PartitionResult { partition: own.partition, error_code, error_message }
        };
        let partitions = share_states::for_each(&topic.partitions, answer).await;
        results.push(DeleteStateResult { topic_id, partitions });
    }
    DeleteShareGroupStateResponse { results }
}
