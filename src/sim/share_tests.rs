//! Share groups end to end: members on several cores that acquire, acknowledge, release, stall and
//! vanish, and power cuts in between. No record is two members' at once; one whose acceptance was
//! answered never comes back; every record reaches somebody; a group's start never goes back.

use crate::controller::decide::Change;
use crate::model::broker_config::{BrokerConfig, Origin, Setting};
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, TopicPartition};
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::messages::share_acknowledge::{
    self, AcknowledgePartition, AcknowledgeTopic, ShareAcknowledgeRequest,
};
use crate::protocol::messages::share_fetch::{
    AcknowledgementBatch, FetchPartition, FetchTopic, PartitionData, ShareFetchRequest,
    ShareFetchResponse,
};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::metadata;
use crate::shard::share_state;
use crate::sim::broker::{SimBroker, SimClient, SimStart};
use crate::sim::disk::SimDisk;
use crate::sim::executor::{SimExecutor, SimHandle};
use crate::sim::random::Random;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

const GROUP: &str = "workers";
const TOPIC: &str = "t";
const PARTITIONS: i32 = 2;
const CORES: u16 = 2;
const MEMBERS: usize = 3;
const LOCK_US: u64 = 1_000_000;
const DELIVERIES_MAX: i16 = 4;

fn config() -> Arc<BrokerConfig> {
    let setting = |(key, value): (&str, &str)| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: Origin::Flag,
    };
    let deliveries = DELIVERIES_MAX.to_string();
    let settings: Vec<Setting> = [
        ("share.coordinator.state.topic.num.partitions", "3"),
        ("share.coordinator.snapshot.update.records.per.snapshot", "5"),
        ("group.share.record.lock.duration.ms", "1000"),
        ("group.share.min.record.lock.duration.ms", "1000"),
        ("group.share.delivery.count.limit", deliveries.as_str()),
        ("group.share.partition.max.record.locks", "100"),
        ("num.partitions", "2"),
    ]
    .map(setting)
    .into();
    Arc::new(BrokerConfig::from_settings(&settings).expect("legal settings").0)
}

fn start(seed: u64, disk: Option<&SimDisk>) -> (SimBroker, SimDisk) {
    let executor = SimExecutor::new(seed);
    let handle = executor.handle();
    let disk = match disk {
        None => SimDisk::new(handle),
        Some(disk) => disk.moved_to(handle),
    };
    let start = SimStart { seed, disk: disk.clone(), cores: CORES, config: config() };
    (SimBroker::start(executor, start), disk)
}

/// Cuts the power and starts again.
fn crash(seed: u64, mut broker: SimBroker, disk: &SimDisk) -> (SimBroker, SimDisk) {
    broker.executor.kill_all();
    drop(broker);
    disk.crash(&mut Random::new(seed));
    start(seed + 1, Some(disk))
}

/// Makes the topic, and lets the group begin with it.
fn make_topic(broker: &mut SimBroker) -> Uuid {
    let shard = broker.core(1);
    broker.executor.run_until(async move {
        let names = vec![TOPIC.to_owned()];
        metadata::change(&shard, Change::AutoCreateTopics { names }).await;
        let image = Arc::clone(&shard.borrow().image);
        let topic = image.topic_by_name(TOPIC).expect("just made").id;
        for partition in 0..PARTITIONS {
            let id = TopicPartition { topic, partition: PartitionId(partition) };
            share_state::initialize(&shard, GROUP, id, 0, 0).await.expect("a fresh state");
        }
        topic.0
    })
}

/// One record as its consumers see it.
#[derive(Debug, Default)]
struct Seen {
    deliveries: u32,
    /// Its acceptance was answered.
    is_accepted: bool,
    /// Who has it, and until when no other can, in microseconds.
    holder: Option<(usize, u64)>,
}

/// What all members saw, by partition and offset.
#[derive(Default)]
struct World {
    seen: BTreeMap<(i32, i64), Seen>,
    /// Durable start offsets that somebody read.
    starts: BTreeMap<i32, i64>,
    /// Records of each partition that were acknowledged to their producer.
    produced: BTreeMap<i32, i64>,
}

impl World {
    /// A member has records, as of an answer that it waited for since `sent_us`.
    fn acquired(&mut self, member: usize, data: &PartitionData, (sent_us, now_us): (u64, u64)) {
        let mut spans = Vec::new();
        let mut records = data.records.clone().into_bytes();
        while !records.is_empty() {
            let batch = CheckedBatch::check_first(&mut records).expect("whole batches");
            spans.push((batch.header().base_offset(), batch.header().last_offset()));
        }
        for range in &data.acquired_records {
            assert!((1..=DELIVERIES_MAX).contains(&range.delivery_count), "{range:?}");
            for offset in range.first_offset..=range.last_offset {
                let place = (data.partition_index, offset);
                let is_there = spans.iter().any(|(first, last)| (*first..=*last).contains(&offset));
                assert!(is_there, "{place:?} was acquired, not sent");
                let seen = self.seen.entry(place).or_default();
                assert!(!seen.is_accepted, "{place:?} comes back");
                if let Some((holder, until_us)) = seen.holder {
                    assert!(until_us <= now_us, "{place:?} is {holder}'s, and {member}'s too");
                }
                seen.deliveries += 1;
                seen.holder = Some((member, sent_us + LOCK_US));
            }
        }
    }

    /// From here on the broker may give the member's record to others.
    fn let_go(&mut self, member: usize, place: &(i32, i64)) {
        let seen = self.seen.entry(*place).or_default();
        seen.holder = seen.holder.filter(|(holder, _)| *holder != member);
    }

    fn let_all_go(&mut self) {
        self.seen.values_mut().for_each(|seen| seen.holder = None);
    }
}

type Shared = Rc<RefCell<World>>;

/// What a member says of one record.
type Word = ((i32, i64), i8);

const ACCEPT: i8 = 1;

struct Member {
    world: Shared,
    handle: SimHandle,
    random: Random,
    topic: Uuid,
    number: usize,
    epoch: i32,
    held: Vec<(i32, i64)>,
}

impl Member {
    fn new(
        (world, handle): (Shared, SimHandle),
        random: Random,
        topic: Uuid,
        number: usize,
    ) -> Member {
        Member { world, handle, random, topic, number, epoch: 0, held: Vec::new() }
    }

    fn name(&self) -> String {
        format!("member-{}", self.number)
    }

    fn now_us(&self) -> u64 {
        self.handle.now().monotonic_us
    }

    /// Something to say of some of the records at hand.
    fn words(&mut self, percent: u64) -> Vec<Word> {
        let mut words = Vec::new();
        let mut kept = Vec::new();
        for place in std::mem::take(&mut self.held) {
            if self.random.chance(percent) {
                let kind = if self.random.chance(70) { ACCEPT } else { 2 };
                words.push((place, kind));
                self.world.borrow_mut().let_go(self.number, &place);
            } else {
                kept.push(place);
            }
        }
        self.held = kept;
        words.sort_unstable();
        words
    }

    fn batches(words: &[Word], partition: i32) -> Vec<AcknowledgementBatch> {
        let mut batches: Vec<AcknowledgementBatch> = Vec::new();
        for ((_, offset), kind) in words.iter().filter(|((of, _), _)| *of == partition) {
            match batches.last_mut() {
                Some(last) if last.last_offset + 1 == *offset => {
                    last.last_offset = *offset;
                    last.acknowledge_types.push(*kind);
                }
                Some(_) | None => batches.push(AcknowledgementBatch {
                    first_offset: *offset,
                    last_offset: *offset,
                    acknowledge_types: vec![*kind],
                }),
            }
        }
        batches
    }

    /// An answer says what became of the words for a partition.
    fn heard(&self, words: &[Word], partition: i32, code: i16) {
        if code != 0 {
            return;
        }
        let mut world = self.world.borrow_mut();
        for (place, kind) in words.iter().filter(|((of, _), _)| *of == partition) {
            if *kind == ACCEPT {
                world.seen.entry(*place).or_default().is_accepted = true;
            }
        }
    }

    async fn fetch(&mut self, client: &mut SimClient, max_wait_ms: i32) -> Option<()> {
        let words = if self.epoch > 0 { self.words(50) } else { Vec::new() };
        let partition = |partition_index| FetchPartition {
            partition_index,
            acknowledgement_batches: Member::batches(&words, partition_index),
        };
        let partitions = (0..PARTITIONS).map(partition).collect();
        let request = ShareFetchRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.name()),
            share_session_epoch: self.epoch,
            max_wait_ms,
            min_bytes: 1,
            max_records: 1 + i32::try_from(self.random.below(20)).expect("small"),
            batch_size: 1 + i32::try_from(self.random.below(9)).expect("small"),
            topics: vec![FetchTopic { topic_id: self.topic, partitions }],
            ..Default::default()
        };
        let sent_us = self.now_us();
        let answer: ShareFetchResponse = client.call(&request).await?;
        match KafkaCode::from_number(answer.error_code) {
            Some(KafkaCode::None) => self.epoch += 1,
            Some(KafkaCode::ShareSessionNotFound | KafkaCode::InvalidShareSessionEpoch) => {
                self.epoch = 0;
                return Some(());
            }
            code => panic!("{code:?}"),
        }
        let now_us = self.now_us();
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(data.error_code, 0, "{data:?}");
            self.heard(&words, data.partition_index, data.acknowledge_error_code);
            self.world.borrow_mut().acquired(self.number, data, (sent_us, now_us));
            for range in &data.acquired_records {
                let offsets = range.first_offset..=range.last_offset;
                self.held.extend(offsets.map(|offset| (data.partition_index, offset)));
            }
        }
        Some(())
    }

    async fn acknowledge(&mut self, client: &mut SimClient, is_final: bool) -> Option<()> {
        let words = self.words(60);
        if is_final {
            for place in std::mem::take(&mut self.held) {
                self.world.borrow_mut().let_go(self.number, &place);
            }
        }
        let batches = |partition| {
            let batches = Member::batches(&words, partition).into_iter();
            batches.map(|batch| share_acknowledge::AcknowledgementBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                acknowledge_types: batch.acknowledge_types,
            })
        };
        let partitions = (0..PARTITIONS).map(|partition_index| AcknowledgePartition {
            partition_index,
            acknowledgement_batches: batches(partition_index).collect(),
        });
        let request = ShareAcknowledgeRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.name()),
            share_session_epoch: if is_final { -1 } else { self.epoch },
            topics: vec![AcknowledgeTopic {
                topic_id: self.topic,
                partitions: partitions
                    .filter(|one| !one.acknowledgement_batches.is_empty())
                    .collect(),
            }],
        };
        let answer = client.call(&request).await?;
        assert_eq!(answer.error_code, 0);
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            self.heard(&words, data.partition_index, data.error_code);
        }
        self.epoch = if is_final { 0 } else { self.epoch + 1 };
        Some(())
    }

    /// One thing that a consumer may do.
    async fn act(&mut self, client: &mut SimClient) -> Option<()> {
        let chance = self.random.below(100);
        match chance {
            0..50 => {
                let max_wait_ms = i32::try_from(self.random.below(30)).expect("small");
                self.fetch(client, max_wait_ms).await
            }
            50..80 if self.epoch > 0 => self.acknowledge(client, false).await,
            80..84 if self.epoch > 0 => self.acknowledge(client, true).await,
            84..90 => {
                // Longer than its locks: it may still say something of lost records.
                let us = LOCK_US / 2 + self.random.below(LOCK_US);
                self.handle.sleep_us(us).await;
                Some(())
            }
            90..93 => {
                // The network breaks; what is on its way is lost.
                for place in std::mem::take(&mut self.held) {
                    self.world.borrow_mut().let_go(self.number, &place);
                }
                self.epoch = 0;
                None
            }
            _ => {
                self.handle.sleep_us(2000).await;
                Some(())
            }
        }
    }
}

/// A consumer that runs until the power is cut, on one connection after the other.
async fn consume(broker: Rc<dyn Fn(usize) -> SimClient>, mut member: Member) {
    loop {
        let core = member.random.index(usize::from(CORES));
        let mut client = broker(core);
        while member.act(&mut client).await.is_some() {}
    }
}

async fn produce(client: &mut SimClient, (topic, partition): (Uuid, i32), count: usize) -> i64 {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..count {
        let record = NewRecord { timestamp_ms: 1, key: None, value: Some(b"work"), headers: &[] };
        builder.push(&record).expect("small");
    }
    let records = builder.build().expect("small").into();
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            topic_id: topic,
            partition_data: vec![PartitionProduceData { index: partition, records }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&request).await.expect("answered");
    let outcome = &answer.responses[0].partition_responses[0];
    assert_eq!(outcome.error_code, 0);
    outcome.base_offset + i64::try_from(count).expect("small")
}

/// Work comes in, and the group's start offsets are watched.
async fn supply(broker: &SimBrokerParts, world: &Shared, topic: Uuid, mut random: Random) {
    for _ in 0..12 {
        let partition = i32::try_from(random.index(2)).expect("two");
        let count = 1 + random.index(9);
        let mut client = (broker.connect)(random.index(usize::from(CORES)));
        let end = produce(&mut client, (topic, partition), count).await;
        world.borrow_mut().produced.insert(partition, end);
        broker.handle.sleep_us(random.below(80_000)).await;
        watch_starts(broker, world, topic).await;
    }
}

async fn watch_starts(broker: &SimBrokerParts, world: &Shared, topic: Uuid) {
    for partition in 0..PARTITIONS {
        let topic = crate::model::ids::TopicId(topic);
        let id = TopicPartition { topic, partition: PartitionId(partition) };
        let Ok(summary) = share_state::read_summary(&broker.core, GROUP, id).await else {
            continue;
        };
        let mut world = world.borrow_mut();
        let before = world.starts.entry(partition).or_default();
        assert!(summary.start_offset >= *before, "the start of {partition} goes back");
        *before = summary.start_offset;
    }
}

/// What tasks need of a broker.
struct SimBrokerParts {
    connect: Rc<dyn Fn(usize) -> SimClient>,
    core: crate::shard::shard::ShardRef<SimDisk>,
    handle: SimHandle,
}

impl SimBrokerParts {
    fn of(broker: &SimBroker) -> SimBrokerParts {
        let door = broker.door();
        let connect = Rc::new(move |core| door.connect(core));
        let (core, handle) = (broker.core(0), broker.executor.handle());
        SimBrokerParts { connect, core, handle }
    }
}

/// Members at work until supplies end or the power does.
fn shift(broker: &mut SimBroker, world: &Shared, topic: Uuid, random: &mut Random) {
    let parts = SimBrokerParts::of(broker);
    for number in 0..MEMBERS {
        let shared = (Rc::clone(world), parts.handle.clone());
        let member = Member::new(shared, random.fork(), topic, number);
        parts.handle.spawn(consume(Rc::clone(&parts.connect), member));
    }
    let world = Rc::clone(world);
    let random = random.fork();
    broker.executor.run_until(async move { supply(&parts, &world, topic, random).await });
}

/// One member takes all that is left.
fn drain(broker: &mut SimBroker, world: &Shared, topic: Uuid) {
    let parts = SimBrokerParts::of(broker);
    let world = Rc::clone(world);
    broker.executor.run_until(async move {
        let shared = (Rc::clone(&world), parts.handle.clone());
        let mut member = Member::new(shared, Random::new(1), topic, MEMBERS);
        let mut client = (parts.connect)(0);
        for _ in 0..4000 {
            member.fetch(&mut client, 200).await.expect("answered");
            if member.epoch > 0 && !member.held.is_empty() {
                member.acknowledge(&mut client, false).await.expect("answered");
            }
            watch_starts(&parts, &world, topic).await;
            let world = world.borrow();
            if world.produced.iter().all(|(partition, end)| world.starts[partition] >= *end) {
                return;
            }
        }
        panic!("work is left: {:?} of {:?}", world.borrow().starts, world.borrow().produced);
    });
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let world = Shared::default();
    let (mut broker, mut disk) = start(seed, None);
    let topic = make_topic(&mut broker);
    for round in 0..3 {
        shift(&mut broker, &world, topic, &mut random);
        (broker, disk) = crash(seed + round, broker, &disk);
        world.borrow_mut().let_all_go();
    }
    drain(&mut broker, &world, topic);
    let world = world.borrow();
    for (partition, end) in &world.produced {
        for offset in 0..*end {
            let seen = &world.seen.get(&(*partition, offset));
            assert!(seen.is_some_and(|seen| seen.deliveries > 0), "{partition}/{offset} is lost");
        }
    }
}

#[test]
fn every_record_reaches_one_member_at_a_time_and_accepted_ones_never_come_back() {
    for seed in 0..40 {
        run(seed * 1000);
    }
}
