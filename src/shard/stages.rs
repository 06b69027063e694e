//! Where the time of a request goes: one histogram for each stage, on each core, always on.
//!
//! ```text
//!  bytes seen ─socket─► frame ─parse─► checked ─route─► owning core ─append─► in memory
//!     ─sync─► safe here ─replicate─► committed ─route─► connection's core ─answer─► the socket
//! ```
//! What does not wait for other replicas has no `replicate`. A Fetch has `read` in place of
//! `append`, `sync` and `replicate`; its wait for new records is in no stage, and its `answer`
//! begins with the rise that woke it. A clock costs more than all the rest here, so one Produce or
//! Fetch in `STAGE_SAMPLE_EVERY` is timed, and of its batches the first one on each core; the
//! others carry an empty `Stamp` (docs/decisions/008-stage-histograms.md).
//!
//! The clock is the driver's, as all time is: real under `runtime/`, simulated under `sim/`.

use crate::model::histogram::Histogram;
use crate::model::ids::CoreId;
use crate::model::limits::STAGE_SAMPLE_EVERY;
use crate::shard::mesh::PartToken;
use std::num::NonZeroU64;
use std::rc::Rc;

/// A part of a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// First byte seen to the frame cut out of its connection's bytes.
    Socket,
    /// Decoded and checked.
    Parse,
    /// From one core to another, or back.
    Route,
    /// Appended to the log in memory.
    Append,
    /// Appended until it is as safe here as the topic's durability and `acks` ask: journal write,
    /// fdatasync.
    Sync,
    /// Safe here until it is on every replica that counts.
    Replicate,
    /// Records found, in memory or on disk.
    Read,
    /// Settled until handed to the socket.
    Answer,
}

impl Stage {
    /// All stages, in the order in which a request passes them.
    pub const ALL: [Stage; 8] = [
        Stage::Socket,
        Stage::Parse,
        Stage::Route,
        Stage::Append,
        Stage::Sync,
        Stage::Replicate,
        Stage::Read,
        Stage::Answer,
    ];

    /// The name that people and metrics see.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Socket => "socket",
            Stage::Parse => "parse",
            Stage::Route => "route",
            Stage::Append => "append",
            Stage::Sync => "sync",
            Stage::Replicate => "replicate",
            Stage::Read => "read",
            Stage::Answer => "answer",
        }
    }
}

/// A moment of a timed request; empty for the others. Nanoseconds of one clock for all cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp(Option<NonZeroU64>);

impl Stamp {
    /// Of a request that is not timed.
    pub const NONE: Stamp = Stamp(None);

    /// A moment, in nanoseconds since the clock's start; 0 is none.
    pub fn at(ns: u64) -> Stamp {
        Stamp(NonZeroU64::new(ns))
    }

    /// True for a request that is timed.
    pub fn is_timed(self) -> bool {
        self.0.is_some()
    }

    /// This one, or the other where it is empty.
    pub fn or(self, other: Stamp) -> Stamp {
        Stamp(self.0.or(other.0))
    }
}

/// The driver's monotonic clock in nanoseconds, the same on all cores.
pub type StageClock = Rc<dyn Fn() -> u64>;

/// The stages of one core.
pub struct Stages {
    clock: StageClock,
    /// Requests until the next one is timed.
    untimed: u32,
    /// Produces and fetches taken in.
    requests: u64,
    /// Messages by which they went to another core.
    routed: u64,
    histograms: [Histogram; Stage::ALL.len()],
}

/// One core's stages at one moment.
#[derive(Debug, Clone)]
pub struct StageSnapshot {
    pub core: CoreId,
    /// Produces and fetches that this core took in, timed or not.
    pub requests: u64,
    /// Messages by which they, or parts of them, went to other cores.
    pub routed: u64,
    pub stages: Vec<(Stage, Histogram)>,
}

impl Stages {
    /// Empty histograms and the driver's clock.
    pub fn new(clock: StageClock) -> Stages {
        let histograms = std::array::from_fn(|_| Histogram::default());
        Stages { clock, untimed: 0, requests: 0, routed: 0, histograms }
    }

    /// A request was cut out of bytes that came in at `seen`; decides whether it is timed.
    pub fn begin(&mut self, seen: Stamp) -> Stamp {
        self.requests += 1;
        if self.untimed > 0 {
            self.untimed -= 1;
            return Stamp::NONE;
        }
        self.untimed = STAGE_SAMPLE_EVERY - 1;
        let now = self.now();
        self.record(Stage::Socket, seen, now);
        now
    }

    /// Ends a stage that began at `since`, and begins the next.
    pub fn end(&mut self, stage: Stage, since: Stamp) -> Stamp {
        if !since.is_timed() {
            return Stamp::NONE;
        }
        let now = self.now();
        self.record(stage, since, now);
        now
    }

    /// Ends a stage of the batch that a token stands for.
    pub fn end_of(&mut self, stage: Stage, token: PartToken) -> PartToken {
        match token {
            PartToken::Request { core, key, part, stamp } => {
                PartToken::Request { core, key, part, stamp: self.end(stage, stamp) }
            }
            PartToken::Task { .. } | PartToken::Coordinator { .. } => token,
        }
    }

    /// This moment, for a request that is timed.
    pub fn mark(&self, of: Stamp) -> Stamp {
        if of.is_timed() { self.now() } else { Stamp::NONE }
    }

    /// A request, or a part of it, goes to another core.
    pub fn count_route(&mut self) {
        self.routed += 1;
    }

    /// What was counted up to now.
    pub fn snapshot(&self, core: CoreId) -> StageSnapshot {
        let stages = Stage::ALL.into_iter().zip(self.histograms.iter().cloned()).collect();
        StageSnapshot { core, requests: self.requests, routed: self.routed, stages }
    }

    fn now(&self) -> Stamp {
        Stamp::at((self.clock)())
    }

    fn record(&mut self, stage: Stage, since: Stamp, now: Stamp) {
        if let (Some(since), Some(now)) = (since.0, now.0) {
            // Clocks of two processors may disagree by a little.
            self.histograms[stage as usize].record(now.get().saturating_sub(since.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn stages() -> (Stages, Rc<Cell<u64>>) {
        let time = Rc::new(Cell::new(1000));
        let clock = Rc::clone(&time);
        (Stages::new(Rc::new(move || clock.get())), time)
    }

    #[test]
    fn stages_stand_in_the_order_of_their_numbers() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index, "{}", stage.name());
        }
    }

    #[test]
    fn one_request_in_many_is_timed_and_each_stage_gets_its_share() {
        let (mut stages, time) = stages();
        let stamp = stages.begin(Stamp::at(400));
        time.set(1250);
        let stamp = stages.end(Stage::Parse, stamp);
        time.set(3250);
        stages.end(Stage::Append, stamp);
        for _ in 1..STAGE_SAMPLE_EVERY {
            assert_eq!(stages.begin(Stamp::at(400)), Stamp::NONE);
        }
        assert_eq!(stages.end(Stage::Parse, Stamp::NONE), Stamp::NONE);
        let snapshot = stages.snapshot(CoreId(3));
        let longest = |stage: Stage| snapshot.stages[stage as usize].1.max_ns();
        assert_eq!(longest(Stage::Socket), 600);
        assert_eq!((longest(Stage::Parse), longest(Stage::Append)), (250, 2000));
        assert_eq!(snapshot.stages[Stage::Parse as usize].1.count(), 1);
        assert_eq!((snapshot.core, snapshot.requests), (CoreId(3), u64::from(STAGE_SAMPLE_EVERY)));
        assert!(stages.begin(Stamp::NONE).is_timed(), "its turn has come");
    }

    #[test]
    fn a_clock_that_differs_between_cores_counts_as_no_time() {
        let (mut stages, _) = stages();
        stages.end(Stage::Route, Stamp::at(1001));
        assert_eq!(stages.snapshot(CoreId(0)).stages[Stage::Route as usize].1.max_ns(), 0);
    }
}
