//! Members of a share group of an unmodified Java client, when the broker that leads their
//! partition is killed: the others take it over with what was settled, so that every record is
//! given to somebody, and none that was settled again.

use super::{BINARY, PATIENCE};
use harness::{Cluster, Talker, Toolchain, Wire, java_program, run_with_input, wait_until};
use highwater::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

const GROUP: &str = "workers";
const TOPIC: &str = "jobs";
const RECORDS: usize = 50;
/// Of configurations: a group.
const GROUP_RESOURCE: i8 = 32;
const SETTINGS: [&str; 4] = [
    "min.insync.replicas=2",
    "share.coordinator.state.topic.num.partitions=3",
    "group.share.min.heartbeat.interval.ms=300",
    "group.share.heartbeat.interval.ms=300",
];

/// A member that accepts record by record, and commits what each poll gave it.
struct Member {
    client: Talker,
    /// Everything, in the order in which it came.
    given: Vec<usize>,
    /// Given since the last commit.
    open: Vec<usize>,
    /// The broker has said that these are accepted.
    settled: Vec<usize>,
    /// The commit got no answer, or a refusal: the broker may have taken it or not.
    lost: Vec<usize>,
}

impl Member {
    fn start(bootstrap: &str) -> Member {
        let mut program = java_program("ShareMember", "kafka").expect("the first one was there");
        program.args([bootstrap, GROUP, TOPIC, "accept"]);
        let (given, open, settled, lost) = Default::default();
        Member { client: Talker::start(program), given, open, settled, lost }
    }

    fn listen(&mut self) {
        while let Some(line) = self.client.hear() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "AT" => {
                    let value = words[1].parse().expect("what was produced");
                    self.given.push(value);
                    self.open.push(value);
                }
                "DONE" => self.settled.append(&mut self.open),
                "LOST" => self.lost.append(&mut self.open),
                _ => {}
            }
        }
    }
}

struct Stage {
    cluster: Cluster,
    members: [Member; 2],
    began: Instant,
}

impl Stage {
    /// Has the group read what was produced before its members came.
    fn read_from_the_start(&mut self) {
        let config = AlterableConfig {
            name: "share.auto.offset.reset".to_owned(),
            config_operation: 0,
            value: Some("earliest".to_owned()),
        };
        let resource = AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: GROUP.to_owned(),
            configs: vec![config],
        };
        let request =
            IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let mut wire = Wire::connect(&self.cluster.broker(1).bootstrap()).expect("it runs");
        let answer = wire.call(&request, 1).expect("it answers");
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    }

    /// Who leads, once broker `at` knows one that is wanted.
    fn leader(&self, at: usize, what: &str, is_wanted: impl Fn(usize) -> bool) -> usize {
        let leader = wait_until(what, PATIENCE, || {
            let views = self.cluster.describe(at, TOPIC).ok()?;
            usize::try_from(views.first()?.leader).ok().filter(|leader| is_wanted(*leader))
        });
        leader.unwrap_or_else(|late| panic!("{late}\n{}", self.cluster.report()))
    }

    /// Produces records and waits until each is settled, or may be.
    fn work_off(&mut self, records: std::ops::Range<usize>, at: usize, what: &str) {
        let input: String = records.clone().map(|value| format!("{value}\n")).collect();
        let mut produce = Command::new(BINARY);
        produce.args(["produce", TOPIC, "--bootstrap", &self.cluster.broker(at).bootstrap()]);
        let ended = run_with_input(produce, &input, PATIENCE).expect("built by cargo");
        assert!(ended.is_success(), "{}\n{}", ended.stderr, self.cluster.report());
        let members = &mut self.members;
        let is_done = wait_until(what, PATIENCE, || {
            members.iter_mut().for_each(Member::listen);
            let ends = |value| {
                members.iter().any(|own| own.settled.contains(&value) || own.lost.contains(&value))
            };
            records.clone().all(ends).then_some(())
        });
        println!("{:6.1} s: {what}", self.began.elapsed().as_secs_f64());
        is_done
            .unwrap_or_else(|late| panic!("{late}\n{}\n{}", self.account(), self.cluster.report()));
    }

    /// How often records of the first half were given.
    fn given_of_the_first(&self) -> usize {
        let given = self.members.iter().flat_map(|own| &own.given);
        given.filter(|value| **value < RECORDS).count()
    }

    fn account(&self) -> String {
        let own = |own: &Member| {
            format!(
                "{} settled, {} lost, {} open; lastly {:?}",
                own.settled.len(),
                own.lost.len(),
                own.open.len(),
                own.client.said().last()
            )
        };
        self.members.iter().map(own).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn members_of_a_share_group_outlive_the_leader_of_their_partition() {
    let test = "share groups: a leader that is killed";
    let Some(_) = java_program("ShareMember", "kafka").or_skip(test) else { return };
    let cluster = Cluster::start(BINARY, &SETTINGS);
    cluster.create_topic(TOPIC, 1, &[]);
    let bootstrap = cluster.bootstrap();
    let members = [Member::start(&bootstrap), Member::start(&bootstrap)];
    let mut stage = Stage { cluster, members, began: Instant::now() };
    stage.read_from_the_start();
    stage.work_off(0..RECORDS, 1, "the first records");
    let given = stage.given_of_the_first();
    let killed = stage.leader(1, "a leader", |_| true);
    stage.cluster.broker(killed).kill();
    let at = killed % stage.cluster.len() + 1;
    stage.leader(at, "another leader", |leader| leader != killed);
    stage.work_off(RECORDS..2 * RECORDS, at, "those after the leader was killed");
    let mut settled: BTreeMap<usize, usize> = BTreeMap::new();
    for member in &mut stage.members {
        member.client.close_and_wait(PATIENCE);
        member.listen();
        for value in &member.settled {
            *settled.entry(*value).or_default() += 1;
        }
    }
    println!("{}", stage.account());
    assert_eq!(stage.given_of_the_first(), given, "what was settled is given to nobody again");
    let twice: Vec<_> = settled.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "settled twice: {twice:?}\n{}", stage.cluster.report());
    // The first half was worked off before anything happened.
    assert!((0..RECORDS).all(|value| settled.contains_key(&value)), "{settled:?}");
}
