//! Consumes the end of the log while it grows, and records how long each batch was under way.
//!
//! One fetch per connection is on the way at a time, for all its partitions, as with Kafka's own
//! consumers.
//!
//! Invariants
//! - A batch counts once, when the answer that carries it has wholly arrived.
//! - Reading goes on after the producers' end until everything they had acknowledged has arrived,
//!   or `LATE_RECORDS_NS` have passed: what is missing then is counted.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::primitive::DecodeError;

use crate::batch_headers::{extent, first_batch};
use crate::clock::{SECOND_NS, now_ns};
use crate::consume_lane::FetchShape;
use crate::control::{CLIENT_ID, Control, connect};
use crate::failure::Failure;
use crate::fetch_answer::{FetchedPartition, read_fetch_answer};
use crate::inbox::{BadLength, Inbox, ReadOutcome, is_temporary};
use crate::interval::Interval;
use crate::poller::{Poller, Ready};
use crate::recorder::{Recorder, Waiting};
use crate::stamp::RunMark;
use crate::topic::{LogEnd, list_offsets};

const LATE_RECORDS_NS: u64 = 10 * SECOND_NS;

/// How long a broker may hold an answer when there is nothing to read; also the time after which
/// the end of the run is noticed.
const MAX_WAIT_MS: i32 = 100;

const IDLE_WAIT_NS_MIN: u64 = 2_000;
const INBOX_BYTES: usize = 1024 * 1024;
const LOOK_AGAIN_NS: u64 = SECOND_NS / 50;

/// One connection and the partitions it follows.
#[derive(Debug)]
pub(crate) struct TailLane {
    address: String,
    socket: TcpStream,
    inbox: Inbox,
    /// The next offset of each partition.
    positions: BTreeMap<i32, i64>,
    is_asked: bool,
    correlation_id: i32,
}

impl TailLane {
    /// Connects; reads each partition from its present end on.
    pub(crate) fn connect(
        address: &str,
        topic: &str,
        partitions: &[i32],
    ) -> Result<TailLane, Failure> {
        let mut leader = Control::connect(address)?;
        let positions = list_offsets(&mut leader, topic, partitions, LogEnd::End)?;
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|source| Failure::System { call: "fcntl", source })?;
        Ok(TailLane {
            address: address.to_owned(),
            socket,
            inbox: Inbox::new(INBOX_BYTES),
            positions,
            is_asked: false,
            correlation_id: 0,
        })
    }

    fn ask(&mut self, shape: &FetchShape) -> Result<(), Failure> {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let partitions = self.positions.iter().map(|(partition, next)| FetchPartition {
            partition: *partition,
            fetch_offset: *next,
            partition_max_bytes: shape.max_bytes,
            ..FetchPartition::default()
        });
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: i32::MAX,
            topics: vec![FetchTopic {
                topic: shape.topic.clone(),
                topic_id: shape.topic_id,
                partitions: partitions.collect(),
            }],
            ..FetchRequest::default()
        };
        let frame = encode_request(&request, shape.version, self.correlation_id, Some(CLIENT_ID))
            .map_err(|error| Failure::Batch { reason: error.to_string() })?;
        let bytes = frame.into_bytes();
        let mut left = &bytes[..];
        // A fetch is far smaller than the send buffer and goes out alone, so it never blocks long.
        while !left.is_empty() {
            match (&self.socket).write(left) {
                Ok(sent) => left = &left[sent..],
                Err(error) if is_temporary(&error) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
        self.is_asked = true;
        Ok(())
    }

    /// Counts what one partition's part of an answer brought.
    fn count(
        &mut self,
        fetched: FetchedPartition<'_>,
        mark: RunMark,
        (interval, now): (&mut Interval, u64),
    ) {
        if fetched.code != 0 {
            interval.count_error(fetched.code);
        }
        let Some(next) = self.positions.get_mut(&fetched.partition) else {
            return;
        };
        let mut rest = fetched.records;
        while let Some(batch) = first_batch(rest) {
            rest = &rest[batch.len()..];
            let (records, end) = extent(batch);
            // The first batch may begin before the offset that was asked for.
            if end <= *next {
                continue;
            }
            *next = end;
            if let Some(intended_ns) = mark.read(batch) {
                interval.end_to_end.record_ns(now.saturating_sub(intended_ns));
                interval.delivered += records;
            }
        }
    }

    /// Records between the positions and the ends of the partitions now.
    fn behind(&self, topic: &str) -> Result<u64, Failure> {
        let partitions: Vec<i32> = self.positions.keys().copied().collect();
        let mut leader = Control::connect(&self.address)?;
        let ends = list_offsets(&mut leader, topic, &partitions, LogEnd::End)?;
        let missing = ends.iter().map(|(partition, end)| {
            let next = self.positions.get(partition).copied().unwrap_or(*end);
            u64::try_from(end - next).unwrap_or(0)
        });
        Ok(missing.sum())
    }

    fn lost(&self, source: std::io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during: "was under load", source }
    }
}

/// One consuming thread.
pub(crate) struct TailWorker<'a> {
    pub(crate) lanes: Vec<TailLane>,
    pub(crate) recorder: Recorder,
    pub(crate) shape: &'a FetchShape,
    pub(crate) mark: RunMark,
    /// Producing threads that have not ended.
    pub(crate) producers: &'a AtomicUsize,
}

impl TailWorker<'_> {
    /// Runs until the producers have ended and all they wrote has arrived.
    ///
    /// # Errors
    /// A connection that is lost, or answers that cannot be read.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut poller = Poller::new()?;
        for (index, lane) in self.lanes.iter().enumerate() {
            poller.add(&lane.socket, index).map_err(|source| lane.lost(source))?;
        }
        for lane in &mut self.lanes {
            lane.ask(self.shape)?;
        }
        let stop_ns = self.recorder.window().stop_ns;
        let mut ready: Vec<Ready> = Vec::new();
        let (mut is_stopped, mut give_up_ns) = (false, u64::MAX);
        loop {
            let now = now_ns();
            self.recorder.roll(now);
            if now >= stop_ns && !is_stopped {
                is_stopped = true;
                self.recorder.stop(now);
            }
            if self.producers.load(Ordering::Acquire) == 0 && is_stopped {
                give_up_ns = give_up_ns.min(now + LATE_RECORDS_NS);
                let behind = self.behind()?;
                if behind == 0 || now >= give_up_ns {
                    self.recorder.current().undelivered += behind;
                    break;
                }
            }
            self.wait(&mut poller, now, &mut ready)?;
            for event in ready.drain(..) {
                self.read(event.lane)?;
            }
        }
        self.recorder.finish();
        Ok(())
    }

    fn behind(&self) -> Result<u64, Failure> {
        self.lanes.iter().map(|lane| lane.behind(&self.shape.topic)).sum()
    }

    fn wait(
        &mut self,
        poller: &mut Poller,
        now: u64,
        ready: &mut Vec<Ready>,
    ) -> Result<(), Failure> {
        let left_ns = self.recorder.ends_ns().saturating_sub(now);
        let timeout_ns = match self.recorder.waiting() {
            Waiting::Spin => 0,
            Waiting::Block if left_ns == 0 => LOOK_AGAIN_NS,
            Waiting::Block => left_ns,
        };
        poller.wait(timeout_ns, ready)?;
        let waited_ns = now_ns().saturating_sub(now);
        if left_ns > 0 && (ready.is_empty() || waited_ns >= IDLE_WAIT_NS_MIN) {
            self.recorder.current().idle_ns += waited_ns;
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), Failure> {
        let (recorder, shape, mark) = (&mut self.recorder, self.shape, self.mark);
        let lane = &mut self.lanes[index];
        if lane.inbox.read(&lane.socket).map_err(|source| lane.lost(source))? == ReadOutcome::Closed
        {
            return Err(Failure::ConnectionClosed {
                address: lane.address.clone(),
                during: "was under load",
            });
        }
        let now = now_ns();
        let mut inbox = std::mem::take(&mut lane.inbox);
        let outcome = inbox.for_each_frame(|reader, _| {
            let interval = recorder.current();
            let (correlation_id, code) = read_fetch_answer(reader, shape.version, |fetched| {
                lane.count(fetched, mark, (interval, now));
            })?;
            if correlation_id != lane.correlation_id || !lane.is_asked {
                return Err(BadAnswer::OutOfOrder(correlation_id));
            }
            lane.is_asked = false;
            if code != 0 {
                recorder.current().count_error(code);
            }
            Ok(())
        });
        lane.inbox = inbox;
        outcome.map_err(|bad: BadAnswer| Failure::Unreadable {
            address: lane.address.clone(),
            api: "Fetch",
            reason: bad.to_string(),
        })?;
        if lane.is_asked { Ok(()) } else { lane.ask(shape) }
    }
}

#[derive(Debug, thiserror::Error)]
enum BadAnswer {
    #[error(transparent)]
    Length(#[from] BadLength),
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    #[error("correlation id {0} answers no fetch")]
    OutOfOrder(i32),
}
