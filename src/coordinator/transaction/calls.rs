//! What a transaction coordinator is asked and what it answers, free of wire versions.

use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};

/// One request to the coordinator that owns the transactional id.
#[derive(Debug, Clone)]
pub enum TransactionRequest {
    AddPartitions(AddPartitions),
}

/// Partitions of one topic, by the topic's name: a transaction outlives a topic's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// What is asked about the partitions of [`AddPartitions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddMode {
    /// Make them part of the transaction, and begin it if none is open.
    Add,
    /// Tell whether they are part of the open transaction (KIP-890, first part).
    Verify,
}

/// AddPartitionsToTxn of one transactional id.
#[derive(Debug, Clone)]
pub struct AddPartitions {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub topics: Vec<TopicPartitions>,
    pub mode: AddMode,
}

/// One partition's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResult {
    pub topic: String,
    pub partition: i32,
    pub code: KafkaCode,
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionAnswer {
    /// In the order of the request. With [`AddMode::Verify`] a partition that is not part of the
    /// transaction has TRANSACTION_ABORTABLE.
    AddPartitions(Vec<PartitionResult>),
    /// The request as a whole was refused.
    Refused(KafkaCode),
}
