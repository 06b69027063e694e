//! The segment that takes the place of a group of others, while it is written.

use crate::model::ids::Offset;
use crate::model::limits::{CLEANER_BITE_BYTES, CLEANER_SYNC_BYTES};
use crate::protocol::crc32c;
use crate::protocol::record_batch::BatchHeader;
use crate::storage::compaction::swap::cleaned_path;
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::StorageError;
use crate::storage::segment::{SEGMENT_BYTES_MAX, Segment, SegmentBatch, index_timestamp};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// A `.cleaned` file under way.
pub(super) struct Output<D: Disk> {
    dir: PathBuf,
    file: D::File,
    segment: Segment<D>,
    index_interval_bytes: u32,
    /// Batches that are not in the file yet.
    pending: Vec<Bytes>,
    synced: u64,
    crc: u32,
}

/// A whole output, synced but for its names.
pub(super) struct Written<D: Disk> {
    /// Closed, without indexes in memory.
    pub(super) segment: Segment<D>,
    /// Of the whole log file.
    pub(super) crc: u32,
}

impl<D: Disk> Output<D> {
    /// Makes an empty file in place of what an earlier attempt left.
    pub(super) async fn create(
        disk: &D,
        dir: &Path,
        base_offset: Offset,
        index_interval_bytes: u32,
    ) -> Result<Output<D>, StorageError> {
        let path = cleaned_path(dir, base_offset, "log");
        disk.remove(&path).await?;
        let file = disk.open(&path, OpenMode::CreateNew).await?;
        Ok(Output {
            dir: dir.to_path_buf(),
            file,
            segment: Segment::new(base_offset),
            index_interval_bytes,
            pending: Vec::new(),
            synced: 0,
            crc: 0,
        })
    }

    /// Puts a batch behind the last one, in memory. False when the segment would be too large.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: Bytes) -> bool {
        assert!(header.size() == bytes.len());
        let offset = |wire| Offset::from_wire(wire).expect("a batch of the log has an offset");
        let size = bytes.len() as u64;
        if self.segment.size + size > SEGMENT_BYTES_MAX {
            return false;
        }
        self.segment.push(
            &SegmentBatch {
                base_offset: offset(header.base_offset()),
                last_offset: offset(header.last_offset()),
                size,
                max_timestamp_ms: index_timestamp(header),
                now_ms: 0,
            },
            self.index_interval_bytes,
        );
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.pending.push(bytes);
        true
    }

    /// Writes what is pending once it is enough, and syncs now and then; returns bytes written.
    pub(super) async fn flush_if_due(&mut self, disk: &D) -> Result<u64, StorageError> {
        if self.segment.unwritten() < CLEANER_BITE_BYTES as u64 {
            return Ok(0);
        }
        self.flush(disk).await
    }

    async fn flush(&mut self, disk: &D) -> Result<u64, StorageError> {
        let bytes = self.segment.unwritten();
        if bytes > 0 {
            let parts = std::mem::take(&mut self.pending);
            disk.write_at(&self.file, self.segment.written, parts).await?;
            self.segment.written = self.segment.size;
        }
        if self.segment.written - self.synced >= CLEANER_SYNC_BYTES {
            disk.sync(&self.file).await?;
            self.synced = self.segment.written;
        }
        Ok(bytes)
    }

    /// Writes the rest and both indexes, and syncs all; the names are not durable yet. `end` is
    /// where the next segment begins.
    pub(super) async fn finish(
        mut self,
        disk: &D,
        end: Offset,
    ) -> Result<Written<D>, StorageError> {
        self.flush(disk).await?;
        disk.sync(&self.file).await?;
        let mut segment = self.segment;
        segment.close();
        assert!(segment.end_offset <= end);
        segment.end_offset = end;
        let index = segment.index.take().expect("an output's index is in memory");
        for (kind, content) in
            [("index", index.encode_offsets(0)), ("timeindex", index.encode_times(0))]
        {
            let path = cleaned_path(&self.dir, segment.base_offset, kind);
            disk.remove(&path).await?;
            let file = disk.open(&path, OpenMode::CreateNew).await?;
            disk.write_at(&file, 0, vec![content]).await?;
            disk.sync(&file).await?;
        }
        Ok(Written { segment, crc: self.crc })
    }
}
