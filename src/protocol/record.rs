//! The records inside a batch: read one by one, and written by [`BatchBuilder`].
//!
//! Why lazily: produce and fetch never come here. Look-ups by timestamp, compaction, coordinators
//! and tools read only as far as they need.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! | key length varint (-1 null), key | value length varint (-1 null), value
//! | header count varint | per header: key length varint, key, value length varint, value
//! ```
//!
//! Invariants
//! - A record's lengths are compared with the bytes left before they are used.
//! - Decompression is bounded by `DECOMPRESSED_BYTES_MAX`.

use bytes::{Bytes, BytesMut};
use zerocopy::IntoBytes;

use crate::model::ids::{LeaderEpoch, Offset};
use crate::model::limits::DECOMPRESSED_BYTES_MAX;
use crate::protocol::compression::{Compression, compress, decompress};
use crate::protocol::part::FileRange;
use crate::protocol::primitive::{DecodeError, Reader, Sink, SizeCounter};
use crate::protocol::record_batch::{
    Attributes, BATCH_HEADER_SIZE, BatchError, BatchHeader, CheckedBatch, HeaderFields,
    NO_PRODUCER, TimestampType,
};

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Absolute offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970; the batch's log append time when it has one.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: Vec<RecordHeader<'a>>,
}

/// A header of a record (KIP-82).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// UTF-8 by convention; not checked.
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The uncompressed records of one batch.
#[derive(Clone, Debug)]
pub struct DecodedRecords {
    header: BatchHeader,
    bytes: Bytes,
}

impl CheckedBatch {
    /// Makes the records readable: shared when uncompressed, else decompressed into new memory.
    ///
    /// # Errors
    /// The records do not decompress, or grow above `DECOMPRESSED_BYTES_MAX`.
    pub fn decode_records(&self) -> Result<DecodedRecords, BatchError> {
        let header = *self.header();
        let bytes = match header.attributes().compression()? {
            Compression::None => self.payload(),
            compression => {
                let payload = &self.bytes()[BATCH_HEADER_SIZE..];
                let records = decompress(compression, payload, DECOMPRESSED_BYTES_MAX);
                Bytes::from(records.map_err(BatchError::Compression)?)
            }
        };
        Ok(DecodedRecords { header, bytes })
    }
}

impl DecodedRecords {
    /// The records as they would stand in an uncompressed batch.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records in the order of their offsets. After an error the iterator ends.
    pub fn iter(&self) -> RecordIterator<'_> {
        RecordIterator {
            header: &self.header,
            reader: Reader::new(&self.bytes),
            left: self.header.record_count(),
        }
    }
}

/// Reads records one after the other. Made by [`DecodedRecords::iter`].
#[derive(Debug)]
pub struct RecordIterator<'a> {
    header: &'a BatchHeader,
    reader: Reader<'a>,
    left: i32,
}

impl<'a> Iterator for RecordIterator<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let left = self.reader.left();
            // Reported once: the next call finds nothing left.
            self.reader.get_slice(left).ok()?;
            return (left > 0).then_some(Err(BatchError::BytesAfterRecords { left }));
        }
        self.left -= 1;
        let record = read_record(self.header, &mut self.reader);
        if record.is_err() {
            self.left = 0;
            let left = self.reader.left();
            self.reader.get_slice(left).ok()?;
        }
        Some(record)
    }
}

fn read_record<'a>(
    header: &BatchHeader,
    reader: &mut Reader<'a>,
) -> Result<Record<'a>, BatchError> {
    let length = reader.get_varint().map_err(BatchError::Record)?;
    let size = usize::try_from(length)
        .map_err(|_| BatchError::Record(DecodeError::NegativeLength { length }))?;
    let left_before = reader.left();
    if size > left_before {
        let truncated = DecodeError::Truncated { needed: size, left: left_before };
        return Err(BatchError::Record(truncated));
    }
    let record = read_fields(header, reader).map_err(BatchError::Record)?;
    let actual = left_before - reader.left();
    if actual != size {
        return Err(BatchError::RecordLength { expected: size, actual });
    }
    Ok(record)
}

fn read_fields<'a>(
    header: &BatchHeader,
    reader: &mut Reader<'a>,
) -> Result<Record<'a>, DecodeError> {
    let _attributes = reader.get_i8()?;
    let timestamp_delta = reader.get_varlong()?;
    let offset_delta = reader.get_varint()?;
    let key = read_nullable(reader)?;
    let value = read_nullable(reader)?;
    let headers = read_headers(reader)?;
    let timestamp_ms = match header.attributes().timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp().saturating_add(timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp(),
    };
    let offset = header.base_offset().saturating_add(i64::from(offset_delta));
    Ok(Record { offset, timestamp_ms, key, value, headers })
}

fn read_nullable<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    let length = reader.get_varint()?;
    if length == -1 {
        return Ok(None);
    }
    let size = usize::try_from(length).map_err(|_| DecodeError::NegativeLength { length })?;
    reader.get_slice(size).map(Some)
}

fn read_headers<'a>(reader: &mut Reader<'a>) -> Result<Vec<RecordHeader<'a>>, DecodeError> {
    /// Two lengths of one byte each.
    const HEADER_SIZE_MIN: usize = 2;
    let length = reader.get_varint()?;
    let count = usize::try_from(length).map_err(|_| DecodeError::NegativeLength { length })?;
    let left = reader.left();
    if count > left / HEADER_SIZE_MIN {
        return Err(DecodeError::CountTooLarge { count, size_min: HEADER_SIZE_MIN, left });
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let key = read_nullable(reader)?.ok_or(DecodeError::UnexpectedNull)?;
        headers.push(RecordHeader { key, value: read_nullable(reader)? });
    }
    Ok(headers)
}

/// Who produced a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl ProducerStamp {
    /// A producer that is neither idempotent nor transactional.
    pub const NONE: ProducerStamp =
        ProducerStamp { producer_id: NO_PRODUCER, producer_epoch: -1, base_sequence: -1 };
}

/// How a batch is built.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub compression: Compression,
    /// The codec's own; `None` is its default.
    pub compression_level: Option<i32>,
    pub producer: ProducerStamp,
    pub is_transactional: bool,
    pub is_control: bool,
    /// Time from which the batch's tombstones may go: stands in place of the base timestamp
    /// (KIP-534). Milliseconds since 1970.
    pub delete_horizon_ms: Option<i64>,
    /// The broker's time, the same for all records (KIP-32). Milliseconds since 1970.
    pub log_append_time_ms: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: 0,
            leader_epoch: -1,
            compression: Compression::None,
            compression_level: None,
            producer: ProducerStamp::NONE,
            is_transactional: false,
            is_control: false,
            delete_horizon_ms: None,
            log_append_time_ms: None,
        }
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [RecordHeader<'a>],
}

/// Why a batch cannot be built. A caller's mistake or a batch that has become too large.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("batch is larger than an int32 can say")]
    TooLarge,
    #[error("offset {offset} does not follow the offsets before it")]
    OffsetOutOfOrder { offset: i64 },
    #[error("records do not compress")]
    Compression(#[source] crate::protocol::compression::CompressionError),
}

/// What is left of a batch whose records compaction took: a header, which keeps its offsets and
/// its producer's sequence, and says nothing of compression.
///
/// # Errors
/// None is known: a header is 61 bytes.
pub fn emptied(header: &BatchHeader) -> Result<Bytes, BuildError> {
    let kept = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;
    let fields = HeaderFields {
        base_offset: header.base_offset(),
        leader_epoch: header.leader_epoch(),
        attributes: header.attributes().0 & kept,
        last_offset_delta: header.last_offset_delta(),
        base_timestamp: -1,
        max_timestamp: header.max_timestamp(),
        producer_id: header.producer_id(),
        producer_epoch: header.producer_epoch(),
        base_sequence: header.base_sequence(),
        record_count: 0,
    };
    let empty = fields.seal(&[]).ok_or(BuildError::TooLarge)?;
    Ok(Bytes::copy_from_slice(empty.as_bytes()))
}

/// A batch without records that stands for `offsets` offsets from `base_offset` on: what a replica
/// keeps where its leader's compaction left nothing.
///
/// # Errors
/// More offsets than an int32 counts, or none.
pub fn without_records(
    base_offset: Offset,
    offsets: u64,
    epoch: LeaderEpoch,
) -> Result<Bytes, BuildError> {
    let last = offsets.checked_sub(1).and_then(|last| i32::try_from(last).ok());
    let fields = HeaderFields {
        base_offset: base_offset.to_wire(),
        leader_epoch: epoch.0,
        attributes: 0,
        last_offset_delta: last.ok_or(BuildError::TooLarge)?,
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: NO_PRODUCER,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    let header = fields.seal(&[]).ok_or(BuildError::TooLarge)?;
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

/// Builds one batch: for tools, load generation and coordinators, and for compaction.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    records: BytesMut,
    record_count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            records: BytesMut::new(),
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: 0,
            max_timestamp: -1,
        }
    }

    /// As [`BatchBuilder::new`], with room for `size` bytes of records.
    pub fn with_room(options: BatchOptions, size: usize) -> BatchBuilder {
        BatchBuilder { records: BytesMut::with_capacity(size), ..BatchBuilder::new(options) }
    }

    /// Bytes of the batch so far, before compression.
    pub fn size(&self) -> usize {
        BATCH_HEADER_SIZE + self.records.len()
    }

    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Adds a record at the next offset.
    ///
    /// # Errors
    /// The batch would exceed an int32.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<(), BuildError> {
        let offset_delta = self.last_offset_delta.checked_add(1).ok_or(BuildError::TooLarge)?;
        self.push_at_delta(offset_delta, record)
    }

    /// Adds a record at `offset`, which may leave a hole before it, as compaction does.
    ///
    /// # Errors
    /// The offset does not follow the last one, or the batch would exceed an int32.
    pub fn push_at(&mut self, offset: i64, record: &NewRecord<'_>) -> Result<(), BuildError> {
        let delta = offset.checked_sub(self.options.base_offset);
        match delta.and_then(|delta| i32::try_from(delta).ok()) {
            Some(delta) if delta > self.last_offset_delta => self.push_at_delta(delta, record),
            _ => Err(BuildError::OffsetOutOfOrder { offset }),
        }
    }

    /// Keeps offsets up to `last_offset` for the batch though their records are gone.
    ///
    /// # Errors
    /// The offset lies before the last record.
    pub fn extend_to(&mut self, last_offset: i64) -> Result<(), BuildError> {
        let delta = last_offset.checked_sub(self.options.base_offset);
        match delta.and_then(|delta| i32::try_from(delta).ok()) {
            Some(delta) if delta >= self.last_offset_delta => {
                self.last_offset_delta = delta;
                Ok(())
            }
            _ => Err(BuildError::OffsetOutOfOrder { offset: last_offset }),
        }
    }

    fn push_at_delta(
        &mut self,
        offset_delta: i32,
        record: &NewRecord<'_>,
    ) -> Result<(), BuildError> {
        if self.record_count == 0 {
            self.base_timestamp = self.options.delete_horizon_ms.unwrap_or(record.timestamp_ms);
        }
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        let fields = RecordFields { record, timestamp_delta, offset_delta };
        let mut counter = SizeCounter::default();
        fields.write(&mut counter)?;
        let length = i32::try_from(counter.size()).map_err(|_| BuildError::TooLarge)?;
        let mut sink = BufferSink(&mut self.records);
        sink.put_varint(length);
        fields.write(&mut sink)?;
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        Ok(())
    }

    /// The batch, with length and CRC.
    ///
    /// # Errors
    /// The batch exceeds an int32, or its records do not compress.
    pub fn build(self) -> Result<Bytes, BuildError> {
        let options = &self.options;
        let flag = |is_set: bool, bit: i16| if is_set { bit } else { 0 };
        let attributes = i16::from(options.compression.number())
            | flag(options.is_transactional, Attributes::TRANSACTIONAL)
            | flag(options.is_control, Attributes::CONTROL)
            | flag(options.delete_horizon_ms.is_some(), Attributes::DELETE_HORIZON)
            | flag(options.log_append_time_ms.is_some(), Attributes::LOG_APPEND_TIME);
        let compressed = match options.compression {
            Compression::None => None,
            compression => Some(
                compress(compression, options.compression_level, &self.records)
                    .map_err(BuildError::Compression)?,
            ),
        };
        let payload = compressed.as_deref().unwrap_or(&self.records);
        let fields = HeaderFields {
            base_offset: options.base_offset,
            leader_epoch: options.leader_epoch,
            attributes,
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: options.log_append_time_ms.unwrap_or(self.max_timestamp),
            producer_id: options.producer.producer_id,
            producer_epoch: options.producer.producer_epoch,
            base_sequence: options.producer.base_sequence,
            record_count: self.record_count,
        };
        let header = fields.seal(payload).ok_or(BuildError::TooLarge)?;
        let mut batch = BytesMut::with_capacity(BATCH_HEADER_SIZE + payload.len());
        batch.extend_from_slice(header.as_bytes());
        batch.extend_from_slice(payload);
        Ok(batch.freeze())
    }
}

/// Appends to a buffer, always by copy: a batch is one piece.
struct BufferSink<'a>(&'a mut BytesMut);

impl Sink for BufferSink<'_> {
    fn put_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_bytes_shared(&mut self, bytes: &Bytes) {
        self.0.extend_from_slice(bytes);
    }

    fn put_file(&mut self, _: &FileRange) {
        unreachable!("a record holds no batches");
    }
}

struct RecordFields<'a> {
    record: &'a NewRecord<'a>,
    timestamp_delta: i64,
    offset_delta: i32,
}

impl RecordFields<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), BuildError> {
        sink.put_i8(0);
        sink.put_varlong(self.timestamp_delta);
        sink.put_varint(self.offset_delta);
        write_nullable(sink, self.record.key)?;
        write_nullable(sink, self.record.value)?;
        let count = self.record.headers.len();
        sink.put_varint(i32::try_from(count).map_err(|_| BuildError::TooLarge)?);
        for header in self.record.headers {
            write_nullable(sink, Some(header.key))?;
            write_nullable(sink, header.value)?;
        }
        Ok(())
    }
}

fn write_nullable(sink: &mut impl Sink, value: Option<&[u8]>) -> Result<(), BuildError> {
    let Some(value) = value else {
        sink.put_varint(-1);
        return Ok(());
    };
    sink.put_varint(i32::try_from(value.len()).map_err(|_| BuildError::TooLarge)?);
    sink.put_slice(value);
    Ok(())
}

/// How a transaction ended; the only record of a control batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionMarker {
    Abort,
    Commit,
}

impl TransactionMarker {
    const VERSION: i16 = 0;

    const fn number(self) -> i16 {
        match self {
            TransactionMarker::Abort => 0,
            TransactionMarker::Commit => 1,
        }
    }

    /// The marker that a control record's key names; `None` for other control records.
    pub fn from_key(key: &[u8]) -> Option<TransactionMarker> {
        let (_version, rest) = key.split_first_chunk::<2>()?;
        match i16::from_be_bytes(*rest.first_chunk::<2>()?) {
            0 => Some(TransactionMarker::Abort),
            1 => Some(TransactionMarker::Commit),
            _ => None,
        }
    }

    /// The marker that a batch is, with the coordinator's epoch; `None` for other batches.
    pub fn of(batch: &CheckedBatch) -> Option<(TransactionMarker, i32)> {
        if !batch.header().attributes().is_control() {
            return None;
        }
        let records = batch.decode_records().ok()?;
        let record = records.iter().next()?.ok()?;
        let marker = TransactionMarker::from_key(record.key?)?;
        let (_version, epoch) = record.value?.split_first_chunk::<2>()?;
        Some((marker, i32::from_be_bytes(*epoch.first_chunk()?)))
    }

    /// A whole control batch that ends `producer`'s transaction.
    ///
    /// # Errors
    /// None is known: a marker is 78 bytes.
    pub fn batch(
        self,
        producer: ProducerStamp,
        coordinator_epoch: i32,
        timestamp_ms: i64,
    ) -> Result<Bytes, BuildError> {
        let mut key = [0; 4];
        key[..2].copy_from_slice(&Self::VERSION.to_be_bytes());
        key[2..].copy_from_slice(&self.number().to_be_bytes());
        let mut value = [0; 6];
        value[..2].copy_from_slice(&Self::VERSION.to_be_bytes());
        value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
        let mut builder = BatchBuilder::new(BatchOptions {
            producer: ProducerStamp { base_sequence: -1, ..producer },
            is_transactional: true,
            is_control: true,
            ..BatchOptions::default()
        });
        builder.push(&NewRecord {
            timestamp_ms,
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        })?;
        builder.build()
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
