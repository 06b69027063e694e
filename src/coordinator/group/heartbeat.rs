//! Heartbeats and sessions: a member that is not heard from for its session timeout is out.

use super::calls::{GroupAnswer, Heartbeat};
use super::classic::{ClassicGroup, GroupState};
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;

impl ClassicGroup {
    pub(super) fn on_heartbeat(&mut self, beat: &Heartbeat, waiter: Waiter, turn: &mut Turn<'_>) {
        let code = self.heartbeat(beat, turn);
        turn.answer(waiter, GroupAnswer::Heartbeat(code));
    }

    fn heartbeat(&mut self, beat: &Heartbeat, turn: &Turn<'_>) -> KafkaCode {
        if let Err(code) = self.check_member(&beat.member, beat.instance.as_deref()) {
            return code;
        }
        if beat.generation != self.generation {
            return KafkaCode::IllegalGeneration;
        }
        self.refresh_member(&beat.member, turn);
        match self.state {
            GroupState::PreparingRebalance => KafkaCode::RebalanceInProgress,
            GroupState::CompletingRebalance | GroupState::Stable => KafkaCode::None,
            GroupState::Empty => KafkaCode::UnknownMemberId,
        }
    }

    /// Any sign of life counts as a heartbeat.
    pub(super) fn refresh_member(&mut self, id: &str, turn: &Turn<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            member.refresh(turn);
        }
    }

    /// The earliest time at which this group wants a turn, in monotonic microseconds.
    pub(super) fn next_deadline_us(&self) -> Option<u64> {
        let sessions = self.members.values().filter_map(|member| member.expires_at_us);
        sessions
            .chain(self.pending_joins.values().copied())
            .chain(self.join_deadline_us)
            .chain(self.sync_deadline_us)
            .min()
    }

    /// Does what is due. One group, so the work is bounded by its members.
    pub(super) fn on_tick(&mut self, turn: &mut Turn<'_>) {
        let now_us = turn.now.monotonic_us;
        self.expire_sessions(turn);
        if self.join_deadline_us.is_some_and(|deadline| deadline <= now_us) {
            self.on_join_deadline(turn);
        }
        if self.sync_deadline_us.is_some_and(|deadline| deadline <= now_us) {
            self.on_sync_deadline(turn);
        }
    }

    fn expire_sessions(&mut self, turn: &mut Turn<'_>) {
        let now_us = turn.now.monotonic_us;
        let pending_before = self.pending_joins.len();
        self.pending_joins.retain(|_, lapses_at_us| *lapses_at_us > now_us);

        let mut dead = Vec::new();
        for (id, member) in &mut self.members {
            if member.expires_at_us.is_none_or(|expires_at_us| expires_at_us > now_us) {
                continue;
            }
            if member.is_kept_alive() {
                // Its session begins anew with the answer it waits for.
                member.expires_at_us = None;
            } else {
                dead.push(id.clone());
            }
        }
        for id in &dead {
            self.remove_member(id, turn);
            assert!(!self.members.contains_key(id));
        }
        if !dead.is_empty() {
            let names = dead.join(", ");
            self.rebalance(|| format!("member {names} was silent too long"), turn);
        } else if self.pending_joins.len() < pending_before {
            self.complete_join_if_ready(turn);
        }
    }
}
