//! Torn tails are cut, bit rot is fenced in, and neither takes anything else with it.

use crate::bench::{Bench, batch, name, small_segments};
use highwater::model::ids::Offset;
use highwater::storage::checkpoint::RecoveryPoint;

const BATCHES: u64 = 30;

/// Thirty batches of one record over several segments, all of them synced.
fn written() -> (Bench, RecoveryPoint) {
    let mut bench = Bench::new(small_segments());
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
