//! SyncGroup: the leader hands in the assignment, every member fetches its own part.

use super::calls::{GroupAnswer, Sync, Synced};
use super::classic::{ClassicGroup, GroupState};
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use bytes::Bytes;
use std::collections::HashMap;

impl ClassicGroup {
    pub(super) fn on_sync(&mut self, sync: Sync, waiter: Waiter, turn: &mut Turn<'_>) {
        if let Err(code) = self.check_sync(&sync) {
            return turn.answer(waiter, GroupAnswer::Sync(Synced::refused(code)));
        }
        match self.state {
            // check_sync lets members pass only, and an empty group has none.
            GroupState::Empty | GroupState::PreparingRebalance => {
                let refusal = Synced::refused(KafkaCode::RebalanceInProgress);
                turn.answer(waiter, GroupAnswer::Sync(refusal));
            }
            GroupState::CompletingRebalance => {
                self.note_sync(&sync.member);
                let member = self.members.get_mut(&sync.member).expect("checked by check_sync");
                member.refuse_sync(KafkaCode::RebalanceInProgress, turn);
                member.syncing = Some(waiter);
                if self.is_leader(&sync.member) {
                    self.assign(sync.assignments, turn);
                }
            }
            GroupState::Stable => {
                self.note_sync(&sync.member);
                let member = self.members.get_mut(&sync.member).expect("checked by check_sync");
                member.refresh(turn);
                turn.answer(waiter, GroupAnswer::Sync(self.synced(&sync.member)));
            }
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), KafkaCode> {
        self.check_member(&sync.member, sync.instance.as_deref())?;
        if sync.generation != self.generation {
            return Err(KafkaCode::IllegalGeneration);
        }
        let differs = |given: &Option<String>, own: &Option<String>| {
            given.is_some() && own.is_some() && given != own
        };
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(KafkaCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn note_sync(&mut self, member: &str) {
        self.pending_syncs.remove(member);
        if self.pending_syncs.is_empty() {
            self.sync_deadline_us = None;
        }
    }

    /// The leader's assignment arrives: the generation is recorded and the group is stable.
    /// Members that the leader left out get an empty assignment; names it made up are ignored.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, turn: &mut Turn<'_>) {
        assert!(self.state == GroupState::CompletingRebalance);
        let mut assignments: HashMap<String, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        if !self.fits_record(turn) {
            // Kafka's answer too when the record is refused for its size.
            self.drop_assignments(KafkaCode::UnknownServerError, turn);
            let reason = || "the assignment is too large to be recorded".to_owned();
            return self.rebalance(reason, turn);
        }
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(waiter) = member.syncing.take() {
                member.refresh(turn);
                waiting.push((id.clone(), waiter));
            }
        }
        self.change_state(GroupState::Stable, turn);
        turn.write(self.to_record());
        for (id, waiter) in waiting {
            turn.answer(waiter, GroupAnswer::Sync(self.synced(&id)));
        }
    }

    fn synced(&self, member: &str) -> Synced {
        assert!(self.state == GroupState::Stable);
        let assignment = self.members.get(member).map(|member| member.assignment.clone());
        Synced {
            code: KafkaCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// Members that let the sync phase pass without asking for their assignment are taken out,
    /// and the others rebalance without them.
    pub(super) fn on_sync_deadline(&mut self, turn: &mut Turn<'_>) {
        self.sync_deadline_us = None;
        let silent: Vec<String> = self.pending_syncs.iter().cloned().collect();
        assert!(!silent.is_empty());
        for id in &silent {
            self.remove_member(id, turn);
        }
        let names = silent.join(", ");
        self.rebalance(|| format!("member {names} did not ask for its assignment"), turn);
    }
}
