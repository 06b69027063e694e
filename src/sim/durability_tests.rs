//! What topics of either durability wait for, and what they have after a crash.

use crate::model::ids::{PartitionId, TopicId, TopicPartition};
use crate::model::limits::DRAINS_AT_ONCE;
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::sim::broker::{SimBroker, SimClient};
use crate::sim::disk::{SimDisk, Slow};
use crate::sim::setup::{Setup, produce};
use uuid::Uuid;

const SETUP: Setup<'_> = Setup { cores: 1, settings: &[] };
/// A batch that is journaled, and one that goes straight to its segment, in bytes.
const JOURNALED: usize = 90 * 1024;
const DIRECT: usize = 600 * 1024;
/// One that goes straight there among others that do, and one that never does.
const LARGE: usize = 100 * 1024;
const SMALL: usize = 10 * 1024;
/// Rounds of one of each, which are several times what a simulated journal has room for.
const ROUNDS: u64 = 40;
/// A long one, but no longer than a request waits.
const SYNC_US: u64 = 5_000_000;
/// Longer than any request waits.
const SLOW_SYNC_US: u64 = 3_600_000_000;
const SEEDS: u64 = 10;

async fn make_topic(client: &mut SimClient, name: &str, durability: &str) {
    let config = CreatableTopicConfig {
        name: "highwater.durability".to_owned(),
        value: Some(durability.to_owned()),
    };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let made = client.call(&request).await.expect("answered");
    assert_eq!(made.topics[0].error_code, 0);
}

fn begin(seed: u64, durabilities: &[&str]) -> (SimBroker, SimDisk, Vec<Uuid>) {
    let (mut broker, disk) = SETUP.start(seed, None);
    let mut client = broker.connect(0);
    let named = durabilities.iter().enumerate().map(|(index, it)| format!("of-{it}-{index}"));
    let names: Vec<String> = named.collect();
    for (name, durability) in names.iter().zip(durabilities) {
        let (name, durability) = (name.clone(), (*durability).to_owned());
        client = broker.executor.run_until(async move {
            make_topic(&mut client, &name, &durability).await;
            client
        });
    }
    let shard = broker.core(0);
    let image = shard.borrow().image.clone();
    let ids = names.iter().map(|name| image.topic_by_name(name).expect("just made").id.0);
    (broker, disk, ids.collect())
}

/// A broker with a topic of Kafka's durability, whose every sync of a segment takes `sync_us`.
fn begin_slow(seed: u64, sync_us: u64) -> (SimBroker, SimDisk, Uuid) {
    let (broker, disk, ids) = begin(seed, &["kernel"]);
    let dir = broker.core(0).borrow().partition_dir(&partition_of(ids[0]));
    disk.slow_down(Some(Slow { dir, write_us: 0, sync_us }));
    (broker, disk, ids[0])
}

async fn store(client: &mut SimClient, topic: Uuid, size: usize) {
    let answer = client.call(&produce(topic, 0, &vec![7; size])).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn partition_of(topic: Uuid) -> TopicPartition {
    TopicPartition { topic: TopicId(topic), partition: PartitionId(0) }
}

/// True when the segments have all of it.
fn is_drained(broker: &SimBroker, topic: Uuid) -> bool {
    let shard = broker.core(0);
    let shard = shard.borrow();
    let index = shard.partition_index(&partition_of(topic)).expect("it is open");
    let log = &shard.partitions[index].log;
    log.drained_end() == log.log_end()
}

fn log_end(broker: &SimBroker, topic: Uuid) -> u64 {
    let shard = broker.core(0);
    let shard = shard.borrow();
    let index = shard.partition_index(&partition_of(topic)).expect("it is open");
    shard.partitions[index].log.log_end().get()
}

#[test]
fn nobody_waits_for_a_sync_where_the_page_cache_is_enough_and_a_killed_process_loses_nothing() {
    for seed in 0..SEEDS {
        let (mut broker, disk, id) = begin_slow(seed, SLOW_SYNC_US);
        let mut client = broker.connect(0);
        broker.executor.run_until(async move {
            for _ in 0..ROUNDS {
                store(&mut client, id, JOURNALED).await;
                store(&mut client, id, DIRECT).await;
                store(&mut client, id, JOURNALED).await;
            }
        });
        broker.executor.kill_all();
        drop(broker);
        disk.slow_down(None);
        let (broker, _) = SETUP.start(seed + 1, Some(&disk));
        assert_eq!(log_end(&broker, id), 3 * ROUNDS, "seed {seed}");
    }
}

#[test]
fn a_partition_of_large_writes_stays_around_the_journal_until_they_are_small() {
    let (mut broker, _, ids) = begin(1, &["kernel"]);
    let id = ids[0];
    let mut step = |size: usize| {
        let mut client = broker.connect(0);
        broker.executor.run_until(async move { store(&mut client, id, size).await });
        is_drained(&broker, id)
    };
    assert!(!step(LARGE));
    assert!(step(DIRECT) && step(DIRECT));
    assert!(step(LARGE));
    assert!(!step(SMALL) && !step(SMALL));
    assert!(!step(LARGE));
}

#[test]
fn a_power_cut_takes_nothing_from_a_topic_that_shares_its_journal_with_one_that_syncs_nothing() {
    for seed in 0..SEEDS {
        let (mut broker, disk, ids) = begin(seed, &["kernel", "flush"]);
        let (of_kernel, of_flush) = (ids[0], ids[1]);
        let mut client = broker.connect(0);
        let rounds = ROUNDS / 2 + seed;
        broker.executor.run_until(async move {
            for _ in 0..rounds {
                store(&mut client, of_flush, JOURNALED).await;
                store(&mut client, of_kernel, JOURNALED).await;
                store(&mut client, of_kernel, DIRECT).await;
            }
        });
        let (broker, _) = SETUP.crash(seed, broker, &disk);
        assert_eq!(log_end(&broker, of_flush), rounds, "seed {seed}");
    }
}

/// What was written before without a sync must be synced before what comes after counts as durable.
#[test]
fn a_topic_whose_durability_is_raised_is_synced_before_it_acknowledges() {
    for seed in 0..SEEDS {
        let (mut broker, disk, id) = begin_slow(seed, SYNC_US);
        let mut client = broker.connect(0);
        let (journaled, direct) = (ROUNDS / 2 + seed, seed % 2);
        broker.executor.run_until(async move {
            for _ in 0..direct {
                store(&mut client, id, DIRECT).await;
            }
            for _ in 0..journaled {
                store(&mut client, id, JOURNALED).await;
            }
            let config = AlterableConfig {
                name: "highwater.durability".to_owned(),
                config_operation: 0,
                value: Some("flush".to_owned()),
            };
            let resource = AlterConfigsResource {
                resource_type: 2,
                resource_name: "of-kernel-0".to_owned(),
                configs: vec![config],
            };
            let request = IncrementalAlterConfigsRequest {
                resources: vec![resource],
                ..IncrementalAlterConfigsRequest::default()
            };
            let answer = client.call(&request).await.unwrap();
            assert_eq!(answer.responses[0].error_code, 0);
            store(&mut client, id, JOURNALED).await;
        });
        disk.slow_down(None);
        let (broker, _) = SETUP.crash(seed, broker, &disk);
        assert_eq!(log_end(&broker, id), direct + journaled + 1, "seed {seed}");
    }
}

/// Drains wait for their turn, and a partition's producers do not wait for it.
#[test]
fn a_partition_whose_drain_has_not_begun_takes_large_writes_at_once() {
    let mut durabilities = vec!["flush"; DRAINS_AT_ONCE];
    durabilities.push("kernel");
    let (mut broker, disk, ids) = begin(1, &durabilities);
    let of_kernel = ids[DRAINS_AT_ONCE];
    let dir = broker.core(0).borrow().data_dir.join("topics");
    disk.slow_down(Some(Slow { dir, write_us: 0, sync_us: SYNC_US }));
    let mut client = broker.connect(0);
    let clock = broker.executor.handle();
    let waited_us = broker.executor.run_until(async move {
        for id in &ids {
            store(&mut client, *id, SMALL).await;
        }
        // The journal's next file: all of them are to be drained.
        for _ in 0..2 {
            store(&mut client, of_kernel, JOURNALED).await;
        }
        let begun = clock.now().monotonic_us;
        store(&mut client, of_kernel, DIRECT).await;
        clock.now().monotonic_us - begun
    });
    assert!(waited_us < SYNC_US, "{waited_us} us");
    assert!(is_drained(&broker, of_kernel));
}
