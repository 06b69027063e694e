//! Unmodified clients through the death of each broker, a rolling restart and a reassignment, all
//! at once, each library with a topic and a group of its own.

use super::BINARY;
use harness::{
    Cluster, Missing, PartitionView, Talker, Toolchain, go_program, java_program, node_modules,
    python, repository, wait_until,
};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a client may take to go on after a broker was lost, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 3;
/// Records acknowledged, and records read, between two events.
const RECORDS_BETWEEN: usize = 50;
const LIBRARIES: [&str; 5] =
    ["kafka-clients", "confluent-kafka", "kafka-python", "kafkajs", "franz-go"];

fn program(library: &str, bootstrap: &str) -> Result<Command, Missing> {
    let sources = repository().join("tests/clients");
    let mut command = match library {
        "kafka-clients" => java_program("ClusterLife", "kafka")?,
        "kafkajs" => {
            let mut command = Command::new("node");
            command.env("NODE_PATH", node_modules()?).arg(sources.join("node/kafkajs_life.js"));
            command
        }
        "franz-go" => {
            let mut command = Command::new(go_program()?);
            command.arg("life");
            command
        }
        _ => {
            let mut command = Command::new(python()?);
            command.arg("-B").arg(sources.join("python/cluster_life.py")).arg(library);
            command
        }
    };
    command.args([bootstrap, library]);
    Ok(command)
}

/// A running client, and what it says it has written and read.
struct Life {
    library: &'static str,
    client: Talker,
    /// Partition and offset of each number that was acknowledged.
    acked: BTreeMap<u64, (i32, i64)>,
    /// Which number was read there.
    read: BTreeMap<(i32, i64), u64>,
    faults: Vec<String>,
    is_done: bool,
}

impl Life {
    fn start(library: &'static str, program: Command) -> Life {
        Life {
            library,
            client: Talker::start(program),
            acked: BTreeMap::new(),
            read: BTreeMap::new(),
            faults: Vec::new(),
            is_done: false,
        }
    }

    /// Takes in what it said since the last time.
    fn listen(&mut self) {
        while let Some(line) = self.client.hear() {
            let words: Vec<&str> = line.split(' ').collect();
            let place = |words: &[&str]| -> Option<(u64, (i32, i64))> {
                Some((
                    words.get(1)?.parse().ok()?,
                    (words.get(2)?.parse().ok()?, words.get(3)?.parse().ok()?),
                ))
            };
            match (words[0], place(&words)) {
                ("ACKED", Some((number, place))) => {
                    if self.acked.insert(number, place).is_some() {
                        self.faults.push(format!("{number} was acknowledged twice"));
                    }
                }
                ("READ", Some((number, place))) => {
                    // Once more after a rebalance is what a group promises.
                    if self.read.insert(place, number).is_some_and(|before| before != number) {
                        self.faults.push(format!("another record than before at {place:?}"));
                    }
                }
                ("DONE", _) => self.is_done = true,
                _ => self.faults.push(line),
            }
        }
    }

    /// What is wrong with all that it said.
    fn judge(mut self) -> Vec<String> {
        if !self.is_done {
            self.faults.push("it did not end by itself".to_owned());
        }
        for (number, place) in &self.acked {
            if self.read.get(place) != Some(number) {
                self.faults.push(format!("{number} was acknowledged and is not at {place:?}"));
            }
        }
        let mut places = BTreeMap::new();
        for (place, number) in &self.read {
            if let Some(other) = places.insert(*number, *place) {
                self.faults.push(format!("{number} is at {other:?} and at {place:?}"));
            }
        }
        println!("{}: {} acknowledged, {} read", self.library, self.acked.len(), self.read.len());
        self.faults.iter().take(10).map(|fault| format!("{}: {fault}", self.library)).collect()
    }
}

struct Lives {
    cluster: Cluster,
    lives: Vec<Life>,
    began: Instant,
}

impl Lives {
    /// Waits until every client has written and read some more.
    fn go_on(&mut self, what: &str) {
        for life in &mut self.lives {
            life.listen();
        }
        let aims: Vec<(usize, usize)> = self
            .lives
            .iter()
            .map(|life| (life.acked.len() + RECORDS_BETWEEN, life.read.len() + RECORDS_BETWEEN))
            .collect();
        let lives = &mut self.lives;
        let heard = wait_until(what, PATIENCE, || {
            lives.iter_mut().for_each(Life::listen);
            let mut pairs = lives.iter().zip(&aims);
            pairs
                .all(|(life, aim)| life.acked.len() >= aim.0 && life.read.len() >= aim.1)
                .then_some(())
        });
        println!("{:6.1} s: {what}", self.began.elapsed().as_secs_f64());
        if let Err(late) = heard {
            let state = |(life, aim): (&Life, &(usize, usize))| {
                let (acked, read) = (life.acked.len(), life.read.len());
                format!("{}: {acked} and {read} of {aim:?}, {:?}", life.library, life.faults)
            };
            let states: Vec<String> = self.lives.iter().zip(&aims).map(state).collect();
            panic!("{late}\n{states:#?}\n{}", self.cluster.report());
        }
    }

    fn topics(&self) -> Vec<&'static str> {
        self.lives.iter().map(|life| life.library).collect()
    }

    fn kill_each(&mut self) {
        for id in 1..=3 {
            self.cluster.broker(id).kill();
            self.go_on("without a broker that was killed");
            self.cluster.broker(id).restart();
            self.cluster.wait_until_whole(&self.topics());
            self.go_on("with all brokers again");
        }
    }

    fn restart_each(&mut self) {
        for id in 1..=3 {
            self.cluster.broker(id).stop();
            self.cluster.broker(id).restart();
            self.cluster.wait_until_whole(&self.topics());
            self.go_on("after a broker was restarted in order");
        }
    }

    /// Every partition leaves its leader, and gets a new replica there.
    fn reassign(&mut self) {
        let others = |view: &PartitionView| -> Vec<i32> {
            (1..=3).filter(|id| *id != view.leader).collect()
        };
        let all = |view: &PartitionView| -> Vec<i32> {
            let missing = (1..=3).filter(|id| !view.replicas.contains(id));
            view.replicas.iter().copied().chain(missing).collect()
        };
        for topic in self.topics() {
            self.cluster.reassign(topic, others);
        }
        self.go_on("with partitions led elsewhere");
        for topic in self.topics() {
            self.cluster.reassign(topic, all);
        }
        self.go_on("with new replicas");
    }

    fn end(mut self) {
        let mut faults = Vec::new();
        for life in &mut self.lives {
            life.client.close();
        }
        for mut life in self.lives {
            life.client.close_and_wait(PATIENCE);
            life.listen();
            faults.extend(life.judge());
        }
        assert!(faults.is_empty(), "{faults:#?}\n{}", self.cluster.report());
    }
}

#[test]
fn clients_write_and_read_on_while_brokers_die_restart_and_get_other_replicas() {
    let cluster = Cluster::start(BINARY, &["min.insync.replicas=2"]);
    let bootstrap = cluster.bootstrap();
    let mut lives = Vec::new();
    for library in LIBRARIES {
        let Some(program) = program(library, &bootstrap).or_skip(library) else { continue };
        cluster.create_topic(library, PARTITIONS, &[]);
        lives.push(Life::start(library, program));
    }
    cluster.wait_until_whole(&lives.iter().map(|life| life.library).collect::<Vec<_>>());
    let mut lives = Lives { cluster, lives, began: Instant::now() };
    lives.go_on("the first records");
    lives.kill_each();
    lives.restart_each();
    lives.reassign();
    lives.end();
}
