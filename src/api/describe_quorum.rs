//! DescribeQuorum: who keeps the metadata log (KIP-595, KIP-836, KIP-853).
//!
//! One broker is the only voter, so it leads, and what it has synced is committed.

use crate::api::answers::{image, this_broker};
use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, DescribedPartition, DescribedTopic,
    QuorumListener, QuorumNode, ReplicaState, WantedPartition, WantedTopic,
};
use crate::storage::disk::Disk;
use uuid::Uuid;

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";
const METADATA_PARTITION: i32 = 0;
/// A single voter is elected once.
const LEADER_EPOCH: i32 = 1;
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
    let broker = this_broker(&context);
    let end = i64::try_from(image(&context).end()).expect("fewer records than 2^63 are written");
    let (directory, now, name) = {
        let shard = context.shard.borrow();
        let name = shard.config.listener_name(context.local).to_owned();
        (shard.directory_id, shard.now.wall_ms, name)
    };
    let has_directories = context.version >= FIRST_WITH_DIRECTORIES;
    let voter = ReplicaState {
        replica_id: broker.id.0,
        replica_directory_id: if has_directories { directory } else { Uuid::nil() },
        log_end_offset: end,
        // The leader is up to date by what it is.
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
    };
    let partition = DescribedPartition {
        partition_index: METADATA_PARTITION,
        leader_id: broker.id.0,
        leader_epoch: LEADER_EPOCH,
        high_watermark: end,
        current_voters: vec![voter],
        ..DescribedPartition::default()
    };
    let listener = QuorumListener { name, host: broker.endpoint.host, port: broker.endpoint.port };
    let nodes = vec![QuorumNode { node_id: broker.id.0, listeners: vec![listener] }];
    let topic_name = METADATA_TOPIC.to_owned();
    DescribeQuorumResponse {
        topics: vec![DescribedTopic { topic_name, partitions: vec![partition] }],
        nodes: if has_directories { nodes } else { Vec::new() },
        ..DescribeQuorumResponse::default()
    }
}

fn asks_for_the_metadata_log(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    topic.topic_name == METADATA_TOPIC && partition.partition_index == METADATA_PARTITION
}

fn unknown(wanted: WantedTopic) -> DescribedTopic {
    let code = KafkaCode::UnknownTopicOrPartition;
    let described = |partition: WantedPartition| DescribedPartition {
        partition_index: partition.partition_index,
        error_code: code.number(),
        error_message: Some(code.message().to_owned()),
        ..DescribedPartition::default()
    };
    let partitions = wanted.partitions.into_iter().map(described).collect();
    DescribedTopic { topic_name: wanted.topic_name, partitions }
}
