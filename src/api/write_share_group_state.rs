//! WriteShareGroupState: what became of records that a share group was given (KIP-932). Between
//! brokers only.

use crate::api::context::RequestContext;
use crate::api::share_states;
use crate::coordinator::share::{self, DeliveryState, ShareRequest, StateWrite};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::write_share_group_state::{
    PartitionData, PartitionResult, StateBatch, WriteShareGroupStateRequest,
    WriteShareGroupStateResponse, WriteStateResult,
};
use crate::storage::disk::Disk;

/// Answers WriteShareGroupState.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: WriteShareGroupStateRequest,
) -> WriteShareGroupStateResponse {
    let group = &request.group_id;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let topic_id = topic.topic_id;
        let answer = async |own: PartitionData| {
            let of = (group.as_str(), topic_id, own.partition);
            let partition = own.partition;
            let write = |key| Ok(ShareRequest::Write { key, write: write_of(own)? });
            let asked = share_states::ask(&context, of, write).await;
            let (error_code, error_message) = share_states::code_of(&asked);
            PartitionResult { partition, error_code, error_message }
        };
        let partitions = share_states::for_each(&topic.partitions, answer).await;
        results.push(WriteStateResult { topic_id, partitions });
    }
    WriteShareGroupStateResponse { results }
}

/// # Errors
/// INVALID_REQUEST for what no record of the state could say.
fn write_of(own: PartitionData) -> Result<StateWrite, KafkaCode> {
    let batch = |own: &StateBatch| {
        let state = DeliveryState::from_number(own.delivery_state)?;
        let (first, last) = (own.first_offset, own.last_offset);
        let batch = share::StateBatch { first, last, state, delivery_count: own.delivery_count };
        batch.is_sound().then_some(batch)
    };
    let batches: Option<Vec<share::StateBatch>> = own.state_batches.iter().map(batch).collect();
    Ok(StateWrite {
        state_epoch: own.state_epoch,
        leader_epoch: own.leader_epoch,
        start_offset: own.start_offset,
        batches: batches.filter(|_| own.start_offset >= -1).ok_or(KafkaCode::InvalidRequest)?,
    })
}
