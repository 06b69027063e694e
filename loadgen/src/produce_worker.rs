//! The loop of one producing thread: admit, send, wait, count.
//!
//! Closed loop: each answer admits the next request. Open loop: the schedule admits requests at
//! their times over whichever connection has room; while none has, requests become due and wait,
//! and that wait counts as latency.
//!
//! Invariants
//! - Nothing is allocated per request.
//! - A request that the schedule made due before the end is either answered and counted, or
//!   counted as unanswered.

use std::collections::VecDeque;

use crate::clock::{SECOND_NS, now_ns};
use crate::failure::Failure;
use crate::inbox::{BadLength, ReadOutcome};
use crate::lane::{Lane, OnTheWay};
use crate::poller::{Poller, Ready};
use crate::produce_answer::read_produce_answer;
use crate::recorder::{Recorder, Waiting};
use crate::schedule::Schedule;

/// After the end, answers that are still on the way are awaited this long.
const LATE_ANSWERS_NS: u64 = 10 * SECOND_NS;

/// A wait below this with something ready is work, not idleness.
const IDLE_WAIT_NS_MIN: u64 = 2_000;

/// Reads of one connection before the others get their turn.
const READS_PER_TURN: usize = 4;

/// What decides when requests are sent.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Whenever a connection has room.
    Closed,
    /// At the schedule's times.
    Open(Schedule),
}

/// What is the same for all requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestShape {
    /// Produce version on the wire.
    pub(crate) version: i16,
    /// acks=0: done when sent.
    pub(crate) is_answered: bool,
    pub(crate) records_per_batch: u64,
    pub(crate) bytes_per_batch: u64,
    pub(crate) batches_per_request: u64,
}

/// One thread's connections and counters.
pub(crate) struct ProduceWorker {
    lanes: Vec<Lane>,
    poller: Poller,
    recorder: Recorder,
    pace: Pace,
    shape: RequestShape,
    /// Open loop: lanes that have room, each once, in the order of their turn.
    free: VecDeque<usize>,
    is_free: Vec<bool>,
    /// Open loop: when `free` last became non-empty.
    free_since_ns: u64,
    /// Lanes with admitted requests that were not yet sent, each once.
    dirty: Vec<usize>,
    /// Memory of `dirty` for the next turn.
    dirty_spare: Vec<usize>,
    is_dirty: Vec<bool>,
    is_admitting: bool,
}

impl ProduceWorker {
    /// All connections are open, nothing is sent before [`ProduceWorker::run`].
    pub(crate) fn new(
        lanes: Vec<Lane>,
        recorder: Recorder,
        pace: Pace,
        shape: RequestShape,
    ) -> Result<ProduceWorker, Failure> {
        let poller = Poller::new()?;
        for (index, lane) in lanes.iter().enumerate() {
            poller.add(&lane.socket, index).map_err(|source| lane.lost(source))?;
        }
        let count = lanes.len();
        Ok(ProduceWorker {
            poller,
            recorder,
            pace,
            shape,
            free: (0..count).collect(),
            is_free: vec![true; count],
            free_since_ns: 0,
            dirty: Vec::with_capacity(count),
            dirty_spare: Vec::with_capacity(count),
            is_dirty: vec![false; count],
            is_admitting: true,
            lanes,
        })
    }

    /// Runs from the window's start to its end, then waits for late answers.
    ///
    /// # Errors
    /// A connection that is lost, or answers that cannot be read.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let outcome = self.produce();
        let on_the_way = self.on_the_way();
        self.recorder.current().unanswered += u64::try_from(on_the_way).expect("a small count");
        if outcome.is_ok() {
            self.recorder.finish();
        }
        outcome
    }

    fn produce(&mut self) -> Result<(), Failure> {
        let stop_ns = self.recorder.window().stop_ns;
        let mut ready = Vec::new();
        self.wait_for_start()?;
        if matches!(self.pace, Pace::Closed) {
            (0..self.lanes.len()).for_each(|index| self.fill(index, now_ns()));
        }
        loop {
            let now = now_ns();
            self.recorder.roll(now);
            if self.is_admitting && now >= stop_ns {
                self.stop_admitting(now);
            }
            self.admit_due(now, now);
            self.flush_dirty()?;
            if !self.is_admitting && (self.on_the_way() == 0 || now >= stop_ns + LATE_ANSWERS_NS) {
                break;
            }
            self.wait(now, &mut ready)?;
            for event in ready.drain(..) {
                self.serve(event)?;
            }
        }
        Ok(())
    }

    fn wait_for_start(&mut self) -> Result<(), Failure> {
        let start_ns = self.recorder.window().start_ns;
        let mut ready = Vec::new();
        loop {
            let now = now_ns();
            if now >= start_ns {
                return Ok(());
            }
            self.poller.wait(start_ns - now, &mut ready)?;
            ready.clear();
        }
    }

    fn on_the_way(&self) -> usize {
        self.lanes.iter().map(Lane::on_the_way).sum()
    }

    fn stop_admitting(&mut self, now: u64) {
        let stop_ns = self.recorder.window().stop_ns;
        self.admit_due(stop_ns - 1, now);
        self.is_admitting = false;
        if let Pace::Open(schedule) = &mut self.pace {
            while schedule.due_ns() < stop_ns {
                self.recorder.current().unanswered += 1;
                schedule.advance();
            }
        }
        self.recorder.stop(now);
    }

    /// Open loop: admits what is due by `due_ns` while a connection has room.
    fn admit_due(&mut self, due_ns: u64, now: u64) {
        let Pace::Open(schedule) = &mut self.pace else {
            return;
        };
        while self.is_admitting && schedule.due_ns() <= due_ns {
            let Some(index) = self.free.pop_front() else {
                return;
            };
            let intended_ns = schedule.due_ns();
            schedule.advance();
            let lane = &mut self.lanes[index];
            lane.admit(intended_ns, now);
            let could_send_ns = intended_ns.max(self.free_since_ns);
            self.recorder.current().lag.record_ns(now.saturating_sub(could_send_ns));
            self.is_free[index] = lane.has_room();
            if self.is_free[index] {
                self.free.push_back(index);
            }
            mark(&mut self.dirty, &mut self.is_dirty, index);
        }
    }

    /// Closed loop: admits until the connection has no room.
    fn fill(&mut self, index: usize, now: u64) {
        let lane = &mut self.lanes[index];
        while self.is_admitting && lane.has_room() {
            lane.admit(now, now);
            mark(&mut self.dirty, &mut self.is_dirty, index);
        }
    }

    /// Sends what is admitted. What that admits anew (acks=0) waits for the next turn.
    fn flush_dirty(&mut self) -> Result<(), Failure> {
        let spare = std::mem::take(&mut self.dirty_spare);
        let mut turn = std::mem::replace(&mut self.dirty, spare);
        for index in turn.drain(..) {
            self.is_dirty[index] = false;
            self.flush(index)?;
        }
        self.dirty_spare = turn;
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<(), Failure> {
        let sent = self.lanes[index].flush(&self.poller, index)?;
        if self.shape.is_answered || sent == 0 {
            return Ok(());
        }
        let now = now_ns();
        for _ in 0..sent {
            if let Some(request) = self.lanes[index].done_without_answer() {
                let batches = self.shape.batches_per_request;
                count_done(&mut self.recorder, &self.shape, request, now, batches);
            }
        }
        self.made_room(index, now);
        Ok(())
    }

    fn made_room(&mut self, index: usize, now: u64) {
        match self.pace {
            Pace::Closed => self.fill(index, now),
            Pace::Open(_) if !self.is_free[index] && self.lanes[index].has_room() => {
                if self.free.is_empty() {
                    self.free_since_ns = now;
                }
                self.is_free[index] = true;
                self.free.push_back(index);
            }
            Pace::Open(_) => {}
        }
    }

    fn wait(&mut self, now: u64, ready: &mut Vec<Ready>) -> Result<(), Failure> {
        let timeout_ns = if self.recorder.waiting() == Waiting::Spin || !self.dirty.is_empty() {
            0
        } else {
            self.next_event_ns(now).saturating_sub(now)
        };
        self.poller.wait(timeout_ns, ready)?;
        let waited_ns = now_ns().saturating_sub(now);
        if self.is_admitting && (ready.is_empty() || waited_ns >= IDLE_WAIT_NS_MIN) {
            self.recorder.current().idle_ns += waited_ns;
        }
        Ok(())
    }

    /// When something is to be done even if no socket becomes ready.
    fn next_event_ns(&self, now: u64) -> u64 {
        if !self.is_admitting {
            return now + SECOND_NS / 100;
        }
        match &self.pace {
            Pace::Open(schedule) if !self.free.is_empty() => {
                schedule.due_ns().min(self.recorder.ends_ns())
            }
            Pace::Open(_) | Pace::Closed => self.recorder.ends_ns(),
        }
    }

    fn serve(&mut self, event: Ready) -> Result<(), Failure> {
        if event.is_readable {
            self.read(event.lane)?;
        }
        if event.is_writable {
            mark(&mut self.dirty, &mut self.is_dirty, event.lane);
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), Failure> {
        for _ in 0..READS_PER_TURN {
            let lane = &mut self.lanes[index];
            let outcome = lane.inbox.read(&lane.socket).map_err(|source| lane.lost(source))?;
            if outcome == ReadOutcome::Closed {
                return Err(Failure::ConnectionClosed {
                    address: lane.address.clone(),
                    during: "was under load",
                });
            }
            let now = now_ns();
            self.count_answers(index, now)?;
            self.made_room(index, now);
            if outcome == ReadOutcome::Drained {
                return Ok(());
            }
        }
        Ok(())
    }

    fn count_answers(&mut self, index: usize, now: u64) -> Result<(), Failure> {
        let lane = &mut self.lanes[index];
        let (recorder, shape, is_admitting) = (&mut self.recorder, &self.shape, self.is_admitting);
        let mut inbox = std::mem::take(&mut lane.inbox);
        let outcome = inbox.for_each_frame(|reader, _| {
            let answer = read_produce_answer(reader, shape.version, |code| {
                recorder.current().count_error(code);
            })?;
            let request = lane.answered(answer.correlation_id).map_err(BadAnswer::OutOfOrder)?;
            let batches = if is_admitting { u64::from(answer.accepted) } else { 0 };
            count_done(recorder, shape, request, now, batches);
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

/// Adds one finished request. `batches` is 0 for one that came after the end: its latency counts,
/// its records do not.
#[inline]
fn count_done(
    recorder: &mut Recorder,
    shape: &RequestShape,
    request: OnTheWay,
    now: u64,
    batches: u64,
) {
    let interval = recorder.current();
    interval.response.record_ns(now.saturating_sub(request.intended_ns));
    interval.service.record_ns(now.saturating_sub(request.sent_ns));
    interval.requests += u64::from(batches > 0);
    interval.records += batches * shape.records_per_batch;
    interval.bytes += batches * shape.bytes_per_batch;
}

#[inline]
fn mark(list: &mut Vec<usize>, is_listed: &mut [bool], index: usize) {
    if !is_listed[index] {
        is_listed[index] = true;
        list.push(index);
    }
}

#[derive(Debug, thiserror::Error)]
enum BadAnswer {
    #[error(transparent)]
    Length(#[from] BadLength),
    #[error(transparent)]
    Bytes(#[from] highwater::protocol::primitive::DecodeError),
    #[error("correlation id {0} answers no request, or is out of order")]
    OutOfOrder(i32),
}
