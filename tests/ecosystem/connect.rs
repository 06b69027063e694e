//! Kafka Connect, distributed, with the FileStream connectors: lines of a file go into a topic by
//! an exactly-once source and out into another file by a sink, with the worker killed in between.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use harness::{
    Broker, Daemon, Missing, Port, Toolchain, jars, java_command, scratch_directory, wait_until,
};
use serde_json::{Value, json};

use super::{PATIENCE, create_topic, start_broker, streams};

const MAIN_CLASS: &str = "org.apache.kafka.connect.cli.ConnectDistributed";
/// Lines that are written before and after each kill.
const BURST: usize = 200;

/// One Connect worker and the directory it works in.
struct Worker {
    daemon: Daemon,
    port: u16,
    properties: PathBuf,
}

impl Worker {
    fn start(broker: &Broker, directory: &Path, port: &Port) -> Result<Worker, Missing> {
        let properties = directory.join("worker.properties");
        let text = [
            format!("bootstrap.servers={}", broker.bootstrap()),
            format!("listeners=http://127.0.0.1:{}", port.number),
            "group.id=connect".to_owned(),
            "exactly.once.source.support=enabled".to_owned(),
            "key.converter=org.apache.kafka.connect.storage.StringConverter".to_owned(),
            "value.converter=org.apache.kafka.connect.storage.StringConverter".to_owned(),
            "config.storage.topic=connect-configs".to_owned(),
            "offset.storage.topic=connect-offsets".to_owned(),
            "status.storage.topic=connect-status".to_owned(),
            "config.storage.replication.factor=1".to_owned(),
            "offset.storage.replication.factor=1".to_owned(),
            "status.storage.replication.factor=1".to_owned(),
            "offset.storage.partitions=4".to_owned(),
            "offset.flush.interval.ms=200".to_owned(),
            "session.timeout.ms=6000".to_owned(),
            "heartbeat.interval.ms=500".to_owned(),
            "scheduled.rebalance.max.delay.ms=0".to_owned(),
            "plugin.discovery=service_load".to_owned(),
        ];
        fs::write(&properties, text.join("\n")).expect("a scratch directory is writable");
        let daemon = Worker::launch(&properties)?;
        Ok(Worker { daemon, port: port.number, properties })
    }

    fn launch(properties: &Path) -> Result<Daemon, Missing> {
        let class_path = format!("{}/*", jars("connect")?.display());
        let mut command = java_command(&class_path, MAIN_CLASS);
        command.arg(properties);
        Ok(Daemon::start("connect", command))
    }

    /// SIGKILL, and another worker in its place.
    fn kill_and_restart(&mut self) {
        self.daemon.kill();
        self.daemon = Worker::launch(&self.properties).expect("it was there before");
    }

    /// One request to the REST API; `None` while it does not answer with success.
    fn rest(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let size = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: connect\r\nConnection: close\r\n\
            Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let is_success = head.starts_with("HTTP/1.1 2");
        is_success.then(|| serde_json::from_str(body).ok())?
    }

    /// Waits until the REST API has taken the connector.
    fn configure(&self, name: &str, config: &Value) {
        let path = format!("/connectors/{name}/config");
        let taken = || self.rest("PUT", &path, &config.to_string());
        wait_until(&path, PATIENCE, taken).unwrap_or_else(|late| self.daemon.fail(&late));
    }

    /// Waits until the connector has a running task.
    fn wait_until_running(&self, name: &str) {
        let path = format!("/connectors/{name}/status");
        let is_running = || {
            let status = self.rest("GET", &path, "")?;
            (status["tasks"][0]["state"] == "RUNNING").then_some(())
        };
        wait_until(&path, PATIENCE, is_running).unwrap_or_else(|late| self.daemon.fail(&late));
    }
}

/// Appends one burst of lines to the file that the source follows.
fn write_burst(file: &Path, number: usize) {
    let lines: String =
        (number * BURST..(number + 1) * BURST).map(|i| format!("line {i}\n")).collect();
    let mut file = OpenOptions::new().append(true).create(true).open(file).expect("a scratch file");
    file.write_all(lines.as_bytes()).expect("a scratch file is writable");
}

/// How often each line is in the file.
fn lines_of(file: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    lines
}

/// The committed values of the topic, once there are `count`; their key is null.
fn committed(broker: &Broker, count: usize) -> Vec<String> {
    streams::read(broker, "moved", count).remove("null").expect("no other keys")
}

#[test]
fn connect_moves_each_line_once_into_a_topic_though_its_worker_is_killed() {
    let broker = start_broker();
    let directory = scratch_directory("connect");
    let port = Port::take();
    let worker = Worker::start(&broker, directory.path(), &port);
    let Some(mut worker) = worker.or_skip("kafka connect") else { return };
    let (source, sink) = (directory.path().join("source.txt"), directory.path().join("sink.txt"));
    create_topic(&broker, "moved", 1);
    write_burst(&source, 0);
    let from_file = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
        "tasks.max": "1", "file": source, "topic": "moved",
        "exactly.once.support": "required", "transaction.boundary": "poll",
    });
    worker.configure("source", &from_file);
    let to_file = json!({
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
        "tasks.max": "1", "file": sink, "topics": "moved",
        "consumer.override.isolation.level": "read_committed",
    });
    worker.configure("sink", &to_file);
    committed(&broker, BURST);

    for number in 1..3 {
        write_burst(&source, number);
        worker.kill_and_restart();
        worker.wait_until_running("source");
        worker.wait_until_running("sink");
    }
    let lines: Vec<String> = (0..3 * BURST).map(|i| format!("line {i}")).collect();
    assert_eq!(committed(&broker, lines.len()), lines, "{}", broker.report());
    // The sink's file is at-least-once: each line is there, some of them twice after a kill.
    let all_are_there = || (lines_of(&sink).len() == lines.len()).then_some(());
    wait_until("every line in the sink's file", PATIENCE, all_are_there)
        .unwrap_or_else(|late| worker.daemon.fail(&late));
    let status = worker.daemon.terminate(PATIENCE);
    // 128 + SIGTERM is how a JVM ends that was asked to.
    assert!(status.success() || status.code() == Some(143), "{status}");
}
