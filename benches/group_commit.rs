//! What one group commit costs: one batch for each of some partitions, one journal write for all
//! of them (`written`, what acks=1 waits for), and one sync more (`durable`, acks=all).
//!
//! Real logs, journal and disk, in a temporary folder; draining tails into segments, which frees
//! journal files, is part of the time, as it is of a broker's. Figures of one 2-core VM with ext4
//! on virtio, shared with compilers (lower ends, batches of 1 KB): written 10 us for 1 partition,
//! 65 us for 16, 0.2 ms for 256 (up to 13 ms where a drain falls in); durable 1.9 ms, 1.5 ms and
//! 2.2 ms, so a sync costs the same for 256 partitions as for one.
//!
//! `cargo bench --bench group_commit`

mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use highwater::storage::disk::Disk;
use rig::Rig;
use std::time::{Duration, Instant};

/// Writes everything pending into the journal in one write; what acks=1 waits for.
async fn write(rig: &mut Rig) {
    let mut entries = Vec::new();
    rig.logs.iter_mut().for_each(|log| log.pending_journal(&mut entries));
    let write = rig.journal.reserve(entries).expect("the drain has made room");
    rig.disk.write_at(&write.file, write.position, write.parts).await.expect("the disk works");
    for log in &mut rig.logs {
        log.on_journaled(log.log_end());
    }
    if rig.journal.is_crowded() {
        rig.drain().await;
    }
}

/// Makes everything written durable; what acks=all waits for.
async fn sync(rig: &mut Rig) {
    for file in &rig.journal.unsynced_files() {
        rig.disk.sync(file).await.expect("the disk works");
    }
    for log in &mut rig.logs {
        let end = log.log_end();
        log.on_journal_synced(end);
        assert!(log.durable_end() == end);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Written,
    Durable,
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group_commit");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(500));
    let executor = rig::executor();
    for (name, until) in [("written", Until::Written), ("durable", Until::Durable)] {
        for partitions in [1, 16, 256] {
            let folder = rig::folder();
            let mut rig = executor.run(Rig::new(folder.path(), partitions, 1 << 20));
            let now = rig.now();
            let batch = rig::batch(1, 1000, now);
            let logs = rig.logs.len();
            group.throughput(Throughput::Elements(logs as u64));
            group.bench_function(BenchmarkId::new(name, partitions), |bencher| {
                bencher.iter_custom(|iterations| {
                    executor.run(async {
                        let start = Instant::now();
                        for _ in 0..iterations {
                            for log in 0..logs {
                                rig.append(log, &batch, now);
                            }
                            write(&mut rig).await;
                            if until == Until::Durable {
                                sync(&mut rig).await;
                            }
                        }
                        start.elapsed()
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
