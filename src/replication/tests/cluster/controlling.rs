//! The controller of the model: it fences, elects and decides proposals, all at once.

use super::offset;
use super::{Alter, BROKERS, Fault, Metadata, Role, World, index};
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::replication::leader::ProposalOutcome;

impl World {
    /// Pulls a broker's plug, or starts it again.
    pub(super) fn toggle_power(&mut self, broker: usize) {
        let at = &mut self.brokers[broker];
        if at.is_up {
            let known = at.high_watermark();
            let kept = at.durable + self.dice.below(at.log.len() - at.durable + 1);
            at.log.truncate(kept);
            at.durable = kept;
            // A checkpoint of some time before.
            at.high_watermark = offset(self.dice.below(known.min(kept) + 1) as u64);
            at.role = Role::Idle;
            at.is_up = false;
            at.waiting.clear();
            for peer in 0..BROKERS {
                self.links.remove(&(peer, broker));
            }
            return;
        }
        at.is_up = true;
        let broker_epoch = self.history.len() as i64 + 1;
        at.broker_epoch = broker_epoch;
        let mut next = self.metadata().clone();
        leave(&mut next, broker);
        next.registered[broker] = broker_epoch;
        next.is_fenced[broker] = false;
        self.elect(&mut next);
        self.history.push(next);
        // It acts on nothing that was committed before it registered.
        self.brokers[broker].seen = self.history.len() - 1;
    }

    /// What is down does not stay so for long.
    pub(super) fn recover(&mut self, broker: usize) {
        let (is_up, is_fenced) = (self.brokers[broker].is_up, self.metadata().is_fenced[broker]);
        match (is_up, is_fenced) {
            (false, _) if self.dice.one_in(4) => self.toggle_power(broker),
            (true, true) if self.dice.one_in(4) => self.unfence(broker),
            _ => {}
        }
    }

    /// The controller loses sight of a broker, whether dead or not, or sees it again.
    pub(super) fn fence_or_not(&mut self, broker: usize) {
        if self.metadata().is_fenced[broker] {
            if self.brokers[broker].is_up {
                self.unfence(broker);
            }
            return;
        }
        let mut next = self.metadata().clone();
        leave(&mut next, broker);
        self.elect(&mut next);
        self.history.push(next);
    }

    pub(super) fn unfence(&mut self, broker: usize) {
        let mut next = self.metadata().clone();
        next.is_fenced[broker] = false;
        self.elect(&mut next);
        self.history.push(next);
    }

    pub(super) fn elect(&mut self, next: &mut Metadata) {
        if next.leader.is_some() {
            return;
        }
        let mut alive: Vec<usize> = (0..BROKERS).filter(|at| !next.is_fenced[*at]).collect();
        if self.fault != Fault::ElectOutsideIsr {
            alive.retain(|at| next.isr.contains(at));
        }
        if alive.is_empty() {
            return;
        }
        let leader = alive[self.dice.below(alive.len())];
        if !next.isr.contains(&leader) {
            next.isr = vec![leader];
        }
        next.leader = Some(leader);
        next.leader_epoch += 1;
        next.partition_epoch += 1;
    }

    /// The controller decides a proposal, or a leader gets the answer, or either is lost.
    pub(super) fn decide_or_answer(&mut self) {
        if !self.answers.is_empty() && (self.alters.is_empty() || self.dice.one_in(2)) {
            let at = self.dice.below(self.answers.len());
            let (alter, outcome) = self.answers.swap_remove(at);
            let outcome = if self.dice.one_in(6) { ProposalOutcome::Unknown } else { outcome };
            let now = self.now();
            let broker = &mut self.brokers[alter.from];
            let Role::Leader(leader) = &mut broker.role else { return };
            if broker.is_up && broker.broker_epoch == alter.broker_epoch {
                leader.on_proposal(&alter.proposal, outcome, now);
            }
        } else if !self.alters.is_empty() {
            let at = self.dice.below(self.alters.len());
            let alter = self.alters.swap_remove(at);
            let outcome = match self.dice.one_in(8) {
                true => ProposalOutcome::Unknown,
                false => self.alter_partition(&alter),
            };
            self.answers.push((alter, outcome));
        }
    }

    fn alter_partition(&mut self, alter: &Alter) -> ProposalOutcome {
        let proposal = &alter.proposal;
        let mut next = self.metadata().clone();
        let is_current = next.leader == Some(alter.from)
            && next.leader_epoch == proposal.leader_epoch.0
            && next.partition_epoch == proposal.partition_epoch;
        if !is_current {
            return ProposalOutcome::Superseded;
        }
        let is_eligible = |(id, epoch): &(BrokerId, BrokerEpoch)| {
            !next.is_fenced[index(*id)] && next.registered[index(*id)] == epoch.0
        };
        if !proposal.isr.iter().all(is_eligible) {
            return ProposalOutcome::Refused;
        }
        next.isr = proposal.isr.iter().map(|(id, _)| index(*id)).collect();
        next.partition_epoch += 1;
        let accepted = ProposalOutcome::Accepted {
            partition_epoch: next.partition_epoch,
            isr: proposal.isr.iter().map(|(id, _)| *id).collect(),
        };
        self.history.push(next);
        accepted
    }
}

/// A broker is fenced: it leads no more and leaves the in-sync replicas, unless it is the last.
fn leave(next: &mut Metadata, broker: usize) {
    next.is_fenced[broker] = true;
    if next.isr.contains(&broker) && next.isr.len() > 1 {
        next.isr.retain(|member| *member != broker);
        next.partition_epoch += 1;
    }
    if next.leader == Some(broker) {
        next.leader = None;
        next.leader_epoch += 1;
        next.partition_epoch += 1;
    }
}
