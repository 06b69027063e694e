//! A broker leaves for good, as docs/operate.md says it: its replicas are moved to the others, it
//! is stopped and forgotten, and everything acknowledged stays.

use super::{BINARY, PATIENCE};
use harness::{Broker, Cluster, Commands, Daemon, Wire, broker_state, wait_until};
use highwater::protocol::messages::metadata::MetadataRequest;
use serde_json::Value;
use std::process::{Command, Output};

const COMMANDS: Commands = Commands::new(BINARY);
const LEAVING: i64 = 3;
const TOPIC: &str = "moved";
const LATER: &str = "later";
/// One batch goes through, and what is behind it waits as many seconds as that has bytes.
const NEXT_TO_NOTHING: &str = "leader.replication.throttled.rate=1";
const THROTTLE_KEY: &str = "leader.replication.throttled.replicas";
const METADATA_VERSION: i16 = 10;

/// A command to a broker, and how it ends.
fn run(words: &[&str], at: &str) -> Output {
    COMMANDS.run(&[words, &["--bootstrap", at]].concat())
}

/// What it prints when it succeeds.
fn said(words: &[&str], at: &str) -> String {
    let output = run(words, at);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it complains of when it is refused.
fn refused(words: &[&str], at: &str) -> String {
    let output = run(words, at);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Replicas that the broker which leaves holds, as the controller knows it.
fn held(now: &Value) -> Option<u64> {
    let brokers = now["brokers"].as_array()?;
    brokers.iter().find(|broker| broker["node_id"] == LEAVING)?["replicas"].as_u64()
}

fn create(topic: &str, options: &[&str], at: &str, brokers: &[&Broker]) {
    let words = [&["topic", "create", topic, "--bootstrap", at], options].concat();
    let describe = ["topic", "describe", topic, "--bootstrap", at];
    COMMANDS.bring_about(&words, at, ("a topic", brokers), |_| COMMANDS.said(&describe).is_some());
}

fn decommission(at: &str) -> Daemon {
    let mut command = Command::new(BINARY);
    command.args(["cluster", "decommission", "3", "--bootstrap", at]);
    Daemon::start("decommission", command)
}

/// Progress goes to a reader who has gone, as in `| head -1`; the run goes on to its end.
fn decommission_unheard(at: &str) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(BINARY);
    command.args(["cluster", "decommission", "3", "--json", "--bootstrap", at]).stdout(writer);
    assert!(command.status().expect("it starts").success());
}

fn wait_for_progress(run: &Daemon, line: &str) {
    let heard = wait_until(line, PATIENCE, || run.output().contains(line).then_some(()));
    heard.unwrap_or_else(|late| run.fail(&late));
}

fn await_three(at: &str, first: &Broker) {
    COMMANDS.await_status(at, "three brokers", &[first], |now| {
        (1..=3).all(|id| broker_state(now, id) == "active")
    });
}

/// It holds replicas: it is not forgotten, and what would be moved is only shown.
fn nothing_happens_yet(at: &str, count: u64) {
    let complaint = refused(&["cluster", "unregister", "3"], at);
    let named = format!("broker 3 holds {count} replicas, one of {TOPIC}/");
    assert!(complaint.contains(&named), "{complaint}");
    assert!(complaint.contains("cluster decommission 3"), "{complaint}");
    assert!(complaint.contains("--force"), "{complaint}");
    let shown = said(&["cluster", "decommission", "3", "--dry-run"], at);
    let planned = shown.lines().filter(|line| line.ends_with(" planned")).count();
    assert_eq!(planned as u64, count, "{shown}");
    let now = COMMANDS.status(at).expect("the brokers run");
    assert_eq!((held(&now), broker_state(&now, LEAVING).as_str()), (Some(count), "active"));
}

/// A run is killed with every move under way, and the next one waits for those; a topic that comes
/// meanwhile is moved behind them.
fn leave_in_two_runs(at: &str, count: u64, brokers: &[&Broker]) {
    let all_move = format!("{count} partitions left, {count} of them on the move");
    let mut first = decommission(at);
    wait_for_progress(&first, &all_move);
    first.kill();
    let shown = said(&["cluster", "decommission", "3", "--dry-run", "--json"], at);
    assert_eq!(shown.lines().count() as u64, count, "{shown}");
    let mut states = shown.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(states.all(|line| line["state"] == "moving"), "{shown}");

    let mut second = decommission(at);
    wait_for_progress(&second, &all_move);
    create(LATER, &["-p", "6", "-r", "2"], at, brokers);
    COMMANDS.await_status(at, "more for the broker that leaves", brokers, |now| {
        held(now).is_some_and(|held| held > count)
    });
    said(&["topic", "alter", TOPIC, "--unset", THROTTLE_KEY], at);
    assert!(second.close(PATIENCE).success(), "{}", second.output());
    let output = second.output();
    assert!(output.contains("broker 3 holds no replicas"), "{output}");
    assert!(output.contains("highwater cluster remove 3"), "{output}");
    assert!(output.contains("highwater cluster unregister 3"), "{output}");
    assert_eq!(COMMANDS.status(at).as_ref().and_then(held), Some(0), "{output}");
}

/// Refused before anything is changed: what has no place to go to, and who is not there.
fn what_cannot_be_done_is_named(at: &str, brokers: &[&Broker]) {
    create("wide", &["-p", "1", "-r", "3"], at, brokers);
    let complaint = refused(&["cluster", "decommission", "3"], at);
    assert!(complaint.contains("partition wide/0 has replication factor 3"), "{complaint}");
    assert!(complaint.contains("cannot give: 1, 2"), "{complaint}");
    assert_eq!(COMMANDS.status(at).as_ref().and_then(held), Some(1));
    said(&["topic", "delete", "wide"], at);
    let complaint = refused(&["cluster", "decommission", "9"], at);
    assert!(
        complaint.contains("broker 9 is not registered; registered are 1, 2, 3"),
        "{complaint}"
    );
}

fn brokers_of_metadata(at: &str) -> Option<Vec<i32>> {
    let mut wire = Wire::connect(at).ok()?;
    let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let answer = wire.call(&request, METADATA_VERSION).ok()?;
    Some(answer.brokers.iter().map(|broker| broker.node_id).collect())
}

#[test]
fn a_broker_gives_everything_away_and_is_forgotten() {
    let mut cluster = Cluster::start(BINARY, &[NEXT_TO_NOTHING]);
    let at = cluster.broker(1).bootstrap();
    let throttled = format!("{THROTTLE_KEY}=*");
    {
        let first = &*cluster.broker(1);
        await_three(&at, first);
        create(TOPIC, &["-p", "6", "-r", "2", "-c", &throttled], &at, &[first]);
        for from in [0, 300] {
            assert!(COMMANDS.produce(TOPIC, from..from + 300, &at), "{}", first.report());
        }
        let count = COMMANDS.status(&at).as_ref().and_then(held).expect("it is registered");
        assert!(count > 0, "twelve replicas are on three brokers");
        nothing_happens_yet(&at, count);
        leave_in_two_runs(&at, count, &[first]);
        what_cannot_be_done_is_named(&at, &[first]);
    }
    assert_eq!(COMMANDS.consume(TOPIC, &at), Some((0..600).collect()), "{}", cluster.report());

    let remove = ["cluster", "remove", "3", "--bootstrap", &at];
    let two_vote = |now: &Value| now["voters"].as_array().is_some_and(|voters| voters.len() == 2);
    COMMANDS.bring_about(&remove, &at, ("two voters", &[cluster.broker(1)]), two_vote);
    cluster.broker(3).stop();
    let unregister = ["cluster", "unregister", "3", "--bootstrap", &at];
    let is_gone = |now: &Value| broker_state(now, LEAVING).is_empty();
    COMMANDS.bring_about(&unregister, &at, ("3 is gone", &[cluster.broker(1)]), is_gone);
    let named = wait_until("two brokers in Metadata", PATIENCE, || {
        brokers_of_metadata(&at).filter(|brokers| *brokers == [1, 2])
    });
    named.unwrap_or_else(|late| panic!("{late}: {:?}", brokers_of_metadata(&at)));
    assert!(COMMANDS.produce(TOPIC, 600..700, &at), "{}", cluster.report());
    assert_eq!(COMMANDS.consume(TOPIC, &at), Some((0..700).collect()), "{}", cluster.report());
}

#[test]
fn a_broker_that_is_down_is_replaced_where_others_have_what_it_has() {
    let mut cluster = Cluster::start(BINARY, &[]);
    let at = cluster.broker(1).bootstrap();
    await_three(&at, cluster.broker(1));
    for (topic, replicas) in [(TOPIC, "2"), ("lone", "1")] {
        create(topic, &["-p", "6", "-r", replicas], &at, &[cluster.broker(1)]);
    }
    assert!(COMMANDS.produce(TOPIC, 0..300, &at), "{}", cluster.report());
    cluster.broker(3).kill();
    COMMANDS.await_status(&at, "it is missed", &[cluster.broker(1)], |now| {
        broker_state(now, LEAVING) == "fenced"
    });
    let alone = run(&["cluster", "decommission", "3"], &at);
    let complaint = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert_eq!(alone.status.code(), Some(69), "{complaint}");
    assert!(complaint.contains("partition lone/"), "{complaint}");
    assert!(complaint.contains("has no leader"), "{complaint}");
    said(&["topic", "delete", "lone"], &at);
    decommission_unheard(&at);
    said(&["cluster", "unregister", "3"], &at);
    assert_eq!(brokers_of_metadata(&at), Some(vec![1, 2]));
    let whole = |now: &Value| now["under_replicated_partitions"] == 0 && now["partitions"] == 6;
    COMMANDS.await_status(&at, "two replicas each", &[cluster.broker(1)], whole);
    assert_eq!(COMMANDS.consume(TOPIC, &at), Some((0..300).collect()), "{}", cluster.report());
    nothing_is_held_by_hearsay(&mut cluster, &at);
}

/// Of three voters one is left: what it last heard of the others is no reason to refuse or forget.
fn nothing_is_held_by_hearsay(cluster: &mut Cluster, at: &str) {
    cluster.broker(2).kill();
    let named = wait_until("no controller", PATIENCE, || {
        let output = run(&["cluster", "unregister", "2"], at);
        assert!(!output.status.success(), "{output:?}");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        complaint.contains("no active controller is known").then_some(())
    });
    named.unwrap_or_else(|late| panic!("{late}: {}", cluster.report()));
}
