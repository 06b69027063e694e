//! OffsetForLeaderEpoch: where an epoch ended, so that a client or replica finds where its log
//! and ours part (KIP-101, KIP-320).

use crate::api::answers::{QUESTIONS_AT_ONCE, image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::{MetadataImage, TopicImage};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use crate::shard::questions::{Question, Reply, ask};
use crate::storage::disk::Disk;
use futures::future::join_all;
use std::sync::Arc;

/// Answers OffsetForLeaderEpoch.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let image = image(&context);
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        let topic = image.topic_by_name(&wanted.topic);
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for some in wanted.partitions.chunks(QUESTIONS_AT_ONCE) {
            let ends = some.iter().map(|partition| end(&context, &image, topic, partition));
            let answers = some.iter().zip(join_all(ends).await);
            partitions.extend(answers.map(|(partition, end)| answer(partition, end)));
        }
        topics.push(OffsetForLeaderTopicResult { topic: wanted.topic, partitions });
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

async fn end<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: Option<&Arc<TopicImage>>,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), KafkaCode> {
    let (partition, core) = owned_partition(image, topic, wanted.partition)?;
    let question = Question::EpochEnd {
        partition,
        current_leader_epoch: wanted.current_leader_epoch,
        leader_epoch: wanted.leader_epoch,
    };
    match ask(&context.shard, core, question).await {
        Reply::EpochEnd(end) => end,
        other => unreachable!("an epoch is answered by an epoch, not by {other:?}"),
    }
}

fn answer(wanted: &OffsetForLeaderPartition, end: Result<(i32, i64), KafkaCode>) -> EpochEndOffset {
    let code = end.err().unwrap_or(KafkaCode::None);
    let (leader_epoch, end_offset) = end.unwrap_or((-1, -1));
    let partition = wanted.partition;
    EpochEndOffset { error_code: code.number(), partition, leader_epoch, end_offset }
}
