//! Records of groups of the consumer protocol, byte for byte as Kafka 4.1 writes them (KIP-848).
//!
//! ```text
//! key                                       value, version 0, compact lengths, tagged fields
//! 3  group string                           epoch i32 · tag 0: hash of the topics i64
//! 5  group string · member string           instance? · rack? · client id · host · topics
//!                                           · regex? · rebalance timeout i32 · assignor?
//!                                           · tag 0: session timeout i32 · protocols
//! 6  group string                           target epoch i32
//! 7  group string · member string           target partitions
//! 8  group string · member string           epoch i32 · previous epoch i32 · state i8
//!                                           · assigned partitions · partitions to be revoked
//! 16 group string · regex string            topics · version i64 · time i64
//! ```
//! Partitions are an array of topic id and partition indexes. Key 4, the topics' sizes, was
//! replaced by the hash in 4.1 (KIP-1101): it is not written, and not read.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::calls::Protocol;
use crate::coordinator::replayed::KeyValue;
use crate::model::ids::TopicId;
use crate::protocol::primitive::{DecodeError, EncodeError, LengthForm, Reader, Sink, Writer};
use bytes::Bytes;

const EPOCH_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const REGEX_KEY: i16 = 16;
const VALUE_VERSION: i16 = 0;

pub(in crate::coordinator::group) const KEY_FORM: LengthForm = LengthForm::Fixed;
pub(in crate::coordinator::group) const FORM: LengthForm = LengthForm::Compact;

/// One record of a consumer group: the new value of a key, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerRecord {
    Epoch(Option<GroupEpoch>),
    Member { member: String, value: Option<MemberDetails> },
    TargetEpoch(Option<i32>),
    Target { member: String, value: Option<Assignment> },
    Current { member: String, value: Option<CurrentAssignment> },
    Regex { regex: String, value: Option<ResolvedRegex> },
}

/// The group's epoch, with what it saw of its topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// Hash of the subscribed topics and their partitions; 0 in older records.
    pub topics_hash: i64,
}

/// What a member said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberDetails {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    /// -1 when never said.
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// Of a member that still speaks the classic protocol.
    pub classic: Option<ClassicDetails>,
}

impl MemberDetails {
    /// Bytes that its record takes, or a little more.
    pub fn size(&self) -> usize {
        let optional = [&self.instance, &self.rack, &self.regex, &self.assignor];
        let optional = optional.into_iter().flatten().map(String::len).sum::<usize>();
        let topics = self.topics.iter().map(|topic| topic.len() + 3).sum::<usize>();
        let protocols = self.classic.iter().flat_map(|classic| &classic.protocols);
        let protocols = protocols.map(|own| own.name.len() + own.metadata.len() + 10);
        let fixed = self.client_id.len() + self.client_host.len() + 64;
        fixed + optional + topics + protocols.sum::<usize>()
    }
}

/// What only a member of the classic protocol says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicDetails {
    pub session_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
}

/// Where a member is on its way to its target; the numbers are the log's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it is to have in its epoch.
    Stable = 0,
    /// It must give up partitions before it enters the next epoch.
    UnrevokedPartitions = 1,
    /// It waits for partitions that others have not given up yet.
    UnreleasedPartitions = 2,
}

/// What a member owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// -2 for a static member that is away for a while.
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assignment,
    /// Partitions that it owns until it says that it gave them up.
    pub revoking: Assignment,
}

/// The topics that a regular expression of a subscription matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: Vec<String>,
    /// Number of the topics that it was matched against.
    pub version: i64,
    /// Wall clock in ms.
    pub resolved_ms: i64,
}

impl ConsumerRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for an id in the key above 32,767 bytes.
    pub fn encode(&self, group: &str) -> Result<KeyValue, EncodeError> {
        let mut key = Writer::new();
        key.put_i16(self.key_number());
        key.put_nullable_str(Some(group), KEY_FORM)?;
        let value = match self {
            ConsumerRecord::Epoch(value) => value.as_ref().map(encode_epoch).transpose()?,
            ConsumerRecord::Member { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                value.as_ref().map(encode_member).transpose()?
            }
            ConsumerRecord::TargetEpoch(value) => {
                value.map(|epoch| finish(|out| put_epoch(out, epoch), no_tags)).transpose()?
            }
            ConsumerRecord::Target { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                let encode = |target| finish(|out| put_assignment(out, target), no_tags);
                value.as_ref().map(encode).transpose()?
            }
            ConsumerRecord::Current { member, value } => {
                key.put_nullable_str(Some(member), KEY_FORM)?;
                value.as_ref().map(encode_current).transpose()?
            }
            ConsumerRecord::Regex { regex, value } => {
                key.put_nullable_str(Some(regex), KEY_FORM)?;
                value.as_ref().map(encode_regex).transpose()?
            }
        };
        Ok(KeyValue { key: key.into_bytes()?, value })
    }

    /// Whether it removes its key.
    pub fn is_tombstone(&self) -> bool {
        match self {
            ConsumerRecord::Epoch(value) => value.is_none(),
            ConsumerRecord::TargetEpoch(value) => value.is_none(),
            ConsumerRecord::Member { value, .. } => value.is_none(),
            ConsumerRecord::Target { value, .. } => value.is_none(),
            ConsumerRecord::Current { value, .. } => value.is_none(),
            ConsumerRecord::Regex { value, .. } => value.is_none(),
        }
    }

    fn key_number(&self) -> i16 {
        match self {
            ConsumerRecord::Epoch(_) => EPOCH_KEY,
            ConsumerRecord::Member { .. } => MEMBER_KEY,
            ConsumerRecord::TargetEpoch(_) => TARGET_EPOCH_KEY,
            ConsumerRecord::Target { .. } => TARGET_KEY,
            ConsumerRecord::Current { .. } => CURRENT_KEY,
            ConsumerRecord::Regex { .. } => REGEX_KEY,
        }
    }

    /// Reads a record back, with its group; `None` when `number` is no key of a consumer group.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what the number says.
    pub fn decode(
        number: i16,
        key: &mut Reader<'_>,
        value: Option<&Bytes>,
    ) -> Result<Option<(String, ConsumerRecord)>, DecodeError> {
        if ![EPOCH_KEY, MEMBER_KEY, TARGET_EPOCH_KEY, TARGET_KEY, CURRENT_KEY, REGEX_KEY]
            .contains(&number)
        {
            return Ok(None);
        }
        let group = key.get_str(KEY_FORM)?.to_owned();
        let mut second = || key.get_str(KEY_FORM).map(str::to_owned);
        let record = match number {
            EPOCH_KEY => ConsumerRecord::Epoch(value.map(decode_epoch).transpose()?),
            TARGET_EPOCH_KEY => {
                let epoch = |value| open(value, |body| body.get_i32());
                ConsumerRecord::TargetEpoch(value.map(epoch).transpose()?)
            }
            MEMBER_KEY => ConsumerRecord::Member {
                member: second()?,
                value: value.map(decode_member).transpose()?,
            },
            TARGET_KEY => ConsumerRecord::Target {
                member: second()?,
                value: value.map(|value| open(value, get_assignment)).transpose()?,
            },
            CURRENT_KEY => ConsumerRecord::Current {
                member: second()?,
                value: value.map(|value| open(value, get_current)).transpose()?,
            },
            _ => ConsumerRecord::Regex {
                regex: second()?,
                value: value.map(|value| open(value, get_regex)).transpose()?,
            },
        };
        Ok(Some((group, record)))
    }
}

/// A value: version, what `body` writes, what `tags` writes.
pub(in crate::coordinator::group) fn finish(
    body: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    tags: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.put_i16(VALUE_VERSION);
    body(&mut writer)?;
    tags(&mut writer)?;
    writer.into_bytes()
}

pub(in crate::coordinator::group) fn no_tags(out: &mut Writer) -> Result<(), EncodeError> {
    out.put_unsigned_varint(0);
    Ok(())
}

/// Tag 0 with `body`, the only one.
fn one_tag(out: &mut Writer, body: &Bytes) -> Result<(), EncodeError> {
    out.put_unsigned_varint(1);
    out.put_unsigned_varint(0);
    let length = body.len();
    let size = u32::try_from(length)
        .map_err(|_| EncodeError::TooLong { length, length_max: u32::MAX as usize })?;
    out.put_unsigned_varint(size);
    out.put_slice(body);
    Ok(())
}

fn encode_epoch(value: &GroupEpoch) -> Result<Bytes, EncodeError> {
    let tags = |out: &mut Writer| match value.topics_hash {
        0 => no_tags(out),
        hash => one_tag(out, &Bytes::copy_from_slice(&hash.to_be_bytes())),
    };
    finish(|out| put_epoch(out, value.epoch), tags)
}

pub(in crate::coordinator::group) fn put_epoch(
    out: &mut Writer,
    epoch: i32,
) -> Result<(), EncodeError> {
    out.put_i32(epoch);
    Ok(())
}

fn encode_member(value: &MemberDetails) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        out.put_nullable_str(value.instance.as_deref(), FORM)?;
        out.put_nullable_str(value.rack.as_deref(), FORM)?;
        out.put_nullable_str(Some(&value.client_id), FORM)?;
        out.put_nullable_str(Some(&value.client_host), FORM)?;
        put_strings(out, &value.topics)?;
        out.put_nullable_str(value.regex.as_deref(), FORM)?;
        out.put_i32(value.rebalance_timeout_ms);
        out.put_nullable_str(value.assignor.as_deref(), FORM)
    };
    let tags = |out: &mut Writer| match &value.classic {
        None => no_tags(out),
        Some(classic) => one_tag(out, &encode_classic(classic)?),
    };
    finish(body, tags)
}

/// The tagged struct: a byte that says that it is not null, then its fields.
fn encode_classic(classic: &ClassicDetails) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    out.put_i8(1);
    out.put_i32(classic.session_timeout_ms);
    out.put_length(Some(classic.protocols.len()), FORM)?;
    for protocol in &classic.protocols {
        out.put_nullable_str(Some(&protocol.name), FORM)?;
        out.put_nullable_bytes(Some(&protocol.metadata), FORM)?;
        no_tags(&mut out)?;
    }
    no_tags(&mut out)?;
    out.into_bytes()
}

fn encode_current(value: &CurrentAssignment) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        out.put_i32(value.epoch);
        out.put_i32(value.previous_epoch);
        out.put_i8(value.state as i8);
        put_assignment(out, &value.assigned)?;
        put_assignment(out, &value.revoking)
    };
    finish(body, no_tags)
}

fn encode_regex(value: &ResolvedRegex) -> Result<Bytes, EncodeError> {
    let body = |out: &mut Writer| {
        put_strings(out, &value.topics)?;
        out.put_i64(value.version);
        out.put_i64(value.resolved_ms);
        Ok(())
    };
    finish(body, no_tags)
}

pub(in crate::coordinator::group) fn put_strings(
    out: &mut Writer,
    strings: &[String],
) -> Result<(), EncodeError> {
    out.put_length(Some(strings.len()), FORM)?;
    strings.iter().try_for_each(|text| out.put_nullable_str(Some(text), FORM))
}

pub(in crate::coordinator::group) fn put_assignment(
    out: &mut Writer,
    assignment: &Assignment,
) -> Result<(), EncodeError> {
    out.put_length(Some(assignment.len()), FORM)?;
    for (topic, partitions) in assignment {
        out.put_uuid(topic.0);
        out.put_length(Some(partitions.len()), FORM)?;
        for partition in partitions {
            out.put_i32(*partition);
        }
        no_tags(out)?;
    }
    Ok(())
}

/// Reads a value's version, what `body` reads, and skips the tagged fields.
pub(in crate::coordinator::group) fn open<T>(
    value: &Bytes,
    body: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.get_i16()?;
    if version != VALUE_VERSION {
        return Err(DecodeError::UnsupportedVersion { api: "ConsumerGroupValue", version });
    }
    body(&mut reader)
}

fn decode_epoch(value: &Bytes) -> Result<GroupEpoch, DecodeError> {
    open(value, |body| {
        let mut read = GroupEpoch { epoch: body.get_i32()?, topics_hash: 0 };
        body.get_tagged_fields(|tag, field| {
            if tag == 0 {
                read.topics_hash = field.get_i64()?;
            }
            Ok(tag == 0)
        })?;
        Ok(read)
    })
}

fn decode_member(value: &Bytes) -> Result<MemberDetails, DecodeError> {
    let optional = |body: &mut Reader<'_>| Ok(body.get_nullable_str(FORM)?.map(str::to_owned));
    open(value, |body| {
        let mut read = MemberDetails {
            instance: optional(body)?,
            rack: optional(body)?,
            client_id: body.get_str(FORM)?.to_owned(),
            client_host: body.get_str(FORM)?.to_owned(),
            topics: get_strings(body)?,
            regex: optional(body)?,
            rebalance_timeout_ms: body.get_i32()?,
            assignor: optional(body)?,
            classic: None,
        };
        body.get_tagged_fields(|tag, field| {
            if tag == 0 && field.get_i8()? >= 0 {
                read.classic = Some(get_classic(field)?);
            }
            Ok(tag == 0)
        })?;
        Ok(read)
    })
}

fn get_classic(body: &mut Reader<'_>) -> Result<ClassicDetails, DecodeError> {
    let session_timeout_ms = body.get_i32()?;
    let count = body.get_count(FORM, 3)?;
    let mut protocols = Vec::with_capacity(count);
    for _ in 0..count {
        let name = body.get_str(FORM)?.to_owned();
        let metadata = body.get_bytes(FORM)?;
        body.skip_tagged_fields()?;
        protocols.push(Protocol { name, metadata });
    }
    body.skip_tagged_fields()?;
    Ok(ClassicDetails { session_timeout_ms, protocols })
}

fn get_current(body: &mut Reader<'_>) -> Result<CurrentAssignment, DecodeError> {
    Ok(CurrentAssignment {
        epoch: body.get_i32()?,
        previous_epoch: body.get_i32()?,
        state: match body.get_i8()? {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            // A state of a later Kafka: it waits for a target like one that waits for partitions.
            _ => MemberState::UnreleasedPartitions,
        },
        assigned: get_assignment(body)?,
        revoking: get_assignment(body)?,
    })
}

fn get_regex(body: &mut Reader<'_>) -> Result<ResolvedRegex, DecodeError> {
    Ok(ResolvedRegex {
        topics: get_strings(body)?,
        version: body.get_i64()?,
        resolved_ms: body.get_i64()?,
    })
}

pub(in crate::coordinator::group) fn get_strings(
    body: &mut Reader<'_>,
) -> Result<Vec<String>, DecodeError> {
    let count = body.get_count(FORM, 1)?;
    (0..count).map(|_| body.get_str(FORM).map(str::to_owned)).collect()
}

pub(in crate::coordinator::group) fn get_assignment(
    body: &mut Reader<'_>,
) -> Result<Assignment, DecodeError> {
    /// A topic id, an empty array, no tagged fields.
    const TOPIC_SIZE_MIN: usize = 18;
    let count = body.get_count(FORM, TOPIC_SIZE_MIN)?;
    let mut assignment = Assignment::new();
    for _ in 0..count {
        let topic = TopicId(body.get_uuid()?);
        let partitions = body.get_count(FORM, 4)?;
        for _ in 0..partitions {
            assignment.entry(topic).or_default().insert(body.get_i32()?);
        }
        body.skip_tagged_fields()?;
    }
    Ok(assignment)
}
