//! From memory into segment files, and from there to stable storage.
//!
//! A drain writes batches of the tail behind what the files have; a sync makes everything drained
//! durable, with the indexes of closed segments, the epochs and, now and then, a snapshot of the
//! producers. Both are planned here and carried out without the log.

use super::PartitionLog;
use crate::model::ids::Offset;
use crate::storage::checkpoint::replace_file;
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::epoch_cache::EPOCH_FILE;
use crate::storage::error::StorageError;
use crate::storage::index::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
use crate::storage::segment::segment_path;
use bytes::Bytes;
use std::path::PathBuf;

/// Most bytes that one drain writes, so that a plan never holds a whole journal's worth of parts.
const DRAIN_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes of log after which producers' state is written again. Bounds what a start must read.
const SNAPSHOT_INTERVAL_BYTES: u64 = 8 * 1024 * 1024;

/// When producers' state was and will be written.
#[derive(Debug, Default)]
pub(in crate::storage) struct Snapshots {
    /// Where the state was empty, before the first batch of any producer.
    began_at: Option<Offset>,
    /// Offset of the newest snapshot file that is durable.
    published: Option<Offset>,
    /// The one before, kept for recovery points that name it still.
    previous: Option<Offset>,
    /// State at an offset that is not synced yet.
    captured: Option<(Offset, Bytes)>,
    /// Bytes appended when the last one was captured.
    captured_at_bytes: u64,
}

impl Snapshots {
    /// Notes that the batch at `offset` has a producer.
    pub(in crate::storage) fn begin_at(&mut self, offset: Offset) {
        self.began_at.get_or_insert(offset);
    }

    /// Notes that the state was read from the snapshot at `offset`.
    pub(in crate::storage) fn loaded(&mut self, offset: Offset) {
        self.began_at = Some(offset);
        self.published = Some(offset);
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
    has_new_file: bool,
}

impl<D: Disk> DrainPlan<D> {
    /// Bytes that will be written.
    pub fn size(&self) -> u64 {
        self.writes.iter().map(|write| write.size).sum()
    }

    /// Writes; makes segment files that are not there. Not durable yet.
    ///
    /// # Errors
    /// The disk's. After "no space" the same batches may be planned again once there is room;
    /// after anything else the log directory must go offline.
    pub async fn execute(self, disk: &D) -> Result<DrainDone<D>, StorageError> {
        let mut files = Vec::with_capacity(self.writes.len());
        let mut has_new_file = false;
        for write in self.writes {
            let file = match write.file {
                Some(file) => file,
                None => {
                    has_new_file = true;
                    let path = segment_path(&self.dir, write.base_offset, "log");
                    disk.open(&path, OpenMode::ReadWrite).await?
                }
            };
            disk.write_at(&file, write.position, write.parts).await?;
            files.push((write.base_offset, file, write.position + write.size));
        }
        Ok(DrainDone { files, end: self.end, has_new_file })
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
    /// True when no batch will follow: the index files are synced too.
    is_closed: bool,
}

/// The order to make everything drained durable.
pub struct SyncPlan<D: Disk> {
    dir: PathBuf,
    segments: Vec<SegmentSync<D>>,
    epochs: Option<String>,
    snapshot: Option<(Offset, Bytes)>,
    /// A snapshot that no recovery point names any more.
    stale_snapshot: Option<Offset>,
    is_dir_due: bool,
    end: Offset,
    bytes: u64,
}

/// A sync that is complete.
pub struct SyncDone {
    closed: Vec<Offset>,
    indexed: Vec<(Offset, (usize, usize))>,
    snapshot: Option<Offset>,
    end: Offset,
    bytes: u64,
}

impl<D: Disk> SyncPlan<D> {
    /// Syncs segments in order, then what lies beside them, then the folder's names.
    ///
    /// # Errors
    /// The disk's. Never try again: the log directory must go offline.
    pub async fn execute(self, disk: &D) -> Result<SyncDone, StorageError> {
        let mut closed = Vec::new();
        let mut indexed = Vec::with_capacity(self.segments.len());
        for segment in self.segments {
            disk.sync(&segment.file).await?;
            let base_offset = segment.base_offset;
            write_index(disk, &self.dir, &segment).await?;
            indexed.push((base_offset, segment.indexed));
            if segment.is_closed {
                closed.push(base_offset);
            }
        }
        if let Some(text) = self.epochs {
            let path = self.dir.join(EPOCH_FILE);
            let path_new = self.dir.join(format!("{EPOCH_FILE}.tmp"));
            replace_file(disk, &path_new, &path, Bytes::from(text)).await?;
        }
        let mut is_dir_due = self.is_dir_due || !closed.is_empty();
        if let Some((offset, content)) = &self.snapshot {
            let path = segment_path(&self.dir, *offset, "snapshot");
            let file = disk.open(&path, OpenMode::ReadWrite).await?;
            disk.truncate(&file, 0).await?;
            disk.write_at(&file, 0, vec![content.clone()]).await?;
            disk.sync(&file).await?;
            is_dir_due = true;
        }
        if is_dir_due {
            disk.sync_dir(&self.dir).await?;
        }
        if let Some(offset) = self.stale_snapshot {
            disk.remove(&segment_path(&self.dir, offset, "snapshot")).await?;
        }
        Ok(SyncDone {
            closed,
            indexed,
            snapshot: self.snapshot.map(|(offset, _)| offset),
            end: self.end,
            bytes: self.bytes,
        })
    }
}

async fn write_index<D: Disk>(
    disk: &D,
    dir: &std::path::Path,
    segment: &SegmentSync<D>,
) -> Result<(), StorageError> {
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
        if self.is_draining || self.drained_end == self.log_end() {
            return None;
        }
        let mut writes: Vec<SegmentWrite<D>> = Vec::new();
        let mut end = self.drained_end;
        let mut planned: u64 = 0;
        let mut segments = self.segments.iter().peekable();
        for batch in self.tail.from(self.drained_end) {
            if planned >= DRAIN_BYTES_MAX {
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
                    parts: Vec::new(),
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
        self.is_dir_unsynced |= done.has_new_file;
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
        if self.is_syncing || self.synced_end == self.drained_end {
            return None;
        }
        let active = self.active().base_offset;
        let mut segments = Vec::new();
        for segment in &self.segments {
            let Some(file) = &segment.file else { continue };
            if segment.written == 0 || segment.base_offset >= self.drained_end {
                continue;
            }
            let is_closed = segment.base_offset != active && segment.unwritten() == 0;
            segments.push(SegmentSync {
                base_offset: segment.base_offset,
                file: file.clone(),
                offsets: index_tail(segment, 0),
                times: index_tail(segment, 1),
                indexed: segment.index.as_ref().map_or((0, 0), |index| index.counts()),
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
            stale_snapshot: snapshot.as_ref().and(self.snapshots.previous),
            snapshot,
            is_dir_due: std::mem::take(&mut self.is_dir_unsynced),
            end: self.drained_end,
            bytes: self.unsynced_bytes,
        })
    }

    /// State to write with the next sync: captured at the log end, written once that is drained.
    fn plan_snapshot(&mut self, interval_bytes: u64) -> Option<(Offset, Bytes)> {
        self.snapshots.began_at?;
        let appended = self.tail.appended_bytes();
        let is_due = appended - self.snapshots.captured_at_bytes >= interval_bytes;
        let is_new = self.snapshots.published != Some(self.log_end());
        if self.snapshots.captured.is_none() && is_due && is_new {
            self.snapshots.captured = Some((self.log_end(), self.producers.encode()));
            self.snapshots.captured_at_bytes = appended;
        }
        self.snapshots.captured.take_if(|(offset, _)| *offset <= self.drained_end)
    }

    /// A sync is complete.
    pub fn synced(&mut self, done: SyncDone) {
        assert!(self.is_syncing);
        assert!(done.end >= self.synced_end);
        self.is_syncing = false;
        for (base_offset, indexed) in done.indexed {
            let Some(segment) = self.segments.iter_mut().find(|s| s.base_offset == base_offset)
            else {
                continue;
            };
            segment.indexed = indexed;
            if done.closed.contains(&base_offset) {
                // From here on it is read through the file system only.
                segment.file = None;
                segment.index = None;
            }
        }
        if let Some(offset) = done.snapshot {
            self.snapshots.previous = self.snapshots.published.replace(offset);
        }
        self.unsynced_bytes -= done.bytes;
        self.synced_end = done.end;
        self.advance_durable();
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
            let done = plan.execute(disk).await?;
            self.synced(done);
        }
        assert!(self.synced_end == self.log_end());
        self.write_snapshot(disk).await
    }

    async fn write_snapshot(&mut self, disk: &D) -> Result<(), StorageError> {
        self.snapshots.captured = None;
        let Some((offset, content)) = self.plan_snapshot(0) else { return Ok(()) };
        let plan: SyncPlan<D> = SyncPlan {
            dir: self.dir.clone(),
            segments: Vec::new(),
            epochs: None,
            snapshot: Some((offset, content)),
            stale_snapshot: self.snapshots.previous,
            is_dir_due: false,
            end: self.synced_end,
            bytes: 0,
        };
        self.is_syncing = true;
        let done = plan.execute(disk).await?;
        self.synced(done);
        Ok(())
    }
}

/// New entries of one index (0: offsets, 1: times) and where they go in its file.
fn index_tail<D: Disk>(
    segment: &crate::storage::segment::Segment<D>,
    which: usize,
) -> (u64, Bytes) {
    let Some(index) = &segment.index else { return (0, Bytes::new()) };
    let (offsets, times) = segment.indexed;
    if which == 0 {
        ((offsets * OFFSET_ENTRY_BYTES) as u64, index.encode_offsets(offsets))
    } else {
        ((times * TIME_ENTRY_BYTES) as u64, index.encode_times(times))
    }
}
