//! AddPartitionsToTxn: what a transaction will write to. Clients of the old flow add their
//! partitions with versions 0 to 3; brokers add or verify those of many transactions at once with
//! 4 and 5 (KIP-890).

use crate::api::context::RequestContext;
use crate::api::transactions::{FENCED_BY_NAME_SINCE, worded_for};
use crate::controller::image::MetadataImage;
use crate::coordinator::transaction::calls::{
    AddMode, AddPartitions, PartitionResult, TopicPartitions,
};
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
};
use crate::shard::transaction_host::ask_transaction;
use crate::storage::disk::Disk;

/// First version with many transactions.
const BATCHED_SINCE: i16 = 4;

/// Answers AddPartitionsToTxn.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if context.version < BATCHED_SINCE {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        };
        let results_by_topic_v3_and_below = results_of(&context, transaction).await;
        return AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() };
    }
    let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let transactional_id = transaction.transactional_id.clone();
        let topic_results = results_of(&context, transaction).await;
        results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
}

async fn results_of<D: Disk>(
    context: &RequestContext<D>,
    transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = transaction.topics;
    let missing = missing_partitions(&context.shard.borrow().image, &topics);
    if !missing.is_empty() {
        // All or nothing: what exists is not added either.
        let code = |topic: &str, partition: i32| match missing.contains(&(topic, partition)) {
            true => KafkaCode::UnknownTopicOrPartition,
            false => KafkaCode::OperationNotAttempted,
        };
        return each(&topics, code);
    }
    let own = |topic: &AddPartitionsToTxnTopic| TopicPartitions {
        topic: topic.name.clone(),
        partitions: topic.partitions.clone(),
    };
    let mode = if transaction.verify_only { AddMode::Verify } else { AddMode::Add };
    let add = TransactionRequest::AddPartitions(AddPartitions {
        transactional_id: transaction.transactional_id.clone(),
        producer_id: ProducerId(transaction.producer_id),
        producer_epoch: ProducerEpoch(transaction.producer_epoch),
        topics: topics.iter().map(own).collect(),
        mode,
    });
    match ask_transaction(&context.shard, &transaction.transactional_id, add).await {
        TransactionAnswer::AddPartitions(results) => grouped(results),
        other => {
            let code = worded_for(other.refusal(), context.version >= FENCED_BY_NAME_SINCE);
            each(&topics, |_, _| code)
        }
    }
}

fn missing_partitions<'a>(
    image: &MetadataImage,
    topics: &'a [AddPartitionsToTxnTopic],
) -> Vec<(&'a str, i32)> {
    let exists = |name: &str, partition: i32| {
        let topic = image.topic_by_name(name);
        let id = |topic| TopicPartition { topic, partition: PartitionId(partition) };
        topic.is_some_and(|topic| image.partition(&id(topic.id)).is_some())
    };
    let all = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.name.as_str(), *partition))
    });
    all.filter(|(name, partition)| !exists(name, *partition)).collect()
}

fn each(
    topics: &[AddPartitionsToTxnTopic],
    code: impl Fn(&str, i32) -> KafkaCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let one = |topic: &AddPartitionsToTxnTopic| {
        let result = |partition: &i32| AddPartitionsToTxnPartitionResult {
            partition_index: *partition,
            partition_error_code: code(&topic.name, *partition).number(),
        };
        AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic.partitions.iter().map(result).collect(),
        }
    };
    topics.iter().map(one).collect()
}

/// Neighbours of one topic go together: the coordinator answers in the order it was asked.
fn grouped(results: Vec<PartitionResult>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    for PartitionResult { topic, partition, code } in results {
        let result = AddPartitionsToTxnPartitionResult {
            partition_index: partition,
            partition_error_code: code.number(),
        };
        match topics.last_mut() {
            Some(last) if last.name == topic => last.results_by_partition.push(result),
            _ => topics.push(AddPartitionsToTxnTopicResult {
                name: topic,
                results_by_partition: vec![result],
            }),
        }
    }
    topics
}
