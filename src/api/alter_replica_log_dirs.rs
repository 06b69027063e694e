//! AlterReplicaLogDirs: replicas move to another log directory (KIP-113).
//!
//! A broker has one log directory: a move into it is done already, any other directory is unknown.

use crate::api::answers::{image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopic, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};
use crate::storage::disk::Disk;

/// Answers AlterReplicaLogDirs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let image = image(&context);
    let log_dir = context.shard.borrow().data_dir.display().to_string();
    let results = request.dirs.into_iter().flat_map(|dir| {
        let is_here = dir.path == log_dir;
        let image = &image;
        dir.topics.into_iter().map(move |topic| result(image, topic, is_here))
    });
    let results = results.collect();
    AlterReplicaLogDirsResponse { results, ..AlterReplicaLogDirsResponse::default() }
}

fn result(
    image: &MetadataImage,
    wanted: AlterReplicaLogDirTopic,
    is_here: bool,
) -> AlterReplicaLogDirTopicResult {
    let topic = image.topic_by_name(&wanted.name);
    let answer = |partition_index: i32| {
        let code = if is_here {
            owned_partition(image, topic, partition_index).err().unwrap_or(KafkaCode::None)
        } else {
            KafkaCode::LogDirNotFound
        };
        AlterReplicaLogDirPartitionResult { partition_index, error_code: code.number() }
    };
    let partitions = wanted.partitions.into_iter().map(answer).collect();
    AlterReplicaLogDirTopicResult { topic_name: wanted.name, partitions }
}
