//! A group of the classic protocol: members, generation, and the rebalance that leads from one
//! generation to the next.
//!
//! ```text
//!            join                     all joined,              leader's
//!   Empty ---------> PreparingRebalance --------> CompletingRebalance --------> Stable
//!     ^                |      ^   or timeout          |      assignment           |
//!     |   nobody left  |      |                       |                           |
//!     +----------------+      +-----------------------+---------------------------+
//!                                 member joins, leaves, fails, changes its subscription
//! ```
//! `Dead` is the state of a group that is not there.
//!
//! What is persisted: one record when the leader's assignment arrives (generation, members,
//! assignments), one when a static member returns under a new id, one when the group becomes
//! empty. A rebalance that is under way is not: after a crash its members find the last stable
//! generation, and whoever is gone fails its session.
//!
//! Invariants
//! - All members share the protocol type; at least one protocol is supported by all of them.
//! - The leader is a member; a group without members has none.
//! - `generation` grows by one per completed rebalance; only a parked JoinGroup of that rebalance
//!   (or a repeated one) carries it to a member.
//! - JoinGroups are parked in PreparingRebalance only; SyncGroups in CompletingRebalance only.
//! - Each parked request is answered once.

use super::calls::{DescribedGroup, DescribedMember, GroupAnswer, Joined, JoinedMember};
use super::member::Member;
use super::rebalances::{Rebalance, Rebalances};
use super::records::{GroupMetadata, GroupRecord, MemberMetadata};
use super::subscription;
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The protocol type of Kafka's consumers: the only one whose metadata the coordinator reads.
pub(super) const CONSUMER: &str = "consumer";

/// State of a group that is not there.
pub(super) const DEAD: &str = "Dead";

/// Where a classic group stands; names as in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// No members; there may be offsets.
    Empty,
    /// Waits for the members' JoinGroups.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member can fetch its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// The first rebalance of an empty group waits for further members, a delay at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialDelay {
    pub(super) remaining_ms: u64,
    pub(super) is_extended: bool,
}

/// One group. Lives in the [`super::GroupCoordinator`] of its `__consumer_offsets` partition.
#[derive(Debug)]
pub struct ClassicGroup {
    pub(super) id: String,
    pub(super) state: GroupState,
    pub(super) generation: i32,
    /// `None` for a group that only ever committed offsets.
    pub(super) protocol_type: Option<String>,
    /// Chosen by vote for the present generation.
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Instance id to member id (KIP-345).
    pub(super) instances: BTreeMap<String, String>,
    /// Member ids given out but not yet joined with, and when they lapse (KIP-394).
    pub(super) pending_joins: BTreeMap<String, u64>,
    /// Members that have not asked for the present generation's assignment.
    pub(super) pending_syncs: BTreeSet<String>,
    pub(super) initial_delay: Option<InitialDelay>,
    /// End of the join phase, monotonic microseconds.
    pub(super) join_deadline_us: Option<u64>,
    /// By then every member must have synced, monotonic microseconds.
    pub(super) sync_deadline_us: Option<u64>,
    /// Wall clock of the last change of state, in ms.
    pub(super) state_since_ms: Option<i64>,
    /// The coordinator's entry for the next look at this group, monotonic microseconds.
    pub(super) wake_us: Option<u64>,
    /// Topics that the members of a consumer group subscribe to; `None` when not known.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    rebalances: Rebalances,
}

impl ClassicGroup {
    pub(super) fn new(id: impl Into<String>) -> ClassicGroup {
        ClassicGroup {
            id: id.into(),
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            initial_delay: None,
            join_deadline_us: None,
            sync_deadline_us: None,
            state_since_ms: None,
            wake_us: None,
            subscribed_topics: None,
            rebalances: Rebalances::default(),
        }
    }

    /// The group as its last record describes it. Sessions begin with [`ClassicGroup::on_loaded`].
    pub(super) fn from_metadata(id: &str, metadata: GroupMetadata) -> ClassicGroup {
        let mut group = ClassicGroup::new(id);
        group.generation = metadata.generation;
        group.protocol_type =
            (!metadata.protocol_type.is_empty()).then_some(metadata.protocol_type);
        group.protocol = metadata.protocol;
        group.state_since_ms = metadata.state_since_ms;
        for member in metadata.members {
            if group.members.contains_key(&member.member) {
                continue; // The first wins: a record is foreign input, an id is unique here.
            }
            if let Some(instance) = &member.instance {
                group.instances.insert(instance.clone(), member.member.clone());
            }
            let id = member.member.clone();
            let protocol = group.protocol.get_or_insert_default();
            group.members.insert(id, member.into_member(protocol));
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            group.leader = metadata.leader.filter(|leader| group.members.contains_key(leader));
        }
        group.find_subscribed_topics();
        group
    }

    /// The replay is over: sessions of the members that the log names begin now. A generation
    /// that nobody led is not complete: a crash cut the rebalance short that was to follow it.
    pub(super) fn on_loaded(&mut self, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            member.refresh(turn);
        }
        if !self.members.is_empty() && self.leader.is_none() {
            self.rebalance(|| "the group was loaded without a leader".to_owned(), turn);
        }
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether the offsets of `topic` are in use by a member. Kafka answers yes for a consumer
    /// group whose subscriptions it cannot read.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group(),
        }
    }

    /// Checks that `member` may speak, and for `instance` if it names one.
    pub(super) fn check_member(
        &self,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), KafkaCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(KafkaCode::UnknownMemberId),
                Some(owner) if owner != member => return Err(KafkaCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(KafkaCode::UnknownMemberId) }
    }

    /// Whether a member with these protocols fits the group.
    pub(super) fn fits<'p>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'p str>,
    ) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|name| self.members.values().all(|member| member.supports(name)))
    }

    pub(super) fn joined_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    pub(super) fn has_all_joined(&self) -> bool {
        self.pending_joins.is_empty() && self.joined_count() == self.members.len()
    }

    /// Takes `member` out of the group; its parked requests are refused with UNKNOWN_MEMBER_ID.
    /// What follows from its absence is the caller's to start.
    pub(super) fn remove_member(&mut self, id: &str, turn: &mut Turn<'_>) {
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        let Some(mut member) = self.members.remove(id) else { return };
        member.refuse_join("", KafkaCode::UnknownMemberId, turn);
        member.refuse_sync(KafkaCode::UnknownMemberId, turn);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Begins a rebalance if the state allows, for the reason given, or carries on with the one
    /// under way.
    pub(super) fn rebalance(&mut self, reason: impl FnOnce() -> String, turn: &mut Turn<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                let (at_ms, from) = (turn.now.wall_ms, self.generation);
                self.rebalances.note(Rebalance { at_ms, from, reason: reason() });
                self.prepare_rebalance(turn);
            }
            GroupState::PreparingRebalance => self.complete_join_if_ready(turn),
        }
    }

    /// Gives up on this generation's assignment; whoever waits for it is told `code`.
    pub(super) fn drop_assignments(&mut self, code: KafkaCode, turn: &mut Turn<'_>) {
        assert!(self.state == GroupState::CompletingRebalance);
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if member.syncing.is_some() {
                member.refuse_sync(code, turn);
                member.refresh(turn);
            }
        }
    }

    fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        assert!(self.state != GroupState::PreparingRebalance);
        if self.state == GroupState::CompletingRebalance {
            self.drop_assignments(KafkaCode::RebalanceInProgress, turn);
        }
        self.pending_syncs.clear();
        self.sync_deadline_us = None;

        let is_first = self.state == GroupState::Empty;
        self.change_state(GroupState::PreparingRebalance, turn);
        let delay_ms = turn.config.initial_rebalance_delay_ms;
        if is_first && delay_ms > 0 {
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial_delay = Some(InitialDelay { remaining_ms, is_extended: false });
            self.join_deadline_us = Some(turn.deadline_us(delay_ms));
        } else if is_first || self.has_all_joined() {
            self.complete_join(turn);
        } else {
            self.join_deadline_us = Some(turn.deadline_us(self.rebalance_timeout_ms()));
        }
    }

    /// Ends the join phase early when there is nobody left to wait for. The first rebalance of an
    /// empty group sits out its delay.
    pub(super) fn complete_join_if_ready(&mut self, turn: &mut Turn<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.initial_delay.is_none()
            && self.has_all_joined()
        {
            self.complete_join(turn);
        }
    }

    /// The join phase's time is up.
    pub(super) fn on_join_deadline(&mut self, turn: &mut Turn<'_>) {
        assert!(self.state == GroupState::PreparingRebalance);
        let delay_ms = turn.config.initial_rebalance_delay_ms;
        if let Some(delay) = self.initial_delay.as_mut()
            && delay.is_extended
            && delay.remaining_ms > 0
        {
            let next_ms = delay_ms.min(delay.remaining_ms);
            delay.is_extended = false;
            delay.remaining_ms -= next_ms;
            self.join_deadline_us = Some(turn.deadline_us(next_ms));
            return;
        }
        self.complete_join(turn);
    }

    /// Ends the join phase: whoever has not joined is out (static members stay), and a new
    /// generation begins with the rest.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        assert!(self.state == GroupState::PreparingRebalance);
        self.join_deadline_us = None;
        self.initial_delay = None;
        let absent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &absent {
            self.remove_member(id, turn);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left and none of them came: give them another round.
            self.join_deadline_us = Some(turn.deadline_us(self.rebalance_timeout_ms()));
            return;
        }

        // The number may come from a record of another broker: it wraps rather than overflows.
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.change_state(GroupState::Empty, turn);
            self.find_subscribed_topics();
            turn.write(self.to_record());
        } else {
            self.protocol = Some(self.select_protocol());
            self.change_state(GroupState::CompletingRebalance, turn);
            self.find_subscribed_topics();
            self.answer_joins(turn);
        }
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let mut waiting: Vec<(String, Waiter)> = Vec::with_capacity(self.members.len());
        for (id, member) in &mut self.members {
            waiting.extend(member.joining.take().map(|waiter| (id.clone(), waiter)));
            member.is_new = false;
            member.refresh(turn);
            self.pending_syncs.insert(id.clone());
        }
        for (id, waiter) in waiting {
            turn.answer(waiter, GroupAnswer::Join(self.joined(&id)));
        }
        self.sync_deadline_us = Some(turn.deadline_us(self.rebalance_timeout_ms()));
    }

    /// Answer to a JoinGroup of `member`, who is part of the present generation.
    pub(super) fn joined(&self, member: &str) -> Joined {
        assert!(self.members.contains_key(member));
        assert!(self.state != GroupState::PreparingRebalance);
        Joined {
            code: KafkaCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member: member.to_owned(),
            members: if self.is_leader(member) { self.members_for_leader() } else { Vec::new() },
        }
    }

    pub(super) fn members_for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .map(|(id, member)| JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    /// Makes a member that has joined this rebalance the leader. False when none has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &String| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.joining.is_some());
        match joined.map(|(id, _)| id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Each member votes for the first of its protocols that all support; the most votes win, and
    /// among equals the name that sorts first.
    pub(super) fn select_protocol(&self) -> String {
        let first = self.members.values().next().expect("a generation has members");
        let candidates: BTreeSet<&str> = first
            .protocols
            .iter()
            .map(|protocol| protocol.name.as_str())
            .filter(|name| self.members.values().all(|member| member.supports(name)))
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let names = member.protocols.iter().map(|protocol| protocol.name.as_str());
            if let Some(choice) = names.into_iter().find(|name| candidates.contains(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        let winner = votes.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        (*winner.expect("joining requires a protocol that all members support").0).to_owned()
    }

    /// The longest of the members' rebalance timeouts, in ms.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    pub(super) fn change_state(&mut self, state: GroupState, turn: &Turn<'_>) {
        let is_allowed = match state {
            GroupState::PreparingRebalance => self.state != GroupState::PreparingRebalance,
            GroupState::Empty | GroupState::CompletingRebalance => {
                self.state == GroupState::PreparingRebalance
            }
            GroupState::Stable => self.state == GroupState::CompletingRebalance,
        };
        assert!(is_allowed, "{:?} does not lead to {state:?}", self.state);
        self.state = state;
        self.state_since_ms = Some(turn.now.wall_ms);
    }

    pub(super) fn find_subscribed_topics(&mut self) {
        self.subscribed_topics = match &self.protocol {
            _ if !self.is_consumer_group() => None,
            _ if self.members.is_empty() => Some(BTreeSet::new()),
            None => None,
            Some(protocol) => self
                .members
                .values()
                .map(|member| subscription::topics(&member.metadata(protocol)))
                .try_fold(BTreeSet::new(), |mut all, topics| {
                    all.extend(topics?);
                    Some(all)
                }),
        };
    }

    /// Whether this generation's record is small enough for the log.
    pub(super) fn fits_record(&self, turn: &Turn<'_>) -> bool {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let texts = |id: &String, member: &Member| {
            let instance = member.instance.as_ref().map_or(0, String::len);
            id.len() + instance + member.client_id.len() + member.client_host.len()
        };
        let payload = |member: &Member| member.metadata(protocol).len() + member.assignment.len();
        let sizes = self.members.iter().map(|(id, member)| texts(id, member) + payload(member));
        // Lengths and timeouts of a member take 24 bytes.
        sizes.map(|size| size + 24).sum::<usize>() <= turn.config.record_bytes_max
    }

    /// The record that brings back this generation.
    pub(super) fn to_record(&self) -> GroupRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self
            .members
            .iter()
            .map(|(id, member)| MemberMetadata::of(id, member, protocol))
            .collect();
        GroupRecord::Group {
            group: self.id.clone(),
            value: Some(GroupMetadata {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation: self.generation,
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                state_since_ms: self.state_since_ms,
                members,
            }),
        }
    }

    /// The record that ends this group.
    pub(super) fn tombstone(&self) -> GroupRecord {
        GroupRecord::Group { group: self.id.clone(), value: None }
    }

    /// Every parked request is refused: its sender asks again.
    pub(super) fn refuse_parked(&mut self, code: KafkaCode, turn: &mut Turn<'_>) {
        for (id, member) in &mut self.members {
            member.refuse_join(id, code, turn);
            member.refuse_sync(code, turn);
        }
    }

    pub(super) fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == GroupState::Stable;
        let protocol = if is_stable { self.protocol.clone() } else { None }.unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { member.metadata(&protocol) } else { Bytes::new() },
            assignment: if is_stable { member.assignment.clone() } else { Bytes::new() },
        });
        DescribedGroup {
            code: KafkaCode::None,
            group: self.id.clone(),
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
            rebalances: self.rebalances.to_vec(),
        }
    }

    /// Every parked request, taken out: the coordinator is being unloaded.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        let parked = |member: &mut Member| [member.joining.take(), member.syncing.take()];
        self.members.values_mut().flat_map(parked).flatten().collect()
    }

    /// The invariants of the header that a single group can check.
    pub(super) fn assert_sound(&self) {
        assert!(self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)));
        assert!(self.state != GroupState::Stable || self.protocol.is_some());
        assert!(self.join_deadline_us.is_none() || self.state == GroupState::PreparingRebalance);
        assert!(self.instances.len() <= self.members.len());
        assert!(self.pending_syncs.len() <= self.members.len());
        for member in self.members.values() {
            assert!(member.joining.is_none() || self.state == GroupState::PreparingRebalance);
            assert!(member.syncing.is_none() || self.state == GroupState::CompletingRebalance);
        }
    }
}
