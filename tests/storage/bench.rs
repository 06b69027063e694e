//! One log on one disk, driven by hand: the only place here that knows how.

use bytes::Bytes;
use highwater::model::clock::Now;
use highwater::model::ids::{LeaderEpoch, Offset, TopicPartition};
use highwater::model::topic_config::TopicConfig;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use highwater::storage::append_check::{AppendContext, AppendError, AppendOrigin};
use highwater::storage::checkpoint::RecoveryPoint;
use highwater::storage::error::StorageError;
use highwater::storage::partition_log::{
    Appended, Cut, OpenLog, PartitionLog, ReadPlan, RecoveryReport,
};
use highwater::storage::tail_cache::TailArena;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const DIR: &str = "/topic/0";

/// A log, its disk, and what runs both.
pub(crate) struct Bench {
    pub(crate) executor: SimExecutor,
    pub(crate) disk: SimDisk,
    pub(crate) log: PartitionLog<SimDisk>,
    pub(crate) report: RecoveryReport,
    arena: TailArena,
    config: Arc<TopicConfig>,
}

pub(crate) fn small_segments() -> TopicConfig {
    TopicConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        timestamp_after_max_ms: i64::MAX,
        ..TopicConfig::default()
    }
}

/// An uncompressed batch of records with these timestamps, keys and values "value".
pub(crate) fn batch(timestamps: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for timestamp_ms in timestamps {
        let record = NewRecord {
            timestamp_ms: *timestamp_ms,
            key: Some(b"key"),
            value: Some(b"value"),
            headers: &[],
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn name(base_offset: u64, kind: &str) -> PathBuf {
    Path::new(DIR).join(format!("{base_offset:020}.{kind}"))
}

impl Bench {
    pub(crate) fn new(config: TopicConfig) -> Bench {
        let mut executor = SimExecutor::new(1);
        let disk = SimDisk::new(executor.handle());
        let config = Arc::new(config);
        let (log, report) = open(&mut executor, &disk, &config, RecoveryPoint::default());
        // Tails leave memory at once, so that reads of drained batches go to the files.
        let arena = TailArena::with_budget(0);
        Bench { executor, disk, log, report, arena, config }
    }

    /// Opens the log again as it lies on the disk.
    pub(crate) fn reopen(&mut self, point: RecoveryPoint) {
        let (log, report) = open(&mut self.executor, &self.disk, &self.config, point);
        (self.log, self.report) = (log, report);
    }

    pub(crate) fn append(&mut self, bytes: Bytes) -> Result<Appended, AppendError> {
        self.append_at(bytes, self.now())
    }

    pub(crate) fn append_at(&mut self, bytes: Bytes, now: Now) -> Result<Appended, AppendError> {
        self.append_from(AppendOrigin::Client, bytes, now)
    }

    /// Appends as a coordinator does.
    pub(crate) fn coordinate(&mut self, bytes: Bytes) -> Result<Appended, AppendError> {
        self.append_from(AppendOrigin::Coordinator, bytes, self.now())
    }

    /// Appends what a leader has stamped.
    pub(crate) fn replicate(&mut self, bytes: Bytes) -> Result<Appended, AppendError> {
        self.append_from(AppendOrigin::Replication, bytes, self.now())
    }

    fn append_from(
        &mut self,
        origin: AppendOrigin,
        mut bytes: Bytes,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        let context = AppendContext { leader_epoch: LeaderEpoch(7), now, origin };
        self.log.append(batch, context, &mut self.arena)
    }

    pub(crate) fn now(&self) -> Now {
        self.executor.handle().now()
    }

    pub(crate) fn drain(&mut self) {
        while let Some(plan) = self.log.plan_drain() {
            let disk = self.disk.clone();
            let done = self.executor.run_until(async move { plan.execute(&disk).await });
            self.log.drained(done.unwrap());
        }
        self.log.trim_tail(&self.arena);
    }

    pub(crate) fn sync(&mut self) {
        self.drain();
        if let Some(plan) = self.log.plan_sync() {
            let disk = self.disk.clone();
            let done = self.executor.run_until(async move { plan.execute(&disk).await });
            self.log.synced(done.unwrap());
        }
    }

    /// Takes back what a synced log has from an offset on.
    pub(crate) fn cut(&mut self, to: u64) {
        self.log.begin_cut(Cut::From(Offset::new(to)));
        self.log.pending_journal(&mut Vec::new());
        self.log.on_journaled(self.log.log_end());
        let plan = self.log.plan_cut(self.now()).unwrap();
        let disk = self.disk.clone();
        let cut = self.executor.run_until(async move { plan.execute(&disk).await });
        (self.log, self.report) = cut.unwrap();
    }

    pub(crate) fn read(&mut self, from: u64, max_bytes: usize) -> Result<Vec<u8>, StorageError> {
        let up_to = self.log.log_end();
        match self.log.read(Offset::new(from), max_bytes, up_to, true) {
            ReadPlan::Memory(parts) => Ok(parts.concat()),
            ReadPlan::File(read) => {
                let disk = self.disk.clone();
                let read = async move { read.execute_in_memory(&disk).await };
                Ok(self.executor.run_until(read)?.to_vec())
            }
            ReadPlan::Empty => Ok(Vec::new()),
            ReadPlan::OutOfRange => panic!("offset {from} is out of range"),
        }
    }

    /// Base offsets of all batches that can be read, passing over those that cannot.
    pub(crate) fn readable(&mut self) -> Vec<u64> {
        let mut bases = Vec::new();
        let mut from = self.log.log_start().get();
        while from < self.log.log_end().get() {
            match self.read(from, 1) {
                Ok(bytes) if !bytes.is_empty() => {
                    let batch = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
                    let base = u64::try_from(batch.header().base_offset()).unwrap();
                    bases.push(base);
                    from = u64::try_from(batch.header().last_offset()).unwrap() + 1;
                }
                Ok(_) | Err(_) => from += 1,
            }
        }
        bases
    }
}

fn open(
    executor: &mut SimExecutor,
    disk: &SimDisk,
    config: &Arc<TopicConfig>,
    point: RecoveryPoint,
) -> (PartitionLog<SimDisk>, RecoveryReport) {
    let open = OpenLog {
        dir: PathBuf::from(DIR),
        partition: TopicPartition::default(),
        config: Arc::clone(config),
        point,
        now: executor.handle().now(),
    };
    let disk = disk.clone();
    executor.run_until(async move { PartitionLog::open(&disk, open).await }).unwrap()
}
