//! Runs a client program and reads its `PASS name` and `FAIL name: why` lines.

use std::process::Command;
use std::time::Duration;

use crate::peer::Peer;
use crate::process::{Finished, run_serving, run_to_end, tail};

const PATIENCE: Duration = Duration::from_secs(240);
const STDERR_LINES_SHOWN: usize = 80;

/// What a client program said.
pub struct Report {
    pub passed: Vec<String>,
    /// `name: why`
    pub failed: Vec<String>,
    /// How the process ended when that was not status 0.
    pub ended_badly: Option<String>,
    pub stderr: String,
}

/// Runs the program to its end, printing each of its lines.
pub fn run_cases(command: Command) -> Report {
    report_of(run_to_end(command, PATIENCE).expect("the toolchain was installed"))
}

/// The same; at each line `KILL` of the program its broker is killed and started again.
pub fn run_cases_and_kill(command: Command, peer: &mut Peer) -> Report {
    let finished = run_serving(command, PATIENCE, "KILL", || {
        peer.kill();
        peer.restart();
    });
    report_of(finished.expect("the toolchain was installed"))
}

fn report_of(finished: Finished) -> Report {
    print!("{}", finished.stdout);
    let lines = |prefix: &str| {
        let with_prefix = finished.stdout.lines().filter_map(|line| line.strip_prefix(prefix));
        with_prefix.map(String::from).collect()
    };
    let ended_badly = match finished.status {
        None => Some(format!("killed after {PATIENCE:?}")),
        Some(status) if !status.success() => Some(status.to_string()),
        Some(_) => None,
    };
    Report {
        passed: lines("PASS "),
        failed: lines("FAIL "),
        ended_badly,
        stderr: tail(&finished.stderr, STDERR_LINES_SHOWN),
    }
}

impl Report {
    /// Panics unless every case passed and there were at least `count` of them.
    ///
    /// The number keeps a program from passing by running nothing.
    pub fn assert_all_passed(&self, count: usize, broker: &str) {
        let is_good = self.failed.is_empty() && self.ended_badly.is_none();
        assert!(
            is_good && self.passed.len() >= count,
            "{} cases passed of at least {count}; end: {:?}\nfailed:\n  {}\n--- stderr ---\n{}\n{}",
            self.passed.len(),
            self.ended_badly,
            self.failed.join("\n  "),
            self.stderr,
            broker,
        );
    }
}
