//! One turn of the coordinator: the time it happens at, and what it brings forth.

use super::calls::TransactionAnswer;
use super::metadata::{NO_EPOCH, Outcome, Partitions, TransactionMetadata, TransactionState};
use super::records::TransactionRecord;
use crate::coordinator::replayed::{Effect, Step, Waiter};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::model::transaction_config::TransactionConfig;

/// The partitions of a decided transaction that are still to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkersToWrite {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Of the coordinator: the leader epoch of its partition.
    pub coordinator_epoch: LeaderEpoch,
    /// When it was decided, by the coordinator's wall clock: larger for each transaction of a
    /// producer, and the same however often markers are ordered.
    pub decided_ms: i64,
    pub outcome: Outcome,
    pub partitions: Partitions,
}

impl MarkersToWrite {
    /// Whether they end this transaction, once it is decided.
    pub(super) fn is_of(&self, metadata: &TransactionMetadata) -> bool {
        (self.producer_id, self.producer_epoch, self.decided_ms)
            == (metadata.producer_id, metadata.epoch, metadata.updated_ms)
    }
}

/// A step of the transaction coordinator.
pub type TransactionStep = Step<TransactionRecord, TransactionAnswer, MarkersToWrite>;

/// The surroundings of one step.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) config: &'a TransactionConfig,
    step: TransactionStep,
}

impl<'a> Turn<'a> {
    pub(super) fn new(now: Now, config: &'a TransactionConfig) -> Turn<'a> {
        Turn { now, config, step: Step::default() }
    }

    pub(super) fn write(&mut self, id: &str, metadata: Option<&TransactionMetadata>) {
        if let Some(metadata) = metadata {
            assert!(metadata.epoch > NO_EPOCH, "an epoch is given before the log hears of the id");
            assert!(metadata.state != TransactionState::Dead, "over within its step");
            assert!(metadata.state != TransactionState::PrepareEpochFence, "over within its step");
        }
        let metadata = metadata.cloned();
        self.step.records.push(TransactionRecord { transactional_id: id.to_owned(), metadata });
    }

    pub(super) fn answer(&mut self, waiter: Waiter, answer: TransactionAnswer) {
        self.step.effects.push(Effect::Answer(waiter, answer));
    }

    pub(super) fn refuse(&mut self, waiter: Waiter, code: KafkaCode) {
        self.answer(waiter, TransactionAnswer::Refused(code));
    }

    /// Has the markers of a prepared transaction written, once its record is committed.
    pub(super) fn order_markers(
        &mut self,
        id: &str,
        metadata: &TransactionMetadata,
        coordinator_epoch: LeaderEpoch,
    ) {
        let outcome = Outcome::of(metadata.state).expect("only prepared transactions have markers");
        assert!(metadata.state.is_prepared());
        self.step.effects.push(Effect::Order(MarkersToWrite {
            transactional_id: id.to_owned(),
            producer_id: metadata.producer_id,
            producer_epoch: metadata.epoch,
            coordinator_epoch,
            decided_ms: metadata.updated_ms,
            outcome,
            partitions: metadata.partitions.clone(),
        }));
    }

    /// Monotonic time at which the wall clock should show `wall_ms`, in microseconds.
    pub(super) fn deadline_at_us(&self, wall_ms: i64) -> u64 {
        let left_ms = wall_ms.saturating_sub(self.now.wall_ms);
        self.now.deadline_us(u64::try_from(left_ms).unwrap_or(0))
    }

    pub(super) fn into_step(self) -> TransactionStep {
        self.step
    }
}
