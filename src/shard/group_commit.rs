//! One journal write and one sync for every partition of the core that has something new.
//!
//! Two loops. The write loop hands all pending batches to the kernel in one write: acks=1 is
//! answered there. The sync loop makes everything written durable with one fdatasync: acks=all is
//! answered there, and the high watermark of `flush` topics rises. Writes go on while a sync is
//! under way, so a slow disk costs acks=all latency and nothing else.
//!
//! A partition whose pending bytes reach `DIRECT_APPEND_BYTES_MIN`, or mostly do, skips the
//! journal: its batches go straight to the segment (segment_writer.rs), because writing them twice
//! costs more than the one sync that the journal would have shared.

use crate::model::ids::{CoreId, Offset, TopicPartition};
use crate::model::limits::{JOURNAL_WRITE_BYTES_MAX, UNWRITTEN_BYTES_MAX};
use crate::model::topic_config::Durability;
use crate::shard::mesh::ShardMessage;
use crate::shard::segment_writer;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::stages::Stage;
use crate::storage::disk::{Disk, DiskError};
use crate::storage::journal::JournalWrite;

/// Commit state of one core.
#[derive(Default)]
pub struct GroupCommit {
    /// Partitions with batches that nothing has written yet: those with `is_dirty`, each once.
    dirty: Vec<PartitionIndex>,
    /// Bytes appended and not yet written, over all partitions.
    pub unwritten_bytes: usize,
    /// Partitions whose direct append waits to be started as a task.
    pub direct_starts: Vec<(PartitionIndex, TopicPartition)>,
    /// Partitions with journaled batches that no sync covers yet, with a `flush` topic.
    unsynced: Ends,
}

/// How far a write or sync brings a partition.
#[derive(Debug, Clone, Copy)]
struct End {
    index: PartitionIndex,
    end: Offset,
    /// Of the log at the time: what is said of a log before a cut is not said of the one after.
    cuts: u32,
}

type Ends = Vec<End>;

enum CommitStep<D: Disk> {
    Idle,
    /// No journal file is free until the segment writer has drained one.
    NoRoom,
    Write(JournalWrite<D>, Ends),
}

impl<D: Disk> Shard<D> {
    /// Puts a partition with new batches in the commit queue.
    pub fn mark_dirty(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index];
        if !partition.is_dirty && !partition.is_direct {
            partition.is_dirty = true;
            self.commit.dirty.push(index);
        }
        self.signals.commit.raise();
    }

    /// Queues every partition that has something pending, and has the segment writer look again:
    /// there is room on the disk.
    pub fn mark_pending_dirty(&mut self) {
        let indexes: Vec<PartitionIndex> = self.partitions.iter().map(|(index, _)| index).collect();
        for index in indexes {
            if self.partitions[index].log.pending_bytes() > 0 {
                self.mark_dirty(index);
            }
        }
        self.signals.drain.raise();
    }

    /// The topic's durability was raised: what was written before is synced, in the journal and in
    /// segments.
    pub fn on_durability_raised(&mut self, index: PartitionIndex) {
        let log = &self.partitions[index].log;
        let (end, cuts) = (log.written_end(), log.cuts());
        self.commit.unsynced.push(End { index, end, cuts });
        self.signals.sync.raise();
        self.signals.drain.raise();
    }

    /// True while readers should wait for the write path.
    pub fn is_write_pressed(&self) -> bool {
        self.commit.unwritten_bytes >= UNWRITTEN_BYTES_MAX
    }

    fn plan_commit(&mut self) -> CommitStep<D> {
        if self.commit.dirty.is_empty() || self.write_state == WriteState::Offline {
            return CommitStep::Idle;
        }
        let mut entries = Vec::new();
        let mut ends = Vec::new();
        let mut bytes = 0;
        let mut queue = std::mem::take(&mut self.commit.dirty).into_iter();
        for index in queue.by_ref() {
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            let pending = partition.log.pending_bytes();
            if pending == 0 && !partition.log.wants_cut_entry() {
                // A drain wrote it all in the meantime; the next append queues it again.
                partition.is_dirty = false;
                continue;
            }
            if partition.is_direct_due() {
                self.start_direct(index);
                continue;
            }
            bytes += pending;
            partition.log.pending_journal(&mut entries);
            let (end, cuts) = (partition.log.log_end(), partition.log.cuts());
            ends.push(End { index, end, cuts });
            if bytes >= JOURNAL_WRITE_BYTES_MAX {
                break;
            }
        }
        self.commit.dirty = queue.collect();
        if entries.is_empty() {
            return CommitStep::Idle;
        }
        let Some(write) = self.journal.reserve(entries) else {
            self.commit.dirty.extend(ends.into_iter().map(|end| end.index));
            return CommitStep::NoRoom;
        };
        for end in &ends {
            let partition = &mut self.partitions[end.index];
            partition.is_dirty = false;
            partition.note_write(partition.log.pending_bytes());
        }
        CommitStep::Write(write, ends)
    }

    fn on_written(&mut self, ends: Ends) {
        for journaled in ends {
            let End { index, end, cuts } = journaled;
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            if partition.log.cuts() != cuts {
                continue;
            }
            let released = partition.log.on_journaled(end);
            if let Some(signal) = &partition.cut_signal {
                signal.raise();
            }
            let is_flush = partition.log.config().durability == Durability::Flush;
            self.on_left_memory(released);
            if is_flush {
                self.commit.unsynced.push(journaled);
            }
            self.settle_partition(index);
        }
        if !self.commit.unsynced.is_empty() {
            self.signals.sync.raise();
        }
        if self.journal.is_crowded() {
            self.signals.drain.raise();
        }
    }

    /// Bytes that the kernel has now; readers held for them may go on.
    pub fn on_left_memory(&mut self, bytes: usize) {
        assert!(bytes <= self.commit.unwritten_bytes);
        self.commit.unwritten_bytes -= bytes;
        if self.has_pressed() && !self.is_write_pressed() {
            self.release_pressed();
        }
    }

    fn plan_journal_sync(&mut self) -> Option<(Vec<D::File>, Ends)> {
        if self.commit.unsynced.is_empty() || self.write_state == WriteState::Offline {
            return None;
        }
        Some((self.journal.unsynced_files(), std::mem::take(&mut self.commit.unsynced)))
    }

    fn on_journal_synced(&mut self, ends: Ends) {
        for End { index, end, cuts } in ends {
            let Some(partition) = self.partitions.get_mut(index) else { continue };
            if partition.log.cuts() != cuts {
                continue;
            }
            partition.log.on_journal_synced(end);
            self.settle_partition(index);
        }
    }

    /// Answers and wakes whatever a partition's new ends allow.
    pub fn settle_partition(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index];
        let rise = partition.advance();
        while let Some((waiter, stage)) = self.partitions[index].next_settled() {
            let token = self.stages.end_of(stage, waiter.token);
            self.resolve(token, waiter.outcome);
        }
        while let Some(token) = self.partitions[index].next_safe_here() {
            *token = self.stages.end_of(Stage::Sync, *token);
        }
        if let Some(rise) = rise {
            self.wake_fetches(index, rise);
            self.queue_push(index);
        }
        self.acknowledge(index);
    }

    /// The log directory failed: no core of the broker acknowledges anything from here on.
    pub fn go_offline(&mut self, error: &DiskError) {
        if self.write_state == WriteState::Offline {
            return;
        }
        let cause = error.source.to_string();
        tracing::error!(core = self.core.0, operation = error.operation,
            path = %error.path.display(), cause, "log directory is offline, see E0009");
        self.stop_acknowledging();
        let own = self.core;
        for core in (0..self.cores).map(CoreId).filter(|core| *core != own) {
            self.send(core, ShardMessage::Offline);
        }
    }

    /// Fails what waits for the disk, and everything that will be produced.
    pub fn stop_acknowledging(&mut self) {
        self.write_state = WriteState::Offline;
        self.fail_all_appends();
    }

    fn fail_all_appends(&mut self) {
        let indexes: Vec<PartitionIndex> = self.partitions.iter().map(|(index, _)| index).collect();
        for index in indexes {
            let code = crate::model::errors::KafkaCode::KafkaStorageError;
            while let Some((token, outcome)) = self.partitions[index].next_failed(code) {
                self.resolve(token, outcome);
            }
        }
    }
}

/// The write loop of one core; ends with its executor.
pub async fn write_loop<D: Disk>(shard: ShardRef<D>) {
    let (signals, disk) = {
        let shard = shard.borrow();
        (shard.signals.clone(), shard.disk.clone())
    };
    loop {
        let step = shard.borrow_mut().plan_commit();
        segment_writer::start_directs(&shard);
        match step {
            CommitStep::Idle => signals.commit.wait().await,
            CommitStep::NoRoom => {
                signals.drain.raise();
                signals.room.wait().await;
            }
            CommitStep::Write(write, ends) => {
                let result = disk.write_at(&write.file, write.position, write.parts).await;
                let mut shard = shard.borrow_mut();
                match result {
                    Ok(()) => shard.on_written(ends),
                    Err(error) => shard.go_offline(&error),
                }
                shard.outbox.raise();
            }
        }
    }
}

/// The sync loop of one core; ends with its executor.
pub async fn sync_loop<D: Disk>(shard: ShardRef<D>) {
    let (signals, disk) = {
        let shard = shard.borrow();
        (shard.signals.clone(), shard.disk.clone())
    };
    loop {
        let Some((files, ends)) = shard.borrow_mut().plan_journal_sync() else {
            signals.sync.wait().await;
            continue;
        };
        let mut result = Ok(());
        for file in &files {
            result = disk.sync(file).await;
            if result.is_err() {
                break;
            }
        }
        let mut shard = shard.borrow_mut();
        match result {
            Ok(()) => shard.on_journal_synced(ends),
            Err(error) => shard.go_offline(&error),
        }
        shard.outbox.raise();
    }
}
