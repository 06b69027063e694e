//! Removal of offsets that nobody will ask for: `offsets.retention.minutes` after the group became
//! empty (KIP-211), and of groups that are left with nothing.
//!
//! A sweep goes over the groups a few at a time, so that a coordinator with many groups never
//! holds its core: [`super::limits::GROUPS_SWEPT_PER_TURN`] per turn.

use super::classic::{ClassicGroup, GroupState};
use super::coordinator::GroupCoordinator;
use super::kinds::Group;
use super::records::CommittedOffset;
use super::turn::Turn;
use crate::model::limits::GROUPS_SWEPT_PER_TURN;
use std::ops::Bound;

/// Where the sweep over the groups stands.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Monotonic microseconds at which the next bite is due.
    pub(super) due_us: u64,
    /// The last group looked at; `None` between two sweeps.
    after: Option<String>,
}

impl Sweep {
    pub(super) fn starting_at(due_us: u64) -> Sweep {
        Sweep { due_us, after: None }
    }
}

/// What an offset's age is counted from.
#[derive(Debug, Clone, Copy)]
enum AgeOf {
    /// The group's last change of state: when it became empty.
    Group,
    /// The commit.
    Commit,
}

impl ClassicGroup {
    /// `None` while the group's offsets are in use.
    fn offsets_age_of(&self) -> Option<AgeOf> {
        let is_empty = self.state == GroupState::Empty;
        match &self.protocol_type {
            // Never had members: each offset has its own age.
            None => Some(AgeOf::Commit),
            Some(_) if is_empty => Some(AgeOf::Group),
            // Stable, and its subscriptions are known: topics out of use age by themselves.
            Some(_) if self.is_consumer_group() && self.state == GroupState::Stable => {
                self.subscribed_topics.as_ref().map(|_| AgeOf::Commit)
            }
            Some(_) => None,
        }
    }

    /// Wall clock in ms.
    fn begin_of_age(&self, offset: &CommittedOffset, age_of: AgeOf) -> i64 {
        match age_of {
            AgeOf::Group => self.state_since_ms.unwrap_or(offset.commit_ms),
            AgeOf::Commit => offset.commit_ms,
        }
    }
}

fn is_expired(offset: &CommittedOffset, since_ms: i64, turn: &Turn<'_>) -> bool {
    if let Some(expire_ms) = offset.expire_ms {
        return turn.now.wall_ms >= expire_ms;
    }
    let age_ms = turn.now.wall_ms.saturating_sub(since_ms);
    u64::try_from(age_ms).is_ok_and(|age_ms| age_ms >= turn.config.offsets_retention_ms)
}

impl GroupCoordinator {
    /// Takes one bite of the sweep, if it is due.
    pub(super) fn sweep(&mut self, turn: &mut Turn<'_>) {
        if turn.now.monotonic_us < self.sweep.due_us {
            return;
        }
        let from = match self.sweep.after.take() {
            Some(group) => Bound::Excluded(group),
            None => Bound::Unbounded,
        };
        let bite: Vec<String> = self
            .groups
            .range((from, Bound::Unbounded))
            .take(GROUPS_SWEPT_PER_TURN)
            .map(|(id, _)| id.clone())
            .collect();
        assert!(bite.len() <= GROUPS_SWEPT_PER_TURN);
        for id in &bite {
            self.sweep_group(id, turn);
        }
        if bite.len() == GROUPS_SWEPT_PER_TURN {
            self.sweep.after = bite.into_iter().next_back();
        } else {
            self.sweep.due_us = turn.deadline_us(turn.config.offsets_retention_check_ms);
        }
    }

    fn sweep_group(&mut self, id: &str, turn: &mut Turn<'_>) {
        let Some(group) = self.groups.get(id) else { return };
        let expired = self.offsets.keys_of(id, |topic, offset| match group {
            Group::Classic(group) => group.offsets_age_of().is_some_and(|age_of| {
                !group.is_subscribed_to(topic)
                    && is_expired(offset, group.begin_of_age(offset, age_of), turn)
            }),
            // A share group has no offsets here and stays until it is deleted (KIP-932).
            Group::Share(_) => false,
            // Each offset has its own age; topics in use do not age (KIP-848).
            Group::Consumer(group) => {
                !group.is_subscribed_to(topic) && is_expired(offset, offset.commit_ms, turn)
            }
        });
        for (topic, partition) in expired {
            if self.offsets.pending.has(id, &topic, partition) {
                continue;
            }
            self.offsets.remove(id, &topic, partition, turn);
        }
        let has_pending = self.offsets.pending.has_group(id);
        let may_go = group.is_idle() && !matches!(group, Group::Share(_));
        if may_go && !has_pending && self.offsets.of_group(id).is_none() {
            group.write_tombstones(turn);
            self.groups.remove(id);
        }
    }
}
