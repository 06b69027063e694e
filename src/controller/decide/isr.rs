//! Leaders change who is in sync (AlterPartition, KIP-497, KIP-903), and brokers say which of their
//! replicas are damaged (AssignReplicasToDirs, KIP-858).

use crate::controller::decide::brokers::check_epoch;
use crate::controller::decide::draft::Draft;
use crate::controller::decide::{ChangeReply, Decision, LossOutcomes};
use crate::controller::image::MetadataImage;
use crate::controller::records::{LeaderRecovery, PartitionState};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, TopicPartition};

/// What a leader wants one of its partitions to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrChange {
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    /// Of the state that it is a change of.
    pub partition_epoch: i32,
    /// Members with the epochs of their registrations; `None` does not check it.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    pub recovery: LeaderRecovery,
}

pub(super) fn alter(
    image: &MetadataImage,
    leader: (BrokerId, BrokerEpoch),
    changes: Vec<IsrChange>,
) -> Decision {
    if let Err(refusal) = check_epoch(image, leader.0, leader.1) {
        let reply = ChangeReply::AlteredIsr(Err(refusal));
        return Decision { records: Vec::new(), reply };
    }
    let mut draft = Draft::new(image);
    let asked = changes.len();
    let mut answers = Vec::with_capacity(asked);
    for change in changes {
        let partition = change.partition;
        answers.push((partition, alter_one(&mut draft, leader.0, change)));
    }
    assert!(answers.len() == asked && draft.records.len() <= asked);
    Decision { records: draft.records, reply: ChangeReply::AlteredIsr(Ok(answers)) }
}

fn alter_one(
    draft: &mut Draft,
    leader: BrokerId,
    wanted: IsrChange,
) -> Result<PartitionState, KafkaCode> {
    let id = wanted.partition;
    if draft.image.topic_by_id(&id.topic).is_none() {
        return Err(KafkaCode::UnknownTopicId);
    }
    let known = draft.image.partition(&id).ok_or(KafkaCode::UnknownTopicOrPartition)?;
    let before = known.state.clone();
    check(&draft.image, &before, leader, &wanted)?;
    let changed = draft.change(id, |change| {
        change.state.isr = wanted.isr.iter().map(|(member, _)| *member).collect();
        change.state.recovery = wanted.recovery;
    });
    match changed {
        // A reassignment was complete with this and took the leader with it.
        Some(state) if state.leader_epoch != before.leader_epoch => {
            Err(KafkaCode::NewLeaderElected)
        }
        Some(state) => Ok(state),
        None => Ok(before),
    }
}

/// Takes damaged replicas of a broker out of in-sync sets and of those who may be elected.
pub(super) fn lose(
    image: &MetadataImage,
    (broker, epoch): (BrokerId, BrokerEpoch),
    partitions: Vec<TopicPartition>,
) -> Decision {
    if let Err(refusal) = check_epoch(image, broker, epoch) {
        return Decision { records: Vec::new(), reply: ChangeReply::Lost(Err(refusal)) };
    }
    let mut draft = Draft::new(image);
    let mut lose = |id| (id, lose_one(&mut draft, broker, id));
    let asked = partitions.len();
    let outcomes: LossOutcomes = partitions.into_iter().map(&mut lose).collect();
    assert!(outcomes.len() == asked && draft.records.len() <= asked);
    Decision { records: draft.records, reply: ChangeReply::Lost(Ok(outcomes)) }
}

/// When this has succeeded, the replica is no member, and no proposal on its way makes it one: its
/// leader knows by then that nothing it acknowledged counts, so its log may be cut.
fn lose_one(draft: &mut Draft, broker: BrokerId, id: TopicPartition) -> Result<(), KafkaCode> {
    if draft.image.topic_by_id(&id.topic).is_none() {
        return Err(KafkaCode::UnknownTopicId);
    }
    let known = draft.image.partition(&id).ok_or(KafkaCode::UnknownTopicOrPartition)?;
    if known.state.core_on(broker).is_none() {
        return Err(KafkaCode::InvalidRequest);
    }
    let mut is_last = false;
    let changed = draft.change(id, |change| {
        let has_other = change.state.isr.iter().any(|one| *one != broker && change.is_usable(*one));
        if change.state.isr.contains(&broker) && !has_other {
            // What it has is the best there is.
            is_last = true;
            return;
        }
        change.lost = Some(broker);
        change.voids_proposals = true;
        change.state.elr.retain(|member| *member != broker);
        change.leave(broker);
    });
    let is_out =
        |state: &PartitionState| !state.isr.contains(&broker) && !state.elr.contains(&broker);
    assert!(is_last || changed.as_ref().is_some_and(is_out));
    if is_last { Err(KafkaCode::EligibleLeadersNotAvailable) } else { Ok(()) }
}

fn check(
    image: &MetadataImage,
    state: &PartitionState,
    leader: BrokerId,
    wanted: &IsrChange,
) -> Result<(), KafkaCode> {
    // A leader that knows more than the controller has found one that is not active any more.
    if wanted.leader_epoch > state.leader_epoch || wanted.partition_epoch > state.partition_epoch {
        return Err(KafkaCode::NotController);
    }
    if wanted.leader_epoch < state.leader_epoch {
        return Err(KafkaCode::FencedLeaderEpoch);
    }
    if state.leader != Some(leader) {
        return Err(KafkaCode::InvalidRequest);
    }
    if wanted.partition_epoch < state.partition_epoch {
        return Err(KafkaCode::InvalidUpdateVersion);
    }
    let members = wanted.isr.iter().map(|(member, _)| *member);
    let mut sorted: Vec<BrokerId> = members.collect();
    sorted.sort_unstable();
    let is_twice = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    let is_foreign = sorted.iter().any(|member| state.core_on(*member).is_none());
    if is_twice || is_foreign || !sorted.contains(&leader) {
        return Err(KafkaCode::InvalidRequest);
    }
    let is_recovering = wanted.recovery == LeaderRecovery::Recovering;
    if is_recovering && (sorted.len() > 1 || state.recovery == LeaderRecovery::Recovered) {
        return Err(KafkaCode::InvalidRequest);
    }
    let is_eligible = |(member, epoch): &(BrokerId, Option<BrokerEpoch>)| {
        let replica = state.replicas.iter().find(|replica| replica.broker == *member);
        replica.zip(image.broker(*member)).is_some_and(|(replica, known)| {
            known.is_active()
                && known.registration.directory == replica.directory
                && epoch.is_none_or(|epoch| known.epoch() == epoch)
        })
    };
    match wanted.isr.iter().all(is_eligible) {
        true => Ok(()),
        false => Err(KafkaCode::IneligibleReplica),
    }
}
