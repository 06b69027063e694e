//! Records of `__consumer_offsets`, byte for byte as Kafka 4.1 writes them.
//!
//! Why Kafka's own format: tools read the topic (DumpLogSegments --offsets-decoder, the console
//! consumer's OffsetsMessageFormatter, Burrow, lag exporters). A key starts with an i16 that says
//! what the record is, a value with an i16 that says which version of it.
//!
//! ```text
//! offset key    0|1  group string · topic string · partition i32
//! offset value    3  offset i64 · leader epoch i32 · metadata string · commit time i64
//!                 1  offset i64 · metadata string · commit time i64 · expire time i64
//! group key       2  group string
//! group value     3  protocol type string · generation i32 · protocol string? · leader string?
//!                    · state since i64 · members [member string · instance string? · client id
//!                    string · host string · rebalance timeout i32 · session timeout i32
//!                    · subscription bytes · assignment bytes]
//! ```
//! Versions 0 to 4 are read; 3 is written, or 1 for an offset that carries its own expiry. 4 is
//! the same with compact lengths and tagged fields. A null value is a tombstone.
//!
//! Keys 3 to 8 and 16 belong to groups of the consumer protocol: see `consumer/records.rs`; 10 to
//! 15 to share groups: see `share/records.rs`. Keys of other kinds (streams groups) decode to
//! `None`: this broker does not serve them.

use super::consumer::records::ConsumerRecord;
use super::member::Member;
use super::share::records::ShareRecord;
use crate::coordinator::replayed::KeyValue;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::protocol::primitive::{DecodeError, EncodeError, LengthForm, Reader, Sink, Writer};
use bytes::Bytes;

const OFFSET_KEY_LEGACY: i16 = 0;
const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// What we write, as Kafka 4.1 does: the newest version that older brokers read as well.
const VALUE_VERSION: i16 = 3;
/// The one version of an offset's value that carries its own expiry.
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const FLEXIBLE_SINCE: i16 = 4;
const VALUE_VERSION_MAX: i16 = 4;

/// One record: the new value of a key, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    Offset {
        group: String,
        topic: String,
        partition: i32,
        value: Option<CommittedOffset>,
    },
    /// An offset that counts when its producer's transaction commits: the same bytes as `Offset`,
    /// in a batch of that producer.
    Pending {
        producer: Producer,
        group: String,
        topic: String,
        partition: i32,
        value: CommittedOffset,
    },
    Group {
        group: String,
        value: Option<GroupMetadata>,
    },
    Consumer {
        group: String,
        record: ConsumerRecord,
    },
    Share {
        group: String,
        record: ShareRecord,
    },
}

/// Whose transaction a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// How far a group has read a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: i64,
    /// -1 when the client did not say.
    pub leader_epoch: i32,
    pub metadata: String,
    /// Wall clock in ms.
    pub commit_ms: i64,
    /// Wall clock in ms; only where an old client asked for a retention of its own.
    pub expire_ms: Option<i64>,
}

/// One generation of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty for a group that never had members.
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// Wall clock in ms of the last change of state.
    pub state_since_ms: Option<i64>,
    pub members: Vec<MemberMetadata>,
}

/// A member within [`GroupMetadata`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl MemberMetadata {
    /// What is recorded of a member of a generation that uses `protocol`.
    pub(super) fn of(id: &str, member: &Member, protocol: &str) -> MemberMetadata {
        MemberMetadata {
            member: id.to_owned(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: clamp(member.rebalance_timeout_ms),
            session_timeout_ms: clamp(member.session_timeout_ms),
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        }
    }
}

fn clamp(timeout_ms: u64) -> i32 {
    i32::try_from(timeout_ms).unwrap_or(i32::MAX)
}

impl GroupRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] for a name or text above 32,767 bytes, which only a member's
    /// metadata in compact form can have brought in.
    pub fn encode(&self) -> Result<KeyValue, EncodeError> {
        let mut key = Writer::with_room(self.key_size());
        let value = match self {
            GroupRecord::Pending { group, topic, partition, value, .. } => {
                put_offset_key(&mut key, group, topic, *partition)?;
                Some(encode_offset(value)?)
            }
            GroupRecord::Offset { group, topic, partition, value } => {
                put_offset_key(&mut key, group, topic, *partition)?;
                value.as_ref().map(encode_offset).transpose()?
            }
            GroupRecord::Group { group, value } => {
                key.put_i16(GROUP_KEY);
                put_str(&mut key, group)?;
                value.as_ref().map(encode_group).transpose()?
            }
            GroupRecord::Consumer { group, record } => return record.encode(group),
            GroupRecord::Share { group, record } => return record.encode(group),
        };
        Ok(KeyValue { key: key.into_bytes()?, value })
    }

    /// Bytes of the key of an offset or a group; 0 for kinds that are rare.
    fn key_size(&self) -> usize {
        match self {
            GroupRecord::Pending { group, topic, .. }
            | GroupRecord::Offset { group, topic, .. } => {
                OFFSET_KEY_SIZE_MIN + group.len() + topic.len()
            }
            GroupRecord::Group { .. }
            | GroupRecord::Consumer { .. }
            | GroupRecord::Share { .. } => 0,
        }
    }

    /// Reads a record back; `None` for kinds that this broker does not serve.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what their first number says.
    pub fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Option<GroupRecord>, DecodeError> {
        let mut reader = Reader::new(key);
        match reader.get_i16()? {
            OFFSET_KEY_LEGACY | OFFSET_KEY => Ok(Some(GroupRecord::Offset {
                group: get_string(&mut reader, LengthForm::Fixed)?,
                topic: get_string(&mut reader, LengthForm::Fixed)?,
                partition: reader.get_i32()?,
                value: value.map(decode_offset).transpose()?,
            })),
            GROUP_KEY => Ok(Some(GroupRecord::Group {
                group: get_string(&mut reader, LengthForm::Fixed)?,
                value: value.map(decode_group).transpose()?,
            })),
            number => {
                if let Some((group, record)) = ShareRecord::decode(number, &mut reader, value)? {
                    return Ok(Some(GroupRecord::Share { group, record }));
                }
                let read = ConsumerRecord::decode(number, &mut reader, value)?;
                Ok(read.map(|(group, record)| GroupRecord::Consumer { group, record }))
            }
        }
    }
}

fn put_offset_key(
    key: &mut Writer,
    group: &str,
    topic: &str,
    partition: i32,
) -> Result<(), EncodeError> {
    key.put_i16(OFFSET_KEY);
    put_str(key, group)?;
    put_str(key, topic)?;
    key.put_i32(partition);
    Ok(())
}

/// Bytes of an offset's key beside the names: version, two lengths, partition.
const OFFSET_KEY_SIZE_MIN: usize = 10;

/// Bytes of an offset's value beside the metadata, without and with a time of expiry.
const OFFSET_VALUE_SIZE_MIN: usize = 24;
const OFFSET_VALUE_WITH_EXPIRY_SIZE_MIN: usize = 28;

fn encode_offset(offset: &CommittedOffset) -> Result<Bytes, EncodeError> {
    let (version, size_min) = match offset.expire_ms {
        Some(_) => (OFFSET_VALUE_WITH_EXPIRY, OFFSET_VALUE_WITH_EXPIRY_SIZE_MIN),
        None => (VALUE_VERSION, OFFSET_VALUE_SIZE_MIN),
    };
    let mut writer = Writer::with_room(size_min + offset.metadata.len());
    writer.put_i16(version);
    writer.put_i64(offset.offset);
    if version == VALUE_VERSION {
        writer.put_i32(offset.leader_epoch);
    }
    put_str(&mut writer, &offset.metadata)?;
    writer.put_i64(offset.commit_ms);
    if let Some(expire_ms) = offset.expire_ms {
        writer.put_i64(expire_ms);
    }
    writer.into_bytes()
}

fn decode_offset(value: &Bytes) -> Result<CommittedOffset, DecodeError> {
    let mut reader = Reader::new(value);
    let (version, form) = get_version(&mut reader, "OffsetCommitValue")?;
    let offset = reader.get_i64()?;
    let leader_epoch = if version >= 3 { reader.get_i32()? } else { -1 };
    let metadata = get_string(&mut reader, form)?;
    let commit_ms = reader.get_i64()?;
    let expire_ms = if version == OFFSET_VALUE_WITH_EXPIRY { reader.get_i64()? } else { -1 };
    if version >= FLEXIBLE_SINCE {
        reader.skip_tagged_fields()?;
    }
    let expire_ms = (expire_ms >= 0).then_some(expire_ms);
    Ok(CommittedOffset { offset, leader_epoch, metadata, commit_ms, expire_ms })
}

fn encode_group(group: &GroupMetadata) -> Result<Bytes, EncodeError> {
    const FORM: LengthForm = LengthForm::Fixed;
    let mut writer = Writer::new();
    writer.put_i16(VALUE_VERSION);
    put_str(&mut writer, &group.protocol_type)?;
    writer.put_i32(group.generation);
    writer.put_nullable_str(group.protocol.as_deref(), FORM)?;
    writer.put_nullable_str(group.leader.as_deref(), FORM)?;
    writer.put_i64(group.state_since_ms.unwrap_or(-1));
    writer.put_length(Some(group.members.len()), FORM)?;
    for member in &group.members {
        put_str(&mut writer, &member.member)?;
        writer.put_nullable_str(member.instance.as_deref(), FORM)?;
        put_str(&mut writer, &member.client_id)?;
        put_str(&mut writer, &member.client_host)?;
        writer.put_i32(member.rebalance_timeout_ms);
        writer.put_i32(member.session_timeout_ms);
        writer.put_nullable_bytes(Some(&member.subscription), FORM)?;
        writer.put_nullable_bytes(Some(&member.assignment), FORM)?;
    }
    writer.into_bytes()
}

/// Bytes that the smallest member takes: six empty fields of two bytes.
const MEMBER_SIZE_MIN: usize = 12;

fn decode_group(value: &Bytes) -> Result<GroupMetadata, DecodeError> {
    let mut reader = Reader::new(value);
    let (version, form) = get_version(&mut reader, "GroupMetadataValue")?;
    let protocol_type = get_string(&mut reader, form)?;
    let generation = reader.get_i32()?;
    let protocol = reader.get_nullable_str(form)?.map(str::to_owned);
    let leader = reader.get_nullable_str(form)?.map(str::to_owned);
    let state_since_ms = if version >= 2 { reader.get_i64()? } else { -1 };
    let count = reader.get_count(form, MEMBER_SIZE_MIN)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        members.push(decode_member(&mut reader, version, form)?);
    }
    if version >= FLEXIBLE_SINCE {
        reader.skip_tagged_fields()?;
    }
    let state_since_ms = (state_since_ms >= 0).then_some(state_since_ms);
    Ok(GroupMetadata { protocol_type, generation, protocol, leader, state_since_ms, members })
}

fn decode_member(
    reader: &mut Reader<'_>,
    version: i16,
    form: LengthForm,
) -> Result<MemberMetadata, DecodeError> {
    let member = get_string(reader, form)?;
    let instance =
        if version >= 3 { reader.get_nullable_str(form)?.map(str::to_owned) } else { None };
    let client_id = get_string(reader, form)?;
    let client_host = get_string(reader, form)?;
    let rebalance_timeout_ms = if version >= 1 { reader.get_i32()? } else { -1 };
    let session_timeout_ms = reader.get_i32()?;
    let subscription = reader.get_bytes(form)?;
    let assignment = reader.get_bytes(form)?;
    if version >= FLEXIBLE_SINCE {
        reader.skip_tagged_fields()?;
    }
    Ok(MemberMetadata {
        member,
        instance,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    })
}

fn get_version(
    reader: &mut Reader<'_>,
    api: &'static str,
) -> Result<(i16, LengthForm), DecodeError> {
    let version = reader.get_i16()?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(DecodeError::UnsupportedVersion { api, version });
    }
    let form = if version >= FLEXIBLE_SINCE { LengthForm::Compact } else { LengthForm::Fixed };
    Ok((version, form))
}

fn get_string(reader: &mut Reader<'_>, form: LengthForm) -> Result<String, DecodeError> {
    reader.get_str(form).map(str::to_owned)
}

fn put_str(writer: &mut Writer, text: &str) -> Result<(), EncodeError> {
    writer.put_nullable_str(Some(text), LengthForm::Fixed)
}
