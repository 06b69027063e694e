//! DescribeProducers: who has written to a partition, and whose transaction is open there
//! (KIP-664). How an operator finds a transaction that holds readers of committed records up.

use crate::api::answers::{QUESTIONS_AT_ONCE, image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::Offset;
use crate::protocol::messages::describe_producers::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicRequest, DescribeProducersTopicResponse, ProducerState,
};
use crate::shard::questions::{Question, Reply, ask};
use crate::storage::disk::Disk;
use crate::storage::producer_state::ActiveProducer;
use futures::future::join_all;

/// Answers DescribeProducers.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let image = image(&context);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        topics.push(describe_all(&context, &image, topic).await);
    }
    DescribeProducersResponse { throttle_time_ms: 0, topics }
}

async fn describe_all<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: DescribeProducersTopicRequest,
) -> DescribeProducersTopicResponse {
    let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
    for some in topic.partition_indexes.chunks(QUESTIONS_AT_ONCE) {
        let asks = some.iter().map(|index| describe(context, image, &topic.name, *index));
        let answers = some.iter().zip(join_all(asks).await);
        partitions.extend(answers.map(|(index, producers)| answer(*index, producers)));
    }
    DescribeProducersTopicResponse { name: topic.name, partitions }
}

async fn describe<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: &str,
    index: i32,
) -> Result<Vec<ActiveProducer>, KafkaCode> {
    let (partition, core) = owned_partition(image, image.topic_by_name(topic), index)?;
    match ask(&context.shard, core, Question::Producers { partition }).await {
        Reply::Producers(producers) => producers,
        other => unreachable!("producers are answered by producers, not by {other:?}"),
    }
}

fn answer(
    partition_index: i32,
    producers: Result<Vec<ActiveProducer>, KafkaCode>,
) -> DescribeProducersPartitionResponse {
    let error_code = producers.as_ref().err().copied().unwrap_or(KafkaCode::None).number();
    let state = |producer: ActiveProducer| ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp_ms,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.open_transaction.map_or(-1, Offset::to_wire),
    };
    DescribeProducersPartitionResponse {
        partition_index,
        error_code,
        error_message: None,
        active_producers: producers.unwrap_or_default().into_iter().map(state).collect(),
    }
}
