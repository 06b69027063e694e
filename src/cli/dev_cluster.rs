//! `highwater dev-cluster 3`: brokers on this machine's loopback that form a cluster, for trying
//! out, and for trying to break it.
//!
//! Each broker is a process of its own with its own data directory and log file, so that
//! `kill -9` is a real one. This process only starts them, says how they do, and starts again what
//! it is told to; when it ends, they end.

#![allow(clippy::disallowed_methods, reason = "it waits for processes and for people")]

use super::error::CliError;
use crate::model::base64url::encode_uuid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long all brokers together may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a broker may take to end when it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at the processes.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Replicas of each partition, where there are as many brokers.
const REPLICAS_MAX: u16 = 3;

const USAGE: &str = "kill N | stop N | start N | status | quit";

/// What can be set on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct DevClusterOptions {
    /// Number of brokers
    #[arg(default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub brokers: u16,
    /// Port of the first broker; the others take the next ones
    #[arg(long, default_value_t = 9092)]
    pub port: u16,
    /// Folder of their data and logs; what is there is used again
    #[arg(long, value_name = "DIR", default_value = "highwater-dev-cluster")]
    pub dir: PathBuf,
    /// One configuration key for all brokers; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// What the supervisor hears.
enum News {
    /// A broker printed a line.
    Said(u16, String),
    Typed(String),
    Stop,
}

struct Broker {
    id: u16,
    port: u16,
    child: Option<Child>,
}

struct Cluster<'a> {
    options: &'a DevClusterOptions,
    cluster_id: String,
    brokers: Vec<Broker>,
    news: Sender<News>,
}

/// Runs the cluster until it is told to stop.
///
/// # Errors
/// The folder or a broker's process cannot be made, or a broker does not come up.
pub(crate) fn run(options: &DevClusterOptions) -> Result<(), CliError> {
    let in_dir = |source| CliError::File { path: options.dir.clone(), source };
    fs::create_dir_all(&options.dir).map_err(in_dir)?;
    let last_port = options.port.checked_add(options.brokers - 1);
    if options.port == 0 || last_port.is_none() {
        return Err(CliError::Usage {
            flag: "--port",
            value: options.port.to_string(),
            expected: "a port above 0 with room for the other brokers behind it",
        });
    }
    let (news, heard) = channel();
    listen_for_signals(news.clone()).map_err(in_dir)?;
    let mut cluster =
        Cluster { options, cluster_id: cluster_id(&options.dir)?, brokers: Vec::new(), news };
    for (id, port) in (1..=options.brokers).zip(options.port..) {
        cluster.brokers.push(Broker { id, port, child: None });
        cluster.start(id)?;
    }
    let result = cluster.supervise(&heard);
    cluster.stop_all();
    result
}

/// The cluster's identity, kept beside the data so that a second start finds it.
fn cluster_id(dir: &Path) -> Result<String, CliError> {
    let path = dir.join("cluster-id");
    let at_path = |source| CliError::File { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(id) => Ok(id.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = encode_uuid(Uuid::new_v4());
            fs::write(&path, &id).map_err(at_path)?;
            Ok(id)
        }
        Err(error) => Err(at_path(error)),
    }
}

fn listen_for_signals(news: Sender<News>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            if news.send(News::Stop).is_err() {
                return;
            }
        }
    });
    Ok(())
}

impl Cluster<'_> {
    fn start(&mut self, id: u16) -> Result<(), CliError> {
        let program = std::env::current_exe()
            .map_err(|source| CliError::File { path: "highwater".into(), source })?;
        let log_path = self.log_path(id);
        let at_log = |source| CliError::File { path: log_path.clone(), source };
        let log = File::options().create(true).append(true).open(&log_path).map_err(at_log)?;
        let mut command = Command::new(program);
        for setting in self.settings(id) {
            command.arg("--override").arg(setting);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(at_log)?;
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        let news = self.news.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if news.send(News::Said(id, line)).is_err() {
                    return;
                }
            }
        });
        self.broker(id).expect("ids are checked before").child = Some(child);
        Ok(())
    }

    /// What the broker is started with; the caller's own settings come last and win.
    fn settings(&self, id: u16) -> Vec<String> {
        let voters: Vec<String> =
            self.brokers_to_be().map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let port = self.options.port + id - 1;
        let replicas = self.options.brokers.min(REPLICAS_MAX);
        let in_sync = replicas.div_ceil(2);
        let mut settings = vec![
            format!("node.id={id}"),
            format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("highwater.cluster.id={}", self.cluster_id),
            format!("log.dirs={}", self.data_dir(id).display()),
            "highwater.cores=1".to_owned(),
            // A broker that was killed is noticed in two seconds and not in Kafka's nine.
            "broker.heartbeat.interval.ms=500".to_owned(),
            "broker.session.timeout.ms=2000".to_owned(),
            format!("default.replication.factor={replicas}"),
            format!("min.insync.replicas={in_sync}"),
            format!("offsets.topic.replication.factor={replicas}"),
            format!("transaction.state.log.replication.factor={replicas}"),
            format!("transaction.state.log.min.isr={in_sync}"),
            format!("share.coordinator.state.topic.replication.factor={replicas}"),
            format!("share.coordinator.state.topic.min.isr={in_sync}"),
        ];
        settings.extend(self.options.overrides.iter().cloned());
        settings
    }

    fn brokers_to_be(&self) -> impl Iterator<Item = (u16, u16)> {
        (1..=self.options.brokers).zip(self.options.port..)
    }

    fn data_dir(&self, id: u16) -> PathBuf {
        self.options.dir.join(format!("broker-{id}"))
    }

    fn log_path(&self, id: u16) -> PathBuf {
        self.options.dir.join(format!("broker-{id}.log"))
    }

    fn broker(&mut self, id: u16) -> Option<&mut Broker> {
        self.brokers.iter_mut().find(|broker| broker.id == id)
    }

    fn supervise(&mut self, heard: &Receiver<News>) -> Result<(), CliError> {
        let deadline = Instant::now() + START_PATIENCE;
        let mut waiting: Vec<u16> = self.brokers.iter().map(|broker| broker.id).collect();
        while !waiting.is_empty() {
            match heard.recv_timeout(LOOK_PAUSE) {
                Ok(News::Said(id, line)) if line.contains(" is up after ") => {
                    waiting.retain(|other| *other != id);
                }
                Ok(News::Stop) => return Ok(()),
                Ok(_) | Err(_) => {}
            }
            let ended = self.ended();
            if let Some((id, _)) = ended.first() {
                return Err(self.never_up(*id, "it ended"));
            }
            if Instant::now() > deadline {
                return Err(self.never_up(waiting[0], "it is not up yet"));
            }
        }
        announce!("{}", self.banner());
        self.listen_to_the_user();
        loop {
            match heard.recv_timeout(LOOK_PAUSE) {
                Ok(News::Said(id, line)) if line.contains(" is up after ") => {
                    announce!("broker {id} is up again");
                }
                Ok(News::Typed(line)) if line.trim() == "quit" => return Ok(()),
                Ok(News::Typed(line)) => self.obey(&line),
                Ok(News::Stop) => return Ok(()),
                Ok(News::Said(..)) | Err(_) => {}
            }
            for (id, status) in self.ended() {
                announce!("broker {id} is gone ({status}); bring it back with: start {id}");
            }
        }
    }

    fn never_up(&self, id: u16, how: &str) -> CliError {
        let path = self.log_path(id);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        let source = io::Error::other(format!("{how}; its log ends with\n{}", last.join("\n")));
        CliError::File { path, source }
    }

    fn banner(&self) -> String {
        let list: Vec<String> =
            self.brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        let bootstrap = list.join(",");
        let mut text = format!("a cluster of {} brokers is up\n", self.brokers.len());
        for broker in &self.brokers {
            let pid = broker.child.as_ref().map_or(0, Child::id);
            let log = self.log_path(broker.id);
            text += &format!(
                "  broker {}    127.0.0.1:{}, process {pid}, log {}\n",
                broker.id,
                broker.port,
                log.display()
            );
        }
        let first = &list[0];
        text += &format!(
            "  clients     bootstrap.servers={bootstrap}
  try         highwater topic create orders --partitions 6 --bootstrap {first}
              highwater topic describe orders --bootstrap {first}
  break it    kill 2      (kill -9; or from another terminal: kill -9 PROCESS)
  mend it     start 2
  here        {USAGE}"
        );
        text
    }

    fn listen_to_the_user(&self) {
        let news = self.news.clone();
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if news.send(News::Typed(line)).is_err() {
                    return;
                }
            }
        });
    }

    fn obey(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let Some(word) = words.next() else { return };
        if word == "status" {
            return self.tell_status();
        }
        let id = words.next().and_then(|id| id.parse().ok());
        let Some(broker) = id.and_then(|id| self.broker(id)) else {
            return announce!("which broker? {USAGE}");
        };
        let id = broker.id;
        match (word, &mut broker.child) {
            ("kill", Some(child)) => match child.kill() {
                Ok(()) => {}
                Err(error) => announce!("kill -9 of broker {id}: {error}"),
            },
            ("stop", Some(child)) => ask_to_end(child),
            ("start", None) => {
                if let Err(error) = self.start(id) {
                    announce!("start of broker {id}: {error}");
                }
            }
            ("kill" | "stop", None) => announce!("broker {id} does not run"),
            ("start", Some(_)) => announce!("broker {id} runs"),
            _ => announce!("{USAGE}"),
        }
    }

    fn tell_status(&self) {
        for broker in &self.brokers {
            match &broker.child {
                Some(child) => announce!("broker {} runs as process {}", broker.id, child.id()),
                None => announce!("broker {} does not run", broker.id),
            }
        }
    }

    /// Brokers that have ended since the last look.
    fn ended(&mut self) -> Vec<(u16, ExitStatus)> {
        let mut ended = Vec::new();
        for broker in &mut self.brokers {
            let status = broker.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = status {
                broker.child = None;
                ended.push((broker.id, status));
            }
        }
        ended
    }

    fn stop_all(&mut self) {
        for broker in &mut self.brokers {
            if let Some(child) = &mut broker.child {
                ask_to_end(child);
            }
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline && self.brokers.iter().any(|b| b.child.is_some()) {
            self.ended();
            thread::sleep(LOOK_PAUSE);
        }
        for broker in &mut self.brokers {
            if let Some(mut child) = broker.child.take() {
                // It had its time; whatever it did not do, its next start does.
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

/// SIGTERM.
fn ask_to_end(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // A process that is gone already needs no asking.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}
