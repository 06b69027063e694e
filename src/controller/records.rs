//! The facts the metadata log holds: brokers, topics, partitions, configurations, producer ids.
//!
//! Why records and not requests: replaying them must give the same image on every broker, whatever
//! defaults or versions it runs, so a record states the outcome of a decision and never its wish.
//! The log's transport (a local file, later a quorum) carries them unchanged.
//!
//! Byte layout of one record, integers big-endian:
//! ```text
//!  0  u8   kind
//!  1  u8   version of this kind's body
//!  2  u32  length of the body
//!  6       body
//! ```
//! Inside a body: texts and lists have a u32 count in front, `None` ids are -1.
//!
//! Invariant: decode(encode(r)) == r for every record; bytes that are no record are an error,
//! never a panic and never an allocation beyond their own length.

mod brokers;

pub use brokers::{Availability, BrokerEndpoint, BrokerRegistration, FeatureRange};

use crate::model::ids::{
    BrokerEpoch, BrokerId, CoreId, LeaderEpoch, PartitionId, ProducerId, TopicId, TopicPartition,
};
use bytes::{Buf, BufMut};
use std::sync::Arc;
use uuid::Uuid;

/// One fact. Order matters: a topic comes before its configuration and partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataRecord {
    /// Identity of the cluster, the first record of a fresh log.
    ClusterId(Uuid),
    Topic {
        id: TopicId,
        name: String,
    },
    /// The whole state of one partition; replaces an earlier one.
    Partition {
        id: TopicPartition,
        state: PartitionState,
    },
    /// The topic, its partitions and its configuration are gone.
    RemoveTopic {
        id: TopicId,
    },
    /// One key of one resource; `None` removes the override.
    Config {
        resource: ConfigResource,
        key: String,
        value: Option<String>,
    },
    /// Producer ids below `next` have been handed out (KIP-730).
    ProducerIds {
        next: ProducerId,
    },
    /// A broker process has come up: fenced until a [`MetadataRecord::BrokerState`] says otherwise
    /// (KIP-631).
    RegisterBroker(Arc<BrokerRegistration>),
    /// What a registered broker may be used for from here on.
    BrokerState {
        id: BrokerId,
        epoch: BrokerEpoch,
        availability: Availability,
    },
    /// The broker is gone for good.
    UnregisterBroker {
        id: BrokerId,
        epoch: BrokerEpoch,
    },
    /// A feature is in force at this level; 0 switches it off (KIP-584).
    Feature {
        name: String,
        level: i16,
        /// Position of this record in the metadata, which a snapshot keeps.
        epoch: i64,
    },
    /// The last record of a snapshot: how many records it stands for.
    SnapshotEnd {
        end: u64,
    },
}

/// What a configuration belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    Topic(TopicId),
    Broker(BrokerId),
    /// The default of all brokers (KIP-226).
    AllBrokers,
    /// A consumer group, whether it exists yet or not (KIP-848).
    Group(String),
}

/// Everything the controller knows of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionState {
    /// In order of preference; the first is the preferred leader. Never empty.
    pub replicas: Vec<Replica>,
    /// In-sync replicas: what `acks=all` waits for.
    pub isr: Vec<BrokerId>,
    /// Replicas that held everything committed when they left the in-sync set (KIP-966).
    pub elr: Vec<BrokerId>,
    /// Who led before there was no leader (KIP-966).
    pub last_known_leader: Option<BrokerId>,
    pub leader: Option<BrokerId>,
    /// Grows by one with each change of leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows by one with each change of this state; the compare-and-set key of ISR changes.
    pub partition_epoch: i32,
    pub recovery: LeaderRecovery,
    /// Replicas that a reassignment adds (KIP-455).
    pub adding: Vec<BrokerId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<BrokerId>,
}

/// Whether the leader may have lost records by an unclean election (KIP-704).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeaderRecovery {
    #[default]
    Recovered,
    Recovering,
}

/// Where one copy of a partition lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    pub broker: BrokerId,
    /// The core of that broker which owns the log.
    pub core: CoreId,
    /// Identity of the data directory, so that an emptied disk is not taken for the old one.
    pub directory: Uuid,
}

/// Bytes that are not a record this version can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a metadata record ends after {have} bytes where {need} more belong to it")]
    Short { have: usize, need: usize },
    #[error("metadata record kind {kind} version {version} is not known: a newer version wrote it")]
    UnknownKind { kind: u8, version: u8 },
    #[error("a metadata record holds {value} as {field}")]
    BadValue { field: &'static str, value: i64 },
    #[error("a metadata record holds a text that is not UTF-8")]
    BadText,
    #[error("{left} bytes are left over behind a metadata record's last field")]
    Trailing { left: usize },
}

const KIND_CLUSTER_ID: u8 = 1;
const KIND_TOPIC: u8 = 2;
const KIND_PARTITION: u8 = 3;
const KIND_REMOVE_TOPIC: u8 = 4;
const KIND_CONFIG: u8 = 5;
const KIND_PRODUCER_IDS: u8 = 6;
const KIND_REGISTER_BROKER: u8 = 7;
const KIND_BROKER_STATE: u8 = 8;
const KIND_UNREGISTER_BROKER: u8 = 9;
const KIND_FEATURE: u8 = 10;
const KIND_SNAPSHOT_END: u8 = 11;

const RESOURCE_TOPIC: u8 = 0;
const RESOURCE_BROKER: u8 = 1;
const RESOURCE_ALL_BROKERS: u8 = 2;
const RESOURCE_GROUP: u8 = 3;

const VERSION: u8 = 0;
/// Of features. Version 0 had no epoch, and nobody wrote it: who knows no other must not go on as
/// if it knew what is in force.
const FEATURE_VERSION: u8 = 1;
const HEADER_BYTES: usize = 6;
const REPLICA_BYTES: usize = 4 + 2 + 16;

impl MetadataRecord {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u8(self.kind());
        out.put_u8(version_of(self.kind()));
        out.put_u32(0);
        self.encode_body(out);
        let body_len = out.len() - start - HEADER_BYTES;
        let body_len = u32::try_from(body_len).expect("a record's body is far below 4 GiB");
        out[start + 2..start + HEADER_BYTES].copy_from_slice(&body_len.to_be_bytes());
        assert!(out.len() >= start + HEADER_BYTES);
    }

    /// Reads one record off the front of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Result<MetadataRecord, RecordError> {
        let kind = read_u8(bytes)?;
        let version = read_u8(bytes)?;
        let body_len = read_count(bytes, 1)?;
        let (mut body, rest) = bytes.split_at(body_len);
        let body_before = body.len();
        let record = decode_body(kind, version, &mut body)?;
        if !body.is_empty() {
            return Err(RecordError::Trailing { left: body.len() });
        }
        assert!(body_before == body_len);
        *bytes = rest;
        Ok(record)
    }

    fn kind(&self) -> u8 {
        match self {
            MetadataRecord::ClusterId(_) => KIND_CLUSTER_ID,
            MetadataRecord::Topic { .. } => KIND_TOPIC,
            MetadataRecord::Partition { .. } => KIND_PARTITION,
            MetadataRecord::RemoveTopic { .. } => KIND_REMOVE_TOPIC,
            MetadataRecord::Config { .. } => KIND_CONFIG,
            MetadataRecord::ProducerIds { .. } => KIND_PRODUCER_IDS,
            MetadataRecord::RegisterBroker(_) => KIND_REGISTER_BROKER,
            MetadataRecord::BrokerState { .. } => KIND_BROKER_STATE,
            MetadataRecord::UnregisterBroker { .. } => KIND_UNREGISTER_BROKER,
            MetadataRecord::Feature { .. } => KIND_FEATURE,
            MetadataRecord::SnapshotEnd { .. } => KIND_SNAPSHOT_END,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            MetadataRecord::ClusterId(id) => out.put_slice(id.as_bytes()),
            MetadataRecord::Topic { id, name } => {
                out.put_slice(id.0.as_bytes());
                put_text(out, name);
            }
            MetadataRecord::Partition { id, state } => {
                out.put_slice(id.topic.0.as_bytes());
                out.put_i32(id.partition.0);
                state.encode(out);
            }
            MetadataRecord::RemoveTopic { id } => out.put_slice(id.0.as_bytes()),
            MetadataRecord::Config { resource, key, value } => {
                resource.encode(out);
                put_text(out, key);
                out.put_u8(u8::from(value.is_some()));
                put_text(out, value.as_deref().unwrap_or_default());
            }
            MetadataRecord::ProducerIds { next } => out.put_i64(next.0),
            MetadataRecord::RegisterBroker(registration) => registration.encode(out),
            MetadataRecord::BrokerState { id, epoch, availability } => {
                out.put_i32(id.0);
                out.put_i64(epoch.0);
                out.put_u8(availability.number());
            }
            MetadataRecord::UnregisterBroker { id, epoch } => {
                out.put_i32(id.0);
                out.put_i64(epoch.0);
            }
            MetadataRecord::Feature { name, level, epoch } => {
                put_text(out, name);
                out.put_i16(*level);
                out.put_i64(*epoch);
            }
            MetadataRecord::SnapshotEnd { end } => out.put_u64(*end),
        }
    }
}

/// The one version of a kind's body that is written and read.
fn version_of(kind: u8) -> u8 {
    if kind == KIND_FEATURE { FEATURE_VERSION } else { VERSION }
}

fn decode_body(kind: u8, version: u8, body: &mut &[u8]) -> Result<MetadataRecord, RecordError> {
    if version != version_of(kind) {
        return Err(RecordError::UnknownKind { kind, version });
    }
    Ok(match kind {
        KIND_CLUSTER_ID => MetadataRecord::ClusterId(read_uuid(body)?),
        KIND_TOPIC => {
            MetadataRecord::Topic { id: TopicId(read_uuid(body)?), name: read_text(body)? }
        }
        KIND_PARTITION => MetadataRecord::Partition {
            id: TopicPartition {
                topic: TopicId(read_uuid(body)?),
                partition: PartitionId(read_not_negative(body, "partition")?),
            },
            state: PartitionState::decode(body)?,
        },
        KIND_REMOVE_TOPIC => MetadataRecord::RemoveTopic { id: TopicId(read_uuid(body)?) },
        KIND_CONFIG => MetadataRecord::Config {
            resource: ConfigResource::decode(body)?,
            key: read_text(body)?,
            value: {
                let is_set = read_u8(body)? != 0;
                Some(read_text(body)?).filter(|_| is_set)
            },
        },
        KIND_PRODUCER_IDS => MetadataRecord::ProducerIds { next: ProducerId(read_i64(body)?) },
        KIND_REGISTER_BROKER => {
            MetadataRecord::RegisterBroker(Arc::new(BrokerRegistration::decode(body)?))
        }
        KIND_BROKER_STATE => MetadataRecord::BrokerState {
            id: BrokerId(read_not_negative(body, "broker")?),
            epoch: BrokerEpoch(read_i64(body)?),
            availability: Availability::decode(body)?,
        },
        KIND_UNREGISTER_BROKER => MetadataRecord::UnregisterBroker {
            id: BrokerId(read_not_negative(body, "broker")?),
            epoch: BrokerEpoch(read_i64(body)?),
        },
        KIND_FEATURE => MetadataRecord::Feature {
            name: read_text(body)?,
            level: read_i16(body)?,
            epoch: read_i64(body)?,
        },
        KIND_SNAPSHOT_END => {
            let end = read_i64(body)?;
            let field = "position in the metadata";
            let bad = |_| RecordError::BadValue { field, value: end };
            MetadataRecord::SnapshotEnd { end: u64::try_from(end).map_err(bad)? }
        }
        _ => return Err(RecordError::UnknownKind { kind, version }),
    })
}

impl PartitionState {
    /// The core that owns the log on `broker`; `None` where it holds no replica.
    pub fn core_on(&self, broker: BrokerId) -> Option<CoreId> {
        self.replicas.iter().find(|replica| replica.broker == broker).map(|replica| replica.core)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.replicas.len());
        for replica in &self.replicas {
            out.put_i32(replica.broker.0);
            out.put_u16(replica.core.0);
            out.put_slice(replica.directory.as_bytes());
        }
        put_brokers(out, &self.isr);
        put_brokers(out, &self.elr);
        put_broker(out, self.last_known_leader);
        put_broker(out, self.leader);
        out.put_i32(self.leader_epoch.0);
        out.put_i32(self.partition_epoch);
        out.put_u8(match self.recovery {
            LeaderRecovery::Recovered => 0,
            LeaderRecovery::Recovering => 1,
        });
        put_brokers(out, &self.adding);
        put_brokers(out, &self.removing);
    }

    fn decode(body: &mut &[u8]) -> Result<PartitionState, RecordError> {
        let count = read_count(body, REPLICA_BYTES)?;
        let mut replicas = Vec::with_capacity(count);
        for _ in 0..count {
            replicas.push(Replica {
                broker: BrokerId(read_not_negative(body, "broker")?),
                core: CoreId(read_u16(body)?),
                directory: read_uuid(body)?,
            });
        }
        if replicas.is_empty() {
            return Err(RecordError::BadValue { field: "number of replicas", value: 0 });
        }
        Ok(PartitionState {
            replicas,
            isr: read_brokers(body)?,
            elr: read_brokers(body)?,
            last_known_leader: read_broker(body)?,
            leader: read_broker(body)?,
            leader_epoch: LeaderEpoch(read_not_negative(body, "leader epoch")?),
            partition_epoch: read_not_negative(body, "partition epoch")?,
            recovery: match read_u8(body)? {
                0 => LeaderRecovery::Recovered,
                1 => LeaderRecovery::Recovering,
                other => {
                    return Err(RecordError::BadValue {
                        field: "recovery state",
                        value: other.into(),
                    });
                }
            },
            adding: read_brokers(body)?,
            removing: read_brokers(body)?,
        })
    }
}

impl ConfigResource {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ConfigResource::Topic(id) => {
                out.put_u8(RESOURCE_TOPIC);
                out.put_slice(id.0.as_bytes());
            }
            ConfigResource::Broker(id) => {
                out.put_u8(RESOURCE_BROKER);
                out.put_i32(id.0);
            }
            ConfigResource::AllBrokers => out.put_u8(RESOURCE_ALL_BROKERS),
            ConfigResource::Group(id) => {
                out.put_u8(RESOURCE_GROUP);
                put_text(out, id);
            }
        }
    }

    fn decode(body: &mut &[u8]) -> Result<ConfigResource, RecordError> {
        Ok(match read_u8(body)? {
            RESOURCE_TOPIC => ConfigResource::Topic(TopicId(read_uuid(body)?)),
            RESOURCE_BROKER => ConfigResource::Broker(BrokerId(read_not_negative(body, "broker")?)),
            RESOURCE_ALL_BROKERS => ConfigResource::AllBrokers,
            RESOURCE_GROUP => ConfigResource::Group(read_text(body)?),
            other => {
                return Err(RecordError::BadValue { field: "resource kind", value: other.into() });
            }
        })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("our own lists and texts are far below 4 GiB"));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

fn put_broker(out: &mut Vec<u8>, broker: Option<BrokerId>) {
    out.put_i32(broker.map_or(-1, |broker| broker.0));
}

fn put_brokers(out: &mut Vec<u8>, brokers: &[BrokerId]) {
    put_count(out, brokers.len());
    for broker in brokers {
        out.put_i32(broker.0);
    }
}

fn need(bytes: &[u8], count: usize) -> Result<(), RecordError> {
    match bytes.len() >= count {
        true => Ok(()),
        false => Err(RecordError::Short { have: bytes.len(), need: count - bytes.len() }),
    }
}

fn read_u8(bytes: &mut &[u8]) -> Result<u8, RecordError> {
    need(bytes, 1)?;
    Ok(bytes.get_u8())
}

fn read_u16(bytes: &mut &[u8]) -> Result<u16, RecordError> {
    need(bytes, 2)?;
    Ok(bytes.get_u16())
}

fn read_i16(bytes: &mut &[u8]) -> Result<i16, RecordError> {
    need(bytes, 2)?;
    Ok(bytes.get_i16())
}

fn read_i32(bytes: &mut &[u8]) -> Result<i32, RecordError> {
    need(bytes, 4)?;
    Ok(bytes.get_i32())
}

fn read_i64(bytes: &mut &[u8]) -> Result<i64, RecordError> {
    need(bytes, 8)?;
    Ok(bytes.get_i64())
}

fn read_uuid(bytes: &mut &[u8]) -> Result<Uuid, RecordError> {
    need(bytes, 16)?;
    Ok(Uuid::from_u128(bytes.get_u128()))
}

/// A count of elements of at least `element_bytes` each, checked against what is left.
fn read_count(bytes: &mut &[u8], element_bytes: usize) -> Result<usize, RecordError> {
    need(bytes, 4)?;
    let count = usize::try_from(bytes.get_u32()).expect("usize has at least 32 bits");
    need(bytes, count.saturating_mul(element_bytes))?;
    Ok(count)
}

fn read_text(bytes: &mut &[u8]) -> Result<String, RecordError> {
    let len = read_count(bytes, 1)?;
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| RecordError::BadText)
}

fn read_not_negative(bytes: &mut &[u8], field: &'static str) -> Result<i32, RecordError> {
    match read_i32(bytes)? {
        value if value < 0 => Err(RecordError::BadValue { field, value: value.into() }),
        value => Ok(value),
    }
}

fn read_broker(bytes: &mut &[u8]) -> Result<Option<BrokerId>, RecordError> {
    Ok(Some(read_i32(bytes)?).filter(|id| *id >= 0).map(BrokerId))
}

fn read_brokers(bytes: &mut &[u8]) -> Result<Vec<BrokerId>, RecordError> {
    let count = read_count(bytes, 4)?;
    (0..count).map(|_| read_not_negative(bytes, "broker").map(BrokerId)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
