//! All groups of one `__consumer_offsets` partition, and the door to them.
//!
//! Sans-io: a request or a tick goes in, a [`Step`] comes out. The owner appends the step's records
//! to the partition and hands out its answers when they are committed
//! ([`crate::coordinator::replayed`]). If the append is refused, memory is ahead of the log: the
//! owner drops the coordinator, makes a new one and replays.
//!
//! A replay reads the whole partition from its log start. Compaction bounds that by the number of
//! live offsets and the commits since its last round.
//!
//! Invariants
//! - A group with offsets exists; a group that does not exist has no offsets.
//! - Each waiter is answered once, by a step or by [`GroupCoordinator::take_waiters`].
//! - `wakes` holds, for each group with a deadline, one entry that is not later than it. Entries of
//!   groups that are gone are dropped when their time comes.

use super::calls::{
    CommitOffsets, DeleteOffsets, DescribedGroup, FetchOffsets, FetchedTopic, GroupAnswer,
    GroupFilter, GroupRequest, Heartbeat, Join, Joined, Leave, LeavingMember, Left, LeftMember,
    ListedGroup, Sync, Synced, TopicResult,
};
use super::classic::{ClassicGroup, DEAD};
use super::consumer::ConsumerGroup;
use super::consumer::records::ConsumerRecord;
use super::expiry::Sweep;
use super::kinds::Group;
use super::offsets::Offsets;
use super::records::GroupRecord;
use super::share::ShareGroup;
use super::share::calls::ShareGroupRequest;
use super::share::records::ShareRecord;
use super::topics::Topics;
use super::turn::{Step, Turn};
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::{GroupConfig, GroupOverrides};
use crate::model::limits::{GROUPS_MAX, GROUPS_WOKEN_PER_TURN};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The groups of one coordinator partition. One per partition of `__consumer_offsets`, on the core
/// that owns it.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(super) config: GroupConfig,
    /// Of groups with settings of their own.
    overrides: Arc<BTreeMap<String, GroupOverrides>>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) topics: Arc<Topics>,
    pub(super) offsets: Offsets,
    /// When to look at which group, in monotonic microseconds; one entry per group at most.
    wakes: BTreeSet<(u64, String)>,
    pub(super) sweep: Sweep,
}

impl GroupCoordinator {
    /// A coordinator that knows no group yet; feed it the partition with
    /// [`GroupCoordinator::replay`], then call [`GroupCoordinator::on_loaded`].
    pub fn new(config: GroupConfig) -> GroupCoordinator {
        GroupCoordinator {
            config,
            overrides: Arc::default(),
            groups: BTreeMap::new(),
            topics: Arc::default(),
            offsets: Offsets::default(),
            wakes: BTreeSet::new(),
            sweep: Sweep::starting_at(u64::MAX),
        }
    }

    /// The topics are others now. Groups that subscribe to them notice at their next heartbeat.
    pub fn set_topics(&mut self, topics: Arc<Topics>) {
        assert!(topics.version() >= self.topics.version());
        self.topics = topics;
    }

    /// Settings of single groups are these now; members hear of them at their next heartbeat.
    pub fn set_overrides(&mut self, overrides: Arc<BTreeMap<String, GroupOverrides>>) {
        self.overrides = overrides;
    }

    fn config_of(&self, group: &str) -> GroupConfig {
        self.config.with(self.overrides.get(group).copied().unwrap_or_default())
    }

    /// Applies a record of the log.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group, topic, partition, value } => {
                if value.is_some() && !self.groups.contains_key(&group) {
                    self.groups.insert(group.clone(), Group::classic(&group));
                }
                self.offsets.apply(&group, &topic, partition, value);
            }
            GroupRecord::Pending { producer, group, topic, partition, value } => {
                let record = GroupRecord::Offset { group, topic, partition, value: Some(value) };
                self.replay_transactional(producer.id, record);
            }
            GroupRecord::Group { group, value: Some(metadata) } => {
                let replayed = ClassicGroup::from_metadata(&group, metadata);
                self.groups.insert(group, Group::Classic(Box::new(replayed)));
            }
            GroupRecord::Group { group, value: None } => {
                if !matches!(self.groups.get(&group), Some(Group::Consumer(_) | Group::Share(_))) {
                    self.forget_replayed(group);
                }
            }
            GroupRecord::Consumer { group, record } => self.replay_consumer(group, record),
            GroupRecord::Share { group, record } => self.replay_share(group, record),
        }
    }

    fn replay_share(&mut self, id: String, record: ShareRecord) {
        let is_end = record == ShareRecord::Epoch(None);
        match self.groups.get_mut(&id) {
            Some(Group::Share(_)) if is_end => self.forget_replayed(id),
            Some(Group::Share(group)) => group.apply(record),
            // Only tombstones follow the end of a group, until it is made again.
            Some(_) | None if record.is_tombstone() => {}
            Some(_) | None => {
                let mut group = ShareGroup::new(id.clone());
                group.apply(record);
                self.groups.insert(id, Group::share(group));
            }
        }
    }

    fn replay_consumer(&mut self, id: String, record: ConsumerRecord) {
        let is_end = record == ConsumerRecord::Epoch(None);
        match self.groups.get_mut(&id) {
            Some(Group::Consumer(_)) if is_end => self.forget_replayed(id),
            Some(Group::Consumer(group)) => group.apply(record),
            // Only tombstones follow the end of a group, until it is made again.
            Some(_) | None if record.is_tombstone() => {}
            Some(_) | None => {
                let mut group = ConsumerGroup::new(id.clone());
                group.apply(record);
                self.groups.insert(id, Group::consumer(group));
            }
        }
    }

    /// The log says that a group ended. Offsets without a group would be unreachable: those that
    /// are left belong to an empty one.
    fn forget_replayed(&mut self, id: String) {
        if self.offsets.of_group(&id).is_none() {
            self.groups.remove(&id);
        } else {
            let empty = Group::classic(&id);
            self.groups.insert(id, empty);
        }
    }

    /// The replay is complete: sessions and the retention clock begin.
    pub fn on_loaded(&mut self, now: Now) {
        self.sweep = Sweep::starting_at(now.deadline_us(self.config.offsets_retention_check_ms));
        for (id, group) in &mut self.groups {
            let own = self.overrides.get(id).copied().unwrap_or_default();
            let config = self.config.with(own);
            let mut turn = Turn::new(now, &config);
            group.on_loaded(&mut turn);
            assert!(
                turn.into_step() == Step::default(),
                "nobody waits yet, and the log has it all"
            );
            group.assert_sound();
            wake_in_time(&mut self.wakes, id, group);
        }
    }

    /// Groups that this coordinator knows, empty ones included.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// One request. Its answer comes with this step or, for a parked join or sync, a later one.
    pub fn on_request(&mut self, request: GroupRequest, waiter: Waiter, now: Now) -> Step {
        let config = match &request {
            GroupRequest::ConsumerHeartbeat(beat) => self.config_of(&beat.group),
            GroupRequest::Share(request) => match &**request {
                ShareGroupRequest::Heartbeat(beat) => self.config_of(&beat.group),
                _ => self.config,
            },
            _ => self.config,
        };
        let mut turn = Turn::new(now, &config);
        if let Err(code) = request.check() {
            turn.answer(waiter, GroupAnswer::Refused(code));
            return turn.into_step();
        }
        match request {
            GroupRequest::Join(join) => self.join(*join, waiter, &mut turn),
            GroupRequest::Sync(sync) => self.sync(sync, waiter, &mut turn),
            GroupRequest::Heartbeat(beat) => self.heartbeat(&beat, waiter, &mut turn),
            GroupRequest::Leave(leave) => self.leave(leave, waiter, &mut turn),
            GroupRequest::CommitOffsets(commit) => {
                let answer = self.commit(commit, &mut turn).map(GroupAnswer::CommitOffsets);
                turn.answer(waiter, answer.unwrap_or_else(GroupAnswer::Refused));
            }
            GroupRequest::CommitTransaction(commit) => {
                let answer = self.commit_transaction(commit, &mut turn);
                let answer = answer.map(GroupAnswer::CommitOffsets);
                turn.answer(waiter, answer.unwrap_or_else(GroupAnswer::Refused));
            }
            GroupRequest::FetchOffsets(fetch) => {
                let answer = self.fetch(fetch).map(GroupAnswer::FetchOffsets);
                turn.answer(waiter, answer.unwrap_or_else(GroupAnswer::Refused));
            }
            GroupRequest::DeleteOffsets(delete) => {
                let answer = self.delete_offsets(delete, &mut turn);
                let answer = answer.map(GroupAnswer::DeleteOffsets);
                turn.answer(waiter, answer.unwrap_or_else(GroupAnswer::Refused));
            }
            GroupRequest::Describe(ids) => {
                let groups = ids.into_iter().map(|id| self.describe(id)).collect();
                turn.answer(waiter, GroupAnswer::Describe(groups));
            }
            GroupRequest::List(filter) => {
                turn.answer(waiter, GroupAnswer::List(self.list(&filter)));
            }
            GroupRequest::Delete(ids) => {
                let deleted = ids.into_iter().map(|id| {
                    let code = self.delete(&id, &mut turn);
                    (id, code)
                });
                let deleted = deleted.collect();
                turn.answer(waiter, GroupAnswer::Delete(deleted));
            }
            GroupRequest::ConsumerHeartbeat(beat) => self.consumer_beat(*beat, waiter, &mut turn),
            GroupRequest::Share(request) => self.on_share_request(*request, waiter, &mut turn),
            GroupRequest::DescribeConsumer(ids) => {
                let groups = ids.iter().map(|id| self.describe_consumer(id)).collect();
                turn.answer(waiter, GroupAnswer::DescribeConsumer(groups));
            }
        }
        turn.into_step()
    }

    fn join(&mut self, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        let session_ms = u64::try_from(join.session_timeout_ms).unwrap_or(0);
        let range = turn.config.session_timeout_min_ms..=turn.config.session_timeout_max_ms;
        let refusal = if !range.contains(&session_ms) {
            Some(KafkaCode::InvalidSessionTimeout)
        } else if matches!(self.groups.get(&join.group), Some(Group::Share(_))) {
            let refused = Joined::refused(KafkaCode::InconsistentGroupProtocol, "");
            return turn.answer(waiter, GroupAnswer::Join(refused));
        } else if self.groups.contains_key(&join.group) {
            None
        } else if !join.member.is_empty() {
            Some(KafkaCode::UnknownMemberId)
        } else if self.groups.len() >= GROUPS_MAX {
            Some(KafkaCode::CoordinatorNotAvailable)
        } else {
            None
        };
        if let Some(code) = refusal {
            let refused = Joined::refused(code, join.member);
            return turn.answer(waiter, GroupAnswer::Join(refused));
        }
        let Some(join) = self.join_consumer(join, waiter, turn) else { return };
        let id = join.group.clone();
        let group = self.groups.entry(id.clone()).or_insert_with(|| Group::classic(&id));
        let Group::Classic(group) = group else { unreachable!("the others were taken before") };
        group.on_join(join, waiter, turn);
        self.settle(&id);
    }

    fn heartbeat(&mut self, beat: &Heartbeat, waiter: Waiter, turn: &mut Turn<'_>) {
        match self.groups.get_mut(&beat.group) {
            // A heartbeat only moves a deadline away, so the wake entry stays right.
            Some(Group::Classic(group)) => group.on_heartbeat(beat, waiter, turn),
            Some(Group::Consumer(group)) => {
                let code = group.classic_heartbeat(beat, turn);
                turn.answer(waiter, GroupAnswer::Heartbeat(code));
                self.settle_member(&beat.group, &beat.member);
            }
            Some(Group::Share(_)) | None => {
                turn.answer(waiter, GroupAnswer::Heartbeat(KafkaCode::UnknownMemberId));
            }
        }
    }

    fn sync(&mut self, sync: Sync, waiter: Waiter, turn: &mut Turn<'_>) {
        let id = sync.group.clone();
        match self.groups.get_mut(&id) {
            Some(Group::Classic(group)) => group.on_sync(sync, waiter, turn),
            Some(Group::Consumer(group)) => {
                let synced = group.classic_sync(&sync, &self.topics, turn);
                turn.answer(waiter, GroupAnswer::Sync(synced));
            }
            Some(Group::Share(_)) | None => {
                let refusal = Synced::refused(KafkaCode::UnknownMemberId);
                turn.answer(waiter, GroupAnswer::Sync(refusal));
            }
        }
        self.settle(&id);
    }

    fn leave(&mut self, leave: Leave, waiter: Waiter, turn: &mut Turn<'_>) {
        let id = leave.group.clone();
        match self.groups.get_mut(&id) {
            Some(Group::Classic(group)) => group.on_leave(leave, waiter, turn),
            Some(Group::Consumer(_)) => return self.leave_consumer(leave, waiter, turn),
            Some(Group::Share(_)) | None => {
                let unknown = |leaving: LeavingMember| LeftMember {
                    member: leaving.member,
                    instance: leaving.instance,
                    code: KafkaCode::UnknownMemberId,
                };
                let members = leave.members.into_iter().map(unknown).collect();
                turn.answer(waiter, GroupAnswer::Leave(Left { members }));
            }
        }
        self.settle(&id);
    }

    fn commit(
        &mut self,
        commit: CommitOffsets,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<TopicResult>, KafkaCode> {
        let is_full = self.groups.len() >= GROUPS_MAX;
        match self.groups.get_mut(&commit.group) {
            Some(Group::Classic(group)) => {
                group.check_commit(&commit)?;
                group.refresh_member(&commit.member, turn);
            }
            Some(Group::Consumer(group)) => group.check_commit(&commit)?,
            Some(Group::Share(_)) => return Err(KafkaCode::GroupIdNotFound),
            None if commit.generation >= 0 && commit.names_missing_group => {
                return Err(KafkaCode::GroupIdNotFound);
            }
            None if commit.generation >= 0 => return Err(KafkaCode::IllegalGeneration),
            None if is_full => return Err(KafkaCode::CoordinatorNotAvailable),
            None => {
                let group = Group::classic(&commit.group);
                self.groups.insert(commit.group.clone(), group);
            }
        }
        Ok(self.offsets.commit(commit, None, turn))
    }

    fn fetch(&self, fetch: FetchOffsets) -> Result<Vec<FetchedTopic>, KafkaCode> {
        match self.groups.get(&fetch.group) {
            Some(Group::Consumer(group)) => {
                group.check_fetch(fetch.member.as_deref(), fetch.member_epoch)?;
            }
            Some(Group::Share(_)) => return Err(KafkaCode::GroupIdNotFound),
            Some(Group::Classic(_)) | None => {}
        }
        Ok(self.offsets.fetch(fetch))
    }

    fn delete_offsets(
        &mut self,
        delete: DeleteOffsets,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<TopicResult>, KafkaCode> {
        let group = self.groups.get(&delete.group).ok_or(KafkaCode::GroupIdNotFound)?;
        match group {
            Group::Classic(group) => group.check_offset_delete()?,
            Group::Share(_) => return Err(KafkaCode::GroupIdNotFound),
            Group::Consumer(_) => {}
        }
        Ok(self.offsets.delete(|topic| group.is_subscribed_to(topic), delete, turn))
    }

    fn describe(&self, id: String) -> DescribedGroup {
        match self.groups.get(&id) {
            Some(Group::Classic(group)) => group.describe(),
            Some(Group::Consumer(_) | Group::Share(_)) | None => DescribedGroup {
                code: KafkaCode::GroupIdNotFound,
                group: id,
                state: DEAD,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
                rebalances: Vec::new(),
            },
        }
    }

    fn list(&self, filter: &GroupFilter) -> Vec<ListedGroup> {
        let lets_through = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|given| given.trim().eq_ignore_ascii_case(name))
        };
        self.groups
            .iter()
            .filter(|(_, group)| lets_through(&filter.types, group.kind()))
            .filter(|(_, group)| lets_through(&filter.states, group.state_name()))
            .map(|(id, group)| ListedGroup {
                group: id.clone(),
                protocol_type: group.protocol_type().to_owned(),
                state: group.state_name(),
                kind: group.kind(),
            })
            .collect()
    }

    fn delete(&mut self, id: &str, turn: &mut Turn<'_>) -> KafkaCode {
        match self.groups.get(id) {
            None => KafkaCode::GroupIdNotFound,
            Some(group) if group.has_members() => KafkaCode::NonEmptyGroup,
            Some(group) => {
                self.offsets.delete_group(id, turn);
                group.write_tombstones(turn);
                self.groups.remove(id);
                KafkaCode::None
            }
        }
    }

    /// A topic is gone: so are the offsets committed for it.
    pub fn on_topic_deleted(&mut self, topic: &str, now: Now) -> Step {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        self.offsets.delete_topic(topic, &mut turn);
        self.forget_shared(&mut turn);
        turn.into_step()
    }

    /// The time of the next [`GroupCoordinator::on_tick`], in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        let wake_us = self.wakes.first().map(|(deadline_us, _)| *deadline_us);
        wake_us.unwrap_or(u64::MAX).min(self.sweep.due_us)
    }

    /// Does what is due, a bounded bite of it: when more is due, the next deadline is past.
    pub fn on_tick(&mut self, now: Now) -> Step {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        for _ in 0..GROUPS_WOKEN_PER_TURN {
            let Some((deadline_us, id)) = self.wakes.pop_first() else { break };
            if deadline_us > now.monotonic_us {
                self.wakes.insert((deadline_us, id));
                break;
            }
            match self.groups.get_mut(&id) {
                Some(Group::Classic(group)) if group.wake_us == Some(deadline_us) => {
                    group.wake_us = None;
                    group.on_tick(&mut turn);
                }
                Some(Group::Consumer(group)) if group.wake_us == Some(deadline_us) => {
                    self.tick_consumer(&id, &mut turn);
                }
                Some(Group::Share(group)) if group.wake_us == Some(deadline_us) => {
                    self.tick_share(&id, &mut turn);
                }
                // The entry of a group that is gone, or is another one now.
                Some(_) | None => {}
            }
            self.settle(&id);
        }
        self.sweep(&mut turn);
        turn.into_step()
    }

    /// After a group's turn: checks it, and sees to it that it is woken in time.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.assert_sound();
        wake_in_time(&mut self.wakes, id, group);
    }

    /// After a turn that concerned one member and left the deadlines of all others alone: as
    /// [`GroupCoordinator::settle`], at a cost that does not grow with the group.
    pub(super) fn settle_member(&mut self, id: &str, member: &str) {
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) if group.wake_us.is_some() => {
                group.assert_member_sound(member);
                if let Some(deadline_us) = group.deadline_of(member) {
                    wake_by(&mut self.wakes, id, &mut group.wake_us, deadline_us);
                }
            }
            Some(_) | None => self.settle(id),
        }
    }

    /// Member ids of a classic group.
    #[cfg(test)]
    pub(super) fn classic_members(&self, id: &str) -> Vec<String> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => group.members.keys().cloned().collect(),
            Some(Group::Consumer(_) | Group::Share(_)) | None => Vec::new(),
        }
    }

    /// Every parked join and sync, taken out: this coordinator is being dropped.
    pub fn take_waiters(&mut self) -> Vec<Waiter> {
        self.groups.values_mut().flat_map(Group::take_waiters).collect()
    }
}

/// Sees to it that `wakes` has an entry for the group, not later than its deadline.
fn wake_in_time(wakes: &mut BTreeSet<(u64, String)>, id: &str, group: &mut Group) {
    if let Some(deadline_us) = group.next_deadline_us() {
        wake_by(wakes, id, group.wake_us(), deadline_us);
    }
}

/// Keeps one entry per group in `wakes`, not later than `deadline_us`. A deadline that moved away
/// leaves the entry where it is: it costs one look.
fn wake_by(
    wakes: &mut BTreeSet<(u64, String)>,
    id: &str,
    wake: &mut Option<u64>,
    deadline_us: u64,
) {
    match *wake {
        Some(wake_us) if wake_us <= deadline_us => return,
        Some(wake_us) => {
            wakes.remove(&(wake_us, id.to_owned()));
        }
        None => {}
    }
    wakes.insert((deadline_us, id.to_owned()));
    *wake = Some(deadline_us);
}
