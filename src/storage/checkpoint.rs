//! Recovery points: per partition, from where on the segments must be read again after a crash.
//!
//! One small file per core, `recovery-points` beside the core's journal, replaced as a whole.
//! Numbers are little-endian.
//! ```text
//!   0  magic "HWRPNTS2"        per partition, 64 bytes
//!   8  crc32c of 12..end        0  topic id
//!  12  partitions, u32         16  partition
//!  16  entries                 20  has a snapshot, u32: 0 or 1
//!                              24  recovery offset
//!                              32  log start
//!                              40  producers from
//!                              48  high watermark
//!                              56  cuts, u32; four zeros
//! ```
//! The first version, "HWRPNTS1", ends each entry at byte 48: it knew one replica only, where what
//! is safe is committed.
//!
//! A file that is damaged or missing counts as empty: recovery then reads every segment.

use crate::model::ids::{Offset, PartitionId, TopicId, TopicPartition};
use crate::protocol::crc32c;
use crate::storage::disk::{Disk, DiskError, OpenMode};
use crate::storage::error::StorageError;
use bytes::{BufMut, Bytes, BytesMut};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::path::Path;

const NAME: &str = "recovery-points";
const NAME_NEW: &str = "recovery-points.tmp";
const MAGIC: [u8; 8] = *b"HWRPNTS2";
const MAGIC_FIRST: [u8; 8] = *b"HWRPNTS1";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;
const ENTRY_BYTES_FIRST: usize = 48;

/// Where recovery of one partition begins. The default is "read everything".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryPoint {
    /// Everything below is synced in segments: damage there is no torn tail.
    pub recovery_offset: Offset,
    /// First readable offset: records below were deleted, whether their file is gone or not.
    pub log_start: Offset,
    /// Producer state follows from the state at this offset and the batches from there on.
    pub producers_from: Offset,
    /// True when the state at `producers_from` is in a snapshot file; false when it was empty.
    pub has_snapshot: bool,
    /// Everything below is committed: on all replicas that were in sync.
    pub high_watermark: Offset,
    /// How often the end of the log was taken back. A point from before a cut is of another log.
    pub cuts: u32,
}

impl RecoveryPoint {
    /// The one of two that was taken later. No offset goes back but with a cut.
    #[must_use]
    pub fn later(self, other: RecoveryPoint) -> RecoveryPoint {
        let rank = |p: &RecoveryPoint| (p.cuts, p.recovery_offset, p.log_start, p.producers_from);
        if rank(&self) >= rank(&other) { self } else { other }
    }
}

/// The recovery points of one core, or of several put together.
pub type RecoveryPoints = HashMap<TopicPartition, RecoveryPoint, RandomState>;

/// Replaces the recovery points in `dir`; they are durable when this completes.
pub async fn write<D: Disk>(
    disk: &D,
    dir: &Path,
    points: &RecoveryPoints,
) -> Result<(), StorageError> {
    let path = dir.join(NAME_NEW);
    replace_file(disk, &path, &dir.join(NAME), encode(points)).await?;
    Ok(())
}

/// Reads the recovery points in `dir`; none when there is no intact file.
///
/// What was read is durable afterwards: a killed process may have left it in the page cache only,
/// and a recovery removes what these points no longer need.
///
/// # Errors
/// The file is there and cannot be read.
pub async fn read<D: Disk>(disk: &D, dir: &Path) -> Result<RecoveryPoints, StorageError> {
    let path = dir.join(NAME);
    let file = match disk.open(&path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(RecoveryPoints::default());
        }
        Err(error) => return Err(error.into()),
    };
    disk.sync(&file).await?;
    disk.sync_dir(dir).await?;
    let size = usize::try_from(disk.size(&file).await?).unwrap_or(usize::MAX);
    let bytes = disk.read_at(&file, 0, size).await?;
    Ok(decode(&bytes).unwrap_or_default())
}

/// Puts `content` in place of `path` by way of `path_new`, in the same folder, durably.
pub(super) async fn replace_file<D: Disk>(
    disk: &D,
    path_new: &Path,
    path: &Path,
    content: Bytes,
) -> Result<(), DiskError> {
    assert!(path_new.parent() == path.parent());
    let dir = path.parent().expect("a file lies in a folder");
    disk.remove(path_new).await?;
    let file = disk.open(path_new, OpenMode::CreateNew).await?;
    disk.write_at(&file, 0, vec![content]).await?;
    disk.sync(&file).await?;
    disk.rename(path_new, path).await?;
    disk.sync_dir(dir).await
}

fn encode(points: &RecoveryPoints) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES + points.len() * ENTRY_BYTES);
    out.put_slice(&MAGIC);
    out.put_u32_le(0);
    out.put_u32_le(u32::try_from(points.len()).expect("bounded by PARTITIONS_MAX"));
    for (id, point) in points {
        out.put_slice(id.topic.0.as_bytes());
        out.put_i32_le(id.partition.0);
        out.put_u32_le(u32::from(point.has_snapshot));
        out.put_u64_le(point.recovery_offset.get());
        out.put_u64_le(point.log_start.get());
        out.put_u64_le(point.producers_from.get());
        out.put_u64_le(point.high_watermark.get());
        out.put_u32_le(point.cuts);
        out.put_u32_le(0);
    }
    let crc = crc32c::crc32c(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out.freeze()
}

fn decode(bytes: &[u8]) -> Option<RecoveryPoints> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let crc = u32::from_le_bytes(*header[8..].first_chunk()?);
    let entry_bytes = match *header.first_chunk()? {
        MAGIC => ENTRY_BYTES,
        MAGIC_FIRST => ENTRY_BYTES_FIRST,
        _ => return None,
    };
    if crc != crc32c::crc32c(&bytes[12..]) {
        return None;
    }
    let count = usize::try_from(u32::from_le_bytes(*header[12..].first_chunk()?)).ok()?;
    let entries = &bytes[HEADER_BYTES..];
    if entries.len() != count.checked_mul(entry_bytes)? {
        return None;
    }
    entries.chunks_exact(entry_bytes).map(decode_entry).collect()
}

fn decode_entry(entry: &[u8]) -> Option<(TopicPartition, RecoveryPoint)> {
    let offset = |at: usize| {
        let value = u64::from_le_bytes(*entry.get(at..)?.first_chunk()?);
        Offset::from_wire(i64::try_from(value).ok()?)
    };
    let topic = TopicId(uuid::Uuid::from_bytes(*entry.first_chunk()?));
    let partition = PartitionId(i32::from_le_bytes(*entry.get(16..)?.first_chunk()?));
    let has_snapshot = u32::from_le_bytes(*entry.get(20..)?.first_chunk()?) != 0;
    let is_first = entry.len() == ENTRY_BYTES_FIRST;
    let cuts = match is_first {
        true => 0,
        false => u32::from_le_bytes(*entry.get(56..)?.first_chunk()?),
    };
    let point = RecoveryPoint {
        recovery_offset: offset(24)?,
        log_start: offset(32)?,
        producers_from: offset(40)?,
        has_snapshot,
        high_watermark: offset(if is_first { 24 } else { 48 })?,
        cuts,
    };
    Some((TopicPartition { topic, partition }, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_read_back_and_those_of_the_first_version_say_that_what_is_safe_is_committed() {
        let point = RecoveryPoint {
            recovery_offset: Offset::new(90),
            log_start: Offset::new(10),
            producers_from: Offset::new(80),
            has_snapshot: true,
            high_watermark: Offset::new(70),
            cuts: 3,
        };
        let partition = TopicPartition { partition: PartitionId(4), ..TopicPartition::default() };
        let points: RecoveryPoints = [(partition, point)].into_iter().collect();
        let bytes = encode(&points);
        assert_eq!(decode(&bytes), Some(points));

        let mut first = bytes[..HEADER_BYTES + ENTRY_BYTES_FIRST].to_vec();
        first[..8].copy_from_slice(&MAGIC_FIRST);
        let crc = crc32c::crc32c(&first[12..]);
        first[8..12].copy_from_slice(&crc.to_le_bytes());
        let known = RecoveryPoint { high_watermark: Offset::new(90), cuts: 0, ..point };
        assert_eq!(decode(&first), Some([(partition, known)].into_iter().collect()));
        first[20] ^= 1;
        assert_eq!(decode(&first), None);
    }

    #[test]
    fn a_point_of_a_log_that_was_cut_is_later_than_any_from_before() {
        let before = RecoveryPoint { recovery_offset: Offset::new(90), ..RecoveryPoint::default() };
        let cut = RecoveryPoint { recovery_offset: Offset::new(50), cuts: 1, ..before };
        assert_eq!((before.later(cut), cut.later(before)), (cut, cut));
    }
}
