//! Apache Kafka, from Maven Central to a running node, or to the nodes of a cluster.
//!
//! What is not Kafka's default, and why: nodes with their controller inside (no second machine);
//! internal topics with as many replicas as there are nodes, at most 3; a broker session of 60 s,
//! because on one saturated core the node's heartbeats to itself come late and it fences itself for
//! seconds (not where the node is killed: it could not come back before that session has ended).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::server::{Broker, Node, Purpose, Server, expect_success, pinned};

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
    /// Formats empty directories and starts the nodes on them.
    pub(crate) fn start(
        &self,
        data: &Path,
        cores: &[usize],
        purpose: Purpose,
    ) -> Result<Server, Failure> {
        let nodes = Node::all(data, purpose.nodes())?;
        let formatted = nodes.iter().map(|node| self.format((node, &nodes), purpose));
        let formatted: Vec<PathBuf> = formatted.collect::<Result<_, Failure>>()?;
        let start = |(node, properties): (&Node, &PathBuf)| {
            let mut command = pinned(Path::new("java"), cores);
            command.args(JVM_FLAGS);
            let mut command = self.java(command);
            command.arg("kafka.Kafka").arg(properties);
            Server::start(Broker::Kafka, node.address(), command, &node.data)
        };
        let servers = nodes.iter().zip(&formatted).map(start);
        Ok(Server::cluster(servers.collect::<Result<_, Failure>>()?))
    }

    /// An empty directory for a node; its configuration.
    fn format(
        &self,
        (node, nodes): (&Node, &[Node]),
        purpose: Purpose,
    ) -> Result<PathBuf, Failure> {
        if node.data.exists() {
            fs::remove_dir_all(&node.data)?;
        }
        fs::create_dir_all(&node.data)?;
        let properties = node.data.with_extension("properties");
        let mut text = server_properties(node, nodes);
        if matches!(purpose, Purpose::Records | Purpose::Groups | Purpose::Housekeeping) {
            text.push_str("broker.session.timeout.ms=60000\n");
        }
        for (key, value) in purpose.config() {
            text.push_str(&format!("{key}={value}\n"));
        }
        fs::write(&properties, text)?;
        expect_success(
            self.java(Command::new("java"))
                .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
                .arg(&properties),
        )?;
        Ok(properties)
    }

    fn java(&self, mut command: Command) -> Command {
        command.arg("-cp").arg(self.jars.join("*"));
        command.arg(format!("-Dlog4j2.configurationFile={}", self.log4j.display()));
        command
    }
}

fn server_properties(node: &Node, nodes: &[Node]) -> String {
    let voter = |node: &Node| format!("{}@127.0.0.1:{}", node.id, node.controller_port);
    let voters: Vec<String> = nodes.iter().map(voter).collect();
    let replicas = nodes.len().min(3);
    let in_sync = replicas.div_ceil(2);
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor={replicas}\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={in_sync}\n",
        id = node.id,
        voters = voters.join(","),
        port = node.port,
        controller_port = node.controller_port,
        data = node.data.display(),
    )
}
