//! A share group (KIP-932): its members read the same partitions side by side, record by record.
//!
//! ```text
//!   subscribed partition --> initializing --> initialized --> assigned to members
//!                    the share coordinator     the next
//!                    has its state             heartbeat
//! ```
//! Epochs as in a consumer group, but nothing has to be given up before it is given to another:
//! who holds which record is the business of the partition's owner. So each heartbeat takes its
//! member to the group's target at once.
//!
//! Everything that outlives a crash is changed through `ShareGroup::put`, which applies a record
//! and hands it out to be logged: a replay of the log is the same steps again. Sessions are not
//! recorded: they begin anew when a coordinator has loaded.
//!
//! Invariants
//! - No partition is both initializing and initialized.
//! - A target names initialized partitions only, of when it was computed.

pub mod assignor;
pub mod calls;
mod doors;
mod heartbeat;
mod partitions;
pub mod records;

use self::assignor::ShareSpec;
use self::calls::{DescribedShareGroup, DescribedShareMember};
use self::records::{ShareCurrent, ShareDetails, ShareRecord, SharedPartitions};
use super::assignor::{Assignment, fit_record};
use super::consumer::described;
use super::consumer::records::GroupEpoch;
use super::rebalances::{Rebalance, Rebalances};
use super::records::GroupRecord;
use super::topics::Topics;
use super::turn::Turn;
use crate::model::ids::TopicId;
use std::collections::{BTreeMap, BTreeSet};

/// The type's and the protocol's name.
pub(super) const SHARE: &str = "share";

/// A member as the coordinator knows it; its id is the key it is kept under.
#[derive(Debug, Clone, Default)]
struct ShareMember {
    details: ShareDetails,
    current: ShareCurrent,
    /// When its session ends, monotonic microseconds.
    expires_at_us: Option<u64>,
}

/// One group. Lives in the [`super::GroupCoordinator`] of its `__consumer_offsets` partition.
#[derive(Debug)]
pub(super) struct ShareGroup {
    id: String,
    epoch: i32,
    /// What the subscribed topics were like at `epoch`.
    topics_hash: i64,
    target_epoch: i32,
    members: BTreeMap<String, ShareMember>,
    targets: BTreeMap<String, Assignment>,
    partitions: SharedPartitions,
    /// When the share coordinator was last told of a topic's partitions, wall clock in ms; not of
    /// before a restart.
    told_ms: BTreeMap<TopicId, i64>,
    /// Version of the topics that the group last looked at.
    topics_version: Option<u64>,
    rebalances: Rebalances,
    /// The coordinator's entry for the next look at this group, monotonic microseconds.
    pub(super) wake_us: Option<u64>,
}

impl ShareGroup {
    pub(super) fn new(id: impl Into<String>) -> ShareGroup {
        ShareGroup {
            id: id.into(),
            epoch: 0,
            topics_hash: 0,
            target_epoch: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            partitions: SharedPartitions::default(),
            told_ms: BTreeMap::new(),
            topics_version: None,
            rebalances: Rebalances::default(),
            wake_us: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the log has anything of it: whatever first happens to a group begins an epoch.
    pub(super) fn is_recorded(&self) -> bool {
        self.epoch != 0
    }

    /// Kafka's name of the state.
    pub(super) fn state_name(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    /// Applies one record, of a live step or of a replay.
    pub(super) fn apply(&mut self, record: ShareRecord) {
        match record {
            ShareRecord::Epoch(Some(GroupEpoch { epoch, topics_hash })) => {
                self.epoch = epoch;
                self.topics_hash = topics_hash;
            }
            ShareRecord::TargetEpoch(Some(epoch)) => self.target_epoch = epoch,
            // The group's own tombstones: the coordinator drops the group.
            ShareRecord::Epoch(None) | ShareRecord::TargetEpoch(None) => {}
            ShareRecord::Member { member, value: Some(details) } => {
                self.members.entry(member).or_default().details = details;
            }
            ShareRecord::Member { member, value: None } => {
                self.members.remove(&member);
                assert!(!self.members.contains_key(&member));
            }
            ShareRecord::Target { member, value } => {
                match value {
                    Some(target) => self.targets.insert(member, target),
                    None => self.targets.remove(&member),
                };
            }
            ShareRecord::Current { member, value: Some(current) } => {
                self.members.entry(member).or_default().current = current;
            }
            ShareRecord::Current { member, value: None } => {
                if let Some(member) = self.members.get_mut(&member) {
                    member.current = ShareCurrent::default();
                }
            }
            ShareRecord::Partitions(value) => self.partitions = value.unwrap_or_default(),
        }
    }

    /// Applies a record and has it logged.
    fn put(&mut self, record: ShareRecord, turn: &mut Turn<'_>) {
        turn.write(GroupRecord::Share { group: self.id.clone(), record: record.clone() });
        self.apply(record);
    }

    /// The replay is over: sessions begin.
    pub(super) fn on_loaded(&mut self, turn: &Turn<'_>) {
        let deadline_us = turn.deadline_us(turn.config.share.session_timeout_ms);
        self.members.values_mut().for_each(|member| member.expires_at_us = Some(deadline_us));
        assert!(self.told_ms.is_empty(), "a replay tells nobody");
    }

    /// A new epoch begins, because of `reason`.
    fn bump(&mut self, reason: String, topics: &Topics, turn: &mut Turn<'_>) {
        let from = self.epoch;
        assert!(self.topics_version.is_none_or(|seen| seen <= topics.version()));
        self.rebalances.note(Rebalance { at_ms: turn.now.wall_ms, from, reason });
        let topics_hash = self.hash_of(topics);
        // The number may come from a record of another broker: it wraps rather than overflows.
        let epoch = from.checked_add(1).unwrap_or(1);
        self.put(ShareRecord::Epoch(Some(GroupEpoch { epoch, topics_hash })), turn);
        assert!(self.epoch != from);
    }

    fn hash_of(&self, topics: &Topics) -> i64 {
        topics.hash_of(self.subscribed_names().into_iter())
    }

    /// The names that any member subscribes to.
    fn subscribed_names(&self) -> BTreeSet<&str> {
        let names = self.members.values().flat_map(|member| &member.details.topics);
        names.map(String::as_str).collect()
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.details.topics.iter().any(|name| name == topic))
    }

    /// Initialized partitions of topics that a member subscribes to and that exist.
    fn readable(&self, topics: &Topics) -> Assignment {
        let subscribed = self.subscribed_names().into_iter().filter_map(|name| topics.get(name));
        let initialized = subscribed.filter_map(|topic| {
            Some((topic.id, self.partitions.initialized.get(&topic.id)?.partitions.clone()))
        });
        initialized.collect()
    }

    /// Whether what may be read and what was given out differ.
    fn has_stale_targets(&self, topics: &Topics) -> bool {
        let mut given = Assignment::new();
        for (topic, set) in self.targets.values().flatten() {
            given.entry(*topic).or_default().extend(set);
        }
        !self.members.is_empty() && given != self.readable(topics)
    }

    /// Runs the assignor when the targets are behind the group's epoch.
    fn retarget(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        if self.epoch == self.target_epoch {
            return;
        }
        for (member, target) in self.changed_targets(topics, turn) {
            self.put(ShareRecord::Target { member, value: Some(target) }, turn);
        }
        self.put(ShareRecord::TargetEpoch(Some(self.epoch)), turn);
        assert!(self.target_epoch == self.epoch);
        assert!(self.targets.len() == self.members.len());
    }

    fn changed_targets(&self, topics: &Topics, turn: &Turn<'_>) -> Vec<(String, Assignment)> {
        let none = Assignment::new();
        let ids_of = |details: &ShareDetails| -> BTreeSet<TopicId> {
            let existing = details.topics.iter().filter_map(|name| topics.get(name));
            existing.map(|topic| topic.id).collect()
        };
        let specs = self.members.iter().map(|(id, member)| ShareSpec {
            member: id,
            topics: ids_of(&member.details),
            previous: self.targets.get(id).unwrap_or(&none),
        });
        let specs: Vec<ShareSpec<'_>> = specs.collect();
        let mut targets = assignor::assign(&specs, &self.readable(topics));
        assert!(targets.len() == self.members.len());
        targets.iter_mut().for_each(|target| fit_record(target, turn.config.record_bytes_max));
        let pairs = specs.iter().zip(targets);
        let changed = pairs.filter(|(spec, target)| {
            self.targets.get(spec.member).is_none_or(|known| known != target)
        });
        changed.map(|(spec, target)| (spec.member.to_owned(), target)).collect()
    }

    pub(super) fn describe(&self, topics: &Topics) -> DescribedShareGroup {
        let members = self.members.iter().map(|(id, member)| DescribedShareMember {
            member: id.clone(),
            rack: member.details.rack.clone(),
            epoch: member.current.epoch,
            client_id: member.details.client_id.clone(),
            client_host: member.details.client_host.clone(),
            topics: member.details.topics.clone(),
            assigned: described(&member.current.assigned, topics),
        });
        DescribedShareGroup {
            group: self.id.clone(),
            state: self.state_name(),
            epoch: self.epoch,
            target_epoch: self.target_epoch,
            assignor: assignor::NAME,
            members: members.collect(),
            rebalances: self.rebalances.to_vec(),
        }
    }

    /// Tombstones for all that the log holds of this group.
    pub(super) fn tombstones(&self, turn: &mut Turn<'_>) {
        let mut write = |record| turn.write(GroupRecord::Share { group: self.id.clone(), record });
        for member in self.members.keys() {
            write(ShareRecord::Current { member: member.clone(), value: None });
        }
        for member in self.targets.keys() {
            write(ShareRecord::Target { member: member.clone(), value: None });
        }
        write(ShareRecord::TargetEpoch(None));
        for member in self.members.keys() {
            write(ShareRecord::Member { member: member.clone(), value: None });
        }
        write(ShareRecord::Partitions(None));
        write(ShareRecord::Epoch(None));
    }

    /// The invariants of the header.
    pub(super) fn assert_sound(&self) {
        let SharedPartitions { initializing, initialized, .. } = &self.partitions;
        for (topic, own) in initializing {
            let both =
                initialized.get(topic).map(|other| other.partitions.is_disjoint(&own.partitions));
            assert!(both.unwrap_or(true));
        }
    }
}
