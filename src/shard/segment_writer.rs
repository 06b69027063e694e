//! Moves batches from memory into their segment files, in large writes.
//!
//! In the background for batches that the journal holds already, so that journal files can be
//! reused; at once ("direct") for a partition whose pending bytes are many. Either way the tail is
//! written from its beginning: a segment has no holes, and syncing it covers everything before.
//!
//! Invariants
//! - One drain per partition at a time.
//! - A journal file is reused only once no log needs what it holds (storage/partition_log/held.rs).

use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::{
    DRAIN_BYTES_MIN, DRAINING_BYTES_MAX, DRAINS_AT_ONCE, DRAINS_AT_ONCE_MIN,
};
use crate::model::topic_config::Durability;
use crate::shard::housekeeping::persist_points;
use crate::shard::partition::Partition;
use crate::shard::segment_sync;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::truncation;
use crate::storage::disk::{Disk, DiskError};
use crate::storage::error::StorageError;
use crate::storage::journal::Held;
use crate::storage::partition_log::DrainDone;
use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};

/// Partitions whose cut entry should be in a newer journal file.
type Renewals = Vec<(PartitionIndex, TopicPartition, Offset)>;

/// How far a drain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Until what is pending belongs into the journal.
    Direct,
    /// Until the journal need not hold this any more.
    Free(Held),
    /// Until everything below is synced.
    Synced(Offset),
}

/// A partition to drain.
type Drain = (PartitionIndex, TopicPartition, Goal);
type Drains = Vec<Drain>;

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

    /// Partitions worth draining: those that hold back the oldest journal file, fat tails, and
    /// those that owe a sync. And those that hold it back because they were cut, with the end that
    /// it waits for.
    fn plan_drains(&mut self) -> (Drains, Renewals) {
        let oldest = self.journal.oldest();
        let mut chosen = Vec::new();
        let mut renewals = Vec::new();
        for (index, partition) in &mut self.partitions {
            let (id, log) = (partition.id, &partition.log);
            let held = oldest.and_then(|oldest| oldest.get(&id)).copied();
            let held = held.filter(|held| !log.has_in_segments(*held));
            if let Some(held) = held {
                if partition.is_draining {
                    // The write loop may wait for room, and nothing else would have the drain loop
                    // look again.
                    partition.is_drain_awaited = true;
                } else if log.log_end() < held.end && log.is_at_rest() {
                    renewals.push((index, id, held.end));
                    continue;
                }
            }
            let is_fat = log.undrained_bytes() >= DRAIN_BYTES_MIN;
            let all = || Held { end: log.log_end(), cut: None };
            let goal = match held {
                _ if partition.is_draining => continue,
                _ if log.is_sync_owed() => {
                    let end = held.map_or(Offset::ZERO, |held| held.end.min(log.log_end()));
                    Goal::Synced(end.max(log.drained_end()))
                }
                Some(held) => Goal::Free(held),
                None if is_fat => Goal::Free(all()),
                None => continue,
            };
            chosen.push((index, id, goal));
        }
        (chosen, renewals)
    }

    /// The partition, if it is still the one that was at this index.
    pub fn partition_at(
        &mut self,
        index: PartitionIndex,
        id: TopicPartition,
    ) -> Option<&mut Partition<D>> {
        self.partitions.get_mut(index).filter(|partition| partition.id == id)
    }

    /// True when a segment was closed and should be synced.
    fn end_drain(&mut self, index: PartitionIndex, id: TopicPartition, goal: Goal) -> bool {
        let Some(partition) = self.partition_at(index, id) else {
            // What was deleted holds back no journal file any more.
            self.signals.drain.raise();
            return false;
        };
        partition.is_draining = false;
        partition.is_direct = false;
        let mut is_awaited = std::mem::take(&mut partition.is_drain_awaited);
        if let Goal::Free(held) = goal {
            // Its cut entry can be renewed now.
            is_awaited |= partition.log.log_end() < held.end && partition.log.is_at_rest();
        }
        if let Some(signal) = &partition.cut_signal {
            signal.raise();
        }
        let is_close_due = partition.log.is_close_due();
        if partition.log.pending_bytes() > 0 || partition.log.wants_cut_entry() {
            self.mark_dirty(index);
        }
        if is_awaited {
            self.signals.drain.raise();
        }
        is_close_due
    }

    pub(super) fn on_drain_error(&mut self, error: &StorageError) {
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

/// Writes one partition's tail to its segments, as far as the goal is, and syncs them where
/// somebody waits for that.
async fn drain<D: Disk>(shard: ShardRef<D>, index: PartitionIndex, id: TopicPartition, goal: Goal) {
    let disk = shard.borrow().disk.clone();
    loop {
        let plan = shard.borrow_mut().partition_at(index, id).and_then(|partition| match goal {
            Goal::Direct => partition.log.plan_drain(),
            Goal::Free(Held { end, .. }) | Goal::Synced(end) => partition.log.plan_drain_to(end),
        });
        let Some(plan) = plan else { break };
        let written = plan.size();
        let result = plan.execute(&disk).await;
        let goes_on = shard.borrow_mut().on_drain_step((index, id), goal, result);
        if shard.borrow_mut().sweep.is_due(written) {
            let sweep = segment_sync::sync_all(shard.clone());
            shard.borrow_mut().outbox.spawn(sweep);
        }
        if shard.borrow_mut().is_sync_awaited(index, id, goal) {
            segment_sync::sync(&shard, index, id).await;
        }
        if !goes_on {
            break;
        }
    }
    if shard.borrow_mut().is_sync_awaited(index, id, goal) {
        segment_sync::sync(&shard, index, id).await;
    }
    let is_close_due = shard.borrow_mut().end_drain(index, id, goal);
    if is_close_due {
        let sync = segment_sync::sync_unasked(shard.clone(), index, id);
        shard.borrow_mut().outbox.spawn(sync);
    }
}

impl<D: Disk> Shard<D> {
    /// One piece is written, or not. True when there is more to write.
    fn on_drain_step(
        &mut self,
        (index, id): (PartitionIndex, TopicPartition),
        goal: Goal,
        result: Result<DrainDone<D>, StorageError>,
    ) -> bool {
        let Some(partition) = self.partition_at(index, id) else { return false };
        let goes_on = match result {
            Ok(done) => {
                let released = partition.log.drained(done);
                let goes_on = match goal {
                    Goal::Direct => {
                        partition.note_write(released);
                        partition.is_direct_due()
                    }
                    Goal::Free(Held { end, .. }) | Goal::Synced(end) => {
                        partition.log.drained_end() < end
                    }
                };
                self.on_left_memory(released);
                self.settle_partition(index);
                goes_on
            }
            Err(error) => {
                partition.log.drain_failed();
                self.on_drain_error(&error);
                false
            }
        };
        self.outbox.raise();
        goes_on
    }

    /// True when a drain's end, or an acknowledgement, waits for a sync of what is in segments.
    fn is_sync_awaited(&mut self, index: PartitionIndex, id: TopicPartition, goal: Goal) -> bool {
        let Some(partition) = self.partition_at(index, id) else { return false };
        let is_flush = partition.log.config().durability == Durability::Flush;
        match goal {
            Goal::Direct => is_flush,
            Goal::Free(held) => is_flush || partition.log.is_sync_awaited_by(held),
            Goal::Synced(_) => true,
        }
    }
}

/// Drains and syncs one partition, unless a drain is under way.
pub async fn drain_one<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex, id: TopicPartition) {
    let goal = match shard.borrow_mut().partition_at(index, id) {
        Some(partition) if !partition.is_draining => {
            partition.is_draining = true;
            Goal::Synced(partition.log.log_end())
        }
        _ => return,
    };
    drain(shard.clone(), index, id, goal).await;
}

/// Starts the direct appends that the last commit plan asked for, each as a task of its own.
pub fn start_directs<D: Disk>(shard: &ShardRef<D>) {
    let starts = std::mem::take(&mut shard.borrow_mut().commit.direct_starts);
    for (index, id) in starts {
        let task = drain(shard.clone(), index, id, Goal::Direct);
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
        drain_each(&shard, chosen).await;
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
    let all: Drains = {
        let shard = shard.borrow();
        let goal = |one: &Partition<D>| Goal::Synced(one.log.log_end());
        shard.partitions.iter().map(|(index, one)| (index, one.id, goal(one))).collect()
    };
    drain_each(shard, all).await;
    release_journal(shard).await;
}

/// Drains one after the other and some side by side. Until its turn comes, a partition is free to
/// take large writes straight to its segment, or to be cut.
async fn drain_each<D: Disk>(shard: &ShardRef<D>, chosen: Drains) {
    let mut waiting = chosen.into_iter();
    let mut running = FuturesUnordered::new();
    let mut running_bytes = 0;
    loop {
        while has_room(running.len(), running_bytes, !shard.borrow().journal.has_spare()) {
            let Some((index, id, goal)) = waiting.next() else { break };
            let begun = shard.borrow_mut().begin_drain(index, id);
            let Some(bytes) = begun else { continue };
            running_bytes += bytes;
            let one = drain(shard.clone(), index, id, goal);
            running.push(one.map(move |()| bytes));
        }
        let Some(bytes) = running.next().await else { return };
        running_bytes -= bytes;
    }
}

/// Whether one more drain may run beside `running` others, which began with `bytes` to write. Few
/// do while the journal has a spare file, since its syncs wait behind what they write; without one,
/// producers are about to wait for the last of them.
fn has_room(running: usize, bytes: usize, is_hurried: bool) -> bool {
    let is_within = is_hurried || bytes < DRAINING_BYTES_MAX;
    running < DRAINS_AT_ONCE_MIN || running < DRAINS_AT_ONCE && is_within
}

impl<D: Disk> Shard<D> {
    /// Takes a partition for a drain and tells how many bytes that has to write. `None` when it is
    /// gone, or taken: then the drain loop looks again once it is free.
    fn begin_drain(&mut self, index: PartitionIndex, id: TopicPartition) -> Option<usize> {
        let partition = self.partition_at(index, id)?;
        if partition.is_draining {
            partition.is_drain_awaited = true;
            return None;
        }
        partition.is_draining = true;
        Some(partition.log.undrained_bytes())
    }

    /// Gives journal files back that no log needs as the recovery points are. True when more could
    /// go if they were written anew.
    fn release_free(&mut self) -> bool {
        let is_free = |id: &TopicPartition, held: Held| match self.partition_index(id) {
            Some(index) => self.partitions[index].log.is_free_of(held),
            // The partition is gone.
            None => true,
        };
        let files = self.journal.releasable(is_free);
        if !files.is_empty() {
            for (id, held) in self.journal.release(&files).into_iter().flatten() {
                if let Some(index) = self.partition_index(&id) {
                    self.partitions[index].log.on_journal_released(held.end);
                }
            }
            self.signals.room.raise();
        }
        let is_in_segments = |id: &TopicPartition, held: Held| match self.partition_index(id) {
            Some(index) => self.partitions[index].log.has_in_segments(held),
            None => true,
        };
        !self.journal.releasable(is_in_segments).is_empty()
    }
}

/// Gives journal files back that nothing needs any more, and writes the recovery points for that
/// where it must.
pub async fn release_journal<D: Disk>(shard: &ShardRef<D>) {
    if !shard.borrow_mut().release_free() {
        return;
    }
    match persist_points(shard).await {
        Ok(()) => _ = shard.borrow_mut().release_free(),
        Err(error) => shard.borrow_mut().on_drain_error(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drains_leave_room_for_the_journal_until_it_is_about_to_be_full() {
        assert!(has_room(DRAINS_AT_ONCE_MIN - 1, usize::MAX, false));
        assert!(!has_room(DRAINS_AT_ONCE_MIN, DRAINING_BYTES_MAX, false));
        assert!(has_room(DRAINS_AT_ONCE - 1, DRAINING_BYTES_MAX - 1, false));
        assert!(has_room(DRAINS_AT_ONCE - 1, usize::MAX, true));
        assert!(!has_room(DRAINS_AT_ONCE, 0, false) && !has_room(DRAINS_AT_ONCE, 0, true));
    }
}
