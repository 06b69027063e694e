//! The one-way frames between the replicas of a partition, and their bytes.
//!
//! Why not Kafka's Fetch: the leader pushes, so that a batch is on its way before it is safe here
//! and no follower asks once per round trip. Nothing but brokers of one cluster reads these.
//!
//! A payload is one message or several, one behind the other; numbers are little-endian.
//! ```text
//!   0  magic "HWR1"                 40  stream u64
//!   4  crc32c of 8..88              48  field 0 i64
//!   8  kind u8, three zeros         56  field 1 i64
//!  12  bytes behind the header u32  64  field 2 i64
//!  16  topic id                     72  field 3 i64
//!  32  partition i32                80  field 4 i64
//!  36  leader epoch i32             88  batches, as they are stored
//! ```
//! Batches are not covered by the header's checksum: each has its own.
//!
//! Invariants
//! - Decoding checks everything but the batches; foreign bytes are an error, never a panic.

use crate::model::ids::{BrokerEpoch, LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use crate::model::limits::REPLICA_OFFSET_MAX;
use crate::protocol::crc32c;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a message before its batches.
pub const MESSAGE_HEADER_BYTES: usize = 88;
const MAGIC: [u8; 4] = *b"HWR1";
const CRC_START: usize = 8;
const FIELDS: usize = 5;
/// "None" of an epoch or an offset on the wire.
const NONE: i64 = -1;

/// One attempt of a follower to be fed, numbered by the follower; a later one has a larger number.
/// Frames of an earlier attempt change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(pub u64);

/// Follower to leader: where my log ends; feed me from there, or say where we part ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    /// Of the follower (KIP-903).
    pub broker_epoch: BrokerEpoch,
    /// Of the follower's last record; `None` when it has no records.
    pub last_epoch: Option<LeaderEpoch>,
    pub log_end: Offset,
}

/// Leader to follower: the answer to an `Open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenReply {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    pub outcome: OpenOutcome,
}

/// What the leader makes of an `Open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenOutcome {
    /// The logs are the same up to `offset`, the follower's end. Pushes go on from there.
    Start { offset: Offset, high_watermark: Offset, log_start: Offset },
    /// The leader's largest epoch at or below the follower's last one ends here: cut and ask again
    /// (KIP-101, KIP-279).
    Diverge { epoch: LeaderEpoch, end: Offset },
    /// What the follower needs next is deleted here: begin an empty log at the leader's start.
    OutOfRange { log_start: Offset },
    /// The follower is in an older epoch than the leader. It hears of the newer one soon.
    Fenced,
    /// The leader has not heard of the follower's epoch yet.
    UnknownEpoch,
    /// Not a leader of this partition, in no epoch.
    NotLeader,
    /// The leader has not heard that the sender holds a replica.
    NotReplica,
}

/// Leader to follower, in front of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushHead {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    /// Where the follower's log must end. The first batch begins there, or later where compaction
    /// left a hole; so a hole is told from a lost push.
    pub from: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// Follower to leader: how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    /// Of the follower (KIP-903).
    pub broker_epoch: BrokerEpoch,
    /// Everything below is in the follower's log.
    pub received: Offset,
    /// Everything below is as safe there as the topic asks for.
    pub flushed: Offset,
    /// Bytes of batches taken on this stream so far; makes room for as many.
    pub taken_bytes: u64,
    /// Where the follower's log starts: readers may be sent there from here on (KIP-392).
    pub log_start: Offset,
}

/// Leader to follower, when nothing else is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HighWatermark {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// Leader to follower: nothing more comes on this stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    pub leader_epoch: LeaderEpoch,
    pub stream: StreamId,
    pub reason: CloseReason,
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Frames were lost, or the leader cannot read on: open again.
    Reopen,
    /// The leader leads no more: wait for the metadata to say who does.
    Resigned,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Open(Open),
    OpenReply(OpenReply),
    /// The head and the batches, whose checksums nobody has looked at.
    Push(PushHead, Bytes),
    Ack(Ack),
    HighWatermark(HighWatermark),
    Close(Close),
}

/// One message about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub partition: TopicPartition,
    pub body: Body,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message needs {needed} bytes, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("message does not begin with HWR1")]
    Magic,
    #[error("message says crc {expected:08x}, its header has {actual:08x}")]
    Crc { expected: u32, actual: u32 },
    #[error("message kind {kind} does not exist")]
    Kind { kind: u8 },
    #[error("field {index} of message kind {kind} is {value}")]
    Field { kind: u8, index: usize, value: i64 },
    #[error("message kind {kind} has {size} bytes of batches: a push has some, no other has any")]
    Batches { kind: u8, size: usize },
}

const OPEN: u8 = 1;
const OPEN_REPLY: u8 = 2;
const PUSH: u8 = 3;
const ACK: u8 = 4;
const HIGH_WATERMARK: u8 = 5;
const CLOSE: u8 = 6;

impl Message {
    /// Appends the message's bytes, the batches of a push included.
    pub fn encode(&self, out: &mut BytesMut) {
        let batches: &[u8] = match &self.body {
            Body::Push(_, batches) => batches,
            _ => &[],
        };
        encode_header(self.partition, &fixed(&self.body), batches.len(), out);
        out.put_slice(batches);
    }

    /// The message as a payload of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }
}

/// The header of a push whose `size` bytes of batches the caller sends behind it, uncopied.
pub fn push_header(partition: TopicPartition, head: &PushHead, size: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(MESSAGE_HEADER_BYTES);
    encode_header(partition, &push_fixed(head), size, &mut out);
    out.freeze()
}

/// Takes the next message off a payload; `None` at its end.
///
/// # Errors
/// The bytes are no message: nothing of the rest of the payload can be trusted.
pub fn decode(payload: &mut Bytes) -> Result<Option<Message>, WireError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let left = payload.len();
    let truncated = |needed| WireError::Truncated { needed, left };
    let header: &[u8; MESSAGE_HEADER_BYTES] =
        payload.first_chunk().ok_or(truncated(MESSAGE_HEADER_BYTES))?;
    let header = Header::read(header)?;
    let needed = MESSAGE_HEADER_BYTES.saturating_add(header.size);
    if needed > left {
        return Err(truncated(needed));
    }
    payload.advance(MESSAGE_HEADER_BYTES);
    let batches = payload.split_to(header.size);
    header.message(batches).map(Some)
}

/// A message's header without the partition.
struct Fixed {
    kind: u8,
    leader_epoch: LeaderEpoch,
    stream: StreamId,
    fields: [i64; FIELDS],
}

fn encode_header(partition: TopicPartition, fixed: &Fixed, size: usize, out: &mut BytesMut) {
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_u32_le(0);
    out.put_u32_le(u32::from(fixed.kind));
    out.put_u32_le(u32::try_from(size).expect("a push is bounded by PUSH_BYTES_MAX or one batch"));
    out.put_slice(partition.topic.0.as_bytes());
    out.put_i32_le(partition.partition.0);
    out.put_i32_le(fixed.leader_epoch.0);
    out.put_u64_le(fixed.stream.0);
    for field in fixed.fields {
        out.put_i64_le(field);
    }
    assert!(out.len() - start == MESSAGE_HEADER_BYTES);
    let crc = crc32c::crc32c(&out[start + CRC_START..]);
    out[start + 4..start + CRC_START].copy_from_slice(&crc.to_le_bytes());
}

fn push_fixed(head: &PushHead) -> Fixed {
    Fixed {
        kind: PUSH,
        leader_epoch: head.leader_epoch,
        stream: head.stream,
        fields: padded(&[
            head.from.to_wire(),
            head.high_watermark.to_wire(),
            head.log_start.to_wire(),
        ]),
    }
}

fn fixed(body: &Body) -> Fixed {
    let (kind, leader_epoch, stream, fields) = match body {
        Body::Push(head, _) => return push_fixed(head),
        Body::Open(open) => {
            let last_epoch = open.last_epoch.map_or(NONE, |epoch| i64::from(epoch.0));
            let fields = padded(&[open.broker_epoch.0, last_epoch, open.log_end.to_wire()]);
            (OPEN, open.leader_epoch, open.stream, fields)
        }
        Body::OpenReply(reply) => {
            (OPEN_REPLY, reply.leader_epoch, reply.stream, outcome_fields(reply.outcome))
        }
        Body::Ack(ack) => {
            let (received, flushed) = (ack.received.to_wire(), ack.flushed.to_wire());
            let taken = ack.taken_bytes.cast_signed();
            let log_start = ack.log_start.to_wire();
            let fields = padded(&[ack.broker_epoch.0, received, flushed, taken, log_start]);
            (ACK, ack.leader_epoch, ack.stream, fields)
        }
        Body::HighWatermark(beat) => {
            let fields = padded(&[beat.high_watermark.to_wire(), beat.log_start.to_wire()]);
            (HIGH_WATERMARK, beat.leader_epoch, beat.stream, fields)
        }
        Body::Close(close) => {
            let reason = match close.reason {
                CloseReason::Reopen => 0,
                CloseReason::Resigned => 1,
            };
            (CLOSE, close.leader_epoch, close.stream, padded(&[reason]))
        }
    };
    Fixed { kind, leader_epoch, stream, fields }
}

fn outcome_fields(outcome: OpenOutcome) -> [i64; FIELDS] {
    match outcome {
        OpenOutcome::Start { offset, high_watermark, log_start } => {
            padded(&[0, offset.to_wire(), high_watermark.to_wire(), log_start.to_wire()])
        }
        OpenOutcome::Diverge { epoch, end } => padded(&[1, i64::from(epoch.0), end.to_wire()]),
        OpenOutcome::OutOfRange { log_start } => padded(&[2, log_start.to_wire()]),
        OpenOutcome::Fenced => padded(&[3]),
        OpenOutcome::UnknownEpoch => padded(&[4]),
        OpenOutcome::NotLeader => padded(&[5]),
        OpenOutcome::NotReplica => padded(&[6]),
    }
}

fn padded(values: &[i64]) -> [i64; FIELDS] {
    let mut fields = [0; FIELDS];
    fields[..values.len()].copy_from_slice(values);
    fields
}

struct Header {
    partition: TopicPartition,
    fixed: Fixed,
    size: usize,
}

impl Header {
    fn read(bytes: &[u8; MESSAGE_HEADER_BYTES]) -> Result<Header, WireError> {
        let mut rest = &bytes[..];
        if rest[..MAGIC.len()] != MAGIC {
            return Err(WireError::Magic);
        }
        rest.advance(MAGIC.len());
        let (expected, actual) = (rest.get_u32_le(), crc32c::crc32c(&bytes[CRC_START..]));
        if expected != actual {
            return Err(WireError::Crc { expected, actual });
        }
        let kind = rest.get_u8();
        rest.advance(3);
        let size = usize::try_from(rest.get_u32_le()).unwrap_or(usize::MAX);
        let mut topic = [0; 16];
        rest.copy_to_slice(&mut topic);
        let topic = TopicId(uuid::Uuid::from_bytes(topic));
        let partition = TopicPartition { topic, partition: PartitionId(rest.get_i32_le()) };
        let leader_epoch = LeaderEpoch(rest.get_i32_le());
        let stream = StreamId(rest.get_u64_le());
        let fields = std::array::from_fn(|_| rest.get_i64_le());
        Ok(Header { partition, fixed: Fixed { kind, leader_epoch, stream, fields }, size })
    }

    fn message(self, batches: Bytes) -> Result<Message, WireError> {
        let Fixed { kind, leader_epoch, stream, .. } = self.fixed;
        if (kind == PUSH) == batches.is_empty() {
            return Err(WireError::Batches { kind, size: batches.len() });
        }
        let body = match kind {
            OPEN => Body::Open(Open {
                leader_epoch,
                stream,
                broker_epoch: BrokerEpoch(self.fixed.fields[0]),
                last_epoch: self.epoch_or_none(1)?,
                log_end: self.offset(2)?,
            }),
            OPEN_REPLY => {
                Body::OpenReply(OpenReply { leader_epoch, stream, outcome: self.outcome()? })
            }
            PUSH => {
                let head = PushHead {
                    leader_epoch,
                    stream,
                    from: self.offset(0)?,
                    high_watermark: self.offset(1)?,
                    log_start: self.offset(2)?,
                };
                Body::Push(head, batches)
            }
            ACK => Body::Ack(Ack {
                leader_epoch,
                stream,
                broker_epoch: BrokerEpoch(self.fixed.fields[0]),
                received: self.offset(1)?,
                flushed: self.offset(2)?,
                taken_bytes: self.offset(3)?.get(),
                log_start: self.offset(4)?,
            }),
            HIGH_WATERMARK => Body::HighWatermark(HighWatermark {
                leader_epoch,
                stream,
                high_watermark: self.offset(0)?,
                log_start: self.offset(1)?,
            }),
            CLOSE => Body::Close(Close { leader_epoch, stream, reason: self.reason()? }),
            kind => return Err(WireError::Kind { kind }),
        };
        Ok(Message { partition: self.partition, body })
    }

    fn outcome(&self) -> Result<OpenOutcome, WireError> {
        Ok(match self.fixed.fields[0] {
            0 => OpenOutcome::Start {
                offset: self.offset(1)?,
                high_watermark: self.offset(2)?,
                log_start: self.offset(3)?,
            },
            1 => {
                let epoch = self.epoch_or_none(1)?.ok_or_else(|| self.bad(1))?;
                OpenOutcome::Diverge { epoch, end: self.offset(2)? }
            }
            2 => OpenOutcome::OutOfRange { log_start: self.offset(1)? },
            3 => OpenOutcome::Fenced,
            4 => OpenOutcome::UnknownEpoch,
            5 => OpenOutcome::NotLeader,
            6 => OpenOutcome::NotReplica,
            _ => return Err(self.bad(0)),
        })
    }

    fn reason(&self) -> Result<CloseReason, WireError> {
        match self.fixed.fields[0] {
            0 => Ok(CloseReason::Reopen),
            1 => Ok(CloseReason::Resigned),
            _ => Err(self.bad(0)),
        }
    }

    fn offset(&self, index: usize) -> Result<Offset, WireError> {
        Offset::from_wire(self.fixed.fields[index])
            .filter(|offset| offset.get() <= REPLICA_OFFSET_MAX)
            .ok_or_else(|| self.bad(index))
    }

    fn epoch_or_none(&self, index: usize) -> Result<Option<LeaderEpoch>, WireError> {
        match self.fixed.fields[index] {
            NONE => Ok(None),
            epoch => match i32::try_from(epoch) {
                Ok(epoch) if epoch >= 0 => Ok(Some(LeaderEpoch(epoch))),
                _ => Err(self.bad(index)),
            },
        }
    }

    fn bad(&self, index: usize) -> WireError {
        WireError::Field { kind: self.fixed.kind, index, value: self.fixed.fields[index] }
    }
}
