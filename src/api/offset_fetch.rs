//! OffsetFetch: how far groups have read. One group up to v7, many from v8 (KIP-709). No offset
//! is -1, not an error.
//!
//! `require_stable` asks to wait for open transactions: a partition whose offset one of them may
//! still change is UNSTABLE_OFFSET_COMMIT (KIP-447).

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::{FetchOffsets, FetchedPartition, FetchedTopic};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// First version that asks for many groups.
const MANY_GROUPS_SINCE: i16 = 8;
/// First version with a code for the whole group.
const GROUP_CODE_SINCE: i16 = 2;

/// Topics and partitions of a group; `None` is all.
type Wanted = Option<Vec<(String, Vec<i32>)>>;

/// Answers OffsetFetch.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if context.version < MANY_GROUPS_SINCE {
        return fetch_one(&context, request).await;
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let wanted = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let group_id = group.group_id;
        let fetch = FetchOffsets {
            group: group_id.clone(),
            member: group.member_id,
            member_epoch: group.member_epoch,
            require_stable: request.require_stable,
            topics: wanted,
        };
        groups.push(match ask(&context, fetch).await {
            Ok(topics) => OffsetFetchResponseGroup {
                group_id,
                topics: topics.into_iter().map(group_topic).collect(),
                error_code: KafkaCode::None.number(),
            },
            Err(code) => {
                OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code: code.number() }
            }
        });
    }
    OffsetFetchResponse { groups, ..Default::default() }
}

async fn fetch_one<D: Disk>(
    context: &RequestContext<D>,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let wanted: Wanted = request.topics.map(|topics| {
        topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
    });
    let asked = wanted.clone();
    let fetch = FetchOffsets {
        group: request.group_id,
        member: None,
        member_epoch: -1,
        require_stable: request.require_stable,
        topics: wanted,
    };
    match ask(context, fetch).await {
        Ok(topics) => {
            let topics = topics.into_iter().map(single_topic).collect();
            OffsetFetchResponse { topics, ..Default::default() }
        }
        Err(code) if context.version >= GROUP_CODE_SINCE => {
            OffsetFetchResponse { error_code: code.number(), ..Default::default() }
        }
        Err(code) => {
            let topics = asked.unwrap_or_default().into_iter();
            let topics = topics.map(|topic| single_topic(nothing_of(topic, code))).collect();
            OffsetFetchResponse { topics, ..Default::default() }
        }
    }
}

async fn ask<D: Disk>(
    context: &RequestContext<D>,
    fetch: FetchOffsets,
) -> Result<Vec<FetchedTopic>, KafkaCode> {
    let group = fetch.group.clone();
    match ask_group(&context.shard, &group, GroupRequest::FetchOffsets(fetch)).await {
        GroupAnswer::FetchOffsets(topics) => Ok(topics),
        other => Err(other.refusal()),
    }
}

fn nothing_of((name, partitions): (String, Vec<i32>), code: KafkaCode) -> FetchedTopic {
    let partition = |partition| FetchedPartition::none(partition, code);
    FetchedTopic { name, partitions: partitions.into_iter().map(partition).collect() }
}

fn group_topic(topic: FetchedTopic) -> OffsetFetchResponseTopics {
    let partition = |own: FetchedPartition| OffsetFetchResponsePartitions {
        partition_index: own.partition,
        committed_offset: own.offset,
        committed_leader_epoch: own.leader_epoch,
        metadata: Some(own.metadata),
        error_code: own.code.number(),
    };
    let partitions = topic.partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name: topic.name, partitions }
}

fn single_topic(topic: FetchedTopic) -> OffsetFetchResponseTopic {
    let partition = |own: FetchedPartition| OffsetFetchResponsePartition {
        partition_index: own.partition,
        committed_offset: own.offset,
        committed_leader_epoch: own.leader_epoch,
        metadata: Some(own.metadata),
        error_code: own.code.number(),
    };
    let partitions = topic.partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopic { name: topic.name, partitions }
}
