//! DeleteRecords on a partition with replicas: what was answered as deleted is deleted everywhere.

use super::replica_tests::{PARTITION, SETUP, produce_some, records, tell};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use crate::sim::cluster::{NodeId, SimCluster};

const TIMEOUT_MS: i32 = 2000;

/// Three brokers, the first of which leads twenty records.
fn cluster(seed: u64) -> SimCluster {
    let mut cluster = SimCluster::new(seed, &SETUP);
    cluster.pass_us(50_000);
    tell(&mut cluster, &records(1, 0, &[1, 2, 3]));
    produce_some(&mut cluster, 1, 20);
    cluster
}

/// Asks the leader to delete what lies before an offset: its code and the low watermark.
fn delete(cluster: &mut SimCluster, before: i64) -> (KafkaCode, i64) {
    let partition = DeleteRecordsPartition { partition_index: 0, offset: before };
    let topic = DeleteRecordsTopic { name: "orders".to_owned(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS };
    let mut client = cluster.connect(1, 0);
    let answer = cluster.executor.run_until(async move { client.call(&request).await.unwrap() });
    let partition = &answer.topics[0].partitions[0];
    (KafkaCode::from_number(partition.error_code).unwrap(), partition.low_watermark)
}

fn log_start(cluster: &SimCluster, id: NodeId) -> i64 {
    let shard = cluster.core(id, 1);
    let shard = shard.borrow();
    let index = shard.partition_index(&PARTITION).unwrap();
    shard.partitions[index].log.log_start().to_wire()
}

#[test]
fn what_is_answered_as_deleted_is_deleted_at_every_replica_that_is_up() {
    for seed in 0..20 {
        let mut cluster = cluster(seed);
        assert_eq!(delete(&mut cluster, 7), (KafkaCode::None, 7), "seed {seed}");
        for id in 1..=3 {
            assert_eq!(log_start(&cluster, id), 7, "broker {id}, seed {seed}");
        }
        assert_eq!(delete(&mut cluster, 3), (KafkaCode::None, 7), "gone already, seed {seed}");
    }
}

#[test]
fn a_replica_that_is_up_and_does_not_follow_ends_the_wait_by_name() {
    let mut cluster = cluster(1);
    cluster.set_weather(|weather| weather.cuts.extend([(1, 3), (3, 1)]));
    assert_eq!(delete(&mut cluster, 7), (KafkaCode::RequestTimedOut, -1));
    assert_eq!((log_start(&cluster, 1), log_start(&cluster, 2), log_start(&cluster, 3)), (7, 7, 0));
    cluster.set_weather(|weather| weather.cuts.clear());
    let has_followed = cluster.wait_us(20_000_000, |cluster| log_start(cluster, 3) == 7);
    assert!(has_followed, "it learns of it when it is back");
}
