//! What members of the quorum send each other, byte for byte.
//!
//! Our own codec, of fixed fields: the library's is never given a byte that came from outside.
//!
//! ```text
//!  0  u32  CRC-32C of all that follows
//!  4  u8   version
//!  5  u8   kind
//!  6  u8   bit 0: rejects; bit 1: a snapshot follows; bit 2: a vote that a leader asked for
//!  7  i32  from          11  i32  to         15  16 bytes: the sender's data directory
//! 31  u64  term          39  u64  log term   47  u64  index        55  u64  commit
//! 63  u64  commit term   71  u64  request    79  u64  reject hint
//! 87  u32  number of entries, then the entries (log.rs), then the snapshot (snapshot.rs)
//! ```
//!
//! Invariant: decode(encode(m)) == m, and bytes that are no message are an error, never a panic and
//! never an allocation beyond their own length.

use super::consensus::Entry;
use super::snapshot::Snapshot;
use crate::model::base64url::encode_uuid;
use crate::model::ids::BrokerId;
use crate::protocol::crc32c;
use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

const VERSION: u8 = 0;
const CHECKED_FROM: usize = 4;
const ENTRY_BYTES_MIN: usize = 21;

const REJECTS: u8 = 1;
const HAS_SNAPSHOT: u8 = 2;
const IS_TRANSFER: u8 = 4;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    Append,
    AppendReply,
    Vote,
    VoteReply,
    PreVote,
    PreVoteReply,
    Heartbeat,
    HeartbeatReply,
    Snapshot,
    /// The leader asks a voter to take over.
    TimeoutNow,
}

impl MessageKind {
    /// Whether only voters send it, to lead or to be elected.
    pub fn is_of_voters(self) -> bool {
        match self {
            MessageKind::Append
            | MessageKind::Vote
            | MessageKind::PreVote
            | MessageKind::Heartbeat
            | MessageKind::Snapshot
            | MessageKind::TimeoutNow => true,
            MessageKind::AppendReply
            | MessageKind::VoteReply
            | MessageKind::PreVoteReply
            | MessageKind::HeartbeatReply => false,
        }
    }
}

const KINDS: [MessageKind; 10] = [
    MessageKind::Append,
    MessageKind::AppendReply,
    MessageKind::Vote,
    MessageKind::VoteReply,
    MessageKind::PreVote,
    MessageKind::PreVoteReply,
    MessageKind::Heartbeat,
    MessageKind::HeartbeatReply,
    MessageKind::Snapshot,
    MessageKind::TimeoutNow,
];

/// One message. The meaning of the numbers is the protocol's (Raft).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: MessageKind,
    pub from: BrokerId,
    pub to: BrokerId,
    /// Identity of the sender's data directory.
    pub directory: Uuid,
    pub term: u64,
    pub log_term: u64,
    pub index: u64,
    pub commit: u64,
    pub commit_term: u64,
    pub request_snapshot: u64,
    pub rejects: bool,
    pub reject_hint: u64,
    pub is_transfer: bool,
    pub entries: Vec<Entry>,
    pub snapshot: Option<Snapshot>,
}

/// A message that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a quorum message's checksum does not fit its content")]
    Damaged,
    #[error("a quorum message of version {version} is not known")]
    UnknownVersion { version: u8 },
    #[error("a quorum message does not follow its layout")]
    Malformed,
    #[error("a quorum message says it is from broker {says} and to broker {to}")]
    Misdirected { says: i32, to: i32 },
    /// The sender's disk is not the one this voter knows.
    #[error(
        "broker {from} votes with data directory {}, but the voter of that name has {}: where its \
         disk was replaced, run `highwater cluster remove {from}` and, once it follows, `highwater \
         cluster add {from}`",
        encode_uuid(*directory),
        encode_uuid(*known)
    )]
    OtherDirectory { from: i32, directory: Uuid, known: Uuid },
    /// It contradicts what is committed, or speaks of entries this member never had.
    #[error(
        "broker {from} believes something of entry {index} that contradicts this broker's log: one \
         of the two has lost committed entries"
    )]
    Contradiction { from: i32, index: u64 },
    /// This member is the only voter, so no other can lead.
    #[error(
        "broker {from} speaks as if it had a vote, and this broker is the only voter: its metadata \
         is that of before a recovery; run `highwater cluster recover --rejoin` on its data directory"
    )]
    Outsider { from: i32 },
}

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let data: usize = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.data.len());
        let mut out = Vec::with_capacity(128 + data);
        out.put_u32(0);
        out.put_u8(VERSION);
        let kind = KINDS.iter().position(|kind| *kind == self.kind).expect("all kinds are listed");
        out.put_u8(u8::try_from(kind).expect("a handful"));
        let mut flags = 0;
        flags |= if self.rejects { REJECTS } else { 0 };
        flags |= if self.snapshot.is_some() { HAS_SNAPSHOT } else { 0 };
        flags |= if self.is_transfer { IS_TRANSFER } else { 0 };
        out.put_u8(flags);
        out.put_i32(self.from.0);
        out.put_i32(self.to.0);
        out.put_slice(self.directory.as_bytes());
        for number in self.numbers() {
            out.put_u64(number);
        }
        out.put_u32(u32::try_from(self.entries.len()).expect("bounded by QUORUM_APPEND_BYTES"));
        for entry in &self.entries {
            entry.encode(&mut out);
        }
        if let Some(snapshot) = &self.snapshot {
            snapshot.encode_fields(&mut out);
        }
        let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        Bytes::from(out)
    }

    /// Reads one message.
    ///
    /// # Errors
    /// The bytes are not a message that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        let mut rest = bytes.get(CHECKED_FROM..).ok_or(WireError::Damaged)?;
        if bytes[..CHECKED_FROM] != crc32c::crc32c(rest).to_be_bytes() {
            return Err(WireError::Damaged);
        }
        match rest.try_get_u8() {
            Ok(VERSION) => {}
            Ok(version) => return Err(WireError::UnknownVersion { version }),
            Err(_) => return Err(WireError::Malformed),
        }
        let message = Message::decode_fields(&mut rest).ok_or(WireError::Malformed)?;
        if rest.is_empty() { Ok(message) } else { Err(WireError::Malformed) }
    }

    fn numbers(&self) -> [u64; 7] {
        [
            self.term,
            self.log_term,
            self.index,
            self.commit,
            self.commit_term,
            self.request_snapshot,
            self.reject_hint,
        ]
    }

    fn decode_fields(bytes: &mut &[u8]) -> Option<Message> {
        let kind = *KINDS.get(usize::from(bytes.try_get_u8().ok()?))?;
        let flags = bytes.try_get_u8().ok()?;
        if flags & !(REJECTS | HAS_SNAPSHOT | IS_TRANSFER) != 0 {
            return None;
        }
        let from = BrokerId(bytes.try_get_i32().ok()?);
        let to = BrokerId(bytes.try_get_i32().ok()?);
        let directory = Uuid::from_slice(bytes.split_off(..16)?).ok()?;
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = read_number(bytes)?;
        }
        let [term, log_term, index, commit, commit_term, request_snapshot, reject_hint] = numbers;
        let entries = decode_entries(bytes)?;
        let snapshot = match flags & HAS_SNAPSHOT != 0 {
            true => Some(Snapshot::decode_fields(bytes)?),
            false => None,
        };
        Some(Message {
            kind,
            from,
            to,
            directory,
            term,
            log_term,
            index,
            commit,
            commit_term,
            request_snapshot,
            rejects: flags & REJECTS != 0,
            reject_hint,
            is_transfer: flags & IS_TRANSFER != 0,
            entries,
            snapshot,
        })
    }
}

/// A term or an index: below 2^63, so that the protocol's arithmetic cannot overflow.
fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let number = bytes.try_get_u64().ok()?;
    i64::try_from(number).is_ok_and(|number| number < i64::MAX).then_some(number)
}

fn decode_entries(bytes: &mut &[u8]) -> Option<Vec<Entry>> {
    let count = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    if count > bytes.len() / ENTRY_BYTES_MIN {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(Entry::decode(bytes)?);
    }
    Some(entries)
}
