//! Bits that rot on one broker of a cluster: the replica leaves the in-sync set before anything of
//! it is given up, others lead and feed it, and nothing acknowledged is lost.

use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, PartitionId, TopicPartition};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::record_batch::{BatchHeader, CheckedBatch};
use crate::protocol::schema::Request;
use crate::shard::{joining, stop};
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use std::path::PathBuf;

const TOPIC: &str = "orders";
const SETUP: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 2,
    settings: &[("log.roll.ms", "1000"), ("log.retention.ms", "-1")],
};
/// With one segment and few index entries, so that a cut reads much again.
const SPARSE: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 2,
    settings: &[
        ("log.roll.ms", "4000000000000"),
        ("log.retention.ms", "-1"),
        ("log.index.interval.bytes", "1000000"),
    ],
};
const PATIENCE_US: u64 = 60_000_000;
const RECORDS: i64 = 25;
const RECORD_BYTES: usize = 1000;
const SEGMENT_RECORDS: i64 = 10;
/// Where in a batch a bit is flipped: its base offset, its magic, its checksum, its records.
const PLACES: [usize; 4] = [7, 16, 18, 500];

struct World {
    cluster: SimCluster,
    partition: TopicPartition,
    acked: i64,
}

/// What the metadata says of the partition: its leader and who is in sync.
type State = (Option<NodeId>, Vec<NodeId>);

/// Three brokers that have been started anew, so that what they have is in files only.
fn world(seed: u64, replicas: i16) -> World {
    world_of(&SETUP, seed, replicas)
}

fn world_of(setup: &ClusterSetup<'_>, seed: u64, replicas: i16) -> World {
    let mut cluster = SimCluster::new(seed, setup);
    let knows_all = |c: &SimCluster| {
        let shard = c.core(1, 0);
        let shard = shard.borrow();
        shard.metadata.controller().is_some()
            && (1..=3).all(|id| shard.image.is_active(BrokerId(id)))
    };
    assert!(cluster.wait_us(PATIENCE_US, knows_all), "seed {seed}");
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: replicas,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let made = call(&mut cluster, 1, request);
    assert_eq!(made.topics[0].error_code, 0, "seed {seed}");
    let topic = cluster.core(1, 0).borrow().image.topic_by_name(TOPIC).unwrap().id;
    let partition = TopicPartition { topic, partition: PartitionId(0) };
    let mut world = World { cluster, partition, acked: 0 };
    for _ in 0..RECORDS {
        world.produce();
    }
    for id in 1..=3 {
        world.cluster.kill(id, false);
        world.wait_for("it is missed", |world| !world.state().1.contains(&id));
        world.cluster.start(id);
        world.wait_for("all in sync", World::is_whole);
    }
    world
}

fn call<R: Request + 'static>(cluster: &mut SimCluster, at: NodeId, request: R) -> R::Response
where
    R::Response: 'static,
{
    let mut client = cluster.connect(at, 0);
    cluster.executor.run_until(async move { client.call(&request).await.expect("it runs") })
}

impl World {
    /// As the running broker knows it that has heard most.
    fn state(&self) -> State {
        let running = self.cluster.ids().into_iter().filter(|id| self.cluster.is_running(*id));
        let images = running.map(|id| self.cluster.core(id, 0).borrow().image.clone());
        let image = images.max_by_key(|image| image.end()).expect("somebody runs");
        let state = &image.partition(&self.partition).expect("it was made").state;
        let isr = state.isr.iter().map(|member| member.0).collect();
        (state.leader.map(|leader| leader.0), isr)
    }

    fn leader(&self) -> NodeId {
        self.state().0.expect("somebody leads")
    }

    fn replicas(&self) -> Vec<NodeId> {
        let id = self.leader();
        let shard = self.cluster.core(id, 0);
        let shard = shard.borrow();
        let state = &shard.image.partition(&self.partition).unwrap().state;
        state.replicas.iter().map(|replica| replica.broker.0).collect()
    }

    fn is_whole(&self) -> bool {
        let (leader, isr) = self.state();
        leader.is_some_and(|leader| self.cluster.is_running(leader))
            && isr.len() == self.replicas().len()
    }

    /// Where the log ends that a running broker has, once it is open.
    fn log_end(&self, id: NodeId) -> Option<i64> {
        (0..2).find_map(|core| {
            let shard = self.cluster.core(id, core);
            let shard = shard.borrow();
            let index = shard.partition_index(&self.partition)?;
            Some(shard.partitions[index].log.durable_end().to_wire())
        })
    }

    /// Lets time pass, in which nobody may be elected who lacks anything acknowledged.
    fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&World) -> bool) {
        for _ in 0..PATIENCE_US / 1000 {
            if holds(self) {
                return;
            }
            for id in self.state().1 {
                if self.cluster.is_running(id)
                    && let Some(end) = self.log_end(id)
                {
                    assert!(end >= self.acked, "broker {id} is in sync with {end}: {what}");
                }
            }
            self.cluster.pass_us(1000);
        }
        panic!("{what}: {:?}", self.state());
    }

    /// The next record, as a request; `self.acked` says what it holds.
    fn request(&self, acks: i16) -> ProduceRequest {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let value = vec![u8::try_from(self.acked).unwrap(); RECORD_BYTES];
        // Segments are as old as their records say.
        let timestamp_ms = self.acked / SEGMENT_RECORDS * 10_000;
        let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
        builder.push(&record).unwrap();
        let data = PartitionProduceData { index: 0, records: builder.build().unwrap().into() };
        let topic = TopicProduceData {
            topic_id: self.partition.topic.0,
            partition_data: vec![data],
            ..Default::default()
        };
        let topic_data = vec![topic];
        ProduceRequest { acks, timeout_ms: 30_000, topic_data, ..Default::default() }
    }

    fn produce(&mut self) {
        let request = self.request(-1);
        for _ in 0..1000 {
            let leader = self.leader();
            let answer = call(&mut self.cluster, leader, request.clone());
            let code = answer.responses[0].partition_responses[0].error_code;
            if code == 0 {
                self.acked += 1;
                return;
            }
            assert!(KafkaCode::from_number(code).unwrap().is_retriable());
            self.cluster.pass_us(10_000);
        }
        panic!("nothing is acknowledged");
    }

    /// Whether a broker has the record as it was acknowledged, or why it does not give it.
    fn read(&mut self, at: NodeId, offset: i64) -> Result<(), KafkaCode> {
        let partition = FetchPartition {
            partition: 0,
            fetch_offset: offset,
            partition_max_bytes: 1,
            ..FetchPartition::default()
        };
        let topic = FetchTopic {
            topic_id: self.partition.topic.0,
            partitions: vec![partition],
            ..FetchTopic::default()
        };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let answer: FetchResponse = call(&mut self.cluster, at, request);
        let data = answer.responses[0].partitions[0].clone();
        if data.error_code != 0 {
            return Err(KafkaCode::from_number(data.error_code).unwrap());
        }
        let mut bytes = data.records.into_bytes();
        let batch = CheckedBatch::check_first(&mut bytes).expect("an intact batch");
        assert_eq!(batch.header().base_offset(), offset);
        let records = batch.decode_records().unwrap();
        let value = records.iter().next().unwrap().unwrap().value.unwrap().to_vec();
        assert_eq!(value, vec![u8::try_from(offset).unwrap(); RECORD_BYTES]);
        Ok(())
    }

    /// Offsets that a broker refuses for damage.
    fn refused(&mut self, at: NodeId) -> Vec<i64> {
        let is_refused = |offset: &i64| match self.read(at, *offset) {
            Ok(()) => false,
            Err(code) => code == KafkaCode::CorruptMessage,
        };
        (0..RECORDS).filter(is_refused).collect()
    }

    fn assert_readable(&mut self, at: NodeId) {
        for offset in 0..self.acked {
            assert_eq!(self.read(at, offset), Ok(()), "offset {offset} at {at}");
        }
    }

    /// The segments of a broker's replica, oldest first.
    fn segments(&self, id: NodeId) -> Vec<PathBuf> {
        let folder = format!("topics/{}", self.partition.topic);
        let is_segment = |path: &PathBuf| {
            let text = path.to_string_lossy();
            text.contains(&folder) && text.ends_with(".log")
        };
        self.cluster.disk(id).paths().into_iter().filter(is_segment).collect()
    }

    /// Flips a bit in the second batch of a segment; returns its offset.
    fn flip(&self, id: NodeId, segment: usize, place: usize) -> i64 {
        self.flip_in(id, segment, 1, place)
    }

    /// Flips a bit in a batch of a segment, the first one being 0; returns its offset.
    fn flip_in(&self, id: NodeId, segment: usize, batch: usize, place: usize) -> i64 {
        let disk = self.cluster.disk(id);
        let path = &self.segments(id)[segment];
        let content = disk.content(path).unwrap();
        let mut start = 0;
        for _ in 0..batch {
            start += BatchHeader::read(&content[start..]).unwrap().size();
        }
        let offset = BatchHeader::read(&content[start..]).unwrap().base_offset();
        disk.flip(path, start + place, 0);
        offset
    }

    fn content(&self, id: NodeId) -> Vec<u8> {
        let disk = self.cluster.disk(id);
        self.segments(id).iter().flat_map(|path| disk.content(path).unwrap()).collect()
    }

    /// Every replica gives everything, from its files.
    fn assert_mended(&mut self) {
        for id in self.replicas() {
            self.cluster.kill(id, false);
            self.wait_for("it is missed", |world| !world.state().1.contains(&id));
            self.cluster.start(id);
            self.wait_for("all in sync", World::is_whole);
            self.assert_readable(id);
        }
        let contents: Vec<Vec<u8>> = self.replicas().iter().map(|id| self.content(*id)).collect();
        assert!(contents.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_follower_in_which_a_reader_finds_damage_leaves_and_is_fetched_anew() {
    for (seed, place) in (0..).zip(PLACES) {
        let mut world = world(seed, 3);
        let leader = world.leader();
        let follower = if leader == 1 { 2 } else { 1 };
        let offset = world.flip(follower, 1, place);
        assert_eq!(world.read(follower, offset), Err(KafkaCode::CorruptMessage), "{place}");
        world.wait_for("it leaves", |world| !world.state().1.contains(&follower));
        world.wait_for("it is back", World::is_whole);
        assert_eq!(world.leader(), leader);
        world.assert_readable(follower);
        world.assert_mended();
    }
}

#[test]
fn a_leader_in_which_a_reader_finds_damage_hands_over_and_is_fetched_anew() {
    for (seed, place) in (10..).zip(PLACES) {
        let mut world = world(seed, 3);
        let leader = world.leader();
        let offset = world.flip(leader, 0, place);
        assert_eq!(world.read(leader, offset), Err(KafkaCode::CorruptMessage), "{place}");
        world.wait_for("another leads", |world| world.state().0.is_some_and(|id| id != leader));
        let next = world.leader();
        world.wait_for("it leads", |world| world.log_end(next).is_some());
        world.produce();
        world.assert_readable(next);
        world.wait_for("it is back", World::is_whole);
        world.assert_mended();
    }
}

#[test]
fn a_leader_that_is_alone_gives_up_nothing_until_another_replica_is_in_sync() {
    for seed in 20..22 {
        let mut world = world(seed, 2);
        let leader = world.leader();
        let follower = world.replicas().into_iter().find(|id| *id != leader).unwrap();
        world.cluster.kill(follower, false);
        world.wait_for("it is missed", |world| world.state() == (Some(leader), vec![leader]));
        let offset = world.flip(leader, 1, PLACES[3]);
        assert_eq!(world.refused(leader), [offset], "seed {seed}");
        world.produce();
        world.cluster.pass_us(2_000_000);
        assert_eq!(world.state(), (Some(leader), vec![leader]), "it goes on");
        assert_eq!(world.log_end(leader), Some(RECORDS + 1), "nothing is cut");
        assert_eq!(world.refused(leader), [offset], "seed {seed}");
        world.cluster.start(follower);
        world.wait_for("another leads", |world| world.state().0 == Some(follower));
        world.wait_for("all in sync", World::is_whole);
        world.assert_mended();
    }
}

#[test]
fn damage_that_an_opening_finds_costs_membership_before_the_log_is_cut() {
    for (seed, is_in_journal) in (30..).zip([false, false, true, true]) {
        let mut world = world(seed, 3);
        let leader = world.leader();
        let follower = if leader == 1 { 2 } else { 1 };
        if is_in_journal {
            // Then the start opens the log twice, and only the first time reads the segment.
            world.produce();
        }
        world.cluster.kill(follower, false);
        world.flip(follower, 1, PLACES[3]);
        // It has to be made again, so the segment is read.
        let index = world.segments(follower)[1].with_extension("index");
        world.cluster.disk(follower).put(&index, vec![0]);
        world.cluster.start(follower);
        world.wait_for("it is missed", |world| !world.state().1.contains(&follower));
        world.wait_for("all in sync", World::is_whole);
        world.assert_mended();
    }
}

#[test]
fn damage_below_a_cut_costs_membership_before_the_log_is_cut() {
    for (seed, place) in (50..).zip(PLACES) {
        let mut world = world_of(&SPARSE, seed, 3);
        let (leader, replicas) = (world.leader(), world.replicas());
        let mut others = replicas.into_iter().filter(|id| *id != leader);
        let (next, follower) = (others.next().unwrap(), others.next().unwrap());
        // The follower gets a record that the next leader does not.
        world.cluster.set_weather(|weather| _ = weather.cuts.insert((leader, next)));
        let alone = world.request(1);
        let answer = call(&mut world.cluster, leader, alone);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "seed {seed}");
        world.wait_for("it has it", |world| world.log_end(follower) == Some(RECORDS + 1));
        assert_eq!(world.state().1.len(), 3, "seed {seed}");
        assert_eq!(world.flip_in(follower, 0, 20, place), 20, "that all of them have");
        world.cluster.kill(leader, false);
        world.cluster.set_weather(|weather| weather.cuts.clear());
        world.wait_for("the next leads", |world| world.state().0 == Some(next));
        world.wait_for("it leaves", |world| !world.state().1.contains(&follower));
        world.wait_for("it is back", |world| world.state().1.contains(&follower));
        world.cluster.start(leader);
        world.wait_for("all in sync", World::is_whole);
        world.assert_mended();
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_fetched_anew() {
    for seed in 40..42 {
        let mut world = world(seed, 3);
        let leader = world.leader();
        let follower = if leader == 1 { 2 } else { 1 };
        let shard = world.cluster.core(follower, 0);
        world.cluster.executor.run_until(async move {
            joining::leave(&shard).await;
            stop::stop_broker(&shard).await;
        });
        world.cluster.kill(follower, false);
        let path = world.segments(follower).pop().unwrap();
        world.cluster.disk(follower).spoil(&path);
        world.produce();
        world.cluster.start(follower);
        world.wait_for("it is open", |world| world.log_end(follower).is_some());
        world.wait_for("all in sync", World::is_whole);
        world.assert_mended();
    }
}
