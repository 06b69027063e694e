//! DescribeQuorum: who keeps the metadata log (KIP-595, KIP-836, KIP-853).
//!
//! Offsets are entries of the quorum's log; only the active controller knows how far the others
//! are.

use crate::api::answers::image;
use crate::api::brokers::this_broker;
use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedPartition, DescribedTopic,
    QuorumListener, QuorumNode, ReplicaState, WantedPartition, WantedTopic,
};
use crate::shard::metadata::CONTROLLER_CORE;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::quorum::QuorumView;
use crate::storage::disk::Disk;

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_PARTITION: i32 = 0;
/// From here on directories, nodes and their listeners are told.
const FIRST_WITH_DIRECTORIES: i16 = 2;

/// Answers DescribeQuorum. Like Kafka it knows exactly one partition, and refuses to tell of that
/// one when it is asked for beside others.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if !asks_for_the_metadata_log(&request) {
        let topics = request.topics.into_iter().map(unknown).collect();
        return DescribeQuorumResponse { topics, ..DescribeQuorumResponse::default() };
    }
    let view = match ask(&context.shard, CONTROLLER_CORE, Question::Quorum).await {
        Reply::Quorum(view) => *view,
        other => unreachable!("the quorum is described by its view, not by {other:?}"),
    };
    let has_directories = context.version >= FIRST_WITH_DIRECTORIES;
    let partition = match view.role.is_leader {
        true => described(&context, &view, has_directories),
        false => refused(METADATA_PARTITION, KafkaCode::NotLeaderOrFollower),
    };
    let nodes = match has_directories {
        true => view.role.members.voters.iter().filter_map(|id| node(&context, *id)).collect(),
        false => Vec::new(),
    };
    let topic_name = METADATA_TOPIC.to_owned();
    DescribeQuorumResponse {
        topics: vec![DescribedTopic { topic_name, partitions: vec![partition] }],
        nodes,
        ..DescribeQuorumResponse::default()
    }
}

fn described<D: Disk>(
    context: &RequestContext<D>,
    view: &QuorumView,
    has_directories: bool,
) -> DescribedPartition {
    let role = &view.role;
    let (local, now, own_directory) = {
        let shard = context.shard.borrow();
        (shard.config.node_id, shard.now.wall_ms, shard.directory_id)
    };
    let image = image(context);
    let state = |id: &BrokerId| {
        let registered = || image.node(*id).map(|node| node.registration.directory);
        let directory = match *id == local {
            true => Some(own_directory),
            // A voter is what it voted as, also when its broker came back with an empty disk.
            false if role.members.voters.contains(id) => role.directories.get(id).copied(),
            false => registered(),
        };
        // The leader is up to date by what it is.
        let leader = (now, now);
        let other = view.heard.get(id).copied().unwrap_or((-1, -1));
        let (heard, caught_up) = if *id == local { leader } else { other };
        ReplicaState {
            replica_id: id.0,
            replica_directory_id: directory.filter(|_| has_directories).unwrap_or_default(),
            log_end_offset: role.progress.get(id).map_or(-1, |index| offset(*index)),
            last_fetch_timestamp: heard,
            last_caught_up_timestamp: caught_up,
        }
    };
    DescribedPartition {
        partition_index: METADATA_PARTITION,
        leader_id: local.0,
        leader_epoch: i32::try_from(role.term).unwrap_or(i32::MAX),
        high_watermark: offset(role.commit),
        current_voters: role.members.voters.iter().map(state).collect(),
        observers: role.members.learners.iter().map(state).collect(),
        ..DescribedPartition::default()
    }
}

/// One past the entry, as Kafka counts ends.
fn offset(index: u64) -> i64 {
    i64::try_from(index.saturating_add(1)).unwrap_or(i64::MAX)
}

/// Where clients of this listener reach a voter; where it has no such listener, at its first.
fn node<D: Disk>(context: &RequestContext<D>, id: BrokerId) -> Option<QuorumNode> {
    let name = context.shard.borrow().config.listener_name(context.local).to_owned();
    let own = this_broker(context);
    let (name, endpoint) = match own.id == id {
        true => (name, own.endpoint),
        false => {
            let image = image(context);
            let endpoints = &image.node(id)?.registration.endpoints;
            let same = endpoints.iter().find(|known| known.listener == name);
            let known = same.or(endpoints.first())?;
            (known.listener.clone(), known.endpoint.clone())
        }
    };
    let listener = QuorumListener { name, host: endpoint.host, port: endpoint.port };
    Some(QuorumNode { node_id: id.0, listeners: vec![listener] })
}

fn asks_for_the_metadata_log(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name == METADATA_TOPIC && partition.partition_index == METADATA_PARTITION
}

fn unknown(wanted: WantedTopic) -> DescribedTopic {
    let code = KafkaCode::UnknownTopicOrPartition;
    let refuse = |partition: WantedPartition| refused(partition.partition_index, code);
    let partitions = wanted.partitions.into_iter().map(refuse).collect();
    DescribedTopic { topic_name: wanted.topic_name, partitions }
}

fn refused(partition_index: i32, code: KafkaCode) -> DescribedPartition {
    DescribedPartition {
        partition_index,
        error_code: code.number(),
        error_message: Some(code.message().to_owned()),
        ..DescribedPartition::default()
    }
}
