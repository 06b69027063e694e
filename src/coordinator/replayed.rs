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
//! When an append fails, the memory is ahead of the log and worth nothing: the owner calls
//! [`Replayed::fail`], drops the state and replays the partition from its log start.
//!
//! Invariants
//! - `committed_end` and `appended_end` never go back while active; committed <= appended.
//! - Parked answers are ordered by the end offset they wait for; each leaves once.

use crate::model::ids::Offset;
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

struct Parked<A> {
    /// Everything below must be committed.
    end: Offset,
    waiter: Waiter,
    answer: A,
}

/// The gate between a coordinator's steps and its clients. One per coordinator partition.
pub struct Replayed<A> {
    phase: Phase,
    /// One past the last record that the memory reflects.
    appended_end: Offset,
    /// One past the last record known to be committed.
    committed_end: Offset,
    parked: VecDeque<Parked<A>>,
}

impl<A> Default for Replayed<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Replayed<A> {
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

    /// Parks a step's answers behind everything appended so far. Call after
    /// [`Replayed::on_appended`] of the same step; collect with [`Replayed::take_committed`].
    pub fn park(&mut self, answers: Vec<(Waiter, A)>) {
        assert!(self.phase == Phase::Active);
        let end = self.appended_end;
        assert!(self.parked.back().is_none_or(|last| last.end <= end));
        self.parked.extend(answers.into_iter().map(|(waiter, answer)| Parked {
            end,
            waiter,
            answer,
        }));
    }

    /// The partition's high watermark is `end`. Older news than the last are ignored.
    pub fn on_committed(&mut self, end: Offset) {
        assert!(self.phase == Phase::Active);
        // Above our own last append there may be records that other code put in the partition:
        // no answer waits for those.
        self.committed_end = self.committed_end.max(end.min(self.appended_end));
        assert!(self.committed_end <= self.appended_end);
    }

    /// The answers that may leave now, in the order of their steps.
    pub fn take_committed(&mut self) -> Vec<(Waiter, A)> {
        let committed_end = self.committed_end;
        let count = self.parked.partition_point(|parked| parked.end <= committed_end);
        self.parked.drain(..count).map(|parked| (parked.waiter, parked.answer)).collect()
    }

    /// True when an answer waits for records to be committed.
    pub fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The memory is no longer the log's image. Every parked waiter is returned: the owner tells
    /// each that this is not its coordinator, and begins again with [`Replayed::new`].
    pub fn fail(&mut self) -> Vec<Waiter> {
        self.phase = Phase::Failed;
        self.parked.drain(..).map(|parked| parked.waiter).collect()
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
        replayed.park(vec![(Waiter(1), "read")]);
        assert_eq!(replayed.take_committed(), [(Waiter(1), "read")]);
        assert!(!replayed.has_parked());
    }

    #[test]
    fn a_read_behind_an_uncommitted_write_waits_for_it() {
        let mut replayed = loaded_at(0);
        replayed.on_appended(Offset::new(2));
        replayed.park(vec![(Waiter(1), "write")]);
        replayed.park(vec![(Waiter(2), "read")]);
        replayed.on_appended(Offset::new(3));
        replayed.park(vec![(Waiter(3), "later write")]);

        replayed.on_committed(Offset::new(1));
        assert_eq!(replayed.take_committed(), []);
        replayed.on_committed(Offset::new(2));
        assert_eq!(replayed.take_committed(), [(Waiter(1), "write"), (Waiter(2), "read")]);
        replayed.on_committed(Offset::new(1));
        assert_eq!(replayed.take_committed(), []);
        replayed.on_committed(Offset::new(9));
        assert_eq!(replayed.take_committed(), [(Waiter(3), "later write")]);
    }

    #[test]
    fn a_failure_gives_back_every_waiter_once() {
        let mut replayed = loaded_at(0);
        replayed.on_appended(Offset::new(1));
        replayed.park(vec![(Waiter(1), "a"), (Waiter(2), "b")]);
        assert_eq!(replayed.fail(), [Waiter(1), Waiter(2)]);
        assert_eq!(replayed.fail(), []);
        assert_eq!(replayed.phase(), Phase::Failed);
    }
}
