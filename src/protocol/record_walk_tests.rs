use super::*;
use crate::protocol::compression::Compression;
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, RecordHeader};
use crate::protocol::record_batch::CheckedBatch;
use bytes::Bytes;
use proptest::prelude::*;

/// Key, value, time and headers of a record.
type Plain = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn batch(records: &[Plain]) -> CheckedBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (key, value, timestamp_ms, headers) in records {
        let headers: Vec<RecordHeader<'_>> = headers
            .iter()
            .map(|(key, value)| RecordHeader { key, value: value.as_deref() })
            .collect();
        let (key, value) = (key.as_deref(), value.as_deref());
        let record = NewRecord { timestamp_ms: *timestamp_ms, key, value, headers: &headers };
        builder.push(&record).unwrap();
    }
    CheckedBatch::check_first(&mut builder.build().unwrap()).unwrap()
}

fn walk(batch: &CheckedBatch, payload: &[u8]) -> Result<RecordsWalked, BatchError> {
    walk_records(batch.header(), payload)
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let header = (proptest::collection::vec(any::<u8>(), 0..9), proptest::option::of(bytes()));
    (
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        -2i64..3_000_000,
        proptest::collection::vec(header, 0..3),
    )
}

proptest! {
    #[test]
    fn what_is_built_passes_and_is_seen_as_it_is(
        records in proptest::collection::vec(plain(), 1..40),
    ) {
        let batch = batch(&records);
        let walked = walk(&batch, &batch.payload()).unwrap();
        let times = records.iter().map(|record| record.2).filter(|time| *time != -1);
        prop_assert_eq!(walked.min_timestamp_ms, times.min());
        prop_assert_eq!(walked.max_timestamp_ms, batch.header().max_timestamp());
        prop_assert!(walked.is_dense);
        prop_assert_eq!(walked.has_keys, records.iter().all(|record| record.0.is_some()));
    }

    #[test]
    fn bytes_pass_only_if_record_by_record_reading_passes(
        records in proptest::collection::vec(plain(), 1..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let good = batch(&records);
        let mut bytes = good.bytes().to_vec();
        let size = bytes.len() - 61;
        for (at, byte) in changes {
            bytes[61 + at.index(size)] = byte;
        }
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let batch = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
        let walked = walk(&batch, &batch.payload());
        let read: Result<Vec<_>, _> = batch.decode_records().unwrap().iter().map(|record| {
            record.map(|record| (record.offset, record.timestamp_ms, record.key.is_some()))
        }).collect();
        prop_assert_eq!(walked.is_ok(), read.is_ok(), "{:?} {:?}", walked, read);
        if let (Ok(walked), Ok(read)) = (walked, read) {
            prop_assert_eq!(walked.has_keys, read.iter().all(|(_, _, has_key)| *has_key));
            let is_dense = read.iter().enumerate().all(|(at, record)| record.0 == at as i64);
            prop_assert_eq!(walked.is_dense, is_dense);
        }
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let header = batch(&vec![(None, None, 0, Vec::new()); 3]);
        let _ = walk(&header, &bytes);
    }
}

#[test]
fn records_cut_off_at_any_byte_are_refused() {
    let header = (b"h".to_vec(), None);
    let record = (Some(b"key".to_vec()), Some(vec![7; 100]), 5, vec![header]);
    let batch = batch(&vec![record; 3]);
    let payload = batch.payload();
    for size in 0..payload.len() {
        assert!(walk(&batch, &payload[..size]).is_err(), "{size}");
    }
    let longer = [&payload[..], &[0]].concat();
    assert!(matches!(walk(&batch, &longer), Err(BatchError::BytesAfterRecords { left: 1 })));
}

#[test]
fn compressed_records_are_no_records() {
    let mut builder =
        BatchBuilder::new(BatchOptions { compression: Compression::Zstd, ..Default::default() });
    builder.push(&NewRecord { value: Some(&[1; 99]), ..NewRecord::default() }).unwrap();
    let batch = CheckedBatch::check_first(&mut builder.build().unwrap()).unwrap();
    assert!(walk(&batch, &batch.payload()).is_err());
    let records = batch.decode_records().unwrap();
    assert!(walk(&batch, records.bytes()).is_ok());
}
