//! Moves batches from memory into their segment files, in large writes.
//!
//! In the background for batches that the journal holds already, so that journal files can be
//! reused; at once ("direct") for a partition whose pending bytes are many. Either way the whole
//! tail up to now is written: a segment has no holes, and syncing it covers everything before.
//!
//! Invariants
//! - One drain per partition at a time.
//! - A journal file is reused only after every partition in it is synced in its segment beyond the
//!   file's last entry and the recovery points say so.

use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::{
    DIRECT_APPEND_BYTES_MIN, DRAIN_BYTES_MIN, DRAINS_AT_ONCE, SEGMENT_UNSYNCED_BYTES_MAX,
    UNPOINTED_BYTES_MAX,
};
use crate::model::topic_config::Durability;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::truncation;
use crate::storage::checkpoint;
use crate::storage::disk::{Disk, DiskError};
use crate::storage::error::StorageError;
use futures::future::join_all;
use std::rc::Rc;

/// Partitions whose cut entry should be in a newer journal file.
type Renewals = Vec<(PartitionIndex, TopicPartition, Offset)>;

/// Whether a drain also syncs what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Only where the topic's durability asks for it, or much is unsynced.
    AsConfigured,
    Sync,
}

impl<D: Disk> Shard<D> {
    /// Sends a partition's pending batches straight to its segment.
    pub fn start_direct(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index];
        partition.is_dirty = false;
        partition.is_direct = true;
        if !partition.is_draining {
            partition.is_draining = true;
            self.commit.direct_starts.push((index, partition.id));
            self.outbox.raise();
        }
    }

    /// Partitions worth draining: those that hold back the oldest journal file, and fat tails.
    /// And those that hold it back because they were cut, with the end that it waits for.
    fn plan_drains(&mut self) -> (Vec<(PartitionIndex, TopicPartition)>, Renewals) {
        let held =
            if self.journal.is_crowded() { self.journal.oldest_partitions() } else { Vec::new() };
        let mut chosen = Vec::new();
        let mut renewals = Vec::new();
        for (index, partition) in &mut self.partitions {
            let holds_journal = held
                .iter()
                .any(|(id, end)| *id == partition.id && partition.log.segment_synced_end() < *end);
            let shorter = held.iter().find(|(id, end)| {
                *id == partition.id && partition.log.log_end() < *end && !partition.is_draining
            });
            if let Some((_, end)) = shorter.filter(|_| partition.log.is_at_rest()) {
                renewals.push((index, partition.id, *end));
                continue;
            }
            let is_fat = partition.log.undrained_bytes() >= DRAIN_BYTES_MIN;
            if holds_journal && partition.is_draining {
                // A direct append, which may leave its segment unsynced: the write loop may wait
                // for room, and nothing else would have the drain loop look again.
                partition.is_drain_awaited = true;
            }
            if (holds_journal || is_fat) && !partition.is_draining {
                partition.is_draining = true;
                chosen.push((index, partition.id));
            }
        }
        (chosen, renewals)
    }

    fn partition_at(
        &mut self,
        index: PartitionIndex,
        id: TopicPartition,
    ) -> Option<&mut crate::shard::partition::Partition<D>> {
        self.partitions.get_mut(index).filter(|partition| partition.id == id)
    }

    fn end_drain(&mut self, index: PartitionIndex, id: TopicPartition) {
        let Some(partition) = self.partition_at(index, id) else {
            // What was deleted holds back no journal file any more.
            return self.signals.drain.raise();
        };
        partition.is_draining = false;
        partition.is_direct = false;
        let is_awaited = std::mem::take(&mut partition.is_drain_awaited);
        if let Some(signal) = &partition.cut_signal {
            signal.raise();
        }
        if partition.log.pending_bytes() > 0 {
            self.mark_dirty(index);
        }
        if is_awaited {
            self.signals.drain.raise();
        }
    }

    fn on_drain_error(&mut self, error: &StorageError) {
        match error {
            StorageError::Disk(error) if error.is_no_space() => {
                self.on_disk_full(error);
            }
            StorageError::Disk(error) => self.go_offline(error),
            StorageError::Corrupt { .. } | StorageError::Senseless { .. } => {
                tracing::error!(%error, "segment is damaged, see E0010");
            }
        }
    }

    pub(super) fn on_disk_full(&mut self, error: &DiskError) {
        if self.write_state == WriteState::Open {
            tracing::error!(path = %error.path.display(), "disk full: produce is refused, see E0008");
            self.write_state = WriteState::DiskFull;
        }
    }
}

/// Writes one partition's tail to its segments, until less than a direct append is pending. For the
/// journal, which asks once, all of the tail that is there now.
async fn drain<D: Disk>(shard: ShardRef<D>, index: PartitionIndex, id: TopicPartition, then: Then) {
    let disk = shard.borrow().disk.clone();
    let until = match (then, shard.borrow_mut().partition_at(index, id)) {
        (Then::Sync, Some(partition)) => partition.log.log_end(),
        _ => Offset::ZERO,
    };
    loop {
        let plan = match shard.borrow_mut().partition_at(index, id) {
            Some(partition) => partition.log.plan_drain(),
            None => break,
        };
        let Some(plan) = plan else { break };
        let result = plan.execute(&disk).await;
        let goes_on = {
            let mut shard = shard.borrow_mut();
            let Some(partition) = shard.partition_at(index, id) else { break };
            let goes_on = match result {
                Ok(done) => {
                    let released = partition.log.drained(done);
                    let goes_on = partition.log.drained_end() < until
                        || partition.log.pending_bytes() >= DIRECT_APPEND_BYTES_MIN;
                    shard.on_left_memory(released);
                    shard.settle_partition(index);
                    goes_on
                }
                Err(error) => {
                    partition.log.drain_failed();
                    shard.on_drain_error(&error);
                    false
                }
            };
            shard.outbox.raise();
            goes_on
        };
        sync_if_due(&shard, index, id, then).await;
        if !goes_on {
            break;
        }
    }
    sync_if_due(&shard, index, id, then).await;
    shard.borrow_mut().end_drain(index, id);
}

async fn sync_if_due<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    then: Then,
) {
    let (plan, disk) = {
        let mut shard = shard.borrow_mut();
        let disk = shard.disk.clone();
        let Some(partition) = shard.partition_at(index, id) else { return };
        let is_due = then == Then::Sync
            || partition.log.config().durability == Durability::Flush
            || partition.log.unsynced_bytes() >= SEGMENT_UNSYNCED_BYTES_MAX;
        (if is_due { partition.log.plan_sync() } else { None }, disk)
    };
    let Some(plan) = plan else { return };
    let result = plan.execute(&disk).await;
    let mut shard = shard.borrow_mut();
    match result {
        Ok(done) => {
            let Some(partition) = shard.partition_at(index, id) else { return };
            let unsynced_before = partition.log.unsynced_bytes();
            partition.log.synced(done);
            let synced = unsynced_before - partition.log.unsynced_bytes();
            shard.settle_partition(index);
            shard.unpointed_bytes += synced;
            if shard.unpointed_bytes >= UNPOINTED_BYTES_MAX {
                shard.signals.housekeeping.raise();
            }
        }
        // The topic was deleted meanwhile, and its files with it.
        Err(_) if shard.partition_at(index, id).is_none() => {}
        Err(StorageError::Disk(error)) => shard.go_offline(&error),
        Err(error) => shard.on_drain_error(&error),
    }
    shard.outbox.raise();
}

/// Drains and syncs one partition, unless a drain is under way.
pub async fn drain_one<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex, id: TopicPartition) {
    let is_draining = match shard.borrow_mut().partition_at(index, id) {
        Some(partition) => std::mem::replace(&mut partition.is_draining, true),
        None => return,
    };
    if !is_draining {
        drain(shard.clone(), index, id, Then::Sync).await;
    }
}

/// Starts the direct appends that the last commit plan asked for, each as a task of its own.
pub fn start_directs<D: Disk>(shard: &ShardRef<D>) {
    let starts = std::mem::take(&mut shard.borrow_mut().commit.direct_starts);
    for (index, id) in starts {
        let task = drain(shard.clone(), index, id, Then::AsConfigured);
        shard.borrow_mut().outbox.spawn(task);
    }
}

/// The segment writer of one core; ends with its executor.
pub async fn drain_loop<D: Disk>(shard: ShardRef<D>) {
    let signals = shard.borrow().signals.clone();
    loop {
        signals.drain.wait().await;
        add_journal_file(&shard).await;
        let (chosen, renewals) = shard.borrow_mut().plan_drains();
        for (index, id, end) in renewals {
            let task = truncation::renew_entry(shard.clone(), (index, id), end);
            shard.borrow_mut().outbox.spawn(task);
        }
        for some in chosen.chunks(DRAINS_AT_ONCE) {
            let drains =
                some.iter().map(|(index, id)| drain(shard.clone(), *index, *id, Then::Sync));
            join_all(drains).await;
        }
        release_journal(&shard).await;
    }
}

/// Makes one more journal file when none is spare and there may be more.
async fn add_journal_file<D: Disk>(shard: &ShardRef<D>) {
    let (order, disk) = {
        let mut shard = shard.borrow_mut();
        (shard.journal.plan_file(), shard.disk.clone())
    };
    let Some(order) = order else { return };
    let made = order.execute(&disk).await;
    let mut shard = shard.borrow_mut();
    match made {
        Ok(file) => {
            shard.journal.add_file(file);
            shard.signals.room.raise();
        }
        Err(error) => {
            shard.journal.file_failed();
            shard.on_drain_error(&StorageError::Disk(error));
        }
    }
}

/// Drains and syncs every partition, then gives all journal files back; the end of a clean stop.
pub async fn drain_all<D: Disk>(shard: &ShardRef<D>) {
    let all: Vec<(PartitionIndex, TopicPartition)> = {
        let mut shard = shard.borrow_mut();
        let idle = shard.partitions.iter_mut().filter(|(_, partition)| !partition.is_draining);
        let begun = idle.map(|(index, partition)| {
            partition.is_draining = true;
            (index, partition.id)
        });
        begun.collect()
    };
    for some in all.chunks(DRAINS_AT_ONCE) {
        let drains = some.iter().map(|(index, id)| drain(shard.clone(), *index, *id, Then::Sync));
        join_all(drains).await;
    }
    release_journal(shard).await;
}

/// Writes the recovery points and gives journal files back that nothing needs any more.
pub async fn release_journal<D: Disk>(shard: &ShardRef<D>) {
    let turn = Rc::clone(&shard.borrow().checkpoint_turn);
    let _turn = turn.lock().await;
    let (files, points, unpointed, disk, dir) = {
        let shard = shard.borrow();
        let synced_end = |id: &TopicPartition| {
            let index = shard.partition_index(id)?;
            Some(shard.partitions[index].log.segment_synced_end())
        };
        let files = shard.journal.releasable(synced_end);
        if files.is_empty() {
            return;
        }
        let points = shard.recovery_points();
        (files, points, shard.unpointed_bytes, shard.disk.clone(), shard.journal_dir())
    };
    match checkpoint::write(&disk, &dir, &points).await {
        Ok(()) => {
            let mut shard = shard.borrow_mut();
            shard.on_points_durable(&points);
            shard.unpointed_bytes -= unpointed;
            shard.journal.release(&files);
            shard.signals.room.raise();
        }
        Err(error) => shard.borrow_mut().on_drain_error(&error),
    }
}
