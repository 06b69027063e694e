//! Kafka Streams: a word count, and a pipeline with exactly_once_v2 that survives kill -9 of the
//! broker and of the application in turn, and what happens to a cluster, compared record by record.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use harness::{
    Cluster, Daemon, Missing, PartitionView, Toolchain, java_program, run_with_input,
    scratch_directory,
};

use super::{BINARY, Brokers, PATIENCE, create_topic, start_broker};

const KEYS: usize = 7;
/// Records that are written before and after each kill.
const BURST: usize = 300;

fn app(brokers: &impl Brokers, arguments: &[&str]) -> Result<Command, Missing> {
    let mut command = java_program("StreamsApp", "streams")?;
    command.arg(brokers.addresses()).args(arguments);
    Ok(command)
}

fn start_app(brokers: &impl Brokers, command: &str, state: &Path) -> Daemon {
    let state = state.display().to_string();
    let program = app(brokers, &[command, &state]).expect("it was there before");
    let daemon = Daemon::start(command, program);
    daemon.wait_for_line("RUNNING", PATIENCE);
    daemon
}

fn write(brokers: &impl Brokers, topic: &str, lines: &[String]) {
    let program = app(brokers, &["write", topic]).expect("it was there before");
    let written = run_with_input(program, &lines.join("\n"), PATIENCE).expect("it starts");
    let acknowledged = format!("ACKNOWLEDGED {}", lines.len());
    assert_eq!(written.stdout.trim(), acknowledged, "{}\n{}", written.stderr, brokers.last_words());
}

/// The committed records, once there are `count`: the values of each key in their order.
pub(super) fn read(
    brokers: &impl Brokers,
    topic: &str,
    count: usize,
) -> BTreeMap<String, Vec<String>> {
    let program = app(brokers, &["read", topic, &count.to_string()]).expect("it was there before");
    let read = run_with_input(program, "", PATIENCE).expect("it starts");
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read.stdout.lines() {
        let (key, value) = line.split_once(' ').expect("key and value");
        values.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    let records: usize = values.values().map(Vec::len).sum();
    assert!(records >= count, "{records} of {count}\n{}\n{}", read.stderr, brokers.last_words());
    values
}

#[test]
fn a_streams_word_count_counts_every_word() {
    let broker = start_broker();
    let Some(_) = app(&broker, &[]).or_skip("kafka-streams") else { return };
    let state = scratch_directory("streams");
    create_topic(&broker, "lines", 3);
    create_topic(&broker, "counts", 3);
    let lines: Vec<String> = (0..BURST).map(|i| format!("k{i} the fox {}", i % KEYS)).collect();
    write(&broker, "lines", &lines);
    let mut counting = start_app(&broker, "count", state.path());
    let counts = read(&broker, "counts", 3 * BURST);
    assert!(counting.close(PATIENCE).success(), "{}", counting.output());
    let last = |word: &str| counts[word].last().and_then(|count| count.parse::<usize>().ok());
    assert_eq!(last("the"), Some(BURST));
    assert_eq!(last("fox"), Some(BURST));
    let digits: usize = (0..KEYS).filter_map(|digit| last(&digit.to_string())).sum();
    assert_eq!(digits, BURST);
}

/// The records of one burst, `key value`; values rise over all bursts.
fn burst(number: usize) -> Vec<String> {
    (number * BURST..(number + 1) * BURST).map(|i| format!("k{} {i}", i % KEYS)).collect()
}

/// What the pipeline must have made of so many bursts: each value once, numbered, in order.
fn numbered(bursts: usize) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for i in 0..bursts * BURST {
        let of_key = values.entry(format!("of-k{}", i % KEYS)).or_default();
        of_key.push(format!("{}:{i}", of_key.len() + 1));
    }
    values
}

#[test]
fn an_exactly_once_pipeline_writes_each_record_once_through_kill_9_of_both_sides() {
    let mut broker = start_broker();
    let Some(_) = app(&broker, &[]).or_skip("kafka-streams") else { return };
    let state = scratch_directory("streams");
    create_topic(&broker, "in", 4);
    create_topic(&broker, "out", 4);
    write(&broker, "in", &burst(0));
    let mut pipeline = start_app(&broker, "number", state.path());
    let mut bursts = 1;
    for _ in 0..2 {
        write(&broker, "in", &burst(bursts));
        bursts += 1;
        pipeline.kill();
        write(&broker, "in", &burst(bursts));
        bursts += 1;
        pipeline = start_app(&broker, "number", state.path());

        write(&broker, "in", &burst(bursts));
        bursts += 1;
        broker.kill();
        broker.restart();
        write(&broker, "in", &burst(bursts));
        bursts += 1;
    }
    read(&broker, "out", bursts * BURST);
    assert!(pipeline.close(PATIENCE).success(), "{}", pipeline.output());
    let out = read(&broker, "out", bursts * BURST);
    assert_eq!(out, numbered(bursts), "{}", broker.report());
}

#[test]
fn an_exactly_once_pipeline_writes_each_record_once_through_a_death_restarts_and_a_reassignment() {
    let settings = ["min.insync.replicas=2", "transaction.state.log.min.isr=2"];
    let mut cluster = Cluster::start(BINARY, &settings);
    let Some(_) = app(&cluster, &[]).or_skip("kafka-streams") else { return };
    let state = scratch_directory("streams");
    cluster.create_topic("in", 4, &[]);
    cluster.create_topic("out", 4, &[]);
    write(&cluster, "in", &burst(0));
    let mut pipeline = start_app(&cluster, "number", state.path());
    let mut bursts = 1;
    let mut write_more = |cluster: &Cluster| {
        write(cluster, "in", &burst(bursts));
        bursts += 1;
    };
    cluster.broker(1).kill();
    write_more(&cluster);
    cluster.broker(1).restart();
    cluster.wait_until_whole(&["in", "out"]);
    for id in 1..=3 {
        cluster.broker(id).stop();
        write_more(&cluster);
        cluster.broker(id).restart();
        cluster.wait_until_whole(&["in", "out"]);
    }
    let without_leader =
        |view: &PartitionView| (1..=3).filter(|id| *id != view.leader).collect::<Vec<i32>>();
    cluster.reassign("in", without_leader);
    cluster.reassign("out", without_leader);
    write_more(&cluster);
    read(&cluster, "out", bursts * BURST);
    assert!(pipeline.close(PATIENCE).success(), "{}", pipeline.output());
    let out = read(&cluster, "out", bursts * BURST);
    assert_eq!(out, numbered(bursts), "{}", cluster.report());
}
