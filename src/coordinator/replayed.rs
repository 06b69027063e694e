//! Answers of a replicated state machine, held back until the records behind them are committed.
//!
//! Why: a coordinator's memory is a replay of one partition's records. A step changes the memory
//! at once and hands out records; if an answer left before its records were committed, a crash
//! could make the coordinator forget what a client was told. So one rule, without exceptions:
//! **an answer leaves once everything the state held when it was computed is committed.** Answers
//! of reads and heartbeats obey it too, which makes every read a read of committed state without
//! keeping a second copy (Kafka's CoordinatorRuntime, KIP-848, keeps timeline snapshots instead).
//! With nothing in flight the rule costs nothing: the answer leaves at once.
//!
//! The same rule holds for what else a step sets off ([`Effect::Order`]): markers of a transaction
//! leave once the decision behind them is committed.
//!
//! When an append fails, the memory is ahead of the log and worth nothing: the owner calls
//! [`Replayed::fail`], drops the state and replays the partition from its log start.
//!
//! Invariants
//! - `committed_end` and `appended_end` never go back while active; committed <= appended.
//! - Parked answers are ordered by the end offset they wait for; each leaves once.

use crate::model::ids::Offset;
use bytes::Bytes;
use std::collections::VecDeque;

/// A request that waits for an answer: a number its owner chose, unique while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);

/// Whether the memory is the log's image yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Records are being replayed; clients are told COORDINATOR_LOAD_IN_PROGRESS.
    Loading,
    /// The memory is the log's image; steps are taken.
    Active,
    /// An append failed or the partition is gone; clients are told NOT_COORDINATOR.
    Failed,
}

/// Key and value of a coordinator's record as they lie in the log; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Something that happens once all that the state held when it was decided is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<A, O> {
    Answer(Waiter, A),
    Order(O),
}

/// What one step of a coordinator wants done: append the records, and let the effects happen once
/// these, and all before them, are committed. The coordinator's memory already reflects them.
#[derive(Debug, PartialEq, Eq)]
pub struct Step<R, A, O> {
    pub records: Vec<R>,
    pub effects: Vec<Effect<A, O>>,
}

impl<R, A, O> Default for Step<R, A, O> {
    fn default() -> Self {
        Step { records: Vec::new(), effects: Vec::new() }
    }
}

struct Parked<E> {
    /// Everything below must be committed.
    end: Offset,
    effect: E,
}

/// The gate between a coordinator's steps and its clients. One per coordinator partition.
pub struct Replayed<E> {
    phase: Phase,
    /// One past the last record that the memory reflects.
    appended_end: Offset,
    /// One past the last record known to be committed.
    committed_end: Offset,
    parked: VecDeque<Parked<E>>,
}

impl<E> Default for Replayed<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Replayed<E> {
    /// A gate whose coordinator has replayed nothing yet.
    pub fn new() -> Self {
        Replayed {
            phase: Phase::Loading,
            appended_end: Offset::ZERO,
            committed_end: Offset::ZERO,
            parked: VecDeque::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The replay has reached `end`, which is committed: steps may be taken from here on.
    pub fn on_loaded(&mut self, end: Offset) {
        assert!(self.phase == Phase::Loading);
        assert!(self.parked.is_empty());
        self.appended_end = end;
        self.committed_end = end;
        self.phase = Phase::Active;
    }

    /// A step's records were appended and end before `end`.
    pub fn on_appended(&mut self, end: Offset) {
        assert!(self.phase == Phase::Active);
        assert!(end > self.appended_end);
        self.appended_end = end;
    }

    /// What a step sets off: it waits for everything appended up to here.
    pub fn park(&mut self, effects: Vec<E>) {
        assert!(self.phase == Phase::Active);
        let end = self.appended_end;
        assert!(self.parked.back().is_none_or(|last| last.end <= end));
        self.parked.extend(effects.into_iter().map(|effect| Parked { end, effect }));
    }

    /// The partition's high watermark is `end`. Older news than the last are ignored.
    pub fn on_committed(&mut self, end: Offset) {
        assert!(self.phase == Phase::Active);
        // Above our own last append there may be records that other code put in the partition:
        // no answer waits for those.
        self.committed_end = self.committed_end.max(end.min(self.appended_end));
        assert!(self.committed_end <= self.appended_end);
    }

    /// What may happen now, in the order of its steps.
    pub fn take_committed(&mut self) -> Vec<E> {
        let committed_end = self.committed_end;
        let count = self.parked.partition_point(|parked| parked.end <= committed_end);
        self.parked.drain(..count).map(|parked| parked.effect).collect()
    }

    /// True when something waits for records to be committed.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The memory is no longer the log's image. All that was parked is returned: the owner tells
    /// each waiter that this is not its coordinator, and begins again with [`Replayed::new`].
    pub fn fail(&mut self) -> Vec<E> {
        self.phase = Phase::Failed;
        self.parked.drain(..).map(|parked| parked.effect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded_at(end: u64) -> Replayed<&'static str> {
        let mut replayed = Replayed::new();
        replayed.on_loaded(Offset::new(end));
        replayed
    }

    #[test]
    fn with_nothing_in_flight_an_answer_leaves_at_once() {
        let mut replayed = loaded_at(7);
        replayed.park(vec!["read"]);
        assert_eq!(replayed.take_committed(), ["read"]);
        assert!(!replayed.has_parked());
    }

    #[test]
    fn a_read_behind_an_uncommitted_write_waits_for_it() {
        let mut replayed = loaded_at(0);
        replayed.on_appended(Offset::new(2));
        replayed.park(vec!["write"]);
        replayed.park(vec!["read"]);
        replayed.on_appended(Offset::new(3));
        replayed.park(vec!["later write"]);

        replayed.on_committed(Offset::new(1));
        assert!(replayed.take_committed().is_empty());
        replayed.on_committed(Offset::new(2));
        assert_eq!(replayed.take_committed(), ["write", "read"]);
        replayed.on_committed(Offset::new(1));
        assert!(replayed.take_committed().is_empty());
        replayed.on_committed(Offset::new(9));
        assert_eq!(replayed.take_committed(), ["later write"]);
    }

    #[test]
    fn a_failure_gives_back_all_that_was_parked_once() {
        let mut replayed = loaded_at(0);
        replayed.on_appended(Offset::new(1));
        replayed.park(vec!["a", "b"]);
        assert_eq!(replayed.fail(), ["a", "b"]);
        assert!(replayed.fail().is_empty());
        assert_eq!(replayed.phase(), Phase::Failed);
    }
}
