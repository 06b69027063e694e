//! DescribeShareGroupOffsets: from where share groups read their partitions (KIP-932). What nobody
//! knows is offset -1, not an error, as in OffsetFetch.

use crate::api::context::RequestContext;
use crate::api::share_requests;
use crate::coordinator::group::consumer::calls::DescribedTopic;
use crate::coordinator::group::share::calls::{ShareGroupAnswer, ShareGroupRequest};
use crate::coordinator::share::ShareSummary;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};
use crate::shard::share_groups::{self, ask_share_group};
use crate::storage::disk::Disk;
use uuid::Uuid;

const NO_OFFSET: i64 = -1;

/// Answers DescribeShareGroupOffsets.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        groups.push(describe(&context, group).await);
    }
    DescribeShareGroupOffsetsResponse { throttle_time_ms: 0, groups }
}

async fn describe<D: Disk>(
    context: &RequestContext<D>,
    asked: DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let group_id = asked.group_id;
    if let Err(code) = share_requests::check_served(context) {
        let error_code = code.number();
        return DescribeShareGroupOffsetsResponseGroup {
            error_code,
            group_id,
            ..Default::default()
        };
    }
    let (known, mut topics) = match asked.topics {
        Some(wanted) => by_name(context, wanted.into_iter().map(|t| (t.topic_name, t.partitions))),
        None => {
            let request = ShareGroupRequest::Partitions(group_id.clone());
            match ask_share_group(&context.shard, &group_id, request).await {
                Ok(ShareGroupAnswer::Partitions(all)) => (all, Vec::new()),
                Ok(other) => unreachable!("partitions are not answered by {other:?}"),
                Err(code) => {
                    return DescribeShareGroupOffsetsResponseGroup {
                        group_id,
                        topics: Vec::new(),
                        error_code: code.number(),
                        error_message: Some(code.message().to_owned()),
                    };
                }
            }
        }
    };
    for DescribedTopic { id, name, partitions } in known {
        let read = share_groups::summaries(&context.shard, &group_id, (id, &partitions)).await;
        topics.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name: name,
            topic_id: id.0,
            partitions: read.into_iter().map(partition).collect(),
        });
    }
    DescribeShareGroupOffsetsResponseGroup {
        group_id,
        topics,
        error_code: KafkaCode::None.number(),
        error_message: None,
    }
}

type Topics = (Vec<DescribedTopic>, Vec<DescribeShareGroupOffsetsResponseTopic>);

/// The topics that exist, and the answers for those that do not.
fn by_name<D: Disk>(
    context: &RequestContext<D>,
    wanted: impl Iterator<Item = (String, Vec<i32>)>,
) -> Topics {
    let shard = context.shard.borrow();
    let (mut known, mut missing) = (Vec::new(), Vec::new());
    for (name, partitions) in wanted {
        match shard.image.topic_by_name(&name) {
            Some(topic) => known.push(DescribedTopic { id: topic.id, name, partitions }),
            None => missing.push(DescribeShareGroupOffsetsResponseTopic {
                topic_name: name,
                topic_id: Uuid::nil(),
                partitions: partitions.into_iter().map(nothing).collect(),
            }),
        }
    }
    (known, missing)
}

fn nothing(partition_index: i32) -> DescribeShareGroupOffsetsResponsePartition {
    DescribeShareGroupOffsetsResponsePartition {
        partition_index,
        start_offset: NO_OFFSET,
        ..Default::default()
    }
}

fn partition(
    (partition_index, summary): (i32, Result<ShareSummary, KafkaCode>),
) -> DescribeShareGroupOffsetsResponsePartition {
    match summary {
        Ok(summary) if summary.start_offset != NO_OFFSET => {
            DescribeShareGroupOffsetsResponsePartition {
                start_offset: summary.start_offset,
                leader_epoch: summary.leader_epoch,
                ..nothing(partition_index)
            }
        }
        Ok(_) | Err(_) => nothing(partition_index),
    }
}
