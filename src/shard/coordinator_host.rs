//! The coordinators of this core: one per partition of `__consumer_offsets`, `__transaction_state`
//! or `__share_group_state` that it owns.
//!
//! What a coordinator decides, this file carries out: records go to the partition as batches,
//! answers to the requests that wait for them, and orders to whoever carries them out, once the
//! partition's high watermark has passed the records (`coordinator/replayed.rs` holds the rule).
//! What differs between their kinds is in [`Hosted`]: group_host.rs, transaction_host.rs and
//! share_host.rs.
//!
//! Invariants
//! - A coordinator takes steps only after its partition was replayed (coordinator_load.rs).
//! - Whoever waits is answered, or told that this is not its coordinator, when the partition goes
//!   away or refuses an append.

use crate::controller::image::MetadataImage;
use crate::coordinator::group::topics::Topics;
use crate::coordinator::partition_of;
use crate::coordinator::replayed::{Effect, KeyValue, Phase, Replayed, Step, Waiter};
use crate::model::broker_config::BrokerConfig;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::GroupOverrides;
use crate::model::ids::{
    BrokerId, CoreId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicPartition,
};
use crate::model::limits::COORDINATOR_BATCH_BYTES;
use crate::protocol::primitive::{DecodeError, EncodeError};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::coordinator_load;
use crate::shard::mesh::{Acks, AppendOutcome, PartToken};
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::storage::append_check::AppendOrigin;
use crate::storage::disk::Disk;
use bytes::Bytes;
use futures::channel::oneshot;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a coordinator is made from.
pub struct Birth<'a> {
    pub config: &'a BrokerConfig,
    /// The topics that exist.
    pub topics: &'a Arc<Topics>,
    /// Settings of single groups.
    pub group_overrides: &'a Arc<BTreeMap<String, GroupOverrides>>,
    /// Size in bytes that one record may have: what the topic's `max.message.bytes` leaves room
    /// for.
    pub record_bytes_max: usize,
    /// Of the partition that the coordinator lives in.
    pub leader_epoch: LeaderEpoch,
}

/// A kind of coordinator, as its host drives it. All steps are sans-io.
pub trait Hosted: Sized + 'static {
    type Record;
    type Request;
    type Answer: 'static;
    /// What is to be done elsewhere once the records of a step are committed.
    type Order;

    /// The topic whose partitions hold the coordinators' records.
    const TOPIC: &'static str;
    /// What log lines call it.
    const NAME: &'static str;

    /// The host of this kind on a core.
    fn host<D: Disk>(shard: &mut Shard<D>) -> &mut Host<Self>;
    /// A coordinator that has replayed nothing yet.
    fn begin(birth: Birth<'_>) -> Self;
    fn encode(record: &Self::Record) -> Result<KeyValue, EncodeError>;
    /// Whose transaction a record belongs to: it goes into a batch of that producer.
    fn producer(_: &Self::Record) -> ProducerStamp {
        ProducerStamp::NONE
    }
    /// Applies a record of the log; keys of kinds it does not serve are left out.
    fn replay(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<(), DecodeError>;
    /// Applies a record of a batch of a producer's transaction.
    fn replay_transactional(
        &mut self,
        _: ProducerId,
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<(), DecodeError> {
        self.replay(key, value)
    }
    /// A producer's transaction has ended in the partition.
    fn on_marker(&mut self, _: ProducerId, _is_commit: bool) {}
    /// The replay is complete.
    fn on_loaded(&mut self, now: Now) -> Step<Self::Record, Self::Answer, Self::Order>;
    fn on_request(
        &mut self,
        request: Self::Request,
        waiter: Waiter,
        now: Now,
    ) -> Step<Self::Record, Self::Answer, Self::Order>;
    fn on_tick(&mut self, now: Now) -> Step<Self::Record, Self::Answer, Self::Order>;
    /// The records of the last step lie in the log from `first` on.
    fn on_appended(&mut self, _first: Offset) {}
    /// Monotonic microseconds.
    fn next_deadline_us(&self) -> u64;
    /// Whoever waits inside the coordinator, taken out: it is being dropped.
    fn take_waiters(&mut self) -> Vec<Waiter>;
    /// Whether carrying a request out may bring forth records. What may not is answered even when
    /// the log takes no more data.
    fn may_write(request: &Self::Request) -> bool;
    fn refused(code: KafkaCode) -> Self::Answer;
    fn carry_out<D: Disk>(shard: &mut Shard<D>, id: TopicPartition, order: Self::Order);
}

/// What [`Hosted`]'s steps are.
pub type StepOf<C> = Step<<C as Hosted>::Record, <C as Hosted>::Answer, <C as Hosted>::Order>;

type EffectOf<C> = Effect<<C as Hosted>::Answer, <C as Hosted>::Order>;

/// One coordinator and the gate in front of what it sets off.
struct Seat<C: Hosted> {
    coordinator: C,
    gate: Replayed<EffectOf<C>>,
}

/// All coordinators of one kind on one core.
pub struct Host<C: Hosted> {
    seats: BTreeMap<TopicPartition, Seat<C>>,
    waiting: HashMap<Waiter, oneshot::Sender<C::Answer>>,
    last_waiter: u64,
}

impl<C: Hosted> Default for Host<C> {
    fn default() -> Self {
        Host { seats: BTreeMap::new(), waiting: HashMap::new(), last_waiter: 0 }
    }
}

impl<C: Hosted> Host<C> {
    fn open_waiter(&mut self) -> (Waiter, oneshot::Receiver<C::Answer>) {
        let (sender, receiver) = oneshot::channel();
        self.last_waiter += 1;
        let waiter = Waiter(self.last_waiter);
        self.waiting.insert(waiter, sender);
        (waiter, receiver)
    }

    fn answer(&mut self, waiter: Waiter, answer: C::Answer) {
        let sender = self.waiting.remove(&waiter).expect("each waiter is answered once");
        let _ = sender.send(answer); // The asking task was dropped: nobody wants the answer.
    }

    /// Forgets a coordinator whose memory is no longer its log's image.
    fn drop_coordinator(&mut self, id: &TopicPartition) {
        let Some(mut seat) = self.seats.remove(id) else { return };
        self.refuse(seat.gate.fail());
        for waiter in seat.coordinator.take_waiters() {
            self.answer(waiter, C::refused(KafkaCode::NotCoordinator));
        }
    }

    /// What was to happen will not: answers become refusals; orders are given again by whoever
    /// replays the records behind them.
    fn refuse(&mut self, effects: Vec<EffectOf<C>>) {
        for effect in effects {
            if let Effect::Answer(waiter, _) = effect {
                self.answer(waiter, C::refused(KafkaCode::NotCoordinator));
            }
        }
    }

    /// True when a coordinator lives in the partition, or is being loaded from it.
    pub fn holds(&self, id: &TopicPartition) -> bool {
        self.seats.contains_key(id)
    }

    /// The partitions that coordinators live in.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.seats.keys().copied().collect()
    }

    /// The coordinator, once its partition is replayed.
    pub fn active(&mut self, id: &TopicPartition) -> Option<&mut C> {
        let seat = self.seats.get_mut(id)?;
        (seat.gate.phase() == Phase::Active).then_some(&mut seat.coordinator)
    }

    /// Shows every coordinator something, those too whose partition is still being replayed.
    pub(super) fn each(&mut self, mut show: impl FnMut(&mut C)) {
        self.seats.values_mut().for_each(|seat| show(&mut seat.coordinator));
    }

    /// Marks the partition as being replayed; false when it is hosted already.
    pub(super) fn begin_load(&mut self, id: TopicPartition, coordinator: C) -> bool {
        if self.seats.contains_key(&id) {
            return false;
        }
        self.seats.insert(id, Seat { coordinator, gate: Replayed::new() });
        true
    }

    /// The coordinator being replayed, unless it was dropped meanwhile.
    pub(super) fn loading(&mut self, id: &TopicPartition) -> Option<&mut C> {
        let seat = self.seats.get_mut(id)?;
        (seat.gate.phase() == Phase::Loading).then_some(&mut seat.coordinator)
    }

    /// The replay has reached `end`.
    pub(super) fn end_load(&mut self, id: &TopicPartition, end: Offset) {
        let seat = self.seats.get_mut(id).expect("looked up just before");
        seat.gate.on_loaded(end);
    }

    /// The replay failed: the next request tries again.
    pub(super) fn abandon_load(&mut self, id: &TopicPartition) {
        self.drop_coordinator(id);
    }

    /// When `Shard::tick_coordinators` has something to do, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        let active = self.seats.values().filter(|seat| seat.gate.phase() == Phase::Active);
        active.map(|seat| seat.coordinator.next_deadline_us()).min().unwrap_or(u64::MAX)
    }
}

/// The partition whose leader coordinates `key`, and its core where that is here. `None` before the
/// topic exists, and where another broker leads.
pub fn coordinator_of<C: Hosted>(
    image: &MetadataImage,
    key: &str,
) -> Option<(TopicPartition, CoreId)> {
    let id = coordinating_partition::<C>(image, key)?;
    Some((id, image.leader_core(&id).ok()?))
}

/// The partition whose leader coordinates `key`. `None` before the topic exists.
pub fn coordinating_partition<C: Hosted>(
    image: &MetadataImage,
    key: &str,
) -> Option<TopicPartition> {
    let topic = image.topic_by_name(C::TOPIC)?;
    let partitions = u32::try_from(topic.partition_count()).ok().filter(|count| *count > 0)?;
    let partition = i32::try_from(partition_of(key, partitions)).ok()?;
    Some(TopicPartition { topic: topic.id, partition: PartitionId(partition) })
}

/// The other broker that coordinates `key`; `None` where this one does or nobody.
pub fn coordinating_broker<C: Hosted>(image: &MetadataImage, key: &str) -> Option<BrokerId> {
    let topic = image.topic_by_name(C::TOPIC)?;
    let partitions = u32::try_from(topic.partition_count()).ok().filter(|count| *count > 0)?;
    let partition = i32::try_from(partition_of(key, partitions)).ok()?;
    let leader = topic.partition(PartitionId(partition))?.state.leader?;
    Some(leader).filter(|leader| *leader != image.local())
}

/// Every coordinator partition of a kind that is led here, with its core.
pub fn coordinators<C: Hosted>(image: &MetadataImage) -> Vec<(TopicPartition, CoreId)> {
    let Some(topic) = image.topic_by_name(C::TOPIC) else { return Vec::new() };
    let led = topic.partitions().filter_map(|(id, _)| Some((id, image.leader_core(&id).ok()?)));
    led.collect()
}

/// Answers a request on the core that owns the coordinator; a join or sync may wait for minutes.
pub async fn answer_here<D: Disk, C: Hosted>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    request: C::Request,
) -> C::Answer {
    let phase = C::host(&mut shard.borrow_mut()).seats.get(&id).map(|seat| seat.gate.phase());
    match phase {
        Some(Phase::Active) => {}
        Some(Phase::Loading) => return C::refused(KafkaCode::CoordinatorLoadInProgress),
        Some(Phase::Failed) | None => {
            return C::refused(match coordinator_load::start::<D, C>(shard, id) {
                true => KafkaCode::CoordinatorLoadInProgress,
                false => KafkaCode::NotCoordinator,
            });
        }
    }
    let receiver = {
        let mut shard = shard.borrow_mut();
        if shard.write_state != WriteState::Open && C::may_write(&request) {
            return C::refused(KafkaCode::CoordinatorNotAvailable);
        }
        shard.take_request::<C>(id, request)
    };
    receiver.await.unwrap_or(C::refused(KafkaCode::NotCoordinator))
}

impl<D: Disk> Shard<D> {
    fn take_request<C: Hosted>(
        &mut self,
        id: TopicPartition,
        request: C::Request,
    ) -> oneshot::Receiver<C::Answer> {
        let now = self.now;
        let host = C::host(self);
        let (waiter, receiver) = host.open_waiter();
        let seat = host.seats.get_mut(&id).expect("the caller saw it active");
        let step = seat.coordinator.on_request(request, waiter, now);
        self.take_step::<C>(id, step);
        receiver
    }

    /// Appends a step's records and parks what it sets off behind them.
    pub(super) fn take_step<C: Hosted>(&mut self, id: TopicPartition, step: StepOf<C>) {
        let Step { records, effects } = step;
        if let Err(code) = self.append_records::<C>(id, &records) {
            tracing::error!(partition = %id, code = code.name(),
                "{}: append refused, its state is read back from the log", C::NAME);
            C::host(self).refuse(effects);
            return C::host(self).drop_coordinator(&id);
        }
        if let Some(seat) = C::host(self).seats.get_mut(&id) {
            seat.gate.park(effects);
            self.deliver::<C>(&id);
        }
    }

    /// Sets off what is committed.
    fn deliver<C: Hosted>(&mut self, id: &TopicPartition) {
        let Some(seat) = C::host(self).seats.get_mut(id) else { return };
        for effect in seat.gate.take_committed() {
            match effect {
                Effect::Answer(waiter, answer) => C::host(self).answer(waiter, answer),
                Effect::Order(order) => C::carry_out(self, *id, order),
            }
        }
    }

    fn append_records<C: Hosted>(
        &mut self,
        id: TopicPartition,
        records: &[C::Record],
    ) -> Result<(), KafkaCode> {
        if records.is_empty() {
            return Ok(());
        }
        let index = self.leader_index(&id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let first = self.partitions[index].log.log_end();
        for batch in batches_of::<C>(records, self.now.wall_ms)? {
            let token = PartToken::Coordinator { partition: id };
            let from = AppendOrigin::Coordinator;
            if let Some(outcome) = self.append_one(id, batch, Acks::All, token, from)
                && outcome.code != KafkaCode::None
            {
                return Err(outcome.code);
            }
        }
        let end = self.partitions[index].log.log_end();
        let high_watermark = self.partitions[index].high_watermark();
        let seat = C::host(self).seats.get_mut(&id).ok_or(KafkaCode::NotCoordinator)?;
        seat.coordinator.on_appended(first);
        seat.gate.on_appended(end);
        seat.gate.on_committed(high_watermark);
        Ok(())
    }

    /// Appends a marker to a coordinator's partition, and lets the coordinator know: whatever it
    /// says from now on waits for the marker. The outcome when there is nothing to wait for.
    pub(super) fn append_marker<C: Hosted>(
        &mut self,
        id: TopicPartition,
        batch: CheckedBatch,
        (producer, is_commit): (ProducerId, bool),
        token: PartToken,
    ) -> Option<AppendOutcome> {
        let from = AppendOrigin::Coordinator;
        let outcome = self.append_one(id, batch, Acks::All, token, from);
        if outcome.as_ref().is_some_and(|outcome| outcome.code != KafkaCode::None) {
            return outcome;
        }
        let end = self.partition_index(&id).map(|index| self.partitions[index].log.log_end());
        if let Some(seat) = C::host(self).seats.get_mut(&id) {
            seat.coordinator.on_marker(producer, is_commit);
            seat.gate.on_appended(end.expect("just appended to"));
        }
        outcome
    }

    /// An append of a coordinator is committed, or will never be.
    pub(super) fn on_coordinator_appended<C: Hosted>(
        &mut self,
        id: TopicPartition,
        code: KafkaCode,
    ) {
        if code != KafkaCode::None {
            return C::host(self).drop_coordinator(&id);
        }
        let Some(index) = self.partition_index(&id) else { return };
        let high_watermark = self.partitions[index].high_watermark();
        if let Some(seat) = C::host(self).seats.get_mut(&id)
            && seat.gate.phase() == Phase::Active
        {
            seat.gate.on_committed(high_watermark);
            self.deliver::<C>(&id);
        }
    }

    /// Lets every coordinator of a kind do what is due: sessions, timeouts, expiry.
    pub(super) fn tick_coordinators<C: Hosted>(&mut self) {
        if self.write_state != WriteState::Open || self.is_stopping {
            return;
        }
        let now = self.now;
        let is_due = |seat: &Seat<C>| {
            seat.gate.phase() == Phase::Active
                && seat.coordinator.next_deadline_us() <= now.monotonic_us
        };
        let seats = C::host(self).seats.iter().filter(|(_, seat)| is_due(seat));
        let due: Vec<TopicPartition> = seats.map(|(id, _)| *id).collect();
        for id in due {
            let Some(coordinator) = C::host(self).active(&id) else { continue };
            let step = coordinator.on_tick(now);
            self.take_step::<C>(id, step);
        }
    }

    /// The image changed: coordinators whose partition is gone go with it.
    pub(super) fn drop_orphans<C: Hosted>(&mut self) {
        for id in C::host(self).partitions() {
            if self.image.leader_core(&id).is_err() {
                C::host(self).drop_coordinator(&id);
            }
        }
    }
}

/// Room for one record in a new batch: an offset with names of usual length. More makes it grow.
const RECORD_BYTES_USUAL: usize = 96;

/// The records as batches of at most [`COORDINATOR_BATCH_BYTES`], or of one record.
fn batches_of<C: Hosted>(
    records: &[C::Record],
    now_ms: i64,
) -> Result<Vec<CheckedBatch>, KafkaCode> {
    let mut batches = Vec::new();
    let room = (records.len() * RECORD_BYTES_USUAL).min(COORDINATOR_BATCH_BYTES);
    let mut builder = BatchBuilder::with_room(options_of(ProducerStamp::NONE), room);
    let mut current = ProducerStamp::NONE;
    for record in records {
        let bytes = C::encode(record).map_err(|_| KafkaCode::UnknownServerError)?;
        let size = bytes.key.len() + bytes.value.as_ref().map_or(0, |value| value.len());
        let producer = C::producer(record);
        let is_full = builder.size() + size > COORDINATOR_BATCH_BYTES;
        if producer != current || (is_full && builder.record_count() > 0) {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(options_of(producer)));
            current = producer;
            if full.record_count() > 0 {
                batches.push(finish(full)?);
            }
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

fn options_of(producer: ProducerStamp) -> BatchOptions {
    let is_transactional = producer != ProducerStamp::NONE;
    BatchOptions { producer, is_transactional, ..BatchOptions::default() }
}

fn finish(builder: BatchBuilder) -> Result<CheckedBatch, KafkaCode> {
    let mut bytes = builder.build().map_err(|_| KafkaCode::UnknownServerError)?;
    CheckedBatch::check_first(&mut bytes).map_err(|_| KafkaCode::UnknownServerError)
}
