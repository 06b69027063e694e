//! Latency is counted from when a request was meant to be sent, whatever the broker does; what was
//! measured is kept when a run ends early. Against the built program and its null broker.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod null;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::wait_until;
use null::{NullBroker, error_text, loadgen};
use serde_json::Value;

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

fn micros(run: &Value, latency: &str, figure: &str) -> u64 {
    run[latency][figure].as_u64().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_stall_counts_for_every_request_that_was_due_in_it() {
    // Half of each second the broker stands still: a request that is due x before the end of a
    // stall takes x, so 10 % of all take longer than 400 ms and a quarter longer than 250 ms.
    let broker = NullBroker::start("--stall-for 500ms --stall-every 1s");
    let line = "produce --topic a --rate 500/s --arrivals constant --in-flight 1 --duration 4s";
    let run = broker.json(&format!("{line} --warmup 0s"));
    assert_eq!(run["response_us"]["count"].as_u64().unwrap(), run["requests"].as_u64().unwrap());
    assert!(micros(&run, "response_us", "count") > 1800, "{run:#}");
    let p90 = micros(&run, "response_us", "p90");
    assert!((370_000..700_000).contains(&p90), "{run:#}");
    // From the actual send, only the one request of each stall that was on the way is slow.
    assert!(micros(&run, "service_us", "p90") < 100_000, "{run:#}");
    // The generator itself was not late: it had no free connection.
    assert!(micros(&run, "send_lag_us", "p90") < 100_000, "{run:#}");
}

#[test]
fn a_closed_loop_hides_the_stall_and_says_that_it_does() {
    let broker = NullBroker::start("--stall-for 500ms --stall-every 1s");
    let line = "produce --topic a --closed --in-flight 1 --duration 3s --warmup 0s";
    let run = broker.json(line);
    assert!(micros(&run, "response_us", "p90") < 100_000, "{run:#}");
    assert!(micros(&run, "response_us", "max") > 300_000, "{run:#}");
    assert!(run["note"].as_str().unwrap().contains("CLOSED LOOP"));
}

#[test]
fn a_stall_in_the_warm_up_does_not_count() {
    let broker = NullBroker::start("--stall-for 800ms --stall-every 100s --stalls 1");
    let line = "produce --topic a --rate 500/s --arrivals constant --duration 2s --warmup 2s";
    let directory = tempfile::tempdir().unwrap();
    let run = broker.json(&format!("{line} --out {}", directory.path().display()));
    assert!(micros(&run, "response_us", "p99") < 400_000, "{run:#}");
    let count = micros(&run, "response_us", "count");
    assert!((900..=1100).contains(&count), "{run:#}");
    assert_eq!(run["seconds"].as_array().unwrap().len(), 2);
    // The warm-up is in the table of seconds, marked, and shows the stall.
    let csv = read(&directory.path().join("timeseries.csv"));
    let warmup: Vec<&str> = csv.lines().filter(|line| line.contains(",false,")).collect();
    assert_eq!(warmup.len(), 2, "{csv}");
    let max_us: u64 = warmup[0].split(',').nth(8).unwrap().parse().unwrap();
    assert!(max_us > 700_000, "{csv}");
}

#[test]
fn a_trace_sends_at_its_times_and_a_missing_line_is_refused() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gaps.txt");
    // Nine requests at once, then a pause.
    std::fs::write(&path, "100ms\n0\n0\n0\n0\n0\n0\n0\n0\n").unwrap();
    let line = format!("produce --topic a --arrivals trace({}) --rate 900/s", path.display());
    let run = broker.json(&format!("{line} --in-flight 32 --duration 2s --warmup 0s"));
    let count = micros(&run, "response_us", "count");
    assert!((1700..=1800).contains(&count), "{run:#}");
    std::fs::write(&path, "100ms\nnever\n").unwrap();
    let refusal = broker.run(&line);
    assert!(error_text(&refusal).contains("line 2: never: a gap"), "{refusal:?}");
}

#[test]
fn the_summary_says_what_records_were_like() {
    let broker = NullBroker::start("");
    let line = "produce --topic a --closed --record-bytes uniform(100,300) --keys zipf(50,1.1) \
                --compressibility 0.75 --compression zstd --records-per-batch 20 --connections 2 \
                --partitions 4 --partitions-per-request 2 --duration 1s --warmup 0s";
    let run = broker.json(line);
    let payload = &run["payload"];
    // Each of the four partitions fills up its last batch.
    let batches = payload["batches"].as_u64().unwrap();
    assert!((50..=54).contains(&batches), "{payload:#}");
    assert_eq!(payload["keys_choose_partition"], true);
    let keys = payload["distinct_keys"].as_u64().unwrap();
    assert!((40..=50).contains(&keys), "{payload:#}");
    let mean = payload["value_bytes_mean"].as_f64().unwrap();
    assert!((mean - 200.0).abs() < 10.0, "{payload:#}");
    let wire = payload["wire_bytes_per_value_byte"].as_f64().unwrap();
    assert!((wire - 0.25).abs() < 0.1, "{payload:#}");
    assert_eq!(run["errors"], serde_json::json!({}));
}

#[test]
fn a_broker_that_dies_leaves_what_was_measured_before() {
    let mut broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let mut run = Command::new(LOADGEN)
        .args(["produce", "--topic", "a", "--rate", "500", "--duration", "600s", "--warmup", "0s"])
        .args(["--json", "--bootstrap", &broker.address, "--out"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let csv = directory.path().join("timeseries.csv");
    let has_seconds = || {
        let text = std::fs::read_to_string(&csv).ok()?;
        (text.lines().count() >= 3 || run.try_wait().unwrap().is_some()).then_some(())
    };
    wait_until("two seconds of the run", Duration::from_secs(60), has_seconds).unwrap();
    broker.kill();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let text = error_text(&output);
    assert!(text.contains(&broker.address) && text.contains("under load"), "{text}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["failure"].as_str().unwrap().contains(&broker.address), "{summary:#}");
    assert!(summary["records"].as_u64().unwrap() > 400, "{summary:#}");
    let saved: Value = serde_json::from_str(&read(&directory.path().join("summary.json"))).unwrap();
    assert_eq!(saved, summary);
    assert!(directory.path().join("response.hgrm").exists());
}

#[test]
fn a_full_disk_for_reports_is_said_and_the_figures_are_printed() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("summary.json.part")).unwrap();
    let line = "produce --topic a --closed --duration 1s --warmup 0s --json --out";
    let output = broker.run(&format!("{line} {}", directory.path().display()));
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let text = error_text(&output);
    assert!(text.contains("cannot write") && text.contains("summary.json"), "{text}");
    assert!(text.contains("No space left"), "{text}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["records"].as_u64().unwrap() > 0);
    assert!(directory.path().join("response.hgrm").exists());
    assert!(!directory.path().join("summary.json").exists());
}

#[test]
fn a_directory_that_takes_no_files_is_refused_before_the_run() {
    let broker = NullBroker::start("");
    let line = "produce --topic a --closed --duration 600s --out /proc/loadgen";
    let output = broker.run(line);
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    assert!(error_text(&output).contains("/proc/loadgen"), "{output:?}");
}

#[test]
fn calibration_and_sweeps_leave_the_files_of_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let line = "calibrate --topic a --duration 1s --warmup 0s --out";
    let output = loadgen(&format!("{line} {}", place("calibration").display()));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for name in ["calibration.json", "timeseries.csv", "latency.hlog", "response.hgrm"] {
        assert!(place("calibration").join(name).exists(), "{name}");
    }
    let text = std::fs::read_to_string(place("calibration").join("calibration.json")).unwrap();
    let calibration: Value = serde_json::from_str(&text).unwrap();
    assert!(calibration["environment"]["output_disk"]["file_system"].is_string(), "{text}");
    let broker = NullBroker::start("");
    let line = "sweep --topic a --slo p50<10s --from 100 --to 100 --duration 500ms --warmup 0s";
    broker.run(&format!("{line} --out {}", place("sweep").display()));
    for name in ["capacity.json", "capacity.csv", "step-01/summary.json", "step-01/latency.hlog"] {
        assert!(place("sweep").join(name).exists(), "{name}");
    }
}

/// As `loadgen ... 2>&1 | head -1` leaves it.
#[test]
fn a_run_goes_on_when_nobody_reads_what_it_says() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let line = format!(
        "produce --topic a --rate 500/s --duration 3s --warmup 0s --bootstrap {} --out {}",
        broker.address,
        directory.path().display()
    );
    let mut command = Command::new(LOADGEN);
    command.args(line.split_whitespace()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let status = command.status().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    let summary: Value =
        serde_json::from_str(&read(&directory.path().join("summary.json"))).unwrap();
    assert!(summary["requests"].as_u64().unwrap() > 1000, "{summary:#}");
}
