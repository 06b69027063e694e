//! How often the hot path asks the allocator, counted through the whole shard: any change of these
//! numbers is a change of speed, and must be a decision.
//!
//! The simulator drives the shard on one core. Counted apart: taking a request in (`on_bytes`:
//! frame, decode, checks, append to the log in memory), and everything until its answer lies
//! before the socket, the simulated disk and executor included. The median of many requests
//! counts, because chunks of the arena and tables that grow cost one allocation every few hundred
//! requests.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; it only counts")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

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
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use uuid::Uuid;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing,
// because it is constant-initialised and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as for `dealloc`, and the caller's promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn count<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = COUNT.get();
    let result = work();
    (COUNT.get() - before, result)
}

/// Requests whose cost is not looked at: pools fill, tables grow.
const WARM_UP: usize = 100;
const REQUESTS: usize = 301;

/// Medians over many requests.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// While `on_bytes` takes the request in.
    taken_in: u64,
    /// From there until its answer has left the shard.
    answered: u64,
}

struct Driver {
    broker: SimBroker,
    connection: ConnectionId,
    topic: Uuid,
}

impl Driver {
    fn new() -> Driver {
        let executor = SimExecutor::new(7);
        let disk = SimDisk::new(executor.handle());
        let (config, _) = BrokerConfig::from_settings(&[]).unwrap();
        let start = SimStart { seed: 7, disk, cores: 1, config: Arc::new(config) };
        let mut broker = SimBroker::start(executor, start);
        let topic = create_topic(&mut broker);
        let address = "127.0.0.1:9092".parse().unwrap();
        let connection = broker.core(0).borrow_mut().on_connect(address, address).unwrap();
        Driver { broker, connection, topic }
    }

    /// Sends the same request again and again; each is answered before the next.
    fn cost<R: Request>(&mut self, request: &R, version: i16) -> Cost {
        let frame = encode_request(request, version, 7, Some("counted")).unwrap().into_bytes();
        let mut costs = Vec::new();
        for _ in 0..REQUESTS + WARM_UP {
            costs.push(self.one(&frame));
        }
        let costs = costs.split_off(WARM_UP);
        let median = |pick: fn(&(u64, u64)) -> u64| {
            let mut picked: Vec<u64> = costs.iter().map(pick).collect();
            picked.sort_unstable();
            picked[picked.len() / 2]
        };
        Cost { taken_in: median(|cost| cost.0), answered: median(|cost| cost.1) }
    }

    fn one(&mut self, frame: &Bytes) -> (u64, u64) {
        let shard = self.broker.core(0);
        let mut received = BytesMut::with_capacity(frame.len());
        received.extend_from_slice(frame);
        let (taken_in, ()) = count(|| {
            dispatch::on_bytes(&shard, self.connection, &mut received);
        });
        assert!(received.is_empty());
        shard.borrow().outbox.raise();
        let has_answered = |connection| {
            shard.borrow_mut().connection(connection).is_some_and(|found| found.parked() == 0)
        };
        let (answered, ()) = count(|| {
            while !has_answered(self.connection) {
                assert!(self.broker.executor.step(), "an answer is due");
            }
        });
        (taken_in, answered)
    }

    fn produce(&self, acks: i16) -> ProduceRequest {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..10 {
            let record = NewRecord {
                timestamp_ms: 1_700_000_000_000,
                key: None,
                value: Some(&[b'v'; 100]),
                headers: &[],
            };
            builder.push(&record).unwrap();
        }
        let records = Records::from(builder.build().unwrap());
        ProduceRequest {
            acks,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                topic_id: self.topic,
                partition_data: vec![PartitionProduceData { index: 0, records }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        }
    }

    fn fetch(&self) -> FetchRequest {
        let partition =
            FetchPartition { partition_max_bytes: 1 << 14, ..FetchPartition::default() };
        FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![FetchTopic {
                topic_id: self.topic,
                partitions: vec![partition],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        }
    }
}

fn create_topic(broker: &mut SimBroker) -> Uuid {
    let shard = broker.core(0);
    let topic = NewTopic {
        name: "counted".to_owned(),
        partition_count: 1,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: Vec::new(),
    };
    let change = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    answers[0].result.as_ref().unwrap().id.0
}

#[test]
fn a_produce_allocates_as_often_as_it_did() {
    let mut driver = Driver::new();
    let cost = driver.cost(&driver.produce(1), 13);
    assert_eq!(cost, Cost { taken_in: 5, answered: 36 });
}

#[test]
fn a_fetch_from_memory_allocates_as_often_as_it_did() {
    let mut driver = Driver::new();
    driver.cost(&driver.produce(1), 13);
    let cost = driver.cost(&driver.fetch(), 17);
    assert_eq!(cost, Cost { taken_in: 13, answered: 14 });
}
