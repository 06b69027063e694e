//! Which records leave a log, by age, by size, or because a client said so, and how their files go.
//!
//! In three steps, each of them safe to die in: the log start moves in memory; the caller makes it
//! durable (recovery points); the files are removed `file.delete.delay.ms` later, when readers that
//! were planned before have finished.
//!
//! Invariants
//! - Only whole, closed segments go, and only when synced and below the high watermark.
//! - A file is removed only after the log start above it is durable.

use crate::model::clock::Now;
use crate::model::ids::Offset;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::PartitionLog;
use crate::storage::segment::{Segment, segment_path};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A segment that is no longer part of the log, with its file still there.
#[derive(Debug, Clone, Copy)]
struct Deletion {
    base_offset: Offset,
    due_us: u64,
}

/// Files of one partition that wait for removal.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    queue: VecDeque<Deletion>,
    /// Log start that is known to be durable.
    durable_start: Offset,
}

/// The order to remove files of dropped segments.
#[derive(Debug)]
pub struct RetentionPlan {
    dir: PathBuf,
    due: Vec<Offset>,
    moves_log_start: bool,
    log_start: Offset,
}

/// A removal that is complete.
#[derive(Debug)]
pub struct RetentionDone {
    removed: usize,
    log_start: Offset,
}

impl RetentionPlan {
    /// True when recovery points must be written before `execute`.
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
        if !self.due.is_empty() {
            disk.sync_dir(&self.dir).await?;
        }
        Ok(RetentionDone { removed: self.due.len(), log_start: self.log_start })
    }
}

/// Removes the files of one segment, the log last, so that an index is never left alone.
pub(super) async fn remove_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    base_offset: Offset,
) -> Result<(), StorageError> {
    for kind in ["index", "timeindex", "log"] {
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
            let base_offset = dropped.base_offset;
            self.deletions.queue.push_back(Deletion { base_offset, due_us });
        }
        let is_due = |deletion: &&Deletion| deletion.due_us <= now.monotonic_us;
        let due = self.deletions.queue.iter().take_while(is_due);
        let due: Vec<Offset> = due.map(|deletion| deletion.base_offset).collect();
        let has_waiting = !self.deletions.queue.is_empty();
        let moves_log_start = has_waiting && self.log_start > self.deletions.durable_start;
        if due.is_empty() && !moves_log_start {
            return None;
        }
        let (dir, log_start) = (self.dir.clone(), self.log_start);
        Some(RetentionPlan { dir, due, moves_log_start, log_start })
    }

    /// A removal is complete.
    pub fn retained(&mut self, done: RetentionDone) {
        assert!(done.removed <= self.deletions.queue.len());
        assert!(done.log_start <= self.log_start);
        self.deletions.queue.drain(..done.removed);
        self.deletions.durable_start = self.deletions.durable_start.max(done.log_start);
    }

    fn droppable_end(&self, high_watermark: Offset) -> Offset {
        high_watermark.min(self.synced_end)
    }

    fn should_drop_oldest(&self, now: Now, high_watermark: Offset) -> bool {
        if self.segments.len() < 2 {
            return false;
        }
        let oldest = &self.segments[0];
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
