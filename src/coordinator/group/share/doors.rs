//! The coordinator's doors to share groups: finding or making the group.

use super::ShareGroup;
use super::calls::{
    AlterOffsets, AlteredOffsets, BeginForget, DescribedShareGroup, EndForget, Forgetting,
    Initialized, ShareBeat, ShareBeaten, ShareGroupAnswer, ShareGroupRequest,
};
use crate::coordinator::group::calls::GroupAnswer;
use crate::coordinator::group::consumer::calls::{JOIN_EPOCH, Refusal};
use crate::coordinator::group::coordinator::GroupCoordinator;
use crate::coordinator::group::kinds::Group;
use crate::coordinator::group::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use crate::model::limits::GROUPS_MAX;
use std::sync::Arc;

impl GroupCoordinator {
    /// A request that concerns share groups.
    pub(in crate::coordinator::group) fn on_share_request(
        &mut self,
        request: ShareGroupRequest,
        waiter: Waiter,
        turn: &mut Turn<'_>,
    ) {
        let answer = match request {
            ShareGroupRequest::Heartbeat(beat) => {
                let id = beat.group.clone();
                let beaten = self.share_beat(beat, turn);
                self.settle(&id);
                ShareGroupAnswer::Heartbeat(beaten)
            }
            ShareGroupRequest::Describe(ids) => {
                let described = ids.iter().map(|id| self.describe_share(id)).collect();
                ShareGroupAnswer::Describe(described)
            }
            ShareGroupRequest::Partitions(id) => {
                let partitions = match self.groups.get(&id) {
                    Some(Group::Share(group)) => group.initialized(&self.topics),
                    Some(Group::Classic(_) | Group::Consumer(_)) | None => Vec::new(),
                };
                ShareGroupAnswer::Partitions(partitions)
            }
            ShareGroupRequest::Initialized(of) => {
                self.end_initialize(&of, turn);
                ShareGroupAnswer::Initialized
            }
            ShareGroupRequest::AlterOffsets(request) => {
                ShareGroupAnswer::AlterOffsets(self.alter_share_offsets(request, turn))
            }
            ShareGroupRequest::BeginForget(request) => {
                ShareGroupAnswer::BeginForget(self.begin_forget(request, turn))
            }
            ShareGroupRequest::EndForget(EndForget { group, topics }) => {
                if let Ok(group) = self.share_group(&group) {
                    group.end_forget(&topics, turn);
                }
                ShareGroupAnswer::EndForget
            }
        };
        turn.answer(waiter, GroupAnswer::Share(answer));
    }

    fn share_beat(&mut self, beat: ShareBeat, turn: &mut Turn<'_>) -> Result<ShareBeaten, Refusal> {
        beat.check()?;
        let topics = Arc::clone(&self.topics);
        if beat.epoch < JOIN_EPOCH {
            return self.share_group(&beat.group)?.on_leave(&beat, &topics, turn);
        }
        let id = &beat.group;
        if beat.epoch != JOIN_EPOCH && !self.groups.contains_key(id) {
            return Err(not_found(format!("Share group {id} not found.")));
        }
        let id = id.clone();
        let is_new = self.make_share_group(&id)?;
        let beaten = self.share_group(&id).and_then(|group| group.on_beat(beat, &topics, turn));
        if is_new && beaten.is_err() {
            // Nothing of it is in the log.
            self.groups.remove(&id);
        }
        beaten
    }

    /// Makes the group where there is none, and says whether it did.
    fn make_share_group(&mut self, id: &str) -> Result<bool, Refusal> {
        if self.groups.contains_key(id) {
            return Ok(false);
        }
        if self.groups.len() >= GROUPS_MAX {
            let message = "the coordinator holds as many groups as it may";
            return Err(Refusal::new(KafkaCode::CoordinatorNotAvailable, message));
        }
        self.groups.insert(id.to_owned(), Group::share(ShareGroup::new(id)));
        Ok(true)
    }

    /// The group, if it is one of this kind.
    fn share_group(&mut self, id: &str) -> Result<&mut ShareGroup, Refusal> {
        match self.groups.get_mut(id) {
            Some(Group::Share(group)) => Ok(group),
            Some(Group::Classic(_) | Group::Consumer(_)) => Err(of_another_kind(id)),
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }

    fn describe_share(&self, id: &str) -> Result<DescribedShareGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Share(group)) => Ok(group.describe(&self.topics)),
            Some(Group::Classic(_) | Group::Consumer(_)) => Err(of_another_kind(id)),
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }

    fn end_initialize(&mut self, of: &Initialized, turn: &mut Turn<'_>) {
        let topics = Arc::clone(&self.topics);
        // A group that was deleted meanwhile has nothing to note.
        if let Ok(group) = self.share_group(&of.group) {
            group.end_initialize(of, &topics, turn);
        }
        self.settle(&of.group);
    }

    /// A group that is not there yet is made: whoever sets up queues says where they begin before
    /// the first member comes (Kafka 4.2 and later; before, it refused that).
    fn alter_share_offsets(
        &mut self,
        request: AlterOffsets,
        turn: &mut Turn<'_>,
    ) -> Result<AlteredOffsets, Refusal> {
        let topics = Arc::clone(&self.topics);
        let id = request.group.clone();
        let is_new = self.make_share_group(&id)?;
        let group = self.share_group(&id)?;
        let altered = group.begin_alter(request, &topics, turn);
        if is_new && !group.is_recorded() {
            self.groups.remove(&id);
        }
        altered
    }

    fn begin_forget(
        &mut self,
        request: BeginForget,
        turn: &mut Turn<'_>,
    ) -> Result<Forgetting, Refusal> {
        let topics = Arc::clone(&self.topics);
        self.share_group(&request.group)?.begin_forget(request.topics, &topics, turn)
    }

    /// Members whose time is up go.
    pub(in crate::coordinator::group) fn tick_share(&mut self, id: &str, turn: &mut Turn<'_>) {
        let topics = Arc::clone(&self.topics);
        let Some(Group::Share(group)) = self.groups.get_mut(id) else { return };
        assert!(group.wake_us.is_some());
        group.wake_us = None;
        group.on_tick(&topics, turn);
    }

    /// Topics are gone: share groups forget their partitions, as the share coordinator does.
    pub(in crate::coordinator::group) fn forget_shared(&mut self, turn: &mut Turn<'_>) {
        let topics = Arc::clone(&self.topics);
        for group in self.groups.values_mut() {
            if let Group::Share(group) = group {
                group.forget_deleted(&topics, turn);
            }
        }
    }
}

fn of_another_kind(id: &str) -> Refusal {
    not_found(format!("Group {id} is not a share group."))
}

fn not_found(message: String) -> Refusal {
    Refusal::new(KafkaCode::GroupIdNotFound, message)
}
