//! The way through a segment file to the batch that a reader asked for.

use super::{READ_BYTES_MIN, SegmentFile};
use crate::model::ids::Offset;
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchHeader};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use bytes::Bytes;

/// A walk through the batches of one segment file by their headers.
pub(in crate::storage::partition_log) struct Walk<'a, D: Disk> {
    pub(in crate::storage::partition_log) disk: &'a D,
    pub(in crate::storage::partition_log) segment: &'a SegmentFile<D>,
    pub(in crate::storage::partition_log) file: &'a D::File,
}

impl<D: Disk> Walk<'_, D> {
    /// The first batch at or behind `position` that ends at or behind `offset`: where it begins,
    /// and the bytes from there on, `len` of them or that whole batch. `None` at the file's end.
    pub(in crate::storage::partition_log) async fn find(
        &self,
        position: u64,
        offset: Offset,
        len: usize,
    ) -> Result<(u64, Option<Bytes>), StorageError> {
        let is_it = |header: &BatchHeader| header.last_offset() >= offset.to_wire();
        self.find_by(position, len, is_it).await
    }

    /// As `find`, for any property of a header.
    pub(in crate::storage::partition_log) async fn find_by(
        &self,
        mut position: u64,
        len: usize,
        is_it: impl Fn(&BatchHeader) -> bool,
    ) -> Result<(u64, Option<Bytes>), StorageError> {
        let written = self.segment.written;
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
            if is_it(header) {
                if buffer.len() < size.max(len.min(READ_BYTES_MIN)) {
                    buffer = self.read(position, size.max(len)).await?;
                }
                return Ok((position, Some(buffer)));
            }
            position += size as u64;
            buffer = if size < buffer.len() { buffer.slice(size..) } else { Bytes::new() };
        }
        Ok((position, None))
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
