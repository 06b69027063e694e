//! Term, vote and commit on disk: two slots, written in turn.
//!
//! A write that a power cut tears costs the slot it went to; the other one still holds what was
//! durable before. So the file is only damaged when both slots are.
//!
//! ```text
//!  0  u32  magic "HWQS"
//!  4  u32  CRC-32C of the slot's used bytes from here on
//!  8  u16  number of used bytes from here on
//! 10  u8   version
//! 11  u64  sequence: the slot with the larger one counts, and its parity says which slot it is
//! 19  u64  term
//! 27  i32  vote, -1 for none
//! 31  u64  commit
//! 39  u16  number of directories, then each: i32 broker, 16 bytes of directory id
//! ```

use super::consensus::Durable;
use crate::model::ids::BrokerId;
use crate::model::limits::QUORUM_MEMBERS_MAX;
use crate::protocol::crc32c;
use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

/// Size of one slot in bytes: what one write makes durable or not.
pub const SLOT_BYTES: usize = 4096;
/// Size of the whole file in bytes.
pub const STATE_BYTES: usize = 2 * SLOT_BYTES;

const MAGIC: [u8; 4] = *b"HWQS";
const VERSION: u8 = 0;
const HEADER_BYTES: usize = 10;
const DIRECTORY_BYTES: usize = 20;
const _: () = assert!(41 + QUORUM_MEMBERS_MAX * DIRECTORY_BYTES < SLOT_BYTES);

/// A state file of which no slot is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("both slots of the quorum's state are damaged: what this voter promised is not known")]
    Damaged,
    #[error("a quorum state of version {version} is not known: a newer version wrote it")]
    UnknownVersion { version: u8 },
}

/// Where the next write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots {
    sequence: u64,
}

impl Slots {
    /// The bytes of the next slot and their position in the file.
    pub fn next(&mut self, state: &Durable) -> (u64, Bytes) {
        self.sequence += 1;
        let position = if self.sequence.is_multiple_of(2) { 0 } else { SLOT_BYTES as u64 };
        (position, encode(state, self.sequence))
    }
}

/// The latest whole slot of a file's bytes; `None` for a file that was never written.
///
/// # Errors
/// Something was written, and neither slot is whole.
pub fn decode(bytes: &[u8]) -> Result<Option<(Slots, Durable)>, StateError> {
    let mut latest: Option<(Slots, Durable)> = None;
    let mut is_written = false;
    for slot in bytes.chunks(SLOT_BYTES) {
        is_written |= slot.iter().any(|byte| *byte != 0);
        if let Some((sequence, state)) = decode_slot(slot)?
            && latest.as_ref().is_none_or(|(slots, _)| slots.sequence < sequence)
        {
            latest = Some((Slots { sequence }, state));
        }
    }
    match latest {
        None if is_written => Err(StateError::Damaged),
        latest => Ok(latest),
    }
}

fn encode(state: &Durable, sequence: u64) -> Bytes {
    let mut out = Vec::with_capacity(SLOT_BYTES);
    out.put_slice(&MAGIC);
    out.put_bytes(0, HEADER_BYTES - MAGIC.len());
    out.put_u8(VERSION);
    out.put_u64(sequence);
    out.put_u64(state.term);
    out.put_i32(state.vote.map_or(-1, |vote| vote.0));
    out.put_u64(state.commit);
    out.put_u16(u16::try_from(state.directories.len()).expect("bounded by QUORUM_MEMBERS_MAX"));
    for (broker, directory) in &state.directories {
        out.put_i32(broker.0);
        out.put_slice(directory.as_bytes());
    }
    let used = u16::try_from(out.len() - HEADER_BYTES).expect("a slot is smaller than 64 KiB");
    out[8..HEADER_BYTES].copy_from_slice(&used.to_be_bytes());
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_be_bytes());
    assert!(out.len() <= SLOT_BYTES);
    out.resize(SLOT_BYTES, 0);
    Bytes::from(out)
}

fn decode_slot(slot: &[u8]) -> Result<Option<(u64, Durable)>, StateError> {
    let Some(mut rest) = checked(slot) else { return Ok(None) };
    let version = rest.try_get_u8().unwrap_or_default();
    if version != VERSION {
        return Err(StateError::UnknownVersion { version });
    }
    Ok(decode_fields(rest))
}

fn checked(slot: &[u8]) -> Option<&[u8]> {
    let header = slot.get(..HEADER_BYTES)?;
    let used = usize::from(u16::from_be_bytes([header[8], header[9]]));
    let crc = crc32c::crc32c(slot.get(8..HEADER_BYTES + used)?).to_be_bytes();
    (header[..4] == MAGIC && header[4..8] == crc).then(|| &slot[HEADER_BYTES..HEADER_BYTES + used])
}

fn decode_fields(mut rest: &[u8]) -> Option<(u64, Durable)> {
    let sequence = rest.try_get_u64().ok()?;
    let term = rest.try_get_u64().ok()?;
    let vote = rest.try_get_i32().ok()?;
    let commit = rest.try_get_u64().ok()?;
    let count = rest.try_get_u16().ok()?;
    let mut state = Durable { term, commit, ..Durable::default() };
    state.vote = (vote >= 0).then_some(BrokerId(vote));
    for _ in 0..count {
        let broker = BrokerId(rest.try_get_i32().ok()?);
        let directory = Uuid::from_slice(rest.split_off(..16)?).ok()?;
        state.directories.insert(broker, directory);
    }
    Some((sequence, state))
}
