//! What a partition should hold, kept as a plain list of batches.

use highwater::model::ids::{Offset, ProducerEpoch, ProducerId};
use highwater::sim::disk::SimDisk;
use highwater::storage::partition_log::PartitionLog;
use std::collections::BTreeMap;

/// Who produced a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

/// The end of a producer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) is_commit: bool,
}

/// One record of a batch with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelRecord {
    pub(crate) offset: u64,
    pub(crate) key: u64,
    pub(crate) is_tombstone: bool,
}

/// One batch as it must lie in the log.
#[derive(Debug, Clone)]
pub(crate) struct ModelBatch {
    pub(crate) base: u64,
    pub(crate) end: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) is_transactional: bool,
    pub(crate) marker: Option<Marker>,
    /// Of a compacted partition.
    pub(crate) records: Vec<ModelRecord>,
}

/// A transaction that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) producer: i64,
    /// Offset of its marker.
    pub(crate) marker: u64,
    pub(crate) is_commit: bool,
    /// Base offsets of its batches.
    pub(crate) batches: Vec<u64>,
}

/// What readers of committed records must know of one partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TransactionView {
    /// First offset of each open transaction, by producer.
    pub(crate) open: BTreeMap<i64, u64>,
    /// Producer, first offset and marker of each aborted one, in the order of the markers.
    pub(crate) aborted: Vec<(i64, u64, u64)>,
}

/// One partition as its users were told.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<ModelBatch>,
    /// Everything below was promised to survive a power cut.
    pub(crate) durable_end: u64,
    /// Everything below was promised to survive the death of the process.
    pub(crate) written_end: u64,
    /// A log start that was promised.
    pub(crate) log_start: u64,
    /// A log start that was asked for, and may have come true.
    pub(crate) log_start_max: u64,
}

/// A producer's epoch and its last five batches: first and last sequence, base and last offset.
pub(crate) type ProducerView = (i16, Vec<(i32, i32, u64, u64)>);

impl Model {
    pub(crate) fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.end)
    }

    /// Takes what the log says was lost; false when it may not have been.
    pub(crate) fn recover_at(&mut self, end: u64, promised: u64) {
        assert!(end >= promised, "the log ends at {end}, {promised} was promised");
        assert!(end <= self.end(), "the log ends at {end}, behind all that was appended");
        self.batches.retain(|batch| batch.end <= end);
        assert!(self.end() == end, "the log ends at {end}, within a batch");
        self.durable_end = end;
        self.written_end = end;
    }

    /// Batches that a read from `offset` below `up_to` may return.
    pub(crate) fn from(&self, offset: u64) -> &[ModelBatch] {
        let index = self.batches.partition_point(|batch| batch.end <= offset);
        &self.batches[index..]
    }

    pub(crate) fn producers(&self) -> BTreeMap<i64, ProducerView> {
        let mut views: BTreeMap<i64, ProducerView> = BTreeMap::new();
        for batch in &self.batches {
            if let Some(marker) = batch.marker {
                let view = views.entry(marker.id).or_insert((marker.epoch, Vec::new()));
                if marker.epoch > view.0 {
                    *view = (marker.epoch, Vec::new());
                }
            }
            let Some(sequence) = batch.sequence else { continue };
            let view = views.entry(sequence.id).or_insert((sequence.epoch, Vec::new()));
            if sequence.epoch > view.0 {
                *view = (sequence.epoch, Vec::new());
            }
            view.1.push((sequence.first, sequence.last, batch.base, batch.end - 1));
            if view.1.len() > 5 {
                view.1.remove(0);
            }
        }
        views
    }

    /// Transactions that have ended, in the order of their markers.
    pub(crate) fn ended_transactions(&self) -> Vec<Ended> {
        let mut open: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        let mut ended = Vec::new();
        for batch in &self.batches {
            if let Some(sequence) = batch.sequence.filter(|_| batch.is_transactional) {
                open.entry(sequence.id).or_default().push(batch.base);
            }
            let Some(Marker { id: producer, is_commit, .. }) = batch.marker else { continue };
            let Some(batches) = open.remove(&producer) else { continue };
            ended.push(Ended { producer, marker: batch.base, is_commit, batches });
        }
        ended
    }

    /// Transactions whose markers lie at or behind `from`, and the open ones.
    pub(crate) fn transactions(&self, from: u64) -> TransactionView {
        let mut view = TransactionView::default();
        for batch in &self.batches {
            if let Some(sequence) = batch.sequence.filter(|_| batch.is_transactional) {
                view.open.entry(sequence.id).or_insert(batch.base);
            }
            let Some(marker) = batch.marker else { continue };
            let Some(first) = view.open.remove(&marker.id) else { continue };
            if !marker.is_commit && batch.base >= from {
                view.aborted.push((marker.id, first, batch.base));
            }
        }
        view
    }
}

/// The same view of a real log whose markers are all committed.
pub(crate) fn transaction_view(log: &PartitionLog<SimDisk>) -> TransactionView {
    let open = log.producers().open_transactions();
    let aborted = log.aborted_between(log.log_start(), log.log_end());
    let told = aborted.iter().map(|one| (one.producer.0, one.first.get(), one.marker.get()));
    TransactionView {
        open: open.map(|(id, first)| (id.0, first.get())).collect(),
        aborted: told.collect(),
    }
}

/// The same view of a log's real producer state.
pub(crate) fn producer_view(
    state: &highwater::storage::producer_state::ProducerState,
    id: i64,
) -> Option<ProducerView> {
    let (ProducerEpoch(epoch), spans) = state.spans(ProducerId(id))?;
    let span = |span: &highwater::storage::producer_state::BatchSpan| {
        let offset = |offset: Offset| offset.get();
        let sequences = (span.first_sequence, span.last_sequence);
        (sequences.0, sequences.1, offset(span.base_offset), offset(span.last_offset))
    };
    Some((epoch, spans.iter().map(span).collect()))
}
