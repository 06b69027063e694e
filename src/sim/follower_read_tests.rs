//! Consumers at replicas that do not lead: who sends them there, and what they find (KIP-392);
//! and what a client is told that missed the leader (KIP-951).

use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicPartition};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use crate::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::schema::Request;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};

const TOPIC: &str = "orders";
const SETUP: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 2,
    settings: &[
        ("broker.rack", "rack-{id}"),
        ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
    ],
};
const PATIENCE_US: u64 = 60_000_000;
const RECORDS: i64 = 10;

struct World {
    cluster: SimCluster,
    partition: TopicPartition,
    leader: NodeId,
    follower: NodeId,
}

/// Three brokers in three racks, a topic on all of them, and records that all of them have.
fn world(seed: u64) -> World {
    let mut cluster = SimCluster::new(seed, &SETUP);
    let knows_all = |c: &SimCluster| {
        let shard = c.core(1, 0);
        let shard = shard.borrow();
        shard.metadata.controller().is_some()
            && (1..=3).all(|id| shard.image.is_active(BrokerId(id)))
    };
    assert!(cluster.wait_us(PATIENCE_US, knows_all), "seed {seed}");
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: 3,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let made = call(&mut cluster, 1, request);
    assert_eq!(made.topics[0].error_code, 0, "seed {seed}");
    let (partition, leader) = {
        let shard = cluster.core(1, 0);
        let shard = shard.borrow();
        let topic = shard.image.topic_by_name(TOPIC).unwrap();
        let partition = TopicPartition { topic: topic.id, partition: PartitionId(0) };
        (partition, topic.partition(PartitionId(0)).unwrap().state.leader.unwrap().0)
    };
    let follower = if leader == 1 { 2 } else { 1 };
    let mut world = World { cluster, partition, leader, follower };
    for _ in 0..RECORDS {
        world.produce_one();
    }
    let committed = |c: &SimCluster| {
        [leader, follower].iter().all(|id| high_watermark(c, *id, &partition) == Some(RECORDS))
    };
    assert!(world.cluster.wait_us(PATIENCE_US, committed), "seed {seed}");
    world
}

fn call<R: Request + 'static>(cluster: &mut SimCluster, at: NodeId, request: R) -> R::Response
where
    R::Response: 'static,
{
    let mut client = cluster.connect(at, 0);
    cluster.executor.run_until(async move { client.call(&request).await.expect("it runs") })
}

fn high_watermark(cluster: &SimCluster, id: NodeId, partition: &TopicPartition) -> Option<i64> {
    (0..2).find_map(|core| {
        let shard = cluster.core(id, core);
        let shard = shard.borrow();
        let index = shard.partition_index(partition)?;
        Some(shard.partitions[index].high_watermark().to_wire())
    })
}

impl World {
    fn produce(&mut self, at: NodeId) -> ProduceResponse {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
        let data = PartitionProduceData { index: 0, records: builder.build().unwrap().into() };
        let topic = TopicProduceData {
            topic_id: self.partition.topic.0,
            partition_data: vec![data],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        call(&mut self.cluster, at, request)
    }

    /// One acknowledged record; leaders that have just been elected may want to be asked again.
    fn produce_one(&mut self) {
        for _ in 0..1000 {
            let answer = self.produce(self.leader);
            let code = answer.responses[0].partition_responses[0].error_code;
            if code == 0 {
                return;
            }
            assert!(KafkaCode::from_number(code).unwrap().is_retriable());
            self.cluster.pass_us(10_000);
        }
        panic!("nothing is acknowledged");
    }

    fn request(&self, rack: &str, fetch_offset: i64) -> FetchRequest {
        let partition = FetchPartition {
            partition: 0,
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let topic = FetchTopic {
            topic_id: self.partition.topic.0,
            partitions: vec![partition],
            ..FetchTopic::default()
        };
        FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1 << 20,
            topics: vec![topic],
            rack_id: rack.to_owned(),
            ..FetchRequest::default()
        }
    }

    fn fetch(&mut self, at: NodeId, rack: &str, fetch_offset: i64) -> PartitionData {
        let request = self.request(rack, fetch_offset);
        let answer: FetchResponse = call(&mut self.cluster, at, request);
        answer.responses[0].partitions[0].clone()
    }
}

fn is_empty(data: &PartitionData) -> bool {
    data.records.is_empty()
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack_and_reads_there() {
    for seed in 0..4 {
        let mut world = world(seed);
        let (leader, follower) = (world.leader, world.follower);
        let rack = format!("rack-{follower}");
        let sent = world.fetch(leader, &rack, 0);
        assert_eq!((sent.error_code, sent.preferred_read_replica), (0, follower));
        assert!(is_empty(&sent) && sent.high_watermark == RECORDS);
        let read = world.fetch(follower, &rack, 0);
        assert_eq!((read.error_code, read.preferred_read_replica), (0, -1));
        assert!(!is_empty(&read) && read.high_watermark == RECORDS);
        for rack in [format!("rack-{leader}"), "rack-9".to_owned(), String::new()] {
            let read = world.fetch(leader, &rack, 0);
            assert_eq!((read.error_code, read.preferred_read_replica), (0, -1), "{rack}");
            assert!(!is_empty(&read));
        }
    }
}

#[test]
fn a_follower_knows_where_its_log_ends_and_wakes_readers_when_more_is_committed() {
    let mut world = world(7);
    let (leader, follower) = (world.leader, world.follower);
    let beyond = world.fetch(follower, "", RECORDS + 1);
    assert_eq!(beyond.error_code, KafkaCode::OffsetOutOfRange.number());
    let at_leader = world.fetch(leader, &format!("rack-{follower}"), RECORDS + 1);
    assert_eq!(at_leader.preferred_read_replica, -1, "nobody else has it");
    let request = FetchRequest { max_wait_ms: 30_000, ..world.request("", RECORDS) };
    let mut client = world.cluster.connect(follower, 1);
    let handle = world.cluster.executor.handle();
    let answer = std::rc::Rc::new(std::cell::RefCell::new(None));
    let place = std::rc::Rc::clone(&answer);
    handle.spawn(async move { *place.borrow_mut() = client.call(&request).await });
    world.cluster.pass_us(50_000);
    assert!(answer.borrow().is_none(), "there is nothing to read yet");
    world.produce_one();
    assert!(world.cluster.wait_us(PATIENCE_US / 10, |_| answer.borrow().is_some()));
    let answer: FetchResponse = answer.borrow_mut().take().unwrap();
    assert!(!is_empty(&answer.responses[0].partitions[0]));
}

#[test]
fn a_replica_that_is_gone_is_not_preferred() {
    let mut world = world(3);
    let (leader, follower) = (world.leader, world.follower);
    world.cluster.kill(follower, false);
    let partition = world.partition;
    let is_out = world.cluster.wait_us(PATIENCE_US, |c| {
        let shard = c.core(leader, 0);
        let shard = shard.borrow();
        !shard.image.partition(&partition).unwrap().state.isr.contains(&BrokerId(follower))
    });
    assert!(is_out);
    world.cluster.pass_us(10_000);
    let read = world.fetch(leader, &format!("rack-{follower}"), 0);
    assert_eq!(read.preferred_read_replica, -1);
    assert!(!is_empty(&read));
}

#[test]
fn who_asks_another_broker_is_told_of_the_leader() {
    let mut world = world(5);
    let (leader, follower) = (world.leader, world.follower);
    let answer = world.produce(follower);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, KafkaCode::NotLeaderOrFollower.number());
    assert_eq!(partition.current_leader.leader_id, leader);
    let epoch = partition.current_leader.leader_epoch;
    assert!(epoch >= 0);
    let node = &answer.node_endpoints[0];
    assert_eq!((node.node_id, node.host.as_str()), (leader, &*format!("broker-{leader}")));
    assert_eq!(node.rack.as_deref(), Some(&*format!("rack-{leader}")));

    world.cluster.kill(leader, false);
    let partition = world.partition;
    let next = |c: &SimCluster| {
        let shard = c.core(follower, 0);
        let shard = shard.borrow();
        shard.image.partition(&partition).unwrap().state.leader.map(|id| id.0)
    };
    let has_moved = |c: &SimCluster| next(c).is_some_and(|now| now != leader);
    assert!(world.cluster.wait_us(PATIENCE_US, has_moved));
    let next = next(&world.cluster).unwrap();
    let mut request = world.request("", 0);
    request.topics[0].partitions[0].current_leader_epoch = epoch;
    let answer: FetchResponse = call(&mut world.cluster, follower, request);
    let data = &answer.responses[0].partitions[0];
    assert_eq!(data.error_code, KafkaCode::FencedLeaderEpoch.number());
    assert_eq!(data.current_leader.leader_id, next);
    assert!(data.current_leader.leader_epoch > epoch);
    assert_eq!(answer.node_endpoints[0].node_id, next);
}
