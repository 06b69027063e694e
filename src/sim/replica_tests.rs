//! Replicas of several brokers, with metadata that the test makes: what the leader acknowledges is
//! on every in-sync replica, and a new leader goes on from there.

use crate::controller::image::MetadataImage;
use crate::controller::records::{
    Availability, BrokerEndpoint, BrokerRegistration, MetadataRecord, PartitionState, Replica,
};
use crate::model::cluster_config::Roles;
use crate::model::errors::KafkaCode;
use crate::model::ids::{
    BrokerEpoch, BrokerId, CoreId, LeaderEpoch, PartitionId, TopicId, TopicPartition,
};
use crate::model::limits::STAGE_SAMPLE_EVERY;
use crate::model::listeners::Endpoint;
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::shard::metadata;
use crate::shard::stages::Stage;
use crate::sim::broker::SimClient;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use std::sync::Arc;
use uuid::Uuid;

pub(super) const TOPIC: TopicId = TopicId(Uuid::from_u128(77));
pub(super) const PARTITION: TopicPartition =
    TopicPartition { topic: TOPIC, partition: PartitionId(0) };
pub(super) const SETUP: ClusterSetup<'_> =
    ClusterSetup { brokers: 3, cores: 2, settings: &[("min.insync.replicas", "2")] };

/// The metadata of a cluster of three with one partition, whose leader and epoch are given.
pub(super) fn records(leader: NodeId, epoch: i32, isr: &[NodeId]) -> Vec<MetadataRecord> {
    let mut records = vec![MetadataRecord::ClusterId(Uuid::from_u128(2))];
    for id in 1..=3 {
        let (id, epoch) = (BrokerId(id), BrokerEpoch(i64::from(id)));
        let endpoint = Endpoint { host: format!("broker-{}", id.0), port: 9092 };
        records.push(MetadataRecord::RegisterBroker(Arc::new(BrokerRegistration {
            id,
            epoch,
            incarnation: Uuid::nil(),
            directory: Uuid::nil(),
            endpoints: vec![BrokerEndpoint { listener: "PLAINTEXT".to_owned(), endpoint }],
            rack: None,
            cores: 2,
            roles: Roles { broker: true, controller: true },
            features: Vec::new(),
            was_clean: true,
        })));
        let availability = Availability::Active;
        records.push(MetadataRecord::BrokerState { id, epoch, availability });
    }
    records.push(MetadataRecord::Topic { id: TOPIC, name: "orders".to_owned() });
    let replica = |id| Replica { broker: BrokerId(id), core: CoreId(1), directory: Uuid::nil() };
    let state = PartitionState {
        replicas: (1..=3).map(replica).collect(),
        isr: isr.iter().map(|id| BrokerId(*id)).collect(),
        leader: Some(BrokerId(leader)),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: epoch,
        ..PartitionState::default()
    };
    records.push(MetadataRecord::Partition { id: PARTITION, state });
    records
}

/// Lets every running broker know.
pub(super) fn tell(cluster: &mut SimCluster, records: &[MetadataRecord]) {
    for id in cluster.ids() {
        if cluster.is_running(id) {
            tell_one(cluster, id, records);
        }
    }
}

fn tell_one(cluster: &mut SimCluster, id: NodeId, records: &[MetadataRecord]) {
    {
        let shard = cluster.core(id, 0);
        let mut image = {
            let shard = shard.borrow();
            MetadataImage::new(BrokerId(id), Arc::new(shard.config.values.clone()))
        };
        let incarnation = shard.borrow().incarnation;
        for record in records {
            let mut record = record.clone();
            if let MetadataRecord::RegisterBroker(broker) = &mut record
                && broker.id.0 == id
            {
                Arc::make_mut(broker).incarnation = incarnation;
            }
            image.apply(&record).unwrap();
        }
        cluster.executor.run_until(async move {
            metadata::publish(&shard, Arc::new(image)).await;
        });
    }
}

/// Produces one record with acks=all; the answer's code and offset.
async fn produce(client: &mut SimClient, value: String) -> Option<(KafkaCode, i64)> {
    produce_with(client, -1, value).await
}

async fn produce_with(
    client: &mut SimClient,
    acks: i16,
    value: String,
) -> Option<(KafkaCode, i64)> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let record =
        NewRecord { timestamp_ms: 0, key: None, value: Some(value.as_bytes()), headers: &[] };
    builder.push(&record).unwrap();
    let data = PartitionProduceData { index: 0, records: builder.build().unwrap().into() };
    let topic =
        TopicProduceData { topic_id: TOPIC.0, partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    };
    let answer = client.call(&request).await?;
    let partition = &answer.responses[0].partition_responses[0];
    Some((KafkaCode::from_number(partition.error_code).unwrap(), partition.base_offset))
}

pub(super) fn produce_some(cluster: &mut SimCluster, leader: NodeId, count: u64) {
    let mut client = cluster.connect(leader, 0);
    cluster.executor.run_until(async move {
        for number in 0..count {
            let produced = produce(&mut client, format!("record {number}")).await;
            assert_eq!(produced.map(|(code, _)| code), Some(KafkaCode::None));
        }
    });
}

/// Log end, high watermark and durable end of the partition at each running broker.
fn ends(cluster: &SimCluster, id: NodeId) -> (i64, i64, i64) {
    let shard = cluster.core(id, 1);
    let shard = shard.borrow();
    let index = shard.partition_index(&PARTITION).unwrap();
    let partition = &shard.partitions[index];
    let log = &partition.log;
    let ends = (log.log_end(), partition.high_watermark(), log.durable_end());
    (ends.0.to_wire(), ends.1.to_wire(), ends.2.to_wire())
}

#[test]
fn what_is_acknowledged_is_durable_on_every_in_sync_replica() {
    for seed in 0..20 {
        let mut cluster = SimCluster::new(seed, &SETUP);
        cluster.pass_us(50_000);
        tell(&mut cluster, &records(1, 0, &[1, 2, 3]));
        produce_some(&mut cluster, 1, 20);
        for id in 1..=3 {
            let (log_end, _, durable_end) = ends(&cluster, id);
            assert_eq!((log_end, durable_end), (20, 20), "broker {id}, seed {seed}");
        }
        assert_eq!(ends(&cluster, 1).1, 20);
        let told = cluster.wait_us(200_000, |c| ends(c, 2).1 == 20 && ends(c, 3).1 == 20);
        assert!(told, "followers hear of the high watermark, seed {seed}");
    }
}

#[test]
fn the_wait_for_other_replicas_is_a_stage_of_its_own() {
    let mut cluster = SimCluster::new(5, &SETUP);
    cluster.pass_us(50_000);
    tell(&mut cluster, &records(1, 0, &[1, 2, 3]));
    cluster.set_weather(|weather| weather.delay_us_max = 20_000);
    produce_some(&mut cluster, 1, 3 * u64::from(STAGE_SAMPLE_EVERY));
    let snapshot = cluster.core(1, 1).borrow().stages.snapshot(CoreId(1));
    let of = |stage: Stage| &snapshot.stages[stage as usize].1;
    let counts = [Stage::Append, Stage::Sync, Stage::Replicate].map(|stage| of(stage).count());
    assert_eq!(counts, [3, 3, 3]);
    let (here, there) = (of(Stage::Sync).max_ns(), of(Stage::Replicate).max_ns());
    assert!(here < there, "the disk takes {here} ns, the network {there} ns");
}

#[test]
fn a_follower_that_was_away_catches_up_and_a_new_leader_goes_on() {
    for seed in 0..20 {
        let mut cluster = SimCluster::new(seed, &SETUP);
        cluster.pass_us(50_000);
        tell(&mut cluster, &records(1, 0, &[1, 2, 3]));
        produce_some(&mut cluster, 1, 10);
        cluster.kill(1, true);
        tell(&mut cluster, &records(2, 1, &[2, 3]));
        produce_some(&mut cluster, 2, 10);
        assert_eq!(ends(&cluster, 2).1, 20);
        cluster.start(1);
        cluster.pass_us(50_000);
        tell(&mut cluster, &records(2, 1, &[2, 3]));
        let is_back = cluster.wait_us(5_000_000, |c| ends(c, 1).2 == 20);
        assert!(is_back, "{:?}, seed {seed}", ends(&cluster, 1));
    }
}

/// Appends a record with acks=1: it is answered although nobody else has it.
fn produce_alone(cluster: &mut SimCluster, leader: NodeId, count: u64) {
    let mut client = cluster.connect(leader, 0);
    cluster.executor.run_until(async move {
        for number in 0..count {
            let produced = produce_with(&mut client, 1, format!("lost {number}")).await;
            assert_eq!(produced.map(|(code, _)| code), Some(KafkaCode::None));
        }
    });
}

/// Broker 1 leads three that have ten records, is cut off, and writes `count` more on its own.
fn with_records_of_its_own(seed: u64, count: u64) -> SimCluster {
    let mut cluster = SimCluster::new(seed, &SETUP);
    cluster.pass_us(50_000);
    tell(&mut cluster, &records(1, 0, &[1, 2, 3]));
    produce_some(&mut cluster, 1, 10);
    cluster.set_weather(|weather| {
        weather.cuts.extend([(1, 2), (2, 1), (1, 3), (3, 1)]);
    });
    produce_alone(&mut cluster, 1, count);
    cluster
}

#[test]
fn what_nobody_else_has_is_cut_when_another_leads() {
    for seed in 0..40 {
        let mut cluster = with_records_of_its_own(seed, 7);
        assert_eq!(ends(&cluster, 1).0, 17);
        let next = records(2, 1, &[2, 3]);
        for id in [2, 3] {
            tell_one(&mut cluster, id, &next);
        }
        produce_some(&mut cluster, 2, 3);
        cluster.set_weather(|weather| weather.cuts.clear());
        tell_one(&mut cluster, 1, &next);
        let is_same = cluster.wait_us(20_000_000, |c| ends(c, 1) == (13, 13, 13));
        assert!(is_same, "{:?}, seed {seed}", ends(&cluster, 1));
        assert_eq!(last_epoch(&cluster, 1), Some(1), "seed {seed}");
    }
}

/// A broker that had led without writing anything refused what the next leader had of an earlier
/// epoch, until somebody restarted it (swarm seeds 1093, 2960).
#[test]
fn an_epoch_without_records_is_no_reason_to_refuse_an_earlier_one() {
    for seed in 0..10 {
        let mut cluster = with_records_of_its_own(seed, 1);
        tell_one(&mut cluster, 2, &records(2, 1, &[1, 2, 3]));
        cluster.pass_us(50_000);
        assert_eq!(ends(&cluster, 2).0, 10, "it leads, and nobody writes, seed {seed}");
        tell(&mut cluster, &records(1, 2, &[1, 2, 3]));
        cluster.set_weather(|weather| weather.cuts.clear());
        let is_same = cluster.wait_us(20_000_000, |c| ends(c, 2) == (11, 11, 11));
        assert!(is_same, "{:?}, seed {seed}", ends(&cluster, 2));
        assert_eq!(last_epoch(&cluster, 2), Some(0), "seed {seed}");
    }
}

fn last_epoch(cluster: &SimCluster, id: NodeId) -> Option<i32> {
    let shard = cluster.core(id, 1);
    let shard = shard.borrow();
    let index = shard.partition_index(&PARTITION).unwrap();
    shard.partitions[index].log.last_epoch().map(|epoch| epoch.0)
}
