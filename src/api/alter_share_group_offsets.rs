//! AlterShareGroupOffsets: an empty share group is to read from other offsets (KIP-932).

use crate::api::context::RequestContext;
use crate::api::share_requests;
use crate::coordinator::group::share::calls::{
    AlterOffsets, AlteredOffsets, AlteredPartition, AlteredTopic, ShareGroupAnswer,
    ShareGroupRequest,
};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestTopic,
    AlterShareGroupOffsetsResponse, AlterShareGroupOffsetsResponsePartition,
    AlterShareGroupOffsetsResponseTopic,
};
use crate::shard::share_groups::{self, ask_share_group};
use crate::storage::disk::Disk;
use uuid::Uuid;

/// Answers AlterShareGroupOffsets.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    if let Err(code) = share_requests::check_served(&context) {
        return refused(code, share_requests::NOT_SERVED.to_owned());
    }
    if request.group_id.is_empty() {
        let code = KafkaCode::InvalidGroupId;
        return refused(code, code.message().to_owned());
    }
    let group = request.group_id;
    let topic = |topic: AlterShareGroupOffsetsRequestTopic| {
        let partitions = topic.partitions.into_iter();
        let partitions = partitions.map(|own| (own.partition_index, own.start_offset));
        (topic.topic_name, partitions.collect())
    };
    let topics: Vec<(String, Vec<(i32, i64)>)> = request.topics.into_iter().map(topic).collect();
    if topics.is_empty() {
        return AlterShareGroupOffsetsResponse::default();
    }
    let alter = ShareGroupRequest::AlterOffsets(AlterOffsets { group: group.clone(), topics });
    let altered = match ask_share_group(&context.shard, &group, alter).await {
        Ok(ShareGroupAnswer::AlterOffsets(Ok(altered))) => altered,
        Ok(ShareGroupAnswer::AlterOffsets(Err(refusal))) => {
            return refused(refusal.code, refusal.message);
        }
        Ok(other) => unreachable!("altered offsets are not answered by {other:?}"),
        Err(code) => return refused(code, code.message().to_owned()),
    };
    let AlteredOffsets { epoch, topics } = altered;
    let mut responses = Vec::with_capacity(topics.len());
    for AlteredTopic { name, id, partitions } in topics {
        let partitions = match id {
            Some(id) => share_groups::alter(&context.shard, &group, epoch, (id, partitions)).await,
            None => partitions,
        };
        responses.push(AlterShareGroupOffsetsResponseTopic {
            topic_name: name,
            topic_id: id.map_or(Uuid::nil(), |id| id.0),
            partitions: partitions.into_iter().map(partition).collect(),
        });
    }
    AlterShareGroupOffsetsResponse { responses, ..Default::default() }
}

fn partition(own: AlteredPartition) -> AlterShareGroupOffsetsResponsePartition {
    AlterShareGroupOffsetsResponsePartition {
        partition_index: own.partition,
        error_code: own.code.number(),
        error_message: (own.code != KafkaCode::None).then(|| own.code.message().to_owned()),
    }
}

fn refused(code: KafkaCode, message: String) -> AlterShareGroupOffsetsResponse {
    AlterShareGroupOffsetsResponse {
        error_code: code.number(),
        error_message: Some(message),
        ..Default::default()
    }
}
