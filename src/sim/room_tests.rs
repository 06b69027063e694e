//! A journal that is full while partitions are written to their segments at once.

use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::Records;
use crate::sim::broker::SimClient;
use crate::sim::setup::{Setup, make_topic};
use futures::future::{Either, join_all, select};
use std::pin::pin;
use uuid::Uuid;

const PARTITIONS: i32 = 6;
const SETUP: Setup<'_> =
    Setup { cores: 1, settings: &[("num.partitions", "6"), ("highwater.durability", "kernel")] };
/// Journaled, and so large that its partition goes around the journal, in bytes.
const SIZES: [usize; 2] = [100 * 1024, 600 * 1024];
const PRODUCES: usize = 30;
const SEEDS: u64 = 20;
const PATIENCE_US: u64 = 600_000_000;

fn produce(topic: Uuid, index: i32, size: usize) -> ProduceRequest {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![7; size];
    let record =
        NewRecord { timestamp_ms: 1_700_000_000_000, value: Some(&value), ..NewRecord::default() };
    builder.push(&record).unwrap();
    let records = Records::from(builder.build().unwrap());
    let partition_data = vec![PartitionProduceData { index, records }];
    let topic = TopicProduceData { topic_id: topic, partition_data, ..TopicProduceData::default() };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

/// Every third batch is a large one, at another time in each partition.
async fn drive(mut client: SimClient, topic: Uuid, partition: i32) {
    let at = usize::try_from(partition).unwrap();
    for round in 0..PRODUCES {
        let size = SIZES[usize::from((round + at).is_multiple_of(3))];
        let answer = client.call(&produce(topic, partition, size)).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

#[test]
fn who_waits_for_room_in_the_journal_is_not_forgotten_when_a_direct_append_held_it() {
    for seed in 0..SEEDS {
        let (mut broker, _disk) = SETUP.start(seed, None);
        make_topic(&mut broker, "t");
        let topic = broker.core(0).borrow().image.topic_by_name("t").unwrap().id.0;
        let producers: Vec<_> = (0..2 * PARTITIONS)
            .map(|producer| drive(broker.connect(0), topic, producer % PARTITIONS))
            .collect();
        let patience = broker.executor.handle().sleep_us(PATIENCE_US);
        let is_done = broker.executor.run_until(async move {
            matches!(select(pin!(join_all(producers)), pin!(patience)).await, Either::Left(_))
        });
        assert!(is_done, "seed {seed}: a produce was never answered");
    }
}
