//! Records byte for byte as Kafka 4.1 writes them, and every record there and back.

use crate::coordinator::replayed::KeyValue;
use crate::coordinator::transaction::metadata::{
    Flow, NO_EPOCH, TransactionMetadata, TransactionState,
};
use crate::coordinator::transaction::records::TransactionRecord;
use crate::model::ids::{ProducerEpoch, ProducerId};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ongoing() -> TransactionMetadata {
    TransactionMetadata {
        producer_id: ProducerId(1000),
        previous_producer_id: Some(ProducerId(999)),
        next_producer_id: None,
        epoch: ProducerEpoch(5),
        last_epoch: NO_EPOCH,
        timeout_ms: 60_000,
        state: TransactionState::Ongoing,
        partitions: [("ab".to_owned(), BTreeSet::from([0, 7]))].into(),
        updated_ms: 2,
        started_ms: 1,
        flow: Flow::EpochPerTransaction,
    }
}

fn hex(bytes: &Bytes) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_record_is_laid_out_as_kafkas_schema_says() {
    let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(ongoing()) };
    let KeyValue { key, value } = record.encode().unwrap();
    assert_eq!(hex(&key), "000000026964");
    let parts = [
        "0001",             // version
        "00000000000003e8", // producer id
        "0005",             // epoch
        "0000ea60",         // timeout
        "01",               // Ongoing
        "02",               // one topic
        "036162",           // its name
        "03",               // two partitions
        "00000000",
        "00000007",         // their numbers
        "00",               // no tags of the topic
        "0000000000000002", // updated
        "0000000000000001", // started
        "02",               // two tags
        "0008",
        "00000000000003e7", // previous producer id
        "0202",
        "0002", // version of the client's protocol
    ];
    assert_eq!(hex(&value.unwrap()), parts.concat());
}

#[test]
fn an_empty_transaction_has_no_list_of_partitions() {
    let metadata = TransactionMetadata {
        state: TransactionState::Empty,
        previous_producer_id: None,
        partitions: [].into(),
        started_ms: -1,
        flow: Flow::EpochPerProducer,
        ..ongoing()
    };
    let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(metadata) };
    let value = record.encode().unwrap().value.unwrap();
    let parts = [
        "0001",             // version
        "00000000000003e8", // producer id
        "0005",             // epoch
        "0000ea60",         // timeout
        "00",               // Empty
        "00",               // null
        "0000000000000002", // updated
        "ffffffffffffffff", // never started
        "00",               // no tags
    ];
    assert_eq!(hex(&value), parts.concat());
}

#[test]
fn the_old_version_is_read() {
    let bytes = [
        &[0, 0][..],
        &1000_i64.to_be_bytes(),
        &5_i16.to_be_bytes(),
        &60_000_i32.to_be_bytes(),
        &[1],
        &1_i32.to_be_bytes(),
        &[0, 2, b'a', b'b'],
        &2_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &7_i32.to_be_bytes(),
        &2_i64.to_be_bytes(),
        &1_i64.to_be_bytes(),
    ];
    let key = Bytes::from_static(&[0, 0, 0, 2, b'i', b'd']);
    let value = Bytes::from(bytes.concat());
    let record = TransactionRecord::decode(&key, Some(&value)).unwrap().unwrap();
    let flow = Flow::EpochPerProducer;
    let expected = TransactionMetadata { previous_producer_id: None, flow, ..ongoing() };
    assert_eq!(record.metadata, Some(expected));
    assert_eq!(record.transactional_id, "id");
}

#[test]
fn a_state_or_an_epoch_that_no_log_may_have_is_damage() {
    let refused = |metadata: TransactionMetadata| {
        let metadata = Some(metadata);
        let record = TransactionRecord { transactional_id: "id".to_owned(), metadata };
        let KeyValue { key, value } = record.encode().unwrap();
        TransactionRecord::decode(&key, value.as_ref()).is_err()
    };
    assert!(!refused(ongoing()));
    assert!(refused(TransactionMetadata { epoch: NO_EPOCH, ..ongoing() }));
    assert!(refused(TransactionMetadata { state: TransactionState::Dead, ..ongoing() }));
    assert!(refused(TransactionMetadata {
        state: TransactionState::PrepareEpochFence,
        ..ongoing()
    }));
}

#[test]
fn a_key_of_a_later_version_is_left_out_and_a_broken_value_is_an_error() {
    let later = Bytes::from_static(&[0, 1, 0, 0]);
    assert_eq!(TransactionRecord::decode(&later, None), Ok(None));
    let key = Bytes::from_static(&[0, 0, 0, 2, b'i', b'd']);
    for value in [&[][..], &[0, 2], &[0, 1, 0, 0]] {
        let value = Bytes::from_static(value);
        assert!(TransactionRecord::decode(&key, Some(&value)).is_err());
    }
}

fn any_metadata() -> impl Strategy<Value = TransactionMetadata> {
    let id = || proptest::option::of((0..i64::MAX).prop_map(ProducerId));
    let partitions = proptest::collection::btree_map(
        "[a-z]{1,5}",
        proptest::collection::btree_set(any::<i32>(), 1..4),
        0..4,
    );
    let ids = (0..i64::MAX, id(), id());
    (ids, 0..=i16::MAX, any::<i32>(), 0..6_usize, partitions, any::<bool>()).prop_map(
        |((own, previous, next), epoch, timeout_ms, state, partitions, is_new)| {
            let state = TransactionState::ALL[state];
            let is_empty = state == TransactionState::Empty;
            TransactionMetadata {
                producer_id: ProducerId(own),
                previous_producer_id: previous,
                next_producer_id: next,
                epoch: ProducerEpoch(epoch),
                last_epoch: NO_EPOCH,
                timeout_ms,
                state,
                partitions: if is_empty { [].into() } else { partitions },
                updated_ms: own / 2,
                started_ms: -1,
                flow: if is_new { Flow::EpochPerTransaction } else { Flow::EpochPerProducer },
            }
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was(metadata in proptest::option::of(any_metadata())) {
        let record = TransactionRecord { transactional_id: "x".to_owned(), metadata };
        let KeyValue { key, value } = record.encode().unwrap();
        prop_assert_eq!(TransactionRecord::decode(&key, value.as_ref()), Ok(Some(record)));
    }

    #[test]
    fn noise_is_no_panic(key in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
        let value = Bytes::from(value);
        let _ = TransactionRecord::decode(&Bytes::from(key), Some(&value));
    }
}
