//! Produce: batches that are wrong in one way, and answers per partition.

use bytes::{BufMut, Bytes, BytesMut};
use harness::now_ms;
use highwater::protocol::compression::Compression;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use uuid::Uuid;

use crate::mask::mask_values;
use crate::{Pair, Side};

const TOPIC: &str = "produced";
/// A time in 2023, so that both stamp the same.
const TIME_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Where in a batch its fields begin.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const DELTA_AT: usize = 23;
const BASE_TIME_AT: usize = 27;
const MAX_TIME_AT: usize = 35;
const PRODUCER_AT: usize = 43;
const EPOCH_AT: usize = 51;
const SEQUENCE_AT: usize = 53;
const COUNT_AT: usize = 57;

fn options() -> BatchOptions {
    BatchOptions::default()
}

fn built(options: BatchOptions, times: &[i64], key: Option<&[u8]>, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for time in times {
        let record =
            NewRecord { timestamp_ms: *time, key, value: Some(value), ..NewRecord::default() };
        builder.push(&record).expect("small");
    }
    builder.build().expect("small")
}

pub(crate) fn batch(value: &[u8]) -> Bytes {
    built(options(), &[TIME_MS], None, value)
}

fn records(count: usize) -> Bytes {
    built(options(), &vec![TIME_MS; count], None, b"value")
}

/// A good batch with some bytes replaced, and its CRC made right again.
fn patched(good: &Bytes, patches: &[(usize, &[u8])]) -> Bytes {
    let mut bytes = BytesMut::from(&good[..]);
    for (at, with) in patches {
        bytes[*at..*at + with.len()].copy_from_slice(with);
    }
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

/// What a producer says beside its batch.
#[derive(Clone, Copy)]
struct Terms {
    partition: i32,
    acks: i16,
    version: i16,
}

const TERMS: Terms = Terms { partition: 0, acks: -1, version: 12 };

fn request(side: &mut Side, topic: &str, terms: Terms, batch: Bytes) -> ProduceRequest {
    let topic_id = match terms.version {
        13.. if !topic.starts_with("no-") => side.topic_id(topic),
        _ => Uuid::from_u128(77),
    };
    let data = PartitionProduceData { index: terms.partition, records: batch.into() };
    let topic = TopicProduceData { name: topic.to_owned(), topic_id, partition_data: vec![data] };
    ProduceRequest {
        acks: terms.acks,
        timeout_ms: 15_000,
        topic_data: vec![topic],
        ..ProduceRequest::default()
    }
}

fn send(side: &mut Side, topic: &str, terms: Terms, batch: Bytes) -> String {
    let request = request(side, topic, terms, batch);
    side.ask(&request, terms.version)
}

/// As `send`, without the offset: a batch that only one of the two takes moves all that follow.
fn send_anywhere(side: &mut Side, topic: &str, terms: Terms, batch: Bytes) -> String {
    let answer = send(side, topic, terms, batch);
    // Of a refusal nobody asks where the log begins.
    let field = if answer.contains("base_offset: -1") { "log_start_offset" } else { "base_offset" };
    mask_values(&answer, field)
}

/// A new Kafka has no producer ids for a moment: asks until it has.
pub(crate) fn settle(pair: &mut Pair) {
    pair.both(|side| {
        let settled = harness::wait_until("producer ids", crate::PATIENCE, || {
            (side.call(&init(60_000), 4).error_code == 0).then_some(())
        });
        settled.unwrap_or_else(|what| panic!("{what}"));
    });
}

fn init(transaction_timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms,
        ..InitProducerIdRequest::default()
    }
}

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 2, &[]);
    pair.topic("compacted", 1, &[("cleanup.policy", "compact")]);
    pair.topic("small", 1, &[("max.message.bytes", "300")]);
    pair.topic("strict", 1, &[("min.insync.replicas", "2")]);
    let stamped = [("message.timestamp.type", "LogAppendTime")];
    pair.topic("stamped", 1, &stamped);
    let timed = [
        ("message.timestamp.before.max.ms", "3600000"),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    pair.topic("timed", 1, &timed);
    good_batches(pair);
    wrong_requests(pair);
    wrong_headers(pair);
    wrong_records(pair);
    topic_rules(pair);
    idempotence(pair);
}

fn good_batches(pair: &mut Pair) {
    for (name, version) in [
        ("a good batch, v3", 3),
        ("a good batch, v5", 5),
        ("a good batch, v8", 8),
        ("a good batch, v9", 9),
        ("a good batch, v11", 11),
        ("a good batch, v12", 12),
        ("a good batch, v13", 13),
    ] {
        let terms = Terms { version, ..TERMS };
        pair.case(name, move |side| send_anywhere(side, TOPIC, terms, batch(b"good")));
    }
    pair.case("three records, acks=1", |side| {
        send_anywhere(side, TOPIC, Terms { acks: 1, ..TERMS }, records(3))
    });
    for (name, compression) in [
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        pair.case(name, move |side| {
            let options = BatchOptions { compression, ..options() };
            send_anywhere(side, TOPIC, TERMS, built(options, &[TIME_MS; 4], None, b"abcabcabcabc"))
        });
    }
    pair.case("zstd below v7", |side| {
        let options = BatchOptions { compression: Compression::Zstd, ..options() };
        let batch = built(options, &[TIME_MS], None, b"abcabc");
        send_anywhere(side, TOPIC, Terms { version: 6, ..TERMS }, batch)
    });
}

fn wrong_requests(pair: &mut Pair) {
    pair.case("an unknown topic", |side| send_anywhere(side, "no-topic", TERMS, batch(b"a")));
    pair.case("an unknown topic id", |side| {
        send_anywhere(side, "no-topic", Terms { version: 13, ..TERMS }, batch(b"a"))
    });
    pair.case("a partition that is not there", |side| {
        send_anywhere(side, TOPIC, Terms { partition: 9, ..TERMS }, batch(b"a"))
    });
    pair.case("a negative partition", |side| {
        send_anywhere(side, TOPIC, Terms { partition: -1, ..TERMS }, batch(b"a"))
    });
    for (name, acks) in [("acks=2", 2), ("acks=-2", -2)] {
        pair.case(name, move |side| {
            send_anywhere(side, TOPIC, Terms { acks, ..TERMS }, batch(b"a"))
        });
    }
    pair.case("acks=2 to an unknown topic", |side| {
        send_anywhere(side, "no-topic", Terms { acks: 2, ..TERMS }, batch(b"a"))
    });
    pair.case("acks=2 with a wrong magic", |side| {
        let wrong = patched(&batch(b"a"), &[(MAGIC_AT, &[1])]);
        send_anywhere(side, TOPIC, Terms { acks: 2, ..TERMS }, wrong)
    });
    pair.case("no topics", |side| {
        let request = ProduceRequest { acks: 1, timeout_ms: 1000, ..ProduceRequest::default() };
        side.ask(&request, 12)
    });
    pair.case("a topic without partitions", |side| {
        let mut request = request(side, TOPIC, TERMS, batch(b"a"));
        request.topic_data[0].partition_data.clear();
        side.ask(&request, 12)
    });
    pair.case("no records", |side| send_anywhere(side, TOPIC, TERMS, Bytes::new()));
    pair.case("one good and one bad partition", |side| {
        let mut request = request(side, TOPIC, TERMS, batch(b"a"));
        let bad = PartitionProduceData { index: 7, records: batch(b"a").into() };
        request.topic_data[0].partition_data.push(bad);
        side.ask(&request, 12)
    });
    pair.case("a topic name that is not legal", |side| {
        send_anywhere(side, "a/b", TERMS, batch(b"a"))
    });
    pair.case("an empty topic name", |side| send_anywhere(side, "", TERMS, batch(b"a")));
    pair.case("a transactional id without a transaction", |side| {
        let mut request = request(side, TOPIC, TERMS, batch(b"a"));
        request.transactional_id = Some("t".to_owned());
        side.ask(&request, 12)
    });
    pair.case("acks=0 with an error closes the connection", |side| {
        let request = request(side, "no-topic", Terms { acks: 0, ..TERMS }, batch(b"a"));
        side.wire().send(&request, 12).expect("sent");
        side.wire().end_offset(TOPIC, 1).map_or_else(|error| side.ended(&error), |_| "open".into())
    });
    pair.case("acks=0 without an error", |side| {
        let terms = Terms { acks: 0, partition: 1, ..TERMS };
        let request = request(side, TOPIC, terms, batch(b"a"));
        side.wire().send(&request, 12).expect("sent");
        let end = side.wire().call(&crate::reads::latest(TOPIC, 0), 7);
        end.map_or_else(|error| side.ended(&error), |_| "open".into())
    });
    pair.case("into the offsets topic", |side| {
        send_anywhere(side, "__consumer_offsets", TERMS, batch(b"a"))
    });
}

fn wrong_headers(pair: &mut Pair) {
    let good = records(2);
    let flipped = {
        let mut bytes = BytesMut::from(&good[..]);
        bytes[CRC_AT] ^= 1;
        bytes.freeze()
    };
    let cases: Vec<(&'static str, Bytes)> = vec![
        ("a wrong CRC", flipped),
        ("magic 0", patched(&good, &[(MAGIC_AT, &[0])])),
        ("magic 1", patched(&good, &[(MAGIC_AT, &[1])])),
        ("magic 3", patched(&good, &[(MAGIC_AT, &[3])])),
        ("magic -1", patched(&good, &[(MAGIC_AT, &[0xff])])),
        ("a batch cut off", good.slice(..good.len() - 3)),
        ("a batch cut in its header", good.slice(..30)),
        ("a batch cut in its length", good.slice(..10)),
        ("length 0", patched(&good, &[(LENGTH_AT, &[0, 0, 0, 0])])),
        ("a negative length", patched(&good, &[(LENGTH_AT, &[0xff; 4])])),
        ("length 48", patched(&good, &[(LENGTH_AT, &[0, 0, 0, 48])])),
        ("a length beyond the end", patched(&good, &[(LENGTH_AT, &[0, 0, 1, 0])])),
        ("two batches", Bytes::from([&good[..], &good[..]].concat())),
        ("bytes behind a batch", Bytes::from([&good[..], &[1, 2, 3]].concat())),
        ("codec 5", patched(&good, &[(ATTRIBUTES_AT, &[0, 5])])),
        ("codec 7", patched(&good, &[(ATTRIBUTES_AT, &[0, 7])])),
        ("gzip that is none", patched(&good, &[(ATTRIBUTES_AT, &[0, 1])])),
        ("zstd that is none", patched(&good, &[(ATTRIBUTES_AT, &[0, 4])])),
        ("log append time from a client", patched(&good, &[(ATTRIBUTES_AT, &[0, 8])])),
        ("a control batch from a client", patched(&good, &[(ATTRIBUTES_AT, &[0, 0x20])])),
        ("a delete horizon from a client", patched(&good, &[(ATTRIBUTES_AT, &[0, 0x40])])),
        ("attributes that are not defined", patched(&good, &[(ATTRIBUTES_AT, &[0x40, 0])])),
        ("a transactional batch", patched(&good, &[(ATTRIBUTES_AT, &[0, 0x10])])),
        ("count 0", patched(&good, &[(COUNT_AT, &[0; 4])])),
        ("count -1", patched(&good, &[(COUNT_AT, &[0xff; 4])])),
        ("count too small", patched(&good, &[(COUNT_AT, &[0, 0, 0, 1])])),
        ("count too large", patched(&good, &[(COUNT_AT, &[0, 0, 0, 3])])),
        ("delta too large", patched(&good, &[(DELTA_AT, &[0, 0, 0, 5])])),
        ("delta too small", patched(&good, &[(DELTA_AT, &[0, 0, 0, 0])])),
        ("a negative delta", patched(&good, &[(DELTA_AT, &[0xff; 4])])),
        (
            "count and delta too large",
            patched(&good, &[(DELTA_AT, &[0, 0, 0, 2]), (COUNT_AT, &[0, 0, 0, 3])]),
        ),
        ("a base offset that is not 0", patched(&good, &[(0, &[0, 0, 0, 0, 0, 0, 0, 9])])),
        ("a negative base offset", patched(&good, &[(0, &[0xff; 8])])),
        ("a leader epoch", patched(&good, &[(12, &[0, 0, 0, 9])])),
        ("a sequence without a producer", patched(&good, &[(SEQUENCE_AT, &[0, 0, 0, 1])])),
        ("an epoch without a producer", patched(&good, &[(EPOCH_AT, &[0, 1])])),
        ("a producer without a sequence", patched(&good, &[(PRODUCER_AT, &[0; 8])])),
        ("producer -2", patched(&good, &[(PRODUCER_AT, &(-2_i64).to_be_bytes())])),
        ("a max timestamp that is wrong", patched(&good, &[(MAX_TIME_AT, &[0; 8])])),
    ];
    for (name, batch) in cases {
        pair.case(name, move |side| send_anywhere(side, TOPIC, TERMS, batch.clone()));
    }
}

/// A batch of these bytes as its records.
fn with_records(count: u8, body: &[u8]) -> Bytes {
    let good = batch(b"");
    let mut bytes = BytesMut::from(&good[..61]);
    bytes.put_slice(body);
    let length = u32::try_from(bytes.len() - 12).expect("small");
    let delta = count.saturating_sub(1);
    patched(
        &bytes.freeze(),
        &[
            (LENGTH_AT, &length.to_be_bytes()),
            (DELTA_AT, &[0, 0, 0, delta]),
            (COUNT_AT, &[0, 0, 0, count]),
        ],
    )
}

fn wrong_records(pair: &mut Pair) {
    // Length, attributes, time delta, offset delta, key, value, headers; all zigzag.
    let cases: [(&'static str, u8, &[u8]); 13] = [
        ("a record by hand", 1, &[14, 0, 0, 0, 1, 2, b'v', 0]),
        ("a record without key and value", 1, &[12, 0, 0, 0, 1, 1, 0]),
        ("a record longer than it says", 1, &[10, 0, 0, 0, 1, 2, b'v', 0]),
        ("a record shorter than it says", 1, &[16, 0, 0, 0, 1, 2, b'v', 0]),
        ("a record of a negative length", 1, &[1, 0, 0, 0, 1, 2, b'v', 0]),
        ("a record with attributes", 1, &[14, 9, 0, 0, 1, 2, b'v', 0]),
        ("an offset delta that is not its place", 1, &[14, 0, 0, 8, 1, 2, b'v', 0]),
        ("a key longer than the record", 1, &[14, 0, 0, 0, 90, 2, b'v', 0]),
        ("a key of length -2", 1, &[14, 0, 0, 0, 3, 2, b'v', 0]),
        ("a value longer than the record", 1, &[14, 0, 0, 0, 1, 90, b'v', 0]),
        ("a negative count of headers", 1, &[14, 0, 0, 0, 1, 2, b'v', 1]),
        ("headers that are not there", 1, &[14, 0, 0, 0, 1, 2, b'v', 2]),
        ("a null header key", 1, &[18, 0, 0, 0, 1, 2, b'v', 2, 1, 1]),
    ];
    for (name, count, body) in cases {
        pair.case(name, move |side| send_anywhere(side, TOPIC, TERMS, with_records(count, body)));
    }
    pair.case("two records with the same offset delta", |side| {
        let record: &[u8] = &[14, 0, 0, 0, 1, 2, b'v', 0];
        send_anywhere(side, TOPIC, TERMS, with_records(2, &[record, record].concat()))
    });
    pair.case("bytes behind the last record", |side| {
        send_anywhere(side, TOPIC, TERMS, with_records(1, &[14, 0, 0, 0, 1, 2, b'v', 0, 5, 5]))
    });
    pair.case("no records behind the header", |side| {
        send_anywhere(side, TOPIC, TERMS, with_records(1, &[]))
    });
}

fn topic_rules(pair: &mut Pair) {
    pair.case("a record without a key in a compacted topic", |side| {
        send_anywhere(side, "compacted", TERMS, batch(b"a"))
    });
    pair.case("a record with a key in a compacted topic", |side| {
        send_anywhere(side, "compacted", TERMS, built(options(), &[TIME_MS], Some(b"k"), b"a"))
    });
    pair.case("a keyless record among keyed ones in a compacted topic", |side| {
        let mut builder = BatchBuilder::new(options());
        for key in [Some(&b"k"[..]), None] {
            let record = NewRecord { timestamp_ms: TIME_MS, key, ..NewRecord::default() };
            builder.push(&record).expect("small");
        }
        send_anywhere(side, "compacted", TERMS, builder.build().expect("small"))
    });
    pair.case("a batch larger than max.message.bytes", |side| {
        send_anywhere(side, "small", TERMS, batch(&[7; 400]))
    });
    pair.case("a batch of just max.message.bytes", |side| {
        let size = batch(&[7; 100]).len() - 100;
        // The value's length takes two bytes from 64 on, the record's from 64 on too.
        send_anywhere(side, "small", TERMS, batch(&vec![7; 300 - size]))
    });
    pair.case("a batch of one byte more than max.message.bytes", |side| {
        let size = batch(&[7; 100]).len() - 100;
        send_anywhere(side, "small", TERMS, batch(&vec![7; 301 - size]))
    });
    pair.case("acks=all with too few replicas", |side| {
        send_anywhere(side, "strict", TERMS, batch(b"a"))
    });
    pair.case("acks=1 with too few replicas", |side| {
        send_anywhere(side, "strict", Terms { acks: 1, ..TERMS }, batch(b"a"))
    });
    pair.case("log append time is answered", |side| {
        let answer = send_anywhere(side, "stamped", TERMS, batch(b"a"));
        if answer.contains("log_append_time_ms: -1") { answer } else { "stamped".to_owned() }
    });
    pair.case("records behind the clock", |side| send_anywhere(side, "timed", TERMS, batch(b"a")));
    pair.case("records ahead of the clock", |side| {
        let ahead = now_ms() + 24 * HOUR_MS;
        send_anywhere(side, "timed", TERMS, built(options(), &[ahead], None, b"a"))
    });
    pair.case("one record of two ahead of the clock", |side| {
        let times = [now_ms(), now_ms() + 24 * HOUR_MS];
        send_anywhere(side, "timed", TERMS, built(options(), &times, None, b"a"))
    });
    pair.case("a record two hours ahead in a topic without rules", |side| {
        send_anywhere(side, TOPIC, TERMS, built(options(), &[now_ms() + 2 * HOUR_MS], None, b"a"))
    });
    pair.case("timestamp -1", |side| {
        send_anywhere(side, TOPIC, TERMS, built(options(), &[-1], None, b"a"))
    });
    pair.case("timestamp -2", |side| {
        send_anywhere(side, TOPIC, TERMS, built(options(), &[-2], None, b"a"))
    });
    pair.case("a base timestamp that overflows", |side| {
        let wrong = patched(&records(2), &[(BASE_TIME_AT, &i64::MAX.to_be_bytes())]);
        send_anywhere(side, TOPIC, TERMS, wrong)
    });
}

/// An idempotent producer's batch.
fn numbered(id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let producer =
        ProducerStamp { producer_id: id, producer_epoch: epoch, base_sequence: sequence };
    built(BatchOptions { producer, ..options() }, &vec![TIME_MS; count], None, b"v")
}

fn idempotence(pair: &mut Pair) {
    pair.topic("sequences", 1, &[]);
    let say = |side: &mut Side, batch: Bytes| send(side, "sequences", TERMS, batch);
    pair.case("the first sequence of a producer", |side| say(side, numbered(5000, 0, 0, 2)));
    pair.case("the next sequence", |side| say(side, numbered(5000, 0, 2, 3)));
    pair.case("a duplicate", |side| say(side, numbered(5000, 0, 2, 3)));
    pair.case("the duplicate before", |side| say(side, numbered(5000, 0, 0, 2)));
    pair.case("a part of a duplicate", |side| say(side, numbered(5000, 0, 0, 1)));
    pair.case("a duplicate that is longer", |side| say(side, numbered(5000, 0, 2, 9)));
    pair.case("a gap in the sequence", |side| say(side, numbered(5000, 0, 8, 1)));
    pair.case("a new epoch from sequence 0", |side| say(side, numbered(5000, 1, 0, 1)));
    pair.case("an old epoch", |side| say(side, numbered(5000, 0, 5, 1)));
    pair.case("a new epoch that does not begin at 0", |side| say(side, numbered(5000, 2, 3, 1)));
    pair.case("a duplicate of six batches ago", |side| {
        for sequence in 0..7 {
            say(side, numbered(5001, 0, sequence, 1));
        }
        say(side, numbered(5001, 0, 0, 1))
    });
    pair.case("a duplicate of five batches ago", |side| say(side, numbered(5001, 0, 2, 1)));
    pair.case("an unknown producer that begins at 5", |side| say(side, numbered(5002, 0, 5, 1)));
    pair.case("sequences wrap to 0", |side| {
        say(side, numbered(5003, 0, i32::MAX - 1, 2));
        say(side, numbered(5003, 0, 0, 1))
    });
    pair.case("a batch across the wrap", |side| {
        say(side, numbered(5004, 0, i32::MAX, 2));
        say(side, numbered(5004, 0, 1, 1))
    });
    pair.case("a negative epoch with a producer", |side| say(side, numbered(5005, -1, 0, 1)));
    pair.case("InitProducerId", move |side| side.ask(&init(60_000), 4));
    pair.case("InitProducerId with timeout 0", move |side| side.ask(&init(0), 4));
    pair.case("InitProducerId with an empty transactional id", move |side| {
        let transactional_id = Some(String::new());
        side.ask(&InitProducerIdRequest { transactional_id, ..init(60_000) }, 4)
    });
    pair.case("InitProducerId with an id and no epoch", move |side| {
        let request = InitProducerIdRequest { producer_id: 9, ..init(60_000) };
        side.ask(&request, 4)
    });
    pair.case("InitProducerId with an epoch and no id", move |side| {
        let request = InitProducerIdRequest { producer_epoch: 9, ..init(60_000) };
        side.ask(&request, 4)
    });
}
