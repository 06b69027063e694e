//! A group of segments gives way to the one that was written from it, whatever a crash leaves.
//!
//! ```text
//!  1  <base>.{log,index,timeindex,txnindex}.cleaned written, synced, names synced
//!  2  compaction-swap says base, end, size, CRC-32C and aborts; synced
//!  3  .cleaned renamed over the first segment's log and indexes; names synced
//!  4  .txnindex.cleaned likewise, the group's other segments removed; names synced
//!  5  compaction-swap removed
//! ```
//! A start that finds no `compaction-swap` removes `.cleaned` files: the old segments are whole.
//! One that finds it goes on from 3 when the `.cleaned` log is there. When it is not, either 3 was
//! done or (a file system may lose both names of a rename) undone: the size and the checksum of the
//! first segment tell which. Nothing is removed before 3 is durable, so undone means that all is
//! there. The index files of the first segment are made again after a crash, whichever they were;
//! that of aborted transactions from `compaction-swap`, as no log says what it lost with a marker.
//!
//! Readers of the old files are let finish: see `ReadHints` in partition_log/read.rs.

use crate::model::ids::Offset;
use crate::model::limits::CLEANER_BITE_BYTES;
use crate::protocol::crc32c;
use crate::storage::checkpoint::replace_file;
use crate::storage::disk::{DirEntry, Disk, DiskError, OpenMode};
use crate::storage::error::StorageError;
use crate::storage::partition_log::{PartitionLog, write_aborts};
use crate::storage::recovery::read_all;
use crate::storage::retention::remove_segment;
use crate::storage::segment::{Segment, parse_name, segment_path};
use crate::storage::transactions::{self, AbortedTransaction};
use bytes::{BufMut, Bytes, BytesMut};
use std::path::{Path, PathBuf};

const INTENT_FILE: &str = "compaction-swap";
const MAGIC: [u8; 8] = *b"HWSWAP01";
/// Magic, CRC of the rest, CRC of the log, base offset, end offset, size. Aborts follow, as they
/// stand in a `.txnindex`.
const INTENT_BYTES: usize = 40;
/// What an output's files are called until they are swapped in.
const CLEANED: &str = "cleaned";

/// Path of an output's file.
pub(super) fn cleaned_path(dir: &Path, base_offset: Offset, kind: &str) -> PathBuf {
    segment_path(dir, base_offset, &format!("{kind}.{CLEANED}"))
}

/// What is to become of a group, as a crash must find it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Intent {
    base_offset: Offset,
    /// Where the segment behind the group begins.
    end_offset: Offset,
    /// Of the new log file, in bytes.
    size: u64,
    crc: u32,
    /// Content of the new index of aborted transactions.
    aborts: Bytes,
}

impl Intent {
    fn encode(&self) -> Bytes {
        let mut rest = BytesMut::with_capacity(INTENT_BYTES + self.aborts.len());
        rest.put_u32_le(self.crc);
        rest.put_u64_le(self.base_offset.get());
        rest.put_u64_le(self.end_offset.get());
        rest.put_u64_le(self.size);
        rest.put_slice(&self.aborts);
        let mut out = BytesMut::with_capacity(INTENT_BYTES + self.aborts.len());
        out.put_slice(&MAGIC);
        out.put_u32_le(crc32c::crc32c(&rest));
        out.put_slice(&rest);
        assert!(out.len() == INTENT_BYTES + self.aborts.len());
        out.freeze()
    }

    fn decode(whole: &[u8]) -> Option<Intent> {
        let (bytes, aborts) = whole.split_first_chunk::<INTENT_BYTES>()?;
        let long = |at: usize| Some(u64::from_le_bytes(*bytes[at..].first_chunk()?));
        let offset = |at| Offset::from_wire(i64::try_from(long(at)?).ok()?);
        let crc_of_rest = u32::from_le_bytes(*bytes[8..].first_chunk()?);
        if bytes[..8] != MAGIC || crc_of_rest != crc32c::crc32c(&whole[12..]) {
            return None;
        }
        let aborts = Bytes::copy_from_slice(aborts);
        Some(Intent {
            crc: u32::from_le_bytes(*bytes[12..].first_chunk()?),
            base_offset: offset(16)?,
            end_offset: offset(24)?,
            size: long(32)?,
            aborts,
        })
    }
}

/// The order to put a written output in place of its group.
pub struct SwapPlan<D: Disk> {
    pub(super) dir: PathBuf,
    /// Base offset and open file of each segment of the group, oldest first.
    pub(super) group: Vec<(Offset, D::File)>,
    pub(super) segment: Segment<D>,
    pub(super) crc: u32,
    /// Aborted transactions whose markers are in the new segment.
    pub(super) aborted: Vec<AbortedTransaction>,
}

/// A swap that is complete and durable.
pub struct SwapDone<D: Disk> {
    segment: Segment<D>,
    aborted: Vec<AbortedTransaction>,
}

impl<D: Disk> SwapPlan<D> {
    /// Makes the intent durable, after the log was told by `begin_swap`. Nothing has changed for
    /// readers yet.
    ///
    /// # Errors
    /// The disk's. After "no space" the plan may be abandoned and the log told by `cancel_swap`;
    /// after anything else the log directory must go offline.
    pub async fn prepare(&self, disk: &D) -> Result<(), StorageError> {
        let aborts = transactions::encode(self.aborted.iter());
        if !aborts.is_empty() {
            // Written now, so that no space is needed once files are replaced.
            let path = cleaned_path(&self.dir, self.segment.base_offset, "txnindex");
            disk.remove(&path).await?;
            let file = disk.open(&path, OpenMode::CreateNew).await?;
            disk.write_at(&file, 0, vec![aborts.clone()]).await?;
            disk.sync(&file).await?;
        }
        let intent = Intent {
            base_offset: self.segment.base_offset,
            end_offset: self.segment.end_offset,
            size: self.segment.size,
            crc: self.crc,
            aborts,
        };
        disk.sync_dir(&self.dir).await?;
        let path_new = self.dir.join(format!("{INTENT_FILE}.tmp"));
        replace_file(disk, &path_new, &self.dir.join(INTENT_FILE), intent.encode()).await?;
        Ok(())
    }

    /// Removes what was written, when the plan is not to be carried out.
    ///
    /// # Errors
    /// The disk's; a recovery removes the rest.
    pub async fn abandon(self, disk: &D) -> Result<(), StorageError> {
        for kind in ["index", "timeindex", "txnindex", "log"] {
            disk.remove(&cleaned_path(&self.dir, self.segment.base_offset, kind)).await?;
        }
        Ok(())
    }

    /// Swaps, after `prepare`.
    ///
    /// # Errors
    /// The disk's: what is there now only a recovery can tell, the log directory must go offline.
    pub async fn execute(self, disk: &D) -> Result<SwapDone<D>, StorageError> {
        let base_offset = self.segment.base_offset;
        for kind in ["index", "timeindex", "log"] {
            let to = segment_path(&self.dir, base_offset, kind);
            disk.rename(&cleaned_path(&self.dir, base_offset, kind), &to).await?;
        }
        disk.sync_dir(&self.dir).await?;
        let aborts_path = segment_path(&self.dir, base_offset, "txnindex");
        if self.aborted.is_empty() {
            disk.remove(&aborts_path).await?;
        } else {
            let cleaned = cleaned_path(&self.dir, base_offset, "txnindex");
            disk.rename(&cleaned, &aborts_path).await?;
        }
        for (other, _) in &self.group[1..] {
            remove_segment(disk, &self.dir, *other).await?;
        }
        disk.sync_dir(&self.dir).await?;
        disk.remove(&self.dir.join(INTENT_FILE)).await?;
        Ok(SwapDone { segment: self.segment, aborted: self.aborted })
    }
}

impl<D: Disk> PartitionLog<D> {
    /// Tells the log that a swap is about to be carried out. False when the group is not in the
    /// log any more, as retention dropped some of it: the plan must be dropped.
    #[must_use]
    pub fn begin_swap(&mut self, plan: &SwapPlan<D>) -> bool {
        assert!(self.compaction.swapping.is_none());
        let base_offset = plan.segment.base_offset;
        let first = self.segments.partition_point(|segment| segment.base_offset < base_offset);
        let is_whole = plan.group.iter().enumerate().all(|(index, (base, _))| {
            self.segments.get(first + index).is_some_and(|segment| segment.base_offset == *base)
        });
        let next = self.segments.get(first + plan.group.len());
        if !is_whole || next.is_none_or(|next| next.base_offset != plan.segment.end_offset) {
            return false;
        }
        for (index, (base, file)) in plan.group.iter().enumerate() {
            self.segments[first + index].file = Some(file.clone());
            self.hints.replace(*base, file.clone());
        }
        self.compaction.swapping = Some((base_offset, plan.segment.end_offset));
        true
    }

    /// A swap that was begun is not carried out.
    pub fn cancel_swap(&mut self) {
        let (base_offset, end_offset) =
            self.compaction.swapping.take().expect("begun with begin_swap");
        for segment in &mut self.segments {
            if segment.base_offset >= base_offset && segment.end_offset <= end_offset {
                segment.file = None;
            }
        }
        self.hints = Default::default();
    }

    /// A swap is complete: reads planned from now on see the new segment.
    pub fn swapped(&mut self, done: SwapDone<D>) {
        let (base_offset, end_offset) =
            self.compaction.swapping.take().expect("begun with begin_swap");
        let mut segment = done.segment;
        segment.aborts_written = done.aborted.len();
        self.transactions.replace_between(base_offset, end_offset, done.aborted);
        assert!(segment.base_offset == base_offset);
        assert!(segment.end_offset == end_offset);
        let first = self.segments.partition_point(|segment| segment.base_offset < base_offset);
        let end = self.segments.partition_point(|segment| segment.base_offset < end_offset);
        assert!(first < end);
        assert!(end < self.segments.len());
        self.segments.drain(first + 1..end);
        self.segments[first] = segment;
        self.tail.drop_below(self.drained_end, end_offset);
        self.hints = Default::default();
        self.compaction.has_checkpoint = true;
        self.compaction.holes_end = self.compaction.holes_end.max(end_offset);
    }
}

/// True for files that a swap or an unfinished round has left behind.
pub(in crate::storage) fn is_of_swap(entry: &DirEntry) -> bool {
    entry.name == INTENT_FILE || entry.name.ends_with(&format!(".{CLEANED}"))
}

/// Brings a folder that a crash found in the middle of a swap to one side or the other, and removes
/// what unfinished rounds left behind. Safe to be cut off at any point itself.
pub(in crate::storage) async fn finish_swap<D: Disk>(
    disk: &D,
    dir: &Path,
    names: &[DirEntry],
) -> Result<(), StorageError> {
    let intent_path = dir.join(INTENT_FILE);
    if names.iter().any(|entry| entry.name == INTENT_FILE) {
        let bytes = read_all(disk, &intent_path).await?;
        // A killed process may have left it, and what it speaks of, in the page cache only.
        disk.sync_dir(dir).await?;
        if let Some(intent) = Intent::decode(&bytes) {
            roll_forward(disk, dir, names, &intent).await?;
        }
        disk.remove(&intent_path).await?;
        disk.sync_dir(dir).await?;
    }
    for entry in names.iter().filter(|entry| is_of_swap(entry)) {
        // No error when it is not there any more.
        disk.remove(&dir.join(&entry.name)).await?;
    }
    Ok(())
}

async fn roll_forward<D: Disk>(
    disk: &D,
    dir: &Path,
    names: &[DirEntry],
    intent: &Intent,
) -> Result<(), StorageError> {
    let log = segment_path(dir, intent.base_offset, "log");
    let cleaned = cleaned_path(dir, intent.base_offset, "log");
    let size_of = |path: &Path| {
        let mut entries = names.iter();
        let found = entries.find(|entry| path.file_name().is_some_and(|name| name == &*entry.name));
        found.map(|entry| entry.size)
    };
    for kind in ["index", "timeindex"] {
        disk.remove(&segment_path(dir, intent.base_offset, kind)).await?;
    }
    if size_of(&cleaned) == Some(intent.size) {
        disk.rename(&cleaned, &log).await?;
    } else if size_of(&log) != Some(intent.size) || !has_crc(disk, &log, intent).await? {
        return Ok(disk.sync_dir(dir).await?);
    }
    disk.sync_dir(dir).await?;
    if intent.aborts.is_empty() {
        disk.remove(&segment_path(dir, intent.base_offset, "txnindex")).await?;
    }
    write_aborts(disk, dir, intent.base_offset, (0, &intent.aborts)).await?;
    for entry in names {
        let Some((base, "log")) = parse_name(&entry.name) else { continue };
        if base > intent.base_offset && base < intent.end_offset {
            remove_segment(disk, dir, base).await?;
        }
    }
    Ok(disk.sync_dir(dir).await?)
}

async fn has_crc<D: Disk>(disk: &D, path: &Path, intent: &Intent) -> Result<bool, DiskError> {
    let file = disk.open(path, OpenMode::Read).await?;
    let (mut crc, mut position) = (0, 0);
    while position < intent.size {
        let bytes = disk.read_at(&file, position, CLEANER_BITE_BYTES).await?;
        if bytes.is_empty() {
            return Ok(false);
        }
        crc = crc32c::crc32c_append(crc, &bytes);
        position += bytes.len() as u64;
    }
    Ok(crc == intent.crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_reads_back_and_no_damaged_one_does() {
        let intent = Intent {
            base_offset: Offset::new(7),
            end_offset: Offset::new(1 << 40),
            size: 12_345,
            crc: 0xDEAD_BEEF,
            aborts: Bytes::from_static(b"an index of aborted transactions"),
        };
        let bytes = intent.encode();
        assert_eq!(Intent::decode(&bytes), Some(intent));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(Intent::decode(&damaged), None, "byte {at}");
            assert_eq!(Intent::decode(&bytes[..at]), None);
        }
    }
}
