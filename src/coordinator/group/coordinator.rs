//! All groups of one `__consumer_offsets` partition, and the door to them.
//!
//! Sans-io: a request or a tick goes in, a [`Step`] comes out. The owner appends the step's records
//! to the partition and hands out its answers when they are committed
//! ([`crate::coordinator::replayed`]). If the append is refused, memory is ahead of the log: the
//! owner drops the coordinator, makes a new one and replays.
//!
//! Until log compaction exists, a replay reads the whole partition from its log start; its length
//! is the number of commits since then, not the number of live offsets.
//!
//! Invariants
//! - A group with offsets exists; a group that does not exist has no offsets.
//! - Each waiter is answered once, by a step or by [`GroupCoordinator::take_waiters`].
//! - `wakes` holds, for each group with a deadline, one entry that is not later than it. Entries of
//!   groups that are gone are dropped when their time comes.

use super::calls::{
    CommitOffsets, DeleteOffsets, DescribedGroup, GroupAnswer, GroupFilter, GroupRequest, Join,
    Joined, Leave, LeavingMember, Left, LeftMember, ListedGroup, Sync, Synced, TopicResult,
};
use super::classic::{ClassicGroup, DEAD, GroupState};
use super::expiry::Sweep;
use super::offsets::Offsets;
use super::records::GroupRecord;
use super::turn::{Step, Turn};
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::GroupConfig;
use crate::model::limits::{GROUPS_MAX, GROUPS_WOKEN_PER_TURN};
use std::collections::{BTreeMap, BTreeSet};

/// The type name of classic groups in ListGroups.
const CLASSIC: &str = "classic";

/// The groups of one coordinator partition. One per partition of `__consumer_offsets`, on the core
/// that owns it.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    pub(super) groups: BTreeMap<String, ClassicGroup>,
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
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            wakes: BTreeSet::new(),
            sweep: Sweep::starting_at(u64::MAX),
        }
    }

    /// Applies a record of the log.
    pub fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::Offset { group, topic, partition, value } => {
                if value.is_some() && !self.groups.contains_key(&group) {
                    self.groups.insert(group.clone(), ClassicGroup::new(group.clone()));
                }
                self.offsets.apply(&group, &topic, partition, value);
            }
            GroupRecord::Pending { producer, group, topic, partition, value } => {
                let record = GroupRecord::Offset { group, topic, partition, value: Some(value) };
                self.replay_transactional(producer.id, record);
            }
            GroupRecord::Group { group, value: Some(metadata) } => {
                let replayed = ClassicGroup::from_metadata(&group, metadata);
                self.groups.insert(group, replayed);
            }
            GroupRecord::Group { group, value: None } => {
                // Offsets without a group would be unreachable: a tombstone of the group follows
                // those of its offsets, unless the log was written by someone else.
                if self.offsets.of_group(&group).is_none() {
                    self.groups.remove(&group);
                } else {
                    self.groups.insert(group.clone(), ClassicGroup::new(group));
                }
            }
        }
    }

    /// The replay is complete: sessions and the retention clock begin.
    pub fn on_loaded(&mut self, now: Now) {
        let turn = Turn::new(now, &self.config);
        self.sweep = Sweep::starting_at(turn.deadline_us(turn.config.offsets_retention_check_ms));
        for (id, group) in &mut self.groups {
            group.on_loaded(&turn);
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
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        if let Err(code) = request.check() {
            turn.answer(waiter, GroupAnswer::Refused(code));
            return turn.into_step();
        }
        match request {
            GroupRequest::Join(join) => self.join(*join, waiter, &mut turn),
            GroupRequest::Sync(sync) => self.sync(sync, waiter, &mut turn),
            GroupRequest::Heartbeat(beat) => match self.groups.get_mut(&beat.group) {
                // A heartbeat only moves a deadline away, so the wake entry stays right.
                Some(group) => group.on_heartbeat(&beat, waiter, &mut turn),
                None => {
                    turn.answer(waiter, GroupAnswer::Heartbeat(KafkaCode::UnknownMemberId));
                }
            },
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
                let topics = self.offsets.fetch(fetch);
                turn.answer(waiter, GroupAnswer::FetchOffsets(topics));
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
        }
        turn.into_step()
    }

    fn join(&mut self, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        let session_ms = u64::try_from(join.session_timeout_ms).unwrap_or(0);
        let range = turn.config.session_timeout_min_ms..=turn.config.session_timeout_max_ms;
        let refusal = if !range.contains(&session_ms) {
            Some(KafkaCode::InvalidSessionTimeout)
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
        let id = join.group.clone();
        let make = || ClassicGroup::new(id.clone());
        self.groups.entry(id.clone()).or_insert_with(make).on_join(join, waiter, turn);
        self.settle(&id);
    }

    fn sync(&mut self, sync: Sync, waiter: Waiter, turn: &mut Turn<'_>) {
        let id = sync.group.clone();
        let Some(group) = self.groups.get_mut(&id) else {
            let refusal = Synced::refused(KafkaCode::UnknownMemberId);
            return turn.answer(waiter, GroupAnswer::Sync(refusal));
        };
        group.on_sync(sync, waiter, turn);
        self.settle(&id);
    }

    fn leave(&mut self, leave: Leave, waiter: Waiter, turn: &mut Turn<'_>) {
        let id = leave.group.clone();
        let Some(group) = self.groups.get_mut(&id) else {
            let unknown = |leaving: LeavingMember| LeftMember {
                member: leaving.member,
                instance: leaving.instance,
                code: KafkaCode::UnknownMemberId,
            };
            let members = leave.members.into_iter().map(unknown).collect();
            return turn.answer(waiter, GroupAnswer::Leave(Left { members }));
        };
        group.on_leave(leave, waiter, turn);
        self.settle(&id);
    }

    fn commit(
        &mut self,
        commit: CommitOffsets,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<TopicResult>, KafkaCode> {
        let is_full = self.groups.len() >= GROUPS_MAX;
        match self.groups.get_mut(&commit.group) {
            Some(group) => {
                group.check_commit(&commit)?;
                group.refresh_member(&commit.member, turn);
            }
            None if commit.generation >= 0 && commit.names_missing_group => {
                return Err(KafkaCode::GroupIdNotFound);
            }
            None if commit.generation >= 0 => return Err(KafkaCode::IllegalGeneration),
            None if is_full => return Err(KafkaCode::CoordinatorNotAvailable),
            None => {
                let id = commit.group.clone();
                self.groups.insert(id.clone(), ClassicGroup::new(id));
            }
        }
        Ok(self.offsets.commit(commit, None, turn))
    }

    fn delete_offsets(
        &mut self,
        delete: DeleteOffsets,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<TopicResult>, KafkaCode> {
        let group = self.groups.get(&delete.group).ok_or(KafkaCode::GroupIdNotFound)?;
        group.check_offset_delete()?;
        Ok(self.offsets.delete(group, delete, turn))
    }

    fn describe(&self, id: String) -> DescribedGroup {
        match self.groups.get(&id) {
            Some(group) => group.describe(),
            None => DescribedGroup {
                code: KafkaCode::GroupIdNotFound,
                group: id,
                state: DEAD,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
        }
    }

    fn list(&self, filter: &GroupFilter) -> Vec<ListedGroup> {
        let lets_through = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|given| given.trim().eq_ignore_ascii_case(name))
        };
        if !lets_through(&filter.types, CLASSIC) {
            return Vec::new();
        }
        self.groups
            .values()
            .filter(|group| lets_through(&filter.states, group.state.name()))
            .map(|group| ListedGroup {
                group: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state.name(),
                kind: CLASSIC,
            })
            .collect()
    }

    fn delete(&mut self, id: &str, turn: &mut Turn<'_>) -> KafkaCode {
        match self.groups.get(id) {
            None => KafkaCode::GroupIdNotFound,
            Some(group) if group.state != GroupState::Empty => KafkaCode::NonEmptyGroup,
            Some(_) => {
                self.offsets.delete_group(id, turn);
                self.groups.remove(id);
                turn.write(GroupRecord::Group { group: id.to_owned(), value: None });
                KafkaCode::None
            }
        }
    }

    /// A topic is gone: so are the offsets committed for it.
    pub fn on_topic_deleted(&mut self, topic: &str, now: Now) -> Step {
        let config = self.config;
        let mut turn = Turn::new(now, &config);
        self.offsets.delete_topic(topic, &mut turn);
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
            if let Some(group) = self.groups.get_mut(&id)
                && group.wake_us == Some(deadline_us)
            {
                group.wake_us = None;
                group.on_tick(&mut turn);
            }
            self.settle(&id);
        }
        self.sweep(&mut turn);
        turn.into_step()
    }

    /// After a group's turn: checks it, and sees to it that it is woken in time.
    fn settle(&mut self, id: &str) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.assert_sound();
        wake_in_time(&mut self.wakes, id, group);
    }

    /// Every parked join and sync, taken out: this coordinator is being dropped.
    pub fn take_waiters(&mut self) -> Vec<Waiter> {
        self.groups.values_mut().flat_map(ClassicGroup::take_waiters).collect()
    }
}

/// Keeps one entry per group in `wakes`, not later than its deadline. A deadline that moved away
/// leaves the entry where it is: it costs one look.
fn wake_in_time(wakes: &mut BTreeSet<(u64, String)>, id: &str, group: &mut ClassicGroup) {
    let Some(deadline_us) = group.next_deadline_us() else { return };
    match group.wake_us {
        Some(wake_us) if wake_us <= deadline_us => return,
        Some(wake_us) => {
            wakes.remove(&(wake_us, id.to_owned()));
        }
        None => {}
    }
    wakes.insert((deadline_us, id.to_owned()));
    group.wake_us = Some(deadline_us);
}
