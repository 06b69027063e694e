//! Processes of the real binary as a cluster: brokers are killed, restarted in turn, damaged
//! and given other replicas while unmodified clients write and read, and everything
//! acknowledged is read.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "what clients said belongs into a failure's output")]

#[path = "cluster/clients.rs"]
mod clients;
#[path = "cluster/decommission.rs"]
mod decommission;
#[path = "cluster/losses.rs"]
mod losses;
#[path = "cluster/peers.rs"]
mod peers;
#[path = "cluster/rot.rs"]
mod rot;
#[path = "cluster/shares.rs"]
mod shares;
#[path = "cluster/trial.rs"]
mod trial;

use harness::{
    Broker, Missing, Talker, Toolchain, Tools, python, repository, run_to_end, scratch_directory,
    wait_until,
};
use std::process::Command;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
/// What a client may take to go on after a broker was lost, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Kafka's own timeouts.
const SETTINGS: [&str; 4] = [
    "highwater.cores=1",
    "highwater.cluster.id=aRt4NCyzRs2HHZHY4OR7PA",
    "min.insync.replicas=2",
    "default.replication.factor=3",
];
/// The shorter one of Kafka's timeouts: what takes longer has waited for it.
const SESSION_MS: u64 = 9000;

/// Three brokers that know each other's addresses, started.
fn cluster(settings: &[&str]) -> Vec<Broker> {
    let settings: Vec<&str> = SETTINGS.iter().chain(settings).copied().collect();
    let mut brokers: Vec<Broker> = (0..3).map(|_| Broker::prepare(BINARY, &settings)).collect();
    let voters: Vec<String> =
        (1..).zip(&brokers).map(|(id, broker)| format!("{id}@{}", broker.bootstrap())).collect();
    let voters = format!("controller.quorum.voters={}", voters.join(","));
    for (id, broker) in (1..).zip(&mut brokers) {
        for setting in settings.iter().filter(|setting| setting.contains("{id}")) {
            broker.set(&setting.replace("{id}", &id.to_string()));
        }
        broker.set(&format!("node.id={id}"));
        broker.set(&voters);
        broker.restart();
    }
    brokers
}

/// Waits for a line that begins with `start` and that `wanted` takes.
fn hear_of<T>(client: &mut Talker, start: &str, wanted: impl Fn(&[u64]) -> Option<T>) -> T {
    let heard = wait_until(start, PATIENCE, || {
        let line = client.hear()?;
        let rest = line.strip_prefix(start)?;
        let numbers: Vec<u64> = rest.split(' ').filter_map(|word| word.parse().ok()).collect();
        wanted(&numbers)
    });
    heard.unwrap_or_else(|error| panic!("{error}; the client said {:?}", client.said()))
}

/// `FAILOVER_KILLS=12` measures: the pause at each kill is printed. `FAILOVER_CLIENT` may be
/// confluent-kafka.
#[test]
fn a_partition_has_another_leader_long_before_a_session_of_the_killed_one_ends() {
    let program = || -> Result<Command, Missing> {
        let mut command = Command::new(python()?);
        command.arg("-B").arg(repository().join("tests/clients/python/failover.py"));
        Ok(command)
    };
    let library = std::env::var("FAILOVER_CLIENT").unwrap_or_else(|_| "kafka-python".to_owned());
    let Some(mut program) = program().or_skip(&library) else { return };
    let kills = std::env::var("FAILOVER_KILLS").map_or(2, |kills| kills.parse().expect("a count"));
    let mut brokers = cluster(&[]);
    let addresses: Vec<String> = brokers.iter().map(Broker::bootstrap).collect();
    program.args([library, addresses.join(",")]);
    let mut client = Talker::start(program);
    let mut gaps = Vec::new();
    for _ in 0..kills {
        let whole = |words: &[u64]| (words.get(1) == Some(&3)).then_some(words[0]);
        let leader = hear_of(&mut client, "LEADER ", whole);
        let victim = &mut brokers[usize::try_from(leader).expect("1 to 3") - 1];
        // What is heard from here on is of this kill.
        while client.hear().is_some() {}
        victim.kill();
        let gap = hear_of(&mut client, "GAP ", |words| words.first().copied());
        gaps.push(gap);
        assert!(gap < SESSION_MS, "{gaps:?}; the client said {:?}", client.said());
        victim.restart();
    }
    client.close_and_wait(PATIENCE);
    gaps.sort_unstable();
    println!("pauses {gaps:?} ms, median {} ms", gaps[gaps.len() / 2]);
    while client.hear().is_some() {}
    assert!(client.said().iter().any(|line| line == "ERRORS 0"), "{:?}", client.said());
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PERF: &str = "org.apache.kafka.tools.ProducerPerformance";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// Bytes that a throttled reassignment moves, and its rate: eight seconds' worth.
const MOVED_RECORDS: &str = "8000";
const RECORD_BYTES: &str = "1000";
const THROTTLE: &str = "1000000";
/// What it takes at least: a first second may come at once.
const THROTTLED_MIN: Duration = Duration::from_secs(5);

#[test]
fn kafka_reassign_partitions_moves_a_partition_at_the_rate_it_is_given() {
    let Some(mut tools) = Tools::start().or_skip("Kafka's tools") else { return };
    let brokers = cluster(&[]);
    let addresses: Vec<String> = brokers.iter().map(Broker::bootstrap).collect();
    let server = addresses.join(",");
    let bootstrap = ["--bootstrap-server", server.as_str()];
    let create = ["--create", "--topic", "moved", "--replica-assignment", "1"];
    let made = wait_until("the topic", PATIENCE, || {
        let output = tools.run_with_input(TOPICS, &[&bootstrap[..], &create].concat(), "");
        (output.status == 0).then_some(())
    });
    made.unwrap_or_else(|error| panic!("{error}"));
    let size = ["--num-records", MOVED_RECORDS, "--record-size", RECORD_BYTES];
    let to = format!("bootstrap.servers={server}");
    let how =
        ["--topic", "moved", "--throughput", "-1", "--producer-props", to.as_str(), "acks=all"];
    tools.run(PERF, &[&size[..], &how].concat());

    let scratch = scratch_directory("throttled");
    let plan = scratch.path().join("plan.json");
    let json = r#"{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[2]}]}"#;
    std::fs::write(&plan, json).expect("a new file");
    let plan = plan.display().to_string();
    let file = ["--reassignment-json-file", plan.as_str()];
    let began = std::time::Instant::now();
    let execute = ["--execute", "--throttle", THROTTLE];
    tools.run(REASSIGN, &[&bootstrap[..], &file, &execute].concat());
    let describe = ["--describe", "--entity-type", "topics", "--entity-name", "moved"];
    let configs = tools.run(CONFIGS, &[&bootstrap[..], &describe].concat());
    assert!(configs.contains("follower.replication.throttled.replicas=0:2"), "{configs}");
    let done = wait_until("the end of the move", PATIENCE, || {
        let verified = tools.run(REASSIGN, &[&bootstrap[..], &file, &["--verify"]].concat());
        verified.contains("is completed").then_some(verified)
    });
    let took = began.elapsed();
    let verified = done.unwrap_or_else(|error| panic!("{error}"));
    println!("moved in {took:?}");
    assert!(took >= THROTTLED_MIN, "{took:?}: {verified}");
    let configs = tools.run(CONFIGS, &[&bootstrap[..], &describe].concat());
    assert!(!configs.contains("throttled"), "{configs}");
}

#[test]
fn confluent_kafka_reads_from_the_replica_in_its_rack() {
    let program = || -> Result<Command, Missing> {
        let mut command = Command::new(python()?);
        command.arg("-B").arg(repository().join("tests/clients/python/rack_reader.py"));
        Ok(command)
    };
    let Some(mut program) = program().or_skip("confluent-kafka") else { return };
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let brokers =
        cluster(&[&format!("replica.selector.class={selector}"), "broker.rack=rack-{id}"]);
    let addresses: Vec<String> = brokers.iter().map(Broker::bootstrap).collect();
    program.arg(addresses.join(","));
    let finished = run_to_end(program, PATIENCE).expect("the toolchain was installed");
    let said = &finished.stdout;
    println!("{said}{}", finished.stderr);
    let line = |start: &str| said.lines().find_map(|line| line.strip_prefix(start));
    let near = line("NEAR ").expect("it got so far");
    let (near, leader) = near.split_once(" LEADER ").expect("two brokers");
    assert!(said.contains(&format!("FETCHED FROM {near} OF LEADER {leader}")), "{said}");
    assert!(line("READ ").is_some_and(|line| line.ends_with("IN ORDER True")), "{said}");
}
