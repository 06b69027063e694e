//! The bytes of `__share_group_state`.

use crate::coordinator::share::records::{ShareRecord, Snapshot, Update};
use crate::coordinator::share::{DeliveryState, ShareKey, StateBatch};
use crate::model::ids::{PartitionId, TopicId, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

fn key() -> ShareKey {
    let topic = TopicId(Uuid::from_u128(1));
    let partition = TopicPartition { topic, partition: PartitionId(7) };
    ShareKey { group: "g".to_owned(), partition }
}

fn batch(first: i64, last: i64, state: DeliveryState, delivery_count: i16) -> StateBatch {
    StateBatch { first, last, state, delivery_count }
}

fn update() -> ShareRecord {
    let batches = vec![batch(5, 6, DeliveryState::Acknowledged, 1)];
    let update = Update { snapshot_epoch: 2, leader_epoch: 3, start_offset: 4, batches };
    ShareRecord::Update(key(), Some(update))
}

#[test]
fn a_key_is_printed_as_kafka_prints_it() {
    assert_eq!(key().text(), "g:AAAAAAAAAAAAAAAAAAAAAQ:7");
}

#[test]
fn an_update_has_kafkas_bytes() {
    let bytes = update().encode().unwrap();
    let key = [&[0, 1, 0, 1, b'g'][..], &[0; 15], &[1, 0, 0, 0, 7]].concat();
    assert_eq!(bytes.key, key);
    let expected: &[&[u8]] = &[
        &[0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 2],
        &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 2, 0, 1, 0],
        &[0],
    ];
    assert_eq!(bytes.value.unwrap(), expected.concat());
}

#[test]
fn records_read_back_as_they_were_written() {
    let batches =
        vec![batch(10, 12, DeliveryState::Available, 2), batch(13, 13, DeliveryState::Archived, 5)];
    let snapshot = Snapshot {
        snapshot_epoch: 1,
        state_epoch: 2,
        leader_epoch: -1,
        start_offset: 10,
        created_ms: 100,
        written_ms: 200,
        batches,
    };
    for record in [
        update(),
        ShareRecord::Snapshot(key(), Some(snapshot)),
        ShareRecord::Snapshot(key(), None),
        ShareRecord::Update(key(), None),
    ] {
        let bytes = record.encode().unwrap();
        let read = ShareRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap();
        assert_eq!(read, Some(record));
    }
}

#[test]
fn keys_of_other_kinds_are_left_out_and_cut_records_are_refused() {
    let other = Bytes::from_static(&[0, 2, 0, 0]);
    assert_eq!(ShareRecord::decode(&other, None).unwrap(), None);
    let bytes = update().encode().unwrap();
    let value = bytes.value.unwrap();
    for size in 0..value.len() {
        assert!(ShareRecord::decode(&bytes.key, Some(&value.slice(..size))).is_err(), "{size}");
    }
    for size in 0..bytes.key.len() {
        assert!(ShareRecord::decode(&bytes.key.slice(..size), None).is_err(), "{size}");
    }
}
