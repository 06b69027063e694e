//! Real processes whose voters change: a broken broker is replaced by another one, and one broker
//! goes on alone when the others are gone. All by the command line, as docs/operate.md says it.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use harness::{Broker, Commands, broker_state, node_ids, wait_until};
use serde_json::Value;
use std::process::Output;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
/// What a cluster may take for anything here, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const CLUSTER: &str = "aRt4NCyzRs2HHZHY4OR7PA";
const SETTINGS: [&str; 5] = [
    "highwater.cores=1",
    "highwater.cluster.id=aRt4NCyzRs2HHZHY4OR7PA",
    "broker.heartbeat.interval.ms=500",
    "broker.session.timeout.ms=2000",
    "default.replication.factor=3",
];

const COMMANDS: Commands = Commands::new(BINARY);

fn command(words: &[&str]) -> Output {
    COMMANDS.run(words)
}

fn said(words: &[&str]) -> Option<String> {
    COMMANDS.said(words)
}

/// Leaders may be on their way to another broker: what is not acknowledged is sent again.
fn produce(lines: std::ops::Range<u32>, at: &str, brokers: &[&Broker]) {
    let sent = wait_until("an acknowledgement by all in sync", PATIENCE, || {
        COMMANDS.produce("orders", lines.clone(), at).then_some(())
    });
    sent.unwrap_or_else(|what| {
        let reports: Vec<String> = brokers.iter().map(|broker| broker.report()).collect();
        let topic = said(&["topic", "describe", "orders", "--bootstrap", at]);
        panic!("{what}: {topic:?}\n{}", reports.join("\n"))
    });
}

fn consume(at: &str) -> Option<Vec<u32>> {
    COMMANDS.consume("orders", at)
}

/// A replica that was not in sync when the others died has not got what they had.
fn await_all_in_sync(at: &str, count: usize) {
    let describe = ["topic", "describe", "orders", "--json", "--bootstrap", at];
    let all = wait_until("all in sync", PATIENCE, || {
        let topic: Value = serde_json::from_str(&said(&describe)?).unwrap();
        let mut partitions = topic["partitions"].as_array().unwrap().iter();
        let is_whole = |partition: &Value| partition["isr"].as_array().unwrap().len() == count;
        partitions.all(is_whole).then_some(())
    });
    all.unwrap_or_else(|what| panic!("{what}"));
}

fn await_status(at: &str, what: &str, brokers: &[&Broker], is_so: impl Fn(&Value) -> bool) {
    COMMANDS.await_status(at, what, brokers, is_so);
}

fn bring_about(words: &[&str], at: &str, why: (&str, &[&Broker]), is_so: impl Fn(&Value) -> bool) {
    COMMANDS.bring_about(words, at, why, is_so);
}

/// Three brokers that know each other's addresses, started.
fn cluster() -> Vec<Broker> {
    let mut brokers: Vec<Broker> = (0..3).map(|_| Broker::prepare(BINARY, &SETTINGS)).collect();
    let voters: Vec<String> =
        (1..).zip(&brokers).map(|(id, broker)| format!("{id}@{}", broker.bootstrap())).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    for (id, broker) in (1..).zip(&mut brokers) {
        broker.set(&format!("node.id={id}"));
        broker.set(&voters);
        broker.restart();
    }
    brokers
}

/// Takes the third one's vote away and gives one to a fourth broker, with an empty disk.
fn replace_the_third(at: &str, first: &Broker) -> Broker {
    let remove = ["cluster", "remove", "3", "--bootstrap", at];
    bring_about(&remove, at, ("two voters", &[first]), |now| node_ids(now, "voters") == [1, 2]);
    let mut fourth = Broker::prepare(BINARY, &SETTINGS);
    let dir = fourth.data_directory().display().to_string();
    let format = ["cluster", "format", "--dir", &dir, "--node-id", "4", "--cluster-id", CLUSTER];
    assert!(said(&format).expect("an empty directory").contains("formatted"));
    assert!(said(&format).expect("the same again").contains("already"));
    let other = ["cluster", "format", "--dir", &dir, "--node-id", "5", "--cluster-id", CLUSTER];
    assert_eq!(command(&other).status.code(), Some(78));
    fourth.set("node.id=4");
    fourth.set(&format!("controller.quorum.bootstrap.servers={at}"));
    fourth.restart();
    await_status(at, "an observer in use", &[first, &fourth], |now| {
        node_ids(now, "observers").contains(&4) && broker_state(now, 4) == "active"
    });
    let add = ["cluster", "add", "4", "--bootstrap", at];
    bring_about(&add, at, ("three voters", &[first]), |now| node_ids(now, "voters") == [1, 2, 4]);
    // It holds replicas that nobody will have again.
    let unregister = ["cluster", "unregister", "3", "--bootstrap", at];
    let refusal = String::from_utf8_lossy(&command(&unregister).stderr).into_owned();
    assert!(refusal.contains("broker 3 holds ") && refusal.contains("--force"), "{refusal}");
    let unregister = [&unregister[..], &["--force"]].concat();
    bring_about(&unregister, at, ("3 is gone", &[first]), |now| broker_state(now, 3).is_empty());
    fourth
}

/// Makes the first one the only voter, while nobody runs.
fn recover_from_the_first(at: &str, first: &mut Broker) {
    let dir = first.data_directory().display().to_string();
    let recover = ["cluster", "recover", "--dir", &dir, "--accept-lost-metadata"];
    assert_eq!(command(&recover).status.code(), Some(78), "the broker runs");
    first.kill();
    assert!(said(&recover[..4]).expect("it only shows").contains("What is lost"));
    said(&recover).expect("the directory is free");
    let audit = std::fs::read_to_string(first.data_directory().join("audit.log")).unwrap();
    assert!(audit.contains("becomes the only voter in place of [1, 2, 4]"), "{audit}");
    first.restart();
    await_status(at, "one voter", &[first], |now| node_ids(now, "voters") == [1]);
    let all: Vec<u32> = (0..200).collect();
    wait_until("everything acknowledged", PATIENCE, || consume(at).filter(|lines| *lines == all))
        .unwrap_or_else(|error| panic!("{error}\n{}", first.report()));
}

/// Brings a voter of before back, with its records and without its opinions.
fn rejoin_with_the_second(at: &str, first: &Broker, second: &mut Broker) {
    let dir = second.data_directory().display().to_string();
    let rejoin = ["cluster", "recover", "--dir", &dir, "--rejoin", "--accept-lost-metadata"];
    said(&rejoin).expect("the directory is free");
    second.restart();
    await_status(at, "an observer", &[first, second], |now| broker_state(now, 2) == "active");
    let add = ["cluster", "add", "2", "--bootstrap", at];
    bring_about(&add, at, ("two voters", &[first, second]), |now| {
        node_ids(now, "voters") == [1, 2]
    });
    produce(200..300, at, &[first, second]);
    let all: Vec<u32> = (0..300).collect();
    assert_eq!(consume(at), Some(all));
}

#[test]
fn a_broker_that_is_gone_is_replaced_and_the_last_one_goes_on_alone() {
    let mut brokers = cluster();
    let mut third = brokers.pop().unwrap();
    let [first, second] = &mut brokers[..] else { unreachable!("three were started") };
    let at = first.bootstrap();
    let one_is_enough = "min.insync.replicas=1";
    let create = ["topic", "create", "orders", "-p", "2", "-c", one_is_enough, "--bootstrap", &at];
    bring_about(&create, &at, ("a topic", &[first, second]), |now| now["partitions"] == 2);
    produce(0..100, &at, &[first, second, &third]);
    await_all_in_sync(&at, 3);

    // The third is gone for good.
    third.kill();
    let mut fourth = replace_the_third(&at, first);
    // Two of the three voters decide, the new one among them.
    let alone = ["topic", "create", "alone", "-p", "3", "-r", "1", "--bootstrap", &at];
    bring_about(&alone, &at, ("one more topic", &[first, second]), |now| now["partitions"] == 5);
    second.kill();
    await_status(&at, "a broker is missed", &[first, &fourth], |now| {
        broker_state(now, 2) == "fenced"
    });
    let shown = said(&["topic", "describe", "alone", "--bootstrap", &at]).expect("two still lead");
    assert_eq!(shown.matches("none").count(), 1, "{shown}");
    produce(100..200, &at, &[first, &fourth]);

    // Now the majority is gone.
    fourth.kill();
    recover_from_the_first(&at, first);
    rejoin_with_the_second(&at, first, second);
}
