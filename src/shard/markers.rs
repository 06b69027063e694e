//! The markers that end transactions in the partitions of this core (KIP-98).
//!
//! A transaction coordinator, ours or an administrator's tool, orders a marker for each partition
//! of a transaction. A marker is a batch like any other: it is answered when it lies below the high
//! watermark.
//!
//! A coordinator that has no answer asks again, on another connection, and what it sent first may
//! arrive later than that: when the producer's next transaction is open. The epoch does not tell
//! the two apart, in either flow (KIP-1228), so an order says when its transaction was decided, and
//! which leader it is meant for: whoever leads in that epoch knows what it has ended in it.
//!
//! ```text
//!  coordinator  order ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┐
//!                 └ again ─┐        ┌ answered ─ next          ┆
//!  leader                marker ────┘             its batch    └ nothing: ended before
//! ```

use crate::controller::image::OFFSETS_TOPIC;
use crate::coordinator::group::GroupCoordinator;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::record::{ProducerStamp, TransactionMarker};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::appends::append_committed;
use crate::shard::coordinator_load;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use crate::storage::producer_state::ProducerState;
use hashbrown::HashMap;
use std::ops::ControlFlow;

/// How a producer's transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerOrder {
    pub producer_id: ProducerId,
    /// The epoch that the marker carries: under KIP-890 one more than the transaction's batches.
    pub producer_epoch: ProducerEpoch,
    /// Leader epoch of the partition of `__transaction_state` that orders it; a marker with a
    /// lower one than the producer's last is refused.
    pub coordinator_epoch: i32,
    /// When the transaction was decided, which tells it from the producer's others; `None` from an
    /// administrator, who means whatever is open.
    pub decided_ms: Option<i64>,
    /// Of the partition's leader; `None` where any is meant.
    pub leader_epoch: Option<LeaderEpoch>,
    pub is_commit: bool,
}

/// The last transaction of each producer that this leader has ended, as far as its coordinator said
/// which. One per partition; at most a few more than the producers of the log.
#[derive(Debug, Default)]
pub(super) struct EndedTransactions {
    /// In which leader epoch, and when it was decided.
    last: HashMap<ProducerId, (LeaderEpoch, i64)>,
}

impl EndedTransactions {
    fn holds(&self, order: &MarkerOrder, epoch: LeaderEpoch) -> bool {
        let Some(decided_ms) = order.decided_ms else { return false };
        let last = self.last.get(&order.producer_id);
        last.is_some_and(|(of, last_ms)| *of == epoch && decided_ms <= *last_ms)
    }

    fn note(&mut self, order: &MarkerOrder, epoch: LeaderEpoch, producers: &ProducerState) {
        let Some(decided_ms) = order.decided_ms else { return };
        if self.last.len() > 2 * producers.len() {
            self.last.retain(|id, _| producers.epoch(*id).is_some());
        }
        let last = self.last.entry(order.producer_id).or_insert((epoch, decided_ms));
        *last = (*last).max((epoch, decided_ms));
    }
}

/// Writes a marker on the core that owns the partition.
///
/// NONE once it is committed, or where this transaction has its marker already; else
/// NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR, COORDINATOR_LOAD_IN_PROGRESS (ask again),
/// INVALID_PRODUCER_EPOCH or TRANSACTION_COORDINATOR_FENCED (never ask again).
pub async fn write_here<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    order: MarkerOrder,
) -> KafkaCode {
    let (now_ms, is_groups, epoch) = {
        let mut shard = shard.borrow_mut();
        let epoch = match shard.judge_marker(&id, &order) {
            ControlFlow::Continue(epoch) => epoch,
            ControlFlow::Break(code) => return code,
        };
        shard.guards.cut(&(id, order.producer_id));
        let topic = shard.image.topic_by_id(&id.topic);
        (shard.now.wall_ms, topic.is_some_and(|topic| *topic.name == *OFFSETS_TOPIC), epoch)
    };
    let Some(batch) = batch_of(&order, now_ms) else { return KafkaCode::UnknownServerError };
    let code = match is_groups {
        true => write_for_groups(shard, id, batch, order).await,
        false => append_committed(shard, id, batch).await.code,
    };
    if code == KafkaCode::None {
        // Before the coordinator hears of it and lets the next transaction begin.
        shard.borrow_mut().note_ended(&id, &order, epoch);
    }
    code
}

impl<D: Disk> Shard<D> {
    /// The epoch that the partition is led in, or what is answered without a marker.
    fn judge_marker(
        &self,
        id: &TopicPartition,
        order: &MarkerOrder,
    ) -> ControlFlow<KafkaCode, LeaderEpoch> {
        let Some(index) = self.leader_index(id) else {
            return ControlFlow::Break(KafkaCode::NotLeaderOrFollower);
        };
        let partition = &self.partitions[index];
        let epoch = partition.leader_epoch;
        if order.leader_epoch.is_some_and(|meant| meant != epoch) {
            return ControlFlow::Break(KafkaCode::NotLeaderOrFollower);
        }
        match partition.ended.holds(order, epoch) {
            true => ControlFlow::Break(KafkaCode::None),
            false => ControlFlow::Continue(epoch),
        }
    }

    fn note_ended(&mut self, id: &TopicPartition, order: &MarkerOrder, epoch: LeaderEpoch) {
        let Some(index) = self.partition_index(id) else { return };
        let partition = &mut self.partitions[index];
        partition.ended.note(order, epoch, partition.log.producers());
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
