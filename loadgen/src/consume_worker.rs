//! The loop of one consuming thread: ask, wait, count, ask again.
//!
//! One fetch per connection is on the way at a time, as with Kafka's own consumers; latency is from
//! its sending to the last byte of its answer.

use highwater::protocol::primitive::DecodeError;

use crate::batch_headers::{BatchCount, CrcCheck, count_batches};
use crate::clock::now_ns;
use crate::consume_lane::{ConsumeLane, FetchShape};
use crate::failure::Failure;
use crate::fetch_answer::read_fetch_answer;
use crate::inbox::{BadLength, ReadOutcome};
use crate::poller::{Poller, Ready};
use crate::recorder::{Recorder, Waiting};

const IDLE_WAIT_NS_MIN: u64 = 2_000;

/// Counted as an error of this number: Kafka's CORRUPT_MESSAGE.
const CORRUPT_MESSAGE: i16 = highwater::model::errors::KafkaCode::CorruptMessage.number();

/// One thread's connections and counters.
#[derive(Debug)]
pub(crate) struct ConsumeWorker {
    pub(crate) lanes: Vec<ConsumeLane>,
    pub(crate) recorder: Recorder,
    pub(crate) shape: FetchShape,
    pub(crate) crc: CrcCheck,
}

impl ConsumeWorker {
    /// Runs to the end of the window, or until every partition was read.
    ///
    /// # Errors
    /// A connection that is lost, or answers that cannot be read.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let mut poller = Poller::new()?;
        for (index, lane) in self.lanes.iter().enumerate() {
            poller.add(&lane.socket, index).map_err(|source| lane.lost(source))?;
        }
        let stop_ns = self.recorder.window().stop_ns;
        let mut ready: Vec<Ready> = Vec::new();
        for index in 0..self.lanes.len() {
            self.ask(index, now_ns())?;
        }
        let end_ns = loop {
            let now = now_ns();
            self.recorder.roll(now);
            if now >= stop_ns || self.lanes.iter().all(|lane| lane.asked.is_none()) {
                break now;
            }
            self.wait(&mut poller, now, &mut ready)?;
            for event in ready.drain(..) {
                self.read(event.lane)?;
            }
        };
        self.recorder.stop(end_ns);
        self.recorder.finish();
        Ok(())
    }

    fn wait(
        &mut self,
        poller: &mut Poller,
        now: u64,
        ready: &mut Vec<Ready>,
    ) -> Result<(), Failure> {
        let timeout_ns = match self.recorder.waiting() {
            Waiting::Spin => 0,
            Waiting::Block => self.recorder.ends_ns().saturating_sub(now),
        };
        poller.wait(timeout_ns, ready)?;
        let waited_ns = now_ns().saturating_sub(now);
        if ready.is_empty() || waited_ns >= IDLE_WAIT_NS_MIN {
            self.recorder.current().idle_ns += waited_ns;
        }
        Ok(())
    }

    fn ask(&mut self, index: usize, now: u64) -> Result<(), Failure> {
        self.lanes[index].ask(&self.shape, now)?;
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), Failure> {
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
        let (recorder, shape, crc) = (&mut self.recorder, &self.shape, self.crc);
        let outcome = inbox.for_each_frame(|reader, _| {
            let mut count = BatchCount::default();
            let (correlation_id, code) = read_fetch_answer(reader, shape.version, |fetched| {
                count = count_batches(fetched.records, crc);
                if fetched.code != 0 {
                    recorder.current().count_error(fetched.code);
                }
            })?;
            count_fetch(lane, correlation_id, &count, shape.repeat)?;
            let interval = recorder.current();
            if code != 0 {
                interval.count_error(code);
            }
            (0..count.corrupt).for_each(|_| interval.count_error(CORRUPT_MESSAGE));
            interval.requests += 1;
            interval.records += count.records;
            interval.bytes += count.bytes;
            interval.response.record_ns(now.saturating_sub(lane.sent_ns));
            Ok(())
        });
        lane.inbox = inbox;
        outcome.map_err(|bad: BadAnswer| Failure::Unreadable {
            address: lane.address.clone(),
            api: "Fetch",
            reason: bad.to_string(),
        })?;
        if self.lanes[index].asked.is_none() {
            self.ask(index, now)?;
        }
        Ok(())
    }
}

/// Takes the fetch off the way and moves its partition on.
fn count_fetch(
    lane: &mut ConsumeLane,
    correlation_id: i32,
    count: &BatchCount,
    repeat: bool,
) -> Result<(), BadAnswer> {
    if !lane.expects(correlation_id) {
        return Err(BadAnswer::OutOfOrder(correlation_id));
    }
    if let (Some(index), Some(next)) = (lane.asked.take(), count.next_offset) {
        lane.positions[index].advance(next, repeat);
    }
    Ok(())
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
