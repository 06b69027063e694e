//! The quorum's log on disk: one file of frames behind one entry of the past.
//!
//! The file's name and header say which entry it starts behind. A new file takes its place when a
//! snapshot covers the beginning; it is written aside, synced and renamed, so a file that is there
//! is whole but for its tail.
//!
//! ```text
//! header  0  u32  magic "HWQL"       frame  0  u32  magic "HWQE"
//!         4  u32  CRC-32C of 8..25          4  u32  length of the payload
//!         8  u8   version                   8  u32  CRC-32C of bytes 4..8 and of the payload
//!         9  u64  index before the first   12       payload: u64 commit, then the entry
//!        17  u64  its term
//! entry   0  u8   kind    1  u64 term    9  u64 index    17  u32 length    21  data
//! ```
//!
//! What is torn and what is damaged: each frame says what was committed when it was written. So a
//! bad place is a torn write only while nothing at or behind it is known to be committed, from the
//! state slots or from an intact frame further on; a torn tail is cut. Anything else is damage to
//! what was promised, and is never cut.

use super::consensus::{Entry, LogBase, Payload};
use super::members::MemberChange;
use crate::model::limits::METADATA_FRAME_BYTES_MAX;
use crate::protocol::crc32c;
use bytes::{Buf, BufMut, Bytes};

const FILE_MAGIC: [u8; 4] = *b"HWQL";
const FRAME_MAGIC: [u8; 4] = *b"HWQE";
const VERSION: u8 = 0;
/// Bytes of the file before its first frame.
pub const HEADER_BYTES: usize = 25;
const FRAME_HEADER_BYTES: usize = 12;
const COMMIT_BYTES: usize = 8;
const ENTRY_BYTES_MIN: usize = 21;
/// A frame's payload: a decision's records with what stands around them.
const PAYLOAD_BYTES_MAX: usize = METADATA_FRAME_BYTES_MAX + 1024;

const KIND_EMPTY: u8 = 0;
const KIND_RECORDS: u8 = 1;
const KIND_MEMBERS: u8 = 2;

/// A log that must not be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("the header of the metadata log is damaged")]
    Header,
    #[error("a metadata log of version {version} is not known: a newer version wrote it")]
    UnknownVersion { version: u8 },
    /// Entries that were committed cannot be read.
    #[error(
        "the metadata log is damaged at byte {position}: entry {index} is missing, and all up to \
         entry {commit} is committed"
    )]
    Damaged { position: usize, index: u64, commit: u64 },
}

/// What a log's bytes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLog {
    pub base: LogBase,
    pub entries: Vec<Entry>,
    /// Where each entry's frame starts, and where the last one ends.
    pub positions: Vec<u64>,
    /// The largest commit that is known.
    pub commit: u64,
}

impl ReadLog {
    /// Bytes that are in use; what follows is a torn tail.
    pub fn end(&self) -> u64 {
        assert!(self.positions.len() == self.entries.len() + 1);
        *self.positions.last().expect("the end is always there")
    }

    /// True when the log goes on from `base`: has that entry, or starts behind it.
    pub fn holds(&self, base: LogBase) -> bool {
        if base == self.base {
            return true;
        }
        let at = base.index.checked_sub(self.base.index + 1);
        let entry = at.and_then(|at| self.entries.get(usize::try_from(at).ok()?));
        entry.is_some_and(|entry| entry.term == base.term)
    }
}

/// The first bytes of a log file.
pub fn encode_header(base: LogBase) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.put_slice(&FILE_MAGIC);
    out.put_u32(0);
    out.put_u8(VERSION);
    out.put_u64(base.index);
    out.put_u64(base.term);
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_be_bytes());
    assert!(out.len() == HEADER_BYTES);
    Bytes::from(out)
}

/// One entry's frame; `commit` is what is committed and synced before it.
pub fn encode_frame(entry: &Entry, commit: u64) -> Bytes {
    let mut out = vec![0; FRAME_HEADER_BYTES];
    out.put_u64(commit);
    entry.encode(&mut out);
    let payload_len = out.len() - FRAME_HEADER_BYTES;
    assert!(payload_len <= PAYLOAD_BYTES_MAX, "decisions are bounded by limits.rs");
    let length = u32::try_from(payload_len).expect("bounded above").to_be_bytes();
    out[..4].copy_from_slice(&FRAME_MAGIC);
    out[4..8].copy_from_slice(&length);
    let crc = checksum(length, &out[FRAME_HEADER_BYTES..]);
    out[8..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    assert!(out.len() == FRAME_HEADER_BYTES + payload_len);
    Bytes::from(out)
}

/// Reads a whole file; `commit` is what the state slots know to be committed.
///
/// # Errors
/// Committed entries cannot be read, or a newer version wrote the file.
pub fn read(bytes: &[u8], commit: u64) -> Result<ReadLog, LogError> {
    let base = decode_header(bytes)?;
    let mut log = ReadLog { base, entries: Vec::new(), positions: vec![], commit };
    let mut position = HEADER_BYTES;
    let mut last = base;
    while let Some((frame_commit, entry, len)) = frame_at(bytes, position) {
        if entry.index != last.index + 1 || entry.term < last.term {
            break;
        }
        log.positions.push(position as u64);
        log.commit = log.commit.max(frame_commit);
        last = LogBase { index: entry.index, term: entry.term };
        log.entries.push(entry);
        position += len;
    }
    log.positions.push(position as u64);
    let later = (position + 1..bytes.len()).filter_map(|start| frame_at(bytes, start));
    log.commit = later.map(|(commit, _, _)| commit).fold(log.commit, u64::max);
    let index = last.index + 1;
    if log.commit >= index {
        return Err(LogError::Damaged { position, index, commit: log.commit });
    }
    assert!(log.positions.len() == log.entries.len() + 1);
    Ok(log)
}

fn decode_header(bytes: &[u8]) -> Result<LogBase, LogError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(LogError::Header)?;
    let crc = crc32c::crc32c(&header[8..]).to_be_bytes();
    if header[..4] != FILE_MAGIC || header[4..8] != crc {
        return Err(LogError::Header);
    }
    let version = header[8];
    if version != VERSION {
        return Err(LogError::UnknownVersion { version });
    }
    let mut rest = &header[9..];
    Ok(LogBase { index: rest.get_u64(), term: rest.get_u64() })
}

/// An intact frame at `position`: its commit, its entry and its length.
fn frame_at(bytes: &[u8], position: usize) -> Option<(u64, Entry, usize)> {
    let header = bytes.get(position..position.checked_add(FRAME_HEADER_BYTES)?)?;
    if header[..4] != FRAME_MAGIC {
        return None;
    }
    let length: [u8; 4] = header[4..8].try_into().expect("four bytes");
    let crc = u32::from_be_bytes(header[8..FRAME_HEADER_BYTES].try_into().expect("four bytes"));
    let payload_len = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if !(COMMIT_BYTES + ENTRY_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&payload_len) {
        return None;
    }
    let start = position + FRAME_HEADER_BYTES;
    let mut payload = bytes.get(start..start + payload_len)?;
    if checksum(length, payload) != crc {
        return None;
    }
    let commit = payload.get_u64();
    let entry = Entry::decode(&mut payload)?;
    payload.is_empty().then_some((commit, entry, FRAME_HEADER_BYTES + payload_len))
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

impl Entry {
    /// Appends the entry's bytes, as log and messages hold it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let change;
        let (kind, data): (u8, &[u8]) = match &self.payload {
            Payload::Empty => (KIND_EMPTY, &[]),
            Payload::Records(frame) => (KIND_RECORDS, frame),
            Payload::Members(members) => {
                change = members.encode();
                (KIND_MEMBERS, &change)
            }
        };
        out.put_u8(kind);
        out.put_u64(self.term);
        out.put_u64(self.index);
        out.put_u32(u32::try_from(data.len()).expect("bounded by METADATA_FRAME_BYTES_MAX"));
        out.put_slice(data);
    }

    /// Reads one entry off the front of `bytes`; `None` when none is there.
    pub(super) fn decode(bytes: &mut &[u8]) -> Option<Entry> {
        let kind = bytes.try_get_u8().ok()?;
        let term = bytes.try_get_u64().ok()?;
        let index = bytes.try_get_u64().ok()?;
        let len = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        let data = bytes.split_off(..len)?;
        let payload = match kind {
            KIND_EMPTY if data.is_empty() => Payload::Empty,
            KIND_RECORDS if !data.is_empty() && len <= METADATA_FRAME_BYTES_MAX + 64 => {
                Payload::Records(Bytes::copy_from_slice(data))
            }
            KIND_MEMBERS => Payload::Members(MemberChange::decode(data)?),
            _ => return None,
        };
        Some(Entry { term, index, payload })
    }
}
