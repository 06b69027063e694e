//! Where each leader epoch of a partition begins (KIP-101), so that replicas and consumers can tell
//! where two logs part ways.
//!
//! File `leader-epoch-checkpoint` in Kafka's own text: a version line "0", a count, then one line
//! "epoch start-offset" per epoch. Every stored batch carries its epoch, so the file can be rebuilt.
//!
//! Invariants
//! - Epochs and start offsets both rise from entry to entry.

use crate::model::ids::{LeaderEpoch, Offset};
use std::fmt::Write;

/// Name of the file in the partition's folder.
pub const EPOCH_FILE: &str = "leader-epoch-checkpoint";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EpochStart {
    epoch: LeaderEpoch,
    start: Offset,
}

/// The leader epochs of one partition's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochStart>,
}

impl EpochCache {
    /// Notes that the batch at `start` was written under `epoch`; true when that begins a new one.
    /// An epoch that is not newer than the last one changes nothing.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self.entries.last().is_some_and(|last| last.epoch >= epoch) {
            return false;
        }
        // An epoch under which nothing was written is no part of the log's history.
        while self.entries.last().is_some_and(|last| last.start >= start) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        assert!(self.entries.is_sorted_by(|a, b| a.epoch < b.epoch && a.start < b.start));
        true
    }

    /// The last epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Epoch of the record at `offset`, where the log knows it.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        self.entries[..after].last().map(|entry| entry.epoch)
    }

    /// Largest epoch at or below `epoch` and the offset where it ends; `None` when the log knows
    /// none, or `epoch` is newer than all it knows.
    pub fn end_offset(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest().is_none_or(|latest| epoch > latest) {
            return None;
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end = self.entries.get(after).map_or(log_end, |next| next.start);
        let found = self.entries[..after].last();
        // Older than all we know: the epoch asked for ends where our first one begins.
        Some((found.map_or(epoch, |found| found.epoch), end))
    }

    /// Forgets what begins at or behind `end`, where the log ends now. True when that was anything.
    pub fn truncate_from(&mut self, end: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start < end);
        self.entries.len() != before
    }

    /// Forgets epochs that end at or before `start`, the new log start; the epoch that `start`
    /// itself belongs to begins there now. True when that changed anything.
    pub fn truncate_to(&mut self, start: Offset) -> bool {
        let at_or_before = self.entries.partition_point(|entry| entry.start <= start);
        let Some(last) = at_or_before.checked_sub(1) else { return false };
        let has_changed = last > 0 || self.entries[0].start < start;
        self.entries.drain(..last);
        self.entries[0].start = start;
        has_changed
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            writeln!(text, "{} {}", entry.epoch.0, entry.start).expect("a String takes everything");
        }
        text
    }

    /// From the file's text; `None` when it is not what `encode` or Kafka writes.
    pub fn decode(text: &str) -> Option<EpochCache> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut entries: Vec<EpochStart> = Vec::new();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let epoch = LeaderEpoch(epoch.parse().ok()?);
            let start = Offset::from_wire(start.parse().ok()?)?;
            if entries.last().is_some_and(|last| last.epoch >= epoch || last.start >= start) {
                return None;
            }
            entries.push(EpochStart { epoch, start });
        }
        (entries.len() == count).then_some(EpochCache { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, u64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in entries {
            cache.assign(LeaderEpoch(*epoch), Offset::new(*start));
        }
        cache
    }

    #[test]
    fn the_file_is_kafkas_text_and_reads_back() {
        let cache = cache(&[(0, 0), (3, 17), (4, 20)]);
        assert_eq!(cache.encode(), "0\n3\n0 0\n3 17\n4 20\n");
        assert_eq!(EpochCache::decode(&cache.encode()), Some(cache));
        for damaged in ["", "1\n0\n", "0\n2\n0 0\n", "0\n2\n1 5\n0 7\n", "0\n1\n0 -3\n", "0\nx\n"] {
            assert_eq!(EpochCache::decode(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn an_epoch_without_records_leaves_no_trace() {
        let cache = cache(&[(0, 0), (1, 10), (2, 10), (2, 12), (1, 15)]);
        assert_eq!(cache.encode(), "0\n2\n0 0\n2 10\n");
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next_known_one() {
        let cache = cache(&[(1, 5), (3, 17), (4, 20)]);
        let end = |epoch| {
            let found = cache.end_offset(LeaderEpoch(epoch), Offset::new(30));
            found.map(|(epoch, end)| (epoch.0, end.get()))
        };
        assert_eq!(end(0), Some((0, 5)));
        assert_eq!(end(1), Some((1, 17)));
        assert_eq!(end(2), Some((1, 17)));
        assert_eq!(end(4), Some((4, 30)));
        assert_eq!(end(5), None);
        assert_eq!(EpochCache::default().end_offset(LeaderEpoch(0), Offset::ZERO), None);
    }

    #[test]
    fn truncation_at_either_end_keeps_what_the_log_still_holds() {
        let full = cache(&[(1, 5), (3, 17), (4, 20)]);
        let mut cut = full.clone();
        assert!(cut.truncate_from(Offset::new(18)));
        assert_eq!(cut, cache(&[(1, 5), (3, 17)]));
        assert!(!cut.truncate_from(Offset::new(18)));
        let mut cut = full.clone();
        assert!(cut.truncate_to(Offset::new(19)));
        assert_eq!(cut, cache(&[(3, 19), (4, 20)]));
        assert!(!cut.truncate_to(Offset::new(19)));
        assert_eq!(full.epoch_at(Offset::new(4)), None);
        assert_eq!(full.epoch_at(Offset::new(19)), Some(LeaderEpoch(3)));
    }
}
