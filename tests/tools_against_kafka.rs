//! Kafka's command lines against our broker and against Apache Kafka 4.1: both print the same.
//!
//! The scripts beside this file are lists of command lines as a person would type them. Each runs
//! against both brokers, by Kafka's own tool classes in one JVM, and what it prints is compared
//! line by line and with its exit status, after ids, times, places and durations are masked
//! (`mask.rs`). A line that prints something else on purpose stands in `DIFFERENCES` with the
//! reason; one listed there that prints the same fails too.
//!
//! `SCRIPT=topics cargo test --test tools_against_kafka -- --nocapture` runs one script.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "what the tools print belongs into a failure's output")]

#[path = "tools_against_kafka/compare.rs"]
mod compare;
#[path = "tools_against_kafka/differences.rs"]
mod differences;
#[path = "tools_against_kafka/mask.rs"]
mod mask;
#[path = "tools_against_kafka/script.rs"]
mod script;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use compare::{is_about, remove_expected};
use differences::DIFFERENCES;
use harness::{
    ApacheKafka, Broker, Daemon, KafkaOptions, Toolchain, Tools, Wire, python, repository,
    scratch_directory, wait_until,
};
use highwater::model::ids::TopicId;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use mask::{Mask, PRODUCER};
use script::{Line, Step};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const PATIENCE: Duration = Duration::from_secs(60);
/// Later scripts use the topics and groups of earlier ones.
const SCRIPTS: [&str; 6] = ["topics", "records", "configs", "groups", "cluster", "files"];
/// Fewer would mean that a script was lost.
const LINES_MIN: usize = 270;
/// What a member finds in its topic.
const MEMBER_RECORDS: usize = 5;
/// A new Kafka may not yet list what it has just made: reading again is allowed so many times.
const READS_MAX: usize = 5;
/// What both are started with beside the harness's own.
const SETTINGS: [&str; 7] = [
    "node.id=1",
    "offsets.topic.num.partitions=1",
    "offsets.topic.replication.factor=1",
    "transaction.state.log.num.partitions=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "group.initial.rebalance.delay.ms=0",
];

enum Process {
    Highwater(Box<Broker>),
    Kafka(Box<ApacheKafka>),
}

impl Process {
    fn bootstrap(&self) -> String {
        match self {
            Process::Highwater(broker) => broker.bootstrap(),
            Process::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    fn data_directory(&self) -> PathBuf {
        match self {
            Process::Highwater(broker) => broker.data_directory(),
            Process::Kafka(kafka) => kafka.data_directory(),
        }
    }

    fn report(&self) -> String {
        match self {
            Process::Highwater(broker) => broker.report(),
            Process::Kafka(kafka) => kafka.report(),
        }
    }
}

/// One of the two brokers, and what the script has set up on it.
struct Side {
    process: Process,
    bootstrap: String,
    mask: Mask,
    members: Vec<Daemon>,
    /// The first segment of a topic's first partition, by the topic's name.
    segments: Vec<(String, String)>,
}

impl Side {
    fn new(process: Process) -> Side {
        let bootstrap = process.bootstrap();
        let mask = Mask::new(&bootstrap, &process.data_directory());
        Side { process, bootstrap, mask, members: Vec::new(), segments: Vec::new() }
    }

    /// The words of a command line for this broker.
    fn arguments(&self, line: &Line, files: &TempDir) -> Vec<String> {
        let fill = |word: &String| {
            let mut word = word.replace("{host}", &self.bootstrap);
            word = word.replace("{bootstrap}", &format!("bootstrap.servers={}", self.bootstrap));
            for (topic, path) in &self.segments {
                word = word.replace(&format!("{{segment:{topic}}}"), path);
            }
            match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
                Some(file) => files.path().join(file).display().to_string(),
                None => word,
            }
        };
        let own: Vec<String> = line.arguments.iter().map(fill).collect();
        let address = ["--bootstrap-server".to_owned(), self.bootstrap.clone()];
        match line.tool.address {
            script::Address::First => [&address[..], &own].concat(),
            script::Address::Last => [&own[..], &address].concat(),
            script::Address::Named => own,
        }
    }

    /// A member of a group that owns partitions.
    fn join(&mut self, group: &str, topic: &str, protocol: &str) {
        let python = python().unwrap_or_else(|missing| panic!("{missing}"));
        let mut command = Command::new(python);
        let program = repository().join("tests/clients/python/group_member.py");
        command.arg("-B").arg(program);
        command.args(["confluent-kafka", &self.bootstrap, group, topic, "client.id=member"]);
        command.arg(format!("group.protocol={protocol}"));
        let member = Daemon::start("member", command);
        member.wait_for_line("OWNS 0,1", PATIENCE);
        let records = || (member.output().matches("AT ").count() == MEMBER_RECORDS).then_some(());
        wait_until("all records", PATIENCE, records).unwrap_or_else(|late| member.fail(&late));
        self.members.push(member);
    }

    /// The first group that asks for its coordinator makes the topic of the offsets.
    fn find_coordinator(&self, group: &str) {
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![group.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let mut wire = Wire::connect(&self.bootstrap).expect("the broker listens");
        let is_found = || {
            let found = wire.call(&request, 4).expect("the broker answers");
            (found.coordinators[0].error_code == 0).then_some(())
        };
        wait_until("a coordinator", PATIENCE, is_found).unwrap_or_else(|late| panic!("{late}"));
    }

    fn open_transaction(&mut self, id: &str, topic: &str) {
        let mut wire = Wire::connect(&self.bootstrap).expect("the broker listens");
        let (producer, _) = wire.open_transaction(id, topic).expect("the broker answers");
        self.mask.hide(&producer.to_string(), PRODUCER);
    }

    /// Where a topic's first segment will be once the broker has stopped.
    fn remember_segment(&mut self, topic: &str) {
        const FIRST: &str = "00000000000000000000.log";
        let data = self.process.data_directory();
        let folder = match &self.process {
            Process::Kafka(_) => data.join(format!("{topic}-0")),
            Process::Highwater(_) => {
                let named = MetadataRequestTopic {
                    name: Some(topic.to_owned()),
                    ..MetadataRequestTopic::default()
                };
                let request =
                    MetadataRequest { topics: Some(vec![named]), ..MetadataRequest::default() };
                let mut wire = Wire::connect(&self.bootstrap).expect("the broker listens");
                let answer = wire.call(&request, 12).expect("the broker answers");
                let id = answer.topics[0].topic_id;
                data.join("topics").join(TopicId(id).to_string()).join("0")
            }
        };
        self.mask.hide(&folder.display().to_string(), "FOLDER");
        self.segments.push((topic.to_owned(), folder.join(FIRST).display().to_string()));
    }

    fn stop(&mut self) {
        match &mut self.process {
            Process::Highwater(broker) => broker.stop(),
            Process::Kafka(kafka) => kafka.kill(),
        }
    }
}

/// Both brokers, the tools, and what the script found.
struct Comparison {
    tools: Tools,
    sides: [Side; 2],
    files: TempDir,
    lines: usize,
    /// Command lines that differ, each with what both sides printed.
    unexplained: Vec<String>,
    /// Whether each of `DIFFERENCES` was seen.
    seen: Vec<bool>,
}

impl Comparison {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Run(line) => self.compare(line),
            Step::File { name, text } => {
                fs::write(self.files.path().join(name), text).expect("a scratch file");
            }
            Step::Member { group, topic, protocol } => {
                for side in &mut self.sides {
                    side.join(group, topic, protocol);
                }
            }
            Step::MembersLeave => {
                for side in &mut self.sides {
                    for mut member in side.members.drain(..) {
                        member.close(PATIENCE);
                    }
                }
            }
            Step::Group { name } => self.sides.iter().for_each(|side| side.find_coordinator(name)),
            Step::Transaction { id, topic } => {
                for side in &mut self.sides {
                    side.open_transaction(id, topic);
                }
            }
            Step::Segment { topic } => {
                for side in &mut self.sides {
                    side.remember_segment(topic);
                }
            }
            Step::Stop => self.sides.iter_mut().for_each(Side::stop),
        }
    }

    /// The lines that each broker's tool prints, and its status.
    fn printed(&mut self, line: &Line) -> [Vec<String>; 2] {
        let tools = &mut self.tools;
        let files = &self.files;
        self.sides.each_ref().map(|side| {
            let arguments = side.arguments(line, files);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let started = Instant::now();
            let output = tools.run_with_input(line.tool.class, &arguments, &line.input);
            println!("{:?}", started.elapsed());
            let mut lines = side.mask.lines(line, &output.text);
            lines.push(format!("exit {}", output.status));
            lines
        })
    }

    fn compare(&mut self, line: &Line) {
        self.lines += 1;
        let listed = DIFFERENCES.iter().position(|difference| is_about(difference, &line.text));
        for read in 1.. {
            let mut printed = self.printed(line);
            if printed[0] == printed[1] {
                return;
            }
            if let Some(index) = listed {
                self.seen[index] = true;
                println!("=== listed: {}: {}", DIFFERENCES[index].what, DIFFERENCES[index].reason);
                remove_expected(&DIFFERENCES[index], &mut printed);
            }
            let [ours, kafkas] = &printed;
            if ours == kafkas {
                return;
            }
            if read == READS_MAX || !line.is_read() {
                let sides = [shown("  ours", ours, kafkas), shown(" Kafka", kafkas, ours)];
                self.unexplained.push(format!("$ {}\n{}", line.text, sides.concat()));
                return;
            }
        }
    }
}

/// One side's lines, with a star at those that the other has not.
fn shown(side: &str, lines: &[String], others: &[String]) -> String {
    let mark = |line| if others.contains(line) { ' ' } else { '*' };
    lines.iter().map(|line| format!("{side} {} {line}\n", mark(line))).collect()
}

#[test]
fn every_command_line_prints_what_it_prints_for_kafka() {
    let name = "tools_against_kafka";
    let Some(tools) = Tools::start().or_skip(name) else { return };
    let Some(_) = python().or_skip(name) else { return };
    let properties = SETTINGS.map(String::from).to_vec();
    let options = KafkaOptions { properties, ..KafkaOptions::default() };
    let Some(kafka) = ApacheKafka::start(&options).or_skip(name) else { return };
    let broker = Broker::start(BINARY, &SETTINGS);
    let mut comparison = Comparison {
        tools,
        sides: [Process::Highwater(Box::new(broker)), Process::Kafka(Box::new(kafka))]
            .map(Side::new),
        files: scratch_directory(name),
        lines: 0,
        unexplained: Vec::new(),
        seen: vec![false; DIFFERENCES.len()],
    };
    let only = env::var("SCRIPT").ok();
    for script in SCRIPTS {
        if only.as_deref().is_none_or(|only| only.split(',').any(|only| only == script)) {
            let path = repository().join("tests/tools_against_kafka").join(format!("{script}.txt"));
            let text = fs::read_to_string(&path).expect("the scripts lie beside this file");
            for step in script::parse(&text) {
                comparison.run(&step);
            }
        }
    }
    let unexplained = comparison.unexplained.join("\n");
    let reports = comparison.sides.each_ref().map(|side| side.process.report()).join("\n");
    assert!(unexplained.is_empty(), "{reports}\ndiffer from Kafka:\n{unexplained}");
    if only.is_none() {
        let stale = DIFFERENCES.iter().zip(&comparison.seen).filter(|(_, seen)| !**seen);
        let stale: Vec<&str> = stale.map(|(difference, _)| difference.what).collect();
        assert!(stale.is_empty(), "listed as different, but the same: {stale:#?}");
        assert!(comparison.lines >= LINES_MIN, "{} command lines", comparison.lines);
    }
}
