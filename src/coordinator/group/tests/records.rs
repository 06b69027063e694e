use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::consumer::records::GroupEpoch;
use crate::coordinator::group::records::{
    CommittedOffset, GroupMetadata, GroupRecord, MemberMetadata,
};
use crate::coordinator::group::share::records::{
    ShareCurrent, ShareDetails, ShareRecord, SharedPartitions, SharedTopic,
};
use crate::model::ids::TopicId;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

fn hex(bytes: &Bytes) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let text: String = text.split_whitespace().collect();
    let byte = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Laid out by hand from Kafka's OffsetCommitKey and OffsetCommitValue schemas.
#[test]
fn an_offset_is_written_as_kafka_writes_it() {
    let record = GroupRecord::Offset {
        group: "g1".into(),
        topic: "t".into(),
        partition: 7,
        value: Some(CommittedOffset {
            offset: 42,
            leader_epoch: 3,
            metadata: "m".into(),
            commit_ms: 0x0102_0304,
            expire_ms: None,
        }),
    };
    let bytes = record.encode().unwrap();
    assert_eq!(hex(&bytes.key), "0001 0002 6731 0001 74 00000007".replace(' ', ""));
    let value = "0003 000000000000002a 00000003 0001 6d 0000000001020304".replace(' ', "");
    assert_eq!(hex(&bytes.value.unwrap()), value);
}

#[test]
fn an_offset_with_its_own_expiry_is_written_as_version_1() {
    let value = CommittedOffset {
        offset: 1,
        leader_epoch: -1,
        metadata: String::new(),
        commit_ms: 2,
        expire_ms: Some(3),
    };
    let record = GroupRecord::Offset {
        group: "g".into(),
        topic: "t".into(),
        partition: 0,
        value: Some(value),
    };
    let bytes = record.encode().unwrap();
    let expected = "0001 0000000000000001 0000 0000000000000002 0000000000000003".replace(' ', "");
    assert_eq!(hex(bytes.value.as_ref().unwrap()), expected);
    assert_eq!(GroupRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap(), Some(record));
}

/// Laid out by hand from Kafka's GroupMetadataKey and GroupMetadataValue schemas.
#[test]
fn a_group_is_written_as_kafka_writes_it() {
    let bytes = group_record().encode().unwrap();
    assert_eq!(hex(&bytes.key), "0002 0001 67".replace(' ', ""));
    let expected = "0003 0008 636f6e73756d6572 00000005 0005 72616e6765 0003 612d31
        0000000000000009 00000001
        0003 612d31 0001 69 0001 61 0002 2f68 0000ea60 00002710 00000001 73 00000002 7071";
    assert_eq!(hex(&bytes.value.unwrap()), expected.split_whitespace().collect::<String>());
}

fn group_record() -> GroupRecord {
    let member = MemberMetadata {
        member: "a-1".into(),
        instance: Some("i".into()),
        client_id: "a".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::from_static(b"s"),
        assignment: Bytes::from_static(b"pq"),
    };
    let value = GroupMetadata {
        protocol_type: "consumer".into(),
        generation: 5,
        protocol: Some("range".into()),
        leader: Some("a-1".into()),
        state_since_ms: Some(9),
        members: vec![member],
    };
    GroupRecord::Group { group: "g".into(), value: Some(value) }
}

#[test]
fn older_and_newer_versions_of_a_value_are_read() {
    let key = unhex("0001 0001 67 0001 74 00000000");
    for (value, leader_epoch, expire_ms) in [
        ("0000 0000000000000005 0000 0000000000000006", -1, None),
        ("0001 0000000000000005 0000 0000000000000006 ffffffffffffffff", -1, None),
        ("0001 0000000000000005 0000 0000000000000006 0000000000000007", -1, Some(7)),
        ("0002 0000000000000005 0000 0000000000000006", -1, None),
        ("0003 0000000000000005 00000008 0000 0000000000000006", 8, None),
        ("0004 0000000000000005 00000008 01 0000000000000006 00", 8, None),
        (
            "0004 0000000000000005 00000008 01 0000000000000006 01 00 10
             000102030405060708090a0b0c0d0e0f",
            8,
            None,
        ),
    ] {
        let record = GroupRecord::decode(&key, Some(&unhex(value))).unwrap().unwrap();
        let GroupRecord::Offset { value: Some(offset), .. } = record else { panic!("{record:?}") };
        assert_eq!((offset.offset, offset.commit_ms), (5, 6));
        assert_eq!((offset.leader_epoch, offset.expire_ms), (leader_epoch, expire_ms), "{value}");
    }
    let key = unhex("0002 0001 67");
    for value in [
        "0000 0000 00000001 ffff ffff 00000001 0001 61 0000 0000 00000007 00000000 00000000",
        "0001 0000 00000001 ffff ffff 00000001 0001 61 0000 0000 00000008 00000007 00000000 00000000",
        "0002 0000 00000001 ffff ffff ffffffffffffffff 00000001
         0001 61 0000 0000 00000008 00000007 00000000 00000000",
        "0004 01 00000001 00 00 ffffffffffffffff 02 02 61 00 01 01 00000008 00000007 01 01 00 00",
    ] {
        let record = GroupRecord::decode(&key, Some(&unhex(value))).unwrap().unwrap();
        let GroupRecord::Group { value: Some(group), .. } = record else { panic!("{record:?}") };
        assert_eq!((group.generation, group.state_since_ms), (1, None));
        let member = &group.members[0];
        assert_eq!((member.member.as_str(), member.session_timeout_ms), ("a", 7), "{value}");
    }
}

#[test]
fn records_of_other_kinds_are_passed_over_and_damaged_ones_are_errors() {
    let streams_group = unhex("0011 0001 67");
    assert_eq!(GroupRecord::decode(&streams_group, None).unwrap(), None);
    assert!(GroupRecord::decode(&Bytes::new(), None).is_err());
    assert!(GroupRecord::decode(&unhex("0002 0009 67"), None).is_err());
    let value = unhex("0005 00");
    assert!(GroupRecord::decode(&unhex("0002 0001 67"), Some(&value)).is_err());
}

/// Laid out by hand from Kafka's ShareGroup* schemas.
#[test]
fn records_of_a_share_group_are_written_as_kafka_writes_them() {
    let id = "000000000000000000000000000000aa";
    let topic = TopicId(Uuid::from_u128(0xaa));
    let assignment = Assignment::from([(topic, BTreeSet::from([1, 2]))]);
    let shared = |name: &str| SharedTopic { name: name.into(), partitions: BTreeSet::from([3]) };
    let details = ShareDetails {
        rack: None,
        client_id: "c".into(),
        client_host: "/h".into(),
        topics: vec!["t".into()],
    };
    let partitions = SharedPartitions {
        initializing: BTreeMap::from([(topic, shared("t"))]),
        initialized: BTreeMap::new(),
        deleting: BTreeMap::from([(topic, "u".to_owned())]),
    };
    let current = ShareCurrent { epoch: 5, previous_epoch: 4, assigned: assignment.clone() };
    let member = || "m".to_owned();
    for (record, key, value) in [
        (
            ShareRecord::Member { member: member(), value: Some(details) },
            "000a 0001 67 0001 6d",
            "0000 00 02 63 03 2f68 02 02 74 00".to_owned(),
        ),
        (
            ShareRecord::Epoch(Some(GroupEpoch { epoch: 7, topics_hash: 9 })),
            "000b 0001 67",
            "0000 00000007 0000000000000009 00".to_owned(),
        ),
        (ShareRecord::TargetEpoch(Some(6)), "000c 0001 67", "0000 00000006 00".to_owned()),
        (
            ShareRecord::Target { member: member(), value: Some(assignment) },
            "000d 0001 67 0001 6d",
            format!("0000 02 {id} 03 00000001 00000002 00 00"),
        ),
        (
            ShareRecord::Current { member: member(), value: Some(current) },
            "000e 0001 67 0001 6d",
            format!("0000 00000005 00000004 00 02 {id} 03 00000001 00000002 00 00"),
        ),
        (
            ShareRecord::Partitions(Some(partitions)),
            "000f 0001 67",
            format!("0000 02 {id} 02 74 02 00000003 00 01 02 {id} 02 75 00 00"),
        ),
    ] {
        let record = GroupRecord::Share { group: "g".into(), record };
        let bytes = record.encode().unwrap();
        assert_eq!(hex(&bytes.key), key.replace(' ', ""));
        assert_eq!(hex(bytes.value.as_ref().unwrap()), value.replace(' ', ""), "{record:?}");
        assert_eq!(GroupRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap(), Some(record));
    }
}

proptest! {
    #[test]
    fn no_bytes_in_the_log_bring_the_decoder_or_the_replay_down(
        kind in 0_i16..18,
        rest in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
    ) {
        let mut key = kind.to_be_bytes().to_vec();
        key.extend(rest);
        let value = value.map(Bytes::from);
        let _ = GroupRecord::decode(&Bytes::from(key), value.as_ref());
    }

    #[test]
    fn a_damaged_group_record_never_makes_an_unsound_group(
        position in 0_usize..80,
        flip in 1_u8..,
    ) {
        let bytes = group_record().encode().unwrap();
        let mut value = bytes.value.unwrap().to_vec();
        let index = position % value.len();
        value[index] ^= flip;
        let value = Bytes::from(value);
        if let Ok(Some(record)) = GroupRecord::decode(&bytes.key, Some(&value)) {
            let mut coordinator = crate::coordinator::group::GroupCoordinator::new(
                crate::model::group_config::GroupConfig::default(),
            );
            coordinator.replay(record);
            coordinator.on_loaded(crate::model::clock::Now::default());
        }
    }
}
