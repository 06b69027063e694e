//! Brokers of the real binary that know each other.

use std::collections::BTreeSet;
use std::io;
use std::iter;
use std::time::Duration;

use highwater::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use highwater::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use highwater::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, WantedPartition, WantedTopic,
};
use highwater::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use highwater::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};

use crate::broker::Broker;
use crate::process::wait_until;
use crate::wire::Wire;

const CREATE_TOPICS_VERSION: i16 = 7;
const ELECT_VERSION: i16 = 2;
const QUORUM_VERSION: i16 = 1;
/// The first one with topic ids.
const METADATA_VERSION: i16 = 10;
const REASSIGN_VERSION: i16 = 1;
const REPLICAS: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// What an answer of a broker that is well may take on a busy machine.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// What the cluster as a whole may take to get over something.
const PATIENCE: Duration = Duration::from_secs(90);
const SETTINGS: [&str; 9] = [
    "highwater.cores=1",
    "highwater.cluster.id=aRt4NCyzRs2HHZHY4OR7PA",
    "broker.heartbeat.interval.ms=500",
    "broker.session.timeout.ms=2000",
    "replica.lag.time.max.ms=4000",
    "default.replication.factor=3",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
];

/// Brokers with the ids 1, 2, 3 and so on.
pub struct Cluster {
    binary: String,
    settings: Vec<String>,
    brokers: Vec<Broker>,
}

/// One partition as a broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    pub index: i32,
    /// -1 for none.
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub isr: BTreeSet<i32>,
}

impl PartitionView {
    /// Whether it is led, and every replica in sync.
    pub fn is_whole(&self) -> bool {
        self.leader > 0 && self.isr == self.replicas.iter().copied().collect()
    }
}

impl Cluster {
    /// Brokers that are still to be told of each other.
    pub fn prepare(binary: &str, brokers: usize, settings: &[&str]) -> Cluster {
        let settings = [&SETTINGS[..], settings].concat();
        let brokers = (0..brokers).map(|_| Broker::prepare(binary, &settings)).collect();
        let settings = settings.into_iter().map(str::to_owned).collect();
        Cluster { binary: binary.to_owned(), settings, brokers }
    }

    /// One more broker with the settings of these, which take no notice of it yet.
    pub fn prepare_another(&self, id: usize) -> Broker {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let mut broker = Broker::prepare(&self.binary, &settings);
        broker.set(&format!("node.id={id}"));
        broker.set(&self.voters());
        broker
    }

    /// Three brokers, started.
    pub fn start(binary: &str, settings: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(binary, 3, settings);
        cluster.start_all();
        cluster
    }

    /// Tells each broker of the others, at the addresses that they have now, and starts them.
    pub fn start_all(&mut self) {
        let voters = self.voters();
        for (id, broker) in (1..).zip(&mut self.brokers) {
            broker.set(&format!("node.id={id}"));
            broker.set(&voters);
            broker.restart();
        }
    }

    fn voters(&self) -> String {
        let voters: Vec<String> = (1..)
            .zip(&self.brokers)
            .map(|(id, broker)| format!("{id}@{}", broker.bootstrap()))
            .collect();
        format!("controller.quorum.voters={}", voters.join(","))
    }

    /// By id.
    pub fn broker(&mut self, id: usize) -> &mut Broker {
        &mut self.brokers[id - 1]
    }

    pub fn len(&self) -> usize {
        self.brokers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.brokers.is_empty()
    }

    /// Every broker's address, comma-separated.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.brokers.iter().map(Broker::bootstrap).collect();
        addresses.join(",")
    }

    /// The last lines of every broker, and how each of them sees the quorum.
    pub fn report(&self) -> String {
        let quorum = |broker: &Broker| {
            let partitions = vec![WantedPartition::default()];
            let topic = WantedTopic { topic_name: "__cluster_metadata".to_owned(), partitions };
            let request = DescribeQuorumRequest { topics: vec![topic] };
            let wire = Wire::connect_within(&broker.bootstrap(), ANSWER_PATIENCE);
            let answer = wire.and_then(|mut wire| wire.call(&request, QUORUM_VERSION));
            format!("the quorum by {}: {answer:?}", broker.bootstrap())
        };
        let views = self.brokers.iter().map(quorum);
        let reports = self.brokers.iter().map(Broker::report);
        reports.chain(views).collect::<Vec<String>>().join("\n")
    }

    /// The partitions of a topic as broker `id` sees them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn describe(&self, id: usize, topic: &str) -> io::Result<Vec<PartitionView>> {
        let topic = self.metadata(id, topic)?.topics.pop().unwrap_or_default();
        let view = topic.partitions.into_iter().map(|partition| PartitionView {
            index: partition.partition_index,
            leader: partition.leader_id,
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes.into_iter().collect(),
        });
        let mut views: Vec<PartitionView> = view.collect();
        views.sort_unstable_by_key(|view| view.index);
        Ok(views)
    }

    fn metadata(&self, id: usize, topic: &str) -> io::Result<MetadataResponse> {
        let name = Some(topic.to_owned());
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name, ..MetadataRequestTopic::default() }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let mut wire = Wire::connect_within(&self.brokers[id - 1].bootstrap(), ANSWER_PATIENCE)?;
        wire.call(&request, METADATA_VERSION)
    }

    /// The folder of a topic below `topics` in each broker's data directory.
    pub fn folder_of(&self, topic: &str) -> String {
        let found = wait_until("the id of a topic", PATIENCE, || {
            let answers = (1..=self.len()).filter_map(|id| self.metadata(id, topic).ok());
            let mut topics = answers.flat_map(|answer| answer.topics);
            topics.find(|found| found.error_code == 0).map(|found| found.topic_id)
        });
        let found = found.unwrap_or_else(|late| panic!("{late}: {topic}\n{}", self.report()));
        found.simple().to_string()
    }

    /// Makes a topic with three replicas; nobody may know yet who the controller is.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let config = |(key, value): &(&str, &str)| CreatableTopicConfig {
            name: (*key).to_owned(),
            value: Some((*value).to_owned()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                num_partitions: partitions,
                replication_factor: REPLICAS,
                configs: configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: 5000,
            ..CreateTopicsRequest::default()
        };
        let mut last = None;
        let made = wait_until("a new topic", PATIENCE, || {
            let mut wire =
                Wire::connect_within(&self.brokers[0].bootstrap(), ANSWER_PATIENCE).ok()?;
            let code = wire.call(&request, CREATE_TOPICS_VERSION).ok()?.topics[0].error_code;
            last = Some(code);
            [0, TOPIC_ALREADY_EXISTS].contains(&code).then_some(())
        });
        made.unwrap_or_else(|late| panic!("{late}; {last:?}\n{}", self.report()));
        self.wait_until_whole(&[name]);
    }

    /// Waits until every broker says that all replicas of these topics are in sync.
    pub fn wait_until_whole(&self, topics: &[&str]) {
        let mut seen = Vec::new();
        let is_whole = wait_until("every replica in sync", PATIENCE, || {
            seen.clear();
            for id in 1..=self.brokers.len() {
                for topic in topics {
                    let views = self.describe(id, topic);
                    let is_whole = views.as_ref().is_ok_and(|views| {
                        !views.is_empty() && views.iter().all(PartitionView::is_whole)
                    });
                    seen.push((id, *topic, views));
                    if !is_whole {
                        return None;
                    }
                }
            }
            Some(())
        });
        is_whole.unwrap_or_else(|late| panic!("{late}; last {seen:?}\n{}", self.report()));
    }

    /// Moves every partition of a topic to the replicas that `place` gives it, and waits until it
    /// is there.
    pub fn reassign(&self, topic: &str, place: impl Fn(&PartitionView) -> Vec<i32>) {
        let views = self.describe(1, topic).expect("the brokers run");
        let wanted: Vec<Vec<i32>> = views.iter().map(&place).collect();
        let partition = |(view, wanted): (&PartitionView, &Vec<i32>)| ReassignablePartition {
            partition_index: view.index,
            replicas: Some(wanted.clone()),
        };
        let topics = vec![ReassignableTopic {
            name: topic.to_owned(),
            partitions: views.iter().zip(&wanted).map(partition).collect(),
        }];
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: 30_000,
            topics,
            ..AlterPartitionReassignmentsRequest::default()
        };
        let mut wire = Wire::connect(&self.brokers[0].bootstrap()).expect("the brokers run");
        let answer = wire.call(&request, REASSIGN_VERSION).expect("the brokers run");
        assert_eq!(answer.error_code, 0, "{answer:?}");
        let mut results = answer.responses.iter().flat_map(|topic| &topic.partitions);
        assert!(results.all(|result| result.error_code == 0), "{answer:?}");
        let mut seen = Vec::new();
        let moved = wait_until("the new replicas", PATIENCE, || {
            seen = self.describe(1, topic).unwrap_or_default();
            let is_there = |(view, wanted): (&PartitionView, &Vec<i32>)| {
                view.replicas == *wanted && view.is_whole()
            };
            (seen.len() == wanted.len() && seen.iter().zip(&wanted).all(is_there)).then_some(())
        });
        moved.unwrap_or_else(|late| {
            panic!("{late}: {wanted:?}, there is {seen:?}\n{}", self.report())
        });
    }

    /// Has a broker lead every partition of a topic: it becomes the first replica of each, and
    /// all elect their first. It must be in sync.
    pub fn lead(&self, topic: &str, id: usize) {
        let leader = i32::try_from(id).expect("a small id");
        self.reassign(topic, |view| {
            let others = view.replicas.iter().copied().filter(|replica| *replica != leader);
            iter::once(leader).chain(others).collect()
        });
        let mut seen = Vec::new();
        let is_led = wait_until("a chosen leader", PATIENCE, || {
            let partitions = self.describe(id, topic).ok()?.iter().map(|view| view.index).collect();
            let partitions = TopicPartitions { topic: topic.to_owned(), partitions };
            let request = ElectLeadersRequest {
                topic_partitions: Some(vec![partitions]),
                timeout_ms: 5000,
                ..ElectLeadersRequest::default()
            };
            let address = self.brokers[id - 1].bootstrap();
            let mut wire = Wire::connect_within(&address, ANSWER_PATIENCE).ok()?;
            // Who leads in the end says whether it was refused.
            wire.call(&request, ELECT_VERSION).ok()?;
            seen = (1..=self.len()).map(|id| self.describe(id, topic)).collect();
            let leads = |views: &io::Result<Vec<PartitionView>>| {
                let mut views = views.iter().flatten().peekable();
                views.peek().is_some() && views.all(|view| view.leader == leader)
            };
            seen.iter().all(leads).then_some(())
        });
        is_led.unwrap_or_else(|late| panic!("{late}: {id}; last {seen:?}\n{}", self.report()));
    }
}
