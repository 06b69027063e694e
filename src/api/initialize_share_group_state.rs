//! InitializeShareGroupState: a share group begins with partitions, or anew (KIP-932). Between
//! brokers only.

use crate::api::context::RequestContext;
use crate::api::share_states;
use crate::coordinator::share::ShareRequest;
use crate::protocol::messages::initialize_share_group_state::{
    InitializeShareGroupStateRequest, InitializeShareGroupStateResponse, InitializeStateResult,
    PartitionData, PartitionResult,
};
use crate::storage::disk::Disk;

/// Answers InitializeShareGroupState.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: InitializeShareGroupStateRequest,
) -> InitializeShareGroupStateResponse {
    let group = &request.group_id;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = topic.topic_id;
        let answer = async |own: PartitionData| {
            let of = (group.as_str(), topic_id, own.partition);
            let initialize = |key| {
                let (state_epoch, start_offset) = (own.state_epoch, own.start_offset);
                Ok(ShareRequest::Initialize { key, state_epoch, start_offset })
            };
            let asked = share_states::ask(&context, of, initialize).await;
            let (error_code, error_message) = share_states::code_of(&asked);
            PartitionResult { partition: own.partition, error_code, error_message }
        };
        let partitions = share_states::for_each(&topic.partitions, answer).await;
        results.push(InitializeStateResult { topic_id, partitions });
    }
    InitializeShareGroupStateResponse { results }
}
