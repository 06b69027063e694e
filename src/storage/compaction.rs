//! Log compaction: of each key the last record stays, at its offset (KIP-58).
//!
//! A round reads the closed segments that were appended since the last one (the dirty part), keeps
//! the last offset of each key in bounded memory, and writes every closed segment again without the
//! records that something later supersedes. Neighbours are joined up to `segment.bytes`. Where not
//! all keys fit, the round ends at the first that does not, and the next one goes on there.
//!
//! ```text
//!  log start      first dirty       mapped end      cleanable end     active
//!  |---- clean ----|------ dirty -----|--- next round --|--- too young --|----
//!  |<----- written again, group by group ---->|
//! ```
//! As the rest of the log it does no I/O of its own: `plan_compaction` gives a [`Round`], whose
//! steps run without the log; each group of segments that is ready comes back as a [`SwapPlan`],
//! which the log is told of before and after it is carried out.
//!
//! Invariants
//! - Records of aborted transactions supersede nothing and go at once; a marker goes after the last
//!   batch of its transaction, and what readers are told of an abort goes with its marker.
//! - Only whole, closed, synced segments are touched, below the caller's stable end (high
//!   watermark, last stable offset), and none of a log that has damage.
//! - Nothing is touched that a recovery would read: everything lies below the durable recovery
//!   point and below the durable state of the producers.
//! - The groups of a round are swapped in the order of their offsets, each durable before the
//!   next, so a tombstone is never gone before what it deletes.
//! - The checkpoint file says where holes may be before there are any. A recovery takes missing
//!   offsets anywhere else for damage.

use crate::model::clock::Now;
use crate::model::ids::Offset;
use crate::model::limits::CLEANER_BITE_BYTES;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::storage::checkpoint::replace_file;
use crate::storage::disk::{Disk, DiskError, OpenMode};
use crate::storage::error::StorageError;
use crate::storage::partition_log::{PartitionLog, write_snapshot};
use crate::storage::segment::{Segment, segment_path};
use bytes::Bytes;
use std::path::{Path, PathBuf};

mod filter;
mod key_map;
mod output;
mod round;
mod segment_reader;
mod swap;

pub use round::{Round, RoundDone, Step};
pub use swap::{SwapDone, SwapPlan};
pub(super) use swap::{finish_swap, is_of_swap};

/// Name of the file that says up to where a partition's log is clean.
pub(super) const CHECKPOINT_FILE: &str = "cleaner-checkpoint";

/// What a log knows of its compaction.
#[derive(Debug, Default)]
pub(super) struct CompactionState {
    /// Everything below was compacted.
    pub(super) first_dirty: Offset,
    /// True when the checkpoint file is there: the log may have holes.
    pub(super) has_checkpoint: bool,
    /// Below this offsets may be missing.
    pub(super) holes_end: Offset,
    is_running: bool,
    /// Offsets of the segments that are being swapped.
    pub(super) swapping: Option<(Offset, Offset)>,
}

impl CompactionState {
    /// As a start finds it. Without a readable checkpoint a round begins anew, and there may be
    /// holes in all that is below the recovery point.
    pub(super) fn recovered(checkpoint: Option<Checkpoint>, trusted: Offset) -> CompactionState {
        let unknown = Checkpoint { first_dirty: Offset::ZERO, holes_end: trusted };
        let Checkpoint { first_dirty, holes_end } = checkpoint.unwrap_or(unknown);
        let has_checkpoint = true;
        CompactionState { first_dirty, has_checkpoint, holes_end, ..CompactionState::default() }
    }
}

/// What a round would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanable {
    /// Bytes of segments below the first dirty offset, and of those that a round would map.
    pub clean_bytes: u64,
    pub dirty_bytes: u64,
    /// True when the recovery point must move before a round may begin.
    pub needs_recovery_point: bool,
    /// Where the round would end: what a recovery needs must lie behind it.
    pub end: Offset,
    /// Wall clock before which the oldest dirty record must be compacted, if that is bounded.
    oldest: Option<OldestDirty>,
}

/// Where the oldest dirty record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OldestDirty {
    path: PathBuf,
    /// Records as old as this, or older, are overdue; milliseconds since 1970.
    due_ms: i64,
}

impl Cleanable {
    /// Share of the bytes that were not compacted yet, 0 to 1 (`min.cleanable.dirty.ratio`).
    pub fn dirty_ratio(&self) -> f64 {
        let (clean, dirty) = (self.clean_bytes, self.dirty_bytes);
        #[allow(clippy::cast_precision_loss, reason = "a ratio need not be exact")]
        let ratio = dirty as f64 / (clean + dirty).max(1) as f64;
        ratio
    }

    /// True when the oldest dirty record is older than `max.compaction.lag.ms` (KIP-354).
    ///
    /// # Errors
    /// The disk's.
    pub async fn is_overdue<D: Disk>(&self, disk: &D) -> Result<bool, StorageError> {
        let Some(oldest) = &self.oldest else { return Ok(false) };
        let file = disk.open(&oldest.path, OpenMode::Read).await?;
        let head = disk.read_at(&file, 0, BATCH_HEADER_SIZE).await?;
        Ok(BatchHeader::read(&head).is_ok_and(|header| header.max_timestamp() <= oldest.due_ms))
    }
}

/// The order to write down the producers' state, so that nothing below it is read again.
#[derive(Debug)]
pub struct SnapshotPlan {
    dir: PathBuf,
    offset: Offset,
    content: Bytes,
    cuts: u32,
}

/// A snapshot that is durable.
#[derive(Debug)]
pub struct SnapshotDone {
    offset: Offset,
    cuts: u32,
}

impl SnapshotPlan {
    /// Writes and syncs it.
    ///
    /// # Errors
    /// The disk's; nothing has changed then.
    pub async fn execute<D: Disk>(self, disk: &D) -> Result<SnapshotDone, StorageError> {
        write_snapshot(disk, &self.dir, self.offset, self.content).await?;
        disk.sync_dir(&self.dir).await?;
        Ok(SnapshotDone { offset: self.offset, cuts: self.cuts })
    }
}

impl<D: Disk> PartitionLog<D> {
    /// What a round would find now below `stable_end`; `None` when there is nothing to do or
    /// nothing may be done.
    pub fn cleanable(&self, now: Now, stable_end: Offset) -> Option<Cleanable> {
        let is_free = !self.compaction.is_running && !self.is_damaged();
        if !is_free || !self.config.cleanup.compact || self.is_being_cut() {
            return None;
        }
        let end = self.cleanable_end(now, stable_end);
        let first_dirty = self.first_dirty();
        let bytes = |keep: &dyn Fn(&&Segment<D>) -> bool| {
            self.segments.iter().filter(keep).map(|segment| segment.size).sum::<u64>()
        };
        let clean_bytes = bytes(&|segment| segment.end_offset <= first_dirty);
        let dirty_bytes =
            bytes(&|segment| segment.end_offset > first_dirty && segment.end_offset <= end);
        if dirty_bytes == 0 {
            return None;
        }
        let lag_ms = Some(self.config.max_compaction_lag_ms).filter(|lag| *lag < i64::MAX);
        let oldest = lag_ms.map(|lag_ms| OldestDirty {
            path: segment_path(&self.dir, self.segment_of(first_dirty).base_offset, "log"),
            due_ms: now.wall_ms.saturating_sub(lag_ms),
        });
        let needs_recovery_point = self.recoverable_end() < end;
        Some(Cleanable { clean_bytes, dirty_bytes, needs_recovery_point, end, oldest })
    }

    /// Begins a round with a key map of at most `key_map_bytes`; `None` when nothing may be done.
    /// The caller ends it with `compacted` or `compaction_failed`.
    pub fn plan_compaction(
        &mut self,
        now: Now,
        stable_end: Offset,
        key_map_bytes: usize,
    ) -> Option<Round<D>> {
        let cleanable = self.cleanable(now, stable_end)?;
        if cleanable.needs_recovery_point {
            return None;
        }
        let end = self.cleanable_end(now, stable_end);
        let round = Round::new(self, end, now, key_map_bytes);
        self.compaction.is_running = true;
        Some(round)
    }

    /// A round is complete.
    pub fn compacted(&mut self, done: RoundDone) {
        assert!(self.compaction.is_running);
        assert!(self.compaction.swapping.is_none());
        self.compaction.is_running = false;
        self.compaction.has_checkpoint = true;
        self.compaction.first_dirty = done.clean_end;
        self.compaction.holes_end = self.compaction.holes_end.max(done.clean_end);
    }

    /// True while a round is under way.
    pub fn is_compacting(&self) -> bool {
        self.compaction.is_running
    }

    /// A round was given up; what it has swapped stays swapped.
    pub fn compaction_failed(&mut self) {
        assert!(self.compaction.is_running);
        self.compaction.is_running = false;
        self.compaction.swapping = None;
    }

    /// What to write so that the recovery point may move to the log end; `None` when it can move
    /// without, or when the state comes with the next sync.
    pub fn plan_snapshot_for_compaction(&mut self) -> Option<SnapshotPlan> {
        let is_wanted = self.recovery_point().producers_from < self.segment_synced_end();
        let (offset, content) = if is_wanted { self.plan_snapshot_now()? } else { return None };
        let (dir, cuts) = (self.dir.clone(), self.cuts());
        Some(SnapshotPlan { dir, offset, content, cuts })
    }

    /// A snapshot is durable.
    pub fn snapshot_written(&mut self, done: SnapshotDone) {
        if done.cuts == self.cuts() {
            self.snapshots.publish(done.offset);
        }
    }

    /// True when a closed segment cannot be compacted as it is not settled in its files: nothing
    /// else would see to that in a partition that takes few records.
    pub fn is_settling_due(&self) -> bool {
        let closed = self.segments.iter().rev().nth(1);
        let is_unsettled =
            closed.is_some_and(|segment| !segment.is_empty() && segment.index.is_some());
        self.config.cleanup.compact && is_unsettled
    }

    /// Everything below was compacted.
    pub fn clean_end(&self) -> Offset {
        self.first_dirty()
    }

    /// True when offsets may be missing: the log is compacted, or was once.
    pub(super) fn may_have_holes(&self) -> bool {
        self.config.cleanup.compact || self.compaction.has_checkpoint
    }

    fn first_dirty(&self) -> Offset {
        let known = self.compaction.first_dirty;
        if known > self.log_end() { self.log_start } else { known.max(self.log_start) }
    }

    /// Below this a recovery reads nothing.
    fn recoverable_end(&self) -> Offset {
        self.durable_point.recovery_offset.min(self.durable_point.producers_from)
    }

    /// End of the last closed segment that may be compacted.
    fn cleanable_end(&self, now: Now, stable_end: Offset) -> Offset {
        let bound = stable_end.min(self.synced_end);
        let lag_ms = self.config.min_compaction_lag_ms;
        let too_young_ms = now.wall_ms.saturating_sub(lag_ms);
        let is_young = |segment: &Segment<D>| {
            lag_ms > 0 && segment.max_timestamp.is_some_and(|max| max.timestamp_ms > too_young_ms)
        };
        let active = self.active().base_offset;
        let closed = self.segments.iter().take_while(|segment| {
            segment.base_offset < active
                && segment.end_offset <= bound
                && segment.index.is_none()
                && (segment.end_offset <= self.first_dirty() || !is_young(segment))
        });
        closed.last().map_or(self.log_start, |segment| segment.end_offset)
    }
}

/// How far a log is compacted, as a file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Everything below was compacted.
    pub(super) first_dirty: Offset,
    /// Below this offsets may be missing: a round may have got further than `first_dirty`.
    pub(super) holes_end: Offset,
}

/// The checkpoint's content: a version and both offsets, as text.
fn encode_checkpoint(checkpoint: Checkpoint) -> Bytes {
    let Checkpoint { first_dirty, holes_end } = checkpoint;
    Bytes::from(format!("0\n{} {}\n", first_dirty.get(), holes_end.get()))
}

fn decode_checkpoint(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    let version = lines.next()?;
    let (first_dirty, holes_end) = lines.next()?.split_once(' ')?;
    let offset = |text: &str| Offset::from_wire(text.parse().ok()?);
    let checkpoint =
        Checkpoint { first_dirty: offset(first_dirty)?, holes_end: offset(holes_end)? };
    (version == "0").then_some(checkpoint)
}

async fn write_checkpoint<D: Disk>(
    disk: &D,
    dir: &Path,
    checkpoint: Checkpoint,
) -> Result<(), DiskError> {
    assert!(checkpoint.first_dirty <= checkpoint.holes_end);
    let path_new = dir.join(format!("{CHECKPOINT_FILE}.tmp"));
    let content = encode_checkpoint(checkpoint);
    replace_file(disk, &path_new, &dir.join(CHECKPOINT_FILE), content).await
}

/// How far a log was compacted; `None` when the file is damaged.
pub(super) async fn read_checkpoint<D: Disk>(
    disk: &D,
    dir: &Path,
) -> Result<Option<Checkpoint>, DiskError> {
    let file = disk.open(&dir.join(CHECKPOINT_FILE), OpenMode::Read).await?;
    let bytes = disk.read_at(&file, 0, CLEANER_BITE_BYTES).await?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Ok(decode_checkpoint(text))
}
