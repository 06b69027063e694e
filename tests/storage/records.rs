//! What a producer's records must be, one by one, and what becomes of those that are not.

use crate::bench::{Bench, batch, small_segments};
use bytes::Bytes;
use highwater::model::clock::Now;
use highwater::model::topic_config::{CleanupPolicy, RecordsCheck, TimestampType, TopicConfig};
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::{CheckedBatch, stamp_log_append_time};

const RECORDS_AT: usize = 61;
const NOW: Now = Now { wall_ms: 10_000, monotonic_us: 0 };

/// Changes bytes and makes the CRC true again.
fn patched(batch: &Bytes, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = batch.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

fn compressed(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    let value = [7; 300];
    for _ in 0..3 {
        let record = NewRecord { timestamp_ms: 5, value: Some(&value), ..NewRecord::default() };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

fn code(bench: &mut Bench, bytes: Bytes) -> i16 {
    let end = bench.log.log_end();
    let code = bench.append_at(bytes, NOW).map_or_else(|error| error.kafka_code().number(), |_| 0);
    assert!(code == 0 || bench.log.log_end() == end, "a refusal changes nothing");
    code
}

/// Code and places of the records that a refusal names.
fn refusal(bench: &mut Bench, bytes: Bytes) -> (i16, Vec<i32>) {
    let error = bench.append_at(bytes, NOW).unwrap_err();
    let code = error.kafka_code().number();
    (code, error.into_record_errors().into_iter().map(|(place, _)| place).collect())
}

fn stored(bench: &mut Bench) -> CheckedBatch {
    CheckedBatch::check_first(&mut Bytes::from(bench.read(0, 10_000).unwrap())).unwrap()
}

fn offsets_and_times(batch: &CheckedBatch) -> Vec<(i64, i64)> {
    let records = batch.decode_records().unwrap();
    let records = records.iter().map(Result::unwrap);
    records.map(|record| (record.offset, record.timestamp_ms)).collect()
}

#[test]
fn a_refusal_names_the_records_at_fault() {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    let mut bench = Bench::new(TopicConfig { cleanup, ..small_segments() });
    for compression in Compression::ALL {
        let mut builder =
            BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for key in [None, Some(&b"k"[..]), None] {
            builder.push(&NewRecord { key, ..NewRecord::default() }).unwrap();
        }
        assert_eq!(refusal(&mut bench, builder.build().unwrap()), (87, vec![0, 2]));
    }
    let window = TopicConfig { timestamp_after_max_ms: 500, ..TopicConfig::default() };
    let mut bench = Bench::new(window);
    assert_eq!(refusal(&mut bench, batch(&[10_500, 10_501, 3])), (32, vec![1]));
    let many = vec![10_501; 500];
    assert_eq!(refusal(&mut bench, batch(&many)), (32, (0..32).collect()));
}

#[test]
fn compressed_records_outside_the_topics_window_are_named_too() {
    let mut bench = Bench::new(TopicConfig { timestamp_before_max_ms: 1, ..small_segments() });
    assert_eq!(refusal(&mut bench, compressed(Compression::Zstd)), (32, vec![0, 1, 2]));
}

#[test]
fn records_that_are_not_as_the_header_says_are_refused() {
    let good = batch(&[1, 2, 3]);
    let mut bench = Bench::new(small_segments());
    for at in RECORDS_AT..good.len() {
        // A length that becomes negative, or another one: offsets of the fields do not matter.
        let broken = patched(&good, at, &[0x7d]);
        let is_readable = CheckedBatch::check_first(&mut broken.clone())
            .unwrap()
            .decode_records()
            .unwrap()
            .iter()
            .all(|record| record.is_ok());
        assert_eq!(code(&mut bench, broken) == 0, is_readable, "byte {at}");
    }
    let fewer = patched(&patched(&good, 57, &[0, 0, 0, 2]), 23, &[0, 0, 0, 1]);
    assert_eq!(code(&mut bench, fewer), 87);
    let more = patched(&patched(&good, 57, &[0, 0, 0, 4]), 23, &[0, 0, 0, 3]);
    assert_eq!(code(&mut bench, more), 87);
}

#[test]
fn offsets_that_are_not_dense_are_made_so() {
    let mut bench = Bench::new(small_segments());
    // Length, attributes, time delta, then the offset delta.
    let wrong = patched(&batch(&[4]), RECORDS_AT + 3, &[8]);
    assert_eq!(code(&mut bench, wrong), 0);
    assert_eq!(offsets_and_times(&stored(&mut bench)), [(0, 4)]);
}

#[test]
fn a_largest_timestamp_that_is_wrong_is_corrected() {
    let mut bench = Bench::new(small_segments());
    let good = batch(&[4, 9, 7]);
    assert_eq!(code(&mut bench, patched(&good, 35, &[0; 8])), 0);
    let corrected = stored(&mut bench);
    assert_eq!(corrected.header().max_timestamp(), 9);
    assert_eq!(offsets_and_times(&corrected), [(0, 4), (1, 9), (2, 7)]);
}

#[test]
fn a_producers_log_append_time_is_taken_off_or_refused_where_the_topic_stamps_its_own() {
    let mut claimed = batch(&[4, 5]).to_vec();
    stamp_log_append_time(&mut claimed, 77);
    let claimed = Bytes::from(claimed);
    let mut bench = Bench::new(small_segments());
    assert_eq!(code(&mut bench, claimed.clone()), 0);
    assert_eq!(offsets_and_times(&stored(&mut bench)), [(0, 4), (1, 5)]);

    let timestamp_type = TimestampType::LogAppendTime;
    let mut bench = Bench::new(TopicConfig { timestamp_type, ..small_segments() });
    assert_eq!(refusal(&mut bench, claimed), (32, vec![0, 1]));
}

#[test]
fn compressed_records_are_trusted_behind_their_codecs_first_bytes_unless_the_topic_asks() {
    let asks = TopicConfig { records_check: RecordsCheck::All, ..small_segments() };
    let [mut trusting, mut asking] = [small_segments(), asks].map(Bench::new);
    for compression in &Compression::ALL[1..] {
        let good = compressed(*compression);
        assert_eq!(code(&mut trusting, good.clone()), 0);
        assert_eq!(code(&mut asking, good.clone()), 0);
        // Any first byte may be the length of a bare snappy block.
        let is_known = *compression != Compression::Snappy;
        let other = patched(&batch(&[1, 2]), 22, &[compression.number()]);
        let found = code(&mut trusting, other.clone());
        assert_eq!(found, if is_known { 87 } else { 0 }, "{compression:?}");
        assert_eq!(code(&mut asking, other), 87, "{compression:?}");
        let damaged = patched(&good, good.len() - 8, &[0xee; 8]);
        assert_eq!(code(&mut trusting, damaged.clone()), 0, "{compression:?}");
        assert_eq!(code(&mut asking, damaged), 87, "{compression:?}");
    }
}
