//! Leaders are elected on request (KIP-183, KIP-460), and go back to preferred replicas.

use crate::controller::decide::draft::Draft;
use crate::controller::decide::transition::Election;
use crate::controller::decide::{ChangeReply, Decision, Refusal};
use crate::controller::image::{MetadataImage, TopicImage};
use crate::controller::records::PartitionState;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicPartition};
use crate::model::limits::ELECTIONS_PER_ROUND_MAX;
use std::collections::BTreeMap;

/// Which leader is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica, where it is in sync.
    Preferred,
    /// Any replica that is alive, where nobody leads.
    Unclean,
}

/// Partitions by the name of their topic.
pub type NamedPartitions = Vec<(String, Vec<i32>)>;

/// What became of partitions by the name of their topic.
pub type PartitionOutcomes = Vec<TopicOutcomes>;

/// What became of partitions of one topic.
type TopicOutcomes = (String, Vec<(i32, Result<(), Refusal>)>);

pub(super) fn elect(
    image: &MetadataImage,
    kind: ElectionKind,
    partitions: Option<NamedPartitions>,
) -> Decision {
    let mut draft = Draft::new(image);
    let outcomes = match partitions {
        Some(topics) => topics
            .into_iter()
            .map(|(name, partitions)| {
                let elect = |index| (index, elect_one(&mut draft, kind, &name, index));
                let results = partitions.into_iter().map(elect).collect();
                (name, results)
            })
            .collect(),
        None => image.topics().map(|topic| elect_all(&mut draft, kind, topic)).collect(),
    };
    Decision { records: draft.records, reply: ChangeReply::ByPartition(outcomes) }
}

/// Asked for all partitions, Kafka leaves those out that have the leader already.
fn elect_all(draft: &mut Draft, kind: ElectionKind, topic: &TopicImage) -> TopicOutcomes {
    let name = topic.name.to_string();
    let mut results = Vec::new();
    for index in 0..topic.partition_count() {
        let result = elect_one(draft, kind, &name, index);
        let is_needless = |refusal: &Refusal| refusal.code == KafkaCode::ElectionNotNeeded;
        if !result.as_ref().is_err_and(is_needless) {
            results.push((index, result));
        }
    }
    (name, results)
}

fn elect_one(draft: &mut Draft, kind: ElectionKind, name: &str, index: i32) -> Result<(), Refusal> {
    let unknown = |what: String| Refusal::new(KafkaCode::UnknownTopicOrPartition, what);
    let topic = draft.image.topic_by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("No such topic as {name}")))?;
    let partition = PartitionId(index);
    let known = topic.partition(partition);
    let known = known.ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
    let state = &known.state;
    let is_needless = match kind {
        ElectionKind::Preferred => state.leader == Some(state.replicas[0].broker),
        ElectionKind::Unclean => state.leader.is_some(),
    };
    if is_needless {
        let text = "Leader election not needed for topic partition.";
        return Err(Refusal::new(KafkaCode::ElectionNotNeeded, text));
    }
    let id = TopicPartition { topic: topic.id, partition };
    let changed = draft.change(id, |change| {
        change.election = match kind {
            ElectionKind::Preferred => Election::Preferred,
            ElectionKind::Unclean => Election::Unclean,
        };
    });
    match (changed, kind) {
        (Some(_), _) => Ok(()),
        (None, ElectionKind::Preferred) => Err(KafkaCode::PreferredLeaderNotAvailable.into()),
        (None, ElectionKind::Unclean) => Err(KafkaCode::EligibleLeadersNotAvailable.into()),
    }
}

/// What follows from changed configurations: who is eligible depends on `min.insync.replicas`, and
/// whether a partition must stay without a leader on `unclean.leader.election.enable`.
pub(super) fn after_configs(image: &MetadataImage, decision: Decision) -> Decision {
    let mut draft = Draft::new(image);
    for record in decision.records {
        draft.push(record);
    }
    let is_open = |state: &PartitionState| state.leader.is_none() || !state.elr.is_empty();
    for id in draft.partitions_where(is_open) {
        draft.change(id, |_| {});
    }
    Decision { records: draft.records, reply: decision.reply }
}

/// Lets preferred replicas lead again where a broker leads too few of those that prefer it.
pub(super) fn balance(image: &MetadataImage, percentage_max: u32) -> Decision {
    let mut draft = Draft::new(image);
    let mut counts: BTreeMap<BrokerId, (u64, u64)> = BTreeMap::new();
    for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        let (preferring, elsewhere) = counts.entry(preferred(&partition.state)).or_default();
        *preferring += 1;
        *elsewhere += u64::from(is_led_by_another(&partition.state));
    }
    let is_out = |broker: &BrokerId| {
        let (preferring, elsewhere) = counts.get(broker).copied().unwrap_or_default();
        elsewhere * 100 > preferring * u64::from(percentage_max)
    };
    let is_wanted = |state: &PartitionState| is_led_by_another(state) && is_out(&preferred(state));
    for id in draft.partitions_where(is_wanted) {
        if draft.records.len() >= ELECTIONS_PER_ROUND_MAX {
            break;
        }
        draft.change(id, |change| change.election = Election::Preferred);
    }
    assert!(draft.records.len() <= ELECTIONS_PER_ROUND_MAX);
    Decision { records: draft.records, reply: ChangeReply::Done(Ok(())) }
}

fn preferred(state: &PartitionState) -> BrokerId {
    state.replicas[0].broker
}

fn is_led_by_another(state: &PartitionState) -> bool {
    state.leader.is_some_and(|leader| leader != preferred(state))
}
