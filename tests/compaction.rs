//! Log compaction in the real binary: an unmodified client writes keyed records and reads what is
//! left, before and after `kill -9`, and Kafka's own tool reads the segments.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::{Broker, Toolchain, Tools, python, repository, run_to_end, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const TOPIC: &str = "compacted";
const PATIENCE: Duration = Duration::from_secs(150);
/// Records of one round of writing.
const RECORDS: u32 = 4000;
/// What is left of them at most: 199 keys, and the segment that is being written.
const LEFT_MAX: u32 = 1500;
const KILLS: u32 = 4;
/// Keys that are written and deleted.
const DELETED: u32 = 500;
/// Commits of five offsets each.
const COMMITS: u32 = 800;
/// Of four records each, every second one aborted.
const TRANSACTIONS: u32 = 400;

struct Session {
    broker: Broker,
    python: PathBuf,
}

impl Session {
    /// A broker without topics; `None` without Python, after saying so.
    fn prepare(test: &str) -> Option<Session> {
        let python = python().or_skip(test)?;
        let overrides = [
            "log.cleaner.backoff.ms=20",
            "log.retention.check.interval.ms=100",
            "offsets.topic.num.partitions=1",
        ];
        Some(Session { broker: Broker::start(BINARY, &overrides), python })
    }

    /// A broker with the topic that is compacted.
    fn start(test: &str) -> Option<Session> {
        let session = Session::prepare(test)?;
        session.client(&["create", TOPIC]);
        Some(session)
    }

    /// Runs the client program; returns what it printed.
    fn client(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(repository().join("tests/clients/python/compacted.py"));
        command.arg(self.broker.bootstrap()).args(arguments);
        let finished = run_to_end(command, PATIENCE).expect("python was found");
        assert!(
            finished.is_success(),
            "{arguments:?}\n{}\n{}\n{}",
            finished.stdout,
            finished.stderr,
            self.broker.report()
        );
        finished.stdout
    }

    fn write(&self, first: u32, end: u32) {
        self.client(&["write", TOPIC, &first.to_string(), &end.to_string()]);
    }

    /// Records and tombstones that are left; the client compared them with what it wrote.
    fn left(&self, end: u32) -> (u32, u32) {
        self.ask("check", TOPIC, end)
    }

    /// The two numbers that the client prints once all that it compares is right.
    fn ask(&self, verb: &str, of: &str, end: u32) -> (u32, u32) {
        let printed = self.client(&[verb, of, &end.to_string()]);
        let line = printed.lines().find_map(|line| line.strip_prefix("LEFT ")).expect("a count");
        let (records, tombstones) = line.split_once(' ').expect("two numbers");
        (records.parse().unwrap(), tombstones.parse().unwrap())
    }

    fn wait_until_compacted(&self, end: u32) -> (u32, u32) {
        let what = "the log to be compacted";
        wait_until(what, PATIENCE, || {
            let left = self.left(end);
            (left.0 < LEFT_MAX).then_some(left)
        })
        .unwrap_or_else(|late| panic!("{late}\n{}", self.broker.report()))
    }

    fn kill_after(&mut self, delay: Duration) {
        thread::sleep(delay);
        self.broker.kill();
        self.broker.restart();
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_last_value_of_each_key_is_left_and_survives_kill_9() {
    let test = "the_last_value_of_each_key_is_left_and_survives_kill_9";
    let Some(mut session) = Session::start(test) else { return };
    let mut end = RECORDS;
    session.write(0, end);
    session.wait_until_compacted(end);
    for round in 0..KILLS {
        session.write(end, end + RECORDS / 2);
        end += RECORDS / 2;
        // Somewhere in the rounds that the writing began.
        session.kill_after(Duration::from_millis(u64::from(round) * 13));
        session.left(end);
    }
    session.wait_until_compacted(end);
    session.broker.stop();
    session.broker.restart();
    session.left(end);
    let topics = session.broker.data_directory().join("topics");
    assert_eq!(files(&topics, "cleaned"), [] as [PathBuf; 0]);
}

#[test]
fn a_topic_that_is_compacted_and_deleted_loses_its_front_and_duplicate_keys() {
    let test = "a_topic_that_is_compacted_and_deleted_loses_its_front_and_duplicate_keys";
    let Some(mut session) = Session::prepare(test) else { return };
    session.client(&["create-short", TOPIC]);
    let mut end = RECORDS;
    session.write(0, end);
    wait_until("both policies to act", PATIENCE, || {
        session.write(end, end + RECORDS / 2);
        end += RECORDS / 2;
        let (records, start) = session.ask("check-short", TOPIC, end);
        (start > 0 && records < end - start).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", session.broker.report()));
    session.broker.kill();
    session.broker.restart();
    session.ask("check-short", TOPIC, end);
}

#[test]
fn committed_offsets_are_compacted_and_there_after_kill_9() {
    let test = "committed_offsets_are_compacted_and_there_after_kill_9";
    let Some(mut session) = Session::prepare(test) else { return };
    session.client(&["commit", "readers", &COMMITS.to_string()]);
    let left = wait_until("__consumer_offsets to be compacted", PATIENCE, || {
        let (left, _) = session.ask("committed", "readers", COMMITS);
        (left < COMMITS * 5 / 2).then_some(left)
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", session.broker.report()));
    session.broker.kill();
    session.broker.restart();
    let (after, _) = session.ask("committed", "readers", COMMITS);
    assert!(after <= left, "{after} records after the start, {left} before");
}

#[test]
fn aborted_records_are_compacted_away_and_readers_of_committed_ones_see_the_rest() {
    let test = "aborted_records_are_compacted_away_and_readers_of_committed_ones_see_the_rest";
    let Some(mut session) = Session::start(test) else { return };
    session.client(&["transact", TOPIC, &TRANSACTIONS.to_string()]);
    wait_until("aborted records to go", PATIENCE, || {
        let (committed, all) = session.ask("check-transact", TOPIC, TRANSACTIONS);
        (committed < TRANSACTIONS && all < TRANSACTIONS * 2).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", session.broker.report()));
    session.broker.kill();
    session.broker.restart();
    session.ask("check-transact", TOPIC, TRANSACTIONS);
}

#[test]
fn tombstones_go_after_their_time_and_kafkas_tool_reads_the_segments() {
    let test = "tombstones_go_after_their_time_and_kafkas_tool_reads_the_segments";
    let Some(mut session) = Session::start(test) else { return };
    session.client(&["delete", TOPIC, &DELETED.to_string()]);
    let mut has_lost_values = false;
    // Each further write makes the log dirty again; what is in front of it loses its tombstones.
    wait_until("tombstones to go", PATIENCE, || {
        session.client(&["fill", TOPIC, &DELETED.to_string()]);
        let (values, tombstones) = session.ask("deleted", TOPIC, DELETED);
        assert!(values == 0 || !has_lost_values, "{values} deleted values are back");
        has_lost_values |= values == 0;
        (values == 0 && tombstones == 0).then_some(())
    })
    .unwrap_or_else(|late| panic!("{late}\n{}", session.broker.report()));
    let topics = session.broker.data_directory().join("topics");
    session.broker.stop();
    let Some(mut tools) = Tools::start().or_skip(test) else { return };
    for extension in ["log", "index", "timeindex"] {
        let names = files(&topics, extension);
        assert!(!names.is_empty());
        let names: Vec<String> = names.iter().map(|path| path.display().to_string()).collect();
        let names = names.join(",");
        let arguments = ["--files", &names, "--deep-iteration"];
        let text = tools.run("kafka.tools.DumpLogSegments", &arguments);
        let is_bad = ["isvalid: false", "mismatch", "not found", "Non-consecutive", "error"];
        let bad = is_bad.iter().find(|words| text.to_lowercase().contains(&words.to_lowercase()));
        assert_eq!(bad, None, "{text}");
    }
}
