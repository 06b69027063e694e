//! The coordinator's doors to groups of the consumer protocol: finding or making the group, and
//! changing its kind where members of the other protocol come or go.

use super::ConsumerGroup;
use super::calls::{
    ConsumerBeat, ConsumerBeaten, DescribedConsumerGroup, JOIN_EPOCH, LEAVE_STATIC_EPOCH, Refusal,
};
use crate::coordinator::group::calls::{GroupAnswer, Join, Leave, LeavingMember, Left, LeftMember};
use crate::coordinator::group::classic::ClassicGroup;
use crate::coordinator::group::coordinator::GroupCoordinator;
use crate::coordinator::group::kinds::Group;
use crate::coordinator::group::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUPS_MAX;
use std::sync::Arc;

impl GroupCoordinator {
    /// ConsumerGroupHeartbeat.
    pub(in crate::coordinator::group) fn consumer_beat(
        &mut self,
        beat: ConsumerBeat,
        waiter: Waiter,
        turn: &mut Turn<'_>,
    ) {
        let id = beat.group.clone();
        let beaten = beat.check(&turn.config.assignors).and_then(|()| match beat.epoch {
            JOIN_EPOCH.. => self.consumer_stay(beat, turn),
            _ => self.consumer_leave(&beat, turn),
        });
        match &beaten {
            Ok(beaten) if beaten.epoch >= JOIN_EPOCH => self.settle_member(&id, &beaten.member),
            Ok(_) | Err(_) => self.settle(&id),
        }
        turn.answer(waiter, GroupAnswer::ConsumerHeartbeat(beaten));
    }

    fn consumer_stay(
        &mut self,
        beat: ConsumerBeat,
        turn: &mut Turn<'_>,
    ) -> Result<ConsumerBeaten, Refusal> {
        assert!(beat.epoch >= JOIN_EPOCH);
        self.make_consumer_group(&beat, turn)?;
        let topics = Arc::clone(&self.topics);
        match self.groups.get_mut(&beat.group) {
            Some(Group::Consumer(group)) => group.on_beat(beat, &topics, turn),
            Some(_) | None => unreachable!("it was made just before"),
        }
    }

    /// Sees to it that the group is there and is of the consumer protocol.
    fn make_consumer_group(
        &mut self,
        beat: &ConsumerBeat,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let id = &beat.group;
        let is_full = self.groups.len() >= GROUPS_MAX;
        match self.groups.get_mut(id) {
            Some(Group::Consumer(_)) => return Ok(()),
            None if beat.epoch != JOIN_EPOCH => {
                return Err(not_found(format!("Consumer group {id} not found.")));
            }
            None if is_full => {
                let message = "the coordinator holds as many groups as it may".to_owned();
                return Err(Refusal::new(KafkaCode::CoordinatorNotAvailable, message));
            }
            None => {}
            Some(Group::Share(_)) => {
                return Err(not_found(format!("Group {id} is not a consumer group.")));
            }
            Some(Group::Classic(_)) if beat.epoch != JOIN_EPOCH => {
                return Err(not_found(format!("Group {id} is not a consumer group.")));
            }
            Some(Group::Classic(classic)) if classic.members.is_empty() => {
                turn.write(classic.tombstone());
            }
            Some(Group::Classic(classic)) => {
                let policy = turn.config.migration_policy;
                let fits = classic.members.len() < turn.config.consumer_size_max;
                let upgraded = match policy.lets_upgrade() && classic.is_consumer_group() && fits {
                    true => ConsumerGroup::from_classic(classic, &self.topics, turn),
                    false => None,
                };
                let Some(group) = upgraded else {
                    return Err(not_found(format!("Group {id} is not a consumer group.")));
                };
                self.groups.insert(id.clone(), Group::consumer(group));
                return Ok(());
            }
        }
        self.groups.insert(id.clone(), Group::consumer(ConsumerGroup::new(id.clone())));
        Ok(())
    }

    fn consumer_leave(
        &mut self,
        beat: &ConsumerBeat,
        turn: &mut Turn<'_>,
    ) -> Result<ConsumerBeaten, Refusal> {
        assert!(beat.epoch < JOIN_EPOCH);
        let id = &beat.group;
        let group = match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => group,
            Some(Group::Share(_)) => {
                return Err(not_found(format!("Group {id} is not a consumer group.")));
            }
            Some(Group::Classic(_)) | None => {
                return Err(not_found(format!("Consumer group {id} not found.")));
            }
        };
        let member = group.find_leaving(beat)?;
        if beat.epoch == LEAVE_STATIC_EPOCH {
            group.step_away(&member, turn);
        } else {
            self.fence(id, &[(member.clone(), format!("member {member} left"))], turn);
        }
        // The answer has no interval and no assignment, as Kafka's has none.
        Ok(ConsumerBeaten { member, epoch: beat.epoch, interval_ms: 0, assignment: None })
    }

    /// Takes members out of a consumer group. When only classic members are left it becomes a
    /// classic group, which rebalances.
    pub(in crate::coordinator::group) fn fence(
        &mut self,
        id: &str,
        members: &[(String, String)],
        turn: &mut Turn<'_>,
    ) {
        let topics = Arc::clone(&self.topics);
        for (at, (member, reason)) in members.iter().enumerate() {
            let Some(Group::Consumer(group)) = self.groups.get_mut(id) else { return };
            let is_last = at + 1 == members.len();
            let classic = match is_last && may_downgrade(group, member, turn) {
                true => group.to_classic(member, &topics, turn),
                false => None,
            };
            if let Some(mut classic) = classic {
                classic
                    .rebalance(|| format!("the group left the consumer protocol: {reason}"), turn);
                self.groups.insert(id.to_owned(), Group::Classic(Box::new(classic)));
                return;
            }
            group.remove(member, turn);
            if is_last {
                let reasons: Vec<&str> =
                    members.iter().map(|(_, reason)| reason.as_str()).collect();
                group.bump(reasons.join("; "), &topics, turn);
            }
        }
    }

    /// JoinGroup to a consumer group; hands the join back when the group is a classic one now.
    pub(in crate::coordinator::group) fn join_consumer(
        &mut self,
        join: Join,
        waiter: Waiter,
        turn: &mut Turn<'_>,
    ) -> Option<Join> {
        let topics = Arc::clone(&self.topics);
        let Some(Group::Consumer(group)) = self.groups.get_mut(&join.group) else {
            return Some(join);
        };
        if group.is_empty() {
            group.tombstones(turn);
            let classic = ClassicGroup::new(join.group.clone());
            self.groups.insert(join.group.clone(), Group::Classic(Box::new(classic)));
            return Some(join);
        }
        let holder = join.instance.as_ref().and_then(|instance| group.instances.get(instance));
        if let Some(holder) = holder.cloned()
            && join.member.is_empty()
            && !group.members[&holder].is_classic()
            && may_downgrade(group, &holder, turn)
            && let Some(mut classic) = group.to_classic(&holder, &topics, turn)
        {
            let reason = || format!("member {holder} came back with the classic protocol");
            classic.rebalance(reason, turn);
            self.groups.insert(join.group.clone(), Group::Classic(Box::new(classic)));
            return Some(join);
        }
        let id = join.group.clone();
        group.classic_join(join, waiter, &topics, turn);
        self.settle(&id);
        None
    }

    /// LeaveGroup to a consumer group: members of the classic protocol only.
    pub(in crate::coordinator::group) fn leave_consumer(
        &mut self,
        leave: Leave,
        waiter: Waiter,
        turn: &mut Turn<'_>,
    ) {
        let topics = Arc::clone(&self.topics);
        let Some(Group::Consumer(group)) = self.groups.get_mut(&leave.group) else { return };
        let mut members = Vec::with_capacity(leave.members.len());
        let mut gone = Vec::new();
        for leaving in leave.members {
            let code = match group.find_classic_leaving(&leaving) {
                Ok(id) => {
                    group.remove(&id, turn);
                    gone.push(id);
                    KafkaCode::None
                }
                Err(code) => code,
            };
            let LeavingMember { member, instance } = leaving;
            members.push(LeftMember { member, instance, code });
        }
        if !gone.is_empty() {
            group.bump(format!("member {} left", gone.join(", ")), &topics, turn);
        }
        turn.answer(waiter, GroupAnswer::Leave(Left { members }));
        self.settle(&leave.group);
    }

    /// Members whose time is up go.
    pub(in crate::coordinator::group) fn tick_consumer(&mut self, id: &str, turn: &mut Turn<'_>) {
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else { return };
        assert!(group.wake_us.is_some());
        group.wake_us = None;
        let overdue = group.overdue(turn);
        self.fence(id, &overdue, turn);
    }

    /// ConsumerGroupDescribe.
    pub(in crate::coordinator::group) fn describe_consumer(
        &self,
        id: &str,
    ) -> Result<DescribedConsumerGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => {
                Ok(group.describe(&self.topics, &self.config.assignors))
            }
            Some(Group::Classic(_) | Group::Share(_)) => {
                Err(not_found(format!("Group {id} is not a consumer group.")))
            }
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }
}

fn may_downgrade(group: &ConsumerGroup, leaving: &str, turn: &Turn<'_>) -> bool {
    turn.config.migration_policy.lets_downgrade()
        && group.members.len() - 1 <= turn.config.size_max
        && group.is_classic_without(leaving)
        && group.members.get(leaving).is_some_and(|member| !member.is_classic())
}

fn not_found(message: String) -> Refusal {
    Refusal::new(KafkaCode::GroupIdNotFound, message)
}
