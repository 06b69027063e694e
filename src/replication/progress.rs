//! What a leader knows of one follower: its stream, how far it is, and since when it has not
//! caught up.
//!
//! Invariants
//! - flushed <= received <= sent, each only ever rising within a stream.
//! - What a stream acknowledged counts until the follower opens another: a follower cuts nothing
//!   that it got in this epoch, unless it dies, and then it opens anew.

use crate::model::clock::Now;
use crate::model::ids::{BrokerEpoch, BrokerId, Offset};
use crate::model::limits::{PUSH_BYTES_IN_FLIGHT_MAX, PUSH_SILENCE_MS, REPLICA_OPEN_RETRY_MS};
use crate::replication::messages::{Ack, StreamId};

/// The part of an opened stream that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) sent: Offset,
    pub(super) received: Offset,
    /// Where the follower's log starts; `None` before its first Ack.
    pub(super) log_start: Option<Offset>,
    pub(super) high_watermark_sent: Offset,
    pub(super) log_start_sent: Offset,
    pub(super) is_reading: bool,
    sent_bytes: u64,
    taken_bytes: u64,
    progress_us: u64,
}

/// A stream that the leader ended and the follower may not know of.
#[derive(Debug, Clone, Copy)]
struct Ended {
    id: StreamId,
    said_us: Option<u64>,
}

/// One follower as its leader sees it. One per follower and partition.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) id: BrokerId,
    /// As the controller has it; `None` when the broker may not join the in-sync replicas.
    pub(super) broker_epoch: Option<BrokerEpoch>,
    pub(super) stream: Option<Stream>,
    /// What the follower acknowledged as safe in this leader epoch.
    pub(super) flushed: Option<Offset>,
    ended: Option<Ended>,
    newest: (BrokerEpoch, StreamId),
    caught_up_us: u64,
    last_ack_us: u64,
    log_end_at_last_ack: Offset,
}

impl Follower {
    /// A follower that has not been heard of; its time to catch up begins now.
    pub(super) fn new(id: BrokerId, log_end: Offset, now: Now) -> Follower {
        Follower {
            id,
            broker_epoch: None,
            stream: None,
            flushed: None,
            ended: None,
            newest: (BrokerEpoch(i64::MIN), StreamId::default()),
            caught_up_us: now.monotonic_us,
            last_ack_us: now.monotonic_us,
            log_end_at_last_ack: log_end,
        }
    }

    /// Notes an attempt to open; false when it is older than one seen before, as a frame may be
    /// that comes late from a connection that is gone.
    pub(super) fn is_newest(&mut self, attempt: (BrokerEpoch, StreamId)) -> bool {
        if attempt < self.newest {
            return false;
        }
        self.newest = attempt;
        self.stream = None;
        self.ended = None;
        // Whether it still has what it acknowledged before is for its next Ack to say.
        self.flushed = None;
        true
    }

    /// Begins the newest stream at the follower's log end.
    pub(super) fn start(&mut self, at: Offset, now: Now) {
        let (broker_epoch, id) = self.newest;
        assert!(self.stream.is_none());
        self.stream = Some(Stream {
            id,
            broker_epoch,
            sent: at,
            received: at,
            log_start: None,
            high_watermark_sent: Offset::ZERO,
            log_start_sent: Offset::ZERO,
            is_reading: false,
            sent_bytes: 0,
            taken_bytes: 0,
            progress_us: now.monotonic_us,
        });
        self.last_ack_us = now.monotonic_us;
        self.log_end_at_last_ack = at;
    }

    /// Ends the stream; the follower is told with the next tick.
    pub(super) fn end(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.ended = Some(Ended { id: stream.id, said_us: None });
        }
    }

    /// The stream to tell the follower that it ended, time and again until it opens another.
    pub(super) fn ended_due(&mut self, now: Now) -> Option<StreamId> {
        let ended = self.ended.as_mut()?;
        let pause_us = REPLICA_OPEN_RETRY_MS * 1000;
        let is_due = ended.said_us.is_none_or(|said| said + pause_us <= now.monotonic_us);
        is_due.then(|| {
            ended.said_us = Some(now.monotonic_us);
            ended.id
        })
    }

    /// True when what was pushed has led to nothing for too long: frames were lost.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        self.stream.as_ref().is_some_and(|stream| {
            let is_awaited = self.flushed.is_none_or(|flushed| flushed < stream.sent);
            let silence_us = now.monotonic_us.saturating_sub(stream.progress_us);
            is_awaited && silence_us >= PUSH_SILENCE_MS * 1000
        })
    }

    /// Room for further pushes, in bytes; 0 while one is being read.
    pub(super) fn room(&self) -> usize {
        let Some(stream) = self.stream.as_ref().filter(|stream| !stream.is_reading) else {
            return 0;
        };
        let in_flight = stream.sent_bytes.saturating_sub(stream.taken_bytes);
        PUSH_BYTES_IN_FLIGHT_MAX.saturating_sub(usize::try_from(in_flight).unwrap_or(usize::MAX))
    }

    /// A push was sent up to `end`.
    pub(super) fn pushed(&mut self, end: Offset, bytes: usize, now: Now) {
        let Some(stream) = &mut self.stream else { return };
        assert!(end > stream.sent);
        if self.flushed.is_some_and(|flushed| flushed >= stream.sent) {
            stream.progress_us = now.monotonic_us;
        }
        assert!(stream.is_reading, "a push follows an order");
        stream.sent = end;
        stream.sent_bytes += bytes as u64;
        stream.is_reading = false;
    }

    /// Takes an Ack of the stream; false when it says what cannot be.
    pub(super) fn on_ack(&mut self, ack: &Ack, log_end: Offset, now: Now) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let is_possible = ack.flushed <= ack.received
            && ack.received <= stream.sent
            && ack.taken_bytes <= stream.sent_bytes;
        if !is_possible {
            return false;
        }
        let flushed = self.flushed.map_or(ack.flushed, |flushed| flushed.max(ack.flushed));
        if self.flushed != Some(flushed) || ack.received > stream.received {
            stream.progress_us = now.monotonic_us;
        }
        stream.received = stream.received.max(ack.received);
        stream.taken_bytes = stream.taken_bytes.max(ack.taken_bytes);
        stream.log_start = Some(ack.log_start);
        self.flushed = Some(flushed);
        if flushed >= log_end {
            self.caught_up_us = now.monotonic_us;
        } else if flushed >= self.log_end_at_last_ack {
            self.caught_up_us = self.caught_up_us.max(self.last_ack_us);
        }
        self.last_ack_us = now.monotonic_us;
        self.log_end_at_last_ack = log_end;
        assert!(stream.received <= stream.sent);
        true
    }

    /// A follower that has everything is caught up, however long nothing was appended.
    pub(super) fn note_idle(&mut self, log_end: Offset, now: Now) {
        if self.flushed.is_some_and(|flushed| flushed >= log_end) {
            self.caught_up_us = now.monotonic_us;
        }
    }

    /// Where its log begins, as it told last; one that has told nothing may have everything.
    pub(super) fn log_start(&self) -> Offset {
        self.stream.and_then(|stream| stream.log_start).unwrap_or(Offset::ZERO)
    }

    /// Its log's end, where the log has `offset` or ends there.
    pub(super) fn received_if_it_has(&self, offset: Offset) -> Option<Offset> {
        let stream = self.stream?;
        let has_offset = stream.log_start? <= offset && offset <= stream.received;
        has_offset.then_some(stream.received)
    }

    /// Time since the follower had everything, in microseconds.
    pub(super) fn lag_us(&self, now: Now) -> u64 {
        now.monotonic_us.saturating_sub(self.caught_up_us)
    }

    /// True when the stream was opened by the incarnation that the controller knows (KIP-903).
    pub(super) fn is_of_registered(&self) -> bool {
        self.stream.is_some_and(|stream| self.broker_epoch == Some(stream.broker_epoch))
    }
}
