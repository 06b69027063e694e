//! Transactions as the log keeps them: what is refused, what readers are told, and what a start
//! finds again.

use crate::bench::{Bench, name, small_segments};
use bytes::Bytes;
use highwater::model::clock::Now;
use highwater::model::ids::{Offset, ProducerEpoch, ProducerId};
use highwater::model::topic_config::TopicConfig;
use highwater::protocol::record::{
    BatchBuilder, BatchOptions, NewRecord, ProducerStamp, TransactionMarker,
};
use highwater::sim::random::Random;
use highwater::storage::checkpoint::RecoveryPoint;
use highwater::storage::disk::{Disk, OpenMode};

const COORDINATOR_EPOCH: i32 = 4;

/// One record of a producer, as part of a transaction or not.
fn records(id: i64, epoch: i16, sequence: i32, is_transactional: bool) -> Bytes {
    let producer =
        ProducerStamp { producer_id: id, producer_epoch: epoch, base_sequence: sequence };
    let options = BatchOptions { producer, is_transactional, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.push(&NewRecord { timestamp_ms: 1, ..NewRecord::default() }).unwrap();
    builder.build().unwrap()
}

fn end(id: i64, epoch: i16, marker: TransactionMarker, coordinator_epoch: i32) -> Bytes {
    let producer = ProducerStamp { producer_id: id, producer_epoch: epoch, base_sequence: -1 };
    marker.batch(producer, coordinator_epoch, 1).unwrap()
}

fn abort(id: i64, epoch: i16) -> Bytes {
    end(id, epoch, TransactionMarker::Abort, COORDINATOR_EPOCH)
}

fn commit(id: i64, epoch: i16) -> Bytes {
    end(id, epoch, TransactionMarker::Commit, COORDINATOR_EPOCH)
}

fn code<T>(result: Result<T, highwater::storage::append_check::AppendError>) -> i16 {
    result.map_or_else(|error| error.kafka_code().number(), |_| 0)
}

/// The log of `bench` with `count` aborted transactions of four records each, all synced.
fn with_aborted(bench: &mut Bench, count: i32) {
    for at in 0..count {
        for sequence in 0..4 {
            bench.append(records(1, 0, at * 4 + sequence, true)).unwrap();
        }
        bench.coordinate(abort(1, 0)).unwrap();
    }
    bench.sync();
}

fn told(bench: &Bench) -> Vec<(i64, u64, u64, u64)> {
    let log = &bench.log;
    let aborted = log.aborted_between(log.log_start(), log.log_end());
    let told =
        aborted.iter().map(|a| (a.producer.0, a.first.get(), a.marker.get(), a.stable.get()));
    told.collect()
}

fn stable(bench: &Bench) -> u64 {
    bench.log.last_stable_offset(bench.log.log_end()).get()
}

#[test]
fn readers_of_committed_records_stop_at_the_oldest_undecided_transaction() {
    let mut bench = Bench::new(small_segments());
    bench.append(records(1, 0, 0, true)).unwrap();
    bench.append(records(2, 0, 0, true)).unwrap();
    bench.append(records(3, 0, 0, false)).unwrap();
    assert_eq!(stable(&bench), 0);
    bench.coordinate(commit(1, 0)).unwrap();
    assert_eq!(stable(&bench), 0, "the marker may still be lost");
    bench.log.on_committed(bench.log.log_end());
    assert_eq!(stable(&bench), 1);
    bench.coordinate(abort(2, 0)).unwrap();
    bench.log.on_committed(bench.log.log_end());
    assert_eq!(stable(&bench), 5);
    assert_eq!(told(&bench), [(2, 1, 4, 5)]);
}

#[test]
fn a_marker_of_an_old_producer_or_coordinator_is_refused() {
    let mut bench = Bench::new(small_segments());
    bench.append(records(1, 3, 0, true)).unwrap();
    assert_eq!(code(bench.coordinate(abort(1, 2))), 47);
    assert_eq!(code(bench.coordinate(commit(1, 3))), 0);
    assert_eq!(code(bench.coordinate(commit(1, 3))), 0, "sent again");
    assert_eq!(code(bench.coordinate(end(1, 3, TransactionMarker::Abort, 3))), 52);
    assert_eq!(code(bench.coordinate(end(1, 4, TransactionMarker::Abort, 5))), 0);
    assert_eq!(code(bench.append(records(1, 3, 1, true))), 47, "the marker raised the epoch");
    assert_eq!(code(bench.append(records(1, 4, 1, true))), 45);
    assert_eq!(code(bench.append(records(1, 4, 0, true))), 0);
    assert_eq!(code(bench.append(records(1, 4, 1, false))), 48, "its transaction is open");
    assert!(bench.log.producers().has_open_transaction(ProducerId(1), ProducerEpoch(4)));
}

#[test]
fn the_index_of_aborted_transactions_is_kafkas_and_stands_beside_the_markers_segment() {
    let mut bench = Bench::new(small_segments());
    with_aborted(&mut bench, 9);
    let mut expected = Vec::new();
    for (producer, first, marker, stable) in told(&bench) {
        expected.extend(0i16.to_be_bytes());
        for long in [producer, first.cast_signed(), marker.cast_signed(), stable.cast_signed()] {
            expected.extend(long.to_be_bytes());
        }
    }
    let bases = segment_bases(&bench);
    assert!(bases.len() > 2);
    let disk = bench.disk.clone();
    let found = bench.executor.run_until(async move {
        let mut found = Vec::new();
        for base in bases {
            let Ok(file) = disk.open(&name(base, "txnindex"), OpenMode::Read).await else {
                continue;
            };
            found.extend(disk.read_at(&file, 0, 10_000).await.unwrap());
        }
        found
    });
    assert_eq!(found, expected);
}

fn segment_bases(bench: &Bench) -> Vec<u64> {
    let mut bases = Vec::new();
    let mut at = Offset::ZERO;
    while at < bench.log.log_end() {
        bases.push(at.get());
        at = bench.log.read_end(at);
    }
    bases
}

#[test]
fn a_start_finds_open_and_aborted_transactions_with_and_without_its_files() {
    let mut bench = Bench::new(small_segments());
    with_aborted(&mut bench, 5);
    bench.append(records(2, 0, 0, true)).unwrap();
    bench.sync();
    close(&mut bench);
    let point = bench.log.recovery_point();
    let (before, open) = (told(&bench), bench.log.log_end().get() - 1);
    for point in [point, RecoveryPoint::default()] {
        bench.reopen(point);
        bench.log.on_committed(bench.log.log_end());
        assert_eq!(told(&bench), before);
        assert_eq!(stable(&bench), open);
    }
    // The last start had no use for the snapshot.
    close(&mut bench);
    let disk = bench.disk.clone();
    let path = bench_index(&bench);
    bench.executor.run_until(async move {
        let file = disk.open(&path, OpenMode::ReadWrite).await.unwrap();
        disk.truncate(&file, 33).await.unwrap();
    });
    bench.reopen(point);
    assert!(bench.report.has_read_all);
    assert_eq!(told(&bench), before);
    bench.reopen(point);
    assert!(!bench.report.has_read_all, "the index was written again");
    assert_eq!(told(&bench), before);
}

#[test]
fn an_index_of_aborted_transactions_that_a_killed_process_left_in_the_cache_survives_a_power_cut() {
    for seed in 0..20 {
        let mut bench = Bench::new(small_segments());
        with_aborted(&mut bench, 5);
        let (before, path) = (told(&bench), bench_index(&bench));
        let content = bench.disk.content(&path).unwrap();
        bench.disk.put(&path, Vec::new());
        let disk = bench.disk.clone();
        bench.executor.run_until(async move {
            let file = disk.open(&path, OpenMode::ReadWrite).await.unwrap();
            disk.write_at(&file, 0, vec![Bytes::from(content)]).await.unwrap();
        });
        bench.reopen(RecoveryPoint::default());
        close(&mut bench);
        let point = bench.log.recovery_point();
        assert!(point.has_snapshot, "the markers are not read again");
        bench.disk.crash(&mut Random::new(seed));
        bench.reopen(point);
        assert_eq!(told(&bench), before, "seed {seed}");
    }
}

/// Closes the log, as before an orderly stop; it stays in use.
fn close(bench: &mut Bench) {
    let mut log = std::mem::replace(&mut bench.log, Bench::new(small_segments()).log);
    let disk = bench.disk.clone();
    bench.log = bench.executor.run_until(async move {
        log.close(&disk).await.unwrap();
        log
    });
}

/// A log that was cut below the snapshot of its producers took them for unknown, and a record that
/// was sent again was there twice (swarm seed 962).
#[test]
fn producers_are_known_after_a_cut_below_their_snapshot() {
    let mut bench = Bench::new(small_segments());
    for sequence in 0..20 {
        bench.append(records(1, 0, sequence, false)).unwrap();
    }
    bench.sync();
    close(&mut bench);
    let point = bench.log.recovery_point();
    assert!(point.has_snapshot && point.producers_from == Offset::new(20));
    bench.reopen(point);
    for to in [15, 7, 1] {
        bench.cut(to);
        assert_eq!(bench.log.log_end().get(), to);
        let last = i32::try_from(to).unwrap() - 1;
        let again = bench.append(records(1, 0, last, false)).unwrap();
        assert!(again.is_duplicate, "cut at {to}");
        assert_eq!(code(bench.append(records(1, 0, last + 2, false))), 45, "cut at {to}");
    }
}

/// Path of the index that has the first aborted transaction.
fn bench_index(bench: &Bench) -> std::path::PathBuf {
    let marker = told(bench)[0].2;
    let bases = segment_bases(bench);
    name(bases[bases.partition_point(|base| *base <= marker) - 1], "txnindex")
}

#[test]
fn retention_takes_the_index_with_its_segment() {
    let config =
        TopicConfig { retention_bytes: Some(0), file_delete_delay_ms: 0, ..small_segments() };
    let mut bench = Bench::new(config);
    with_aborted(&mut bench, 5);
    let end = bench.log.log_end();
    let now = Now { wall_ms: 0, monotonic_us: 1_000_000 };
    for _ in 0..4 {
        if let Some(plan) = bench.log.plan_retention(now, end) {
            bench.log.on_recovery_point_durable(bench.log.recovery_point());
            let disk = bench.disk.clone();
            let done = bench.executor.run_until(async move { plan.execute(&disk).await });
            bench.log.retained(done.unwrap());
        }
    }
    assert_eq!(bench.log.segment_count(), 1);
    let start = bench.log.log_start();
    assert!(told(&bench).iter().all(|(.., marker, _)| *marker >= start.get()));
    let disk = bench.disk.clone();
    let names = bench.executor.run_until(async move {
        disk.list(std::path::Path::new(crate::bench::DIR)).await.unwrap()
    });
    let indexes = names.iter().filter(|entry| entry.name.ends_with(".txnindex"));
    assert!(indexes.count() <= 1);
}
