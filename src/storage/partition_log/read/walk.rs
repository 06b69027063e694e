//! The way through a segment file to the batch that a reader asked for.
//!
//! Nothing in a batch says whose it is: a disk that writes to a wrong place may bring a whole one
//! of another log. So where no compaction leaves holes a walk counts offsets, from a place where it
//! knows them on, by what each batch says of its length, and gives a batch only if it begins where
//! the count is.

use super::{READ_BYTES_MIN, SegmentFile};
use crate::model::ids::Offset;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use bytes::Bytes;

/// Where in a segment file a batch begins, and one of its offsets as something else knows it than
/// the batch.
#[derive(Debug, Clone, Copy)]
pub(in crate::storage::partition_log) struct Place {
    pub(in crate::storage::partition_log) position: u64,
    pub(in crate::storage::partition_log) offset: KnownOffset,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::storage::partition_log) enum KnownOffset {
    First(Offset),
    Last(Offset),
}

impl Place {
    pub(in crate::storage::partition_log) fn first(position: u64, first: Offset) -> Place {
        Place { position, offset: KnownOffset::First(first) }
    }

    pub(in crate::storage::partition_log) fn last(position: u64, last: Offset) -> Place {
        Place { position, offset: KnownOffset::Last(last) }
    }

    /// Whether it is as an index has it.
    pub(in crate::storage::partition_log) fn is_of_index(self) -> bool {
        matches!(self.offset, KnownOffset::Last(_))
    }
}

/// A batch that a walk has come to.
pub(in crate::storage::partition_log) struct Found {
    pub(in crate::storage::partition_log) position: u64,
    pub(in crate::storage::partition_log) first: Offset,
    /// Offset behind its last one.
    pub(in crate::storage::partition_log) next: Offset,
    /// From the batch on: as many as were asked for, or that whole batch.
    pub(in crate::storage::partition_log) bytes: Bytes,
}

/// A walk through the batches of one segment file by their headers.
pub(in crate::storage::partition_log) struct Walk<'a, D: Disk> {
    pub(in crate::storage::partition_log) disk: &'a D,
    pub(in crate::storage::partition_log) segment: &'a SegmentFile<D>,
    pub(in crate::storage::partition_log) file: &'a D::File,
}

impl<D: Disk> Walk<'_, D> {
    /// The first batch at or behind `from` that ends at or behind `offset`. `None` at the file's
    /// end.
    pub(in crate::storage::partition_log) async fn find(
        &self,
        from: Place,
        offset: Offset,
        len: usize,
    ) -> Result<Option<Found>, StorageError> {
        self.find_by(from, len, |_, last| last >= offset).await
    }

    /// As `find`, for any property of a header and its last offset.
    pub(in crate::storage::partition_log) async fn find_by(
        &self,
        from: Place,
        len: usize,
        is_it: impl Fn(&BatchHeader, Offset) -> bool,
    ) -> Result<Option<Found>, StorageError> {
        let written = self.segment.written;
        let Place { mut position, mut offset } = from;
        let mut buffer = Bytes::new();
        while position < written {
            if buffer.len() < BATCH_HEADER_SIZE {
                buffer = self.read(position, len).await?;
            }
            let Ok(header) = BatchHeader::read(&buffer) else {
                return Err(self.segment.corrupt(position, "no batch header"));
            };
            let size = header.size();
            if position + size as u64 > written {
                return Err(self.segment.corrupt(position, "a batch reaches beyond the file"));
            }
            let Some((first, last)) = self.offsets(header, offset) else {
                return Err(self.segment.corrupt(position, "a batch has no such offsets"));
            };
            // Saturating: where offsets are not counted they are what a damaged header says.
            let next = Offset::from_wire(last.to_wire().saturating_add(1)).expect("not negative");
            if is_it(header, last) {
                if header.base_offset() != first.to_wire() {
                    return Err(self.segment.corrupt(position, "a batch is out of order"));
                }
                if buffer.len() < size.max(len.min(READ_BYTES_MIN)) {
                    buffer = self.read(position, size.max(len)).await?;
                }
                return Ok(Some(Found { position, first, next, bytes: buffer }));
            }
            position += size as u64;
            offset = KnownOffset::First(next);
            buffer = if size < buffer.len() { buffer.slice(size..) } else { Bytes::new() };
        }
        Ok(None)
    }

    /// First and last offset of a batch: where each offset is in one, as they are counted, else as
    /// it says.
    fn offsets(&self, header: &BatchHeader, known: KnownOffset) -> Option<(Offset, Offset)> {
        let delta = u64::try_from(header.last_offset_delta()).ok()?;
        if !self.segment.is_dense {
            let first = Offset::from_wire(header.base_offset())?;
            let last = Offset::from_wire(header.last_offset())?;
            let is_of_index = match known {
                KnownOffset::First(_) => true,
                KnownOffset::Last(known) => known == last,
            };
            return is_of_index.then_some((first, last));
        }
        let first = match known {
            KnownOffset::First(first) => first,
            KnownOffset::Last(last) => Offset::new(last.get().checked_sub(delta)?),
        };
        Some((first, first.advance(delta)))
    }

    async fn read(&self, position: u64, len: usize) -> Result<Bytes, StorageError> {
        let left = self.segment.written - position;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        let bytes = self.disk.read_at(self.file, position, len).await?;
        if bytes.len() < len {
            return Err(self.segment.corrupt(position, "the file is shorter than it was"));
        }
        Ok(bytes)
    }
}
