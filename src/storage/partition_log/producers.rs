//! What a batch means for its producer and its producer's transaction, before and after it is in
//! the log.

use super::{Appended, PartitionLog};
use crate::model::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::protocol::record::TransactionMarker;
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::storage::append_check::{self, AppendError, AppendOrigin};
use crate::storage::disk::Disk;
use crate::storage::producer_state::{ProducerBatch, SequenceRefusal, SequenceVerdict};
use crate::storage::transactions::AbortedTransaction;

impl<D: Disk> PartitionLog<D> {
    /// Judges a batch by its producer's past; a duplicate answers with the offsets it has.
    pub(super) fn check_producer(
        &self,
        batch: &CheckedBatch,
        origin: AppendOrigin,
    ) -> Result<Option<Appended>, AppendError> {
        let header = batch.header();
        if !append_check::has_producer(header) || origin == AppendOrigin::Replication {
            return Ok(None);
        }
        if origin == AppendOrigin::Coordinator {
            return self.check_coordinated(batch).map(|()| None);
        }
        let epoch = ProducerEpoch(header.producer_epoch());
        match self.producers.check(&producer_batch(header, self.log_end())) {
            SequenceVerdict::Append => Ok(None),
            SequenceVerdict::Duplicate(span) => Ok(Some(Appended {
                base_offset: span.base_offset,
                last_offset: span.last_offset,
                log_append_time_ms: -1,
                is_duplicate: true,
            })),
            SequenceVerdict::Refuse(SequenceRefusal::FencedEpoch { current }) => {
                Err(AppendError::FencedProducer { epoch, current })
            }
            SequenceVerdict::Refuse(SequenceRefusal::OutOfOrder { expected }) => {
                let sequence = header.base_sequence();
                Err(AppendError::OutOfOrderSequence { sequence, expected })
            }
            SequenceVerdict::Refuse(SequenceRefusal::OutsideTransaction) => {
                Err(AppendError::OutsideTransaction)
            }
        }
    }

    /// A marker, or the offsets that a transaction commits: no sequences, but epochs.
    fn check_coordinated(&self, batch: &CheckedBatch) -> Result<(), AppendError> {
        let header = batch.header();
        let id = ProducerId(header.producer_id());
        let epoch = ProducerEpoch(header.producer_epoch());
        if let Some(current) = self.producers.epoch(id).filter(|current| epoch < *current) {
            return Err(AppendError::FencedProducer { epoch, current });
        }
        let known = self.producers.coordinator_epoch(id);
        match TransactionMarker::of(batch) {
            Some((_, epoch)) if epoch < known => {
                Err(AppendError::FencedCoordinator { epoch, current: known })
            }
            _ => Ok(()),
        }
    }

    /// Brings epochs, producers and transactions up to date with a batch of the log; `header` is as
    /// stored.
    pub(in crate::storage) fn note_in_state(
        &mut self,
        header: &BatchHeader,
        batch: &CheckedBatch,
        now_ms: i64,
    ) {
        let base_offset = Offset::from_wire(header.base_offset()).expect("stamped, or checked");
        self.note_epoch(header, base_offset);
        if !append_check::has_producer(header) {
            return;
        }
        self.snapshots.begin_at(base_offset);
        let produced = producer_batch(header, base_offset);
        let id = produced.id;
        if !header.attributes().is_control() {
            if self.producers.on_batch(&produced, now_ms) {
                self.transactions.begin(id, base_offset);
            }
        } else if let Some((marker, coordinator_epoch)) = TransactionMarker::of(batch)
            && let Some(first) = self.producers.on_marker(&produced, coordinator_epoch, now_ms)
        {
            let is_commit = marker == TransactionMarker::Commit;
            self.transactions.end(id, first, base_offset, is_commit);
        }
    }

    /// Brings epochs up to date with a batch of the log.
    pub(in crate::storage) fn note_epoch(&mut self, header: &BatchHeader, base_offset: Offset) {
        if header.leader_epoch() >= 0 {
            let epoch = LeaderEpoch(header.leader_epoch());
            self.is_epoch_file_due |= self.epochs.assign(epoch, base_offset);
        }
    }

    /// End of what readers of committed records may see, when `high_watermark` is what others may.
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        match self.transactions.first_undecided() {
            // Retention may have taken the front of an open transaction.
            Some(first) => first.max(self.log_start()).min(high_watermark),
            None => high_watermark,
        }
    }

    /// The high watermark rose: markers below it have decided their transactions.
    pub fn on_committed(&mut self, high_watermark: Offset) {
        self.committed = self.committed.max(high_watermark);
        self.transactions.on_committed(high_watermark);
    }

    /// Aborted transactions with records in `from..up_to`, in the order of their markers.
    pub fn aborted_between(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        self.transactions.aborted_between(from, up_to)
    }
}

fn producer_batch(header: &BatchHeader, base_offset: Offset) -> ProducerBatch {
    let offsets = u64::from(header.last_offset_delta().unsigned_abs());
    ProducerBatch {
        id: ProducerId(header.producer_id()),
        epoch: ProducerEpoch(header.producer_epoch()),
        first_sequence: header.base_sequence(),
        last_sequence: header.last_sequence(),
        base_offset,
        last_offset: base_offset.advance(offsets),
        max_timestamp_ms: header.max_timestamp(),
        is_transactional: header.attributes().is_transactional(),
    }
}
