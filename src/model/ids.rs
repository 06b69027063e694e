//! Identifiers that must not be mixed up: each is its own type, so the compiler keeps them apart.
//!
//! Wire values arrive as signed integers where -1 means "none"; that is `Option::None` here.

use std::fmt;

/// Position of one record in a partition's log, counted in records from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// From a count of records; the largest is `i64::MAX`, what the wire can carry.
    pub const fn new(value: u64) -> Offset {
        assert!(value <= i64::MAX as u64);
        Offset(value)
    }

    /// From a wire value; `None` when negative (Kafka's "none" and special requests).
    pub fn from_wire(value: i64) -> Option<Offset> {
        u64::try_from(value).ok().map(Offset)
    }

    /// As the wire writes it, never negative.
    pub const fn to_wire(self) -> i64 {
        self.0.cast_signed()
    }

    /// As a count of records.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `records` further on.
    #[must_use]
    pub const fn advance(self, records: u64) -> Offset {
        Offset::new(self.0 + records)
    }

    /// Records from `earlier` up to here; 0 when `earlier` is not earlier.
    pub const fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Generation of a partition's leadership; grows by one with each change of leader (KIP-101).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaderEpoch(pub i32);

/// Index of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionId(pub i32);

/// A broker of the cluster (`node.id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerId(pub i32);

/// Generation of a broker's registration: the position of the record that registered it in the
/// metadata, so a later registration of any broker has a larger one (KIP-631).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BrokerEpoch(pub i64);

/// A shard of this process: the index of its pinned core among the broker's, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CoreId(pub u16);

impl CoreId {
    /// As an index into tables with one entry per core.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Identity of a producer session, given out by InitProducerId (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub i64);

/// Generation of a producer id; an older one is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(pub i16);

/// A topic's identity for its whole life; a topic created again under the name has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub uuid::Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// One partition of one topic: the key of logs, journal entries and routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition.0)
    }
}
