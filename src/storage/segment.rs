//! One log file of a partition: a run of record batches, append-only, byte for byte Kafka's.
//!
//! Why a segment knows nothing of replication or of memory: recovery after a crash needs only the
//! file. What is appended but not yet written is counted here and kept in the partition's tail.
//!
//! Invariants
//! - `base_offset` <= offset of every batch < `end_offset`, in rising order.
//! - `written` <= `size`: bytes in the file, bytes appended.
//! - `size` <= `SEGMENT_BYTES_MAX`, so a position always fits the index's 32 bits.

use crate::model::ids::Offset;
use crate::model::topic_config::TopicConfig;
use crate::protocol::record_batch::BatchHeader;
use crate::storage::disk::Disk;
use crate::storage::index::{OffsetEntry, SegmentIndex, TimeEntry};
use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a position in a segment must fit, as Kafka's index entries are signed.
pub(super) const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// Largest distance from a segment's base offset that its indexes can hold.
pub(super) const RELATIVE_OFFSET_MAX: u64 = i32::MAX as u64;

/// The largest timestamp of a segment and the last offset of the batch that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MaxTimestamp {
    pub(super) timestamp_ms: i64,
    pub(super) offset: Offset,
}

/// What a segment is told about a batch that is put behind its last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentBatch {
    pub(super) base_offset: Offset,
    pub(super) last_offset: Offset,
    pub(super) size: u64,
    pub(super) max_timestamp_ms: i64,
    /// Wall clock, for rolling by age.
    pub(super) now_ms: i64,
}

/// Bytes of a segment file whose checksums this process has seen to be right: written by itself, or
/// checked when they were read first. Shared with reads under way.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// All before this position.
    before: Cell<u64>,
    /// All from this position on.
    from: Cell<u64>,
}

impl Checked {
    /// Notes that the bytes up to `written` were there before this process was.
    pub(super) fn found(&self, written: u64) {
        self.before.set(0);
        self.from.set(written);
    }

    /// Notes that a read found the range right.
    pub(super) fn add(&self, range: Range<u64>) {
        if range.start <= self.before.get() {
            self.before.set(self.before.get().max(range.end));
        }
    }

    pub(super) fn covers(&self, range: Range<u64>) -> bool {
        range.start >= self.from.get() || range.end <= self.before.get()
    }
}

/// One segment of one partition.
pub(super) struct Segment<D: Disk> {
    pub(super) base_offset: Offset,
    pub(super) end_offset: Offset,
    /// Bytes appended, whether they are in the file or still in memory.
    pub(super) size: u64,
    /// Bytes in the file.
    pub(super) written: u64,
    /// Open while anything is to be written or synced; made by the first write.
    pub(super) file: Option<D::File>,
    /// In memory until the segment is closed and its index files are written.
    pub(super) index: Option<SegmentIndex>,
    /// Entries of both indexes that are in their files.
    pub(super) indexed: (usize, usize),
    /// Entries of the index of aborted transactions that are in its file.
    pub(super) aborts_written: usize,
    bytes_since_index: u64,
    pub(super) max_timestamp: Option<MaxTimestamp>,
    pub(super) checked: Rc<Checked>,
    /// Timestamp of the first batch, from which age is counted.
    first_timestamp_ms: Option<i64>,
    /// Wall clock at the first append of this process.
    opened_ms: Option<i64>,
}

impl<D: Disk> Segment<D> {
    /// A segment without batches and without a file.
    pub(super) fn new(base_offset: Offset) -> Segment<D> {
        Segment {
            base_offset,
            end_offset: base_offset,
            size: 0,
            written: 0,
            file: None,
            index: Some(SegmentIndex::default()),
            indexed: (0, 0),
            aborts_written: 0,
            bytes_since_index: 0,
            max_timestamp: None,
            checked: Rc::default(),
            first_timestamp_ms: None,
            opened_ms: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Distance of `offset` from the base.
    pub(super) fn relative(&self, offset: Offset) -> u32 {
        assert!(offset >= self.base_offset);
        u32::try_from(offset.since(self.base_offset)).expect("bounded by RELATIVE_OFFSET_MAX")
    }

    /// True when `batch` belongs into a new segment (segment.bytes, segment.ms, index full).
    pub(super) fn should_roll(&self, batch: &SegmentBatch, config: &TopicConfig) -> bool {
        if self.is_empty() {
            return false;
        }
        let is_full = self.size + batch.size > u64::from(config.segment_bytes);
        let is_far = batch.last_offset.since(self.base_offset) > RELATIVE_OFFSET_MAX;
        let index_bytes = self.index.as_ref().map_or(0, SegmentIndex::size_bytes);
        let is_indexed_full = index_bytes >= config.segment_index_bytes as usize;
        is_full || is_far || is_indexed_full || self.is_old(batch, config)
    }

    fn is_old(&self, batch: &SegmentBatch, config: &TopicConfig) -> bool {
        let age_ms = match self.first_timestamp_ms {
            Some(first) if first >= 0 && batch.max_timestamp_ms >= 0 => {
                batch.max_timestamp_ms.saturating_sub(first)
            }
            _ => self.opened_ms.map_or(0, |opened| batch.now_ms.saturating_sub(opened)),
        };
        age_ms > self.age_max_ms(config)
    }

    /// True when the wall clock alone makes the segment due to be closed.
    pub(super) fn is_expired(&self, now_ms: i64, config: &TopicConfig) -> bool {
        let since = match (self.first_timestamp_ms, self.opened_ms) {
            (Some(first), _) if first >= 0 => first,
            (_, Some(opened)) => opened,
            _ => return false,
        };
        !self.is_empty() && now_ms.saturating_sub(since) > self.age_max_ms(config)
    }

    /// `segment.ms` less a share of `segment.jitter.ms` that the base offset decides, so that
    /// partitions which began together do not all roll together.
    fn age_max_ms(&self, config: &TopicConfig) -> i64 {
        let jitter = match u64::try_from(config.segment_jitter_ms) {
            Ok(jitter_ms) if jitter_ms > 0 => {
                self.base_offset.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) % jitter_ms
            }
            _ => 0,
        };
        // A record that must be compacted in time must leave the active segment in time (KIP-354).
        let segment_ms = match config.cleanup.compact {
            true => config.segment_ms.min(config.max_compaction_lag_ms),
            false => config.segment_ms,
        };
        segment_ms.saturating_sub(jitter.cast_signed().min(segment_ms))
    }

    /// Counts and indexes a batch put behind the last one.
    pub(super) fn push(&mut self, batch: &SegmentBatch, index_interval_bytes: u32) {
        assert!(batch.base_offset >= self.end_offset);
        assert!(batch.last_offset >= batch.base_offset);
        assert!(self.size + batch.size <= SEGMENT_BYTES_MAX);
        let position = u32::try_from(self.size).expect("bounded by SEGMENT_BYTES_MAX");
        let is_largest = match self.max_timestamp {
            Some(max) => batch.max_timestamp_ms > max.timestamp_ms,
            None => batch.max_timestamp_ms != NO_RECORDS_MS,
        };
        if is_largest {
            let (timestamp_ms, offset) = (batch.max_timestamp_ms, batch.last_offset);
            self.max_timestamp = Some(MaxTimestamp { timestamp_ms, offset });
        }
        if self.bytes_since_index > u64::from(index_interval_bytes) {
            let relative = self.relative(batch.last_offset);
            let index = self.index.as_mut().expect("the active segment's index is in memory");
            index.push_offset(OffsetEntry { relative, position });
            self.push_time();
            self.bytes_since_index = 0;
        }
        self.bytes_since_index += batch.size;
        self.first_timestamp_ms.get_or_insert(batch.max_timestamp_ms);
        self.opened_ms.get_or_insert(batch.now_ms);
        self.size += batch.size;
        self.end_offset = batch.last_offset.advance(1);
        assert!(self.written <= self.size);
    }

    fn push_time(&mut self) {
        let Some(max) = self.max_timestamp else { return };
        let relative = self.relative(max.offset);
        if let Some(index) = &mut self.index {
            index.push_time(TimeEntry { timestamp_ms: max.timestamp_ms, relative });
        }
    }

    /// Makes the next batch pushed an index entry, as the batch that a scan begins with was one.
    pub(super) fn index_next(&mut self, index_interval_bytes: u32) {
        self.bytes_since_index = u64::from(index_interval_bytes) + 1;
    }

    /// Notes that no batch will follow: the time index gets its last entry.
    pub(super) fn close(&mut self) {
        self.push_time();
    }

    /// Bytes appended that the file does not have.
    pub(super) fn unwritten(&self) -> u64 {
        self.size - self.written
    }
}

/// Stands for the timestamp of a batch whose records compaction took.
const NO_RECORDS_MS: i64 = i64::MIN;

/// The largest timestamp of a batch's records, as the time index counts it: not that of records
/// that are gone.
pub(super) fn index_timestamp(header: &BatchHeader) -> i64 {
    if header.record_count() > 0 { header.max_timestamp() } else { NO_RECORDS_MS }
}

/// Path of a segment's file: `<base offset, 20 digits>.<kind>`, as Kafka names it.
pub(super) fn segment_path(dir: &Path, base_offset: Offset, kind: &str) -> PathBuf {
    dir.join(format!("{:020}.{kind}", base_offset.get()))
}

/// The base offset and kind that a file name says; `None` for names we do not make.
pub(super) fn parse_name(name: &str) -> Option<(Offset, &str)> {
    let (stem, kind) = name.split_once('.')?;
    if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset::from_wire(stem.parse().ok()?)?, kind))
}
