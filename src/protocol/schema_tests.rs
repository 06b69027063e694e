use super::*;
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest,
};
use crate::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ReplicaState,
};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.finish()?.into_bytes())
}

fn decode<M: Message>(bytes: &[u8], version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(&Bytes::copy_from_slice(bytes)), version)
}

#[test]
fn version_ranges_are_written_as_kafka_writes_them() {
    let contained = |text: &str| -> Vec<i16> {
        (0..6).filter(|version| Versions::parse(text).contains(*version)).collect()
    };
    assert_eq!(contained("3+"), [3, 4, 5]);
    assert_eq!(contained("1-2"), [1, 2]);
    assert_eq!(contained("4"), [4]);
}

#[test]
fn five_bytes_that_claim_two_billion_topics_are_refused() {
    let bomb = [0x7f, 0xff, 0xff, 0xff, 0];
    let refused = DecodeError::CountTooLarge { count: 0x7fff_ffff, size_min: 2, left: 1 };
    assert_eq!(decode::<MetadataRequest>(&bomb, 1), Err(refused));

    let compact_bomb = [0xff, 0xff, 0xff, 0xff, 0x07];
    let refused = DecodeError::CountTooLarge { count: 0x7fff_fffe, size_min: 2, left: 0 };
    assert_eq!(decode::<MetadataRequest>(&compact_bomb, 9), Err(refused));
}

#[test]
fn an_array_grows_with_its_elements_not_with_its_claim() {
    let mut bytes = vec![0, 0x10, 0, 0];
    bytes.resize(4 + 2 * 0x10_0000, 0xff);
    // The count fits the bytes, the first element is null: nothing was set aside for the others.
    assert_eq!(decode::<MetadataRequest>(&bytes, 0), Err(DecodeError::UnexpectedNull));
}

#[test]
fn null_topics_mean_all_from_version_1_on() {
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    assert_eq!(encode(&all, 0), Err(EncodeError::UnexpectedNull { version: 0 }));
    assert_eq!(encode(&all, 1).unwrap()[..], [0xff; 4]);
    assert_eq!(decode::<MetadataRequest>(&[0xff; 4], 0), Err(DecodeError::UnexpectedNull));
    assert_eq!(decode::<MetadataRequest>(&[0xff; 4], 1), Ok(all));
}

#[test]
fn a_field_that_the_version_lacks_reads_as_its_default() {
    let request = decode::<MetadataRequest>(&[0, 0, 0, 0], 0).unwrap();
    assert!(request.allow_auto_topic_creation);
    assert_eq!(request, MetadataRequest::default());
}

#[test]
fn a_value_that_the_version_cannot_carry_is_an_error() {
    let no_creation =
        MetadataRequest { allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let refused = EncodeError::FieldNotInVersion { field: "allow_auto_topic_creation", version: 3 };
    assert_eq!(encode(&no_creation, 3), Err(refused));
    assert_eq!(no_creation.encoded_size(3), Err(refused));
    assert!(encode(&no_creation, 4).is_ok());
}

#[test]
fn an_ignorable_value_that_the_version_lacks_is_dropped() {
    let request = FetchRequest { session_id: 7, ..FetchRequest::default() };
    let read: FetchRequest = decode(&encode(&request, 6).unwrap(), 6).unwrap();
    assert_eq!(read.session_id, 0);
}

#[test]
fn tagged_fields_are_written_only_when_they_differ_from_their_default() {
    let plain = FetchRequest::default();
    let size = encode(&plain, 15).unwrap().len();
    let follower = FetchRequest {
        cluster_id: Some("c".to_owned()),
        replica_state: ReplicaState { replica_id: 3, replica_epoch: 9 },
        ..FetchRequest::default()
    };
    let bytes = encode(&follower, 15).unwrap();
    // Two tags, two sizes, a string of one, and 13 bytes of state.
    assert_eq!(bytes.len(), size + 2 + 2 + 2 + 13);
    assert_eq!(decode(&bytes, 15), Ok(follower));
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let plain = encode(&FetchRequest::default(), 15).unwrap();
    let mut bytes = plain.to_vec();
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend_from_slice(&[1, 99, 3, 1, 2, 3]);
    assert_eq!(decode(&bytes, 15), Ok(FetchRequest::default()));
}

#[test]
fn structs_may_be_null_where_their_table_says_so() {
    for cursor in [None, Some(Cursor { topic_name: "t".to_owned(), partition_index: 2 })] {
        let request = DescribeTopicPartitionsRequest { cursor, ..Default::default() };
        let bytes = encode(&request, 0).unwrap();
        assert_eq!(decode(&bytes, 0), Ok(request));
    }
    let mut bytes = encode(&DescribeTopicPartitionsRequest::default(), 0).unwrap().to_vec();
    let marker = bytes.len() - 2;
    assert_eq!(bytes[marker], 0xff);
    bytes[marker] = 5;
    let refused = DecodeError::BadStructMarker { marker: 5 };
    assert_eq!(decode::<DescribeTopicPartitionsRequest>(&bytes, 0), Err(refused));
}

#[test]
fn names_give_way_to_topic_ids() {
    let topic = FetchTopic {
        topic: "t".to_owned(),
        topic_id: Uuid::from_u128(9),
        partitions: vec![FetchPartition::default()],
    };
    let request = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
    let by_name: FetchRequest = decode(&encode(&request, 12).unwrap(), 12).unwrap();
    assert_eq!((&*by_name.topics[0].topic, by_name.topics[0].topic_id), ("t", Uuid::nil()));
    let by_id: FetchRequest = decode(&encode(&request, 13).unwrap(), 13).unwrap();
    assert_eq!((&*by_id.topics[0].topic, by_id.topics[0].topic_id), ("", Uuid::from_u128(9)));
}

#[test]
fn versions_outside_the_range_are_refused_in_both_directions() {
    for version in [-1, 3, 19] {
        let api = "Fetch";
        let refused = DecodeError::UnsupportedVersion { api, version };
        assert_eq!(decode::<FetchResponse>(&[0; 64], version), Err(refused));
        let refused = EncodeError::UnsupportedVersion { api, version };
        assert_eq!(encode(&FetchResponse::default(), version), Err(refused));
    }
}

#[test]
fn bytes_after_the_body_are_left_to_the_caller() {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("t".to_owned()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    let mut bytes = encode(&request, 12).unwrap().to_vec();
    bytes.extend_from_slice(&[1, 2, 3]);
    let bytes = Bytes::from(bytes);
    let mut reader = Reader::new(&bytes);
    assert_eq!(MetadataRequest::decode(&mut reader, 12), Ok(request));
    assert_eq!(reader.left(), 3);
}

#[test]
fn null_records_read_as_empty_and_empty_is_written_as_length_0() {
    let mut writer = Writer::new();
    let context = Context { version: 4, is_flexible: false, is_nullable: true };
    Records::default().write(&mut writer, context).unwrap();
    assert_eq!(writer.finish().unwrap().into_bytes()[..], [0, 0, 0, 0]);
    let null = Bytes::from_static(&[0xff; 4]);
    assert_eq!(Records::read(&mut Reader::new(&null), context), Ok(Records::default()));
}
