//! A broker process, pinned to its core, with what it uses.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

const STOP_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broker {
    Kafka,
    Highwater,
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broker::Kafka => "kafka",
            Broker::Highwater => "highwater",
        })
    }
}

/// A command that runs `program` on one core.
pub(crate) fn pinned(program: &Path, core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// A running broker; dropped, it is stopped and its data is removed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) address: String,
    process: Child,
    command: Command,
    data: PathBuf,
}

/// What a broker is configured for, beside its core and its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Produce and fetch: topics say what they need.
    Records,
    /// Groups and transactions: internal topics are acknowledged from the page cache, as Kafka's
    /// are, and a first rebalance waits for nobody, as in Kafka's own config/server.properties.
    Groups,
    /// As groups, and killed: a broker's session is Kafka's default, because a controller turns the
    /// next life of a killed broker away until the session of the one before has ended.
    Restarts,
}

/// How a broker goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    Killed,
    Stopped,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Down::Killed => "after kill -9",
            Down::Stopped => "after a clean stop",
        })
    }
}

impl Server {
    /// Starts `command`, which keeps its data in `data`; its output goes beside it.
    pub(crate) fn start(
        broker: Broker,
        address: String,
        mut command: Command,
        data: &Path,
    ) -> Result<Server, Failure> {
        let output = File::create(data.with_extension("log"))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|source| not_runnable(&command, source))?;
        Ok(Server { broker, address, process, command, data: data.to_owned() })
    }

    /// Takes it down and starts it again on its data; returns when the process was started.
    pub(crate) fn restart(&mut self, down: Down) -> Result<Instant, Failure> {
        if down == Down::Killed {
            self.process.kill()?;
            self.process.wait()?;
        } else {
            self.stop();
        }
        let begin = now();
        let spawned = self.command.spawn();
        self.process = spawned.map_err(|source| not_runnable(&self.command, source))?;
        Ok(begin)
    }

    /// The process id; `taskset` replaces itself by the broker.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        Ok(kibibytes.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0) * 1024)
    }
}

impl Server {
    fn stop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = now() + STOP_WITHIN;
        while now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            pause(LOOK_AGAIN_AFTER);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        // What cannot be removed is overwritten by the next run.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs to the end; its output becomes part of the failure.
pub(crate) fn expect_success(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|source| not_runnable(command, source))?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() {
        return Ok(text);
    }
    Err(Failure::Failed { program: name(command), status: output.status.to_string(), output: text })
}

/// The failure of a program that did not even start.
pub(crate) fn not_runnable(command: &Command, source: io::Error) -> Failure {
    Failure::NotRunnable { program: name(command), source }
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[expect(clippy::disallowed_methods, reason = "a program of its own, outside the simulator")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "waits for a process, with a deadline")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
