//! The leader of one partition: how far each follower is, what is committed, what to push next,
//! and which replicas ought to count as in sync.
//!
//! ```text
//!  log start      high watermark         safe end            log end
//!  |---- committed ------|-- safe here, not everywhere --|-- in memory --|
//! ```
//! The *maximal* in-sync replicas are those that the controller has committed, and those that a
//! proposal under way would add. One that it would remove still counts: until the controller has
//! answered, either may be true (KIP-497).
//!
//! Invariants
//! - The high watermark never falls, and never passes what a maximal in-sync replica has made safe
//!   in this epoch. It rises only while the committed ones are `min.insync.replicas` (KIP-966).
//! - Nothing of another epoch, of another stream or of an unknown broker moves anything.
//! - One proposal is under way at a time.
//! - Without followers, nothing is done but to take the safe end as the high watermark.

use crate::model::clock::Now;
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use crate::model::limits::{ISR_PROPOSAL_RETRY_MS, PUSH_BYTES_MAX};
use crate::replication::LogView;
use crate::replication::messages::{
    Ack, Close, CloseReason, HighWatermark, Open, OpenOutcome, OpenReply, PushHead, StreamId,
};
use crate::replication::progress::Follower;

/// What a broker knows of its log when it begins to lead.
#[derive(Debug, Clone, Copy)]
pub struct LeaderStart {
    pub local: BrokerId,
    pub epoch: LeaderEpoch,
    /// Log end at which the epoch begins.
    pub epoch_start: Offset,
    pub log_end: Offset,
    /// Everything below is as safe here as the topic asks for.
    pub safe_end: Offset,
    /// As far as this replica knew it before, or as a checkpoint has it.
    pub high_watermark: Offset,
    /// `replica.lag.time.max.ms`.
    pub lag_max_ms: u64,
    pub now: Now,
}

/// What the controller says of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub partition_epoch: i32,
    pub replicas: Vec<Replica>,
    pub isr: Vec<BrokerId>,
    /// `min.insync.replicas`; counts as the number of replicas where that is smaller.
    pub min_isr: usize,
}

/// One replica as the controller knows its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    pub id: BrokerId,
    /// `None` when the broker is fenced or shutting down, and may not join the in-sync replicas.
    pub broker_epoch: Option<BrokerEpoch>,
}

/// What the controller shall make the in-sync replicas (AlterPartition).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    pub leader_epoch: LeaderEpoch,
    /// The state that this changes; another one makes the proposal void.
    pub partition_epoch: i32,
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposalOutcome {
    Accepted {
        partition_epoch: i32,
        isr: Vec<BrokerId>,
    },
    /// Refused for certain, and the state is still the one that the proposal was made for.
    Refused,
    /// The controller's state is another one: it comes with the metadata, and until then the
    /// proposal may have been what changed it (INVALID_UPDATE_VERSION, FENCED_LEADER_EPOCH).
    Superseded,
    /// No answer came: it may or may not be committed, so the same is proposed again.
    Unknown,
}

/// The order to read batches and to send them. Nothing is noted before `pushed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOrder {
    pub to: BrokerId,
    pub stream: StreamId,
    /// Log end of the follower, once it has what is on its way.
    pub from: Offset,
    /// At least one batch goes, however large.
    pub bytes_max: usize,
}

/// One follower's progress, for metrics and ListPartitionReassignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerProgress {
    pub id: BrokerId,
    pub is_in_sync: bool,
    pub is_open: bool,
    /// `None` before its first Ack in this epoch.
    pub flushed: Option<Offset>,
    /// Records that it lacks, or has not made safe.
    pub lag_records: u64,
    /// Since it had everything.
    pub lag_ms: u64,
}

#[derive(Debug)]
struct Pending {
    proposal: IsrProposal,
    /// The state to come decides; or the same is proposed again.
    is_superseded: bool,
    is_under_way: bool,
}

/// A partition's leader. One per partition that this core leads; a new one for each epoch.
#[derive(Debug)]
pub struct LeaderReplica {
    local: BrokerId,
    epoch: LeaderEpoch,
    epoch_start: Offset,
    log_end: Offset,
    safe_end: Offset,
    high_watermark: Offset,
    lag_max_us: u64,
    min_isr: usize,
    partition_epoch: i32,
    local_broker_epoch: Option<BrokerEpoch>,
    isr: Vec<BrokerId>,
    pending: Option<Pending>,
    propose_not_before_us: u64,
    followers: Vec<Follower>,
    /// Index of the follower whose turn it is to be fed.
    turn: usize,
}

impl LeaderReplica {
    /// Begins to lead. Only acknowledgements of this epoch count from here on.
    pub fn new(start: LeaderStart, state: &PartitionState) -> LeaderReplica {
        assert!(start.safe_end <= start.log_end);
        assert!(start.epoch_start <= start.log_end);
        let mut leader = LeaderReplica {
            local: start.local,
            epoch: start.epoch,
            epoch_start: start.epoch_start,
            log_end: start.log_end,
            safe_end: start.safe_end,
            high_watermark: start.high_watermark.min(start.log_end),
            lag_max_us: start.lag_max_ms.saturating_mul(1000),
            min_isr: state.min_isr,
            partition_epoch: state.partition_epoch,
            local_broker_epoch: None,
            isr: state.isr.clone(),
            pending: None,
            propose_not_before_us: 0,
            followers: Vec::new(),
            turn: 0,
        };
        leader.take_replicas(&state.replicas, start.now);
        leader.advance();
        leader
    }

    /// The epoch that this leads in.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// First offset that is not committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The in-sync replicas that the controller has committed.
    pub fn isr(&self) -> &[BrokerId] {
        &self.isr
    }

    /// True when nobody follows: the safe end is the high watermark.
    pub fn is_alone(&self) -> bool {
        self.followers.is_empty()
    }

    /// True when a produce with acks=all must be refused (NOT_ENOUGH_REPLICAS), and one that is
    /// committed now is answered NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    pub fn is_below_min_isr(&self) -> bool {
        self.isr.len() < self.min_isr.min(self.followers.len() + 1)
    }

    /// The log has grown or become safer. True when the high watermark rose.
    pub fn on_local(&mut self, log_end: Offset, safe_end: Offset) -> bool {
        assert!(safe_end <= log_end);
        assert!(log_end >= self.log_end);
        self.log_end = log_end;
        self.safe_end = safe_end;
        self.advance()
    }

    /// A follower wants to be fed.
    pub fn on_open(
        &mut self,
        from: BrokerId,
        open: &Open,
        log: &LogView<'_>,
        now: Now,
    ) -> OpenReply {
        let outcome = self.open_outcome(from, open, log);
        if let OpenOutcome::Start { offset, .. } = outcome
            && let Some(follower) = self.follower(from)
        {
            follower.start(offset, now);
        }
        OpenReply { leader_epoch: open.leader_epoch, stream: open.stream, outcome }
    }

    fn open_outcome(&mut self, from: BrokerId, open: &Open, log: &LogView<'_>) -> OpenOutcome {
        assert!(log.log_end >= self.log_end);
        if open.leader_epoch < self.epoch {
            return OpenOutcome::Fenced;
        }
        if open.leader_epoch > self.epoch {
            return OpenOutcome::UnknownEpoch;
        }
        let high_watermark = self.high_watermark;
        let Some(follower) = self.follower(from) else { return OpenOutcome::NotReplica };
        if !follower.is_newest((open.broker_epoch, open.stream)) {
            return OpenOutcome::NotReplica;
        }
        if let Some(last_epoch) = open.last_epoch {
            let Some((epoch, end)) = log.end_at_or_below(last_epoch) else {
                // Nothing here to compare with.
                return OpenOutcome::OutOfRange { log_start: log.log_start };
            };
            if epoch < last_epoch || open.log_end > end {
                return OpenOutcome::Diverge { epoch, end };
            }
        }
        if open.log_end < log.log_start || open.log_end > log.log_end {
            return OpenOutcome::OutOfRange { log_start: log.log_start };
        }
        OpenOutcome::Start { offset: open.log_end, high_watermark, log_start: log.log_start }
    }

    /// A follower says how far it is. True when the high watermark rose.
    pub fn on_ack(&mut self, from: BrokerId, ack: &Ack, now: Now) -> bool {
        let log_end = self.log_end;
        if ack.leader_epoch != self.epoch {
            return false;
        }
        let Some(follower) = self.follower(from) else { return false };
        let is_of_stream = follower.stream.is_some_and(|stream| {
            (stream.broker_epoch, stream.id) == (ack.broker_epoch, ack.stream)
        });
        if !is_of_stream {
            return false;
        }
        if !follower.on_ack(ack, log_end, now) {
            follower.end();
            return false;
        }
        self.advance()
    }

    /// The connection to a broker is gone, and frames with it.
    pub fn on_peer_down(&mut self, from: BrokerId) {
        if let Some(follower) = self.follower(from) {
            follower.end();
        }
    }

    /// What to push next, taking turns among the followers that have room; `None` when all have
    /// everything or none has room. Each follower has one order at a time, until `pushed` or
    /// `push_failed`. Those that are not in sync get `out_of_sync_bytes_max` (KIP-73).
    pub fn next_push(&mut self, out_of_sync_bytes_max: usize) -> Option<PushOrder> {
        let count = self.followers.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let follower = &mut self.followers[index];
            let bytes_max = match self.isr.contains(&follower.id) {
                true => PUSH_BYTES_MAX,
                false => PUSH_BYTES_MAX.min(out_of_sync_bytes_max),
            };
            let room = follower.room().min(bytes_max);
            let Some(stream) = &mut follower.stream else { continue };
            if room == 0 || stream.sent >= self.log_end {
                continue;
            }
            stream.is_reading = true;
            self.turn = index + 1;
            return Some(PushOrder {
                to: follower.id,
                stream: stream.id,
                from: stream.sent,
                bytes_max: room,
            });
        }
        None
    }

    /// The head of a push to send now; `None` when the stream has ended since the order.
    pub fn push_head(&self, order: &PushOrder, log_start: Offset) -> Option<PushHead> {
        let follower = self.followers.iter().find(|follower| follower.id == order.to)?;
        let stream = follower.stream.filter(|stream| stream.id == order.stream)?;
        assert!(stream.sent == order.from);
        Some(PushHead {
            leader_epoch: self.epoch,
            stream: stream.id,
            from: order.from,
            high_watermark: self.high_watermark,
            log_start,
        })
    }

    /// What was sent: `bytes` of batches, up to `end`, with `head`.
    pub fn pushed(
        &mut self,
        order: &PushOrder,
        head: &PushHead,
        (end, bytes): (Offset, usize),
        now: Now,
    ) {
        assert!(end <= self.log_end);
        let Some(follower) = self.follower(order.to) else { return };
        if follower.stream.is_none_or(|stream| stream.id != order.stream) {
            return;
        }
        follower.pushed(end, bytes, now);
        if let Some(stream) = &mut follower.stream {
            stream.high_watermark_sent = head.high_watermark;
            stream.log_start_sent = head.log_start;
        }
    }

    /// An order came to nothing. Without room to send it is given again; what cannot be read from
    /// where the follower is makes it open anew.
    pub fn push_failed(&mut self, order: &PushOrder, failure: PushFailure) {
        let Some(follower) = self.follower(order.to) else { return };
        let Some(stream) = &mut follower.stream else { return };
        if stream.id != order.stream {
            return;
        }
        stream.is_reading = false;
        match failure {
            PushFailure::NoRoom => {}
            PushFailure::NotReadable => follower.end(),
        }
    }

    /// The next follower that has everything but does not know the high watermark or the log
    /// start. To be sent at leisure; pushes carry both anyway.
    pub fn next_beat(&mut self, log_start: Offset) -> Option<(BrokerId, HighWatermark)> {
        let (log_end, high_watermark) = (self.log_end, self.high_watermark);
        let leader_epoch = self.epoch;
        self.followers.iter_mut().find_map(|follower| {
            let stream = follower.stream.as_mut()?;
            let known = (stream.high_watermark_sent, stream.log_start_sent);
            if stream.sent < log_end || known == (high_watermark, log_start) {
                return None;
            }
            stream.high_watermark_sent = high_watermark;
            stream.log_start_sent = log_start;
            let stream = stream.id;
            Some((follower.id, HighWatermark { leader_epoch, stream, high_watermark, log_start }))
        })
    }

    /// Lets time pass, at least once a second: ends silent streams; returns whom to tell.
    pub fn tick(&mut self, now: Now) -> Vec<(BrokerId, Close)> {
        let mut closes = Vec::new();
        for follower in &mut self.followers {
            follower.note_idle(self.log_end, now);
            if follower.is_silent(now) {
                follower.end();
            }
            if let Some(stream) = follower.ended_due(now) {
                let reason = CloseReason::Reopen;
                closes.push((follower.id, Close { leader_epoch: self.epoch, stream, reason }));
            }
        }
        closes
    }

    /// Ends all streams: this broker leads no more. Returns whom to tell.
    pub fn resign(&mut self) -> Vec<(BrokerId, Close)> {
        let leader_epoch = self.epoch;
        let streams = self.followers.iter_mut().filter_map(|follower| {
            let stream = follower.stream.take()?.id;
            let reason = CloseReason::Resigned;
            Some((follower.id, Close { leader_epoch, stream, reason }))
        });
        streams.collect()
    }

    /// The next change of the in-sync replicas to send to the controller; `None` when they are
    /// right, or a proposal is under way. Ask at each tick and when a follower has acknowledged.
    pub fn proposal(&mut self, now: Now) -> Option<IsrProposal> {
        if self.followers.is_empty() {
            return None;
        }
        if now.monotonic_us < self.propose_not_before_us {
            return None;
        }
        if let Some(pending) = &mut self.pending {
            if pending.is_under_way || pending.is_superseded {
                return None;
            }
            pending.is_under_way = true;
            return Some(pending.proposal.clone());
        }
        let isr = self.wanted_isr(now)?;
        assert!(isr[0].0 == self.local && isr.len() <= self.followers.len() + 1);
        let proposal =
            IsrProposal { leader_epoch: self.epoch, partition_epoch: self.partition_epoch, isr };
        self.pending =
            Some(Pending { proposal: proposal.clone(), is_superseded: false, is_under_way: true });
        Some(proposal)
    }

    /// The controller's answer to the proposal under way. True when the high watermark rose.
    pub fn on_proposal(
        &mut self,
        proposal: &IsrProposal,
        outcome: ProposalOutcome,
        now: Now,
    ) -> bool {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.proposal == *proposal)
        else {
            return false;
        };
        pending.is_under_way = false;
        match outcome {
            ProposalOutcome::Accepted { partition_epoch, isr } => {
                if partition_epoch > self.partition_epoch {
                    self.partition_epoch = partition_epoch;
                    self.isr = isr;
                    self.pending = None;
                } else {
                    pending.is_superseded = true;
                }
            }
            ProposalOutcome::Superseded => pending.is_superseded = true,
            ProposalOutcome::Unknown => {
                self.propose_not_before_us = now.deadline_us(ISR_PROPOSAL_RETRY_MS);
            }
            ProposalOutcome::Refused => {
                self.pending = None;
                self.propose_not_before_us = now.deadline_us(ISR_PROPOSAL_RETRY_MS);
            }
        }
        self.advance()
    }

    /// What the metadata says of the partition now; an older state than is known changes nothing
    /// but who may join. True when the high watermark rose.
    pub fn on_partition_state(&mut self, state: &PartitionState, now: Now) -> bool {
        if state.partition_epoch < self.partition_epoch {
            return false;
        }
        if state.partition_epoch > self.partition_epoch {
            self.partition_epoch = state.partition_epoch;
            self.isr.clone_from(&state.isr);
            self.pending = None;
        }
        self.min_isr = state.min_isr;
        self.take_replicas(&state.replicas, now);
        self.advance()
    }

    /// How far the followers are.
    pub fn progress(&self, now: Now) -> impl Iterator<Item = FollowerProgress> + '_ {
        self.followers.iter().map(move |follower| FollowerProgress {
            id: follower.id,
            is_in_sync: self.isr.contains(&follower.id),
            is_open: follower.stream.is_some(),
            flushed: follower.flushed,
            lag_records: self.log_end.since(follower.flushed.unwrap_or(Offset::ZERO)),
            lag_ms: match follower.flushed {
                Some(flushed) if flushed >= self.log_end => 0,
                _ => follower.lag_us(now) / 1000,
            },
        })
    }

    /// In-sync followers whose log has `offset` or ends there, how far each has come, and its lag
    /// in microseconds: who may serve readers in this broker's place (KIP-392).
    pub fn readers_at(
        &self,
        offset: Offset,
        now: Now,
    ) -> impl Iterator<Item = (BrokerId, Offset, u64)> + '_ {
        let in_sync = self.followers.iter().filter(|follower| self.isr.contains(&follower.id));
        in_sync.filter_map(move |follower| {
            Some((follower.id, follower.received_if_it_has(offset)?, follower.lag_us(now)))
        })
    }

    /// Where all replicas begin that are up: this one at `own`, each follower as it told last.
    pub fn low_watermark(&self, own: Offset, is_up: impl Fn(BrokerId) -> bool) -> Offset {
        let followers = self.followers.iter().filter(|follower| is_up(follower.id));
        followers.map(Follower::log_start).fold(own, Offset::min)
    }

    /// True until all that leaders before this one committed is known to be committed: what is
    /// readable may lie behind what it was before the election.
    pub fn is_behind_predecessor(&self) -> bool {
        self.high_watermark < self.epoch_start
    }

    fn take_replicas(&mut self, replicas: &[Replica], now: Now) {
        let is_replica = |id: BrokerId| replicas.iter().any(|replica| replica.id == id);
        self.followers.retain(|follower| is_replica(follower.id));
        for replica in replicas {
            if replica.id == self.local {
                self.local_broker_epoch = replica.broker_epoch;
                continue;
            }
            if self.follower(replica.id).is_none() {
                self.followers.push(Follower::new(replica.id, self.log_end, now));
            }
            let follower = self.follower(replica.id).expect("just seen to be there");
            follower.broker_epoch = replica.broker_epoch;
        }
        assert!(self.followers.iter().all(|follower| follower.id != self.local));
    }

    fn follower(&mut self, id: BrokerId) -> Option<&mut Follower> {
        self.followers.iter_mut().find(|follower| follower.id == id)
    }

    /// The in-sync replicas as they ought to be, unless they are.
    fn wanted_isr(&self, now: Now) -> Option<Vec<(BrokerId, BrokerEpoch)>> {
        let mut isr = vec![(self.local, self.local_broker_epoch?)];
        let mut has_changed = false;
        for follower in &self.followers {
            let is_in_sync = self.isr.contains(&follower.id);
            let is_wanted = match is_in_sync {
                true => !self.is_lagging(follower, now),
                false => self.can_join(follower),
            };
            has_changed |= is_in_sync != is_wanted;
            if is_wanted {
                // One that is fenced leaves by the controller's own decision.
                isr.push((follower.id, follower.broker_epoch?));
            }
        }
        has_changed.then_some(isr)
    }

    fn is_lagging(&self, follower: &Follower, now: Now) -> bool {
        let has_all = follower.flushed.is_some_and(|flushed| flushed >= self.log_end);
        !has_all && follower.lag_us(now) > self.lag_max_us
    }

    /// Safe up to the high watermark and into this epoch, by the incarnation that the controller
    /// knows.
    fn can_join(&self, follower: &Follower) -> bool {
        let needed = self.high_watermark.max(self.epoch_start);
        follower.is_of_registered() && follower.flushed.is_some_and(|flushed| flushed >= needed)
    }

    /// Moves the high watermark to what is committed now; true when it rose.
    fn advance(&mut self) -> bool {
        let end = if self.followers.is_empty() { self.safe_end } else { self.committed_end() };
        if end <= self.high_watermark {
            return false;
        }
        self.high_watermark = end;
        assert!(self.high_watermark <= self.safe_end);
        true
    }

    fn committed_end(&self) -> Offset {
        if self.is_below_min_isr() {
            return self.high_watermark;
        }
        let proposed = self.pending.iter().flat_map(|pending| &pending.proposal.isr);
        let maximal = self.isr.iter().chain(proposed.map(|(id, _)| id));
        let mut end = self.safe_end;
        for id in maximal.filter(|id| **id != self.local) {
            let follower = self.followers.iter().find(|follower| follower.id == *id);
            let flushed = follower.and_then(|follower| follower.flushed);
            end = end.min(flushed.unwrap_or(Offset::ZERO));
        }
        end
    }
}

/// Why a push was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushFailure {
    /// The connection takes no more for now.
    NoRoom,
    /// The log has no batch for the order: deleted by now, or damaged.
    NotReadable,
}
