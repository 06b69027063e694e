//! Commits of offsets and fetches of them, as a register per partition: every commit carries a
//! value of its own, so what a fetch shows names the commit that it comes from.
//!
//! A commit may take effect at any moment between its delivery and its answer; one that was never
//! answered or whose answer leaves it open, until the broker died. A request that is under way
//! twice may so overwrite a newer one: Kafka's protocol has no number that would tell. Everything
//! else is a fault.

use super::member::{Member, Scene};
use super::network::{Ask, Endpoint, Patience, Sight};
use super::{GROUP, PARTITIONS, PATIENCE_US, TOPIC};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// One attempt of a commit that reached the broker.
#[derive(Debug, Clone)]
struct Try {
    value: i64,
    delivered_us: u64,
    /// After this it has no effect any more.
    done_us: Option<u64>,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Acknowledged,
    Refused,
}

/// A fetch of one partition's offset.
#[derive(Debug, Clone, Copy)]
struct Look {
    from_us: u64,
    to_us: u64,
    value: i64,
}

/// All commits and fetches.
#[derive(Debug, Default)]
pub(crate) struct Register {
    tries: BTreeMap<i32, Vec<Try>>,
    looks: BTreeMap<i32, Vec<Look>>,
    last_value: i64,
    pub(crate) acknowledged: usize,
}

impl Register {
    /// A value that nobody committed before; later ones are greater.
    fn fresh(&mut self) -> i64 {
        self.last_value += 1;
        self.last_value
    }

    fn deliver(&mut self, partition: i32, value: i64, now_us: u64) -> usize {
        let tries = self.tries.entry(partition).or_default();
        let outcome = Outcome::Unknown;
        tries.push(Try { value, delivered_us: now_us, done_us: None, outcome });
        tries.len() - 1
    }

    fn finish(&mut self, partition: i32, index: usize, outcome: Outcome, now_us: u64) {
        let own = &mut self.tries.get_mut(&partition).unwrap()[index];
        own.outcome = outcome;
        if outcome != Outcome::Unknown {
            own.done_us = Some(now_us);
        }
        self.acknowledged += usize::from(outcome == Outcome::Acknowledged);
    }

    /// The broker died: what it had not done, it will not do.
    pub(crate) fn crash(&mut self, now_us: u64) {
        for own in self.tries.values_mut().flatten() {
            own.done_us.get_or_insert(now_us);
        }
    }

    fn look(&mut self, partition: i32, look: Look) {
        self.no_acknowledged_commit_is_lost(partition, look);
        self.committed_offsets_go_back_only_by_a_commit_under_way(partition, look);
        self.looks.entry(partition).or_default().push(look);
    }

    /// When the commit of `value` may have taken effect last; `None` when nothing can have.
    fn last_effect_us(&self, partition: i32, value: i64, before_us: u64) -> Option<u64> {
        let tries = self.tries.get(&partition)?;
        let own = tries.iter().filter(|own| {
            own.value == value && own.outcome != Outcome::Refused && own.delivered_us <= before_us
        });
        own.map(|own| own.done_us.unwrap_or(u64::MAX)).max()
    }

    fn no_acknowledged_commit_is_lost(&self, partition: i32, look: Look) {
        let tries = self.tries.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let is_over = |own: &&Try| {
            own.outcome == Outcome::Acknowledged && own.done_us.is_some_and(|us| us < look.from_us)
        };
        let acknowledged = tries.iter().filter(is_over).max_by_key(|own| own.delivered_us);
        if look.value < 0 {
            assert!(acknowledged.is_none(), "partition {partition}: {acknowledged:?} is lost");
            return;
        }
        let effect_us = self.last_effect_us(partition, look.value, look.to_us);
        let Some(effect_us) = effect_us else {
            panic!("partition {partition}: nobody committed what {look:?} shows")
        };
        assert!(
            acknowledged.is_none_or(|own| effect_us >= own.delivered_us),
            "partition {partition}: {look:?} does not show {acknowledged:?}"
        );
    }

    fn committed_offsets_go_back_only_by_a_commit_under_way(&self, partition: i32, look: Look) {
        let looks = self.looks.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let other = looks.iter().filter(|old| old.to_us < look.from_us && old.value != look.value);
        let Some(before) = other.max_by_key(|old| old.from_us) else { return };
        let effect_us = self.last_effect_us(partition, look.value, look.to_us);
        assert!(
            effect_us.is_some_and(|us| us >= before.from_us),
            "partition {partition}: {look:?} after {before:?}"
        );
    }
}

/// Who commits, and in which generation.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
}

fn request(author: &Author, partition_index: i32, value: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index,
        committed_offset: value,
        committed_leader_epoch: -1,
        committed_metadata: Some(format!("by {}", author.member)),
    };
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: author.generation,
        member_id: author.member.clone(),
        group_instance_id: author.instance.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
        }],
        ..Default::default()
    }
}

/// Commits a new value for one partition, and goes on when the answer is long in coming.
pub(crate) async fn commit(scene: &Scene, endpoint: &mut Endpoint, author: Author, partition: i32) {
    let value = scene.history.borrow_mut().offsets.fresh();
    let ask = Ask {
        request: request(&author, partition, value),
        version: 9,
        patience: Patience::Us(PATIENCE_US),
        is_resent: true,
    };
    let seen = Rc::new(RefCell::new(BTreeMap::new()));
    let watched = scene.clone();
    let witness = move |attempt, sight: Sight<'_, OffsetCommitResponse>| {
        let now_us = watched.now_us();
        let history = &mut *watched.history.borrow_mut();
        match sight {
            Sight::Delivered => {
                let index = history.offsets.deliver(partition, value, now_us);
                let newest = history.newest_told_to(&author.member, watched.is_classic_only);
                seen.borrow_mut().insert(attempt, (index, newest));
            }
            Sight::Answered(answer) => {
                let (index, newest) = seen.borrow()[&attempt];
                let code = answer.topics[0].partitions[0].error_code;
                let outcome = outcome_of(code);
                history.offsets.finish(partition, index, outcome, now_us);
                if outcome == Outcome::Acknowledged {
                    let (member, own) = (&author.member, author.generation);
                    history.no_commit_of_an_older_generation_is_taken(member, newest, own);
                }
            }
        }
    };
    endpoint.call_seen(ask, Rc::new(witness)).await;
}

fn outcome_of(code: i16) -> Outcome {
    match KafkaCode::from_number(code).unwrap() {
        KafkaCode::None => Outcome::Acknowledged,
        KafkaCode::IllegalGeneration
        | KafkaCode::UnknownMemberId
        | KafkaCode::StaleMemberEpoch
        | KafkaCode::FencedInstanceId
        | KafkaCode::GroupIdNotFound
        | KafkaCode::RebalanceInProgress => Outcome::Refused,
        // It may have been written before its coordinator ceased to be one.
        code => {
            assert!(code.is_retriable(), "{code:?}");
            Outcome::Unknown
        }
    }
}

/// Looks at the offsets of all partitions. True when the coordinator told them.
pub(crate) async fn look(scene: &Scene, endpoint: &mut Endpoint) -> bool {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.to_owned(),
        partition_indexes: (0..PARTITIONS).collect(),
    };
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let ask = Ask { request, version: 9, patience: Patience::Us(PATIENCE_US), is_resent: false };
    let watched = scene.clone();
    let from_us = Cell::new(scene.now_us());
    // Who has stood still may be asked by what came in before that, and coordinate no more: its
    // answer is as old as the question.
    let has_one_coordinator = scene.history.borrow().scope.has_one_coordinator;
    let witness = move |_, sight: Sight<'_, OffsetFetchResponse>| match sight {
        Sight::Delivered if has_one_coordinator => from_us.set(watched.now_us()),
        Sight::Delivered => {}
        Sight::Answered(answer) if answer.groups[0].error_code == 0 => {
            let to_us = watched.now_us();
            for partition in &answer.groups[0].topics[0].partitions {
                assert_eq!(partition.error_code, 0);
                let value = partition.committed_offset;
                let look = Look { from_us: from_us.get(), to_us, value };
                watched.history.borrow_mut().offsets.look(partition.partition_index, look);
            }
        }
        Sight::Answered(answer) => {
            let code = KafkaCode::from_number(answer.groups[0].error_code).unwrap();
            assert!(code.is_retriable(), "{code:?}");
        }
    };
    let answer = endpoint.call_seen(ask, Rc::new(witness)).await;
    answer.is_some_and(|answer| answer.groups[0].error_code == 0)
}

/// What a member commits for: one of its partitions.
pub(crate) fn choose(scene: &Scene, member: &Member) -> Option<(Author, i32)> {
    let owned: Vec<i32> = member.owned.iter().copied().collect();
    if owned.is_empty() || member.id.is_empty() {
        return None;
    }
    let partition = owned[scene.handle.random(|random| random.index(owned.len()))];
    Some((member.author(), partition))
}
