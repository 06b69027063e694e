//! VerifiableProducer and VerifiableConsumer: what the one had acknowledged the other reads, each
//! once, with the broker killed in between.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use harness::{
    Broker, Daemon, Missing, Toolchain, java_classes, java_command, kafka_jars, wait_until,
};
use serde_json::Value;

use super::{PATIENCE, create_topic, start_broker};

const MESSAGES: usize = 3_000;
/// Records per second: the kill comes in the middle.
const RATE: &str = "1000";

fn tool(broker: &Broker, main_class: &str, arguments: &[&str]) -> Result<Command, Missing> {
    let class_path = format!("{}:{}/*", java_classes()?.display(), kafka_jars()?.display());
    let mut command = java_command(&class_path, &format!("org.apache.kafka.tools.{main_class}"));
    command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", "verified"]);
    command.args(arguments).args(["--max-messages", &MESSAGES.to_string()]);
    Ok(command)
}

/// The JSON events with this name.
fn events(daemon: &Daemon, name: &str) -> Vec<Value> {
    let output = daemon.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|event| event["name"] == name).collect()
}

fn wait_for(daemon: &Daemon, name: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} x {name}");
    wait_until(&what, PATIENCE, || {
        let seen = events(daemon, name);
        (seen.len() >= count).then_some(seen)
    })
    .unwrap_or_else(|late| daemon.fail(&late))
}

/// Value, partition and offset of an event.
fn place(event: &Value) -> (String, i64, i64) {
    let number = |field: &str| event[field].as_i64().expect("a number");
    let value = event["value"].as_str().expect("a text").to_owned();
    (value, number("partition"), number("offset"))
}

#[test]
fn the_verifiable_consumer_reads_what_the_verifiable_producer_had_acknowledged() {
    let mut broker = start_broker();
    let producer = tool(&broker, "VerifiableProducer", &["--acks", "-1", "--throughput", RATE]);
    let Some(producer) = producer.or_skip("VerifiableProducer") else { return };
    create_topic(&broker, "verified", 4);
    let mut producer = Daemon::start("VerifiableProducer", producer);
    wait_for(&producer, "producer_send_success", MESSAGES / 3);
    broker.kill();
    broker.restart();
    wait_for(&producer, "tool_data", 1);
    assert!(producer.close(PATIENCE).success(), "{}", producer.output());
    // It never tries again: what was under way at the kill is an error, and may be there or not.
    let sent: BTreeSet<_> = events(&producer, "producer_send_success").iter().map(place).collect();
    let unknown = events(&producer, "producer_send_error").len();
    assert_eq!(sent.len() + unknown, MESSAGES, "{}", producer.output());
    assert!(sent.len() >= MESSAGES / 3 * 2, "{} are acknowledged", sent.len());

    for protocol in ["classic", "consumer"] {
        let arguments = [
            "--group-id",
            protocol,
            "--group-protocol",
            protocol,
            "--reset-policy",
            "earliest",
            "--verbose",
        ];
        let consumer = tool(&broker, "VerifiableConsumer", &arguments).expect("it was there");
        let mut consumer = Daemon::start("VerifiableConsumer", consumer);
        wait_for(&consumer, "record_data", sent.len());
        wait_for(&consumer, "offsets_committed", 1);
        consumer.terminate(Duration::from_secs(30));
        let read = events(&consumer, "record_data");
        assert!(read.len() <= MESSAGES, "{} records of {MESSAGES}", read.len());
        let places: BTreeSet<_> = read.iter().map(place).collect();
        assert_eq!(places.len(), read.len(), "each record once");
        let lost: Vec<_> = sent.difference(&places).collect();
        assert!(lost.is_empty(), "{protocol}: {lost:?}\n{}", broker.report());
    }
}
