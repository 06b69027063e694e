//! Offset commits, transactions and rebalances of the built program against the real broker.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::Broker;
use serde_json::Value;

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// The broker's binary beside ours; built when this package is tested alone.
fn start_broker() -> Broker {
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
    Broker::start(binary.to_str().unwrap(), &["group.initial.rebalance.delay.ms=0"])
}

fn run(line: &str, broker: &Broker) -> Output {
    Command::new(LOADGEN)
        .args(line.split_whitespace())
        .args(["--bootstrap", &broker.bootstrap()])
        .output()
        .unwrap()
}

/// The summary of a run in which nothing was refused.
fn summary(line: &str, broker: &Broker) -> Value {
    let output = run(&format!("{line} --json"), broker);
    let run: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{line}: {error}: {output:?}\n{}", broker.report()));
    assert!(matches!(output.status.code(), Some(0 | 3)), "{line}: {run:#}");
    assert_eq!(run["errors"].as_object().unwrap().len(), 0, "{line}: {run:#}");
    run
}

/// What a refused command line says, with its exit code.
fn refusal(line: &str, broker: &Broker) -> (Option<i32>, String) {
    let output = run(line, broker);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_many_groups_have_committed_is_answered_after_a_kill() {
    let mut broker = start_broker();
    let once = "commit --topic c --partitions 4 --groups 300 --connections 3 --once \
                --partitions-per-commit 2";
    let run = summary(once, &broker);
    assert_eq!(
        (&run["mode"], &run["requests"], &run["records"]),
        (&"commit".into(), &300.into(), &600.into())
    );
    assert!(run["response_us"]["count"].as_u64().unwrap() >= 300, "{run:#}");
    broker.kill();
    broker.restart();
    let wait = "first-offsets --topic c --groups 300 --within 20s";
    let output = self::run(wait, &broker);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.trim().parse::<f64>().unwrap() > 0.0, "{text}");
    let (code, text) = refusal("first-offsets --topic c --groups 301 --within 100ms", &broker);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("loadgen-commit-300 has no committed offset"), "{text}");
}

#[test]
fn members_commit_in_their_generation() {
    let broker = start_broker();
    let line = "commit --topic j --partitions 4 --groups 5 --connections 2 --joined \
                --group-prefix joined --duration 1s --warmup 0s";
    // The second run does not wait for members of the first.
    for _ in 0..2 {
        let run = summary(line, &broker);
        assert!(run["requests"].as_u64().unwrap() > 20, "{run:#}");
    }
}

#[test]
fn transactions_of_both_flows_end_and_are_timed() {
    let broker = start_broker();
    for flow in ["--flow auto", "--flow 1 --offsets --abort-percent 50", "--flow 2 --offsets"] {
        let line = format!(
            "transact --topic x --partitions 6 --producers 5 --connections 2 {flow} \
             --partitions-per-transaction 3 --records-per-batch 2 --duration 1s --warmup 0s"
        );
        let run = summary(&line, &broker);
        let transactions = run["requests"].as_u64().unwrap();
        assert!(transactions > 5, "{run:#}");
        assert_eq!(run["records"].as_u64().unwrap(), transactions * 6, "{run:#}");
        let p50 = |latency: &str| run[latency]["p50"].as_u64().unwrap();
        assert!(p50("end_txn_us") > 0 && p50("end_txn_us") < p50("response_us"), "{run:#}");
    }
}

#[test]
fn groups_of_both_protocols_are_timed_until_they_are_stable() {
    let broker = start_broker();
    for protocol in ["classic", "consumer"] {
        for (change, rebalances) in [("one", 4), ("all", 2)] {
            let line = format!(
                "rebalance --topic r --partitions 20 --members 6 --protocol {protocol} \
                 --change {change} --repeats 2 --heartbeat 50ms --within 30s"
            );
            let run = summary(&line, &broker);
            assert_eq!(run["requests"], rebalances, "{line}: {run:#}");
            assert_eq!(run["response_us"]["count"], rebalances);
        }
    }
}

#[test]
fn what_cannot_be_run_says_why() {
    let broker = start_broker();
    for (line, said) in [
        ("commit --topic t --partitions 2 --partitions-per-commit 3", "--partitions-per-commit 3"),
        (
            "transact --topic t --partitions 2 --partitions-per-transaction 3",
            "--partitions-per-transaction 3 exceeds the 2 partitions",
        ),
        ("rebalance --topic t --partitions 5", "topic t has 2 partitions"),
    ] {
        let (code, text) = refusal(line, &broker);
        assert_eq!(code, Some(78), "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
    }
    for line in ["commit --topic t --groups 0", "rebalance --topic t --members 1"] {
        let (code, text) = refusal(line, &broker);
        assert_eq!(code, Some(2), "{line}: {text}");
        assert!(text.contains("is not in"), "{line}: {text}");
    }
}
