//! A group of any kind, and what all kinds have in common.

use super::classic::{CONSUMER, ClassicGroup, GroupState};
use super::consumer::ConsumerGroup;
use super::share::{SHARE, ShareGroup};
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;

/// A group.
#[derive(Debug)]
pub(super) enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
    Share(Box<ShareGroup>),
}

impl Group {
    pub(super) fn classic(id: &str) -> Group {
        Group::Classic(Box::new(ClassicGroup::new(id)))
    }

    pub(super) fn consumer(group: ConsumerGroup) -> Group {
        Group::Consumer(Box::new(group))
    }

    pub(super) fn share(group: ShareGroup) -> Group {
        Group::Share(Box::new(group))
    }

    /// The type's name in ListGroups.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Group::Classic(_) => "classic",
            Group::Consumer(_) => CONSUMER,
            Group::Share(_) => SHARE,
        }
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Group::Classic(group) => group.state.name(),
            Group::Consumer(group) => group.state_name(),
            Group::Share(group) => group.state_name(),
        }
    }

    pub(super) fn protocol_type(&self) -> &str {
        match self {
            Group::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            Group::Consumer(_) => CONSUMER,
            Group::Share(_) => SHARE,
        }
    }

    pub(super) fn has_members(&self) -> bool {
        match self {
            Group::Classic(group) => group.state != GroupState::Empty,
            Group::Consumer(group) => !group.is_empty(),
            Group::Share(group) => !group.is_empty(),
        }
    }

    /// Nobody is in the group or on the way into it.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Group::Classic(group) => {
                group.state == GroupState::Empty && group.pending_joins.is_empty()
            }
            Group::Consumer(group) => group.is_empty(),
            Group::Share(group) => group.is_empty(),
        }
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Group::Classic(group) => group.is_subscribed_to(topic),
            Group::Consumer(group) => group.is_subscribed_to(topic),
            Group::Share(group) => group.is_subscribed_to(topic),
        }
    }

    /// Everything that the log holds of the group is to go.
    pub(super) fn write_tombstones(&self, turn: &mut Turn<'_>) {
        assert!(!self.has_members());
        match self {
            Group::Classic(group) => turn.write(group.tombstone()),
            Group::Consumer(group) => group.tombstones(turn),
            Group::Share(group) => group.tombstones(turn),
        }
    }

    pub(super) fn on_loaded(&mut self, turn: &mut Turn<'_>) {
        match self {
            Group::Classic(group) => group.on_loaded(turn),
            Group::Consumer(group) => group.on_loaded(turn),
            Group::Share(group) => group.on_loaded(turn),
        }
    }

    pub(super) fn assert_sound(&self) {
        match self {
            Group::Classic(group) => group.assert_sound(),
            Group::Consumer(group) => group.assert_sound(),
            Group::Share(group) => group.assert_sound(),
        }
    }

    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        match self {
            Group::Classic(group) => group.next_deadline_us(),
            Group::Consumer(group) => group.next_deadline_us(),
            Group::Share(group) => group.next_deadline_us(),
        }
    }

    pub(super) fn wake_us(&mut self) -> &mut Option<u64> {
        match self {
            Group::Classic(group) => &mut group.wake_us,
            Group::Consumer(group) => &mut group.wake_us,
            Group::Share(group) => &mut group.wake_us,
        }
    }

    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        match self {
            Group::Classic(group) => group.take_waiters(),
            Group::Consumer(_) | Group::Share(_) => Vec::new(),
        }
    }
}
