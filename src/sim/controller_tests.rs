//! Controllers that are no brokers, and brokers beside them that have no vote.

use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::messages::metadata::MetadataRequest;
use crate::sim::cluster::{NodeId, NodeSetup, SimCluster};

const CONTROLLERS: [NodeId; 3] = [1, 2, 3];
const BROKERS: [NodeId; 2] = [4, 5];
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;
const OF_BROKERS: i8 = 1;
const OF_CONTROLLERS: i8 = 2;

fn node(cores: u16, settings: &[(&str, &str)]) -> NodeSetup {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NodeSetup { cores, settings: settings.collect() }
}

/// Controllers by themselves, which come first, and brokers.
fn cluster(seed: u64, controllers: u16, brokers: usize) -> SimCluster {
    let controller = node(
        1,
        &[
            ("process.roles", "controller"),
            ("listeners", "CONTROLLER://0.0.0.0:9092"),
            ("advertised.listeners", "CONTROLLER://broker-{id}:9092"),
            ("controller.listener.names", "CONTROLLER"),
        ],
    );
    let broker = node(2, &[("controller.listener.names", "CONTROLLER")]);
    let mut nodes = vec![controller; usize::from(controllers)];
    nodes.extend(vec![broker; brokers]);
    let mut cluster = SimCluster::of(seed, controllers, nodes);
    for id in cluster.ids() {
        cluster.start(id);
    }
    cluster
}

fn active(cluster: &SimCluster) -> Option<NodeId> {
    let mut running = cluster.ids().into_iter().filter(|id| cluster.is_running(*id));
    running.find(|id| cluster.core(*id, 0).borrow().quorum.is_active())
}

/// Whether a controller is active that uses these brokers and knows all these nodes.
fn is_whole(cluster: &SimCluster, nodes: &[NodeId], brokers: &[NodeId]) -> bool {
    active(cluster).is_some_and(|at| {
        let shard = cluster.core(at, 0);
        let shard = shard.borrow();
        let known: Vec<NodeId> = shard.image.nodes().map(|node| node.id().0).collect();
        known == nodes && brokers.iter().all(|id| shard.image.is_active(BrokerId(*id)))
    })
}

/// Asks a broker for a topic with a replica on each; the code of the answer.
fn make_topic(cluster: &mut SimCluster, at: NodeId, name: &str, replicas: i16) -> KafkaCode {
    let mut client = cluster.connect(at, 0);
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 4,
        replication_factor: replicas,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    KafkaCode::from_number(answer.expect("it runs").topics[0].error_code).expect("a known code")
}

/// The same once there is a controller that is reached.
fn expect_topic(cluster: &mut SimCluster, at: NodeId, name: &str) {
    let mut code = KafkaCode::None;
    for _ in 0..1000 {
        code = make_topic(cluster, at, name, 2);
        if [KafkaCode::None, KafkaCode::TopicAlreadyExists].contains(&code) {
            return;
        }
        cluster.pass_us(PATIENCE_US / 1000);
    }
    panic!("topic {name} is not made: {code}");
}

fn describe(cluster: &mut SimCluster, at: NodeId, endpoint_type: i8) -> DescribeClusterResponse {
    let mut client = cluster.connect(at, 0);
    let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    answer.expect("it is served")
}

fn ids(told: &DescribeClusterResponse) -> Vec<NodeId> {
    told.brokers.iter().map(|broker| broker.broker_id).collect()
}

/// By partition of a topic, as one broker knows them: who leads in which epoch, and the replicas.
fn leaders(
    cluster: &SimCluster,
    at: NodeId,
    name: &str,
) -> Vec<(Option<NodeId>, i32, Vec<NodeId>)> {
    let shard = cluster.core(at, 0);
    let shard = shard.borrow();
    let topic = shard.image.topic_by_name(name).expect("it was made");
    let shown = topic.partitions.iter().map(|partition| {
        let state = &partition.state;
        let replicas = state.replicas.iter().map(|replica| replica.broker.0).collect();
        (state.leader.map(|leader| leader.0), state.leader_epoch.0, replicas)
    });
    shown.collect()
}

#[test]
fn brokers_go_on_when_the_active_controller_is_killed_and_topics_can_be_made() {
    for seed in 0..8 {
        let mut cluster = cluster(seed, 3, 2);
        let all = [1, 2, 3, 4, 5];
        let is_up = cluster.wait_us(PATIENCE_US, |c| is_whole(c, &all, &BROKERS));
        assert!(is_up, "seed {seed}");
        expect_topic(&mut cluster, 4, "before");
        let refused = make_topic(&mut cluster, 4, "wide", 3);
        assert_eq!(refused, KafkaCode::InvalidReplicationFactor, "seed {seed}");
        cluster.pass_us(1_000_000);
        let before = leaders(&cluster, 5, "before");
        for (leader, _, replicas) in &before {
            assert!(leader.is_some_and(|leader| BROKERS.contains(&leader)), "{before:?}");
            assert!(replicas.iter().all(|id| BROKERS.contains(id)), "{before:?}");
        }
        let victim = active(&cluster).expect("it made the topic");
        cluster.kill(victim, seed % 2 == 0);
        expect_topic(&mut cluster, 5, "after");
        cluster.pass_us(1_000_000);
        assert_eq!(leaders(&cluster, 5, "before"), before, "brokers took no notice, seed {seed}");
        cluster.start(victim);
        assert!(cluster.wait_us(PATIENCE_US, |c| is_whole(c, &all, &BROKERS)), "seed {seed}");
        for id in CONTROLLERS {
            assert!(cluster.core(id, 0).borrow().partitions.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn controllers_tell_of_controllers_and_brokers_of_brokers() {
    let mut cluster = cluster(20, 3, 2);
    let is_up = cluster.wait_us(PATIENCE_US, |c| is_whole(c, &[1, 2, 3, 4, 5], &BROKERS));
    assert!(is_up);
    let is_known = cluster.wait_us(PATIENCE_US, |c| {
        c.ids().into_iter().all(|id| {
            let shard = c.core(id, 0);
            let shard = shard.borrow();
            shard.metadata.controller().is_some() && shard.image.brokers().count() == 2
        })
    });
    assert!(is_known);
    let active = active(&cluster).expect("it is whole");
    for id in CONTROLLERS {
        let told = describe(&mut cluster, id, OF_CONTROLLERS);
        let expected = (0, OF_CONTROLLERS, active);
        assert_eq!((told.error_code, told.endpoint_type, told.controller_id), expected);
        assert_eq!(ids(&told), CONTROLLERS);
        assert_eq!(told.brokers[2].host, "broker-3");
        let mismatched = describe(&mut cluster, id, OF_BROKERS).error_code;
        assert_eq!(mismatched, KafkaCode::MismatchedEndpointType.number());
    }
    for id in BROKERS {
        let told = describe(&mut cluster, id, OF_BROKERS);
        assert_eq!((told.error_code, ids(&told)), (0, BROKERS.to_vec()));
        let mismatched = describe(&mut cluster, id, OF_CONTROLLERS).error_code;
        assert_eq!(mismatched, KafkaCode::MismatchedEndpointType.number());
    }
    let mut client = cluster.connect(active, 0);
    let request = MetadataRequest::default();
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    assert!(answer.is_none(), "a controller hangs up: {answer:?}");
}

#[test]
fn one_controller_and_one_broker_come_back_in_any_order() {
    for seed in 30..34 {
        let mut cluster = cluster(seed, 1, 1);
        assert!(cluster.wait_us(PATIENCE_US, |c| is_whole(c, &[1, 2], &[2])), "seed {seed}");
        assert_eq!(make_topic(&mut cluster, 2, "one", 1), KafkaCode::None, "seed {seed}");
        let order = if seed % 2 == 0 { [1, 2] } else { [2, 1] };
        for id in order {
            cluster.kill(id, true);
        }
        for id in order {
            cluster.start(id);
        }
        assert!(cluster.wait_us(PATIENCE_US, |c| is_whole(c, &[1, 2], &[2])), "seed {seed}");
        let has_topic =
            |c: &SimCluster| c.core(2, 0).borrow().metadata.controller() == Some(BrokerId(1));
        assert!(cluster.wait_us(PATIENCE_US, has_topic), "seed {seed}");
        assert_eq!(make_topic(&mut cluster, 2, "two", 1), KafkaCode::None, "seed {seed}");
    }
}
