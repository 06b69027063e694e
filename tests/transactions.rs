//! Transactions of unmodified clients against the real binary, end to end.
//!
//! kafka-clients 3.9 adds partitions to its transaction itself; 4.1 leaves that to the broker
//! (KIP-890). `HIGHWATER_PEER=kafka` runs the same against Apache Kafka.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::{
    Broker, Missing, Peer, Toolchain, Wire, go_program, jars, java_classes, kafka_jars,
    node_modules, python, repository, run_cases_and_kill,
};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// One broker has one replica of everything.
const ONE_BROKER: [&str; 2] =
    ["transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1"];

/// What tests/clients/java/src/TransactionCases.java lists.
const JAVA_CASES: usize = 7;
/// What the programs of the other languages list: aborts, fencing, offsets, a killed broker.
const CASES: usize = 4;

fn check(library: &str, program: Result<Command, Missing>, cases: usize) {
    let Some(mut program) = program.or_skip(library) else { return };
    let mut overrides = vec!["group.initial.rebalance.delay.ms=0"];
    overrides.extend(ONE_BROKER);
    let Some(mut peer) = Peer::start(BINARY, &overrides).or_skip(library) else { return };
    program.args([peer.bootstrap(), format!("txn-{library}")]);
    run_cases_and_kill(program, &mut peer).assert_all_passed(cases, &peer.report());
    peer.save_golden(library);
}

fn java(jars: Result<PathBuf, Missing>) -> Result<Command, Missing> {
    let class_path = format!("{}:{}/*", java_classes()?.display(), jars?.display());
    let log4j = repository().join("tests/clients/java/log4j2.properties");
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &class_path])
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("TransactionCases");
    Ok(command)
}

#[test]
fn java_3_9_adds_partitions_to_its_transactions_itself() {
    check("kafka-clients-3.9", java(jars("clients39")), JAVA_CASES);
}

#[test]
fn java_4_1_leaves_its_partitions_to_the_broker() {
    check("kafka-clients-4.1", java(kafka_jars()), JAVA_CASES);
}

fn python_cases(library: &str) -> Result<Command, Missing> {
    let mut command = Command::new(python()?);
    let file = repository().join("tests/clients/python/transaction_cases.py");
    command.arg("-B").arg(file).arg(library);
    Ok(command)
}

fn go_cases(library: &str) -> Result<Command, Missing> {
    let mut command = Command::new(go_program()?);
    command.args(["transactions", library]);
    Ok(command)
}

fn kafkajs_cases() -> Result<Command, Missing> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", node_modules()?);
    command.env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
    command.arg(repository().join("tests/clients/node/kafkajs_transactions.js"));
    Ok(command)
}

#[test]
fn librdkafka_runs_transactions() {
    check("confluent-kafka", python_cases("confluent"), CASES);
}

#[test]
fn kafka_python_runs_transactions() {
    check("kafka-python", python_cases("kafka-python"), CASES);
}

#[test]
fn aiokafka_runs_transactions() {
    check("aiokafka", python_cases("aiokafka"), CASES);
}

#[test]
fn franz_go_runs_transactions() {
    check("franz-go", go_cases("franz"), CASES);
}

#[test]
fn sarama_runs_transactions() {
    check("sarama", go_cases("sarama"), CASES);
}

#[test]
fn kafkajs_runs_transactions() {
    check("kafkajs", kafkajs_cases(), CASES);
}

/// Transactions go on while the broker is killed and started again; afterwards each is there as a
/// whole or not at all, and none that was committed is missing.
#[test]
fn whole_transactions_or_nothing_after_kill_9() {
    for (library, jars) in [("kill-3.9", jars("clients39")), ("kill-4.1", kafka_jars())] {
        let Some(mut program) = java(jars).or_skip(library) else { return };
        let mut broker = Broker::start(BINARY, &ONE_BROKER);
        let child = program
            .args([&broker.bootstrap(), library, "crash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.expect("the toolchain was installed");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || lines.next().and_then(Result::ok);
        assert_eq!(next().as_deref(), Some("READY"), "{}", broker.report());
        for pause_ms in [700, 1100, 900, 1300] {
            thread::sleep(Duration::from_millis(pause_ms));
            broker.kill();
            broker.restart();
        }
        thread::sleep(Duration::from_millis(1500));
        child.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
        let verdict = next().unwrap_or_default();
        assert!(verdict.starts_with("PASS"), "{library}: {verdict}\n{}", broker.report());
        assert!(child.wait().expect("it ends").success());
    }
}

/// One of our own commands; its output.
fn highwater(arguments: &[&str], broker: &Broker) -> String {
    let bootstrap = broker.bootstrap();
    let output = Command::new(BINARY).args(arguments).args(["--bootstrap", &bootstrap]).output();
    let output = output.expect("built by cargo");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{errors}\n{}", broker.report());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn our_own_commands_list_describe_and_abort_transactions() {
    let broker = Broker::start(BINARY, &ONE_BROKER);
    highwater(&["topic", "create", "lines", "--partitions", "1"], &broker);
    let mut wire = Wire::connect(&broker.bootstrap()).expect("the broker listens");
    let (id, epoch) = wire.open_transaction("payments", "lines").expect("the broker answers");
    wire.open_transaction("orders", "lines").expect("the broker answers");

    let listed = highwater(&["txn", "list", "--state", "Ongoing", "--json"], &broker);
    let line = format!(r#"{{"id":"payments","producer_id":{id},"state":"Ongoing"}}"#);
    assert!(listed.lines().any(|own| own == line), "{listed}");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let described = highwater(&["txn", "describe", "payments"], &broker);
    for wanted in ["payments: Ongoing", &format!("producer {id}, epoch {epoch}"), "lines  0"] {
        assert!(described.contains(wanted), "no {wanted:?} in\n{described}");
    }

    let aborted = highwater(&["txn", "abort", "payments"], &broker);
    assert!(aborted.starts_with("aborted payments"), "{aborted}");
    let described = highwater(&["txn", "describe", "payments"], &broker);
    assert!(described.starts_with("payments: Empty"), "{described}");
    let listed = highwater(&["txn", "list", "--state", "Ongoing"], &broker);
    assert!(listed.contains("orders") && !listed.contains("payments"), "{listed}");
}
