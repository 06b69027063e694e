//! Records of share groups, byte for byte as Kafka 4.1 writes them (KIP-932).
//!
//! ```text
//! key                                       value, version 0, compact lengths, tagged fields
//! 10 group string · member string           rack? · client id · host · topics
//! 11 group string                           epoch i32 · hash of the topics i64
//! 12 group string                           target epoch i32
//! 13 group string · member string           target partitions
//! 14 group string · member string           epoch i32 · previous epoch i32 · state i8
//!                                           · assigned partitions
//! 15 group string                           initializing · initialized: topic id, name, indexes
//!                                           · deleting: topic id, name
//! ```
//! Partitions are an array of topic id and partition indexes. The state of a member is always 0:
//! it need not give up what it has before it takes more.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::records::{
    FORM, GroupEpoch, KEY_FORM, finish, get_assignment, get_strings, no_tags, open, put_assignment,
    put_epoch, put_strings,
};
use crate::coordinator::replayed::KeyValue;
use crate::model::ids::TopicId;
use crate::protocol::primitive::{DecodeError, EncodeError, Reader, Sink, Writer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const MEMBER_KEY: i16 = 10;
const EPOCH_KEY: i16 = 11;
const TARGET_EPOCH_KEY: i16 = 12;
const TARGET_KEY: i16 = 13;
const CURRENT_KEY: i16 = 14;
const PARTITIONS_KEY: i16 = 15;
/// Kafka's number for a member that has what it is to have.
const STABLE: i8 = 0;

/// One record of a share group: the new value of a key, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareRecord {
    Member { member: String, value: Option<ShareDetails> },
    Epoch(Option<GroupEpoch>),
    TargetEpoch(Option<i32>),
    Target { member: String, value: Option<Assignment> },
    Current { member: String, value: Option<ShareCurrent> },
    Partitions(Option<SharedPartitions>),
}

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShareDetails {
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// Sorted, each once.
    pub topics: Vec<String>,
}

/// What a member was told to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareCurrent {
    pub epoch: i32,
    /// Still good until the member has seen the answer that named `epoch`.
    pub previous_epoch: i32,
    pub assigned: Assignment,
}

impl Default for ShareCurrent {
    fn default() -> Self {
        ShareCurrent { epoch: 0, previous_epoch: -1, assigned: Assignment::new() }
    }
}

/// The partitions whose state the group has with the share coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedPartitions {
    /// The share coordinator is being told of them.
    pub initializing: BTreeMap<TopicId, SharedTopic>,
    /// Members may read them.
    pub initialized: BTreeMap<TopicId, SharedTopic>,
    /// Names of topics that the share coordinator is to forget.
    pub deleting: BTreeMap<TopicId, String>,
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SharedTopic {
    pub name: String,
    pub partitions: BTreeSet<i32>,
}

impl SharedPartitions {
    /// Bytes that its record takes, or a little more.
    pub fn size(&self) -> usize {
        let topics = self.initializing.values().chain(self.initialized.values());
        let topics = topics.map(|topic| topic.name.len() + 32 + 4 * topic.partitions.len());
        let deleting = self.deleting.values().map(|name| name.len() + 24);
        topics.sum::<usize>() + deleting.sum::<usize>() + 64
    }
}

impl ShareRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for an id in the key above 32,767 bytes.
    pub fn encode(&self, group: &str) -> Result<KeyValue, EncodeError> {
        let mut key = Writer::new();
        key.put_i16(self.key_number());
        key.put_nullable_str(Some(group), KEY_FORM)?;
        let value = match self {
            ShareRecord::Member { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                value.as_ref().map(encode_member).transpose()?
            }
            ShareRecord::Epoch(value) => value.as_ref().map(encode_epoch).transpose()?,
            ShareRecord::TargetEpoch(value) => {
                value.map(|epoch| finish(|out| put_epoch(out, epoch), no_tags)).transpose()?
            }
            ShareRecord::Target { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                let encode = |target| finish(|out| put_assignment(out, target), no_tags);
                value.as_ref().map(encode).transpose()?
            }
            ShareRecord::Current { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                value.as_ref().map(encode_current).transpose()?
            }
            ShareRecord::Partitions(value) => value.as_ref().map(encode_partitions).transpose()?,
        };
        Ok(KeyValue { key: key.finish()?.into_bytes(), value })
    }

    /// Whether it removes its key.
    pub fn is_tombstone(&self) -> bool {
        match self {
            ShareRecord::Epoch(value) => value.is_none(),
            ShareRecord::TargetEpoch(value) => value.is_none(),
            ShareRecord::Member { value, .. } => value.is_none(),
            ShareRecord::Target { value, .. } => value.is_none(),
            ShareRecord::Current { value, .. } => value.is_none(),
            ShareRecord::Partitions(value) => value.is_none(),
        }
    }

    fn key_number(&self) -> i16 {
        match self {
            ShareRecord::Member { .. } => MEMBER_KEY,
            ShareRecord::Epoch(_) => EPOCH_KEY,
            ShareRecord::TargetEpoch(_) => TARGET_EPOCH_KEY,
            ShareRecord::Target { .. } => TARGET_KEY,
            ShareRecord::Current { .. } => CURRENT_KEY,
            ShareRecord::Partitions(_) => PARTITIONS_KEY,
        }
    }

    /// Reads a record back, with its group; `None` when `number` is no key of a share group.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what the number says.
    pub fn decode(
        number: i16,
        key: &mut Reader<'_>,
        value: Option<&Bytes>,
    ) -> Result<Option<(String, ShareRecord)>, DecodeError> {
        if !(MEMBER_KEY..=PARTITIONS_KEY).contains(&number) {
            return Ok(None);
        }
        let group = key.get_str(KEY_FORM)?.to_owned();
        let mut second = || key.get_str(KEY_FORM).map(str::to_owned);
        let record = match number {
            MEMBER_KEY => ShareRecord::Member {
                member: second()?,
                value: value.map(|value| open(value, get_member)).transpose()?,
            },
            EPOCH_KEY => ShareRecord::Epoch(value.map(|value| open(value, get_epoch)).transpose()?),
            TARGET_EPOCH_KEY => {
                let epoch = |value| open(value, |body| body.get_i32());
                ShareRecord::TargetEpoch(value.map(epoch).transpose()?)
            }
            TARGET_KEY => ShareRecord::Target {
                member: second()?,
                value: value.map(|value| open(value, get_assignment)).transpose()?,
            },
            CURRENT_KEY => ShareRecord::Current {
                member: second()?,
                value: value.map(|value| open(value, get_current)).transpose()?,
            },
            _ => {
                let value = value.map(|value| open(value, get_partitions)).transpose()?;
                ShareRecord::Partitions(value)
            }
        };
        Ok(Some((group, record)))
    }
}

fn encode_member(value: &ShareDetails) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        out.put_nullable_str(value.rack.as_deref(), FORM)?;
        out.put_nullable_str(Some(&value.client_id), FORM)?;
        out.put_nullable_str(Some(&value.client_host), FORM)?;
        put_strings(out, &value.topics)
    };
    finish(body, no_tags)
}

fn encode_epoch(value: &GroupEpoch) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        out.put_i32(value.epoch);
        out.put_i64(value.topics_hash);
        Ok(())
    };
    finish(body, no_tags)
}

fn encode_current(value: &ShareCurrent) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        out.put_i32(value.epoch);
        out.put_i32(value.previous_epoch);
        out.put_i8(STABLE);
        put_assignment(out, &value.assigned)
    };
    finish(body, no_tags)
}

fn encode_partitions(value: &SharedPartitions) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        put_topics(out, &value.initializing)?;
        put_topics(out, &value.initialized)?;
        out.put_length(Some(value.deleting.len()), FORM)?;
        for (topic, name) in &value.deleting {
            out.put_uuid(topic.0);
            out.put_nullable_str(Some(name), FORM)?;
            no_tags(out)?;
        }
        Ok(())
    };
    finish(body, no_tags)
}

fn put_topics(
    out: &mut Writer,
    topics: &BTreeMap<TopicId, SharedTopic>,
) -> Result<(), EncodeError> {
    out.put_length(Some(topics.len()), FORM)?;
    for (id, topic) in topics {
        out.put_uuid(id.0);
        out.put_nullable_str(Some(&topic.name), FORM)?;
        out.put_length(Some(topic.partitions.len()), FORM)?;
        for partition in &topic.partitions {
            out.put_i32(*partition);
        }
        no_tags(out)?;
    }
    Ok(())
}

fn get_member(body: &mut Reader<'_>) -> Result<ShareDetails, DecodeError> {
    Ok(ShareDetails {
        rack: body.get_nullable_str(FORM)?.map(str::to_owned),
        client_id: body.get_str(FORM)?.to_owned(),
        client_host: body.get_str(FORM)?.to_owned(),
        topics: get_strings(body)?,
    })
}

fn get_epoch(body: &mut Reader<'_>) -> Result<GroupEpoch, DecodeError> {
    Ok(GroupEpoch { epoch: body.get_i32()?, topics_hash: body.get_i64()? })
}

fn get_current(body: &mut Reader<'_>) -> Result<ShareCurrent, DecodeError> {
    let epoch = body.get_i32()?;
    let previous_epoch = body.get_i32()?;
    body.get_i8()?;
    Ok(ShareCurrent { epoch, previous_epoch, assigned: get_assignment(body)? })
}

fn get_partitions(body: &mut Reader<'_>) -> Result<SharedPartitions, DecodeError> {
    /// A topic id, an empty name, no tagged fields.
    const TOPIC_SIZE_MIN: usize = 18;
    let initializing = get_topics(body)?;
    let initialized = get_topics(body)?;
    let count = body.get_count(FORM, TOPIC_SIZE_MIN)?;
    let mut deleting = BTreeMap::new();
    for _ in 0..count {
        let topic = TopicId(body.get_uuid()?);
        deleting.insert(topic, body.get_str(FORM)?.to_owned());
        body.skip_tagged_fields()?;
    }
    Ok(SharedPartitions { initializing, initialized, deleting })
}

fn get_topics(body: &mut Reader<'_>) -> Result<BTreeMap<TopicId, SharedTopic>, DecodeError> {
    /// A topic id, an empty name, an empty array, no tagged fields.
    const TOPIC_SIZE_MIN: usize = 19;
    let count = body.get_count(FORM, TOPIC_SIZE_MIN)?;
    let mut topics = BTreeMap::new();
    for _ in 0..count {
        let id = TopicId(body.get_uuid()?);
        let name = body.get_str(FORM)?.to_owned();
        let partitions = body.get_count(FORM, 4)?;
        let partitions: Result<BTreeSet<i32>, _> =
            (0..partitions).map(|_| body.get_i32()).collect();
        topics.insert(id, SharedTopic { name, partitions: partitions? });
        body.skip_tagged_fields()?;
    }
    Ok(topics)
}
