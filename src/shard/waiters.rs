//! What waits at one partition: produces for their commit, fetches for more to read.
//!
//! Produces are parked in offset order, because the log hands out offsets in order; so a rising end
//! wakes a prefix and nothing is searched.

use crate::model::ids::{CoreId, Offset};
use crate::shard::mesh::{AppendOutcome, Isolation, ParkedKey, PartToken};
use crate::shard::stages::Stage;
use std::collections::VecDeque;

/// A produce part that was appended and waits to be safe enough.
#[derive(Debug)]
pub struct AppendWaiter {
    /// End of the batch: safe once the awaited end has reached it.
    pub end: Offset,
    pub token: PartToken,
    pub outcome: AppendOutcome,
}

/// A fetch that wants to hear of a higher readable end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchWatch {
    pub core: CoreId,
    pub key: ParkedKey,
    pub pass: u32,
    pub isolation: Isolation,
}

/// Which readable ends of a partition rose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rise {
    /// The high watermark alone: an open transaction holds the last stable offset back.
    HighWatermark,
    Both,
}

/// All waiters of one partition.
#[derive(Debug, Default)]
pub struct Waiters {
    written: VecDeque<AppendWaiter>,
    committed: VecDeque<AppendWaiter>,
    /// How many of `committed`, from the front, are safe here and wait for other replicas.
    safe_here: usize,
    fetches: Vec<FetchWatch>,
}

impl Waiters {
    /// Parks a part until the written end reaches it (acks=1).
    pub fn park_written(&mut self, waiter: AppendWaiter) {
        park(&mut self.written, waiter);
    }

    /// Parks a part until the high watermark reaches it (acks=all).
    pub fn park_committed(&mut self, waiter: AppendWaiter) {
        let place = park(&mut self.committed, waiter);
        // It is among those whose wait for this broker's disk is over, as what it repeats is.
        self.safe_here += usize::from(place < self.safe_here);
    }

    /// Next part that has just become safe here and is not committed yet.
    pub fn next_safe_here(&mut self, safe_end: Offset) -> Option<&mut PartToken> {
        let waiter = self.committed.get_mut(self.safe_here)?;
        if waiter.end > safe_end {
            return None;
        }
        self.safe_here += 1;
        Some(&mut waiter.token)
    }

    /// Next part whose batch the kernel has.
    pub fn pop_written(&mut self, written_end: Offset) -> Option<AppendWaiter> {
        pop(&mut self.written, written_end)
    }

    /// Next part whose batch lies below the high watermark, and what it waited for last.
    pub fn pop_committed(&mut self, high_watermark: Offset) -> Option<(AppendWaiter, Stage)> {
        let waiter = pop(&mut self.committed, high_watermark)?;
        let stage = if self.safe_here > 0 { Stage::Replicate } else { Stage::Sync };
        self.safe_here = self.safe_here.saturating_sub(1);
        Some((waiter, stage))
    }

    /// Next part, however far it got: the log went offline or the topic was deleted.
    pub fn pop_any(&mut self) -> Option<AppendWaiter> {
        self.written.pop_front().or_else(|| {
            self.safe_here = self.safe_here.saturating_sub(1);
            self.committed.pop_front()
        })
    }

    /// Registers a fetch for the next rise of the readable end.
    pub fn watch(&mut self, watch: FetchWatch) {
        // A fetch that was answered by its deadline leaves its watch behind; the next replaces it.
        self.fetches.retain(|known| known.core != watch.core || known.key.index != watch.key.index);
        self.fetches.push(watch);
    }

    /// The fetches to wake after a rise; each is woken once per registration.
    pub fn take_fetches(&mut self, rise: Rise) -> Vec<FetchWatch> {
        let is_woken = |watch: &mut FetchWatch| watch.isolation == Isolation::ReadUncommitted;
        match rise {
            Rise::Both => std::mem::take(&mut self.fetches),
            Rise::HighWatermark => self.fetches.extract_if(.., is_woken).collect(),
        }
    }

    /// True when no produce waits.
    pub fn has_appends(&self) -> bool {
        !self.written.is_empty() || !self.committed.is_empty()
    }
}

/// Puts it into its place among the others, and says which that is.
fn park(queue: &mut VecDeque<AppendWaiter>, waiter: AppendWaiter) -> usize {
    // A duplicate waits for its original, which may lie before the newest batch.
    let place = queue.iter().rposition(|other| other.end <= waiter.end).map_or(0, |at| at + 1);
    queue.insert(place, waiter);
    place
}

fn pop(queue: &mut VecDeque<AppendWaiter>, end: Offset) -> Option<AppendWaiter> {
    if queue.front()?.end <= end { queue.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::errors::KafkaCode;
    use crate::shard::stages::Stamp;

    fn waiter(end: u64, part: u32) -> AppendWaiter {
        let key = ParkedKey { index: 0, generation: 0 };
        AppendWaiter {
            end: Offset::new(end),
            token: PartToken::Request { core: CoreId(0), key, part, stamp: Stamp::NONE },
            outcome: AppendOutcome::refused(KafkaCode::None, None),
        }
    }

    #[test]
    fn a_rising_end_wakes_exactly_the_prefix_below_it() {
        let mut waiters = Waiters::default();
        for (end, part) in [(10, 0), (20, 1), (15, 2)] {
            waiters.park_committed(waiter(end, part));
        }
        let mut woken = Vec::new();
        while let Some((waiter, _)) = waiters.pop_committed(Offset::new(15)) {
            woken.push(waiter.end.get());
        }
        assert_eq!(woken, [10, 15]);
        assert!(waiters.has_appends());
    }

    #[test]
    fn what_is_safe_here_and_not_yet_committed_waits_for_other_replicas() {
        let mut waiters = Waiters::default();
        for (end, part) in [(10, 0), (20, 1), (30, 2)] {
            waiters.park_committed(waiter(end, part));
        }
        let safe_end = Offset::new(20);
        let mut count = 0;
        while waiters.next_safe_here(safe_end).is_some() {
            count += 1;
        }
        assert_eq!(count, 2, "each is told of once");
        // A repetition of the first, whose answer waits for the same replicas.
        waiters.park_committed(waiter(10, 3));
        assert!(waiters.next_safe_here(safe_end).is_none());
        let mut waited = Vec::new();
        while let Some((waiter, stage)) = waiters.pop_committed(Offset::new(30)) {
            waited.push((waiter.end.get(), stage.name()));
        }
        let replicated = [10, 10, 20].map(|end| (end, "replicate"));
        assert_eq!(waited, [&replicated[..], &[(30, "sync")]].concat());
    }

    fn watch(index: u32, pass: u32, isolation: Isolation) -> FetchWatch {
        let key = ParkedKey { index, generation: 1 };
        FetchWatch { core: CoreId(0), key, pass, isolation }
    }

    #[test]
    fn a_fetch_that_watches_again_is_woken_once() {
        let mut waiters = Waiters::default();
        waiters.watch(watch(3, 1, Isolation::ReadUncommitted));
        let again = watch(3, 2, Isolation::ReadUncommitted);
        waiters.watch(again);
        assert_eq!(waiters.take_fetches(Rise::Both), [again]);
    }

    #[test]
    fn a_reader_of_committed_records_sleeps_while_a_transaction_is_open() {
        let mut waiters = Waiters::default();
        let (any, committed) =
            (watch(1, 1, Isolation::ReadUncommitted), watch(2, 1, Isolation::ReadCommitted));
        waiters.watch(any);
        waiters.watch(committed);
        assert_eq!(waiters.take_fetches(Rise::HighWatermark), [any]);
        assert_eq!(waiters.take_fetches(Rise::Both), [committed]);
    }
}
