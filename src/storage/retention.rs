//! Which records leave a log, by age, by size, or because a client said so, and how their files go.
//!
//! In three steps, each of them safe to die in: the log start moves in memory; the caller makes it
//! durable (recovery points) and says so; the files are removed `file.delete.delay.ms` later, when
//! readers that were planned before have finished.
//!
//! Invariants
//! - Only whole, closed segments go, and only when synced and below the high watermark.
//! - A file is removed only when the durable recovery point needs it no more: neither for records
//!   nor for the producers' state that follows from them.

use crate::model::clock::Now;
use crate::model::ids::Offset;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::{PartitionLog, write_snapshot};
use crate::storage::segment::{Segment, segment_path};
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A segment that is no longer part of the log, with its file still there.
#[derive(Debug, Clone, Copy)]
struct Deletion {
    base_offset: Offset,
    end_offset: Offset,
    due_us: u64,
}

/// Files of one partition that wait for removal.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    queue: VecDeque<Deletion>,
}

/// The order to remove files of dropped segments.
#[derive(Debug)]
pub struct RetentionPlan {
    dir: PathBuf,
    due: Vec<Offset>,
    snapshot: Option<(Offset, Bytes)>,
    moves_log_start: bool,
    cuts: u32,
}

/// A removal that is complete.
#[derive(Debug)]
pub struct RetentionDone {
    removed: usize,
    snapshot: Option<Offset>,
    cuts: u32,
}

impl RetentionPlan {
    /// True when recovery points should be written before `execute`: files wait for that.
    pub fn moves_log_start(&self) -> bool {
        self.moves_log_start
    }

    /// Removes the files that are due.
    ///
    /// # Errors
    /// The disk's; the files are planned again.
    pub async fn execute<D: Disk>(self, disk: &D) -> Result<RetentionDone, StorageError> {
        for base_offset in &self.due {
            remove_segment(disk, &self.dir, *base_offset).await?;
        }
        if let Some((offset, content)) = &self.snapshot {
            write_snapshot(disk, &self.dir, *offset, content.clone()).await?;
        }
        disk.sync_dir(&self.dir).await?;
        Ok(RetentionDone {
            removed: self.due.len(),
            snapshot: self.snapshot.map(|(offset, _)| offset),
            cuts: self.cuts,
        })
    }
}

/// Removes the files of one segment, the log last, so that an index is never left alone.
pub(super) async fn remove_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    base_offset: Offset,
) -> Result<(), StorageError> {
    for kind in ["index", "timeindex", "txnindex", "log"] {
        disk.remove(&segment_path(dir, base_offset, kind)).await?;
    }
    Ok(())
}

impl<D: Disk> PartitionLog<D> {
    /// Makes everything below `offset` unreadable (DeleteRecords). The caller makes the recovery
    /// points durable before it tells anybody; the files go with the next retention.
    pub fn delete_records_before(&mut self, offset: Offset) {
        self.raise_log_start(offset.min(self.log_end()));
    }

    /// True when age lets the oldest segment go, but a part of it is not synced in its file:
    /// nothing else would see to that in a partition that takes few records.
    pub fn is_sync_due(&self, now: Now) -> bool {
        let oldest = &self.segments[0];
        oldest.end_offset > self.synced_end && self.is_too_old(oldest, now)
    }

    /// Drops what the topic's retention lets go, and says which files are due for removal. `None`
    /// when there is nothing to do.
    pub fn plan_retention(&mut self, now: Now, high_watermark: Offset) -> Option<RetentionPlan> {
        let is_age_due = self.is_too_old(self.active(), now);
        if is_age_due && self.active().end_offset <= self.droppable_end(high_watermark) {
            self.roll();
        }
        let delay_us = u64::try_from(self.config.file_delete_delay_ms).unwrap_or(0) * 1000;
        let due_us = now.monotonic_us.saturating_add(delay_us);
        while self.should_drop_oldest(now, high_watermark) {
            let dropped = self.segments.pop_front().expect("checked by should_drop_oldest");
            self.raise_log_start(dropped.end_offset);
            self.transactions.forget_below(dropped.end_offset);
            let (base_offset, end_offset) = (dropped.base_offset, dropped.end_offset);
            self.deletions.queue.push_back(Deletion { base_offset, end_offset, due_us });
        }
        self.plan_removal(now)
    }

    /// Which files a recovery needs no more, and what must happen before others can go; `None`
    /// when there is nothing to do.
    pub fn plan_removal(&mut self, now: Now) -> Option<RetentionPlan> {
        let newest_end = self.deletions.queue.back()?.end_offset;
        let (durable, current) = (self.durable_point, self.recovery_point());
        let is_due = |deletion: &&Deletion| {
            deletion.due_us <= now.monotonic_us
                && deletion.end_offset <= durable.log_start.min(durable.producers_from)
        };
        let due = self.deletions.queue.iter().take_while(is_due);
        let due: Vec<Offset> = due.map(|deletion| deletion.base_offset).collect();
        let snapshot = match newest_end > current.producers_from {
            true => self.plan_snapshot_now(),
            false => None,
        };
        let moves_log_start = newest_end > durable.log_start
            || newest_end > durable.producers_from && newest_end <= current.producers_from;
        if due.is_empty() && !moves_log_start && snapshot.is_none() {
            return None;
        }
        let (dir, cuts) = (self.dir.clone(), self.cuts());
        Some(RetentionPlan { dir, due, snapshot, moves_log_start, cuts })
    }

    /// A removal is complete.
    pub fn retained(&mut self, done: RetentionDone) {
        if done.cuts != self.cuts() {
            // The log was opened again since, and has seen to all of its files.
            return;
        }
        assert!(done.removed <= self.deletions.queue.len());
        self.deletions.queue.drain(..done.removed);
        if let Some(offset) = done.snapshot {
            self.snapshots.publish(offset);
        }
    }

    fn droppable_end(&self, high_watermark: Offset) -> Offset {
        high_watermark.min(self.synced_end)
    }

    fn should_drop_oldest(&self, now: Now, high_watermark: Offset) -> bool {
        if self.segments.len() < 2 {
            return false;
        }
        let oldest = &self.segments[0];
        let swapping = self.compaction.swapping;
        if swapping.is_some_and(|(base_offset, _)| oldest.base_offset >= base_offset) {
            return false;
        }
        if oldest.end_offset > self.droppable_end(high_watermark) {
            return false;
        }
        oldest.end_offset <= self.log_start || self.is_too_old(oldest, now) || self.is_too_much()
    }

    fn is_too_old(&self, segment: &Segment<D>, now: Now) -> bool {
        let (Some(retention_ms), true) = (self.config.retention_ms, self.config.cleanup.delete)
        else {
            return false;
        };
        let Some(max) = segment.max_timestamp else { return false };
        now.wall_ms.saturating_sub(max.timestamp_ms) > retention_ms
    }

    fn is_too_much(&self) -> bool {
        let (Some(retention_bytes), true) =
            (self.config.retention_bytes, self.config.cleanup.delete)
        else {
            return false;
        };
        self.size_bytes() - self.segments[0].size >= retention_bytes
    }

    fn raise_log_start(&mut self, offset: Offset) {
        if offset <= self.log_start {
            return;
        }
        self.log_start = offset;
        self.is_epoch_file_due |= self.epochs.truncate_to(offset);
        self.tail.drop_below(self.drained_end, offset);
        self.damage.retain(|damage| damage.end > offset);
        let first = self.segment_of(offset).base_offset;
        self.hints.forget_below(first);
    }
}
