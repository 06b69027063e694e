//! Produce without allocation: a request read in place, and a response written from results.
//!
//! Why beside the field table: Produce is the hottest request. The table's structs own their
//! strings and vectors; this view keeps ranges of the frame and reuses its own two vectors, so
//! after the first requests of a connection it allocates nothing. A test holds view and table
//! together in every version.
//!
//! Invariants
//! - Records are slices of the frame; they are neither copied nor looked into.
//! - The response names the request's topics and partitions in the request's order.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;
use zerocopy::big_endian::{I16, I32, I64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::model::errors::KafkaCode;
use crate::protocol::messages::produce::ProduceRequest;
use crate::protocol::primitive::{DecodeError, EncodeError, LengthForm, Reader, Sink};
use crate::protocol::schema::{Context, Message};

/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;

/// Smallest partition in any version: an index and compact null records or no tagged fields.
const PARTITION_BYTES_MIN: usize = 5;

/// What stands between the transactional id and the topics.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FixedRequest {
    acks: I16,
    timeout_ms: I32,
}

/// A Produce request, read in place. One per connection, reused for each request.
#[derive(Debug, Default)]
pub struct ProduceRequestView {
    frame: Bytes,
    version: i16,
    transactional_id: Option<Range<usize>>,
    acks: i16,
    timeout_ms: i32,
    topics: Vec<TopicSlot>,
    partitions: Vec<PartitionSlot>,
}

#[derive(Debug)]
struct TopicSlot {
    name: Range<usize>,
    topic_id: Uuid,
    partitions: Range<usize>,
}

#[derive(Debug)]
struct PartitionSlot {
    index: i32,
    records: Range<usize>,
}

/// One topic of a request. Lives no longer than the view.
#[derive(Clone, Copy, Debug)]
pub struct ProduceTopic<'a> {
    view: &'a ProduceRequestView,
    slot: &'a TopicSlot,
}

/// One partition of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    /// A slice of the frame; empty when the request says null.
    pub records: Bytes,
}

impl ProduceRequestView {
    /// Reads the body at which `reader` stands. What the view held before is gone, also when this
    /// fails.
    ///
    /// # Errors
    /// Whatever the bytes or the version have wrong.
    pub fn read(&mut self, reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        self.clear();
        self.read_body(reader, version)?;
        self.frame = reader.frame().clone();
        Ok(())
    }

    /// As [`ProduceRequestView::read`], from a position of a frame that nobody else needs.
    ///
    /// # Errors
    /// Whatever the bytes or the version have wrong.
    #[inline]
    pub fn read_frame(
        &mut self,
        frame: Bytes,
        body_at: usize,
        version: i16,
    ) -> Result<(), DecodeError> {
        self.clear();
        self.read_body(&mut Reader::starting_at(&frame, body_at), version)?;
        self.frame = frame;
        Ok(())
    }

    /// Gives the frame back; the view is empty then, its room stays.
    pub fn take_frame(&mut self) -> Bytes {
        let frame = std::mem::take(&mut self.frame);
        self.clear();
        frame
    }

    #[inline]
    fn read_body(&mut self, from: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        if !ProduceRequest::VERSIONS.contains(&version) {
            let api = ProduceRequest::KEY.name();
            return Err(DecodeError::UnsupportedVersion { api, version });
        }
        let context = Context::of_message(version, ProduceRequest::FLEXIBLE_FROM);
        let form = context.form();
        self.version = version;
        // A reader of our own stays in registers.
        let mut reader = from.clone();
        self.transactional_id =
            reader.get_nullable_str(form)?.map(|id| range_before(&reader, id.len()));
        let fixed: &FixedRequest = reader.get_fixed()?;
        (self.acks, self.timeout_ms) = (fixed.acks.get(), fixed.timeout_ms.get());
        for _ in 0..reader.get_count(form, 2)? {
            self.read_topic(&mut reader, context)?;
        }
        if context.is_flexible {
            reader.skip_tagged_fields()?;
        }
        *from = reader;
        Ok(())
    }

    #[inline]
    fn read_topic(&mut self, reader: &mut Reader<'_>, context: Context) -> Result<(), DecodeError> {
        let form = context.form();
        let (name, topic_id) = if context.version < TOPIC_ID_FROM {
            let name = reader.get_nullable_text(form)?.ok_or(DecodeError::UnexpectedNull)?;
            (range_before(reader, name.len()), Uuid::nil())
        } else {
            (0..0, reader.get_uuid()?)
        };
        let first = self.partitions.len();
        for _ in 0..reader.get_count(form, PARTITION_BYTES_MIN)? {
            if context.is_flexible
                && let Some((index, size)) = read_plain_partition(reader)
            {
                // Without tagged fields, whose count of one byte was read behind the records.
                let end = reader.position() - 1;
                self.partitions.push(PartitionSlot { index, records: end - size..end });
                continue;
            }
            let index = reader.get_i32()?;
            let size = reader.get_nullable_byte_slice(form)?.unwrap_or_default().len();
            let records = range_before(reader, size);
            if context.is_flexible {
                reader.skip_tagged_fields()?;
            }
            self.partitions.push(PartitionSlot { index, records });
        }
        if context.is_flexible {
            reader.skip_tagged_fields()?;
        }
        let partitions = first..self.partitions.len();
        self.topics.push(TopicSlot { name, topic_id, partitions });
        Ok(())
    }

    /// Lets go of the frame; the vectors' room stays.
    #[inline]
    pub fn clear(&mut self) {
        self.frame = Bytes::new();
        self.topics.clear();
        self.partitions.clear();
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn transactional_id(&self) -> Option<&str> {
        self.transactional_id.clone().map(|range| self.str_at(range))
    }

    /// -1 all in-sync replicas, 0 no response, 1 the leader; the caller refuses other values.
    pub fn acks(&self) -> i16 {
        self.acks
    }

    pub fn timeout_ms(&self) -> i32 {
        self.timeout_ms
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Topics in the order of the request.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = ProduceTopic<'_>> {
        self.topics.iter().map(|slot| ProduceTopic { view: self, slot })
    }

    fn str_at(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.frame[range]).expect("checked by ProduceRequestView::read")
    }
}

/// A flexible partition as nearly all are: below 16 KiB of records, no tagged fields. Index, and
/// bytes of the records. `None` when the next one is another; nothing is read then.
#[inline]
fn read_plain_partition(reader: &mut Reader<'_>) -> Option<(i32, usize)> {
    let rest = reader.rest();
    let (size_plus_one, length_bytes) = match *rest {
        [_, _, _, _, first, ..] if first < 0x80 => (usize::from(first), 1),
        [_, _, _, _, first, second, ..] if second < 0x80 => {
            (usize::from(first & 0x7f) | usize::from(second) << 7, 2)
        }
        _ => return None,
    };
    let size = size_plus_one.checked_sub(1)?;
    let tags_at = 4 + length_bytes + size;
    if *rest.get(tags_at)? != 0 {
        return None;
    }
    let index = i32::from_be_bytes(*rest.first_chunk()?);
    reader.get_slice(tags_at + 1).ok()?;
    Some((index, size))
}

/// The `size` bytes just read.
#[inline]
fn range_before(reader: &Reader<'_>, size: usize) -> Range<usize> {
    let end = reader.position();
    end - size..end
}

impl<'a> ProduceTopic<'a> {
    /// Empty from version 13 on, which names topics by id. What is not UTF-8 is replaced, as Kafka
    /// does; no topic has such a name.
    pub fn name(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name_bytes())
    }

    /// The name as sent.
    fn name_bytes(self) -> &'a [u8] {
        &self.view.frame[self.slot.name.clone()]
    }

    /// Nil below version 13, which names topics by name.
    pub fn topic_id(self) -> Uuid {
        self.slot.topic_id
    }

    /// Partitions in the order of the request.
    pub fn partitions(self) -> impl ExactSizeIterator<Item = ProducePartition> + use<'a> {
        let frame = &self.view.frame;
        self.view.partitions[self.slot.partitions.clone()].iter().map(|slot| ProducePartition {
            index: slot.index,
            records: frame.slice(slot.records.clone()),
        })
    }
}

/// How one partition's append ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceResult {
    pub error: KafkaCode,
    /// Offset of the batch's first record; -1 on error.
    pub base_offset: i64,
    /// -1 unless the topic stamps log append time.
    pub log_append_time_ms: i64,
    /// -1 on error.
    pub log_start_offset: i64,
}

impl ProduceResult {
    /// A refusal without further detail.
    pub const fn refused(error: KafkaCode) -> ProduceResult {
        ProduceResult { error, base_offset: -1, log_append_time_ms: -1, log_start_offset: -1 }
    }
}

/// Writes the body of the response to `request`, `results` in the order of its partitions.
///
/// Refusals that carry more (a new leader, errors per record) need the `ProduceResponse` struct.
///
/// # Errors
/// A count that exceeds an int32.
///
/// # Panics
/// When there is not exactly one result per partition of the request.
pub fn write_produce_response(
    sink: &mut impl Sink,
    request: &ProduceRequestView,
    results: &[ProduceResult],
    throttle_time_ms: i32,
) -> Result<(), EncodeError> {
    assert!(results.len() == request.partitions.len());
    let context = Context::of_message(request.version, ProduceRequest::FLEXIBLE_FROM);
    let form = context.form();
    sink.put_length(Some(request.topics.len()), form)?;
    for topic in request.topics() {
        if request.version < TOPIC_ID_FROM {
            sink.put_nullable_text(Some(topic.name_bytes()), form)?;
        } else {
            sink.put_uuid(topic.topic_id());
        }
        let range = topic.slot.partitions.clone();
        sink.put_length(Some(range.len()), form)?;
        for (slot, result) in request.partitions[range.clone()].iter().zip(&results[range]) {
            write_partition(sink, slot.index, result, context)?;
        }
        end_struct(sink, context);
    }
    sink.put_i32(throttle_time_ms);
    end_struct(sink, context);
    Ok(())
}

/// What each version writes of a partition, in one run; the last field since version 5.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct ResponsePartition {
    index: I32,
    error_code: I16,
    base_offset: I64,
    log_append_time_ms: I64,
    log_start_offset: I64,
}

/// The same as flexible versions write it.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FlexiblePartition {
    partition: ResponsePartition,
    rest: [u8; 3],
}

/// A compact empty list of errors, a compact null text, no tagged fields.
const NO_ERRORS_NO_TAGS: [u8; 3] = [1, 0, 0];

/// Where `log_start_offset` begins.
const LOG_START_AT: usize = 22;
const _: () = assert!(size_of::<ResponsePartition>() == LOG_START_AT + 8);

#[inline]
fn write_partition(
    sink: &mut impl Sink,
    index: i32,
    result: &ProduceResult,
    context: Context,
) -> Result<(), EncodeError> {
    let partition = ResponsePartition {
        index: I32::new(index),
        error_code: I16::new(result.error.number()),
        base_offset: I64::new(result.base_offset),
        log_append_time_ms: I64::new(result.log_append_time_ms),
        log_start_offset: I64::new(result.log_start_offset),
    };
    // Constant sizes, so that no copy is a call.
    if context.is_flexible {
        sink.put_slice(FlexiblePartition { partition, rest: NO_ERRORS_NO_TAGS }.as_bytes());
        return Ok(());
    }
    if context.version >= 5 {
        sink.put_slice(partition.as_bytes());
    } else {
        sink.put_slice(&partition.as_bytes()[..LOG_START_AT]);
    }
    if context.version >= 8 {
        let form: LengthForm = context.form();
        sink.put_length(Some(0), form)?;
        sink.put_nullable_str(None, form)?;
    }
    Ok(())
}

/// No tagged fields.
#[inline]
fn end_struct(sink: &mut impl Sink, context: Context) {
    if context.is_flexible {
        sink.put_unsigned_varint(0);
    }
}

#[cfg(test)]
#[path = "produce_view_tests.rs"]
mod tests;
