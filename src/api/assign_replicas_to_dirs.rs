//! AssignReplicasToDirs: a broker says which of its replicas are damaged (KIP-858). Between brokers
//! only. Each broker has one directory, so any other assignment is refused.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, LossOutcomes};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, PartitionId, TopicId, TopicPartition};
use crate::protocol::messages::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, AssignedDirectory,
    AssignedPartition, AssignedTopic, DirectoryToAssign, LOST_DIRECTORY,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers AssignReplicasToDirs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    match assign(&context, request).await {
        Ok(directories) => {
            AssignReplicasToDirsResponse { directories, ..AssignReplicasToDirsResponse::default() }
        }
        Err(code) => AssignReplicasToDirsResponse {
            error_code: code.number(),
            ..AssignReplicasToDirsResponse::default()
        },
    }
}

async fn assign<D: Disk>(
    context: &RequestContext<D>,
    request: AssignReplicasToDirsRequest,
) -> Result<Vec<AssignedDirectory>, KafkaCode> {
    context.check_peer(request.broker_id)?;
    let broker = (BrokerId(request.broker_id), BrokerEpoch(request.broker_epoch));
    if request.directories.iter().any(|directory| directory.id != LOST_DIRECTORY) {
        return Err(KafkaCode::InvalidRequest);
    }
    let partitions = request.directories.iter().flat_map(partitions_of).collect();
    let change = Change::LoseReplicas { broker, partitions };
    let ChangeReply::Lost(result) = metadata::change(&context.shard, change).await else {
        unreachable!("damaged replicas are answered by partition");
    };
    let outcomes = result.map_err(|refusal| refusal.code)?;
    Ok(request.directories.iter().map(|directory| told(directory, &outcomes)).collect())
}

fn partitions_of(directory: &DirectoryToAssign) -> impl Iterator<Item = TopicPartition> {
    directory.topics.iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id);
        let partitions = topic.partitions.iter();
        partitions.map(move |one| TopicPartition {
            topic: id,
            partition: PartitionId(one.partition_index),
        })
    })
}

fn told(directory: &DirectoryToAssign, outcomes: &LossOutcomes) -> AssignedDirectory {
    let code_of = |topic, index| {
        let id = TopicPartition { topic: TopicId(topic), partition: PartitionId(index) };
        let outcome = outcomes.iter().find(|(other, _)| *other == id);
        match outcome {
            Some((_, Ok(()))) => KafkaCode::None,
            Some((_, Err(code))) => *code,
            None => KafkaCode::UnknownServerError,
        }
    };
    let topics = directory.topics.iter().map(|topic| AssignedTopic {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|one| AssignedPartition {
                partition_index: one.partition_index,
                error_code: code_of(topic.topic_id, one.partition_index).number(),
            })
            .collect(),
    });
    AssignedDirectory { id: directory.id, topics: topics.collect() }
}
