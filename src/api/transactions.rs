//! What the handlers of transactional requests share.

use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::ProducerId;
use crate::shard::producer_ids;
use crate::shard::shard::ShardRef;
use crate::shard::transaction_host::ask_transaction;
use crate::storage::disk::Disk;

/// First versions that know PRODUCER_FENCED (KIP-588); older clients hear INVALID_PRODUCER_EPOCH.
/// This one for AddPartitionsToTxn, AddOffsetsToTxn and EndTxn.
pub const FENCED_BY_NAME_SINCE: i16 = 2;
/// The same for InitProducerId.
pub const FENCED_BY_NAME_SINCE_INIT: i16 = 4;

/// A code as a version of a request knows it.
pub fn worded_for(code: KafkaCode, knows_fenced: bool) -> KafkaCode {
    match code {
        KafkaCode::ProducerFenced if !knows_fenced => KafkaCode::InvalidProducerEpoch,
        code => code,
    }
}

/// Puts a request that may need an unused producer id: a second time, with one, if so.
pub async fn with_spare_id<D: Disk>(
    shard: &ShardRef<D>,
    transactional_id: &str,
    request: impl Fn(Option<ProducerId>) -> TransactionRequest,
) -> TransactionAnswer {
    let first = ask_transaction(shard, transactional_id, request(None)).await;
    if first != TransactionAnswer::NeedsProducerId {
        return first;
    }
    match producer_ids::next(shard).await {
        Ok(id) => ask_transaction(shard, transactional_id, request(Some(id))).await,
        Err(code) => TransactionAnswer::Refused(code),
    }
}
