//! Kafka's record formats of `__share_group_state` (ShareSnapshot and ShareUpdate, KIP-932), so
//! that its tools read it. A key begins with an i16 that says its kind, a value with its version.
//!
//! ```text
//! key     0 snapshot, 1 update:  group string · topic id uuid · partition i32
//! value   0 of a snapshot, compact: snapshot epoch i32 · state epoch i32 · leader epoch i32
//!            · start offset i64 · created i64 · written i64 · batches · tagged fields
//!         0 of an update, compact:  snapshot epoch i32 · leader epoch i32 · start offset i64
//!            · batches · tagged fields
//! batch   first i64 · last i64 · delivery state i8 · delivery count i16 · tagged fields
//! ```
//! A null value is a tombstone. The topic is not compacted: an update only says what changed since
//! the one before it. What is superseded is dropped from the log's start (coordinator.rs).

use crate::coordinator::replayed::KeyValue;
use crate::model::base64url::encode_uuid;
use crate::model::ids::{PartitionId, TopicId, TopicPartition};
use crate::protocol::primitive::{DecodeError, EncodeError, LengthForm, Reader, Sink, Writer};
use bytes::Bytes;

const SNAPSHOT_KEY: i16 = 0;
const UPDATE_KEY: i16 = 1;
const VALUE_VERSION: i16 = 0;
/// Bytes of an encoded batch without tagged fields, their count included.
const BATCH_BYTES: usize = 8 + 8 + 1 + 2 + 1;

/// A share group and one partition that it reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareKey {
    pub group: String,
    pub partition: TopicPartition,
}

impl ShareKey {
    /// What decides about the coordinator's partition, and what Kafka prints.
    pub fn text(&self) -> String {
        let TopicPartition { topic, partition } = self.partition;
        format!("{}:{}:{}", self.group, encode_uuid(topic.0), partition.0)
    }
}

/// How the delivery of a record stands, as far as it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be delivered, for the first time or again.
    Available,
    /// Accepted by a consumer.
    Acknowledged,
    /// Given up: rejected, delivered too often, or not there.
    Archived,
}

/// Records of one state, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    pub first: i64,
    pub last: i64,
    pub state: DeliveryState,
    pub delivery_count: i16,
}

/// All of a share partition's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub snapshot_epoch: i32,
    pub state_epoch: i32,
    /// -1 before the first read.
    pub leader_epoch: i32,
    /// -1 while nobody has chosen one.
    pub start_offset: i64,
    pub created_ms: i64,
    pub written_ms: i64,
    pub batches: Vec<StateBatch>,
}

/// What changed since the record before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Of the snapshot that it continues.
    pub snapshot_epoch: i32,
    pub leader_epoch: i32,
    /// -1 leaves it as it is.
    pub start_offset: i64,
    pub batches: Vec<StateBatch>,
}

/// One record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareRecord {
    /// `None` forgets the share partition.
    Snapshot(ShareKey, Option<Snapshot>),
    Update(ShareKey, Option<Update>),
}

impl ShareRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a group id above 32,767 bytes, which no group has.
    pub fn encode(&self) -> Result<KeyValue, EncodeError> {
        let (kind, key, value) = match self {
            ShareRecord::Snapshot(key, value) => {
                (SNAPSHOT_KEY, key, value.as_ref().map(encode_snapshot).transpose()?)
            }
            ShareRecord::Update(key, value) => {
                (UPDATE_KEY, key, value.as_ref().map(encode_update).transpose()?)
            }
        };
        let mut writer = Writer::new();
        writer.put_i16(kind);
        writer.put_nullable_str(Some(&key.group), LengthForm::Fixed)?;
        writer.put_uuid(key.partition.topic.0);
        writer.put_i32(key.partition.partition.0);
        Ok(KeyValue { key: writer.into_bytes()?, value })
    }

    /// Reads a record back; `None` for keys of other kinds, as Kafka does.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what their first number says.
    pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<ShareRecord>, DecodeError> {
        let mut reader = Reader::new(key);
        let kind = reader.get_i16()?;
        if kind != SNAPSHOT_KEY && kind != UPDATE_KEY {
            return Ok(None);
        }
        let group = reader.get_str(LengthForm::Fixed)?.to_owned();
        let topic = TopicId(reader.get_uuid()?);
        let partition = PartitionId(reader.get_i32()?);
        let key = ShareKey { group, partition: TopicPartition { topic, partition } };
        Ok(Some(match kind {
            SNAPSHOT_KEY => ShareRecord::Snapshot(key, value.map(decode_snapshot).transpose()?),
            _ => ShareRecord::Update(key, value.map(decode_update).transpose()?),
        }))
    }
}

fn encode_snapshot(snapshot: &Snapshot) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.put_i16(VALUE_VERSION);
    writer.put_i32(snapshot.snapshot_epoch);
    writer.put_i32(snapshot.state_epoch);
    writer.put_i32(snapshot.leader_epoch);
    writer.put_i64(snapshot.start_offset);
    writer.put_i64(snapshot.created_ms);
    writer.put_i64(snapshot.written_ms);
    put_batches(&mut writer, &snapshot.batches)?;
    writer.into_bytes()
}

fn encode_update(update: &Update) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.put_i16(VALUE_VERSION);
    writer.put_i32(update.snapshot_epoch);
    writer.put_i32(update.leader_epoch);
    writer.put_i64(update.start_offset);
    put_batches(&mut writer, &update.batches)?;
    writer.into_bytes()
}

fn put_batches(writer: &mut Writer, batches: &[StateBatch]) -> Result<(), EncodeError> {
    writer.put_length(Some(batches.len()), LengthForm::Compact)?;
    for batch in batches {
        writer.put_i64(batch.first);
        writer.put_i64(batch.last);
        writer.put_i8(batch.state.number());
        writer.put_i16(batch.delivery_count);
        writer.put_unsigned_varint(0);
    }
    writer.put_unsigned_varint(0);
    Ok(())
}

fn decode_snapshot(value: &Bytes) -> Result<Snapshot, DecodeError> {
    let mut reader = begin(value, "ShareSnapshotValue")?;
    Ok(Snapshot {
        snapshot_epoch: reader.get_i32()?,
        state_epoch: reader.get_i32()?,
        leader_epoch: reader.get_i32()?,
        start_offset: reader.get_i64()?,
        created_ms: reader.get_i64()?,
        written_ms: reader.get_i64()?,
        batches: get_batches(&mut reader)?,
    })
}

fn decode_update(value: &Bytes) -> Result<Update, DecodeError> {
    let mut reader = begin(value, "ShareUpdateValue")?;
    Ok(Update {
        snapshot_epoch: reader.get_i32()?,
        leader_epoch: reader.get_i32()?,
        start_offset: reader.get_i64()?,
        batches: get_batches(&mut reader)?,
    })
}

fn begin<'a>(value: &'a Bytes, api: &'static str) -> Result<Reader<'a>, DecodeError> {
    let mut reader = Reader::new(value);
    match reader.get_i16()? {
        VALUE_VERSION => Ok(reader),
        version => Err(DecodeError::UnsupportedVersion { api, version }),
    }
}

fn get_batches(reader: &mut Reader<'_>) -> Result<Vec<StateBatch>, DecodeError> {
    let count = reader.get_count(LengthForm::Compact, BATCH_BYTES)?;
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        let (first, last) = (reader.get_i64()?, reader.get_i64()?);
        let state = state_of(reader.get_i8()?)?;
        let delivery_count = reader.get_i16()?;
        reader.skip_tagged_fields()?;
        let batch = StateBatch { first, last, state, delivery_count };
        if batch.is_sound() {
            batches.push(batch);
        }
    }
    reader.skip_tagged_fields()?;
    Ok(batches)
}

impl DeliveryState {
    /// Kafka's number of the state, in records and between brokers.
    pub fn number(self) -> i8 {
        match self {
            DeliveryState::Available => 0,
            DeliveryState::Acknowledged => 2,
            DeliveryState::Archived => 4,
        }
    }

    /// The state of a number; `None` for one that is not kept.
    pub fn from_number(number: i8) -> Option<DeliveryState> {
        match number {
            0 => Some(DeliveryState::Available),
            2 => Some(DeliveryState::Acknowledged),
            4 => Some(DeliveryState::Archived),
            _ => None,
        }
    }
}

impl StateBatch {
    /// Whether it says something: a batch that ends before it begins does not, nor does one without
    /// an end.
    pub fn is_sound(&self) -> bool {
        (0..=self.last).contains(&self.first) && self.last < i64::MAX
    }
}

fn state_of(number: i8) -> Result<DeliveryState, DecodeError> {
    let version = i16::from(number);
    DeliveryState::from_number(number)
        .ok_or(DecodeError::UnsupportedVersion { api: "DeliveryState", version })
}
