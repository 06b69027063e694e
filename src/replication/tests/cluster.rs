//! Three replicas of a partition, a controller, and a network that loses and delays: one seed
//! decides everything. What must hold is in `promises`.
//!
//! A log is a list of records with an end up to which it is durable; a crash takes any part of what
//! lies behind. Frames of one connection keep their order, frames of a connection that broke may
//! still come later. The controller commits at once, and brokers hear of it late.

use super::{at_ms, offset, promises};
use crate::model::clock::Now;
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use crate::replication::LogView;
use crate::replication::follower::{FollowerReplica, LogEnds, OpenStep, PushVerdict};
use crate::replication::leader::{
    IsrProposal, LeaderReplica, LeaderStart, PartitionState, ProposalOutcome, PushFailure, Replica,
};
use crate::replication::messages::{Body, Open, OpenOutcome, OpenReply, StreamId};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

mod controlling;
mod network;

pub(super) const BROKERS: usize = 3;
const LAG_MAX_MS: u64 = 6000;
const RECORD_BYTES: usize = 12;

/// A fault to plant: each must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Acks and pushes count whatever epoch and stream they are of.
    SkipEpochCheck,
    /// A follower says that it has made safe what it has in memory.
    AcknowledgeBeforeSync,
    /// The controller takes any broker that is alive as the leader.
    ElectOutsideIsr,
    /// A follower goes on at its log end without asking whether its last records are the leader's.
    DropTruncation,
}

/// Numbers from a seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 up to, but not including, `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: i32,
    pub(super) value: u64,
}

pub(super) enum Role {
    Idle,
    Leader(Box<LeaderReplica>),
    Follower { follower: FollowerReplica, leader: usize, cut_to: Option<Offset> },
}

pub(super) struct Broker {
    pub(super) is_up: bool,
    broker_epoch: i64,
    pub(super) log: Vec<Record>,
    pub(super) durable: usize,
    pub(super) role: Role,
    /// As known before the role was taken up.
    high_watermark: Offset,
    /// How much of the controller's history it has applied.
    seen: usize,
    /// Appended by it as the leader, and not answered: offset and value.
    waiting: Vec<(usize, u64)>,
    /// Of the last Open that this broker, as the leader, has answered for each follower.
    fed: [StreamId; BROKERS],
    /// Of the last Open that this broker has sent.
    opened: StreamId,
}

/// What the controller has committed.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    partition_epoch: i32,
    pub(super) leader: Option<usize>,
    pub(super) leader_epoch: i32,
    pub(super) isr: Vec<usize>,
    registered: [i64; BROKERS],
    is_fenced: [bool; BROKERS],
}

struct Alter {
    from: usize,
    broker_epoch: i64,
    proposal: IsrProposal,
}

pub(super) struct World {
    pub(super) dice: Dice,
    now_ms: u64,
    pub(super) brokers: Vec<Broker>,
    /// Connections from one broker to another, the current one last.
    links: BTreeMap<(usize, usize), Vec<VecDeque<Bytes>>>,
    pub(super) history: Vec<Metadata>,
    alters: Vec<Alter>,
    answers: Vec<(Alter, ProposalOutcome)>,
    pub(super) committed: Vec<Record>,
    /// Offset and value of what a client was told.
    pub(super) acked: Vec<(usize, u64)>,
    next_value: u64,
    fault: Fault,
    min_isr: usize,
    /// Hears nothing of the controller for now.
    deaf: usize,
    /// Nothing comes through from one to the other for now.
    stalled: (usize, usize),
    is_healing: bool,
}

fn id(broker: usize) -> BrokerId {
    BrokerId(i32::try_from(broker).unwrap())
}

fn index(id: BrokerId) -> usize {
    usize::try_from(id.0).unwrap()
}

fn end_of(log: &[Record], epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
    let last = log.last()?;
    if epoch.0 > last.epoch {
        return None;
    }
    let end = log.partition_point(|record| record.epoch <= epoch.0);
    let found = log[..end].last().map_or(epoch.0, |record| record.epoch);
    Some((LeaderEpoch(found), offset(end as u64)))
}

fn with_view<T>(log: &[Record], use_view: impl FnOnce(&LogView<'_>) -> T) -> T {
    use_view(&LogView {
        log_start: Offset::ZERO,
        log_end: offset(log.len() as u64),
        last_epoch: log.last().map(|record| LeaderEpoch(record.epoch)),
        end_of_epoch: &|epoch| end_of(log, epoch),
    })
}

impl Broker {
    pub(super) fn high_watermark(&self) -> usize {
        let end = match &self.role {
            Role::Idle => self.high_watermark,
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower { follower, .. } => follower.high_watermark(),
        };
        usize::try_from(end.get()).unwrap()
    }

    fn end(&self) -> Offset {
        offset(self.log.len() as u64)
    }

    fn safe_end(&self) -> Offset {
        offset(self.durable as u64)
    }
}

impl World {
    pub(super) fn new(seed: u64, fault: Fault) -> World {
        let mut dice = Dice(seed);
        let broker = |_| Broker {
            is_up: true,
            broker_epoch: 1,
            log: Vec::new(),
            durable: 0,
            role: Role::Idle,
            high_watermark: Offset::ZERO,
            seen: 0,
            waiting: Vec::new(),
            fed: [StreamId(0); BROKERS],
            opened: StreamId(0),
        };
        let first = Metadata {
            partition_epoch: 0,
            leader: Some(0),
            leader_epoch: 0,
            isr: vec![0, 1, 2],
            registered: [1; BROKERS],
            is_fenced: [false; BROKERS],
        };
        let min_isr = 1 + dice.below(2);
        World {
            dice,
            now_ms: 1,
            brokers: (0..BROKERS).map(broker).collect(),
            links: BTreeMap::new(),
            history: vec![first],
            alters: Vec::new(),
            answers: Vec::new(),
            committed: Vec::new(),
            acked: Vec::new(),
            next_value: 0,
            fault,
            min_isr,
            deaf: BROKERS,
            stalled: (BROKERS, BROKERS),
            is_healing: false,
        }
    }

    fn now(&self) -> Now {
        at_ms(self.now_ms)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.history.last().unwrap()
    }

    /// One thing happens somewhere.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.now_ms += self.dice.below(80) as u64;
        let broker = self.dice.below(BROKERS);
        match self.dice.below(100) {
            0..=27 => self.deliver_any()?,
            28..=47 => self.produce(broker),
            48..=65 => self.flush(broker),
            66..=73 => self.tick(broker),
            74..=83 => {
                self.recover(broker);
                if self.dice.one_in(25) {
                    self.deaf = self.dice.below(BROKERS + 1);
                }
                if broker != self.deaf {
                    self.hear(broker);
                    self.tick(broker);
                }
            }
            84..=86 => self.finish_cut(broker),
            87..=92 => self.decide_or_answer(),
            93..=94 => self.break_link(),
            95 => self.toggle_power(broker),
            96..=97 => self.fence_or_not(broker),
            _ => self.now_ms += 400,
        }
        self.settle()
    }

    /// Everything works again; true when all replicas are the same and in sync.
    pub(super) fn heal(&mut self) -> Result<bool, String> {
        self.is_healing = true;
        for _ in 0..600 {
            self.now_ms += 50;
            for broker in 0..BROKERS {
                if !self.brokers[broker].is_up {
                    self.toggle_power(broker);
                }
                if self.metadata().is_fenced[broker] {
                    self.unfence(broker);
                }
                self.hear(broker);
                self.finish_cut(broker);
                self.brokers[broker].durable = self.brokers[broker].log.len();
                self.flush(broker);
                self.tick(broker);
            }
            while self.links.values().flatten().any(|link| !link.is_empty()) {
                self.deliver_any()?;
            }
            while !self.alters.is_empty() || !self.answers.is_empty() {
                self.decide_or_answer();
            }
            self.settle()?;
            if promises::has_converged(self) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What follows from the last event: pushes, proposals and answers to clients.
    fn settle(&mut self) -> Result<(), String> {
        for broker in 0..BROKERS {
            self.pump(broker);
            let high_watermark = self.brokers[broker].high_watermark();
            let at = &mut self.brokers[broker];
            if matches!(at.role, Role::Leader(_)) {
                let is_done = |(offset, _): &(usize, u64)| *offset < high_watermark;
                self.acked.extend(at.waiting.iter().copied().filter(is_done));
                at.waiting.retain(|waiter| !is_done(waiter));
            }
        }
        promises::check(self)
    }

    fn deliver(&mut self, from: usize, to: usize, body: Body) -> Result<(), String> {
        let now = self.now();
        match body {
            Body::Open(open) => self.on_open(from, to, open),
            Body::Ack(mut ack) => {
                let Role::Leader(leader) = &mut self.brokers[to].role else { return Ok(()) };
                if self.fault == Fault::SkipEpochCheck {
                    ack.leader_epoch = leader.epoch();
                    ack.stream = self.brokers[to].fed[from];
                }
                let Role::Leader(leader) = &mut self.brokers[to].role else { return Ok(()) };
                leader.on_ack(id(from), &ack, now);
            }
            Body::OpenReply(reply) => return self.on_open_reply(to, reply),
            Body::Push(mut head, batches) => {
                let opened = self.brokers[to].opened;
                let at = &mut self.brokers[to];
                let (log_end, log) = (at.end(), &mut at.log);
                let Role::Follower { follower, .. } = &mut at.role else { return Ok(()) };
                if self.fault == Fault::SkipEpochCheck {
                    (head.leader_epoch, head.stream) = (follower.epoch(), opened);
                }
                match follower.on_push(&head, batches.len(), log_end) {
                    PushVerdict::Append => {
                        append(log, batches)?;
                        let end = offset(log.len() as u64);
                        follower.on_appended(&head, end);
                        self.acknowledge(to);
                    }
                    PushVerdict::Reopen => self.tick(to),
                    PushVerdict::Stale => {}
                }
            }
            Body::HighWatermark(beat) => {
                let log_end = self.brokers[to].end();
                if let Role::Follower { follower, .. } = &mut self.brokers[to].role {
                    follower.on_high_watermark(&beat, log_end);
                }
            }
            Body::Close(close) => {
                let at = &mut self.brokers[to];
                let Role::Follower { follower, leader, .. } = &mut at.role else { return Ok(()) };
                let leader = *leader;
                let open = with_view(&at.log, |log| follower.on_close(&close, log, now));
                self.send_open(to, leader, open);
            }
        }
        Ok(())
    }

    fn on_open(&mut self, from: usize, to: usize, mut open: Open) {
        let now = self.now();
        let at = &mut self.brokers[to];
        if self.fault == Fault::DropTruncation && open.log_end <= at.end() {
            open.last_epoch = None;
        }
        let reply = match &mut at.role {
            Role::Leader(leader) => {
                with_view(&at.log, |log| leader.on_open(id(from), &open, log, now))
            }
            _ => OpenReply {
                leader_epoch: open.leader_epoch,
                stream: open.stream,
                outcome: OpenOutcome::NotLeader,
            },
        };
        if matches!(reply.outcome, OpenOutcome::Start { .. }) {
            at.fed[from] = open.stream;
        }
        self.send(to, from, Body::OpenReply(reply));
    }

    fn on_open_reply(&mut self, to: usize, reply: OpenReply) -> Result<(), String> {
        let at = &mut self.brokers[to];
        let Role::Follower { follower, cut_to, .. } = &mut at.role else { return Ok(()) };
        match with_view(&at.log, |log| follower.on_open_reply(&reply, log)) {
            OpenStep::Wait => {}
            OpenStep::Stream => self.acknowledge(to),
            OpenStep::Truncate { to: end, is_below_high_watermark }
            | OpenStep::Restart { at: end, is_below_high_watermark } => {
                *cut_to = Some(end);
                if is_below_high_watermark {
                    return Err(format!("{to} cuts below its high watermark, to {end}"));
                }
            }
        }
        Ok(())
    }

    fn send_open(&mut self, from: usize, to: usize, open: Option<Open>) {
        if let Some(open) = open {
            self.brokers[from].opened = open.stream;
            self.send(from, to, Body::Open(open));
        }
    }

    fn acknowledge(&mut self, broker: usize) {
        let at = &mut self.brokers[broker];
        let (received, mut flushed) = (at.end(), at.safe_end());
        if self.fault == Fault::AcknowledgeBeforeSync {
            flushed = received;
        }
        let ends = LogEnds { log_start: Offset::ZERO, received, flushed };
        let Role::Follower { follower, leader, .. } = &mut at.role else { return };
        let leader = *leader;
        follower.grant(follower.owed_bytes());
        if let Some(ack) = follower.on_ends(ends) {
            self.send(broker, leader, Body::Ack(ack));
        }
    }

    fn produce(&mut self, broker: usize) {
        let at = &mut self.brokers[broker];
        let Role::Leader(leader) = &mut at.role else { return };
        if !at.is_up || leader.is_below_min_isr() || self.next_value >= 300 {
            return;
        }
        at.waiting.push((at.log.len(), self.next_value));
        at.log.push(Record { epoch: leader.epoch().0, value: self.next_value });
        self.next_value += 1;
        leader.on_local(offset(at.log.len() as u64), offset(at.durable as u64));
    }

    fn flush(&mut self, broker: usize) {
        let at = &mut self.brokers[broker];
        if !at.is_up {
            return;
        }
        at.durable += self.dice.below(at.log.len() - at.durable + 1);
        if let Role::Leader(leader) = &mut at.role {
            leader.on_local(offset(at.log.len() as u64), offset(at.durable as u64));
        }
        self.acknowledge(broker);
    }

    fn tick(&mut self, broker: usize) {
        let now = self.now();
        let at = &mut self.brokers[broker];
        if !at.is_up {
            return;
        }
        match &mut at.role {
            Role::Idle => {}
            Role::Leader(leader) => {
                let mut bodies: Vec<(BrokerId, Body)> = Vec::new();
                bodies.extend(leader.tick(now).into_iter().map(|(to, it)| (to, Body::Close(it))));
                while let Some((to, beat)) = leader.next_beat(Offset::ZERO) {
                    bodies.push((to, Body::HighWatermark(beat)));
                }
                for (to, body) in bodies {
                    self.send(broker, index(to), body);
                }
            }
            Role::Follower { follower, leader, .. } => {
                let leader = *leader;
                let open = with_view(&at.log, |log| follower.tick(log, now));
                self.send_open(broker, leader, open);
            }
        }
    }

    /// Pushes what a leader has for others, and proposes.
    fn pump(&mut self, broker: usize) {
        let now = self.now();
        if !self.brokers[broker].is_up {
            return;
        }
        loop {
            let at = &mut self.brokers[broker];
            let Role::Leader(leader) = &mut at.role else { return };
            let Some(order) = leader.next_push(usize::MAX) else { break };
            if self.dice.one_in(20) {
                leader.push_failed(&order, PushFailure::NoRoom);
                break;
            }
            let from = usize::try_from(order.from.get()).unwrap();
            let end = at.log.len().min(from + 1 + self.dice.below(5));
            let mut batches = BytesMut::new();
            for record in &at.log[from..end] {
                batches.put_i32_le(record.epoch);
                batches.put_u64_le(record.value);
            }
            let head = leader.push_head(&order, Offset::ZERO).unwrap();
            leader.pushed(&order, &head, (offset(end as u64), batches.len()), now);
            self.send(broker, index(order.to), Body::Push(head, batches.freeze()));
        }
        let at = &mut self.brokers[broker];
        let Role::Leader(leader) = &mut at.role else { return };
        if let Some(proposal) = leader.proposal(now) {
            let broker_epoch = at.broker_epoch;
            self.alters.push(Alter { from: broker, broker_epoch, proposal });
        }
    }

    fn finish_cut(&mut self, broker: usize) {
        let now = self.now();
        let at = &mut self.brokers[broker];
        let Role::Follower { follower, leader, cut_to } = &mut at.role else { return };
        let Some(end) = cut_to.take() else { return };
        at.log.truncate(usize::try_from(end.get()).unwrap());
        at.durable = at.durable.min(at.log.len());
        let leader = *leader;
        let open = with_view(&at.log, |log| follower.on_truncated(log, now));
        self.send_open(broker, leader, Some(open));
    }

    /// A broker takes in more of what the controller has committed.
    fn hear(&mut self, broker: usize) {
        let now = self.now();
        let (last, min_isr) = (self.history.len() - 1, self.min_isr);
        let at = &mut self.brokers[broker];
        if !at.is_up {
            return;
        }
        at.seen += self.dice.below(last - at.seen + 1).max((last - at.seen).min(1));
        let metadata = self.history[at.seen].clone();
        at.high_watermark = offset(at.high_watermark() as u64);
        let replica = |peer: usize| Replica {
            id: id(peer),
            broker_epoch: (!metadata.is_fenced[peer])
                .then_some(BrokerEpoch(metadata.registered[peer])),
        };
        let state = PartitionState {
            partition_epoch: metadata.partition_epoch,
            replicas: (0..BROKERS).map(replica).collect(),
            isr: metadata.isr.iter().copied().map(id).collect(),
            min_isr,
        };
        let epoch = LeaderEpoch(metadata.leader_epoch);
        match (metadata.leader, &mut at.role) {
            (Some(leader), Role::Leader(leading))
                if leader == broker && leading.epoch() == epoch =>
            {
                leading.on_partition_state(&state, now);
            }
            (Some(_), Role::Follower { follower, .. }) if follower.epoch() == epoch => {}
            (Some(leader), role) if leader == broker => {
                at.waiting.clear();
                let start = LeaderStart {
                    local: id(broker),
                    epoch,
                    epoch_start: offset(at.log.len() as u64),
                    log_end: offset(at.log.len() as u64),
                    safe_end: offset(at.durable as u64),
                    high_watermark: at.high_watermark,
                    lag_max_ms: LAG_MAX_MS,
                    now,
                };
                *role = Role::Leader(Box::new(LeaderReplica::new(start, &state)));
            }
            (Some(leader), role) => {
                at.waiting.clear();
                let broker_epoch = BrokerEpoch(at.broker_epoch);
                let follower = FollowerReplica::new(epoch, broker_epoch, at.high_watermark);
                *role = Role::Follower { follower, leader, cut_to: None };
            }
            (None, role) => {
                at.waiting.clear();
                *role = Role::Idle;
            }
        }
    }
}

fn append(log: &mut Vec<Record>, mut batches: Bytes) -> Result<(), String> {
    while batches.len() >= RECORD_BYTES {
        let record = Record { epoch: batches.get_i32_le(), value: batches.get_u64_le() };
        if log.last().is_some_and(|last| last.epoch > record.epoch) {
            return Err(format!("epochs fall: {record:?} behind {:?}", log.last()));
        }
        log.push(record);
    }
    Ok(())
}
