//! What happens to hosts, drawn from a seed.

use harness::Random;
use std::fmt;
use std::time::Duration;

pub(crate) const HOSTS: usize = 3;
/// The host whose disk is small.
pub(crate) const SMALL_DISK: usize = 3;
const HOLD_MS_MIN: u64 = 300;
const HOLD_MS_MAX: u64 = 6000;
/// One step in this many is two faults at once.
const PAIRS: u64 = 5;

/// One thing that happens, begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start at the end.
    Kill {
        host: usize,
    },
    KillAll,
    /// SIGSTOP, and SIGCONT at the end.
    Pause {
        host: usize,
    },
    Cut {
        host: usize,
    },
    /// What one sends to the other is lost.
    Deafen {
        from: usize,
        to: usize,
    },
    /// What one sends to anybody is lost.
    Mute {
        host: usize,
    },
    /// SIGKILL, a file that is not what it was, and a start.
    Surgery {
        host: usize,
        operation: Operation,
        chance: u64,
    },
    /// Its file system is full.
    Fill,
}

/// What is done to the files of a broker that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// An index is removed.
    LoseIndex,
    /// A segment ends early.
    ShortenSegment,
    /// The journal file that was written last ends early.
    ShortenJournal,
    /// One bit of a segment is another one.
    FlipBit,
}

/// What happens at once, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) faults: Vec<Fault>,
    pub(crate) hold: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} for {:?}", self.faults, self.hold)
    }
}

/// Steps without an end; the same seed gives the same.
pub(crate) struct Schedule {
    random: Random,
    /// Kinds that are still to come before any comes again.
    kinds: Vec<usize>,
}

const KINDS: usize = 12;

impl Schedule {
    pub(crate) fn new(seed: u64) -> Schedule {
        Schedule { random: Random::new(seed), kinds: Vec::new() }
    }

    pub(crate) fn next_step(&mut self) -> Step {
        let hold_ms = HOLD_MS_MIN + self.random.below(HOLD_MS_MAX - HOLD_MS_MIN);
        let first = self.fault();
        let mut faults = vec![first];
        if first.victim().is_some() && self.random.below(PAIRS) == 0 {
            let second = self.fault();
            if second.victim().is_some_and(|victim| Some(victim) != first.victim()) {
                faults.push(second);
            }
        }
        Step { faults, hold: Duration::from_millis(hold_ms) }
    }

    fn fault(&mut self) -> Fault {
        if self.kinds.is_empty() {
            self.kinds = (0..KINDS).collect();
        }
        let kind = self.kinds.swap_remove(self.random.index(self.kinds.len()));
        let host = 1 + self.random.index(HOSTS);
        let chance = self.random.next_u64();
        let surgery = |operation| Fault::Surgery { host, operation, chance };
        match kind {
            0 => Fault::Kill { host },
            1 => Fault::KillAll,
            2 => Fault::Pause { host },
            3 => Fault::Cut { host },
            4 => Fault::Deafen { from: host, to: host % HOSTS + 1 },
            5 => Fault::Deafen { from: host % HOSTS + 1, to: host },
            6 => Fault::Mute { host },
            7 => surgery(Operation::LoseIndex),
            8 => surgery(Operation::ShortenSegment),
            9 => surgery(Operation::ShortenJournal),
            10 => surgery(Operation::FlipBit),
            _ => Fault::Fill,
        }
    }
}

impl Fault {
    /// The host, where another one may have a fault of its own meanwhile: no copy of the data and
    /// no room for it is lost.
    fn victim(self) -> Option<usize> {
        match self {
            Fault::Kill { host }
            | Fault::Pause { host }
            | Fault::Cut { host }
            | Fault::Deafen { from: host, .. }
            | Fault::Mute { host } => Some(host),
            Fault::KillAll | Fault::Surgery { .. } | Fault::Fill => None,
        }
    }
}
