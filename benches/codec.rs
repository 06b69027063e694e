//! What the codec costs on the hot path, beside the crate kafka-protocol.
//!
//! Figures of one 2-core VM (minimum times of one run; the crate's in brackets): Produce v11
//! header and body of 1 topic x 1 partition 27.5 ns (163, 5.9x), 4 x 16 223 ns (2,376, 10.7x);
//! Fetch v17 of 10 x 50 1.5 us (13, 8.6x); the head of a Fetch response of 1 MiB 14 ns, with its
//! frame 99 ns (22.5 us, for it copies the payload); checking a batch of 16 KiB 0.7 us. A good run
//! keeps these ratios on another box. The bars are 17.7 ns, 209 ns and 8 ns, set on a box where the
//! crate took 133 ns and 1,819 ns: 7.5x and 8.7x.
//!
//! `cargo bench --bench codec`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable};
use uuid::Uuid;

use highwater::model::errors::KafkaCode;
use highwater::protocol::compression::Compression;
use highwater::protocol::crc32c;
use highwater::protocol::fetch_view::{
    FetchPartitionHead, FetchRequestView, FetchResponseHead, FetchResponseWriter,
};
use highwater::protocol::frame::{RequestHeader, ResponseHeader, encode_request};
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::part::Part;
use highwater::protocol::primitive::{LENGTH_PREFIX_SIZE, Reader, Writer};
use highwater::protocol::produce_view::{
    ProduceRequestView, ProduceResult, write_produce_response,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::{BATCH_HEADER_SIZE, CRC_START, CheckedBatch};
use highwater::protocol::record_walk::walk_records;
use highwater::protocol::records::Records;
use highwater::protocol::schema::{Message, Request};

const PRODUCE_VERSION: i16 = 11;
const FETCH_VERSION: i16 = 17;

fn frame_of<M: Request>(request: &M, version: i16) -> Bytes {
    let frame = encode_request(request, version, 7, Some("bench-client")).expect("encodes");
    frame.into_bytes().slice(LENGTH_PREFIX_SIZE..)
}

fn batch(value_size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![7u8; value_size];
    let record = NewRecord { value: Some(&value), ..NewRecord::default() };
    builder.push(&record).expect("one record fits");
    builder.build().expect("one record fits")
}

fn produce_frame(topics: usize, partitions: i32) -> Bytes {
    let topic = |at| TopicProduceData {
        name: format!("bench-topic-{at}"),
        partition_data: (0..partitions)
            .map(|index| PartitionProduceData { index, records: Records::from(batch(100)) })
            .collect(),
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: (0..topics).map(topic).collect(),
        ..ProduceRequest::default()
    };
    frame_of(&request, PRODUCE_VERSION)
}

fn fetch_frame(topics: usize, partitions: i32) -> Bytes {
    let topic = |at: usize| FetchTopic {
        topic_id: Uuid::from_u128(at as u128 + 1),
        partitions: (0..partitions)
            .map(|partition| FetchPartition {
                partition,
                fetch_offset: 1 << 40,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            })
            .collect(),
        ..FetchTopic::default()
    };
    let request =
        FetchRequest { topics: (0..topics).map(topic).collect(), ..FetchRequest::default() };
    frame_of(&request, FETCH_VERSION)
}

fn oracle_decode<M: Decodable>(frame: &Bytes, version: i16) -> M {
    let mut bytes = frame.clone();
    let header = oracle::RequestHeader::decode(&mut bytes, 2).expect("a header");
    black_box(&header);
    M::decode(&mut bytes, version).expect("a body")
}

fn produce_requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("produce_v11_request");
    for (topics, partitions) in [(1, 1), (4, 16)] {
        let frame = produce_frame(topics, partitions);
        let shape = format!("{topics}x{partitions}");
        let mut view = ProduceRequestView::default();
        group.bench_function(BenchmarkId::new("view", &shape), |bencher| {
            // The frame goes from hand to hand, as in the broker, and comes back for the next turn.
            let mut owned = frame.clone();
            bencher.iter(|| {
                let mut reader = Reader::new(black_box(&owned));
                let header = RequestHeader::decode(&mut reader).expect("a header");
                let (body_at, version) = (reader.position(), header.api_version);
                view.read_frame(std::mem::take(&mut owned), body_at, version).expect("a body");
                black_box(view.partition_count());
                owned = view.take_frame();
            });
        });
        group.bench_function(BenchmarkId::new("table", &shape), |bencher| {
            bencher.iter(|| {
                let mut reader = Reader::new(black_box(&frame));
                let header = RequestHeader::decode(&mut reader).expect("a header");
                ProduceRequest::decode(&mut reader, header.api_version).expect("a body")
            });
        });
        group.bench_function(BenchmarkId::new("kafka-protocol", &shape), |bencher| {
            bencher.iter(|| {
                oracle_decode::<oracle::ProduceRequest>(black_box(&frame), PRODUCE_VERSION)
            });
        });
    }
    group.finish();
}

fn produce_responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("produce_v11_response");
    for (topics, partitions) in [(1, 1), (4, 16)] {
        let frame = produce_frame(topics, partitions);
        let mut view = ProduceRequestView::default();
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).expect("a header");
        view.read(&mut reader, header.api_version).expect("a body");
        let result = ProduceResult {
            error: KafkaCode::None,
            base_offset: 1 << 40,
            log_append_time_ms: -1,
            log_start_offset: 0,
        };
        let results = vec![result; view.partition_count()];
        let mut buffer = BytesMut::with_capacity(1 << 20);
        group.bench_function(format!("{topics}x{partitions}"), |bencher| {
            bencher.iter(|| {
                buffer.reserve(4096);
                let mut writer = Writer::for_frame_in(buffer.split());
                let header = ResponseHeader { correlation_id: 7 };
                header.encode(&mut writer, ProduceRequest::KEY, PRODUCE_VERSION);
                write_produce_response(&mut writer, &view, &results, 0).expect("encodes");
                writer.finish().expect("encodes")
            });
        });
    }
    group.finish();
}

fn fetch_requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch_v17_request");
    let frame = fetch_frame(10, 50);
    let mut view = FetchRequestView::default();
    group.bench_function("view/10x50", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&frame));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            view.read(&mut reader, header.api_version).expect("a body");
            black_box(view.partition_count())
        });
    });
    group.bench_function("kafka-protocol/10x50", |bencher| {
        bencher.iter(|| oracle_decode::<oracle::FetchRequest>(black_box(&frame), FETCH_VERSION));
    });
    group.finish();
}

fn fetch_responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch_v17_response_1_mib");
    let payload = Bytes::from(vec![7u8; 1 << 20]);
    let records = [Part::Memory(payload.clone())];
    let partition = FetchPartitionHead::refused(0, KafkaCode::None);
    let topic_id = Uuid::from_u128(1);
    let head = FetchResponseHead { throttle_time_ms: 0, error: KafkaCode::None, session_id: 0 };
    group.throughput(Throughput::Bytes(1 << 20));
    let mut buffer = BytesMut::with_capacity(4096);
    group.bench_function("head", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            let mut sink = HeadOnly(&mut buffer);
            let mut writer = FetchResponseWriter::start(&mut sink, FETCH_VERSION, &head, 1)
                .expect("a version we have");
            writer.topic("", topic_id, 1).expect("encodes");
            writer.partition(&partition, black_box(&records)).expect("encodes");
            writer.finish(&[]).expect("encodes");
            black_box(buffer.len())
        });
    });
    group.bench_function("frame", |bencher| {
        bencher.iter(|| {
            let mut writer = Writer::for_frame();
            let mut response = FetchResponseWriter::start(&mut writer, FETCH_VERSION, &head, 1)
                .expect("a version we have");
            response.topic("", topic_id, 1).expect("encodes");
            response.partition(&partition, black_box(&records)).expect("encodes");
            response.finish(&[]).expect("encodes");
            writer.finish().expect("encodes")
        });
    });
    let data = oracle::fetch_response::PartitionData::default().with_records(Some(payload));
    let topic = oracle::fetch_response::FetchableTopicResponse::default()
        .with_topic_id(topic_id)
        .with_partitions(vec![data]);
    let response = oracle::FetchResponse::default().with_responses(vec![topic]);
    group.bench_function("kafka-protocol", |bencher| {
        bencher.iter(|| {
            let mut bytes = BytesMut::new();
            black_box(&response).encode(&mut bytes, FETCH_VERSION).expect("encodes");
            bytes
        });
    });
    group.finish();
}

/// Counts payload instead of keeping it: the cost of the head alone.
struct HeadOnly<'a>(&'a mut BytesMut);

impl highwater::protocol::primitive::Sink for HeadOnly<'_> {
    fn put_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn put_bytes_shared(&mut self, bytes: &Bytes) {
        black_box(bytes.len());
    }

    fn put_file(&mut self, range: &highwater::protocol::part::FileRange) {
        black_box(range.len);
    }
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for value_size in [100, 16 << 10, 1 << 20] {
        let bytes = batch(value_size);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("check_produced", value_size), |bencher| {
            bencher.iter(|| CheckedBatch::check_produced(black_box(&bytes).clone()).expect("good"));
        });
    }
    group.finish();
}

/// A batch of 150 records of 100 bytes of JSON, which is what producers of small records send.
fn small_records(compression: Compression) -> CheckedBatch {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for at in 0..150u64 {
        let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let value = format!(
            r#"{{"order":{mixed:020},"side":"buy","symbol":"ACME{}","price":{}}}"#,
            at % 7,
            mixed >> 44
        );
        let value = format!("{value:<100}");
        let key = (at % 13).to_be_bytes();
        let (key, value) = (Some(&key[..]), Some(value.as_bytes()));
        let record = NewRecord { timestamp_ms: 1_700_000_000_000, key, value, headers: &[] };
        builder.push(&record).expect("small");
    }
    CheckedBatch::check_first(&mut builder.build().expect("small")).expect("just built")
}

/// What a look at each record costs, and what decompressing adds to it.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    let plain = small_records(Compression::None);
    group.throughput(Throughput::Elements(150));
    group.bench_function("walk 150x100", |bencher| {
        bencher.iter(|| {
            let batch = black_box(&plain);
            walk_records(batch.header(), &batch.bytes()[BATCH_HEADER_SIZE..]).expect("good")
        });
    });
    group.bench_function("crc 150x100", |bencher| {
        bencher.iter(|| crc32c::crc32c(&black_box(&plain).bytes()[CRC_START..]));
    });
    for compression in &Compression::ALL[1..] {
        let batch = small_records(*compression);
        group.bench_function(BenchmarkId::new("decompress, walk", compression.name()), |bencher| {
            bencher.iter(|| {
                let records = black_box(&batch).decode_records().expect("good");
                walk_records(batch.header(), records.bytes()).expect("good")
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    produce_requests,
    produce_responses,
    fetch_requests,
    fetch_responses,
    batches,
    records
);
criterion_main!(benches);
