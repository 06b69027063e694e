//! Real processes with one role each: controllers that are no brokers, and brokers without a vote.
//! All by the command line, as docs/operate.md says it.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use harness::{Broker, Commands, Port, Wire, broker_state, node_ids, wait_until};
use highwater::protocol::messages::api_versions::ApiVersionsRequest;
use highwater::protocol::messages::describe_cluster::DescribeClusterRequest;
use highwater::protocol::messages::metadata::MetadataRequest;
use serde_json::Value;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const COMMANDS: Commands = Commands::new(BINARY);
/// What a cluster may take for anything here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const CLUSTER: &str = "aRt4NCyzRs2HHZHY4OR7PA";
const SETTINGS: [&str; 3] = [
    "highwater.cluster.id=aRt4NCyzRs2HHZHY4OR7PA",
    "broker.heartbeat.interval.ms=500",
    "broker.session.timeout.ms=2000",
];
/// Kafka's numbers of APIs.
const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const DESCRIBE_QUORUM: i16 = 55;
const DESCRIBE_CLUSTER: i16 = 60;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;

/// A controller that is to be told of its quorum.
fn controller(id: i32) -> Broker {
    let mut node = Broker::prepare(BINARY, &SETTINGS);
    let listeners = format!("listeners=CONTROLLER://{}", node.bootstrap());
    node.set(&listeners);
    node.set("process.roles=controller");
    node.set("controller.listener.names=CONTROLLER");
    node.set(&format!("node.id={id}"));
    node
}

/// A broker without a vote; `quorum` is the setting by which it finds those that have one.
fn broker(id: i32, quorum: &str) -> Broker {
    let mut node = Broker::prepare(BINARY, &SETTINGS);
    node.set("highwater.cores=1");
    node.set("process.roles=broker");
    node.set("controller.listener.names=CONTROLLER");
    node.set(&format!("node.id={id}"));
    node.set(quorum);
    node
}

fn produce(lines: std::ops::Range<u32>, at: &str, nodes: &[&Broker]) {
    let sent = wait_until("an acknowledgement by all in sync", PATIENCE, || {
        COMMANDS.produce("orders", lines.clone(), at).then_some(())
    });
    sent.unwrap_or_else(|late| {
        let reports: Vec<String> = nodes.iter().map(|node| node.report()).collect();
        panic!("{late}\n{}", reports.join("\n"))
    });
}

fn expect_numbers(count: u32, at: &str, nodes: &[&Broker]) {
    let all: Vec<u32> = (0..count).collect();
    let mut last = None;
    let read = wait_until("everything acknowledged", PATIENCE, || {
        last = COMMANDS.consume("orders", at);
        (last.as_ref() == Some(&all)).then_some(())
    });
    read.unwrap_or_else(|late| {
        let reports: Vec<String> = nodes.iter().map(|node| node.report()).collect();
        panic!("{late}: {last:?}\n{}", reports.join("\n"))
    });
}

/// Makes a topic, and waits until the cluster has so many partitions.
fn create(topic: &str, sizes: &[&str], at: &str, (partitions, nodes): (i64, &[&Broker])) {
    let words = [&["topic", "create", topic, "--bootstrap", at], sizes].concat();
    COMMANDS.bring_about(&words, at, (topic, nodes), |now| now["partitions"] == partitions);
}

/// The brokers that a client of `at` is told of.
fn brokers_of(at: &str) -> Vec<i32> {
    let mut wire = Wire::connect(at).unwrap();
    let metadata = wire.call(&MetadataRequest::default(), 9).unwrap();
    let described = wire.call(&DescribeClusterRequest::default(), 1).unwrap();
    let ids: Vec<i32> = metadata.brokers.iter().map(|broker| broker.node_id).collect();
    let same: Vec<i32> = described.brokers.iter().map(|broker| broker.broker_id).collect();
    assert_eq!(ids, same);
    ids
}

fn expect_controllers_answers(at: &str) {
    let mut wire = Wire::connect(at).unwrap();
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
    };
    let served = wire.call(&request, 3).unwrap();
    let has = |key| served.api_keys.iter().any(|api| api.api_key == key);
    assert!(has(DESCRIBE_QUORUM) && has(DESCRIBE_CLUSTER), "{served:?}");
    assert!(!has(METADATA) && !has(PRODUCE), "{served:?}");
    let of_controllers =
        DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() };
    let told = wire.call(&of_controllers, 1).unwrap();
    assert_eq!((told.error_code, told.endpoint_type, told.controller_id), (0, 2, 1));
    let [only] = &told.brokers[..] else { panic!("{told:?}") };
    assert_eq!((only.broker_id, format!("{}:{}", only.host, only.port)), (1, at.to_owned()));
    let refused = wire.call(&DescribeClusterRequest::default(), 1).unwrap();
    assert_eq!(refused.error_code, MISMATCHED_ENDPOINT_TYPE);
    let hung_up = wire.call(&MetadataRequest::default(), 9);
    assert!(hung_up.is_err(), "what a controller does not serve ends the connection: {hung_up:?}");
}

/// A client at the wrong door was there before: it is refused under the same name.
fn expect_garbage_is_named_once(controller: &Broker) {
    for fill in [0xff, 0x80, 0x00, 0x41] {
        let mut wire = Wire::connect(&controller.bootstrap()).unwrap();
        let length = [0, 0, 0, 64];
        wire.send_bytes(&[&length[..], &[fill; 64]].concat()).unwrap();
        assert!(wire.receive_frame().is_err(), "{fill:x} is no request");
        let mut wire = Wire::connect(&controller.bootstrap()).unwrap();
        wire.send_bytes(&[0xff; 64]).unwrap();
        assert!(wire.receive_frame().is_err(), "no frame has a negative length");
    }
    let log = controller.log();
    let complaints = log.lines().filter(|line| line.contains("INVALID_REQUEST")).count();
    assert_eq!(complaints, 1, "{log}");
}

#[test]
fn one_controller_decides_for_one_broker_and_is_none_itself() {
    let mut first = controller(1);
    let quorum = first.bootstrap();
    first.set(&format!("controller.quorum.voters=1@{quorum}"));
    first.restart();
    let mut second = broker(2, &format!("controller.quorum.bootstrap.servers={quorum}"));
    second.restart();
    let at = second.bootstrap();
    COMMANDS.await_status(&quorum, "a broker in use", &[&first, &second], |now| {
        let roles = (node_ids(now, "voters"), node_ids(now, "observers"));
        roles == (vec![1], vec![2])
            && node_ids(now, "brokers") == [2]
            && broker_state(now, 2) == "active"
            && now["voters"][0]["address"] == *quorum
    });
    create("orders", &["-p", "2"], &at, (2, &[&first, &second]));
    produce(0..50, &at, &[&first, &second]);
    assert_eq!(brokers_of(&at), [2]);
    expect_controllers_answers(&quorum);
    expect_garbage_is_named_once(&first);
    let up = first.log();
    assert!(up.contains("is up as a controller"), "{up}");
    let cores = up.lines().find_map(|line| line.trim().strip_prefix("cores")).unwrap();
    assert_eq!(cores.split(']').next().unwrap().matches(',').count(), 0, "one core: {cores}");

    // Nobody decides for a while: what is there goes on.
    first.kill();
    produce(50..100, &at, &[&first, &second]);
    first.restart();
    create("more", &["-p", "3"], &at, (5, &[&first, &second]));
    second.stop();
    first.stop();
    first.restart();
    second.restart();
    create("last", &["-p", "1"], &at, (6, &[&first, &second]));
    expect_numbers(100, &at, &[&first, &second]);
}

/// Three controllers, started.
fn controllers() -> (Vec<Broker>, String) {
    let mut nodes: Vec<Broker> = (1..4).map(controller).collect();
    let voters: Vec<String> =
        (1..).zip(&nodes).map(|(id, node)| format!("{id}@{}", node.bootstrap())).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    for node in &mut nodes {
        node.set(&voters);
        node.restart();
    }
    (nodes, voters)
}

/// Three controllers and the brokers 4 and 5, with a topic that both hold.
struct Apart {
    controllers: Vec<Broker>,
    brokers: Vec<Broker>,
    /// Where clients find broker 5.
    at: String,
}

impl Apart {
    fn start() -> Apart {
        let (controllers, voters) = controllers();
        let servers: Vec<String> = controllers.iter().map(Broker::bootstrap).collect();
        let servers = format!("controller.quorum.bootstrap.servers={}", servers.join(","));
        let mut brokers = vec![broker(4, &voters), broker(5, &servers)];
        brokers.iter_mut().for_each(Broker::restart);
        let at = brokers[1].bootstrap();
        let apart = Apart { controllers, brokers, at };
        COMMANDS.await_status(&apart.at, "two brokers in use", &apart.all(), |now| {
            node_ids(now, "voters") == [1, 2, 3]
                && (4..6).all(|id| broker_state(now, id) == "active")
        });
        create("orders", &["-p", "2", "-r", "2"], &apart.at, (2, &apart.all()));
        apart
    }

    fn all(&self) -> Vec<&Broker> {
        self.controllers.iter().chain(&self.brokers).collect()
    }

    /// Kills the active controller; its id.
    fn kill_the_active_one(&mut self) -> i64 {
        let known =
            wait_until("an active controller", PATIENCE, || active_in(&COMMANDS.status(&self.at)?));
        let active = known.unwrap_or_else(|late| {
            let reports: Vec<String> = self.all().iter().map(|node| node.report()).collect();
            panic!("{late}\n{}", reports.join("\n"))
        });
        self.controller(active).kill();
        active
    }

    fn controller(&mut self, id: i64) -> &mut Broker {
        &mut self.controllers[usize::try_from(id).unwrap() - 1]
    }
}

fn active_in(status: &Value) -> Option<i64> {
    status["leader"].as_i64().filter(|id| (1..4).contains(id))
}

#[test]
fn the_active_of_three_controllers_is_killed_and_topics_can_be_made() {
    let mut apart = Apart::start();
    let at = apart.at.clone();
    produce(0..50, &at, &apart.all());
    let victim = apart.kill_the_active_one();
    produce(50..100, &at, &apart.all());
    create("after", &["-p", "3", "-r", "2"], &at, (5, &apart.all()));
    assert_eq!(brokers_of(&at), [4, 5]);
    expect_numbers(100, &at, &apart.all());

    // Another controller takes its place, while brokers go on.
    let mut sixth = controller(6);
    let dir = sixth.data_directory().display().to_string();
    let format = ["cluster", "format", "--dir", &dir, "--node-id", "6", "--cluster-id", CLUSTER];
    assert!(COMMANDS.said(&format).expect("an empty directory").contains("formatted"));
    sixth.set(&format!("controller.quorum.bootstrap.servers={at}"));
    sixth.restart();
    let gone = victim.to_string();
    let remove = ["cluster", "remove", &gone, "--bootstrap", &at];
    let nodes = [&apart.all()[..], &[&sixth]].concat();
    COMMANDS.bring_about(&remove, &at, ("two voters", &nodes), |now| {
        !node_ids(now, "voters").contains(&victim)
    });
    let own = sixth.bootstrap();
    COMMANDS.await_status(&own, "one more observer", &nodes, |now| {
        node_ids(now, "observers").contains(&6)
    });
    let add = ["cluster", "add", "6", "--bootstrap", &own];
    COMMANDS.bring_about(&add, &own, ("three voters", &nodes), |now| {
        let voters = node_ids(now, "voters");
        voters.len() == 3 && voters.contains(&6)
    });
    let unregister = ["cluster", "unregister", &gone, "--bootstrap", &at];
    COMMANDS.bring_about(&unregister, &at, ("it is forgotten", &nodes), |now| {
        !node_ids(now, "observers").contains(&victim) && node_ids(now, "brokers") == [4, 5]
    });
}

#[test]
fn the_last_controller_goes_on_alone_and_brokers_rejoin_it() {
    let mut apart = Apart::start();
    let at = apart.at.clone();
    produce(0..50, &at, &apart.all());
    for id in [2, 3] {
        apart.controller(id).kill();
    }
    let dir = apart.controller(1).data_directory().display().to_string();
    apart.controller(1).kill();
    produce(50..100, &at, &apart.all());
    apart.brokers.iter_mut().for_each(Broker::kill);
    let recover = ["cluster", "recover", "--dir", &dir, "--accept-lost-metadata"];
    COMMANDS.said(&recover).expect("the directory is free");
    apart.controller(1).restart();
    for broker in &mut apart.brokers {
        let dir = broker.data_directory().display().to_string();
        let rejoin = ["cluster", "recover", "--dir", &dir, "--rejoin", "--accept-lost-metadata"];
        COMMANDS.said(&rejoin).expect("the directory is free");
        broker.restart();
    }
    COMMANDS.await_status(&at, "one voter and two brokers", &apart.all(), |now| {
        node_ids(now, "voters") == [1] && (4..6).all(|id| broker_state(now, id) == "active")
    });
    create("after", &["-p", "3", "-r", "2"], &at, (5, &apart.all()));
    expect_numbers(100, &at, &apart.all());
}

#[test]
fn three_processes_with_both_roles_find_each_other_at_their_controllers_listeners() {
    let ports: Vec<Port> = (0..3).map(|_| Port::take()).collect();
    let voters: Vec<String> =
        (1..).zip(&ports).map(|(id, port)| format!("{id}@127.0.0.1:{}", port.number)).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    let mut nodes = Vec::new();
    for (id, port) in (1..).zip(&ports) {
        let mut node = Broker::prepare(BINARY, &SETTINGS);
        let own = node.bootstrap();
        let pairs = [
            "process.roles=broker,controller".to_owned(),
            format!("node.id={id}"),
            format!("listeners=PLAINTEXT://{own},CONTROLLER://127.0.0.1:{}", port.number),
            "controller.listener.names=CONTROLLER".to_owned(),
            "highwater.cores=1".to_owned(),
            voters.clone(),
        ];
        pairs.iter().for_each(|pair| node.set(pair));
        node.restart();
        nodes.push(node);
    }
    let all: Vec<&Broker> = nodes.iter().collect();
    let at = nodes[0].bootstrap();
    COMMANDS.await_status(&at, "three voters in use", &all, |now| {
        node_ids(now, "voters") == [1, 2, 3] && (1..4).all(|id| broker_state(now, id) == "active")
    });
    create("orders", &["-p", "2", "-r", "3"], &at, (2, &all));
    produce(0..20, &at, &all);
    assert_eq!(brokers_of(&at), [1, 2, 3]);
    let quorum = format!("127.0.0.1:{}", ports[1].number);
    let mut wire = Wire::connect(&quorum).unwrap();
    let request = DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() };
    let told = wire.call(&request, 1).unwrap();
    let shown: Vec<(i32, i32)> =
        told.brokers.iter().map(|node| (node.broker_id, node.port)).collect();
    let expected: Vec<(i32, i32)> =
        (1..).zip(&ports).map(|(id, port)| (id, i32::from(port.number))).collect();
    assert_eq!(shown, expected);
    assert!(wire.call(&MetadataRequest::default(), 9).is_err());
    COMMANDS.await_status(&quorum, "the same by a controller's listener", &all, |now| {
        node_ids(now, "brokers") == [1, 2, 3]
    });
}
