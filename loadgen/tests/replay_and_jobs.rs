//! Replays of recorded feeds, and files of several jobs. Against the built program and its null
//! broker.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod null;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use etherparse::PacketBuilder;
use null::{NullBroker, error_text, loadgen};
use serde_json::Value;

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Quotes of five symbols, one each 2 ms.
fn feed(records: u64) -> String {
    let mut text = "ts,symbol,price\n".to_owned();
    for record in 0..records {
        let time_us = 1_769_765_400_000_000 + record * 2000;
        writeln!(text, "{time_us},S{},{}.5", record % 5, 100 + record % 7).unwrap();
    }
    text
}

#[test]
fn a_replay_takes_as_long_as_the_file_at_its_speed() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "feed.csv", &feed(1000));
    let line = format!(
        "replay {} --topic a --partitions 4 --connections 2 --time-column ts --key-column symbol",
        file.display()
    );
    for (speed, seconds) in [("1x", 2.0), ("2x", 1.0), ("2x --loop 3", 3.0)] {
        let run = broker.json(&format!("{line} --speed {speed}"));
        let records = run["records"].as_u64().unwrap();
        assert_eq!(records, if speed.contains("loop") { 3000 } else { 1000 }, "{run:#}");
        assert_eq!(run["response_us"]["count"].as_u64().unwrap(), records);
        let measured = run["measured_seconds"].as_f64().unwrap();
        assert!((seconds * 0.95..seconds * 1.5).contains(&measured), "{speed}: {measured}");
        assert_eq!((&run["mode"], &run["loop"]), (&"replay".into(), &"open".into()));
        assert_eq!(run["unanswered"], 0);
    }
}

#[test]
fn a_replay_at_max_is_a_closed_loop_and_needs_no_times() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    (0..20_000).for_each(|n| writeln!(text, "{{\"n\":{n},\"sym\":\"S{}\"}}", n % 9).unwrap());
    let file = write(directory.path(), "feed.ndjson", &text);
    let out = directory.path().join("run");
    let line = format!("replay {} --topic a --partitions 3 --speed max", file.display());
    let run = broker.json(&format!("{line} --key-column sym --out {}", out.display()));
    assert_eq!((run["records"].as_u64(), &run["loop"]), (Some(20_000), &"closed".into()));
    assert!(run["note"].as_str().unwrap().contains("CLOSED LOOP"));
    for name in ["summary.json", "timeseries.csv", "latency.hlog", "response.hgrm"] {
        assert!(out.join(name).exists(), "{name}");
    }
    let unacknowledged = broker.json(&format!("{line} --acks 0"));
    assert_eq!(unacknowledged["records"], 20_000);
}

#[test]
fn a_stall_counts_for_every_record_that_was_due_in_it() {
    // One second of two, in which the broker stands still for half a second of each.
    let broker = NullBroker::start("--stall-for 500ms --stall-every 1s");
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "feed.csv", &feed(1000));
    let line = format!("replay {} --topic a --time-column ts --in-flight 1", file.display());
    let run = broker.json(&line);
    let p90 = run["response_us"]["p90"].as_u64().unwrap();
    assert!((350_000..700_000).contains(&p90), "{run:#}");
    assert!(run["service_us"]["p90"].as_u64().unwrap() < 150_000, "{run:#}");
}

#[test]
fn a_bad_line_of_a_feed_ends_the_replay_and_what_was_sent_is_kept() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let mut text = feed(10);
    text.push_str("soon,S1,5\n");
    text.push_str(&feed(5).lines().skip(1).collect::<Vec<_>>().join("\n"));
    let file = write(directory.path(), "feed.csv", &text);
    let line = format!("replay {} --topic a --time-column ts", file.display());
    let output = broker.run(&format!("{line} --json"));
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    let said = error_text(&output);
    assert!(said.contains("feed.csv:12: a time in microseconds"), "{said}");
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["records"], 10, "{run:#}");
    assert!(run["failure"].as_str().unwrap().contains(":12:"));
    let skipping = broker.json(&format!("{line} --skip-bad 1 --allow-disorder"));
    assert_eq!(skipping["records"], 15);
    assert_eq!(skipping["payload"]["bad_lines"], 1);
    assert_eq!(skipping["payload"]["disordered"], 5);
}

/// A block of a pcapng file, which `body` fills in fours.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &size, body, &size].concat()
}

/// Datagrams of 4 bytes from two sources, one each 2 ms, and behind each a packet of TCP.
fn capture(datagrams: u32) -> Vec<u8> {
    let section = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    // Raw IP, microseconds.
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &[101, 0, 0, 0, 0, 0, 0, 0])].concat();
    for number in 0..datagrams {
        let source = [10, 0, 0, u8::from(number % 2 == 0)];
        let ip = || PacketBuilder::ipv4(source, [239, 1, 1, 1], 4);
        let (mut datagram, mut segment) = (Vec::new(), Vec::new());
        ip().udp(4000, 5000).write(&mut datagram, &number.to_be_bytes()).unwrap();
        ip().tcp(1, 2, 3, 4).write(&mut segment, &[]).unwrap();
        for packet in [datagram, segment] {
            let size = u32::try_from(packet.len()).unwrap();
            let header = [0, 0, number * 2000, size, size].map(u32::to_le_bytes).concat();
            file.extend(block(6, &[header, packet].concat()));
        }
    }
    file
}

#[test]
fn a_capture_is_played_at_its_own_times_up_to_where_it_is_cut() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feed.pcapng");
    let line = format!("replay {} --topic a --partitions 4", path.display());
    let whole = capture(500);
    std::fs::write(&path, &whole).unwrap();
    let run = broker.json(&format!("{line} --key-column source"));
    assert_eq!((run["records"].as_u64(), &run["loop"]), (Some(500), &"open".into()));
    assert_eq!(run["payload"]["packets_left_out"], 500, "{run:#}");
    assert_eq!(run["payload"]["played_seconds"], 0.998, "{run:#}");
    // Two blocks stand before the packets, and the last of them is cut.
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let output = broker.run(&format!("{line} --speed 10x --json"));
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    let said = error_text(&output);
    assert!(
        said.contains("feed.pcapng:1002: block at byte ") && said.contains("it is cut"),
        "{said}"
    );
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(run["records"], 500, "{run:#}");
    let refused = broker.run(&format!("{line} --time-column ts"));
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(error_text(&refused).contains("packets have their own times"), "{refused:?}");
}

#[test]
fn a_feed_that_cannot_be_played_is_refused_before_the_topic_is_made() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "feed.csv", &feed(3));
    let refusal = |line: &str| {
        let output = broker.run(&format!("replay {line} --topic b"));
        assert!(matches!(output.status.code(), Some(65 | 78)), "{output:?}");
        error_text(&output)
    };
    let path = file.display();
    assert!(
        refusal(&format!("{path} --time-column time")).contains("columns are ts, symbol, price")
    );
    assert!(refusal(&path.to_string()).contains("--time-column"));
    assert!(refusal("/nothing/here.csv --speed max").contains("/nothing/here.csv"));
    let other = write(directory.path(), "feed.txt", "x\n");
    assert!(refusal(&other.display().to_string()).contains("--format"));
    let missing = broker.run("consume --topic b");
    assert!(error_text(&missing).contains("there is no topic b"));
}

#[test]
fn jobs_run_together_or_in_turn_and_leave_their_files() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    for order in ["together", "in-turn"] {
        let text = format!(
            "order = \"{order}\"\n[global]\nbootstrap = \"{}\"\nduration = \"1s\"\nwarmup = 0\n\
             [jobs.load]\nmode = \"produce\"\ntopic = \"a\"\nclosed = true\npartitions = 2\n\
             [jobs.other]\nmode = \"produce\"\ntopic = \"b\"\nrate = \"500/s\"\nkeys = \"zipf(9)\"\n",
            broker.address
        );
        let file = write(directory.path(), "jobs.toml", &text);
        let out = directory.path().join(order);
        let output = loadgen(&format!("run {} --json --out {}", file.display(), out.display()));
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let run: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(run["schema"], "highwater-loadgen-jobs/1");
        for job in ["load", "other"] {
            assert!(run["jobs"][job]["result"]["records"].as_u64().unwrap() > 0, "{run:#}");
            assert!(out.join(job).join("summary.json").exists());
        }
        let saved = std::fs::read(out.join("jobs.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&saved).unwrap(), run);
        assert!(error_text(&output).contains("[load] "), "{output:?}");
    }
}

#[test]
fn a_broken_objective_is_said_and_ends_with_its_own_exit_code() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[global]\nbootstrap = \"{}\"\nduration = \"1s\"\nwarmup = 0\n\
         [jobs.load]\nmode = \"produce\"\ntopic = \"a\"\nrate = \"500/s\"\n\
         [[slo]]\njob = \"load\"\np50 = \"30s\"\nerrors = 0\n\
         [[slo]]\njob = \"load\"\nrate = \"2k/s\"\n",
        broker.address
    );
    let file = write(directory.path(), "jobs.toml", &text);
    let output = loadgen(&format!("run {} --json", file.display()));
    // A busy machine may make the generator lag, which is the job's own exit code.
    assert!(matches!(output.status.code(), Some(1 | 3)), "{output:?}");
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&run["good"], &run["slos"][0]["holds"]), (&false.into(), &true.into()));
    let broken = run["slos"][1]["broken"][0].as_str().unwrap();
    assert!(broken.starts_with("rate ") && broken.ends_with("(>= 2000/s)"), "{broken}");
    let text = loadgen(&format!("run {} --set jobs.load.rate=3k", file.display()));
    let said = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(said.contains("slo load: holds"), "{said}");
    let refused = loadgen(&format!("run {} --set jobs.load.rat=3k", file.display()));
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(
        error_text(&refused).contains("--set jobs.load.rat=3k: there is no rat"),
        "{refused:?}"
    );
}

#[test]
fn a_job_that_fails_takes_nothing_from_the_others() {
    let broker = NullBroker::start("");
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "order = \"in-turn\"\n[global]\nduration = \"1s\"\nwarmup = 0\n\
         [jobs.unreachable]\nmode = \"produce\"\ntopic = \"a\"\nclosed = true\n\
         bootstrap = \"127.0.0.1:1\"\n\
         [jobs.missing]\nmode = \"consume\"\ntopic = \"nothing\"\nbootstrap = \"{0}\"\n\
         [jobs.good]\nmode = \"produce\"\ntopic = \"a\"\nclosed = true\nbootstrap = \"{0}\"\n",
        broker.address
    );
    let file = write(directory.path(), "jobs.toml", &text);
    let output = loadgen(&format!("run {} --json", file.display()));
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    let jobs = &run["jobs"];
    assert_eq!(jobs["unreachable"]["exit_code"], 74);
    let error = jobs["unreachable"]["error"].as_str().unwrap();
    assert!(error.contains("no broker answers at 127.0.0.1:1"), "{error}");
    assert_eq!(jobs["missing"]["exit_code"], 78);
    let error = jobs["missing"]["error"].as_str().unwrap();
    assert!(error.contains("there is no topic nothing"), "{error}");
    assert!(jobs["good"]["result"]["records"].as_u64().unwrap() > 0, "{run:#}");
    assert_eq!(run["good"], false);
}

#[test]
fn a_job_file_with_a_wrong_key_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[jobs.a]\nmode = \"produce\"\ntopic = \"t\"\nclosed = true\npartitons = 3\n";
    let file = write(directory.path(), "jobs.toml", text);
    let output = loadgen(&format!("run {}", file.display()));
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = error_text(&output);
    assert!(
        said.contains("jobs.toml:5: there is no partitons; the nearest is partitions"),
        "{said}"
    );
    let missing = loadgen("run /nothing/here.toml");
    assert_eq!(missing.status.code(), Some(78));
    assert!(error_text(&missing).contains("/nothing/here.toml"));
}
