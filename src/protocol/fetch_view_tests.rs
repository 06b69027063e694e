use proptest::prelude::*;

use super::*;
use crate::protocol::entropy::Entropy;
use crate::protocol::messages::fetch::{PartitionData, SnapshotId};
use crate::protocol::primitive::Writer;

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.finish().unwrap().into_bytes()
}

fn arbitrary<M: Message>(entropy: &[u8], version: i16) -> M {
    M::arbitrary(&mut Entropy::new(entropy), Context::of_message(version, M::FLEXIBLE_FROM))
}

fn head_of(request: &FetchRequest, version: i16) -> FetchHead {
    let state = &request.replica_state;
    let is_state = version >= REPLICA_STATE_FROM;
    FetchHead {
        version,
        replica_id: if is_state { state.replica_id } else { request.replica_id },
        replica_epoch: state.replica_epoch,
        max_wait_ms: request.max_wait_ms,
        min_bytes: request.min_bytes,
        max_bytes: request.max_bytes,
        isolation_level: request.isolation_level,
        session_id: request.session_id,
        session_epoch: request.session_epoch,
    }
}

fn partition_head(data: &PartitionData) -> FetchPartitionHead<'_> {
    let diverging_epoch = data.diverging_epoch.clone();
    let current_leader = data.current_leader.clone();
    FetchPartitionHead {
        index: data.partition_index,
        error: KafkaCode::from_number(data.error_code).unwrap(),
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        aborted_transactions: data.aborted_transactions.as_deref(),
        preferred_read_replica: data.preferred_read_replica,
        diverging_epoch: Some(diverging_epoch).filter(|epoch| *epoch != EpochEndOffset::default()),
        current_leader: Some(current_leader)
            .filter(|leader| *leader != LeaderIdAndEpoch::default()),
    }
}

fn write_directly(response: &FetchResponse, version: i16) -> Bytes {
    let mut writer = Writer::new();
    let head = FetchResponseHead {
        throttle_time_ms: response.throttle_time_ms,
        error: KafkaCode::from_number(response.error_code).unwrap(),
        session_id: response.session_id,
    };
    let count = response.responses.len();
    let mut direct = FetchResponseWriter::start(&mut writer, version, &head, count).unwrap();
    for topic in &response.responses {
        direct.topic(&topic.topic, topic.topic_id, topic.partitions.len()).unwrap();
        for data in &topic.partitions {
            direct.partition(&partition_head(data), data.records.parts()).unwrap();
        }
    }
    direct.finish(&response.node_endpoints).unwrap();
    writer.finish().unwrap().into_bytes()
}

proptest! {
    #[test]
    fn view_and_table_read_the_same_in_every_version(
        entropy in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let mut view = FetchRequestView::default();
        for version in FetchRequest::VERSIONS {
            let request: FetchRequest = arbitrary(&entropy, version);
            let body = encode(&request, version);
            let mut reader = Reader::new(&body);
            view.read(&mut reader, version).unwrap();
            prop_assert_eq!(reader.left(), 0);
            prop_assert_eq!(view.head(), &head_of(&request, version));
            prop_assert_eq!(view.rack_id(), &request.rack_id);
            prop_assert_eq!(view.topics().len(), request.topics.len());
            for (ours, topic) in view.topics().zip(&request.topics) {
                prop_assert_eq!((ours.name, ours.topic_id), (&*topic.topic, topic.topic_id));
                prop_assert_eq!(ours.partitions, &topic.partitions[..]);
            }
            prop_assert_eq!(view.forgotten_topics().len(), request.forgotten_topics_data.len());
            for (ours, topic) in view.forgotten_topics().zip(&request.forgotten_topics_data) {
                prop_assert_eq!((ours.name, ours.topic_id), (&*topic.topic, topic.topic_id));
                prop_assert_eq!(ours.partitions, &topic.partitions[..]);
            }
        }
    }

    #[test]
    fn the_direct_response_is_the_one_of_the_table(
        entropy in proptest::collection::vec(any::<u8>(), 0..900),
    ) {
        for version in FetchResponse::VERSIONS {
            let mut response: FetchResponse = arbitrary(&entropy, version);
            response.error_code = response.error_code.rem_euclid(134);
            let topics = response.responses.iter_mut();
            for data in topics.flat_map(|topic| &mut topic.partitions) {
                data.error_code = data.error_code.rem_euclid(134);
                data.snapshot_id = SnapshotId::default();
            }
            prop_assert_eq!(write_directly(&response, version), encode(&response, version));
        }
    }

    #[test]
    fn a_cut_body_is_an_error(entropy in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut view = FetchRequestView::default();
        for version in [4, 7, 12, 18] {
            let body = encode(&arbitrary::<FetchRequest>(&entropy, version), version);
            for size in 0..body.len() {
                let cut = body.slice(..size);
                prop_assert!(view.read(&mut Reader::new(&cut), version).is_err());
            }
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let noise = Bytes::from(noise);
        let mut view = FetchRequestView::default();
        for version in 0..=20 {
            if view.read(&mut Reader::new(&noise), version).is_ok() {
                prop_assert!(view.partition_count() <= noise.len());
            }
        }
    }
}

#[test]
fn large_records_are_passed_on_by_reference() {
    let records = Bytes::from(vec![1u8; 1 << 20]);
    let mut writer = Writer::for_frame();
    let head = FetchResponseHead { throttle_time_ms: 0, error: KafkaCode::None, session_id: 0 };
    let mut response = FetchResponseWriter::start(&mut writer, 17, &head, 1).unwrap();
    response.topic("", Uuid::nil(), 1).unwrap();
    let partition = FetchPartitionHead::refused(0, KafkaCode::None);
    response.partition(&partition, &[records.clone().into()]).unwrap();
    response.finish(&[]).unwrap();
    let frame = writer.finish().unwrap();
    assert_eq!(frame.parts.len(), 3);
    assert_eq!(frame.parts[1].memory().unwrap().as_ptr(), records.as_ptr());
}
