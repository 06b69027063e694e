//! What a transaction coordinator is asked and what it answers, free of wire versions.

use super::metadata::{Flow, Outcome, TransactionState};
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::model::limits::TRANSACTIONAL_ID_BYTES_MAX;
use regex::Regex;
use std::collections::BTreeSet;

/// One request to the coordinator that owns the transactional id, or, for [`List`], to each.
///
/// [`List`]: TransactionRequest::List
#[derive(Debug, Clone)]
pub enum TransactionRequest {
    Init(InitProducer),
    AddPartitions(AddPartitions),
    End(EndTransaction),
    /// A transactional id.
    Describe(String),
    List(TransactionFilter),
}

impl TransactionRequest {
    /// Whether carrying it out may bring forth records.
    pub fn may_write(&self) -> bool {
        match self {
            TransactionRequest::Init(_) | TransactionRequest::End(_) => true,
            TransactionRequest::AddPartitions(add) => add.mode == AddMode::Add,
            TransactionRequest::Describe(_) | TransactionRequest::List(_) => false,
        }
    }

    /// Refuses ids that no transaction can have.
    pub(super) fn check(&self) -> Result<(), KafkaCode> {
        let id = match self {
            TransactionRequest::Init(init) => &init.transactional_id,
            TransactionRequest::AddPartitions(add) => &add.transactional_id,
            TransactionRequest::End(end) => &end.transactional_id,
            TransactionRequest::Describe(id) => id,
            TransactionRequest::List(_) => return Ok(()),
        };
        match id.is_empty() || id.len() > TRANSACTIONAL_ID_BYTES_MAX {
            true => Err(KafkaCode::InvalidRequest),
            false => Ok(()),
        }
    }
}

/// InitProducerId with a transactional id.
#[derive(Debug, Clone)]
pub struct InitProducer {
    pub transactional_id: String,
    pub timeout_ms: i32,
    /// What the producer had before, to go on after an error (KIP-360).
    pub expected: Option<(ProducerId, ProducerEpoch)>,
    /// An unused producer id, for when one is needed; without it the answer is
    /// [`TransactionAnswer::NeedsProducerId`].
    pub spare_id: Option<ProducerId>,
}

/// EndTxn.
#[derive(Debug, Clone)]
pub struct EndTransaction {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub outcome: Outcome,
    pub flow: Flow,
    /// As in [`InitProducer`].
    pub spare_id: Option<ProducerId>,
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

/// Which transactions ListTransactions wants. Empty sets let everything through.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    pub states: Vec<TransactionState>,
    pub producer_ids: BTreeSet<i64>,
    /// Only transactions that began longer ago than this; `None` lets everything through.
    pub longer_than_ms: Option<i64>,
    /// Only ids that match as a whole.
    pub pattern: Option<Regex>,
}

/// One partition's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionResult {
    pub topic: String,
    pub partition: i32,
    pub code: KafkaCode,
}

/// One transactional id in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// -1 when no transaction was begun yet.
    pub started_ms: i64,
    pub topics: Vec<TopicPartitions>,
}

/// One line of ListTransactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTransaction {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub state: TransactionState,
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionAnswer {
    /// What the producer is from now on.
    Init {
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
    },
    /// In the order of the request. With [`AddMode::Verify`] a partition that is not part of the
    /// transaction has TRANSACTION_ABORTABLE.
    AddPartitions(Vec<PartitionResult>),
    /// Decided and committed. What the producer uses for its next transaction, which under
    /// [`Flow::EpochPerProducer`] is what it used for this one.
    End {
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
    },
    Describe(DescribedTransaction),
    List(Vec<ListedTransaction>),
    /// Ask again with an unused producer id.
    NeedsProducerId,
    /// The request as a whole was refused.
    Refused(KafkaCode),
}

impl TransactionAnswer {
    /// The code of a refusal; an answer to another question is our own fault.
    pub fn refusal(&self) -> KafkaCode {
        match self {
            TransactionAnswer::Refused(code) => *code,
            TransactionAnswer::Init { .. }
            | TransactionAnswer::AddPartitions(_)
            | TransactionAnswer::End { .. }
            | TransactionAnswer::Describe(_)
            | TransactionAnswer::List(_)
            | TransactionAnswer::NeedsProducerId => KafkaCode::UnknownServerError,
        }
    }
}
