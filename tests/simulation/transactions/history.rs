//! What producers began and were told, and what readers have seen.

use std::collections::{BTreeMap, BTreeSet};

/// A transaction: number of its producer, number among those of its producer.
pub(crate) type TransactionId = (usize, u64);

/// What a transaction consumes: a partition, and the positions from one to before another.
pub(crate) type Input = (i32, i64, i64);

/// What is known of a transaction's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody ever asked for a commit: it must never be seen.
    NeverCommitted,
    /// A commit was asked for and not answered: all or nothing.
    InDoubt,
    /// The commit was acknowledged: it must be seen.
    Committed,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) fate: Fate,
    /// Values by partition, in their order.
    pub(crate) values: BTreeMap<i32, Vec<String>>,
    pub(crate) has_offset: bool,
    /// What it consumed, where it did.
    pub(crate) input: Option<Input>,
}

/// Offsets to values of one partition, as a reader of committed records sees them.
pub(crate) type Seen = BTreeMap<i64, String>;

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) transactions: BTreeMap<TransactionId, Transaction>,
    /// Grows with each end and each batch that was acknowledged.
    pub(crate) promises: usize,
    /// What readers of committed records have been shown, by partition.
    pub(crate) seen: BTreeMap<i32, Seen>,
}

/// The transaction that wrote a value.
pub(crate) fn writer_of(value: &str) -> TransactionId {
    let mut words = value.split('-');
    let producer = words.next().unwrap().parse().unwrap();
    (producer, words.next().unwrap().parse().unwrap())
}

impl History {
    /// A reader of committed records is shown a value.
    pub(crate) fn show(&mut self, partition: i32, offset: i64, value: String) {
        let fate = self.transactions[&writer_of(&value)].fate;
        assert!(fate != Fate::NeverCommitted, "{partition}@{offset} shows {value}");
        let before = self.seen.entry(partition).or_default().insert(offset, value.clone());
        assert!(before.is_none_or(|before| before == value), "{partition}@{offset} changed");
    }

    /// Everything has ended: what is there now against what was promised. Gives the transactions
    /// that are there.
    pub(crate) fn check(&self, found: &BTreeMap<i32, Seen>) -> BTreeSet<TransactionId> {
        let mut there: BTreeMap<TransactionId, BTreeMap<i32, Vec<String>>> = BTreeMap::new();
        for (partition, values) in found {
            for value in values.values() {
                let values = there.entry(writer_of(value)).or_default();
                values.entry(*partition).or_default().push(value.clone());
            }
        }
        for (id, transaction) in &self.transactions {
            let own = there.get(id);
            match transaction.fate {
                Fate::NeverCommitted => assert!(own.is_none(), "{id:?} was not committed: {own:?}"),
                Fate::Committed => assert!(own.is_some(), "{id:?} was committed and is not there"),
                Fate::InDoubt => {}
            }
            if let Some(own) = own {
                assert_eq!(own, &transaction.values, "{id:?} as a whole, once, in its order");
            }
        }
        for (partition, seen) in &self.seen {
            for (offset, value) in seen {
                let there = found.get(partition).and_then(|values| values.get(offset));
                assert_eq!(there, Some(value), "{partition}@{offset} was seen before");
            }
        }
        there.into_keys().collect()
    }

    /// What was consumed in transactions of `there` is what the group has committed: each position
    /// once, none left out.
    pub(crate) fn every_input_is_consumed_once(
        &self,
        there: &BTreeSet<TransactionId>,
        committed: &[(i32, i64)],
    ) {
        for (partition, offset) in committed {
            let consuming = there.iter().map(|id| &self.transactions[id]);
            let inputs = consuming.filter(|one| one.has_offset).filter_map(|one| one.input);
            let mut own: Vec<Input> = inputs.filter(|input| input.0 == *partition).collect();
            own.sort_unstable();
            let mut end = 0;
            for (_, from, to) in &own {
                assert_eq!(*from, end, "input {partition}: {own:?}");
                end = *to;
            }
            assert_eq!((*offset).max(0), end, "committed offset of input {partition}: {own:?}");
        }
    }

    /// How many transactions were committed, how many were not, and how many of the first consumed.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let all = self.transactions.values();
        let committed = all.filter(|transaction| transaction.fate == Fate::Committed);
        let consuming = committed.clone().filter(|transaction| transaction.input.is_some()).count();
        let committed = committed.count();
        [committed, self.transactions.len() - committed, consuming]
    }
}
