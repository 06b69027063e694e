//! Transactions whose coordinator dies, and whose clients never come back.

use crate::controller::image::{MetadataImage, TRANSACTIONS_TOPIC};
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::errors::KafkaCode;
use crate::model::ids::{Offset, PartitionId, TopicPartition};
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::schema::Request;
use crate::shard::coordinator_host::coordinating_partition;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use std::sync::Arc;

pub(super) const TOPIC: &str = "records";
pub(super) const ID: &str = "producer";
const TIMEOUT_MS: i32 = 1000;
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;
/// Pause before a client asks again, in simulated microseconds.
const RETRY_US: u64 = 20_000;
const SETUP: ClusterSetup<'_> = ClusterSetup {
    brokers: 3,
    cores: 1,
    settings: &[
        ("min.insync.replicas", "2"),
        ("auto.leader.rebalance.enable", "false"),
        ("transaction.state.log.num.partitions", "3"),
        ("transaction.state.log.replication.factor", "3"),
        ("transaction.state.log.min.isr", "2"),
    ],
};

/// A cluster with a topic and a coordinator.
pub(super) struct World {
    pub(super) cluster: SimCluster,
    pub(super) seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let topic =
            CreatableTopic { num_partitions: 1, replication_factor: 3, ..Default::default() };
        World::of(seed, SimCluster::new(seed, &SETUP), topic)
    }

    /// Of brokers that were just started, with a topic like this.
    pub(super) fn of(seed: u64, cluster: SimCluster, topic: CreatableTopic) -> World {
        let mut world = World { cluster, seed };
        world.until(|world| {
            world.cluster.ids().into_iter().all(|id| {
                let shard = world.cluster.core(id, 0);
                let shard = shard.borrow();
                shard.metadata.controller().is_some() && shard.image.alive().count() == 3
            })
        });
        let topic = CreatableTopic { name: TOPIC.to_owned(), ..topic };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(world.ask(1, &request, 7).topics[0].error_code, 0, "seed {seed}");
        let coordinator_keys = vec![ID.to_owned()];
        let find = FindCoordinatorRequest { key_type: 1, coordinator_keys, ..Default::default() };
        drop(world.ask(1, &find, 4));
        world.until(|world| {
            world.coordinator_partition().is_some() && world.leader(world.place(0)).is_some()
        });
        world
    }

    pub(super) fn until(&mut self, holds: impl Fn(&World) -> bool) {
        for _ in 0..PATIENCE_US / RETRY_US {
            if holds(self) {
                return;
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("not in time, seed {}", self.seed);
    }

    pub(super) fn images(&self) -> impl Iterator<Item = (NodeId, Arc<MetadataImage>)> {
        let ids = self.cluster.ids().into_iter().filter(|id| self.cluster.is_running(*id));
        ids.map(|id| (id, Arc::clone(&self.cluster.core(id, 0).borrow().image)))
    }

    /// Where records are.
    pub(super) fn place(&self, partition: i32) -> TopicPartition {
        let found = self.images().find_map(|(_, image)| Some(image.topic_by_name(TOPIC)?.id));
        let topic = found.expect("made before");
        TopicPartition { topic, partition: PartitionId(partition) }
    }

    pub(super) fn coordinator_partition(&self) -> Option<TopicPartition> {
        self.images()
            .filter(|(_, image)| image.topic_by_name(TRANSACTIONS_TOPIC).is_some())
            .find_map(|(_, image)| coordinating_partition::<TransactionCoordinator>(&image, ID))
    }

    /// Who leads a partition, as it believes itself.
    pub(super) fn leader(&self, id: TopicPartition) -> Option<NodeId> {
        self.images().find(|(_, image)| image.leader_core(&id).is_ok()).map(|(node, _)| node)
    }

    pub(super) fn ask<R>(&mut self, id: NodeId, request: &R, version: i16) -> R::Response
    where
        R: Request + Clone + 'static,
    {
        let (mut client, request) = (self.cluster.connect(id, 0), request.clone());
        let executor = &mut self.cluster.executor;
        let answer =
            executor.run_until(async move { client.call_version(&request, version).await });
        answer.unwrap_or_else(|| panic!("no answer of broker {id}, seed {}", self.seed))
    }

    /// Asks the coordinator until the answer is none to be tried again; says who it is.
    pub(super) fn ask_coordinator<R>(
        &mut self,
        (request, version): (&R, i16),
        code: impl Fn(&R::Response) -> i16,
    ) -> (NodeId, R::Response)
    where
        R: Request + Clone + 'static,
    {
        for _ in 0..PATIENCE_US / RETRY_US {
            let partition = self.coordinator_partition().expect("made before");
            if let Some(id) = self.leader(partition) {
                let answer = self.ask(id, request, version);
                let code = KafkaCode::from_number(code(&answer)).expect("a known code");
                if !code.is_retriable() && code != KafkaCode::ConcurrentTransactions {
                    assert_eq!(code, KafkaCode::None, "seed {}", self.seed);
                    return (id, answer);
                }
            }
            self.cluster.pass_us(RETRY_US);
        }
        panic!("the coordinator does not answer, seed {}", self.seed);
    }

    /// The producer's id and epoch.
    pub(super) fn init(&mut self, timeout_ms: i32) -> (i64, i16) {
        let init = InitProducerIdRequest {
            transactional_id: Some(ID.to_owned()),
            transaction_timeout_ms: timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
        };
        let (_, producer) = self.ask_coordinator((&init, 4), |answer| answer.error_code);
        (producer.producer_id, producer.producer_epoch)
    }

    /// Opens a transaction, or adds to it; the broker that coordinates it.
    pub(super) fn add(&mut self, (id, epoch): (i64, i16), partition: i32) -> NodeId {
        let partitions = vec![partition];
        let topic = AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions };
        let add = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: ID.to_owned(),
            v3_and_below_producer_id: id,
            v3_and_below_producer_epoch: epoch,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let code = |answer: &<AddPartitionsToTxnRequest as Request>::Response| {
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        };
        self.ask_coordinator((&add, 3), code).0
    }
}

/// The next coordinator's followers may not have all that the one before wrote when it takes over:
/// its partition cannot be replayed yet, and nobody asks a second time.
#[test]
fn a_transaction_of_a_dead_coordinator_and_a_dead_client_is_aborted() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        let producer = world.init(TIMEOUT_MS);
        let coordinator = world.add(producer, 0);
        world.cluster.kill(coordinator, false);
        let place = world.place(0);
        world.until(|world| {
            let Some(leader) = world.leader(place).filter(|leader| *leader != coordinator) else {
                return false;
            };
            let shard = world.cluster.core(leader, 0);
            let shard = shard.borrow();
            let index = shard.partition_index(&place).expect("led here");
            // Nothing but the marker is ever written there.
            shard.partitions[index].high_watermark() > Offset::ZERO
        });
    }
}
