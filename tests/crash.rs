//! Kills the real binary with SIGKILL under load, and compares what it kept with what it promised.
//!
//! Four producers, one for each of acks=1 and acks=all with and without idempotence, write to all
//! partitions at once. After each kill the log is read back: every acknowledged record is at its
//! acknowledged offset, once, in order, byte for byte; what was not acknowledged may be there.
//! Idempotent producers send again what was not acknowledged, and the last batch that was, and must
//! get the first answer again.
//!
//! `HIGHWATER_CRASH_CYCLES=1000` for more kills than the default 20; `HIGHWATER_CRASH_SEED` repeats
//! a run's choices, though not the machine's timing.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the seed and the figures belong into a failure's output")]

use std::collections::VecDeque;
use std::env;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Peer, Random, Toolchain, Wire, now_ms, wait_until};
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
const TOPIC: &str = "crash";
const PARTITIONS: usize = 3;
const CYCLES: u32 = 20;
const IN_FLIGHT_MAX: usize = 3;
const RECORDS_PER_BATCH_MAX: u64 = 12;
const ACKS_BEFORE_KILL_MAX: u64 = 150;
const FILLER_MAX: u64 = 700;
const VALUE_HEAD: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// Restarts at both ends of a run whose times are compared.
const RESTARTS_COMPARED: usize = 100;
/// What a restart may take longer because of what else the machine does.
const RESTART_SLACK: Duration = Duration::from_millis(100);
/// One restart in this many is killed again while it recovers.
const KILLS_IN_RECOVERY: u64 = 3;

/// The n-th record that a producer sends to a partition; it says all of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    producer: u32,
    partition: u32,
    serial: u64,
}

impl Identity {
    fn value(self) -> Vec<u8> {
        let mut value = Vec::with_capacity(VALUE_HEAD);
        value.extend(self.producer.to_be_bytes());
        value.extend(self.partition.to_be_bytes());
        value.extend(self.serial.to_be_bytes());
        let mut filler = Random::new(self.serial << 8 | u64::from(self.producer));
        let size = filler.below(FILLER_MAX);
        // Half of it repeats, so that codecs have something to do.
        value.extend(
            (0..size).map(|at| if at % 2 == 0 { b'.' } else { filler.next_u64().to_be_bytes()[0] }),
        );
        value
    }

    /// Panics unless `value` is, to the last byte, what some producer sent.
    fn of(value: &[u8]) -> Identity {
        let number = |from: usize, to: usize| {
            value[from..to].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let short = |from| u32::try_from(number(from, from + 4)).expect("four bytes");
        let identity = Identity { producer: short(0), partition: short(4), serial: number(8, 16) };
        assert_eq!(value, identity.value(), "the bytes of {identity:?}");
        identity
    }
}

/// A batch as it was sent, kept until it is acknowledged and, for the last one, beyond that.
#[derive(Clone)]
struct Batch {
    partition: usize,
    first_serial: u64,
    count: u64,
    bytes: Bytes,
}

/// What the broker promised.
struct Acknowledged {
    partition: usize,
    first_serial: u64,
    count: u64,
    base_offset: i64,
}

/// One producer over all crashes.
struct Producer {
    number: u32,
    acks: i16,
    /// Id and epoch of an idempotent producer.
    identity: Option<(i64, i16)>,
    random: Random,
    next_serial: [u64; PARTITIONS],
    in_flight: VecDeque<Batch>,
    last: [Option<(Batch, i64)>; PARTITIONS],
    acknowledged: Vec<Acknowledged>,
    repeated: u64,
}

impl Producer {
    fn new(number: u32, acks: i16, identity: Option<(i64, i16)>, seed: u64) -> Producer {
        Producer {
            number,
            acks,
            identity,
            random: Random::new(seed),
            next_serial: [0; PARTITIONS],
            in_flight: VecDeque::new(),
            last: [const { None }; PARTITIONS],
            acknowledged: Vec::new(),
            repeated: 0,
        }
    }

    /// Produces until the broker is gone, telling `acks` of each acknowledged batch.
    fn run(mut self, bootstrap: &str, acks: &Sender<()>) -> Producer {
        let end = self.produce(bootstrap, acks).expect_err("ends with the broker only");
        let is_answerless =
            matches!(end.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!is_answerless, "producer {}: no answer from a broker that runs", self.number);
        if self.identity.is_none() {
            // Whether they were written is not known, and sending them again could double them.
            self.in_flight.clear();
        }
        self
    }

    fn produce(&mut self, bootstrap: &str, acks: &Sender<()>) -> io::Result<()> {
        let mut wire = Wire::connect(bootstrap)?;
        self.repeat_the_last(&mut wire)?;
        for batch in &self.in_flight {
            send(&mut wire, batch, self.acks)?;
        }
        loop {
            while self.in_flight.len() < IN_FLIGHT_MAX {
                let batch = self.next_batch();
                // Kept before it is sent: a write that fails half-way may still have arrived.
                self.in_flight.push_back(batch.clone());
                send(&mut wire, &batch, self.acks)?;
            }
            let produced = wire.receive_produced()?;
            assert_eq!(produced.error_code, 0, "producer {}", self.number);
            let batch = self.in_flight.pop_front().expect("one for each answer");
            self.acknowledge(batch, produced.base_offset);
            // The main thread stops listening when it kills the broker.
            let _ = acks.send(());
        }
    }

    /// An idempotent producer's last acknowledged batches get the same offsets a second time.
    fn repeat_the_last(&mut self, wire: &mut Wire) -> io::Result<()> {
        if self.identity.is_none() {
            return Ok(());
        }
        for (batch, base_offset) in self.last.iter().flatten() {
            send(wire, batch, self.acks)?;
            let produced = wire.receive_produced()?;
            assert_eq!(
                (produced.error_code, produced.base_offset),
                (0, *base_offset),
                "producer {} repeats serial {} of partition {}",
                self.number,
                batch.first_serial,
                batch.partition
            );
            self.repeated += 1;
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Batch {
        let partition = self.random.index(PARTITIONS);
        let count = 1 + self.random.below(RECORDS_PER_BATCH_MAX);
        let first_serial = self.next_serial[partition];
        self.next_serial[partition] += count;
        let compression = match self.random.below(6) {
            0 => Compression::Gzip,
            1 => Compression::Snappy,
            2 => Compression::Lz4,
            3 => Compression::Zstd,
            _ => Compression::None,
        };
        let stamp = self.identity.map_or(ProducerStamp::NONE, |(producer_id, producer_epoch)| {
            let base_sequence = i32::try_from(first_serial).expect("a test sends fewer records");
            ProducerStamp { producer_id, producer_epoch, base_sequence }
        });
        let options = BatchOptions { compression, producer: stamp, ..BatchOptions::default() };
        // Kafka forgets a producer whose last batch is older than a day.
        let timestamp_ms = now_ms();
        let mut builder = BatchBuilder::new(options);
        for serial in first_serial..first_serial + count {
            let partition = u32::try_from(partition).expect("a few partitions");
            let value = Identity { producer: self.number, partition, serial }.value();
            let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
            builder.push(&record).expect("a small batch");
        }
        Batch { partition, first_serial, count, bytes: builder.build().expect("a small batch") }
    }

    fn acknowledge(&mut self, batch: Batch, base_offset: i64) {
        let Batch { partition, first_serial, count, .. } = batch;
        self.acknowledged.push(Acknowledged { partition, first_serial, count, base_offset });
        self.last[partition] = Some((batch, base_offset));
    }
}

fn send(wire: &mut Wire, batch: &Batch, acks: i16) -> io::Result<()> {
    let partition = i32::try_from(batch.partition).expect("a few partitions");
    wire.send_batch((TOPIC, partition), acks, batch.bytes.clone())?;
    Ok(())
}

/// What has been read of one partition: the record at each offset from 0.
#[derive(Default)]
struct History {
    records: Vec<Identity>,
}

impl History {
    /// Reads what is new and checks that each producer's records follow each other.
    fn extend(&mut self, wire: &mut Wire, partition: usize, producers: &[Producer]) {
        let known = self.records.len();
        let found = read(wire, partition, known);
        for (producer, of) in producers.iter().map(|producer| (producer, producer.number)) {
            let mine = |record: &&Identity| record.producer == of;
            let mut last = self.records.iter().rev().find(mine).map(|record| record.serial);
            for record in found.iter().filter(mine) {
                let least = last.map_or(0, |last| last + 1);
                let follows = match producer.identity {
                    Some(_) => record.serial == least,
                    None => record.serial >= least,
                };
                assert!(follows, "{record:?} after serial {last:?} of partition {partition}");
                last = Some(record.serial);
            }
        }
        self.records.extend(found);
    }

    fn assert_holds(&self, promise: &Acknowledged, producer: u32) {
        for n in 0..promise.count {
            let partition = u32::try_from(promise.partition).expect("a few partitions");
            let wanted = Identity { producer, partition, serial: promise.first_serial + n };
            let offset = usize::try_from(promise.base_offset).expect("not negative")
                + usize::try_from(n).expect("a small batch");
            assert_eq!(self.records.get(offset), Some(&wanted), "acknowledged at offset {offset}");
        }
    }
}

/// The records of a partition from `from` to its log end; offsets have no holes.
fn read(wire: &mut Wire, partition: usize, from: usize) -> Vec<Identity> {
    let number = i32::try_from(partition).expect("a few partitions");
    let end = wire.end_offset(TOPIC, number).expect("the broker runs").expect("no error code");
    let mut next = i64::try_from(from).expect("a test sends fewer records");
    assert!(end >= next, "the log end of partition {partition} went back from {next} to {end}");
    let mut found = Vec::new();
    while next < end {
        let batches = wire.fetch(TOPIC, number, next).expect("the broker runs");
        assert!(
            !batches.is_empty(),
            "nothing at offset {next} of partition {partition}, end {end}"
        );
        for batch in batches {
            let records = batch.decode_records().expect("records as they were sent");
            for record in records.iter() {
                let record = record.expect("records as they were sent");
                if record.offset < next {
                    continue;
                }
                assert_eq!(record.offset, next, "a hole in partition {partition}");
                let identity = Identity::of(record.value.expect("no tombstones were sent"));
                assert_eq!(usize::try_from(identity.partition), Ok(partition), "{identity:?}");
                found.push(identity);
                next += 1;
            }
        }
    }
    found
}

/// Waits until every partition answers, as a client would after NOT_LEADER_OR_FOLLOWER.
fn settled(bootstrap: &str) -> Wire {
    let ready = wait_until("all partitions answer", PATIENCE, || {
        let mut wire = Wire::connect(bootstrap).ok()?;
        let partitions = 0..i32::try_from(PARTITIONS).expect("a few partitions");
        let mut answers = partitions.map(|partition| wire.end_offset(TOPIC, partition));
        answers.all(|answer| answer.is_ok_and(|code| code.is_ok())).then_some(())?;
        Some(wire)
    });
    ready.unwrap_or_else(|what| panic!("{what}"))
}

fn start_producers(peer: &mut Peer, seed: u64) -> Vec<Producer> {
    let bootstrap = &peer.bootstrap();
    let mut wire = Wire::connect(bootstrap).expect("the broker runs");
    // Small segments, so that kills fall into rolls too.
    let configs = [("segment.bytes", "1048576")];
    let partitions = i32::try_from(PARTITIONS).expect("a few partitions");
    let code = wire.create_topic(TOPIC, partitions, &configs).expect("the broker runs");
    assert_eq!(code, 0, "CreateTopics");
    drop(settled(bootstrap));
    // Apache Kafka's snapshots hold one batch of a producer, not five: after a crash it answers
    // OUT_OF_ORDER_SEQUENCE_NUMBER to all but the last one. So there this part is left out.
    let remembers = peer.highwater().is_some();
    let mut idempotent = || remembers.then(|| wire.init_producer_id().expect("the broker runs"));
    vec![
        Producer::new(0, -1, idempotent(), seed),
        Producer::new(1, -1, None, seed + 1),
        Producer::new(2, 1, idempotent(), seed + 2),
        Producer::new(3, 1, None, seed + 3),
    ]
}

/// Runs the producers until `count` batches are acknowledged, then kills the broker.
fn load_and_kill(peer: &mut Peer, producers: Vec<Producer>, count: u64) -> Vec<Producer> {
    let (sender, receiver): (Sender<()>, Receiver<()>) = channel();
    let bootstrap = peer.bootstrap();
    let run = |producer: Producer| {
        let (bootstrap, sender) = (bootstrap.clone(), sender.clone());
        thread::spawn(move || producer.run(&bootstrap, &sender))
    };
    let threads: Vec<_> = producers.into_iter().map(run).collect();
    drop(sender);
    for acknowledged in 0..count {
        let answer = receiver.recv_timeout(PATIENCE);
        assert!(answer.is_ok(), "{acknowledged} batches, then none\n{}", peer.report());
    }
    peer.kill();
    threads.into_iter().map(|thread| thread.join().expect("the producer's own words")).collect()
}

/// Starts the broker again, sometimes killing it once more on the way. Returns the time it took.
fn recover(peer: &mut Peer, random: &mut Random) -> Duration {
    if random.below(KILLS_IN_RECOVERY) == 0
        && let Some(broker) = peer.highwater()
    {
        broker.kill_while_starting(Duration::from_millis(random.below(80)));
    }
    let started = Instant::now();
    peer.restart();
    drop(settled(&peer.bootstrap()));
    started.elapsed()
}

/// Prints how long some restarts took; returns the median.
fn spread(which: &str, restarts: &[Duration]) -> Duration {
    let mut sorted = restarts.to_vec();
    sorted.sort();
    let (p50, p99) = (sorted[sorted.len() / 2], sorted[sorted.len() * 99 / 100]);
    println!("{which} {} restarts: p50 {p50:?}, p99 {p99:?}", sorted.len());
    p50
}

fn cycles() -> u32 {
    let wanted = env::var("HIGHWATER_CRASH_CYCLES");
    wanted.map_or(CYCLES, |text| text.parse().expect("HIGHWATER_CRASH_CYCLES is a number"))
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kill_9() {
    let seed = Random::seed_from_env("HIGHWATER_CRASH_SEED");
    let mut random = Random::new(seed);
    let Some(mut peer) = Peer::start(BINARY, &[]).or_skip("crash") else { return };
    let mut producers = start_producers(&mut peer, seed);
    let mut histories: Vec<History> = (0..PARTITIONS).map(|_| History::default()).collect();
    let mut checked = [0; 4];
    let mut restarts = Vec::new();
    for cycle in 0..cycles() {
        let count = 1 + random.below(ACKS_BEFORE_KILL_MAX);
        producers = load_and_kill(&mut peer, producers, count);
        restarts.push(recover(&mut peer, &mut random));
        let mut wire = settled(&peer.bootstrap());
        for (partition, history) in histories.iter_mut().enumerate() {
            history.extend(&mut wire, partition, &producers);
        }
        for (producer, checked) in producers.iter().zip(&mut checked) {
            for promise in &producer.acknowledged[*checked..] {
                histories[promise.partition].assert_holds(promise, producer.number);
            }
            *checked = producer.acknowledged.len();
        }
        let records: usize = histories.iter().map(|history| history.records.len()).sum();
        println!(
            "cycle {cycle}: {count} acks, {records} records, restart {:?}",
            restarts[restarts.len() - 1]
        );
    }
    let mut wire = settled(&peer.bootstrap());
    for (partition, history) in histories.iter().enumerate() {
        assert!(read(&mut wire, partition, 0) == history.records, "partition {partition} changed");
    }
    let repeated: u64 = producers.iter().map(|producer| producer.repeated).sum();
    let acknowledged: usize = checked.iter().sum();
    println!(
        "{} cycles, {acknowledged} batches acknowledged, lost=0, {repeated} repeated",
        cycles()
    );
    // A record that is missing has ended the test before.
    let compared = restarts.len().min(RESTARTS_COMPARED);
    let first = spread("first", &restarts[..compared]);
    let last = spread("last", &restarts[restarts.len() - compared..]);
    assert!(
        last < first * 3 + RESTART_SLACK,
        "what a restart takes grows with what came before: {first:?}, later {last:?}"
    );
    if let Some(broker) = peer.highwater() {
        let report = broker.report();
        assert!(!report.contains("unknown key"), "the tests' own variables reach it\n{report}");
    }
    let has_idempotent = producers.iter().any(|producer| producer.identity.is_some());
    assert!(repeated > 0 || !has_idempotent, "no batch was sent twice");
}
