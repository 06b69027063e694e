use proptest::prelude::*;

use super::*;
use crate::protocol::entropy::Entropy;
use crate::protocol::messages::produce::{
    PartitionProduceResponse, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::protocol::primitive::Writer;
use crate::protocol::schema::Wire;

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.finish().unwrap().into_bytes()
}

fn request_of(entropy: &[u8], version: i16) -> ProduceRequest {
    let context = Context::of_message(version, ProduceRequest::FLEXIBLE_FROM);
    ProduceRequest::arbitrary(&mut Entropy::new(entropy), context)
}

fn result_of(entropy: &mut Entropy<'_>, version: i16) -> ProduceResult {
    let error = KafkaCode::from_number(entropy.i16() % 134).unwrap_or(KafkaCode::None);
    ProduceResult {
        error,
        base_offset: entropy.i64(),
        log_append_time_ms: entropy.i64(),
        log_start_offset: if version >= 5 { entropy.i64() } else { -1 },
    }
}

fn response_of(request: &ProduceRequest, results: &[ProduceResult]) -> ProduceResponse {
    let mut results = results.iter();
    let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .zip(&mut results)
            .map(|(partition, result)| PartitionProduceResponse {
                index: partition.index,
                error_code: result.error.number(),
                base_offset: result.base_offset,
                log_append_time_ms: result.log_append_time_ms,
                log_start_offset: result.log_start_offset,
                ..PartitionProduceResponse::default()
            })
            .collect(),
    });
    ProduceResponse {
        responses: topics.collect(),
        throttle_time_ms: 7,
        ..ProduceResponse::default()
    }
}

proptest! {
    #[test]
    fn view_and_table_read_the_same_in_every_version(
        entropy in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let mut view = ProduceRequestView::default();
        for version in ProduceRequest::VERSIONS {
            let request = request_of(&entropy, version);
            let body = encode(&request, version);
            let mut reader = Reader::new(&body);
            view.read(&mut reader, version).unwrap();
            prop_assert_eq!(reader.left(), 0);
            prop_assert_eq!(view.transactional_id(), request.transactional_id.as_deref());
            prop_assert_eq!((view.acks(), view.timeout_ms()), (request.acks, request.timeout_ms));
            prop_assert_eq!(view.topics().len(), request.topic_data.len());
            for (ours, topic) in view.topics().zip(&request.topic_data) {
                prop_assert_eq!(&ours.name(), &topic.name);
                prop_assert_eq!(ours.topic_id(), topic.topic_id);
                let partitions = topic.partition_data.iter().map(|partition| ProducePartition {
                    index: partition.index,
                    records: partition.records.clone().into_bytes(),
                });
                prop_assert!(ours.partitions().eq(partitions));
            }
        }
    }

    #[test]
    fn the_direct_response_is_the_one_of_the_table(
        entropy in proptest::collection::vec(any::<u8>(), 0..700),
    ) {
        let mut view = ProduceRequestView::default();
        for version in ProduceRequest::VERSIONS {
            let request = request_of(&entropy, version);
            let body = encode(&request, version);
            view.read(&mut Reader::new(&body), version).unwrap();
            let mut more = Entropy::new(&entropy);
            let results: Vec<ProduceResult> =
                (0..view.partition_count()).map(|_| result_of(&mut more, version)).collect();
            let mut writer = Writer::new();
            write_produce_response(&mut writer, &view, &results, 7).unwrap();
            let direct = writer.finish().unwrap().into_bytes();
            prop_assert_eq!(direct, encode(&response_of(&request, &results), version));
        }
    }

    #[test]
    fn a_cut_body_is_an_error(entropy in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut view = ProduceRequestView::default();
        for version in [3, 9, 13] {
            let body = encode(&request_of(&entropy, version), version);
            for size in 0..body.len() {
                let cut = body.slice(..size);
                prop_assert!(view.read(&mut Reader::new(&cut), version).is_err());
            }
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let noise = Bytes::from(noise);
        let mut view = ProduceRequestView::default();
        for version in 0..=15 {
            if view.read(&mut Reader::new(&noise), version).is_ok() {
                prop_assert!(view.partition_count() <= noise.len());
            }
        }
    }
}

#[test]
fn records_share_the_memory_of_the_frame() {
    let request = request_of(&[1; 300], 9);
    let body = encode(&request, 9);
    let mut view = ProduceRequestView::default();
    view.read(&mut Reader::new(&body), 9).unwrap();
    let records = view.topics().next().unwrap().partitions().next().unwrap().records;
    assert!(!records.is_empty());
    assert!(body.as_ptr_range().contains(&records.as_ptr()));
}

#[test]
fn a_topic_name_that_is_no_text_is_one_that_no_topic_has_and_is_answered_as_sent() {
    let topic = TopicProduceData { name: "ab".to_owned(), ..TopicProduceData::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..ProduceRequest::default() };
    let mut body = encode(&request, 9).to_vec();
    let at = body.windows(2).position(|pair| pair == b"ab").unwrap();
    body[at] = 0xff;
    let body = Bytes::from(body);
    let mut view = ProduceRequestView::default();
    view.read_frame(body.clone(), 0, 9).unwrap();
    assert_eq!(view.topics().next().unwrap().name(), "\u{fffd}b");
    let mut writer = Writer::new();
    write_produce_response(&mut writer, &view, &[], 0).unwrap();
    assert_eq!(writer.finish().unwrap().into_bytes()[2..4], [0xff, b'b']);
    assert_eq!(view.take_frame(), body);
    assert_eq!(view.topics().len(), 0);
}

#[test]
fn versions_outside_the_table_are_refused() {
    let mut view = ProduceRequestView::default();
    for version in [2, 14] {
        let error = view.read(&mut Reader::new(&Bytes::new()), version).unwrap_err();
        assert_eq!(error, DecodeError::UnsupportedVersion { api: "Produce", version });
    }
}
