//! Reading a journal back: which entries count, and where the torn tail begins.

use super::{
    ENTRY_HEADER_BYTES, ENTRY_MAGIC, FileHeader, JOURNAL_BLOCK_BYTES, JournalEntry, JournalSizes,
};
use crate::model::ids::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use crate::protocol::crc32c;
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::StorageError;
use bytes::{Bytes, BytesMut};
use std::path::Path;

/// Bytes asked for by one read of a journal file.
const READ_BYTES: usize = 1024 * 1024;

/// What the folder of a journal holds.
pub(super) struct Found<D: Disk> {
    /// Every file of the right size, in no order that matters.
    pub(super) files: Vec<D::File>,
    pub(super) entries: Vec<JournalEntry>,
    /// Highest generation in use by a header or a name; 0 when there is none.
    pub(super) generation_max: u64,
    /// Highest sequence that any entry has, whether it counts or not.
    pub(super) sequence_max: u64,
    pub(super) floor: u64,
}

/// Reads all files of a journal.
pub(super) async fn scan<D: Disk>(
    disk: &D,
    dir: &Path,
    sizes: JournalSizes,
) -> Result<Found<D>, StorageError> {
    let mut found = Found {
        files: Vec::new(),
        entries: Vec::new(),
        generation_max: 0,
        sequence_max: 0,
        floor: 0,
    };
    let mut written: Vec<(FileHeader, D::File)> = Vec::new();
    let mut odd_sized = Vec::new();
    for name in disk.list(dir).await? {
        let path = dir.join(&name.name);
        let Some(stem) = name.name.strip_suffix(".journal") else { continue };
        let Ok(generation) = stem.parse::<u64>() else { continue };
        found.generation_max = found.generation_max.max(generation);
        let file = disk.open(&path, OpenMode::ReadWrite).await?;
        let head = disk.read_at(&file, 0, JOURNAL_BLOCK_BYTES).await?;
        let header = FileHeader::decode(&head);
        if let Some(header) = header {
            found.generation_max = found.generation_max.max(header.generation);
            found.floor = found.floor.max(header.floor);
            written.push((header, file.clone()));
        }
        if name.size == sizes.file_bytes {
            found.files.push(file);
        } else {
            odd_sized.push((path, header));
        }
    }
    // Made by a start that died before the file was filled, or under other sizes: no longer used,
    // but kept as long as its entries count.
    for (path, header) in odd_sized {
        if header.is_none_or(|header| header.first_sequence < found.floor) {
            disk.remove(&path).await?;
        }
    }
    written.sort_by_key(|(header, _)| header.generation);
    for (header, file) in written {
        let mut reader = EntryReader::new(disk, &file, header);
        while let Some(entry) = reader.next().await? {
            if header.first_sequence >= found.floor {
                found.entries.push(entry);
            }
        }
        // A file that ends early does not end the replay. It may be one that was given back, and
        // that a power cut caught with some sectors of its next use: what follows was acknowledged.
        // Where it is a torn tail indeed, nothing behind it was; its partitions have a hole there.
        found.sequence_max = found.sequence_max.max(reader.sequence.saturating_sub(1));
    }
    Ok(found)
}

/// Walks the entries of one file.
struct EntryReader<'a, D: Disk> {
    disk: &'a D,
    file: &'a D::File,
    generation: u64,
    /// Of the next entry.
    sequence: u64,
    position: u64,
    buffer: Bytes,
    buffer_position: u64,
}

impl<'a, D: Disk> EntryReader<'a, D> {
    fn new(disk: &'a D, file: &'a D::File, header: FileHeader) -> Self {
        EntryReader {
            disk,
            file,
            generation: header.generation,
            sequence: header.first_sequence,
            position: JOURNAL_BLOCK_BYTES as u64,
            buffer: Bytes::new(),
            buffer_position: 0,
        }
    }

    /// The next entry, `None` at the end or where the tail is torn.
    async fn next(&mut self) -> Result<Option<JournalEntry>, StorageError> {
        if let Some(entry) = self.entry_here().await? {
            return Ok(Some(entry));
        }
        // The last entry of a write is padded to the block; the next write starts behind.
        let aligned = self.position.next_multiple_of(JOURNAL_BLOCK_BYTES as u64);
        if aligned == self.position {
            return Ok(None);
        }
        self.position = aligned;
        self.entry_here().await
    }

    async fn entry_here(&mut self) -> Result<Option<JournalEntry>, StorageError> {
        let head = self.bytes(ENTRY_HEADER_BYTES).await?;
        let Some(header) = EntryHeader::decode(&head) else { return Ok(None) };
        if header.generation != self.generation || header.sequence != self.sequence {
            return Ok(None);
        }
        let whole = self.bytes(ENTRY_HEADER_BYTES + header.size).await?;
        let is_whole = whole.len() == ENTRY_HEADER_BYTES + header.size;
        if !is_whole || crc32c::crc32c(&whole[8..]) != header.crc {
            return Ok(None);
        }
        self.position += whole.len() as u64;
        self.sequence += 1;
        // A copy, so that a small entry does not pin the megabyte it was read with.
        let mut payload = BytesMut::with_capacity(header.size);
        payload.extend_from_slice(&whole[ENTRY_HEADER_BYTES..]);
        Ok(Some(header.entry(payload.freeze())))
    }

    /// Up to `len` bytes from the current position.
    async fn bytes(&mut self, len: usize) -> Result<Bytes, StorageError> {
        let start = usize::try_from(self.position - self.buffer_position).unwrap_or(usize::MAX);
        if start.saturating_add(len) > self.buffer.len() {
            self.buffer = self.disk.read_at(self.file, self.position, len.max(READ_BYTES)).await?;
            self.buffer_position = self.position;
            return Ok(self.buffer.slice(..len.min(self.buffer.len())));
        }
        Ok(self.buffer.slice(start..start + len))
    }
}

struct EntryHeader {
    crc: u32,
    generation: u64,
    sequence: u64,
    partition: TopicPartition,
    leader_epoch: LeaderEpoch,
    base_offset: Offset,
    end_offset: Offset,
    size: usize,
}

impl EntryHeader {
    fn decode(bytes: &[u8]) -> Option<EntryHeader> {
        let header: &[u8; ENTRY_HEADER_BYTES] = bytes.first_chunk()?;
        if header[..4] != ENTRY_MAGIC {
            return None;
        }
        let topic = TopicId(uuid::Uuid::from_bytes(*header[24..].first_chunk()?));
        let partition = PartitionId(i32::from_le_bytes(*header[40..].first_chunk()?));
        let base_offset = i64::from_le_bytes(*header[48..].first_chunk()?);
        let offsets = u32::from_le_bytes(*header[60..].first_chunk()?);
        Some(EntryHeader {
            crc: u32::from_le_bytes(*header[4..].first_chunk()?),
            generation: u64::from_le_bytes(*header[8..].first_chunk()?),
            sequence: u64::from_le_bytes(*header[16..].first_chunk()?),
            partition: TopicPartition { topic, partition },
            leader_epoch: LeaderEpoch(i32::from_le_bytes(*header[44..].first_chunk()?)),
            base_offset: Offset::from_wire(base_offset)?,
            end_offset: Offset::from_wire(base_offset.checked_add(i64::from(offsets))?)?,
            size: usize::try_from(u32::from_le_bytes(*header[56..].first_chunk()?)).ok()?,
        })
    }

    fn entry(self, payload: Bytes) -> JournalEntry {
        JournalEntry {
            partition: self.partition,
            leader_epoch: self.leader_epoch,
            base_offset: self.base_offset,
            end_offset: self.end_offset,
            parts: vec![payload],
        }
    }
}
