//! Reading one segment batch by batch.

use super::{
    BATCH_HEADER_SIZE, BatchError, BatchHeader, Bytes, CheckedBatch, Disk, MaxTimestamp, Offset,
    OpenMode, Recovery, Segment, SegmentBatch, SegmentIndex, StorageError, read_all, segment_path,
};
use crate::storage::index::{OFFSET_ENTRY_BYTES, OffsetEntry, TIME_ENTRY_BYTES};
use crate::storage::segment::index_timestamp;
use std::rc::Rc;

mod behind;

/// Bytes read at once.
const READ_BYTES: usize = 1024 * 1024;

/// A segment being read.
struct Scan<D: Disk> {
    file: D::File,
    base: Offset,
    size: u64,
    /// Base offset of the segment that follows.
    next: Option<Offset>,
    position: u64,
    /// Offset that the next batch must have; `None` behind damage.
    expected: Option<Offset>,
    buffer: Bytes,
    /// What the index file said at the start. It was written apart from the batches.
    index: Rc<[OffsetEntry]>,
}

impl<D: Disk> Recovery<'_, D> {
    /// Reads a segment from the batch that holds `start` on and adds it to the log. False when its
    /// tail is torn: nothing behind it counts.
    pub(super) async fn scan_segment(
        &mut self,
        base: Offset,
        size: u64,
        start: Offset,
        next: Option<Offset>,
    ) -> Result<bool, StorageError> {
        let path = segment_path(&self.open.dir, base, "log");
        let file = self.disk.open(&path, OpenMode::ReadWrite).await?;
        let mut segment: Segment<D> = Segment::new(base);
        segment.file = Some(file.clone());
        let index = self.index_entries(base).await?;
        let (position, first) = self.load_index(&mut segment, &file, start).await?;
        segment.size = position;
        segment.written = position;
        self.log.segments.push_back(segment);
        let buffer = Bytes::new();
        let expected = Some(first);
        let mut scan = Scan { file, base, size, next, position, expected, buffer, index };
        let is_whole = self.run(&mut scan).await?;
        let segment = self.log.active_mut();
        if is_whole {
            segment.size = size;
        } else {
            self.disk.truncate(&scan.file, scan.position).await?;
            segment.size = scan.position;
        }
        segment.written = segment.size;
        self.report.cut_bytes += size - segment.size;
        self.disk.sync(&scan.file).await?;
        if let Some(next) = next.filter(|_| is_whole) {
            segment.end_offset = next;
        }
        Ok(is_whole)
    }

    /// Keeps what the index files know of batches before `start`, and says where to begin and with
    /// which offset.
    async fn load_index(
        &self,
        segment: &mut Segment<D>,
        file: &D::File,
        start: Offset,
    ) -> Result<(u64, Offset), StorageError> {
        let base = segment.base_offset;
        let front = (0, base);
        if start <= base {
            return Ok(front);
        }
        let path = |kind| segment_path(&self.open.dir, base, kind);
        let names = self.disk.list(&self.open.dir).await?;
        let has_both = ["index", "timeindex"].iter().all(|kind| {
            let path = path(kind);
            names.iter().any(|name| path.file_name().is_some_and(|file| file == &*name.name))
        });
        if !has_both {
            return Ok(front);
        }
        let offsets = read_all(self.disk, &path("index")).await?;
        let times = read_all(self.disk, &path("timeindex")).await?;
        let index = SegmentIndex::decode(&offsets, &times);
        let relative = u32::try_from(start.since(base) - 1).unwrap_or(u32::MAX);
        let Some((mut index, entry)) =
            index.and_then(|index| index.lookup(relative).map(|entry| (index, entry)))
        else {
            return Ok(front);
        };
        let head = self.disk.read_at(file, u64::from(entry.position), BATCH_HEADER_SIZE).await?;
        let last = base.to_wire() + i64::from(entry.relative);
        let header = BatchHeader::read(&head).ok().filter(|header| header.last_offset() == last);
        let Some(first) = header.and_then(|header| Offset::from_wire(header.base_offset())) else {
            return Ok(front);
        };
        index.truncate(entry.relative, entry.position);
        segment.max_timestamp = index.lookup_time(i64::MAX).map(|entry| MaxTimestamp {
            timestamp_ms: entry.timestamp_ms,
            offset: base.advance(u64::from(entry.relative)),
        });
        segment.indexed = index.counts();
        let sizes = (segment.indexed.0 * OFFSET_ENTRY_BYTES, segment.indexed.1 * TIME_ENTRY_BYTES);
        for (kind, size, len) in
            [("index", sizes.0, offsets.len()), ("timeindex", sizes.1, times.len())]
        {
            if len > size {
                let file = self.disk.open(&path(kind), OpenMode::ReadWrite).await?;
                self.disk.truncate(&file, size as u64).await?;
            }
        }
        segment.index = Some(index);
        segment.index_next(self.open.config.index_interval_bytes);
        Ok((u64::from(entry.position), first))
    }

    /// Walks to the end of the segment. False when the tail is torn at `scan.position`.
    async fn run(&mut self, scan: &mut Scan<D>) -> Result<bool, StorageError> {
        while scan.position < scan.size {
            let batch = self.next_batch(scan).await?;
            if let Some(batch) = batch {
                self.take(scan, &batch);
                continue;
            }
            let expected = scan.expected.unwrap_or(scan.base);
            if expected >= self.trusted {
                return Ok(false);
            }
            let position = scan.position;
            let end = match self.find_behind(scan, expected).await? {
                Some(end) => end,
                None => {
                    scan.position = scan.size;
                    scan.next.unwrap_or(self.trusted).min(self.trusted)
                }
            };
            scan.buffer = Bytes::new();
            self.add_damage((expected, end), scan.base, (position, scan.position));
            scan.expected = Some(end);
        }
        Ok(self.ends_well(scan))
    }

    /// Judges the end of a segment's file against the segment that follows.
    fn ends_well(&mut self, scan: &Scan<D>) -> bool {
        let end = scan.expected.unwrap_or(scan.base);
        let Some(next) = scan.next else {
            if end < self.trusted {
                self.add_damage((end, self.trusted), scan.base, (scan.size, scan.size));
            }
            return true;
        };
        if end == next || (end < next && self.may_end_hole(next)) {
            return true;
        }
        if end < self.trusted {
            let lost = (end, next.min(self.trusted));
            self.add_damage(lost, scan.base, (scan.size, scan.size));
        }
        next <= self.trusted
    }

    /// The batch at the position, if it is intact and follows the one before.
    async fn next_batch(
        &mut self,
        scan: &mut Scan<D>,
    ) -> Result<Option<CheckedBatch>, StorageError> {
        let mut needed = BATCH_HEADER_SIZE;
        loop {
            if scan.buffer.len() < needed {
                let left = usize::try_from(scan.size - scan.position).unwrap_or(usize::MAX);
                if needed > left {
                    return Ok(None);
                }
                let len = needed.max(READ_BYTES).min(left);
                scan.buffer = self.disk.read_at(&scan.file, scan.position, len).await?;
                self.report.scanned_bytes += scan.buffer.len() as u64;
                if scan.buffer.len() < needed {
                    return Ok(None);
                }
            }
            let before = scan.buffer.clone();
            match CheckedBatch::check_first(&mut scan.buffer) {
                Ok(batch) if self.follows(scan, batch.header()) => return Ok(Some(batch)),
                Err(BatchError::Truncated { needed: more, .. }) => needed = more,
                Ok(_) | Err(_) => {
                    scan.buffer = before;
                    return Ok(None);
                }
            }
        }
    }

    /// True when compaction may have left a hole up to `offset`. Its checkpoint, durable before the
    /// first hole, says how far it got: any other hole is what a crash or a disk took.
    fn may_end_hole(&self, offset: Offset) -> bool {
        offset <= self.log.compaction.holes_end
    }

    fn follows(&self, scan: &Scan<D>, header: &BatchHeader) -> bool {
        let (Some(base), Some(last)) =
            (Offset::from_wire(header.base_offset()), Offset::from_wire(header.last_offset()))
        else {
            return false;
        };
        if self.cut_at.is_some_and(|cut_at| last >= cut_at) {
            return false;
        }
        let is_near = last.since(scan.base) <= crate::storage::segment::RELATIVE_OFFSET_MAX;
        let is_before_next = scan.next.is_none_or(|next| last < next);
        let is_in_order = match scan.expected {
            None => base >= scan.base,
            Some(expected) if self.may_end_hole(base) => base >= expected,
            Some(expected) => base == expected,
        };
        base <= last && is_near && is_before_next && is_in_order
    }

    fn take(&mut self, scan: &mut Scan<D>, batch: &CheckedBatch) {
        let header = *batch.header();
        let base_offset = Offset::from_wire(header.base_offset()).expect("checked by follows");
        let last_offset = Offset::from_wire(header.last_offset()).expect("checked by follows");
        let size = header.size() as u64;
        let interval = self.open.config.index_interval_bytes;
        // The file may still list an epoch that began here without a record, and was forgotten.
        let known = self.log.epochs.epoch_at(base_offset);
        if header.leader_epoch() >= 0 && known.is_some_and(|known| known.0 > header.leader_epoch())
        {
            self.log.is_epoch_file_due |= self.log.epochs.truncate_from(base_offset);
        }
        let segment = self.log.active_mut();
        segment.size = scan.position;
        segment.push(
            &SegmentBatch {
                base_offset,
                last_offset,
                size,
                max_timestamp_ms: index_timestamp(&header),
                now_ms: self.open.now.wall_ms,
            },
            interval,
        );
        if base_offset >= self.notes_from {
            self.log.note_in_state(&header, batch, self.open.now.wall_ms);
        } else {
            self.log.note_epoch(&header, base_offset);
        }
        scan.position += size;
        scan.expected = Some(last_offset.advance(1));
    }
}
