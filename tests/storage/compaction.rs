//! What compaction leaves: the last record of each key at its offset, for readers and for a start.

use crate::bench::{Bench, name};
use bytes::Bytes;
use highwater::model::clock::Now;
use highwater::model::ids::{Offset, ProducerId};
use highwater::model::topic_config::{CleanupPolicy, TopicConfig};
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{
    BatchBuilder, BatchOptions, NewRecord, ProducerStamp, TransactionMarker,
};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::sim::disk::SimDisk;
use highwater::storage::checkpoint::RecoveryPoint;
use highwater::storage::compaction::{RoundDone, Step, SwapPlan};
use highwater::storage::disk::Disk;
use highwater::storage::partition_log::TimestampLookup;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 86_400_000;
const MAP_BYTES: usize = 1 << 20;

fn compacted() -> TopicConfig {
    TopicConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        timestamp_after_max_ms: i64::MAX,
        cleanup: CleanupPolicy { delete: false, compact: true },
        ..TopicConfig::default()
    }
}

/// A record as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    offset: u64,
    timestamp_ms: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

fn records_of(mut bytes: Bytes) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        if batch.header().attributes().is_control() {
            continue;
        }
        for record in batch.decode_records().unwrap().iter() {
            let record = record.unwrap();
            seen.push(Seen {
                offset: u64::try_from(record.offset).unwrap(),
                timestamp_ms: record.timestamp_ms,
                key: record.key.unwrap().to_vec(),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
    }
    seen
}

/// One batch of (key, value) with a value of `None` for a tombstone.
fn keyed(options: BatchOptions, timestamp_ms: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        builder.push(&NewRecord { timestamp_ms, key, value, headers: &[] }).unwrap();
    }
    builder.build().unwrap()
}

impl Bench {
    fn later(&self, ms: i64) -> Now {
        let now = self.now();
        Now { wall_ms: now.wall_ms + ms, ..now }
    }

    /// Everything that can be read, in order, as a consumer walks.
    fn all(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut from = self.log.log_start().get();
        while from < self.log.log_end().get() {
            let bytes = Bytes::from(self.read(from, 1).unwrap());
            assert!(!bytes.is_empty(), "a read at {from} finds nothing below the end");
            let batch = CheckedBatch::check_first(&mut bytes.clone()).unwrap();
            let next = u64::try_from(batch.header().last_offset()).unwrap() + 1;
            assert!(next > from);
            seen.extend(records_of(bytes));
            from = next;
        }
        seen
    }

    /// Batches that can be read: base offset, and records, or `None` for a marker.
    fn batches(&mut self) -> Vec<(i64, Option<i32>)> {
        let mut batches = Vec::new();
        let mut from = self.log.log_start().get();
        while from < self.log.log_end().get() {
            let mut bytes = Bytes::from(self.read(from, 1).unwrap());
            let batch = CheckedBatch::check_first(&mut bytes).unwrap();
            let header = batch.header();
            from = u64::try_from(header.last_offset()).unwrap() + 1;
            let records = (!header.attributes().is_control()).then(|| header.record_count());
            batches.push((header.base_offset(), records));
        }
        batches
    }

    /// Markers of the aborted transactions that readers are told of.
    fn aborts(&self) -> Vec<u64> {
        let aborted = self.log.aborted_between(self.log.log_start(), self.log.log_end());
        aborted.iter().map(|one| one.marker.get()).collect()
    }

    /// Appends a batch of a transaction with one record.
    fn transactional(&mut self, producer_id: i64, base_sequence: i32, key: &str) {
        let options = BatchOptions {
            producer: ProducerStamp { producer_id, producer_epoch: 0, base_sequence },
            is_transactional: true,
            ..BatchOptions::default()
        };
        self.append(keyed(options, 10, &[(key, Some("of a transaction"))])).unwrap();
    }

    fn end(&mut self, producer_id: i64, marker: TransactionMarker) {
        let producer = ProducerStamp { producer_id, producer_epoch: 0, base_sequence: -1 };
        self.coordinate(marker.batch(producer, 4, 1_000).unwrap()).unwrap();
    }

    /// Makes everything but the active segment ready for compaction.
    fn settle_for_compaction(&mut self) {
        self.sync();
        if let Some(plan) = self.log.plan_snapshot_for_compaction() {
            let disk = self.disk.clone();
            let done = self.executor.run_until(async move { plan.execute(&disk).await });
            self.log.snapshot_written(done.unwrap());
        }
        let point = self.log.recovery_point();
        self.log.on_recovery_point_durable(point);
    }

    /// One whole round at a time `ms` from now; `None` when there is nothing to do.
    fn compact(&mut self, ms: i64, map_bytes: usize) -> Option<RoundDone> {
        self.settle_for_compaction();
        let end = self.log.log_end();
        self.log.on_committed(end);
        let stable_end = self.log.last_stable_offset(end);
        let mut round = self.log.plan_compaction(self.later(ms), stable_end, map_bytes)?;
        loop {
            let disk = self.disk.clone();
            let step;
            (round, step) = self.executor.run_until(async move {
                let step = round.step(&disk).await.unwrap();
                (round, step)
            });
            match step {
                Step::Worked { .. } => {}
                Step::Done(done) => {
                    self.log.compacted(done);
                    return Some(done);
                }
                Step::Swap(plan) => self.swap(*plan),
            }
        }
    }

    fn swap(&mut self, plan: SwapPlan<SimDisk>) {
        assert!(self.log.begin_swap(&plan));
        let disk = self.disk.clone();
        let done = self.executor.run_until(async move {
            plan.prepare(&disk).await.unwrap();
            plan.execute(&disk).await.unwrap()
        });
        self.log.swapped(done);
    }

    /// Offset of the first record at or after a time.
    fn at_time(&mut self, timestamp_ms: i64) -> Option<u64> {
        match self.log.plan_timestamp(timestamp_ms, self.log.log_end()) {
            TimestampLookup::None => None,
            TimestampLookup::Search(search) => {
                let disk = self.disk.clone();
                let found = self.executor.run_until(async move { search.execute(&disk).await });
                found.unwrap().map(|found| found.offset.get())
            }
        }
    }
}

fn plain() -> BatchOptions {
    BatchOptions::default()
}

/// Enough batches of a key that nobody looks at to close the segment before them.
fn close_segment(bench: &mut Bench, timestamp_ms: i64) {
    let filler = "f".repeat(900);
    for _ in 0..2 {
        let records = [("filler", Some(filler.as_str()))];
        bench.append(keyed(plain(), timestamp_ms, &records)).unwrap();
    }
}

fn keys(seen: &[Seen]) -> Vec<(u64, String)> {
    let without = seen.iter().filter(|record| record.key != b"filler");
    without
        .map(|record| (record.offset, String::from_utf8_lossy(&record.key).into_owned()))
        .collect()
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let mut bench = Bench::new(compacted());
    let first = [("a", Some("1")), ("b", Some("1")), ("a", Some("2"))];
    bench.append(keyed(plain(), 10, &first)).unwrap();
    bench.append(keyed(plain(), 20, &[("b", Some("2")), ("c", Some("1"))])).unwrap();
    bench.append(keyed(plain(), 30, &[("a", Some("3"))])).unwrap();
    close_segment(&mut bench, 40);
    let done = bench.compact(0, MAP_BYTES).unwrap();
    assert!(done.bytes_after < done.bytes_before);
    let left = [(3, "b".to_owned()), (4, "c".to_owned()), (5, "a".to_owned())];
    assert_eq!(keys(&bench.all()), left);
    // Offset 0 was compacted away: the answer begins with the next batch that is left.
    let bytes = Bytes::from(bench.read(0, 1).unwrap());
    assert_eq!(records_of(bytes)[0].offset, 3);
    assert_eq!(bench.at_time(11), Some(3), "offset 0 to 2 had time 10 and are gone");
    assert!(bench.compact(0, MAP_BYTES).is_none(), "nothing is dirty");
}

#[test]
fn a_tombstone_stays_until_its_horizon_and_then_goes() {
    let mut bench = Bench::new(compacted());
    bench.append(keyed(plain(), 10, &[("a", Some("1")), ("b", Some("1"))])).unwrap();
    bench.append(keyed(plain(), 10, &[("a", None)])).unwrap();
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    let both = vec![(1, "b".to_owned()), (2, "a".to_owned())];
    assert_eq!(keys(&bench.all()), both);
    let bytes = Bytes::from(bench.read(2, 1).unwrap());
    let batch = CheckedBatch::check_first(&mut bytes.clone()).unwrap();
    let horizon_ms = batch.header().delete_horizon_ms().unwrap();
    assert!((bench.now().wall_ms + DAY_MS - horizon_ms).abs() < 1000);
    assert_eq!(records_of(bytes)[0].timestamp_ms, 10, "the time of the record is its own");

    close_segment(&mut bench, 20);
    bench.compact(DAY_MS / 2, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), both, "half a day is too soon");
    close_segment(&mut bench, 30);
    bench.compact(DAY_MS + 1000, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), [(1, "b".to_owned())]);
}

#[test]
fn the_last_batch_of_a_producer_stays_when_its_records_go() {
    let mut bench = Bench::new(compacted());
    let of = |producer_id, base_sequence| BatchOptions {
        producer: ProducerStamp { producer_id, producer_epoch: 0, base_sequence },
        ..BatchOptions::default()
    };
    bench.append(keyed(of(7, 0), 10, &[("a", Some("1"))])).unwrap();
    bench.append(keyed(of(7, 1), 10, &[("a", Some("2"))])).unwrap();
    bench.append(keyed(of(8, 0), 10, &[("a", Some("3"))])).unwrap();
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), [(2, "a".to_owned())]);
    // Without snapshot and recovery point everything is read again.
    bench.reopen(RecoveryPoint::default());
    let (_, spans) = bench.log.producers().spans(ProducerId(7)).unwrap();
    assert_eq!(spans.last().unwrap().last_sequence, 1);
    let again = bench.append(keyed(of(7, 1), 10, &[("a", Some("2"))])).unwrap();
    assert!(again.is_duplicate);
    assert_eq!(again.base_offset, Offset::new(1));
}

#[test]
fn aborted_records_go_and_supersede_nothing() {
    let mut bench = Bench::new(compacted());
    bench.append(keyed(plain(), 10, &[("a", Some("1")), ("b", Some("1"))])).unwrap();
    bench.transactional(1, 0, "a");
    bench.transactional(2, 0, "b");
    bench.end(1, TransactionMarker::Abort);
    bench.end(2, TransactionMarker::Commit);
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), [(0, "a".to_owned()), (3, "b".to_owned())]);
    // The last batch of producer 1 stays for its sequence, and the markers for those who read on.
    let left = [(0, Some(1)), (2, Some(0)), (3, Some(1)), (4, None), (5, None)];
    assert_eq!(bench.batches()[..5], left);
    assert_eq!(bench.aborts(), [4]);
    bench.reopen(RecoveryPoint::default());
    let (_, spans) = bench.log.producers().spans(ProducerId(1)).unwrap();
    assert_eq!(spans.last().unwrap().last_sequence, 0);
    assert_eq!(bench.aborts(), [4]);
}

#[test]
fn a_marker_goes_past_its_horizon_when_nothing_is_left_of_its_transaction() {
    let mut bench = Bench::new(compacted());
    bench.transactional(1, 0, "a");
    bench.end(1, TransactionMarker::Abort);
    bench.transactional(1, 1, "b");
    bench.end(1, TransactionMarker::Commit);
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    let left = [(1, None), (2, Some(1)), (3, None)];
    assert_eq!(bench.batches()[..3], left, "this round has still met the transaction");
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    close_segment(&mut bench, 10);
    bench.compact(DAY_MS / 2, MAP_BYTES).unwrap();
    assert_eq!(bench.batches()[..3], left, "half a day is too soon");
    assert_eq!(bench.aborts(), [1]);
    close_segment(&mut bench, 10);
    bench.compact(DAY_MS + 1000, MAP_BYTES).unwrap();
    assert_eq!(bench.batches()[..2], [(2, Some(1)), (3, None)]);
    assert_eq!(bench.aborts(), [0; 0], "without the marker a reader would skip what follows");
    let point = bench.log.recovery_point();
    bench.reopen(point);
    assert_eq!(bench.aborts(), [0; 0]);
    assert_eq!(bench.report.damage.len(), 0);
}

#[test]
fn nothing_behind_an_open_transaction_is_compacted() {
    let mut bench = Bench::new(compacted());
    bench.append(keyed(plain(), 10, &[("a", Some("1"))])).unwrap();
    close_segment(&mut bench, 10);
    bench.append(keyed(plain(), 10, &[("a", Some("2"))])).unwrap();
    bench.transactional(1, 0, "a");
    close_segment(&mut bench, 10);
    while bench.compact(0, MAP_BYTES).is_some() {}
    let both = [(0, "a".to_owned()), (3, "a".to_owned()), (4, "a".to_owned())];
    assert_eq!(keys(&bench.all()), both);
    bench.end(1, TransactionMarker::Abort);
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), [(3, "a".to_owned())]);
}

#[test]
fn merged_segments_have_one_index_of_their_aborted_transactions() {
    let mut bench = Bench::new(compacted());
    for sequence in 0..4 {
        bench.transactional(1, sequence, "a");
        bench.end(1, TransactionMarker::Abort);
        close_segment(&mut bench, 10);
    }
    let indexes = |bench: &Bench| {
        let paths = bench.disk.paths().into_iter();
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "txnindex")).count()
    };
    bench.sync();
    assert_eq!(indexes(&bench), 4);
    let aborts = bench.aborts();
    bench.compact(0, MAP_BYTES).unwrap();
    // Groups are made by the sizes before: what has shrunk is merged by the next round.
    close_segment(&mut bench, 10);
    bench.compact(0, MAP_BYTES).unwrap();
    assert_eq!(bench.aborts(), aborts);
    assert!(indexes(&bench) < 4, "{:?}", bench.disk.paths());
    let point = bench.log.recovery_point();
    bench.reopen(point);
    assert_eq!(bench.aborts(), aborts);
    assert!(!bench.report.has_read_all, "the files say it all");
}

#[test]
fn a_hole_that_no_compaction_made_is_damage() {
    let mut bench = Bench::new(compacted());
    for _ in 0..4 {
        close_segment(&mut bench, 10);
    }
    bench.compact(0, MAP_BYTES).unwrap();
    for _ in 0..4 {
        close_segment(&mut bench, 10);
    }
    bench.settle_for_compaction();
    let point = RecoveryPoint { producers_from: Offset::ZERO, ..bench.log.recovery_point() };
    bench.reopen(point);
    assert_eq!(bench.report.damage.len(), 0);
    let clean_end = bench.log.clean_end();
    let lost = bench.log.read_end(clean_end).get();
    let (disk, path) = (bench.disk.clone(), name(lost, "log"));
    bench.executor.run_until(async move { disk.remove(&path).await }).unwrap();
    bench.reopen(point);
    let damage: Vec<u64> = bench.report.damage.iter().map(|one| one.first.get()).collect();
    assert_eq!(damage, [lost]);
}

#[test]
fn the_active_segment_the_young_and_what_is_not_stable_stay_as_they_are() {
    let config = TopicConfig { min_compaction_lag_ms: 5000, ..compacted() };
    let mut bench = Bench::new(config);
    let now_ms = bench.now().wall_ms;
    bench.append(keyed(plain(), now_ms - 10_000, &[("a", Some("1"))])).unwrap();
    close_segment(&mut bench, now_ms - 10_000);
    bench.append(keyed(plain(), now_ms, &[("a", Some("2"))])).unwrap();
    close_segment(&mut bench, now_ms);
    bench.settle_for_compaction();
    assert_eq!(bench.log.cleanable(bench.now(), Offset::ZERO), None, "nothing is stable");
    bench.compact(0, MAP_BYTES).unwrap();
    let both = [(0, "a".to_owned()), (3, "a".to_owned())];
    assert_eq!(keys(&bench.all()), both, "the second is too young to supersede the first");
    bench.compact(6000, MAP_BYTES).unwrap();
    assert_eq!(keys(&bench.all()), [(3, "a".to_owned())]);
}

#[test]
fn a_read_planned_before_a_swap_reads_the_old_file() {
    let mut bench = Bench::new(compacted());
    bench.append(keyed(plain(), 10, &[("a", Some("1"))])).unwrap();
    bench.append(keyed(plain(), 10, &[("a", Some("2"))])).unwrap();
    close_segment(&mut bench, 10);
    bench.sync();
    let plan = |bench: &Bench, from| {
        let end = bench.log.log_end();
        match bench.log.read(Offset::new(from), 10_000, end, true) {
            highwater::storage::partition_log::ReadPlan::File(read) => read,
            _ => panic!("the segment is in a file"),
        }
    };
    let old = plan(&bench, 0);
    bench.compact(0, MAP_BYTES).unwrap();
    let new = plan(&bench, 0);
    let disk = bench.disk.clone();
    let (old, new) = bench.executor.run_until(async move {
        let old = old.execute_in_memory(&disk).await.unwrap();
        (old, new.execute_in_memory(&disk).await.unwrap())
    });
    let offsets = |bytes: Bytes| {
        let seen = records_of(bytes);
        seen.iter().map(|record| record.offset).collect::<Vec<u64>>()
    };
    assert_eq!(offsets(old), [0, 1]);
    assert_eq!(offsets(new)[0], 1);
}

#[test]
fn a_damaged_log_is_left_alone() {
    let mut bench = Bench::new(compacted());
    for _ in 0..4 {
        close_segment(&mut bench, 10);
    }
    bench.settle_for_compaction();
    let point = bench.log.recovery_point();
    let path = name(0, "log");
    bench.disk.flip(&path, 100, 0);
    // Read in full, the damage is found.
    bench.reopen(RecoveryPoint { producers_from: Offset::ZERO, ..point });
    assert_eq!(bench.log.damage().len(), 1);
    assert_eq!(bench.log.cleanable(bench.now(), bench.log.log_end()), None);
}

#[test]
fn damage_that_a_round_meets_ends_it_and_changes_nothing() {
    // In the records, and in each byte of the base offset, which no checksum covers.
    meet_damage(100, 0);
    for byte in 0..8 {
        meet_damage(byte, 0);
        meet_damage(byte, 7);
    }
}

fn meet_damage(byte: usize, bit: u8) {
    let mut bench = Bench::new(compacted());
    for _ in 0..4 {
        close_segment(&mut bench, 10);
    }
    bench.settle_for_compaction();
    let files = |bench: &Bench| bench.disk.paths();
    let before = files(&bench);
    bench.disk.flip(&name(0, "log"), byte, bit);
    let end = bench.log.log_end();
    let mut round = bench.log.plan_compaction(bench.now(), end, MAP_BYTES).unwrap();
    let disk = bench.disk.clone();
    let error = bench.executor.run_until(async move {
        loop {
            match round.step(&disk).await {
                Ok(Step::Worked { .. }) => {}
                Ok(_) => panic!("the damage was not seen"),
                Err(error) => {
                    round.abandon(&disk).await.unwrap();
                    return error;
                }
            }
        }
    });
    assert!(error.to_string().contains("is damaged at byte"), "{byte}: {error}");
    bench.log.compaction_failed();
    assert_eq!(files(&bench), before);
}

/// What a test appends: a key of few, a value or none, and how the batch is made.
#[derive(Debug, Clone)]
struct Planned {
    records: Vec<(u8, Option<u8>)>,
    codec: Compression,
    producer_id: i64,
}

fn planned() -> impl Strategy<Value = Planned> {
    let record = (0u8..12, prop::option::weighted(0.8, 0u8..120));
    let codecs = prop::sample::select(Compression::ALL.to_vec());
    (prop::collection::vec(record, 1..5), codecs, -1i64..3)
        .prop_map(|(records, codec, producer_id)| Planned { records, codec, producer_id })
}

fn append_planned(bench: &mut Bench, batch: &Planned, number: i64, sequences: &mut [i32; 3]) {
    let mut options = BatchOptions { compression: batch.codec, ..BatchOptions::default() };
    if let Ok(index) = usize::try_from(batch.producer_id) {
        options.producer = ProducerStamp {
            producer_id: batch.producer_id,
            producer_epoch: 0,
            base_sequence: sequences[index],
        };
        sequences[index] += i32::try_from(batch.records.len()).unwrap();
    }
    let text: Vec<(String, Option<String>)> = batch
        .records
        .iter()
        .map(|(key, size)| (format!("k{key}"), size.map(|size| "v".repeat(usize::from(size)))))
        .collect();
    let records: Vec<(&str, Option<&str>)> =
        text.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    bench.append(keyed(options, 1000 + number * 7 % 500, &records)).unwrap();
}

/// The records of `before` that compaction of everything below `clean_end` leaves.
fn expected(before: &[Seen], clean_end: u64) -> Vec<Seen> {
    let mut last: BTreeMap<&[u8], u64> = BTreeMap::new();
    for record in before.iter().filter(|record| record.offset < clean_end) {
        last.insert(&record.key, record.offset);
    }
    let is_kept =
        |record: &&Seen| record.offset >= clean_end || last[record.key.as_slice()] == record.offset;
    before.iter().filter(is_kept).cloned().collect()
}

fn check_times(bench: &mut Bench, seen: &[Seen]) {
    for timestamp_ms in (990..1510).step_by(65) {
        let expected = seen.iter().find(|record| record.timestamp_ms >= timestamp_ms);
        assert_eq!(bench.at_time(timestamp_ms), expected.map(|record| record.offset));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_compacted_log_reads_as_the_last_record_of_each_key(
        batches in prop::collection::vec(planned(), 1..60),
        rounds in prop::collection::vec(1usize..60, 1..4),
        map_bytes in prop::sample::select(vec![1usize, 500, MAP_BYTES]),
    ) {
        let mut bench = Bench::new(compacted());
        let mut original = Vec::new();
        let mut sequences = [0; 3];
        let mut left = batches.iter().enumerate();
        for share in rounds {
            for (number, batch) in left.by_ref().take(share) {
                let number = i64::try_from(number).unwrap();
                let first = bench.log.log_end().get();
                append_planned(&mut bench, batch, number, &mut sequences);
                let up_to = bench.log.log_end();
                prop_assert_eq!(up_to.get() - first, batch.records.len() as u64);
            }
            let known: BTreeSet<u64> = original.iter().map(|seen: &Seen| seen.offset).collect();
            let from = known.last().map_or(0, |last| last + 1);
            original.extend(bench.all().into_iter().filter(|seen| seen.offset >= from));
            while bench.compact(0, map_bytes).is_some() {
                let clean_end = bench.log.clean_end().get();
                let seen = bench.all();
                prop_assert_eq!(&seen, &expected(&original, clean_end));
            }
            let seen = bench.all();
            check_times(&mut bench, &seen);
            let point = bench.log.recovery_point();
            bench.reopen(point);
            prop_assert_eq!(bench.report.damage.len(), 0);
            prop_assert_eq!(&bench.all(), &seen);
            check_times(&mut bench, &seen);
            bench.reopen(RecoveryPoint::default());
            prop_assert_eq!(bench.report.damage.len(), 0);
            prop_assert_eq!(&bench.all(), &seen);
        }
    }
}
