//! Markers that come late: a coordinator repeats a request that was not answered, and the first one
//! arrives when the producer's next transaction is open in the partition. Both transactions may
//! have the same producer epoch: in the old flow always, in the new one the marker of the first has
//! the epoch of the second (KIP-1228).

use crate::coordinator::transaction::metadata::Flow;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::messages::create_topics::CreatableTopic;
use crate::protocol::messages::end_txn::EndTxnRequest;
use crate::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use crate::protocol::records::Records;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use crate::sim::takeover_tests::{ID, TOPIC, World};

const REQUEST_TIMEOUT_US: u64 = 1_000_000;
/// What another coordinator may take until it answers.
const TAKEOVER_US: u64 = 10_000_000;
const RETRY_US: u64 = 20_000;
const STRAGGLE_US: u64 = 2 * TAKEOVER_US;
const TRANSACTION_TIMEOUT_MS: i32 = 120_000;
/// A record's partition has one replica, and its coordinator's two, which may be elsewhere: so what
/// is cut off between two brokers is nothing but the marker.
const SETUP: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 1,
    settings: &[
        ("request.timeout.ms", "1000"),
        ("auto.leader.rebalance.enable", "false"),
        ("transaction.state.log.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "2"),
        ("transaction.state.log.min.isr", "1"),
    ],
};

/// What is seen of a producer in the partition: whether its transaction is open and where readers
/// of committed records stop, and the first offsets of its aborted transactions.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    is_open: bool,
    stable: i64,
    aborted: Vec<i64>,
}

/// A world, the broker that leads a partition alone, and that partition.
struct Scene {
    world: World,
    flow: Flow,
    far: NodeId,
    place: TopicPartition,
}

impl Scene {
    fn new(seed: u64, flow: Flow) -> Scene {
        let mut cluster = SimCluster::dark(seed, &SETUP);
        cluster.set_weather(|weather| {
            weather.stragglers = 100;
            weather.straggle_us = STRAGGLE_US..STRAGGLE_US + 1;
        });
        cluster.ids().into_iter().for_each(|id| cluster.start(id));
        let topic =
            CreatableTopic { num_partitions: 3, replication_factor: 1, ..Default::default() };
        let world = World::of(seed, cluster, topic);
        let coordinating = world.coordinator_partition().expect("made before");
        let (_, image) = world.images().next().expect("they run");
        let state = &image.partition(&coordinating).expect("made before").state;
        let mut ids = world.cluster.ids().into_iter();
        let far = ids.find(|id| state.core_on(BrokerId(*id)).is_none()).expect("one of three");
        let places = (0..3).map(|partition| world.place(partition));
        let led = |place: &TopicPartition| {
            image.partition(place).is_some_and(|own| own.state.leader == Some(BrokerId(far)))
        };
        let place = places.into_iter().find(led).expect("each broker leads one");
        Scene { world, flow, far, place }
    }

    /// Writes a record of the producer's transaction, which this may open.
    fn write(&mut self, (id, epoch): (i64, i16), sequence: i32) {
        let index = self.place.partition.0;
        let version = match self.flow {
            Flow::EpochPerProducer => {
                self.world.add((id, epoch), index);
                11
            }
            Flow::EpochPerTransaction => 12,
        };
        let producer =
            ProducerStamp { producer_id: id, producer_epoch: epoch, base_sequence: sequence };
        let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let record = NewRecord { value: Some(&b"value"[..]), ..NewRecord::default() };
        builder.push(&record).expect("small");
        let records = Records::from(builder.build().expect("small"));
        let data = PartitionProduceData { index, records };
        let topic = TopicProduceData {
            name: TOPIC.to_owned(),
            partition_data: vec![data],
            ..Default::default()
        };
        let request = ProduceRequest {
            transactional_id: Some(ID.to_owned()),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        };
        for _ in 0..TAKEOVER_US / RETRY_US {
            let answer: ProduceResponse = self.world.ask(self.far, &request, version);
            let code = answer.responses[0].partition_responses[0].error_code;
            let code = KafkaCode::from_number(code).expect("a known code");
            if !code.is_retriable() {
                return assert_eq!(code, KafkaCode::None, "seed {}", self.world.seed);
            }
            self.world.cluster.pass_us(RETRY_US);
        }
        panic!("the record is not taken, seed {}", self.world.seed);
    }

    /// Ends the transaction; the producer is what the answer says, where it says so.
    fn end(&mut self, (id, epoch): (i64, i16), committed: bool) -> (i64, i16) {
        let request = EndTxnRequest {
            transactional_id: ID.to_owned(),
            producer_id: id,
            producer_epoch: epoch,
            committed,
        };
        let version = if self.flow == Flow::EpochPerProducer { 4 } else { 5 };
        let (_, answer) =
            self.world.ask_coordinator((&request, version), |answer| answer.error_code);
        match self.flow {
            Flow::EpochPerProducer => (id, epoch),
            Flow::EpochPerTransaction => (answer.producer_id, answer.producer_epoch),
        }
    }

    fn seen(&self, (id, epoch): (i64, i16)) -> Seen {
        let shard = self.world.cluster.core(self.far, 0);
        let shard = shard.borrow();
        let index = shard.partition_index(&self.place).expect("led there");
        let partition = &shard.partitions[index];
        let high_watermark = partition.high_watermark();
        let aborted = partition.log.aborted_between(Offset::ZERO, high_watermark);
        let producers = partition.log.producers();
        Seen {
            is_open: producers.has_open_transaction(ProducerId(id), ProducerEpoch(epoch)),
            stable: partition.log.last_stable_offset(high_watermark).to_wire(),
            aborted: aborted.into_iter().map(|one| one.first.to_wire()).collect(),
        }
    }

    /// A marker of the first transaction is cut off, and repeated on another connection; once it
    /// has got through, the second transaction begins. Gives its producer.
    fn overtake(&mut self, takes_over: bool) -> (i64, i16) {
        let first = self.world.init(TRANSACTION_TIMEOUT_MS);
        self.write(first, 0);
        let coordinating = self.world.coordinator_partition().expect("made before");
        let coordinator = self.world.leader(coordinating).expect("it has just answered");
        let way = (coordinator, self.far);
        self.world.cluster.set_weather(|weather| weather.cuts.extend([way]));
        let second = self.end(first, true);
        self.world.cluster.pass_us(REQUEST_TIMEOUT_US + REQUEST_TIMEOUT_US / 2);
        assert_eq!(self.seen(first), Seen { is_open: true, stable: 0, aborted: vec![] });
        self.world.cluster.set_weather(|weather| weather.cuts.clear());
        // Long enough for the coordinator to hear of the marker: who takes over has none to write.
        self.world.cluster.pass_us(2 * REQUEST_TIMEOUT_US);
        assert_eq!(self.seen(first), Seen { is_open: false, stable: 2, aborted: vec![] });
        if takes_over {
            self.world.cluster.kill(coordinator, false);
        }
        self.write(second, i32::from(self.flow == Flow::EpochPerProducer));
        second
    }
}

/// What is wrong with a transaction that was open when a marker of the one before arrived.
fn fault_of(seed: u64, flow: Flow, takes_over: bool) -> Option<String> {
    let mut scene = Scene::new(seed, flow);
    let producer = scene.overtake(takes_over);
    let before = scene.seen(producer);
    assert!(before.is_open && before.aborted.is_empty(), "{before:?}, seed {seed}");
    scene.world.cluster.pass_us(2 * STRAGGLE_US);
    let after = scene.seen(producer);
    if after != before {
        return Some(format!("{flow:?}, seed {seed}, takeover {takes_over}: {after:?}"));
    }
    // Its own marker ends it.
    scene.end(producer, false);
    scene.world.cluster.pass_us(REQUEST_TIMEOUT_US);
    assert_eq!(scene.seen(producer).aborted, [before.stable], "seed {seed}");
    None
}

#[test]
fn a_late_marker_leaves_the_next_transaction_alone() {
    let mut faults = Vec::new();
    for flow in [Flow::EpochPerProducer, Flow::EpochPerTransaction] {
        for seed in 0..4 {
            faults.extend([false, true].map(|takes_over| fault_of(seed, flow, takes_over)));
        }
    }
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "{faults:#?}");
}
