//! Producers of the plain topic: idempotent ones that send each batch until it is acknowledged by
//! all, and one that asks for no promise, whose records make logs part ways.

use super::TOPIC;
use super::caller::{Caller, Net, RETRY_US};
use super::history::History;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use uuid::Uuid;

/// Longest pause between two batches, in microseconds.
const PAUSE_US_MAX: u64 = 60_000;
/// What a broker is told to wait for its followers, in milliseconds.
const TIMEOUT_MS: i32 = 1000;

/// About when simulated time begins, so that no record is old.
const TIMESTAMP_MS: u64 = 1_700_000_000_000;

/// Of a record that is sent now.
pub(crate) fn timestamp_ms(net: &Net) -> i64 {
    i64::try_from(TIMESTAMP_MS + net.handle.now().monotonic_us / 1000).unwrap()
}

/// The plain topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) topic: Uuid,
    pub(crate) partitions: i32,
}

struct Batch {
    partition: i32,
    values: Vec<String>,
    stamp: Option<ProducerStamp>,
    acks: i16,
}

/// Produces one batch after the other.
pub(crate) async fn run(net: Net, place: Place, number: usize, history: Rc<RefCell<History>>) {
    let mut caller = Caller::new(&net);
    let (producer_id, producer_epoch) = identity(&mut caller).await;
    let mut sequences: BTreeMap<i32, i32> = BTreeMap::new();
    let mut count = 0;
    while !net.is_over.get() {
        let (partition, size) = net.random(|random| {
            let size = if random.chance(2) { 6_000 } else { random.index(100) };
            (partition_of(random.below(64), place), size)
        });
        let values: Vec<String> = (0..net.random(|random| 1 + random.below(3)))
            .map(|n| format!("p{number}-{}-{}", count + n, "x".repeat(size)))
            .collect();
        count += values.len() as u64;
        let base_sequence = *sequences.entry(partition).or_default();
        let stamp = Some(ProducerStamp { producer_id, producer_epoch, base_sequence });
        let batch = Batch { partition, values, stamp, acks: -1 };
        let base = settle(&mut caller, place, &batch).await;
        history.borrow_mut().acknowledge(partition, base, (number, &batch.values));
        let next = base_sequence + i32::try_from(batch.values.len()).unwrap();
        sequences.insert(partition, next);
        net.pause(PAUSE_US_MAX).await;
    }
}

fn partition_of(drawn: u64, place: Place) -> i32 {
    i32::try_from(drawn).unwrap() % place.partitions
}

/// Sends a batch until it is acknowledged; gives its first offset, where that is told.
async fn settle(caller: &mut Caller, place: Place, batch: &Batch) -> Option<i64> {
    loop {
        let Some(answer) = send(caller, place, batch).await else { continue };
        let code = KafkaCode::from_number(answer.error_code).unwrap();
        match code {
            KafkaCode::None => return (answer.base_offset >= 0).then_some(answer.base_offset),
            KafkaCode::DuplicateSequenceNumber => return None,
            // Of a broker that does not know yet that another leads. If the leader says so, this
            // producer never goes on, and that is found.
            KafkaCode::OutOfOrderSequenceNumber => {}
            code => assert!(code.is_retriable(), "{code:?}: {:?}", answer.error_message),
        }
        caller.forget_leader(TOPIC, batch.partition);
        caller.net.pause(RETRY_US).await;
    }
}

async fn send(
    caller: &mut Caller,
    place: Place,
    batch: &Batch,
) -> Option<PartitionProduceResponse> {
    let (leader, _) = caller.leader(TOPIC, batch.partition).await?;
    let answer = caller.call(leader, request(place, batch, timestamp_ms(&caller.net))).await;
    let Some(answer) = answer else {
        caller.forget_leader(TOPIC, batch.partition);
        return None;
    };
    answer.responses.into_iter().next()?.partition_responses.into_iter().next()
}

fn request(place: Place, batch: &Batch, timestamp_ms: i64) -> ProduceRequest {
    let options = match batch.stamp {
        Some(producer) => BatchOptions { producer, ..BatchOptions::default() },
        None => BatchOptions::default(),
    };
    let mut builder = BatchBuilder::new(options);
    for value in &batch.values {
        let record =
            NewRecord { timestamp_ms, value: Some(value.as_bytes()), ..NewRecord::default() };
        builder.push(&record).unwrap();
    }
    let data =
        PartitionProduceData { index: batch.partition, records: builder.build().unwrap().into() };
    let topic = TopicProduceData {
        topic_id: place.topic,
        partition_data: vec![data],
        ..TopicProduceData::default()
    };
    ProduceRequest {
        acks: batch.acks,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

async fn identity(caller: &mut Caller) -> (i64, i16) {
    loop {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
        };
        let at = caller.net.any_broker();
        let Some(answer) = caller.call(at, request).await else { continue };
        let code = KafkaCode::from_number(answer.error_code).unwrap();
        match code {
            KafkaCode::None => return (answer.producer_id, answer.producer_epoch),
            code => assert!(code.is_retriable(), "{code:?}"),
        }
        caller.net.pause(RETRY_US).await;
    }
}

/// Sends each record once, for the leader alone to have, until trouble is over.
pub(crate) async fn run_without_promise(net: Net, place: Place) {
    let mut caller = Caller::new(&net);
    for count in 0_u64.. {
        if net.is_calm.get() {
            return;
        }
        let partition = partition_of(net.random(|random| random.below(64)), place);
        let values = vec![format!("l-{count}")];
        let batch = Batch { partition, values, stamp: None, acks: 1 };
        let answer = send(&mut caller, place, &batch).await;
        if answer.is_some_and(|answer| answer.error_code != 0) {
            caller.forget_leader(TOPIC, partition);
        }
        net.pause(PAUSE_US_MAX).await;
    }
}
