//! A leader's death: from the last acknowledgement before it to the first after it, partition by
//! partition.
//!
//! One topic is led by one broker whole. Each request carries a record for every partition, one
//! request at a time, until the broker is killed; then the survivors are asked who leads, and each
//! partition gets a record as soon as it has another leader. There is no back-off beyond
//! `--pause`: the figures are the brokers', not those of a client's retry settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::compression::Compression;
use highwater::protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic};
use highwater::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use highwater::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::records::Records;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker_facts::describe_cluster;
use crate::clock::{SECOND_NS, now_ns};
use crate::control::Control;
use crate::environment::{CoreTime, RunFacts, environment, steal_since};
use crate::failover_args::FailoverArgs;
use crate::failure::Failure;
use crate::interval::to_f64;
use crate::load_args::Acks;
use crate::payload::{BatchSpec, build_batch};
use crate::topic::{creatable, create_topic, delete_topic};

const SCHEMA: &str = "highwater-loadgen-failover/1";

/// Broker-side limit of one request, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// How often partitions that moved to another leader before the kill are called back.
const CALLS_BACK_MAX: u32 = 5;

/// Broker-side limit of an election, in milliseconds.
const ELECTION_TIMEOUT_MS: i32 = 5000;

/// Pause between two looks at a cluster that is not whole yet.
const LOOK_AGAIN_NS: u64 = SECOND_NS / 20;

/// What was seen of one death. Times are nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Failover {
    /// From the last acknowledgement before the kill to the first after it: one for each partition,
    /// ascending.
    gaps_ns: Vec<u64>,
    /// From the kill until a survivor named another leader.
    noticed_ns: u64,
    /// From the kill until each partition had taken a record.
    all_ns: u64,
    /// Requests that were refused or not answered meanwhile.
    retries: u64,
    /// Elections before the kill that called partitions back.
    calls_back: u64,
    /// See `environment`; the survivors are the brokers that it tells of.
    environment: Value,
}

/// Makes the topic, produces, kills, and waits.
///
/// # Errors
/// The cluster is not whole within `--within`, the process cannot be killed, or a partition takes
/// no record within `--within` of its leader's death.
pub(crate) fn failover(args: &FailoverArgs) -> Result<Failover, Failure> {
    let cores_at_start = CoreTime::read();
    let mut client = Client::new(args)?;
    client.make_topic()?;
    let last_ack_ns = client.warm_up()?;
    let killed_ns = now_ns();
    kill(args.kill)?;
    client.connections.remove(&args.leader);
    let survivor = client.survivors[0].clone();
    let mut seen = client.follow(killed_ns, last_ack_ns)?;
    let facts = RunFacts {
        seed: None,
        steal_percent: steal_since(cores_at_start),
        cluster: describe_cluster(&survivor, &args.topic),
    };
    seen.environment = environment(&std::env::args().collect::<Vec<_>>(), &facts, None);
    Ok(seen)
}

fn kill(pid: u32) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let killed = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, Signal::KILL));
    killed.map_err(|error| Failure::System { call: "kill", source: error.into() })
}

struct Client<'a> {
    args: &'a FailoverArgs,
    survivors: Vec<String>,
    topic_id: Uuid,
    batch: Bytes,
    connections: BTreeMap<String, Control>,
    calls_back: u64,
}

impl<'a> Client<'a> {
    fn new(args: &'a FailoverArgs) -> Result<Client<'a>, Failure> {
        let survivors = args.bootstrap.iter().filter(|address| **address != args.leader).cloned();
        let survivors: Vec<String> = survivors.collect();
        if survivors.is_empty() {
            return Err(Failure::NoSurvivor { leader: args.leader.clone() });
        }
        let batch = build_batch(&BatchSpec {
            records: 1,
            record_bytes: 100,
            random_percent: 50,
            compression: Compression::None,
            seed: 1,
        })?;
        let (topic_id, connections) = (Uuid::nil(), BTreeMap::new());
        Ok(Client { args, survivors, topic_id, batch, connections, calls_back: 0 })
    }

    /// Waits for the brokers, then for a topic whose partitions are led by the one that will die
    /// and have all replicas in sync.
    fn make_topic(&mut self) -> Result<(), Failure> {
        let deadline_ns = now_ns() + self.args.within;
        let survivor = self.survivors[0].clone();
        let ids = self.brokers(&survivor, deadline_ns)?;
        let mut control = Control::connect(&survivor)?;
        delete_topic(&mut control, &self.args.topic)?;
        self.create(&mut control, &ids)?;
        self.gather(&mut control, deadline_ns)
    }

    /// Waits until all partitions are led by the broker that will die, have all replicas in sync
    /// and have taken a record. It is the first replica of each, so an election calls those back
    /// that it no longer leads.
    fn gather(&mut self, control: &mut Control, deadline_ns: u64) -> Result<(), Failure> {
        loop {
            let answer = describe(control, &self.args.topic)?;
            let standing = Standing::of(&answer, self.args);
            if standing.is_whole() {
                self.topic_id = answer.topics.first().map_or(Uuid::nil(), |topic| topic.topic_id);
                match self.produce_to_all() {
                    // A leader may be told to clients before it has taken over.
                    Err(failure) if is_of_moved(&failure) && now_ns() < deadline_ns => {}
                    outcome => return outcome,
                }
            } else if now_ns() >= deadline_ns {
                return Err(self.late(standing.to_string()));
            } else if !standing.moved.is_empty() {
                self.call_back(control, standing.moved)?;
            }
            pause(LOOK_AGAIN_NS);
        }
    }

    /// What comes of it is seen in the metadata.
    fn call_back(&mut self, control: &mut Control, partitions: Vec<i32>) -> Result<(), Failure> {
        let topic = TopicPartitions { topic: self.args.topic.clone(), partitions };
        let request = ElectLeadersRequest {
            election_type: 0, // the first replica
            topic_partitions: Some(vec![topic]),
            timeout_ms: ELECTION_TIMEOUT_MS,
        };
        self.calls_back += 1;
        control.call(&request).map(drop)
    }

    /// Produces for as long as is asked for, and returns when the last acknowledgement came. Where
    /// partitions move to another leader meanwhile, it begins anew with the broker that will die.
    fn warm_up(&mut self) -> Result<u64, Failure> {
        let mut calls_left = CALLS_BACK_MAX;
        loop {
            match self.produce_for(self.args.warmup) {
                Err(failure) if is_of_moved(&failure) && calls_left > 0 => {
                    calls_left -= 1;
                    let mut control = Control::connect(&self.survivors[0])?;
                    self.gather(&mut control, now_ns() + self.args.within)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// When the last acknowledgement came; there is one at least.
    fn produce_for(&mut self, duration_ns: u64) -> Result<u64, Failure> {
        let deadline_ns = now_ns() + duration_ns;
        loop {
            self.produce_to_all()?;
            let last_ack_ns = now_ns();
            pause(self.args.pause);
            if now_ns() >= deadline_ns {
                return Ok(last_ack_ns);
            }
        }
    }

    /// Ids of enough brokers, the one that will die first.
    fn brokers(&self, survivor: &str, deadline_ns: u64) -> Result<Vec<i32>, Failure> {
        let replicas = usize::from(self.args.replication_factor);
        loop {
            let answer = Control::connect(survivor).and_then(|mut control| {
                let topics = Some(Vec::new());
                control.call(&MetadataRequest { topics, ..MetadataRequest::default() })
            });
            let standing = match answer {
                Ok(answer) => {
                    let mut ids: Vec<i32> =
                        answer.brokers.iter().map(|broker| broker.node_id).collect();
                    let leader = id_of(&answer, &self.args.leader);
                    if let Some(leader) = leader.filter(|_| ids.len() >= replicas) {
                        ids.retain(|id| *id != leader);
                        ids.insert(0, leader);
                        return Ok(ids);
                    }
                    format!("{} brokers, --leader {}", ids.len(), told(leader.is_some()))
                }
                Err(failure) if now_ns() >= deadline_ns => return Err(failure),
                Err(failure) => failure.to_string(),
            };
            if now_ns() >= deadline_ns {
                return Err(self.late(standing));
            }
            pause(LOOK_AGAIN_NS);
        }
    }

    fn create(&self, control: &mut Control, ids: &[i32]) -> Result<(), Failure> {
        let followers = usize::from(self.args.replication_factor) - 1;
        let partitions = i32::try_from(self.args.partitions).expect("bounded by its flag");
        let assignments = (0..partitions).map(|partition_index| {
            let turn = usize::try_from(partition_index).expect("counted from 0");
            let others = ids[1..].iter().cycle().skip(turn % (ids.len() - 1)).take(followers);
            let broker_ids = std::iter::once(ids[0]).chain(others.copied()).collect();
            CreatableReplicaAssignment { partition_index, broker_ids }
        });
        let topic = CreatableTopic {
            name: self.args.topic.clone(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: assignments.collect(),
            configs: creatable(&self.args.config),
        };
        create_topic(control, topic)
    }

    fn partitions(&self) -> impl Iterator<Item = i32> {
        0..i32::try_from(self.args.partitions).expect("bounded by its flag")
    }

    /// One record for each partition, at the broker that will die.
    fn produce_to_all(&mut self) -> Result<(), Failure> {
        let all: Vec<i32> = self.partitions().collect();
        let answers = self.produce(&self.args.leader.clone(), &all)?;
        match answers.iter().find(|(_, code)| *code != 0) {
            Some((_, code)) => Err(self.refused("Produce", *code)),
            None => Ok(()),
        }
    }

    /// One record for each of `partitions`; error numbers by partition.
    fn produce(&mut self, address: &str, partitions: &[i32]) -> Result<Vec<(i32, i16)>, Failure> {
        let partition_data = partitions.iter().map(|index| PartitionProduceData {
            index: *index,
            records: Records::from(self.batch.clone()),
        });
        let request = ProduceRequest {
            acks: Acks::All.to_wire(),
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: self.args.topic.clone(),
                topic_id: self.topic_id,
                partition_data: partition_data.collect(),
            }],
            ..ProduceRequest::default()
        };
        let version_max = if self.topic_id.is_nil() { 12 } else { 13 };
        let answer = self.connection(address)?.call_at_most(&request, version_max)?;
        let answered = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        Ok(answered.map(|partition| (partition.index, partition.error_code)).collect())
    }

    fn connection(&mut self, address: &str) -> Result<&mut Control, Failure> {
        if !self.connections.contains_key(address) {
            self.connections.insert(address.to_owned(), Control::connect(address)?);
        }
        Ok(self.connections.get_mut(address).expect("inserted above"))
    }

    /// Waits until each partition has taken a record again.
    fn follow(mut self, killed_ns: u64, last_ack_ns: u64) -> Result<Failover, Failure> {
        let mut pending: BTreeSet<i32> = self.partitions().collect();
        let (mut gaps_ns, mut retries, mut noticed_ns) = (Vec::new(), 0, None);
        for turn in 0.. {
            let survivor = self.survivors[turn % self.survivors.len()].clone();
            for (address, led) in self.leaders(&survivor, &pending) {
                noticed_ns = noticed_ns.or(Some(now_ns() - killed_ns));
                let Ok(answers) = self.produce(&address, &led) else {
                    self.connections.remove(&address);
                    retries += 1;
                    continue;
                };
                let now = now_ns();
                for (partition, code) in answers {
                    match code {
                        0 if pending.remove(&partition) => gaps_ns.push(now - last_ack_ns),
                        0 => {}
                        code if is_retriable(code) => retries += 1,
                        code => return Err(self.refused("Produce", code)),
                    }
                }
            }
            if pending.is_empty() {
                break;
            }
            if now_ns() >= killed_ns + self.args.within {
                return Err(self.late(format!("{} partitions without a leader", pending.len())));
            }
            pause(self.args.pause);
        }
        // The last gap's end, so that the two cannot contradict each other.
        let all_ns = gaps_ns.last().map_or(0, |gap| last_ack_ns + gap - killed_ns);
        let (noticed_ns, calls_back) = (noticed_ns.unwrap_or(all_ns), self.calls_back);
        let environment = Value::Null;
        Ok(Failover { gaps_ns, noticed_ns, all_ns, retries, calls_back, environment })
    }

    /// Who leads the pending partitions, in `survivor`'s view; not the broker that died.
    fn leaders(&mut self, survivor: &str, pending: &BTreeSet<i32>) -> BTreeMap<String, Vec<i32>> {
        let topic = self.args.topic.clone();
        let asked = self.connection(survivor).and_then(|control| describe(control, &topic));
        let Ok(answer) = asked else {
            self.connections.remove(survivor);
            return BTreeMap::new();
        };
        let mut leaders: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let leader = answer.brokers.iter().find(|one| one.node_id == partition.leader_id);
            let address = leader.map(|leader| format!("{}:{}", leader.host, leader.port));
            if let Some(address) = address.filter(|address| *address != self.args.leader)
                && pending.contains(&partition.partition_index)
            {
                leaders.entry(address).or_default().push(partition.partition_index);
            }
        }
        leaders
    }

    fn refused(&self, api: &'static str, code: i16) -> Failure {
        Failure::Refused { api, topic: self.args.topic.clone(), code }
    }

    fn late(&self, standing: String) -> Failure {
        Failure::NotWhole { waited_s: self.args.within / SECOND_NS, standing }
    }
}

/// Where the partitions are before the kill.
#[derive(Debug)]
struct Standing {
    wanted: usize,
    /// Led by the broker that will die, with all replicas in sync.
    whole: usize,
    /// Led by others, which it could lead instead.
    moved: Vec<i32>,
}

impl Standing {
    fn of(answer: &MetadataResponse, args: &FailoverArgs) -> Standing {
        let wanted = usize::try_from(args.partitions).expect("bounded by its flag");
        let mut standing = Standing { wanted, whole: 0, moved: Vec::new() };
        let Some(leader) = id_of(answer, &args.leader) else { return standing };
        let replicas = usize::from(args.replication_factor);
        for partition in answer.topics.first().map_or(&[][..], |topic| &topic.partitions) {
            let is_led = partition.leader_id == leader;
            if is_led && partition.isr_nodes.len() == replicas {
                standing.whole += 1;
            } else if !is_led && partition.isr_nodes.contains(&leader) {
                standing.moved.push(partition.partition_index);
            }
        }
        standing
    }

    fn is_whole(&self) -> bool {
        self.whole == self.wanted
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Standing { wanted, whole, moved } = self;
        write!(f, "{whole} of {wanted} partitions with all replicas, {} led by others", moved.len())
    }
}

fn describe(control: &mut Control, topic: &str) -> Result<MetadataResponse, Failure> {
    let named =
        MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() };
    control.call(&MetadataRequest {
        topics: Some(vec![named]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    })
}

fn id_of(answer: &MetadataResponse, address: &str) -> Option<i32> {
    let is_it = |host: &str, port: i32| format!("{host}:{port}") == address;
    let broker = answer.brokers.iter().find(|broker| is_it(&broker.host, broker.port));
    broker.map(|broker| broker.node_id)
}

fn told(is_among_them: bool) -> &'static str {
    if is_among_them { "is among them" } else { "is not among them" }
}

/// The broker that will die does not lead a partition, for now.
fn is_of_moved(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { code, .. } if is_retriable(*code))
}

fn is_retriable(code: i16) -> bool {
    KafkaCode::from_number(code).is_some_and(KafkaCode::is_retriable)
}

#[expect(clippy::disallowed_methods, reason = "paces requests by the wall clock")]
fn pause(for_ns: u64) {
    std::thread::sleep(Duration::from_nanos(for_ns));
}

impl Failover {
    fn gap_ms(&self, part: usize) -> f64 {
        let last = self.gaps_ns.len().saturating_sub(1);
        milliseconds(self.gaps_ns.get(last * part / 100).copied().unwrap_or(0))
    }

    /// The result for people.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "partitions   {}, each with a new leader\n\
             gap          p50 {:.0} ms, longest {:.0} ms between acknowledgements\n\
             noticed      {:.0} ms after the kill: another leader was named\n\
             all          {:.0} ms after the kill, {:.0} ms after it was noticed\n\
             retries      {}\n\
             called back  {} times before the kill: other leaders had come up\n",
            self.gaps_ns.len(),
            self.gap_ms(50),
            self.gap_ms(100),
            milliseconds(self.noticed_ns),
            milliseconds(self.all_ns),
            milliseconds(self.all_ns.saturating_sub(self.noticed_ns)),
            self.retries,
            self.calls_back,
        )
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "mode": "failover",
            "partitions": self.gaps_ns.len(),
            "gap_ms": { "p50": self.gap_ms(50), "max": self.gap_ms(100) },
            "noticed_ms": milliseconds(self.noticed_ns),
            "all_ms": milliseconds(self.all_ns),
            "handover_ms": milliseconds(self.all_ns.saturating_sub(self.noticed_ns)),
            "retries": self.retries,
            "calls_back": self.calls_back,
            "environment": self.environment,
        })
    }
}

fn milliseconds(ns: u64) -> f64 {
    to_f64(ns) / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_of_all_partitions_and_the_handover_begins_when_a_leader_was_named() {
        let seen = Failover {
            gaps_ns: vec![1_000_000, 2_000_000, 9_000_000],
            noticed_ns: 400_000,
            all_ns: 8_400_000,
            retries: 3,
            calls_back: 0,
            environment: Value::Null,
        };
        let json = seen.to_json();
        assert_eq!(json["gap_ms"], json!({ "p50": 2.0, "max": 9.0 }));
        assert_eq!(json["handover_ms"], 8.0);
        assert!(seen.to_text().contains("longest 9 ms"), "{}", seen.to_text());
    }
}
