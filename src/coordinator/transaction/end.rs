//! EndTxn in both of Kafka's flows: one epoch per producer (KIP-98), and one per transaction
//! (KIP-890), where the epoch tells a repeated request from the next one.
//!
//! ```text
//!  epoch per transaction      Abort              Commit
//!                         retry   current    retry   current     retry: the epoch before
//!  Empty                  fenced  ends       fenced  refused     ends: an empty transaction,
//!  CompleteAbort          done    ends       fenced  refused           the epoch moves
//!  CompleteCommit         refused ends       done    refused     refused: INVALID_TXN_STATE
//! ```
//! Only the coordinator aborts what its producer wants to commit: when its time is up, or another
//! one takes its id. The producer is fenced, which Streams recovers from (KAFKA-20785).

use super::calls::{EndTransaction, TransactionAnswer};
use super::coordinator::TransactionCoordinator;
use super::metadata::{Flow, LAST_EPOCH, Outcome, TransactionMetadata, TransactionState};
use super::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::ids::ProducerEpoch;

/// What a request to end a transaction comes to.
enum Verdict {
    End,
    /// It was ended so before.
    Done,
}

impl TransactionCoordinator {
    pub(super) fn end(
        &mut self,
        end: EndTransaction,
        turn: &mut Turn<'_>,
    ) -> Result<TransactionAnswer, KafkaCode> {
        let id = &end.transactional_id;
        let entry = self.ids.get_mut(id).ok_or(KafkaCode::InvalidProducerIdMapping)?;
        let metadata = &mut entry.metadata;
        let verdict = match end.flow {
            Flow::EpochPerProducer => judge_by_state(metadata, &end)?,
            Flow::EpochPerTransaction => judge_by_epoch(metadata, &end)?,
        };
        let (producer_id, producer_epoch) = (metadata.producer_id, metadata.epoch);
        if matches!(verdict, Verdict::Done) {
            return Ok(TransactionAnswer::End { producer_id, producer_epoch });
        }
        let mut next = (producer_id, producer_epoch);
        if end.flow == Flow::EpochPerTransaction {
            if metadata.is_epoch_exhausted() {
                let Some(spare) = end.spare_id else {
                    return Ok(TransactionAnswer::NeedsProducerId);
                };
                metadata.next_producer_id = Some(spare);
            }
            metadata.last_epoch = metadata.epoch;
            metadata.epoch = metadata.bumped_epoch();
            next = match metadata.next_producer_id {
                Some(spare) => (spare, ProducerEpoch(0)),
                None => (producer_id, metadata.epoch),
            };
        }
        self.prepare(id, end.outcome, end.flow, turn);
        let (producer_id, producer_epoch) = next;
        Ok(TransactionAnswer::End { producer_id, producer_epoch })
    }
}

fn judge_by_state(
    metadata: &TransactionMetadata,
    end: &EndTransaction,
) -> Result<Verdict, KafkaCode> {
    if metadata.producer_id != end.producer_id {
        return Err(KafkaCode::InvalidProducerIdMapping);
    }
    if metadata.epoch != end.producer_epoch {
        return Err(KafkaCode::ProducerFenced);
    }
    if metadata.state == TransactionState::Ongoing {
        return Ok(Verdict::End);
    }
    if Outcome::of(metadata.state) != Some(end.outcome) {
        return Err(KafkaCode::InvalidTxnState);
    }
    match metadata.state.is_prepared() {
        true => Err(KafkaCode::ConcurrentTransactions),
        false => Ok(Verdict::Done),
    }
}

fn judge_by_epoch(
    metadata: &TransactionMetadata,
    end: &EndTransaction,
) -> Result<Verdict, KafkaCode> {
    // Before identity: the producer may already use the epoch or the id that is to follow.
    if metadata.state.is_prepared() {
        return Err(KafkaCode::ConcurrentTransactions);
    }
    let is_same_id = metadata.producer_id == end.producer_id;
    let has_new_id = metadata.previous_producer_id == Some(end.producer_id)
        && end.producer_epoch == LAST_EPOCH
        && metadata.epoch == ProducerEpoch(0);
    if !is_same_id && !has_new_id {
        return Err(KafkaCode::InvalidProducerIdMapping);
    }
    let is_current = is_same_id && metadata.epoch == end.producer_epoch;
    if is_current {
        let may_end = metadata.state == TransactionState::Ongoing || end.outcome == Outcome::Abort;
        return if may_end { Ok(Verdict::End) } else { Err(KafkaCode::InvalidTxnState) };
    }
    let follows = end.producer_epoch.0.checked_add(1) == Some(metadata.epoch.0);
    let is_retry = has_new_id || (is_same_id && follows);
    match Outcome::of(metadata.state) {
        Some(outcome) if is_retry && outcome == end.outcome => Ok(Verdict::Done),
        Some(Outcome::Commit) if is_retry => Err(KafkaCode::InvalidTxnState),
        _ => Err(KafkaCode::ProducerFenced),
    }
}
