//! One member of a consumer group, and its way from what it owns to what it should own (KIP-848).
//!
//! ```text
//!            target has a new epoch          gave up what it must
//!   Stable -----------------> Unrevoked ------------+
//!     ^  \                                          v
//!     |   +-- nothing to give up ----------> next epoch, what is free is assigned
//!     |                                             |
//!     +--------- all assigned <----- Unreleased <---+ some partitions are still with others
//! ```
//! A member enters the target's epoch once it gave up all that is not in its target. So two
//! members never own one partition: it is free only when its owner said that it let go, or was
//! fenced.

use super::records::{CurrentAssignment, MemberDetails, MemberState};
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::turn::Turn;
use crate::model::ids::TopicId;
use std::collections::BTreeSet;

/// Used where a member never named its rebalance timeout, in ms: the default of Java's client.
const REBALANCE_TIMEOUT_MS: u64 = 300_000;

/// A member as the coordinator knows it; its id is the key it is kept under.
#[derive(Debug, Clone)]
pub(in crate::coordinator::group) struct ConsumerMember {
    pub(in crate::coordinator::group) details: MemberDetails,
    pub(in crate::coordinator::group) current: CurrentAssignment,
    /// When its session ends, monotonic microseconds.
    pub(super) expires_at_us: Option<u64>,
    /// By then it must have given up partitions (consumer protocol), or joined again and synced
    /// (classic protocol).
    pub(super) rebalance_deadline_us: Option<u64>,
}

impl Default for ConsumerMember {
    fn default() -> Self {
        ConsumerMember {
            details: MemberDetails { rebalance_timeout_ms: -1, ..MemberDetails::default() },
            current: CurrentAssignment::nothing(),
            expires_at_us: None,
            rebalance_deadline_us: None,
        }
    }
}

impl CurrentAssignment {
    /// That of a member that has just joined.
    pub(in crate::coordinator::group) fn nothing() -> CurrentAssignment {
        CurrentAssignment {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Assignment::new(),
            revoking: Assignment::new(),
        }
    }

    /// Every partition that nobody else may have.
    pub(super) fn owned(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        let all = self.assigned.iter().chain(&self.revoking);
        all.flat_map(|(topic, set)| set.iter().map(|partition| (*topic, *partition)))
    }
}

impl ConsumerMember {
    pub(super) fn is_classic(&self) -> bool {
        self.details.classic.is_some()
    }

    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        u64::try_from(self.details.rebalance_timeout_ms).unwrap_or(REBALANCE_TIMEOUT_MS)
    }

    /// The member was heard from: its session begins anew.
    pub(super) fn refresh(&mut self, turn: &Turn<'_>) {
        let classic = self.details.classic.as_ref();
        let own_ms = classic.and_then(|classic| u64::try_from(classic.session_timeout_ms).ok());
        let session_ms = own_ms.unwrap_or(turn.config.consumer_session_timeout_ms);
        self.expires_at_us = Some(turn.deadline_us(session_ms));
    }

    /// The rebalance timeout begins, unless it runs already.
    pub(super) fn expect_progress(&mut self, turn: &Turn<'_>) {
        let deadline_us = turn.deadline_us(self.rebalance_timeout_ms());
        self.rebalance_deadline_us.get_or_insert(deadline_us);
    }

    /// When it is looked at, if nothing is heard from it: monotonic microseconds.
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        [self.expires_at_us, self.rebalance_deadline_us].into_iter().flatten().min()
    }

    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == target_epoch
    }

    /// Whether it says that it has all of `partitions`' topics among what it is assigned.
    pub(super) fn has_been_assigned(&self, owned: &[(TopicId, Vec<i32>)]) -> bool {
        owned.iter().all(|(topic, partitions)| {
            let assigned = self.current.assigned.get(topic);
            partitions.iter().all(|index| assigned.is_some_and(|set| set.contains(index)))
        })
    }
}

/// What a member is to move to.
pub(super) struct Goal<'a> {
    pub(super) epoch: i32,
    pub(super) target: &'a Assignment,
}

/// The member's next step towards its goal; the same assignment when it cannot take one yet.
///
/// `owned` is what it says it owns, if it does; `is_taken` tells whether a partition that it does
/// not have is still somebody's.
pub(super) fn reconcile(
    current: &CurrentAssignment,
    goal: &Goal<'_>,
    owned: Option<&[(TopicId, Vec<i32>)]>,
    is_taken: impl Fn(TopicId, i32) -> bool,
) -> CurrentAssignment {
    let epoch = match current.state {
        MemberState::Stable if current.epoch == goal.epoch => return current.clone(),
        MemberState::Stable | MemberState::UnreleasedPartitions => current.epoch,
        MemberState::UnrevokedPartitions if still_owns(owned, &current.revoking) => {
            return current.clone();
        }
        MemberState::UnrevokedPartitions => current.epoch.saturating_add(1),
    };
    let mut assigned = Assignment::new();
    let mut revoking = Assignment::new();
    for (topic, set) in &current.assigned {
        let none = BTreeSet::new();
        let target = goal.target.get(topic).unwrap_or(&none);
        insert(&mut assigned, *topic, set & target);
        insert(&mut revoking, *topic, set - target);
    }
    if !revoking.is_empty() && still_owns(owned, &revoking) {
        let state = MemberState::UnrevokedPartitions;
        return next(current, epoch, state, assigned, revoking);
    }
    let mut has_unreleased = false;
    for (topic, target) in goal.target {
        let has = assigned.get(topic);
        let missing = target.iter().filter(|index| has.is_none_or(|set| !set.contains(*index)));
        let (taken, free): (BTreeSet<i32>, BTreeSet<i32>) =
            missing.copied().partition(|index| is_taken(*topic, *index));
        has_unreleased |= !taken.is_empty();
        if !free.is_empty() {
            assigned.entry(*topic).or_default().extend(free);
        }
    }
    let state = match has_unreleased {
        true => MemberState::UnreleasedPartitions,
        false => MemberState::Stable,
    };
    next(current, goal.epoch, state, assigned, Assignment::new())
}

fn next(
    current: &CurrentAssignment,
    epoch: i32,
    state: MemberState,
    assigned: Assignment,
    revoking: Assignment,
) -> CurrentAssignment {
    let must_give_up = state == MemberState::UnrevokedPartitions;
    assert!(must_give_up != revoking.is_empty());
    let is_same = epoch == current.epoch
        && state == current.state
        && assigned == current.assigned
        && revoking == current.revoking;
    // The epoch before this one stays good until the member has seen the answer.
    let previous_epoch = if is_same { current.previous_epoch } else { current.epoch };
    CurrentAssignment { epoch, previous_epoch, state, assigned, revoking }
}

fn insert(assignment: &mut Assignment, topic: TopicId, set: BTreeSet<i32>) {
    if !set.is_empty() {
        assignment.insert(topic, set);
    }
}

/// A member that does not say what it owns may still own everything.
fn still_owns(owned: Option<&[(TopicId, Vec<i32>)]>, revoking: &Assignment) -> bool {
    let Some(owned) = owned else { return true };
    owned.iter().any(|(topic, partitions)| {
        let set = revoking.get(topic);
        partitions.iter().any(|index| set.is_some_and(|set| set.contains(index)))
    })
}
