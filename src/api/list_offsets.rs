//! ListOffsets: offsets by time, and the special ones: latest, earliest, largest timestamp.

use crate::api::answers::{QUESTIONS_AT_ONCE, image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use crate::shard::mesh::Isolation;
use crate::shard::questions::{FoundOffset, OffsetQuery, Question, Reply, ask};
use crate::storage::disk::Disk;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;

/// No offset answers the question.
const NONE: FoundOffset = FoundOffset { timestamp_ms: -1, offset: -1, leader_epoch: -1 };

/// Answers ListOffsets.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = match request.isolation_level {
        0 => Isolation::ReadUncommitted,
        _ => Isolation::ReadCommitted,
    };
    let image = image(&context);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let repeated = repeated_partitions(&topic);
        topics.push(find_all(&context, &image, topic, (isolation, repeated)).await);
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

async fn find_all<D: Disk>(
    context: &RequestContext<D>,
    image: &Arc<MetadataImage>,
    wanted: ListOffsetsTopic,
    (isolation, repeated): (Isolation, BTreeSet<i32>),
) -> ListOffsetsTopicResponse {
    let refused = |partition: &i32| answer(*partition, Err(KafkaCode::InvalidRequest), 0);
    let topic = image.topic_by_name(&wanted.name);
    let mut partitions: Vec<_> = repeated.iter().map(refused).collect();
    let is_single =
        |partition: &&ListOffsetsPartition| !repeated.contains(&partition.partition_index);
    let single: Vec<&ListOffsetsPartition> = wanted.partitions.iter().filter(is_single).collect();
    for some in single.chunks(QUESTIONS_AT_ONCE) {
        let asks = some.iter().map(|partition| async move {
            let found = find(context, image, topic, partition, isolation).await;
            answer(partition.partition_index, found, context.version)
        });
        partitions.extend(join_all(asks).await);
    }
    ListOffsetsTopicResponse { name: wanted.name, partitions }
}

/// Partitions that a request names more than once: refused, once.
fn repeated_partitions(topic: &ListOffsetsTopic) -> BTreeSet<i32> {
    let mut seen = BTreeSet::new();
    let numbers = topic.partitions.iter().map(|partition| partition.partition_index);
    numbers.filter(|number| !seen.insert(*number)).collect()
}

async fn find<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: Option<&Arc<TopicImage>>,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<FoundOffset, KafkaCode> {
    let (partition, core) = owned_partition(image, topic, wanted.partition_index)?;
    let Some(query) = query(wanted.timestamp, context.version)? else { return Ok(NONE) };
    let current_leader_epoch = wanted.current_leader_epoch;
    let question = Question::ListOffset { partition, query, isolation, current_leader_epoch };
    match ask(&context.shard, core, question).await {
        // Older clients do not know the code (KIP-207).
        Reply::ListOffset(Err(KafkaCode::OffsetNotAvailable)) if context.version < 5 => {
            Err(KafkaCode::LeaderNotAvailable)
        }
        Reply::ListOffset(found) => found,
        other => unreachable!("an offset is answered by an offset, not by {other:?}"),
    }
}

/// What a timestamp asks for; `None` for what no partition here can have.
fn query(timestamp: i64, version: i16) -> Result<Option<OffsetQuery>, KafkaCode> {
    let (query, since) = match timestamp {
        -1 => (Some(OffsetQuery::Latest), 0),
        -2 => (Some(OffsetQuery::Earliest), 0),
        // KIP-734.
        -3 => (Some(OffsetQuery::MaxTimestamp), 7),
        // The earliest on local disk (KIP-405): without a remote tier the earliest there is.
        -4 => (Some(OffsetQuery::Earliest), 8),
        // The latest in the remote tier (KIP-1005), which there is none of.
        -5 => (None, 9),
        timestamp if timestamp >= 0 => (Some(OffsetQuery::At(timestamp)), 0),
        _ => return Err(KafkaCode::UnsupportedVersion),
    };
    if version < since { Err(KafkaCode::UnsupportedVersion) } else { Ok(query) }
}

fn answer(
    partition_index: i32,
    found: Result<FoundOffset, KafkaCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let code = found.err().unwrap_or(KafkaCode::None);
    let found = found.unwrap_or(NONE);
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: code.number(),
        timestamp: found.timestamp_ms,
        offset: found.offset,
        // Versions before KIP-320 have no room for it; kafkajs and aiokafka ask in v3.
        leader_epoch: if version >= 4 { found.leader_epoch } else { -1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_begin_with_the_version_that_defined_them() {
        for (timestamp, version, expected) in [
            (-1, 1, Ok(Some(OffsetQuery::Latest))),
            (-2, 1, Ok(Some(OffsetQuery::Earliest))),
            (-3, 6, Err(KafkaCode::UnsupportedVersion)),
            (-3, 7, Ok(Some(OffsetQuery::MaxTimestamp))),
            (-4, 7, Err(KafkaCode::UnsupportedVersion)),
            (-4, 8, Ok(Some(OffsetQuery::Earliest))),
            (-5, 9, Ok(None)),
            (-6, 10, Err(KafkaCode::UnsupportedVersion)),
            (0, 1, Ok(Some(OffsetQuery::At(0)))),
        ] {
            assert_eq!(query(timestamp, version), expected, "{timestamp} in v{version}");
        }
    }
}
