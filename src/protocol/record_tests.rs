use bytes::BufMut;
use proptest::prelude::*;

use super::*;
use crate::model::errors::KafkaCode;

/// The oracle wants UTF-8 keys, so the strategy makes no others.
type OwnedHeader = (String, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct OwnedRecord {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

fn bytes_of(size_max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..size_max)
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    (
        0i64..2_000_000_000_000,
        proptest::option::of(bytes_of(20)),
        proptest::option::of(bytes_of(300)),
        proptest::collection::vec(("[a-zé]{0,8}", proptest::option::of(bytes_of(8))), 0..3),
    )
        .prop_map(|(timestamp_ms, key, value, headers)| OwnedRecord {
            timestamp_ms,
            key,
            value,
            headers,
        })
}

fn build(records: &[OwnedRecord], options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for record in records {
        let headers: Vec<RecordHeader<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| RecordHeader { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        let record = NewRecord {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

fn read(mut bytes: Bytes) -> Result<Vec<OwnedRecord>, BatchError> {
    let records = CheckedBatch::check_first(&mut bytes)?.decode_records()?;
    let owned = records.iter().map(|record| {
        let record = record?;
        let headers = record.headers.iter();
        Ok(OwnedRecord {
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|header| {
                    (
                        String::from_utf8(header.key.to_vec()).unwrap(),
                        header.value.map(<[u8]>::to_vec),
                    )
                })
                .collect(),
        })
    });
    owned.collect()
}

/// A batch whose payload is what a liar likes, with a true CRC.
fn batch_around(payload: &[u8], record_count: i32, compression: Compression) -> Bytes {
    let fields = HeaderFields {
        base_offset: 0,
        leader_epoch: 0,
        attributes: i16::from(compression.number()),
        last_offset_delta: record_count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count,
    };
    let header = fields.seal(payload).unwrap();
    Bytes::from([header.as_bytes(), payload].concat())
}

proptest! {
    #[test]
    fn records_read_back_as_written_under_every_compression(
        records in proptest::collection::vec(any_record(), 1..20),
    ) {
        for compression in Compression::ALL {
            let options = BatchOptions { compression, ..BatchOptions::default() };
            let read = read(build(&records, options)).unwrap();
            prop_assert_eq!(format!("{:?}", read), format!("{:?}", &records));
        }
    }

    #[test]
    fn kafka_protocol_reads_our_batches(
        records in proptest::collection::vec(any_record(), 1..20),
    ) {
        let options = BatchOptions { base_offset: 40, ..BatchOptions::default() };
        let mut bytes = build(&records, options);
        let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.records.len(), records.len());
        for (at, (theirs, ours)) in set.records.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, 40 + i64::try_from(at).unwrap());
            prop_assert_eq!(theirs.timestamp, ours.timestamp_ms);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
        }
    }

    #[test]
    fn foreign_payloads_never_panic(
        payload in bytes_of(200),
        record_count in 0i32..10,
        compression in 0usize..5,
    ) {
        let batch = batch_around(&payload, record_count, Compression::ALL[compression]);
        let _any_outcome = read(batch);
    }
}

#[test]
fn a_record_that_claims_more_than_is_left_is_corrupt() {
    let mut payload = BytesMut::new();
    BufferSink(&mut payload).put_varint(i32::MAX);
    let error = read(batch_around(&payload, 1, Compression::None)).unwrap_err();
    assert!(matches!(error, BatchError::Record(DecodeError::Truncated { .. })));
    assert_eq!(KafkaCode::from(&error), KafkaCode::InvalidRecord);
}

#[test]
fn headers_that_cannot_fit_are_refused_before_they_are_allocated() {
    let mut payload = BytesMut::new();
    payload.put_slice(&[24, 0, 0, 0, 1, 1]);
    BufferSink(&mut payload).put_varint(i32::MAX);
    payload.put_slice(&[0; 2]);
    let error = read(batch_around(&payload, 1, Compression::None)).unwrap_err();
    assert!(
        matches!(error, BatchError::Record(DecodeError::CountTooLarge { count: 0x7fff_ffff, .. })),
        "{error:?}"
    );
}

#[test]
fn bytes_after_the_last_record_are_reported_once() {
    let batch = build(&[], BatchOptions::default());
    let mut payload = batch.slice(BATCH_HEADER_SIZE..).to_vec();
    payload.push(7);
    let mut bytes = batch_around(&payload, 0, Compression::None).to_vec();
    bytes[23..27].copy_from_slice(&0i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let checked = CheckedBatch::check_first(&mut Bytes::from(bytes)).unwrap();
    let records = checked.decode_records().unwrap();
    let outcomes: Vec<_> = records.iter().collect();
    assert!(matches!(outcomes[..], [Err(BatchError::BytesAfterRecords { left: 1 })]));
}

#[test]
fn compaction_keeps_offsets_and_the_last_delta() {
    let mut builder =
        BatchBuilder::new(BatchOptions { base_offset: 100, ..BatchOptions::default() });
    let record = NewRecord { value: Some(b"kept"), ..NewRecord::default() };
    builder.push_at(103, &record).unwrap();
    builder.push_at(107, &record).unwrap();
    assert!(matches!(
        builder.push_at(107, &record),
        Err(BuildError::OffsetOutOfOrder { offset: 107 })
    ));
    builder.extend_to(109).unwrap();
    let mut bytes = builder.build().unwrap();
    let batch = CheckedBatch::check_first(&mut bytes).unwrap();
    assert_eq!((batch.header().record_count(), batch.header().last_offset()), (2, 109));
    let records = batch.decode_records().unwrap();
    let offsets: Vec<i64> = records.iter().map(|record| record.unwrap().offset).collect();
    assert_eq!(offsets, [103, 107]);
}

#[test]
fn a_marker_says_how_the_transaction_ended() {
    let producer = ProducerStamp { producer_id: 7, producer_epoch: 2, base_sequence: 55 };
    for marker in [TransactionMarker::Abort, TransactionMarker::Commit] {
        let mut bytes = marker.batch(producer, 4, 1_000).unwrap();
        assert_eq!(bytes.len(), 78);
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        assert!(batch.header().attributes().is_control());
        assert!(batch.header().attributes().is_transactional());
        assert_eq!((batch.header().producer_id(), batch.header().base_sequence()), (7, -1));
        let records = batch.decode_records().unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!(TransactionMarker::from_key(record.key.unwrap()), Some(marker));
        assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 4][..]));
    }
}

#[test]
fn other_control_keys_are_no_transaction_marker() {
    assert_eq!(TransactionMarker::from_key(&[0, 0, 0, 9]), None);
    assert_eq!(TransactionMarker::from_key(&[0, 0, 0]), None);
    assert_eq!(TransactionMarker::from_key(&[]), None);
}
