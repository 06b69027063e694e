//! Transactions whose partitions and coordinator live on different brokers: markers for leaders
//! elsewhere, and questions to a coordinator elsewhere.
//!
//! Both may be asked twice and change nothing the second time, so a lost answer costs a repetition
//! and no more. What was asked first may arrive after its repetition: see markers.rs.

use crate::coordinator::transaction::calls::{AddMode, AddPartitions};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, LeaderEpoch};
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use crate::protocol::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use crate::shard::markers::MarkerOrder;
use crate::shard::peers;
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;
use std::collections::BTreeMap;

/// Partitions by the names of their topics, with the epoch of their leader.
pub(super) type Named = BTreeMap<String, Vec<(i32, LeaderEpoch)>>;

/// Has another broker write a marker into partitions that it leads; the codes that it answers,
/// none for what it does not answer.
pub(super) async fn write_markers_at<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    marker: MarkerOrder,
    partitions: Named,
) -> BTreeMap<(String, i32), KafkaCode> {
    let topic = |(name, places): (String, Vec<(i32, LeaderEpoch)>)| WritableTxnMarkerTopic {
        name,
        partition_indexes: places.iter().map(|(index, _)| *index).collect(),
        leader_epochs: places.iter().map(|(_, epoch)| epoch.0).collect(),
    };
    let marker = WritableTxnMarker {
        producer_id: marker.producer_id.0,
        producer_epoch: marker.producer_epoch.0,
        transaction_result: marker.is_commit,
        topics: partitions.into_iter().map(topic).collect(),
        coordinator_epoch: marker.coordinator_epoch,
        decided_ms: marker.decided_ms.unwrap_or(-1),
    };
    let request = WriteTxnMarkersRequest { markers: vec![marker] };
    let timeout_ms = shard.borrow().config.cluster.request_timeout_ms;
    let answer = match peers::call(shard, to, &request, timeout_ms).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, "markers for another broker");
            return BTreeMap::new();
        }
    };
    let mut codes = BTreeMap::new();
    for topic in answer.markers.into_iter().flat_map(|marker| marker.topics) {
        for partition in topic.partitions {
            let code = KafkaCode::from_number(partition.error_code);
            let code = code.unwrap_or(KafkaCode::UnknownServerError);
            codes.insert((topic.name.clone(), partition.partition_index), code);
        }
    }
    codes
}

/// Asks the coordinator on another broker to add or verify partitions (KIP-890); one code for each
/// of them, in their order.
pub(super) async fn add_partitions_at<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    add: AddPartitions,
) -> Vec<KafkaCode> {
    let count = add.topics.iter().map(|topic| topic.partitions.len()).sum();
    let topic = |topic: crate::coordinator::transaction::calls::TopicPartitions| {
        AddPartitionsToTxnTopic { name: topic.topic, partitions: topic.partitions }
    };
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: add.transactional_id,
        producer_id: add.producer_id.0,
        producer_epoch: add.producer_epoch.0,
        verify_only: add.mode == AddMode::Verify,
        topics: add.topics.into_iter().map(topic).collect(),
    };
    let request = AddPartitionsToTxnRequest {
        transactions: vec![transaction],
        ..AddPartitionsToTxnRequest::default()
    };
    let timeout_ms = shard.borrow().config.cluster.request_timeout_ms;
    let Ok(answer) = peers::call(shard, to, &request, timeout_ms).await else {
        return vec![KafkaCode::CoordinatorNotAvailable; count];
    };
    let results = answer.results_by_transaction.into_iter().flat_map(|one| one.topic_results);
    let codes: Vec<KafkaCode> = results
        .flat_map(|topic| topic.results_by_partition)
        .map(|result| KafkaCode::from_number(result.partition_error_code))
        .map(|code| code.unwrap_or(KafkaCode::UnknownServerError))
        .collect();
    match codes.len() == count {
        true => codes,
        false => vec![KafkaCode::UnknownServerError; count],
    }
}
