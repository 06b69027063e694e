//! The lives of one simulated broker: each ends by a crash, and the next begins on what is left of
//! the disk, maybe with another number of cores.

use highwater::controller::decide::{Change, ChangeReply, Mode, NewTopic};
use highwater::model::broker_config::{BrokerConfig, Origin, Setting};
use highwater::shard::metadata;
use highwater::sim::broker::{SimBroker, SimStart};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use highwater::sim::random::Random;
use std::sync::Arc;
use uuid::Uuid;

/// Longest time that a life goes on for its crash to hit upon a promise, in microseconds.
const HUNT_US_MAX: u64 = 20_000;

/// Between two lives.
pub(crate) struct Lives {
    disk: Option<SimDisk>,
    ended_us: u64,
    config: Arc<BrokerConfig>,
}

impl Lives {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Lives {
        let setting = |(key, value): &(&str, &str)| Setting {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            origin: Origin::Flag,
        };
        let settings: Vec<Setting> = settings.iter().map(setting).collect();
        let config = Arc::new(BrokerConfig::from_settings(&settings).unwrap().0);
        Lives { disk: None, ended_us: 0, config }
    }

    /// The clock goes on where it stood.
    pub(crate) fn begin(&mut self, random: &mut Random) -> SimBroker {
        let executor = SimExecutor::new(random.next());
        executor.handle().advance(self.ended_us);
        let disk = match &self.disk {
            Some(disk) => disk.moved_to(executor.handle()),
            None => SimDisk::new(executor.handle()),
        };
        self.disk = Some(disk.clone());
        let cores = 1 + u16::try_from(random.below(3)).unwrap();
        let config = Arc::clone(&self.config);
        SimBroker::start(executor, SimStart { seed: random.next(), disk, cores, config })
    }

    /// Lets a broker run for a while, and then, if the seed says so, until right after something
    /// happened that its clients count on.
    pub(crate) fn last(
        broker: &mut SimBroker,
        for_us: u64,
        random: &mut Random,
        promises: impl Fn() -> usize,
    ) {
        let handle = broker.executor.handle();
        let end_us = handle.now().monotonic_us + for_us;
        while handle.now().monotonic_us < end_us && broker.executor.step() {}
        if random.chance(50) {
            let (before, last_us) = (promises(), end_us + HUNT_US_MAX);
            let is_quiet = || promises() == before && handle.now().monotonic_us < last_us;
            while is_quiet() && broker.executor.step() {}
        }
    }

    /// The process dies, or the power goes.
    pub(crate) fn end(&mut self, mut broker: SimBroker, random: &mut Random) {
        self.ended_us = broker.executor.handle().now().monotonic_us;
        broker.executor.kill_all();
        drop(broker);
        let disk = self.disk.as_ref().unwrap();
        if random.chance(60) { disk.crash(random) } else { disk.kill() }
    }
}

pub(crate) fn create_topic(broker: &mut SimBroker, name: &str, partition_count: i32) -> Uuid {
    let shard = broker.core(0);
    let topic = NewTopic {
        name: name.to_owned(),
        partition_count,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![("segment.bytes".to_owned(), Some("1048576".to_owned()))],
    };
    let change = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    answers[0].result.as_ref().unwrap().id.0
}
