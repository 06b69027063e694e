//! The built program against the real broker, which is killed and started again under it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::{Broker, Cluster, Wire, wait_until};
use serde_json::Value;

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");
const PATIENCE: Duration = Duration::from_secs(60);

/// The broker's binary beside ours; built when this package is tested alone.
fn broker_binary() -> String {
    let binary = Path::new(LOADGEN).with_file_name("highwater");
    if !binary.exists() {
        let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), ".."].iter().collect();
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--bin", "highwater", "--target-dir"])
            .arg(binary.ancestors().nth(2).unwrap())
            .current_dir(root)
            .status()
            .unwrap();
        assert!(status.success(), "the broker does not build");
    }
    binary.to_str().unwrap().to_owned()
}

fn spawn(line: &str, broker: &Broker) -> Child {
    Command::new(LOADGEN)
        .args(line.split_whitespace())
        .args(["--json", "--bootstrap", &broker.bootstrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn kill_when_written(broker: &mut Broker, records: i64) {
    let end_offset = || Wire::connect(&broker.bootstrap()).ok()?.end_offset("v", 0).ok()?.ok();
    wait_until("records in the topic", PATIENCE, || (end_offset()? >= records).then_some(()))
        .unwrap();
    broker.kill();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_broker_is_killed_twice() {
    let mut broker = Broker::start(&broker_binary(), &[]);
    let line = "verify --topic v --partitions 3 --producers 2 --rate 200k --duration 4s";
    let run = spawn(line, &broker);
    for records in [500, 1000] {
        kill_when_written(&mut broker, records);
        broker.restart();
    }
    let output = run.wait_with_output().unwrap();
    let verdict = json(&output);
    assert_eq!(output.status.code(), Some(0), "{verdict:#}\n{}", broker.report());
    assert_eq!(verdict["good"], true);
    assert!(verdict["acked"].as_u64().unwrap() > 1000, "{verdict:#}");
    assert!(verdict["retries"].as_u64().unwrap() >= 2, "{verdict:#}");
    assert!(verdict["reader_reconnects"].as_u64().unwrap() >= 2, "{verdict:#}");
    assert_eq!(verdict["acked_lost"], 0);
    // Batches wait for a broker that is away.
    let waited = &verdict["acknowledged_us"];
    assert!(waited["count"].as_u64().unwrap() * 10 >= verdict["acked"].as_u64().unwrap());
    assert!(waited["max"].as_u64().unwrap() > 20_000, "{verdict:#}");
}

#[test]
fn idempotent_producers_leave_no_duplicates() {
    let mut broker = Broker::start(&broker_binary(), &[]);
    let line = "verify --topic v --partitions 2 --idempotent --rate 50k --duration 2s";
    let run = spawn(line, &broker);
    kill_when_written(&mut broker, 300);
    broker.restart();
    let output = run.wait_with_output().unwrap();
    let verdict = json(&output);
    assert_eq!(output.status.code(), Some(0), "{verdict:#}\n{}", broker.report());
    assert_eq!(verdict["duplicates"], 0);
}

/// `failover` of broker 2, with a warm-up of so many milliseconds.
fn failover(cluster: &mut Cluster, warmup_ms: u32) -> Command {
    let (leader, process) = (cluster.broker(2).bootstrap(), cluster.broker(2).process_id());
    let line = format!(
        "failover --topic f --partitions 5 --leader {leader} --kill {process} --json \
         --warmup {warmup_ms}ms --bootstrap {}",
        cluster.bootstrap()
    );
    let mut command = Command::new(LOADGEN);
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_dead_leaders_partitions_take_records_again_and_the_gap_is_told() {
    let mut cluster = Cluster::start(&broker_binary(), &[]);
    let output = failover(&mut cluster, 500).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", cluster.report());
    let seen = json(&output);
    assert_eq!(seen["partitions"], 5);
    let figure = |value: &Value| value.as_f64().unwrap();
    assert!(figure(&seen["noticed_ms"]) <= figure(&seen["all_ms"]), "{seen:#}");
    assert!(figure(&seen["gap_ms"]["max"]) >= figure(&seen["all_ms"]), "{seen:#}");
    assert!(figure(&seen["gap_ms"]["p50"]) <= figure(&seen["gap_ms"]["max"]), "{seen:#}");
}

#[test]
fn partitions_that_leave_the_leader_before_its_death_are_called_back() {
    let mut cluster = Cluster::start(&broker_binary(), &[]);
    let run = failover(&mut cluster, 3000).spawn().unwrap();
    let is_led_by_2 = |cluster: &Cluster, led: bool| {
        let views = cluster.describe(1, "f").unwrap_or_default();
        let is_whole = views.len() == 5 && views.iter().all(|view| view.leader > 0);
        (is_whole && views.iter().all(|view| (view.leader == 2) == led)).then_some(())
    };
    wait_until("the topic", PATIENCE, || is_led_by_2(&cluster, true)).unwrap();
    // It lives, and the others take it for dead.
    cluster.broker(2).pause();
    let moved = wait_until("other leaders", PATIENCE, || is_led_by_2(&cluster, false));
    cluster.broker(2).resume();
    let output = run.wait_with_output().unwrap();
    moved.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", cluster.report());
    let seen = json(&output);
    println!("{seen:#}");
    assert_eq!(seen["partitions"], 5);
}

#[test]
fn what_is_produced_arrives_and_every_latency_has_its_histogram() {
    let broker = Broker::start(&broker_binary(), &[]);
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "e2e --topic e --partitions 4 --connections 2 --partitions-per-request 2 --consumers 2 \
         --keys uniform(500) --rate 2k/s --records-per-batch 5 --duration 2s --warmup 0s --out {}",
        directory.path().display()
    );
    let output = spawn(&line, &broker).wait_with_output().unwrap();
    let run = json(&output);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{run:#}");
    assert_eq!((&run["mode"], &run["loop"]), (&"e2e".into(), &"open".into()));
    let batches = run["response_us"]["count"].as_u64().unwrap() * 2;
    assert!(batches > 600, "{run:#}");
    assert_eq!(run["end_to_end_us"]["count"].as_u64().unwrap(), batches);
    assert_eq!(run["delivered"].as_u64().unwrap(), batches * 5);
    assert_eq!(run["undelivered"], 0);
    for figure in ["p50", "p99"] {
        let of = |latency: &str| run[latency][figure].as_u64().unwrap();
        assert!(of("response_us") >= of("service_us"), "{run:#}");
        assert!(of("end_to_end_us") > 0, "{run:#}");
    }
    let names =
        ["summary.json", "timeseries.csv", "latency.hlog", "response.hgrm", "end_to_end.hgrm"];
    for name in names {
        assert!(directory.path().join(name).exists(), "{name}");
    }
    let saved = std::fs::read(directory.path().join("summary.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), run);
}

#[test]
fn a_run_tells_how_the_broker_and_the_topic_keep_records() {
    let broker = Broker::start(&broker_binary(), &["num.partitions=3"]);
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "produce --topic e --config highwater.durability=kernel --rate 100 --seed 9 \
         --duration 1s --warmup 0s --out {}",
        directory.path().display()
    );
    let run = json(&spawn(&line, &broker).wait_with_output().unwrap());
    let told = &run["environment"];
    assert_eq!(told["seed"], 9);
    assert!(told["steal_percent"].is_number() && told["kernel"].is_string(), "{told:#}");
    assert!(told["output_disk"]["file_system"].is_string(), "{told:#}");
    let own = &told["brokers"][0];
    assert_eq!(own["address"], broker.bootstrap());
    assert_eq!(own["config"]["num.partitions"], "3", "{told:#}");
    assert!(own["config"].get("num.io.threads").is_none(), "{told:#}");
    assert_eq!(own["durability"]["highwater.durability"], "flush", "{told:#}");
    let log_dir = &own["log_dirs"][0];
    assert!(log_dir["free_bytes"].as_u64().unwrap() > 0, "{told:#}");
    assert_eq!(log_dir["is_local"], true, "{told:#}");
    assert!(log_dir["disk"]["file_system"].is_string(), "{told:#}");
    assert_eq!(told["topic"]["config"]["highwater.durability"], "kernel", "{told:#}");
    assert_eq!(told["topic"]["durability"]["min.insync.replicas"], "1", "{told:#}");
}
