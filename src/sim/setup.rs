//! How the tests of this folder begin, and how they cut the power.

use crate::controller::decide::Change;
use crate::model::broker_config::{BrokerConfig, Origin, Setting};
use crate::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::records::Records;
use crate::shard::metadata;
use crate::sim::broker::{SimBroker, SimStart};
use crate::sim::disk::SimDisk;
use crate::sim::executor::SimExecutor;
use crate::sim::random::Random;
use std::sync::Arc;
use uuid::Uuid;

/// What brokers of one test are started with.
pub(super) struct Setup<'a> {
    pub(super) cores: u16,
    pub(super) settings: &'a [(&'a str, &'a str)],
}

impl Setup<'_> {
    /// On a new disk, or on what is left of one.
    pub(super) fn start(&self, seed: u64, disk: Option<&SimDisk>) -> (SimBroker, SimDisk) {
        let executor = SimExecutor::new(seed);
        let handle = executor.handle();
        let disk = match disk {
            None => SimDisk::new(handle),
            Some(disk) => disk.moved_to(handle),
        };
        let config = Arc::new(self.config());
        let start = SimStart { seed, disk: disk.clone(), cores: self.cores, config };
        (SimBroker::start(executor, start), disk)
    }

    /// Cuts the power and starts again.
    pub(super) fn crash(
        &self,
        seed: u64,
        mut broker: SimBroker,
        disk: &SimDisk,
    ) -> (SimBroker, SimDisk) {
        broker.executor.kill_all();
        drop(broker);
        disk.crash(&mut Random::new(seed));
        self.start(seed + 1, Some(disk))
    }

    fn config(&self) -> BrokerConfig {
        let setting = |(key, value): &(&str, &str)| Setting {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            origin: Origin::Flag,
        };
        let settings: Vec<Setting> = self.settings.iter().map(setting).collect();
        BrokerConfig::from_settings(&settings).expect("legal settings").0
    }
}

/// A topic with as many partitions as the settings say.
pub(super) fn make_topic(broker: &mut SimBroker, name: &str) {
    let shard = broker.core(0);
    let names = vec![name.to_owned()];
    broker.executor.run_until(async move {
        metadata::change(&shard, Change::AutoCreateTopics { names }).await;
        assert!(shard.borrow().image.topics().next().is_some(), "it was made");
    });
}

/// One record to one partition, with acks=all.
pub(super) fn produce(topic_id: Uuid, index: i32, value: &[u8]) -> ProduceRequest {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let timestamp_ms = 1_700_000_000_000;
    let record = NewRecord { timestamp_ms, value: Some(value), ..NewRecord::default() };
    builder.push(&record).unwrap();
    let records = Records::from(builder.build().unwrap());
    let partition_data = vec![PartitionProduceData { index, records }];
    let topic = TopicProduceData { topic_id, partition_data, ..TopicProduceData::default() };
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}
