//! A whole broker under the simulator: clients produce and consume, the process dies or the power
//! goes, the broker recovers, and what clients were told is compared with what is there.
//!
//! `HIGHWATER_SEED=n cargo test --test simulation_broker` replays one seed,
//! `HIGHWATER_SEEDS=n` runs the first n.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

use bytes::Bytes;
use highwater::controller::decide::{Change, ChangeReply, Mode, NewTopic};
use highwater::model::broker_config::BrokerConfig;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::protocol::records::Records;
use highwater::shard::metadata;
use highwater::sim::broker::{SimBroker, SimClient, SimStart};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::{SimExecutor, SimHandle};
use highwater::sim::random::Random;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

const SEEDS_DEFAULT: u64 = 200;
const LIVES: u64 = 4;
const PARTITIONS: i32 = 3;
const CLIENTS: i32 = 4;
/// Longest time between a start and the next crash, in simulated microseconds.
const LIFE_US_MAX: u64 = 80_000;

/// Offsets to values: what somebody was promised, or has seen.
type Log = BTreeMap<i64, String>;

/// What must survive.
#[derive(Default)]
struct Promises {
    /// acks=all: survives a power cut. Also what consumers have seen.
    safe: BTreeMap<i32, Log>,
    /// acks=1: survives the death of the process.
    written: BTreeMap<i32, Log>,
    acked: u64,
}

/// An idempotent batch without an answer yet; sent again in the next life.
#[derive(Clone)]
struct InDoubt {
    partition: i32,
    sequence: i32,
    values: Vec<String>,
}

/// A producer with one batch in flight, kept over the broker's lives.
struct Producer {
    id: i32,
    count: u64,
    sequences: BTreeMap<i32, i32>,
    in_doubt: Option<InDoubt>,
}

#[test]
fn what_was_acknowledged_survives_crashes_of_the_whole_broker() {
    let only = std::env::var("HIGHWATER_SEED").ok().and_then(|text| text.parse().ok());
    let count = std::env::var("HIGHWATER_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 0..count.unwrap_or(SEEDS_DEFAULT),
    };
    let mut acked = 0;
    let total = seeds.end - seeds.start;
    for seed in seeds {
        println!(
            "replay: HIGHWATER_SEED={seed} cargo test --test simulation_broker -- --nocapture"
        );
        acked += run(seed);
    }
    println!("{total} seeds, {acked} batches acknowledged, none lost");
    assert!(acked > total, "a run that acknowledges nothing shows nothing");
}

fn run(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let cores = 1 + u16::try_from(random.below(3)).unwrap();
    let promises = Rc::new(RefCell::new(Promises::default()));
    let producers: Vec<_> = (0..CLIENTS)
        .map(|id| Producer { id, count: 0, sequences: BTreeMap::new(), in_doubt: None })
        .map(|producer| Rc::new(RefCell::new(producer)))
        .collect();
    let mut disk: Option<SimDisk> = None;
    let mut topic = None;
    for life in 0..LIVES {
        let executor = SimExecutor::new(random.next());
        let handle = executor.handle();
        let moved = match &disk {
            Some(disk) => disk.moved_to(handle.clone()),
            None => SimDisk::new(handle.clone()),
        };
        disk = Some(moved.clone());
        let cores = if random.chance(20) { 1 + cores % 3 } else { cores };
        let (config, _) = BrokerConfig::from_settings(&[]).unwrap();
        let start =
            SimStart { seed: random.next(), disk: moved.clone(), cores, config: Arc::new(config) };
        if only_one() {
            println!("life {life} on {cores} cores: {:#?}", moved.paths());
        }
        let mut broker = SimBroker::start(executor, start);
        if only_one() {
            println!("started: {:#?}", moved.paths());
        }
        let id = *topic.get_or_insert_with(|| create_topic(&mut broker));
        check_promises(&mut broker, id, &promises);
        let core = |random: &mut Random| random.index(usize::from(cores));
        for producer in &producers {
            let client = broker.connect(core(&mut random));
            let producer = Rc::clone(producer);
            let task = produce(client, handle.clone(), id, producer, Rc::clone(&promises));
            handle.spawn(task);
        }
        for partition in 0..PARTITIONS {
            let client = broker.connect(core(&mut random));
            handle.spawn(consume(client, id, partition, Rc::clone(&promises)));
        }
        let end_us = handle.now().monotonic_us + 1000 + random.below(LIFE_US_MAX);
        while handle.now().monotonic_us < end_us && broker.executor.step() {}
        broker.executor.kill_all();
        drop(broker);
        if life % 2 == 1 || random.chance(50) {
            moved.crash(&mut random);
            if only_one() {
                println!("power cut");
            }
            promises.borrow_mut().written.clear();
        } else {
            moved.kill();
        }
    }
    promises.borrow().acked
}

/// One seed is being looked at: tell more.
fn only_one() -> bool {
    std::env::var_os("HIGHWATER_SEED").is_some()
}

fn create_topic(broker: &mut SimBroker) -> Uuid {
    let shard = broker.core(0);
    let topic = NewTopic {
        name: "t".to_owned(),
        partition_count: PARTITIONS,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![("segment.bytes".to_owned(), Some("1048576".to_owned()))],
    };
    let change = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    answers[0].result.as_ref().unwrap().id.0
}

/// Sends batches one after the other, for ever; notes what is acknowledged.
async fn produce(
    mut client: SimClient,
    handle: SimHandle,
    topic: Uuid,
    producer: Rc<RefCell<Producer>>,
    promises: Rc<RefCell<Promises>>,
) {
    loop {
        let batch = next_batch(&handle, &mut producer.borrow_mut());
        let acks = if handle.random(|random| random.chance(60)) { -1 } else { 1 };
        let id = producer.borrow().id;
        let answer = send(&mut client, topic, id, &batch, acks).await;
        let Some(answer) = answer else { return };
        let code = KafkaCode::from_number(answer.error_code).unwrap();
        assert_eq!(code, KafkaCode::None, "{:?}", answer.error_message);
        let mut promises = promises.borrow_mut();
        promises.acked += 1;
        let kept = if acks == -1 { &mut promises.safe } else { &mut promises.written };
        let log = kept.entry(batch.partition).or_default();
        for (offset, value) in (answer.base_offset..).zip(&batch.values) {
            let before = log.insert(offset, value.clone());
            assert!(before.is_none_or(|before| before == *value), "offset {offset} given twice");
        }
        let mut producer = producer.borrow_mut();
        producer.in_doubt = None;
        let next = batch.sequence + i32::try_from(batch.values.len()).unwrap();
        producer.sequences.insert(batch.partition, next);
    }
}

fn next_batch(handle: &SimHandle, producer: &mut Producer) -> InDoubt {
    if let Some(batch) = &producer.in_doubt {
        return batch.clone();
    }
    let (partition, count, size) = handle.random(|random| {
        let size = if random.chance(5) { 200_000 } else { 10 + random.index(300) };
        (i32::try_from(random.index(3)).unwrap(), 1 + random.index(4), size)
    });
    let sequence = producer.sequences.get(&partition).copied().unwrap_or(0);
    let values = (0..count).map(|_| {
        producer.count += 1;
        format!("{}-{}-{}", producer.id, producer.count, "x".repeat(size))
    });
    let batch = InDoubt { partition, sequence, values: values.collect() };
    producer.in_doubt = Some(batch.clone());
    batch
}

async fn send(
    client: &mut SimClient,
    topic: Uuid,
    producer: i32,
    batch: &InDoubt,
    acks: i16,
) -> Option<PartitionProduceResponse> {
    let stamp = ProducerStamp {
        producer_id: i64::from(producer),
        producer_epoch: 0,
        base_sequence: batch.sequence,
    };
    let mut builder =
        BatchBuilder::new(BatchOptions { producer: stamp, ..BatchOptions::default() });
    for value in &batch.values {
        let record = NewRecord {
            timestamp_ms: 1_700_000_000_000,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        };
        builder.push(&record).unwrap();
    }
    let records = Records::from(builder.build().unwrap());
    let data = PartitionProduceData { index: batch.partition, records };
    let request = ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 60_000,
        topic_data: vec![TopicProduceData {
            name: String::new(),
            topic_id: topic,
            partition_data: vec![data],
        }],
    };
    let answer = client.call(&request).await?;
    answer.responses.into_iter().next()?.partition_responses.into_iter().next()
}

/// Follows one partition; whatever it sees must still be there after any crash.
async fn consume(
    mut client: SimClient,
    topic: Uuid,
    partition: i32,
    promises: Rc<RefCell<Promises>>,
) {
    let mut next = 0;
    loop {
        let Some(found) = fetch(&mut client, topic, partition, next, 5).await else { return };
        let mut promises = promises.borrow_mut();
        let log = promises.safe.entry(partition).or_default();
        for (offset, value) in found {
            assert_eq!(offset, next, "offsets are dense");
            let before = log.insert(offset, value.clone());
            assert!(before.is_none_or(|before| before == value), "offset {offset} changed");
            next = offset + 1;
        }
    }
}

async fn fetch(
    client: &mut SimClient,
    topic: Uuid,
    partition: i32,
    from: i64,
    max_wait_ms: i32,
) -> Option<Vec<(i64, String)>> {
    let part = FetchPartition {
        partition,
        fetch_offset: from,
        partition_max_bytes: 300_000,
        ..FetchPartition::default()
    };
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1_000_000,
        topics: vec![FetchTopic {
            topic_id: topic,
            partitions: vec![part],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    let answer = client.call(&request).await?;
    let data = answer.responses.into_iter().next()?.partitions.into_iter().next()?;
    let (start, end) = (data.log_start_offset, data.high_watermark);
    assert_eq!(data.error_code, 0, "fetch of {partition} from {from}: {start}..{end}");
    let mut bytes: Bytes = data.records.into_bytes();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        for record in batch.decode_records().unwrap().iter() {
            let record = record.unwrap();
            if record.offset >= from {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                found.push((record.offset, value));
            }
        }
    }
    Some(found)
}

/// Everything promised is there, at its offset; no value is there twice.
fn check_promises(broker: &mut SimBroker, topic: Uuid, promises: &Rc<RefCell<Promises>>) {
    for partition in 0..PARTITIONS {
        let mut client = broker.connect(0);
        let found = broker.executor.run_until(async move {
            let mut log = Log::new();
            loop {
                let next = log.last_key_value().map_or(0, |(offset, _)| offset + 1);
                let more = fetch(&mut client, topic, partition, next, 0).await.unwrap();
                if more.is_empty() {
                    return log;
                }
                log.extend(more);
            }
        });
        let promises = promises.borrow();
        for kept in [&promises.safe, &promises.written] {
            for (offset, value) in kept.get(&partition).into_iter().flatten() {
                let there = found.get(offset).map(|text| &text[..text.len().min(20)]);
                assert_eq!(there, Some(&value[..value.len().min(20)]), "{partition}@{offset}");
            }
        }
        let mut values: Vec<&String> = found.values().collect();
        let count = values.len();
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), count, "a value of partition {partition} is there twice");
    }
}
