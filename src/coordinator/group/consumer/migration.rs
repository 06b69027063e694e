//! A group changes its protocol while its members stay (KIP-848): classic to consumer when the
//! first member of the consumer protocol joins, consumer to classic when the last one goes.
//!
//! The members' own formats (ConsumerProtocolSubscription and Assignment) are read here, since
//! both sides must agree on what is assigned. A group whose bytes are something else, or whose
//! protocol type is not `consumer`, stays what it is.

use super::ConsumerGroup;
use super::classic_members::named;
use super::member::ConsumerMember;
use super::records::{
    ClassicDetails, ConsumerRecord, CurrentAssignment, GroupEpoch, MemberDetails, MemberState,
};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::classic::{CONSUMER, ClassicGroup, GroupState};
use crate::coordinator::group::member::Member;
use crate::coordinator::group::subscription;
use crate::coordinator::group::topics::Topics;
use crate::coordinator::group::turn::Turn;
use crate::model::errors::KafkaCode;
use std::collections::BTreeSet;

/// A classic member in the words of the consumer protocol.
struct Moved {
    id: String,
    details: MemberDetails,
    assigned: Assignment,
}

impl ConsumerGroup {
    /// The group that `classic` becomes, with its records; `None` when its members' bytes cannot
    /// be read. The generation and assignments of a stable group stand until the first
    /// change.
    pub(super) fn from_classic(
        classic: &mut ClassicGroup,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Option<ConsumerGroup> {
        assert!(!classic.members.is_empty());
        let moved = moved_members(classic, topics)?;
        if moved.iter().any(|moved| moved.details.size() > turn.config.record_bytes_max) {
            return None;
        }
        classic.refuse_parked(KafkaCode::RebalanceInProgress, turn);
        turn.write(classic.tombstone());
        let mut group = ConsumerGroup::new(classic.id.clone());
        let epoch = classic.generation;
        for Moved { id, details, assigned } in moved {
            let current = CurrentAssignment {
                epoch,
                previous_epoch: epoch,
                state: MemberState::Stable,
                assigned: assigned.clone(),
                revoking: Assignment::new(),
            };
            let member = id.clone();
            group.put(ConsumerRecord::Member { member, value: Some(details) }, turn);
            let member = id.clone();
            group.put(ConsumerRecord::Target { member, value: Some(assigned) }, turn);
            group.put(ConsumerRecord::Current { member: id, value: Some(current) }, turn);
        }
        let topics_hash = group.hash_of(topics);
        group.put(ConsumerRecord::Epoch(Some(GroupEpoch { epoch, topics_hash })), turn);
        group.put(ConsumerRecord::TargetEpoch(Some(epoch)), turn);
        group.on_loaded(turn);
        assert!(group.members.len() == classic.members.len());
        if classic.state != GroupState::Stable {
            // Nobody will hear of the assignment that they waited for, and a static member that
            // only changes its protocol begins no epoch of its own.
            group.bump("the classic group was rebalancing".to_owned(), topics, turn);
        }
        Some(group)
    }

    /// Whether all members but `leaving` speak the classic protocol, and there are such.
    pub(super) fn is_classic_without(&self, leaving: &str) -> bool {
        let mut others = self.members.iter().filter(|(id, _)| *id != leaving).peekable();
        others.peek().is_some() && others.all(|(_, member)| member.is_classic())
    }

    /// The classic group of all members but `leaving`, with the records that replace this one.
    /// Its assignments are the targets; a rebalance is the caller's to start. `None` when its one
    /// record would be too large.
    pub(super) fn to_classic(
        &self,
        leaving: &str,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Option<ClassicGroup> {
        assert!(self.is_classic_without(leaving));
        let mut classic = ClassicGroup::new(self.id.clone());
        classic.state = GroupState::Stable;
        classic.state_since_ms = Some(turn.now.wall_ms);
        classic.generation = self.epoch;
        classic.protocol_type = Some(CONSUMER.to_owned());
        for (id, member) in self.members.iter().filter(|(id, _)| *id != leaving) {
            let mut moved = ConsumerGroup::classic_member_of(member, topics);
            moved.refresh(turn);
            if let Some(instance) = &moved.instance {
                classic.instances.insert(instance.clone(), id.clone());
            }
            classic.members.insert(id.clone(), moved);
        }
        assert!(classic.members.len() + 1 == self.members.len());
        // Nobody has led it: after a crash that is how it is known that a rebalance is to follow.
        assert!(classic.leader.is_none());
        classic.protocol = Some(classic.select_protocol());
        classic.find_subscribed_topics();
        if !classic.fits_record(turn) {
            return None;
        }
        self.tombstones(turn);
        turn.write(classic.to_record());
        Some(classic)
    }

    fn classic_member_of(member: &ConsumerMember, topics: &Topics) -> Member {
        let details = &member.details;
        let classic = details.classic.as_ref().expect("checked by is_classic_without");
        // What it has, not what it is to get: it has that until it joins the rebalance that
        // follows, and the group may be one of the consumer protocol again before it does.
        let mut owned = Assignment::new();
        for (topic, partition) in member.current.owned() {
            owned.entry(topic).or_default().insert(partition);
        }
        let first = classic.protocols.first();
        let version = first.map_or(0, |protocol| subscription::version(&protocol.metadata));
        Member {
            instance: details.instance.clone(),
            client_id: details.client_id.clone(),
            client_host: details.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms(),
            session_timeout_ms: u64::try_from(classic.session_timeout_ms).unwrap_or(0),
            protocols: classic.protocols.clone(),
            assignment: subscription::encode_assignment(version, &named(&owned, topics)),
            joining: None,
            syncing: None,
            is_new: false,
            expires_at_us: None,
        }
    }
}

fn moved_members(classic: &ClassicGroup, topics: &Topics) -> Option<Vec<Moved>> {
    let protocol = classic.protocol.clone().unwrap_or_else(|| classic.select_protocol());
    let mut taken = BTreeSet::new();
    let mut moved = Vec::with_capacity(classic.members.len());
    for (id, member) in &classic.members {
        let said = subscription::parse(&member.metadata(&protocol))?;
        let mut assigned = Assignment::new();
        for (name, indexes) in subscription::parse_assignment(&member.assignment)? {
            let Some(topic) = topics.get(&name) else { continue };
            // A leader may have assigned a partition twice: one owner it is here.
            let own = indexes.into_iter().filter(|index| taken.insert((topic.id, *index)));
            let own: BTreeSet<i32> = own.collect();
            if !own.is_empty() {
                assigned.entry(topic.id).or_default().extend(own);
            }
        }
        let mut names = said.topics;
        names.sort_unstable();
        names.dedup();
        let details = MemberDetails {
            instance: member.instance.clone(),
            rack: said.rack.filter(|rack| !rack.is_empty()),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: names,
            regex: None,
            rebalance_timeout_ms: saturating_i32(member.rebalance_timeout_ms),
            assignor: None,
            classic: Some(ClassicDetails {
                session_timeout_ms: saturating_i32(member.session_timeout_ms),
                protocols: member.protocols.clone(),
            }),
        };
        moved.push(Moved { id: id.clone(), details, assigned });
    }
    Some(moved)
}

fn saturating_i32(ms: u64) -> i32 {
    i32::try_from(ms).unwrap_or(i32::MAX)
}
