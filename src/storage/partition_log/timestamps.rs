//! Offsets by time (ListOffsets, KIP-734): the first record at or after a timestamp, by record and
//! not by batch.

use super::PartitionLog;
use super::read::{Place, SegmentFile, Start, Walk, start_in};
use crate::model::ids::{LeaderEpoch, Offset};
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::StorageError;
use crate::storage::index::decode_times;
use crate::storage::segment::{Segment, segment_path};
use bytes::{Bytes, BytesMut};

/// Bytes read at once while looking for a batch.
const READ_BYTES: usize = 64 * 1024;

/// A record found by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundTimestamp {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub leader_epoch: LeaderEpoch,
}

/// How a question for a time is to be answered.
pub enum TimestampLookup<D: Disk> {
    /// No record is that young.
    None,
    Search(TimestampSearch<D>),
}

/// The order to look through segments, oldest first, and then through what is only in memory.
pub struct TimestampSearch<D: Disk> {
    segments: Vec<(SegmentFile<D>, Start)>,
    /// First batch in memory that qualifies.
    memory: Option<Bytes>,
    timestamp_ms: i64,
    log_start: Offset,
}

impl<D: Disk> PartitionLog<D> {
    /// How to find the first record below `end` with `timestamp_ms` or a later time.
    pub fn plan_timestamp(&self, timestamp_ms: i64, end: Offset) -> TimestampLookup<D> {
        let is_young = |segment: &&Segment<D>| {
            segment.end_offset > self.log_start
                && segment.base_offset < end
                && segment.max_timestamp.is_some_and(|max| max.timestamp_ms >= timestamp_ms)
        };
        let mut segments = Vec::new();
        for segment in self.segments.iter().filter(is_young) {
            if segment.written == 0 {
                continue;
            }
            let start = match &segment.index {
                Some(index) => {
                    let before = index.lookup_time(timestamp_ms.saturating_sub(1));
                    start_in(segment, before.map_or(0, |entry| entry.relative))
                }
                None => Start::Indexed,
            };
            segments.push((self.segment_file(segment), start));
        }
        let mut unwritten = self.tail.from(self.drained_end);
        let young = unwritten
            .find(|batch| batch.max_timestamp_ms >= timestamp_ms && batch.base_offset < end);
        let memory = young.map(|batch| {
            let mut whole = BytesMut::with_capacity(batch.bytes.size());
            whole.extend_from_slice(&batch.bytes.head);
            whole.extend_from_slice(&batch.bytes.rest);
            whole.freeze()
        });
        if segments.is_empty() && memory.is_none() {
            return TimestampLookup::None;
        }
        let log_start = self.log_start;
        TimestampLookup::Search(TimestampSearch { segments, memory, timestamp_ms, log_start })
    }

    /// How to find the record with the largest timestamp below `end`, the first of several.
    pub fn plan_max_timestamp(&self, end: Offset) -> TimestampLookup<D> {
        let segments = self.segments.iter().filter(|segment| segment.base_offset < end);
        let largest = segments.filter_map(|segment| segment.max_timestamp);
        match largest.map(|max| max.timestamp_ms).max() {
            Some(timestamp_ms) => self.plan_timestamp(timestamp_ms, end),
            None => TimestampLookup::None,
        }
    }
}

impl<D: Disk> TimestampSearch<D> {
    /// Searches.
    ///
    /// # Errors
    /// A batch on the way is damaged, or the disk refuses.
    pub async fn execute(self, disk: &D) -> Result<Option<FoundTimestamp>, StorageError> {
        let (timestamp_ms, log_start) = (self.timestamp_ms, self.log_start);
        let is_it = |header: &BatchHeader, last: Offset| {
            header.max_timestamp() >= timestamp_ms && last >= log_start
        };
        for (mut segment, start) in self.segments {
            let file = segment.open(disk).await?;
            let mut place = match start {
                Start::At(place) => place,
                Start::Indexed => start_by_time(disk, &segment, &file, timestamp_ms).await?,
            };
            let walk = Walk { disk, segment: &segment, file: &file };
            while let Some(mut found) = walk.find_by(place, READ_BYTES, is_it).await? {
                let Ok(batch) = CheckedBatch::check_first(&mut found.bytes) else {
                    return Err(segment.corrupt(found.position, "a batch has a wrong checksum"));
                };
                if let Some(record) = first_record(&batch, timestamp_ms, log_start) {
                    return Ok(Some(record));
                }
                // Its young records are all below the log start.
                let behind = found.position + batch.bytes().len() as u64;
                place = Place::first(behind, found.next);
            }
        }
        let Some(mut bytes) = self.memory else { return Ok(None) };
        let batch = CheckedBatch::check_first(&mut bytes).ok();
        Ok(batch.and_then(|batch| first_record(&batch, timestamp_ms, log_start)))
    }
}

/// Where in a closed segment to begin: what the time index says is older is skipped.
async fn start_by_time<D: Disk>(
    disk: &D,
    segment: &SegmentFile<D>,
    file: &D::File,
    timestamp_ms: i64,
) -> Result<Place, StorageError> {
    let front = Place::first(0, segment.base_offset);
    let path = segment_path(&segment.dir, segment.base_offset, "timeindex");
    let index = match disk.open(&path, OpenMode::Read).await {
        Ok(index) => index,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(front),
        Err(error) => return Err(error.into()),
    };
    let size = usize::try_from(disk.size(&index).await?).unwrap_or(usize::MAX);
    let entries = decode_times(&disk.read_at(&index, 0, size).await?).unwrap_or_default();
    let older = entries.partition_point(|entry| entry.timestamp_ms < timestamp_ms);
    match older.checked_sub(1).and_then(|last| entries.get(last)) {
        Some(entry) => {
            let offset = segment.base_offset.advance(u64::from(entry.relative));
            segment.look_up(disk, file, offset).await
        }
        None => Ok(front),
    }
}

fn first_record(
    batch: &CheckedBatch,
    timestamp_ms: i64,
    log_start: Offset,
) -> Option<FoundTimestamp> {
    let leader_epoch = LeaderEpoch(batch.header().leader_epoch());
    let records = batch.decode_records().ok()?;
    for record in records.iter() {
        let record = record.ok()?;
        let offset = Offset::from_wire(record.offset)?;
        if record.timestamp_ms >= timestamp_ms && offset >= log_start {
            let timestamp_ms = record.timestamp_ms;
            return Some(FoundTimestamp { offset, timestamp_ms, leader_epoch });
        }
    }
    None
}
