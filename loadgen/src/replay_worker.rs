//! Sends the requests of a replay when they are due, and counts what comes back.
//!
//! Each record's latency counts from its own time; a request that finds its connection busy waits,
//! and that wait counts.
//!
//! Invariants
//! - What is read and not yet sent is bounded by `WAITING_BYTES_MAX`; beyond it the reader waits.
//! - Requests of a connection are sent in the order in which they were made.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError};

use highwater::protocol::primitive::DecodeError;

use crate::clock::{SECOND_NS, now_ns};
use crate::control::connect;
use crate::failure::Failure;
use crate::inbox::{BadLength, Inbox, ReadOutcome, is_temporary};
use crate::poller::{Interest, Poller, Ready};
use crate::produce_answer::read_produce_answer;
use crate::recorder::{Recorder, Waiting};
use crate::replay_source::ReadyBatch;

/// Frames that are due and wait for their connections, in bytes.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A broker that is silent for so long, with requests on the way, is given up.
const SILENCE_NS_MAX: u64 = 60 * SECOND_NS;

/// Time between two looks for what the reader has made.
const LOOK_AGAIN_NS: u64 = 200_000;

const INBOX_BYTES: usize = 64 * 1024;
const IDLE_WAIT_NS_MIN: u64 = 2_000;

/// A request on the way.
#[derive(Debug)]
struct Sent {
    records_due_ns: Vec<u64>,
    sent_ns: u64,
    batch_bytes: u64,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct ReplayLane {
    address: String,
    socket: TcpStream,
    inbox: Inbox,
    /// Due, and not yet admitted.
    waiting: VecDeque<ReadyBatch>,
    /// Admitted, and not yet wholly written: frames, and what of the first was written.
    unsent: VecDeque<Vec<u8>>,
    written: usize,
    on_the_way: VecDeque<Sent>,
    next_answer_id: i32,
    in_flight_max: usize,
    free_since_ns: u64,
    interest: Interest,
}

impl ReplayLane {
    /// Connects.
    pub(crate) fn connect(address: &str, in_flight_max: usize) -> Result<ReplayLane, Failure> {
        let socket = connect(address)?;
        socket.set_nonblocking(true).map_err(|source| Failure::System { call: "fcntl", source })?;
        Ok(ReplayLane {
            address: address.to_owned(),
            socket,
            inbox: Inbox::new(INBOX_BYTES),
            waiting: VecDeque::new(),
            unsent: VecDeque::new(),
            written: 0,
            on_the_way: VecDeque::new(),
            next_answer_id: 0,
            in_flight_max,
            free_since_ns: 0,
            interest: Interest::Read,
        })
    }

    fn has_room(&self) -> bool {
        self.on_the_way.len() < self.in_flight_max
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(frame) = self.unsent.front() {
            match (&self.socket).write(&frame[self.written..]) {
                Ok(size) => self.written += size,
                Err(error) if is_temporary(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.written == frame.len() {
                self.written = 0;
                self.unsent.pop_front();
            }
        }
        Ok(())
    }

    fn lost(&self, source: io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during: "was under load", source }
    }
}

/// What is the same for all requests of a replay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplayShape {
    /// Produce version on the wire.
    pub(crate) version: i16,
    /// acks=0: done when sent.
    pub(crate) is_answered: bool,
    /// By the file's own times; otherwise as fast as answers come.
    pub(crate) is_timed: bool,
}

/// The sending thread.
pub(crate) struct ReplayWorker {
    lanes: Vec<ReplayLane>,
    recorder: Recorder,
    shape: ReplayShape,
    source: Option<Receiver<ReadyBatch>>,
    /// The next request, when it is not due yet or has no room.
    head: Option<ReadyBatch>,
    waiting_bytes: usize,
    heard_ns: u64,
}

impl ReplayWorker {
    /// All connections are open, nothing is sent before [`ReplayWorker::run`].
    pub(crate) fn new(
        lanes: Vec<ReplayLane>,
        recorder: Recorder,
        shape: ReplayShape,
        source: Receiver<ReadyBatch>,
    ) -> ReplayWorker {
        let source = Some(source);
        let (head, waiting_bytes, heard_ns) = (None, 0, 0);
        ReplayWorker { lanes, recorder, shape, source, head, waiting_bytes, heard_ns }
    }

    /// Runs until the source has ended, or the window, and all answers are there.
    ///
    /// # Errors
    /// A connection that is lost or silent, or answers that cannot be read.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let outcome = self.replay();
        let open = self.lanes.iter().map(|lane| lane.on_the_way.len() + lane.waiting.len());
        let open = u64::try_from(open.sum::<usize>()).expect("a small count");
        self.recorder.current().unanswered += open;
        if outcome.is_ok() {
            self.recorder.finish();
        }
        outcome
    }

    fn replay(&mut self) -> Result<(), Failure> {
        let window = self.recorder.window();
        let mut poller = Poller::new()?;
        for (index, lane) in self.lanes.iter().enumerate() {
            poller.add(&lane.socket, index).map_err(|source| lane.lost(source))?;
        }
        let mut ready: Vec<Ready> = Vec::new();
        while now_ns() < window.start_ns {
            poller.wait(window.start_ns.saturating_sub(now_ns()), &mut ready)?;
        }
        self.heard_ns = now_ns();
        loop {
            let now = now_ns();
            self.recorder.roll(now);
            if now >= window.stop_ns {
                // The reader notices that nobody takes what it makes.
                (self.source, self.head) = (None, None);
                self.lanes.iter_mut().for_each(|lane| lane.waiting.clear());
            }
            self.take_due(now, window.start_ns);
            for index in 0..self.lanes.len() {
                self.admit(index, window.start_ns, &poller)?;
            }
            if self.is_over() {
                break;
            }
            self.check_silence(now)?;
            self.wait(&mut poller, now, &mut ready)?;
            for event in ready.drain(..) {
                if event.is_readable {
                    self.read(event.lane, window.stop_ns)?;
                }
            }
        }
        self.recorder.stop(now_ns());
        Ok(())
    }

    fn is_over(&self) -> bool {
        let is_done = |lane: &ReplayLane| {
            lane.on_the_way.is_empty() && lane.waiting.is_empty() && lane.unsent.is_empty()
        };
        self.source.is_none() && self.head.is_none() && self.lanes.iter().all(is_done)
    }

    fn check_silence(&mut self, now: u64) -> Result<(), Failure> {
        let silent = self.lanes.iter().find(|lane| !lane.on_the_way.is_empty());
        let Some(lane) = silent else {
            self.heard_ns = now;
            return Ok(());
        };
        if now.saturating_sub(self.heard_ns) > SILENCE_NS_MAX {
            return Err(lane.lost(io::ErrorKind::TimedOut.into()));
        }
        Ok(())
    }

    /// Moves what is due to its connections.
    fn take_due(&mut self, now: u64, start_ns: u64) {
        while self.waiting_bytes < WAITING_BYTES_MAX {
            if self.head.is_none() {
                match self.source.as_ref().map(Receiver::try_recv) {
                    Some(Ok(batch)) => self.head = Some(batch),
                    Some(Err(TryRecvError::Disconnected)) => self.source = None,
                    Some(Err(TryRecvError::Empty)) | None => {}
                }
            }
            let is_due = |batch: &mut ReadyBatch| start_ns.saturating_add(batch.due_ns) <= now;
            let Some(batch) = self.head.take_if(is_due) else {
                return;
            };
            self.waiting_bytes += batch.frame.len();
            self.lanes[batch.lane].waiting.push_back(batch);
        }
    }

    /// Sends what waits while the connection has room.
    fn admit(&mut self, index: usize, start_ns: u64, poller: &Poller) -> Result<(), Failure> {
        let lane = &mut self.lanes[index];
        while lane.has_room() {
            let Some(mut batch) = lane.waiting.pop_front() else {
                break;
            };
            let now = now_ns();
            self.waiting_bytes -= batch.frame.len();
            for due_ns in &mut batch.records_due_ns {
                *due_ns = if self.shape.is_timed { start_ns.saturating_add(*due_ns) } else { now };
            }
            if self.shape.is_timed {
                let due_ns = start_ns.saturating_add(batch.due_ns);
                let could_send_ns = due_ns.max(lane.free_since_ns);
                self.recorder.current().lag.record_ns(now.saturating_sub(could_send_ns));
            }
            lane.unsent.push_back(batch.frame);
            lane.on_the_way.push_back(Sent {
                records_due_ns: batch.records_due_ns,
                sent_ns: now,
                batch_bytes: batch.batch_bytes,
            });
        }
        lane.write().map_err(|source| lane.lost(source))?;
        let is_blocked = !lane.unsent.is_empty();
        let interest = if is_blocked { Interest::ReadWrite } else { Interest::Read };
        if interest != lane.interest {
            lane.interest = interest;
            let set = poller.set_interest(&lane.socket, index, interest);
            set.map_err(|source| lane.lost(source))?;
        }
        if !self.shape.is_answered {
            self.count_written(index);
        }
        Ok(())
    }

    /// acks=0: a request is done when its last byte is written.
    fn count_written(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        let now = now_ns();
        while lane.on_the_way.len() > lane.unsent.len() {
            let Some(sent) = lane.on_the_way.pop_front() else {
                return;
            };
            self.heard_ns = now;
            lane.free_since_ns = now;
            count(&mut self.recorder, &sent, now, true);
        }
    }

    fn wait(
        &mut self,
        poller: &mut Poller,
        now: u64,
        ready: &mut Vec<Ready>,
    ) -> Result<(), Failure> {
        let window = self.recorder.window();
        let next_ns = match &self.head {
            Some(batch) => window.start_ns.saturating_add(batch.due_ns).max(now),
            None if self.source.is_some() => now + LOOK_AGAIN_NS,
            None => u64::MAX,
        };
        // What is due and has no room waits for an answer, which is an event.
        let is_stuck = self.waiting_bytes >= WAITING_BYTES_MAX || next_ns <= now;
        let next_ns = if is_stuck { now + LOOK_AGAIN_NS } else { next_ns };
        let ends_ns = self.recorder.ends_ns().max(now + LOOK_AGAIN_NS);
        let timeout_ns = match self.recorder.waiting() {
            Waiting::Spin => 0,
            Waiting::Block => next_ns.min(ends_ns) - now,
        };
        poller.wait(timeout_ns, ready)?;
        let waited_ns = now_ns().saturating_sub(now);
        // Waiting for the reader is the generator's own slowness.
        let is_starved = self.head.is_none()
            && self.source.is_some()
            && self.lanes.iter().any(|lane| lane.has_room() && lane.waiting.is_empty());
        if !is_starved && (ready.is_empty() || waited_ns >= IDLE_WAIT_NS_MIN) {
            self.recorder.current().idle_ns += waited_ns;
        }
        Ok(())
    }

    fn read(&mut self, index: usize, stop_ns: u64) -> Result<(), Failure> {
        let lane = &mut self.lanes[index];
        if lane.inbox.read(&lane.socket).map_err(|source| lane.lost(source))? == ReadOutcome::Closed
        {
            return Err(Failure::ConnectionClosed {
                address: lane.address.clone(),
                during: "was under load",
            });
        }
        let now = now_ns();
        self.heard_ns = now;
        if !lane.has_room() {
            lane.free_since_ns = now;
        }
        let mut inbox = std::mem::take(&mut lane.inbox);
        let (recorder, version) = (&mut self.recorder, self.shape.version);
        let outcome = inbox.for_each_frame(|reader, _| {
            let answer = read_produce_answer(reader, version, |code| {
                recorder.current().count_error(code);
            })?;
            if answer.correlation_id != lane.next_answer_id {
                return Err(BadAnswer::OutOfOrder(answer.correlation_id));
            }
            lane.next_answer_id = lane.next_answer_id.checked_add(1).unwrap_or(0);
            let sent = lane.on_the_way.pop_front();
            let sent = sent.ok_or(BadAnswer::OutOfOrder(answer.correlation_id))?;
            count(recorder, &sent, now, answer.accepted > 0 && now < stop_ns);
            Ok(())
        });
        lane.inbox = inbox;
        outcome.map_err(|bad: BadAnswer| Failure::Unreadable {
            address: lane.address.clone(),
            api: "Produce",
            reason: bad.to_string(),
        })
    }
}

/// Adds one finished request; its records count when they were accepted in time.
fn count(recorder: &mut Recorder, sent: &Sent, now: u64, does_count: bool) {
    let interval = recorder.current();
    for due_ns in &sent.records_due_ns {
        interval.response.record_ns(now.saturating_sub(*due_ns));
    }
    interval.service.record_ns(now.saturating_sub(sent.sent_ns));
    if does_count {
        interval.requests += 1;
        interval.records += u64::try_from(sent.records_due_ns.len()).expect("fits in 64 bits");
        interval.bytes += sent.batch_bytes;
    }
}

#[derive(Debug, thiserror::Error)]
enum BadAnswer {
    #[error(transparent)]
    Length(#[from] BadLength),
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    #[error("correlation id {0} answers no request, or is out of order")]
    OutOfOrder(i32),
}
