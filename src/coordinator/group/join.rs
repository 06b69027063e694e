//! JoinGroup: how a member enters a rebalance.
//!
//! A dynamic member needs two calls from v4 on (KIP-394): the first hands it an id, so that a
//! client that retries a lost answer does not leave a ghost behind. A static member (KIP-345) is
//! recognised by its instance id: a second process under the same instance takes the slot over,
//! fences the first, and, if nothing changes for the others, causes no rebalance.

use super::calls::{GroupAnswer, Join, Joined};
use super::classic::{ClassicGroup, GroupState};
use super::member::Member;
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUP_MEMBERS_MAX;

impl ClassicGroup {
    /// A member, new or known, wants to be in the next generation.
    pub(super) fn on_join(&mut self, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        if !self.has_room_for(&join.member, turn) {
            self.remove_member(&join.member, turn);
            refuse(KafkaCode::GroupMaxSizeReached, "", waiter, turn);
            return self.complete_join_if_ready(turn);
        }
        let names = join.protocols.iter().map(|protocol| protocol.name.as_str());
        if !self.fits(&join.protocol_type, names) {
            return refuse(KafkaCode::InconsistentGroupProtocol, &join.member, waiter, turn);
        }
        if join.member.is_empty() {
            self.join_without_id(join, waiter, turn);
        } else if self.pending_joins.contains_key(&join.member) && join.instance.is_none() {
            let id = join.member.clone();
            self.add_member(id, join, waiter, turn);
        } else if let Err(code) = self.check_member(&join.member, join.instance.as_deref()) {
            refuse(code, &join.member, waiter, turn);
        } else {
            self.join_again(join, waiter, turn);
        }
    }

    fn has_room_for(&self, member: &str, turn: &Turn<'_>) -> bool {
        let size_max = turn.config.size_max.min(GROUP_MEMBERS_MAX);
        // Ids that were given out but not used yet cost memory, so they are bounded too.
        if member.is_empty() && self.members.len() + self.pending_joins.len() >= GROUP_MEMBERS_MAX {
            return false;
        }
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                self.members.get(member).is_some_and(|known| known.joining.is_some())
                    || self.joined_count() < size_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member) || self.members.len() < size_max
            }
        }
    }

    fn join_without_id(&mut self, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        let prefix = join.instance.as_deref().unwrap_or(&join.client_id);
        let id = format!("{prefix}-{}", join.fresh);
        let known = join.instance.as_ref().and_then(|instance| self.instances.get(instance));
        if let Some(known) = known.cloned() {
            self.replace_static(&known, id, join, waiter, turn);
        } else if join.instance.is_none() && join.needs_member_id {
            let session_ms = u64::try_from(join.session_timeout_ms).unwrap_or(0);
            self.pending_joins.insert(id.clone(), turn.deadline_us(session_ms));
            refuse(KafkaCode::MemberIdRequired, &id, waiter, turn);
        } else {
            self.add_member(id, join, waiter, turn);
        }
    }

    fn add_member(&mut self, id: String, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        assert!(!self.members.contains_key(&id));
        self.pending_joins.remove(&id);
        if let Some(delay) = self.initial_delay.as_mut() {
            delay.is_extended = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance {
            let previous = self.instances.insert(instance.clone(), id.clone());
            assert!(previous.is_none());
        }
        let mut member = Member::joining(join, waiter);
        member.expires_at_us = Some(turn.deadline_us(turn.config.new_member_join_timeout_ms));
        self.leader.get_or_insert_with(|| id.clone());
        let joined = id.clone();
        let reason = move || format!("member {joined} joined");
        self.members.insert(id, member);
        self.rebalance(reason, turn);
    }

    /// A member of the group joins: in a rebalance it is expected to; in a stable group only a
    /// leader or a changed subscription starts one.
    fn join_again(&mut self, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        let id = join.member.clone();
        let is_unchanged =
            self.members.get(&id).is_some_and(|member| member.protocols == join.protocols);
        let gets_present_generation = match self.state {
            GroupState::Empty | GroupState::PreparingRebalance => false,
            // Its first answer was lost: the same one again.
            GroupState::CompletingRebalance => is_unchanged,
            GroupState::Stable => is_unchanged && !self.is_leader(&id),
        };
        if gets_present_generation {
            self.refresh_member(&id, turn);
            return turn.answer(waiter, GroupAnswer::Join(self.joined(&id)));
        }
        let member = self.members.get_mut(&id).expect("checked by check_member");
        member.rejoin(&id, join, waiter, turn);
        let what = if is_unchanged { "asked for one" } else { "changed its subscription" };
        let reason = || format!("member {id} {what}");
        self.rebalance(reason, turn);
    }

    /// A static member comes back without its member id: the slot goes to the new id.
    fn replace_static(
        &mut self,
        old: &str,
        new: String,
        join: Join,
        waiter: Waiter,
        turn: &mut Turn<'_>,
    ) {
        assert!(self.state != GroupState::Empty);
        let mut member = self.members.remove(old).expect("an instance names a member");
        member.refuse_join(old, KafkaCode::FencedInstanceId, turn);
        member.refuse_sync(KafkaCode::FencedInstanceId, turn);
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(new.clone());
        }
        let leader_before = self.leader.clone();
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), new.clone());
        }
        let knows_skip_assignment = join.knows_skip_assignment;
        member.rejoin(&new, join, waiter, turn);
        member.is_new = false;
        member.refresh(turn);
        self.members.insert(new.clone(), member);

        let changes_nothing = self.state == GroupState::Stable
            && self.protocol.as_deref() == Some(&*self.select_protocol())
            && self.fits_record(turn);
        if changes_nothing {
            self.keep_static(&new, knows_skip_assignment, leader_before, turn);
        } else {
            let reason = || format!("static member {new} came back with another subscription");
            self.rebalance(reason, turn);
        }
    }

    /// The returning static member changes nothing for the others: it gets its old place in the
    /// present generation, under its new id, which is recorded.
    fn keep_static(
        &mut self,
        id: &str,
        knows_skip_assignment: bool,
        leader_before: Option<String>,
        turn: &mut Turn<'_>,
    ) {
        let member = self.members.get_mut(id).expect("the caller put it there");
        let waiter = member.joining.take().expect("the caller parked it");
        let mut joined = self.joined(id);
        if knows_skip_assignment {
            // KIP-814: the leader is told that it leads, and that the assignment stands.
            joined.skip_assignment = self.is_leader(id);
        } else {
            // An older client would compute an assignment if it learned that it leads.
            joined.members.clear();
            joined.leader = leader_before.unwrap_or_default();
        }
        turn.write(self.to_record());
        turn.answer(waiter, GroupAnswer::Join(joined));
    }
}

fn refuse(code: KafkaCode, member: &str, waiter: Waiter, turn: &mut Turn<'_>) {
    turn.answer(waiter, GroupAnswer::Join(Joined::refused(code, member)));
}
