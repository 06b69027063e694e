//! The `highwater` binary as a command line, and changes of a cluster by it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::process::wait_until;

/// What a cluster may take for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Commands of one binary.
#[derive(Clone, Copy)]
pub struct Commands {
    binary: &'static str,
}

impl Commands {
    /// Of `env!("CARGO_BIN_EXE_highwater")`.
    pub const fn new(binary: &'static str) -> Commands {
        Commands { binary }
    }

    /// Runs it to its end.
    pub fn run(self, words: &[&str]) -> Output {
        let output = Command::new(self.binary).args(words).stdin(Stdio::null()).output();
        output.expect("the binary was built by cargo")
    }

    /// What a command says when it succeeds; `None` when it does not.
    pub fn said(self, words: &[&str]) -> Option<String> {
        let output = self.run(words);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sends numbers to a topic, one a line; whether all were acknowledged.
    pub fn produce(self, topic: &str, lines: std::ops::Range<u32>, at: &str) -> bool {
        let words = ["produce", topic, "--bootstrap", at];
        let command = Command::new(self.binary).args(words).stdin(Stdio::piped()).spawn();
        let mut child = command.expect("the binary was built by cargo");
        let mut input = child.stdin.take().expect("it is piped");
        for line in lines {
            if writeln!(input, "{line}").is_err() {
                break; // It has ended, and says how.
            }
        }
        drop(input);
        child.wait().expect("the child is ours").success()
    }

    /// The numbers in a topic, sorted and each once: what is not acknowledged is sent again.
    pub fn consume(self, topic: &str, at: &str) -> Option<Vec<u32>> {
        let text = self.said(&["consume", topic, "--bootstrap", at])?;
        let lines: Option<Vec<u32>> = text.lines().map(|line| line.parse().ok()).collect();
        let mut lines = lines.unwrap_or_else(|| panic!("not numbers alone: {text}"));
        lines.sort_unstable();
        lines.dedup();
        Some(lines)
    }

    /// `cluster status` of whoever listens at `at`; `None` where nobody answers.
    pub fn status(self, at: &str) -> Option<Value> {
        let text = self.said(&["cluster", "status", "--json", "--bootstrap", at])?;
        Some(serde_json::from_str(&text).expect("the status is JSON"))
    }

    /// Waits until the status is as wanted.
    pub fn await_status(
        self,
        at: &str,
        what: &str,
        brokers: &[&Broker],
        is_so: impl Fn(&Value) -> bool,
    ) {
        self.bring_about(&[], at, (what, brokers), is_so);
    }

    /// Runs a command again and again until the status is as wanted: brokers take their time to
    /// notice each other, and a change may have been made when its answer was late.
    pub fn bring_about(
        self,
        words: &[&str],
        at: &str,
        (what, brokers): (&str, &[&Broker]),
        is_so: impl Fn(&Value) -> bool,
    ) {
        let mut last = (Value::Null, None);
        let heard = wait_until(what, PATIENCE, || {
            last.0 = self.status(at)?;
            let is_there = is_so(&last.0);
            if !is_there && !words.is_empty() {
                last.1 = Some(self.run(words));
            }
            is_there.then_some(())
        });
        heard.unwrap_or_else(|error| {
            let reports: Vec<String> = brokers.iter().map(|broker| broker.report()).collect();
            panic!("{error}: {last:?}\n{}", reports.join("\n"))
        });
    }
}

/// The ids in one list of a status.
pub fn node_ids(status: &Value, list: &str) -> Vec<i64> {
    let nodes = status[list].as_array().expect("a list of the status");
    nodes.iter().filter_map(|node| node["node_id"].as_i64()).collect()
}

/// What a status says of a broker; empty where it is not registered.
pub fn broker_state(status: &Value, id: i64) -> String {
    let brokers = status["brokers"].as_array().expect("a list of the status");
    let found = brokers.iter().find(|broker| broker["node_id"] == id);
    found.and_then(|broker| broker["state"].as_str()).unwrap_or_default().to_owned()
}
