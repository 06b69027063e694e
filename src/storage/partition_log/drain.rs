//! From memory into segment files, and from there to stable storage.
//!
//! A drain writes batches of the tail behind what the files have; a sync makes everything drained
//! durable, with the indexes of closed segments, the epochs and, now and then, a snapshot of the
//! producers. Both are planned here and carried out without the log.

use super::PartitionLog;
use crate::model::ids::Offset;
use crate::model::limits::DRAIN_BYTES_MIN;
use crate::storage::checkpoint::replace_file;
use crate::storage::disk::{Disk, DiskError, OpenMode};
use crate::storage::epoch_cache::EPOCH_FILE;
use crate::storage::error::StorageError;
use crate::storage::index::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::storage::segment::{Segment, segment_path};
use crate::storage::transactions::{self, ABORTED_ENTRY_BYTES};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// Most bytes that one drain writes, so that a plan never holds a whole journal's worth of parts.
const DRAIN_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Batches of a drain for which room is made at once; a list of more grows.
const DRAIN_ROOM_MAX: usize = 64 * 1024;

/// Bytes of log after which the next sync writes producers' state again. With how often there is a
/// sync it bounds what a start must read.
const SNAPSHOT_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// When producers' state was and will be written.
#[derive(Debug, Default)]
pub(in crate::storage) struct Snapshots {
    /// Where the state was empty, before the first batch of any producer.
    began_at: Option<Offset>,
    /// Offset of the newest snapshot file that is durable.
    published: Option<Offset>,
    /// Older ones, kept until no recovery point names them.
    older: Vec<Offset>,
    /// State at an offset that is not synced yet.
    captured: Option<(Offset, Bytes)>,
    /// Bytes that recovery read to build the state; appended ones add to them.
    recovered_bytes: u64,
    /// Bytes recovered and appended when the last one was captured.
    captured_at_bytes: u64,
    /// True when files wait to be removed that only an older state needs.
    is_wanted: bool,
}

impl Snapshots {
    /// Notes that the batch at `offset` has a producer.
    pub(in crate::storage) fn begin_at(&mut self, offset: Offset) {
        self.began_at.get_or_insert(offset);
    }

    /// Notes that the state was read from the snapshot at `offset`. Where it began is not known any
    /// more: a cut below the snapshot must not take what comes before for empty.
    pub(in crate::storage) fn loaded(&mut self, offset: Offset) {
        self.began_at = Some(Offset::ZERO);
        self.published = Some(offset);
    }

    /// Notes how much of the log a start had to read: a snapshot is due that much sooner, so what
    /// many short lives of a broker leave unread does not add up.
    pub(in crate::storage) fn recovered(&mut self, bytes: u64) {
        self.recovered_bytes = bytes;
    }

    /// Notes that the snapshot at `offset` is durable.
    pub(in crate::storage) fn publish(&mut self, offset: Offset) {
        self.is_wanted = false;
        if self.published.is_none_or(|published| published < offset) {
            self.older.extend(self.published.replace(offset));
        }
    }

    /// Snapshots that nothing needs once recovery begins at `needed_from` at the earliest.
    fn take_stale(&mut self, needed_from: Offset) -> Vec<Offset> {
        let (stale, kept) = self.older.drain(..).partition(|offset| *offset < needed_from);
        self.older = kept;
        stale
    }

    /// As `start`, for a log that was cut at `end`. Where the state below it is not known, it names
    /// a snapshot that is not there: the whole log is read then.
    pub(super) fn start_below(&self, end: Offset) -> (Offset, bool) {
        let durable = self.older.iter().chain(&self.published);
        match durable.filter(|offset| **offset <= end).max() {
            Some(offset) => (*offset, true),
            None if self.began_at.is_none_or(|began| began >= end) => (end, false),
            None => (end, true),
        }
    }

    /// Where a recovery finds the state: the offset, and whether a file has it.
    pub(super) fn start(&self, synced_end: Offset) -> (Offset, bool) {
        match (self.published, self.began_at) {
            (Some(offset), _) => (offset, true),
            (None, Some(began)) => (began.min(synced_end), false),
            (None, None) => (synced_end, false),
        }
    }
}

/// What one drain writes to one segment.
struct SegmentWrite<D: Disk> {
    base_offset: Offset,
    /// `None` for a segment whose file is to be made.
    file: Option<D::File>,
    position: u64,
    size: u64,
    parts: Vec<Bytes>,
}

/// The order to write a part of the tail into segment files.
pub struct DrainPlan<D: Disk> {
    dir: PathBuf,
    writes: Vec<SegmentWrite<D>>,
    end: Offset,
}

/// A drain that is complete.
pub struct DrainDone<D: Disk> {
    files: Vec<(Offset, D::File, u64)>,
    end: Offset,
}

impl<D: Disk> DrainPlan<D> {
    /// Bytes that will be written.
    pub fn size(&self) -> u64 {
        self.writes.iter().map(|write| write.size).sum()
    }

    /// Writes; makes segment files that are not there. The names are durable then, the bytes not.
    ///
    /// # Errors
    /// The disk's. After "no space" the same batches may be planned again once there is room;
    /// after anything else the log directory must go offline.
    pub async fn execute(self, disk: &D) -> Result<DrainDone<D>, StorageError> {
        let mut files = Vec::with_capacity(self.writes.len());
        for write in self.writes {
            let file = match write.file {
                Some(file) => file,
                None => {
                    let path = segment_path(&self.dir, write.base_offset, "log");
                    let file = disk.open(&path, OpenMode::ReadWrite).await?;
                    // Before the next segment is made: a crash must not keep a later name and
                    // lose an earlier one, or the log would seem to begin there.
                    disk.sync_dir(&self.dir).await?;
                    file
                }
            };
            disk.write_at(&file, write.position, write.parts).await?;
            files.push((write.base_offset, file, write.position + write.size));
        }
        Ok(DrainDone { files, end: self.end })
    }
}

/// One segment's share of a sync.
struct SegmentSync<D: Disk> {
    base_offset: Offset,
    file: D::File,
    /// New bytes for both index files and where they go.
    offsets: (u64, Bytes),
    times: (u64, Bytes),
    /// Entries in the files afterwards.
    indexed: (usize, usize),
    /// New bytes for the index of aborted transactions, where they go, and its entries afterwards.
    aborts: (u64, Bytes),
    aborts_written: usize,
    /// True when no batch will follow: the index files are synced too.
    is_closed: bool,
}

impl<D: Disk> SegmentSync<D> {
    fn entries(&self) -> Indexed {
        let (counts, aborts) = (self.indexed, self.aborts_written);
        Indexed { base_offset: self.base_offset, counts, aborts }
    }
}

/// The order to make everything drained durable.
pub struct SyncPlan<D: Disk> {
    dir: PathBuf,
    segments: Vec<SegmentSync<D>>,
    epochs: Option<String>,
    snapshot: Option<(Offset, Bytes)>,
    /// Snapshots that no recovery point names any more.
    stale_snapshots: Vec<Offset>,
    end: Offset,
    bytes: u64,
}

/// Entries of a segment's index files after a sync.
struct Indexed {
    base_offset: Offset,
    counts: (usize, usize),
    aborts: usize,
}

/// A sync that is complete.
pub struct SyncDone {
    /// Why not all is there: something beside the segments had no space.
    no_space: Option<DiskError>,
    closed: Vec<Offset>,
    indexed: Vec<Indexed>,
    snapshot: Option<Offset>,
    end: Offset,
    bytes: u64,
}

impl<D: Disk> SyncPlan<D> {
    /// Syncs segments in order, then what lies beside them, then the folder's names.
    ///
    /// When there is no space for the small files, nothing counts as done and the same is planned
    /// again; the segments themselves have their space already.
    ///
    /// # Errors
    /// The disk's. Never try again: the log directory must go offline.
    pub async fn execute(self, disk: &D) -> Result<SyncDone, StorageError> {
        for segment in &self.segments {
            disk.sync(&segment.file).await?;
        }
        let no_space = match self.write_beside(disk).await {
            Ok(()) => None,
            Err(error) if error.is_no_space() => Some(error),
            Err(error) => return Err(error.into()),
        };
        let closed = self.segments.iter().filter(|segment| segment.is_closed);
        Ok(SyncDone {
            no_space,
            closed: closed.map(|segment| segment.base_offset).collect(),
            indexed: self.segments.iter().map(SegmentSync::entries).collect(),
            snapshot: self.snapshot.map(|(offset, _)| offset),
            end: self.end,
            bytes: self.bytes,
        })
    }

    async fn write_beside(&self, disk: &D) -> Result<(), DiskError> {
        for segment in &self.segments {
            write_index(disk, &self.dir, segment).await?;
            let (position, bytes) = &segment.aborts;
            write_aborts(disk, &self.dir, segment.base_offset, (*position, bytes)).await?;
        }
        if let Some(text) = &self.epochs {
            let path = self.dir.join(EPOCH_FILE);
            let path_new = self.dir.join(format!("{EPOCH_FILE}.tmp"));
            replace_file(disk, &path_new, &path, Bytes::from(text.clone())).await?;
        }
        if let Some((offset, content)) = &self.snapshot {
            write_snapshot(disk, &self.dir, *offset, content.clone()).await?;
        }
        let is_new = |s: &SegmentSync<D>| s.is_closed || !s.aborts.1.is_empty();
        if self.segments.iter().any(is_new) || self.snapshot.is_some() {
            disk.sync_dir(&self.dir).await?;
        }
        for offset in &self.stale_snapshots {
            disk.remove(&segment_path(&self.dir, *offset, "snapshot")).await?;
        }
        Ok(())
    }
}

/// Writes and syncs a snapshot; its name is durable after the next sync of the folder.
pub(in crate::storage) async fn write_snapshot<D: Disk>(
    disk: &D,
    dir: &Path,
    offset: Offset,
    content: Bytes,
) -> Result<(), DiskError> {
    let file = disk.open(&segment_path(dir, offset, "snapshot"), OpenMode::ReadWrite).await?;
    let size = content.len() as u64;
    disk.write_at(&file, 0, vec![content]).await?;
    disk.truncate(&file, size).await?;
    disk.sync(&file).await
}

/// Writes and syncs entries of aborted transactions, where there are any; nothing follows them.
/// Durable before any snapshot of the producers that no longer knows of those transactions.
pub(in crate::storage) async fn write_aborts<D: Disk>(
    disk: &D,
    dir: &Path,
    base_offset: Offset,
    (position, bytes): (u64, &Bytes),
) -> Result<(), DiskError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let path = segment_path(dir, base_offset, "txnindex");
    let file = disk.open(&path, OpenMode::ReadWrite).await?;
    disk.write_at(&file, position, vec![bytes.clone()]).await?;
    disk.truncate(&file, position + bytes.len() as u64).await?;
    disk.sync(&file).await
}

async fn write_index<D: Disk>(
    disk: &D,
    dir: &Path,
    segment: &SegmentSync<D>,
) -> Result<(), DiskError> {
    let files = [("index", &segment.offsets), ("timeindex", &segment.times)];
    for (kind, (position, bytes)) in files {
        if bytes.is_empty() && !segment.is_closed {
            continue;
        }
        let path = segment_path(dir, segment.base_offset, kind);
        let file = disk.open(&path, OpenMode::ReadWrite).await?;
        disk.write_at(&file, *position, vec![bytes.clone()]).await?;
        if segment.is_closed {
            // Whatever a failed attempt or an older log of this name left behind.
            disk.truncate(&file, position + bytes.len() as u64).await?;
            disk.sync(&file).await?;
        }
    }
    Ok(())
}

impl<D: Disk> PartitionLog<D> {
    /// What to write next from the tail into segment files, a bounded piece of it; `None` when
    /// there is nothing, or a drain is under way.
    pub fn plan_drain(&mut self) -> Option<DrainPlan<D>> {
        self.plan_drain_to(self.log_end())
    }

    /// As `plan_drain`, for somebody who waits for what is below `until`: no further than there,
    /// except that a short tail goes whole.
    pub fn plan_drain_to(&mut self, until: Offset) -> Option<DrainPlan<D>> {
        if self.is_draining || self.drained_end == self.log_end() {
            return None;
        }
        let mut writes: Vec<SegmentWrite<D>> = Vec::new();
        let mut end = self.drained_end;
        let mut planned: u64 = 0;
        let mut segments = self.segments.iter().peekable();
        let batches = self.tail.from(self.drained_end);
        // Made at once: growing to thousands of small batches copies the list again and again.
        let mut room = batches.len().min(DRAIN_ROOM_MAX);
        for batch in batches {
            let is_far = batch.base_offset >= until && planned >= DRAIN_BYTES_MIN as u64;
            if is_far || planned >= DRAIN_BYTES_MAX {
                break;
            }
            while segments.next_if(|s| s.end_offset <= batch.base_offset).is_some() {}
            let segment = segments.peek().expect("every batch of the tail has a segment");
            if writes.last().is_none_or(|write| write.base_offset != segment.base_offset) {
                writes.push(SegmentWrite {
                    base_offset: segment.base_offset,
                    file: segment.file.clone(),
                    position: batch.position,
                    size: 0,
                    parts: Vec::with_capacity(std::mem::take(&mut room)),
                });
            }
            let write = writes.last_mut().expect("just pushed");
            assert!(write.position + write.size == batch.position);
            write.parts.push(batch.bytes.head.clone());
            if !batch.bytes.rest.is_empty() {
                write.parts.push(batch.bytes.rest.clone());
            }
            write.size += batch.bytes.size() as u64;
            planned += batch.bytes.size() as u64;
            end = batch.end_offset;
        }
        assert!(end > self.drained_end);
        self.is_draining = true;
        Some(DrainPlan { dir: self.dir.clone(), writes, end })
    }

    /// A drain is complete. Returns how many pending bytes that settled: those that the journal
    /// did not have.
    pub fn drained(&mut self, done: DrainDone<D>) -> usize {
        assert!(self.is_draining);
        self.is_draining = false;
        let before = self.pending_bytes();
        for (base_offset, file, written) in done.files {
            // Retention may have dropped the segment in the meantime.
            let Some(segment) = self.segments.iter_mut().find(|s| s.base_offset == base_offset)
            else {
                continue;
            };
            assert!(written >= segment.written);
            assert!(written <= segment.size);
            self.unsynced_bytes += written - segment.written;
            segment.written = written;
            segment.file = Some(file);
        }
        self.drained_end = self.drained_end.max(done.end);
        self.written_end = self.written_end.max(done.end);
        self.check_invariants();
        before - self.pending_bytes()
    }

    /// A drain failed and nothing of it counts; the same batches are planned next time.
    pub fn drain_failed(&mut self) {
        assert!(self.is_draining);
        self.is_draining = false;
    }

    /// What to sync so that everything drained is durable; `None` when it is, or when a sync is
    /// under way.
    pub fn plan_sync(&mut self) -> Option<SyncPlan<D>> {
        let has_news = self.synced_end < self.drained_end || self.is_close_due();
        if self.is_syncing || !has_news || self.is_being_cut() {
            return None;
        }
        let active = self.active().base_offset;
        let mut segments = Vec::new();
        for segment in &self.segments {
            let Some(file) = &segment.file else { continue };
            // Without an index in memory it was synced and closed: only compaction holds it open.
            let is_settled = segment.index.is_none();
            if is_settled || segment.written == 0 || segment.base_offset >= self.drained_end {
                continue;
            }
            let is_closed = segment.base_offset != active && segment.unwritten() == 0;
            let (aborts, aborts_written) = self.new_aborts(segment, self.drained_end);
            segments.push(SegmentSync {
                base_offset: segment.base_offset,
                file: file.clone(),
                offsets: index_tail(segment, 0),
                times: index_tail(segment, 1),
                indexed: segment.index.as_ref().map_or((0, 0), |index| index.counts()),
                aborts,
                aborts_written,
                is_closed,
            });
        }
        assert!(!segments.is_empty());
        self.is_syncing = true;
        let epochs = self.is_epoch_file_due.then(|| self.epochs.encode());
        self.is_epoch_file_due = false;
        let snapshot = self.plan_snapshot(SNAPSHOT_INTERVAL_BYTES);
        Some(SyncPlan {
            dir: self.dir.clone(),
            segments,
            epochs,
            stale_snapshots: self.snapshots.take_stale(self.durable_point.producers_from),
            snapshot,
            end: self.drained_end,
            bytes: self.unsynced_bytes,
        })
    }

    /// True when the last closed segment is whole in its file, but its index files are not.
    pub fn is_close_due(&self) -> bool {
        let closed = self.segments.iter().rev().nth(1);
        closed.is_some_and(|segment| {
            segment.index.is_some() && segment.written > 0 && segment.unwritten() == 0
        })
    }

    /// Entries of aborted transactions below `end` that the segment's file does not have, where
    /// they go, and how many it has then.
    fn new_aborts(&self, segment: &Segment<D>, end: Offset) -> ((u64, Bytes), usize) {
        let written = segment.aborts_written;
        let end = end.min(segment.end_offset);
        let new = self.transactions.markers_between(segment.base_offset, end).skip(written);
        let bytes = transactions::encode(new);
        let count = bytes.len() / ABORTED_ENTRY_BYTES;
        (((written * ABORTED_ENTRY_BYTES) as u64, bytes), written + count)
    }

    /// State to write with the next sync: captured at the log end, written once that is drained.
    fn plan_snapshot(&mut self, interval_bytes: u64) -> Option<(Offset, Bytes)> {
        self.snapshots.began_at?;
        let bytes = self.snapshots.recovered_bytes + self.tail.appended_bytes();
        let is_due =
            self.snapshots.is_wanted || bytes - self.snapshots.captured_at_bytes >= interval_bytes;
        let is_new = self.snapshots.published != Some(self.log_end());
        if self.snapshots.captured.is_none() && is_due && is_new {
            self.snapshots.captured = Some((self.log_end(), self.producers.encode()));
            self.snapshots.captured_at_bytes = bytes;
        }
        self.snapshots.captured.take_if(|(offset, _)| *offset <= self.drained_end)
    }

    /// State to write at once, when the log end is synced; else it comes with the next sync.
    pub(in crate::storage) fn plan_snapshot_now(&mut self) -> Option<(Offset, Bytes)> {
        self.snapshots.is_wanted = true;
        let is_idle = self.synced_end == self.log_end() && !self.is_syncing;
        is_idle.then(|| (self.log_end(), self.producers.encode()))
    }

    /// A sync is complete; or it is not, for want of the space that this returns, and nothing of it
    /// counts.
    pub fn synced(&mut self, done: SyncDone) -> Option<DiskError> {
        assert!(self.is_syncing);
        assert!(done.end >= self.synced_end);
        self.is_syncing = false;
        if done.no_space.is_some() {
            self.is_epoch_file_due = true;
            return done.no_space;
        }
        for Indexed { base_offset, counts, aborts } in done.indexed {
            let Some(segment) = self.segments.iter_mut().find(|s| s.base_offset == base_offset)
            else {
                continue;
            };
            segment.indexed = counts;
            segment.aborts_written = aborts;
            if done.closed.contains(&base_offset) {
                // From here on it is read through the file system only.
                segment.file = None;
                segment.index = None;
            }
        }
        if let Some(offset) = done.snapshot {
            self.snapshots.publish(offset);
        }
        self.unsynced_bytes -= done.bytes;
        self.synced_end = done.end;
        self.advance_durable();
        None
    }

    /// Writes and syncs everything, with indexes and producers as they are at the log end, so that
    /// the next start reads nothing again. For a log that nobody else uses at the time.
    ///
    /// # Errors
    /// The disk's; what was durable stays so.
    pub async fn close(&mut self, disk: &D) -> Result<(), StorageError> {
        while let Some(plan) = self.plan_drain() {
            match plan.execute(disk).await {
                Ok(done) => {
                    self.drained(done);
                }
                Err(error) => {
                    self.drain_failed();
                    return Err(error);
                }
            }
        }
        if let Some(plan) = self.plan_sync() {
            self.sync_now(plan, disk).await?;
        }
        assert!(self.synced_end == self.log_end());
        if let Some(plan) = self.plan_close() {
            self.sync_now(plan, disk).await?;
        }
        Ok(())
    }

    async fn sync_now(&mut self, plan: SyncPlan<D>, disk: &D) -> Result<(), StorageError> {
        let done = plan.execute(disk).await?;
        self.synced(done).map_or(Ok(()), |no_space| Err(no_space.into()))
    }

    /// What a log whose segments are synced to its end still writes before a clean stop: the state
    /// of its producers. `None` when a snapshot has it, or when not all is synced.
    pub fn plan_close(&mut self) -> Option<SyncPlan<D>> {
        if self.is_syncing || self.synced_end != self.log_end() {
            return None;
        }
        self.snapshots.captured = None;
        let snapshot = Some(self.plan_snapshot(0)?);
        self.is_syncing = true;
        Some(SyncPlan {
            dir: self.dir.clone(),
            segments: Vec::new(),
            epochs: None,
            snapshot,
            stale_snapshots: Vec::new(),
            end: self.synced_end,
            bytes: 0,
        })
    }
}

/// New entries of one index (0: offsets, 1: times) and where they go in its file.
fn index_tail<D: Disk>(segment: &Segment<D>, which: usize) -> (u64, Bytes) {
    let Some(index) = &segment.index else { return (0, Bytes::new()) };
    let (offsets, times) = segment.indexed;
    if which == 0 {
        ((offsets * OFFSET_ENTRY_BYTES) as u64, index.encode_offsets(offsets))
    } else {
        ((times * TIME_ENTRY_BYTES) as u64, index.encode_times(times))
    }
}
