//! OffsetCommit: how far a group has read. Topics and partitions that do not exist are refused
//! one by one; the rest is one write of the group's coordinator, answered when it is committed.

use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::coordinator::group::calls::{CommitOffsets, CommitPartition, CommitTopic, TopicResult};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::PartitionId;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// An unknown group is GROUP_ID_NOT_FOUND from here on (KIP-848), ILLEGAL_GENERATION before.
const MISSING_GROUP_SINCE: i16 = 9;

/// Answers OffsetCommit.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut topics = results_of(&context.shard.borrow().image, &request.topics);
    let group = request.group_id.clone();
    let commit = commit_of(context.version, request, &topics);
    if commit.topics.is_empty() {
        return OffsetCommitResponse { throttle_time_ms: 0, topics };
    }
    match ask_group(&context.shard, &group, GroupRequest::CommitOffsets(commit)).await {
        GroupAnswer::CommitOffsets(results) => fill_in(&mut topics, results),
        other => fill_in_refusal(&mut topics, other.refusal()),
    }
    OffsetCommitResponse { throttle_time_ms: 0, topics }
}

/// The answer's shape, with the codes of what does not exist; NONE marks what is to be committed.
fn results_of(
    image: &MetadataImage,
    topics: &[OffsetCommitRequestTopic],
) -> Vec<OffsetCommitResponseTopic> {
    let result = |topic: &OffsetCommitRequestTopic| {
        let known = image.topic_by_name(&topic.name);
        let exists =
            |index| known.is_some_and(|known| known.partition(PartitionId(index)).is_some());
        let partition = |partition: &OffsetCommitRequestPartition| {
            let partition_index = partition.partition_index;
            let code = match exists(partition_index) {
                true => KafkaCode::None,
                false => KafkaCode::UnknownTopicOrPartition,
            };
            OffsetCommitResponsePartition { partition_index, error_code: code.number() }
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        OffsetCommitResponseTopic { name: topic.name.clone(), partitions }
    };
    topics.iter().map(result).collect()
}

fn commit_of(
    version: i16,
    request: OffsetCommitRequest,
    results: &[OffsetCommitResponseTopic],
) -> CommitOffsets {
    let topics = request.topics.into_iter().zip(results).map(|(topic, result)| {
        let pairs = topic.partitions.into_iter().zip(&result.partitions);
        let wanted = pairs.filter(|(_, result)| result.error_code == KafkaCode::None.number());
        let partition = |(own, _): (OffsetCommitRequestPartition, _)| CommitPartition {
            partition: own.partition_index,
            offset: own.committed_offset,
            leader_epoch: own.committed_leader_epoch,
            metadata: own.committed_metadata,
        };
        CommitTopic { name: topic.name, partitions: wanted.map(partition).collect() }
    });
    CommitOffsets {
        group: request.group_id,
        generation: request.generation_id_or_member_epoch,
        member: request.member_id,
        instance: request.group_instance_id,
        retention_ms: u64::try_from(request.retention_time_ms).ok(),
        topics: topics.filter(|topic| !topic.partitions.is_empty()).collect(),
        names_missing_group: version >= MISSING_GROUP_SINCE,
    }
}

/// Puts the coordinator's codes, which come in the order they were asked, where NONE stands.
fn fill_in(topics: &mut [OffsetCommitResponseTopic], results: Vec<TopicResult>) {
    let mut codes = results.into_iter().flat_map(|topic| topic.partitions);
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == KafkaCode::None.number() {
            let (index, code) = codes.next().expect("one code per partition that was asked");
            assert!(index == partition.partition_index);
            partition.error_code = code.number();
        }
    }
}

fn fill_in_refusal(topics: &mut [OffsetCommitResponseTopic], code: KafkaCode) {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == KafkaCode::None.number() {
            partition.error_code = code.number();
        }
    }
}
