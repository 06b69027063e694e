//! Share groups in a cluster: who leads the partition, who keeps the group's state of it and who
//! coordinates the group are three brokers, each of which dies in turn. Each record is delivered as
//! the state says, with its deliveries counted, and none is lost.

use crate::controller::image::{MetadataImage, OFFSETS_TOPIC, SHARE_STATE_TOPIC};
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::{ShareCoordinator, ShareKey};
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, PartitionId, TopicPartition};
use crate::protocol::messages::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition,
    AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::initialize_share_group_state::{
    InitializeShareGroupStateRequest, InitializeStateData, PartitionData,
};
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::messages::share_acknowledge::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use crate::protocol::messages::share_fetch::{FetchPartition, FetchTopic, ShareFetchRequest};
use crate::protocol::messages::share_group_heartbeat::ShareGroupHeartbeatRequest;
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::schema::Request;
use crate::shard::coordinator_host::coordinating_partition;
use crate::sim::broker::SimClient;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use std::collections::BTreeSet;
use std::sync::Arc;

const TOPIC: &str = "jobs";
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
/// Records of one round.
const ROUND: i64 = 10;
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 120_000_000;
/// Pause before a client asks again, in simulated microseconds.
const RETRY_US: u64 = 20_000;

const SETUP: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 2,
    settings: &[
        ("min.insync.replicas", "2"),
        // Leaders move when the test says so.
        ("auto.leader.rebalance.enable", "false"),
        ("offsets.topic.num.partitions", "3"),
        ("offsets.topic.replication.factor", "3"),
        ("share.coordinator.state.topic.num.partitions", "3"),
        ("share.coordinator.state.topic.replication.factor", "3"),
        ("share.coordinator.state.topic.min.isr", "2"),
        ("group.share.record.lock.duration.ms", "1000"),
        ("group.share.min.record.lock.duration.ms", "1000"),
        ("group.share.delivery.count.limit", "10"),
    ],
};

/// A member of the group that fetches.
struct Member {
    name: String,
    at: NodeId,
    epoch: i32,
    client: SimClient,
}

struct World {
    cluster: SimCluster,
    seed: u64,
    partition: TopicPartition,
    group: String,
    produced: i64,
    /// Accepted or rejected, and answered so.
    settled: BTreeSet<i64>,
}

/// The brokers that a share group's member depends on.
#[derive(Debug, Clone, Copy)]
enum Seat {
    Leader,
    ShareCoordinator,
    GroupCoordinator,
}

impl World {
    fn new(seed: u64) -> World {
        let mut cluster = SimCluster::new(seed, &SETUP);
        let is_up = cluster.wait_us(PATIENCE_US, |c| {
            c.ids().into_iter().all(|id| {
                let shard = c.core(id, 0);
                let shard = shard.borrow();
                shard.metadata.controller().is_some() && shard.image.alive().count() == 3
            })
        });
        assert!(is_up, "seed {seed}");
        let nowhere = TopicPartition {
            topic: crate::model::ids::TopicId(uuid::Uuid::nil()),
            partition: PartitionId(0),
        };
        let (group, settled) = (String::new(), BTreeSet::new());
        let mut world = World { cluster, seed, partition: nowhere, group, produced: 0, settled };
        world.make_topics();
        world.choose_group();
        world
    }

    fn image(&self, id: NodeId) -> Arc<MetadataImage> {
        Arc::clone(&self.cluster.core(id, 0).borrow().image)
    }

    fn running(&self) -> Vec<NodeId> {
        self.cluster.ids().into_iter().filter(|id| self.cluster.is_running(*id)).collect()
    }

    fn make_topics(&mut self) {
        let topic = CreatableTopic {
            name: TOPIC.to_owned(),
            num_partitions: 1,
            replication_factor: 3,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(self.ask(1, request).topics[0].error_code, 0, "seed {}", self.seed);
        let share_key = "g:AAAAAAAAAAAAAAAAAAAAAQ:0".to_owned();
        for (key_type, key) in [(0, "g".to_owned()), (2, share_key)] {
            let coordinator_keys = vec![key];
            let find = FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() };
            drop(self.ask(1, find));
        }
        let is_there = self.cluster.wait_us(PATIENCE_US, |c| {
            let has_all = |image: &MetadataImage| {
                [TOPIC, OFFSETS_TOPIC, SHARE_STATE_TOPIC]
                    .iter()
                    .all(|name| image.topic_by_name(name).is_some())
            };
            c.ids().into_iter().all(|id| has_all(&c.core(id, 0).borrow().image))
        });
        assert!(is_there, "seed {}", self.seed);
        let topic = self.image(1).topic_by_name(TOPIC).expect("just made").id;
        self.partition = TopicPartition { topic, partition: PartitionId(0) };
    }

    /// A group whose three seats are three brokers.
    fn choose_group(&mut self) {
        for number in 0..1000 {
            self.group = format!("g{number}");
            let seats = self.seats().expect("all are up");
            if BTreeSet::from(seats).len() == 3 {
                return;
            }
        }
        panic!("no group is spread over the brokers, seed {}", self.seed);
    }

    fn partition_of(&self, seat: Seat) -> TopicPartition {
        // One that has just begun knows nothing yet.
        let images = self.running().into_iter().map(|id| self.image(id));
        let mut images = images.filter(|image| image.topic_by_name(SHARE_STATE_TOPIC).is_some());
        let image = images.next().expect("two brokers have all of it");
        let key = ShareKey { group: self.group.clone(), partition: self.partition };
        match seat {
            Seat::Leader => self.partition,
            Seat::ShareCoordinator => {
                coordinating_partition::<ShareCoordinator>(&image, &key.text()).expect("made")
            }
            Seat::GroupCoordinator => {
                coordinating_partition::<GroupCoordinator>(&image, &self.group).expect("made")
            }
        }
    }

    /// Who sits there, as it believes itself.
    fn holder(&self, seat: Seat) -> Option<NodeId> {
        let partition = self.partition_of(seat);
        self.running().into_iter().find(|id| self.image(*id).leader_core(&partition).is_ok())
    }

    fn seats(&self) -> Option<[NodeId; 3]> {
        Some([
            self.holder(Seat::Leader)?,
            self.holder(Seat::ShareCoordinator)?,
            self.holder(Seat::GroupCoordinator)?,
        ])
    }

    /// Who leads the partition, and in which epoch.
    fn term(&self) -> (NodeId, Option<LeaderEpoch>) {
        let leader = self.holder(Seat::Leader).expect("somebody leads");
        (leader, self.image(leader).leader_epoch(&self.partition))
    }

    /// Asks a broker that runs, on a connection of its own.
    fn ask<R: Request + 'static>(&mut self, id: NodeId, request: R) -> R::Response {
        let mut client = self.cluster.connect(id, 0);
        let answer = self.cluster.executor.run_until(async move { client.call(&request).await });
        answer.unwrap_or_else(|| panic!("no answer of broker {id}, seed {}", self.seed))
    }

    /// Asks whoever holds a seat until the answer is none to be tried again.
    fn ask_at<R: Request + Clone + 'static>(
        &mut self,
        seat: Seat,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> R::Response {
        for _ in 0..PATIENCE_US / RETRY_US {
            if let Some(id) = self.holder(seat) {
                let answer = self.ask(id, request.clone());
                let code = KafkaCode::from_number(code(&answer)).expect("a known code");
                if !code.is_retriable() {
                    assert_eq!(code, KafkaCode::None, "{seat:?}, seed {}", self.seed);
                    return answer;
                }
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("{seat:?} does not answer, seed {}", self.seed);
    }

    fn beat(&mut self, member: &str, epoch: i32) -> (i32, bool) {
        let request = ShareGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: member.to_owned(),
            member_epoch: epoch,
            subscribed_topic_names: (epoch >= 0).then(|| vec![TOPIC.to_owned()]),
            ..Default::default()
        };
        let answer = self.ask_at(Seat::GroupCoordinator, &request, |answer| answer.error_code);
        let assignment = answer.assignment.map(|assignment| assignment.topic_partitions);
        (answer.member_epoch, assignment.is_some_and(|topics| !topics.is_empty()))
    }

    /// A member joins, and is given the partition once the share coordinator knows of it.
    fn join(&mut self, member: &str) -> i32 {
        let (mut epoch, mut is_assigned) = self.beat(member, 0);
        for _ in 0..PATIENCE_US / RETRY_US {
            if is_assigned {
                return epoch;
            }
            self.cluster.pass_us(RETRY_US);
            (epoch, is_assigned) = self.beat(member, epoch);
        }
        panic!("{member} is assigned nothing, seed {}", self.seed);
    }

    /// As many records as a round has.
    fn produce(&mut self) {
        for _ in 0..ROUND {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            let value = self.produced.to_be_bytes();
            builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() }).unwrap();
            let data = PartitionProduceData { index: 0, records: builder.build().unwrap().into() };
            let topic = TopicProduceData {
                topic_id: self.partition.topic.0,
                partition_data: vec![data],
                ..Default::default()
            };
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![topic],
                ..ProduceRequest::default()
            };
            let code = |answer: &<ProduceRequest as Request>::Response| {
                answer.responses[0].partition_responses[0].error_code
            };
            self.ask_at(Seat::Leader, &request, code);
            self.produced += 1;
        }
    }

    fn member(&mut self, name: &str) -> Member {
        let at = self.holder(Seat::Leader).expect("somebody leads");
        let client = self.cluster.connect(at, 1);
        Member { name: name.to_owned(), at, epoch: 0, client }
    }

    fn call<R: Request + 'static>(&mut self, member: &mut Member, request: R) -> R::Response {
        let spare = self.cluster.connect(self.running()[0], 0);
        let mut client = std::mem::replace(&mut member.client, spare);
        let (client, answer) = self.cluster.executor.run_until(async move {
            let answer = client.call(&request).await;
            (client, answer)
        });
        member.client = client;
        answer.unwrap_or_else(|| panic!("no answer for {}, seed {}", member.name, self.seed))
    }

    /// What a member is given next: offsets and how often they were delivered.
    fn take(&mut self, member: &mut Member) -> Vec<(i64, i16)> {
        for _ in 0..PATIENCE_US / RETRY_US {
            match self.holder(Seat::Leader) {
                None => {
                    self.cluster.pass_us(RETRY_US);
                    continue;
                }
                Some(leader) if leader != member.at => {
                    (member.at, member.epoch) = (leader, 0);
                    member.client = self.cluster.connect(leader, 1);
                }
                Some(_) => {}
            }
            let given = self.fetch(member);
            if !given.is_empty() {
                return given;
            }
        }
        panic!("{} is given nothing, seed {}: settled {:?}", member.name, self.seed, self.settled);
    }

    fn fetch(&mut self, member: &mut Member) -> Vec<(i64, i16)> {
        let partition = FetchPartition { partition_index: 0, ..Default::default() };
        let topic = FetchTopic { topic_id: self.partition.topic.0, partitions: vec![partition] };
        let request = ShareFetchRequest {
            group_id: Some(self.group.clone()),
            member_id: Some(member.name.clone()),
            share_session_epoch: member.epoch,
            max_wait_ms: 200,
            min_bytes: 1,
            max_records: 100,
            batch_size: 100,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = self.call(member, request);
        match KafkaCode::from_number(answer.error_code) {
            Some(KafkaCode::None) => member.epoch += 1,
            Some(KafkaCode::ShareSessionNotFound) => {
                member.epoch = 0;
                return Vec::new();
            }
            code => panic!("{code:?}, seed {}", self.seed),
        }
        let data = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let Some(data) = data else { return Vec::new() };
        let code = KafkaCode::from_number(data.error_code).expect("a known code");
        assert!(code == KafkaCode::None || code.is_retriable(), "{data:?}, seed {}", self.seed);
        if code == KafkaCode::NotLeaderOrFollower && data.current_leader.leader_id >= 0 {
            let leader = data.current_leader.leader_id;
            assert!(answer.node_endpoints.iter().any(|node| node.node_id == leader));
        }
        let ranges = data.acquired_records.iter();
        let each = ranges.flat_map(|range| {
            (range.first_offset..=range.last_offset).map(|offset| (offset, range.delivery_count))
        });
        each.collect()
    }

    /// What a member says of records that it has.
    fn say(&mut self, member: &mut Member, offsets: &[i64], kind: i8) -> KafkaCode {
        let batch = |offset: &i64| AcknowledgementBatch {
            first_offset: *offset,
            last_offset: *offset,
            acknowledge_types: vec![kind],
        };
        let partition = AcknowledgePartition {
            partition_index: 0,
            acknowledgement_batches: offsets.iter().map(batch).collect(),
        };
        let topic_id = self.partition.topic.0;
        let topic = AcknowledgeTopic { topic_id, partitions: vec![partition] };
        let request = ShareAcknowledgeRequest {
            group_id: Some(self.group.clone()),
            member_id: Some(member.name.clone()),
            share_session_epoch: member.epoch,
            topics: vec![topic],
        };
        let answer = self.call(member, request);
        assert_eq!(answer.error_code, 0, "seed {}", self.seed);
        member.epoch += 1;
        let code = answer.responses[0].partitions[0].error_code;
        KafkaCode::from_number(code).expect("a known code")
    }

    /// Takes records until each of `wanted` was given, all of them and no others; how often.
    fn take_all(&mut self, member: &mut Member, wanted: std::ops::Range<i64>) -> Vec<(i64, i16)> {
        let mut given: Vec<(i64, i16)> = Vec::new();
        let left = wanted.clone().filter(|offset| !self.settled.contains(offset)).count();
        while given.len() < left {
            let some = self.take(member);
            for (offset, _) in &some {
                let is_new = given.iter().all(|(known, _)| known != offset);
                let is_due = wanted.contains(offset) && !self.settled.contains(offset);
                assert!(is_new && is_due, "{offset} of {some:?} {given:?}, seed {}", self.seed);
            }
            given.extend(some);
        }
        given.sort_unstable();
        given
    }

    /// Where the group reads on, by Kafka's request.
    fn start(&mut self) -> i64 {
        let topic = DescribeShareGroupOffsetsRequestTopic {
            topic_name: TOPIC.to_owned(),
            partitions: vec![0],
        };
        let group = DescribeShareGroupOffsetsRequestGroup {
            group_id: self.group.clone(),
            topics: Some(vec![topic]),
        };
        let request = DescribeShareGroupOffsetsRequest { groups: vec![group] };
        let answer =
            self.ask_at(Seat::GroupCoordinator, &request, |answer| answer.groups[0].error_code);
        answer.groups[0].topics[0].partitions[0].start_offset
    }

    /// Kills whoever holds a seat, and waits until all seats are taken again.
    fn kill(&mut self, seat: Seat) -> NodeId {
        let victim = self.holder(seat).expect("somebody sits there");
        self.cluster.kill(victim, self.seed.is_multiple_of(2));
        for _ in 0..PATIENCE_US / RETRY_US {
            if self.seats().is_some() {
                return victim;
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("{seat:?} is not taken again, seed {}", self.seed);
    }

    /// Starts a broker again, and waits until it is in sync everywhere.
    fn revive(&mut self, id: NodeId) {
        self.cluster.start(id);
        for _ in 0..PATIENCE_US / RETRY_US {
            let seats = [Seat::Leader, Seat::ShareCoordinator, Seat::GroupCoordinator];
            let is_whole = seats.into_iter().all(|seat| {
                let partition = self.partition_of(seat);
                let image = self.image(id);
                image.partition(&partition).is_some_and(|known| known.state.isr.len() == 3)
            });
            if is_whole && self.seats().is_some() {
                return;
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("broker {id} does not come back, seed {}", self.seed);
    }

    /// One round: records in every state, then the one that holds `seat` dies.
    fn round(&mut self, seat: Seat) {
        let base = self.produced;
        self.produce();
        let mut member = self.member(&format!("m{base}"));
        let given = self.take_all(&mut member, base..base + ROUND);
        assert!(given.iter().all(|(_, count)| *count == 1), "{given:?}, seed {}", self.seed);
        for (kind, offsets) in [(ACCEPT, 0..4), (RELEASE, 4..6), (REJECT, 6..7)] {
            let offsets: Vec<i64> = offsets.map(|at| base + at).collect();
            let code = self.say(&mut member, &offsets, kind);
            assert_eq!(code, KafkaCode::None, "seed {}", self.seed);
            if kind != RELEASE {
                self.settled.extend(offsets);
            }
        }
        let term = self.term();
        let victim = self.kill(seat);
        let has_moved = self.term() != term;
        let mut next = match has_moved {
            true => self.member(&format!("n{base}")),
            // Its locks end by themselves.
            false => member,
        };
        let given = self.take_all(&mut next, base..base + ROUND);
        assert_eq!(self.term() != term, has_moved, "seed {}", self.seed);
        for (offset, count) in &given {
            let was_released = (4..6).contains(&(offset - base));
            // A delivery that ends with its leader is not counted: nothing of it was written.
            let wanted = if was_released || !has_moved { 2 } else { 1 };
            let what = (seat, self.seed);
            assert_eq!(*count, wanted, "{offset} after the death of {what:?}: {given:?}");
        }
        let offsets: Vec<i64> = given.iter().map(|(offset, _)| *offset).collect();
        let code = self.say(&mut next, &offsets, ACCEPT);
        assert_eq!(code, KafkaCode::None, "{seat:?}, seed {}", self.seed);
        self.settled.extend(offsets);
        assert_eq!(self.start(), self.produced, "{seat:?}, seed {}", self.seed);
        // The group's members and partitions are known to its coordinator of now.
        self.join(&format!("late-{base}"));
        self.revive(victim);
    }
}

#[test]
fn share_groups_outlive_the_death_of_each_broker_that_they_depend_on() {
    for seed in 0..2 {
        let mut world = World::new(seed);
        world.join("first");
        world.member_reads_from_the_start();
        for seat in [Seat::Leader, Seat::ShareCoordinator, Seat::GroupCoordinator] {
            world.round(seat);
        }
    }
}

impl World {
    /// The group's first reader chooses its start: the end of a log that is still empty.
    fn member_reads_from_the_start(&mut self) {
        let mut member = self.member("chooser");
        for _ in 0..PATIENCE_US / RETRY_US {
            assert_eq!(self.fetch(&mut member), []);
            if self.start() == 0 {
                return;
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("no start is chosen, seed {}", self.seed);
    }
}

#[test]
fn start_offsets_are_set_and_forgotten_wherever_the_partition_is_led() {
    let mut world = World::new(7);
    let epoch = world.join("only");
    world.member_reads_from_the_start();
    world.produce();
    let mut member = world.member("only");
    let given = world.take_all(&mut member, 0..ROUND);
    let offsets: Vec<i64> = given.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(world.say(&mut member, &offsets, ACCEPT), KafkaCode::None);
    assert!(epoch > 0);
    world.beat("only", -1);

    let partition = AlterShareGroupOffsetsRequestPartition { partition_index: 0, start_offset: 3 };
    let topic = AlterShareGroupOffsetsRequestTopic {
        topic_name: TOPIC.to_owned(),
        partitions: vec![partition],
    };
    let group_id = world.group.clone();
    let alter = AlterShareGroupOffsetsRequest { group_id, topics: vec![topic] };
    let code = |answer: &<AlterShareGroupOffsetsRequest as Request>::Response| answer.error_code;
    let answer = world.ask_at(Seat::GroupCoordinator, &alter, code);
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    assert_eq!(world.start(), 3);
    // The leader hears of it when the next member begins.
    let mut later = world.member("later");
    let given = world.take_all(&mut later, 3..ROUND);
    assert_eq!(given.len(), 7, "{given:?}");
    assert!(given.iter().all(|(_, count)| *count == 1), "{given:?}");

    let topic = DeleteShareGroupOffsetsRequestTopic { topic_name: TOPIC.to_owned() };
    let group_id = world.group.clone();
    let delete = DeleteShareGroupOffsetsRequest { group_id, topics: vec![topic] };
    let code = |answer: &<DeleteShareGroupOffsetsRequest as Request>::Response| answer.error_code;
    let answer = world.ask_at(Seat::GroupCoordinator, &delete, code);
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(world.start(), -1);
}

#[test]
fn clients_may_not_ask_for_the_state_of_share_groups() {
    let mut world = World::new(3);
    let at = world.holder(Seat::ShareCoordinator).expect("somebody sits there");
    let partition = PartitionData { partition: 0, state_epoch: 1, start_offset: 0 };
    let topic_id = world.partition.topic.0;
    let topics = vec![InitializeStateData { topic_id, partitions: vec![partition] }];
    let group_id = world.group.clone();
    let request = InitializeShareGroupStateRequest { group_id, topics };
    let answer = world.ask(at, request);
    let code = answer.results[0].partitions[0].error_code;
    assert_eq!(KafkaCode::from_number(code), Some(KafkaCode::ClusterAuthorizationFailed));
}
