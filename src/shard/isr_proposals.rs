//! Changes of in-sync sets: what leaders of this core ask the controller for, and what becomes of
//! those that are damaged.
//!
//! One request at a time carries what all partitions of the core want, so that a broker that is
//! lost costs one decision and not one for each partition.

use crate::controller::decide::{Change, ChangeReply, IsrChange};
use crate::controller::records::{LeaderRecovery, PartitionState};
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicPartition;
use crate::model::limits::ISR_PROPOSALS_MAX;
use crate::replication::leader::{IsrProposal, ProposalOutcome};
use crate::shard::damage;
use crate::shard::metadata;
use crate::shard::replicas::Role;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;

type Proposals = Vec<(TopicPartition, IsrProposal)>;

/// The proposal loop of one core; ends with its executor.
pub(super) async fn proposal_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().signals.proposals.clone();
    loop {
        signal.wait().await;
        let proposals = shard.borrow_mut().take_proposals();
        if !proposals.is_empty() {
            let outcomes = propose(&shard, &proposals).await;
            shard.borrow_mut().on_proposals(&proposals, outcomes);
        }
        let lost = shard.borrow_mut().take_losses();
        if !lost.is_empty() {
            damage::lose(&shard, lost).await;
        }
    }
}

impl<D: Disk> Shard<D> {
    fn take_proposals(&mut self) -> Proposals {
        let now = self.now;
        let mut proposals = Vec::new();
        for (_, partition) in &mut self.partitions {
            if proposals.len() >= ISR_PROPOSALS_MAX {
                break;
            }
            if let Role::Leader(leader) = &mut partition.role
                && let Some(proposal) = leader.proposal(now)
            {
                proposals.push((partition.id, proposal));
            }
        }
        proposals
    }

    fn on_proposals(&mut self, proposals: &Proposals, outcomes: Vec<ProposalOutcome>) {
        assert!(proposals.len() == outcomes.len());
        let now = self.now;
        for ((id, proposal), outcome) in proposals.iter().zip(outcomes) {
            let Some(index) = self.leader_index(id) else { continue };
            if let ProposalOutcome::Accepted { isr, .. } = &outcome {
                let isr: Vec<i32> = isr.iter().map(|member| member.0).collect();
                tracing::info!(partition = %id, ?isr, "in sync");
            }
            if let Role::Leader(leader) = &mut self.partitions[index].role {
                leader.on_proposal(proposal, outcome, now);
            }
            self.settle_partition(index);
            self.queue_push(index);
        }
    }
}

async fn propose<D: Disk>(shard: &ShardRef<D>, proposals: &Proposals) -> Vec<ProposalOutcome> {
    let leader = {
        let image = &shard.borrow().image;
        image.broker(image.local()).map(|own| (own.id(), own.epoch()))
    };
    let Some(leader) = leader else {
        return vec![ProposalOutcome::Unknown; proposals.len()];
    };
    let change = Change::AlterIsr { leader, changes: proposals.iter().map(change_of).collect() };
    let ChangeReply::AlteredIsr(Ok(states)) = metadata::change(shard, change).await else {
        return vec![ProposalOutcome::Unknown; proposals.len()];
    };
    let outcome = |(id, _): &(TopicPartition, IsrProposal)| {
        let state = states.iter().find(|(other, _)| other == id);
        state.map_or(ProposalOutcome::Unknown, |(_, state)| outcome_of(state))
    };
    proposals.iter().map(outcome).collect()
}

fn change_of((id, proposal): &(TopicPartition, IsrProposal)) -> IsrChange {
    IsrChange {
        partition: *id,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        isr: proposal.isr.iter().map(|(id, epoch)| (*id, Some(*epoch))).collect(),
        // Whoever leads has its log in order by the time that it asks for others in sync with it.
        recovery: LeaderRecovery::Recovered,
    }
}

fn outcome_of(state: &Result<PartitionState, KafkaCode>) -> ProposalOutcome {
    match state {
        Ok(state) => ProposalOutcome::Accepted {
            partition_epoch: state.partition_epoch,
            isr: state.isr.clone(),
        },
        Err(
            KafkaCode::InvalidUpdateVersion
            | KafkaCode::FencedLeaderEpoch
            | KafkaCode::NewLeaderElected
            | KafkaCode::UnknownTopicId
            | KafkaCode::UnknownTopicOrPartition,
        ) => ProposalOutcome::Superseded,
        Err(KafkaCode::NotController) => ProposalOutcome::Unknown,
        Err(_) => ProposalOutcome::Refused,
    }
}
