//! What a group coordinator is asked and what it answers, free of wire versions.
//!
//! Metadata and assignment bytes are the clients' own business (consumer, Connect, Streams and
//! kafkajs each have their format): they are relayed untouched.

use super::consumer::calls::{ConsumerBeat, ConsumerBeaten, DescribedConsumerGroup, Refusal};
use super::rebalances::Rebalance;
use super::records::Producer;
use super::share::calls::{ShareGroupAnswer, ShareGroupRequest};
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUP_TEXT_BYTES_MAX;
use bytes::Bytes;
use uuid::Uuid;

/// One request to the coordinator that owns the group.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    Join(Box<Join>),
    Sync(Sync),
    Heartbeat(Heartbeat),
    Leave(Leave),
    CommitOffsets(CommitOffsets),
    /// Answered like CommitOffsets.
    CommitTransaction(CommitTransaction),
    FetchOffsets(FetchOffsets),
    DeleteOffsets(DeleteOffsets),
    /// Group ids.
    Describe(Vec<String>),
    List(GroupFilter),
    /// Group ids.
    Delete(Vec<String>),
    ConsumerHeartbeat(Box<ConsumerBeat>),
    /// Group ids.
    DescribeConsumer(Vec<String>),
    Share(Box<ShareGroupRequest>),
}

impl GroupRequest {
    /// Whether carrying it out may bring forth records, now or by what it starts. What may not is
    /// answered even when the log takes no more data.
    pub fn may_write(&self) -> bool {
        match self {
            GroupRequest::Join(_)
            | GroupRequest::Sync(_)
            | GroupRequest::Leave(_)
            | GroupRequest::CommitOffsets(_)
            | GroupRequest::CommitTransaction(_)
            | GroupRequest::DeleteOffsets(_)
            | GroupRequest::Delete(_)
            | GroupRequest::ConsumerHeartbeat(_) => true,
            GroupRequest::Heartbeat(_)
            | GroupRequest::FetchOffsets(_)
            | GroupRequest::Describe(_)
            | GroupRequest::DescribeConsumer(_)
            | GroupRequest::List(_) => false,
            GroupRequest::Share(request) => request.may_write(),
        }
    }

    /// Refuses what no group's state can make right: no group id where members are concerned, and
    /// texts too long for a record.
    pub(super) fn check(&self) -> Result<(), KafkaCode> {
        let is_too_long = |text: &str| text.len() > GROUP_TEXT_BYTES_MAX;
        match self {
            GroupRequest::Join(join) => {
                check_group(&join.group)?;
                let protocols = join.protocols.iter().map(|protocol| protocol.name.as_str());
                let own = [&join.client_id, &join.client_host, &join.protocol_type];
                let mut texts = own.map(String::as_str).into_iter();
                let is_long = texts.any(is_too_long)
                    || join.instance.as_deref().is_some_and(is_too_long)
                    || protocols.into_iter().any(is_too_long);
                if is_long { Err(KafkaCode::InvalidRequest) } else { Ok(()) }
            }
            GroupRequest::Sync(sync) => check_group(&sync.group),
            GroupRequest::Heartbeat(beat) => check_group(&beat.group),
            GroupRequest::Leave(leave) => check_group(&leave.group),
            GroupRequest::CommitOffsets(commit) => check_commit(commit),
            GroupRequest::CommitTransaction(CommitTransaction { commit, .. }) => {
                check_group(&commit.group)?;
                check_commit(commit)
            }
            GroupRequest::ConsumerHeartbeat(beat) => {
                let topics = beat.topics.iter().flatten();
                let own = [&beat.member, &beat.client_id, &beat.client_host];
                let optional = [&beat.instance, &beat.rack].into_iter().flatten();
                let mut texts = own.into_iter().chain(optional).chain(topics);
                match is_too_long(&beat.group) {
                    true => Err(KafkaCode::InvalidGroupId),
                    false if texts.any(|text| is_too_long(text)) => Err(KafkaCode::InvalidRequest),
                    false => Ok(()),
                }
            }
            GroupRequest::DeleteOffsets(delete) => check_group(&delete.group),
            GroupRequest::DescribeConsumer(groups) => {
                groups.iter().try_for_each(|id| check_group(id))
            }
            // Share groups check theirs, since a refusal of theirs has a text.
            GroupRequest::Share(_)
            | GroupRequest::FetchOffsets(_)
            | GroupRequest::Describe(_)
            | GroupRequest::List(_)
            | GroupRequest::Delete(_) => Ok(()),
        }
    }
}

fn check_commit(commit: &CommitOffsets) -> Result<(), KafkaCode> {
    let is_too_long = |text: &str| text.len() > GROUP_TEXT_BYTES_MAX;
    if is_too_long(&commit.group) {
        return Err(KafkaCode::InvalidGroupId);
    }
    if commit.topics.iter().any(|topic| is_too_long(&topic.name)) {
        return Err(KafkaCode::InvalidRequest);
    }
    Ok(())
}

fn check_group(group: &str) -> Result<(), KafkaCode> {
    if group.is_empty() || group.len() > GROUP_TEXT_BYTES_MAX {
        return Err(KafkaCode::InvalidGroupId);
    }
    Ok(())
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupAnswer {
    Join(Joined),
    Sync(Synced),
    Heartbeat(KafkaCode),
    Leave(Left),
    CommitOffsets(Vec<TopicResult>),
    FetchOffsets(Vec<FetchedTopic>),
    DeleteOffsets(Vec<TopicResult>),
    Describe(Vec<DescribedGroup>),
    List(Vec<ListedGroup>),
    Delete(Vec<(String, KafkaCode)>),
    ConsumerHeartbeat(Result<ConsumerBeaten, Refusal>),
    DescribeConsumer(Vec<Result<DescribedConsumerGroup, Refusal>>),
    Share(ShareGroupAnswer),
    /// The request as a whole was refused.
    Refused(KafkaCode),
}

impl GroupAnswer {
    /// The code of a refusal; an answer to another question is our own fault.
    pub fn refusal(&self) -> KafkaCode {
        match self {
            GroupAnswer::Refused(code) => *code,
            GroupAnswer::Join(_)
            | GroupAnswer::Sync(_)
            | GroupAnswer::Heartbeat(_)
            | GroupAnswer::Leave(_)
            | GroupAnswer::CommitOffsets(_)
            | GroupAnswer::FetchOffsets(_)
            | GroupAnswer::DeleteOffsets(_)
            | GroupAnswer::Describe(_)
            | GroupAnswer::List(_)
            | GroupAnswer::Delete(_)
            | GroupAnswer::ConsumerHeartbeat(_)
            | GroupAnswer::DescribeConsumer(_)
            | GroupAnswer::Share(_) => KafkaCode::UnknownServerError,
        }
    }
}

/// An assignment strategy that a member supports, with its subscription in that strategy's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone)]
pub struct Join {
    pub group: String,
    /// Empty for a member that has no id yet.
    pub member: String,
    /// Identity of a static member (KIP-345).
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// JoinGroup v4+: a dynamic member must join with the id it was given (KIP-394).
    pub needs_member_id: bool,
    /// JoinGroup v9+: the member knows "leader, but keep the assignment" (KIP-814).
    pub knows_skip_assignment: bool,
    /// Becomes part of the member id, if this join makes one.
    pub fresh: Uuid,
}

/// Answer to JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub code: KafkaCode,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Empty with an error.
    pub leader: String,
    pub skip_assignment: bool,
    pub member: String,
    /// All members, told to the leader only.
    pub members: Vec<JoinedMember>,
}

impl Joined {
    /// A refusal that names `member`.
    pub fn refused(code: KafkaCode, member: impl Into<String>) -> Joined {
        Joined {
            code,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member: member.into(),
            members: Vec::new(),
        }
    }
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    pub member: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Debug, Clone)]
pub struct Sync {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    /// Compared with the group's where given (v5+).
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(String, Bytes)>,
}

/// Answer to SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub code: KafkaCode,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

impl Synced {
    pub fn refused(code: KafkaCode) -> Synced {
        Synced { code, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// Heartbeat.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
}

/// LeaveGroup.
#[derive(Debug, Clone)]
pub struct Leave {
    pub group: String,
    pub members: Vec<LeavingMember>,
}

/// A member that leaves, by its id or, for a static member, by its instance id alone.
#[derive(Debug, Clone)]
pub struct LeavingMember {
    pub member: String,
    pub instance: Option<String>,
}

/// Answer to LeaveGroup: one entry per leaving member, in the request's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub members: Vec<LeftMember>,
}

/// One member of a LeaveGroup, with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftMember {
    pub member: String,
    pub instance: Option<String>,
    pub code: KafkaCode,
}

/// OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitOffsets {
    pub group: String,
    /// -1 from a consumer that assigns its partitions itself, and from admin tools.
    pub generation: i32,
    /// Empty with generation -1.
    pub member: String,
    pub instance: Option<String>,
    /// How long to keep the offsets, in ms; only old clients say so (v2-4).
    pub retention_ms: Option<u64>,
    pub topics: Vec<CommitTopic>,
    /// OffsetCommit v9+: an unknown group is GROUP_ID_NOT_FOUND, before ILLEGAL_GENERATION.
    pub names_missing_group: bool,
}

/// TxnOffsetCommit: offsets that count when the producer's transaction commits.
#[derive(Debug, Clone)]
pub struct CommitTransaction {
    pub producer: Producer,
    /// Generation -1 and no member from a producer that knows no group metadata (before KIP-447).
    pub commit: CommitOffsets,
}

/// Offsets to commit in one topic.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    pub name: String,
    pub partitions: Vec<CommitPartition>,
}

/// The offset to commit for one partition.
#[derive(Debug, Clone)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// Epoch of the last consumed record; -1 when the client does not know it.
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// One code per partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicResult {
    pub name: String,
    pub partitions: Vec<(i32, KafkaCode)>,
}

/// OffsetFetch of one group.
#[derive(Debug, Clone)]
pub struct FetchOffsets {
    pub group: String,
    /// Partitions with undecided offsets are UNSTABLE_OFFSET_COMMIT (KIP-447).
    pub require_stable: bool,
    /// Whoever reads as a member of a consumer group (OffsetFetch v9+) must be one.
    pub member: Option<String>,
    /// -1 without a member.
    pub member_epoch: i32,
    /// `None` asks for every offset of the group.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
}

/// Committed offsets of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: String,
    pub partitions: Vec<FetchedPartition>,
}

/// The committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    pub partition: i32,
    /// -1 when nothing is committed: no error.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    /// NONE, or UNSTABLE_OFFSET_COMMIT.
    pub code: KafkaCode,
}

impl FetchedPartition {
    /// A partition without an offset.
    pub fn none(partition: i32, code: KafkaCode) -> FetchedPartition {
        FetchedPartition { partition, offset: -1, leader_epoch: -1, metadata: String::new(), code }
    }
}

/// OffsetDelete.
#[derive(Debug, Clone)]
pub struct DeleteOffsets {
    pub group: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

/// DescribeGroups, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    /// GROUP_ID_NOT_FOUND with state `Dead`, or NONE.
    pub code: KafkaCode,
    pub group: String,
    pub state: &'static str,
    pub protocol_type: String,
    /// The chosen protocol of a stable group, else empty.
    pub protocol: String,
    pub members: Vec<DescribedMember>,
    /// The latest rebalances, the last one last.
    pub rebalances: Vec<Rebalance>,
}

/// Metadata and assignment are told of a stable group only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// What ListGroups asks for; an empty list lets everything through.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// State names in any case.
    pub states: Vec<String>,
    /// Type names in any case.
    pub types: Vec<String>,
}

/// ListGroups, one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: String,
    pub protocol_type: String,
    pub state: &'static str,
    pub kind: &'static str,
}
