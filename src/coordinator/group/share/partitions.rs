//! The way of a partition into a share group and out of it: the share coordinator is told of its
//! state before a member reads it, and forgets it when the group is deleted.
//!
//! Each way is two steps of records with a call to the share coordinator between them. A crash in
//! between leaves `initializing` or `deleting` behind; both are done again, which changes nothing
//! that was done before.

use super::ShareGroup;
use super::calls::{
    AlterOffsets, AlteredOffsets, AlteredPartition, AlteredTopic, Forgetting, Initialized,
    ToInitialize,
};
use super::records::{ShareRecord, SharedTopic};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::calls::{DescribedTopic, Refusal};
use crate::coordinator::group::consumer::described;
use crate::coordinator::group::topics::{TopicView, Topics};
use crate::coordinator::group::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;
use crate::model::limits::SHARE_INITIALIZE_RETRY_MS;
use std::collections::{BTreeMap, BTreeSet};

impl ShareGroup {
    /// Notes the subscribed partitions that are new, or whose initialization got lost, as
    /// initializing. The share coordinator is to be told of them.
    pub(super) fn begin_initialize(
        &mut self,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Option<ToInitialize> {
        let mut partitions = Assignment::new();
        let mut next = self.partitions.clone();
        for name in self.subscribed_names() {
            let Some(TopicView { id, partitions: count }) = topics.get(name) else { continue };
            let is_under_way = self.told_ms.get(&id).is_some_and(|told_ms| {
                turn.now.wall_ms.saturating_sub(*told_ms) < SHARE_INITIALIZE_RETRY_MS
            });
            let has = |of: &BTreeMap<TopicId, SharedTopic>, index: i32| {
                of.get(&id).is_some_and(|topic| topic.partitions.contains(&index))
            };
            let is_told = |index: i32| is_under_way && has(&self.partitions.initializing, index);
            let is_new = |index: &i32| {
                let is_known = has(&self.partitions.initialized, *index) || is_told(*index);
                !is_known
            };
            let new: BTreeSet<i32> = (0..count).filter(is_new).collect();
            if !new.is_empty() {
                note(&mut next.initializing, id, name, &new);
                next.deleting.remove(&id);
                partitions.insert(id, new);
            }
        }
        // More partitions than one record can name are not shared.
        if partitions.is_empty() || next.size() > turn.config.record_bytes_max {
            return None;
        }
        assert!(partitions.keys().all(|topic| next.initializing.contains_key(topic)));
        for topic in partitions.keys() {
            self.told_ms.insert(*topic, turn.now.wall_ms);
        }
        if next != self.partitions {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
        Some(ToInitialize { epoch: self.epoch, partitions })
    }

    /// The share coordinator knows of partitions, or could not be told.
    pub(super) fn end_initialize(
        &mut self,
        of: &Initialized,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) {
        let mut next = self.partitions.clone();
        for (topic, set) in of.done.iter().chain(&of.failed) {
            take(&mut next.initializing, *topic, set);
            self.told_ms.remove(topic);
        }
        for (topic, set) in &of.done {
            // A topic that was deleted meanwhile is forgotten by the share coordinator as well.
            if let Some(name) = topics.name(topic) {
                note(&mut next.initialized, *topic, name, set);
            }
        }
        assert!(next.initialized.values().all(|topic| !topic.partitions.is_empty()));
        if next != self.partitions {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
    }

    /// Drops what the group knows of topics that are gone.
    pub(super) fn forget_deleted(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        // A coordinator that was shown no topics yet knows of none that is gone.
        if topics.version() == 0 || self.topics_version == Some(topics.version()) {
            return;
        }
        let mut next = self.partitions.clone();
        next.initializing.retain(|topic, _| topics.name(topic).is_some());
        next.initialized.retain(|topic, _| topics.name(topic).is_some());
        next.deleting.retain(|topic, _| topics.name(topic).is_some());
        self.told_ms.retain(|topic, _| topics.name(topic).is_some());
        if next != self.partitions {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
    }

    /// Partitions that members may read.
    pub(super) fn initialized(&self, topics: &Topics) -> Vec<DescribedTopic> {
        let all = self.partitions.initialized.iter();
        let all = all.map(|(topic, own)| (*topic, own.partitions.clone())).collect();
        described(&all, topics)
    }

    /// Offsets to start from are to be others: an epoch of their own begins, so that whoever wrote
    /// the state before is fenced.
    pub(super) fn begin_alter(
        &mut self,
        request: AlterOffsets,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<AlteredOffsets, Refusal> {
        self.check_empty()?;
        let mut next = self.partitions.clone();
        let mut altered: Vec<AlteredTopic> = Vec::with_capacity(request.topics.len());
        for (name, partitions) in request.topics {
            let topic = topics.get(&name);
            let count = topic.map_or(0, |topic| topic.partitions);
            let partition = |(partition, offset): (i32, i64)| AlteredPartition {
                partition,
                offset,
                code: match (0..count).contains(&partition) {
                    true => KafkaCode::None,
                    false => KafkaCode::UnknownTopicOrPartition,
                },
            };
            let partitions: Vec<AlteredPartition> = partitions.into_iter().map(partition).collect();
            if let Some(TopicView { id, .. }) = topic {
                let known = next.initialized.get(&id);
                let is_new = |own: &&AlteredPartition| {
                    own.code == KafkaCode::None
                        && known.is_none_or(|known| !known.partitions.contains(&own.partition))
                };
                let new = partitions.iter().filter(is_new).map(|own| own.partition).collect();
                note(&mut next.initializing, id, &name, &new);
                next.deleting.remove(&id);
            }
            altered.push(AlteredTopic { name, id: topic.map(|topic| topic.id), partitions });
        }
        assert!(self.is_empty());
        if next.size() > turn.config.record_bytes_max {
            let message = "the group shares more partitions than can be recorded";
            return Err(Refusal::new(KafkaCode::UnknownServerError, message));
        }
        if next != self.partitions {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
        let mut all = altered.iter().flat_map(|topic| &topic.partitions);
        if all.any(|own| own.code == KafkaCode::None) {
            self.bump("its offsets were altered".to_owned(), topics, turn);
        }
        Ok(AlteredOffsets { epoch: self.epoch, topics: altered })
    }

    /// Notes topics as being deleted; all of them when none are named.
    pub(super) fn begin_forget(
        &mut self,
        names: Option<Vec<String>>,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<Forgetting, Refusal> {
        self.check_empty()?;
        let known = self.partitions.clone();
        let mut next = known.clone();
        let mut going = Assignment::new();
        let mut unknown = Vec::new();
        let ids: Vec<TopicId> = match names {
            None => {
                let all = known.initializing.keys().chain(known.initialized.keys());
                all.chain(known.deleting.keys()).copied().collect()
            }
            Some(names) => {
                let mut ids = Vec::with_capacity(names.len());
                for name in names {
                    let id = topics.get(&name).map(|topic| topic.id);
                    let has = |id: &TopicId| {
                        known.initialized.contains_key(id) || known.deleting.contains_key(id)
                    };
                    match id.filter(has) {
                        Some(id) => ids.push(id),
                        None => unknown.push((name, id.is_some())),
                    }
                }
                ids
            }
        };
        for id in ids {
            let Some(name) = topics.name(&id) else { continue };
            let own = [next.initializing.remove(&id), next.initialized.remove(&id)];
            let mut set: BTreeSet<i32> =
                own.into_iter().flatten().flat_map(|topic| topic.partitions).collect();
            if known.deleting.contains_key(&id) {
                set.extend(0..topics.get(name).map_or(0, |topic| topic.partitions));
            }
            next.deleting.insert(id, name.to_owned());
            going.entry(id).or_default().extend(set);
        }
        if next != known {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
        assert!(going.keys().all(|topic| !self.partitions.initialized.contains_key(topic)));
        Ok(Forgetting { topics: described(&going, topics), unknown })
    }

    /// The share coordinator has forgotten topics.
    pub(super) fn end_forget(&mut self, gone: &[TopicId], turn: &mut Turn<'_>) {
        let mut next = self.partitions.clone();
        next.deleting.retain(|topic, _| !gone.contains(topic));
        assert!(next.deleting.len() <= self.partitions.deleting.len());
        if next != self.partitions {
            self.put(ShareRecord::Partitions(Some(next)), turn);
        }
    }

    fn check_empty(&self) -> Result<(), Refusal> {
        match self.is_empty() {
            true => Ok(()),
            false => {
                let message = KafkaCode::NonEmptyGroup.message();
                Err(Refusal::new(KafkaCode::NonEmptyGroup, message))
            }
        }
    }
}

fn note(
    topics: &mut BTreeMap<TopicId, SharedTopic>,
    id: TopicId,
    name: &str,
    partitions: &BTreeSet<i32>,
) {
    if partitions.is_empty() {
        return;
    }
    let topic = topics.entry(id).or_default();
    name.clone_into(&mut topic.name);
    topic.partitions.extend(partitions);
    assert!(!topic.partitions.is_empty());
}

fn take(topics: &mut BTreeMap<TopicId, SharedTopic>, id: TopicId, partitions: &BTreeSet<i32>) {
    let Some(topic) = topics.get_mut(&id) else { return };
    topic.partitions.retain(|partition| !partitions.contains(partition));
    assert!(topic.partitions.is_disjoint(partitions));
    if topic.partitions.is_empty() {
        topics.remove(&id);
    }
}
