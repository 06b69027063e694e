//! Connections to other brokers without their sockets: one for frames, a few for calls.
//!
//! Why apart: requests on one connection are answered in order, and a call may wait for the quorum,
//! whose own messages must not wait behind it. Frames get no answer and keep their order while
//! their connection lives; whoever sends them copes with the loss of those that were under way. A
//! call has a connection to itself until it is answered.
//!
//! Each connection begins with a [`Hello`], so that a wrong address, another cluster or a copied
//! data directory is refused by name before anything else is said.
//!
//! Invariants
//! - At most one connection for frames and `PEER_CALLS_MAX` for calls to each broker.
//! - What waits for a connection to come up is at most `PEER_QUEUE_BYTES_MAX`.

use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, CoreId};
use crate::model::limits::{
    PEER_CALLS_MAX, PEER_CONNECT_MS, PEER_QUEUE_BYTES_MAX, PEER_REFUSALS_MAX, PEER_RETRY_MS_MAX,
    PEER_RETRY_MS_MIN,
};
use crate::model::listeners::Endpoint;
use crate::protocol::frame::{self, ResponseHeader};
use crate::protocol::part::Part;
use crate::protocol::peer::{
    FrameHead, Hello, PEER_CLIENT, PEER_VERSION_MAX, PEER_VERSION_MIN, PeerKind, Welcome,
};
use crate::protocol::primitive::{DecodeError, EncodeError, Reader};
use crate::protocol::schema::{Message, Request};
use crate::shard::metadata::CONTROLLER_CORE;
use crate::shard::presence::{LinkEnd, Presence};
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use hashbrown::HashSet;
use slab::Slab;
use std::collections::BTreeMap;

/// A connection to another broker; `generation` tells a reused place from its former owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    pub index: usize,
    pub generation: u64,
}

/// The name, on this side alone, of a bootstrap server: of it nothing is known but its place in
/// `controller.quorum.bootstrap.servers`. It is asked as any client would, without an introduction.
pub fn stranger(index: usize) -> BrokerId {
    BrokerId(i32::try_from(index).map_or(i32::MIN, |index| FIRST_STRANGER.saturating_sub(index)))
}

const FIRST_STRANGER: i32 = -2;

fn is_stranger(broker: BrokerId) -> bool {
    broker.0 <= FIRST_STRANGER
}

/// What the driver should do with a connection to another broker.
#[derive(Debug)]
pub enum LinkCommand {
    /// Connect, and say `on_link_up` or `on_link_down`.
    Open {
        link: LinkId,
        address: Endpoint,
    },
    Send {
        link: LinkId,
        parts: Vec<Part>,
    },
    /// Close at once; `on_link_down` need not be said.
    Close {
        link: LinkId,
    },
}

/// Another broker's core, as it introduced itself on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerId {
    pub broker: BrokerId,
    pub core: CoreId,
    /// Given by registration; -1 before it.
    pub broker_epoch: i64,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("no address of broker {} is known", .0.0)]
    NoAddress(BrokerId),
    #[error("the connection to broker {} was lost or could not be made", .0.0)]
    Lost(BrokerId),
    #[error("broker {} refuses this one: {reason}", .to.0)]
    Refused { to: BrokerId, reason: String },
    #[error("broker {} did not answer in time", .0.0)]
    TimedOut(BrokerId),
    #[error("{PEER_CALLS_MAX} calls to broker {} are under way already", .0.0)]
    Busy(BrokerId),
    #[error("the answer of broker {} cannot be read: {cause}", .from.0)]
    Unreadable { from: BrokerId, cause: DecodeError },
    #[error("the request cannot be written: {0}")]
    Unwritable(EncodeError),
}

/// The receiving end of a call.
type Answer = oneshot::Receiver<Result<Bytes, PeerError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Greeting,
    Up,
}

enum Use {
    Frames,
    Call(Option<oneshot::Sender<Result<Bytes, PeerError>>>),
}

struct Link {
    id: LinkId,
    to: BrokerId,
    stage: Stage,
    purpose: Use,
    /// What leaves once the connection is up.
    queue: Vec<Part>,
    queued_bytes: usize,
    /// When waiting for the connection, the welcome or the answer ends; none for frames that flow.
    deadline_us: Option<u64>,
}

/// How one broker is reached.
#[derive(Default)]
struct Reach {
    frames: Option<usize>,
    /// Connections for calls that nobody uses at the moment.
    idle: Vec<usize>,
    calls: usize,
    failures: u32,
    /// No new attempt before.
    retry_us: u64,
    presence: Presence,
    /// Said in the log already.
    complaint: Option<String>,
}

/// Connections of one core to other brokers.
#[derive(Default)]
pub struct Peers {
    links: Slab<Link>,
    opened: u64,
    reaches: BTreeMap<BrokerId, Reach>,
    /// Where voters are reached, as others told; for as long as the metadata does not say.
    pub learnt: BTreeMap<BrokerId, Endpoint>,
    /// Brokers that were refused at the door, and why.
    pub refused: HashSet<(i32, KafkaCode)>,
}

impl Peers {
    fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(id.index).filter(|link| link.id == id)
    }

    /// Whether a connection is still wanted; it may have been given up while it was being made, and
    /// its place be another's by now.
    pub fn is_open(&self, id: LinkId) -> bool {
        self.links.get(id.index).is_some_and(|link| link.id == id)
    }

    /// When `tick_peers` has something to do, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        let links = self.links.iter().filter_map(|(_, link)| link.deadline_us);
        let is_idle = |reach: &&Reach| reach.frames.is_none();
        let reaches = self.reaches.values().filter(is_idle);
        links.chain(reaches.filter_map(|reach| reach.presence.probe_us())).min().unwrap_or(u64::MAX)
    }

    /// Whether connections say that the process with this registration has ended.
    pub(super) fn is_gone(&self, broker: BrokerId, epoch: BrokerEpoch) -> bool {
        self.reaches.get(&broker).is_some_and(|reach| reach.presence.is_gone(epoch))
    }

    /// A registration or heartbeat has come from there: it is worth another attempt.
    pub(super) fn on_heard(&mut self, broker: BrokerId, now: Now) {
        if let Some(reach) = self.reaches.get_mut(&broker) {
            reach.presence.on_heard(now);
            reach.failures = 0;
            reach.retry_us = 0;
        }
    }

    fn is_any_up(&self, broker: BrokerId) -> bool {
        self.links.iter().any(|(_, link)| link.to == broker && link.stage == Stage::Up)
    }

    fn reach(&mut self, broker: BrokerId) -> &mut Reach {
        self.reaches.entry(broker).or_default()
    }
}

/// Sends a request and waits for its answer, at most `timeout_ms`.
///
/// # Errors
/// There is no answer, or it cannot be read. Whether the request took effect is not known, unless
/// the error is [`PeerError::NoAddress`], [`PeerError::Busy`] or [`PeerError::Refused`].
pub async fn call<D: Disk, R: Request>(
    shard: &ShardRef<D>,
    to: BrokerId,
    request: &R,
    timeout_ms: u64,
) -> Result<R::Response, PeerError> {
    let version = *R::VERSIONS.end();
    let sent = frame::encode_request(request, version, 0, Some(PEER_CLIENT))
        .map_err(PeerError::Unwritable)?;
    let answer = forward(shard, to, sent.parts, timeout_ms).await?;
    let unreadable = |cause| PeerError::Unreadable { from: to, cause };
    let mut reader = Reader::new(&answer);
    ResponseHeader::decode(&mut reader, R::KEY, version).map_err(unreadable)?;
    R::Response::decode(&mut reader, version).map_err(unreadable)
}

/// Sends a request as its client framed it; the answer is as the client will read it, without its
/// length (KIP-590).
///
/// # Errors
/// As [`call`].
pub async fn forward<D: Disk>(
    shard: &ShardRef<D>,
    to: BrokerId,
    frame: Vec<Part>,
    timeout_ms: u64,
) -> Result<Bytes, PeerError> {
    let answer = shard.borrow_mut().begin_call(to, frame, timeout_ms)?;
    answer.await.unwrap_or(Err(PeerError::Lost(to)))
}

impl<D: Disk> Shard<D> {
    /// Sends a frame to a core of another broker. False when it is dropped: the broker is not
    /// reached at the moment, or too much waits for it already.
    pub fn send_peer(
        &mut self,
        to: BrokerId,
        core: CoreId,
        kind: PeerKind,
        payload: &[Part],
    ) -> bool {
        let head = FrameHead { kind, from: self.core, to: core };
        let Ok(frame) = head.encode(payload) else { return false };
        let index = match self.peers.reach(to).frames {
            Some(index) => index,
            None => match self.open_link(to, Use::Frames) {
                Ok(index) => {
                    self.peers.reach(to).frames = Some(index);
                    index
                }
                Err(_) => return false,
            },
        };
        let link = &mut self.peers.links[index];
        let id = link.id;
        if link.stage == Stage::Up {
            self.outbox.links.push(LinkCommand::Send { link: id, parts: frame.parts });
            self.outbox.raise();
            return true;
        }
        if link.queued_bytes + frame.size > PEER_QUEUE_BYTES_MAX {
            return false;
        }
        link.queued_bytes += frame.size;
        link.queue.extend(frame.parts);
        true
    }

    /// True while frames to this broker leave at once.
    pub fn is_peer_up(&self, broker: BrokerId) -> bool {
        let frames = self.peers.reaches.get(&broker).and_then(|reach| reach.frames);
        frames.is_some_and(|index| self.peers.links[index].stage == Stage::Up)
    }

    fn begin_call(
        &mut self,
        to: BrokerId,
        parts: Vec<Part>,
        timeout_ms: u64,
    ) -> Result<Answer, PeerError> {
        let (sender, receiver) = oneshot::channel();
        let deadline_us = Some(self.now.deadline_us(timeout_ms));
        if let Some(index) = self.peers.reach(to).idle.pop() {
            let link = &mut self.peers.links[index];
            link.purpose = Use::Call(Some(sender));
            link.deadline_us = deadline_us;
            self.outbox.links.push(LinkCommand::Send { link: link.id, parts });
            self.outbox.raise();
            return Ok(receiver);
        }
        if self.peers.reach(to).calls >= PEER_CALLS_MAX {
            return Err(PeerError::Busy(to));
        }
        let index = self.open_link(to, Use::Call(Some(sender)))?;
        self.peers.reach(to).calls += 1;
        let link = &mut self.peers.links[index];
        link.queue = parts;
        link.deadline_us = deadline_us;
        Ok(receiver)
    }

    fn open_link(&mut self, to: BrokerId, purpose: Use) -> Result<usize, PeerError> {
        let now_us = self.now.monotonic_us;
        if self.peers.reach(to).retry_us > now_us {
            return Err(PeerError::Lost(to));
        }
        let address = self.peer_address(to).ok_or(PeerError::NoAddress(to))?;
        self.peers.opened += 1;
        let entry = self.peers.links.vacant_entry();
        let id = LinkId { index: entry.key(), generation: self.peers.opened };
        entry.insert(Link {
            id,
            to,
            stage: Stage::Connecting,
            purpose,
            queue: Vec::new(),
            queued_bytes: 0,
            deadline_us: Some(self.now.deadline_us(PEER_CONNECT_MS)),
        });
        self.outbox.links.push(LinkCommand::Open { link: id, address });
        self.outbox.raise();
        Ok(id.index)
    }

    /// Where another broker is reached, as far as it is known.
    pub(super) fn peer_address(&self, broker: BrokerId) -> Option<Endpoint> {
        let cluster = &self.config.cluster;
        if is_stranger(broker) {
            let index = usize::try_from(i64::from(FIRST_STRANGER) - i64::from(broker.0)).ok()?;
            return cluster.bootstrap.get(index).cloned();
        }
        let registered = self.image.node(broker);
        let registered = registered.and_then(|node| node.peer_endpoint(&cluster.peer_listener));
        let voter = || cluster.voters.iter().find(|voter| voter.id == broker);
        let known = registered.or_else(|| Some(&voter()?.endpoint));
        known.or_else(|| self.peers.learnt.get(&broker)).cloned()
    }

    /// The driver has connected: the other broker is told who calls.
    pub fn on_link_up(&mut self, id: LinkId) {
        let hello = Hello {
            version_min: PEER_VERSION_MIN,
            version_max: PEER_VERSION_MAX,
            cluster: self.image.cluster_id().unwrap_or(self.cluster_id),
            from: self.image.local(),
            core: self.core,
            broker_epoch: self.image.node(self.image.local()).map_or(-1, |own| own.epoch().0),
            directory: self.directory_id,
            to: BrokerId(-1),
        };
        let Some(link) = self.peers.get(id) else { return };
        assert!(link.stage == Stage::Connecting);
        if is_stranger(link.to) {
            return self.greeted(id);
        }
        link.stage = Stage::Greeting;
        let parts = Hello { to: link.to, ..hello }.encode().parts;
        self.outbox.links.push(LinkCommand::Send { link: id, parts });
        self.outbox.raise();
    }

    /// Bytes came from another broker; false when the connection is of no use any more.
    pub fn on_link_bytes(&mut self, id: LinkId, received: &mut BytesMut) -> bool {
        let frame_bytes_max = self.config.frame_bytes_max;
        while let Some(link) = self.peers.get(id) {
            let to = link.to;
            match frame::next_frame(received, frame_bytes_max) {
                Ok(None) => return true,
                Ok(Some(frame)) => self.on_link_frame(id, &frame),
                Err(error) => self.lose(id, &PeerError::Lost(to), &error.to_string()),
            }
        }
        false
    }

    fn on_link_frame(&mut self, id: LinkId, frame: &Bytes) {
        let Some(link) = self.peers.get(id) else { return };
        let to = link.to;
        match (&mut link.purpose, link.stage) {
            (_, Stage::Connecting) => unreachable!("nothing is sent before on_link_up"),
            (_, Stage::Greeting) => match Welcome::decode(frame) {
                Ok(welcome) if welcome.code == KafkaCode::None => self.greeted(id),
                Ok(welcome) => {
                    let reason = welcome.message;
                    self.lose(id, &PeerError::Refused { to, reason: reason.clone() }, &reason);
                }
                Err(error) => {
                    let cause = error.to_string();
                    self.lose(id, &PeerError::Unreadable { from: to, cause: error }, &cause);
                }
            },
            (Use::Call(waiting), Stage::Up) => {
                if let Some(sender) = waiting.take() {
                    link.deadline_us = None;
                    drop(sender.send(Ok(frame.clone()))); // The caller may have gone.
                    self.peers.reach(to).idle.push(id.index);
                }
            }
            (Use::Frames, Stage::Up) => {
                self.lose(id, &PeerError::Lost(to), "an answer to what has none");
            }
        }
    }

    /// Logs what is wrong with another broker, once for each code however often it comes back.
    pub fn complain_of(&mut self, broker: i32, code: KafkaCode, message: &str) {
        let refused = &mut self.peers.refused;
        if refused.len() < PEER_REFUSALS_MAX && refused.insert((broker, code)) {
            tracing::error!(code = code.name(), "{message}");
        }
    }

    /// The other broker takes what we have for it.
    fn greeted(&mut self, id: LinkId) {
        let Some(link) = self.peers.get(id) else { return };
        link.stage = Stage::Up;
        let parts = std::mem::take(&mut link.queue);
        link.queued_bytes = 0;
        let to = link.to;
        if matches!(link.purpose, Use::Frames) {
            link.deadline_us = None;
        }
        if !parts.is_empty() {
            self.outbox.links.push(LinkCommand::Send { link: id, parts });
            self.outbox.raise();
        }
        let reach = self.peers.reach(to);
        if reach.complaint.take().is_some() {
            tracing::info!(broker = to.0, "broker is reached again");
        }
        reach.failures = 0;
        reach.retry_us = 0;
        reach.presence.on_welcomed();
    }

    /// The connection could not be made, or is gone.
    pub fn on_link_down(&mut self, id: LinkId, end: LinkEnd, cause: &str) {
        let Some(link) = self.peers.get(id) else { return };
        let error = PeerError::Lost(link.to);
        // A call's connection that nobody uses may be closed by the other side at any time.
        let was_idle = link.stage == Stage::Up && matches!(link.purpose, Use::Call(None));
        match was_idle {
            true => self.remove_link(id, end, &error),
            false => self.lose_to(id, end, &error, cause),
        }
    }

    /// Gives up a connection for a reason; what waits for it is told `error`.
    fn lose(&mut self, id: LinkId, error: &PeerError, cause: &str) {
        self.lose_to(id, LinkEnd::Failed, error, cause);
    }

    fn lose_to(&mut self, id: LinkId, end: LinkEnd, error: &PeerError, cause: &str) {
        let Some(link) = self.peers.get(id) else { return };
        let (to, was_up) = (link.to, link.stage == Stage::Up);
        self.remove_link(id, end, error);
        self.outbox.links.push(LinkCommand::Close { link: id });
        self.outbox.raise();
        if was_up {
            tracing::debug!(broker = to.0, cause, "connection to a broker is given up");
            return;
        }
        let now = self.now;
        let reach = self.peers.reach(to);
        let pause_ms = (PEER_RETRY_MS_MIN << reach.failures.min(16)).min(PEER_RETRY_MS_MAX);
        reach.failures += 1;
        reach.retry_us = now.deadline_us(pause_ms);
        if reach.complaint.as_deref() != Some(cause) {
            tracing::warn!(broker = to.0, cause, "broker is not reached");
            reach.complaint = Some(cause.to_owned());
        }
    }

    fn remove_link(&mut self, id: LinkId, end: LinkEnd, error: &PeerError) {
        let link = self.peers.links.remove(id.index);
        self.judge_end(link.to, link.stage, end);
        let reach = self.peers.reach(link.to);
        match link.purpose {
            Use::Frames => {
                reach.frames = None;
                self.on_peer_down(link.to);
                self.on_quorum_peer_down(link.to);
            }
            Use::Call(waiting) => {
                reach.calls -= 1;
                reach.idle.retain(|index| *index != id.index);
                if let Some(sender) = waiting {
                    drop(sender.send(Err(error.clone()))); // The caller may have gone.
                }
            }
        }
    }

    /// What the end of a connection says of the broker's process.
    fn judge_end(&mut self, to: BrokerId, stage: Stage, end: LinkEnd) {
        // Who answers at a bootstrap server is not known until it is a broker by its id.
        if self.core != CONTROLLER_CORE || is_stranger(to) {
            return;
        }
        let now = self.now;
        let epoch = self.image.node(to).map(|node| node.epoch());
        let is_any_up = self.peers.is_any_up(to);
        let presence = &mut self.peers.reach(to).presence;
        match stage {
            Stage::Up if is_any_up => {}
            Stage::Up => presence.on_lost(end, epoch, now),
            Stage::Connecting | Stage::Greeting => {
                if presence.on_unreached(end, now) {
                    tracing::warn!(broker = to.0, "its process has ended: nobody listens there");
                    self.on_quorum_peer_gone(to);
                    self.signals.controller.raise();
                }
            }
        }
    }

    /// Tries to reach again those whose connections were closed.
    fn probe_peers(&mut self) {
        let now_us = self.now.monotonic_us;
        let is_due = |reach: &Reach| {
            reach.frames.is_none() && reach.presence.probe_us().is_some_and(|due| due <= now_us)
        };
        let due = self.peers.reaches.iter().filter(|(_, reach)| is_due(reach));
        let due: Vec<BrokerId> = due.map(|(to, _)| *to).collect();
        for to in due {
            self.peers.reach(to).retry_us = 0;
            match self.open_link(to, Use::Frames) {
                Ok(index) => self.peers.reach(to).frames = Some(index),
                // It is registered no more.
                Err(_) => self.peers.reach(to).presence = Presence::Unknown,
            }
        }
    }

    /// Ends what has waited long enough.
    pub(super) fn tick_peers(&mut self) {
        let now_us = self.now.monotonic_us;
        let is_due = |link: &&Link| link.deadline_us.is_some_and(|deadline| deadline <= now_us);
        let links = self.peers.links.iter().map(|(_, link)| link);
        let due: Vec<(LinkId, BrokerId)> =
            links.filter(is_due).map(|link| (link.id, link.to)).collect();
        for (id, to) in due {
            self.lose(id, &PeerError::TimedOut(to), "no answer in time");
        }
        self.probe_peers();
    }
}
