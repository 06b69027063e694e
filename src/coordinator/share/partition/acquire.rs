//! Records become a member's: as many whole batches as it asks for, or less where the group has too
//! many under way.

use super::{DeliveryRules, Hold, Run, SharePartition};
use crate::coordinator::share::records::DeliveryState;
use crate::model::ids::Offset;
use crate::model::limits::SHARE_IN_FLIGHT_MAX;
use std::rc::Rc;

/// A batch that was read, by its first and last offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpan {
    pub first: u64,
    pub last: u64,
    /// Of an aborted transaction, for a group that reads committed records: delivered to nobody.
    pub is_aborted: bool,
}

/// Who acquires how much.
#[derive(Debug, Clone)]
pub struct Acquisition<'a> {
    pub member: &'a str,
    /// The member's session: records go back with it.
    pub session: u64,
    /// No batch is begun once so many records are acquired.
    pub records_max: usize,
    /// Neighbouring records are told of as one range up to so many.
    pub batch_size: usize,
    pub now_us: u64,
    pub rules: DeliveryRules,
}

/// Records acquired together, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRange {
    pub first: u64,
    pub last: u64,
    /// Deliveries, this one included.
    pub delivery_count: i16,
}

/// What is being acquired.
struct Taking<'a> {
    by: &'a Acquisition<'a>,
    member: Rc<str>,
    taken: u64,
    ranges: Vec<AcquiredRange>,
}

impl Taking<'_> {
    fn hold(&self) -> Hold {
        let due_us = self.by.now_us.saturating_add(self.by.rules.lock_us);
        let (member, session) = (Rc::clone(&self.member), self.by.session);
        Hold::Acquired { member, session, due_us, settling: None }
    }

    fn add(&mut self, first: u64, last: u64, delivery_count: i16) {
        assert!(first <= last && delivery_count > 0);
        assert!(self.ranges.last().is_none_or(|before| before.last < first));
        self.taken += last - first + 1;
        if let Some(before) = self.ranges.last_mut()
            && before.last + 1 == first
            && before.delivery_count == delivery_count
            && before.last - before.first + 1 < self.by.batch_size as u64
        {
            before.last = last;
            return;
        }
        self.ranges.push(AcquiredRange { first, last, delivery_count });
    }
}

impl SharePartition {
    /// Makes records of `batches` the member's. They were read from `from`, as
    /// [`SharePartition::next_fetch`] had it; what has changed since is not acquired. An offset
    /// between `from` and the last batch that no batch has is not in the log: it is archived.
    pub fn acquire(
        &mut self,
        from: Offset,
        batches: &[BatchSpan],
        by: &Acquisition<'_>,
    ) -> Vec<AcquiredRange> {
        let member = Rc::from(by.member);
        let mut taking = Taking { by, member, taken: 0, ranges: Vec::new() };
        let mut at = from.get().max(self.start);
        for batch in batches {
            // Behind the end there is one way on: without holes.
            if batch.last < at || at > self.end {
                continue;
            }
            if taking.taken >= by.records_max as u64 {
                break;
            }
            if batch.first > at {
                self.archive_missing(at, batch.first - 1);
                at = batch.first;
            }
            if at < self.end {
                let last = batch.last.min(self.end - 1);
                self.take_known(at, last, batch.is_aborted, &mut taking);
                at = last + 1;
            }
            if at <= batch.last && !self.take_new(batch, &mut taking) {
                break;
            }
            at = batch.last + 1;
        }
        self.advance_start();
        assert!(at <= self.end);
        taking.ranges
    }

    /// Records before the end, where they are available.
    fn take_known(&mut self, first: u64, last: u64, is_aborted: bool, taking: &mut Taking<'_>) {
        assert!(last < self.end);
        let hold = taking.hold();
        let mut archived = Vec::new();
        let available = self.cut(first..=last).filter(|(_, run)| run.is_available());
        for (first, run) in available {
            if is_aborted {
                run.hold = Hold::Free(DeliveryState::Archived);
                archived.push((*first, run.last));
                continue;
            }
            run.hold = hold.clone();
            run.delivery_count = run.delivery_count.saturating_add(1);
            taking.add(*first, run.last, run.delivery_count);
        }
        self.dirty.append(&mut archived);
    }

    /// The rest of a batch, behind the end; false when there is no room for all of it.
    fn take_new(&mut self, batch: &BatchSpan, taking: &mut Taking<'_>) -> bool {
        let first = self.end;
        assert!(batch.first <= first && first <= batch.last);
        if batch.is_aborted {
            self.push(batch.last, 0, Hold::Free(DeliveryState::Archived));
            self.dirty.push((first, batch.last));
            return true;
        }
        // A batch is taken whole, as Kafka does, but for one that no state record could describe.
        let room = (SHARE_IN_FLIGHT_MAX as u64).saturating_sub(self.end - self.start);
        if self.room(&taking.by.rules) == 0 || room == 0 {
            return false;
        }
        let last = batch.last.min(first + room - 1);
        self.push(last, 1, taking.hold());
        taking.add(first, last, 1);
        last == batch.last
    }

    /// Offsets that the log does not have any more, or never had.
    fn archive_missing(&mut self, first: u64, last: u64) {
        assert!(first <= last && first <= self.end);
        let archived = Hold::Free(DeliveryState::Archived);
        if first < self.end {
            let known = self.cut(first..=last.min(self.end - 1));
            for run in known.map(|(_, run)| run).filter(|run| run.is_available()) {
                run.hold = archived.clone();
            }
        }
        if last >= self.end {
            self.push(last, 0, archived);
        }
    }

    /// How many records a member holds whose fate is open.
    pub fn held_by(&self, member: &str) -> u64 {
        let is_held = |run: &Run| match &run.hold {
            Hold::Acquired { member: holder, .. } => **holder == *member,
            Hold::Free(_) => false,
        };
        let held = self.runs.iter().filter(|(_, run)| is_held(run));
        held.map(|(first, run)| run.last - first + 1).sum()
    }
}
