//! Reads by offset: from memory at once, or from a segment file by a plan.
//!
//! Whole batches only. The first one returned holds the offset asked for, so it may begin before
//! it; consumers skip what they did not ask for.
//!
//! A batch has its CRC checked when it is read from a file for the first time: the disk may have
//! forgotten what a client must not be told. Bytes that were checked before, or that this process
//! wrote itself, are lent to the kernel, which sends them without a copy through our memory
//! (docs/decisions/003); clients check the CRC again.
//!
//! Compaction may put another file in place of one that a plan speaks of. The old file is then
//! found in what plan and log share (`ReadHints`), and is read to the end of the plan: an open file
//! outlives its name.

use super::{Damage, PartitionLog};
use crate::model::ids::Offset;
use crate::model::limits::{LEND_BYTES_MIN, READ_AHEAD_BYTES_MAX};
use crate::protocol::part::{FileRange, Part};
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::StorageError;
use crate::storage::index::{OFFSET_ENTRY_BYTES, OffsetEntry, decode_offsets};
use crate::storage::segment::{Checked, Segment, segment_path};
use bytes::Bytes;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod following;
mod walk;

use following::Following;
pub(super) use walk::{Place, Walk};

/// Bytes that a read asks for at least: enough to find a batch behind an index entry.
const READ_BYTES_MIN: usize = 64 * 1024;
/// Bytes that a read asks for at once at most; a larger fetch gets less than it asked for.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Places of one partition where a reader is expected to go on.
const HINTS_MAX: usize = 8;
/// Bytes of an index file read at once, at the end of a search.
const INDEX_PAGE_BYTES: u64 = 4096;

/// How a read is to be answered.
pub enum ReadPlan<D: Disk> {
    /// The batches.
    Memory(Vec<Bytes>),
    /// They lie in a segment file.
    File(FileRead<D>),
    /// Below the log start or above the log end.
    OutOfRange,
    /// Nothing readable there yet.
    Empty,
}

/// Where a reader left off in a segment file.
struct Hint<D: Disk> {
    offset: Offset,
    base_offset: Offset,
    /// Of the batch that holds the offset.
    place: Place,
    file: D::File,
}

/// What reads under way share with the log, until a compaction has swapped segments: plans made
/// from then on share another.
struct Shared<D: Disk> {
    /// Where readers of one partition left off, newest last.
    hints: Vec<Hint<D>>,
    /// Base offset and file of segments that compaction is replacing, or has replaced.
    replaced: Vec<(Offset, D::File)>,
}

/// Where readers of one partition left off, and the files that they must go on with.
pub(in crate::storage) struct ReadHints<D: Disk> {
    shared: Rc<RefCell<Shared<D>>>,
}

impl<D: Disk> Default for ReadHints<D> {
    fn default() -> Self {
        let shared = Shared { hints: Vec::new(), replaced: Vec::new() };
        ReadHints { shared: Rc::new(RefCell::new(shared)) }
    }
}

impl<D: Disk> Clone for ReadHints<D> {
    fn clone(&self) -> Self {
        ReadHints { shared: Rc::clone(&self.shared) }
    }
}

impl<D: Disk> ReadHints<D> {
    fn take(&self, offset: Offset, base_offset: Offset) -> Option<Hint<D>> {
        let hints = &mut self.shared.borrow_mut().hints;
        let is_it = |hint: &Hint<D>| hint.offset == offset && hint.base_offset == base_offset;
        let index = hints.iter().position(is_it)?;
        Some(hints.remove(index))
    }

    fn add(&self, hint: Hint<D>) {
        let hints = &mut self.shared.borrow_mut().hints;
        if hints.len() == HINTS_MAX {
            hints.remove(0);
        }
        hints.push(hint);
    }

    /// Forgets places in segments below `base_offset`, so that their files can be closed.
    pub(in crate::storage) fn forget_below(&self, base_offset: Offset) {
        self.shared.borrow_mut().hints.retain(|hint| hint.base_offset >= base_offset);
    }

    /// Keeps the file of a segment for reads that were planned before it is replaced.
    pub(in crate::storage) fn replace(&self, base_offset: Offset, file: D::File) {
        self.shared.borrow_mut().replaced.push((base_offset, file));
    }

    fn replaced(&self, base_offset: Offset) -> Option<D::File> {
        let shared = self.shared.borrow();
        let found = shared.replaced.iter().find(|(base, _)| *base == base_offset);
        found.map(|(_, file)| file.clone())
    }
}

/// Where in a segment to begin looking.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    At(Place),
    /// The index file knows.
    Indexed,
}

/// A segment file as a plan holds it.
pub(super) struct SegmentFile<D: Disk> {
    pub(super) dir: PathBuf,
    pub(super) base_offset: Offset,
    pub(super) file: Option<D::File>,
    /// Bytes in the file that are batches.
    pub(super) written: u64,
    pub(super) checked: Rc<Checked>,
    hints: ReadHints<D>,
    /// No compaction has left holes: each offset is in a batch.
    is_dense: bool,
}

/// What a reader that goes on where it left off may be lent.
#[derive(Debug, Clone, Copy)]
struct Lendable {
    /// Where a batch begins.
    start: u64,
    /// Where the range must end at the latest.
    limit: u64,
    /// Found in an index in memory; the outer `None` when the index is in its file.
    last_batch: Option<Option<OffsetEntry>>,
}

/// The order to read batches from one segment file.
pub struct FileRead<D: Disk> {
    segment: SegmentFile<D>,
    /// Where to go on when compaction has left nothing in the segment from the offset on.
    following: Option<Box<Following<D>>>,
    start: Start,
    lendable: Option<Lendable>,
    /// Behind the last damage before the offset: no walk may lead through it.
    start_min: Option<Place>,
    from: Offset,
    up_to: Offset,
    max_bytes: usize,
    at_least_one_batch: bool,
    damage: Option<Box<Damage>>,
    /// How often the log had been cut.
    cuts: u32,
}

impl<D: Disk> PartitionLog<D> {
    /// Batches from the one that holds `from` on, below `up_to`, of `max_bytes` at most.
    ///
    /// With `at_least_one_batch` the first is returned whole even when it is larger (KIP-74).
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
        at_least_one_batch: bool,
    ) -> ReadPlan<D> {
        if from < self.log_start || from > self.log_end() {
            return ReadPlan::OutOfRange;
        }
        if from >= up_to || from == self.log_end() {
            return ReadPlan::Empty;
        }
        if self.tail.start().is_some_and(|start| start <= from) {
            let parts = self.read_memory(from, max_bytes, up_to, at_least_one_batch);
            return if parts.is_empty() { ReadPlan::Empty } else { ReadPlan::Memory(parts) };
        }
        ReadPlan::File(self.plan_file_read(from, max_bytes, up_to, at_least_one_batch))
    }

    fn read_memory(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
        at_least_one_batch: bool,
    ) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let mut left = max_bytes;
        for batch in self.tail.from(from) {
            let size = batch.bytes.size();
            let is_forced = parts.is_empty() && at_least_one_batch;
            if batch.end_offset > up_to || (size > left && !is_forced) {
                break;
            }
            left = left.saturating_sub(size);
            parts.push(batch.bytes.head.clone());
            if !batch.bytes.rest.is_empty() {
                parts.push(batch.bytes.rest.clone());
            }
        }
        parts
    }

    pub(super) fn plan_file_read(
        &self,
        from: Offset,
        max_bytes: usize,
        up_to: Offset,
        at_least_one_batch: bool,
    ) -> FileRead<D> {
        let segment = self.segment_of(from);
        let mut file = self.segment_file(segment);
        // The front of the log may be missing: the damage says so.
        let relative = segment.relative(from.max(segment.base_offset));
        let mut start = start_in(segment, relative);
        let mut lendable = None;
        if let Some(hint) = self.hints.take(from, segment.base_offset) {
            lendable = Some(lendable_in(segment, hint.place.position, max_bytes));
            start = Start::At(hint.place);
            file.file = Some(hint.file);
        }
        let damage = self.damage.iter().find(|damage| damage.end > from);
        let damaged_from = damage.map_or(up_to, |damage| damage.first.max(from));
        let before = self
            .damage
            .iter()
            .rev()
            .find(|damage| damage.end <= from && damage.first >= segment.base_offset);
        let mut plan = FileRead {
            segment: file,
            following: None,
            start,
            lendable,
            start_min: before.map(|damage| Place::first(damage.end_position, damage.end)),
            from,
            up_to: up_to.min(damaged_from.max(from.advance(1))),
            max_bytes,
            at_least_one_batch,
            damage: damage.filter(|damage| damage.first <= from).cloned().map(Box::new),
            cuts: self.cuts,
        };
        if self.may_have_holes() {
            self.plan_following(segment, &mut plan);
        }
        plan
    }

    /// The segment that holds `offset`, or would.
    pub(in crate::storage) fn segment_of(&self, offset: Offset) -> &Segment<D> {
        let after = self.segments.partition_point(|segment| segment.base_offset <= offset);
        &self.segments[after.saturating_sub(1)]
    }

    pub(super) fn segment_file(&self, segment: &Segment<D>) -> SegmentFile<D> {
        SegmentFile {
            dir: self.dir.clone(),
            base_offset: segment.base_offset,
            file: segment.file.clone(),
            written: segment.written,
            checked: Rc::clone(&segment.checked),
            hints: self.hints.clone(),
            is_dense: !self.may_have_holes(),
        }
    }
}

fn lendable_in<D: Disk>(segment: &Segment<D>, start: u64, max_bytes: usize) -> Lendable {
    let limit = start.saturating_add(max_bytes as u64).min(segment.written);
    let last_batch = segment.index.as_ref().map(|index| {
        index.lookup_position(u32::try_from(limit).expect("bounded by SEGMENT_BYTES_MAX"))
    });
    Lendable { start, limit, last_batch }
}

/// Where to begin looking for an offset, by an index in memory if there is one.
pub(super) fn start_in<D: Disk>(segment: &Segment<D>, relative: u32) -> Start {
    let Some(index) = &segment.index else { return Start::Indexed };
    Start::At(place_of(segment.base_offset, index.lookup(relative)))
}

/// Of the batch of an index entry; the front where there is none.
fn place_of(base_offset: Offset, entry: Option<OffsetEntry>) -> Place {
    let Some(entry) = entry else { return Place::first(0, base_offset) };
    Place::last(u64::from(entry.position), base_offset.advance(u64::from(entry.relative)))
}

impl<D: Disk> FileRead<D> {
    /// Bytes that may come back at most, but for a first batch that is larger.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How often the log had been cut when this was planned; `note_damage` wants to know.
    pub fn cuts(&self) -> u32 {
        self.cuts
    }

    /// Reads. Empty when the first batch is above `max_bytes` and need not be returned.
    ///
    /// # Errors
    /// The offset's batch is damaged, or the disk refuses. Batches before a damaged one come back.
    pub async fn execute(mut self, disk: &D) -> Result<Part, StorageError> {
        if let Some(lendable) = self.lendable
            && let Some(lent) = self.lend(disk, lendable).await?
        {
            return Ok(lent.into());
        }
        Ok(self.execute_in_memory(disk).await?.into())
    }

    /// As `execute`, for a reader that looks into the batches.
    ///
    /// # Errors
    /// As `execute`.
    pub async fn execute_in_memory(mut self, disk: &D) -> Result<Bytes, StorageError> {
        if let Some(damage) = self.damage {
            let Damage { file, position, .. } = *damage;
            let what = "the range was found damaged at the start";
            return Err(StorageError::Corrupt { file, position, what });
        }
        loop {
            let file = self.segment.open(disk).await?;
            if let Some(batches) = self.read_segment(disk, file).await? {
                return Ok(batches);
            }
            match self.following.take().map(|following| *following) {
                Some(Following::Segment(next)) => {
                    let front = Place::first(0, next.base_offset);
                    (self.segment, self.start, self.start_min) = (next, Start::At(front), None);
                }
                Some(Following::Memory(parts)) => return Ok(Bytes::from(parts.concat())),
                None => return Ok(Bytes::new()),
            }
        }
    }

    /// Batches of one segment; `None` when it has none from the offset on.
    async fn read_segment(&self, disk: &D, file: D::File) -> Result<Option<Bytes>, StorageError> {
        let place = match self.start {
            Start::At(place) => place,
            Start::Indexed => self.segment.look_up(disk, &file, self.from).await?,
        };
        let front = self.start_min.unwrap_or(Place::first(0, self.segment.base_offset));
        let place = if front.position > place.position { front } else { place };
        let len = (self.max_bytes.saturating_add(READ_BYTES_MIN)).min(READ_BYTES_MAX);
        let walk = Walk { disk, segment: &self.segment, file: &file };
        let found = match walk.find(place, self.from, len).await {
            // What the index says, which was read from a file too, may be what is damaged.
            Err(StorageError::Corrupt { .. }) if place.is_of_index() => {
                walk.find(front, self.from, len).await?
            }
            found => found?,
        };
        let Some(found) = found else {
            let end = self.segment.written;
            return match self.segment.is_dense {
                true => Err(self.segment.corrupt(end, "no batch has the offset")),
                false => Ok(None),
            };
        };
        let (first, found, bytes) = (found.first, found.position, found.bytes);
        let (cut, end) = self.cut(bytes, found)?;
        let (offset, place) = if cut.is_empty() {
            (self.from, Place::first(found, first)) // The same reader will ask for it again.
        } else {
            (end, Place::first(found + cut.len() as u64, end))
        };
        self.segment.checked.add(found..place.position);
        if self.lendable.is_some() {
            self.segment.read_ahead(disk, &file, place.position);
        }
        let base_offset = self.segment.base_offset;
        self.segment.hints.add(Hint { offset, base_offset, place, file });
        Ok(Some(cut))
    }

    /// The range up to the last indexed batch, where that is worth it: `None` also when it was
    /// never checked, is not in memory, or what stands behind it may not be read yet.
    async fn lend(
        &mut self,
        disk: &D,
        lendable: Lendable,
    ) -> Result<Option<FileRange>, StorageError> {
        let Lendable { start, limit, last_batch } = lendable;
        let end_min = start + LEND_BYTES_MIN as u64;
        if self.damage.is_some() || limit < end_min {
            return Ok(None);
        }
        let last_batch = match last_batch {
            Some(entry) => entry,
            None => self.segment.last_batch_before(disk, limit).await?,
        };
        let Some(entry) = last_batch.filter(|entry| u64::from(entry.position) >= end_min) else {
            return Ok(None);
        };
        if self.segment.hints.replaced(self.segment.base_offset).is_some() {
            return Ok(None); // The index may be that of the new file.
        }
        let range = start..u64::from(entry.position);
        if !self.segment.checked.covers(range.clone()) {
            return Ok(None);
        }
        let file = self.segment.open(disk).await?;
        self.segment.file = Some(file.clone());
        let head = disk.read_at(&file, range.end, BATCH_HEADER_SIZE).await?;
        let Some(end) = self.segment.base_offset_if(&head, entry) else { return Ok(None) };
        if end <= self.from || end > self.up_to {
            return Ok(None);
        }
        let len = usize::try_from(range.end - range.start).expect("at most what was asked for");
        let Some(lent) = disk.lend(&file, range.start, len) else { return Ok(None) };
        self.segment.read_ahead(disk, &file, range.end);
        self.segment.hints.add(Hint {
            offset: end,
            base_offset: self.segment.base_offset,
            place: Place::first(range.end, end),
            file,
        });
        Ok(Some(lent))
    }

    /// Whole, intact, allowed batches from the front of `bytes`, and the offset behind them.
    fn cut(&self, bytes: Bytes, position: u64) -> Result<(Bytes, Offset), StorageError> {
        let mut rest = bytes.clone();
        let mut end = self.from;
        let mut taken = 0;
        while !rest.is_empty() {
            let batch = match CheckedBatch::check_first(&mut rest) {
                Ok(batch) => batch,
                Err(BatchError::Truncated { .. }) => break,
                Err(_) if taken > 0 => break,
                Err(_) => return Err(self.segment.corrupt(position, "wrong batch checksum")),
            };
            let Some(last) = self.last_in_order(batch.header(), (taken > 0).then_some(end)) else {
                match taken {
                    0 => return Err(self.segment.corrupt(position, "a batch is out of order")),
                    _ => break,
                }
            };
            let is_forced = taken == 0 && self.at_least_one_batch;
            let size = batch.bytes().len();
            if last >= self.up_to || (taken + size > self.max_bytes && !is_forced) {
                break;
            }
            taken += size;
            end = last.advance(1);
        }
        Ok((bytes.slice(..taken), end))
    }

    /// The last offset of a batch, if it may come behind `before`, or first. Its offsets are not
    /// under its checksum.
    fn last_in_order(&self, header: &BatchHeader, before: Option<Offset>) -> Option<Offset> {
        let base = Offset::from_wire(header.base_offset())?;
        let last = Offset::from_wire(header.last_offset())?;
        let is_next = match before {
            None => !self.segment.is_dense || base <= self.from,
            Some(end) if self.segment.is_dense => base == end,
            Some(end) => base >= end,
        };
        (is_next && base <= last).then_some(last)
    }
}

impl<D: Disk> SegmentFile<D> {
    /// For a reader that has come to `position` in order, and goes on.
    fn read_ahead(&self, disk: &D, file: &D::File, position: u64) {
        let left = usize::try_from(self.written.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = left.min(READ_AHEAD_BYTES_MAX);
        if len > 0 {
            disk.read_ahead(file, position, len);
        }
    }

    pub(super) fn corrupt(&self, position: u64, what: &'static str) -> StorageError {
        StorageError::Corrupt { file: self.path(), position, what }
    }

    fn path(&self) -> PathBuf {
        segment_path(&self.dir, self.base_offset, "log")
    }

    pub(super) async fn open(&mut self, disk: &D) -> Result<D::File, StorageError> {
        if let Some(file) = self.file.take() {
            return Ok(file);
        }
        let opened = disk.open(&self.path(), OpenMode::Read).await;
        // Looked up afterwards: what was opened may be the new file, or gone.
        match self.hints.replaced(self.base_offset) {
            Some(file) => Ok(file),
            None => Ok(opened?),
        }
    }

    /// Place from which a walk finds `offset`, by the index file. What the file says is checked
    /// against the log; where they disagree the walk begins at the front.
    pub(super) async fn look_up(
        &self,
        disk: &D,
        file: &D::File,
        offset: Offset,
    ) -> Result<Place, StorageError> {
        let front = place_of(self.base_offset, None);
        // Behind the front of the log, which may be missing, relative offsets are none.
        let relative = offset.max(self.base_offset).since(self.base_offset);
        let is_before = |entry: &OffsetEntry| u64::from(entry.relative) <= relative;
        let entry = search_index(disk, &self.dir, self.base_offset, is_before).await?;
        let Some(entry) = entry else { return Ok(front) };
        if self.hints.replaced(self.base_offset).is_some() {
            return Ok(front); // The index may be that of the new file.
        }
        let place = place_of(self.base_offset, Some(entry));
        let head = disk.read_at(file, place.position, BATCH_HEADER_SIZE).await?;
        let agrees = self.base_offset_if(&head, entry).is_some();
        Ok(if agrees && place.position < self.written { place } else { front })
    }

    /// The last batch that the index file says begins at or before `limit`.
    async fn last_batch_before(
        &self,
        disk: &D,
        limit: u64,
    ) -> Result<Option<OffsetEntry>, StorageError> {
        let is_before = |entry: &OffsetEntry| u64::from(entry.position) <= limit;
        search_index(disk, &self.dir, self.base_offset, is_before).await
    }

    /// The base offset of a batch whose header agrees with its index entry.
    fn base_offset_if(&self, head: &[u8], entry: OffsetEntry) -> Option<Offset> {
        let header = BatchHeader::read(head).ok()?;
        let last = self.base_offset.to_wire() + i64::from(entry.relative);
        Offset::from_wire(header.base_offset()).filter(|_| header.last_offset() == last)
    }
}

/// The last entry of an index file that `is_before` holds for, without reading all of it. It must
/// hold for the first entries and for none behind the first that it does not hold for.
async fn search_index<D: Disk>(
    disk: &D,
    dir: &Path,
    base_offset: Offset,
    is_before: impl Fn(&OffsetEntry) -> bool,
) -> Result<Option<OffsetEntry>, StorageError> {
    let path = segment_path(dir, base_offset, "index");
    let file = match disk.open(&path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let entry_bytes = OFFSET_ENTRY_BYTES as u64;
    let (mut low, mut high) = (0, disk.size(&file).await? / entry_bytes);
    // Entries below `low` are at or before the offset; those from `high` on are behind it.
    while (high - low) * entry_bytes > INDEX_PAGE_BYTES {
        let middle = low + (high - low) / 2;
        let bytes = disk.read_at(&file, middle * entry_bytes, OFFSET_ENTRY_BYTES).await?;
        let Some(entry) = decode_offsets(&bytes).and_then(|entries| entries.first().copied())
        else {
            return Ok(None);
        };
        if is_before(&entry) { low = middle } else { high = middle }
    }
    let len = usize::try_from((high - low) * entry_bytes).expect("at most a page");
    let page = disk.read_at(&file, low * entry_bytes, len).await?;
    let entries = decode_offsets(&page).unwrap_or_default();
    Ok(entries.into_iter().take_while(is_before).last())
}
