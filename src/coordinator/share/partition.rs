//! One partition as one share group reads it: whose each record is now, and what became of it.
//!
//! ```text
//!   start                              end            high watermark
//!     |-- runs of records in one state --|-- not looked at --|
//! ```
//! A record is available, acquired by a member until its lock ends, acknowledged, or archived. What
//! a member says of its records is settled by a write of the share coordinator: until it is
//! committed they stay the member's, and an answer waits for it (settle.rs). Time that runs out
//! needs no such wait: a crash would end the locks too.
//!
//! The durable state is written by difference: ranges whose state changed are remembered, and a
//! write tells how they stand when it begins. One write is under way at a time; what is settled
//! meanwhile goes with the next.
//!
//! Invariants
//! - The runs cover start to end without holes; the first one is not over (acknowledged or
//!   archived), unless a write settles it.
//! - An acquired record has one member. Only that member settles it, once.
//! - The start never goes back.

mod acquire;
mod settle;

use super::calls::ShareState;
use super::records::DeliveryState;
use crate::model::ids::Offset;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

pub use acquire::{AcquiredRange, Acquisition, BatchSpan};
pub use settle::{AckBatch, AckKind, PartitionWrite};

/// What a group's settings say about records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRules {
    /// Deliveries after which a record is given up.
    pub delivery_count_max: i16,
    /// Records between start and end from which on no new ones are acquired.
    pub locks_max: usize,
    /// How long an acquired record is its member's.
    pub lock_us: u64,
}

/// What a write makes of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settling {
    to: DeliveryState,
    /// Whether the delivery counts: not when its session ends, for nobody may have seen the record.
    is_delivery: bool,
    /// The number of the write.
    write: u64,
}

/// Whose a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hold {
    Acquired { member: Rc<str>, session: u64, due_us: u64, settling: Option<Settling> },
    Free(DeliveryState),
}

/// Neighbouring records in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    last: u64,
    /// Deliveries so far, one under way included.
    delivery_count: i16,
    hold: Hold,
}

impl Run {
    /// How the run stands once the writes that settle it are committed.
    fn planned(&self) -> DeliveryState {
        match &self.hold {
            Hold::Free(state) => *state,
            Hold::Acquired { settling: Some(settling), .. } => settling.to,
            // A lock does not outlive a crash.
            Hold::Acquired { settling: None, .. } => DeliveryState::Available,
        }
    }

    /// Deliveries that are over once those writes are committed: one that a crash cuts short does
    /// not count, or a record could be given up, or given out once too often, for nothing.
    fn counted(&self) -> i16 {
        match &self.hold {
            Hold::Acquired {
                settling: None | Some(Settling { is_delivery: false, .. }), ..
            } => self.delivery_count - 1,
            Hold::Acquired { settling: Some(_), .. } | Hold::Free(_) => self.delivery_count,
        }
    }

    fn is_available(&self) -> bool {
        self.hold == Hold::Free(DeliveryState::Available)
    }

    fn is_over(&self) -> bool {
        matches!(self.hold, Hold::Free(DeliveryState::Acknowledged | DeliveryState::Archived))
    }
}

/// What of the durable state a write under way changes.
#[derive(Debug)]
struct WriteUnderWay {
    number: u64,
    ranges: Vec<(u64, u64)>,
    start: u64,
}

/// One share group's view of one partition; lives on the core that owns the partition.
#[derive(Debug)]
pub struct SharePartition {
    state_epoch: i32,
    start: u64,
    end: u64,
    runs: BTreeMap<u64, Run>,
    /// Nothing below is available.
    first_available_min: u64,
    /// Ranges whose durable state is behind.
    dirty: Vec<(u64, u64)>,
    /// As far as the coordinator knows; `None` while it knows none.
    durable_start: Option<u64>,
    next_write: u64,
    /// Whether somebody waits for the next write.
    is_write_awaited: bool,
    under_way: Option<WriteUnderWay>,
}

impl SharePartition {
    /// What the coordinator knows of it. `start` stands in where nobody has chosen one yet.
    pub fn new(state: &ShareState, start: Offset) -> SharePartition {
        let durable_start = u64::try_from(state.start_offset).ok();
        let start = durable_start.unwrap_or(start.get());
        let mut partition = SharePartition {
            state_epoch: state.state_epoch,
            start,
            end: start,
            runs: BTreeMap::new(),
            first_available_min: start,
            dirty: Vec::new(),
            durable_start,
            next_write: 1,
            is_write_awaited: false,
            under_way: None,
        };
        for batch in &state.batches {
            let ends = (u64::try_from(batch.first), u64::try_from(batch.last));
            let (Ok(first), Ok(last)) = ends else { continue };
            // They were acquired when the broker ended, or never delivered.
            if first > partition.end {
                partition.push(first - 1, 0, Hold::Free(DeliveryState::Available));
            }
            if last >= partition.end {
                partition.push(last, batch.delivery_count.max(0), Hold::Free(batch.state));
            }
        }
        partition.advance_start();
        partition
    }

    /// Of the state that it was made from; a write under another is refused by the coordinator.
    pub fn state_epoch(&self) -> i32 {
        self.state_epoch
    }

    /// First record whose delivery is not over.
    pub fn start(&self) -> Offset {
        Offset::new(self.start)
    }

    /// First record that was never looked at.
    pub fn end(&self) -> Offset {
        Offset::new(self.end)
    }

    /// Where to read for the next member that asks; `None` when all that may be in flight is.
    pub fn next_fetch(&mut self, rules: &DeliveryRules) -> Option<Offset> {
        let from = self.first_available_min;
        assert!(self.start <= from && from <= self.end);
        let mut available = self.runs.range(from..).filter(|(_, run)| run.is_available());
        let found = available.next().map(|(first, _)| *first);
        self.first_available_min = found.unwrap_or(self.end);
        let next = self.first_available_min;
        (found.is_some() || self.room(rules) > 0).then_some(Offset::new(next))
    }

    /// Records beyond the end that may be acquired.
    fn room(&self, rules: &DeliveryRules) -> u64 {
        assert!(self.start <= self.end);
        (rules.locks_max as u64).saturating_sub(self.end - self.start)
    }

    /// The log begins at `log_start` now: what lay before it is delivered to nobody any more.
    /// True when that changed anything.
    pub fn on_log_start(&mut self, log_start: Offset) -> bool {
        let log_start = log_start.get();
        if log_start <= self.start {
            return false;
        }
        self.split_at(log_start);
        self.runs = self.runs.split_off(&log_start);
        self.start = log_start;
        self.end = self.end.max(log_start);
        self.first_available_min = self.first_available_min.max(log_start);
        self.advance_start();
        assert!(self.start >= log_start);
        true
    }

    /// When the next lock ends, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> Option<u64> {
        let due = |run: &Run| match run.hold {
            Hold::Acquired { due_us, settling: None, .. } => Some(due_us),
            Hold::Acquired { settling: Some(_), .. } | Hold::Free(_) => None,
        };
        self.runs.values().filter_map(due).min()
    }

    /// True while nobody holds a record and nothing is to be written: it may be forgotten.
    pub fn is_idle(&self) -> bool {
        let is_held = |run: &Run| matches!(run.hold, Hold::Acquired { .. });
        self.under_way.is_none() && !self.has_news() && !self.runs.values().any(is_held)
    }

    /// Lets the start pass what is over.
    fn advance_start(&mut self) {
        while let Some(entry) = self.runs.first_entry() {
            if !entry.get().is_over() {
                break;
            }
            self.start = entry.remove().last + 1;
        }
        if self.runs.is_empty() {
            self.start = self.end;
        }
        self.first_available_min = self.first_available_min.max(self.start);
        assert!(self.start <= self.end);
    }

    /// Adds records at the end, up to `last`; joins them with the run before where both are alike.
    fn push(&mut self, last: u64, delivery_count: i16, hold: Hold) {
        assert!(last >= self.end && delivery_count >= 0);
        let first = self.end;
        self.end = last + 1;
        if let Some(mut before) = self.runs.last_entry() {
            let run = before.get_mut();
            if run.delivery_count == delivery_count && run.hold == hold {
                run.last = last;
                return;
            }
        }
        self.runs.insert(first, Run { last, delivery_count, hold });
    }

    /// Makes `offset` the first of a run, where it lies within one.
    fn split_at(&mut self, offset: u64) {
        let Some((first, run)) = self.runs.range_mut(..=offset).next_back() else { return };
        if *first == offset || run.last < offset {
            return;
        }
        assert!(*first < offset);
        let tail = run.clone();
        run.last = offset - 1;
        self.runs.insert(offset, tail);
    }

    /// The runs within a range, cut to fit it.
    fn cut(&mut self, range: RangeInclusive<u64>) -> impl Iterator<Item = (&u64, &mut Run)> {
        assert!(range.start() <= range.end());
        self.split_at(*range.start());
        self.split_at(range.end() + 1);
        self.runs.range_mut(range)
    }

    fn note_available(&mut self, first: u64) {
        assert!(first < self.end);
        self.first_available_min = self.first_available_min.min(first).max(self.start);
    }
}
