//! Consumer groups of unmodified clients against the real binary: members that come, go and are
//! killed, a broker that restarts, an application that changes its protocol.
//!
//! Each client program is one member. It says which partitions it owns and which records it reads;
//! the tests start several, and wait for what they say.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "what a member said belongs into a failure's output")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::{
    Broker, Missing, Talker, Toolchain, go_program, java_program, node_modules, python, repository,
    run_with_input,
};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const GROUP: &str = "readers";
const TOPIC: &str = "events";
const PARTITIONS: i32 = 4;
/// Longer than any session timeout here, and than a client's start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

const SETTINGS: [&str; 6] = [
    "group.initial.rebalance.delay.ms=0",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
    "offsets.topic.num.partitions=4",
];

/// Sessions of static members outlive the start of a client on a busy machine.
const STATIC_SESSION: [&str; 1] = ["group.consumer.session.timeout.ms=60000"];
const CLASSIC_STATIC_SESSION: &str = "session.timeout.ms=60000";

/// How a member of one library is started.
type Start = fn(bootstrap: &str, options: &[&str]) -> Result<Command, Missing>;

fn java(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    let mut command = java_program("GroupMember", "kafka")?;
    command.args([bootstrap, GROUP]).args(topic_and(options)).arg("metadata.max.age.ms=1000");
    Ok(command)
}

fn java_classic(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    let classic =
        ["group.protocol=classic", "session.timeout.ms=6000", "heartbeat.interval.ms=500"];
    java(bootstrap, &[&classic[..], options].concat())
}

fn java_consumer(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    java(bootstrap, &[options, &["group.protocol=consumer"]].concat())
}

fn python_member(library: &str, bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    let mut command = Command::new(python()?);
    command.arg("-B").arg(repository().join("tests/clients/python/group_member.py"));
    command.args([library, bootstrap, GROUP]).args(topic_and(options));
    Ok(command)
}

fn confluent_classic(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    let classic = ["session.timeout.ms=6000", "heartbeat.interval.ms=500"];
    python_member("confluent-kafka", bootstrap, &[options, &classic].concat())
}

fn confluent_consumer(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    python_member("confluent-kafka", bootstrap, &[options, &["group.protocol=consumer"]].concat())
}

fn kafka_python(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    python_member("kafka-python", bootstrap, options)
}

fn aiokafka(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    python_member("aiokafka", bootstrap, options)
}

fn kafkajs(bootstrap: &str, _: &[&str]) -> Result<Command, Missing> {
    let mut command = Command::new("node");
    command.env("NODE_PATH", node_modules()?);
    command.arg(repository().join("tests/clients/node/kafkajs_member.js"));
    command.args([bootstrap, GROUP, TOPIC]);
    Ok(command)
}

fn go_member(library: &str, bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    let mut command = Command::new(go_program()?);
    command.args(["member", library, bootstrap, GROUP]).args(topic_and(options));
    Ok(command)
}

fn franz_classic(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    go_member("franz-go", bootstrap, options)
}

fn franz_consumer(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    go_member("franz-go", bootstrap, &[options, &["protocol=consumer"]].concat())
}

fn sarama(bootstrap: &str, options: &[&str]) -> Result<Command, Missing> {
    go_member("sarama", bootstrap, options)
}

/// The topic, or what an option `topic=` says instead, then the other options.
fn topic_and<'o>(options: &[&'o str]) -> Vec<&'o str> {
    let topic = options.iter().find_map(|option| option.strip_prefix("topic="));
    let others = options.iter().copied().filter(|option| !option.starts_with("topic="));
    std::iter::once(topic.unwrap_or(TOPIC)).chain(others).collect()
}

/// A running client. Killed when dropped.
struct Member {
    client: Talker,
    owned: BTreeSet<i32>,
    /// How often it was told what it owns.
    changes: usize,
    read: BTreeSet<(i32, i64)>,
}

impl Member {
    fn start(command: Command) -> Member {
        let client = Talker::start(command);
        Member { client, owned: BTreeSet::new(), changes: 0, read: BTreeSet::new() }
    }

    /// Takes in what it said since the last time.
    fn listen(&mut self) {
        while let Some(line) = self.client.hear() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("OWNS"), owned, _) => {
                    let owned = owned.unwrap_or_default().split(',');
                    self.owned = owned.filter_map(|index| index.parse().ok()).collect();
                    self.changes += 1;
                }
                (Some("AT"), Some(partition), Some(offset)) => {
                    let place = (partition.parse().unwrap(), offset.parse().unwrap());
                    self.read.insert(place);
                }
                _ => {}
            }
        }
    }

    /// Closes in order and waits for the end.
    fn close_and_wait(&mut self) {
        self.client.close_and_wait(PATIENCE);
        self.listen();
        self.owned.clear();
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.client.kill();
        self.listen();
        self.owned.clear();
    }
}

/// A broker with the topic, and the members that read it.
struct Stage {
    broker: Broker,
    members: BTreeMap<&'static str, Member>,
    produced: usize,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(&[])
    }

    fn with(settings: &[&str]) -> Stage {
        let stage = Stage {
            broker: Broker::start(BINARY, &[&SETTINGS[..], settings].concat()),
            members: BTreeMap::new(),
            produced: 0,
        };
        stage.run(&["topic", "create", TOPIC, "--partitions", &PARTITIONS.to_string()], "");
        stage
    }

    /// One of our own commands; its output.
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--bootstrap", &self.broker.bootstrap()]);
        let ended = run_with_input(command, input, PATIENCE).expect("built by cargo");
        assert!(ended.is_success(), "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Writes records, as many to each partition.
    fn produce(&mut self, each: usize) {
        let input = "record\n".repeat(each);
        for partition in 0..PARTITIONS {
            self.run(&["produce", TOPIC, "--partition", &partition.to_string()], &input);
        }
        self.produced += each * usize::try_from(PARTITIONS).unwrap();
    }

    fn start(&mut self, name: &'static str, command: Command) {
        self.members.insert(name, Member::start(command));
    }

    fn member(&mut self, name: &str) -> &mut Member {
        self.members.get_mut(name).expect("it was started")
    }

    /// Waits until `is_so` of the members, as they last said.
    fn wait(&mut self, what: &str, is_so: impl Fn(&BTreeMap<&'static str, Member>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.members.values_mut().for_each(Member::listen);
            if is_so(&self.members) {
                return;
            }
            if Instant::now() > deadline {
                self.fail(what);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn fail(&self, what: &str) -> ! {
        for (name, member) in &self.members {
            let from = member.client.said().len().saturating_sub(30);
            println!("{name} said …{:?}", &member.client.said()[from..]);
        }
        println!("{}", self.run(&["group", "describe", GROUP], ""));
        panic!("not within {PATIENCE:?}: {what}\n{}", self.broker.report());
    }

    /// Waits until these members share all partitions, each with its fair part.
    fn wait_until_shared(&mut self, names: &[&str]) {
        let fair = usize::try_from(PARTITIONS).unwrap() / names.len();
        self.wait(&format!("{names:?} share the partitions"), |members| {
            let mut all = BTreeSet::new();
            let is_fair = names.iter().all(|name| {
                let owned = &members[name].owned;
                all.extend(owned.iter().copied());
                owned.len() == fair
            });
            is_fair && all.len() == fair * names.len()
        });
    }

    /// Waits until every record was read by somebody.
    fn wait_until_all_read(&mut self) {
        let produced = self.produced;
        self.wait(&format!("{produced} records are read"), |members| {
            let all: BTreeSet<&(i32, i64)> =
                members.values().flat_map(|member| &member.read).collect();
            all.len() == produced
        });
    }

    fn describe(&self) -> serde_json::Value {
        let text = self.run(&["group", "describe", GROUP, "--json"], "");
        serde_json::from_str(&text).expect("the command prints JSON")
    }

    /// Waits until everything that was produced is committed.
    fn wait_until_committed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let described = self.describe();
            let lines = described["partitions"].as_array().expect("an array");
            let is_done = lines.len() == usize::try_from(PARTITIONS).unwrap()
                && lines.iter().all(|line| line["lag"] == 0);
            if is_done {
                return;
            }
            if Instant::now() > deadline {
                self.fail("everything is committed");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The life of a group that every client must get through.
fn check_life(library: &str, start: Start) {
    let mut stage = Stage::new();
    let bootstrap = stage.broker.bootstrap();
    let begin = || start(&bootstrap, &[]);
    let Some(first) = begin().or_skip(library) else { return };
    stage.produce(5);
    stage.start("a", first);
    stage.wait_until_shared(&["a"]);
    stage.wait_until_all_read();

    stage.start("b", begin().expect("it was there before"));
    stage.wait_until_shared(&["a", "b"]);
    stage.produce(5);
    stage.wait_until_all_read();
    stage.wait_until_committed();

    stage.member("a").close_and_wait();
    stage.wait_until_shared(&["b"]);
    stage.start("c", begin().expect("it was there before"));
    stage.wait_until_shared(&["b", "c"]);
    stage.member("b").kill();
    stage.wait_until_shared(&["c"]);

    stage.broker.stop();
    stage.broker.restart();
    stage.produce(5);
    stage.wait_until_all_read();
    stage.wait_until_committed();
    stage.member("c").close_and_wait();

    // A new member goes on where the group stopped.
    stage.broker.kill();
    stage.broker.restart();
    stage.start("d", begin().expect("it was there before"));
    stage.wait_until_shared(&["d"]);
    stage.produce(1);
    stage.wait_until_all_read();
    let read_by_d = stage.member("d").read.len();
    assert_eq!(read_by_d, usize::try_from(PARTITIONS).unwrap());
}

#[test]
fn java_consumer_protocol_members_share_leave_and_take_over() {
    check_life("kafka-clients, consumer protocol", java_consumer);
}

#[test]
fn java_classic_members_share_leave_and_take_over() {
    check_life("kafka-clients, classic protocol", java_classic);
}

#[test]
fn confluent_consumer_protocol_members_share_leave_and_take_over() {
    check_life("confluent-kafka, consumer protocol", confluent_consumer);
}

#[test]
fn confluent_classic_members_share_leave_and_take_over() {
    check_life("confluent-kafka, classic protocol", confluent_classic);
}

#[test]
fn confluent_cooperative_members_share_leave_and_take_over() {
    check_life("confluent-kafka, cooperative", |bootstrap, options| {
        let cooperative = ["partition.assignment.strategy=cooperative-sticky"];
        confluent_classic(bootstrap, &[options, &cooperative].concat())
    });
}

#[test]
fn java_cooperative_members_share_leave_and_take_over() {
    check_life("kafka-clients, cooperative", |bootstrap, options| {
        let cooperative = ["partition.assignment.strategy=\
            org.apache.kafka.clients.consumer.CooperativeStickyAssignor"];
        java_classic(bootstrap, &[options, &cooperative].concat())
    });
}

#[test]
fn kafka_python_members_share_leave_and_take_over() {
    check_life("kafka-python", kafka_python);
}

#[test]
fn aiokafka_members_share_leave_and_take_over() {
    check_life("aiokafka", aiokafka);
}

#[test]
fn kafkajs_members_share_leave_and_take_over() {
    check_life("kafkajs", kafkajs);
}

#[test]
fn franz_go_members_share_leave_and_take_over() {
    check_life("franz-go", franz_classic);
}

#[test]
fn franz_go_consumer_protocol_members_share_leave_and_take_over() {
    check_life("franz-go, consumer protocol", franz_consumer);
}

#[test]
fn sarama_members_share_leave_and_take_over() {
    check_life("sarama", sarama);
}

/// A static member ends and comes back; the other is not disturbed.
fn check_static_bounce(library: &str, start: Start, options: &[&str]) {
    let mut stage = Stage::with(&STATIC_SESSION);
    let bootstrap = stage.broker.bootstrap();
    let begin = |instance: &str| {
        let instance = format!("group.instance.id={instance}");
        start(&bootstrap, &[&[instance.as_str()][..], options].concat())
    };
    let Some(first) = begin("i1").or_skip(library) else { return };
    stage.start("a", first);
    stage.start("b", begin("i2").expect("it was there before"));
    stage.wait_until_shared(&["a", "b"]);
    let owned = stage.member("b").owned.clone();
    let changes = stage.member("a").changes;
    let rebalances = stage.describe()["rebalances"].clone();

    stage.member("b").close_and_wait();
    stage.start("b2", begin("i2").expect("it was there before"));
    stage.wait("the same partitions for the same instance", |members| members["b2"].owned == owned);
    stage.produce(2);
    stage.wait_until_all_read();
    let a = &stage.members["a"];
    assert_eq!(a.changes, changes, "{:?}", a.client.said());
    assert_eq!(stage.describe()["rebalances"], rebalances);
}

#[test]
fn a_java_classic_static_member_bounces_without_a_rebalance() {
    check_static_bounce("kafka-clients, classic", java_classic, &[CLASSIC_STATIC_SESSION]);
}

#[test]
fn a_java_consumer_protocol_static_member_bounces_without_a_rebalance() {
    check_static_bounce("kafka-clients, consumer protocol", java_consumer, &[]);
}

#[test]
fn java_moves_from_classic_to_the_consumer_protocol_and_back_while_it_reads() {
    let mut stage = Stage::new();
    let bootstrap = stage.broker.bootstrap();
    let library = "kafka-clients, migration";
    let classic = || java_classic(&bootstrap, &[]);
    let consumer = || java_consumer(&bootstrap, &[]);
    let Some(first) = classic().or_skip(library) else { return };
    stage.start("c1", first);
    stage.start("c2", classic().expect("it was there before"));
    stage.wait_until_shared(&["c1", "c2"]);
    stage.produce(2);
    stage.wait_until_all_read();
    stage.wait_until_committed();

    // A rolling upgrade: each process ends and begins again with the other protocol.
    stage.member("c1").close_and_wait();
    stage.start("m1", consumer().expect("it was there before"));
    stage.wait_until_shared(&["c2", "m1"]);
    assert_eq!(stage.describe()["type"], "consumer");
    stage.produce(2);
    stage.wait_until_all_read();
    stage.member("c2").close_and_wait();
    stage.start("m2", consumer().expect("it was there before"));
    stage.wait_until_shared(&["m1", "m2"]);
    stage.produce(2);
    stage.wait_until_all_read();

    // And back.
    stage.member("m1").close_and_wait();
    stage.start("c3", classic().expect("it was there before"));
    stage.wait_until_shared(&["c3", "m2"]);
    stage.member("m2").close_and_wait();
    stage.wait_until_shared(&["c3"]);
    assert_eq!(stage.describe()["type"], "classic");
    stage.produce(2);
    stage.wait_until_all_read();
    stage.wait_until_committed();
}

#[test]
fn a_java_subscription_by_pattern_takes_topics_that_come_later() {
    let mut stage = Stage::new();
    let bootstrap = stage.broker.bootstrap();
    let started = java_consumer(&bootstrap, &["topic=^ev.*s"]);
    let Some(started) = started.or_skip("kafka-clients, pattern") else { return };
    stage.start("a", started);
    stage.wait_until_shared(&["a"]);
    stage.run(&["topic", "create", "evenings", "--partitions", "6"], "");
    stage.wait("the new topic's partitions", |members| members["a"].owned.contains(&5));
}
