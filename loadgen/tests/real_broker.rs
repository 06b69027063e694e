//! The built program against the real broker, which is killed and started again under it.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::{Broker, Wire, wait_until};
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

#[test]
fn what_is_produced_arrives_and_every_latency_has_its_histogram() {
    let broker = Broker::start(&broker_binary(), &[]);
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "e2e --topic e --partitions 4 --connections 2 --partitions-per-request 2 --consumers 2 \
         --rate 2k/s --records-per-batch 5 --duration 2s --warmup 0s --out {}",
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
