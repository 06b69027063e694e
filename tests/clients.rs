//! Unmodified clients against the real binary, one test per library.
//!
//! Each program under tests/clients runs the same list of cases; `HIGHWATER_PEER=kafka` runs them
//! against Apache Kafka instead, which is how the expectations were checked. `CASES=a,b` runs some.
//! `HIGHWATER_CAPTURE=1` puts a recording proxy in between and writes tests/golden, see its README.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]

use std::env;
use std::path::PathBuf;
use std::process::Command;

use harness::{
    Missing, Peer, Toolchain, go_program, jars, java_classes, kafka_jars, node_modules, python,
    repository, run_cases,
};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// Every client runs this many cases: what tests/clients/python/cases.py lists.
const CASES: usize = 38;

/// Starts a broker, runs a client program against it, and judges its lines.
fn check(library: &str, program: Result<Command, Missing>) {
    let Some(mut program) = program.or_skip(library) else { return };
    let Some(peer) = Peer::start(BINARY, &["group.initial.rebalance.delay.ms=0"]).or_skip(library)
    else {
        return;
    };
    program.args([peer.bootstrap(), library.to_owned()]);
    let wanted = if env::var_os("CASES").is_some() { 1 } else { CASES };
    run_cases(program).assert_all_passed(wanted, &peer.report());
    peer.save_golden(library);
}

fn python_program(name: &str) -> Result<Command, Missing> {
    let mut command = Command::new(python()?);
    // No byte code into the sources.
    command.arg("-B").arg(repository().join("tests/clients/python").join(name));
    Ok(command)
}

fn go_client(library: &str) -> Result<Command, Missing> {
    let mut command = Command::new(go_program()?);
    command.arg(library);
    Ok(command)
}

fn java_client(jars: Result<PathBuf, Missing>) -> Result<Command, Missing> {
    let class_path = format!("{}:{}/*", java_classes()?.display(), jars?.display());
    let log4j = repository().join("tests/clients/java/log4j2.properties");
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &class_path])
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("ClientCases");
    Ok(command)
}

#[test]
fn confluent_kafka_runs_every_case() {
    check("confluent-kafka", python_program("confluent_cases.py"));
}

#[test]
fn kafka_python_runs_every_case() {
    check("kafka-python", python_program("kafka_python_cases.py"));
}

#[test]
fn aiokafka_runs_every_case() {
    check("aiokafka", python_program("aiokafka_cases.py"));
}

#[test]
fn kafkajs_runs_every_case() {
    let program = node_modules().map(|modules| {
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules);
        command.arg(repository().join("tests/clients/node/kafkajs_cases.js"));
        command
    });
    check("kafkajs", program);
}

#[test]
fn franz_go_runs_every_case() {
    check("franz-go", go_client("franz"));
}

#[test]
fn sarama_runs_every_case() {
    check("sarama", go_client("sarama"));
}

#[test]
fn java_client_4_1_runs_every_case() {
    check("kafka-clients-4.1", java_client(kafka_jars()));
}

#[test]
fn java_client_3_9_runs_every_case() {
    check("kafka-clients-3.9", java_client(jars("clients39")));
}
