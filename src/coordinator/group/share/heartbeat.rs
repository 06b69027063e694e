//! ShareGroupHeartbeat: how a member joins, follows its target, and leaves (KIP-932).

use super::calls::{ShareBeat, ShareBeaten};
use super::records::{ShareCurrent, ShareDetails, ShareRecord};
use super::{ShareGroup, ShareMember};
use crate::coordinator::group::consumer::calls::{JOIN_EPOCH, LEAVE_EPOCH, Refusal};
use crate::coordinator::group::topics::Topics;
use crate::coordinator::group::turn::Turn;
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUP_TEXT_BYTES_MAX;

impl ShareBeat {
    /// Refuses what no group's state can make right.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::new(KafkaCode::InvalidRequest, message));
        let is_blank = |text: &str| text.trim().is_empty();
        if is_blank(&self.member) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(&self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.rack.as_deref().is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        match self.epoch {
            JOIN_EPOCH if self.topics.as_ref().is_none_or(Vec::is_empty) => {
                return invalid("SubscribedTopicNames must be set in first request.");
            }
            epoch if epoch < LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        if self.group.len() > GROUP_TEXT_BYTES_MAX {
            return Err(Refusal::new(KafkaCode::InvalidGroupId, "the group id is too long"));
        }
        let own = [&self.member, &self.client_id, &self.client_host];
        let texts = own.into_iter().chain(&self.rack).chain(self.topics.iter().flatten());
        match texts.into_iter().all(|text| text.len() <= GROUP_TEXT_BYTES_MAX) {
            true => Ok(()),
            false => invalid("a text of the request is too long to be recorded"),
        }
    }
}

impl ShareGroup {
    /// A member joins (epoch 0) or says that it is there.
    pub(super) fn on_beat(
        &mut self,
        beat: ShareBeat,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<ShareBeaten, Refusal> {
        assert!(beat.epoch >= JOIN_EPOCH && !beat.member.is_empty());
        self.check_room(&beat, turn)?;
        self.admit(&beat)?;
        let id = beat.member.clone();
        let is_full_request = beat.epoch == JOIN_EPOCH || beat.topics.is_some();
        self.forget_deleted(topics, turn);
        let reason = self.update_details(beat, turn);
        let reason = reason.or_else(|| {
            let is_stale = self.has_stale_targets(topics);
            is_stale.then(|| "other partitions may be read".to_owned())
        });
        let reason = reason.or_else(|| self.changed_topics(topics));
        self.topics_version = Some(topics.version());
        if let Some(reason) = reason {
            self.bump(reason, topics, turn);
        }
        assert!(self.members.contains_key(&id));
        self.retarget(topics, turn);
        let is_news = self.follow(&id, turn);
        let to_initialize = self.begin_initialize(topics, turn);
        let member = self.members.get_mut(&id).expect("it was admitted");
        member.expires_at_us = Some(turn.deadline_us(turn.config.share.session_timeout_ms));
        let assigned = || member.current.assigned.clone();
        Ok(ShareBeaten {
            epoch: member.current.epoch,
            interval_ms: turn.config.share.heartbeat_interval_ms,
            assignment: (is_full_request || is_news).then(assigned),
            member: id,
            to_initialize,
        })
    }

    fn check_room(&self, beat: &ShareBeat, turn: &Turn<'_>) -> Result<(), Refusal> {
        let size_max = turn.config.share.size_max;
        if self.members.len() >= size_max && !self.members.contains_key(&beat.member) {
            let message =
                format!("The share group has reached its maximum capacity of {size_max} members.");
            return Err(Refusal::new(KafkaCode::GroupMaxSizeReached, message));
        }
        let topics_bytes = beat.topics.iter().flatten().map(|topic| topic.len() + 3).sum::<usize>();
        if topics_bytes > turn.config.record_bytes_max / 2 {
            // Kafka's answer too when a record is refused for its size.
            let message = "the subscription is too large to be recorded";
            return Err(Refusal::new(KafkaCode::UnknownServerError, message));
        }
        Ok(())
    }

    /// Lets a member in, or checks that it may speak with the epoch it names.
    fn admit(&self, beat: &ShareBeat) -> Result<(), Refusal> {
        let Some(known) = self.members.get(&beat.member) else {
            return match beat.epoch {
                JOIN_EPOCH => Ok(()),
                _ => Err(self.unknown(&beat.member)),
            };
        };
        let ShareCurrent { epoch, previous_epoch, .. } = known.current;
        // The answer that named the present epoch may have been lost.
        if beat.epoch == epoch || (beat.epoch < epoch && beat.epoch == previous_epoch) {
            return Ok(());
        }
        let advice = "The member must abandon all its partitions and rejoin.";
        let message = match beat.epoch > epoch {
            true => format!(
                "The share group member has a greater member epoch ({}) than the one known by the \
                 group coordinator ({epoch}). {advice}",
                beat.epoch
            ),
            false => format!(
                "The share group member has a smaller member epoch ({}) than the one known by the \
                 group coordinator ({epoch}), and it does not match the previous member epoch \
                 ({previous_epoch}). {advice}",
                beat.epoch
            ),
        };
        Err(Refusal::new(KafkaCode::FencedMemberEpoch, message))
    }

    fn unknown(&self, member: &str) -> Refusal {
        let message = format!("Member {member} is not a member of group {}.", self.id);
        Refusal::new(KafkaCode::UnknownMemberId, message)
    }

    /// Takes over what the beat says of the member; why a new epoch must begin, if so.
    fn update_details(&mut self, beat: ShareBeat, turn: &mut Turn<'_>) -> Option<String> {
        assert!(beat.epoch >= JOIN_EPOCH);
        let known = self.members.get(&beat.member).map(|member| member.details.clone());
        let is_new = known.is_none();
        let before = known.unwrap_or_default();
        let after = ShareDetails {
            rack: beat.rack.or_else(|| before.rack.clone()),
            client_id: beat.client_id,
            client_host: beat.client_host,
            topics: beat.topics.map_or_else(|| before.topics.clone(), sorted),
        };
        if after == before && !is_new {
            return None;
        }
        let has_other_topics = after.topics != before.topics;
        let member = beat.member.clone();
        self.put(ShareRecord::Member { member, value: Some(after) }, turn);
        let what = if is_new { "joined" } else { "changed its subscription" };
        (is_new || has_other_topics).then(|| format!("member {} {what}", beat.member))
    }

    /// Why a new epoch must begin, if subscribed topics changed since the last one.
    fn changed_topics(&self, topics: &Topics) -> Option<String> {
        let is_seen = self.topics_version == Some(topics.version());
        let is_changed = !is_seen && self.hash_of(topics) != self.topics_hash;
        is_changed.then(|| "a subscribed topic was made, deleted or grown".to_owned())
    }

    /// Takes a member to its target; true when what it is to read changed.
    fn follow(&mut self, id: &str, turn: &mut Turn<'_>) -> bool {
        assert!(self.target_epoch == self.epoch);
        let ShareMember { current, .. } = &self.members[id];
        if current.epoch == self.target_epoch {
            return false;
        }
        let assigned = self.targets.get(id).cloned().unwrap_or_default();
        let is_news = assigned != current.assigned;
        let previous_epoch = current.epoch;
        let next = ShareCurrent { epoch: self.target_epoch, previous_epoch, assigned };
        self.put(ShareRecord::Current { member: id.to_owned(), value: Some(next) }, turn);
        assert!(self.members[id].current.epoch == self.target_epoch);
        is_news
    }

    /// The member that leaves; its beat is told so.
    pub(super) fn on_leave(
        &mut self,
        beat: &ShareBeat,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<ShareBeaten, Refusal> {
        assert!(beat.epoch == LEAVE_EPOCH);
        if !self.members.contains_key(&beat.member) {
            return Err(self.unknown(&beat.member));
        }
        let reason = format!("member {} left", beat.member);
        self.remove(std::slice::from_ref(&beat.member), reason, topics, turn);
        // The answer has no interval and no assignment, as Kafka's has none.
        Ok(ShareBeaten {
            member: beat.member.clone(),
            epoch: LEAVE_EPOCH,
            interval_ms: 0,
            assignment: None,
            to_initialize: None,
        })
    }

    /// Members whose time is up go.
    pub(super) fn on_tick(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        let now_us = turn.now.monotonic_us;
        let is_due = |member: &ShareMember| member.expires_at_us.is_some_and(|due| due <= now_us);
        let overdue = self.members.iter().filter(|(_, member)| is_due(member));
        let overdue: Vec<String> = overdue.map(|(id, _)| id.clone()).collect();
        if !overdue.is_empty() {
            let reason = format!("member {} was silent too long", overdue.join(", "));
            self.remove(&overdue, reason, topics, turn);
        }
    }

    fn remove(&mut self, members: &[String], reason: String, topics: &Topics, turn: &mut Turn<'_>) {
        assert!(!members.is_empty());
        for member in members {
            assert!(self.members.contains_key(member));
            let member = || member.clone();
            self.put(ShareRecord::Current { member: member(), value: None }, turn);
            self.put(ShareRecord::Target { member: member(), value: None }, turn);
            self.put(ShareRecord::Member { member: member(), value: None }, turn);
        }
        assert!(members.iter().all(|member| !self.targets.contains_key(member)));
        self.bump(reason, topics, turn);
        assert!(self.targets.len() <= self.members.len());
    }

    /// The earliest time at which this group wants a turn, in monotonic microseconds.
    pub(in crate::coordinator::group) fn next_deadline_us(&self) -> Option<u64> {
        self.members.values().filter_map(|member| member.expires_at_us).min()
    }
}

fn sorted(mut topics: Vec<String>) -> Vec<String> {
    topics.sort_unstable();
    topics.dedup();
    topics
}
