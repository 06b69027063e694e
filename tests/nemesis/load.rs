//! The two workloads that run throughout: `loadgen verify`, and transactions with their reader.

use crate::history::History;
use harness::{Talker, repository, wait_until};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) const VERIFY: &str = "verify";
pub(crate) const TRANSACTIONS: &str = "transactions";
const PRODUCERS: u32 = 2;
/// From the end of the faults to the end of a workload.
const PATIENCE: Duration = Duration::from_secs(180);

/// `loadgen verify`, idempotent.
pub(crate) struct Verify {
    child: Option<Child>,
}

impl Verify {
    pub(crate) fn start(loadgen: &Path, bootstrap: &str, duration: Duration) -> Verify {
        let duration = format!("{}s", duration.as_secs());
        let mut command = Command::new(loadgen);
        command
            .args(["verify", "--topic", VERIFY, "--idempotent", "--rate", "600"])
            .args(["--producers", "2", "--records-per-batch", "5", "--patience", "120s"])
            .args(["--duration", &duration, "--bootstrap", bootstrap])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Verify { child: Some(command.spawn().expect("loadgen was built")) }
    }

    /// Panics when it has ended before its time: it was refused for good.
    pub(crate) fn assert_going(&mut self) {
        let child = self.child.as_mut().expect("it has not been ended");
        if child.try_wait().expect("the child is ours").is_some_and(|status| !status.success()) {
            panic!("loadgen verify: {:?}", self.end());
        }
    }

    /// Its verdict when that is bad.
    pub(crate) fn end(&mut self) -> Option<String> {
        let mut child = self.child.take().expect("it is ended once");
        let ended = wait_until("the end of loadgen verify", PATIENCE, || {
            child.try_wait().expect("the child is ours")
        });
        if ended.is_err() {
            drop(child.kill());
        }
        let output = child.wait_with_output().expect("the child is ours");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{said}");
        (!output.status.success()).then(|| format!("loadgen verify, {ended:?}: {said}"))
    }
}

impl Drop for Verify {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It has ended already, or it ends now.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Transactions of librdkafka.
pub(crate) struct Transactions {
    client: Talker,
    history: History,
}

impl Transactions {
    pub(crate) fn start(python: &Path, bootstrap: &str) -> Transactions {
        let mut command = Command::new(python);
        command.arg("-B").arg(repository().join("tests/clients/python/transactions_life.py"));
        command.args([bootstrap, TRANSACTIONS, &PRODUCERS.to_string()]);
        Transactions { client: Talker::start(command), history: History::default() }
    }

    /// Takes in what was said since the last time.
    pub(crate) fn listen(&mut self) {
        while let Some(line) = self.client.hear() {
            self.history.take(&line);
        }
    }

    /// What is wrong with its history.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.client.close_and_wait(PATIENCE);
        self.listen();
        println!("transactions     {}", self.history);
        self.history.judge()
    }
}
