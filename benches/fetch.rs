//! What the storage part of a fetch costs: from the tail in memory, and from a segment file whose
//! pages the kernel still has, copied, sequentially as a consumer that catches up reads it.
//!
//! Real log and disk, in a temporary folder. `answer` adds the response's frame: a head, and the
//! batches by reference. Figures of one 2-core VM, shared with compilers (lower ends): tail 16 KiB
//! 0.14 us, 0.19 us with its answer; 1 MiB in 64 batches 1.2 and 2.6 us; segment 64 KiB 26 us,
//! 1 MiB 265 us.
//!
//! `cargo bench --bench fetch`

mod rig;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use highwater::model::errors::KafkaCode;
use highwater::model::ids::Offset;
use highwater::protocol::fetch_view::{FetchPartitionHead, FetchResponseHead, FetchResponseWriter};
use highwater::protocol::part::Part;
use highwater::protocol::primitive::{Frame, Writer};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::storage::partition_log::ReadPlan;
use rig::Rig;
use std::hint::black_box;
use std::time::{Duration, Instant};
use uuid::Uuid;

const LOG_BYTES: usize = 64 << 20;
const FETCH_VERSION: i16 = 17;

async fn read(rig: &Rig, from: Offset, max_bytes: usize) -> Bytes {
    let log = &rig.logs[0];
    match log.read(from, max_bytes, log.log_end(), true) {
        ReadPlan::File(read) => read.execute_in_memory(&rig.disk).await.expect("the disk works"),
        _ => panic!("{from:?} is in a segment"),
    }
}

fn answer(records: Vec<Bytes>) -> Frame {
    let records: Vec<Part> = records.into_iter().map(Part::Memory).collect();
    let head = FetchResponseHead { throttle_time_ms: 0, error: KafkaCode::None, session_id: 0 };
    let partition = FetchPartitionHead::refused(0, KafkaCode::None);
    let mut writer = Writer::for_frame();
    let mut response =
        FetchResponseWriter::start(&mut writer, FETCH_VERSION, &head, 1).expect("a known version");
    response.topic("", Uuid::from_u128(1), 1).expect("encodes");
    response.partition(&partition, &records).expect("encodes");
    response.finish(&[]).expect("encodes");
    writer.finish().expect("encodes")
}

/// Offset behind the last of some whole batches.
fn end_of(mut bytes: Bytes) -> Offset {
    let mut end = Offset::ZERO;
    while !bytes.is_empty() {
        let batch = CheckedBatch::check_first(&mut bytes).expect("the log holds whole batches");
        end = Offset::from_wire(batch.header().last_offset() + 1).expect("offsets count from 0");
    }
    end
}

/// Fills a log with batches of 16 KiB and drains it, keeping `tail_bytes` in memory.
async fn filled(dir: &std::path::Path, tail_bytes: usize) -> Rig {
    let mut rig = Rig::new(dir, 1, tail_bytes).await;
    let now = rig.now();
    let batch = rig::batch(16, 1000, now);
    for _ in 0..LOG_BYTES / batch.bytes().len() {
        rig.append(0, &batch, now);
    }
    rig.drain().await;
    rig
}

fn tail(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch_tail");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(500));
    let executor = rig::executor();
    let folder = rig::folder();
    let rig = executor.run(filled(folder.path(), 2 * LOG_BYTES));
    for max_bytes in [16 << 10, 1 << 20] {
        let middle = Offset::new(rig.logs[0].log_end().get() / 2);
        let log = &rig.logs[0];
        assert!(matches!(log.read(middle, 1, log.log_end(), true), ReadPlan::Memory(_)));
        group.bench_function(BenchmarkId::new("read", max_bytes), |bencher| {
            bencher.iter(|| log.read(black_box(middle), max_bytes, log.log_end(), true));
        });
        group.bench_function(BenchmarkId::new("answer", max_bytes), |bencher| {
            bencher.iter(|| match log.read(black_box(middle), max_bytes, log.log_end(), true) {
                ReadPlan::Memory(parts) => answer(parts),
                _ => panic!("the tail holds it"),
            });
        });
    }
    group.finish();
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn segment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch_segment");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(500));
    let executor = rig::executor();
    let folder = rig::folder();
    let rig = executor.run(filled(folder.path(), 0));
    for max_bytes in [64 << 10, 1 << 20] {
        // Every read of this size holds the same number of batches, so offsets can be counted.
        let step = executor.run(async { end_of(read(&rig, Offset::ZERO, max_bytes).await) });
        let last = rig.logs[0].log_end().get() - step.get();
        group.throughput(Throughput::Bytes(max_bytes as u64));
        group.bench_function(BenchmarkId::new("sequential", max_bytes), |bencher| {
            bencher.iter_custom(|iterations| {
                executor.run(async {
                    let mut from = Offset::ZERO;
                    let start = Instant::now();
                    for _ in 0..iterations {
                        black_box(read(&rig, from, max_bytes).await);
                        let next = from.get() + step.get();
                        from = if next > last { Offset::ZERO } else { Offset::new(next) };
                    }
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, tail, segment);
criterion_main!(benches);
