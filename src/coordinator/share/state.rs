//! One share partition's durable state: what its records come to.
//!
//! Invariants
//! - Batches are disjoint and ascending; neighbours differ; none ends below the start offset.
//! - What is written later wins.

use super::calls::{ShareState, ShareSummary};
use super::records::{DeliveryState, Snapshot, StateBatch, Update};
use std::collections::BTreeMap;

/// Nobody has chosen a start offset.
const NO_OFFSET: i64 = -1;

/// The replay of one key's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) snapshot_epoch: i32,
    pub(super) state_epoch: i32,
    pub(super) leader_epoch: i32,
    pub(super) start_offset: i64,
    pub(super) created_ms: i64,
    pub(super) written_ms: i64,
    /// Updates since the last snapshot.
    pub(super) updates: usize,
    /// By first offset.
    batches: BTreeMap<i64, StateBatch>,
}

impl State {
    pub(super) fn from_snapshot(snapshot: Snapshot) -> State {
        let mut state = State {
            snapshot_epoch: snapshot.snapshot_epoch,
            state_epoch: snapshot.state_epoch,
            leader_epoch: snapshot.leader_epoch,
            start_offset: snapshot.start_offset,
            created_ms: snapshot.created_ms,
            written_ms: snapshot.written_ms,
            updates: 0,
            batches: BTreeMap::new(),
        };
        state.overlay(&snapshot.batches);
        state
    }

    pub(super) fn apply(&mut self, update: &Update) {
        self.updates += 1;
        self.leader_epoch = self.leader_epoch.max(update.leader_epoch);
        if update.start_offset != NO_OFFSET {
            self.start_offset = update.start_offset;
        }
        self.overlay(&update.batches);
    }

    pub(super) fn snapshot(&self, snapshot_epoch: i32, now_ms: i64) -> Snapshot {
        Snapshot {
            snapshot_epoch,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            created_ms: self.created_ms,
            written_ms: now_ms,
            batches: self.batches(),
        }
    }

    pub(super) fn read(&self) -> ShareState {
        ShareState {
            state_epoch: self.state_epoch,
            start_offset: self.start_offset,
            batches: self.batches(),
        }
    }

    pub(super) fn summary(&self) -> ShareSummary {
        let over = self.batches.values().filter(|batch| batch.state != DeliveryState::Available);
        let count = over.map(|batch| batch.first.abs_diff(batch.last) + 1).sum();
        ShareSummary {
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: (self.start_offset != NO_OFFSET).then_some(count),
        }
    }

    fn batches(&self) -> Vec<StateBatch> {
        self.batches.values().copied().collect()
    }

    /// Lays newer batches over the older ones, and drops what lies below the start offset.
    fn overlay(&mut self, newer: &[StateBatch]) {
        for batch in newer {
            self.cut_out(batch.first, batch.last);
            self.insert(*batch);
        }
        if self.start_offset > 0 {
            self.cut_out(0, self.start_offset - 1);
        }
    }

    /// Takes the offsets of a range, both ends inclusive, out of whatever batches they are in.
    fn cut_out(&mut self, first: i64, last: i64) {
        assert!(0 <= first && first <= last);
        let before = self.batches.range(..first).next_back().map(|(_, batch)| *batch);
        if let Some(batch) = before.filter(|batch| batch.last >= first) {
            self.batches.insert(batch.first, StateBatch { last: first - 1, ..batch });
            if batch.last > last {
                self.batches.insert(last + 1, StateBatch { first: last + 1, ..batch });
            }
        }
        let inside: Vec<i64> = self.batches.range(first..=last).map(|(first, _)| *first).collect();
        for at in inside {
            let batch = self.batches.remove(&at).expect("found just before");
            if batch.last > last {
                self.batches.insert(last + 1, StateBatch { first: last + 1, ..batch });
            }
        }
    }

    /// Adds a batch where there is none, and joins it with equal neighbours.
    fn insert(&mut self, mut batch: StateBatch) {
        let is_equal = |other: &StateBatch| {
            other.state == batch.state && other.delivery_count == batch.delivery_count
        };
        let before = self.batches.range(..batch.first).next_back().map(|(_, other)| *other);
        let before = before.filter(|other| other.last + 1 == batch.first && is_equal(other));
        let after = batch.last.checked_add(1).and_then(|next| self.batches.get(&next)).copied();
        let after = after.filter(is_equal);
        if let Some(after) = after {
            self.batches.remove(&after.first);
            batch.last = after.last;
        }
        if let Some(before) = before {
            batch.first = before.first;
        }
        let before = self.batches.insert(batch.first, batch);
        assert!(before.is_none_or(|before| before.last < batch.last));
    }
}
