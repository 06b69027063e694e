//! TxnOffsetCommit: offsets of a group that count when the producer's transaction commits (KIP-98).
//!
//! The group's partition of `__consumer_offsets` must be part of the transaction: up to v4 the
//! client has said so with AddOffsetsToTxn, from v5 on it joins with this request (KIP-890).

use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, CommitTransaction, TopicResult,
};
use crate::coordinator::group::records::Producer;
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, ProducerEpoch, ProducerId};
use crate::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::shard::group_host::ask_transactional_commit;
use crate::shard::verification::{Claim, TransactionFlow};
use crate::storage::disk::Disk;
use std::sync::Arc;

/// First version whose client knows TRANSACTION_ABORTABLE (KIP-890).
const FIRST_ABORTABLE: i16 = 4;
/// First version that makes the group's partition part of the transaction (KIP-890).
const FIRST_IMPLICIT: i16 = 5;

/// Answers TxnOffsetCommit.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let mut topics = results_of(&context.shard.borrow().image, &request.topics);
    let producer = Producer {
        id: ProducerId(request.producer_id),
        epoch: ProducerEpoch(request.producer_epoch),
    };
    let claim = Claim {
        transactional_id: Arc::from(request.transactional_id.as_str()),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        flow: flow_of(context.version),
    };
    let group = request.group_id.clone();
    let commit = commit_of(request, &topics);
    if commit.topics.is_empty() {
        return TxnOffsetCommitResponse { throttle_time_ms: 0, topics };
    }
    let request = GroupRequest::CommitTransaction(CommitTransaction { producer, commit });
    match ask_transactional_commit(&context.shard, &group, claim, request).await {
        GroupAnswer::CommitOffsets(results) => fill_in(&mut topics, results),
        other => fill_in_refusal(&mut topics, other.refusal()),
    }
    TxnOffsetCommitResponse { throttle_time_ms: 0, topics }
}

fn flow_of(version: i16) -> TransactionFlow {
    match version {
        FIRST_IMPLICIT.. => TransactionFlow::Implicit,
        FIRST_ABORTABLE => TransactionFlow::ExplicitAbortable,
        _ => TransactionFlow::Explicit,
    }
}

/// The answer's shape, with the codes of what does not exist; NONE marks what is to be committed.
fn results_of(
    image: &MetadataImage,
    topics: &[TxnOffsetCommitRequestTopic],
) -> Vec<TxnOffsetCommitResponseTopic> {
    let result = |topic: &TxnOffsetCommitRequestTopic| {
        let known = image.topic_by_name(&topic.name);
        let exists =
            |index| known.is_some_and(|known| known.partition(PartitionId(index)).is_some());
        let partition = |partition: &TxnOffsetCommitRequestPartition| {
            let partition_index = partition.partition_index;
            let code = match exists(partition_index) {
                true => KafkaCode::None,
                false => KafkaCode::UnknownTopicOrPartition,
            };
            TxnOffsetCommitResponsePartition { partition_index, error_code: code.number() }
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions }
    };
    topics.iter().map(result).collect()
}

fn commit_of(
    request: TxnOffsetCommitRequest,
    results: &[TxnOffsetCommitResponseTopic],
) -> CommitOffsets {
    let topics = request.topics.into_iter().zip(results).map(|(topic, result)| {
        let pairs = topic.partitions.into_iter().zip(&result.partitions);
        let wanted = pairs.filter(|(_, result)| result.error_code == KafkaCode::None.number());
        let partition = |(own, _): (TxnOffsetCommitRequestPartition, _)| CommitPartition {
            partition: own.partition_index,
            offset: own.committed_offset,
            leader_epoch: own.committed_leader_epoch,
            metadata: own.committed_metadata,
        };
        CommitTopic { name: topic.name, partitions: wanted.map(partition).collect() }
    });
    CommitOffsets {
        group: request.group_id,
        generation: request.generation_id,
        member: request.member_id,
        instance: request.group_instance_id,
        retention_ms: None,
        topics: topics.filter(|topic| !topic.partitions.is_empty()).collect(),
        names_missing_group: false,
    }
}

/// Puts the coordinator's codes, which come in the order they were asked, where NONE stands.
fn fill_in(topics: &mut [TxnOffsetCommitResponseTopic], results: Vec<TopicResult>) {
    let mut codes = results.into_iter().flat_map(|topic| topic.partitions);
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == KafkaCode::None.number() {
            let (index, code) = codes.next().expect("one code per partition that was asked");
            assert!(index == partition.partition_index);
            partition.error_code = code.number();
        }
    }
}

fn fill_in_refusal(topics: &mut [TxnOffsetCommitResponseTopic], code: KafkaCode) {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == KafkaCode::None.number() {
            partition.error_code = code.number();
        }
    }
}
