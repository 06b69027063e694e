//! The real `highwater` binary as a process.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{end, exited, tail, text_of, wait_until};

const START_PATIENCE: Duration = Duration::from_secs(90);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const ASK_PATIENCE: Duration = Duration::from_secs(5);
const LOG_LINES_SHOWN: usize = 60;

const LOOPBACK: &str = "127.0.0.1";

/// A broker, on loopback unless told otherwise, with a data directory of its own.
///
/// One per test. Killed, and its directory removed, when dropped.
pub struct Broker {
    /// A command in front of the binary, such as `nsenter`.
    launcher: Vec<String>,
    binary: PathBuf,
    overrides: Vec<String>,
    directory: TempDir,
    host: String,
    port: Port,
    child: Option<Child>,
}

impl Broker {
    /// Starts `binary` (`env!("CARGO_BIN_EXE_highwater")`) and waits until it answers.
    ///
    /// `overrides` are `key=value` pairs of the configuration and win over the harness's own.
    /// Panics with the broker's output when it does not answer.
    pub fn start(binary: &str, overrides: &[&str]) -> Broker {
        let mut broker = Broker::prepare(binary, overrides);
        broker.restart();
        broker
    }

    /// Everything but the start: for tests that lay something into the way of the process first.
    pub fn prepare(binary: &str, overrides: &[&str]) -> Broker {
        Broker {
            launcher: Vec::new(),
            binary: PathBuf::from(binary),
            overrides: overrides.iter().map(|pair| String::from(*pair)).collect(),
            directory: crate::scratch_directory("broker"),
            host: LOOPBACK.to_owned(),
            port: Port::take(),
            child: None,
        }
    }

    /// A command that runs the binary from the next start on; the process must be the same one.
    pub fn launch_with(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|word| String::from(*word)).collect();
    }

    /// An address of the host that the launcher runs it on, from the next start on.
    pub fn live_at(&mut self, host: &str) {
        self.host = host.to_owned();
    }

    /// Adds a `key=value` pair for the next start.
    pub fn set(&mut self, pair: &str) {
        self.overrides.push(pair.to_owned());
    }

    /// Starts the process again on the same address and directory; it must have ended.
    pub fn restart(&mut self) {
        self.spawn();
        self.wait_until_it_answers();
    }

    /// Starts the process and kills it after `delay`, which is meant to fall into its recovery.
    pub fn kill_while_starting(&mut self, delay: Duration) {
        self.spawn();
        thread::sleep(delay);
        self.kill();
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the broker still runs");
        let log = self.log_file();
        let mut words = self.launcher.iter();
        let mut command = match words.next() {
            Some(launcher) => {
                let mut command = Command::new(launcher);
                command.args(words).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        // The tests' own variables, and whatever else would count as configuration here.
        for (name, _) in env::vars_os() {
            let is_config = ["HIGHWATER_", "KAFKA_"]
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
            if is_config && name != "HIGHWATER_LOG" {
                command.env_remove(name);
            }
        }
        for pair in self.own_overrides().iter().chain(&self.overrides) {
            command.args(["--override", pair]);
        }
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().expect("the broker's binary was built by cargo"));
    }

    fn own_overrides(&self) -> Vec<String> {
        vec![
            format!("listeners=PLAINTEXT://{}", self.bootstrap()),
            format!("log.dirs={}", self.data_directory().display()),
        ]
    }

    fn log_file(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("broker.log"))
            .expect("a writable directory")
    }

    fn wait_until_it_answers(&mut self) {
        let address = self.bootstrap();
        let child = self.child.as_mut().expect("started above");
        let mut ended = None;
        let answered = wait_until("an answer to ApiVersions", START_PATIENCE, || {
            ended = exited(child);
            (ended.is_some() || answers_api_versions(&address)).then_some(())
        });
        let Some(status) = ended else {
            return answered.unwrap_or_else(|what| {
                let threads = threads_of(self.process_id());
                panic!("{what}\nthreads: {threads}\n{}", self.report())
            });
        };
        self.child = None;
        panic!("the broker ended with {status}\n{}", self.report());
    }

    /// `host:port` for a client.
    pub fn bootstrap(&self) -> String {
        format!("{}:{}", self.host, self.port.number)
    }

    /// The port it listens on, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// What `log.dirs` points to.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The directory that holds data and log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| exited(child).is_none())
    }

    /// The process, for reading its memory and CPU from outside.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// SIGKILL: nothing of the process's own code runs afterwards.
    pub fn kill(&mut self) {
        end(self.child.as_mut().expect("the broker runs"));
        self.child = None;
    }

    /// SIGSTOP: it keeps its sockets and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(self.child.as_ref().expect("the broker runs"));
        kill_process(id, signal).expect("the child is ours and not reaped");
    }

    /// SIGTERM, then waits for the orderly end, which must have status 0.
    pub fn stop(&mut self) {
        let status = self.stop_with_status();
        assert!(status.success(), "the broker ended with {status}\n{}", self.report());
    }

    /// SIGTERM, then waits for the orderly end and says how it was.
    pub fn stop_with_status(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut child = self.child.take().expect("the broker runs");
        let status =
            wait_until("the broker's end after SIGTERM", STOP_PATIENCE, || exited(&mut child));
        status.unwrap_or_else(|what| {
            end(&mut child);
            panic!("{what}\n{}", self.report())
        })
    }

    /// The last lines the broker wrote, over all its starts.
    pub fn report(&self) -> String {
        format!("--- broker's output ---\n{}", tail(&self.log(), LOG_LINES_SHOWN))
    }

    /// Everything that the broker wrote, over all its starts.
    pub fn log(&self) -> String {
        text_of(&self.directory.path().join("broker.log"))
    }

    /// Starts the process where it is meant to refuse, and waits for its end.
    pub fn start_and_end(&mut self) -> ExitStatus {
        self.spawn();
        let child = self.child.as_mut().expect("started above");
        let ended = wait_until("the broker's end", START_PATIENCE, || exited(child));
        let status = ended.unwrap_or_else(|late| panic!("{late}\n{}", self.report()));
        self.child = None;
        status
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            end(child);
        }
    }
}

/// What each thread of a process does: its name, its state and where in the kernel it waits.
fn threads_of(process: u32) -> String {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { return String::new() };
    let line = |task: PathBuf| {
        let name = text_of(&task.join("comm"));
        let status = text_of(&task.join("status"));
        let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
        format!("{} {} {}", name.trim(), state.trim(), text_of(&task.join("wchan")))
    };
    let lines: Vec<String> = tasks.flatten().map(|entry| line(entry.path())).collect();
    lines.join(", ")
}

/// Asks ApiVersions v0, written by hand: the one request whose form never changes.
pub(crate) fn answers_api_versions(address: &str) -> bool {
    const REQUEST: [u8; 10] = [0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    ask(address, &REQUEST).is_ok_and(|answer| answer.starts_with(&[0, 0, 0, 1]))
}

/// Sends one request and reads the answer, both without their length in front.
pub(crate) fn ask(address: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    const ANSWER_SIZE_MAX: u32 = 1 << 20;
    let mut socket = connect(address, ASK_PATIENCE)?;
    socket.set_read_timeout(Some(ASK_PATIENCE))?;
    let size = u32::try_from(request.len()).expect("a short request");
    socket.write_all(&[&size.to_be_bytes(), request].concat())?;
    let mut size = [0; 4];
    socket.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    assert!(size <= ANSWER_SIZE_MAX, "an answer of {size} bytes");
    let mut answer = Vec::new();
    socket.take(u64::from(size)).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Connects to `host:port`, which may be a host that nothing comes back from.
pub(crate) fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let target = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    TcpStream::connect_timeout(&target, patience)
}
