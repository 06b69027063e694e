//! The built program against its own null broker: what comes out, and with which exit code.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod null;

use null::{NullBroker, error_text, loadgen};
use serde_json::{Value, json};

#[test]
fn a_closed_loop_counts_every_record_and_says_what_it_is() {
    let broker = NullBroker::start("");
    let line = "produce --topic a --closed --partitions 8 --connections 4 --threads 2 \
                --partitions-per-request 2 --records-per-batch 3 --duration 1s --warmup 1s";
    let summary = broker.json(line);
    assert_eq!(summary["schema"], "highwater-loadgen/1");
    assert_eq!(summary["loop"], "closed");
    let requests = summary["requests"].as_u64().unwrap();
    assert!(requests > 0);
    assert_eq!(summary["records"].as_u64().unwrap(), requests * 6);
    assert!(summary["response_us"]["count"].as_u64().unwrap() >= requests);
    assert_eq!(summary["errors"], serde_json::json!({}));
    assert_eq!(summary["seconds"].as_array().unwrap().len(), 1);
}

#[test]
fn an_open_loop_sends_at_its_rate() {
    let broker = NullBroker::start("");
    for arrivals in ["constant", "poisson"] {
        let line = format!(
            "produce --topic {arrivals} --rate 2k/s --arrivals {arrivals} --partitions 2 \
             --connections 2 --acks 1 --duration 2s --warmup 0s"
        );
        let summary = broker.json(&line);
        assert_eq!(summary["loop"], "open");
        let answered = summary["response_us"]["count"].as_f64().unwrap();
        assert!((answered / 4000.0 - 1.0).abs() < 0.1, "{arrivals}: {answered}");
        assert_eq!(summary["unanswered"], 0);
    }
}

#[test]
fn without_acknowledgements_requests_count_when_they_are_sent() {
    let broker = NullBroker::start("");
    let summary = broker.json("produce --topic a --closed --acks 0 --duration 1s --warmup 0s");
    assert!(summary["requests"].as_u64().unwrap() > 100);
}

#[test]
fn batches_that_are_shared_between_connections_arrive_whole() {
    let broker = NullBroker::start("");
    let line = "produce --topic a --closed --partitions 4 --connections 2 --in-flight 2 \
                --partitions-per-request 2 --records-per-batch 200 --record-bytes 1KiB \
                --compression lz4 --random-percent 100 --duration 1s --warmup 0s";
    let summary = broker.json(line);
    assert!(summary["bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!(summary["errors"], serde_json::json!({}));
}

#[test]
fn idle_connections_are_held_until_the_input_ends() {
    let broker = NullBroker::start("");
    // The program's standard input is empty here.
    let output = broker.run("idle --connections 20");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("20 connections") && said.contains("still open   20"), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn keys_that_reach_too_few_partitions_are_refused() {
    let broker = NullBroker::start("");
    let line = "produce --topic a --partitions 4 --closed --duration 1s --warmup 0s";
    let keys = "--keys sequential(2) --partitions-per-request 3";
    let refused = broker.run(&format!("{line} {keys}"));
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(error_text(&refused).contains("--partitioner turn"), "{refused:?}");
    let taken = broker.json(&format!("{line} {keys} --partitioner turn"));
    assert_eq!(taken["payload"]["keys_choose_partition"], false);
}

#[test]
fn consuming_reads_each_record_once_and_ends_by_itself() {
    let broker = NullBroker::start("");
    broker.json("produce --topic a --closed --partitions 4 --duration 1s --warmup 0s");
    let summary = broker.json("consume --topic a --connections 2 --max-bytes 100KiB --check-crc");
    assert_eq!(summary["records"], 4 * 30_000);
    assert_eq!(summary["errors"], serde_json::json!({}));
    let one = broker.json("consume --topic a --partition 2");
    assert_eq!(one["records"], 30_000);
}

#[test]
fn consuming_in_a_loop_goes_on_to_the_end_of_its_time() {
    let broker = NullBroker::start("");
    broker.json("produce --topic a --closed --partitions 1 --duration 1s --warmup 0s");
    let summary = broker.json("consume --topic a --loop --duration 2s --warmup 0s");
    assert!(summary["records"].as_u64().unwrap() > 30_000);
    assert_eq!(summary["seconds"].as_array().unwrap().len(), 2);
}

#[test]
fn a_first_produce_prints_how_long_it_took() {
    let broker = NullBroker::start("");
    let output = broker.run("first-produce");
    assert_eq!(output.status.code(), Some(0));
    let milliseconds: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(milliseconds < 60_000.0);
}

#[test]
fn a_fresh_topic_replaces_the_old_one() {
    let broker = NullBroker::start("");
    broker.json("produce --topic a --closed --partitions 3 --duration 1s --warmup 0s");
    let refusal = broker.run("produce --topic a --closed --partitions 5 --duration 1s");
    assert_eq!(refusal.status.code(), Some(78));
    let text = error_text(&refusal);
    assert!(text.contains("has 3 partitions, --partitions asks for 5"), "{text}");
    broker.json("produce --topic a --fresh --closed --partitions 5 --duration 1s --warmup 0s");
}

#[test]
fn no_broker_at_the_address_is_said_with_exit_code_74() {
    let output = loadgen("produce --topic a --closed --bootstrap 127.0.0.1:1");
    assert_eq!(output.status.code(), Some(74));
    let text = error_text(&output);
    assert!(text.contains("no broker answers at 127.0.0.1:1"), "{text}");
    assert!(text.contains("because: "), "{text}");
}

#[test]
fn a_wrong_topic_partition_or_core_is_said_with_exit_code_78() {
    let broker = NullBroker::start("");
    let missing = broker.run("consume --topic nothing");
    assert_eq!(missing.status.code(), Some(78));
    assert!(error_text(&missing).contains("there is no topic nothing"));
    broker.json("produce --topic a --closed --partitions 2 --duration 1s --warmup 0s");
    let partition = broker.run("consume --topic a --partition 7");
    assert_eq!(partition.status.code(), Some(78));
    assert!(error_text(&partition).contains("partition 7 is not in topic a"));
    let core = broker.run("produce --topic a --closed --core 4095");
    assert_eq!(core.status.code(), Some(78));
    assert!(error_text(&core).contains("--core 4095"));
    let many = broker.run("produce --topic a --closed --partitions-per-request 3");
    assert_eq!(many.status.code(), Some(78));
    assert!(error_text(&many).contains("--partitions-per-request 3"));
}

#[test]
fn a_peer_that_is_no_broker_is_said_with_exit_code_76() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::Builder::new()
        .spawn(move || {
            use std::io::{Read, Write};
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 64]);
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        })
        .unwrap();
    let output = loadgen(&format!("produce --topic a --closed --bootstrap {address}"));
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(76), "{}", error_text(&output));
}

#[test]
fn a_broker_that_keeps_nothing_fails_verification() {
    let broker = NullBroker::start("");
    let output = broker.run("verify --topic a --duration 1s --patience 1s --json");
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{verdict:#}");
    assert_eq!(verdict["acked_lost"], verdict["acked"]);
    assert!(verdict["acked"].as_u64().unwrap() > 0);
    assert!(verdict["environment"]["seed"].is_u64(), "{verdict:#}");
    assert_eq!(verdict["environment"]["topic"]["name"], "a");
    let directory = tempfile::tempdir().unwrap();
    let line = "verify --topic a --duration 1s --patience 1s --out";
    let text = broker.run(&format!("{line} {}", directory.path().display()));
    assert!(directory.path().join("verify.json").exists());
    assert!(String::from_utf8_lossy(&text.stdout).contains("BAD: acked_lost"), "{text:?}");
}

#[test]
fn a_sweep_finds_a_rate_and_writes_its_plan() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let line = format!(
        "sweep --topic a --partitions 2 --connections 2 --slo p50<10s --from 100 --to 150 \
         --duration 500ms --warmup 0s --target 1k --retention 7d --json --out {}",
        directory.path().display()
    );
    let output = broker.run(&line);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["schema"], "highwater-loadgen-capacity/2");
    assert!(!plan["steps"].as_array().unwrap().is_empty());
    assert!(plan["limited_by"].is_string());
    // Two rates are too few for a knee, and a broker that tells nothing has no disk to plan with.
    assert!(plan["knee"].is_null() && plan["knee_absent"].is_string(), "{plan:#}");
    assert!(plan["disk"].is_null() && plan["disk_absent"].is_string(), "{plan:#}");
    assert!(plan["suggested_cores"].is_null(), "{plan:#}");
    assert!(plan["environment"]["command"].is_array() && plan["environment"]["seed"] == 1);
    let saved = std::fs::read(directory.path().join("capacity.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), plan);
    // A busy machine may make the generator lag at every rate: then there is no plan.
    assert_eq!(output.status.code(), Some(i32::from(plan["max_records_per_second"].is_null())));
}

#[test]
fn a_rate_is_given_up_when_it_broke_twice() {
    let broker = NullBroker::start("");
    let output = broker.run(
        "sweep --topic a --slo p50<1us --from 100 --to 100 --duration 100ms --warmup 0s --json",
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.len() >= 4 && steps.len().is_multiple_of(2), "{plan:#}");
    for pair in steps.chunks(2) {
        let offered = |step: &Value| step["offered_records_per_second"].clone();
        assert_eq!(offered(&pair[0]), offered(&pair[1]), "{plan:#}");
        assert_eq!((&pair[0]["holds"], &pair[0]["outdone"]), (&json!(false), &json!(false)));
    }
}

#[test]
fn calibration_says_what_the_generator_can_do() {
    let output = loadgen("calibrate --topic a --duration 1s --warmup 0s --json");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(figures["records_per_second"].as_f64().unwrap() > 1000.0);
    assert_eq!(figures["loop"], "closed");
}

#[test]
fn runs_are_compared_and_reported_from_their_directories() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name).display().to_string();
    let line = "produce --topic a --closed --duration 1s --warmup 0s --out";
    broker.json(&format!("{line} {}", place("one")));
    let same = loadgen(&format!("compare {0} {0}/summary.json", place("one")));
    assert!(String::from_utf8_lossy(&same.stdout).contains("p99"), "{same:?}");
    let page = place("one.html");
    let report = loadgen(&format!("report {} -o {page}", place("one")));
    assert_eq!(report.status.code(), Some(0), "{report:?}");
    assert!(std::fs::read_to_string(page).unwrap().contains("CLOSED LOOP"));
    let missing = loadgen(&format!("compare {} {}", place("one"), place("two")));
    assert_eq!(missing.status.code(), Some(78));
    assert!(error_text(&missing).contains("two"), "{missing:?}");
}
