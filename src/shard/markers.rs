//! The markers that end transactions in the partitions of this core (KIP-98).
//!
//! A transaction coordinator, ours or an administrator's tool, orders a marker for each partition
//! of a transaction. A marker is a batch like any other: it is answered when it lies below the high
//! watermark.

use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::record::{ProducerStamp, TransactionMarker};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::appends::append_committed;
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;

/// How a producer's transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerOrder {
    pub producer_id: ProducerId,
    /// The epoch that the marker carries: under KIP-890 one more than the transaction's batches.
    pub producer_epoch: ProducerEpoch,
    /// Leader epoch of the partition of `__transaction_state` that orders it; a marker with a
    /// lower one than the producer's last is refused.
    pub coordinator_epoch: i32,
    pub is_commit: bool,
}

/// Writes a marker on the core that owns the partition.
///
/// NONE once it is committed; else NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR,
/// COORDINATOR_LOAD_IN_PROGRESS (ask again), INVALID_PRODUCER_EPOCH or
/// TRANSACTION_COORDINATOR_FENCED (never ask again).
pub async fn write_here<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    order: MarkerOrder,
) -> KafkaCode {
    let now_ms = shard.borrow().now.wall_ms;
    let Some(batch) = batch_of(&order, now_ms) else { return KafkaCode::UnknownServerError };
    append_committed(shard, id, batch).await.code
}

fn batch_of(order: &MarkerOrder, now_ms: i64) -> Option<CheckedBatch> {
    let marker = match order.is_commit {
        true => TransactionMarker::Commit,
        false => TransactionMarker::Abort,
    };
    let producer = ProducerStamp {
        producer_id: order.producer_id.0,
        producer_epoch: order.producer_epoch.0,
        base_sequence: -1,
    };
    let mut bytes = marker.batch(producer, order.coordinator_epoch, now_ms).ok()?;
    CheckedBatch::check_first(&mut bytes).ok()
}
