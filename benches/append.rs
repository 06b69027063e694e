//! What one append costs in memory: offsets, producer check, index, the copy into the tail.
//!
//! The log, its segments and its disk are the real ones, but no disk is waited for while the time
//! runs: tails go to their segment between two rounds. Minimum times of one 2-core VM, shared with
//! compilers: 1 record of 100 B 74 ns, 100 records 0.7 to 1.3 us (the copy into new memory), a
//! batch of 960 KiB, which stays in its receive buffer, 0.7 us.
//!
//! `cargo bench --bench append`

mod rig;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rig::Rig;
use std::time::{Duration, Instant};

/// Appends per round; what they leave in memory is drained before the next one.
const ROUND_BYTES: u64 = 8 << 20;

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));
    let executor = rig::executor();
    for (records, value_size) in [(1, 100), (100, 100), (15, 64 << 10)] {
        let folder = rig::folder();
        let mut rig = executor.run(Rig::new(folder.path(), 1, 1 << 20));
        let now = rig.now();
        let batch = rig::batch(records, value_size, now);
        let size = batch.bytes().len() as u64;
        let appends_per_round = (ROUND_BYTES / size).max(1);
        group.throughput(Throughput::Bytes(size));
        let shape = format!("{records}x{value_size}");
        group.bench_function(BenchmarkId::new("batch", shape), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut elapsed = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let count = left.min(appends_per_round);
                    let start = Instant::now();
                    for _ in 0..count {
                        rig.append(0, &batch, now);
                    }
                    elapsed += start.elapsed();
                    left -= count;
                    executor.run(rig.drain());
                }
                elapsed
            });
        });
    }
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
