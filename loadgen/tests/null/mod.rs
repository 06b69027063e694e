//! The built program and its null broker, for tests of what comes out.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// A null broker that ends with the test.
pub(crate) struct NullBroker {
    process: Child,
    pub(crate) address: String,
}

impl NullBroker {
    /// With further flags of `null-broker`.
    pub(crate) fn start(flags: &str) -> NullBroker {
        let mut process = Command::new(LOADGEN)
            .args(["null-broker", "--end-offset", "30000"])
            .args(flags.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        NullBroker { process, address: address.trim().to_owned() }
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        loadgen(&format!("{line} --bootstrap {}", self.address))
    }

    /// The summary of a run that went to its end.
    pub(crate) fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json"));
        // A busy machine may make the generator lag: the figures are then INVALID, but complete.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for NullBroker {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn loadgen(line: &str) -> Output {
    let mut command = Command::new(LOADGEN);
    command.stdin(Stdio::null()).args(line.split_whitespace()).output().unwrap()
}

pub(crate) fn error_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
