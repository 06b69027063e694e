//! DeleteRecords: everything before an offset goes (KIP-107). The log start moves at once and
//! durably, and at all replicas that are up before the answer; files follow when a whole segment
//! lies before it.

use crate::api::answers::{QUESTIONS_AT_ONCE, image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::model::ids::Offset;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use crate::shard::questions::{Question, Reply, ask};
use crate::storage::disk::Disk;
use futures::future::join_all;
use std::sync::Arc;

/// Answers DeleteRecords.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let image = image(&context);
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        let topic = image.topic_by_name(&wanted.name);
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for some in wanted.partitions.chunks(QUESTIONS_AT_ONCE) {
            let deletions =
                some.iter().map(|wanted| delete(&context, &image, topic, wanted, timeout_ms));
            let answers = some.iter().zip(join_all(deletions).await);
            partitions.extend(answers.map(|(partition, low)| answer(partition, low)));
        }
        topics.push(DeleteRecordsTopicResult { name: wanted.name, partitions });
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

async fn delete<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: Option<&Arc<TopicImage>>,
    wanted: &DeleteRecordsPartition,
    timeout_ms: u64,
) -> Result<Offset, KafkaCode> {
    let (partition, core) = owned_partition(image, topic, wanted.partition_index)?;
    let topic = topic.ok_or(KafkaCode::UnknownTopicOrPartition)?;
    if topic.is_internal {
        return Err(KafkaCode::InvalidTopicException);
    }
    if !topic.config.cleanup.delete {
        return Err(KafkaCode::PolicyViolation);
    }
    let question = Question::DeleteRecords { partition, before: wanted.offset, timeout_ms };
    match ask(&context.shard, core, question).await {
        Reply::DeleteRecords(low_watermark) => low_watermark,
        other => unreachable!("a deletion is answered by a deletion, not by {other:?}"),
    }
}

fn answer(
    wanted: &DeleteRecordsPartition,
    low_watermark: Result<Offset, KafkaCode>,
) -> DeleteRecordsPartitionResult {
    let code = low_watermark.err().unwrap_or(KafkaCode::None);
    DeleteRecordsPartitionResult {
        partition_index: wanted.partition_index,
        low_watermark: low_watermark.map_or(-1, Offset::to_wire),
        error_code: code.number(),
    }
}
