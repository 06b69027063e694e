//! A log on real files: which reads are lent to the kernel, and that they name the right bytes.

use super::disk::LocalDisk;
use crate::model::clock::Now;
use crate::model::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::model::topic_config::TopicConfig;
use crate::protocol::part::Part;
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use crate::protocol::record_batch::CheckedBatch;
use crate::storage::append_check::{AppendContext, AppendOrigin};
use crate::storage::checkpoint::RecoveryPoint;
use crate::storage::disk::Disk;
use crate::storage::partition_log::{OpenLog, PartitionLog, ReadPlan};
use crate::storage::tail_cache::TailArena;
use bytes::Bytes;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

const BATCHES: u64 = 200;
const FETCH_BYTES: usize = 300_000;
const NOW: Now = Now { monotonic_us: 0, wall_ms: 1_000 };

async fn open(disk: &LocalDisk, dir: &Path, end: u64) -> PartitionLog<LocalDisk> {
    let trusted = Offset::new(end);
    let point = RecoveryPoint {
        recovery_offset: trusted,
        log_start: Offset::ZERO,
        producers_from: trusted,
        high_watermark: trusted,
        ..RecoveryPoint::default()
    };
    let open = OpenLog {
        dir: dir.to_path_buf(),
        partition: TopicPartition::default(),
        config: Arc::new(TopicConfig::default()),
        point,
        now: NOW,
    };
    PartitionLog::open(disk, open).await.unwrap().0
}

fn batch(index: u64) -> CheckedBatch {
    let value = vec![u8::try_from(index % 251).unwrap(); 10_000];
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let (timestamp_ms, value) = (NOW.wall_ms, Some(value.as_slice()));
    builder.push(&NewRecord { timestamp_ms, key: None, value, headers: &[] }).unwrap();
    CheckedBatch::check_first(&mut builder.build().unwrap()).unwrap()
}

async fn fill(disk: &LocalDisk, log: &mut PartitionLog<LocalDisk>) {
    let mut arena = TailArena::with_budget(0);
    let origin = AppendOrigin::Client;
    let context = AppendContext { leader_epoch: LeaderEpoch(0), now: NOW, origin };
    for index in 0..BATCHES {
        log.append(batch(index), context, &mut arena).unwrap();
    }
    while let Some(plan) = log.plan_drain() {
        let done = plan.execute(disk).await.unwrap();
        log.drained(done);
    }
    log.trim_tail(&arena);
}

/// What one read brought.
struct Read {
    /// Batches from the front, all as they were written.
    batches: u64,
    bytes: usize,
    was_lent: bool,
}

async fn read_once(disk: &LocalDisk, log: &PartitionLog<LocalDisk>, next: u64) -> Read {
    let plan = log.read(Offset::new(next), FETCH_BYTES, log.log_end(), true);
    let ReadPlan::File(read) = plan else { panic!("offset {next} is in a file") };
    let (mut bytes, was_lent) = match read.execute(disk).await.unwrap() {
        Part::Memory(bytes) => (bytes, false),
        Part::File(range) => {
            let mut bytes = vec![0; range.len];
            rustix::io::pread(&range.file, &mut bytes, range.position).unwrap();
            (Bytes::from(bytes), true)
        }
    };
    assert!(bytes.len() <= FETCH_BYTES);
    let mut done = Read { batches: 0, bytes: bytes.len(), was_lent };
    while !bytes.is_empty() {
        let found = CheckedBatch::check_first(&mut bytes).unwrap();
        let index = next + done.batches;
        assert_eq!(found.header().base_offset(), i64::try_from(index).unwrap());
        assert_eq!(found.payload(), batch(index).payload());
        done.batches += 1;
    }
    done
}

/// Reads everything in order; how many answers were lent.
async fn read_all(disk: &LocalDisk, log: &PartitionLog<LocalDisk>) -> usize {
    let (mut next, mut lent) = (0, 0);
    while next < BATCHES {
        let read = read_once(disk, log, next).await;
        next += read.batches;
        lent += usize::from(read.was_lent);
    }
    lent
}

#[test]
fn what_a_reader_will_want_next_is_read_ahead_and_lent() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_path_buf();
    crate::runtime::tests::on_executor(move || async move {
        let disk = LocalDisk::new(&dir);
        let mut log = open(&disk, &dir, 0).await;
        fill(&disk, &mut log).await;
        let file = std::fs::File::open(dir.join("00000000000000000000.log")).unwrap();
        // The first read finds the reader's place; from then on it is one that goes on.
        let first = read_once(&disk, &log, 0).await;
        super::page_cache::evict(file.as_fd()).unwrap();
        let second = read_once(&disk, &log, first.batches).await;
        let position = (first.bytes + second.bytes) as u64;
        let ahead = || super::page_cache::holds(file.as_fd(), position, FETCH_BYTES);
        for _ in 0..60_000 {
            if ahead() {
                break;
            }
            // Through the pool that reads ahead, and behind it.
            disk.list(&dir).await.unwrap();
        }
        assert!(ahead(), "nothing was read ahead");
        let third = read_once(&disk, &log, first.batches + second.batches).await;
        assert!(third.was_lent);
    });
}

#[test]
fn a_reader_that_goes_on_is_lent_what_was_checked_before_and_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_path_buf();
    crate::runtime::tests::on_executor(move || async move {
        let disk = LocalDisk::new(&dir);
        let mut log = open(&disk, &dir, 0).await;
        fill(&disk, &mut log).await;
        read_all(&disk, &log).await;
        assert!(read_all(&disk, &log).await >= 5, "written by this process, read before");
        log.close(&disk).await.unwrap();

        let log = open(&disk, &dir, BATCHES).await;
        assert_eq!(log.log_end(), Offset::new(BATCHES));
        assert_eq!(read_all(&disk, &log).await, 0, "found on disk: the first read checks it");
        assert!(read_all(&disk, &log).await >= 5, "the second need not");
    });
}
