//! Apache Kafka as a peer: the same tests, benches and captures against the original.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::{answers_api_versions, ask};
use crate::port::Port;
use crate::process::{end, exited, run_to_end, tail, text_of, wait_until};
use crate::toolchain::{Missing, kafka_jars};

const START_PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER_ID: &str = "aGlnaHdhdGVyLXRlc3RzMQ";

/// How the peer is started; the defaults suit functional tests.
pub struct KafkaOptions {
    /// `-Xms` and `-Xmx`, such as `512m`.
    pub heap: String,
    /// More flags of the JVM. The default stops at the first compiler: tests end before the second
    /// one pays. A measurement clears this.
    pub jvm: Vec<String>,
    /// `key=value` lines of server.properties, which win over the harness's own.
    pub properties: Vec<String>,
    /// `feature=level` to format with, beside what is Kafka's default.
    pub features: Vec<String>,
    /// A command in front of `java`, such as `taskset -c 0`.
    pub launcher: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> KafkaOptions {
        KafkaOptions {
            heap: String::from("512m"),
            jvm: vec![String::from("-XX:TieredStopAtLevel=1"), String::from("-Xshare:auto")],
            properties: Vec::new(),
            features: Vec::new(),
            launcher: Vec::new(),
        }
    }
}

/// One KRaft node on loopback. Killed, and its directory removed, when dropped.
pub struct ApacheKafka {
    directory: TempDir,
    port: Port,
    /// For the controller's listener.
    _controller: Port,
    command: Command,
    child: Option<Child>,
}

impl ApacheKafka {
    /// Installs Kafka where that is not done, formats a new directory, starts it, waits for it.
    ///
    /// # Errors
    /// `Missing` when Java or Maven is not there. Panics when Kafka itself does not start.
    pub fn start(options: &KafkaOptions) -> Result<ApacheKafka, Missing> {
        let jars = kafka_jars()?;
        let directory = crate::scratch_directory("kafka");
        let (port, controller) = (Port::take(), Port::take());
        let properties = directory.path().join("server.properties");
        fs::write(
            &properties,
            server_properties(directory.path(), port.number, controller.number, options),
        )
        .expect("a new file");
        format_storage(&jars, &properties, &options.features);
        let log = File::create(directory.path().join("kafka.log")).expect("a new file");
        let mut command = java(options, &jars);
        command
            .arg("kafka.Kafka")
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let mut kafka =
            ApacheKafka { directory, port, _controller: controller, command, child: None };
        kafka.restart();
        Ok(kafka)
    }

    /// Starts the process again on the same address and directory; it must have ended.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "Kafka still runs");
        let address = self.bootstrap();
        let child = self.child.insert(self.command.spawn().expect("java ran for the format"));
        let settled = wait_until("Kafka and its group coordinator", START_PATIENCE, || {
            let ended = exited(child);
            let is_ready = answers_api_versions(&address) && coordinates_groups(&address);
            (ended.is_some() || is_ready).then_some(ended)
        });
        assert!(matches!(settled, Ok(None)), "{settled:?}\n{}", self.report());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        end(&mut self.child.take().expect("Kafka runs"));
    }

    /// `host:port` for a client.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// What `log.dirs` points to.
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process, for reading its memory and CPU from outside.
    pub fn process_id(&self) -> u32 {
        self.child.as_ref().expect("Kafka runs").id()
    }

    /// The last lines it wrote.
    pub fn report(&self) -> String {
        let log = text_of(&self.directory.path().join("kafka.log"));
        format!("--- Kafka's output ---\n{}", tail(&log, 40))
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            end(child);
        }
    }
}

fn java(options: &KafkaOptions, jars: &Path) -> Command {
    let mut words = options.launcher.iter();
    let mut command = match words.next() {
        Some(launcher) => {
            let mut command = Command::new(launcher);
            command.args(words).arg("java");
            command
        }
        None => Command::new("java"),
    };
    let log4j = crate::repository().join("tests/clients/java/log4j2.properties");
    command
        .arg(format!("-Xms{}", options.heap))
        .arg(format!("-Xmx{}", options.heap))
        .args(&options.jvm)
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg("-cp")
        .arg(jars.join("*"));
    command
}

/// Whether offsets can be asked for: a new Kafka creates and loads that topic upon the first wish,
/// and clients meet COORDINATOR_NOT_AVAILABLE and COORDINATOR_LOAD_IN_PROGRESS until then.
fn coordinates_groups(address: &str) -> bool {
    // FindCoordinator v0 and OffsetFetch v2, both of the group "g".
    const FIND: [u8; 13] = [0, 10, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 1, b'g'];
    const FETCH: [u8; 17] = [0, 9, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, b'g', 0, 0, 0, 0];
    let is_found = ask(address, &FIND).is_ok_and(|answer| answer.get(4..6) == Some(&[0, 0]));
    is_found && ask(address, &FETCH).is_ok_and(|answer| answer.ends_with(&[0, 0]))
}

fn server_properties(
    directory: &Path,
    port: u16,
    controller: u16,
    options: &KafkaOptions,
) -> String {
    let data = directory.join("data");
    let own = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
",
        data.display()
    );
    // A properties file may name a key twice; the last one counts.
    own + &options.properties.join("\n") + "\n"
}

fn format_storage(jars: &Path, properties: &Path, features: &[String]) {
    let mut command = java(&KafkaOptions::default(), jars);
    command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(properties);
    for feature in features {
        command.args(["--feature", feature]);
    }
    let finished = run_to_end(command, START_PATIENCE).expect("java was found");
    assert!(finished.is_success(), "format: {}{}", finished.stdout, finished.stderr);
}
