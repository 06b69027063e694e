//! The two sparse indexes of a segment, in Kafka's own binary formats, so that Kafka's tools check
//! them.
//!
//! ```text
//!  .index, 8 bytes an entry, big-endian        .timeindex, 12 bytes an entry
//!   0  last offset of a batch - base offset     0  largest timestamp so far
//!   4  position of that batch in the .log       8  last offset of the batch that has it - base
//! ```
//! An entry is made when `index.interval.bytes` of log went by since the last one; the time index
//! gets one more when the segment is closed. Both can be rebuilt from the log.
//!
//! Invariants
//! - Offsets and positions rise strictly in the offset index; timestamps rise strictly and offsets
//!   never fall in the time index.
//! - Nothing here is trusted when it was read from a file: an entry only says where to start
//!   looking, and the batch found there must agree.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of an entry of the offset index.
pub const OFFSET_ENTRY_BYTES: usize = 8;
/// Bytes of an entry of the time index.
pub const TIME_ENTRY_BYTES: usize = 12;

/// One entry of the offset index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, counted from the segment's base offset.
    pub relative: u32,
    /// Where the batch begins in the segment file, in bytes.
    pub position: u32,
}

/// One entry of the time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp_ms: i64,
    /// Last offset of the batch that has the timestamp, counted from the segment's base offset.
    pub relative: u32,
}

/// Both indexes of one segment, in memory. Grows with the segment, is dropped when it is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
}

impl SegmentIndex {
    /// Adds an entry for the batch at `position`; `last` is its last offset.
    pub fn push_offset(&mut self, entry: OffsetEntry) {
        if let Some(last) = self.offsets.last() {
            assert!(entry.relative > last.relative);
            assert!(entry.position > last.position);
        }
        self.offsets.push(entry);
    }

    /// Adds an entry unless its timestamp is not above the last one.
    pub fn push_time(&mut self, entry: TimeEntry) {
        if let Some(last) = self.times.last() {
            if entry.timestamp_ms <= last.timestamp_ms {
                return;
            }
            assert!(entry.relative >= last.relative);
        }
        self.times.push(entry);
    }

    /// Bytes of the larger of the two files.
    pub fn size_bytes(&self) -> usize {
        let offsets = self.offsets.len() * OFFSET_ENTRY_BYTES;
        offsets.max(self.times.len() * TIME_ENTRY_BYTES)
    }

    /// Entries of the offset index and of the time index.
    pub fn counts(&self) -> (usize, usize) {
        (self.offsets.len(), self.times.len())
    }

    /// The last entry whose batch ends at or before `relative`.
    pub fn lookup(&self, relative: u32) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| entry.relative <= relative);
        self.offsets[..after].last().copied()
    }

    /// The last entry at or before `timestamp_ms`: everything at or before its offset is as old.
    pub fn lookup_time(&self, timestamp_ms: i64) -> Option<TimeEntry> {
        let after = self.times.partition_point(|entry| entry.timestamp_ms <= timestamp_ms);
        self.times[..after].last().copied()
    }

    /// The last entry whose batch begins at or before `position`.
    pub fn lookup_position(&self, position: u32) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| entry.position <= position);
        self.offsets[..after].last().copied()
    }

    /// Drops entries of batches that end behind `relative` or begin at or behind `position`.
    pub fn truncate(&mut self, relative: u32, position: u32) {
        let is_kept = |entry: &OffsetEntry| entry.relative <= relative && entry.position < position;
        self.offsets.truncate(self.offsets.partition_point(is_kept));
        self.times.truncate(self.times.partition_point(|entry| entry.relative <= relative));
    }

    /// The `.index` file from entry `from` on.
    pub fn encode_offsets(&self, from: usize) -> Bytes {
        let entries = &self.offsets[from..];
        let mut out = BytesMut::with_capacity(entries.len() * OFFSET_ENTRY_BYTES);
        for entry in entries {
            out.put_u32(entry.relative);
            out.put_u32(entry.position);
        }
        out.freeze()
    }

    /// The `.timeindex` file from entry `from` on.
    pub fn encode_times(&self, from: usize) -> Bytes {
        let entries = &self.times[from..];
        let mut out = BytesMut::with_capacity(entries.len() * TIME_ENTRY_BYTES);
        for entry in entries {
            out.put_i64(entry.timestamp_ms);
            out.put_u32(entry.relative);
        }
        out.freeze()
    }

    /// From both files. `None` when they cannot be what was written: odd sizes, or not in order.
    pub fn decode(offsets: &[u8], times: &[u8]) -> Option<SegmentIndex> {
        let offsets = decode_offsets(offsets)?;
        let times = decode_times(times)?;
        let rises =
            |a: &OffsetEntry, b: &OffsetEntry| a.relative < b.relative && a.position < b.position;
        let is_later = |a: &TimeEntry, b: &TimeEntry| {
            a.timestamp_ms < b.timestamp_ms && a.relative <= b.relative
        };
        let is_ordered = offsets.is_sorted_by(rises) && times.is_sorted_by(is_later);
        is_ordered.then_some(SegmentIndex { offsets, times })
    }
}

/// Entries of an `.index` file, or of whole entries out of its middle.
pub fn decode_offsets(bytes: &[u8]) -> Option<Vec<OffsetEntry>> {
    if !bytes.len().is_multiple_of(OFFSET_ENTRY_BYTES) {
        return None;
    }
    bytes.chunks_exact(OFFSET_ENTRY_BYTES).map(decode_offset).collect()
}

fn decode_offset(entry: &[u8]) -> Option<OffsetEntry> {
    let relative = u32::from_be_bytes(*entry.first_chunk()?);
    let position = u32::from_be_bytes(*entry.get(4..)?.first_chunk()?);
    Some(OffsetEntry { relative, position })
}

/// Entries of a `.timeindex` file, or of whole entries out of its middle.
pub fn decode_times(bytes: &[u8]) -> Option<Vec<TimeEntry>> {
    if !bytes.len().is_multiple_of(TIME_ENTRY_BYTES) {
        return None;
    }
    bytes.chunks_exact(TIME_ENTRY_BYTES).map(decode_time).collect()
}

fn decode_time(entry: &[u8]) -> Option<TimeEntry> {
    let timestamp_ms = i64::from_be_bytes(*entry.first_chunk()?);
    let relative = u32::from_be_bytes(*entry.get(8..)?.first_chunk()?);
    Some(TimeEntry { timestamp_ms, relative })
}
