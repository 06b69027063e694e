//! A group of the consumer protocol (KIP-848): the coordinator assigns, members follow one by one.
//!
//! ```text
//!   group epoch   grows with each change of members, subscriptions or topics
//!        |        the assignor runs once for all, at the next heartbeat
//!   target epoch  the epoch that the targets were computed for
//!        |        each member gives up, then takes, at its own heartbeats
//!   member epoch  the epoch that a member has reached; commits must carry it
//! ```
//! State: Empty without members, Assigning while the target epoch is behind, Reconciling while a
//! member is, else Stable.
//!
//! Everything that outlives a crash is changed through `ConsumerGroup::put`, which applies a
//! record and hands it out to be logged: a replay of the log is the same steps again. Sessions are
//! not recorded: they begin anew when a coordinator has loaded.
//!
//! Invariants
//! - A partition has one owner at most: `owners` is the inverse of what members own.
//! - The targets are those of `epoch` when `target_epoch` equals it; else they are behind.
//! - An instance id names one member (KIP-345).

pub mod calls;
mod classic_members;
mod doors;
mod heartbeat;
mod member;
mod migration;
mod patterns;
pub mod records;

use self::calls::{DescribedConsumer, DescribedConsumerGroup, DescribedTopic};
use self::member::{ConsumerMember, Goal, reconcile};
use self::records::{ConsumerRecord, CurrentAssignment, GroupEpoch, MemberState, ResolvedRegex};
use super::assignor::{Assignment, Assignor, MemberSpec, fit_record};
use super::calls::CommitOffsets;
use super::rebalances::{Rebalance, Rebalances};
use super::records::GroupRecord;
use super::topics::Topics;
use super::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::group_config::{AssignorNames, GroupConfig};
use crate::model::ids::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// One group. Lives in the [`super::GroupCoordinator`] of its `__consumer_offsets` partition.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    id: String,
    epoch: i32,
    /// What the subscribed topics were like at `epoch`.
    topics_hash: i64,
    target_epoch: i32,
    members: BTreeMap<String, ConsumerMember>,
    /// Instance id to member id (KIP-345).
    instances: BTreeMap<String, String>,
    targets: BTreeMap<String, Assignment>,
    owners: BTreeMap<(TopicId, i32), String>,
    regexes: BTreeMap<String, ResolvedRegex>,
    /// Version of the topics that `topics_hash` was last compared with.
    topics_version: Option<u64>,
    rebalances: Rebalances,
    /// The coordinator's entry for the next look at this group, monotonic microseconds.
    pub(super) wake_us: Option<u64>,
}

impl ConsumerGroup {
    pub(super) fn new(id: impl Into<String>) -> ConsumerGroup {
        ConsumerGroup {
            id: id.into(),
            epoch: 0,
            topics_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            topics_version: None,
            rebalances: Rebalances::default(),
            wake_us: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the state.
    pub(super) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch != self.target_epoch {
            "Assigning"
        } else if self.members.values().any(|member| !member.is_reconciled_to(self.target_epoch)) {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    /// Applies one record, of a live step or of a replay.
    pub(super) fn apply(&mut self, record: ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch(Some(GroupEpoch { epoch, topics_hash })) => {
                self.epoch = epoch;
                self.topics_hash = topics_hash;
            }
            ConsumerRecord::TargetEpoch(Some(epoch)) => self.target_epoch = epoch,
            // The group's own tombstones: the coordinator drops the group.
            ConsumerRecord::Epoch(None) | ConsumerRecord::TargetEpoch(None) => {}
            ConsumerRecord::Member { member, value: Some(details) } => {
                self.forget_instance(&member);
                if let Some(instance) = &details.instance {
                    self.instances.insert(instance.clone(), member.clone());
                }
                self.members.entry(member).or_default().details = details;
            }
            ConsumerRecord::Member { member, value: None } => {
                self.release(&member);
                self.forget_instance(&member);
                self.members.remove(&member);
                assert!(self.instances.values().all(|holder| *holder != member));
            }
            ConsumerRecord::Target { member, value } => {
                match value {
                    Some(target) => self.targets.insert(member, target),
                    None => self.targets.remove(&member),
                };
            }
            ConsumerRecord::Current { member, value: Some(current) } => {
                self.release(&member);
                for partition in current.owned() {
                    self.owners.insert(partition, member.clone());
                }
                self.members.entry(member).or_default().current = current;
            }
            ConsumerRecord::Current { member, value: None } => {
                self.release(&member);
                if let Some(member) = self.members.get_mut(&member) {
                    member.current = CurrentAssignment::nothing();
                }
            }
            ConsumerRecord::Regex { regex, value } => {
                match value {
                    Some(resolved) => self.regexes.insert(regex, resolved),
                    None => self.regexes.remove(&regex),
                };
            }
        }
    }

    /// What `member` owns is free, where it is still the owner.
    fn release(&mut self, member: &str) {
        let Some(known) = self.members.get(member) else { return };
        for partition in known.current.owned() {
            if self.owners.get(&partition).is_some_and(|owner| owner == member) {
                self.owners.remove(&partition);
            }
        }
    }

    /// The instance id of `member` names nobody, where it still names this member.
    fn forget_instance(&mut self, member: &str) {
        let known = self.members.get(member);
        let instance = known.and_then(|known| known.details.instance.as_ref());
        if let Some(instance) = instance
            && self.instances.get(instance).is_some_and(|holder| holder == member)
        {
            self.instances.remove(instance);
        }
    }

    /// Applies a record and has it logged.
    fn put(&mut self, record: ConsumerRecord, turn: &mut Turn<'_>) {
        turn.write(GroupRecord::Consumer { group: self.id.clone(), record: record.clone() });
        self.apply(record);
    }

    /// The replay is over: sessions begin, and the rebalance timeouts of those who give up.
    pub(super) fn on_loaded(&mut self, turn: &Turn<'_>) {
        for member in self.members.values_mut() {
            member.refresh(turn);
            if member.current.state == MemberState::UnrevokedPartitions {
                member.expect_progress(turn);
            }
        }
    }

    /// A new epoch begins, because of `reason`.
    fn bump(&mut self, reason: String, topics: &Topics, turn: &mut Turn<'_>) {
        let from = self.epoch;
        assert!(self.topics_version.is_none_or(|seen| seen <= topics.version()));
        self.rebalances.note(Rebalance { at_ms: turn.now.wall_ms, from, reason });
        let topics_hash = self.hash_of(topics);
        self.topics_version = Some(topics.version());
        // The number may come from a record of another broker: it wraps rather than overflows.
        let epoch = from.checked_add(1).unwrap_or(1);
        self.put(ConsumerRecord::Epoch(Some(GroupEpoch { epoch, topics_hash })), turn);
        assert!(self.epoch != from);
    }

    /// Looks whether subscribed topics changed since the last look; a new epoch begins if so.
    fn follow_topics(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        if self.topics_version == Some(topics.version()) {
            return;
        }
        self.topics_version = Some(topics.version());
        self.resolve_all(topics, turn);
        if self.hash_of(topics) != self.topics_hash {
            self.bump("a subscribed topic was made, deleted or grown".to_owned(), topics, turn);
        }
    }

    fn hash_of(&self, topics: &Topics) -> i64 {
        topics.hash_of(self.subscribed_names().into_iter())
    }

    /// The names that any member subscribes to, by name or by regular expression.
    fn subscribed_names(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|member| self.names_of(member)).collect()
    }

    fn names_of<'a>(&'a self, member: &'a ConsumerMember) -> impl Iterator<Item = &'a str> {
        let matched = member.details.regex.as_ref().and_then(|regex| self.regexes.get(regex));
        let matched = matched.into_iter().flat_map(|resolved| &resolved.topics);
        member.details.topics.iter().chain(matched).map(String::as_str)
    }

    /// Whether the offsets of `topic` are in use by a member.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.names_of(member).any(|name| name == topic))
    }

    /// The assignor that most members ask for, the first that is served when none does.
    fn assignor(&self, served: &AssignorNames) -> Assignor {
        let asked = self.members.values().filter_map(|member| member.details.assignor.as_deref());
        let asked: Vec<Assignor> = asked.filter_map(Assignor::from_name).collect();
        let votes = |assignor: &Assignor| asked.iter().filter(|vote| *vote == assignor).count();
        // Of equals the last is taken, so they are asked in reverse.
        let winner = Assignor::served(served).rev().max_by_key(votes);
        winner.expect("some are served")
    }

    /// Runs the assignor when the targets are behind the group's epoch.
    fn retarget(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        if self.epoch == self.target_epoch {
            return;
        }
        let changed = self.changed_targets(topics, turn.config);
        for (member, target) in changed {
            self.put(ConsumerRecord::Target { member, value: Some(target) }, turn);
        }
        self.put(ConsumerRecord::TargetEpoch(Some(self.epoch)), turn);
        assert!(self.target_epoch == self.epoch);
    }

    fn changed_targets(&self, topics: &Topics, config: &GroupConfig) -> Vec<(String, Assignment)> {
        let none = Assignment::new();
        let mut partitions = BTreeMap::new();
        let mut members = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let existing = self.names_of(member).filter_map(|name| topics.get(name));
            let subscribed: BTreeSet<TopicId> = existing
                .inspect(|topic| {
                    partitions.insert(topic.id, topic.partitions);
                })
                .map(|topic| topic.id)
                .collect();
            members.push(MemberSpec {
                member: id,
                instance: member.details.instance.as_deref(),
                topics: subscribed,
                previous: self.targets.get(id).unwrap_or(&none),
            });
        }
        let assignor = self.assignor(&config.assignors);
        let mut targets = assignor.assign(&members, &partitions);
        targets.iter_mut().for_each(|target| fit_record(target, config.record_bytes_max));
        assert!(targets.len() == members.len());
        let pairs = members.iter().zip(targets);
        let changed = pairs.filter(|(member, target)| {
            self.targets.get(member.member).is_none_or(|known| known != target)
        });
        changed.map(|(member, target)| (member.member.to_owned(), target)).collect()
    }

    /// Takes a member's next step towards its target; true when what it may use changed.
    fn reconcile(
        &mut self,
        id: &str,
        owned: Option<&[(TopicId, Vec<i32>)]>,
        turn: &mut Turn<'_>,
    ) -> bool {
        assert!(self.target_epoch == self.epoch);
        let member = self.members.get(id).expect("the caller looked it up");
        let none = Assignment::new();
        let target = self.targets.get(id).unwrap_or(&none);
        let goal = Goal { epoch: self.target_epoch, target };
        let is_taken = |topic, partition| self.owners.contains_key(&(topic, partition));
        let next = reconcile(&member.current, &goal, owned, is_taken);
        if next == member.current {
            return false;
        }
        let is_news = next.assigned != member.current.assigned;
        let state = next.state;
        self.put(ConsumerRecord::Current { member: id.to_owned(), value: Some(next) }, turn);
        let member = self.members.get_mut(id).expect("it is still there");
        if !member.is_classic() {
            member.rebalance_deadline_us = None;
            if state == MemberState::UnrevokedPartitions {
                member.expect_progress(turn);
            }
        }
        is_news
    }

    /// Takes a member out; what it owned is free, and a new epoch begins.
    fn remove(&mut self, id: &str, turn: &mut Turn<'_>) {
        assert!(self.members.contains_key(id));
        let gone = self.members.get(id).and_then(|member| member.details.regex.clone());
        let member = id.to_owned();
        self.put(ConsumerRecord::Current { member: member.clone(), value: None }, turn);
        self.put(ConsumerRecord::Target { member: member.clone(), value: None }, turn);
        self.put(ConsumerRecord::Member { member, value: None }, turn);
        assert!(!self.members.contains_key(id));
        assert!(!self.targets.contains_key(id));
        if let Some(regex) = gone {
            self.forget_unused(regex, turn);
        }
    }

    /// Whether `commit` may change this group's offsets.
    pub(super) fn check_commit(&self, commit: &CommitOffsets) -> Result<(), KafkaCode> {
        if commit.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&commit.member).ok_or(KafkaCode::UnknownMemberId)?;
        // The same version that names a missing group is the first to carry member epochs.
        if !member.is_classic() && !commit.names_missing_group {
            return Err(KafkaCode::UnsupportedVersion);
        }
        self.check_epoch(member, commit.generation)
    }

    /// Whether a transaction may commit offsets of this group (KIP-447). A producer that names no
    /// member is not checked; producers know no member epochs, so a stale one is an old generation.
    pub(super) fn check_transactional_commit(
        &self,
        commit: &CommitOffsets,
    ) -> Result<(), KafkaCode> {
        let names_member = !commit.member.is_empty() || commit.instance.is_some();
        if commit.generation < 0 && (self.members.is_empty() || !names_member) {
            return Ok(());
        }
        let member = self.members.get(&commit.member).ok_or(KafkaCode::UnknownMemberId)?;
        let checked = self.check_epoch(member, commit.generation);
        checked.map_err(|_| KafkaCode::IllegalGeneration)
    }

    /// Whether offsets may be read in the name of `member`, if one is named.
    pub(super) fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), KafkaCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member.and_then(|member| self.members.get(member));
        self.check_epoch(member.ok_or(KafkaCode::UnknownMemberId)?, epoch)
    }

    fn check_epoch(&self, member: &ConsumerMember, epoch: i32) -> Result<(), KafkaCode> {
        if member.current.epoch == epoch {
            Ok(())
        } else if member.is_classic() {
            Err(KafkaCode::IllegalGeneration)
        } else {
            Err(KafkaCode::StaleMemberEpoch)
        }
    }

    pub(super) fn describe(
        &self,
        topics: &Topics,
        served: &AssignorNames,
    ) -> DescribedConsumerGroup {
        let none = Assignment::new();
        let members = self.members.iter().map(|(id, member)| DescribedConsumer {
            member: id.clone(),
            instance: member.details.instance.clone(),
            rack: member.details.rack.clone(),
            epoch: member.current.epoch,
            client_id: member.details.client_id.clone(),
            client_host: member.details.client_host.clone(),
            topics: member.details.topics.clone(),
            regex: member.details.regex.clone(),
            assigned: described(&member.current.assigned, topics),
            target: described(self.targets.get(id).unwrap_or(&none), topics),
            is_classic: member.is_classic(),
        });
        DescribedConsumerGroup {
            group: self.id.clone(),
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: self.assignor(served).name().to_owned(),
            members: members.collect(),
            rebalances: self.rebalances.to_vec(),
        }
    }

    /// Tombstones for all that the log holds of this group.
    pub(super) fn tombstones(&self, turn: &mut Turn<'_>) {
        let mut write = |record| {
            turn.write(GroupRecord::Consumer { group: self.id.clone(), record });
        };
        for member in self.members.keys() {
            write(ConsumerRecord::Current { member: member.clone(), value: None });
        }
        for member in self.targets.keys() {
            write(ConsumerRecord::Target { member: member.clone(), value: None });
        }
        write(ConsumerRecord::TargetEpoch(None));
        for member in self.members.keys() {
            write(ConsumerRecord::Member { member: member.clone(), value: None });
        }
        for regex in self.regexes.keys() {
            write(ConsumerRecord::Regex { regex: regex.clone(), value: None });
        }
        write(ConsumerRecord::Epoch(None));
    }

    /// The invariants of the header that concern one member.
    pub(super) fn assert_member_sound(&self, id: &str) {
        assert!(self.instances.len() <= self.members.len());
        let Some(member) = self.members.get(id) else { return };
        let mut owned = member.current.owned();
        assert!(owned.all(|partition| self.owners.get(&partition).is_some_and(|own| own == id)));
        let instance = member.details.instance.as_ref();
        let holder = instance.map(|instance| self.instances.get(instance));
        assert!(holder.is_none_or(|holder| holder.is_some_and(|holder| holder == id)));
    }

    /// The invariants of the header that concern instances.
    pub(super) fn assert_sound(&self) {
        assert!(self.instances.len() <= self.members.len());
        assert!(self.instances.values().all(|member| self.members.contains_key(member)));
    }
}

/// An assignment by the names of its topics, those left out that are gone.
pub(super) fn described(assignment: &Assignment, topics: &Topics) -> Vec<DescribedTopic> {
    let existing = assignment.iter().filter_map(|(id, set)| {
        let name = topics.name(id)?.to_owned();
        Some(DescribedTopic { id: *id, name, partitions: set.iter().copied().collect() })
    });
    existing.collect()
}
