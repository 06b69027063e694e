//! Cluster, clients and history of one seed, and how its time passes.

use super::caller::{Caller, Net, RETRY_US};
use super::group::{self, Group};
use super::history::History;
use super::offsets::{self, Register};
use super::producer::{self, Place};
use super::reader::{self, Source};
use super::rot::Harm;
use super::swarm::{Planted, Swarm};
use super::transactional;
use super::watch::Watch;
use super::{TOPIC, TXN_TOPIC, past, planted};
use highwater::controller::image::MetadataImage;
use highwater::model::errors::KafkaCode;
use highwater::model::ids::BrokerId;
use highwater::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use highwater::sim::cluster::{NodeId, SimCluster, Weather};
use highwater::sim::random::Random;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Steps without any time passing after which tasks merely keep each other busy.
const IDLE_STEPS_MAX: u32 = 200_000;
/// What a new cluster may take to be there, in simulated microseconds.
const START_US_MAX: u64 = 30_000_000;

pub(crate) struct World {
    pub(crate) cluster: SimCluster,
    pub(crate) swarm: Swarm,
    pub(crate) random: Random,
    pub(crate) net: Net,
    pub(crate) history: Rc<RefCell<History>>,
    pub(crate) past: Rc<RefCell<past::History>>,
    pub(crate) register: Rc<RefCell<Register>>,
    pub(crate) watch: Watch,
    pub(crate) harm: RefCell<Harm>,
    pub(crate) place: Place,
    pub(crate) txn_topic: uuid::Uuid,
    pub(crate) group: Option<Group>,
    pub(crate) steps: u64,
}

impl World {
    /// A cluster that is up, with its topic and clients.
    pub(crate) fn new(seed: u64, planted: Planted) -> World {
        let mut random = Random::new(seed);
        let swarm = Swarm::draw(&mut random, planted);
        let mut cluster = SimCluster::of(random.next(), swarm.voters, swarm.nodes());
        for id in cluster.ids() {
            cluster.disk(id).set_faults(swarm.usual_faults());
            cluster.start(id);
        }
        let net = Net::new(cluster.doors(), cluster.executor.handle(), swarm.clients);
        let place = Place { topic: uuid::Uuid::nil(), partitions: swarm.partitions };
        let mut world = World {
            cluster,
            random,
            net,
            history: Rc::default(),
            past: Rc::default(),
            register: Rc::default(),
            txn_topic: uuid::Uuid::nil(),
            group: None,
            watch: Watch::default(),
            harm: RefCell::default(),
            place,
            swarm,
            steps: 0,
        };
        world.set_weather();
        let is_up = world.wait_us(START_US_MAX, World::is_every_broker_active);
        assert!(is_up, "a cluster comes up: {:#?}", world.states());
        world.place.topic = world.create_topic(TOPIC, world.place.partitions);
        if world.swarm.transformers > 0 {
            world.txn_topic = world.create_topic(TXN_TOPIC, transactional::PARTITIONS);
        }
        if let Some(cast) = world.swarm.members.clone() {
            let topic = world.create_topic(group::TOPIC, group::PARTITIONS);
            world.group = Some(Group::start(&world.net, cast, topic));
        }
        world.spawn_clients();
        world
    }

    fn set_weather(&self) {
        let Swarm { delay_us_max, breaks, stragglers, .. } = self.swarm;
        self.cluster.set_weather(|weather| {
            *weather = Weather { delay_us_max, breaks, stragglers, ..Weather::default() };
        });
        if let Some(tamper) = planted::tamper(self.swarm.planted) {
            self.cluster.set_tamper(tamper);
        }
    }

    pub(crate) fn create_topic(&mut self, name: &'static str, num_partitions: i32) -> uuid::Uuid {
        let net = self.net.clone();
        let config = |name: &str, value: String| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value),
        };
        let mut configs = vec![config("segment.bytes", "1048576".to_owned())];
        configs.extend(self.swarm.roll_ms.map(|ms| config("segment.ms", ms.to_string())));
        self.cluster.executor.run_until(async move {
            let mut caller = Caller::new(&net);
            loop {
                let topic = CreatableTopic {
                    name: name.to_owned(),
                    num_partitions,
                    replication_factor: 3,
                    configs: configs.clone(),
                    ..CreatableTopic::default()
                };
                let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
                let at = net.any_broker();
                let Some(answer) = caller.call(at, request).await else { continue };
                let code = KafkaCode::from_number(answer.topics[0].error_code).unwrap();
                match code {
                    KafkaCode::None | KafkaCode::TopicAlreadyExists => break,
                    code => assert!(code.is_retriable(), "{code:?}"),
                }
                net.pause(RETRY_US).await;
            }
        });
        let is_known = |world: &World| {
            world.newest_image().is_some_and(|image| image.topic_by_name(name).is_some())
        };
        assert!(self.wait_us(START_US_MAX, is_known), "a topic that was made is there");
        self.newest_image().unwrap().topic_by_name(name).unwrap().id.0
    }

    fn spawn_clients(&mut self) {
        let handle = self.cluster.executor.handle();
        for number in 0..self.swarm.producers {
            let history = Rc::clone(&self.history);
            self.net.spawn(producer::run(self.net.clone(), self.place, number, history));
        }
        self.net.spawn(producer::run_without_promise(self.net.clone(), self.place));
        for partition in 0..self.place.partitions {
            let history = Rc::clone(&self.history);
            let source = self.source(partition);
            handle.spawn(reader::follow(self.net.clone(), source, history));
            if self.swarm.has_committers {
                let register = Rc::clone(&self.register);
                self.net.spawn(offsets::commit(self.net.clone(), self.place, partition, register));
            }
        }
        for number in 0..self.swarm.transformers {
            let past = Rc::clone(&self.past);
            self.net.spawn(transactional::run(self.net.clone(), self.txn_topic, number, past));
        }
        for source in self.txn_sources() {
            let past = Rc::clone(&self.past);
            handle.spawn(reader::follow_committed(self.net.clone(), source, past));
        }
    }

    fn source(&self, partition: i32) -> Source {
        Source { name: TOPIC, topic: self.place.topic, partition, isolation_level: 0 }
    }

    /// Where transactions are written, if there are any.
    pub(crate) fn txn_sources(&self) -> Vec<Source> {
        let topic = self.txn_topic;
        let count = if self.swarm.transformers > 0 { transactional::PARTITIONS } else { 0 };
        let source = |partition| Source { name: TXN_TOPIC, topic, partition, isolation_level: 1 };
        (0..count).map(source).collect()
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.net.handle.now().monotonic_us
    }

    /// Lets time pass, and looks at the invariants after every step.
    pub(crate) fn run_us(&mut self, us: u64) {
        let end_us = self.now_us() + us;
        let (mut idle, mut last_us) = (0, self.now_us());
        self.look();
        while self.now_us() < end_us && self.cluster.executor.step() {
            self.steps += 1;
            idle = if self.now_us() == last_us { idle + 1 } else { 0 };
            last_us = self.now_us();
            assert!(idle < IDLE_STEPS_MAX, "time does not pass any more");
            if let Some(life) = self.cluster.executor.polled() {
                let told = (&*self.history.borrow(), &*self.harm.borrow());
                self.watch.step(&self.cluster, told, self.place, life);
            }
        }
    }

    fn look(&mut self) {
        let told = (&*self.history.borrow(), &*self.harm.borrow());
        self.watch.look(&self.cluster, told, self.place);
    }

    /// Lets time pass until something holds; false when it does not within `us`.
    pub(crate) fn wait_us(&mut self, us: u64, holds: impl Fn(&World) -> bool) -> bool {
        let end_us = self.now_us() + us;
        while self.now_us() < end_us {
            if holds(self) {
                return true;
            }
            self.run_us(20_000);
        }
        holds(self)
    }

    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.cluster.ids().into_iter().filter(|id| self.cluster.is_running(*id)).collect()
    }

    /// The metadata of whoever knows most of it.
    pub(crate) fn newest_image(&self) -> Option<Arc<MetadataImage>> {
        let images = self.running().into_iter().map(|id| {
            let shard = self.cluster.core(id, 0);
            Arc::clone(&shard.borrow().image)
        });
        images.max_by_key(|image| image.end())
    }

    /// The metadata of whoever decides about it, so that nothing is decided that it lacks. What
    /// others know may be older than what was decided, after a start of all of them above all.
    pub(crate) fn decided_image(&self) -> Option<Arc<MetadataImage>> {
        let known = self.running().into_iter().map(|id| {
            let shard = self.cluster.core(id, 0);
            let shard = shard.borrow();
            let (term, is_active) = (shard.quorum.view().role.term, shard.quorum.is_active());
            (term, is_active, Arc::clone(&shard.image))
        });
        let latest = known.max_by_key(|(term, is_active, _)| (*term, *is_active));
        latest.filter(|(_, is_active, _)| *is_active).map(|(.., image)| image)
    }

    /// All run, and know of each other that they are in use.
    pub(crate) fn is_every_broker_active(&self) -> bool {
        let ids = self.cluster.ids();
        ids.iter().all(|id| {
            self.cluster.is_running(*id) && {
                let shard = self.cluster.core(*id, 0);
                let shard = shard.borrow();
                shard.metadata.controller().is_some()
                    && ids.iter().all(|other| shard.image.is_active(BrokerId(*other)))
            }
        })
    }

    /// What each running broker believes, for whoever looks at a failure.
    pub(crate) fn states(&self) -> Vec<String> {
        self.running().into_iter().map(|id| self.state(id)).collect()
    }

    fn state(&self, id: NodeId) -> String {
        let mut text = self.cluster.failure(id).unwrap_or_default();
        let first = self.cluster.core(id, 0);
        {
            let shard = first.borrow();
            let role = shard.quorum.view().role;
            let brokers = shard.image.brokers();
            let brokers: Vec<_> =
                brokers.map(|broker| (broker.id().0, broker.availability)).collect();
            text += &format!(
                "{id}: end {} {brokers:?} {:?} controller {:?} term {} leader {:?} writes {:?}",
                shard.image.end(),
                shard.membership,
                shard.metadata.controller(),
                role.term,
                role.leader,
                shard.write_state,
            );
        }
        for core in 0..first.borrow().cores {
            let shard = self.cluster.core(id, usize::from(core));
            let shard = shard.borrow();
            for (_, partition) in &shard.partitions {
                text += &format!("\n  {}", super::watch::describe(&shard, partition));
            }
        }
        text
    }
}
