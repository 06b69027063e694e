//! What no client should send, over real sockets: after each of it the broker serves a good client,
//! and its memory has not grown by more than the bytes that were sent can explain.
//!
//! `HIGHWATER_PEER=kafka` shows what Apache Kafka makes of the same; the two agree on what is
//! closed and what is answered. `HIGHWATER_FUZZ_SEED` repeats the fuzz run's inputs.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the seed and the figures belong into a failure's output")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use harness::{Peer, Random, Toolchain, Wire, now_ms, repository};
use highwater::protocol::api_key::ApiKey;
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const TOPIC: &str = "good";
const PATIENCE: Duration = Duration::from_secs(10);
/// Resident memory that no test here may exceed; the largest frame allowed is 100 MiB.
const MEMORY_MAX_KIB: u64 = 1000 * 1024;
const CORRUPT_MESSAGE: i16 = 2;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_VERSION: i16 = 35;

/// A broker with one topic that good records go to.
struct Target {
    peer: Peer,
    bootstrap: String,
}

impl Target {
    fn start(test: &str) -> Option<Target> {
        let peer = Peer::start(BINARY, &[]).or_skip(test)?;
        let bootstrap = peer.bootstrap();
        let mut wire = Wire::connect(&bootstrap).expect("the broker runs");
        assert_eq!(wire.create_topic(TOPIC, 1, &[]).expect("the broker runs"), 0);
        Some(Target { peer, bootstrap })
    }

    /// A new connection produces a record and reads it back; the memory is within its bound.
    fn assert_serves(&self, after: &str) {
        let serve = || -> std::io::Result<()> {
            let mut wire = Wire::connect(&self.bootstrap)?;
            let value = after.as_bytes();
            wire.send_batch((TOPIC, 0), -1, batch(value))?;
            let produced = wire.receive_produced()?;
            assert_eq!(produced.error_code, 0, "a good batch after {after}");
            let batches = wire.fetch(TOPIC, 0, produced.base_offset)?;
            let records = batches[0].decode_records().expect("records as they were sent");
            let record = records.iter().next().expect("one record").expect("as it was sent");
            assert_eq!(record.value, Some(value), "the record sent after {after}");
            Ok(())
        };
        if let Err(error) = serve() {
            panic!("no service after {after}: {error}\n{}", self.peer.report());
        }
        let memory = resident_kib(self.peer.process_id());
        assert!(memory < MEMORY_MAX_KIB, "{memory} KiB resident after {after}");
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.bootstrap).expect("the broker runs");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a valid timeout");
        socket
    }

    /// Sends `bytes`, ends that direction, and returns what came back until the broker closed.
    fn send_and_drain(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = self.connect();
        // The broker may close before all is sent: that is an answer too.
        drop(socket.write_all(bytes));
        drop(socket.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("neither closed nor answered: {error}; sent {} B", bytes.len()),
        }
        answer
    }

    /// Sends `bytes` and waits for the broker to close although our direction stays open.
    fn assert_closes(&self, bytes: &[u8], what: &str) {
        let mut socket = self.connect();
        drop(socket.write_all(bytes));
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.is_empty(), "{what} was answered: {answer:02x?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}: not closed")
            }
        }
        self.assert_serves(what);
    }
}

/// The resident memory of a process.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the broker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn batch(value: &[u8]) -> Bytes {
    compressed_batch(value, Compression::None)
}

fn compressed_batch(value: &[u8], compression: Compression) -> Bytes {
    let options = BatchOptions { compression, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let record = NewRecord { timestamp_ms: now_ms(), value: Some(value), ..NewRecord::default() };
    builder.push(&record).expect("a small batch");
    builder.build().expect("a small batch")
}

fn framed(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a small frame");
    [&size.to_be_bytes(), body].concat()
}

/// A request header with correlation id 7 and no client id.
fn header(api: i16, version: i16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_i16(api);
    header.put_i16(version);
    header.put_i32(7);
    header.put_i16(-1);
    if ApiKey::from_number(api).is_some_and(|key| key.is_flexible(version)) {
        header.put_u8(0);
    }
    header
}

fn request(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = header(api.number(), version);
    frame.extend_from_slice(body);
    framed(&frame)
}

/// A Produce request with one batch, in the layout of versions 0 to 8.
fn produce(version: i16, acks: i16, records: &[u8]) -> Vec<u8> {
    let mut body = BytesMut::new();
    if version >= 3 {
        body.put_i16(-1);
    }
    body.put_i16(acks);
    body.put_i32(1000);
    body.put_i32(1);
    body.put_i16(i16::try_from(TOPIC.len()).expect("a short name"));
    body.extend_from_slice(TOPIC.as_bytes());
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(i32::try_from(records.len()).expect("a small batch"));
    body.extend_from_slice(records);
    request(ApiKey::Produce, version, &body)
}

/// The requests among the golden frames, without their length.
fn golden_requests() -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(repository().join("tests/golden"))
        .expect("golden frames")
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.to_string_lossy().ends_with("-request.hex"))
        .collect();
    // The order of a directory is not that of the next run.
    names.sort();
    names.iter().map(|path| unhex(&fs::read_to_string(path).expect("a golden frame"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    let byte = |pair: &[char]| {
        u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(byte).collect()
}

#[test]
fn impossible_lengths_close_the_connection() {
    let Some(target) = Target::start("bad lengths") else { return };
    target.assert_closes(&(-1_i32).to_be_bytes(), "length -1");
    target.assert_closes(&i32::MIN.to_be_bytes(), "the least length");
    target.assert_closes(&i32::MAX.to_be_bytes(), "a length of 2 GB");
    target.assert_closes(&(100 * 1024 * 1024 + 1_i32).to_be_bytes(), "a length above 100 MiB");
    target.assert_closes(&0_i32.to_be_bytes(), "length 0");
    target.assert_closes(&framed(&[0]), "a frame of one byte");
    target.assert_closes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "an HTTP request");
}

#[test]
fn truncated_frames_are_dropped_with_their_connection() {
    let Some(target) = Target::start("truncated frames") else { return };
    let whole = framed(&golden_requests()[0]);
    for size in 0..whole.len() {
        let answer = target.send_and_drain(&whole[..size]);
        assert!(answer.is_empty(), "{size} of {} bytes were answered", whole.len());
    }
    // The frame is whole, the body in it is not.
    for golden in golden_requests() {
        for size in [golden.len() / 4, golden.len() / 2, golden.len() - 1] {
            target.send_and_drain(&framed(&golden[..size]));
        }
    }
    target.assert_serves("truncated frames");
}

#[test]
fn random_bytes_are_not_answered() {
    let Some(target) = Target::start("random bytes") else { return };
    let mut random = Random::new(1);
    for size in [3, 4, 5, 17, 100, 1_000, 100_000] {
        let noise: Vec<u8> = (0..size).map(|_| random.next_u64().to_be_bytes()[0]).collect();
        target.send_and_drain(&noise);
        // A length that fits, and noise inside.
        target.send_and_drain(&framed(&noise));
    }
    target.assert_serves("random bytes");
}

#[test]
fn counts_beyond_the_frame_get_no_memory() {
    let Some(target) = Target::start("array bombs") else { return };
    let count = i32::MAX.to_be_bytes();
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let bombs = [
        ("Metadata v1", request(ApiKey::Metadata, 1, &count)),
        ("Metadata v12", request(ApiKey::Metadata, 12, &compact)),
        ("CreateTopics v2", request(ApiKey::CreateTopics, 2, &count)),
        ("CreateTopics v7", request(ApiKey::CreateTopics, 7, &compact)),
        ("DeleteTopics v4", request(ApiKey::DeleteTopics, 4, &compact)),
        ("ListOffsets v1", request(ApiKey::ListOffsets, 1, &[&[0xff; 4], &count[..]].concat())),
        (
            "Produce v3",
            request(ApiKey::Produce, 3, &[&[0xff, 0xff, 0, 1, 0, 0, 0, 1], &count[..]].concat()),
        ),
        (
            "Produce v9",
            request(ApiKey::Produce, 9, &[&[0, 0, 1, 0, 0, 0, 1], &compact[..]].concat()),
        ),
        ("Fetch v4", request(ApiKey::Fetch, 4, &[&[0; 17], &count[..]].concat())),
        ("Fetch v12", request(ApiKey::Fetch, 12, &[&[0; 25], &compact[..]].concat())),
        ("tagged fields", framed(&[&[0, 18, 0, 3, 0, 0, 0, 7, 0xff, 0xff], &compact[..]].concat())),
        ("a client id of 32 kB", framed(&[0, 18, 0, 0, 0, 0, 0, 7, 0x7f, 0xff])),
    ];
    for (what, bomb) in &bombs {
        target.assert_closes(bomb, what);
    }
}

#[test]
fn a_name_that_grows_when_it_is_read_closes_the_connection_at_most() {
    let Some(target) = Target::start("names that grow") else { return };
    // No UTF-8: each byte is read as a character of three, and the answer has no room for those.
    // The damaged batch beside it makes the broker answer with a text.
    let name = vec![0xff; 20_000];
    let mut damaged = batch(b"damaged").to_vec();
    damaged[30] ^= 1;
    let mut body = BytesMut::new();
    body.put_slice(&[0xff, 0xff, 0, 1, 0, 0, 0x75, 0x30, 0, 0, 0, 2]);
    for (name, records) in [(&name[..], &batch(b"good")[..]), (TOPIC.as_bytes(), &damaged[..])] {
        body.put_u16(u16::try_from(name.len()).expect("a short name"));
        body.put_slice(name);
        body.put_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        body.put_u32(u32::try_from(records.len()).expect("a small batch"));
        body.put_slice(records);
    }
    for version in 3..=8 {
        target.send_and_drain(&request(ApiKey::Produce, version, &body));
        target.assert_serves(&format!("Produce v{version} of a name that grows"));
    }
}

#[test]
fn unknown_apis_and_versions_are_answered_as_kafka_does() {
    let Some(target) = Target::start("unknown APIs") else { return };
    target.assert_closes(&framed(&header(999, 0)), "API 999");
    target.assert_closes(&framed(&header(-1, 0)), "API -1");
    target.assert_closes(&request(ApiKey::Metadata, 99, &[]), "Metadata v99");
    target.assert_closes(&request(ApiKey::Fetch, 3, &[0; 30]), "Fetch v3");

    // Whatever version a client opens with, ApiVersions is answered in the form of v0 (KIP-511).
    let answer = target.send_and_drain(&request(ApiKey::ApiVersions, 99, &[2, b'a', 2, b'b', 0]));
    let code = UNSUPPORTED_VERSION.to_be_bytes();
    assert_eq!(&answer[4..10], &[&[0, 0, 0, 7], &code[..]].concat(), "{answer:02x?}");
    assert_eq!(&answer[10..], &[0, 0, 0, 1, 0, 18, 0, 0, 0, 4], "ApiVersions 0 to 4");

    // Kafka advertises Produce from v0 for librdkafka's sake, and closes.
    for version in 0..3 {
        target.assert_closes(&produce(version, 1, &batch(b"old")), &format!("Produce v{version}"));
    }
    target.assert_serves("Produce v0 to v2");
}

#[test]
fn damaged_batches_are_refused_and_the_connection_goes_on() {
    let Some(target) = Target::start("damaged batches") else { return };
    let mut wire = Wire::connect(&target.bootstrap).expect("the broker runs");
    let good = batch(b"a value of some length");
    let before = wire.end_offset(TOPIC, 0).expect("the broker runs");
    let mut refused = |what: &str, damaged: Vec<u8>| {
        wire.send_batch((TOPIC, 0), -1, Bytes::from(damaged)).expect("the connection goes on");
        let produced = wire.receive_produced().expect("an answer");
        assert_ne!(produced.error_code, 0, "{what} was accepted");
        produced.error_code
    };
    // Two bytes of attributes, which Kafka looks into before it checks the sum, and all behind.
    for at in 21..good.len() {
        let mut damaged = good.to_vec();
        damaged[at] ^= 0x10;
        let code = refused("a flipped bit", damaged);
        assert!(code == CORRUPT_MESSAGE || at < 23, "byte {at}: {code}");
    }
    let set = |at: usize, bytes: &[u8]| {
        let mut damaged = good.to_vec();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    refused("a length of 2 GB", set(8, &i32::MAX.to_be_bytes()));
    refused("a negative length", set(8, &(-1_i32).to_be_bytes()));
    refused("a length of 0", set(8, &0_i32.to_be_bytes()));
    refused("format 1", set(16, &[1]));
    refused("format 9", set(16, &[9]));
    refused("half a batch", good[..good.len() / 2].to_vec());
    refused("no batch", Vec::new());
    refused("two batches", [good.as_ref(), good.as_ref()].concat());
    assert_eq!(wire.end_offset(TOPIC, 0).expect("the broker runs"), before, "nothing was appended");

    wire.send_batch((TOPIC, 0), 5, good.clone()).expect("the connection goes on");
    let produced = wire.receive_produced().expect("an answer");
    assert_eq!(produced.error_code, INVALID_REQUIRED_ACKS, "acks=5");
    target.assert_serves("damaged batches");
}

#[test]
fn a_decompression_bomb_is_bounded() {
    let Some(target) = Target::start("decompression bomb") else { return };
    let mut wire = Wire::connect(&target.bootstrap).expect("the broker runs");
    let code = wire.create_topic("recompressed", 1, &[("compression.type", "lz4")]);
    assert_eq!(code.expect("the broker runs"), 0);
    // 300 MB of zeros in some 300 kB; what comes back is the broker's choice, its memory is not.
    let bomb = compressed_batch(&vec![0; 300_000_000], Compression::Gzip);
    assert!(bomb.len() < 1_000_000, "{} bytes", bomb.len());
    wire.send_batch(("recompressed", 0), -1, bomb).expect("the broker runs");
    let produced = wire.receive_produced().expect("an answer");
    println!("the bomb was answered with {}", produced.error_code);
    target.assert_serves("a decompression bomb");
}

#[test]
fn half_open_sockets_and_slow_readers_hold_nobody_up() {
    let Some(target) = Target::start("half-open sockets") else { return };
    let golden = framed(&golden_requests()[0]);
    let mut held = Vec::new();
    for n in 0..300 {
        let mut socket = target.connect();
        socket.write_all(&golden[..n % golden.len()]).expect("room in the buffer");
        held.push(socket);
    }
    target.assert_serves("300 unfinished frames");

    let mut wire = Wire::connect(&target.bootstrap).expect("the broker runs");
    let value: Vec<u8> = vec![b'x'; 900_000];
    for _ in 0..20 {
        wire.send_batch((TOPIC, 0), 1, batch(&value)).expect("the broker runs");
        assert_eq!(wire.receive_produced().expect("an answer").error_code, 0);
    }
    for n in 0..20 {
        let mut slow = target.connect();
        slow.set_nonblocking(true).expect("a socket");
        let asked = fetch_everything(n);
        for _ in 0..50 {
            // Full buffers are what is wanted.
            drop(slow.write(&asked));
        }
        held.push(slow);
    }
    target.assert_serves("20 readers that do not read");
    drop(held);
    target.assert_serves("320 connections at once that went away");
}

/// A Fetch v4 of the topic from offset 0, up to 50 MB.
fn fetch_everything(correlation: i32) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_i32(100);
    body.put_i32(1);
    body.put_i32(50_000_000);
    body.put_i8(0);
    body.put_i32(1);
    body.put_i16(i16::try_from(TOPIC.len()).expect("a short name"));
    body.extend_from_slice(TOPIC.as_bytes());
    body.put_i32(1);
    body.put_i32(0);
    body.put_i64(0);
    body.put_i32(50_000_000);
    let mut frame = request(ApiKey::Fetch, 4, &body);
    frame[8..12].copy_from_slice(&correlation.to_be_bytes());
    frame
}

const FUZZ_FRAMES: usize = 10_000;
const FUZZ_FRAMES_PER_CONNECTION: usize = 10;
/// Long polls that the fuzz asks for are left after this.
const FUZZ_READ: Duration = Duration::from_millis(100);

/// One golden request with a few bytes changed, cut or blown up.
fn mutated(golden: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut frame = golden[random.index(golden.len())].clone();
    for _ in 0..1 + random.below(4) {
        // The first two bytes are the API key: mostly the right one, or nothing deeper is reached.
        let from = if random.below(10) == 0 { 0 } else { 2 };
        let at = from + random.index(frame.len() - from);
        match random.below(6) {
            0 => frame[at] ^= 1 << random.below(8),
            1 => frame[at] = random.next_u64().to_be_bytes()[0],
            2 => frame[at] = [0, 0x7f, 0x80, 0xff][random.index(4)],
            3 => frame.truncate(at.max(8)),
            4 => {
                let end = frame.len().min(at + 4);
                frame[at..end].fill([0, 0x7f, 0xff][random.index(3)]);
            }
            _ => {
                let piece = frame[at..].to_vec();
                frame.extend(piece);
            }
        }
    }
    frame
}

#[test]
fn ten_thousand_mutated_frames_do_no_harm() {
    let seed = Random::seed_from_env("HIGHWATER_FUZZ_SEED");
    let mut random = Random::new(seed);
    let Some(target) = Target::start("fuzz") else { return };
    let golden = golden_requests();
    let mut answered = 0;
    for connection in 0..FUZZ_FRAMES / FUZZ_FRAMES_PER_CONNECTION {
        let mut bytes = Vec::new();
        for _ in 0..FUZZ_FRAMES_PER_CONNECTION {
            bytes.extend(framed(&mutated(&golden, &mut random)));
        }
        let mut socket = target.connect();
        socket.set_read_timeout(Some(FUZZ_READ)).expect("a valid timeout");
        drop(socket.write_all(&bytes));
        drop(socket.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer));
        answered += usize::from(!answer.is_empty());
        if connection % 100 == 99 {
            target.assert_serves(&format!("{connection} connections of mutated frames"));
        }
    }
    println!("{answered} connections had an answer before their end");
    assert!(answered > 0, "no mutated frame was ever answered: the fuzz stops too early");
}
