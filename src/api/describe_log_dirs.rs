//! DescribeLogDirs: the data directory, its room, and the size of each partition (KIP-113).

use crate::api::answers::image;
use crate::api::brokers::tells_of;
use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::shard::questions::{Question, Reply, ask};
use crate::storage::disk::Disk;
use futures::future::join_all;
use std::collections::BTreeMap;

/// Sizes in bytes by topic name and partition.
type Sizes = BTreeMap<String, BTreeMap<i32, u64>>;

/// Answers DescribeLogDirs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let (disk, log_dir, cores) = {
        let shard = context.shard.borrow();
        (shard.disk.clone(), shard.data_dir.display().to_string(), shard.cores)
    };
    let told = (0..cores).map(CoreId).filter(|core| tells_of(&context, *core));
    let asks = told.map(|core| ask(&context.shard, core, Question::LogSizes));
    let mut sizes = Vec::new();
    for reply in join_all(asks).await {
        match reply {
            Reply::LogSizes(of_core) => sizes.extend(of_core),
            other => unreachable!("sizes are answered by sizes, not by {other:?}"),
        }
    }
    let sizes = by_topic(&image(&context), sizes, request.topics.as_deref());
    let space = disk.space().await;
    let code = match &space {
        Ok(_) => KafkaCode::None,
        Err(_) => KafkaCode::KafkaStorageError,
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let result = DescribeLogDirsResult {
        error_code: code.number(),
        log_dir,
        topics: sizes.into_iter().map(shown).collect(),
        total_bytes: space.as_ref().map_or(-1, |space| bytes(space.total_bytes)),
        usable_bytes: space.as_ref().map_or(-1, |space| bytes(space.free_bytes)),
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

fn by_topic(
    image: &MetadataImage,
    sizes: Vec<(TopicPartition, u64)>,
    wanted: Option<&[DescribableLogDirTopic]>,
) -> Sizes {
    let is_wanted = |name: &str, partition: i32| {
        wanted.is_none_or(|wanted| {
            let mut named = wanted.iter().filter(|topic| topic.topic == name);
            named.any(|topic| topic.partitions.contains(&partition))
        })
    };
    let mut by_topic = Sizes::new();
    for (id, size) in sizes {
        let Some(topic) = image.topic_by_id(&id.topic) else { continue };
        if is_wanted(&topic.name, id.partition.0) {
            by_topic.entry(topic.name.to_string()).or_default().insert(id.partition.0, size);
        }
    }
    by_topic
}

fn shown((name, sizes): (String, BTreeMap<i32, u64>)) -> DescribeLogDirsTopic {
    let partitions = sizes.into_iter().map(|(partition_index, size)| DescribeLogDirsPartition {
        partition_index,
        partition_size: i64::try_from(size).unwrap_or(i64::MAX),
        ..DescribeLogDirsPartition::default()
    });
    DescribeLogDirsTopic { name, partitions: partitions.collect() }
}
