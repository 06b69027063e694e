//! What clients of the plain topic were told and shown, and what must be true of it. Each promise
//! is a function of its own.

use std::collections::{BTreeMap, BTreeSet};

/// Offsets to values of one partition.
pub(crate) type Log = BTreeMap<i64, String>;

#[derive(Debug, Default)]
pub(crate) struct History {
    /// What was acknowledged by all, by partition.
    pub(crate) acked: BTreeMap<i32, Log>,
    /// Acknowledged as sent before, at an offset that nobody told.
    pub(crate) acked_somewhere: BTreeMap<i32, BTreeSet<String>>,
    /// What consumers were shown, by partition.
    pub(crate) seen: BTreeMap<i32, Log>,
    /// Answers that acknowledged something.
    pub(crate) acks: usize,
    /// The same by producer.
    pub(crate) acks_of: BTreeMap<usize, usize>,
}

/// The producer of a value, and its number among those of the producer; `None` where a value was
/// sent once, without a promise.
pub(crate) fn writer_of(value: &str) -> Option<(usize, u64)> {
    let mut words = value.strip_prefix('p')?.split('-');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl History {
    /// A batch was acknowledged by all, with its first value at `base`, where that was told.
    pub(crate) fn acknowledge(
        &mut self,
        partition: i32,
        base: Option<i64>,
        (producer, values): (usize, &[String]),
    ) {
        self.acks += 1;
        *self.acks_of.entry(producer).or_default() += 1;
        let Some(base) = base else {
            self.acked_somewhere.entry(partition).or_default().extend(values.iter().cloned());
            return;
        };
        for (offset, value) in (base..).zip(values) {
            self.an_offset_holds_one_value(partition, offset, value);
            self.acked.entry(partition).or_default().insert(offset, value.clone());
        }
    }

    /// A consumer is shown a value.
    pub(crate) fn show(&mut self, partition: i32, offset: i64, value: String) {
        self.an_offset_holds_one_value(partition, offset, &value);
        self.seen.entry(partition).or_default().insert(offset, value);
    }

    /// Offsets below which everything acknowledged lies, by partition.
    pub(crate) fn acked_end(&self, partition: i32) -> i64 {
        let last = self.acked.get(&partition).and_then(|log| log.last_key_value());
        last.map_or(0, |(offset, _)| offset + 1)
    }

    fn an_offset_holds_one_value(&self, partition: i32, offset: i64, value: &str) {
        for known in [&self.acked, &self.seen] {
            let before = known.get(&partition).and_then(|log| log.get(&offset));
            assert!(
                before.is_none_or(|before| before == value),
                "{partition}@{offset} was {before:?} and is {value}"
            );
        }
    }

    /// Judges what a partition holds in the end.
    pub(crate) fn check(&self, partition: i32, found: &Log) {
        self.nothing_acknowledged_is_lost(partition, found);
        self.nothing_that_was_seen_is_gone(partition, found);
        self.no_value_is_there_twice(partition, found);
        self.values_of_a_producer_keep_their_order(partition, found);
    }

    fn nothing_acknowledged_is_lost(&self, partition: i32, found: &Log) {
        for (offset, value) in self.acked.get(&partition).into_iter().flatten() {
            let there = found.get(offset);
            assert_eq!(there, Some(value), "{partition}@{offset} was acknowledged");
        }
        let there: BTreeSet<&String> = found.values().collect();
        for value in self.acked_somewhere.get(&partition).into_iter().flatten() {
            assert!(there.contains(value), "{value} of {partition} was acknowledged");
        }
    }

    fn nothing_that_was_seen_is_gone(&self, partition: i32, found: &Log) {
        for (offset, value) in self.seen.get(&partition).into_iter().flatten() {
            assert_eq!(found.get(offset), Some(value), "{partition}@{offset} was seen before");
        }
    }

    fn no_value_is_there_twice(&self, partition: i32, found: &Log) {
        let mut there = BTreeMap::new();
        for (offset, value) in found {
            let before = there.insert(value, offset);
            assert!(before.is_none(), "{partition}@{offset}: {value} is at {before:?} already");
        }
    }

    fn values_of_a_producer_keep_their_order(&self, partition: i32, found: &Log) {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for (offset, value) in found {
            let Some((producer, number)) = writer_of(value) else { continue };
            let before = last.insert(producer, number);
            assert!(
                before.is_none_or(|before| before < number),
                "{partition}@{offset}: {value} behind number {before:?}"
            );
        }
    }
}
