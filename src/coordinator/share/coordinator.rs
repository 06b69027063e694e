//! All share partitions' states of one `__share_group_state` partition, and the door to them.
//!
//! A change is one record: an update, or after so many updates a snapshot of all of it. The log is
//! kept short by a checkpoint: from time to time every state is written as a snapshot, and once
//! these are committed, everything before them is dropped from the log's start. (Kafka prunes up to
//! the oldest snapshot that still counts, and writes snapshots of states that rest, to the same
//! end.)
//!
//! Invariants
//! - The memory is what a replay of the log from its start comes to, at any moment.
//! - A write under an older state epoch or leader epoch changes nothing, nor does one whose start
//!   offset lies before the present one: it was under way while later ones overtook it.

use super::calls::{ShareAnswer, ShareRequest, ShareSummary, StateWrite};
use super::records::{ShareKey, ShareRecord, Snapshot, Update};
use super::state::State;
use crate::coordinator::replayed::{Effect, Step, Waiter};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::Offset;
use crate::model::limits::{
    SHARE_CHECKPOINT_INTERVAL_MS, SHARE_CHECKPOINT_RECORDS_MIN, SHARE_STATES_MAX,
};
use std::collections::BTreeMap;

/// An epoch or offset that nobody has set.
const UNSET: i32 = -1;
const NO_OFFSET: i64 = -1;

/// Everything below `before` is superseded: the log may begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prune {
    pub before: Offset,
}

/// One step.
pub type ShareStep = Step<ShareRecord, ShareAnswer, Prune>;

/// Where a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    None,
    /// Its snapshots are on their way into the log.
    Written,
    /// The log has them from here on.
    Appended(Offset),
}

/// The share coordinator of one partition of `__share_group_state`.
pub struct ShareCoordinator {
    states: BTreeMap<ShareKey, State>,
    updates_per_snapshot: usize,
    /// Records since the last checkpoint, or found by the replay.
    records: usize,
    checkpoint: Checkpoint,
    checkpoint_due_us: u64,
}

impl ShareCoordinator {
    /// A coordinator that has replayed nothing.
    pub fn new(updates_per_snapshot: usize) -> ShareCoordinator {
        ShareCoordinator {
            states: BTreeMap::new(),
            updates_per_snapshot,
            records: 0,
            checkpoint: Checkpoint::None,
            checkpoint_due_us: u64::MAX,
        }
    }

    /// Applies a record of the log.
    pub fn replay(&mut self, record: ShareRecord) {
        assert!(self.checkpoint == Checkpoint::None);
        self.records += 1;
        self.apply(record);
    }

    /// The replay is complete.
    pub fn on_loaded(&mut self, now: Now) {
        self.checkpoint_due_us = now.deadline_us(SHARE_CHECKPOINT_INTERVAL_MS);
    }

    /// Answers a request.
    pub fn on_request(&mut self, request: ShareRequest, waiter: Waiter, now: Now) -> ShareStep {
        let (record, answer) = match request {
            ShareRequest::Initialize { key, state_epoch, start_offset } => {
                self.initialize(key, state_epoch, start_offset, now)
            }
            ShareRequest::Read { key, leader_epoch } => self.read(key, leader_epoch, now),
            ShareRequest::Write { key, write } => self.write(key, write, now),
            ShareRequest::Summary { key } => (None, self.summary(&key)),
            ShareRequest::Delete { key } => self.delete(key),
        };
        let mut step = Step::default();
        if let Some(record) = record {
            self.records += 1;
            self.apply(record.clone());
            step.records.push(record);
        }
        step.effects.push(Effect::Answer(waiter, answer));
        step
    }

    /// The records of the last step lie in the log from `first` on.
    pub fn on_appended(&mut self, first: Offset) {
        assert!(!matches!(self.checkpoint, Checkpoint::Appended(before) if before > first));
        if self.checkpoint == Checkpoint::Written {
            self.checkpoint = Checkpoint::Appended(first);
        }
    }

    /// Does what is due.
    pub fn on_tick(&mut self, now: Now) -> ShareStep {
        if let Checkpoint::Appended(before) = self.checkpoint {
            self.checkpoint = Checkpoint::None;
            return Step { records: Vec::new(), effects: vec![Effect::Order(Prune { before })] };
        }
        if now.monotonic_us < self.checkpoint_due_us {
            return Step::default();
        }
        self.checkpoint_due_us = now.deadline_us(SHARE_CHECKPOINT_INTERVAL_MS);
        // Half of what it drops at least was superseded, so a checkpoint pays for itself.
        if self.records < SHARE_CHECKPOINT_RECORDS_MIN.max(2 * self.states.len()) {
            return Step::default();
        }
        self.begin_checkpoint(now)
    }

    /// Monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        match self.checkpoint {
            Checkpoint::Appended(_) => 0,
            Checkpoint::None | Checkpoint::Written => self.checkpoint_due_us,
        }
    }

    fn begin_checkpoint(&mut self, now: Now) -> ShareStep {
        assert!(self.checkpoint == Checkpoint::None);
        let mut step = Step::default();
        for (key, state) in &mut self.states {
            state.snapshot_epoch = state.snapshot_epoch.wrapping_add(1);
            state.written_ms = now.wall_ms;
            state.updates = 0;
            let snapshot = state.snapshot(state.snapshot_epoch, now.wall_ms);
            step.records.push(ShareRecord::Snapshot(key.clone(), Some(snapshot)));
        }
        // Nothing is left: the log keeps what forgets the last of them, until there is more.
        if !step.records.is_empty() {
            self.records = step.records.len();
            self.checkpoint = Checkpoint::Written;
        }
        step
    }

    fn apply(&mut self, record: ShareRecord) {
        match record {
            ShareRecord::Snapshot(key, Some(snapshot)) => {
                self.states.insert(key, State::from_snapshot(snapshot));
            }
            ShareRecord::Snapshot(key, None) => drop(self.states.remove(&key)),
            ShareRecord::Update(key, Some(update)) => {
                if let Some(state) = self.states.get_mut(&key) {
                    state.apply(&update);
                }
            }
            // Snapshots alone say whether there is a state.
            ShareRecord::Update(_, None) => {}
        }
    }

    fn initialize(
        &self,
        key: ShareKey,
        state_epoch: i32,
        start_offset: i64,
        now: Now,
    ) -> (Option<ShareRecord>, ShareAnswer) {
        let known = self.states.get(&key);
        if known.is_none() && self.states.len() >= SHARE_STATES_MAX {
            return refused(KafkaCode::InvalidRequest);
        }
        if start_offset < NO_OFFSET || state_epoch < 0 {
            return refused(KafkaCode::InvalidRequest);
        }
        match known.map(|state| state.state_epoch) {
            Some(known) if known > state_epoch => return refused(KafkaCode::FencedStateEpoch),
            // Asked twice: what was delivered since the first time stays known.
            Some(known) if known == state_epoch && start_offset == NO_OFFSET => {
                return (None, ShareAnswer::Unchanged);
            }
            Some(_) | None => {}
        }
        let snapshot = Snapshot {
            snapshot_epoch: known.map_or(0, |state| state.snapshot_epoch.wrapping_add(1)),
            state_epoch,
            leader_epoch: known.map_or(UNSET, |state| state.leader_epoch),
            start_offset,
            created_ms: known.map_or(now.wall_ms, |state| state.created_ms),
            written_ms: now.wall_ms,
            batches: Vec::new(),
        };
        (Some(ShareRecord::Snapshot(key, Some(snapshot))), ShareAnswer::Done)
    }

    fn read(
        &self,
        key: ShareKey,
        leader_epoch: i32,
        now: Now,
    ) -> (Option<ShareRecord>, ShareAnswer) {
        let Some(state) = self.states.get(&key) else {
            return refused(KafkaCode::InvalidRequest);
        };
        if state.leader_epoch > leader_epoch {
            return refused(KafkaCode::FencedLeaderEpoch);
        }
        let answer = ShareAnswer::State(state.read());
        if state.leader_epoch == leader_epoch {
            return (None, answer);
        }
        let write = StateWrite {
            state_epoch: state.state_epoch,
            leader_epoch,
            start_offset: NO_OFFSET,
            batches: Vec::new(),
        };
        (Some(self.record_of(key, state, write, now)), answer)
    }

    fn write(
        &self,
        key: ShareKey,
        write: StateWrite,
        now: Now,
    ) -> (Option<ShareRecord>, ShareAnswer) {
        let Some(state) = self.states.get(&key) else {
            return refused(KafkaCode::InvalidRequest);
        };
        if state.state_epoch > write.state_epoch {
            return refused(KafkaCode::FencedStateEpoch);
        }
        if state.leader_epoch > write.leader_epoch {
            return refused(KafkaCode::FencedLeaderEpoch);
        }
        let is_overtaken = (0..state.start_offset).contains(&write.start_offset);
        if is_overtaken && state.state_epoch == write.state_epoch {
            return refused(KafkaCode::FencedStateEpoch);
        }
        (Some(self.record_of(key, state, write, now)), ShareAnswer::Done)
    }

    /// An update, or a snapshot when there were updates enough.
    fn record_of(&self, key: ShareKey, state: &State, write: StateWrite, now: Now) -> ShareRecord {
        assert!(state.state_epoch <= write.state_epoch);
        assert!(state.leader_epoch <= write.leader_epoch);
        let update = Update {
            snapshot_epoch: state.snapshot_epoch,
            leader_epoch: write.leader_epoch,
            start_offset: write.start_offset,
            batches: write.batches,
        };
        if state.updates < self.updates_per_snapshot {
            return ShareRecord::Update(key, Some(update));
        }
        let mut next = state.clone();
        next.apply(&update);
        let snapshot = next.snapshot(state.snapshot_epoch.wrapping_add(1), now.wall_ms);
        ShareRecord::Snapshot(key, Some(snapshot))
    }

    fn summary(&self, key: &ShareKey) -> ShareAnswer {
        let unknown = ShareSummary {
            state_epoch: UNSET,
            leader_epoch: UNSET,
            start_offset: NO_OFFSET,
            delivery_complete_count: None,
        };
        ShareAnswer::Summary(self.states.get(key).map_or(unknown, State::summary))
    }

    fn delete(&self, key: ShareKey) -> (Option<ShareRecord>, ShareAnswer) {
        match self.states.contains_key(&key) {
            true => (Some(ShareRecord::Snapshot(key, None)), ShareAnswer::Done),
            false => (None, ShareAnswer::Unchanged),
        }
    }
}

fn refused(code: KafkaCode) -> (Option<ShareRecord>, ShareAnswer) {
    (None, ShareAnswer::Refused(code))
}
