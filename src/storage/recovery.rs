//! From files to an open log, after a clean stop, a killed process or a power cut.
//!
//! Segments are read from the recovery point on, batch by batch, by checksum. What is found bad
//! there is a torn tail: no sync had covered it, so nobody was promised anything, and the log is
//! cut. What is found bad below the recovery point was safe once: it is bit rot. It is never cut;
//! the range is remembered, reads of it are refused, and everything around it is served.
//!
//! What a recovery has read it also syncs: after a killed process those bytes may be in the page
//! cache only, and from here on they count as durable.

use crate::model::clock::Now;
use crate::model::ids::{Offset, TopicPartition};
use crate::model::topic_config::TopicConfig;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch};
use crate::storage::checkpoint::{RecoveryPoint, replace_file};
use crate::storage::compaction::{
    CHECKPOINT_FILE, CompactionState, finish_swap, is_of_swap, read_checkpoint,
};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::epoch_cache::{EPOCH_FILE, EpochCache};
use crate::storage::error::StorageError;
use crate::storage::index::{OFFSET_ENTRY_BYTES, SegmentIndex, TIME_ENTRY_BYTES, decode_times};
use crate::storage::journal::JournalEntry;
use crate::storage::partition_log::{Damage, PartitionLog, write_aborts};
use crate::storage::producer_state::ProducerState;
use crate::storage::retention::remove_segment;
use crate::storage::segment::{MaxTimestamp, Segment, SegmentBatch, parse_name, segment_path};
use crate::storage::transactions::{self, ABORTED_ENTRY_BYTES, Transactions};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod scan;

/// What to open.
#[derive(Debug, Clone)]
pub struct OpenLog {
    /// Folder of the partition; made when it is not there.
    pub dir: PathBuf,
    pub partition: TopicPartition,
    pub config: Arc<TopicConfig>,
    /// The default makes recovery read everything.
    pub point: RecoveryPoint,
    pub now: Now,
}

/// What a recovery found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Bytes of segments that were read.
    pub scanned_bytes: u64,
    /// Bytes cut off as a torn tail.
    pub cut_bytes: u64,
    /// Segments removed because they lay behind a torn tail.
    pub cut_segments: usize,
    /// Closed segments whose index files were made again.
    pub rebuilt_indexes: usize,
    /// True when producers or epochs had to be read from the whole log.
    pub has_read_all: bool,
    pub damage: Vec<Damage>,
}

impl RecoveryReport {
    /// True when an operator should hear of it.
    pub fn is_worth_telling(&self) -> bool {
        *self != RecoveryReport { scanned_bytes: self.scanned_bytes, ..RecoveryReport::default() }
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read {} bytes, cut {} bytes and {} segments, rebuilt {} indexes",
            self.scanned_bytes, self.cut_bytes, self.cut_segments, self.rebuilt_indexes
        )?;
        for damage in &self.damage {
            let (file, position) = (damage.file.display(), damage.position);
            write!(f, ", offsets {}..{} damaged in {file}", damage.first, damage.end)?;
            write!(f, " at byte {position}")?;
        }
        Ok(())
    }
}

/// Files of a partition's folder, by what they are.
#[derive(Default)]
struct Folder {
    /// Base offset to size.
    logs: BTreeMap<Offset, u64>,
    indexes: BTreeMap<Offset, u64>,
    time_indexes: BTreeMap<Offset, u64>,
    aborts: BTreeMap<Offset, u64>,
    snapshots: Vec<Offset>,
    has_epochs: bool,
    has_cleaner_checkpoint: bool,
}

impl<D: Disk> PartitionLog<D> {
    /// Opens a partition's log, and repairs what a crash left behind.
    ///
    /// Journal entries of the partition are replayed afterwards (`replay`).
    ///
    /// # Errors
    /// The disk's. Damage is no error: it is in the report, and in what later reads answer.
    pub async fn open(
        disk: &D,
        open: OpenLog,
    ) -> Result<(PartitionLog<D>, RecoveryReport), StorageError> {
        PartitionLog::open_cut(disk, open, None).await
    }

    /// Opens the log as it is below `cut_at`, and cuts off the rest as if it were a torn tail. The
    /// recovery point lies at or below that.
    pub(super) async fn open_cut(
        disk: &D,
        open: OpenLog,
        cut_at: Option<Offset>,
    ) -> Result<(PartitionLog<D>, RecoveryReport), StorageError> {
        assert!(cut_at.is_none_or(|at| open.point.recovery_offset <= at));
        let mut folder = list_folder(disk, &open.dir).await?;
        drop_deleted(disk, &open, &mut folder).await?;
        let mut recovery = Recovery {
            disk,
            log: PartitionLog::empty(&open, open.point.recovery_offset),
            open: &open,
            trusted: open.point.recovery_offset,
            cut_at,
            report: RecoveryReport::default(),
            notes_from: Offset::ZERO,
        };
        if folder.has_cleaner_checkpoint {
            let checkpoint = read_checkpoint(disk, &open.dir).await?;
            recovery.log.compaction = CompactionState::recovered(checkpoint, recovery.trusted);
        }
        recovery.load_state(&folder).await?;
        if folder.logs.is_empty() {
            // What was safe in it is gone, unless all of it had been deleted.
            let missing = (open.point.log_start, recovery.trusted);
            recovery.log.log_start = open.point.log_start;
            recovery.add_damage(missing, Offset::ZERO, (0, 0));
        } else {
            recovery.load_segments(&folder).await?;
        }
        recovery.finish(&folder).await?;
        let Recovery { log, report, .. } = recovery;
        Ok((log, report))
    }

    /// Appends what the journal has beyond the segments. Entries below the log end are in the
    /// segments already; one behind a hole was never acknowledged. Returns the bytes appended.
    pub fn replay(&mut self, entries: Vec<JournalEntry>) -> usize {
        let before = self.undrained_bytes();
        let limits = limits_of_cuts(&entries);
        for (entry, limit) in entries.into_iter().zip(limits) {
            assert!(entry.partition == self.partition);
            if entry.base_offset > self.log_end() {
                continue;
            }
            for mut bytes in entry.parts {
                // A wrong batch under the entry's own checksum was wrong when it was journaled;
                // what follows it would leave a hole.
                while let Ok(batch) = CheckedBatch::check_first(&mut bytes) {
                    let last_offset = batch.header().last_offset();
                    if limit.is_some_and(|limit| last_offset >= limit.to_wire()) {
                        break;
                    }
                    if self.is_next(batch.header()) {
                        self.append_replayed(&batch, self.opened_at);
                    }
                }
            }
        }
        self.undrained_bytes() - before
    }

    fn is_next(&self, header: &BatchHeader) -> bool {
        let log_end = self.log_end();
        // Where the journal does not give back the cut between them, which a rotten bit can do,
        // what was taken back must not follow on what took its place: nobody could tell it later.
        let is_old = self.epochs.latest().is_some_and(|latest| header.leader_epoch() < latest.0);
        !is_old
            && Offset::from_wire(header.last_offset()).is_some()
            && match Offset::from_wire(header.base_offset()) {
                // An entry is one run of appends, and begins at or below the log end: a hole in it
                // is that of a compacted leader (see `base_for`), not one that a crash made.
                Some(base) => base == log_end || (base > log_end && self.config.cleanup.compact),
                None => false,
            }
    }
}

/// For each entry the offset from which on a later cut took it back.
fn limits_of_cuts(entries: &[JournalEntry]) -> Vec<Option<Offset>> {
    let mut limit: Option<Offset> = None;
    let mut limits: Vec<Option<Offset>> = Vec::with_capacity(entries.len());
    for entry in entries.iter().rev() {
        if entry.is_cut() {
            limit = Some(limit.map_or(entry.base_offset, |limit| limit.min(entry.base_offset)));
        }
        limits.push(limit);
    }
    limits.reverse();
    limits
}

/// A recovery under way.
struct Recovery<'a, D: Disk> {
    disk: &'a D,
    log: PartitionLog<D>,
    open: &'a OpenLog,
    /// Everything below was synced: bad bytes there are damage.
    trusted: Offset,
    /// Batches that reach this far or further are no part of the log any more.
    cut_at: Option<Offset>,
    report: RecoveryReport,
    /// Producers' state holds everything below.
    notes_from: Offset,
}

impl<D: Disk> Recovery<'_, D> {
    /// Epochs and producers, as far as their files go. Where one is missing or damaged, the whole
    /// log is read again, for epochs without forgetting the producers: what retention removed is
    /// in their snapshot only.
    async fn load_state(&mut self, folder: &Folder) -> Result<(), StorageError> {
        let point = self.open.point;
        self.notes_from = point.producers_from;
        let mut has_producers = true;
        let mut has_epochs = true;
        if folder.has_epochs {
            let bytes = read_all(self.disk, &self.open.dir.join(EPOCH_FILE)).await?;
            let text = std::str::from_utf8(&bytes).unwrap_or_default();
            match EpochCache::decode(text) {
                Some(epochs) => self.log.epochs = epochs,
                None => has_epochs = false,
            }
        } else {
            has_epochs = point.recovery_offset == Offset::ZERO;
        }
        if point.has_snapshot {
            let path = segment_path(&self.open.dir, point.producers_from, "snapshot");
            let state = match folder.snapshots.contains(&point.producers_from) {
                true => ProducerState::decode(&read_all(self.disk, &path).await?),
                false => None,
            };
            match state {
                Some(state) => {
                    self.log.producers = state;
                    self.log.snapshots.loaded(point.producers_from);
                }
                None => has_producers = false,
            }
        }
        has_producers &= self.load_aborts(folder).await?;
        self.report.has_read_all = !(has_producers && has_epochs || folder.logs.is_empty());
        if !has_producers && !folder.logs.is_empty() {
            self.notes_from = Offset::ZERO;
            self.log.producers = ProducerState::default();
            self.log.transactions = Transactions::default();
            self.log.snapshots = Default::default();
        }
        for (producer, first) in self.log.producers.open_transactions() {
            self.log.transactions.begin(producer, first);
        }
        Ok(())
    }

    /// Aborted transactions whose markers need not be read again. False when a file is damaged that
    /// is all synced; where markers are read again, a power cut may have torn what no sync covered.
    async fn load_aborts(&mut self, folder: &Folder) -> Result<bool, StorageError> {
        let bases = folder.aborts.keys().filter(|base| folder.logs.contains_key(*base));
        let mut next = Offset::ZERO;
        for base in bases {
            let path = segment_path(&self.open.dir, *base, "txnindex");
            let bytes = read_all(self.disk, &path).await?;
            let (entries, is_whole) = transactions::decode(&bytes);
            let behind = folder.logs.range(base.advance(1)..).next();
            let is_synced = behind.is_some_and(|(behind, _)| *behind <= self.notes_from);
            if is_synced && !is_whole {
                return Ok(false);
            }
            for entry in entries {
                if entry.marker >= self.notes_from {
                    break;
                }
                if entry.marker < next.max(*base) {
                    return Ok(false);
                }
                next = entry.marker.advance(1);
                self.log.transactions.add_aborted(entry);
            }
        }
        Ok(true)
    }

    /// Writes the indexes of aborted transactions again that are not what the log says.
    async fn write_aborts(&mut self, folder: &Folder) -> Result<(), StorageError> {
        let log = &mut self.log;
        for segment in &mut log.segments {
            let (base, end) = (segment.base_offset, segment.end_offset);
            let known = log.transactions.markers_between(base, end);
            let content = transactions::encode(known);
            segment.aborts_written = content.len() / ABORTED_ENTRY_BYTES;
            let path = segment_path(&self.open.dir, base, "txnindex");
            let is_there = folder.aborts.contains_key(&base);
            let found = match is_there {
                true => read_all(self.disk, &path).await?,
                false => Bytes::new(),
            };
            if found == content {
                // After a killed process it may be in the page cache only.
                if is_there && end > self.notes_from {
                    let file = self.disk.open(&path, OpenMode::ReadWrite).await?;
                    self.disk.sync(&file).await?;
                }
                continue;
            }
            if content.is_empty() {
                self.disk.remove(&path).await?;
            }
            write_aborts(self.disk, &self.open.dir, base, (0, &content)).await?;
        }
        Ok(())
    }

    /// Writes the epochs where their file is not what the log says: a log that takes no more
    /// batches has no later sync, and each start would read all of it.
    async fn write_epochs(&mut self) -> Result<(), StorageError> {
        if !self.log.is_epoch_file_due {
            return Ok(());
        }
        let path = self.open.dir.join(EPOCH_FILE);
        let path_new = self.open.dir.join(format!("{EPOCH_FILE}.tmp"));
        let content = Bytes::from(self.log.epochs.encode());
        match replace_file(self.disk, &path_new, &path, content).await {
            Ok(()) => self.log.is_epoch_file_due = false,
            // It stays due. What the file says would be believed by a start before that; without
            // it, a start reads all of the log.
            Err(error) if error.is_no_space() => self.disk.remove(&path).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn load_segments(&mut self, folder: &Folder) -> Result<(), StorageError> {
        let bases: Vec<Offset> = folder.logs.keys().copied().collect();
        let scan_from = match self.report.has_read_all {
            true => Offset::ZERO,
            false => self.trusted.min(self.notes_from),
        };
        let first_scanned = bases.partition_point(|base| *base <= scan_from).saturating_sub(1);
        self.log.segments.clear();
        let log_start = self.open.point.log_start;
        let is_front_missing = log_start < bases[0].min(self.trusted);
        self.log.log_start = if is_front_missing { log_start } else { log_start.max(bases[0]) };
        self.add_damage((log_start, bases[0].min(self.trusted)), bases[0], (0, 0));
        for (index, base) in bases.iter().enumerate() {
            let next = bases.get(index + 1).copied();
            let size = folder.logs[base];
            if index < first_scanned {
                let next = next.expect("the scanned one follows");
                self.load_closed(folder, *base, next, size).await?;
                continue;
            }
            let start = if index == first_scanned { scan_from } else { *base };
            if !self.scan_segment(*base, size, start, next).await? {
                self.remove_behind(&bases[index + 1..], folder).await?;
                break;
            }
        }
        self.open_active().await
    }

    /// A closed segment below everything that must be read: only its index files are looked at.
    async fn load_closed(
        &mut self,
        folder: &Folder,
        base: Offset,
        next: Offset,
        size: u64,
    ) -> Result<(), StorageError> {
        let has_entries = |sizes: &BTreeMap<Offset, u64>, entry_bytes: usize| {
            sizes.get(&base).is_some_and(|size| size.is_multiple_of(entry_bytes as u64))
        };
        let has_indexes = has_entries(&folder.indexes, OFFSET_ENTRY_BYTES)
            && has_entries(&folder.time_indexes, TIME_ENTRY_BYTES);
        if !has_indexes {
            self.report.rebuilt_indexes += 1;
            self.scan_segment(base, size, base, Some(next)).await?;
            return Ok(());
        }
        let mut segment = Segment::new(base);
        segment.size = size;
        segment.written = size;
        segment.end_offset = next;
        segment.index = None;
        segment.max_timestamp = self.last_time(base, folder.time_indexes[&base]).await?;
        self.log.segments.push_back(segment);
        Ok(())
    }

    /// The largest timestamp of a closed segment: its time index ends with it.
    async fn last_time(
        &self,
        base: Offset,
        size: u64,
    ) -> Result<Option<MaxTimestamp>, StorageError> {
        let Some(position) = size.checked_sub(TIME_ENTRY_BYTES as u64) else { return Ok(None) };
        let path = segment_path(&self.open.dir, base, "timeindex");
        let file = self.disk.open(&path, OpenMode::Read).await?;
        let bytes = self.disk.read_at(&file, position, TIME_ENTRY_BYTES).await?;
        let entry = decode_times(&bytes).and_then(|entries| entries.first().copied());
        Ok(entry.map(|entry| MaxTimestamp {
            timestamp_ms: entry.timestamp_ms,
            offset: base.advance(u64::from(entry.relative)),
        }))
    }

    /// Segments behind a torn tail were written after what was lost: they go.
    async fn remove_behind(
        &mut self,
        bases: &[Offset],
        folder: &Folder,
    ) -> Result<(), StorageError> {
        for base in bases {
            assert!(*base > self.trusted);
            self.report.cut_bytes += folder.logs[base];
            self.report.cut_segments += 1;
            remove_segment(self.disk, &self.open.dir, *base).await?;
        }
        Ok(())
    }

    /// Makes sure that the last segment can be appended to.
    async fn open_active(&mut self) -> Result<(), StorageError> {
        let end = self.log.log_end();
        if end < self.trusted {
            // Safe once and gone: the damage is noted, and appends go on behind it.
            self.log.active_mut().end_offset = self.trusted;
            self.close_index(self.log.active().base_offset).await?;
            self.log.segments.push_back(Segment::new(self.trusted));
        }
        let active = self.log.active().base_offset;
        let closed: Vec<Offset> = self
            .log
            .segments
            .iter()
            .filter(|segment| segment.base_offset != active && segment.index.is_some())
            .map(|segment| segment.base_offset)
            .collect();
        for base in closed {
            self.close_index(base).await?;
        }
        Ok(())
    }

    /// Writes both index files of a segment that takes no more batches.
    async fn close_index(&mut self, base: Offset) -> Result<(), StorageError> {
        let segment = self.log.segments.iter_mut().find(|segment| segment.base_offset == base);
        let segment = segment.expect("it was just loaded");
        segment.close();
        segment.file = None;
        let Some(index) = segment.index.take() else { return Ok(()) };
        for (kind, content) in
            [("index", index.encode_offsets(0)), ("timeindex", index.encode_times(0))]
        {
            let path = segment_path(&self.open.dir, base, kind);
            let file = self.disk.open(&path, OpenMode::ReadWrite).await?;
            let size = content.len() as u64;
            self.disk.write_at(&file, 0, vec![content]).await?;
            self.disk.truncate(&file, size).await?;
            self.disk.sync(&file).await?;
        }
        Ok(())
    }

    async fn finish(&mut self, folder: &Folder) -> Result<(), StorageError> {
        let log = &mut self.log;
        log.is_epoch_file_due |= log.epochs.truncate_from(log.log_end());
        log.is_epoch_file_due |= log.epochs.truncate_to(log.log_start);
        log.settle();
        log.snapshots.recovered(self.report.scanned_bytes);
        self.write_aborts(folder).await?;
        self.write_epochs().await?;
        let kept = self.open.point.producers_from;
        for snapshot in &folder.snapshots {
            if *snapshot != kept {
                let path = segment_path(&self.open.dir, *snapshot, "snapshot");
                self.disk.remove(&path).await?;
            }
        }
        self.disk.sync_dir(&self.open.dir).await?;
        self.report.damage.clone_from(&self.log.damage);
        Ok(())
    }

    /// Notes damage to the offsets of a range, if there are any, and where in the file of `base` it
    /// begins and intact batches go on.
    ///
    /// What no file has and nobody may read any more is none: a segment whose records were deleted
    /// before all of them had left the journal is never written to its end.
    fn add_damage(
        &mut self,
        (first, end): (Offset, Offset),
        base: Offset,
        (position, end_position): (u64, u64),
    ) {
        let is_deleted = end <= self.open.point.log_start && position == end_position;
        if first >= end || is_deleted {
            return;
        }
        let file = segment_path(&self.open.dir, base, "log");
        self.log.damage.push(Damage { first, end, file, position, end_position });
    }
}

pub(super) async fn read_all<D: Disk>(disk: &D, path: &Path) -> Result<Bytes, StorageError> {
    let file = disk.open(path, OpenMode::Read).await?;
    let size = usize::try_from(disk.size(&file).await?).unwrap_or(usize::MAX);
    Ok(disk.read_at(&file, 0, size).await?)
}

async fn list_folder<D: Disk>(disk: &D, dir: &Path) -> Result<Folder, StorageError> {
    let mut folder = Folder::default();
    let mut names = disk.list(dir).await?;
    if names.iter().any(is_of_swap) {
        finish_swap(disk, dir, &names).await?;
        names = disk.list(dir).await?;
    }
    if names.is_empty() {
        disk.create_dir(dir).await?;
        // The partition's, the topic's and the topics' folder are new at most.
        for above in dir.ancestors().skip(1).take(3).filter(|above| above.parent().is_some()) {
            disk.sync_dir(above).await?;
        }
    }
    for entry in names {
        match parse_name(&entry.name) {
            Some((base, "log")) => _ = folder.logs.insert(base, entry.size),
            Some((base, "index")) => _ = folder.indexes.insert(base, entry.size),
            Some((base, "txnindex")) => _ = folder.aborts.insert(base, entry.size),
            Some((base, "timeindex")) => _ = folder.time_indexes.insert(base, entry.size),
            Some((offset, "snapshot")) => folder.snapshots.push(offset),
            _ => {
                folder.has_epochs |= entry.name == EPOCH_FILE;
                folder.has_cleaner_checkpoint |= entry.name == CHECKPOINT_FILE;
            }
        }
    }
    Ok(folder)
}

/// Removes segments that lie below the log start and that no state must be read from, and indexes
/// without a log.
async fn drop_deleted<D: Disk>(
    disk: &D,
    open: &OpenLog,
    folder: &mut Folder,
) -> Result<(), StorageError> {
    let needed_from = open.point.log_start.min(open.point.producers_from);
    while let Some((first, next)) = first_two(&folder.logs) {
        if next > needed_from {
            break;
        }
        folder.logs.remove(&first);
        remove_segment(disk, &open.dir, first).await?;
    }
    let indexes = folder.indexes.keys().chain(folder.time_indexes.keys());
    for base in indexes.chain(folder.aborts.keys()) {
        if !folder.logs.contains_key(base) {
            remove_segment(disk, &open.dir, *base).await?;
        }
    }
    Ok(())
}

fn first_two(logs: &BTreeMap<Offset, u64>) -> Option<(Offset, Offset)> {
    let mut bases = logs.keys();
    Some((*bases.next()?, *bases.next()?))
}
