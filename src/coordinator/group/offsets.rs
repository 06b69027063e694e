//! Committed offsets: how far each group has read each partition.
//!
//! Kept apart from the groups, since a group's kind may change (classic to KIP-848) while its
//! offsets stay. Every change is a record, applied by [`Offsets::apply`] in a live step as in a
//! replay, so memory and log cannot disagree.

use super::calls::{
    CommitOffsets, CommitPartition, DeleteOffsets, FetchOffsets, FetchedPartition, FetchedTopic,
    TopicResult,
};
use super::classic::{ClassicGroup, GroupState};
use super::pending::{OffsetKey, PendingOffsets};
use super::records::{CommittedOffset, GroupRecord, Producer};
use super::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUP_TEXT_BYTES_MAX;
use std::collections::BTreeMap;

/// Offsets of one group: topic, partition, offset.
pub(super) type GroupOffsets = BTreeMap<String, BTreeMap<i32, CommittedOffset>>;

/// All committed offsets of one coordinator.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_group: BTreeMap<String, GroupOffsets>,
    pub(super) pending: PendingOffsets,
}

impl Offsets {
    /// Applies one record: the new offset of a partition, or none.
    pub(super) fn apply(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<CommittedOffset>,
    ) {
        if let Some(offset) = value {
            self.pending.supersede(group, topic, partition);
            return self.put(group, topic, partition, offset);
        }
        self.pending.forget(group, topic, partition);
        let Some(topics) = self.by_group.get_mut(group) else { return };
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                topics.remove(topic);
            }
        }
        if topics.is_empty() {
            self.by_group.remove(group);
        }
    }

    /// The partition's offset is this one now.
    pub(super) fn put(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: CommittedOffset,
    ) {
        let topics = entry(&mut self.by_group, group);
        entry(topics, topic).insert(partition, offset);
    }

    /// As [`Offsets::put`] for each of them, with one look for the topic.
    fn put_all(&mut self, group: &str, topic: &str, offsets: Vec<(i32, CommittedOffset)>) {
        if !offsets.is_empty() {
            entry(entry(&mut self.by_group, group), topic).extend(offsets);
        }
    }

    pub(super) fn of_group(&self, group: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group)
    }

    /// Takes what a commit says, partition by partition; oversized metadata is refused alone. What
    /// a transaction of `producer` commits is undecided until its marker comes.
    pub(super) fn commit(
        &mut self,
        commit: CommitOffsets,
        producer: Option<Producer>,
        turn: &mut Turn<'_>,
    ) -> Vec<TopicResult> {
        let expire_ms = commit.retention_ms.map(|retention_ms| {
            turn.now.wall_ms.saturating_add(i64::try_from(retention_ms).unwrap_or(i64::MAX))
        });
        let metadata_bytes_max = turn.config.offset_metadata_bytes_max.min(GROUP_TEXT_BYTES_MAX);
        let mut results = Vec::with_capacity(commit.topics.len());
        let is_plain = producer.is_none() && self.pending.is_empty();
        for topic in commit.topics {
            let mut plain = Vec::with_capacity(if is_plain { topic.partitions.len() } else { 0 });
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for CommitPartition { partition, offset, leader_epoch, metadata } in topic.partitions {
                let metadata = metadata.unwrap_or_default();
                if metadata.len() > metadata_bytes_max {
                    partitions.push((partition, KafkaCode::OffsetMetadataTooLarge));
                    continue;
                }
                let commit_ms = turn.now.wall_ms;
                let value =
                    CommittedOffset { offset, leader_epoch, metadata, commit_ms, expire_ms };
                let key = OffsetKey::new(&commit.group, &topic.name, partition);
                if is_plain {
                    plain.push((partition, value.clone()));
                    let OffsetKey { group, topic, partition } = key;
                    turn.write(GroupRecord::Offset { group, topic, partition, value: Some(value) });
                } else {
                    turn.write(self.take(producer, key, value));
                }
                partitions.push((partition, KafkaCode::None));
            }
            self.put_all(&commit.group, &topic.name, plain);
            results.push(TopicResult { name: topic.name, partitions });
        }
        results
    }

    /// Takes one offset; returns the record of it.
    fn take(
        &mut self,
        producer: Option<Producer>,
        key: OffsetKey,
        value: CommittedOffset,
    ) -> GroupRecord {
        if let Some(producer) = producer {
            self.pending.add(producer.id, key.clone(), value.clone());
            let OffsetKey { group, topic, partition } = key;
            return GroupRecord::Pending { producer, group, topic, partition, value };
        }
        let OffsetKey { group, topic, partition } = key;
        self.apply(&group, &topic, partition, Some(value.clone()));
        GroupRecord::Offset { group, topic, partition, value: Some(value) }
    }

    /// The offsets asked for; a partition without one is -1, not an error.
    pub(super) fn fetch(&self, fetch: FetchOffsets) -> Vec<FetchedTopic> {
        let known = self.by_group.get(&fetch.group);
        let topics = fetch.topics.unwrap_or_else(|| {
            let all = known.into_iter().flatten();
            all.map(|(name, offsets)| (name.clone(), offsets.keys().copied().collect())).collect()
        });
        let answer = |(name, partitions): (String, Vec<i32>)| {
            let offsets = known.and_then(|topics| topics.get(&name));
            let one = |partition| {
                if fetch.require_stable && self.pending.has(&fetch.group, &name, partition) {
                    return FetchedPartition::none(partition, KafkaCode::UnstableOffsetCommit);
                }
                fetched(partition, offsets.and_then(|offsets| offsets.get(&partition)))
            };
            let partitions = partitions.into_iter().map(one).collect();
            FetchedTopic { name, partitions }
        };
        topics.into_iter().map(answer).collect()
    }

    /// Removes offsets of topics that no member of the group is subscribed to.
    pub(super) fn delete(
        &mut self,
        is_subscribed_to: impl Fn(&str) -> bool,
        delete: DeleteOffsets,
        turn: &mut Turn<'_>,
    ) -> Vec<TopicResult> {
        let mut results = Vec::with_capacity(delete.topics.len());
        for (name, partitions) in delete.topics {
            let is_subscribed = is_subscribed_to(&name);
            let code =
                if is_subscribed { KafkaCode::GroupSubscribedToTopic } else { KafkaCode::None };
            if !is_subscribed {
                for partition in &partitions {
                    self.remove(&delete.group, &name, *partition, turn);
                }
            }
            let partitions = partitions.into_iter().map(|partition| (partition, code)).collect();
            results.push(TopicResult { name, partitions });
        }
        results
    }

    /// Removes every offset of a group, those undecided included.
    pub(super) fn delete_group(&mut self, group: &str, turn: &mut Turn<'_>) {
        for (topic, partition) in self.keys_of(group, |_, _| true) {
            self.remove(group, &topic, partition, turn);
        }
        let undecided: Vec<OffsetKey> = self.pending.of_group(group).cloned().collect();
        for key in undecided {
            self.remove(group, &key.topic, key.partition, turn);
        }
    }

    /// Removes every offset of a topic, those undecided included.
    pub(super) fn delete_topic(&mut self, topic: &str, turn: &mut Turn<'_>) {
        for group in self.groups_of_topic(topic) {
            for (name, partition) in self.keys_of(&group, |name, _| name == topic) {
                self.remove(&group, &name, partition, turn);
            }
        }
        for group in self.pending.groups_of_topic(topic) {
            let undecided = self.pending.of_group(&group).filter(|key| key.topic == topic);
            let undecided: Vec<OffsetKey> = undecided.cloned().collect();
            for key in undecided {
                self.remove(&group, topic, key.partition, turn);
            }
        }
    }

    /// Topic and partition of the group's offsets that `is_wanted` picks.
    pub(super) fn keys_of(
        &self,
        group: &str,
        is_wanted: impl Fn(&str, &CommittedOffset) -> bool,
    ) -> Vec<(String, i32)> {
        let mut keys = Vec::new();
        for (topic, partitions) in self.by_group.get(group).into_iter().flatten() {
            let wanted = partitions.iter().filter(|(_, offset)| is_wanted(topic, offset));
            keys.extend(wanted.map(|(partition, _)| (topic.clone(), *partition)));
        }
        keys
    }

    /// Groups that have an offset of `topic`.
    fn groups_of_topic(&self, topic: &str) -> Vec<String> {
        let has_topic = |(_, topics): &(&String, &GroupOffsets)| topics.contains_key(topic);
        self.by_group.iter().filter(has_topic).map(|(group, _)| group.clone()).collect()
    }

    /// Writes a tombstone for an offset that is there; nothing for one that is not.
    pub(super) fn remove(&mut self, group: &str, topic: &str, partition: i32, turn: &mut Turn<'_>) {
        let topics = self.by_group.get(group);
        let is_known = topics
            .and_then(|topics| topics.get(topic))
            .is_some_and(|partitions| partitions.contains_key(&partition));
        if !is_known && !self.pending.has(group, topic, partition) {
            return;
        }
        self.apply(group, topic, partition, None);
        turn.write(GroupRecord::Offset {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partition,
            value: None,
        });
    }
}

impl ClassicGroup {
    /// Whether `commit` may change this group's offsets.
    ///
    /// Without generation and member it is a consumer that assigns its own partitions, or an
    /// administrator: allowed while the group has no members.
    pub(super) fn check_commit(&self, commit: &CommitOffsets) -> Result<(), KafkaCode> {
        if commit.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        let names_member = !commit.member.is_empty() || commit.instance.is_some();
        if commit.generation < 0 && !names_member {
            return Err(KafkaCode::UnknownMemberId);
        }
        self.check_member(&commit.member, commit.instance.as_deref())?;
        if commit.generation != self.generation {
            return Err(KafkaCode::IllegalGeneration);
        }
        // The member has not seen its assignment yet: what it commits is the old one's.
        if self.state == GroupState::CompletingRebalance {
            return Err(KafkaCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether a transaction may commit offsets of this group (KIP-447). A producer that names no
    /// member is not checked, and a rebalance does not hold it up: its marker may come much later.
    pub(super) fn check_transactional_commit(
        &self,
        commit: &CommitOffsets,
    ) -> Result<(), KafkaCode> {
        let names_member = !commit.member.is_empty() || commit.instance.is_some();
        if commit.generation < 0 && (self.state == GroupState::Empty || !names_member) {
            return Ok(());
        }
        self.check_member(&commit.member, commit.instance.as_deref())?;
        if commit.generation != self.generation {
            return Err(KafkaCode::IllegalGeneration);
        }
        Ok(())
    }

    /// Whether single offsets of the group may be deleted. A consumer group with members allows
    /// it for topics out of use; of other groups we cannot read what is in use.
    pub(super) fn check_offset_delete(&self) -> Result<(), KafkaCode> {
        let is_active = self.state != GroupState::Empty;
        if is_active && !self.is_consumer_group() {
            return Err(KafkaCode::NonEmptyGroup);
        }
        Ok(())
    }
}

fn fetched(partition: i32, offset: Option<&CommittedOffset>) -> FetchedPartition {
    match offset {
        None => FetchedPartition::none(partition, KafkaCode::None),
        Some(offset) => FetchedPartition {
            partition,
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone(),
            code: KafkaCode::None,
        },
    }
}

/// The value under `name`, made when missing; the name is copied only then.
fn entry<'m, V: Default>(map: &'m mut BTreeMap<String, V>, name: &str) -> &'m mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("it was put there")
}
