//! What the log takes, refuses and changes, and what it then promises.

use crate::bench::{Bench, batch, small_segments};
use bytes::Bytes;
use highwater::model::clock::Now;
use highwater::model::ids::{LeaderEpoch, Offset};
use highwater::model::topic_config::{
    CleanupPolicy, CompressionPolicy, TimestampType, TopicConfig,
};
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::storage::checkpoint::RecoveryPoint;

fn code(bench: &mut Bench, bytes: Bytes) -> i16 {
    let end = bench.log.log_end();
    let code = bench.append(bytes).map_or_else(|error| error.kafka_code().number(), |_| 0);
    assert!(code == 0 || bench.log.log_end() == end, "a refusal changes nothing");
    code
}

#[test]
fn a_batch_above_the_topics_limit_or_the_segment_is_refused() {
    let size = u32::try_from(batch(&[1]).len()).unwrap();
    let mut bench = Bench::new(TopicConfig { max_message_bytes: size - 1, ..small_segments() });
    assert_eq!(code(&mut bench, batch(&[1])), 10);
    let mut bench = Bench::new(TopicConfig { segment_bytes: size - 1, ..small_segments() });
    assert_eq!(code(&mut bench, batch(&[1])), 18);
    let mut bench = Bench::new(TopicConfig { segment_bytes: size, ..small_segments() });
    assert_eq!(code(&mut bench, batch(&[1])), 0);
}

#[test]
fn timestamps_outside_the_topics_window_are_refused() {
    let config = TopicConfig {
        timestamp_before_max_ms: 1000,
        timestamp_after_max_ms: 500,
        ..small_segments()
    };
    let mut bench = Bench::new(config);
    let now = Now { wall_ms: 10_000, monotonic_us: 0 };
    let mut check = |timestamps: &[i64]| {
        let refused = bench.append_at(batch(timestamps), now).err();
        refused.map_or(0, |error| error.kafka_code().number())
    };
    assert_eq!(check(&[9_000, 10_500]), 0);
    assert_eq!(check(&[8_999]), 32);
    assert_eq!(check(&[10_000, 10_501]), 32);
    assert_eq!(check(&[-1]), 0, "no timestamp at all");
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let mut bench = Bench::new(TopicConfig { cleanup, ..small_segments() });
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
    assert_eq!(code(&mut bench, builder.build().unwrap()), 87);
    assert_eq!(code(&mut bench, batch(&[1])), 0);
}

#[test]
fn control_batches_and_batches_with_holes_are_not_taken_from_clients() {
    let mut bench = Bench::new(small_segments());
    let control = BatchOptions { is_control: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(control);
    builder.push(&NewRecord::default()).unwrap();
    assert_eq!(code(&mut bench, builder.build().unwrap()), 87);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(&NewRecord::default()).unwrap();
    builder.push_at(2, &NewRecord::default()).unwrap();
    assert_eq!(code(&mut bench, builder.build().unwrap()), 87);
}

#[test]
fn log_append_time_is_stamped_and_the_checksum_renewed() {
    let timestamp_type = TimestampType::LogAppendTime;
    let mut bench = Bench::new(TopicConfig { timestamp_type, ..small_segments() });
    let now = Now { wall_ms: 77_000, monotonic_us: 0 };
    let appended = bench.append_at(batch(&[1, 2]), now).unwrap();
    assert_eq!(appended.log_append_time_ms, 77_000);
    let stored = bench.read(0, 10_000).unwrap();
    let stored = CheckedBatch::check_first(&mut Bytes::from(stored)).unwrap();
    assert_eq!(stored.header().max_timestamp(), 77_000);
    assert_eq!(stored.header().leader_epoch(), 7);
}

#[test]
fn a_topic_with_its_own_codec_stores_the_same_records_under_it() {
    let compression = CompressionPolicy::Lz4;
    let mut bench = Bench::new(TopicConfig { compression, ..small_segments() });
    bench.append(batch(&[5, 3, 9])).unwrap();
    let stored = bench.read(0, 10_000).unwrap();
    let stored = CheckedBatch::check_first(&mut Bytes::from(stored)).unwrap();
    assert_eq!(stored.header().attributes().compression().unwrap(), Compression::Lz4);
    assert_eq!(stored.header().max_timestamp(), 9);
    let records = stored.decode_records().unwrap();
    let times: Vec<i64> = records.iter().map(|record| record.unwrap().timestamp_ms).collect();
    assert_eq!(times, [5, 3, 9]);
}

#[test]
fn offsets_stay_dense_over_segments_and_every_batch_reads_back() {
    let mut bench = Bench::new(small_segments());
    for count in [1usize, 3, 2, 7, 1, 1, 4, 9, 2, 2, 2, 30, 1] {
        let end = bench.log.log_end();
        let appended = bench.append(batch(&vec![5; count])).unwrap();
        assert_eq!(appended.base_offset, end);
        assert_eq!(appended.last_offset, end.advance(count as u64 - 1));
    }
    let expected = [0, 1, 4, 6, 13, 14, 15, 19, 28, 30, 32, 34, 64];
    assert_eq!(bench.readable(), expected, "from memory");
    bench.sync();
    assert!(bench.log.segment_count() > 1);
    assert_eq!(bench.readable(), expected, "from files");
}

#[test]
fn a_journal_run_behind_unsynced_segment_bytes_is_not_durable() {
    let mut bench = Bench::new(small_segments());
    bench.append(batch(&[1])).unwrap();
    bench.drain();
    assert_eq!(bench.log.written_end(), Offset::new(1));
    bench.append(batch(&[2])).unwrap();
    let mut entries = Vec::new();
    bench.log.pending_journal(&mut entries);
    assert_eq!((entries[0].base_offset, entries[0].end_offset), (Offset::new(1), Offset::new(2)));
    assert_eq!(bench.log.on_journaled(Offset::new(2)), batch(&[2]).len());
    bench.log.on_journal_synced(Offset::new(2));
    assert_eq!(bench.log.durable_end(), Offset::ZERO, "recovery would find a hole before it");
    let plan = bench.log.plan_sync().unwrap();
    let disk = bench.disk.clone();
    let done = bench.executor.run_until(async move { plan.execute(&disk).await }).unwrap();
    bench.log.synced(done);
    assert_eq!(bench.log.segment_synced_end(), Offset::new(1));
    assert_eq!(bench.log.durable_end(), Offset::new(2));
}

#[test]
fn a_failed_drain_is_planned_again_with_the_same_bytes() {
    let mut bench = Bench::new(small_segments());
    bench.append(batch(&[1])).unwrap();
    let pending = bench.log.pending_bytes();
    drop(bench.log.plan_drain().unwrap());
    assert!(bench.log.plan_drain().is_none(), "one at a time");
    bench.log.drain_failed();
    assert_eq!(bench.log.pending_bytes(), pending);
    bench.sync();
    assert_eq!((bench.log.pending_bytes(), bench.log.undrained_bytes()), (0, 0));
    assert_eq!(bench.readable(), [0]);
}

/// A batch of one record as a leader stamps it.
fn stamped(base_offset: i64, epoch: i32) -> Bytes {
    let mut bytes = batch(&[base_offset]).to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    Bytes::from(bytes)
}

#[test]
fn a_leaders_batch_keeps_its_offset_and_its_epoch_and_neither_ever_falls() {
    let mut bench = Bench::new(small_segments());
    bench.replicate(stamped(0, 3)).unwrap();
    bench.replicate(stamped(1, 5)).unwrap();
    assert_eq!(bench.log.last_epoch(), Some(LeaderEpoch(5)));
    assert!(bench.replicate(stamped(2, 4)).is_err(), "an older epoch");
    assert!(bench.replicate(stamped(1, 5)).is_err(), "an offset that is taken");
    bench.replicate(stamped(2, 5)).unwrap();
    let ends = [3, 4, 5].map(|epoch| bench.log.end_offset_for_epoch(LeaderEpoch(epoch)));
    let end = |epoch, end| Some((LeaderEpoch(epoch), Offset::new(end)));
    assert_eq!(ends, [end(3, 1), end(3, 1), end(5, 3)]);
    bench.log.begin_epoch(LeaderEpoch(8));
    assert_eq!(bench.log.end_offset_for_epoch(LeaderEpoch(7)), end(5, 3));
    assert_eq!(bench.log.last_epoch(), Some(LeaderEpoch(5)), "nothing is of epoch 8 yet");
}

#[test]
fn holes_that_a_leaders_compaction_left_are_no_loss_after_a_crash() {
    let mut bench = Bench::new(small_segments());
    bench.replicate(stamped(0, 3)).unwrap();
    bench.replicate(stamped(500, 4)).unwrap();
    bench.replicate(stamped(501, 4)).unwrap();
    bench.replicate(stamped(3_000_000_000, 4)).unwrap();
    assert_eq!(bench.log.log_end(), Offset::new(3_000_000_001));
    bench.sync();
    let point = bench.log.recovery_point();
    for point in [RecoveryPoint::default(), point] {
        bench.reopen(point);
        assert_eq!((bench.report.cut_bytes, bench.report.damage.len()), (0, 0));
        assert_eq!(bench.log.log_end(), Offset::new(3_000_000_001));
        let first_of_next = bench.log.end_offset_for_epoch(LeaderEpoch(3));
        assert_eq!(first_of_next, Some((LeaderEpoch(3), Offset::new(1))));
    }
    assert!(bench.replicate(stamped(i64::MAX - 1, 4)).is_err(), "no compaction leaves that");
}
