//! Partitions move to other replicas (KIP-455).
//!
//! A move has two steps: the replicas that come are added, and when all of them are in sync those
//! that go are removed (`Transition::complete_reassignment`).

use crate::controller::decide::draft::Draft;
use crate::controller::decide::placement::{Placement, check_replicas};
use crate::controller::decide::{ChangeReply, Decision, Refusal};
use crate::controller::image::MetadataImage;
use crate::controller::records::{PartitionState, Replica};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicPartition};
use std::collections::BTreeSet;

/// Where the partitions of one topic shall live; `None` ends a move that is under way.
pub type NamedMoves = Vec<(String, Vec<(i32, Option<Vec<BrokerId>>)>)>;

/// Whether a move may change how many replicas there are (KIP-860).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorChange {
    Allowed,
    Refused,
}

pub(super) fn alter(image: &MetadataImage, topics: NamedMoves, factor: FactorChange) -> Decision {
    let mut draft = Draft::new(image);
    let mut seen = BTreeSet::new();
    let mut outcomes = Vec::with_capacity(topics.len());
    for (name, moves) in topics {
        let mut results = Vec::with_capacity(moves.len());
        for (index, target) in moves {
            // A partition moves to one place: so a request has as much to decide as there is.
            let result = match seen.insert((name.clone(), index)) {
                true => alter_one(&mut draft, &name, index, target, factor),
                false => {
                    let text = format!("Partition {name}:{index} is named twice.");
                    Err(Refusal::new(KafkaCode::InvalidRequest, text))
                }
            };
            results.push((index, result));
        }
        outcomes.push((name, results));
    }
    Decision { records: draft.records, reply: ChangeReply::ByPartition(outcomes) }
}

fn alter_one(
    draft: &mut Draft,
    name: &str,
    index: i32,
    target: Option<Vec<BrokerId>>,
    factor: FactorChange,
) -> Result<(), Refusal> {
    let unknown = |what: String| Refusal::new(KafkaCode::UnknownTopicOrPartition, what);
    let topic = draft.image.topic_by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let partition = PartitionId(index);
    let known = topic.partition(partition);
    let known =
        known.ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
    let id = TopicPartition { topic: topic.id, partition };
    let before = known.state.clone();
    let is_unclean_allowed = topic.config.unclean_leader_election;
    let next = match target {
        None => revert(&before, name, index, is_unclean_allowed)?,
        Some(target) => begin(&draft.image, &before, &target, factor)?,
    };
    draft.change(id, |change| change.state = next);
    Ok(())
}

/// The state with the replicas that come, and marks of those that go.
fn begin(
    image: &MetadataImage,
    before: &PartitionState,
    target: &[BrokerId],
    factor: FactorChange,
) -> Result<PartitionState, Refusal> {
    check_replicas(target, |broker| image.broker(broker).is_some())?;
    let settled = settled(before).count();
    if factor == FactorChange::Refused && settled != target.len() {
        let message =
            format!("The replication factor is changed from {settled} to {}", target.len());
        return Err(Refusal::new(KafkaCode::InvalidReplicationFactor, message));
    }
    let mut placement = Placement::of(image);
    let mut state = before.clone();
    state.replicas = target
        .iter()
        .map(|broker| {
            let kept = before.replicas.iter().find(|replica| replica.broker == *broker);
            kept.copied().unwrap_or_else(|| placement.replica_on(*broker))
        })
        .collect();
    let goes = |replica: &&Replica| !target.contains(&replica.broker);
    let going: Vec<Replica> = before.replicas.iter().filter(goes).copied().collect();
    state.removing = going.iter().map(|replica| replica.broker).collect();
    state.replicas.extend(going);
    let is_new =
        |broker: &&BrokerId| before.core_on(**broker).is_none() || before.adding.contains(*broker);
    assert!(state.replicas.len() == target.len() + state.removing.len());
    state.adding = target.iter().filter(is_new).copied().collect();
    Ok(state)
}

/// Replicas as they are once what is under way is done.
fn settled(state: &PartitionState) -> impl Iterator<Item = &Replica> {
    state.replicas.iter().filter(|replica| !state.removing.contains(&replica.broker))
}

/// The state without the replicas that a move has added.
fn revert(
    before: &PartitionState,
    name: &str,
    index: i32,
    is_unclean_allowed: bool,
) -> Result<PartitionState, Refusal> {
    if before.adding.is_empty() && before.removing.is_empty() {
        let code = KafkaCode::NoReassignmentInProgress;
        return Err(Refusal::new(code, "No partition reassignment is in progress."));
    }
    let mut state = before.clone();
    let adding = std::mem::take(&mut state.adding);
    state.removing.clear();
    state.replicas.retain(|replica| !adding.contains(&replica.broker));
    state.isr.retain(|broker| !adding.contains(broker));
    state.elr.retain(|broker| !adding.contains(broker));
    let is_unclean = state.isr.is_empty();
    if state.replicas.is_empty() || (is_unclean && !is_unclean_allowed) {
        let message = format!(
            "Unable to revert partition assignment for {name}:{index} because it would require an \
             unclean leader election."
        );
        return Err(Refusal::new(KafkaCode::InvalidReplicaAssignment, message));
    }
    Ok(state)
}
