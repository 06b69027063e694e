//! OffsetDelete: forgets offsets of topics that the group does not read any more (KIP-496).

use crate::api::context::RequestContext;
use crate::coordinator::group::calls::{DeleteOffsets, TopicResult};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// Answers OffsetDelete.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let group = request.group_id.clone();
    let mut known = Vec::new();
    let mut topics = Vec::new();
    for topic in request.topics {
        let partitions: Vec<i32> =
            topic.partitions.iter().map(|partition| partition.partition_index).collect();
        if context.shard.borrow().image.topic_by_name(&topic.name).is_some() {
            known.push((topic.name, partitions));
        } else {
            let code = KafkaCode::UnknownTopicOrPartition;
            let partitions = partitions.into_iter().map(|partition| (partition, code)).collect();
            topics.push(topic_response(TopicResult { name: topic.name, partitions }));
        }
    }
    let delete = DeleteOffsets { group: request.group_id, topics: known };
    match ask_group(&context.shard, &group, GroupRequest::DeleteOffsets(delete)).await {
        GroupAnswer::DeleteOffsets(results) => {
            topics.extend(results.into_iter().map(topic_response));
            OffsetDeleteResponse {
                error_code: KafkaCode::None.number(),
                throttle_time_ms: 0,
                topics,
            }
        }
        other => {
            let error_code = other.refusal().number();
            OffsetDeleteResponse { error_code, ..Default::default() }
        }
    }
}

fn topic_response(result: TopicResult) -> OffsetDeleteResponseTopic {
    let partition = |(partition_index, code): (i32, KafkaCode)| OffsetDeleteResponsePartition {
        partition_index,
        error_code: code.number(),
    };
    let partitions = result.partitions.into_iter().map(partition).collect();
    OffsetDeleteResponseTopic { name: result.name, partitions }
}
