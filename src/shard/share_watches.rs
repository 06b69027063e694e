//! Who waits for records of share partitions, and in what order they are called.
//!
//! Records go to whoever asks first, and a member whose connection is on the partition's core asks
//! sooner than one on another core: called together, it would take everything, and the other would
//! wait for ever. So news call those who wait in a line, who has waited longest first; the next is
//! called once the one before has looked, or was not there any more. One that stays away, since
//! another partition had enough for it, holds up its line for `SHARE_TURN_MS`.
//!
//! Invariants
//! - Each group has a line of its own for each partition.
//! - A connection stands in a line once. Whoever waited when there were news is called after them,
//!   unless it looked meanwhile.

use crate::model::ids::{CoreId, TopicPartition};
use std::collections::{BTreeMap, VecDeque};

/// A request that waits for records of a share partition, on the core of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareWatch {
    pub core: CoreId,
    /// Index of its connection there.
    pub place: usize,
    pub poll: u64,
}

impl ShareWatch {
    fn is_of_same_connection(&self, other: &ShareWatch) -> bool {
        (self.core, self.place) == (other.core, other.place)
    }
}

/// One group's requests that wait for one partition.
#[derive(Debug, Default)]
struct Line {
    /// In the order in which they came; no news since.
    waiting: VecDeque<ShareWatch>,
    /// There were news: to be called in this order.
    next: VecDeque<ShareWatch>,
    /// Who was called and has not looked yet, and until when the others wait for it.
    turn: Option<(ShareWatch, u64)>,
}

impl Line {
    fn advance(&mut self, due_us: u64) -> Option<ShareWatch> {
        let called = self.next.pop_front();
        self.turn = called.map(|watch| (watch, due_us));
        called
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.next.is_empty() && self.turn.is_none()
    }
}

/// The lines of one core's partitions. Times are monotonic microseconds.
#[derive(Debug, Default)]
pub(super) struct ShareWatches {
    /// By partition and group.
    lines: BTreeMap<TopicPartition, BTreeMap<String, Line>>,
}

impl ShareWatches {
    /// True when nobody watches anything: the usual case of a core.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The partitions that anybody waits for.
    pub(super) fn partitions(&self) -> Vec<TopicPartition> {
        self.lines.keys().copied().collect()
    }

    /// A request is about to look, and is called when there are news after that.
    pub(super) fn watch(&mut self, partition: TopicPartition, group: &str, watch: ShareWatch) {
        let lines = self.lines.entry(partition).or_default();
        let line = match lines.get_mut(group) {
            Some(line) => line,
            None => lines.entry(group.to_owned()).or_default(),
        };
        line.waiting.retain(|known| !known.is_of_same_connection(&watch));
        line.next.retain(|known| !known.is_of_same_connection(&watch));
        line.waiting.push_back(watch);
    }

    /// A partition has records for whoever waits: the first of each line, who are to be called and
    /// have their turn until `due_us`.
    pub(super) fn news(&mut self, partition: &TopicPartition, due_us: u64) -> Vec<ShareWatch> {
        let mut called = Vec::new();
        for line in self.lines.get_mut(partition).into_iter().flat_map(BTreeMap::values_mut) {
            line.next.append(&mut line.waiting);
            if line.turn.is_none() {
                called.extend(line.advance(due_us));
            }
        }
        called
    }

    /// A request has looked, or is not there any more; who is to be called next, if it was its
    /// turn.
    pub(super) fn pass(
        &mut self,
        partition: &TopicPartition,
        watch: ShareWatch,
        due_us: u64,
    ) -> Option<ShareWatch> {
        let lines = self.lines.get_mut(partition)?;
        let has_turn = |line: &Line| line.turn.is_some_and(|(called, _)| called == watch);
        let line = lines.values_mut().find(|line| has_turn(line))?;
        let called = line.advance(due_us);
        if called.is_none() {
            self.drop_empty(partition);
        }
        called
    }

    /// Those who are to be called since somebody's turn is over.
    pub(super) fn overdue(
        &mut self,
        now_us: u64,
        due_us: u64,
    ) -> Vec<(TopicPartition, ShareWatch)> {
        let mut called = Vec::new();
        let mut ended = Vec::new();
        for (partition, lines) in &mut self.lines {
            for line in lines.values_mut() {
                if line.turn.is_some_and(|(_, due_us)| due_us <= now_us) {
                    match line.advance(due_us) {
                        Some(watch) => called.push((*partition, watch)),
                        None => ended.push(*partition),
                    }
                }
            }
        }
        ended.iter().for_each(|partition| self.drop_empty(partition));
        called
    }

    /// When the next turn is over.
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        let lines = self.lines.values().flat_map(BTreeMap::values);
        lines.filter_map(|line| line.turn.map(|(_, due_us)| due_us)).min()
    }

    fn drop_empty(&mut self, partition: &TopicPartition) {
        let Some(lines) = self.lines.get_mut(partition) else { return };
        lines.retain(|_, line| !line.is_empty());
        if lines.is_empty() {
            self.lines.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{PartitionId, TopicId};
    use uuid::Uuid;

    fn partition() -> TopicPartition {
        TopicPartition { topic: TopicId(Uuid::from_u128(1)), partition: PartitionId(0) }
    }

    fn watch(core: u16, poll: u64) -> ShareWatch {
        ShareWatch { core: CoreId(core), place: 0, poll }
    }

    #[test]
    fn who_has_waited_longest_is_called_first_and_the_next_once_it_has_looked() {
        let mut watches = ShareWatches::default();
        for core in [1, 0, 2] {
            watches.watch(partition(), "g", watch(core, 1));
        }
        assert_eq!(watches.news(&partition(), 10), [watch(1, 1)]);
        // It looks, takes what there is, and another that looks is not the one that was called.
        assert_eq!(watches.pass(&partition(), watch(2, 1), 10), None);
        assert_eq!(watches.pass(&partition(), watch(1, 1), 10), Some(watch(0, 1)));
        watches.watch(partition(), "g", watch(0, 1));
        assert_eq!(watches.pass(&partition(), watch(0, 1), 10), Some(watch(2, 1)));
        watches.watch(partition(), "g", watch(2, 1));
        watches.watch(partition(), "g", watch(1, 2));
        assert_eq!(watches.pass(&partition(), watch(2, 1), 10), None);
        assert_eq!(watches.news(&partition(), 10), [watch(0, 1)]);
    }

    #[test]
    fn a_group_does_not_wait_for_another_one() {
        let mut watches = ShareWatches::default();
        watches.watch(partition(), "a", watch(0, 1));
        watches.watch(partition(), "b", watch(1, 1));
        assert_eq!(watches.news(&partition(), 10), [watch(0, 1), watch(1, 1)]);
    }

    #[test]
    fn who_stays_away_holds_up_its_line_for_a_while_only() {
        let mut watches = ShareWatches::default();
        watches.watch(partition(), "g", watch(1, 1));
        watches.watch(partition(), "g", watch(0, 1));
        assert_eq!(watches.news(&partition(), 10), [watch(1, 1)]);
        // More news meanwhile call nobody twice.
        assert_eq!(watches.news(&partition(), 12), []);
        assert_eq!(watches.next_deadline_us(), Some(10));
        assert_eq!(watches.overdue(9, 20), []);
        assert_eq!(watches.overdue(10, 20), [(partition(), watch(0, 1))]);
        assert_eq!(watches.overdue(20, 30), []);
        assert!(watches.is_empty() && watches.next_deadline_us().is_none());
    }

    #[test]
    fn who_looks_before_its_turn_is_called_for_what_comes_after() {
        let mut watches = ShareWatches::default();
        watches.watch(partition(), "g", watch(1, 1));
        watches.watch(partition(), "g", watch(0, 1));
        assert_eq!(watches.news(&partition(), 10), [watch(1, 1)]);
        watches.watch(partition(), "g", watch(0, 2));
        assert_eq!(watches.pass(&partition(), watch(1, 1), 10), None);
        assert_eq!(watches.news(&partition(), 20), [watch(0, 2)]);
    }
}
