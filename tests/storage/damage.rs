//! Torn tails are cut, bit rot is fenced in, and neither takes anything else with it.

use crate::bench::{Bench, DIR, batch, name, small_segments};
use highwater::model::clock::Now;
use highwater::model::ids::{Offset, ProducerId};
use highwater::model::topic_config::{CleanupPolicy, TopicConfig};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::sim::disk::Faults;
use highwater::storage::checkpoint::RecoveryPoint;
use highwater::storage::disk::Disk;
use highwater::storage::error::StorageError;
use std::path::Path;

const BATCHES: u64 = 30;

/// Thirty batches of one record over several segments, all of them synced.
fn written() -> (Bench, RecoveryPoint) {
    written_with(small_segments())
}

fn written_with(config: TopicConfig) -> (Bench, RecoveryPoint) {
    let mut bench = Bench::new(config);
    for index in 0..BATCHES {
        bench.append(batch(&[i64::try_from(index).unwrap()])).unwrap();
    }
    bench.sync();
    let point = bench.log.recovery_point();
    assert_eq!(point.recovery_offset, Offset::new(BATCHES));
    (bench, point)
}

fn everything_from(offset: u64) -> RecoveryPoint {
    RecoveryPoint { recovery_offset: Offset::new(offset), ..RecoveryPoint::default() }
}

#[test]
fn a_flipped_bit_above_the_recovery_point_cuts_the_log_before_its_batch() {
    let size = batch(&[0]).len();
    for byte in 0..size * 2 {
        let (mut bench, _) = written();
        bench.disk.flip(&name(0, "log"), size * 3 + byte, u8::try_from(byte % 8).unwrap());
        bench.reopen(everything_from(2));
        // The leader epoch and the base offset of a batch are not under its checksum; a wrong
        // offset is noticed, a wrong epoch is not.
        let is_epoch = (12..16).contains(&(byte % size));
        let kept = if is_epoch { BATCHES } else { 3 + (byte / size) as u64 };
        assert_eq!(bench.log.log_end().get(), kept, "byte {byte}");
        assert_eq!(bench.readable(), (0..kept).collect::<Vec<_>>());
        bench.append(batch(&[1])).unwrap();
        bench.sync();
        assert_eq!(bench.readable(), (0..=kept).collect::<Vec<_>>());
    }
}

#[test]
fn a_flipped_bit_below_the_recovery_point_costs_its_batch_and_nothing_else() {
    let size = batch(&[0]).len();
    for byte in 0..size {
        let (mut bench, point) = written();
        bench.disk.flip(&name(0, "log"), size * 3 + byte, u8::try_from(byte % 8).unwrap());
        // Without an index the first segment is read again.
        bench.disk.put(&name(0, "index"), vec![1]);
        bench.reopen(point);
        assert_eq!(bench.log.log_end().get(), BATCHES, "byte {byte}");
        let is_epoch = (12..16).contains(&byte);
        let lost = if is_epoch { None } else { Some(3) };
        let expected: Vec<u64> = (0..BATCHES).filter(|base| Some(*base) != lost).collect();
        assert_eq!(bench.readable(), expected, "byte {byte}");
        assert_eq!(bench.report.damage.len(), usize::from(!is_epoch));
        if !is_epoch {
            let error = bench.read(3, 100).unwrap_err();
            assert_eq!(error.kafka_code().number(), 2);
        }
    }
}

#[test]
fn a_segment_cut_at_any_byte_keeps_the_batches_before_it() {
    let size = batch(&[0]).len();
    let (bench, _) = written();
    let content = bench.disk.content(&name(0, "log")).unwrap();
    for cut in (0..content.len()).step_by(7) {
        let (mut bench, _) = written();
        bench.disk.put(&name(0, "log"), content[..cut].to_vec());
        bench.reopen(everything_from(0));
        let kept = (cut / size) as u64;
        assert_eq!(bench.log.log_end().get(), kept, "cut at {cut}");
        assert_eq!(bench.readable(), (0..kept).collect::<Vec<_>>());
    }
}

/// Simulation seed 10238: records were deleted while the last of them were in the journal only.
#[test]
fn a_segment_whose_records_were_deleted_before_it_was_whole_is_not_damaged() {
    let size = batch(&[0]).len();
    let mut bench = Bench::new(small_segments());
    for index in 0..4 {
        bench.append(batch(&[index])).unwrap();
    }
    bench.sync();
    let content = bench.disk.content(&name(0, "log")).unwrap();
    for (log_start, damages) in [(3, 1), (4, 0)] {
        bench.disk.put(&name(0, "log"), content[..size * 2].to_vec());
        let log_start = Offset::new(log_start);
        bench.reopen(RecoveryPoint { log_start, ..everything_from(4) });
        assert_eq!(bench.report.damage.len(), damages, "log start {log_start}");
        assert_eq!(bench.log.log_end().get(), 4);
    }
}

#[test]
fn a_segment_cut_below_the_recovery_point_loses_no_later_segment() {
    let size = batch(&[0]).len();
    let (bench, _) = written();
    let content = bench.disk.content(&name(0, "log")).unwrap();
    for cut in (0..content.len()).step_by(11) {
        let (mut bench, point) = written();
        bench.disk.put(&name(0, "log"), content[..cut].to_vec());
        bench.disk.put(&name(0, "timeindex"), vec![1]);
        bench.reopen(point);
        let (kept, next) = ((cut / size) as u64, (content.len() / size) as u64);
        let expected: Vec<u64> = (0..kept).chain(next..BATCHES).collect();
        assert_eq!(bench.readable(), expected, "cut at {cut}");
        assert_eq!(bench.log.log_end().get(), BATCHES);
    }
}

#[test]
fn missing_and_senseless_indexes_are_made_again() {
    for kind in ["index", "timeindex"] {
        for content in [vec![], vec![9; 5], vec![0xFF; 24], vec![0; 24]] {
            let (mut bench, point) = written();
            let whole = bench.disk.content(&name(0, kind)).unwrap();
            bench.disk.put(&name(0, kind), content.clone());
            bench.reopen(point);
            assert_eq!(bench.readable(), (0..BATCHES).collect::<Vec<_>>(), "{kind} {content:?}");
            if content.len() == 5 {
                assert_eq!(bench.disk.content(&name(0, kind)).unwrap(), whole);
            }
        }
    }
}

#[test]
fn a_bit_that_rots_in_an_index_costs_no_record() {
    for compact in [false, true] {
        let cleanup = CleanupPolicy { delete: !compact, compact };
        let config = TopicConfig { cleanup, ..small_segments() };
        let (bench, _) = written_with(config.clone());
        let last = bench.log.recovery_point().recovery_offset.get() - 1;
        let active =
            (0..=last).rev().find(|base| bench.disk.content(&name(*base, "log")).is_some());
        for (base, kind) in [0, active.unwrap()]
            .into_iter()
            .flat_map(|base| ["index", "timeindex"].into_iter().map(move |kind| (base, kind)))
        {
            let size = bench.disk.content(&name(base, kind)).unwrap().len();
            for byte in 0..size {
                let (mut bench, point) = written_with(config.clone());
                bench.disk.flip(&name(base, kind), byte, u8::try_from(byte % 8).unwrap());
                bench.reopen(point);
                let what = format!("byte {byte} of {base}.{kind}");
                assert_eq!(bench.readable(), (0..BATCHES).collect::<Vec<_>>(), "{what}");
                assert!(bench.report.damage.is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn a_clean_close_leaves_next_to_nothing_to_read() {
    let (mut bench, _) = written();
    let disk = bench.disk.clone();
    let mut log = bench.log;
    let (log, ()) = bench.executor.run_until(async move {
        log.close(&disk).await.unwrap();
        (log, ())
    });
    bench.log = log;
    let point = bench.log.recovery_point();
    bench.reopen(point);
    assert!(bench.report.scanned_bytes < 600, "{}", bench.report.scanned_bytes);
    assert!(!bench.report.is_worth_telling());
    assert_eq!(bench.readable(), (0..BATCHES).collect::<Vec<_>>());
}

/// Drops and removes every segment but the active one.
fn retain(bench: &mut Bench) {
    let now = Now { wall_ms: 0, monotonic_us: 1_000_000 };
    for _ in 0..4 {
        let Some(plan) = bench.log.plan_retention(now, bench.log.log_end()) else { continue };
        bench.log.on_recovery_point_durable(bench.log.recovery_point());
        let disk = bench.disk.clone();
        let done = bench.executor.run_until(async move { plan.execute(&disk).await });
        bench.log.retained(done.unwrap());
    }
    assert_eq!(bench.log.segment_count(), 1);
}

#[test]
fn without_its_epochs_a_log_still_knows_producers_whose_batches_retention_took() {
    let config =
        TopicConfig { retention_bytes: Some(0), file_delete_delay_ms: 0, ..small_segments() };
    let mut bench = Bench::new(config);
    let producer = ProducerStamp { producer_id: 2, producer_epoch: 0, base_sequence: i32::MAX };
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    builder.push(&NewRecord { timestamp_ms: 1, ..NewRecord::default() }).unwrap();
    bench.append(builder.build().unwrap()).unwrap();
    for index in 0..BATCHES {
        bench.append(batch(&[i64::try_from(index).unwrap()])).unwrap();
    }
    bench.sync();
    retain(&mut bench);
    let point = bench.log.recovery_point();
    assert!(point.has_snapshot);
    assert!(bench.disk.content(&name(0, "log")).is_none());
    let known = bench.log.producers().spans(ProducerId(2)).unwrap().1.to_vec();
    assert_eq!(known.len(), 1);
    let (disk, epochs) = (bench.disk.clone(), Path::new(DIR).join("leader-epoch-checkpoint"));
    assert!(bench.disk.content(&epochs).is_some());
    bench.executor.run_until(async move { disk.remove(&epochs).await.unwrap() });
    for has_read_all in [true, false] {
        bench.reopen(point);
        assert_eq!(bench.report.has_read_all, has_read_all);
        assert_eq!(bench.log.producers().spans(ProducerId(2)).unwrap().1, known);
    }
}

#[test]
fn a_log_that_finds_no_space_to_be_closed_says_so_and_is_closed_when_there_is_some() {
    let mut bench = Bench::new(small_segments());
    bench.append(batch(&[1])).unwrap();
    bench.drain();
    let Bench { mut executor, disk, mut log, .. } = bench;
    disk.set_faults(Faults { room_bytes: Some(0), ..Faults::default() });
    let full = disk.clone();
    let (result, mut log) = executor.run_until(async move {
        let result = log.close(&full).await;
        (result, log)
    });
    let is_no_space = matches!(&result, Err(StorageError::Disk(error)) if error.is_no_space());
    assert!(is_no_space, "{result:?}");
    disk.set_faults(Faults::default());
    let result = executor.run_until(async move { log.close(&disk).await });
    result.unwrap();
}
