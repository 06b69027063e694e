//! The record batch of format 2: the unit that is produced, stored, replicated and fetched.
//!
//! Why two views: a log on disk is walked by headers alone ([`BatchHeader`], 2 ns each), while
//! bytes from a client or a peer become a [`CheckedBatch`] once and are then trusted by their type.
//!
//! ```text
//!  0 base offset i64         23 last offset delta i32
//!  8 batch length i32        27 base timestamp i64     from 12 on
//! 12 leader epoch i32        35 max timestamp i64
//! 16 magic i8 = 2            43 producer id i64
//! 17 crc u32                 51 producer epoch i16
//! 21 attributes i16          53 base sequence i32
//!                            57 record count i32       61 records
//! ```
//!
//! Invariants
//! - The CRC-32C covers byte 21 to the end. Base offset and leader epoch lie before it, so stamping
//!   them keeps it true; attributes and max timestamp lie inside, so log append time renews it.
//! - A `CheckedBatch` has a true CRC, a size equal to its bytes, and a count that fits its offsets.
//! - Records are not looked into here: see `record.rs`.

use crate::protocol::crc32c;
use std::ops::RangeInclusive;

use bytes::Bytes;
use zerocopy::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::model::errors::KafkaCode;
use crate::protocol::compression::{Compression, CompressionError};
use crate::protocol::primitive::DecodeError;

/// Bytes before the first record.
pub const BATCH_HEADER_SIZE: usize = 61;
/// Bytes that the batch length does not count: base offset and the length itself.
pub const BATCH_LENGTH_OFFSET: usize = 12;
/// First byte that the CRC covers.
pub const CRC_START: usize = 21;
/// The only record format we read (KIP-98; Kafka 4.0 writes no other, KIP-724).
pub const MAGIC: i8 = 2;
/// The record formats that ever were.
const MAGICS: RangeInclusive<i8> = 0..=MAGIC;
/// Producer id, epoch and sequence of a batch without them.
pub const NO_PRODUCER: i64 = -1;
/// Timestamp of a record without one.
pub const NO_TIMESTAMP: i64 = -1;

/// Why bytes are no acceptable batch.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("batch needs {needed} bytes, {left} are left")]
    Truncated { needed: usize, left: usize },
    #[error("batch length {length} is below 49")]
    LengthTooSmall { length: i32 },
    #[error("batch has magic {magic}, not 2")]
    Magic { magic: i8 },
    #[error("batch says crc {expected:08x}, its bytes have {actual:08x}")]
    Crc { expected: u32, actual: u32 },
    #[error("{count} records do not fit last offset delta {last_offset_delta}")]
    RecordCount { count: i32, last_offset_delta: i32 },
    #[error("compression {number} does not exist")]
    UnknownCompression { number: u8 },
    #[error("there is no whole batch in {left} bytes")]
    NoBatch { left: usize },
    #[error("base offset {base_offset} from a client is not 0")]
    BaseOffset { base_offset: i64 },
    #[error("{left} bytes follow the one batch that is allowed")]
    MoreThanOneBatch { left: usize },
    #[error("a client may not write control batches")]
    ControlFromClient,
    #[error("base sequence {base_sequence} or epoch {producer_epoch} does not fit a producer id")]
    BadProducerState { base_sequence: i32, producer_epoch: i16 },
    #[error("a transactional batch needs a producer id")]
    TransactionWithoutProducer,
    #[error("record is not readable")]
    Record(#[source] DecodeError),
    #[error("record's length says {expected} bytes, its fields take {actual}")]
    RecordLength { expected: usize, actual: usize },
    #[error("{left} bytes follow the last record")]
    BytesAfterRecords { left: usize },
    #[error("records do not begin as {codec} does", codec = .codec.name())]
    NotCompressed { codec: Compression },
    #[error("records do not decompress")]
    Compression(#[source] CompressionError),
}

impl From<&BatchError> for KafkaCode {
    fn from(error: &BatchError) -> KafkaCode {
        match error {
            BatchError::Truncated { .. }
            | BatchError::LengthTooSmall { .. }
            | BatchError::Crc { .. } => KafkaCode::CorruptMessage,
            BatchError::Magic { magic } if !MAGICS.contains(magic) => KafkaCode::CorruptMessage,
            BatchError::Magic { .. }
            | BatchError::NoBatch { .. }
            | BatchError::BaseOffset { .. }
            | BatchError::RecordCount { .. }
            | BatchError::MoreThanOneBatch { .. }
            | BatchError::ControlFromClient
            | BatchError::BadProducerState { .. }
            | BatchError::TransactionWithoutProducer
            | BatchError::Compression(_)
            | BatchError::NotCompressed { .. }
            | BatchError::Record(_)
            | BatchError::RecordLength { .. }
            | BatchError::BytesAfterRecords { .. } => KafkaCode::InvalidRecord,
            BatchError::UnknownCompression { .. } => KafkaCode::UnsupportedCompressionType,
        }
    }
}

/// What the timestamps of a batch mean (KIP-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Set by the producer, one per record.
    CreateTime,
    /// Set by the broker, the same for all records of the batch.
    LogAppendTime,
}

/// The attributes of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION_MASK: u8 = 0b111;
    pub const LOG_APPEND_TIME: i16 = 1 << 3;
    pub const TRANSACTIONAL: i16 = 1 << 4;
    pub const CONTROL: i16 = 1 << 5;
    pub const DELETE_HORIZON: i16 = 1 << 6;

    /// # Errors
    /// [`BatchError::UnknownCompression`] for numbers that Kafka does not define.
    pub const fn compression(self) -> Result<Compression, BatchError> {
        let number = self.0.to_le_bytes()[0] & Self::COMPRESSION_MASK;
        match Compression::from_number(number) {
            Some(compression) => Ok(compression),
            None => Err(BatchError::UnknownCompression { number }),
        }
    }

    /// Whose clock the batch's timestamps are from.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction; control batches are too.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Commit and abort markers and the like, which consumers do not hand to applications.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is the time from which tombstones may go (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The 61 bytes in front of the records, read in place.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    base_offset: I64,
    batch_length: I32,
    leader_epoch: I32,
    magic: i8,
    crc: U32,
    attributes: I16,
    last_offset_delta: I32,
    base_timestamp: I64,
    max_timestamp: I64,
    producer_id: I64,
    producer_epoch: I16,
    base_sequence: I32,
    record_count: I32,
}

const _: () = assert!(size_of::<BatchHeader>() == BATCH_HEADER_SIZE);

impl BatchHeader {
    /// The header at the front of `bytes`, which need not hold the records.
    ///
    /// # Errors
    /// Fewer than 61 bytes, another magic, or a length that does not even cover the header.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<&BatchHeader, BatchError> {
        let Ok((header, _)) = BatchHeader::ref_from_prefix(bytes) else {
            return Err(BatchError::Truncated { needed: BATCH_HEADER_SIZE, left: bytes.len() });
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic { magic: header.magic });
        }
        if header.batch_length.get() < LENGTH_MIN {
            return Err(BatchError::LengthTooSmall { length: header.batch_length.get() });
        }
        Ok(header)
    }

    /// Offset of the first record, as the broker stamped it.
    pub fn base_offset(&self) -> i64 {
        self.base_offset.get()
    }

    /// Offset of the last record that was in the batch when it was produced; compaction keeps it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        let length = self.batch_length.get().max(LENGTH_MIN).unsigned_abs();
        BATCH_LENGTH_OFFSET + length as usize
    }

    /// Epoch of the leader that appended the batch; -1 before that.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.get()
    }

    pub fn crc(&self) -> u32 {
        self.crc.get()
    }

    pub fn attributes(&self) -> Attributes {
        Attributes(self.attributes.get())
    }

    pub fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta.get()
    }

    /// Time from which the batch's tombstones, or the marker in it, may go (KIP-534);
    /// milliseconds since 1970.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes().has_delete_horizon().then(|| self.base_timestamp())
    }

    /// Milliseconds since 1970 from which the records' timestamps are counted.
    pub fn base_timestamp(&self) -> i64 {
        self.base_timestamp.get()
    }

    /// Largest timestamp of the records, or the log append time; milliseconds since 1970.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp.get()
    }

    /// -1 for a producer that is neither idempotent nor transactional.
    pub fn producer_id(&self) -> i64 {
        self.producer_id.get()
    }

    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch.get()
    }

    /// Sequence of the first record; -1 without a producer id.
    pub fn base_sequence(&self) -> i32 {
        self.base_sequence.get()
    }

    /// Sequence of the last record: it wraps from 2^31-1 to 0 (KIP-98).
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence() < 0 {
            return self.base_sequence();
        }
        self.base_sequence().wrapping_add(self.last_offset_delta()) & i32::MAX
    }

    /// Records in the batch; 0 only when compaction took them all.
    pub fn record_count(&self) -> i32 {
        self.record_count.get()
    }

    fn check_count(&self) -> Result<(), BatchError> {
        let (count, last_offset_delta) = (self.record_count(), self.last_offset_delta());
        let offsets = i64::from(last_offset_delta) + 1;
        if count < 0 || last_offset_delta < 0 || i64::from(count) > offsets {
            return Err(BatchError::RecordCount { count, last_offset_delta });
        }
        Ok(())
    }

    /// The rules that hold for a producer's batch on top: no control batch, no holes, and producer
    /// fields that fit each other.
    ///
    /// # Errors
    /// The first rule that is broken; its [`KafkaCode`] is the answer to the client.
    pub fn check_produced(&self) -> Result<(), BatchError> {
        if self.base_offset() != 0 {
            return Err(BatchError::BaseOffset { base_offset: self.base_offset() });
        }
        let (count, last_offset_delta) = (self.record_count(), self.last_offset_delta());
        if count == 0 || count - 1 != last_offset_delta {
            return Err(BatchError::RecordCount { count, last_offset_delta });
        }
        if self.attributes().is_control() {
            return Err(BatchError::ControlFromClient);
        }
        let has_producer = self.producer_id() != NO_PRODUCER;
        if has_producer && (self.base_sequence() < 0 || self.producer_epoch() < 0) {
            return Err(BatchError::BadProducerState {
                base_sequence: self.base_sequence(),
                producer_epoch: self.producer_epoch(),
            });
        }
        if self.attributes().is_transactional() && !has_producer {
            return Err(BatchError::TransactionWithoutProducer);
        }
        Ok(())
    }
}

/// Size of the batch at the front of `bytes`, of any format; `None` when it is not all there.
/// Kafka's answer to a wrong length or format differs from that to a batch cut off, so this comes
/// first.
fn whole_batch(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some(length) = bytes.get(8..).and_then(|bytes| bytes.first_chunk()) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    if length < OLD_LENGTH_MIN {
        return Err(BatchError::LengthTooSmall { length });
    }
    let Some(magic) = bytes.get(MAGIC_AT) else { return Ok(None) };
    let magic = i8::from_be_bytes([*magic]);
    if !MAGICS.contains(&magic) {
        return Err(BatchError::Magic { magic });
    }
    let size = usize::try_from(length).ok().map(|length| length + BATCH_LENGTH_OFFSET);
    Ok(size.filter(|size| *size <= bytes.len()))
}

/// Where a batch of any format says which format it has.
const MAGIC_AT: usize = 16;
/// Batch length of the smallest record of format 0.
const OLD_LENGTH_MIN: i32 = 14;

/// Batch length of a batch without records.
const LENGTH_MIN: i32 = 49;
const _: () = assert!(LENGTH_MIN as usize + BATCH_LENGTH_OFFSET == BATCH_HEADER_SIZE);

/// A record batch whose length, CRC-32C and counts are known to be right. Only the `check`
/// functions make one. Shares the memory it was checked in.
#[derive(Clone, Debug)]
pub struct CheckedBatch {
    bytes: Bytes,
}

impl CheckedBatch {
    /// Checks the batch at the front of `bytes`, and takes it off.
    ///
    /// For batches that a leader already accepted: from a peer, or from our own log.
    ///
    /// The checksum comes first: a flipped bit is CORRUPT_MESSAGE, which clients retry, and not a
    /// count that makes no sense, which they do not.
    ///
    /// # Errors
    /// `bytes` is untouched, and [`BatchError::Truncated`] says when more bytes could help.
    pub fn check_first(bytes: &mut Bytes) -> Result<CheckedBatch, BatchError> {
        let header = BatchHeader::read(bytes)?;
        let size = header.size();
        if size > bytes.len() {
            return Err(BatchError::Truncated { needed: size, left: bytes.len() });
        }
        let expected = header.crc();
        let actual = crc32c::crc32c(&bytes[CRC_START..size]);
        if expected != actual {
            return Err(BatchError::Crc { expected, actual });
        }
        header.attributes().compression()?;
        header.check_count()?;
        Ok(CheckedBatch { bytes: bytes.split_to(size) })
    }

    /// Checks the records of one partition of a Produce request: exactly one batch. Bytes behind it
    /// that are no whole batch are dropped, as Kafka does it. What its header says is judged where
    /// it is appended ([`BatchHeader::check_produced`]).
    ///
    /// # Errors
    /// The first rule that is broken; its [`KafkaCode`] is the answer to the client.
    pub fn check_produced(mut bytes: Bytes) -> Result<CheckedBatch, BatchError> {
        let Some(size) = whole_batch(&bytes)? else {
            return Err(BatchError::NoBatch { left: bytes.len() });
        };
        let left = bytes.len() - size;
        if left > 0 && whole_batch(&bytes[size..])?.is_some() {
            return Err(BatchError::MoreThanOneBatch { left });
        }
        CheckedBatch::check_first(&mut bytes)
    }

    /// The header, read in place.
    #[inline]
    pub fn header(&self) -> &BatchHeader {
        BatchHeader::read(&self.bytes).expect("checked by CheckedBatch::check_first")
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// What follows the header: the records, compressed or not.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(BATCH_HEADER_SIZE..)
    }

    /// The same records under a header that says what their largest timestamp is, and that it is
    /// theirs: not every client gets it right. Copies the batch.
    pub fn with_max_timestamp(&self, max_timestamp_ms: i64) -> CheckedBatch {
        let mut header = *self.header();
        header.attributes = I16::new(header.attributes.get() & !Attributes::LOG_APPEND_TIME);
        header.max_timestamp = I64::new(max_timestamp_ms);
        let head_crc = crc32c::crc32c(&header.as_bytes()[CRC_START..]);
        let records = &self.bytes[BATCH_HEADER_SIZE..];
        header.crc = U32::new(crc32c::crc32c_append(head_crc, records));
        CheckedBatch { bytes: Bytes::from([header.as_bytes(), records].concat()) }
    }

    /// The header with another base offset and leader epoch, for a write of this and the payload
    /// without copying the payload.
    pub fn stamped_header(&self, base_offset: i64, leader_epoch: i32) -> BatchHeader {
        BatchHeader {
            base_offset: I64::new(base_offset),
            leader_epoch: I32::new(leader_epoch),
            ..*self.header()
        }
    }

    /// As [`CheckedBatch::stamped_header`], with `now_ms` as log append time and a new CRC.
    pub fn stamped_header_at(
        &self,
        base_offset: i64,
        leader_epoch: i32,
        now_ms: i64,
    ) -> BatchHeader {
        let mut header = self.stamped_header(base_offset, leader_epoch);
        header.attributes = I16::new(header.attributes.get() | Attributes::LOG_APPEND_TIME);
        header.max_timestamp = I64::new(now_ms);
        let head_crc = crc32c::crc32c(&header.as_bytes()[CRC_START..]);
        header.crc = U32::new(crc32c::crc32c_append(head_crc, &self.bytes[BATCH_HEADER_SIZE..]));
        header
    }
}

/// Stamps base offset and leader epoch into a batch where it lies; the CRC stays true.
///
/// # Panics
/// When `batch` is shorter than a header: it must have been checked before.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    assert!(batch.len() >= BATCH_HEADER_SIZE);
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Makes `now_ms` the log append time of a batch where it lies, and renews its CRC (KIP-32).
///
/// # Panics
/// When `batch` is not exactly one batch: it must have been checked before.
pub fn stamp_log_append_time(batch: &mut [u8], now_ms: i64) {
    let size = batch.len();
    let Ok((header, payload)) = BatchHeader::mut_from_prefix(batch) else {
        panic!("a checked batch holds a header");
    };
    assert!(header.size() == size);
    header.attributes = I16::new(header.attributes.get() | Attributes::LOG_APPEND_TIME);
    header.max_timestamp = I64::new(now_ms);
    let head_crc = crc32c::crc32c(&header.as_bytes()[CRC_START..]);
    header.crc = U32::new(crc32c::crc32c_append(head_crc, payload));
}

/// The fields of a header that is about to be written; length and CRC follow from the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderFields {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl HeaderFields {
    /// A whole header in front of `payload`; `None` when the batch would exceed an int32.
    pub(crate) fn seal(&self, payload: &[u8]) -> Option<BatchHeader> {
        let length = i32::try_from(payload.len()).ok()?.checked_add(LENGTH_MIN)?;
        let mut header = BatchHeader {
            base_offset: I64::new(self.base_offset),
            batch_length: I32::new(length),
            leader_epoch: I32::new(self.leader_epoch),
            magic: MAGIC,
            crc: U32::ZERO,
            attributes: I16::new(self.attributes),
            last_offset_delta: I32::new(self.last_offset_delta),
            base_timestamp: I64::new(self.base_timestamp),
            max_timestamp: I64::new(self.max_timestamp),
            producer_id: I64::new(self.producer_id),
            producer_epoch: I16::new(self.producer_epoch),
            base_sequence: I32::new(self.base_sequence),
            record_count: I32::new(self.record_count),
        };
        let head_crc = crc32c::crc32c(&header.as_bytes()[CRC_START..]);
        header.crc = U32::new(crc32c::crc32c_append(head_crc, payload));
        Some(header)
    }
}

#[cfg(test)]
#[path = "record_batch_tests.rs"]
mod tests;
