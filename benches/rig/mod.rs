//! What the storage benches drive: real logs and a real journal on a real folder, by hand.
//!
//! The folder is a temporary one below the build directory, because /tmp is often memory; name
//! another disk with `HIGHWATER_BENCH_DIR`.

use bytes::Bytes;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use highwater::model::clock::Now;
use highwater::model::ids::{LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use highwater::model::topic_config::TopicConfig;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::runtime::clock::Clock;
use highwater::runtime::disk::LocalDisk;
use highwater::storage::append_check::{AppendContext, AppendOrigin};
use highwater::storage::checkpoint::{self, RecoveryPoint, RecoveryPoints};
use highwater::storage::disk::Disk;
use highwater::storage::journal::Journal;
use highwater::storage::partition_log::{OpenLog, PartitionLog};
use highwater::storage::tail_cache::TailArena;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

/// An executor as a shard has it.
pub(crate) fn executor() -> LocalExecutor {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 * 1024)
        .make()
        .expect("io_uring is allowed here, as the broker needs it to be")
}

/// A temporary folder on the disk to be measured.
pub(crate) fn folder() -> TempDir {
    let default = Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf();
    let parent = std::env::var_os("HIGHWATER_BENCH_DIR").map_or(default, PathBuf::from);
    TempDir::new_in(parent).expect("the folder can be written to")
}

/// One batch of `count` records of `value_size` bytes each, not compressed.
pub(crate) fn batch(count: usize, value_size: usize, now: Now) -> CheckedBatch {
    let value = vec![b'v'; value_size];
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..count {
        let timestamp_ms = now.wall_ms;
        let record = NewRecord { timestamp_ms, key: None, value: Some(&value), headers: &[] };
        builder.push(&record).expect("the batch is far from its limit");
    }
    let mut bytes: Bytes = builder.build().expect("it holds records");
    CheckedBatch::check_first(&mut bytes).expect("just built")
}

/// A core's storage: its logs, its journal, its disk.
pub(crate) struct Rig {
    pub(crate) disk: LocalDisk,
    pub(crate) logs: Vec<PartitionLog<LocalDisk>>,
    pub(crate) journal: Journal<LocalDisk>,
    journal_dir: PathBuf,
    arena: TailArena,
    clock: Clock,
}

impl Rig {
    /// Empty logs and an empty journal below `dir`; `tail_bytes` are kept in memory for readers.
    pub(crate) async fn new(dir: &Path, partitions: i32, tail_bytes: usize) -> Rig {
        let disk = LocalDisk::new(dir);
        let clock = Clock::start();
        let journal_dir = dir.join("journal");
        let (mut journal, entries) =
            Journal::open(&disk, &journal_dir).await.expect("the disk has room");
        assert!(entries.is_empty());
        let begin = journal.clear();
        disk.write_at(&begin.file, begin.position, begin.parts).await.expect("the disk has room");
        let topic = TopicId(Uuid::from_u128(1));
        let mut logs = Vec::new();
        for partition in (0..partitions).map(PartitionId) {
            let open = OpenLog {
                dir: dir.join(partition.0.to_string()),
                partition: TopicPartition { topic, partition },
                config: Arc::new(TopicConfig::default()),
                point: RecoveryPoint::default(),
                now: clock.now(),
            };
            let (log, _) = PartitionLog::open(&disk, open).await.expect("the disk has room");
            logs.push(log);
        }
        let arena = TailArena::with_budget(tail_bytes);
        Rig { disk, logs, journal, journal_dir, arena, clock }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Appends to one log, in memory only.
    pub(crate) fn append(&mut self, log: usize, batch: &CheckedBatch, now: Now) -> Offset {
        let context =
            AppendContext { leader_epoch: LeaderEpoch(0), now, origin: AppendOrigin::Client };
        let appended = self.logs[log].append(batch.clone(), context, &mut self.arena);
        appended.expect("a batch as clients send it").base_offset
    }

    /// Puts every tail into its segment, durably, and gives journal files back.
    pub(crate) async fn drain(&mut self) {
        for log in &mut self.logs {
            while let Some(plan) = log.plan_drain() {
                log.drained(plan.execute(&self.disk).await.expect("the disk has room"));
            }
            if let Some(plan) = log.plan_sync() {
                log.synced(plan.execute(&self.disk).await.expect("the disk works"));
            }
            log.trim_tail(&self.arena);
        }
        let points: RecoveryPoints =
            self.logs.iter().map(|log| (log.partition(), log.recovery_point())).collect();
        checkpoint::write(&self.disk, &self.journal_dir, &points).await.expect("the disk has room");
        for log in &mut self.logs {
            log.on_recovery_point_durable(points[&log.partition()]);
        }
        let files = self.journal.releasable(|partition, held| {
            let log = self.logs.iter().find(|log| log.partition() == *partition);
            log.is_none_or(|log| log.is_free_of(held))
        });
        self.journal.release(&files);
        if let Some(order) = self.journal.plan_file() {
            self.journal.add_file(order.execute(&self.disk).await.expect("the disk has room"));
        }
    }
}
