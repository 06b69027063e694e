//! One turn of the coordinator: the time it happens at, and what it brings forth.

use super::calls::GroupAnswer;
use super::records::GroupRecord;
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::group_config::GroupConfig;

/// What a step of the coordinator wants done: append `records` as one batch, and hand `answers`
/// to their waiters once these records, and all before them, are committed.
///
/// The coordinator's memory already reflects the records.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub records: Vec<GroupRecord>,
    pub answers: Vec<(Waiter, GroupAnswer)>,
}

/// The surroundings of one step.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) config: &'a GroupConfig,
    step: Step,
}

impl<'a> Turn<'a> {
    pub(super) fn new(now: Now, config: &'a GroupConfig) -> Turn<'a> {
        Turn { now, config, step: Step::default() }
    }

    pub(super) fn write(&mut self, record: GroupRecord) {
        self.step.records.push(record);
    }

    pub(super) fn answer(&mut self, waiter: Waiter, answer: GroupAnswer) {
        self.step.answers.push((waiter, answer));
    }

    /// Monotonic time `ms` from now, in microseconds.
    pub(super) fn deadline_us(&self, ms: u64) -> u64 {
        self.now.deadline_us(ms)
    }

    pub(super) fn into_step(self) -> Step {
        self.step
    }
}
