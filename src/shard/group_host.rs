//! The group coordinators of this core: one per partition of `__consumer_offsets` that it owns.
//!
//! What the coordinator decides, this file carries out: records go to the partition as batches,
//! answers to the requests that wait for them once the partition's high watermark has passed the
//! records (`coordinator/replayed.rs` holds the rule).
//!
//! Invariants
//! - A coordinator takes steps only after its partition was replayed (group_load.rs).
//! - Whoever waits is answered, or told that this is not its coordinator, when the partition goes
//!   away or refuses an append.

use crate::controller::image::{MetadataImage, OFFSETS_TOPIC};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupRequest, Step};
use crate::coordinator::partition_of;
use crate::coordinator::replayed::{Phase, Replayed, Waiter};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, Offset, PartitionId, TopicPartition};
use crate::model::limits::GROUP_BATCH_BYTES;
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::group_load;
use crate::shard::mesh::{Acks, PartToken};
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::storage::append_check::AppendOrigin;
use crate::storage::disk::Disk;
use futures::channel::oneshot;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// One coordinator and the gate in front of its clients.
struct Hosted {
    coordinator: GroupCoordinator,
    gate: Replayed<GroupAnswer>,
}

/// All group coordinators of one core.
#[derive(Default)]
pub struct GroupHost {
    hosted: BTreeMap<TopicPartition, Hosted>,
    waiting: HashMap<Waiter, oneshot::Sender<GroupAnswer>>,
    last_waiter: u64,
}

impl GroupHost {
    fn open_waiter(&mut self) -> (Waiter, oneshot::Receiver<GroupAnswer>) {
        let (sender, receiver) = oneshot::channel();
        self.last_waiter += 1;
        let waiter = Waiter(self.last_waiter);
        self.waiting.insert(waiter, sender);
        (waiter, receiver)
    }

    fn answer(&mut self, waiter: Waiter, answer: GroupAnswer) {
        let sender = self.waiting.remove(&waiter).expect("each waiter is answered once");
        let _ = sender.send(answer); // The asking task was dropped: nobody wants the answer.
    }

    /// Hands out what is committed.
    fn deliver(&mut self, id: &TopicPartition) {
        let Some(hosted) = self.hosted.get_mut(id) else { return };
        for (waiter, answer) in hosted.gate.take_committed() {
            self.answer(waiter, answer);
        }
    }

    /// Forgets a coordinator whose memory is no longer its log's image.
    fn drop_coordinator(&mut self, id: &TopicPartition) {
        let Some(mut hosted) = self.hosted.remove(id) else { return };
        let mut waiters = hosted.gate.fail();
        waiters.extend(hosted.coordinator.take_waiters());
        for waiter in waiters {
            self.answer(waiter, GroupAnswer::Refused(KafkaCode::NotCoordinator));
        }
    }

    /// Marks the partition as being replayed; false when it is hosted already.
    pub(super) fn begin_load(&mut self, id: TopicPartition, coordinator: GroupCoordinator) -> bool {
        if self.hosted.contains_key(&id) {
            return false;
        }
        self.hosted.insert(id, Hosted { coordinator, gate: Replayed::new() });
        true
    }

    /// The coordinator being replayed, unless it was dropped meanwhile.
    pub(super) fn loading(&mut self, id: &TopicPartition) -> Option<&mut GroupCoordinator> {
        let hosted = self.hosted.get_mut(id)?;
        (hosted.gate.phase() == Phase::Loading).then_some(&mut hosted.coordinator)
    }

    /// The replay has reached `end`.
    pub(super) fn end_load(&mut self, id: &TopicPartition, end: Offset) {
        let hosted = self.hosted.get_mut(id).expect("looked up just before");
        hosted.gate.on_loaded(end);
    }

    /// The replay failed: the next request tries again.
    pub(super) fn abandon_load(&mut self, id: &TopicPartition) {
        self.drop_coordinator(id);
    }

    /// When `Shard::tick_groups` has something to do, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        let active = self.hosted.values().filter(|hosted| hosted.gate.phase() == Phase::Active);
        active.map(|hosted| hosted.coordinator.next_deadline_us()).min().unwrap_or(u64::MAX)
    }
}

/// The partition whose owner coordinates `group`, and that owner. `None` before the topic exists.
pub fn coordinator_of(image: &MetadataImage, group: &str) -> Option<(TopicPartition, CoreId)> {
    let topic = image.topic_by_name(OFFSETS_TOPIC)?;
    let partitions = u32::try_from(topic.partition_count()).ok().filter(|count| *count > 0)?;
    let partition = i32::try_from(partition_of(group, partitions)).ok()?;
    let id = TopicPartition { topic: topic.id, partition: PartitionId(partition) };
    Some((id, image.owner_of(&id)?))
}

/// Every coordinator partition with its owner.
pub fn coordinators(image: &MetadataImage) -> Vec<(TopicPartition, CoreId)> {
    let Some(topic) = image.topic_by_name(OFFSETS_TOPIC) else { return Vec::new() };
    topic.partitions().map(|(id, partition)| (id, partition.core)).collect()
}

/// Puts a request to the coordinator of `group`, on whichever core it lives.
pub async fn ask_group<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    request: GroupRequest,
) -> GroupAnswer {
    let owner = coordinator_of(&shard.borrow().image, group);
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

/// Answers a request on the core that owns the coordinator; a join or sync may wait for minutes.
pub async fn answer_here<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    request: GroupRequest,
) -> GroupAnswer {
    let phase = shard.borrow().groups.hosted.get(&id).map(|hosted| hosted.gate.phase());
    match phase {
        Some(Phase::Active) => {}
        Some(Phase::Loading) => {
            return GroupAnswer::Refused(KafkaCode::CoordinatorLoadInProgress);
        }
        Some(Phase::Failed) | None => {
            let code = match group_load::start(shard, id) {
                true => KafkaCode::CoordinatorLoadInProgress,
                false => KafkaCode::NotCoordinator,
            };
            return GroupAnswer::Refused(code);
        }
    }
    let receiver = {
        let mut shard = shard.borrow_mut();
        if shard.write_state != WriteState::Open && request.may_write() {
            return GroupAnswer::Refused(KafkaCode::CoordinatorNotAvailable);
        }
        shard.take_group_request(id, request)
    };
    receiver.await.unwrap_or(GroupAnswer::Refused(KafkaCode::NotCoordinator))
}

impl<D: Disk> Shard<D> {
    fn take_group_request(
        &mut self,
        id: TopicPartition,
        request: GroupRequest,
    ) -> oneshot::Receiver<GroupAnswer> {
        let now = self.now;
        let (waiter, receiver) = self.groups.open_waiter();
        let hosted = self.groups.hosted.get_mut(&id).expect("the caller saw it active");
        let step = hosted.coordinator.on_request(request, waiter, now);
        self.take_group_step(id, step);
        receiver
    }

    /// Appends a step's records and parks its answers behind them.
    fn take_group_step(&mut self, id: TopicPartition, step: Step) {
        let Step { records, answers } = step;
        if let Err(code) = self.append_group_records(id, &records) {
            tracing::error!(partition = %id, code = code.name(),
                "group coordinator: append refused, its state is read back from the log");
            for (waiter, _) in answers {
                self.groups.answer(waiter, GroupAnswer::Refused(KafkaCode::NotCoordinator));
            }
            return self.groups.drop_coordinator(&id);
        }
        if let Some(hosted) = self.groups.hosted.get_mut(&id) {
            hosted.gate.park(answers);
            self.groups.deliver(&id);
        }
    }

    fn append_group_records(
        &mut self,
        id: TopicPartition,
        records: &[GroupRecord],
    ) -> Result<(), KafkaCode> {
        if records.is_empty() {
            return Ok(());
        }
        for batch in batches_of(records, self.now.wall_ms)? {
            let token = PartToken::Group { partition: id };
            let from = AppendOrigin::Coordinator;
            if let Some(outcome) = self.append_one(id, batch, Acks::All, token, from)
                && outcome.code != KafkaCode::None
            {
                return Err(outcome.code);
            }
        }
        let index = self.partition_index(&id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let end = self.partitions[index].log.log_end();
        let high_watermark = self.partitions[index].high_watermark();
        let hosted = self.groups.hosted.get_mut(&id).ok_or(KafkaCode::NotCoordinator)?;
        hosted.gate.on_appended(end);
        hosted.gate.on_committed(high_watermark);
        Ok(())
    }

    /// An append of a coordinator is committed, or will never be.
    pub(super) fn on_group_appended(&mut self, id: TopicPartition, code: KafkaCode) {
        if code != KafkaCode::None {
            return self.groups.drop_coordinator(&id);
        }
        let Some(index) = self.partition_index(&id) else { return };
        let high_watermark = self.partitions[index].high_watermark();
        if let Some(hosted) = self.groups.hosted.get_mut(&id)
            && hosted.gate.phase() == Phase::Active
        {
            hosted.gate.on_committed(high_watermark);
            self.groups.deliver(&id);
        }
    }

    /// Lets every coordinator do what is due: sessions, rebalances, expiry.
    pub(super) fn tick_groups(&mut self) {
        if self.write_state != WriteState::Open || self.is_stopping {
            return;
        }
        let now = self.now;
        let is_due = |hosted: &Hosted| {
            hosted.gate.phase() == Phase::Active
                && hosted.coordinator.next_deadline_us() <= now.monotonic_us
        };
        let hosted = self.groups.hosted.iter().filter(|(_, hosted)| is_due(hosted));
        let due: Vec<TopicPartition> = hosted.map(|(id, _)| *id).collect();
        for id in due {
            let Some(hosted) = self.groups.hosted.get_mut(&id) else { continue };
            let step = hosted.coordinator.on_tick(now);
            self.take_group_step(id, step);
        }
    }

    /// Topics are gone: so are their offsets, and coordinators whose partition went with them.
    pub(super) fn on_topics_deleted(&mut self, before: &MetadataImage) {
        let is_gone = |name: &str| self.image.topic_by_name(name).is_none();
        let gone = before.topics().filter(|topic| is_gone(&topic.name));
        let gone: Vec<String> = gone.map(|topic| topic.name.to_string()).collect();
        let hosted: Vec<TopicPartition> = self.groups.hosted.keys().copied().collect();
        let now = self.now;
        for id in hosted {
            if self.image.owner_of(&id).is_none() {
                self.groups.drop_coordinator(&id);
            }
            for name in &gone {
                let Some(hosted) = self.groups.hosted.get_mut(&id) else { continue };
                if hosted.gate.phase() == Phase::Active {
                    let step = hosted.coordinator.on_topic_deleted(name, now);
                    self.take_group_step(id, step);
                }
            }
        }
    }
}

/// The records as batches of at most [`GROUP_BATCH_BYTES`], or of one record.
fn batches_of(records: &[GroupRecord], now_ms: i64) -> Result<Vec<CheckedBatch>, KafkaCode> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        let bytes = record.encode().map_err(|_| KafkaCode::UnknownServerError)?;
        let size = bytes.key.len() + bytes.value.as_ref().map_or(0, |value| value.len());
        if builder.record_count() > 0 && builder.size() + size > GROUP_BATCH_BYTES {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BatchOptions::default()));
            batches.push(finish(full)?);
        }
        let record = NewRecord {
            timestamp_ms: now_ms,
            key: Some(&bytes.key),
            value: bytes.value.as_deref(),
            headers: &[],
        };
        builder.push(&record).map_err(|_| KafkaCode::UnknownServerError)?;
    }
    if builder.record_count() > 0 {
        batches.push(finish(builder)?);
    }
    Ok(batches)
}

fn finish(builder: BatchBuilder) -> Result<CheckedBatch, KafkaCode> {
    let mut bytes = builder.build().map_err(|_| KafkaCode::UnknownServerError)?;
    CheckedBatch::check_first(&mut bytes).map_err(|_| KafkaCode::UnknownServerError)
}
