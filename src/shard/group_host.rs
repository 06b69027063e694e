//! Group coordinators among the coordinators of a core, and the way to them from any core.

use crate::controller::image::{MetadataImage, OFFSETS_TOPIC, TopicImage};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::topics::{TopicView, Topics};
use crate::coordinator::group::{self, GroupAnswer, GroupCoordinator, GroupRequest};
use crate::coordinator::replayed::{Effect, KeyValue, Step, Waiter};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::{GroupConfig, GroupOverrides};
use crate::model::ids::{CoreId, ProducerId, TopicPartition};
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::protocol::record::ProducerStamp;
use crate::shard::coordinator_host::{self, Birth, Host, Hosted, StepOf, coordinator_of};
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::verification::{self, Claim};
use crate::storage::disk::Disk;
use bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;

impl Hosted for GroupCoordinator {
    type Record = GroupRecord;
    type Request = GroupRequest;
    type Answer = GroupAnswer;
    type Order = Infallible;

    const TOPIC: &'static str = OFFSETS_TOPIC;
    const NAME: &'static str = "group coordinator";

    fn host<D: Disk>(shard: &mut Shard<D>) -> &mut Host<Self> {
        &mut shard.groups
    }

    fn begin(birth: Birth<'_>) -> Self {
        let record_bytes_max = birth.record_bytes_max;
        let config = GroupConfig { record_bytes_max, ..birth.config.groups };
        let mut coordinator = GroupCoordinator::new(config);
        coordinator.set_topics(Arc::clone(birth.topics));
        coordinator.set_overrides(Arc::clone(birth.group_overrides));
        coordinator
    }

    fn encode(record: &GroupRecord) -> Result<KeyValue, EncodeError> {
        record.encode()
    }

    fn replay(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<(), DecodeError> {
        if let Some(record) = GroupRecord::decode(key, value)? {
            GroupCoordinator::replay(self, record);
        }
        Ok(())
    }

    fn producer(record: &GroupRecord) -> ProducerStamp {
        match record {
            GroupRecord::Pending { producer, .. } => ProducerStamp {
                producer_id: producer.id.0,
                producer_epoch: producer.epoch.0,
                base_sequence: -1,
            },
            GroupRecord::Offset { .. }
            | GroupRecord::Group { .. }
            | GroupRecord::Consumer { .. }
            | GroupRecord::Share { .. } => ProducerStamp::NONE,
        }
    }

    fn replay_transactional(
        &mut self,
        producer: ProducerId,
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<(), DecodeError> {
        if let Some(record) = GroupRecord::decode(key, value)? {
            GroupCoordinator::replay_transactional(self, producer, record);
        }
        Ok(())
    }

    fn on_marker(&mut self, producer: ProducerId, is_commit: bool) {
        GroupCoordinator::on_marker(self, producer, is_commit);
    }

    fn on_loaded(&mut self, now: Now) -> StepOf<Self> {
        GroupCoordinator::on_loaded(self, now);
        Step::default()
    }

    fn on_request(&mut self, request: GroupRequest, waiter: Waiter, now: Now) -> StepOf<Self> {
        step_of(GroupCoordinator::on_request(self, request, waiter, now))
    }

    fn on_tick(&mut self, now: Now) -> StepOf<Self> {
        step_of(GroupCoordinator::on_tick(self, now))
    }

    fn next_deadline_us(&self) -> u64 {
        GroupCoordinator::next_deadline_us(self)
    }

    fn take_waiters(&mut self) -> Vec<Waiter> {
        GroupCoordinator::take_waiters(self)
    }

    fn may_write(request: &GroupRequest) -> bool {
        request.may_write()
    }

    fn refused(code: KafkaCode) -> GroupAnswer {
        GroupAnswer::Refused(code)
    }

    fn carry_out<D: Disk>(_: &mut Shard<D>, _: TopicPartition, order: Infallible) {
        match order {}
    }
}

fn step_of(step: group::Step) -> StepOf<GroupCoordinator> {
    let group::Step { records, answers } = step;
    let answers = answers.into_iter();
    Step { records, effects: answers.map(|(to, answer)| Effect::Answer(to, answer)).collect() }
}

/// Puts a request to the coordinator of `group`, on whichever core it lives.
pub async fn ask_group<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    request: GroupRequest,
) -> GroupAnswer {
    let owner = coordinator_of::<GroupCoordinator>(&shard.borrow().image, group);
    match owner {
        Some(owner) => ask_coordinator(shard, owner, request).await,
        None => GroupAnswer::Refused(KafkaCode::NotCoordinator),
    }
}

/// Puts a request to one coordinator.
pub async fn ask_coordinator<D: Disk>(
    shard: &ShardRef<D>,
    (partition, core): (TopicPartition, CoreId),
    request: GroupRequest,
) -> GroupAnswer {
    let question = Question::Group { partition, request: Box::new(request) };
    match ask(shard, core, question).await {
        Reply::Group(answer) => *answer,
        other => unreachable!("a group's request is answered by its coordinator, not by {other:?}"),
    }
}

/// Puts a transaction's offsets to the coordinator of `group`; it sees to it that the transaction
/// is open.
pub async fn ask_transactional_commit<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    claim: Claim,
    request: GroupRequest,
) -> GroupAnswer {
    let owner = coordinator_of::<GroupCoordinator>(&shard.borrow().image, group);
    let Some((partition, core)) = owner else {
        return GroupAnswer::Refused(KafkaCode::NotCoordinator);
    };
    let request = Box::new(request);
    let question = Question::CommitTransaction { partition, claim: Box::new(claim), request };
    match ask(shard, core, question).await {
        Reply::Group(answer) => *answer,
        other => unreachable!("a group's request is answered by its coordinator, not by {other:?}"),
    }
}

/// Commits a transaction's offsets on the core that owns the group, once its coordinator has said
/// that the partition is part of the transaction.
pub async fn commit_transaction_here<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    claim: &Claim,
    request: GroupRequest,
) -> GroupAnswer {
    let key = (id, claim.producer_id);
    loop {
        let opened = {
            let mut shard = shard.borrow_mut();
            match shard.is_transaction_open(claim, &id) {
                true => break,
                false => shard.guards.open(key),
            }
        };
        let codes = verification::verify(shard, claim, &[id]).await;
        let is_whole = shard.borrow_mut().guards.close(&key, opened);
        match codes.first() {
            // Clients know this one, and ask the same coordinator again.
            Some(code) if verification::is_transient(*code) => {
                return GroupAnswer::Refused(KafkaCode::CoordinatorLoadInProgress);
            }
            Some(KafkaCode::None) | None if is_whole => break,
            // A marker came between question and answer: both are void.
            Some(KafkaCode::None) | None => {}
            Some(code) => return GroupAnswer::Refused(*code),
        }
    }
    coordinator_host::answer_here::<D, GroupCoordinator>(shard, id, request).await
}

impl<D: Disk> Shard<D> {
    /// Shows the image's topics and settings of groups to the group coordinators of this core,
    /// once groups are used.
    pub(super) fn show_topics_to_groups(&mut self) {
        if self.image.topic_by_name(OFFSETS_TOPIC).is_none() {
            return;
        }
        let view = |topic: &Arc<TopicImage>| {
            let partitions = topic.partition_count();
            (Arc::clone(&topic.name), TopicView { id: topic.id, partitions })
        };
        let topics = Topics::new(self.topics.version() + 1, self.image.topics().map(view));
        self.topics = Arc::new(topics);
        let of_group =
            |(id, values): (&str, _)| (id.to_owned(), GroupOverrides::from_values(values));
        self.group_overrides = Arc::new(self.image.group_configs().map(of_group).collect());
        self.groups.each(|coordinator| {
            coordinator.set_topics(Arc::clone(&self.topics));
            coordinator.set_overrides(Arc::clone(&self.group_overrides));
        });
    }

    /// Topics are gone: so are the offsets committed for them.
    pub(super) fn forget_offsets_of_deleted(&mut self, before: &MetadataImage) {
        let is_gone = |name: &str| self.image.topic_by_name(name).is_none();
        let gone = before.topics().filter(|topic| is_gone(&topic.name));
        let gone: Vec<String> = gone.map(|topic| topic.name.to_string()).collect();
        let now = self.now;
        for id in self.groups.partitions() {
            for name in &gone {
                let Some(coordinator) = self.groups.active(&id) else { break };
                let step = coordinator.on_topic_deleted(name, now);
                self.take_step::<GroupCoordinator>(id, step_of(step));
            }
        }
    }
}
