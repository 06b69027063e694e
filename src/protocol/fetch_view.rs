//! Fetch without allocation: a request read in place, and a response written as it is gathered.
//!
//! Why beside the field table: a consumer of many partitions sends hundreds of entries per
//! request, and the response carries payload that must not be copied. The view keeps plain numbers
//! and ranges of the frame in vectors it reuses; the writer puts a small head before slices that
//! stay where they are. A test holds both to the field table in every version.
//!
//! Invariants
//! - The writer is told the counts first, and finishes only when they were kept.
//! - Null records never leave: nothing to send is length 0 (librdkafka logs an error for null).

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;
use zerocopy::big_endian::{I16, I32, I64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::model::errors::KafkaCode;
use crate::protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse,
    LeaderIdAndEpoch, NodeEndpoint, ReplicaState,
};
use crate::protocol::part::Part;
use crate::protocol::primitive::{DecodeError, EncodeError, Reader, Sink};
use crate::protocol::schema::{Context, Message, Wire, write_tagged};

/// Smallest topic in any version: an empty compact name, an empty list, no tagged fields.
const TOPIC_BYTES_MIN: usize = 3;

/// First version that names topics by id (KIP-516).
const TOPIC_ID_FROM: i16 = 13;
/// First version with `ReplicaState` as a tagged field instead of the replica id (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;

/// A Fetch request, read in place. One per connection, reused for each request.
#[derive(Debug, Default)]
pub struct FetchRequestView {
    frame: Bytes,
    head: FetchHead,
    rack_id: Range<usize>,
    topics: Vec<TopicSlot>,
    partitions: Vec<FetchPartition>,
    forgotten_topics: Vec<TopicSlot>,
    forgotten_partitions: Vec<i32>,
}

/// What a Fetch request says for all its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchHead {
    pub version: i16,
    /// -1 for a consumer, else the follower's broker id.
    pub replica_id: i32,
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read uncommitted, 1 read committed.
    pub isolation_level: i8,
    pub session_id: i32,
    pub session_epoch: i32,
}

impl Default for FetchHead {
    fn default() -> FetchHead {
        let request = FetchRequest::default();
        FetchHead {
            version: 0,
            replica_id: request.replica_id,
            replica_epoch: request.replica_state.replica_epoch,
            max_wait_ms: request.max_wait_ms,
            min_bytes: request.min_bytes,
            max_bytes: request.max_bytes,
            isolation_level: request.isolation_level,
            session_id: request.session_id,
            session_epoch: request.session_epoch,
        }
    }
}

#[derive(Debug)]
struct TopicSlot {
    name: Range<usize>,
    topic_id: Uuid,
    partitions: Range<usize>,
}

/// One topic of a Fetch request, with `P` for each of its partitions.
#[derive(Clone, Copy, Debug)]
pub struct FetchTopicView<'a, P> {
    /// Empty from version 13 on.
    pub name: &'a str,
    /// Nil below version 13.
    pub topic_id: Uuid,
    pub partitions: &'a [P],
}

impl FetchRequestView {
    /// Reads the body at which `reader` stands. What the view held before is gone, also when this
    /// fails.
    ///
    /// # Errors
    /// Whatever the bytes or the version have wrong.
    pub fn read(&mut self, reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        self.clear();
        if !FetchRequest::VERSIONS.contains(&version) {
            let api = FetchRequest::KEY.name();
            return Err(DecodeError::UnsupportedVersion { api, version });
        }
        let context = Context::of_message(version, FetchRequest::FLEXIBLE_FROM);
        self.read_head(reader, version)?;
        for _ in 0..reader.get_count(context.form(), TOPIC_BYTES_MIN)? {
            self.read_topic(reader, context)?;
        }
        if version >= 7 {
            for _ in 0..reader.get_count(context.form(), TOPIC_BYTES_MIN)? {
                self.read_forgotten_topic(reader, context)?;
            }
        }
        if version >= 11 {
            let size = reader.get_str(context.form())?.len();
            self.rack_id = range_before(reader, size);
        }
        if context.is_flexible {
            self.read_tagged_fields(reader, context)?;
        }
        self.frame = reader.frame().clone();
        Ok(())
    }

    fn read_head(&mut self, reader: &mut Reader<'_>, version: i16) -> Result<(), DecodeError> {
        let head = &mut self.head;
        *head = FetchHead { version, ..FetchHead::default() };
        if version < REPLICA_STATE_FROM {
            head.replica_id = reader.get_i32()?;
        }
        head.max_wait_ms = reader.get_i32()?;
        head.min_bytes = reader.get_i32()?;
        head.max_bytes = reader.get_i32()?;
        head.isolation_level = reader.get_i8()?;
        if version >= 7 {
            head.session_id = reader.get_i32()?;
            head.session_epoch = reader.get_i32()?;
        }
        Ok(())
    }

    #[inline]
    fn read_topic(&mut self, reader: &mut Reader<'_>, context: Context) -> Result<(), DecodeError> {
        let (name, topic_id) = read_topic_name(reader, context)?;
        let count = reader.get_count(context.form(), FetchPartition::size_min(context))?;
        let first = self.partitions.len();
        self.partitions.reserve(count);
        for _ in 0..count {
            // The table's own struct: it holds nothing but numbers, so reading it allocates
            // nothing.
            let partition = match FixedPartition::read(reader, context) {
                Some(partition) => partition,
                None => FetchPartition::read(reader, context)?,
            };
            self.partitions.push(partition);
        }
        if context.is_flexible {
            reader.skip_tagged_fields()?;
        }
        let partitions = first..self.partitions.len();
        self.topics.push(TopicSlot { name, topic_id, partitions });
        Ok(())
    }

    fn read_forgotten_topic(
        &mut self,
        reader: &mut Reader<'_>,
        context: Context,
    ) -> Result<(), DecodeError> {
        let (name, topic_id) = read_topic_name(reader, context)?;
        let first = self.forgotten_partitions.len();
        for _ in 0..reader.get_count(context.form(), 4)? {
            self.forgotten_partitions.push(reader.get_i32()?);
        }
        if context.is_flexible {
            reader.skip_tagged_fields()?;
        }
        let partitions = first..self.forgotten_partitions.len();
        self.forgotten_topics.push(TopicSlot { name, topic_id, partitions });
        Ok(())
    }

    fn read_tagged_fields(
        &mut self,
        reader: &mut Reader<'_>,
        context: Context,
    ) -> Result<(), DecodeError> {
        /// Number of the tagged field `ReplicaState`.
        const REPLICA_STATE_TAG: u32 = 1;
        let head = &mut self.head;
        reader.get_tagged_fields(|tag, reader| {
            if tag != REPLICA_STATE_TAG || context.version < REPLICA_STATE_FROM {
                return Ok(false);
            }
            let state = ReplicaState::read(reader, context)?;
            (head.replica_id, head.replica_epoch) = (state.replica_id, state.replica_epoch);
            Ok(true)
        })
    }

    /// Lets go of the frame; the vectors' room stays.
    pub fn clear(&mut self) {
        self.frame = Bytes::new();
        self.rack_id = 0..0;
        self.topics.clear();
        self.partitions.clear();
        self.forgotten_topics.clear();
        self.forgotten_partitions.clear();
    }

    pub fn head(&self) -> &FetchHead {
        &self.head
    }

    /// Rack of the consumer (KIP-392); empty when it has none.
    pub fn rack_id(&self) -> &str {
        self.str_at(self.rack_id.clone())
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Topics to fetch, in the order of the request.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = FetchTopicView<'_, FetchPartition>> {
        self.topics.iter().map(|slot| self.topic_at(slot, &self.partitions))
    }

    /// Partitions to take out of the session (KIP-227).
    pub fn forgotten_topics(&self) -> impl ExactSizeIterator<Item = FetchTopicView<'_, i32>> {
        self.forgotten_topics.iter().map(|slot| self.topic_at(slot, &self.forgotten_partitions))
    }

    fn topic_at<'a, P>(&'a self, slot: &TopicSlot, all: &'a [P]) -> FetchTopicView<'a, P> {
        FetchTopicView {
            name: self.str_at(slot.name.clone()),
            topic_id: slot.topic_id,
            partitions: &all[slot.partitions.clone()],
        }
    }

    fn str_at(&self, range: Range<usize>) -> &str {
        std::str::from_utf8(&self.frame[range]).expect("checked by FetchRequestView::read")
    }
}

/// A partition without tagged fields as all versions from 12 on write it: one comparison of
/// lengths instead of seven makes a large request three times cheaper to read.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FixedPartition {
    partition: I32,
    current_leader_epoch: I32,
    fetch_offset: I64,
    last_fetched_epoch: I32,
    log_start_offset: I64,
    partition_max_bytes: I32,
    tagged_field_count: u8,
}

impl FixedPartition {
    /// `None` when the next partition has another layout; nothing is read then.
    #[inline]
    fn read(reader: &mut Reader<'_>, context: Context) -> Option<FetchPartition> {
        if !context.is_flexible {
            return None;
        }
        let fixed = FixedPartition::ref_from_prefix(reader.rest()).ok()?.0;
        if fixed.tagged_field_count != 0 {
            return None;
        }
        reader.get_slice(size_of::<FixedPartition>()).ok()?;
        Some(FetchPartition {
            partition: fixed.partition.get(),
            current_leader_epoch: fixed.current_leader_epoch.get(),
            fetch_offset: fixed.fetch_offset.get(),
            last_fetched_epoch: fixed.last_fetched_epoch.get(),
            log_start_offset: fixed.log_start_offset.get(),
            partition_max_bytes: fixed.partition_max_bytes.get(),
            ..FetchPartition::default()
        })
    }
}

fn read_topic_name(
    reader: &mut Reader<'_>,
    context: Context,
) -> Result<(Range<usize>, Uuid), DecodeError> {
    if context.version >= TOPIC_ID_FROM {
        return Ok((0..0, reader.get_uuid()?));
    }
    let size = reader.get_str(context.form())?.len();
    Ok((range_before(reader, size), Uuid::nil()))
}

/// The `size` bytes just read.
fn range_before(reader: &Reader<'_>, size: usize) -> Range<usize> {
    let end = reader.position();
    end - size..end
}

/// What a Fetch response says before its topics.
#[derive(Clone, Copy, Debug)]
pub struct FetchResponseHead {
    pub throttle_time_ms: i32,
    /// Of the session; partitions have their own.
    pub error: KafkaCode,
    /// 0 without a session (KIP-227).
    pub session_id: i32,
}

/// One partition of a Fetch response, without its records.
#[derive(Clone, Debug)]
pub struct FetchPartitionHead<'a> {
    pub index: i32,
    pub error: KafkaCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// `None` is null, for a read-uncommitted fetch.
    pub aborted_transactions: Option<&'a [AbortedTransaction]>,
    /// -1 unless another replica is closer (KIP-392).
    pub preferred_read_replica: i32,
    /// Where the follower's log parts from the leader's (KIP-595), from version 12 on.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// The leader, when it is not this broker (KIP-951), from version 12 on.
    pub current_leader: Option<LeaderIdAndEpoch>,
}

impl FetchPartitionHead<'_> {
    /// A refusal: no offsets, no records.
    pub const fn refused(index: i32, error: KafkaCode) -> FetchPartitionHead<'static> {
        FetchPartitionHead {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            diverging_epoch: None,
            current_leader: None,
        }
    }
}

/// What stands before the topics; the last two fields since version 7.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FixedHead {
    throttle_time_ms: I32,
    error_code: I16,
    session_id: I32,
}

/// The start of a partition; the last field since version 5.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FixedPartitionHead {
    index: I32,
    error_code: I16,
    high_watermark: I64,
    last_stable_offset: I64,
    log_start_offset: I64,
}

/// Where `log_start_offset` begins.
const LOG_START_AT: usize = 22;
const _: () = assert!(size_of::<FixedPartitionHead>() == LOG_START_AT + 8);

/// A partition up to its records, as versions from 12 on write it without aborted transactions.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FixedPartitionRun {
    head: FixedPartitionHead,
    /// Compact null.
    aborted_transactions: u8,
    preferred_read_replica: I32,
}

/// A topic up to its partitions, as versions from 13 on write it, with a count of one byte.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct FixedTopic {
    topic_id: [u8; 16],
    count_plus_one: u8,
}

/// Compact form of a count that takes one byte.
#[inline]
fn short_count(count: usize) -> Option<u8> {
    u8::try_from(count + 1).ok().filter(|encoded| *encoded < 0x80)
}

/// Writes the body of a Fetch response, topic by topic.
#[derive(Debug)]
pub struct FetchResponseWriter<'a, S: Sink> {
    sink: &'a mut S,
    context: Context,
    topics_left: usize,
    partitions_left: usize,
}

impl<'a, S: Sink> FetchResponseWriter<'a, S> {
    /// Writes what stands before the topics, of which there will be `topic_count`.
    ///
    /// # Errors
    /// A version we do not have, or a count above an int32.
    #[inline]
    pub fn start(
        sink: &'a mut S,
        version: i16,
        head: &FetchResponseHead,
        topic_count: usize,
    ) -> Result<FetchResponseWriter<'a, S>, EncodeError> {
        if !FetchResponse::VERSIONS.contains(&version) {
            let api = FetchResponse::KEY.name();
            return Err(EncodeError::UnsupportedVersion { api, version });
        }
        let context = Context::of_message(version, FetchResponse::FLEXIBLE_FROM);
        let fixed = FixedHead {
            throttle_time_ms: I32::new(head.throttle_time_ms),
            error_code: I16::new(head.error.number()),
            session_id: I32::new(head.session_id),
        };
        // Constant sizes, so that the copies are no calls; below too.
        if version >= 7 {
            sink.put_slice(fixed.as_bytes());
        } else {
            sink.put_slice(fixed.throttle_time_ms.as_bytes());
        }
        sink.put_length(Some(topic_count), context.form())?;
        Ok(FetchResponseWriter { sink, context, topics_left: topic_count, partitions_left: 0 })
    }

    /// Starts a topic with `partition_count` partitions: `name` below version 13, else the id.
    ///
    /// # Errors
    /// A name or count that is too long.
    ///
    /// # Panics
    /// When the topic before lacks partitions, or all topics were written.
    #[inline]
    pub fn topic(
        &mut self,
        name: &str,
        topic_id: Uuid,
        partition_count: usize,
    ) -> Result<(), EncodeError> {
        assert!(self.partitions_left == 0);
        assert!(self.topics_left > 0);
        self.topics_left -= 1;
        self.partitions_left = partition_count;
        match short_count(partition_count) {
            Some(count_plus_one) if self.context.version >= TOPIC_ID_FROM => {
                let topic_id = topic_id.into_bytes();
                self.sink.put_slice(FixedTopic { topic_id, count_plus_one }.as_bytes());
            }
            _ => {
                if self.context.version < TOPIC_ID_FROM {
                    self.sink.put_nullable_str(Some(name), self.context.form())?;
                } else {
                    self.sink.put_uuid(topic_id);
                }
                self.sink.put_length(Some(partition_count), self.context.form())?;
            }
        }
        if partition_count == 0 {
            self.end_struct();
        }
        Ok(())
    }

    /// Writes a partition; `records` are kept by reference when large.
    ///
    /// # Errors
    /// Records above an int32.
    ///
    /// # Panics
    /// When the topic's partitions were all written.
    #[inline]
    pub fn partition(
        &mut self,
        head: &FetchPartitionHead<'_>,
        records: &[Part],
    ) -> Result<(), EncodeError> {
        assert!(self.partitions_left > 0);
        self.partitions_left -= 1;
        self.start_partition(head)?;
        let size = records.iter().map(Part::len).sum::<usize>();
        self.sink.put_length(Some(size), self.context.form())?;
        for part in records {
            self.sink.put_part(part);
        }
        self.end_partition(head)?;
        if self.partitions_left == 0 {
            self.end_struct();
        }
        Ok(())
    }

    /// Everything before the records.
    #[inline]
    fn start_partition(&mut self, head: &FetchPartitionHead<'_>) -> Result<(), EncodeError> {
        let context = self.context;
        let run = FixedPartitionRun {
            head: FixedPartitionHead {
                index: I32::new(head.index),
                error_code: I16::new(head.error.number()),
                high_watermark: I64::new(head.high_watermark),
                last_stable_offset: I64::new(head.last_stable_offset),
                log_start_offset: I64::new(head.log_start_offset),
            },
            aborted_transactions: 0,
            preferred_read_replica: I32::new(head.preferred_read_replica),
        };
        let aborted = head.aborted_transactions;
        if context.is_flexible && aborted.is_none() {
            self.sink.put_slice(run.as_bytes());
            return Ok(());
        }
        if context.version >= 5 {
            self.sink.put_slice(run.head.as_bytes());
        } else {
            self.sink.put_slice(&run.head.as_bytes()[..LOG_START_AT]);
        }
        self.sink.put_length(aborted.map(<[AbortedTransaction]>::len), context.form())?;
        for transaction in aborted.unwrap_or_default() {
            transaction.write(self.sink, context)?;
        }
        if context.version >= 11 {
            self.sink.put_slice(run.preferred_read_replica.as_bytes());
        }
        Ok(())
    }

    #[inline]
    fn end_partition(&mut self, head: &FetchPartitionHead<'_>) -> Result<(), EncodeError> {
        if !self.context.is_flexible {
            return Ok(());
        }
        if head.diverging_epoch.is_none() && head.current_leader.is_none() {
            self.sink.put_slice(&[0]);
            return Ok(());
        }
        let count = u32::from(head.diverging_epoch.is_some());
        self.sink.put_unsigned_varint(count + u32::from(head.current_leader.is_some()));
        if let Some(diverging_epoch) = &head.diverging_epoch {
            write_tagged(diverging_epoch, 0, self.sink, self.context)?;
        }
        if let Some(current_leader) = &head.current_leader {
            write_tagged(current_leader, 1, self.sink, self.context)?;
        }
        Ok(())
    }

    #[inline]
    fn end_struct(&mut self) {
        if self.context.is_flexible {
            self.sink.put_unsigned_varint(0);
        }
    }

    /// Ends the body. `endpoints` are those of leaders named in partitions, from version 16 on.
    ///
    /// # Errors
    /// An endpoint that is too long.
    ///
    /// # Panics
    /// When topics or partitions are missing.
    #[inline]
    pub fn finish(self, endpoints: &[NodeEndpoint]) -> Result<(), EncodeError> {
        assert!(self.topics_left == 0);
        assert!(self.partitions_left == 0);
        if !self.context.is_flexible {
            return Ok(());
        }
        if endpoints.is_empty() || self.context.version < 16 {
            self.sink.put_unsigned_varint(0);
            return Ok(());
        }
        self.sink.put_unsigned_varint(1);
        write_tagged(&endpoints.to_vec(), 0, self.sink, self.context)
    }
}

#[cfg(test)]
#[path = "fetch_view_tests.rs"]
mod tests;
