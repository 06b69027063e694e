//! Three brokers that find each other, keep one log of metadata, and go on without one of them.

use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicPartition};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::shard::joining;
use crate::sim::broker::SimClient;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};

const TOPIC: &str = "orders";
const SETUP: ClusterSetup<'_> =
    ClusterSetup { brokers: 3, cores: 2, settings: &[("min.insync.replicas", "2")] };
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;

/// Pause before a client asks again, in simulated microseconds.
const RETRY_US: u64 = 20_000;

/// The active controller, when a running broker knows one and all running ones are in use.
fn controller(cluster: &SimCluster) -> Option<NodeId> {
    let running: Vec<NodeId> =
        cluster.ids().into_iter().filter(|id| cluster.is_running(*id)).collect();
    let first = cluster.core(*running.first()?, 0);
    let first = first.borrow();
    let all_active = running.iter().all(|id| first.image.is_active(BrokerId(*id)));
    first.metadata.controller().map(|id| id.0).filter(|_| all_active)
}

/// What each running broker believes.
fn states(cluster: &SimCluster) -> Vec<String> {
    let running = cluster.ids().into_iter().filter(|id| cluster.is_running(*id));
    let state = |id| {
        let shard = cluster.core(id, 0);
        let shard = shard.borrow();
        let brokers: Vec<String> = shard
            .image
            .brokers()
            .map(|broker| format!("{} {:?}", broker.id().0, broker.availability))
            .collect();
        let (role, membership) = (shard.quorum.view().role, &shard.membership);
        format!("{id}: {brokers:?} end {} {membership:?} {role:?}", shard.image.end())
    };
    running.map(state).collect()
}

/// The partition, who leads it and who is in sync, as one broker sees it.
fn partition_at(cluster: &SimCluster, id: NodeId) -> Option<(TopicPartition, NodeId, Vec<NodeId>)> {
    let shard = cluster.core(id, 0);
    let shard = shard.borrow();
    let topic = shard.image.topic_by_name(TOPIC)?;
    let known = topic.partition(PartitionId(0))?;
    let isr = known.state.isr.iter().map(|member| member.0).collect();
    let partition = TopicPartition { topic: topic.id, partition: PartitionId(0) };
    Some((partition, known.state.leader?.0, isr))
}

async fn produce(client: &mut SimClient, topic: TopicPartition, number: u64) -> Option<KafkaCode> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = number.to_be_bytes();
    builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() }).unwrap();
    let data = PartitionProduceData { index: 0, records: builder.build().unwrap().into() };
    let topic = TopicProduceData {
        topic_id: topic.topic.0,
        partition_data: vec![data],
        ..Default::default()
    };
    let topic_data = vec![topic];
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data, ..ProduceRequest::default() };
    let answer = client.call(&request).await?;
    KafkaCode::from_number(answer.responses[0].partition_responses[0].error_code)
}

fn produce_some(cluster: &mut SimCluster, leader: NodeId, topic: TopicPartition) {
    let mut client = cluster.connect(leader, 0);
    let handle = cluster.executor.handle();
    cluster.executor.run_until(async move {
        for number in 0..10 {
            loop {
                let code = produce(&mut client, topic, number).await.expect("it runs");
                if code == KafkaCode::None {
                    break;
                }
                assert!(code.is_retriable(), "{code}");
                handle.sleep_us(RETRY_US).await;
            }
        }
    });
}

fn make_topic(cluster: &mut SimCluster, at: NodeId) -> i16 {
    let mut client = cluster.connect(at, 0);
    cluster.executor.run_until(async move {
        let topic = CreatableTopic {
            name: TOPIC.to_owned(),
            num_partitions: 1,
            replication_factor: 3,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        client.call(&request).await.unwrap().topics[0].error_code
    })
}

fn log_end(cluster: &SimCluster, id: NodeId, partition: &TopicPartition) -> Option<i64> {
    (0..2).find_map(|core| {
        let shard = cluster.core(id, core);
        let shard = shard.borrow();
        let index = shard.partition_index(partition)?;
        Some(shard.partitions[index].log.durable_end().to_wire())
    })
}

/// A cluster in use with the topic; whom was asked, the partition and its leader.
fn with_topic(seed: u64, setup: &ClusterSetup<'_>) -> (SimCluster, TopicPartition, NodeId) {
    let mut cluster = SimCluster::new(seed, setup);
    let is_up = cluster.wait_us(PATIENCE_US, |c| controller(c).is_some());
    assert!(is_up, "seed {seed}: {:#?}", states(&cluster));
    let active = controller(&cluster).unwrap();
    assert_eq!(make_topic(&mut cluster, active), 0, "seed {seed}");
    let (partition, leader, isr) = partition_at(&cluster, active).unwrap();
    assert_eq!(isr.len(), 3);
    (cluster, partition, leader)
}

/// Waits until a broker sees the partition led as wanted.
fn await_leader(cluster: &mut SimCluster, at: NodeId, is_so: impl Fn(NodeId) -> bool) -> bool {
    cluster.wait_us(PATIENCE_US, |c| partition_at(c, at).is_some_and(|(_, now, _)| is_so(now)))
}

#[test]
fn a_broker_that_came_back_leads_again_what_prefers_it() {
    let often = ("leader.imbalance.check.interval.seconds", "5");
    let settings = [("min.insync.replicas", "2"), often];
    for seed in 0..4 {
        let setup = ClusterSetup { settings: &settings, ..SETUP };
        let (mut cluster, _, preferred) = with_topic(seed, &setup);
        let other = if preferred == 1 { 2 } else { 1 };
        cluster.kill(preferred, false);
        assert!(await_leader(&mut cluster, other, |now| now != preferred), "seed {seed}");
        cluster.start(preferred);
        let is_back = await_leader(&mut cluster, other, |now| now == preferred);
        assert!(is_back, "seed {seed}: {:#?}", states(&cluster));
    }
}

#[test]
fn a_broker_that_is_to_stop_goes_when_others_lead_in_its_place() {
    for seed in 0..4 {
        let (mut cluster, partition, leader) = with_topic(seed, &SETUP);
        produce_some(&mut cluster, leader, partition);
        let shard = cluster.core(leader, 0);
        cluster.executor.run_until(async move { joining::leave(&shard).await });
        let (_, next, _) = partition_at(&cluster, leader).unwrap();
        assert_ne!(next, leader, "it knows before it goes, seed {seed}");
        assert!(await_leader(&mut cluster, next, |now| now == next), "seed {seed}");
        produce_some(&mut cluster, next, partition);
        cluster.kill(leader, false);
        produce_some(&mut cluster, next, partition);
        assert_eq!(log_end(&cluster, next, &partition), Some(30), "seed {seed}");
    }
}

#[test]
fn three_brokers_form_a_cluster_and_one_of_them_may_go() {
    for seed in 0..10 {
        let (mut cluster, partition, leader) = with_topic(seed, &SETUP);
        produce_some(&mut cluster, leader, partition);
        cluster.kill(leader, true);
        let other = if leader == 1 { 2 } else { 1 };
        let moved = await_leader(&mut cluster, other, |now| now != leader);
        assert!(moved, "another one leads, seed {seed}");
        let (_, next, isr) = partition_at(&cluster, other).unwrap();
        assert_eq!(isr.len(), 2, "seed {seed}");
        cluster.wait_us(PATIENCE_US, |c| partition_at(c, next).is_some_and(|p| p.1 == next));
        produce_some(&mut cluster, next, partition);
        cluster.start(leader);
        let is_whole = cluster.wait_us(PATIENCE_US, |c| {
            partition_at(c, next).is_some_and(|(.., isr)| isr.len() == 3)
        });
        assert!(is_whole, "it comes back into the in-sync set, seed {seed}");
        assert_eq!(log_end(&cluster, leader, &partition), Some(20), "seed {seed}");
    }
}
