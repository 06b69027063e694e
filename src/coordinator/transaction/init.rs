//! InitProducerId with a transactional id: who the producer is, and the end of whoever used the id
//! before (KIP-98, KIP-360).

use super::calls::{InitProducer, TransactionAnswer};
use super::coordinator::{Entry, TransactionCoordinator};
use super::metadata::{
    Flow, LAST_EPOCH, NO_EPOCH, Partitions, TransactionMetadata, TransactionState,
};
use super::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::model::limits::TRANSACTIONAL_IDS_MAX;

/// Producer id, epoch and last epoch that an InitProducerId leads to.
type Identity = (ProducerId, ProducerEpoch, ProducerEpoch);

impl TransactionCoordinator {
    pub(super) fn init(
        &mut self,
        init: InitProducer,
        turn: &mut Turn<'_>,
    ) -> Result<TransactionAnswer, KafkaCode> {
        if !(1..=turn.config.timeout_max_ms).contains(&init.timeout_ms) {
            return Err(KafkaCode::InvalidTransactionTimeout);
        }
        let id = init.transactional_id.clone();
        let Some(entry) = self.ids.get(&id) else { return self.init_new(init, turn) };
        let metadata = &entry.metadata;
        if metadata.state.is_prepared() {
            return Err(KafkaCode::ConcurrentTransactions);
        }
        if !metadata.may_resume(init.expected) {
            return Err(KafkaCode::ProducerFenced);
        }
        if metadata.state == TransactionState::Ongoing {
            // The client asks again, and then gets an epoch above the one that fences here.
            self.fence(&id, turn);
            return Err(KafkaCode::ConcurrentTransactions);
        }
        let Some(identity) = metadata.next_identity(&init) else {
            return Ok(TransactionAnswer::NeedsProducerId);
        };
        Ok(self.begin_empty(&id, identity, init.timeout_ms, turn))
    }

    fn init_new(
        &mut self,
        init: InitProducer,
        turn: &mut Turn<'_>,
    ) -> Result<TransactionAnswer, KafkaCode> {
        if self.ids.len() >= TRANSACTIONAL_IDS_MAX {
            return Err(KafkaCode::CoordinatorNotAvailable);
        }
        let Some(producer_id) = init.spare_id else {
            return Ok(TransactionAnswer::NeedsProducerId);
        };
        let metadata = TransactionMetadata {
            producer_id,
            previous_producer_id: None,
            next_producer_id: None,
            epoch: NO_EPOCH,
            last_epoch: NO_EPOCH,
            timeout_ms: init.timeout_ms,
            state: TransactionState::Empty,
            partitions: Partitions::new(),
            updated_ms: turn.now.wall_ms,
            started_ms: -1,
            flow: Flow::EpochPerProducer,
        };
        let id = init.transactional_id;
        self.ids.insert(id.clone(), Entry::new(metadata));
        let identity = (producer_id, ProducerEpoch(0), NO_EPOCH);
        Ok(self.begin_empty(&id, identity, init.timeout_ms, turn))
    }

    fn begin_empty(
        &mut self,
        id: &str,
        (producer_id, producer_epoch, last_epoch): Identity,
        timeout_ms: i32,
        turn: &mut Turn<'_>,
    ) -> TransactionAnswer {
        let metadata = &mut self.ids.get_mut(id).expect("the caller has just looked").metadata;
        assert!(metadata.partitions.is_empty());
        assert!(producer_epoch.0 >= 0 && producer_epoch <= LAST_EPOCH);
        metadata.previous_producer_id = Some(metadata.producer_id);
        metadata.producer_id = producer_id;
        metadata.epoch = producer_epoch;
        metadata.last_epoch = last_epoch;
        metadata.timeout_ms = timeout_ms;
        metadata.state = TransactionState::Empty;
        metadata.started_ms = -1;
        metadata.touch(turn.now.wall_ms);
        turn.write(id, Some(metadata));
        self.wake_in_time(id, turn);
        TransactionAnswer::Init { producer_id, producer_epoch }
    }
}

impl TransactionMetadata {
    /// Whether a producer that says what it had before is this one, or this one's earlier self
    /// that did not hear of its new id.
    ///
    /// Kafka looks at the epoch only once no transaction is open, so there a producer that was
    /// fenced long ago can abort its successor's transaction. Here it cannot.
    fn may_resume(&self, expected: Option<(ProducerId, ProducerEpoch)>) -> bool {
        let Some((producer_id, epoch)) = expected else { return true };
        let is_known = [self.epoch, self.last_epoch].contains(&epoch);
        let had_last_id = Some(producer_id) == self.previous_producer_id && epoch >= LAST_EPOCH;
        (producer_id == self.producer_id || had_last_id) && is_known
    }

    /// Who the producer is from now on; `None` when that takes an unused producer id.
    fn next_identity(&self, init: &InitProducer) -> Option<Identity> {
        let expected = init.expected.map(|(_, epoch)| epoch);
        let last_epoch = expected.unwrap_or(NO_EPOCH);
        if self.is_epoch_exhausted() {
            return init.spare_id.map(|spare| (spare, ProducerEpoch(0), last_epoch));
        }
        // may_resume saw that the epoch is the current or the last one. The last one is a retry of
        // a call that succeeded, or a producer that was fenced only by its transaction's timeout.
        Some(match expected {
            Some(epoch) if epoch != self.epoch => (self.producer_id, self.epoch, self.last_epoch),
            _ => (self.producer_id, self.bumped_epoch(), last_epoch),
        })
    }
}
