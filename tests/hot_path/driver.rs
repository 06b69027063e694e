//! One request after another through a whole shard, on the simulator and one core.
//!
//! What is measured, and how, is the caller's: a meter runs the two parts of each request. Requests
//! before the measured ones fill pools and grow tables.

use bytes::{Bytes, BytesMut};
use highwater::api::dispatch;
use highwater::controller::decide::{Change, ChangeReply, Mode, NewTopic};
use highwater::model::broker_config::BrokerConfig;
use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::records::Records;
use highwater::protocol::schema::Request;
use highwater::shard::connection::ConnectionId;
use highwater::shard::metadata;
use highwater::sim::broker::{SimBroker, SimStart};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use std::sync::Arc;
use uuid::Uuid;

/// No simulated disk is this slow, in microseconds.
const PATIENCE_US: u64 = 1_000_000;

/// Runs a piece of work and says what it cost.
pub(crate) trait Meter {
    /// What `work` cost, in the meter's own unit.
    fn cost(&mut self, work: &mut dyn FnMut()) -> u64;
}

/// What one request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// While `on_bytes` takes the request in: frame, decode, checks, append to the log in memory.
    pub(crate) taken_in: u64,
    /// From there until its answer has left the shard, the simulated disk and executor included.
    pub(crate) answered: u64,
}

/// A broker on one core with one connection, and a topic that it produces to and fetches from.
pub(crate) struct Driver {
    broker: SimBroker,
    connection: ConnectionId,
    topic: Uuid,
}

impl Driver {
    /// A broker whose topic has this many partitions.
    pub(crate) fn new(partitions: i32) -> Driver {
        let executor = SimExecutor::new(7);
        let disk = SimDisk::new(executor.handle());
        let (config, _) = BrokerConfig::from_settings(&[]).unwrap();
        let start = SimStart { seed: 7, disk, cores: 1, config: Arc::new(config) };
        let mut broker = SimBroker::start(executor, start);
        let topic = create_topic(&mut broker, partitions);
        let address = "127.0.0.1:9092".parse().unwrap();
        let connection = broker.core(0).borrow_mut().on_connect(address, address).unwrap();
        Driver { broker, connection, topic }
    }

    /// Sends one request `count` times, each after the answer to the one before.
    pub(crate) fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        count: usize,
        meter: &mut dyn Meter,
    ) -> Vec<Cost> {
        let frame = encode_request(request, version, 7, Some("counted")).unwrap().into_bytes();
        (0..count).map(|_| self.one(&frame, meter)).collect()
    }

    fn one(&mut self, frame: &Bytes, meter: &mut dyn Meter) -> Cost {
        let shard = self.broker.core(0);
        let connection = self.connection;
        let mut received = BytesMut::with_capacity(frame.len());
        received.extend_from_slice(frame);
        let taken_in = meter.cost(&mut || {
            dispatch::on_bytes(&shard, connection, &mut received);
        });
        assert!(received.is_empty());
        shard.borrow().outbox.raise();
        let has_answered =
            || shard.borrow_mut().connection(connection).is_some_and(|found| found.parked() == 0);
        let sent_us = shard.borrow().now.monotonic_us;
        let answered = meter.cost(&mut || {
            while !has_answered() {
                assert!(self.broker.executor.step(), "an answer is due");
            }
        });
        let waited_us = shard.borrow().now.monotonic_us - sent_us;
        assert!(waited_us < PATIENCE_US, "answered after {waited_us} us, by its time being up");
        Cost { taken_in, answered }
    }

    /// This batch for each partition.
    pub(crate) fn produce(&self, acks: i16, partitions: i32, batch: Bytes) -> ProduceRequest {
        let batch = Records::from(batch);
        let part = |index| PartitionProduceData { index, records: batch.clone() };
        ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                topic_id: self.topic,
                partition_data: (0..partitions).map(part).collect(),
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        }
    }

    /// 16 KiB from the start of each partition.
    pub(crate) fn fetch(&self, partitions: i32) -> FetchRequest {
        let part = |partition| FetchPartition {
            partition,
            partition_max_bytes: 1 << 14,
            ..FetchPartition::default()
        };
        FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![FetchTopic {
                topic_id: self.topic,
                partitions: (0..partitions).map(part).collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        }
    }
}

/// A batch of `records` records of `size` bytes.
pub(crate) fn batch(records: usize, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![b'v'; size];
    for _ in 0..records {
        let record = NewRecord {
            timestamp_ms: 1_700_000_000_000,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

fn create_topic(broker: &mut SimBroker, partition_count: i32) -> Uuid {
    let shard = broker.core(0);
    let topic = NewTopic {
        name: "counted".to_owned(),
        partition_count,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let change = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    answers[0].result.as_ref().unwrap().id.0
}
