//! Full, refusing and failing disks under the real binary: real file systems, real errors.
//!
//! - Full: the data directory is a tmpfs of a few hundred MiB in a mount namespace of its own.
//! - Write error: the process has a file size limit, so a segment's write ends with EFBIG.
//!
//! Mounting needs CAP_SYS_ADMIN: without it the tests that mount are skipped aloud, everywhere.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]

use std::fs;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use harness::{Broker, MountNamespace, Wire, now_ms, wait_until};
use highwater::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const PATIENCE: Duration = Duration::from_secs(30);
const SETTINGS: [&str; 2] = ["highwater.cores=1", "num.partitions=1"];
/// KAFKA_STORAGE_ERROR: clients try again.
const STORAGE_ERROR: i16 = 56;
const EXIT_IO: i32 = 74;
const KEPT: &str = "kept";
const FILLED: &str = "filled";
const RECORDS_KEPT: usize = 50;
/// Below max.message.bytes, and enough to go straight to a segment.
const LARGE_BYTES: usize = 900_000;
/// A file system never takes more of these batches than this.
const LARGE_MAX: usize = 1000;

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let record = NewRecord { timestamp_ms: now_ms(), value: Some(value), ..NewRecord::default() };
    builder.push(&record).expect("small enough");
    builder.build().expect("small enough")
}

/// Produces one record; the error code, or the record's offset.
fn produce(wire: &mut Wire, topic: &str, acks: i16, value: &[u8]) -> Result<i64, i16> {
    wire.send_batch((topic, 0), acks, batch(value)).expect("the broker runs");
    let produced = wire.receive_produced().expect("the broker runs");
    if produced.error_code == 0 { Ok(produced.base_offset) } else { Err(produced.error_code) }
}

fn value(number: usize) -> Vec<u8> {
    format!("record {number}").into_bytes()
}

fn make_topic(wire: &mut Wire, name: &str) {
    assert_eq!(wire.create_topic(name, 1, &[]).expect("the broker runs"), 0);
    let settled = wait_until("a leader", PATIENCE, || {
        matches!(wire.end_offset(name, 0), Ok(Ok(_))).then_some(())
    });
    settled.unwrap_or_else(|what| panic!("{what}"));
}

/// Acknowledged records that must be there from now on.
fn keep_some(wire: &mut Wire) {
    make_topic(wire, KEPT);
    for number in 0..RECORDS_KEPT {
        let offset = produce(wire, KEPT, -1, &value(number));
        assert_eq!(offset, Ok(i64::try_from(number).expect("few")));
    }
}

/// The first records of `KEPT` are those that were acknowledged; returns the values behind them.
fn assert_kept(wire: &mut Wire) -> Vec<Vec<u8>> {
    let end = wire.end_offset(KEPT, 0).expect("the broker runs").expect("a leader");
    let mut values: Vec<Vec<u8>> = Vec::new();
    while values.len() < usize::try_from(end).expect("not negative") {
        let next = i64::try_from(values.len()).expect("few");
        for batch in wire.fetch(KEPT, 0, next).expect("the broker runs") {
            let records = batch.decode_records().expect("as sent");
            values.extend(
                records
                    .iter()
                    .map(|record| record.expect("as sent").value.expect("as sent").to_vec()),
            );
        }
    }
    let wanted: Vec<Vec<u8>> = (0..RECORDS_KEPT).map(value).collect();
    assert!(values.starts_with(&wanted), "{} of {RECORDS_KEPT} records", values.len());
    values.split_off(RECORDS_KEPT)
}

/// Produces large batches until one is refused; returns how many were taken, and the code.
fn fill(wire: &mut Wire) -> (usize, i16) {
    let value = vec![7; LARGE_BYTES];
    for taken in 0..LARGE_MAX {
        if let Err(code) = produce(wire, FILLED, -1, &value) {
            return (taken, code);
        }
    }
    panic!("{LARGE_MAX} batches of {LARGE_BYTES} bytes were taken");
}

/// True where this process may mount; says so on standard error where not.
fn may_mount(test: &str) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    let may = capabilities.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1);
    if !may {
        let mut out = std::io::stderr();
        writeln!(out, "\nSKIPPED {test}: no CAP_SYS_ADMIN, so nothing can be mounted\n")
            .expect("stderr is open");
    }
    may
}

/// Free bytes of what is mounted.
fn free_bytes(namespace: &MountNamespace) -> u64 {
    let space = rustix::fs::statvfs(namespace.path()).expect("mounted");
    space.f_bavail * space.f_frsize
}

fn started(broker: &mut Broker, namespace: &MountNamespace) -> Wire {
    let launcher = namespace.launcher();
    broker.launch_with(&[&launcher[0], &launcher[1]]);
    broker.restart();
    Wire::connect(&broker.bootstrap()).expect("the broker runs")
}

fn delete_topic(wire: &mut Wire, name: &str) {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some(name.to_owned()), ..Default::default() }],
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    let response = wire.call(&request, 6).expect("the broker runs");
    assert_eq!(response.responses[0].error_code, 0);
}

#[test]
fn a_full_disk_refuses_produce_serves_fetch_and_takes_produce_again_when_there_is_room() {
    if !may_mount("a full disk") {
        return;
    }
    let mut broker = Broker::prepare(BINARY, &SETTINGS);
    let namespace = MountNamespace::mount(
        &broker.data_directory(),
        "mount -t tmpfs -o size=320m tmpfs \"$DATA\"",
    );
    let mut wire = started(&mut broker, &namespace);
    keep_some(&mut wire);
    make_topic(&mut wire, FILLED);

    let (taken, code) = fill(&mut wire);
    let free = free_bytes(&namespace);
    assert_eq!(code, STORAGE_ERROR, "after {taken} batches with {free} bytes free");
    assert!(taken > 50, "{taken} batches");
    assert!(free > 4 << 20, "refused before the disk is really full: {free} bytes are free");
    assert_eq!(produce(&mut wire, KEPT, 1, b"x"), Err(STORAGE_ERROR), "a small record too");
    assert!(assert_kept(&mut wire).is_empty());
    let first = wire.fetch(FILLED, 0, 0).expect("the broker runs");
    assert_eq!(first[0].header().base_offset(), 0);

    // Something else takes the rest: what makes room again still works.
    namespace.run("dd if=/dev/zero of=\"$DATA/foreign\" bs=1M 2>/dev/null || true");
    assert_eq!(produce(&mut wire, KEPT, -1, b"x"), Err(STORAGE_ERROR));
    assert!(assert_kept(&mut wire).is_empty());
    delete_topic(&mut wire, FILLED);
    let again = wait_until("produce is taken again", PATIENCE, || {
        produce(&mut wire, KEPT, -1, b"again").ok()
    });
    let offset = again.unwrap_or_else(|what| panic!("{what}\n{}", broker.report()));
    assert_eq!(usize::try_from(offset), Ok(RECORDS_KEPT), "nothing refused was stored");

    broker.kill();
    let mut wire = started(&mut broker, &namespace);
    assert_eq!(assert_kept(&mut wire), [b"again"]);
    assert!(broker.report().contains("E0008"), "{}", broker.report());
    broker.stop();
}

/// Nothing is acknowledged any more, what was is still read, the broker says why and ends with 74.
fn assert_offline(broker: &mut Broker, wire: &mut Wire) {
    for acks in [1, -1] {
        assert_eq!(produce(wire, KEPT, acks, b"late"), Err(STORAGE_ERROR), "acks={acks}");
    }
    assert!(assert_kept(wire).is_empty());
    let report = broker.report();
    assert_eq!(report.matches("E0009").count(), 1, "said once\n{report}");
    let status = broker.stop_with_status();
    assert_eq!(status.code(), Some(EXIT_IO), "{}", broker.report());
}

#[test]
fn a_write_error_takes_the_log_directory_offline_and_loses_nothing_acknowledged() {
    let mut broker = Broker::prepare(BINARY, &SETTINGS);
    // Above a journal file, below what a segment may reach. The signal's default is the end.
    let limited = "trap '' XFSZ; exec prlimit --fsize=50000000 -- \"$@\"";
    broker.launch_with(&["sh", "-c", limited, "sh"]);
    broker.restart();
    let mut wire = Wire::connect(&broker.bootstrap()).expect("the broker runs");
    keep_some(&mut wire);
    make_topic(&mut wire, FILLED);

    let (taken, code) = fill(&mut wire);
    assert_eq!(code, STORAGE_ERROR, "after {taken} batches");
    assert_offline(&mut broker, &mut wire);

    broker.launch_with(&["env"]);
    broker.restart();
    let mut wire = Wire::connect(&broker.bootstrap()).expect("the broker runs");
    assert_kept(&mut wire);
    let end = wire.end_offset(FILLED, 0).expect("the broker runs").expect("a leader");
    assert!(end >= i64::try_from(taken).expect("few"), "{end} of {taken} acknowledged batches");
    broker.stop();
}
