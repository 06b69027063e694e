//! Stages of requests on the core that takes them in and on the core that owns the partition.

use crate::model::ids::{PartitionId, TopicPartition};
use crate::model::limits::STAGE_SAMPLE_EVERY;
use crate::protocol::messages::describe_latency::{CoreLatency, DescribeLatencyRequest};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::sim::broker::{SimBroker, SimClient};
use crate::sim::setup::{Setup, make_topic, produce};
use std::collections::BTreeMap;
use uuid::Uuid;

const SETUP: Setup<'_> = Setup { cores: 2, settings: &[("num.partitions", "1")] };
/// Pairs of a produce and a fetch, so that each kind is timed.
const PAIRS: u32 = 2 * STAGE_SAMPLE_EVERY + 1;

fn fetch(topic: Uuid) -> FetchRequest {
    let partition = FetchPartition { partition_max_bytes: 1000, ..FetchPartition::default() };
    let topic =
        FetchTopic { topic_id: topic, partitions: vec![partition], ..FetchTopic::default() };
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1000,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

/// Sends produces and fetches, and asks where the time of both went.
async fn drive(mut client: SimClient, topic: Uuid) -> Vec<CoreLatency> {
    for pair in 0..PAIRS {
        let produced = client.call(&produce(topic, 0, b"value")).await.unwrap();
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
        // An odd number of requests between two timed ones, so that both kinds have their turn.
        if pair % 3 != 0 {
            client.call(&fetch(topic)).await.unwrap();
        }
    }
    client.call(&DescribeLatencyRequest { core: -1 }).await.unwrap().cores
}

fn counts(core: &CoreLatency) -> BTreeMap<&str, i64> {
    core.stages.iter().map(|stage| (stage.stage.as_str(), stage.count)).collect()
}

fn topic_and_owner(broker: &mut SimBroker) -> (Uuid, usize) {
    make_topic(broker, "t");
    let shard = broker.core(0);
    let image = &shard.borrow().image;
    let topic = image.topic_by_name("t").unwrap().id;
    let partition = TopicPartition { topic, partition: PartitionId(0) };
    (topic.0, image.owner_of(&partition).unwrap().index())
}

#[test]
fn a_hop_is_counted_on_both_sides_and_each_stage_where_it_happens() {
    let (mut broker, _disk) = SETUP.start(7, None);
    let (topic, owner) = topic_and_owner(&mut broker);
    let client = broker.connect(1 - owner);
    let cores = broker.executor.run_until(drive(client, topic));
    let (own, other) = (counts(&cores[owner]), counts(&cores[1 - owner]));
    assert_eq!(cores[1 - owner].routed, cores[1 - owner].requests, "each of them is a hop");
    assert_eq!((cores[owner].routed, cores[owner].requests), (0, 0));
    for stage in ["socket", "parse", "route", "answer"] {
        assert!(other[stage] >= 2, "{stage}: {other:?}");
    }
    for stage in ["append", "sync", "read"] {
        assert_eq!(other[stage], 0, "{stage}: {other:?}");
        assert!(own[stage] >= 1, "{stage}: {own:?}");
    }
    let route = cores[owner].stages.iter().find(|stage| stage.stage == "route").unwrap();
    assert!(route.max_ns >= 1000, "a simulated hop takes its time: {route:?}");
    assert!(route.p50_ns <= route.p99_ns && route.p999_ns <= route.max_ns, "{route:?}");
}

#[test]
fn at_the_owning_core_nothing_hops() {
    let (mut broker, _disk) = SETUP.start(8, None);
    let (topic, owner) = topic_and_owner(&mut broker);
    let client = broker.connect(owner);
    let cores = broker.executor.run_until(drive(client, topic));
    let own = counts(&cores[owner]);
    assert_eq!((cores[owner].routed, own["route"]), (0, 0));
    assert_eq!(own["replicate"], 0, "there is no other replica");
    for stage in ["socket", "parse", "append", "sync", "read", "answer"] {
        assert!(own[stage] >= 1, "{stage}: {own:?}");
    }
    assert_eq!(counts(&cores[1 - owner]).values().sum::<i64>(), 0);
}

#[test]
fn the_wait_of_a_fetch_for_records_is_in_no_stage() {
    let (mut broker, _disk) = SETUP.start(9, None);
    let (topic, owner) = topic_and_owner(&mut broker);
    let mut client = broker.connect(owner);
    let cores = broker.executor.run_until(async move {
        let answer = client.call(&fetch(topic)).await.unwrap();
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 0, "nothing is there");
        client.call(&DescribeLatencyRequest { core: -1 }).await.unwrap().cores
    });
    let own = counts(&cores[owner]);
    assert_eq!((own["parse"], own["read"], own["answer"]), (1, 1, 0), "{own:?}");
    assert!(cores[owner].stages.iter().all(|stage| stage.max_ns < 400_000_000));
}
