//! The markers that end transactions in the partitions of this core (KIP-98).
//!
//! A transaction coordinator, ours or an administrator's tool, orders a marker for each partition
//! of a transaction. A marker is a batch like any other: it is answered when it lies below the high
//! watermark.

use crate::controller::image::OFFSETS_TOPIC;
use crate::coordinator::group::GroupCoordinator;
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::record::{ProducerStamp, TransactionMarker};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::appends::append_committed;
use crate::shard::coordinator_load;
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
    let (now_ms, is_groups) = {
        let mut shard = shard.borrow_mut();
        shard.guards.cut(&(id, order.producer_id));
        let topic = shard.image.topic_by_id(&id.topic);
        (shard.now.wall_ms, topic.is_some_and(|topic| *topic.name == *OFFSETS_TOPIC))
    };
    let Some(batch) = batch_of(&order, now_ms) else { return KafkaCode::UnknownServerError };
    match is_groups {
        true => write_for_groups(shard, id, batch, order).await,
        false => append_committed(shard, id, batch).await.code,
    }
}

/// The group coordinator hears of the marker in the step that appends it.
async fn write_for_groups<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    batch: CheckedBatch,
    order: MarkerOrder,
) -> KafkaCode {
    if shard.borrow_mut().groups.active(&id).is_none() {
        return match coordinator_load::start::<D, GroupCoordinator>(shard, id) {
            true => KafkaCode::CoordinatorLoadInProgress,
            false => KafkaCode::NotLeaderOrFollower,
        };
    }
    let receiver = {
        let mut shard = shard.borrow_mut();
        let (token, receiver) = shard.open_append_task();
        let end = (order.producer_id, order.is_commit);
        match shard.append_marker::<GroupCoordinator>(id, batch, end, token) {
            // Refused: nothing was appended, and the coordinator has heard nothing.
            Some(refused) if refused.code != KafkaCode::None => {
                let code = refused.code;
                shard.resolve(token, refused);
                return code;
            }
            Some(committed) => shard.resolve(token, committed),
            None => {}
        }
        receiver
    };
    let code = receiver.await.map_or(KafkaCode::NotLeaderOrFollower, |outcome| outcome.code);
    shard.borrow_mut().on_coordinator_appended::<GroupCoordinator>(id, code);
    code
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
