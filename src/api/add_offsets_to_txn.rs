//! AddOffsetsToTxn: the offsets of a group become part of a transaction, as the partition of
//! `__consumer_offsets` that holds the group.

use crate::api::context::RequestContext;
use crate::api::find_coordinator::coordinating;
use crate::api::transactions::{FENCED_BY_NAME_SINCE, worded_for};
use crate::controller::image::OFFSETS_TOPIC;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::transaction::calls::{AddMode, AddPartitions, TopicPartitions};
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::protocol::messages::add_offsets_to_txn::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse,
};
use crate::shard::transaction_host::ask_transaction;
use crate::storage::disk::Disk;

/// Answers AddOffsetsToTxn.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let code = add(&context, request).await;
    let code = worded_for(code, context.version >= FENCED_BY_NAME_SINCE);
    AddOffsetsToTxnResponse { throttle_time_ms: 0, error_code: code.number() }
}

async fn add<D: Disk>(context: &RequestContext<D>, request: AddOffsetsToTxnRequest) -> KafkaCode {
    let found = coordinating::<D, GroupCoordinator>(context, &request.group_id).await;
    let Some(group) = found else { return KafkaCode::CoordinatorNotAvailable };
    let topic = OFFSETS_TOPIC.to_owned();
    let add = TransactionRequest::AddPartitions(AddPartitions {
        transactional_id: request.transactional_id.clone(),
        producer_id: ProducerId(request.producer_id),
        producer_epoch: ProducerEpoch(request.producer_epoch),
        topics: vec![TopicPartitions { topic, partitions: vec![group.partition.0] }],
        mode: AddMode::Add,
    });
    match ask_transaction(&context.shard, &request.transactional_id, add).await {
        TransactionAnswer::AddPartitions(results) => {
            results.first().map_or(KafkaCode::None, |result| result.code)
        }
        other => other.refusal(),
    }
}
