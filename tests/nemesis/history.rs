//! What transactions and their readers said, and whether that is a history of a log.
//!
//! Each transaction of a producer writes its name into every partition, and its number as an offset
//! of the producer's group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const PARTITIONS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
    /// The client was not told: either, but as a whole.
    Unknown,
}

/// The n-th transaction of a producer.
type Name = (u32, i64);
/// Partition and offset.
type Place = (i32, i64);

#[derive(Default)]
pub(crate) struct History {
    outcomes: BTreeMap<Name, Outcome>,
    /// Where records of committed transactions are, as their producer was told.
    told: BTreeMap<Place, Name>,
    /// What a reader was shown while it all went on.
    read: BTreeMap<Place, Name>,
    /// What is there at the end.
    found: BTreeMap<Place, Name>,
    offsets: BTreeMap<u32, i64>,
    faults: Vec<String>,
    is_done: bool,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted| self.outcomes.values().filter(|outcome| **outcome == wanted).count();
        write!(
            f,
            "{} committed, {} aborted, {} unknown; {} records read, {} found",
            count(Outcome::Committed),
            count(Outcome::Aborted),
            count(Outcome::Unknown),
            self.read.len(),
            self.found.len()
        )
    }
}

fn name(word: &str) -> Option<Name> {
    let (producer, number) = word.split_once('-')?;
    Some((producer.parse().ok()?, number.parse().ok()?))
}

fn record(words: &[&str]) -> Option<(Name, Place)> {
    let [_, record, partition, offset] = words else { return None };
    Some((name(record)?, (partition.parse().ok()?, offset.parse().ok()?)))
}

fn put(places: &mut BTreeMap<Place, Name>, (name, place): (Name, Place), faults: &mut Vec<String>) {
    if let Some(other) = places.insert(place, name).filter(|other| *other != name) {
        faults.push(format!("inconsistent offset: {other:?} and then {name:?} at {place:?}"));
    }
}

impl History {
    /// One line of the client.
    pub(crate) fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = match words[0] {
            "COMMITTED" => Some(Outcome::Committed),
            "ABORTED" => Some(Outcome::Aborted),
            "UNKNOWN" => Some(Outcome::Unknown),
            _ => None,
        };
        match (words[0], outcome, words.get(1).and_then(|word| name(word)), record(&words)) {
            (_, Some(outcome), Some(name), _) => drop(self.outcomes.insert(name, outcome)),
            ("AT", _, _, Some(record)) => put(&mut self.told, record, &mut self.faults),
            ("READ", _, _, Some(record)) => put(&mut self.read, record, &mut self.faults),
            ("FINAL", _, _, Some(record)) => put(&mut self.found, record, &mut self.faults),
            ("OFFSET", ..) => match (words[1].parse(), words[2].parse()) {
                (Ok(producer), Ok(offset)) => drop(self.offsets.insert(producer, offset)),
                _ => self.faults.push(line.to_owned()),
            },
            // Why a transaction was given up.
            ("NOTE", ..) => println!("           {line}"),
            ("DONE", ..) => self.is_done = true,
            _ => self.faults.push(line.to_owned()),
        }
    }

    /// Everything that no log of transactions shows.
    pub(crate) fn judge(mut self) -> Vec<String> {
        if !self.is_done {
            self.faults.push("the client did not end by itself".to_owned());
        }
        if !self.outcomes.values().any(|outcome| *outcome == Outcome::Committed) {
            self.faults.push("nothing was committed".to_owned());
        }
        let checks = [
            self.lost(),
            self.aborted_reads(),
            self.torn(),
            self.doubled_or_reordered(),
            self.inconsistent(),
            self.wrong_offsets(),
        ];
        self.faults.extend(checks.into_iter().flatten());
        self.faults
    }

    fn with(&self, wanted: Outcome) -> impl Iterator<Item = Name> {
        let all = self.outcomes.iter();
        all.filter(move |(_, outcome)| **outcome == wanted).map(|(name, _)| *name)
    }

    fn lost(&self) -> Vec<String> {
        let found: BTreeSet<Name> = self.found.values().copied().collect();
        let lost = self.with(Outcome::Committed).filter(|name| !found.contains(name));
        lost.map(|name| format!("lost: {name:?} was committed")).collect()
    }

    fn aborted_reads(&self) -> Vec<String> {
        let aborted: BTreeSet<Name> = self.with(Outcome::Aborted).collect();
        let shown = self.found.iter().chain(&self.read);
        shown
            .filter(|(_, name)| aborted.contains(name))
            .map(|(place, name)| format!("aborted read: {name:?} at {place:?}"))
            .collect()
    }

    fn torn(&self) -> Vec<String> {
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        self.found.values().for_each(|name| *counts.entry(*name).or_default() += 1);
        counts
            .into_iter()
            .filter(|(_, count)| *count < PARTITIONS)
            .map(|(name, count)| format!("torn: {name:?} is in {count} partitions"))
            .collect()
    }

    fn doubled_or_reordered(&self) -> Vec<String> {
        let mut last: BTreeMap<(i32, u32), i64> = BTreeMap::new();
        let mut faults = Vec::new();
        for ((partition, offset), (producer, number)) in &self.found {
            match last.insert((*partition, *producer), *number) {
                Some(before) if before == *number => {
                    faults.push(format!("duplicated: {producer}-{number} in {partition}"));
                }
                Some(before) if before > *number => faults.push(format!(
                    "reordered: {producer}-{number} behind {before} at {offset} of {partition}"
                )),
                _ => {}
            }
        }
        faults
    }

    fn inconsistent(&self) -> Vec<String> {
        let seen = self.told.iter().chain(&self.read);
        seen.filter(|(place, name)| self.found.get(place) != Some(name))
            .map(|(place, name)| {
                let found = self.found.get(place);
                format!("inconsistent offset: {name:?} at {place:?}, where {found:?} is")
            })
            .collect()
    }

    /// A group's offset is that of the last transaction that is there.
    fn wrong_offsets(&self) -> Vec<String> {
        let mut wanted: BTreeMap<u32, i64> = BTreeMap::new();
        for (producer, number) in self.found.values() {
            let last = wanted.entry(*producer).or_default();
            *last = (*last).max(number + 1);
        }
        wanted
            .iter()
            .filter(|(producer, offset)| self.offsets.get(producer) != Some(offset))
            .map(|(producer, offset)| {
                let there = self.offsets.get(producer);
                format!("torn: the group of producer {producer} is at {there:?}, not {offset}")
            })
            .collect()
    }
}

#[test]
fn a_history_with_each_fault_is_found_out() {
    let good = [
        "COMMITTED 0-0",
        "AT 0-0 0 0",
        "AT 0-0 1 0",
        "AT 0-0 2 0",
        "READ 0-0 0 0",
        "ABORTED 0-1",
        "FINAL 0-0 0 0",
        "FINAL 0-0 1 0",
        "FINAL 0-0 2 0",
        "OFFSET 0 1",
        "DONE",
    ];
    let judge = |lines: &[&str]| {
        let mut history = History::default();
        lines.iter().for_each(|line| history.take(line));
        history.judge()
    };
    assert_eq!(judge(&good), [""; 0]);
    let bad: [(&str, &[&str]); 7] = [
        ("lost", &["COMMITTED 0-2"]),
        ("aborted read", &["READ 0-1 1 7"]),
        ("torn", &["FINAL 0-3 0 9"]),
        ("duplicated", &["FINAL 0-0 1 2"]),
        ("reordered", &["UNKNOWN 0-5", "FINAL 0-5 2 5", "FINAL 0-4 2 6"]),
        ("inconsistent offset", &["READ 0-6 2 0"]),
        ("torn: the group", &["OFFSET 0 3"]),
    ];
    for (wanted, lines) in bad {
        let faults = judge(&[&good[..], lines].concat());
        assert!(faults.iter().any(|fault| fault.starts_with(wanted)), "{wanted}: {faults:?}");
    }
}
