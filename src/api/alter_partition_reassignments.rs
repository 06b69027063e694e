//! AlterPartitionReassignments: partitions move to other replicas (KIP-455).
//!
//! On one broker there is nowhere to move to: the replicas a partition has already are accepted,
//! all others are refused as Kafka refuses them.

use crate::api::answers::image;
use crate::api::context::RequestContext;
use crate::controller::decide::{Refusal, check_replicas};
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId};
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use crate::storage::disk::Disk;

/// Answers AlterPartitionReassignments.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = image(&context);
    let responses = request.topics.into_iter().map(|topic| response(&image, topic)).collect();
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

fn response(image: &MetadataImage, wanted: ReassignableTopic) -> ReassignableTopicResponse {
    let topic = image.topic_by_name(&wanted.name).map(AsRef::as_ref);
    let answer = |partition: ReassignablePartition| {
        let partition_index = partition.partition_index;
        let refusal = check(image, topic, &wanted.name, &partition).err();
        let code = refusal.as_ref().map_or(KafkaCode::None, |refusal| refusal.code);
        let error_message = refusal.map(|refusal| refusal.message);
        ReassignablePartitionResponse { partition_index, error_code: code.number(), error_message }
    };
    let partitions = wanted.partitions.into_iter().map(answer).collect();
    ReassignableTopicResponse { name: wanted.name, partitions }
}

fn check(
    image: &MetadataImage,
    topic: Option<&TopicImage>,
    name: &str,
    wanted: &ReassignablePartition,
) -> Result<(), Refusal> {
    let index = wanted.partition_index;
    let unknown = |what: String| Refusal::new(KafkaCode::UnknownTopicOrPartition, what);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    if topic.partition(PartitionId(index)).is_none() {
        return Err(unknown(format!("Unable to find partition {name}:{index}.")));
    }
    let Some(replicas) = &wanted.replicas else {
        let code = KafkaCode::NoReassignmentInProgress;
        return Err(Refusal::new(code, "No partition reassignment is in progress.".to_owned()));
    };
    let replicas: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
    check_replicas(&replicas, |broker| broker == image.local())
}
