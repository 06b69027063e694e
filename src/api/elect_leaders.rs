//! ElectLeaders: a leader is elected for partitions (KIP-183, KIP-460).
//!
//! On one broker each partition's only replica leads it: there is never anything to elect.

use crate::api::answers::image;
use crate::api::context::RequestContext;
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::model::ids::PartitionId;
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
    TopicPartitions,
};
use crate::storage::disk::Disk;

/// Answers ElectLeaders. Asked for all partitions, Kafka names each topic, and of its partitions
/// those only that had an election.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let image = image(&context);
    let replica_election_results = match request.topic_partitions {
        Some(topics) => topics.into_iter().map(|topic| results(&image, topic)).collect(),
        None => image.topics().map(|topic| without_election(topic)).collect(),
    };
    ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
}

fn without_election(topic: &TopicImage) -> ReplicaElectionResult {
    ReplicaElectionResult { topic: topic.name.to_string(), partition_result: Vec::new() }
}

fn results(image: &MetadataImage, wanted: TopicPartitions) -> ReplicaElectionResult {
    let topic = image.topic_by_name(&wanted.topic).map(AsRef::as_ref);
    let name = &wanted.topic;
    let partition_result =
        wanted.partitions.iter().map(|index| result(topic, name, *index)).collect();
    ReplicaElectionResult { topic: wanted.topic, partition_result }
}

fn result(topic: Option<&TopicImage>, name: &str, partition_id: i32) -> PartitionResult {
    let unknown = KafkaCode::UnknownTopicOrPartition;
    let (code, text) = match topic.map(|topic| topic.partition(PartitionId(partition_id))) {
        None => (unknown, format!("No such topic as {name}")),
        Some(None) => (unknown, format!("No such partition as {name}-{partition_id}")),
        Some(Some(_)) => {
            let text = "Leader election not needed for topic partition.";
            (KafkaCode::ElectionNotNeeded, text.to_owned())
        }
    };
    PartitionResult { partition_id, error_code: code.number(), error_message: Some(text) }
}
