//! What share groups are asked and what they answer, free of wire versions.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::calls::{DescribedTopic, Refusal};
use crate::coordinator::group::rebalances::Rebalance;
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;

/// One request to the coordinator that owns the share group.
#[derive(Debug, Clone)]
pub enum ShareGroupRequest {
    Heartbeat(ShareBeat),
    /// Group ids.
    Describe(Vec<String>),
    /// The partitions whose state the share coordinator holds.
    Partitions(String),
    /// The share coordinator was told of partitions, or could not be.
    Initialized(Initialized),
    AlterOffsets(AlterOffsets),
    BeginForget(BeginForget),
    EndForget(EndForget),
}

impl ShareGroupRequest {
    /// Whether carrying it out may bring forth records.
    pub fn may_write(&self) -> bool {
        match self {
            ShareGroupRequest::Heartbeat(_)
            | ShareGroupRequest::Initialized(_)
            | ShareGroupRequest::AlterOffsets(_)
            | ShareGroupRequest::BeginForget(_)
            | ShareGroupRequest::EndForget(_) => true,
            ShareGroupRequest::Describe(_) | ShareGroupRequest::Partitions(_) => false,
        }
    }
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareGroupAnswer {
    Heartbeat(Result<ShareBeaten, Refusal>),
    Describe(Vec<Result<DescribedShareGroup, Refusal>>),
    Partitions(Vec<DescribedTopic>),
    Initialized,
    AlterOffsets(Result<AlteredOffsets, Refusal>),
    BeginForget(Result<Forgetting, Refusal>),
    EndForget,
}

/// ShareGroupHeartbeat.
#[derive(Debug, Clone)]
pub struct ShareBeat {
    pub group: String,
    pub member: String,
    /// 0 to join, -1 to leave.
    pub epoch: i32,
    pub rack: Option<String>,
    /// `None` when they did not change.
    pub topics: Option<Vec<String>>,
    pub client_id: String,
    pub client_host: String,
}

/// Answer to a ShareGroupHeartbeat that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareBeaten {
    pub member: String,
    pub epoch: i32,
    pub interval_ms: i32,
    /// `None` when there is no news.
    pub assignment: Option<Assignment>,
    /// What the share coordinator is to be told of before it can be assigned.
    pub to_initialize: Option<ToInitialize>,
}

/// Partitions that are new to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToInitialize {
    /// The group's epoch.
    pub epoch: i32,
    pub partitions: Assignment,
}

/// What became of partitions that were new to a group.
#[derive(Debug, Clone)]
pub struct Initialized {
    pub group: String,
    pub done: Assignment,
    pub failed: Assignment,
}

/// AlterShareGroupOffsets.
#[derive(Debug, Clone)]
pub struct AlterOffsets {
    pub group: String,
    /// Names of topics, each with partitions and the offsets to start from.
    pub topics: Vec<(String, Vec<(i32, i64)>)>,
}

/// The offsets that may be altered: the share coordinator is to be told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredOffsets {
    /// The group's epoch, new for this.
    pub epoch: i32,
    pub topics: Vec<AlteredTopic>,
}

/// One topic of [`AlteredOffsets`], in the request's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredTopic {
    pub name: String,
    /// `None` for one that does not exist.
    pub id: Option<TopicId>,
    pub partitions: Vec<AlteredPartition>,
}

/// One partition of [`AlteredTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredPartition {
    pub partition: i32,
    pub offset: i64,
    /// NONE, or UNKNOWN_TOPIC_OR_PARTITION.
    pub code: KafkaCode,
}

/// DeleteGroups and DeleteShareGroupOffsets: an empty group is to forget topics.
#[derive(Debug, Clone)]
pub struct BeginForget {
    pub group: String,
    /// `None` for all, before the group itself goes.
    pub topics: Option<Vec<String>>,
}

/// What the share coordinator is to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgetting {
    pub topics: Vec<DescribedTopic>,
    /// Names that the group has nothing of; `true` for topics that exist.
    pub unknown: Vec<(String, bool)>,
}

/// The share coordinator has forgotten topics.
#[derive(Debug, Clone)]
pub struct EndForget {
    pub group: String,
    pub topics: Vec<TopicId>,
}

/// ShareGroupDescribe, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedShareGroup {
    pub group: String,
    pub state: &'static str,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<DescribedShareMember>,
    /// The latest rebalances, the last one last.
    pub rebalances: Vec<Rebalance>,
}

/// One member of a [`DescribedShareGroup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedShareMember {
    pub member: String,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub assigned: Vec<DescribedTopic>,
}
