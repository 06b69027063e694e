//! What ShareFetch and ShareAcknowledge have in common: who asks, and what is acknowledged.

use crate::api::brokers::{self, Reachable};
use crate::api::context::RequestContext;
use crate::api::produce::{find_leader, find_topic};
use crate::coordinator::share::partition::{AckBatch, AckKind, AcquiredRange};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicId, TopicPartition};
use crate::model::limits::GROUP_TEXT_BYTES_MAX;
use crate::shard::parked::TopicName;
use crate::shard::share_calls::{self, ShareCall, ShareReply};
use crate::shard::share_session::{NamedPartition, ShareMember};
use crate::storage::disk::Disk;
use bytes::Bytes;
use futures::future::join_all;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Who asks.
///
/// # Errors
/// INVALID_REQUEST where a name is missing or longer than any.
pub fn member(group: &Option<String>, member: &Option<String>) -> Result<ShareMember, KafkaCode> {
    let name = |text: &Option<String>| {
        let text = text.as_deref().filter(|text| (1..=GROUP_TEXT_BYTES_MAX).contains(&text.len()));
        text.map(str::to_owned).ok_or(KafkaCode::InvalidRequest)
    };
    Ok(ShareMember { group: name(group)?, member: name(member)? })
}

/// What Kafka says where share groups are off, in answers that have room for it.
pub const NOT_SERVED: &str = "The version of API is not supported.";

/// Whether share groups are on.
///
/// # Errors
/// UNSUPPORTED_VERSION where they are off.
pub fn check_served<D: Disk>(context: &RequestContext<D>) -> Result<(), KafkaCode> {
    match context.shard.borrow().image.has_share_groups() {
        true => Ok(()),
        false => Err(KafkaCode::UnsupportedVersion),
    }
}

/// What a request names.
#[derive(Debug, Default)]
pub struct Parsed {
    pub named: Vec<NamedPartition>,
    pub acknowledged: Vec<Acknowledgement>,
}

/// What a request says of records of one partition.
#[derive(Debug)]
pub struct Acknowledgement {
    named: NamedPartition,
    batches: Result<Vec<AckBatch>, KafkaCode>,
}

impl Acknowledgement {
    /// From first offsets, last offsets and kinds.
    pub fn new<'a>(
        named: NamedPartition,
        batches: impl Iterator<Item = (i64, i64, &'a [i8])>,
    ) -> Acknowledgement {
        Acknowledgement { named, batches: checked(batches) }
    }
}

/// In order and without overlap, with one kind for all or one for each record.
fn checked<'a>(
    batches: impl Iterator<Item = (i64, i64, &'a [i8])>,
) -> Result<Vec<AckBatch>, KafkaCode> {
    let mut checked = Vec::new();
    let mut end = 0;
    for (first, last, kinds) in batches {
        let offset = |wire: i64| u64::try_from(wire).map_err(|_| KafkaCode::InvalidRequest);
        let (first, last) = (offset(first)?, offset(last)?);
        if first > last || first + 1 < end {
            return Err(KafkaCode::InvalidRequest);
        }
        if first < end {
            // Said of one record twice.
            return Err(KafkaCode::InvalidRecordState);
        }
        let count = kinds.len() as u64;
        if count != 1 && count != last - first + 1 {
            return Err(KafkaCode::InvalidRequest);
        }
        let kinds = kinds.iter().map(|kind| match kind {
            0 => Ok(AckKind::Gap),
            1 => Ok(AckKind::Accept),
            2 => Ok(AckKind::Release),
            3 => Ok(AckKind::Reject),
            _ => Err(KafkaCode::InvalidRequest),
        });
        checked.push(AckBatch { first, last, kinds: kinds.collect::<Result<_, _>>()? });
        end = last + 1;
    }
    Ok(checked)
}

/// What is to be told of one partition.
#[derive(Debug)]
pub struct PartAnswer {
    pub code: KafkaCode,
    pub acknowledge_code: KafkaCode,
    pub records: Vec<Bytes>,
    pub ranges: Vec<AcquiredRange>,
}

/// An answer's partitions, in the order in which they came up.
#[derive(Debug, Default)]
pub struct PartAnswers {
    places: BTreeMap<NamedPartition, usize>,
    parts: Vec<(NamedPartition, PartAnswer)>,
}

impl PartAnswers {
    /// The partition's place in the answer, made when it has none.
    pub fn of(&mut self, named: NamedPartition) -> &mut PartAnswer {
        let place = *self.places.entry(named).or_insert_with(|| {
            let (code, acknowledge_code) = (KafkaCode::None, KafkaCode::None);
            let (records, ranges) = (Vec::new(), Vec::new());
            self.parts.push((named, PartAnswer { code, acknowledge_code, records, ranges }));
            self.parts.len() - 1
        });
        &mut self.parts[place].1
    }

    /// True when a client is better told at once.
    pub fn has_errors(&self) -> bool {
        self.parts.iter().any(|(_, part)| part.code != KafkaCode::None)
    }

    /// One entry for each topic.
    pub fn by_topic(self) -> Vec<(Uuid, Vec<(i32, PartAnswer)>)> {
        let mut topics: Vec<(Uuid, Vec<(i32, PartAnswer)>)> = Vec::new();
        let mut places: BTreeMap<Uuid, usize> = BTreeMap::new();
        for ((topic, partition), part) in self.parts {
            let place = *places.entry(topic).or_insert_with(|| {
                topics.push((topic, Vec::new()));
                topics.len() - 1
            });
            topics[place].1.push((partition, part));
        }
        topics
    }
}

/// Where partitions went that are not led here: what a client needs to go on there (KIP-951).
#[derive(Debug, Default)]
pub struct Leaders {
    known: BTreeMap<NamedPartition, (i32, i32)>,
    nodes: BTreeMap<i32, Reachable>,
}

impl Leaders {
    /// The leaders of those of an answer's partitions that another broker leads.
    pub fn of<D: Disk>(context: &RequestContext<D>, answers: &PartAnswers) -> Leaders {
        let mut leaders = Leaders::default();
        let moved = |code| matches!(code, KafkaCode::NotLeaderOrFollower);
        let moved = |part: &PartAnswer| moved(part.code) || moved(part.acknowledge_code);
        for ((topic, index), _) in answers.parts.iter().filter(|(_, part)| moved(part)) {
            let id = TopicPartition { topic: TopicId(*topic), partition: PartitionId(*index) };
            let epoch = {
                let image = &context.shard.borrow().image;
                image.leader_epoch(&id).filter(|_| image.leader_core(&id).is_err())
            };
            if let Some((epoch, leader)) = epoch.zip(brokers::leading(context, &id)) {
                leaders.known.insert((*topic, *index), (leader.id.0, epoch.0));
                leaders.nodes.insert(leader.id.0, leader);
            }
        }
        leaders
    }

    /// The partition's leader and its epoch; `None` where nothing is to be told.
    pub fn leader(&self, named: NamedPartition) -> Option<(i32, i32)> {
        self.known.get(&named).copied()
    }

    /// The brokers among them, each once.
    pub fn into_nodes(self) -> impl Iterator<Item = Reachable> {
        self.nodes.into_values()
    }
}

/// The partition and its core.
///
/// # Errors
/// UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION and NOT_LEADER_OR_FOLLOWER.
pub fn owner<D: Disk>(
    context: &RequestContext<D>,
    (topic, partition): NamedPartition,
) -> Result<(TopicPartition, CoreId), KafkaCode> {
    let shard = context.shard.borrow();
    find_leader(&shard.image, find_topic(&shard.image, &TopicName::Id(topic)), partition)
}

/// Brings acknowledgements to the partitions' cores, and their outcomes into the answer.
pub async fn acknowledge<D: Disk>(
    context: &RequestContext<D>,
    of: &ShareMember,
    acknowledged: Vec<Acknowledgement>,
    answers: &mut PartAnswers,
) {
    type Parts = Vec<(TopicPartition, Vec<AckBatch>)>;
    let mut by_core: Vec<(CoreId, Parts)> = Vec::new();
    for Acknowledgement { named, batches } in acknowledged {
        let answer = answers.of(named);
        let owned = owner(context, named).and_then(|owner| Ok((owner, batches?)));
        match owned {
            Err(code) => answer.acknowledge_code = code,
            Ok(((id, core), batches)) => {
                match by_core.iter_mut().find(|(other, _)| *other == core) {
                    Some((_, parts)) => parts.push((id, batches)),
                    None => by_core.push((core, vec![(id, batches)])),
                }
            }
        }
    }
    let calls = by_core.into_iter().map(async |(core, parts)| {
        let ids: Vec<TopicPartition> = parts.iter().map(|(id, _)| *id).collect();
        let call = ShareCall::Acknowledge { of: of.clone(), parts };
        let ShareReply::Acknowledged(codes) = share_calls::call(&context.shard, core, call).await
        else {
            unreachable!("acknowledgements are answered by codes");
        };
        (ids, codes)
    });
    for (ids, codes) in join_all(calls).await {
        for (id, code) in ids.into_iter().zip(codes) {
            answers.of((id.topic.0, id.partition.0)).acknowledge_code = code;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(batches: &[(i64, i64, &[i8])]) -> Result<usize, KafkaCode> {
        checked(batches.iter().copied()).map(|batches| batches.len())
    }

    #[test]
    fn acknowledgements_are_in_order_and_say_what_they_mean() {
        assert_eq!(check(&[(0, 9, &[1]), (10, 12, &[0, 1, 2]), (20, 20, &[3])]), Ok(3));
        for wrong in [
            &[(0_i64, 9_i64, &[][..])][..],
            &[(0, 9, &[1, 1])],
            &[(0, 0, &[4])],
            &[(0, 0, &[-1])],
            &[(5, 4, &[1])],
            &[(-1, 4, &[1])],
            &[(0, i64::MAX, &[1, 2, 3])],
        ] {
            assert_eq!(check(wrong), Err(KafkaCode::InvalidRequest), "{wrong:?}");
        }
        assert_eq!(check(&[(0, i64::MAX, &[1])]), Ok(1));
        let twice: &[(i64, i64, &[i8])] = &[(0, 5, &[1]), (5, 6, &[1])];
        assert_eq!(check(twice), Err(KafkaCode::InvalidRecordState));
    }

    #[test]
    fn a_member_has_a_name_and_so_has_its_group() {
        let name = |text: &str| Some(text.to_owned());
        assert!(member(&name("g"), &name("m")).is_ok());
        for (group, of) in [(None, name("m")), (name("g"), None), (name(""), name("m"))] {
            assert_eq!(member(&group, &of), Err(KafkaCode::InvalidRequest));
        }
    }
}
