//! Group coordinators among the coordinators of a core, and the way to them from any core.

use crate::controller::image::{MetadataImage, OFFSETS_TOPIC};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{self, GroupAnswer, GroupCoordinator, GroupRequest};
use crate::coordinator::replayed::{Effect, KeyValue, Step, Waiter};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::GroupConfig;
use crate::model::ids::{CoreId, TopicPartition};
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::shard::coordinator_host::{Birth, Host, Hosted, StepOf, coordinator_of};
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::Bytes;
use std::convert::Infallible;

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
        GroupCoordinator::new(GroupConfig { record_bytes_max, ..birth.config.groups })
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

impl<D: Disk> Shard<D> {
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
