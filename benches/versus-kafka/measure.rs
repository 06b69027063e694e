//! Runs loadgen against a broker and reads its summary.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::Arguments;
use crate::disk::settle;
use crate::failure::Failure;
use crate::figure::{Figure, Sample};
use crate::rows::{Row, Work};
use crate::server::{Server, expect_success, not_runnable, pinned};

/// loadgen's exit codes of a run that has a summary: good, with errors, INVALID.
const EXIT_WITH_SUMMARY: [i32; 3] = [0, 1, 3];

/// Topic of the probes that wait for a broker.
const FIRST: &str = "first";

/// Seconds of each measurement that do not count.
pub(crate) fn warmup_seconds(arguments: &Arguments) -> u32 {
    if arguments.quick { 1 } else { 2 }
}

/// The binaries that talk to brokers, and where they run.
#[derive(Debug)]
pub(crate) struct Loadgen {
    pub(crate) binary: PathBuf,
    /// Makes and deletes topics.
    pub(crate) highwater: PathBuf,
    pub(crate) core: usize,
    pub(crate) warmup_seconds: u32,
}

/// A loadgen that runs beside others; dropped, it is ended.
pub(crate) struct Running {
    child: Option<Child>,
    program: String,
}

impl Loadgen {
    fn command(&self) -> Command {
        pinned(&self.binary, &[self.core])
    }

    /// Milliseconds until `server` has accepted a first record.
    pub(crate) fn wait_until_ready(&self, server: &Server) -> Result<f64, Failure> {
        self.first_produce(server, &["--topic", FIRST])
    }

    /// As [`Loadgen::wait_until_ready`], one record for each partition of an existing topic.
    pub(crate) fn wait_until_all_accept(
        &self,
        server: &Server,
        topic: &str,
    ) -> Result<f64, Failure> {
        self.first_produce(server, &["--topic", topic, "--all-partitions"])
    }

    fn first_produce(&self, server: &Server, flags: &[&str]) -> Result<f64, Failure> {
        let mut command = self.command();
        command.args(["first-produce", "--within", "3m"]).args(flags);
        command.args(["--replication-factor", &server.node_count().to_string()]);
        command.args(["--bootstrap", &server.address]);
        let output = expect_success(&mut command)?;
        output.trim().parse().map_err(|_| Failure::NoSummary {
            program: "loadgen first-produce".to_owned(),
            reason: output,
        })
    }

    /// Makes a topic, unless there is one of that name.
    pub(crate) fn create_topic(
        &self,
        server: &Server,
        (name, partitions): (&str, u32),
        config: &[&str],
    ) -> Result<(), Failure> {
        let mut command = pinned(&self.highwater, &[self.core]);
        command.args(["topic", "create", name, "--partitions", &partitions.to_string()]);
        for config in config {
            command.args(["-c", config]);
        }
        expect_success(command.args(["--bootstrap", &server.address])).map(|_| ())
    }

    /// Deletes a topic with its data; one that is missing is no failure.
    pub(crate) fn delete_topic(&self, server: &Server, name: &str) {
        let mut command = pinned(&self.highwater, &[self.core]);
        command.args(["topic", "delete", name, "--bootstrap", &server.address]);
        // What stays behind goes with the broker's directory.
        let _ = expect_success(&mut command);
    }

    /// The command of a row, of `seconds`.
    pub(crate) fn row_command(
        &self,
        (server, row): (&Server, &Row),
        line: &str,
        seconds: u32,
    ) -> Command {
        let mut command = self.command();
        let is_produce = line.starts_with("produce") || line.starts_with("e2e");
        if let Work::Rebalance(flags) = row.work {
            command.args(["rebalance", "--members", "100", "--partitions", "1000"]);
            command.args(flags.split_whitespace()).arg("--repeats").arg(seconds.to_string());
            command.args(["--topic", "versus-rebalance"]);
        } else {
            command.args(line.split_whitespace());
            command.arg("--duration").arg(format!("{seconds}s"));
            command.arg("--warmup").arg(format!("{}s", self.warmup_seconds));
            if !line.contains("--topic") {
                command.args(["--topic", row.id]);
            }
        }
        if is_produce {
            // What a deleted topic held is gone before the next repeat.
            command.args(["--config", "file.delete.delay.ms=1000"]);
            for config in row.config_for(server.broker) {
                command.args(["--config", config]);
            }
        }
        self.add_target(&mut command, server);
        command
    }

    /// One measurement of a row's load; its topic is deleted afterwards.
    pub(crate) fn run(&self, server: &Server, row: &Row, seconds: u32) -> Result<Sample, Failure> {
        let (Work::Load(line) | Work::Cores(line) | Work::Rebalance(line)) = row.work else {
            return Err(Failure::Skipped { reason: "the row has no load".to_owned() });
        };
        self.run_load((server, row), line, seconds)
    }

    /// As [`Loadgen::run`], of another command line.
    pub(crate) fn run_load(
        &self,
        (server, row): (&Server, &Row),
        line: &str,
        seconds: u32,
    ) -> Result<Sample, Failure> {
        // What the run before has left for the disk is not this run's work.
        settle(server.data());
        let is_produce = line.starts_with("produce") || line.starts_with("e2e");
        let mut command = self.row_command((server, row), line, seconds);
        if is_produce {
            command.arg("--fresh");
        }
        let summary = self.summary(&mut command);
        if is_produce {
            self.delete_topic(server, row.id);
        }
        let sample = sample(&summary?);
        match (sample.get(Figure::RequestRate), &sample.refused) {
            // Latencies of refusals are no figures.
            (Some(0.0), Some(refused)) => Err(Failure::AllRefused { refused: refused.clone() }),
            _ => Ok(sample),
        }
    }

    /// Kills the node in that place, which leads all partitions of a new topic; what came of it.
    pub(crate) fn fail_over(
        &self,
        (server, row): (&mut Server, &Row),
        victim: usize,
        partitions: u32,
    ) -> Result<Value, Failure> {
        let bootstrap = server.addresses();
        let broker = server.broker;
        let node = server.node(victim);
        let mut command = self.command();
        command.args(["failover", "--json", "--topic", "versus-failover"]);
        command.args(["--bootstrap", &bootstrap, "--leader", &node.address]);
        command.args(["--kill", &node.pid().to_string()]);
        command.args(["--partitions", &partitions.to_string(), "--within", "3m"]);
        for config in row.config_for(broker) {
            command.args(["--config", config]);
        }
        self.summary(&mut command)
    }

    /// Runs any loadgen command that prints a summary.
    pub(crate) fn run_line(&self, server: &Server, line: &str) -> Result<Value, Failure> {
        let mut command = self.command();
        command.args(line.split_whitespace());
        self.add_target(&mut command, server);
        self.summary(&mut command)
    }

    /// Runs any loadgen command to its end, for an effect.
    pub(crate) fn do_line(&self, server: &Server, line: &str) -> Result<(), Failure> {
        let mut command = self.command();
        command.args(line.split_whitespace()).args(["--bootstrap", &server.address]);
        expect_success(&mut command).map(|_| ())
    }

    /// Starts a command that goes on beside others.
    pub(crate) fn start(&self, mut command: Command) -> Result<Running, Failure> {
        let program = format!("{command:?}");
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| not_runnable(&command, source))?;
        Ok(Running { child: Some(child), program })
    }

    /// Starts any loadgen command beside others.
    pub(crate) fn start_line(&self, server: &Server, line: &str) -> Result<Running, Failure> {
        let mut command = self.command();
        command.args(line.split_whitespace());
        if line.starts_with("idle") {
            command.args(["--bootstrap", &server.address]);
        } else {
            self.add_target(&mut command, server);
        }
        self.start(command)
    }

    fn add_target(&self, command: &mut Command, server: &Server) {
        command.args(["--bootstrap", &server.address, "--json"]);
        command.args(["--core", &self.core.to_string()]);
        command.args(["--server-pid", &server.pids()]);
    }

    fn summary(&self, command: &mut Command) -> Result<Value, Failure> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|source| not_runnable(command, source))?;
        summary_of(&output, &format!("{command:?}"))
    }
}

fn summary_of(output: &Output, program: &str) -> Result<Value, Failure> {
    if !EXIT_WITH_SUMMARY.contains(&output.status.code().unwrap_or(-1)) {
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.find("loadgen: ").unwrap_or(0);
        return Err(Failure::Failed {
            program: program.to_owned(),
            status: output.status.to_string(),
            output: said[from..].to_owned(),
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Failure::NoSummary {
        program: "loadgen".to_owned(),
        reason: error.to_string(),
    })
}

impl Running {
    /// Whether it goes on still.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its first line; for a command that says when it is ready.
    pub(crate) fn first_line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if let Some(output) = self.child.as_mut().and_then(|child| child.stdout.as_mut()) {
            BufReader::new(output).read_line(&mut line)?;
        }
        if line.is_empty() {
            let reason = "it ended without a word".to_owned();
            return Err(Failure::NoSummary { program: self.program.clone(), reason });
        }
        Ok(line)
    }

    /// Waits for its end; its summary.
    pub(crate) fn summary(mut self) -> Result<Value, Failure> {
        let Some(child) = self.child.take() else {
            return Err(Failure::Skipped { reason: "it was ended before".to_owned() });
        };
        summary_of(&child.wait_with_output()?, &self.program)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// What a summary shows.
pub(crate) fn sample(summary: &Value) -> Sample {
    let refusals = summary["errors"].as_object().into_iter().flatten();
    let errors: f64 = refusals.map(|(_, count)| number(count)).sum();
    let latency = if number(&summary["end_to_end_us"]["count"]) > 0.0 {
        &summary["end_to_end_us"]
    } else {
        &summary["response_us"]
    };
    let lost = number(&summary["unanswered"]) + number(&summary["undelivered"]);
    let mut sample = Sample::of(Figure::RequestRate, number(&summary["requests_per_second"]))
        .with(Figure::RecordRate, number(&summary["records_per_second"]))
        .with(Figure::P50, number(&latency["p50"]))
        .with(Figure::P99, number(&latency["p99"]))
        .with(Figure::P999, number(&latency["p99_9"]))
        .with(Figure::ClientBusy, number(&summary["generator"]["busiest_thread_percent"]))
        .with(Figure::Errors, errors + lost)
        .with(Figure::Load, load_average());
    let server = &summary["server"];
    sample = sample.with(Figure::Resident, number(&server["resident_bytes"]) / 1e6);
    // There is none when no request was answered.
    if let Some(per_request) = server["cpu_microseconds_per_request"].as_f64() {
        sample = sample.with(Figure::CpuPerRequest, per_request);
    }
    // Commits and transactions carry no records worth counting in bytes.
    if number(&summary["megabytes_per_second"]) > 0.0 {
        sample = sample
            .with(Figure::MegabyteRate, number(&summary["megabytes_per_second"]))
            .with(Figure::CpuPerGigabyte, number(&server["cpu_seconds_per_gigabyte"]));
    }
    if let Some(held) = held(summary) {
        sample = sample.with(Figure::Held, held);
    }
    let refusals = summary["errors"].as_object().into_iter().flatten();
    let mut refused: Vec<String> =
        refusals.map(|(code, count)| format!("{code} {count}")).collect();
    refused.extend((lost > 0.0).then(|| format!("unanswered or undelivered {lost}")));
    sample.refused = (!refused.is_empty()).then(|| refused.join(", "));
    let reasons = summary["invalid_reasons"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
    sample.invalid = (!reasons.is_empty()).then(|| reasons.join("; "));
    sample
}

/// The last third's rate as a part of the first third's, of a run of 9 seconds or more.
fn held(summary: &Value) -> Option<f64> {
    let seconds = summary["seconds"].as_array()?;
    let rates: Vec<f64> =
        seconds.iter().map(|second| number(&second["records_per_second"])).collect();
    let third = rates.len() / 3;
    if third < 3 {
        return None;
    }
    let first: f64 = rates[..third].iter().sum();
    let last: f64 = rates[rates.len() - third..].iter().sum();
    (first > 0.0).then(|| last / first)
}

/// Tasks that wanted to run, averaged over the last minute.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}
