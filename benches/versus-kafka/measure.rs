//! Runs loadgen against a broker and reads its summary.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Failure;
use crate::rows::{FETCH_FILL, RESTART_FILL, RESTART_GROUPS, Row, Work};
use crate::server::{Server, expect_success, not_runnable, pinned};

/// Seconds of each measurement that do not count.
const WARMUP_SECONDS: u32 = 2;

/// loadgen's exit codes of a run that has a summary: good, with errors, INVALID.
const EXIT_WITH_SUMMARY: [i32; 3] = [0, 1, 3];

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) requests_per_second: f64,
    pub(crate) records_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of the broker.
    pub(crate) cpu_seconds_per_gigabyte: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) client_busy_percent: f64,
    /// Requests refused or not answered.
    pub(crate) errors: f64,
    /// Tasks that wanted to run, broker and generator included, averaged over the last minute.
    pub(crate) load: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} requests/s, {:.0} records/s, p50 {:.0} us, p99 {:.0} us, {:.1} us CPU per \
             request, client busy {:.0} %",
            self.requests_per_second,
            self.records_per_second,
            self.p50_us,
            self.p99_us,
            self.cpu_us_per_request,
            self.client_busy_percent
        )?;
        // Commits and transactions carry no records worth counting in bytes.
        if self.megabytes_per_second > 0.0 {
            let (rate, cpu) = (self.megabytes_per_second, self.cpu_seconds_per_gigabyte);
            write!(f, ", {rate:.1} MB/s, {cpu:.3} CPU s/GB")?;
        }
        if self.errors > 0.0 {
            write!(f, ", {:.0} errors", self.errors)?;
        }
        Ok(())
    }
}

/// The load generator's binary and where it runs.
#[derive(Debug)]
pub(crate) struct Loadgen {
    pub(crate) binary: PathBuf,
    pub(crate) core: usize,
}

impl Loadgen {
    fn command(&self) -> Command {
        pinned(&self.binary, self.core)
    }

    /// Milliseconds until `server` has accepted a first record.
    pub(crate) fn wait_until_ready(&self, server: &Server) -> Result<f64, Failure> {
        let mut command = self.command();
        command.args(["first-produce", "--topic", "first", "--within", "3m"]);
        command.args(["--bootstrap", &server.address]);
        let output = expect_success(&mut command)?;
        output.trim().parse().map_err(|_| Failure::NoSummary {
            program: "loadgen first-produce".to_owned(),
            reason: output,
        })
    }

    /// Fills the topic of a fetch row, once per broker and row.
    pub(crate) fn prepare(&self, server: &Server, row: &Row) -> Result<(), Failure> {
        if matches!(row.work, Work::Consume(_)) {
            let mut command = self.command();
            command.arg("produce").args(FETCH_FILL.split_whitespace()).arg("--fresh");
            self.add_target(&mut command, server, row);
            self.summary(&mut command)?;
        }
        Ok(())
    }

    /// One measurement of `seconds`.
    pub(crate) fn run(&self, server: &Server, row: &Row, seconds: u32) -> Result<Sample, Failure> {
        // Dirty pages of the run before are not this run's work.
        rustix::fs::sync();
        let mut command = self.command();
        match row.work {
            Work::Consume(flags) => {
                command.args(["consume", "--loop"]).args(flags.split_whitespace());
            }
            Work::Produce(flags) => {
                command.args(["produce", "--closed", "--fresh"]).args(flags.split_whitespace());
            }
            Work::Commit(flags) => {
                command.arg("commit").args(flags.split_whitespace());
            }
            Work::Transact(flags) => {
                command.arg("transact").args(flags.split_whitespace());
            }
            Work::Rebalance(flags) => {
                command.args(["rebalance", "--members", "100", "--partitions", "1000"]);
                command.args(flags.split_whitespace());
                command.arg("--repeats").arg(seconds.to_string());
            }
            Work::Start | Work::Restart => unreachable_row(row),
        }
        self.add_target(&mut command, server, row);
        if !matches!(row.work, Work::Rebalance(_)) {
            command.arg("--duration").arg(format!("{seconds}s"));
            command.arg("--warmup").arg(format!("{WARMUP_SECONDS}s"));
        }
        let summary = self.summary(&mut command)?;
        Ok(sample(&summary))
    }

    /// Commits the offsets of the restart row.
    pub(crate) fn fill_groups(&self, server: &Server, row: &Row) -> Result<(), Failure> {
        let mut command = self.command();
        command.arg("commit").args(["--groups", RESTART_GROUPS]);
        command.args(RESTART_FILL.split_whitespace());
        self.add_target(&mut command, server, row);
        self.summary(&mut command).map(|_| ())
    }

    /// Waits until `server` has answered with every group's committed offsets.
    pub(crate) fn wait_for_offsets(&self, server: &Server, row: &Row) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(["first-offsets", "--groups", RESTART_GROUPS, "--topic", row.topic()]);
        command.args(["--within", "3m", "--bootstrap", &server.address]);
        expect_success(&mut command).map(|_| ())
    }

    fn add_target(&self, command: &mut Command, server: &Server, row: &Row) {
        command.args(["--bootstrap", &server.address, "--topic", row.topic(), "--json"]);
        command.args(["--core", &self.core.to_string()]);
        command.args(["--server-pid", &server.pid().to_string()]);
        let is_produce = command.get_args().any(|argument| argument == "produce");
        if is_produce {
            // What a deleted topic held is gone before the next repeat.
            command.args(["--config", "file.delete.delay.ms=1000"]);
            if let Some(config) = row.config_for(server.broker) {
                command.args(["--config", config]);
            }
        }
    }

    fn summary(&self, command: &mut Command) -> Result<Value, Failure> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| not_runnable(command, source))?;
        let code = output.status.code().unwrap_or(-1);
        if !EXIT_WITH_SUMMARY.contains(&code) {
            return Err(Failure::Failed {
                program: format!("{command:?}"),
                status: output.status.to_string(),
                output: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        serde_json::from_slice(&output.stdout).map_err(|error| Failure::NoSummary {
            program: "loadgen".to_owned(),
            reason: error.to_string(),
        })
    }
}

fn unreachable_row(row: &Row) {
    assert!(!row.is_of_starts(), "{} is measured by start.rs", row.id);
}

fn sample(summary: &Value) -> Sample {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let refusals = summary["errors"].as_object().into_iter().flatten();
    let errors: f64 = refusals.map(|(_, count)| number(count)).sum();
    Sample {
        requests_per_second: number(&summary["requests_per_second"]),
        records_per_second: number(&summary["records_per_second"]),
        megabytes_per_second: number(&summary["megabytes_per_second"]),
        p50_us: number(&summary["response_us"]["p50"]),
        p99_us: number(&summary["response_us"]["p99"]),
        cpu_seconds_per_gigabyte: number(&summary["server"]["cpu_seconds_per_gigabyte"]),
        cpu_us_per_request: number(&summary["server"]["cpu_microseconds_per_request"]),
        client_busy_percent: number(&summary["generator"]["busy_percent"]),
        errors: errors + number(&summary["unanswered"]),
        load: load_average(),
    }
}

fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
