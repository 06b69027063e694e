//! What compaction leaves of one batch. Pure: a batch, the key map and the time in, bytes out.
//!
//! As Kafka's cleaner decides it (KIP-58, KIP-534): a record stays when nothing later in the mapped
//! range has its key; the last record of a key stays unless it is a tombstone whose batch is past
//! its delete horizon. The horizon is set when a tombstone is first met here, so that every reader
//! had `delete.retention.ms` to see it. Records of aborted transactions go at once; a transaction's
//! marker gets its horizon when nothing is left of the transaction, and goes when that is past.
//!
//! Invariants
//! - A record at or behind `mapped_end` always stays.
//! - Offsets, timestamps, producer fields and the codec of what stays are those of the original.

use crate::model::ids::{Offset, ProducerEpoch, ProducerId};
use crate::protocol::record::{
    BatchBuilder, BatchOptions, BuildError, DecodedRecords, NewRecord, ProducerStamp, Record,
    emptied,
};
use crate::protocol::record_batch::{
    BatchError, BatchHeader, CheckedBatch, NO_PRODUCER, TimestampType,
};
use crate::storage::compaction::key_map::KeyMap;
use crate::storage::transactions::AbortedTransaction;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

/// The last batch of a producer that must not go: its sequences are known by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBatch {
    pub(super) epoch: ProducerEpoch,
    /// Last offset of its last batch of records; `None` when only markers were seen.
    pub(super) last_offset: Option<Offset>,
}

/// The last batch of each producer that the log knows.
pub(super) type LastBatches = HashMap<ProducerId, LastBatch, RandomState>;

/// What the filter goes by; the same for a whole round.
pub(super) struct Filter {
    pub(super) keys: KeyMap,
    /// Every key below is in the map.
    pub(super) mapped_end: Offset,
    pub(super) last_batches: LastBatches,
    /// Wall clock at the start of the round, milliseconds since 1970.
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    pub(super) transactions: TransactionWalk,
}

/// What a walk from the front of a log knows of its transactions.
#[derive(Debug, Default)]
pub(super) struct TransactionWalk {
    /// First offset and marker of each producer's aborted transactions, in rising order.
    aborted: HashMap<ProducerId, Vec<(Offset, Offset)>, RandomState>,
    /// Producers with a batch since their last marker.
    with_data: HashSet<ProducerId, RandomState>,
}

impl TransactionWalk {
    /// Of all aborted transactions with records in the walk, in the order of their markers.
    pub(super) fn new(transactions: &[AbortedTransaction]) -> TransactionWalk {
        let mut walk = TransactionWalk::default();
        for AbortedTransaction { producer, first, marker, .. } in transactions {
            walk.aborted.entry(*producer).or_default().push((*first, *marker));
        }
        walk
    }

    /// True when a batch of records belongs to an aborted transaction.
    pub(super) fn is_aborted(&self, header: &BatchHeader) -> bool {
        if !header.attributes().is_transactional() {
            return false;
        }
        let Some(aborted) = self.aborted.get(&ProducerId(header.producer_id())) else {
            return false;
        };
        let base_offset = header.base_offset();
        let behind = aborted.partition_point(|(_, marker)| marker.to_wire() < base_offset);
        aborted.get(behind).is_some_and(|(first, _)| first.to_wire() <= base_offset)
    }

    fn on_records(&mut self, header: &BatchHeader) {
        if header.attributes().is_transactional() {
            self.with_data.insert(ProducerId(header.producer_id()));
        }
    }

    /// True when nothing is left of the transaction that a marker ends.
    fn is_empty_at(&mut self, header: &BatchHeader) -> bool {
        let is_marker = header.attributes().is_transactional();
        is_marker && !self.with_data.remove(&ProducerId(header.producer_id()))
    }
}

/// What is left of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// All of it, as it is.
    Whole,
    /// This instead.
    Rewritten(Bytes),
    Nothing,
}

/// Why a batch cannot be filtered: it is not what was appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error(transparent)]
    Read(#[from] BatchError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Filter {
    /// Filters one batch.
    ///
    /// # Errors
    /// Its records cannot be read, or what is left of them cannot be written.
    pub(super) fn apply(&mut self, batch: &CheckedBatch) -> Result<Kept, FilterError> {
        let header = batch.header();
        if header.attributes().is_control() {
            return self.apply_control(batch);
        }
        self.transactions.on_records(header);
        if self.transactions.is_aborted(header) && header.last_offset() < self.mapped_end.to_wire()
        {
            return self.nothing_kept(header);
        }
        let records = batch.decode_records()?;
        let (mut kept, mut has_tombstone) = (0, false);
        for record in records.iter() {
            let record = record?;
            if self.keeps(header, &record) {
                kept += 1;
                has_tombstone |= record.value.is_none();
            }
        }
        if kept == 0 {
            return self.nothing_kept(header);
        }
        let horizon_ms = match header.delete_horizon_ms() {
            None if has_tombstone => Some(self.now_ms.saturating_add(self.delete_retention_ms)),
            known => known,
        };
        if kept == header.record_count() && horizon_ms == header.delete_horizon_ms() {
            return Ok(Kept::Whole);
        }
        Ok(Kept::Rewritten(self.rewrite(header, &records, horizon_ms)?))
    }

    /// A marker goes when nothing is left of its transaction, after its horizon. The one that alone
    /// knows its producer's epoch stays, with its record: an empty one says nothing to a start.
    fn apply_control(&mut self, batch: &CheckedBatch) -> Result<Kept, FilterError> {
        let header = batch.header();
        let is_mapped = header.last_offset() < self.mapped_end.to_wire();
        if !self.transactions.is_empty_at(header) || !is_mapped || self.is_last_of_producer(header)
        {
            return Ok(Kept::Whole);
        }
        match header.delete_horizon_ms() {
            Some(horizon_ms) if horizon_ms <= self.now_ms => self.nothing_kept(header),
            Some(_) => Ok(Kept::Whole),
            None => {
                let horizon_ms = self.now_ms.saturating_add(self.delete_retention_ms);
                let records = batch.decode_records()?;
                Ok(Kept::Rewritten(self.rewrite(header, &records, Some(horizon_ms))?))
            }
        }
    }

    fn nothing_kept(&self, header: &BatchHeader) -> Result<Kept, FilterError> {
        let is_round_end = header.last_offset() + 1 == self.mapped_end.to_wire();
        if !is_round_end && !self.is_last_of_producer(header) {
            return Ok(Kept::Nothing);
        }
        match header.record_count() {
            0 => Ok(Kept::Whole),
            _ => Ok(Kept::Rewritten(emptied(header)?)),
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        if header.producer_id() == NO_PRODUCER {
            return false;
        }
        match self.last_batches.get(&ProducerId(header.producer_id())) {
            Some(LastBatch { last_offset: Some(last), .. }) => {
                last.to_wire() == header.last_offset()
            }
            Some(LastBatch { last_offset: None, epoch }) => {
                header.attributes().is_control() && header.producer_epoch() == epoch.0
            }
            None => false,
        }
    }

    fn keeps(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        let is_control = header.attributes().is_control();
        if is_control || record.offset >= self.mapped_end.to_wire() {
            return true;
        }
        // Written before the topic was compacted: nothing could ever supersede it.
        let Some(key) = record.key else { return false };
        let is_latest = self.keys.get(key).is_none_or(|latest| record.offset >= latest.to_wire());
        let is_due = header.delete_horizon_ms().is_some_and(|horizon| self.now_ms >= horizon);
        is_latest && (record.value.is_some() || !is_due)
    }

    fn rewrite(
        &self,
        header: &BatchHeader,
        records: &DecodedRecords,
        delete_horizon_ms: Option<i64>,
    ) -> Result<Bytes, FilterError> {
        let attributes = header.attributes();
        let is_append_time = attributes.timestamp_type() == TimestampType::LogAppendTime;
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: header.base_offset(),
            leader_epoch: header.leader_epoch(),
            compression: attributes.compression()?,
            compression_level: None,
            producer: ProducerStamp {
                producer_id: header.producer_id(),
                producer_epoch: header.producer_epoch(),
                base_sequence: header.base_sequence(),
            },
            is_transactional: attributes.is_transactional(),
            is_control: attributes.is_control(),
            delete_horizon_ms,
            log_append_time_ms: is_append_time.then(|| header.max_timestamp()),
        });
        for record in records.iter() {
            let record = record?;
            if !self.keeps(header, &record) {
                continue;
            }
            let Record { offset, timestamp_ms, key, value, headers } = record;
            let headers = &headers;
            builder.push_at(offset, &NewRecord { timestamp_ms, key, value, headers })?;
        }
        builder.extend_to(header.last_offset())?;
        Ok(builder.build()?)
    }
}
