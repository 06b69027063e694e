//! A closed segment's batches, one bite of the file at a time.

use crate::model::ids::Offset;
use crate::model::limits::CLEANER_BITE_BYTES;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::StorageError;
use bytes::Bytes;
use std::ops::Range;
use std::path::PathBuf;

/// A segment being read from its front. One per round at most.
pub(super) struct SegmentReader<D: Disk> {
    file: D::File,
    path: PathBuf,
    size: u64,
    /// Where the next batch may begin, and where the segment ends.
    offsets: Range<Offset>,
    /// Where in the file `buffer` begins.
    position: u64,
    buffer: Bytes,
}

impl<D: Disk> SegmentReader<D> {
    pub(super) async fn open(
        disk: &D,
        path: PathBuf,
        size: u64,
        offsets: Range<Offset>,
    ) -> Result<SegmentReader<D>, StorageError> {
        let file = disk.open(&path, OpenMode::Read).await?;
        Ok(SegmentReader { file, path, size, offsets, position: 0, buffer: Bytes::new() })
    }

    /// The open file, which outlives its name.
    pub(super) fn file(&self) -> &D::File {
        &self.file
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.size
    }

    /// Reads on, when `next` has nothing whole left; returns the bytes read.
    pub(super) async fn fill(&mut self, disk: &D) -> Result<u64, StorageError> {
        let needed = match BatchHeader::read(&self.buffer) {
            Ok(header) => header.size(),
            Err(_) => BATCH_HEADER_SIZE,
        };
        if self.buffer.len() >= needed {
            return Ok(0);
        }
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        if needed > left {
            return Err(self.corrupt("a batch reaches beyond the file"));
        }
        let len = needed.max(CLEANER_BITE_BYTES).min(left);
        self.buffer = disk.read_at(&self.file, self.position, len).await?;
        if self.buffer.len() < len {
            return Err(self.corrupt("the file is shorter than it was"));
        }
        Ok(len as u64)
    }

    /// The next batch that is in memory as a whole.
    pub(super) fn next(&mut self) -> Result<Option<CheckedBatch>, StorageError> {
        match CheckedBatch::check_first(&mut self.buffer) {
            Ok(batch) => {
                // The base offset is not under the batch's checksum.
                let next = self.end_of(batch.header());
                self.offsets.start = next.ok_or_else(|| self.corrupt("a batch is out of order"))?;
                self.position += batch.bytes().len() as u64;
                assert!(self.position <= self.size);
                Ok(Some(batch))
            }
            Err(BatchError::Truncated { .. }) => Ok(None),
            Err(_) => Err(self.corrupt("a batch is not what was appended")),
        }
    }

    /// Where the next batch may begin; `None` when this one is not between the last and the end.
    fn end_of(&self, header: &BatchHeader) -> Option<Offset> {
        let base = Offset::from_wire(header.base_offset())?;
        let last = Offset::from_wire(header.last_offset())?;
        let is_here = base >= self.offsets.start && base <= last && last < self.offsets.end;
        is_here.then(|| last.advance(1))
    }

    pub(super) fn senseless(&self, what: &'static str) -> StorageError {
        StorageError::Senseless { file: self.path.clone(), position: self.position, what }
    }

    fn corrupt(&self, what: &'static str) -> StorageError {
        StorageError::Corrupt { file: self.path.clone(), position: self.position, what }
    }
}
