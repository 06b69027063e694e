//! Members of the classic protocol in a group of the consumer protocol: how an application moves
//! from one to the other one process at a time (KIP-848, online migration).
//!
//! Such a member speaks JoinGroup, SyncGroup and Heartbeat; the coordinator assigns, so nobody
//! leads. Its generation is its member epoch. When it should give up or may take partitions, its
//! heartbeat is answered with REBALANCE_IN_PROGRESS and it joins again, saying what it still owns.

use super::ConsumerGroup;
use super::member::ConsumerMember;
use super::records::{ClassicDetails, MemberDetails, MemberState};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::calls::{
    GroupAnswer, Heartbeat, Join, Joined, LeavingMember, Sync, Synced,
};
use crate::coordinator::group::classic::CONSUMER;
use crate::coordinator::group::subscription::{self, Subscription};
use crate::coordinator::group::topics::Topics;
use crate::coordinator::group::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;

impl ConsumerGroup {
    /// JoinGroup of a member of the classic protocol; answered at once.
    pub(super) fn classic_join(
        &mut self,
        join: Join,
        waiter: Waiter,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) {
        let member = join.member.clone();
        let joined = self.try_classic_join(join, topics, turn);
        let joined =
            joined.unwrap_or_else(|(code, id)| Joined::refused(code, id.unwrap_or(member)));
        turn.answer(waiter, GroupAnswer::Join(joined));
    }

    fn try_classic_join(
        &mut self,
        join: Join,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Result<Joined, (KafkaCode, Option<String>)> {
        let fail = |code| (code, None);
        let has_room = self.members.len() < turn.config.consumer_size_max
            || self.members.contains_key(&join.member);
        if !has_room {
            return Err(fail(KafkaCode::GroupMaxSizeReached));
        }
        if !self.supports(&join) {
            return Err(fail(KafkaCode::InconsistentGroupProtocol));
        }
        let protocols = join.protocols.iter();
        let size = protocols.map(|own| own.name.len() + own.metadata.len() + 10).sum::<usize>();
        if size > turn.config.record_bytes_max / 2 {
            return Err(fail(KafkaCode::UnknownServerError));
        }
        let first = &join.protocols.first().expect("supports wants one").metadata;
        let subscription = subscription::parse(first);
        let subscription = subscription.ok_or(fail(KafkaCode::InconsistentGroupProtocol))?;
        let is_unknown = join.member.is_empty();
        let id = match is_unknown {
            true => {
                let prefix = join.instance.as_deref().unwrap_or(&join.client_id);
                format!("{prefix}-{}", join.fresh)
            }
            false => join.member.clone(),
        };
        if is_unknown && join.instance.is_none() && join.needs_member_id {
            return Err((KafkaCode::MemberIdRequired, Some(id)));
        }
        self.admit_classic(&join, &id, turn).map_err(fail)?;
        let rebalance_ms = u64::try_from(join.rebalance_timeout_ms).ok();
        let owned = self.take_classic(&id, join, subscription, topics, turn);
        assert!(self.members.contains_key(&id));
        self.follow_topics(topics, turn);
        self.retarget(topics, turn);
        self.reconcile(&id, Some(&owned), turn);
        let member = self.members.get_mut(&id).expect("it was admitted");
        assert!(member.is_classic());
        member.refresh(turn);
        let sync_ms = rebalance_ms.unwrap_or(member.rebalance_timeout_ms());
        member.rebalance_deadline_us = Some(turn.deadline_us(sync_ms));
        Ok(Joined {
            code: KafkaCode::None,
            generation: member.current.epoch,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: member.first_protocol().map(str::to_owned),
            leader: String::new(),
            skip_assignment: false,
            member: id,
            members: Vec::new(),
        })
    }

    /// Records what the join says of the member; returns what it owns.
    fn take_classic(
        &mut self,
        id: &str,
        join: Join,
        subscription: Subscription,
        topics: &Topics,
        turn: &mut Turn<'_>,
    ) -> Vec<(TopicId, Vec<i32>)> {
        let before = self.members.get(id).map(|member| member.details.clone());
        let known = before.clone().unwrap_or_default();
        let mut names = subscription.topics;
        names.sort_unstable();
        names.dedup();
        let after = MemberDetails {
            instance: join.instance.or(known.instance),
            rack: subscription.rack.filter(|rack| !rack.is_empty()).or(known.rack),
            client_id: join.client_id,
            client_host: join.client_host,
            topics: names,
            regex: None,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            assignor: known.assignor,
            classic: Some(ClassicDetails {
                session_timeout_ms: join.session_timeout_ms,
                protocols: join.protocols,
            }),
        };
        if let Some(reason) = self.put_details(id, before, after, topics, turn) {
            self.bump(reason, topics, turn);
        }
        let owned = subscription.owned.into_iter();
        owned.filter_map(|(name, indexes)| Some((topics.get(&name)?.id, indexes))).collect()
    }

    fn supports(&self, join: &Join) -> bool {
        let classic = || self.members.values().filter_map(|member| member.details.classic.as_ref());
        let is_common = |name: &str| {
            classic().all(|details| details.protocols.iter().any(|known| known.name == name))
        };
        join.protocol_type == CONSUMER
            && join.protocols.iter().any(|protocol| is_common(&protocol.name))
    }

    fn admit_classic(
        &mut self,
        join: &Join,
        id: &str,
        turn: &mut Turn<'_>,
    ) -> Result<(), KafkaCode> {
        let Some(instance) = &join.instance else { return Ok(()) };
        match self.instances.get(instance).cloned() {
            None if join.member.is_empty() => Ok(()),
            None => Err(KafkaCode::UnknownMemberId),
            Some(holder) if holder == id => Ok(()),
            Some(holder) if join.member.is_empty() => {
                self.replace_static(&holder, id, turn);
                Ok(())
            }
            Some(_) => Err(KafkaCode::FencedInstanceId),
        }
    }

    /// A member of the classic protocol that may speak under this id, and instance if named.
    fn classic_member(
        &mut self,
        id: &str,
        instance: Option<&str>,
    ) -> Result<&mut ConsumerMember, KafkaCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(KafkaCode::UnknownMemberId),
                Some(holder) if holder != id => return Err(KafkaCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = self.members.get_mut(id).filter(|member| member.is_classic());
        member.ok_or(KafkaCode::UnknownMemberId)
    }

    /// SyncGroup of a member of the classic protocol.
    pub(in crate::coordinator::group) fn classic_sync(
        &mut self,
        sync: &Sync,
        topics: &Topics,
        turn: &Turn<'_>,
    ) -> Synced {
        self.try_classic_sync(sync, topics, turn).unwrap_or_else(Synced::refused)
    }

    fn try_classic_sync(
        &mut self,
        sync: &Sync,
        topics: &Topics,
        turn: &Turn<'_>,
    ) -> Result<Synced, KafkaCode> {
        let epoch = self.epoch;
        let member = self.classic_member(&sync.member, sync.instance.as_deref())?;
        if sync.generation != member.current.epoch {
            return Err(KafkaCode::IllegalGeneration);
        }
        let differs =
            |given: &Option<String>, own: Option<&str>| given.is_some() && given.as_deref() != own;
        if differs(&sync.protocol_type, Some(CONSUMER))
            || differs(&sync.protocol, member.first_protocol())
        {
            return Err(KafkaCode::InconsistentGroupProtocol);
        }
        if epoch != member.current.epoch && member.current.state != MemberState::UnrevokedPartitions
        {
            member.expect_progress(turn);
            return Err(KafkaCode::RebalanceInProgress);
        }
        member.rebalance_deadline_us = None;
        member.refresh(turn);
        let version = member.first_metadata().map_or(0, subscription::version);
        let named = named(&member.current.assigned, topics);
        Ok(Synced {
            code: KafkaCode::None,
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: member.first_protocol().map(str::to_owned),
            assignment: subscription::encode_assignment(version, &named),
        })
    }

    /// Heartbeat of a member of the classic protocol.
    pub(in crate::coordinator::group) fn classic_heartbeat(
        &mut self,
        beat: &Heartbeat,
        turn: &Turn<'_>,
    ) -> KafkaCode {
        self.try_classic_heartbeat(beat, turn).err().unwrap_or(KafkaCode::None)
    }

    fn try_classic_heartbeat(
        &mut self,
        beat: &Heartbeat,
        turn: &Turn<'_>,
    ) -> Result<(), KafkaCode> {
        let epoch = self.epoch;
        let is_waiting = self.is_waiting_for_others(&beat.member);
        let member = self.classic_member(&beat.member, beat.instance.as_deref())?;
        if beat.generation != member.current.epoch {
            return Err(KafkaCode::IllegalGeneration);
        }
        member.refresh(turn);
        let must_join = member.current.epoch != epoch
            || match member.current.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !is_waiting,
            };
        if must_join {
            member.expect_progress(turn);
            return Err(KafkaCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether a partition that `id` is to get is still somebody else's.
    fn is_waiting_for_others(&self, id: &str) -> bool {
        let (Some(member), Some(target)) = (self.members.get(id), self.targets.get(id)) else {
            return false;
        };
        let missing = |topic: &TopicId, index: i32| {
            member.current.assigned.get(topic).is_none_or(|set| !set.contains(&index))
        };
        let mut wanted =
            target.iter().flat_map(|(topic, set)| set.iter().map(|index| (*topic, *index)));
        wanted.any(|(topic, index)| {
            missing(&topic, index) && self.owners.contains_key(&(topic, index))
        })
    }

    /// The member that a LeaveGroup entry means.
    pub(super) fn find_classic_leaving(
        &mut self,
        leaving: &LeavingMember,
    ) -> Result<String, KafkaCode> {
        let mut id = leaving.member.clone();
        if id.is_empty()
            && let Some(instance) = &leaving.instance
        {
            id = self.instances.get(instance).cloned().ok_or(KafkaCode::UnknownMemberId)?;
        }
        self.classic_member(&id, leaving.instance.as_deref())?;
        Ok(id)
    }
}

impl ConsumerMember {
    fn first_protocol(&self) -> Option<&str> {
        let first = self.details.classic.as_ref()?.protocols.first()?;
        Some(&first.name)
    }

    fn first_metadata(&self) -> Option<&bytes::Bytes> {
        Some(&self.details.classic.as_ref()?.protocols.first()?.metadata)
    }
}

/// An assignment by the names of topics that still exist.
pub(super) fn named<'t>(assignment: &Assignment, topics: &'t Topics) -> Vec<(&'t str, Vec<i32>)> {
    let named = assignment
        .iter()
        .filter_map(|(id, set)| Some((topics.name(id)?, set.iter().copied().collect())));
    named.collect()
}
