//! What groups of the consumer protocol are asked and what they answer, free of wire versions.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::rebalances::Rebalance;
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;
use uuid::Uuid;

/// Member epoch with which a member joins, or joins again.
pub const JOIN_EPOCH: i32 = 0;
/// Member epoch with which a member leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// Member epoch with which a static member leaves for a while.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

/// ConsumerGroupHeartbeat.
#[derive(Debug, Clone)]
pub struct ConsumerBeat {
    pub group: String,
    pub member: String,
    pub epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    /// -1 when it did not change.
    pub rebalance_timeout_ms: i32,
    /// `None` when they did not change; so the regular expression and the assignor.
    pub topics: Option<Vec<String>>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    /// What the member owns; `None` when it did not change.
    pub owned: Option<Vec<(TopicId, Vec<i32>)>>,
    pub client_id: String,
    pub client_host: String,
    /// ConsumerGroupHeartbeat v1+: the member makes its own id (KIP-1082).
    pub needs_member_id: bool,
    /// Becomes the member id, if this beat makes one.
    pub fresh: Uuid,
}

/// Answer to a ConsumerGroupHeartbeat that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerBeaten {
    pub member: String,
    pub epoch: i32,
    pub interval_ms: i32,
    /// `None` when there is no news.
    pub assignment: Option<Assignment>,
}

/// Why a request was refused, with a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: KafkaCode,
    pub message: String,
}

impl Refusal {
    pub(in crate::coordinator::group) fn new(
        code: KafkaCode,
        message: impl Into<String>,
    ) -> Refusal {
        assert!(code != KafkaCode::None);
        let message = message.into();
        assert!(!message.is_empty());
        Refusal { code, message }
    }
}

/// ConsumerGroupDescribe, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    pub group: String,
    pub state: &'static str,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: String,
    pub members: Vec<DescribedConsumer>,
    /// The latest rebalances, the last one last.
    pub rebalances: Vec<Rebalance>,
}

/// One member of a [`DescribedConsumerGroup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConsumer {
    pub member: String,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub assigned: Vec<DescribedTopic>,
    pub target: Vec<DescribedTopic>,
    pub is_classic: bool,
}

/// Partitions of one topic that still exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedTopic {
    pub id: TopicId,
    pub name: String,
    pub partitions: Vec<i32>,
}
