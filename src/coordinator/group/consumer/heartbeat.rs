//! ConsumerGroupHeartbeat: how a member joins, follows its target, and leaves (KIP-848).

use super::ConsumerGroup;
use super::calls::{
    ConsumerBeat, ConsumerBeaten, JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH, Refusal,
};
use super::member::ConsumerMember;
use super::patterns;
use super::records::{ConsumerRecord, CurrentAssignment, MemberDetails};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::topics::Topics;
use crate::coordinator::group::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::group_config::AssignorNames;

impl ConsumerBeat {
    /// Refuses what no group's state can make right.
    pub(super) fn check(&self, served: &AssignorNames) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::new(KafkaCode::InvalidRequest, message));
        let is_blank = |text: &str| text.trim().is_empty();
        if is_blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.instance.as_deref().is_some_and(is_blank) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack.as_deref().is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        let needs_id = self.epoch != JOIN_EPOCH || self.needs_member_id;
        if needs_id && is_blank(&self.member) {
            return invalid("MemberId can't be empty.");
        }
        match self.epoch {
            JOIN_EPOCH if self.rebalance_timeout_ms == -1 => {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            JOIN_EPOCH if !self.owned.as_ref().is_some_and(Vec::is_empty) => {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            JOIN_EPOCH if self.topics.is_none() && self.regex.is_none() => {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                     (re-)joining.",
                );
            }
            LEAVE_STATIC_EPOCH if self.instance.is_none() => {
                return invalid("InstanceId can't be null.");
            }
            epoch if epoch < LEAVE_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        if let Some(name) = self.assignor.as_deref()
            && !served.contains(&Some(name))
        {
            let all: Vec<&str> = served.iter().copied().flatten().collect();
            let all = all.join(", ");
            let message =
                format!("ServerAssignor {name} is not supported. Supported assignors: {all}.");
            return Err(Refusal::new(KafkaCode::UnsupportedAssignor, message));
        }
        match self.regex.as_deref() {
            Some(regex) if !regex.is_empty() => patterns::compile(regex).map(drop),
            _ => Ok(()),
        }
    }
}

impl ConsumerGroup {
    /// A member joins (epoch 0) or says that it is there.
    pub(super) fn on_beat(
        &mut self,
        mut beat: ConsumerBeat,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<ConsumerBeaten, Refusal> {
        assert!(beat.epoch >= JOIN_EPOCH);
        if beat.member.is_empty() {
            beat.member = beat.fresh.to_string();
        }
        self.check_room(&beat.member, turn)?;
        let topics_bytes = beat.topics.iter().flatten().map(|topic| topic.len() + 3).sum::<usize>();
        if topics_bytes > turn.config.record_bytes_max / 2 {
            // Kafka's answer too when a record is refused for its size.
            let message = "the subscription is too large to be recorded";
            return Err(Refusal::new(KafkaCode::UnknownServerError, message));
        }
        self.admit(&beat, turn)?;
        let is_full_request = beat.epoch == JOIN_EPOCH
            || (beat.rebalance_timeout_ms != -1
                && (beat.topics.is_some() || beat.regex.is_some())
                && beat.owned.is_some());
        let id = beat.member.clone();
        let owned = beat.owned.take();
        if let Some(reason) = self.update_details(beat, topics, turn) {
            self.bump(reason, topics, turn);
        }
        assert!(self.members.contains_key(&id));
        self.follow_topics(topics, turn);
        self.retarget(topics, turn);
        let is_news = self.reconcile(&id, owned.as_deref(), turn);
        let member = self.members.get_mut(&id).expect("it was admitted");
        member.refresh(turn);
        let assigned = || member.current.assigned.clone();
        Ok(ConsumerBeaten {
            epoch: member.current.epoch,
            interval_ms: turn.config.consumer_heartbeat_interval_ms,
            assignment: (is_full_request || is_news).then(assigned),
            member: id,
        })
    }

    fn check_room(&self, member: &str, turn: &Turn<'_>) -> Result<(), Refusal> {
        let size_max = turn.config.consumer_size_max;
        if self.members.len() >= size_max && !self.members.contains_key(member) {
            let message = format!(
                "The consumer group has reached its maximum capacity of {size_max} members."
            );
            return Err(Refusal::new(KafkaCode::GroupMaxSizeReached, message));
        }
        Ok(())
    }

    /// Lets a member in, or checks that it may speak with the epoch it names.
    fn admit(&mut self, beat: &ConsumerBeat, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        let holder = beat.instance.as_ref().and_then(|instance| self.instances.get(instance));
        match (&beat.instance, holder.cloned()) {
            (Some(instance), Some(holder)) if holder != beat.member => {
                if beat.epoch != JOIN_EPOCH {
                    return Err(fenced_instance(&holder, &beat.member, instance));
                }
                let known = &self.members[&holder];
                if !known.is_classic() && known.current.epoch != LEAVE_STATIC_EPOCH {
                    return Err(unreleased_instance(&holder, &beat.member, instance));
                }
                self.replace_static(&holder, &beat.member, turn);
                Ok(())
            }
            (Some(instance), None) if beat.epoch != JOIN_EPOCH => {
                let message = format!("Instance id {instance} is unknown.");
                Err(Refusal::new(KafkaCode::UnknownMemberId, message))
            }
            _ => self.admit_by_id(beat, turn),
        }
    }

    fn admit_by_id(&mut self, beat: &ConsumerBeat, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        let Some(known) = self.members.get(&beat.member) else {
            if beat.epoch == JOIN_EPOCH {
                return Ok(());
            }
            return Err(self.unknown(&beat.member));
        };
        let epoch = known.current.epoch;
        if beat.epoch == JOIN_EPOCH {
            // It begins again with nothing, so what it had is free.
            if !known.is_classic() && epoch != JOIN_EPOCH {
                self.put_current(&beat.member, CurrentAssignment::nothing(), turn);
            }
            return Ok(());
        }
        let owned = beat.owned.as_deref();
        // The answer that named the present epoch may have been lost.
        let is_late = beat.epoch == known.current.previous_epoch
            && owned.is_some_and(|owned| known.has_been_assigned(owned));
        if beat.epoch == epoch || (beat.epoch < epoch && is_late) {
            return Ok(());
        }
        let than = if beat.epoch > epoch { "greater" } else { "smaller" };
        let message = format!(
            "The consumer group member has a {than} member epoch ({}) than the one known by the \
             group coordinator ({epoch}). The member must abandon all its partitions and rejoin.",
            beat.epoch
        );
        Err(Refusal::new(KafkaCode::FencedMemberEpoch, message))
    }

    fn unknown(&self, member: &str) -> Refusal {
        let message = format!("Member {member} is not a member of group {}.", self.id);
        Refusal::new(KafkaCode::UnknownMemberId, message)
    }

    pub(super) fn put_current(
        &mut self,
        member: &str,
        current: CurrentAssignment,
        turn: &mut Turn<'_>,
    ) {
        let member = member.to_owned();
        self.put(ConsumerRecord::Current { member, value: Some(current) }, turn);
    }

    /// The slot of a static member goes to a new member id, with target and partitions.
    pub(super) fn replace_static(&mut self, old: &str, new: &str, turn: &mut Turn<'_>) {
        assert!(old != new);
        let known = self.members[old].clone();
        let target = self.targets.get(old).cloned().unwrap_or_default();
        let gone = |member: &str| member.to_owned();
        self.put(ConsumerRecord::Current { member: gone(old), value: None }, turn);
        self.put(ConsumerRecord::Target { member: gone(old), value: None }, turn);
        self.put(ConsumerRecord::Member { member: gone(old), value: None }, turn);
        let details = Some(known.details);
        self.put(ConsumerRecord::Member { member: gone(new), value: details }, turn);
        self.put(ConsumerRecord::Target { member: gone(new), value: Some(target) }, turn);
        let current = CurrentAssignment { epoch: 0, previous_epoch: 0, ..known.current };
        self.put_current(new, current, turn);
        assert!(!self.members.contains_key(old));
        assert!(self.members.contains_key(new));
    }

    /// Takes over what the beat says of the member; why a new epoch must begin, if so.
    fn update_details(
        &mut self,
        beat: ConsumerBeat,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        assert!(beat.epoch >= JOIN_EPOCH && !beat.member.is_empty());
        let known = self.members.get(&beat.member).map(|member| member.details.clone());
        let before = known.clone().unwrap_or_else(|| MemberDetails {
            rebalance_timeout_ms: -1,
            ..MemberDetails::default()
        });
        let id = beat.member;
        let after = MemberDetails {
            instance: beat.instance.or(before.instance),
            rack: beat.rack.or(before.rack),
            client_id: beat.client_id,
            client_host: beat.client_host,
            topics: beat.topics.map_or(before.topics, sorted),
            regex: beat.regex.or(before.regex).filter(|regex| !regex.is_empty()),
            rebalance_timeout_ms: match beat.rebalance_timeout_ms {
                -1 => before.rebalance_timeout_ms,
                given => given,
            },
            assignor: beat.assignor.or(before.assignor),
            classic: None,
        };
        self.put_details(&id, known, after, topics, turn)
    }

    /// Records a member's details when they changed; why a new epoch must begin, if so.
    pub(super) fn put_details(
        &mut self,
        id: &str,
        before: Option<MemberDetails>,
        after: MemberDetails,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        if before.as_ref() == Some(&after) {
            return None;
        }
        let regex = after.regex.clone();
        let topics_after = after.topics.clone();
        let member = id.to_owned();
        self.put(ConsumerRecord::Member { member, value: Some(after) }, turn);
        assert!(self.members.contains_key(id));
        let Some(before) = before else {
            self.put_current(id, CurrentAssignment::nothing(), turn);
            if let Some(regex) = regex {
                self.resolve(&regex, topics, turn);
            }
            return Some(format!("member {id} joined"));
        };
        let has_new_regex = before.regex != regex;
        if has_new_regex {
            if let Some(regex) = regex {
                self.resolve(&regex, topics, turn);
            }
            if let Some(old) = before.regex {
                self.forget_unused(old, turn);
            }
        }
        let is_changed = has_new_regex || before.topics != topics_after;
        is_changed.then(|| format!("member {id} changed its subscription"))
    }

    /// A static member goes for a while: it keeps its partitions until its session ends.
    pub(super) fn step_away(&mut self, id: &str, turn: &mut Turn<'_>) {
        assert!(self.members.contains_key(id));
        let current = self.members[id].current.clone();
        let away =
            CurrentAssignment { epoch: LEAVE_STATIC_EPOCH, revoking: Assignment::new(), ..current };
        self.put_current(id, away, turn);
        if let Some(member) = self.members.get_mut(id) {
            member.rebalance_deadline_us = None;
        }
    }

    /// The member that a leaving beat means.
    pub(super) fn find_leaving(&self, beat: &ConsumerBeat) -> Result<String, Refusal> {
        assert!(beat.epoch == LEAVE_EPOCH || beat.epoch == LEAVE_STATIC_EPOCH);
        let Some(instance) = &beat.instance else {
            let is_known = self.members.contains_key(&beat.member);
            return if is_known {
                Ok(beat.member.clone())
            } else {
                Err(self.unknown(&beat.member))
            };
        };
        match self.instances.get(instance) {
            None => {
                let message = format!("Instance id {instance} is unknown.");
                Err(Refusal::new(KafkaCode::UnknownMemberId, message))
            }
            Some(holder) if *holder != beat.member => {
                Err(fenced_instance(holder, &beat.member, instance))
            }
            Some(holder) => Ok(holder.clone()),
        }
    }

    /// Members whose time is up, with the reason.
    pub(super) fn overdue(&self, turn: &Turn<'_>) -> Vec<(String, String)> {
        let now_us = turn.now.monotonic_us;
        let is_due = |deadline_us: Option<u64>| deadline_us.is_some_and(|due| due <= now_us);
        let overdue = self.members.iter().filter_map(|(id, member)| {
            let what = if is_due(member.expires_at_us) {
                "was silent too long"
            } else if is_due(member.rebalance_deadline_us) {
                "did not follow within its rebalance timeout"
            } else {
                return None;
            };
            Some((id.clone(), format!("member {id} {what}")))
        });
        overdue.collect()
    }

    /// The earliest time at which this group wants a turn, in monotonic microseconds.
    pub(in crate::coordinator::group) fn next_deadline_us(&self) -> Option<u64> {
        self.members.values().filter_map(ConsumerMember::next_deadline_us).min()
    }

    /// The earliest time at which this group wants a turn because of one member.
    pub(in crate::coordinator::group) fn deadline_of(&self, member: &str) -> Option<u64> {
        self.members.get(member)?.next_deadline_us()
    }
}

fn sorted(mut topics: Vec<String>) -> Vec<String> {
    topics.sort_unstable();
    topics.dedup();
    topics
}

fn fenced_instance(holder: &str, member: &str, instance: &str) -> Refusal {
    let message = format!(
        "Static member {member} with instance id {instance} was fenced by member {holder}."
    );
    Refusal::new(KafkaCode::FencedInstanceId, message)
}

fn unreleased_instance(holder: &str, member: &str, instance: &str) -> Refusal {
    let message = format!(
        "Static member {member} with instance id {instance} cannot join the group because the \
         instance id is owned by member {holder}."
    );
    Refusal::new(KafkaCode::UnreleasedInstanceId, message)
}
