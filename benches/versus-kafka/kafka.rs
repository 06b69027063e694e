//! Apache Kafka, from Maven Central to a running node.
//!
//! What is not Kafka's default, and why: one node with its controller inside (no second machine);
//! replication factor 1 of internal topics (one node); a broker session of 60 s, because on one
//! saturated core the node's heartbeats to itself come late and it fences itself for seconds (not
//! where the node is killed: it could not come back before that session has ended).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::server::{Broker, Purpose, Server, expect_success, free_port, pinned};

/// As bin/kafka-run-class.sh and bin/kafka-server-start.sh set them.
const JVM_FLAGS: [&str; 9] = [
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

const LOG4J: &str = r#"<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"#;

/// Kafka's jars on this machine.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) version: String,
    jars: PathBuf,
    log4j: PathBuf,
}

/// Fetches the newest version in Maven's range `version`, unless it was fetched before.
pub(crate) fn install(folder: &Path, version: &str) -> Result<Kafka, Failure> {
    let folder = folder.join("kafka");
    let jars = folder.join("jars");
    let marker = folder.join("range");
    fs::create_dir_all(&folder)?;
    if fs::read_to_string(&marker).ok().as_deref() != Some(version) {
        eprintln!("fetching Apache Kafka {version} from Maven Central");
        if jars.exists() {
            fs::remove_dir_all(&jars)?;
        }
        fs::write(folder.join("pom.xml"), pom(version))?;
        expect_success(
            Command::new("mvn")
                .current_dir(&folder)
                .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg("-DoutputDirectory=jars"),
        )?;
        fs::write(&marker, version)?;
    }
    let log4j = folder.join("log4j2.xml");
    fs::write(&log4j, LOG4J)?;
    Ok(Kafka { version: found_version(&jars)?, jars, log4j })
}

/// kafka-tools-api is for plugins of Kafka's tools, and is not always on Maven Central.
fn pom(version: &str) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-server</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{version}</version>
      <exclusions><exclusion>
        <groupId>org.apache.kafka</groupId><artifactId>kafka-tools-api</artifactId>
      </exclusion></exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"#
    )
}

fn found_version(jars: &Path) -> Result<String, Failure> {
    for entry in fs::read_dir(jars)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let version = name.strip_prefix("kafka_2.13-").and_then(|rest| rest.strip_suffix(".jar"));
        if let Some(version) = version {
            return Ok(version.to_owned());
        }
    }
    Err(Failure::NoKafkaJar { folder: jars.to_owned() })
}

impl Kafka {
    /// Formats an empty directory and starts a node on it.
    pub(crate) fn start(
        &self,
        data: &Path,
        core: usize,
        purpose: Purpose,
    ) -> Result<Server, Failure> {
        if data.exists() {
            fs::remove_dir_all(data)?;
        }
        fs::create_dir_all(data)?;
        let (port, controller_port) = (free_port()?, free_port()?);
        let properties = data.with_extension("properties");
        let mut text = server_properties(data, port, controller_port);
        if purpose != Purpose::Restarts {
            text.push_str("broker.session.timeout.ms=60000\n");
        }
        if purpose != Purpose::Records {
            text.push_str("group.initial.rebalance.delay.ms=0\n");
        }
        fs::write(&properties, text)?;
        expect_success(
            self.java(Command::new("java"))
                .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
                .arg(&properties),
        )?;
        let mut command = pinned(Path::new("java"), core);
        command.args(JVM_FLAGS);
        let mut command = self.java(command);
        command.arg("kafka.Kafka").arg(&properties);
        let address = format!("127.0.0.1:{port}");
        Server::start(Broker::Kafka, address, command, data)
    }

    fn java(&self, mut command: Command) -> Command {
        command.arg("-cp").arg(self.jars.join("*"));
        command.arg(format!("-Dlog4j2.configurationFile={}", self.log4j.display()));
        command
    }
}

fn server_properties(data: &Path, port: u16, controller_port: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n",
        data.display()
    )
}
