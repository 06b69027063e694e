//! What a start reads, over many short lives of a broker, and what changes with its settings.

use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use crate::shard::stop;
use crate::sim::broker::{SimBroker, SimClient};
use crate::sim::disk::SimDisk;
use crate::sim::random::Random;
use crate::sim::setup::Setup;

const TOPIC: &str = "t";
const LIVES: u64 = 40;
const BATCHES_PER_LIFE: u64 = 8;
const VALUE_BYTES: usize = 4000;
/// A life's own batches, the batch that the index leads to, and room for their headers.
const READ_BYTES_MAX: u64 = 2 * BATCHES_PER_LIFE * VALUE_BYTES as u64;

fn start(seed: u64, disk: Option<&SimDisk>, settings: &[(&str, &str)]) -> (SimBroker, SimDisk) {
    Setup { cores: 1, settings }.start(seed, disk)
}

async fn make_topic(client: &mut SimClient, topic: CreatableTopic) {
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..topic
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let made = client.call(&request).await.expect("answered");
    assert_eq!(made.topics[0].error_code, 0);
}

/// One batch of one record of the idempotent producer 7.
async fn produce(client: &mut SimClient, topic_id: uuid::Uuid, sequence: u64) -> ProduceResponse {
    let base_sequence = i32::try_from(sequence).expect("few batches");
    let producer = ProducerStamp { producer_id: 7, producer_epoch: 0, base_sequence };
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    let value = vec![1; VALUE_BYTES];
    builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() }).expect("small");
    let records = builder.build().expect("small").into();
    let partition_data = vec![PartitionProduceData { index: 0, records }];
    let topic = TopicProduceData { topic_id, partition_data, ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    client.call(&request).await.expect("answered")
}

fn topic_id(broker: &SimBroker) -> uuid::Uuid {
    let shard = broker.core(0);
    let shard = shard.borrow();
    shard.image.topic_by_name(TOPIC).expect("made before").id.0
}

fn produce_many(broker: &mut SimBroker, from: u64, count: u64) {
    let mut client = broker.connect(0);
    let id = topic_id(broker);
    broker.executor.run_until(async move {
        for sequence in from..from + count {
            let answer = produce(&mut client, id, sequence).await;
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    });
}

fn new_topic(broker: &mut SimBroker, topic: CreatableTopic) {
    let mut client = broker.connect(0);
    broker.executor.run_until(async move { make_topic(&mut client, topic).await });
}

#[test]
fn what_a_start_reads_does_not_grow_with_the_number_of_crashes() {
    let (mut broker, mut disk) = start(1, None, &[]);
    new_topic(&mut broker, CreatableTopic::default());
    for life in 0..LIVES {
        produce_many(&mut broker, life * BATCHES_PER_LIFE, BATCHES_PER_LIFE);
        broker.executor.kill_all();
        drop(broker);
        disk.crash(&mut Random::new(life));
        (broker, disk) = start(life + 2, Some(&disk), &[]);
        let read = broker.core(0).borrow().unpointed_bytes;
        assert!(read <= READ_BYTES_MAX, "start {life} read {read} bytes of segments");
    }
}

#[test]
fn a_start_after_an_orderly_stop_reads_no_more_than_the_last_index_entry_leaves() {
    let (mut broker, disk) = start(1, None, &[]);
    new_topic(&mut broker, CreatableTopic::default());
    produce_many(&mut broker, 0, 200);
    let shard = broker.core(0);
    broker.executor.run_until(async move { stop::stop_broker(&shard).await });
    broker.executor.kill_all();
    drop(broker);
    let (broker, _) = start(2, Some(&disk), &[]);
    let read = broker.core(0).borrow().unpointed_bytes;
    assert!(read <= 5 * VALUE_BYTES as u64, "{read} bytes");
}

fn pass(broker: &mut SimBroker, ms: u64) {
    let handle = broker.executor.handle();
    broker.executor.run_until(async move { handle.sleep_us(ms * 1000).await });
}

fn producers(broker: &SimBroker) -> usize {
    let shard = broker.core(0);
    let shard = shard.borrow();
    shard.partitions.iter().map(|(_, partition)| partition.log.producers().len()).sum()
}

#[test]
fn producers_are_forgotten_after_the_configured_silence() {
    for (expiration, left) in [("1000", 0), ("3600000", 1)] {
        let (mut broker, _) = start(1, None, &[("producer.id.expiration.ms", expiration)]);
        new_topic(&mut broker, CreatableTopic::default());
        produce_many(&mut broker, 0, 1);
        assert_eq!(producers(&broker), 1);
        pass(&mut broker, 5_000);
        assert_eq!(producers(&broker), left, "producer.id.expiration.ms={expiration}");
    }
}

#[test]
fn retention_looks_as_often_as_configured() {
    for (interval, is_dropped) in [("2000", true), ("20000", false)] {
        let (mut broker, _) = start(1, None, &[("log.retention.check.interval.ms", interval)]);
        new_topic(&mut broker, retained_for("1"));
        produce_many(&mut broker, 0, 3);
        pass(&mut broker, 6_000);
        let shard = broker.core(0);
        let start = shard.borrow().partitions.iter().map(|(_, p)| p.log.log_start().get()).max();
        assert_eq!(start == Some(3), is_dropped, "log.retention.check.interval.ms={interval}");
    }
}

fn retained_for(ms: &str) -> CreatableTopic {
    use crate::protocol::messages::create_topics::CreatableTopicConfig;
    let config =
        CreatableTopicConfig { name: "retention.ms".to_owned(), value: Some(ms.to_owned()) };
    CreatableTopic { configs: vec![config], ..CreatableTopic::default() }
}

#[test]
fn a_frame_longer_than_configured_closes_the_connection() {
    for (bytes_max, is_taken) in [("2000", false), ("20000", true)] {
        let (broker, _) = start(1, None, &[("socket.request.max.bytes", bytes_max)]);
        let mut client = broker.connect(0);
        assert_eq!(client.feed(&10_000_u32.to_be_bytes()), is_taken, "{bytes_max}");
    }
}
