//! The same requests to our broker and to Apache Kafka 4.1: the answers must agree.
//!
//! Odd requests above all: what suites of client authors probe and what no client sends twice. Each
//! case is a script of requests on one connection; its answers are compared as text, after what
//! must differ (ids, ports, the words of an error) is masked. A case that differs on purpose stands
//! in `DIFFERENCES` with its reason; one listed there that no longer differs fails too.
//! Transactions have tests of their own.
//!
//! `cargo test --test against_kafka -- --nocapture` prints each difference.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the differences belong into a failure's output")]

#[path = "against_kafka/aborted.rs"]
mod aborted;
#[path = "against_kafka/administration.rs"]
mod administration;
#[path = "against_kafka/configs.rs"]
mod configs;
#[path = "against_kafka/consumers.rs"]
mod consumers;
#[path = "against_kafka/differences.rs"]
mod differences;
#[path = "against_kafka/frames.rs"]
mod frames;
#[path = "against_kafka/groups.rs"]
mod groups;
#[path = "against_kafka/mask.rs"]
mod mask;
#[path = "against_kafka/produce.rs"]
mod produce;
#[path = "against_kafka/reads.rs"]
mod reads;
#[path = "against_kafka/shares.rs"]
mod shares;
#[path = "against_kafka/topics.rs"]
mod topics;

use std::io::{self, ErrorKind};
use std::time::Duration;

use differences::{DIFFERENCES, Difference};
use harness::{ApacheKafka, Broker, KafkaOptions, Toolchain, Wire, wait_until};
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use highwater::protocol::schema::Request;
use mask::{masked, parting};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const PATIENCE: Duration = Duration::from_secs(60);
/// Fewer would mean that a list of cases was lost.
const CASES_MIN: usize = 750;
/// What both are started with beside the harness's own.
const SETTINGS: [&str; 10] = [
    "node.id=1",
    "offsets.topic.num.partitions=1",
    "offsets.topic.replication.factor=1",
    "group.initial.rebalance.delay.ms=0",
    "transaction.state.log.num.partitions=1",
    "transaction.state.log.replication.factor=1",
    "share.coordinator.state.topic.num.partitions=1",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    // Records of the cases are years old.
    "log.retention.ms=-1",
];
/// What Kafka 4.1 has for a preview, and is here.
const FEATURES: [&str; 1] = ["share.version=1"];

/// What a script says when its broker hands out none of the records that it has. Share groups of
/// Kafka 4.1 do that where the machine is busy: all that are begun from some moment on, for good.
pub(crate) const STALLED: &str = "hands out nothing";
/// How often Kafka may stall before that is a failure.
const STALLS_MAX: usize = 3;

/// One of the two brokers, and the connection of the case under way.
pub(crate) struct Side {
    bootstrap: String,
    wire: Option<Wire>,
}

impl Side {
    /// The connection; a new one where the last was closed.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        let bootstrap = &self.bootstrap;
        self.wire.get_or_insert_with(|| Wire::connect(bootstrap).expect("the broker runs"))
    }

    /// The answer as masked text, or how the connection ended.
    pub(crate) fn ask<M: Request>(&mut self, request: &M, version: i16) -> String
    where
        M::Response: std::fmt::Debug,
    {
        match self.wire().call(request, version) {
            Ok(response) => masked(&format!("{response:?}")),
            Err(error) => self.ended(&error),
        }
    }

    /// The answer itself; for the steps that lead up to what a case is about.
    pub(crate) fn call<M: Request>(&mut self, request: &M, version: i16) -> M::Response {
        self.wire().call(request, version).expect("answered")
    }

    /// What became of a connection that gave no answer; the next request opens another.
    pub(crate) fn ended(&mut self, error: &io::Error) -> String {
        self.wire = None;
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer".to_owned(),
            _ => "closed".to_owned(),
        }
    }

    /// The id that the broker gave a topic.
    pub(crate) fn topic_id(&mut self, name: &str) -> Uuid {
        let topic =
            MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.call(&request, 12).topics[0].topic_id
    }
}

/// Both brokers, and what the cases found.
pub(crate) struct Pair {
    sides: [Side; 2],
    cases: Vec<&'static str>,
    found: Vec<&'static str>,
    /// Kafka answers no more what is to be compared.
    has_stalled: bool,
}

impl Pair {
    /// Runs one script on both and compares what it says.
    pub(crate) fn case(&mut self, name: &'static str, script: impl Fn(&mut Side) -> String) {
        if self.has_stalled {
            return;
        }
        let [ours, kafkas] = self.both(script);
        assert!(ours != STALLED, "{name}: we hand out nothing");
        if kafkas == STALLED {
            println!("=== {name}: Kafka {kafkas}");
            self.has_stalled = true;
            return;
        }
        assert!(!self.cases.contains(&name), "{name} stands twice");
        self.cases.push(name);
        if ours != kafkas {
            self.found.push(name);
            let listed = DIFFERENCES.iter().find(|difference| difference.cases.contains(&name));
            if let Some(Difference { what, reason, .. }) = listed {
                println!("=== listed: {what}: {reason}");
            }
            let [ours, kafkas] = parting(&ours, &kafkas);
            println!("=== {name}\n   ours {ours}\n  Kafka {kafkas}");
        }
    }

    /// Runs a step on both without comparing it.
    pub(crate) fn both<T>(&mut self, script: impl Fn(&mut Side) -> T) -> [T; 2] {
        self.sides.each_mut().map(|side| {
            side.wire = None;
            script(side)
        })
    }

    /// A topic on both, with leaders to ask.
    pub(crate) fn topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.both(|side| {
            let code = side.wire().create_topic(name, partitions, configs).expect("answered");
            assert_eq!(code, 0, "CreateTopics {name}");
            let settled = wait_until("leaders", PATIENCE, || {
                let mut all = (0..partitions).map(|index| side.wire().end_offset(name, index));
                all.all(|answer| answer.is_ok_and(|code| code.is_ok())).then_some(())
            });
            settled.unwrap_or_else(|what| panic!("{what} of {name}"));
        });
    }
}

/// Runs all cases on two new brokers; `None` where Kafka cannot be started here.
fn compare() -> Option<Pair> {
    let properties = SETTINGS.map(String::from).to_vec();
    let features = FEATURES.map(String::from).to_vec();
    let options = KafkaOptions { properties, features, ..KafkaOptions::default() };
    let kafka = ApacheKafka::start(&options).or_skip("against_kafka")?;
    let broker = Broker::start(BINARY, &SETTINGS);
    let side = |bootstrap| Side { bootstrap, wire: None };
    let mut pair = Pair {
        sides: [side(broker.bootstrap()), side(kafka.bootstrap())],
        cases: Vec::new(),
        found: Vec::new(),
        has_stalled: false,
    };
    groups::settle(&mut pair);
    produce::settle(&mut pair);
    frames::run(&mut pair);
    produce::run(&mut pair);
    reads::run(&mut pair);
    topics::run(&mut pair);
    configs::run(&mut pair);
    groups::run(&mut pair);
    consumers::run(&mut pair);
    administration::run(&mut pair);
    aborted::run(&mut pair);
    shares::run(&mut pair);
    Some(pair)
}

#[test]
fn odd_requests_get_the_answers_that_kafka_gives() {
    let Some(mut pair) = compare() else { return };
    for _ in 0..STALLS_MAX {
        if pair.has_stalled {
            pair = compare().expect("Kafka was started before");
        }
    }
    assert!(!pair.has_stalled, "Kafka's share groups stalled {STALLS_MAX} times more");

    let listed: Vec<&str> =
        DIFFERENCES.iter().flat_map(|difference| difference.cases).copied().collect();
    let unexplained: Vec<&str> =
        pair.found.iter().filter(|name| !listed.contains(name)).copied().collect();
    let stale: Vec<&str> =
        listed.iter().filter(|name| !pair.found.contains(name)).copied().collect();
    println!("{} cases, {} differ", pair.cases.len(), pair.found.len());
    assert!(unexplained.is_empty(), "differ from Kafka: {unexplained:#?}");
    assert!(stale.is_empty(), "listed as different, but the same: {stale:#?}");
    assert!(pair.cases.len() >= CASES_MIN, "{} cases", pair.cases.len());
}
