use super::*;
use crate::protocol::record::{
    BatchBuilder, BatchOptions, NewRecord, ProducerStamp, TransactionMarker,
};

fn batch_of(count: i64, options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for at in 0..count {
        let value = at.to_string();
        let record = NewRecord {
            timestamp_ms: 1_000 + at,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

fn plain(count: i64) -> Bytes {
    batch_of(count, BatchOptions::default())
}

/// Changes header bytes and makes the CRC true again, as a careful liar would.
fn with_header_bytes(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

/// Everything that a producer's batch is held to before its records are looked at.
fn check_all(bytes: Bytes) -> Result<CheckedBatch, BatchError> {
    let batch = CheckedBatch::check_produced(bytes)?;
    batch.header().check_produced()?;
    Ok(batch)
}

fn refusal(bytes: Bytes) -> (BatchError, KafkaCode) {
    let error = check_all(bytes).unwrap_err();
    let code = KafkaCode::from(&error);
    (error, code)
}

#[test]
fn a_built_batch_is_accepted_and_says_what_was_put_in() {
    let batch = CheckedBatch::check_produced(plain(3)).unwrap();
    let header = batch.header();
    assert_eq!(header.size(), batch.bytes().len());
    assert_eq!((header.base_offset(), header.last_offset()), (0, 2));
    assert_eq!((header.record_count(), header.last_offset_delta()), (3, 2));
    assert_eq!((header.base_timestamp(), header.max_timestamp()), (1_000, 1_002));
    assert_eq!(header.producer_id(), NO_PRODUCER);
    assert_eq!((header.producer_epoch(), header.base_sequence()), (-1, -1));
    assert_eq!(header.leader_epoch(), -1);
    assert_eq!(header.attributes(), Attributes::default());
}

#[test]
fn every_flipped_bit_behind_the_crc_is_refused() {
    let batch = plain(2);
    for bit in CRC_START * 8..batch.len() * 8 {
        let mut flipped = batch.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(CheckedBatch::check_produced(Bytes::from(flipped)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_batch_cut_at_any_byte_is_no_batch_of_a_client_and_a_truncated_one_in_the_log() {
    let batch = plain(2);
    for size in 0..batch.len() {
        let (error, code) = refusal(batch.slice(..size));
        assert!(matches!(error, BatchError::NoBatch { .. }), "{size}: {error}");
        assert_eq!(code, KafkaCode::InvalidRecord);
        let error = CheckedBatch::check_first(&mut batch.slice(..size)).unwrap_err();
        assert!(matches!(error, BatchError::Truncated { .. }), "{size}: {error}");
    }
}

#[test]
fn bytes_behind_a_batch_that_are_no_whole_batch_are_dropped() {
    let good = plain(2);
    let tail = Bytes::from([&good[..], &good[..good.len() - 1]].concat());
    assert_eq!(CheckedBatch::check_produced(tail).unwrap().bytes(), &good);
}

#[test]
fn a_base_offset_from_a_client_is_refused() {
    let (error, code) = refusal(with_header_bytes(&plain(1), 7, &[1]));
    assert!(matches!(error, BatchError::BaseOffset { base_offset: 1 }));
    assert_eq!(code, KafkaCode::InvalidRecord);
}

#[test]
fn stamping_offset_and_epoch_keeps_the_crc_true() {
    let mut bytes = plain(2).to_vec();
    stamp(&mut bytes, 77, 5);
    let batch = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
    assert_eq!((batch.header().base_offset(), batch.header().leader_epoch()), (77, 5));
    assert_eq!(batch.header().last_offset(), 78);
}

#[test]
fn a_stamped_header_in_front_of_the_payload_is_the_batch_stamped_in_place() {
    let batch = CheckedBatch::check_produced(plain(2)).unwrap();
    let mut in_place = batch.bytes().to_vec();
    stamp(&mut in_place, 77, 5);
    let header = batch.stamped_header(77, 5);
    assert_eq!([header.as_bytes(), &batch.payload()].concat(), in_place);

    stamp_log_append_time(&mut in_place, 123_456);
    let header = batch.stamped_header_at(77, 5, 123_456);
    assert_eq!([header.as_bytes(), &batch.payload()].concat(), in_place);
}

#[test]
fn log_append_time_sets_bit_3_and_max_timestamp_and_renews_the_crc() {
    let mut bytes = plain(2).to_vec();
    stamp_log_append_time(&mut bytes, 123_456);
    let batch = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
    let header = batch.header();
    assert_eq!(header.attributes().timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!((header.base_timestamp(), header.max_timestamp()), (1_000, 123_456));
    let records = batch.decode_records().unwrap();
    let times: Vec<i64> = records.iter().map(|record| record.unwrap().timestamp_ms).collect();
    assert_eq!(times, [123_456, 123_456]);
}

#[test]
fn old_formats_are_invalid_records_and_formats_that_never_were_are_corrupt() {
    for (magic, wanted) in [
        (0u8, KafkaCode::InvalidRecord),
        (1, KafkaCode::InvalidRecord),
        (3, KafkaCode::CorruptMessage),
        (255, KafkaCode::CorruptMessage),
    ] {
        let (error, code) = refusal(with_header_bytes(&plain(1), 16, &[magic]));
        assert!(matches!(error, BatchError::Magic { .. }));
        assert_eq!(code, wanted, "magic {magic}");
    }
}

#[test]
fn lengths_below_the_header_and_negative_ones_are_refused() {
    for length in [48i32, 0, -1, i32::MIN] {
        let (error, code) = refusal(with_header_bytes(&plain(1), 8, &length.to_be_bytes()));
        assert!(matches!(error, BatchError::LengthTooSmall { .. }));
        assert_eq!(code, KafkaCode::CorruptMessage);
    }
    let (error, _) = refusal(with_header_bytes(&plain(1), 8, &i32::MAX.to_be_bytes()));
    assert!(matches!(error, BatchError::NoBatch { .. }));
}

#[test]
fn counts_that_do_not_fit_the_offsets_are_refused() {
    for count in [0i32, -1, 1, 3, i32::MAX] {
        let (error, code) = refusal(with_header_bytes(&plain(2), 57, &count.to_be_bytes()));
        assert!(matches!(error, BatchError::RecordCount { .. }), "{count}: {error}");
        assert_eq!(code, KafkaCode::InvalidRecord);
    }
}

#[test]
fn a_compacted_batch_with_holes_is_fine_from_the_log_but_not_from_a_client() {
    let holes = with_header_bytes(&plain(2), 23, &9i32.to_be_bytes());
    assert!(CheckedBatch::check_first(&mut holes.clone()).is_ok());
    assert!(check_all(holes).is_err());
}

#[test]
fn two_batches_of_one_partition_are_refused_but_walked_from_the_log() {
    let two = Bytes::from([plain(1), plain(2)].concat());
    let (error, code) = refusal(two.clone());
    assert!(matches!(error, BatchError::MoreThanOneBatch { .. }));
    assert_eq!(code, KafkaCode::InvalidRecord);

    let mut rest = two;
    let first = CheckedBatch::check_first(&mut rest).unwrap();
    let second = CheckedBatch::check_first(&mut rest).unwrap();
    assert_eq!((first.header().record_count(), second.header().record_count()), (1, 2));
    assert!(rest.is_empty());
}

#[test]
fn clients_may_not_write_control_batches() {
    let marker = TransactionMarker::Commit
        .batch(ProducerStamp { producer_id: 1, producer_epoch: 0, base_sequence: 0 }, 3, 10)
        .unwrap();
    let (error, code) = refusal(marker);
    assert!(matches!(error, BatchError::ControlFromClient));
    assert_eq!(code, KafkaCode::InvalidRecord);
}

#[test]
fn producer_fields_must_fit_each_other() {
    let stamped = |producer, is_transactional| {
        batch_of(1, BatchOptions { producer, is_transactional, ..BatchOptions::default() })
    };
    let no_sequence = ProducerStamp { producer_id: 9, producer_epoch: 0, base_sequence: -1 };
    assert!(matches!(refusal(stamped(no_sequence, false)).0, BatchError::BadProducerState { .. }));
    assert!(matches!(
        refusal(stamped(ProducerStamp::NONE, true)).0,
        BatchError::TransactionWithoutProducer
    ));
    let good = ProducerStamp { producer_id: 9, producer_epoch: 0, base_sequence: 0 };
    assert!(check_all(stamped(good, true)).is_ok());
}

#[test]
fn unknown_compression_is_refused() {
    let (error, code) = refusal(with_header_bytes(&plain(1), 21, &5i16.to_be_bytes()));
    assert!(matches!(error, BatchError::UnknownCompression { number: 5 }));
    assert_eq!(code, KafkaCode::UnsupportedCompressionType);
}

#[test]
fn the_last_sequence_wraps_to_zero() {
    let producer = ProducerStamp { producer_id: 9, producer_epoch: 0, base_sequence: i32::MAX };
    let bytes = batch_of(3, BatchOptions { producer, ..BatchOptions::default() });
    assert_eq!(CheckedBatch::check_produced(bytes).unwrap().header().last_sequence(), 1);
}

#[test]
fn a_largest_timestamp_is_corrected_without_touching_the_records() {
    let mut bytes = plain(2).to_vec();
    stamp_log_append_time(&mut bytes, 7);
    let batch = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
    let corrected = batch.with_max_timestamp(1_001).into_bytes();
    assert_eq!(corrected, plain(2));
}
