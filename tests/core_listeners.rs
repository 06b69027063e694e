//! `highwater.listeners.per.core`: unmodified clients are led straight to the core that owns what
//! they ask for, and nothing they can do with a broker is lost by its being several to them.
//!
//! The broker's own counters say whether a produce or fetch went to another core.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "the counters belong into a failure's output")]

use harness::{
    Broker, Finished, Missing, Port, Toolchain, Wire, java_classes, kafka_jars, python, repository,
    run_cases, run_to_end,
};
use highwater::protocol::messages::describe_cluster::DescribeClusterRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::list_groups::ListGroupsRequest;
use highwater::protocol::messages::metadata::MetadataRequest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
/// What tests/clients/python/cases.py lists, but for the one that wants a single broker to lead all
/// of a topic.
const CASES: usize = 37;
const WANTS_ONE_LEADER: &str = "describe_topic";
const CORES: u16 = 2;
static BROKERS: AtomicU16 = AtomicU16::new(0);
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A broker whose cores have ports of their own that nobody else has.
fn start() -> Broker {
    let mut broker = Broker::prepare(
        BINARY,
        &[
            "highwater.cores=2",
            "highwater.listeners.per.core=true",
            "group.initial.rebalance.delay.ms=0",
            "offsets.topic.num.partitions=4",
        ],
    );
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    // Tests side by side have neighbouring ports: each looks in a range of its own.
    let begin = 13_000 + BROKERS.fetch_add(1, Ordering::Relaxed) * 500;
    let first = (begin..begin + 500)
        .step_by(usize::from(CORES))
        .find(|first| (0..CORES).all(|core| is_free(broker.port() + first + core)))
        .expect("some ports are free");
    broker.set(&format!("highwater.listeners.per.core.first.port={first}"));
    broker.restart();
    broker
}

/// What `highwater latency` says of each core: requests, and messages to other cores.
fn counted(broker: &Broker) -> Vec<(u64, u64)> {
    let mut command = Command::new(BINARY);
    command.args(["latency", "-o", "json", "--bootstrap", &broker.bootstrap()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cores = document["cores"].as_array().unwrap().iter();
    let of = |core: &Value| (core["requests"].as_u64().unwrap(), core["routed"].as_u64().unwrap());
    cores.map(of).collect()
}

/// Runs every case of a library; its produces and fetches must stay on the core they came to.
fn check(library: &str, program: Result<Command, Missing>) {
    let Some(mut program) = program.or_skip(library) else { return };
    let broker = start();
    program.args([broker.bootstrap(), library.to_owned()]);
    let mut report = run_cases(program);
    let (meant, failed): (Vec<String>, Vec<String>) =
        report.failed.into_iter().partition(|failed| failed.starts_with(WANTS_ONE_LEADER));
    assert!(meant.len() == 1 && meant[0].contains("1000001"), "{meant:?}");
    report.failed = failed;
    report.ended_badly = None;
    report.assert_all_passed(CASES, &broker.report());
    let counted = counted(&broker);
    println!("{library}: requests and hops of each core: {counted:?}");
    assert!(counted.iter().all(|(requests, _)| *requests > 10), "{counted:?}");
    assert!(counted.iter().all(|(_, routed)| *routed == 0), "{counted:?}");
}

fn python_program(name: &str) -> Result<Command, Missing> {
    let mut command = Command::new(python()?);
    command.arg("-B").arg(repository().join("tests/clients/python").join(name));
    Ok(command)
}

fn java() -> Result<Command, Missing> {
    let class_path = format!("{}:{}/*", java_classes()?.display(), kafka_jars()?.display());
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &class_path, "ClientCases"]);
    Ok(command)
}

#[test]
fn librdkafka_reaches_the_owning_core_in_every_case() {
    check("confluent-kafka", python_program("confluent_cases.py"));
}

#[test]
fn kafka_python_reaches_the_owning_core_in_every_case() {
    check("kafka-python", python_program("kafka_python_cases.py"));
}

#[test]
fn the_java_client_reaches_the_owning_core_in_every_case() {
    check("kafka-clients", java());
}

#[test]
fn each_core_is_a_broker_of_its_own_at_every_address() {
    let broker = start();
    let port = broker.port();
    let mut shared = Wire::connect(&broker.bootstrap()).unwrap();
    let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
    let cluster = shared.call(&request, 1).unwrap();
    let ids: Vec<i32> = cluster.brokers.iter().map(|broker| broker.broker_id).collect();
    assert_eq!((ids, cluster.controller_id), (vec![1, 1_000_001], 1));
    let ports: BTreeSet<i32> = cluster.brokers.iter().map(|broker| broker.port).collect();
    assert!(!ports.contains(&i32::from(port)) && ports.len() == usize::from(CORES), "{ports:?}");
    for port in ports {
        let mut own = Wire::connect(&format!("127.0.0.1:{port}")).unwrap();
        let metadata = own.call(&MetadataRequest::default(), 12).unwrap();
        assert_eq!(metadata.brokers.len(), 2, "as at the shared address");
        // Whoever asks every broker for its groups adds the answers up.
        let listed = own.call(&ListGroupsRequest::default(), 4).unwrap();
        assert!(listed.error_code == 0 && listed.groups.is_empty());
    }
    let keys = (0..16).map(|group| format!("group-{group}")).collect();
    let request = FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() };
    let found = shared.call(&request, 4).unwrap().coordinators;
    let told: BTreeSet<i32> = found.iter().map(|coordinator| coordinator.node_id).collect();
    assert_eq!(told, BTreeSet::from([1, 1_000_001]), "groups are spread over the cores");
}

fn run(overrides: &[String]) -> Finished {
    let mut command = Command::new(BINARY);
    let directory = harness::scratch_directory("refused");
    command.current_dir(directory.path());
    overrides.iter().for_each(|pair| {
        command.args(["--override", pair]);
    });
    run_to_end(command, START_PATIENCE).unwrap()
}

#[test]
fn a_latency_profile_is_refused_where_its_processors_are_shared() {
    let isolated = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    if !isolated.trim().is_empty() {
        println!("processors {} are isolated here: nothing to refuse", isolated.trim());
        return;
    }
    let port = Port::take();
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{}", port.number);
    let finished = run(&[listeners, "highwater.profile=latency".to_owned()]);
    assert_eq!(finished.status.and_then(|status| status.code()), Some(78), "{}", finished.stderr);
    assert!(finished.stderr.contains("are not kept for this process"), "{}", finished.stderr);
    assert!(finished.stderr.contains("highwater.spin.force=true"), "{}", finished.stderr);

    let forced = ["highwater.profile=latency", "highwater.spin.force=true", "highwater.cores=1"];
    let mut broker = Broker::start(BINARY, &forced);
    assert!(broker.report().contains(", spinning"), "{}", broker.report());
    broker.stop();
}

#[test]
fn ports_that_clash_are_a_configuration_error() {
    let taken = Port::take();
    let _held = TcpListener::bind(("127.0.0.1", taken.number)).unwrap();
    let per_core = "highwater.listeners.per.core=true".to_owned();
    let listeners = |text: &str| format!("listeners={text}");
    for (overrides, words) in [
        (
            vec![listeners("PLAINTEXT://127.0.0.1:65535"), per_core.clone()],
            "would have port 65536, beyond 65535",
        ),
        (
            vec![
                listeners("A://127.0.0.1:24001,B://127.0.0.1:24002"),
                "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT".to_owned(),
                per_core.clone(),
            ],
            "would have port 24002, which is given to another",
        ),
        (
            vec![listeners(&format!("PLAINTEXT://127.0.0.1:{}", taken.number - 1)), per_core],
            "is in use by another process",
        ),
    ] {
        let finished = run(&overrides);
        let told = &finished.stderr;
        assert_eq!(finished.status.and_then(|status| status.code()), Some(78), "{told}");
        assert!(told.contains(words) && told.contains("help: "), "{told}");
    }
}
