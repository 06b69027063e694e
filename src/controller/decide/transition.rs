//! One partition on its way from one state to the next: who stays in sync, and who leads.
//!
//! Why one place: fencing, unfencing, ISR changes, reassignments and elections on request differ
//! in what they ask for, and never in what a state must hold.
//!
//! Invariants of what `finish` gives
//! - The leader is active, holds the data directory it is known by, and is in the in-sync set.
//! - The in-sync set is part of the replicas and never empty: the last member stays, without
//!   leading, until it or somebody who has all it had comes back.
//! - An eligible replica (KIP-966) has everything committed: it is listed only while the in-sync
//!   set is smaller than `min.insync.replicas`, when nothing can be committed without it.
//! - The leader epoch grows with each change of leader, the partition epoch with each change.

use crate::controller::image::{MetadataImage, TopicImage};
use crate::controller::records::{LeaderRecovery, PartitionState, Replica};
use crate::model::ids::BrokerId;

/// Who may be elected where the present leader cannot stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Election {
    /// Only a replica that has everything committed.
    Clean,
    /// As `Clean`, and the first replica even where the present leader could stay.
    Preferred,
    /// Any active replica where nobody else is left: records may be lost.
    Unclean,
}

/// A state of a partition that is being changed.
pub(super) struct Transition<'a> {
    image: &'a MetadataImage,
    before: &'a PartitionState,
    pub(super) state: PartitionState,
    pub(super) election: Election,
    /// A broker that may have lost what it had written.
    pub(super) lost: Option<BrokerId>,
    /// Whatever was proposed for the state before is void, even where nothing else changes.
    pub(super) voids_proposals: bool,
    min_insync: usize,
}

impl<'a> Transition<'a> {
    /// From the state that the image has.
    pub(super) fn new(
        image: &'a MetadataImage,
        topic: &TopicImage,
        before: &'a PartitionState,
    ) -> Transition<'a> {
        assert!(!before.replicas.is_empty(), "a partition has replicas");
        assert!(!before.isr.is_empty(), "the last member stays in sync");
        let min_insync = usize::try_from(topic.config.min_insync_replicas).unwrap_or(usize::MAX);
        let election = match topic.config.unclean_leader_election {
            true => Election::Unclean,
            false => Election::Clean,
        };
        Transition {
            image,
            before,
            state: before.clone(),
            election,
            lost: None,
            voids_proposals: false,
            min_insync: min_insync.min(before.replicas.len()),
        }
    }

    /// Takes a broker out of the in-sync set.
    pub(super) fn leave(&mut self, broker: BrokerId) {
        self.state.isr.retain(|member| *member != broker);
    }

    /// The next state; `None` where nothing changes.
    pub(super) fn finish(mut self) -> Option<PartitionState> {
        self.complete_reassignment();
        self.fill_eligible();
        self.elect();
        self.name_directories();
        let before = self.before;
        let mut state = self.state;
        if state.leader.is_some() {
            state.last_known_leader = None;
        } else if before.leader.is_some() {
            state.last_known_leader = before.leader;
        }
        let is_gone = |replica: &Replica| state.core_on(replica.broker).is_none();
        if state.leader != before.leader || before.replicas.iter().any(is_gone) {
            state.leader_epoch.0 += 1;
        }
        if state == *before && !self.voids_proposals {
            return None;
        }
        state.partition_epoch += 1;
        assert!(!state.isr.is_empty(), "the last member stays in sync");
        assert!(state.isr.iter().all(|member| state.core_on(*member).is_some()));
        assert!(state.elr.iter().all(|member| !state.isr.contains(member)));
        assert!(state.leader.is_none_or(|leader| state.isr.contains(&leader)));
        Some(state)
    }

    /// A member's records are on the directory that the state names. Who is no member has to fetch
    /// them in any case, to whatever directory it is on.
    fn name_directories(&mut self) {
        let state = &mut self.state;
        for replica in &mut state.replicas {
            if let Some(known) = self.image.broker(replica.broker)
                && !state.isr.contains(&replica.broker)
            {
                replica.directory = known.registration.directory;
            }
        }
    }

    /// Whether a replica may lead or be in sync: it is active, on the disk it is known to be on.
    pub(super) fn is_usable(&self, broker: BrokerId) -> bool {
        let replica = self.state.replicas.iter().find(|replica| replica.broker == broker);
        let Some((replica, known)) = replica.zip(self.image.broker(broker)) else { return false };
        known.is_active() && known.registration.directory == replica.directory
    }

    /// Replicas that a reassignment removes go once all that it adds are in sync (KIP-455).
    fn complete_reassignment(&mut self) {
        let state = &mut self.state;
        if state.adding.is_empty() && state.removing.is_empty() {
            return;
        }
        let is_added = state.adding.iter().all(|added| state.isr.contains(added));
        let stays = |broker: &BrokerId| !state.removing.contains(broker);
        if !is_added || !state.isr.iter().any(stays) {
            return;
        }
        let removing = std::mem::take(&mut state.removing);
        state.adding.clear();
        state.isr.retain(|broker| !removing.contains(broker));
        state.elr.retain(|broker| !removing.contains(broker));
        state.replicas.retain(|replica| !removing.contains(&replica.broker));
        self.min_insync = self.min_insync.min(state.replicas.len());
    }

    /// Who left the in-sync set while it was too small to commit anything has all that is
    /// committed, unless it lost it.
    fn fill_eligible(&mut self) {
        let lost = self.lost;
        let state = &mut self.state;
        let mut eligible = std::mem::take(&mut state.elr);
        if state.isr.len() < self.min_insync {
            eligible.extend(self.before.isr.iter().copied());
            eligible.retain(|broker| {
                Some(*broker) != lost
                    && !state.isr.contains(broker)
                    && state.replicas.iter().any(|replica| replica.broker == *broker)
            });
            eligible.sort_unstable();
            eligible.dedup();
            state.elr = eligible;
        }
        if state.isr.is_empty() {
            self.keep_last();
        }
    }

    /// Nobody is in sync any more: somebody stays a member by name, best who lost nothing.
    fn keep_last(&mut self) {
        assert!(self.state.isr.is_empty());
        let before = self.before;
        let had = |broker: &BrokerId| before.isr.contains(broker);
        let is_replica = |broker: &&BrokerId| self.state.core_on(**broker).is_some();
        let from_isr = self.state.elr.iter().find(|broker| had(broker)).copied();
        let last = from_isr
            .or(self.state.elr.first().copied())
            .or(before.isr.iter().find(is_replica).copied())
            .unwrap_or_else(|| self.state.replicas[0].broker);
        if Some(last) == self.lost {
            self.state.recovery = LeaderRecovery::Recovering;
        }
        self.state.elr.retain(|broker| *broker != last);
        self.state.isr = vec![last];
        assert!(!self.state.elr.contains(&last));
    }

    fn elect(&mut self) {
        let in_sync =
            |broker: &BrokerId| self.state.isr.contains(broker) && self.is_usable(*broker);
        let replicas = || self.state.replicas.iter().map(|replica| replica.broker);
        let preferred = Some(self.state.replicas[0].broker)
            .filter(|first| self.election == Election::Preferred && in_sync(first));
        let clean =
            preferred.or(self.before.leader.filter(in_sync)).or_else(|| replicas().find(in_sync));
        if clean.is_some() {
            self.state.leader = clean;
            return;
        }
        let is_eligible =
            |broker: &BrokerId| self.state.elr.contains(broker) && self.is_usable(*broker);
        if let Some(leader) = replicas().find(is_eligible) {
            self.lead_alone(leader);
            return;
        }
        let last_known = self.state.last_known_leader.filter(|broker| self.is_alive(*broker));
        let any = last_known.or_else(|| replicas().find(|broker| self.is_alive(*broker)));
        match any.filter(|_| self.election == Election::Unclean) {
            Some(leader) => self.lead_uncleanly(leader),
            None => self.state.leader = None,
        }
    }

    fn is_alive(&self, broker: BrokerId) -> bool {
        self.image.is_active(broker) && self.state.core_on(broker).is_some()
    }

    /// An eligible replica takes over; the members that were left are eligible from now on.
    fn lead_alone(&mut self, leader: BrokerId) {
        let lost = self.lost;
        let had_lost = self.state.recovery == LeaderRecovery::Recovering;
        let members = std::mem::replace(&mut self.state.isr, vec![leader]);
        self.state
            .elr
            .extend(members.into_iter().filter(|member| Some(*member) != lost && !had_lost));
        self.state.elr.retain(|broker| *broker != leader);
        self.state.elr.sort_unstable();
        self.state.elr.dedup();
        self.state.recovery = LeaderRecovery::Recovered;
        self.state.leader = Some(leader);
        assert!(self.state.isr == [leader] && !self.state.elr.contains(&leader));
    }

    /// Whoever is there begins anew with what it has.
    fn lead_uncleanly(&mut self, leader: BrokerId) {
        assert!(self.election == Election::Unclean, "records are given up only where allowed");
        let known = self.image.broker(leader).expect("who is alive is registered");
        let directory = known.registration.directory;
        let state = &mut self.state;
        if let Some(replica) = state.replicas.iter_mut().find(|one| one.broker == leader) {
            replica.directory = directory;
        }
        state.isr = vec![leader];
        state.elr.clear();
        state.recovery = LeaderRecovery::Recovering;
        state.leader = Some(leader);
    }
}
