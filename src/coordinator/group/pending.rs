//! Offsets that transactions have committed and no marker has decided yet (KIP-98, KIP-447).
//!
//! A transactional commit is a record of the log like any other, in a batch of its producer. It
//! counts once the producer's commit marker is in the same partition; until then a consumer that
//! asks for stable offsets is told to wait. Of several commits for one partition, the one that
//! came last into the log counts, as it would without transactions.
//!
//! Invariants
//! - Live steps and replay feed the same three events in the order of the log: a pending offset, a
//!   plain commit or tombstone, a marker.
//! - A producer is known here while it has an undecided partition, and no longer.

use super::calls::{CommitTransaction, TopicResult};
use super::coordinator::GroupCoordinator;
use super::kinds::Group;
use super::records::{CommittedOffset, GroupRecord};
use super::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::ids::ProducerId;
use crate::model::limits::GROUPS_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// A partition that a group reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OffsetKey {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
}

impl OffsetKey {
    pub(super) fn new(group: &str, topic: &str, partition: i32) -> OffsetKey {
        OffsetKey { group: group.to_owned(), topic: topic.to_owned(), partition }
    }
}

/// What one transaction says of one partition.
#[derive(Debug)]
struct Pending {
    producer: ProducerId,
    /// Rises with the log.
    order: u64,
    /// `None` when something that came later counts already.
    value: Option<CommittedOffset>,
}

/// All undecided offsets of one coordinator.
#[derive(Debug, Default)]
pub(super) struct PendingOffsets {
    keys: BTreeMap<OffsetKey, Vec<Pending>>,
    producers: BTreeMap<ProducerId, BTreeSet<OffsetKey>>,
    last_order: u64,
}

impl PendingOffsets {
    /// A transaction commits an offset, if it commits at all.
    pub(super) fn add(&mut self, producer: ProducerId, key: OffsetKey, value: CommittedOffset) {
        self.last_order += 1;
        let order = self.last_order;
        self.producers.entry(producer).or_default().insert(key.clone());
        let pending = self.keys.entry(key).or_default();
        pending.retain(|other| other.producer != producer);
        pending.push(Pending { producer, order, value: Some(value) });
    }

    /// A plain commit came: what was pending before it no longer counts.
    pub(super) fn supersede(&mut self, group: &str, topic: &str, partition: i32) {
        if self.keys.is_empty() {
            return;
        }
        let pending = self.keys.get_mut(&OffsetKey::new(group, topic, partition));
        for other in pending.into_iter().flatten() {
            other.value = None;
        }
    }

    /// The partition's offset was deleted, and what was pending for it with it.
    pub(super) fn forget(&mut self, group: &str, topic: &str, partition: i32) {
        if self.keys.is_empty() {
            return;
        }
        let key = OffsetKey::new(group, topic, partition);
        for other in self.keys.remove(&key).into_iter().flatten() {
            if let Some(keys) = self.producers.get_mut(&other.producer) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.producers.remove(&other.producer);
                }
            }
        }
    }

    /// The producer's transaction has ended. Returns the offsets that count from now on.
    pub(super) fn end(
        &mut self,
        producer: ProducerId,
        is_commit: bool,
    ) -> Vec<(OffsetKey, CommittedOffset)> {
        let mut decided = Vec::new();
        for key in self.producers.remove(&producer).unwrap_or_default() {
            let pending = self.keys.get_mut(&key).expect("known by its producer");
            let at = pending.iter().position(|own| own.producer == producer);
            let own = pending.remove(at.expect("known by its producer"));
            if is_commit && let Some(value) = own.value {
                for other in pending.iter_mut().filter(|other| other.order < own.order) {
                    other.value = None;
                }
                decided.push((key.clone(), value));
            }
            if pending.is_empty() {
                self.keys.remove(&key);
            }
        }
        decided
    }

    /// Whether no partition has an undecided offset.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// True while a transaction may still change the partition's offset.
    pub(super) fn has(&self, group: &str, topic: &str, partition: i32) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(&OffsetKey::new(group, topic, partition))
    }

    /// True while a transaction may still give the group an offset.
    pub(super) fn has_group(&self, group: &str) -> bool {
        self.of_group(group).next().is_some()
    }

    /// The group's undecided partitions.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = &OffsetKey> {
        let first = OffsetKey::new(group, "", i32::MIN);
        self.keys.range(first..).map(|(key, _)| key).take_while(move |key| key.group == group)
    }

    /// Groups with an undecided partition of the topic.
    pub(super) fn groups_of_topic(&self, topic: &str) -> BTreeSet<String> {
        let keys = self.keys.keys().filter(|key| key.topic == topic);
        keys.map(|key| key.group.clone()).collect()
    }
}

impl GroupCoordinator {
    /// TxnOffsetCommit, when the transaction was found to be open.
    pub(super) fn commit_transaction(
        &mut self,
        request: CommitTransaction,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<TopicResult>, KafkaCode> {
        let CommitTransaction { producer, commit } = request;
        match self.groups.get(&commit.group) {
            Some(Group::Classic(group)) => group.check_transactional_commit(&commit)?,
            Some(Group::Consumer(group)) => group.check_transactional_commit(&commit)?,
            Some(Group::Share(_)) => return Err(KafkaCode::GroupIdNotFound),
            None if commit.generation >= 0 => return Err(KafkaCode::IllegalGeneration),
            None if self.groups.len() >= GROUPS_MAX => {
                return Err(KafkaCode::CoordinatorNotAvailable);
            }
            None => self.ensure_group(&commit.group),
        }
        Ok(self.offsets.commit(commit, Some(producer), turn))
    }

    /// Applies a record of a transactional batch of the log.
    pub fn replay_transactional(&mut self, producer: ProducerId, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group, topic, partition, value: Some(value) } => {
                self.ensure_group(&group);
                self.offsets.pending.add(producer, OffsetKey { group, topic, partition }, value);
            }
            other => self.replay(other),
        }
    }

    /// The producer's marker is in the log, or was appended to it just now.
    pub fn on_marker(&mut self, producer: ProducerId, is_commit: bool) {
        for (key, value) in self.offsets.pending.end(producer, is_commit) {
            let OffsetKey { group, topic, partition } = key;
            self.ensure_group(&group);
            self.offsets.put(&group, &topic, partition, value);
        }
    }

    fn ensure_group(&mut self, id: &str) {
        if !self.groups.contains_key(id) {
            self.groups.insert(id.to_owned(), Group::classic(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_ms: 0,
            expire_ms: None,
        }
    }

    fn key(partition: i32) -> OffsetKey {
        OffsetKey::new("g", "t", partition)
    }

    fn decided(pending: &mut PendingOffsets, producer: i64, is_commit: bool) -> Vec<(i32, i64)> {
        let decided = pending.end(ProducerId(producer), is_commit);
        decided.into_iter().map(|(key, value)| (key.partition, value.offset)).collect()
    }

    #[test]
    fn only_a_commit_marker_makes_offsets_count_and_either_leaves_nothing_undecided() {
        let mut pending = PendingOffsets::default();
        pending.add(ProducerId(1), key(0), offset(5));
        pending.add(ProducerId(1), key(0), offset(6));
        pending.add(ProducerId(1), key(1), offset(7));
        pending.add(ProducerId(2), key(2), offset(8));
        assert!(pending.has("g", "t", 1) && !pending.has("g", "t", 3) && !pending.has("h", "t", 1));
        assert_eq!(decided(&mut pending, 1, true), [(0, 6), (1, 7)]);
        assert!(pending.has_group("g"));
        assert_eq!(decided(&mut pending, 2, false), []);
        assert!(!pending.has_group("g") && pending.producers.is_empty());
        assert_eq!(decided(&mut pending, 2, true), []);
    }

    #[test]
    fn of_two_commits_the_later_in_the_log_counts_whichever_is_decided_first() {
        for (first, second) in [(1, 2), (2, 1)] {
            let mut pending = PendingOffsets::default();
            pending.add(ProducerId(1), key(0), offset(10));
            pending.add(ProducerId(2), key(0), offset(20));
            let mut counts = None;
            for producer in [first, second] {
                counts = decided(&mut pending, producer, true).first().copied().or(counts);
            }
            assert_eq!(counts, Some((0, 20)));
        }
    }

    #[test]
    fn a_plain_commit_or_a_tombstone_outdoes_what_was_pending_before_it() {
        let mut pending = PendingOffsets::default();
        pending.add(ProducerId(1), key(0), offset(10));
        pending.supersede("g", "t", 0);
        assert!(pending.has("g", "t", 0), "still undecided");
        assert_eq!(decided(&mut pending, 1, true), []);
        pending.add(ProducerId(1), key(0), offset(11));
        pending.forget("g", "t", 0);
        assert!(!pending.has("g", "t", 0) && pending.producers.is_empty());
        assert_eq!(decided(&mut pending, 1, true), []);
    }
}
