//! Whether a partition is part of a producer's transaction: asked of the transaction's coordinator
//! before the first batch of a transaction goes into a partition (KIP-890).
//!
//! Why: a batch that comes late, when its transaction has ended, would open a transaction that
//! nobody ends. The answer may be outdated when it arrives, so a guard watches the partition from
//! before the question on: a marker of the same producer in between cuts it, and the question is
//! asked again.
//!
//! Invariants
//! - A guard that was opened is closed once; no guard is left when nobody asks.
//! - A marker cuts every guard of its producer and partition that is open when it is appended.

use crate::coordinator::transaction::calls::{AddMode, AddPartitions, TopicPartitions};
use crate::coordinator::transaction::{
    TransactionAnswer, TransactionCoordinator, TransactionRequest,
};
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::model::limits::{VERIFICATION_MS_MAX, VERIFICATION_PAUSE_MS};
use crate::shard::coordinator_host::coordinating_broker;
use crate::shard::remote_transactions::add_partitions_at;
use crate::shard::shard::ShardRef;
use crate::shard::transaction_host::ask_transaction;
use crate::storage::disk::Disk;
use futures::channel::oneshot;
use hashbrown::HashMap;
use std::sync::Arc;

/// How the client's version of the protocol has partitions join a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionFlow {
    /// It adds them itself; a refusal is INVALID_TXN_STATE.
    Explicit,
    /// It adds them itself and knows TRANSACTION_ABORTABLE (Produce v11, TxnOffsetCommit v4).
    ExplicitAbortable,
    /// The broker adds them (KIP-890's second part: Produce v12+, TxnOffsetCommit v5+).
    Implicit,
}

/// Who claims that partitions are part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub transactional_id: Arc<str>,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub flow: TransactionFlow,
}

/// A producer in a partition.
pub type GuardKey = (TopicPartition, ProducerId);

/// Guards of one core.
#[derive(Debug, Default)]
pub struct Guards {
    guards: HashMap<GuardKey, Guard>,
}

#[derive(Debug, Default)]
struct Guard {
    users: u32,
    /// Markers appended since the first user came.
    cuts: u64,
}

impl Guards {
    /// Watches for markers from now on; the number goes to [`Guards::close`].
    pub fn open(&mut self, key: GuardKey) -> u64 {
        let guard = self.guards.entry(key).or_default();
        guard.users += 1;
        guard.cuts
    }

    /// Ends a watch; true when no marker came in between.
    pub fn close(&mut self, key: &GuardKey, opened: u64) -> bool {
        let guard = self.guards.get_mut(key).expect("opened, and not closed yet");
        guard.users -= 1;
        let is_whole = guard.cuts == opened;
        if guard.users == 0 {
            self.guards.remove(key);
        }
        is_whole
    }

    /// A marker of the producer was appended.
    pub fn cut(&mut self, key: &GuardKey) {
        if let Some(guard) = self.guards.get_mut(key) {
            guard.cuts += 1;
        }
    }
}

/// Pauses of this core's tasks, ended by `tick`.
#[derive(Debug, Default)]
pub struct Pauses {
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

impl Pauses {
    /// Completes once `tick` sees `due_us`.
    pub(super) fn until(&mut self, due_us: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push((due_us, sender));
        receiver
    }

    /// When the first pause ends, in monotonic microseconds.
    pub fn next_us(&self) -> u64 {
        self.waiting.iter().map(|(due_us, _)| *due_us).min().unwrap_or(u64::MAX)
    }

    /// Ends every pause that is over.
    pub fn end(&mut self, now_us: u64) {
        for (_, sender) in self.waiting.extract_if(.., |(due_us, _)| *due_us <= now_us) {
            let _ = sender.send(()); // A dropped task pauses no more.
        }
    }
}

/// Asks the coordinator about `partitions`, again while it says that it cannot tell yet. One code
/// for each, in their order, as the claim's version of the protocol knows it.
pub async fn verify<D: Disk>(
    shard: &ShardRef<D>,
    claim: &Claim,
    partitions: &[TopicPartition],
) -> Vec<KafkaCode> {
    let give_up_us = shard.borrow().now.deadline_us(VERIFICATION_MS_MAX);
    loop {
        let codes = ask_once(shard, claim, partitions).await;
        let must_wait = codes.iter().any(|code| is_transient(*code));
        let pause = {
            let mut shard = shard.borrow_mut();
            let due_us = shard.now.deadline_us(VERIFICATION_PAUSE_MS);
            if !must_wait || due_us > give_up_us {
                return codes.into_iter().map(|code| translate(code, claim.flow)).collect();
            }
            shard.pauses.until(due_us)
        };
        if pause.await.is_err() {
            return vec![KafkaCode::NotLeaderOrFollower; partitions.len()];
        }
    }
}

async fn ask_once<D: Disk>(
    shard: &ShardRef<D>,
    claim: &Claim,
    partitions: &[TopicPartition],
) -> Vec<KafkaCode> {
    let Some(topics) = named(shard, partitions) else {
        return vec![KafkaCode::UnknownTopicOrPartition; partitions.len()];
    };
    let add = AddPartitions {
        transactional_id: claim.transactional_id.to_string(),
        producer_id: claim.producer_id,
        producer_epoch: claim.producer_epoch,
        topics,
        mode: match claim.flow {
            TransactionFlow::Explicit | TransactionFlow::ExplicitAbortable => AddMode::Verify,
            TransactionFlow::Implicit => AddMode::Add,
        },
    };
    let elsewhere = {
        let image = &shard.borrow().image;
        coordinating_broker::<TransactionCoordinator>(image, &claim.transactional_id)
    };
    if let Some(broker) = elsewhere {
        return add_partitions_at(shard, broker, add).await;
    }
    let request = TransactionRequest::AddPartitions(add);
    let answer = ask_transaction(shard, &claim.transactional_id, request).await;
    if let TransactionAnswer::AddPartitions(results) = answer {
        assert!(results.len() == partitions.len(), "one result for each partition");
        return results.into_iter().map(|result| result.code).collect();
    }
    let TransactionAnswer::Refused(code) = answer else {
        unreachable!("partitions are answered by partitions, not by {answer:?}");
    };
    vec![code; partitions.len()]
}

/// One entry for each partition, so that results come back one for one; `None` when a topic is
/// gone.
fn named<D: Disk>(
    shard: &ShardRef<D>,
    partitions: &[TopicPartition],
) -> Option<Vec<TopicPartitions>> {
    let shard = shard.borrow();
    let name = |partition: &TopicPartition| {
        let topic = shard.image.topic_by_id(&partition.topic)?;
        let partitions = vec![partition.partition.0];
        Some(TopicPartitions { topic: topic.name.to_string(), partitions })
    };
    partitions.iter().map(name).collect()
}

/// True when the coordinator may know better in a moment.
pub fn is_transient(code: KafkaCode) -> bool {
    matches!(
        code,
        KafkaCode::ConcurrentTransactions
            | KafkaCode::CoordinatorLoadInProgress
            | KafkaCode::CoordinatorNotAvailable
            | KafkaCode::NotCoordinator
    )
}

fn translate(code: KafkaCode, flow: TransactionFlow) -> KafkaCode {
    match code {
        KafkaCode::ProducerFenced => KafkaCode::InvalidProducerEpoch,
        KafkaCode::TransactionAbortable if flow == TransactionFlow::Explicit => {
            KafkaCode::InvalidTxnState
        }
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_between_question_and_answer_cuts_the_guard_of_its_producer_only() {
        let mut guards = Guards::default();
        let key = |id| (TopicPartition::default(), ProducerId(id));
        let (first, other) = (guards.open(key(1)), guards.open(key(2)));
        guards.cut(&key(1));
        guards.cut(&key(3));
        let second = guards.open(key(1));
        assert!(!guards.close(&key(1), first));
        assert!(guards.close(&key(1), second));
        assert!(guards.close(&key(2), other));
        assert!(guards.guards.is_empty());
    }

    #[test]
    fn a_refusal_is_said_in_the_words_of_the_clients_version() {
        let told = |code| {
            [
                TransactionFlow::Explicit,
                TransactionFlow::ExplicitAbortable,
                TransactionFlow::Implicit,
            ]
            .map(|flow| translate(code, flow))
        };
        assert_eq!(told(KafkaCode::ProducerFenced), [KafkaCode::InvalidProducerEpoch; 3]);
        assert_eq!(told(KafkaCode::InvalidTxnState), [KafkaCode::InvalidTxnState; 3]);
        let abortable = KafkaCode::TransactionAbortable;
        assert_eq!(
            told(KafkaCode::TransactionAbortable),
            [KafkaCode::InvalidTxnState, abortable, abortable]
        );
    }
}
