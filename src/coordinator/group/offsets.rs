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
use super::records::{CommittedOffset, GroupRecord};
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
            let topics = entry(&mut self.by_group, group);
            entry(topics, topic).insert(partition, offset);
            return;
        }
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

    pub(super) fn of_group(&self, group: &str) -> Option<&GroupOffsets> {
        self.by_group.get(group)
    }

    /// Takes what a commit says, partition by partition; oversized metadata is refused alone.
    pub(super) fn commit(
        &mut self,
        commit: CommitOffsets,
        turn: &mut Turn<'_>,
    ) -> Vec<TopicResult> {
        let expire_ms = commit.retention_ms.map(|retention_ms| {
            turn.now.wall_ms.saturating_add(i64::try_from(retention_ms).unwrap_or(i64::MAX))
        });
        let metadata_bytes_max = turn.config.offset_metadata_bytes_max.min(GROUP_TEXT_BYTES_MAX);
        let mut results = Vec::with_capacity(commit.topics.len());
        for topic in commit.topics {
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
                self.apply(&commit.group, &topic.name, partition, Some(value.clone()));
                turn.write(GroupRecord::Offset {
                    group: commit.group.clone(),
                    topic: topic.name.clone(),
                    partition,
                    value: Some(value),
                });
                partitions.push((partition, KafkaCode::None));
            }
            results.push(TopicResult { name: topic.name, partitions });
        }
        results
    }

    /// The offsets asked for; a partition without one is -1, not an error.
    pub(super) fn fetch(&self, fetch: FetchOffsets) -> Vec<FetchedTopic> {
        let known = self.by_group.get(&fetch.group);
        let Some(topics) = fetch.topics else {
            return known
                .into_iter()
                .flatten()
                .map(|(name, offsets)| all_of(name, offsets))
                .collect();
        };
        let answer = |(name, partitions): (String, Vec<i32>)| {
            let offsets = known.and_then(|topics| topics.get(&name));
            let partitions = partitions
                .into_iter()
                .map(|partition| fetched(partition, offsets.and_then(|o| o.get(&partition))))
                .collect();
            FetchedTopic { name, partitions }
        };
        topics.into_iter().map(answer).collect()
    }

    /// Removes offsets of topics that no member of `group` is subscribed to.
    pub(super) fn delete(
        &mut self,
        group: &ClassicGroup,
        delete: DeleteOffsets,
        turn: &mut Turn<'_>,
    ) -> Vec<TopicResult> {
        let mut results = Vec::with_capacity(delete.topics.len());
        for (name, partitions) in delete.topics {
            let is_subscribed = group.is_subscribed_to(&name);
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

    /// Removes every offset of a group.
    pub(super) fn delete_group(&mut self, group: &str, turn: &mut Turn<'_>) {
        for (topic, partition) in self.keys_of(group, |_, _| true) {
            self.remove(group, &topic, partition, turn);
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
    pub(super) fn groups_of_topic(&self, topic: &str) -> Vec<String> {
        let has_topic = |(_, topics): &(&String, &GroupOffsets)| topics.contains_key(topic);
        self.by_group.iter().filter(has_topic).map(|(group, _)| group.clone()).collect()
    }

    /// Writes a tombstone for an offset that is there; nothing for one that is not.
    pub(super) fn remove(&mut self, group: &str, topic: &str, partition: i32, turn: &mut Turn<'_>) {
        let topics = self.by_group.get(group);
        let is_known = topics
            .and_then(|topics| topics.get(topic))
            .is_some_and(|partitions| partitions.contains_key(&partition));
        if !is_known {
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

fn all_of(name: &str, offsets: &BTreeMap<i32, CommittedOffset>) -> FetchedTopic {
    let partitions = offsets.iter().map(|(partition, offset)| fetched(*partition, Some(offset)));
    FetchedTopic { name: name.to_owned(), partitions: partitions.collect() }
}

fn fetched(partition: i32, offset: Option<&CommittedOffset>) -> FetchedPartition {
    match offset {
        None => {
            FetchedPartition { partition, offset: -1, leader_epoch: -1, metadata: String::new() }
        }
        Some(offset) => FetchedPartition {
            partition,
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata.clone(),
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
