//! The journal of one core: batches of all its partitions, one behind the other, so that one sync
//! makes all of them durable.
//!
//! Why beside the segments: one sync of a thousand files costs several hundred times one sync of
//! one file. What the journal holds is a copy for the case of a power cut; the segment writer puts
//! the same bytes into the segments later, and the journal's space is used again.
//!
//! File `<generation, 20 digits>.journal`, preallocated, written in place; the name is where the
//! file was born, the header says what it is now. Numbers are little-endian.
//! ```text
//!  header, one block            entry, 64 bytes + payload
//!   0  magic  "HWJFILE1"         0  magic  "HWJE"
//!   8  crc32c of 12..40          4  crc32c of 8..64 and the payload
//!  12  zero                      8  generation of the file
//!  16  generation               16  sequence, counted over all files
//!  24  first sequence           24  topic id
//!  32  floor                    40  partition
//!                               44  leader epoch of the last batch
//!                               48  base offset
//!                               56  payload bytes
//!                               60  offsets covered
//! ```
//! Each write starts on a block of `JOURNAL_BLOCK_BYTES` and is padded with zeros to the next, so
//! that a block which was acknowledged is never written again.
//!
//! Invariants
//! - Sequences are dense within a file: what follows the first missing or damaged entry there was
//!   never acknowledged, because a sync covers everything before it. The replay of the file stops
//!   there, and goes on with the next file: the damaged one may have been given back already.
//! - An entry counts only under its file's generation, so old bytes behind new ones are no entries.
//! - Entries below the floor are history: `clear` raises it after a replay, before anything new is
//!   journaled. Without it, an entry that a replay had to skip could come back later.
//! - One write is in flight at a time; syncs may overlap it.
//! - An entry without payload is a cut: what the entries before it have of its partition from its
//!   base offset on was taken back. Its file waits until the partition's segments are synced up to
//!   its end offset, so it outlives whatever it keeps from coming back.

use crate::model::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::model::limits::{JOURNAL_FILE_BYTES, JOURNAL_FILES_MAX};
use crate::protocol::crc32c;
use crate::storage::disk::{Disk, DiskError, OpenMode, create_dir_durably};
use crate::storage::error::StorageError;
use bytes::{BufMut, Bytes, BytesMut};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

mod replay;

/// Alignment of every write, in bytes: a page, so that no acknowledged page is written twice.
pub const JOURNAL_BLOCK_BYTES: usize = 4096;

const FILE_MAGIC: [u8; 8] = *b"HWJFILE1";
const FILE_HEADER_BYTES: usize = 40;
const ENTRY_MAGIC: [u8; 4] = *b"HWJE";
/// Bytes of an entry before its payload.
pub const ENTRY_HEADER_BYTES: usize = 64;
const _: () = assert!(FILE_HEADER_BYTES <= JOURNAL_BLOCK_BYTES);

static ZEROS: [u8; JOURNAL_BLOCK_BYTES] = [0; JOURNAL_BLOCK_BYTES];

/// Consecutive batches of one partition, stamped, on their way into the journal or out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    pub partition: TopicPartition,
    /// Of the last batch.
    pub leader_epoch: LeaderEpoch,
    pub base_offset: Offset,
    /// Offset behind the last record.
    pub end_offset: Offset,
    /// The batches in order; a batch may lie in several parts.
    pub parts: Vec<Bytes>,
}

impl JournalEntry {
    /// The entry that takes back everything from `from` on, of a log that ended at `end`.
    pub fn cut(
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        from: Offset,
        end: Offset,
    ) -> JournalEntry {
        let (base_offset, end_offset) = (from, end.max(from));
        JournalEntry { partition, leader_epoch, base_offset, end_offset, parts: Vec::new() }
    }

    /// True for what `cut` makes.
    pub fn is_cut(&self) -> bool {
        self.size() == 0
    }

    /// Payload bytes.
    pub fn size(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// How many files of which size. One per core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSizes {
    /// Bytes of one file, a multiple of `JOURNAL_BLOCK_BYTES`.
    pub file_bytes: u64,
    /// At least 2: one is written while another is drained.
    pub files_max: usize,
}

impl Default for JournalSizes {
    fn default() -> JournalSizes {
        JournalSizes { file_bytes: JOURNAL_FILE_BYTES, files_max: JOURNAL_FILES_MAX }
    }
}

/// One write of the journal, to be carried out as it is: `parts` at `position` of `file`.
pub struct JournalWrite<D: Disk> {
    pub file: D::File,
    pub position: u64,
    pub parts: Vec<Bytes>,
}

/// A file that `release` may give back, by its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Releasable {
    generation: u64,
}

/// The order to make one more file.
pub struct NewJournalFile {
    path: PathBuf,
    file_bytes: u64,
}

/// A file that holds nothing anybody needs.
pub struct SpareFile<D: Disk> {
    file: D::File,
}

/// What a file holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Highest end offset of the entries.
    pub end: Offset,
    /// Where the newest cut entry cuts, if there is one.
    pub cut: Option<Offset>,
}

/// What a file holds, by partition.
pub type HeldByPartition = HashMap<TopicPartition, Held, RandomState>;

struct ActiveFile<D: Disk> {
    file: D::File,
    generation: u64,
    held: HeldByPartition,
    /// False once a sync was asked for after the file's last write.
    is_unsynced: bool,
}

/// The journal of one core.
pub struct Journal<D: Disk> {
    dir: PathBuf,
    sizes: JournalSizes,
    /// Files with entries, oldest first; the last one is being written.
    files: VecDeque<ActiveFile<D>>,
    spares: Vec<SpareFile<D>>,
    /// Files in `dir`, whether in `files`, in `spares` or being made.
    file_count: usize,
    /// Of the next file that is begun or made; above all generations and names ever used.
    next_generation: u64,
    next_sequence: u64,
    floor: u64,
    /// Where the next write goes in the last file.
    position: u64,
}

impl<D: Disk> Journal<D> {
    /// Opens a core's journal and reads what must be replayed, in order.
    ///
    /// The caller replays the entries into the segments, syncs those, and then carries out and
    /// syncs the write that `clear` gives. Nothing may be journaled before.
    /// An empty folder gets its first two files.
    pub async fn open(
        disk: &D,
        dir: &Path,
    ) -> Result<(Journal<D>, Vec<JournalEntry>), StorageError> {
        Journal::open_sized(disk, dir, JournalSizes::default()).await
    }

    /// `open` with other sizes. Files that are there keep theirs only if it is the same.
    pub async fn open_sized(
        disk: &D,
        dir: &Path,
        sizes: JournalSizes,
    ) -> Result<(Journal<D>, Vec<JournalEntry>), StorageError> {
        assert!(sizes.files_max >= 2);
        assert!(sizes.file_bytes.is_multiple_of(JOURNAL_BLOCK_BYTES as u64));
        assert!(sizes.file_bytes >= 4 * JOURNAL_BLOCK_BYTES as u64);
        create_dir_durably(disk, dir).await?;
        let found = replay::scan(disk, dir, sizes).await?;
        let mut journal = Journal {
            dir: dir.to_owned(),
            sizes,
            files: VecDeque::with_capacity(sizes.files_max),
            file_count: found.files.len(),
            spares: found.files.into_iter().map(|file| SpareFile { file }).collect(),
            next_generation: first_generation(found.generation_max, sizes),
            next_sequence: found.sequence_max + 1,
            floor: found.floor,
            position: 0,
        };
        while journal.spares.len() < 2 {
            let order = journal.plan_file().expect("two files are always allowed");
            let file = order.execute(disk).await?;
            journal.add_file(file);
        }
        Ok((journal, found.entries))
    }

    /// Declares everything replayed as history. Call once after `open`, with the segments synced;
    /// write and sync what it returns before anything else is journaled.
    pub fn clear(&mut self) -> JournalWrite<D> {
        assert!(self.files.is_empty());
        self.floor = self.next_sequence;
        let spare = self.spares.pop().expect("open leaves two");
        let header = self.begin_file(spare);
        let file = &self.files.back().expect("just begun").file;
        JournalWrite { file: file.clone(), position: 0, parts: vec![header] }
    }

    /// Assigns room to `entries` and returns the one write that journals them. `None` when no file
    /// has room: drain partitions, `release`, and come again; nothing has happened.
    ///
    /// # Panics
    /// Before `clear`, or when an entry is empty.
    pub fn reserve(&mut self, entries: Vec<JournalEntry>) -> Option<JournalWrite<D>> {
        assert!(!self.files.is_empty(), "clear comes first");
        let sizes = entries.iter().map(|entry| ENTRY_HEADER_BYTES + entry.size());
        let bytes = sizes.sum::<usize>().next_multiple_of(JOURNAL_BLOCK_BYTES) as u64;
        let mut parts = Vec::with_capacity(3 * entries.len() + 2);
        let mut position = self.position;
        if position + bytes > self.sizes.file_bytes {
            if bytes > self.write_bytes_max() {
                return None;
            }
            let spare = self.spares.pop()?;
            parts.push(self.begin_file(spare));
            position = 0;
        }
        self.push_entries(entries, &mut parts);
        self.position += bytes;
        assert!(self.position <= self.sizes.file_bytes);
        assert!(self.position.is_multiple_of(JOURNAL_BLOCK_BYTES as u64));
        let last = self.files.back().expect("checked on entry");
        Some(JournalWrite { file: last.file.clone(), position, parts })
    }

    /// Largest sum of entries, headers included, that one write can take, in bytes.
    pub fn write_bytes_max(&self) -> u64 {
        self.sizes.file_bytes - JOURNAL_BLOCK_BYTES as u64
    }

    /// Files to sync, in this order, so that every write that was complete before the call is
    /// durable. The file being written is always among them: a write may be in flight.
    pub fn unsynced_files(&mut self) -> Vec<D::File> {
        let unsynced = self.files.iter().filter(|file| file.is_unsynced);
        let files = unsynced.map(|file| file.file.clone()).collect();
        let full = self.files.len().saturating_sub(1);
        for file in self.files.iter_mut().take(full) {
            file.is_unsynced = false;
        }
        files
    }

    /// All files with entries, for a sync beside the one that `unsynced_files` is for.
    pub fn active_files(&self) -> Vec<D::File> {
        self.files.iter().map(|file| file.file.clone()).collect()
    }

    /// The partition's last cut entry is synced: older files need not wait any more for what it
    /// took back.
    pub fn on_cut_synced(&mut self, partition: &TopicPartition) {
        let mut newest = self.files.iter().enumerate().rev();
        let found = newest.find_map(|(index, file)| Some((index, file.held.get(partition)?.cut?)));
        let Some((index, from)) = found else { return };
        for file in self.files.iter_mut().take(index) {
            if let Some(held) = file.held.get_mut(partition) {
                held.end = held.end.min(from);
            }
        }
    }

    /// False when the file being written is the last one: what comes after it waits for drains.
    pub fn has_spare(&self) -> bool {
        !self.spares.is_empty()
    }

    /// True when more than the file being written holds entries: time to drain the oldest.
    pub fn is_crowded(&self) -> bool {
        self.files.len() > 1
    }

    /// What the oldest file holds, which must be free before it can be used again. `None` while it
    /// is the one being written.
    pub fn oldest(&self) -> Option<&HeldByPartition> {
        self.files.front().filter(|_| self.is_crowded()).map(|oldest| &oldest.held)
    }

    /// Full files that hold nothing that is not free, oldest first.
    pub fn releasable(&self, is_free: impl Fn(&TopicPartition, Held) -> bool) -> Vec<Releasable> {
        let is_all_free =
            |file: &&ActiveFile<D>| file.held.iter().all(|(id, held)| is_free(id, *held));
        let full = self.files.len().saturating_sub(1);
        let free = self.files.iter().take(full).take_while(is_all_free);
        free.map(|file| Releasable { generation: file.generation }).collect()
    }

    /// Gives files back for new entries, in the order `releasable` named them. Returns what they
    /// held, oldest first.
    pub fn release(&mut self, files: &[Releasable]) -> Vec<HeldByPartition> {
        let mut held = Vec::with_capacity(files.len());
        for released in files {
            assert!(self.files.len() > 1, "the file being written is never released");
            let file = self.files.pop_front().expect("just counted");
            assert!(file.generation == released.generation, "files leave in their order");
            self.spares.push(SpareFile { file: file.file });
            held.push(file.held);
        }
        held
    }

    /// The order to make one more file, when none is spare and the limit allows it.
    pub fn plan_file(&mut self) -> Option<NewJournalFile> {
        let wanted = if self.files.is_empty() { 2 } else { 1 };
        if self.spares.len() >= wanted || self.file_count >= self.sizes.files_max {
            return None;
        }
        let path = self.dir.join(file_name(self.next_generation));
        self.next_generation += 1;
        self.file_count += 1;
        Some(NewJournalFile { path, file_bytes: self.sizes.file_bytes })
    }

    /// Takes what `NewJournalFile::execute` made.
    pub fn add_file(&mut self, file: SpareFile<D>) {
        self.spares.push(file);
        assert!(self.spares.len() + self.files.len() <= self.file_count);
    }

    /// `NewJournalFile::execute` failed: another attempt may be planned later.
    pub fn file_failed(&mut self) {
        assert!(self.file_count > self.spares.len() + self.files.len());
        self.file_count -= 1;
    }

    /// Makes `spare` the file being written; returns its header block, to be written at 0.
    fn begin_file(&mut self, spare: SpareFile<D>) -> Bytes {
        let generation = self.next_generation;
        self.next_generation += 1;
        self.files.push_back(ActiveFile {
            file: spare.file,
            generation,
            held: HashMap::default(),
            is_unsynced: true,
        });
        self.position = JOURNAL_BLOCK_BYTES as u64;
        let header =
            FileHeader { generation, first_sequence: self.next_sequence, floor: self.floor };
        assert!(header.floor <= header.first_sequence);
        header.encode()
    }

    fn push_entries(&mut self, entries: Vec<JournalEntry>, parts: &mut Vec<Bytes>) {
        let file = self.files.back_mut().expect("a file is being written");
        let mut headers = BytesMut::with_capacity(entries.len() * ENTRY_HEADER_BYTES);
        let mut bytes = 0;
        for entry in entries {
            assert!(entry.is_cut() || entry.end_offset > entry.base_offset);
            let (end, cut) = (entry.end_offset, entry.is_cut().then_some(entry.base_offset));
            let size = entry.size();
            encode_entry(&entry, file.generation, self.next_sequence, &mut headers);
            parts.push(headers.split().freeze());
            parts.extend(entry.parts);
            self.next_sequence += 1;
            bytes += ENTRY_HEADER_BYTES + size;
            let new = Held { end, cut };
            let held = file.held.entry(entry.partition).or_insert(new);
            *held = Held { end: held.end.max(end), cut: cut.or(held.cut) };
        }
        let padding = bytes.next_multiple_of(JOURNAL_BLOCK_BYTES) - bytes;
        if padding > 0 {
            parts.push(Bytes::from_static(&ZEROS[..padding]));
        }
    }
}

impl NewJournalFile {
    /// Makes the file and its name durable, full of zeros.
    pub async fn execute<D: Disk>(self, disk: &D) -> Result<SpareFile<D>, DiskError> {
        let file = disk.open(&self.path, OpenMode::ReadWrite).await?;
        disk.fill_zeros(&file, self.file_bytes).await?;
        if let Some(dir) = self.path.parent() {
            disk.sync_dir(dir).await?;
        }
        Ok(SpareFile { file })
    }
}

/// The generation that a start goes on with. A power cut may have taken headers that no sync
/// covered and left the entries below them; their generations must not be used again.
fn first_generation(generation_max: u64, sizes: JournalSizes) -> u64 {
    match generation_max {
        0 => 1,
        max => max + 1 + sizes.files_max as u64,
    }
}

fn file_name(generation: u64) -> String {
    format!("{generation:020}.journal")
}

/// First block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileHeader {
    generation: u64,
    first_sequence: u64,
    floor: u64,
}

impl FileHeader {
    fn encode(self) -> Bytes {
        let mut block = BytesMut::with_capacity(JOURNAL_BLOCK_BYTES);
        block.put_slice(&FILE_MAGIC);
        block.put_u64_le(0);
        block.put_u64_le(self.generation);
        block.put_u64_le(self.first_sequence);
        block.put_u64_le(self.floor);
        let crc = crc32c::crc32c(&block[12..FILE_HEADER_BYTES]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
        block.resize(JOURNAL_BLOCK_BYTES, 0);
        block.freeze()
    }

    fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let header: &[u8; FILE_HEADER_BYTES] = bytes.first_chunk()?;
        let crc = u32::from_le_bytes(*header[8..].first_chunk()?);
        if header[..8] != FILE_MAGIC || crc != crc32c::crc32c(&header[12..]) {
            return None;
        }
        Some(FileHeader {
            generation: u64::from_le_bytes(*header[16..].first_chunk()?),
            first_sequence: u64::from_le_bytes(*header[24..].first_chunk()?),
            floor: u64::from_le_bytes(*header[32..].first_chunk()?),
        })
    }
}

fn encode_entry(entry: &JournalEntry, generation: u64, sequence: u64, out: &mut BytesMut) {
    assert!(out.is_empty());
    let size = u32::try_from(entry.size()).expect("a write fits one journal file");
    out.put_slice(&ENTRY_MAGIC);
    out.put_u32_le(0);
    out.put_u64_le(generation);
    out.put_u64_le(sequence);
    out.put_slice(entry.partition.topic.0.as_bytes());
    out.put_i32_le(entry.partition.partition.0);
    out.put_i32_le(entry.leader_epoch.0);
    out.put_u64_le(entry.base_offset.get());
    out.put_u32_le(size);
    let offsets = entry.end_offset.since(entry.base_offset);
    // Those of batches fit 31 bits; a cut may take back more, and nobody reads how many.
    assert!(entry.is_cut() || u32::try_from(offsets).is_ok());
    out.put_u32_le(u32::try_from(offsets).unwrap_or(u32::MAX));
    assert!(out.len() == ENTRY_HEADER_BYTES);
    let mut crc = crc32c::crc32c(&out[8..]);
    for part in &entry.parts {
        crc = crc32c::crc32c_append(crc, part);
    }
    out[4..8].copy_from_slice(&crc.to_le_bytes());
}
