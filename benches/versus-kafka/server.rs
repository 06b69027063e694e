//! A broker's processes, pinned to their core, with what they use.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

const STOP_WITHIN: Duration = Duration::from_secs(120);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

const FIRST_PORT: u16 = 20_000;
const PORT_COUNT: u16 = 10_000;

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

/// A command that runs `program` on these cores, and ends when this process does: a comparison that
/// is killed leaves no broker behind. Where `setpriv` is missing, only a kill leaves one.
pub(crate) fn pinned(program: &Path, cores: &[usize]) -> Command {
    let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "taskset"]);
        command
    } else {
        Command::new("taskset")
    };
    command.arg("-c").arg(cores.join(",")).arg(program);
    command
}

/// A running broker or cluster; dropped, it is ended and its data is removed.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) broker: Broker,
    /// Where clients begin: the first node.
    pub(crate) address: String,
    process: Child,
    command: Command,
    data: PathBuf,
    started: Instant,
    /// Holds what rows that only read need.
    pub(crate) is_filled: bool,
    /// The further nodes of its cluster.
    others: Vec<Server>,
}

/// What a broker is configured for, beside its core and its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Produce and fetch: topics say what they need.
    Records,
    /// Groups and transactions: internal topics are acknowledged from the page cache, as Kafka's
    /// are, and a first rebalance waits for nobody, as in Kafka's own config/server.properties.
    Groups,
    /// As groups, and killed: a broker's session is Kafka's default, because a controller turns the
    /// next life of a killed broker away until the session of the one before has ended.
    Restarts,
    /// Retention and compaction look for work each second.
    Housekeeping,
    /// Three nodes whose topics have three replicas. A session of 60 s on both sides: on one
    /// saturated core heartbeats come late.
    Cluster,
    /// As a cluster, and its nodes are killed: Kafka's default timeouts on both sides.
    Failover,
}

impl Purpose {
    /// Configuration that both brokers get.
    pub(crate) fn config(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Purpose::Records => &[],
            Purpose::Groups | Purpose::Restarts => &[("group.initial.rebalance.delay.ms", "0")],
            Purpose::Housekeeping => {
                &[("log.retention.check.interval.ms", "1000"), ("log.cleaner.backoff.ms", "1000")]
            }
            Purpose::Cluster => &[("broker.session.timeout.ms", "60000")],
            Purpose::Failover => &[
                ("broker.session.timeout.ms", "9000"),
                ("broker.heartbeat.interval.ms", "2000"),
                ("replica.lag.time.max.ms", "30000"),
            ],
        }
    }

    /// Nodes of a broker, all on the same cores.
    pub(crate) fn nodes(self) -> usize {
        match self {
            Purpose::Cluster | Purpose::Failover => 3,
            _ => 1,
        }
    }
}

/// What tells a node from the others of its cluster.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) id: usize,
    pub(crate) port: u16,
    /// Of Kafka's controller; Highwater's brokers talk to each other where clients do.
    pub(crate) controller_port: u16,
    pub(crate) data: PathBuf,
}

impl Node {
    /// The nodes of one broker, at ports that were free a moment ago, with their directories: the
    /// first one's is `data`.
    pub(crate) fn all(data: &Path, count: usize) -> io::Result<Vec<Node>> {
        let ports = free_ports(2 * count)?;
        let node = |index: usize| Node {
            id: index + 1,
            port: ports[2 * index],
            controller_port: ports[2 * index + 1],
            data: match index {
                0 => data.to_owned(),
                _ => data.with_file_name(format!(
                    "{}-{}",
                    data.file_name().unwrap_or_default().to_string_lossy(),
                    index + 1
                )),
            },
        };
        Ok((0..count).map(node).collect())
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// How a broker goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Down {
    Killed,
    Stopped,
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
        let data = data.to_owned();
        Ok(Server {
            broker,
            address,
            process,
            command,
            data,
            started: now(),
            is_filled: false,
            others: Vec::new(),
        })
    }

    /// Nodes that were started one by one, as one cluster. There is at least one.
    pub(crate) fn cluster(nodes: Vec<Server>) -> Server {
        let mut nodes = nodes.into_iter();
        let mut first = nodes.next().expect("a cluster has nodes");
        first.others = nodes.collect();
        first
    }

    /// All nodes, the first one first.
    fn nodes(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(self).chain(&self.others)
    }

    /// One node by its place.
    pub(crate) fn node(&mut self, index: usize) -> &mut Server {
        if index == 0 { self } else { &mut self.others[index - 1] }
    }

    /// Number of nodes.
    pub(crate) fn node_count(&self) -> usize {
        1 + self.others.len()
    }

    /// Addresses of all nodes, as --bootstrap has them.
    pub(crate) fn addresses(&self) -> String {
        self.nodes().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Process ids of all nodes, as --server-pid has them.
    pub(crate) fn pids(&self) -> String {
        self.nodes().map(|node| node.pid().to_string()).collect::<Vec<_>>().join(",")
    }

    /// Takes a node down and starts it again on its data; returns when the process was started.
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

    /// The node's process id; `taskset` replaces itself by the broker.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// When its process was started first.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Its directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// User and system time that all nodes have used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        self.nodes().map(Server::cpu_of_one).sum()
    }

    fn cpu_of_one(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // Fields 14 and 15, behind a name that may hold spaces; in hundredths of a second.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / 100.0)
    }

    /// Resident memory of all nodes, in megabytes (10^6 bytes).
    pub(crate) fn resident_megabytes(&self) -> Result<f64, Failure> {
        self.nodes().map(Server::resident_of_one).sum()
    }

    fn resident_of_one(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kibibytes = kibibytes.and_then(|text| text.trim().parse::<f64>().ok());
        Ok(kibibytes.unwrap_or(0.0) * 1024.0 / 1e6)
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
        // Nothing of it is kept, so it need not go in order.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // What cannot be removed is overwritten by the next run.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Ports of 127.0.0.1 that were free a moment ago, all different. From below the range that Linux
/// gives to outgoing connections: one of those may otherwise sit on the port of a node that is to
/// come back.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let offset = u16::try_from(std::process::id() * 37 % u32::from(PORT_COUNT)).unwrap_or(0);
    let candidates = (0..PORT_COUNT).map(|step| FIRST_PORT + (offset + step) % PORT_COUNT);
    let free = candidates.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    // All are held until the last one is known.
    let held: Vec<TcpListener> = free.take(count).collect();
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
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
