//! Makes what segments have durable: for acknowledgements and callers that wait for it, and in the
//! background so that a start after a crash has little to read.
//!
//! Producers of a topic of Kafka's durability wait for none of this, as in Kafka: there a segment
//! is synced when it is closed, and all of them when `UNSYNCED_BYTES_MAX` is reached.
//!
//! Invariants
//! - One sync per partition at a time; whoever needs another waits for it.

use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::{DRAINS_AT_ONCE, UNPOINTED_BYTES_MAX, UNSYNCED_BYTES_MAX};
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::signal::Signal;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::{SyncDone, SyncPlan};
use futures::future::join_all;

/// When all segments of a core are synced.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Bytes of segments written since the last time began.
    unswept_bytes: u64,
    is_under_way: bool,
}

impl Sweep {
    /// Counts what a drain wrote. True when it is time for `sync_all`, which the caller starts.
    pub fn is_due(&mut self, written: u64) -> bool {
        self.unswept_bytes += written;
        let is_due = self.unswept_bytes >= UNSYNCED_BYTES_MAX && !self.is_under_way;
        if is_due {
            *self = Sweep { unswept_bytes: 0, is_under_way: true };
        }
        is_due
    }
}

impl<D: Disk> Shard<D> {
    fn on_synced(&mut self, index: PartitionIndex, id: TopicPartition, done: SyncDone) {
        let Some(partition) = self.partition_at(index, id) else { return };
        let unsynced_before = partition.log.unsynced_bytes();
        let no_space = partition.log.synced(done);
        let synced = unsynced_before - partition.log.unsynced_bytes();
        if let Some(error) = no_space {
            self.on_disk_full(&error);
        }
        self.settle_partition(index);
        self.unpointed_bytes += synced;
        if self.unpointed_bytes >= UNPOINTED_BYTES_MAX {
            self.signals.housekeeping.raise();
        }
    }

    /// The next step towards a partition whose segments are synced up to `until`.
    fn next_sync_step(
        &mut self,
        index: PartitionIndex,
        id: TopicPartition,
        until: Offset,
    ) -> Option<SyncStep<D>> {
        let is_offline = self.write_state == WriteState::Offline;
        let partition = self.partition_at(index, id).filter(|_| !is_offline)?;
        if partition.log.segment_synced_end() >= until && !partition.log.is_close_due() {
            return None;
        }
        if partition.log.is_syncing() {
            return Some(SyncStep::Wait(partition.sync_ended.clone()));
        }
        partition.log.plan_sync().map(SyncStep::Sync)
    }
}

enum SyncStep<D: Disk> {
    /// Another sync is under way, which may cover less.
    Wait(Signal),
    Sync(SyncPlan<D>),
}

/// Syncs what a partition has in segments, once; returns when that is durable. The caller holds
/// the partition's drain.
pub async fn sync<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex, id: TopicPartition) {
    let until = match shard.borrow_mut().partition_at(index, id) {
        Some(partition) => partition.log.drained_end(),
        None => return,
    };
    loop {
        let step = shard.borrow_mut().next_sync_step(index, id, until);
        match step {
            Some(SyncStep::Wait(ended)) => ended.wait().await,
            Some(SyncStep::Sync(plan)) => return carry_out(shard, index, id, plan).await,
            None => return,
        }
    }
}

/// Syncs a partition for nobody who waits, unless that is under way.
pub async fn sync_unasked<D: Disk>(shard: ShardRef<D>, index: PartitionIndex, id: TopicPartition) {
    let plan = match shard.borrow_mut().partition_at(index, id) {
        Some(partition) => partition.log.plan_sync(),
        None => None,
    };
    if let Some(plan) = plan {
        carry_out(&shard, index, id, plan).await;
    }
}

async fn carry_out<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    plan: SyncPlan<D>,
) {
    let (disk, ended) = {
        let mut shard = shard.borrow_mut();
        let Some(partition) = shard.partition_at(index, id) else { return };
        let ended = partition.sync_ended.clone();
        (shard.disk.clone(), ended)
    };
    let result = plan.execute(&disk).await;
    let mut shard = shard.borrow_mut();
    // The partition may have been taken away meanwhile, with its files, and be back as another.
    let partition = shard.partition_at(index, id);
    let Some(partition) = partition.filter(|one| one.sync_ended.is_same(&ended)) else { return };
    partition.release_waits();
    match result {
        Ok(done) => shard.on_synced(index, id, done),
        Err(StorageError::Disk(error)) => shard.go_offline(&error),
        Err(error) => shard.on_drain_error(&error),
    }
    shard.outbox.raise();
}

/// Syncs every partition of the core that has anything unsynced.
pub async fn sync_all<D: Disk>(shard: ShardRef<D>) {
    let due: Vec<(PartitionIndex, TopicPartition)> = {
        let shard = shard.borrow();
        let due = shard.partitions.iter().filter(|(_, one)| one.log.unsynced_bytes() > 0);
        due.map(|(index, one)| (index, one.id)).collect()
    };
    for some in due.chunks(DRAINS_AT_ONCE) {
        let syncs = some.iter().map(|(index, id)| sync_unasked(shard.clone(), *index, *id));
        join_all(syncs).await;
    }
    shard.borrow_mut().sweep.is_under_way = false;
}
