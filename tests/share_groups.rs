//! Share groups of an unmodified Java client against the real binary: members that share a
//! partition, give records back, reject them, are killed, and a broker that is killed.
//!
//! Each ShareMember is one member. It says which records it is given; the tests wait for what the
//! members say.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use harness::{
    Broker, Talker, Toolchain, Tools, Wire, go_program, java_program, python, repository,
    run_with_input, wait_until,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const GROUP: &str = "workers";
const TOPIC: &str = "jobs";
const PATIENCE: Duration = Duration::from_secs(90);
const END_TXN_VERSION: i16 = 5;
const SHARE_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";
const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

const SETTINGS: [&str; 8] = [
    "group.share.min.heartbeat.interval.ms=300",
    "group.share.heartbeat.interval.ms=300",
    "group.share.min.session.timeout.ms=3000",
    "group.share.session.timeout.ms=5000",
    "group.share.min.record.lock.duration.ms=1000",
    "group.share.record.lock.duration.ms=4000",
    "offsets.topic.num.partitions=2",
    "share.coordinator.state.topic.num.partitions=2",
];

/// A running member. Killed when dropped.
struct Member {
    client: Talker,
    /// Values with the number of their delivery, in order.
    given: Vec<(String, u32)>,
}

impl Member {
    /// A program of tests/clients; what follows the topic is its own.
    fn start(mut program: Command, bootstrap: &str, own: &[&str]) -> Member {
        program.args([bootstrap, GROUP, TOPIC]).args(own);
        Member { client: Talker::start(program), given: Vec::new() }
    }

    fn listen(&mut self) {
        while let Some(line) = self.client.hear() {
            let mut words = line.split_whitespace();
            if let (Some("AT"), Some(value), Some(count)) =
                (words.next(), words.next(), words.next())
            {
                self.given.push((value.to_owned(), count.parse().unwrap()));
            }
        }
    }

    /// Waits until what it said fulfils `is_done`.
    fn wait_for(&mut self, what: &str, is_done: impl Fn(&Member) -> bool) {
        let done = wait_until(what, PATIENCE, || {
            self.listen();
            is_done(self).then_some(())
        });
        done.unwrap_or_else(|error| panic!("{error}: {:?}", self.client.said()));
    }

    fn close_and_wait(&mut self) {
        self.client.close_and_wait(PATIENCE);
        self.listen();
    }

    fn kill(&mut self) {
        self.client.kill();
        self.listen();
    }

    fn has_said(&self, line: &str) -> bool {
        self.client.said().iter().any(|said| said == line)
    }

    /// What it said beside records, and the last it said.
    fn account(&self) -> String {
        const LAST: usize = 10;
        let said = self.client.said();
        let other: Vec<&String> = said.iter().filter(|line| !line.starts_with("AT ")).collect();
        let last = &said[said.len().saturating_sub(LAST)..];
        format!("was given {} records, said {other:?}, lastly {last:?}", self.given.len())
    }

    fn was_given(&self, value: &str, count: u32) -> bool {
        self.given.iter().any(|given| *given == (value.to_owned(), count))
    }
}

/// A broker with a topic of one partition, whose group begins at the log start.
struct Stage {
    broker: Broker,
    tools: Tools,
}

impl Stage {
    fn start(test: &str) -> Option<Stage> {
        let tools = Tools::start().or_skip(test)?;
        let mut stage = Stage { broker: Broker::start(BINARY, &SETTINGS), tools };
        stage.run(&["topic", "create", TOPIC, "--partitions", "1"], "");
        stage.configure("share.auto.offset.reset=earliest");
        Some(stage)
    }

    /// One of our own commands; its output.
    fn run(&self, arguments: &[&str], input: &str) -> String {
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--bootstrap", &self.broker.bootstrap()]);
        let ended = run_with_input(command, input, PATIENCE).expect("built by cargo");
        assert!(ended.is_success(), "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    fn tool(&mut self, tool: &str, arguments: &[&str]) -> String {
        let bootstrap = self.broker.bootstrap();
        let arguments = [&["--bootstrap-server", &bootstrap][..], arguments].concat();
        self.tools.run(tool, &arguments)
    }

    fn produce(&self, values: std::ops::Range<usize>) {
        let input: String = values.map(|value| format!("{value}\n")).collect();
        self.run(&["produce", TOPIC], &input);
    }

    fn member(&self, mode: &str) -> Member {
        let program = java_program("ShareMember", "kafka").expect("the tools were there");
        Member::start(program, &self.broker.bootstrap(), &[mode])
    }

    fn configure(&mut self, setting: &str) {
        self.tool(CONFIGS, &["--alter", "--group", GROUP, "--add-config", setting]);
    }

    /// No lock ends before its member has spoken, however slow the machine is: clients hold answers
    /// back for seconds while they fetch.
    fn keep_locks(&mut self) {
        self.configure("share.record.lock.duration.ms=60000");
    }

    fn wire(&self) -> Wire {
        Wire::connect(&self.broker.bootstrap()).expect("the broker runs")
    }
}

impl Stage {
    /// Where the group is to read on, as Kafka's tool says it.
    fn offset(&mut self) -> Option<String> {
        let offsets = self.tool(SHARE_GROUPS, &["--describe", "--group", GROUP, "--offsets"]);
        let line = offsets.lines().find(|line| line.split_whitespace().nth(1) == Some(TOPIC))?;
        line.split_whitespace().nth(3).map(str::to_owned)
    }
}

impl Stage {
    /// Why the members of a group that shares a topic did not get on.
    fn account(&self, produced: usize, members: [&Member; 2]) -> String {
        let given = counts(&members);
        let missing: Vec<usize> =
            (0..produced).filter(|value| !given.contains_key(&value.to_string())).collect();
        let described = self.run(&["group", "describe", GROUP], "");
        let heads = ["the first", "the second"].iter().zip(members);
        let heard = heads.map(|(name, member)| format!("{name} {}", member.account()));
        let heard: Vec<String> = heard.collect();
        format!(
            "{} of {produced} records missing: {missing:?}\n{}\n{described}\n{}",
            missing.len(),
            heard.join("\n"),
            self.broker.report()
        )
    }
}

/// How often each value was given to any of the members.
fn counts(members: &[&Member]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (value, _) in members.iter().flat_map(|member| &member.given) {
        *counts.entry(value.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn two_members_share_a_partition_and_each_record_goes_to_one_of_them() {
    let Some(mut stage) = Stage::start("share groups: two members") else { return };
    stage.keep_locks();
    share(&stage, [stage.member("implicit"), stage.member("accept")]);
}

/// Produces until both were given records; each record went to one of them, once.
fn share(stage: &Stage, [mut first, mut second]: [Member; 2]) {
    let mut produced = 0;
    let done = wait_until("records for both members", PATIENCE, || {
        if first.given.is_empty() || second.given.is_empty() {
            stage.produce(produced..produced + 10);
            produced += 10;
        }
        first.listen();
        second.listen();
        let have_both = !first.given.is_empty() && !second.given.is_empty();
        (have_both && counts(&[&first, &second]).len() == produced).then_some(())
    });
    if let Err(error) = done {
        panic!("{error}: {}", stage.account(produced, [&first, &second]));
    }
    first.close_and_wait();
    second.close_and_wait();
    let counts = counts(&[&first, &second]);
    assert_eq!(counts.len(), produced);
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_released_record_comes_again_and_a_rejected_one_does_not() {
    let Some(stage) = Stage::start("share groups: released and rejected") else { return };
    stage.produce(0..3);
    let mut first = stage.member("first");
    first.wait_for("the second delivery", |own| (0..3).all(|at| own.was_given(&at.to_string(), 2)));
    first.wait_for("the end of it", |own| {
        own.client.said().iter().filter(|said| *said == "DONE").count() >= 2
    });
    first.close_and_wait();
    stage.produce(3..5);
    let mut second = stage.member("reject");
    second.wait_for("the rejected records", |own| own.has_said("DONE"));
    second.close_and_wait();
    stage.produce(5..6);
    let mut third = stage.member("accept");
    third.wait_for("the last record", |own| own.was_given("5", 1) && own.has_said("DONE"));
    third.close_and_wait();
    assert_eq!(counts(&[&second, &third]).len(), 3, "{:?} {:?}", second.given, third.given);
}

#[test]
fn records_of_a_killed_member_go_to_another_one() {
    let Some(stage) = Stage::start("share groups: a killed member") else { return };
    stage.produce(0..4);
    let mut first = stage.member("hold");
    first.wait_for("what it holds", |own| own.has_said("HELD"));
    first.kill();
    let mut second = stage.member("accept");
    second.wait_for("the others' records", |own| counts(&[own]).len() == 4);
    // What ends with its session was not delivered.
    assert!(second.given.iter().all(|(_, count)| *count == 1), "{:?}", second.given);
    second.close_and_wait();
}

#[test]
fn a_lock_that_runs_out_gives_its_record_to_another_member() {
    let Some(stage) = Stage::start("share groups: a lock that runs out") else { return };
    stage.produce(0..2);
    let mut first = stage.member("hold");
    first.wait_for("what it holds", |own| own.has_said("HELD"));
    let mut second = stage.member("accept");
    second.wait_for("both records", |own| counts(&[own]).len() == 2);
    // The first one's client fetches ahead, so it may have had them twice.
    assert!(second.given.iter().all(|(_, count)| *count >= 2), "{:?}", second.given);
    second.close_and_wait();
}

#[test]
fn a_killed_broker_loses_no_record_and_delivers_no_acknowledged_one_again() {
    let Some(mut stage) = Stage::start("share groups: a killed broker") else { return };
    stage.produce(0..5);
    let mut first = stage.member("accept");
    first.wait_for("the first records", |own| counts(&[own]).len() == 5 && own.has_said("DONE"));
    let settled = first.client.said().iter().filter(|said| *said == "DONE").count();
    assert!(settled > 0);
    first.close_and_wait();
    stage.broker.kill();
    stage.broker.restart();
    stage.produce(5..10);
    let mut second = stage.member("accept");
    second.wait_for("the records after that", |own| {
        (5..10).all(|at| own.given.iter().any(|(value, _)| *value == at.to_string()))
    });
    second.close_and_wait();
    let counts = counts(&[&second]);
    assert_eq!(counts.len(), 5, "{counts:?}");
}

#[test]
fn kafkas_tool_and_our_command_show_and_delete_a_share_group() {
    let Some(mut stage) = Stage::start("share groups: tools") else { return };
    stage.produce(0..4);
    let mut member = stage.member("accept");
    member.wait_for("the records", |own| counts(&[own]).len() == 4 && own.has_said("DONE"));
    let state = stage.tool(SHARE_GROUPS, &["--describe", "--group", GROUP, "--state"]);
    assert!(state.contains("Stable"), "{state}");
    let members = stage.tool(SHARE_GROUPS, &["--describe", "--group", GROUP, "--members"]);
    assert!(members.contains("jobs:0"), "{members}");
    member.close_and_wait();
    assert!(stage.tool(SHARE_GROUPS, &["--list"]).contains(GROUP));
    let listed = stage.run(&["group", "list"], "");
    assert!(listed.contains("share") && listed.contains("Empty"), "{listed}");
    let offsets = stage.tool(SHARE_GROUPS, &["--describe", "--group", GROUP, "--offsets"]);
    assert!(offsets.lines().any(|line| line.ends_with('4')), "{offsets}");
    let described = stage.run(&["group", "describe", GROUP], "");
    assert!(described.contains("share  Empty  simple"), "{described}");
    stage.tool(SHARE_GROUPS, &["--delete", "--group", GROUP]);
    assert!(!stage.tool(SHARE_GROUPS, &["--list"]).contains(GROUP));
}

#[test]
fn offsets_of_a_share_group_are_set_and_forgotten() {
    let Some(mut stage) = Stage::start("share groups: offsets") else { return };
    stage.produce(0..4);
    // The group begins with it: no member has come yet.
    set_offset(&stage, 2);
    assert_eq!(stage.offset().as_deref(), Some("2"));
    read_all(&stage, 2..4);
    set_offset(&stage, 0);
    assert_eq!(stage.offset().as_deref(), Some("0"));
    read_all(&stage, 0..4);
    stage.produce(4..6);
    set_offset(&stage, 6);
    assert_eq!(stage.offset().as_deref(), Some("6"));
    stage.produce(6..8);
    read_all(&stage, 6..8);
    stage.broker.kill();
    stage.broker.restart();
    assert_eq!(stage.offset().as_deref(), Some("8"));
    stage.tool(SHARE_GROUPS, &["--delete-offsets", "--group", GROUP, "--topic", TOPIC]);
    assert_eq!(stage.offset(), None);
    read_all(&stage, 0..8);
}

/// By Java's Admin; the tool of Kafka 4.1 cannot.
fn set_offset(stage: &Stage, offset: usize) {
    let mut admin = stage.member(&format!("from={offset}"));
    admin.close_and_wait();
    assert!(admin.has_said("DONE"), "{:?}", admin.client.said());
}

/// A member reads these records and no others.
fn read_all(stage: &Stage, values: std::ops::Range<usize>) {
    let mut member = stage.member("accept");
    member.wait_for("the records", |own| {
        counts(&[own]).len() >= values.len() && own.has_said("DONE")
    });
    member.close_and_wait();
    let wanted = values.map(|value| (value.to_string(), 1)).collect::<BTreeMap<_, _>>();
    assert_eq!(counts(&[&member]), wanted);
}

#[test]
fn a_share_group_of_committed_records_is_given_no_others() {
    let Some(mut stage) = Stage::start("share groups: read_committed") else { return };
    stage.configure("share.isolation.level=read_committed");
    let mut wire = stage.wire();
    let mut end = |id: &str, committed: bool| {
        let (producer_id, producer_epoch) =
            wire.open_transaction(id, TOPIC).expect("the broker answers");
        let transactional_id = id.to_owned();
        EndTxnRequest { transactional_id, producer_id, producer_epoch, committed }
    };
    let aborted = end("first", false);
    finish(&stage, &aborted);
    stage.produce(0..2);
    let committed = end("second", true);
    finish(&stage, &committed);
    stage.produce(2..4);
    let open = end("third", false);
    stage.produce(4..6);
    let mut member = stage.member("accept");
    member.wait_for("what is before the open transaction", |own| own.given.len() >= 5);
    finish(&stage, &open);
    member.wait_for("what is behind it", |own| own.was_given("5", 1));
    member.close_and_wait();
    let given: Vec<&str> = member.given.iter().map(|(value, _)| &**value).collect();
    assert_eq!(given, ["0", "1", "open", "2", "3", "4", "5"]);
}

fn finish(stage: &Stage, end: &EndTxnRequest) {
    let answer = stage.wire().call(end, END_TXN_VERSION).expect("the broker answers");
    assert_eq!(answer.error_code, 0, "EndTxn");
}

#[test]
fn a_killed_broker_delivers_again_what_was_in_flight_and_nothing_else() {
    let Some(mut stage) = Stage::start("share groups: in flight") else { return };
    stage.produce(0..10);
    let mut first = stage.member("half");
    first.wait_for("what it holds", |own| own.has_said("HELD"));
    assert!(first.has_said("DONE"), "{:?}", first.client.said());
    stage.broker.kill();
    first.kill();
    stage.broker.restart();
    let accepted =
        |value: &usize| value.is_multiple_of(2) && first.was_given(&value.to_string(), 1);
    let left: Vec<usize> = (0..10).filter(|value| !accepted(value)).collect();
    assert!(left.len() < 10);
    let mut second = stage.member("accept");
    second.wait_for("the others", |own| counts(&[own]).len() >= left.len());
    second.close_and_wait();
    let wanted = left.iter().map(|value| (value.to_string(), 1)).collect::<BTreeMap<_, _>>();
    assert_eq!(counts(&[&second]), wanted);
}

#[test]
fn two_members_of_confluent_kafka_share_a_partition() {
    let test = "share groups: confluent-kafka";
    let Some(python) = python().or_skip(test) else { return };
    let Some(mut stage) = Stage::start(test) else { return };
    stage.keep_locks();
    let member = || {
        let mut program = Command::new(&python);
        program.arg("-B").arg(repository().join("tests/clients/python/share_member.py"));
        Member::start(program, &stage.broker.bootstrap(), &[])
    };
    share(&stage, [member(), member()]);
}

#[test]
fn two_members_of_franz_go_share_a_partition() {
    let test = "share groups: franz-go";
    let Some(program) = go_program().or_skip(test) else { return };
    let Some(mut stage) = Stage::start(test) else { return };
    stage.keep_locks();
    let member = || {
        let mut program = Command::new(&program);
        program.args(["member", "franz-go-share"]);
        Member::start(program, &stage.broker.bootstrap(), &[])
    };
    share(&stage, [member(), member()]);
}

#[test]
fn members_of_java_4_4_and_4_1_share_a_partition() {
    let test = "share groups: Java 4.4";
    let Some(later) = java_program("ShareMember", "clients44").or_skip(test) else { return };
    let Some(mut stage) = Stage::start(test) else { return };
    stage.keep_locks();
    let later = Member::start(later, &stage.broker.bootstrap(), &["accept"]);
    share(&stage, [later, stage.member("accept")]);
}

#[test]
fn the_console_share_consumer_reads_records() {
    let Some(mut stage) = Stage::start("share groups: console") else { return };
    stage.produce(0..3);
    let read = ["--topic", TOPIC, "--group", GROUP, "--max-messages", "3", "--timeout-ms", "60000"];
    let read = stage.tool(CONSOLE, &read);
    let values: Vec<&str> = read.lines().take(3).collect();
    assert_eq!(values, ["0", "1", "2"], "{read}");
}
