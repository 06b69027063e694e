//! A follower of one partition: finds where its log and the leader's part ways, and then takes
//! what the leader pushes.
//!
//! ```text
//!            Open                Start                    has the high watermark
//!  Opening ---------> answered ---------> CatchingUp -----------------------------> InSync
//!     ^                  | Diverge, OutOfRange
//!     +--- Truncating <--+
//! ```
//! Any doubt leads back to Opening: a push that does not begin at the log end, a Close, a lost
//! connection. That costs one round trip and loses nothing, because only what the leader has in the
//! same epoch is kept.
//!
//! Invariants
//! - A push is appended only in its own epoch and stream, and at the log end it was made for.
//! - An Ack names what was said to be safe in the log, nothing else.
//! - The high watermark never passes the log end, and falls only with a truncation below it, which
//!   is told: no clean election leads there.

use crate::model::clock::Now;
use crate::model::ids::{BrokerEpoch, LeaderEpoch, Offset};
use crate::model::limits::{REPLICA_EARLY_OPENS, REPLICA_OPEN_RETRY_MS};
use crate::replication::LogView;
use crate::replication::messages::{
    Ack, Close, CloseReason, HighWatermark, Open, OpenOutcome, OpenReply, PushHead, StreamId,
};

/// How far a follower is with its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowerState {
    /// Waits for the answer to an Open, or for the time to send one.
    Opening,
    /// Cuts its log; nothing is appended meanwhile.
    Truncating,
    CatchingUp,
    /// Has everything below the leader's high watermark. Whether it counts as in sync is for the
    /// controller to say.
    InSync,
}

/// What to do with the batches of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushVerdict {
    /// Append them now, and report what the log says with `on_ends`.
    Append,
    /// They belong to an epoch or a stream that is over.
    Stale,
    /// Something before them was lost: send what `open` gives.
    Reopen,
}

/// What to do upon the answer to an Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenStep {
    /// The answer is of an older attempt, or the leader cannot feed yet: wait for `tick`.
    Wait,
    /// Pushes follow; report what the log says with `on_ends`.
    Stream,
    /// Cut the log from `to` on, then go on with `on_truncated`.
    Truncate { to: Offset, is_below_high_watermark: bool },
    /// Throw all of the log away and begin an empty one at `at`, then go on with `on_truncated`.
    Restart { at: Offset, is_below_high_watermark: bool },
}

/// What a follower's log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogEnds {
    pub log_start: Offset,
    pub received: Offset,
    /// Everything below is as safe as the topic asks for.
    pub flushed: Offset,
}

/// A partition's follower. One per partition that this core follows; a new one for each epoch.
#[derive(Debug)]
pub struct FollowerReplica {
    epoch: LeaderEpoch,
    broker_epoch: BrokerEpoch,
    state: FollowerState,
    stream: StreamId,
    /// When to send an Open; `None` when none is called for.
    open_at_us: Option<u64>,
    /// Times that it did not wait because the leader knew less than it does.
    early_opens: u32,
    high_watermark: Offset,
    leader_log_start: Offset,
    taken_bytes: u64,
    /// Of these, what the leader may take for room: all, unless catching up is throttled.
    granted_bytes: u64,
    acked: Option<Ack>,
}

impl FollowerReplica {
    /// Begins to follow in `epoch`; `broker_epoch` is of this broker's own registration, and the
    /// high watermark what this replica knew before or a checkpoint has. `tick` opens.
    pub fn new(
        epoch: LeaderEpoch,
        broker_epoch: BrokerEpoch,
        high_watermark: Offset,
    ) -> FollowerReplica {
        FollowerReplica {
            epoch,
            broker_epoch,
            state: FollowerState::Opening,
            stream: StreamId::default(),
            open_at_us: Some(0),
            early_opens: 0,
            high_watermark,
            leader_log_start: Offset::ZERO,
            taken_bytes: 0,
            granted_bytes: 0,
            acked: None,
        }
    }

    /// The epoch that this follows in.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn state(&self) -> FollowerState {
        self.state
    }

    /// First offset that is not known to be committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Where the leader's log starts, as far as it has told: what lies below may be deleted.
    pub fn leader_log_start(&self) -> Offset {
        self.leader_log_start
    }

    /// The next attempt to be fed, to be sent to the leader.
    pub fn open(&mut self, log: &LogView<'_>, now: Now) -> Open {
        assert!(self.state != FollowerState::Truncating);
        self.state = FollowerState::Opening;
        // A cut takes whole batches, and may end a little below what was asked for.
        self.high_watermark = self.high_watermark.min(log.log_end);
        self.acked = None;
        self.taken_bytes = 0;
        self.granted_bytes = 0;
        // Above those of an earlier follower of this process in the same epoch, too.
        self.stream = StreamId((self.stream.0 + 1).max(now.monotonic_us));
        self.open_at_us = Some(now.deadline_us(REPLICA_OPEN_RETRY_MS));
        Open {
            leader_epoch: self.epoch,
            stream: self.stream,
            broker_epoch: self.broker_epoch,
            last_epoch: log.last_epoch,
            log_end: log.log_end,
        }
    }

    /// Lets time pass; returns an Open that is due.
    pub fn tick(&mut self, log: &LogView<'_>, now: Now) -> Option<Open> {
        let is_due = self.open_at_us.is_some_and(|at| at <= now.monotonic_us);
        is_due.then(|| self.open(log, now))
    }

    /// The connection to the leader is gone, and frames with it: `tick` opens again.
    pub fn on_peer_down(&mut self) {
        if self.state != FollowerState::Truncating {
            self.reopen_soon();
        }
    }

    /// The leader's answer.
    pub fn on_open_reply(&mut self, reply: &OpenReply, log: &LogView<'_>) -> OpenStep {
        let is_of_attempt = self.state == FollowerState::Opening
            && (reply.leader_epoch, reply.stream) == (self.epoch, self.stream);
        if !is_of_attempt {
            return OpenStep::Wait;
        }
        match reply.outcome {
            OpenOutcome::Start { offset, high_watermark, log_start } => {
                if offset != log.log_end {
                    return OpenStep::Wait;
                }
                self.state = FollowerState::CatchingUp;
                self.open_at_us = None;
                self.learn(high_watermark, log_start, log.log_end);
                OpenStep::Stream
            }
            OpenOutcome::Diverge { epoch, end } => {
                let own_end = log.end_at_or_below(epoch).map_or(log.log_end, |(_, end)| end);
                self.truncating(end.min(own_end).min(log.log_end).max(log.log_start))
            }
            OpenOutcome::OutOfRange { log_start } => {
                let step = self.truncating(log_start);
                let OpenStep::Truncate { to, is_below_high_watermark } = step else { return step };
                OpenStep::Restart { at: to, is_below_high_watermark }
            }
            // The metadata is on its way to the leader; it is often there within milliseconds.
            OpenOutcome::UnknownEpoch | OpenOutcome::NotLeader
                if self.early_opens < REPLICA_EARLY_OPENS =>
            {
                self.early_opens += 1;
                self.open_at_us = Some(0);
                OpenStep::Wait
            }
            OpenOutcome::Fenced
            | OpenOutcome::UnknownEpoch
            | OpenOutcome::NotLeader
            | OpenOutcome::NotReplica => OpenStep::Wait,
        }
    }

    fn truncating(&mut self, to: Offset) -> OpenStep {
        self.state = FollowerState::Truncating;
        self.open_at_us = None;
        let is_below_high_watermark = to < self.high_watermark;
        self.high_watermark = self.high_watermark.min(to);
        OpenStep::Truncate { to, is_below_high_watermark }
    }

    /// The log is damaged: nothing of it is acknowledged before it was cut and fetched anew from
    /// the leader, which is there. `mend_from` follows, or `on_cut_failed`.
    pub fn await_mending(&mut self) {
        assert!(self.state != FollowerState::Opening);
        assert!(self.acked.is_none());
        self.state = FollowerState::Truncating;
        self.open_at_us = None;
    }

    /// The log is to be cut at `to` and fetched anew from there. Then comes `on_truncated`.
    pub fn mend_from(&mut self, to: Offset) -> Offset {
        assert!(self.state == FollowerState::Truncating);
        self.high_watermark = self.high_watermark.min(to);
        to
    }

    /// The attempt to be fed that is under way, and its epoch.
    pub fn attempt(&self) -> (LeaderEpoch, StreamId) {
        (self.epoch, self.stream)
    }

    /// The log was cut as asked, and a crash brings nothing of it back.
    pub fn on_truncated(&mut self, log: &LogView<'_>, now: Now) -> Open {
        assert!(self.state == FollowerState::Truncating);
        self.state = FollowerState::Opening;
        self.open(log, now)
    }

    /// The log could not be cut, for want of room or because the broker stops: it is as it was.
    pub fn on_cut_failed(&mut self, now: Now) {
        if self.state == FollowerState::Truncating {
            self.reopen_soon();
            self.open_at_us = Some(now.deadline_us(REPLICA_OPEN_RETRY_MS));
        }
    }

    /// Batches have come, `size` bytes of them.
    pub fn on_push(&mut self, head: &PushHead, size: usize, log_end: Offset) -> PushVerdict {
        if !self.is_streaming(head.leader_epoch, head.stream) {
            return PushVerdict::Stale;
        }
        if head.from != log_end {
            self.reopen_soon();
            return PushVerdict::Reopen;
        }
        self.taken_bytes += size as u64;
        PushVerdict::Append
    }

    /// What the head of an appended push says of the leader, with the log end since. True when the
    /// high watermark rose.
    pub fn on_appended(&mut self, head: &PushHead, log_end: Offset) -> bool {
        assert!(log_end > head.from);
        self.learn(head.high_watermark, head.log_start, log_end)
    }

    /// Batches of a push could not be appended: `tick` opens again, after a pause.
    pub fn on_append_failed(&mut self, now: Now) {
        self.reopen_soon();
        self.open_at_us = Some(now.deadline_us(REPLICA_OPEN_RETRY_MS));
    }

    /// The leader says what is committed. True when the high watermark rose.
    pub fn on_high_watermark(&mut self, beat: &HighWatermark, log_end: Offset) -> bool {
        self.is_streaming(beat.leader_epoch, beat.stream)
            && self.learn(beat.high_watermark, beat.log_start, log_end)
    }

    /// The leader has ended a stream. Returns the Open to send.
    pub fn on_close(&mut self, close: &Close, log: &LogView<'_>, now: Now) -> Option<Open> {
        if (close.leader_epoch, close.stream) != (self.epoch, self.stream) {
            return None;
        }
        if self.state == FollowerState::Truncating {
            return None;
        }
        match close.reason {
            CloseReason::Reopen => Some(self.open(log, now)),
            CloseReason::Resigned => {
                self.reopen_soon();
                self.open_at_us = Some(now.deadline_us(REPLICA_OPEN_RETRY_MS));
                None
            }
        }
    }

    /// Bytes that were taken and make no room at the leader yet.
    pub fn owed_bytes(&self) -> u64 {
        self.taken_bytes - self.granted_bytes
    }

    /// Lets the next Ack make room for so many more bytes.
    pub fn grant(&mut self, bytes: u64) {
        assert!(bytes <= self.owed_bytes());
        self.granted_bytes += bytes;
    }

    /// What the log says now: its end, and how much of it is as safe as the topic asks for. Returns
    /// the Ack to send, if it says anything new; so one call per round of completions is enough.
    pub fn on_ends(&mut self, ends: LogEnds) -> Option<Ack> {
        let LogEnds { log_start, received, flushed } = ends;
        assert!(flushed <= received);
        if !matches!(self.state, FollowerState::CatchingUp | FollowerState::InSync) {
            return None;
        }
        // A topic that asks for more than before makes less of the same log safe.
        let flushed = self.acked.map_or(flushed, |before| flushed.max(before.flushed));
        let ack = Ack {
            leader_epoch: self.epoch,
            stream: self.stream,
            broker_epoch: self.broker_epoch,
            received,
            flushed,
            taken_bytes: self.granted_bytes,
            log_start,
        };
        if self.acked == Some(ack) {
            return None;
        }
        assert!(self.acked.is_none_or(|before| received >= before.received));
        self.acked = Some(ack);
        Some(ack)
    }

    fn is_streaming(&self, epoch: LeaderEpoch, stream: StreamId) -> bool {
        let is_open = matches!(self.state, FollowerState::CatchingUp | FollowerState::InSync);
        is_open && (epoch, stream) == (self.epoch, self.stream)
    }

    fn reopen_soon(&mut self) {
        self.state = FollowerState::Opening;
        // No answer to the attempt before is waited for any more.
        self.stream = StreamId(self.stream.0 + 1);
        self.open_at_us = Some(0);
    }

    fn learn(&mut self, high_watermark: Offset, log_start: Offset, log_end: Offset) -> bool {
        self.leader_log_start = self.leader_log_start.max(log_start);
        self.state = match log_end >= high_watermark {
            true => FollowerState::InSync,
            false => FollowerState::CatchingUp,
        };
        let known = high_watermark.min(log_end);
        assert!(self.high_watermark <= log_end);
        let has_risen = known > self.high_watermark;
        self.high_watermark = self.high_watermark.max(known);
        has_risen
    }
}
