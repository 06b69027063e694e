//! One core at work: carries bytes, messages and time into the shard, and its outbox out.
//!
//! ```text
//! socket ─▶ reader task ─▶ on_bytes ─▶ shard ─▶ outbox ─▶ drain task ─▶ sendmsg, mesh, new tasks
//! mesh   ─▶ lane task   ─▶ on_message ─┘  ▲
//! timer  ─▶ ticker      ─▶ tick ──────────┘
//! ```
//! Readers, loops and lanes only put work into the shard; one drain task per core empties the
//! outbox after all of them had their turn. So one group commit takes what many connections sent,
//! a burst of answers leaves a connection in one system call, and a mesh hop carries a batch.
//!
//! The executor may go to sleep with a runnable task after a preemption (glommio 0.9), so the
//! ticker wakes it every `TICK_BUSY_MS` while anything happens at all.
//!
//! Invariant: no borrow of the shard is held across an await, nor while a task is spawned: glommio
//! runs a new task at once.

use super::clock::Clock;
use super::disk::LocalDisk;
use super::lookout::{self, Lookout};
use super::mesh::{Incoming, Mesh};
use super::peer::{Inbox, Peer, Sent};
use super::peer_links::{self, PeerLinks};
use super::sockets::{Accepted, Acceptor};
use crate::api::dispatch::{self, ReadState};
use crate::model::ids::CoreId;
use crate::model::limits::{CONNECTION_UNSENT_BYTES_MAX, READ_BUFFER_BYTES};
use crate::protocol::part::Part;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::ShardMessage;
use crate::shard::peers::LinkCommand;
use crate::shard::routing;
use crate::shard::shard::ShardRef;
use crate::shard::signal::Signal;
use crate::shard::stages::Stamp;
use bytes::BytesMut;
use futures::future::{LocalBoxFuture, select};
use glommio::Task;
use glommio::timer::Timer;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Longest time between ticks while something happens, in milliseconds.
const TICK_BUSY_MS: u64 = 5;

/// Longest time between ticks of an idle core, in milliseconds.
const TICK_IDLE_MS: u64 = 100;

/// Pause after an accept that failed, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often connections are looked at for idleness, as a part of the allowed time.
const IDLE_CHECKS: u64 = 4;

/// Unsent bytes of a connection below which its reading goes on.
const UNSENT_BYTES_LOW: usize = CONNECTION_UNSENT_BYTES_MAX / 2;

/// The shard of the serving driver.
pub(super) type LocalShard = ShardRef<LocalDisk>;

/// Everything of one core that its tasks share.
pub(super) struct Driver {
    pub(super) shard: LocalShard,
    pub(super) clock: Clock,
    mesh: Mesh<ShardMessage>,
    /// By the index of the connection's id.
    peers: RefCell<Vec<Option<Rc<Peer>>>>,
    /// Connections to other brokers.
    pub(super) links: PeerLinks,
    /// Readers that wait for the mesh.
    held: RefCell<Vec<Rc<Peer>>>,
    /// Received into by all connections in turn.
    pub(super) shared: RefCell<BytesMut>,
    /// The outbox of the last drain, kept for its capacity.
    leaving: RefCell<Leaving>,
    /// Dropping them closes the listening sockets.
    accepting: RefCell<Vec<Task<()>>>,
    pub(super) lookout: Lookout,
    is_stopping: Cell<bool>,
    /// Events since the start; the ticker compares.
    events: Cell<u64>,
    is_idle: Cell<bool>,
    awake: Signal,
}

#[derive(Default)]
struct Leaving {
    ready: Vec<ConnectionId>,
    close: Vec<ConnectionId>,
    mesh: Vec<(CoreId, ShardMessage)>,
    links: Vec<LinkCommand>,
    tasks: Vec<LocalBoxFuture<'static, ()>>,
}

impl Leaving {
    fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.close.is_empty()
            && self.mesh.is_empty()
            && self.links.is_empty()
            && self.tasks.is_empty()
    }
}

impl Driver {
    /// A driver around a shard; `start` gives it life.
    pub(super) fn new(shard: LocalShard, clock: Clock, mesh: Mesh<ShardMessage>) -> Rc<Driver> {
        Rc::new(Driver {
            shard,
            clock,
            mesh,
            peers: RefCell::default(),
            links: PeerLinks::default(),
            held: RefCell::default(),
            shared: RefCell::new(BytesMut::with_capacity(READ_BUFFER_BYTES)),
            leaving: RefCell::default(),
            accepting: RefCell::default(),
            lookout: Lookout::default(),
            is_stopping: Cell::new(false),
            events: Cell::new(0),
            is_idle: Cell::new(false),
            awake: Signal::default(),
        })
    }

    /// Starts the tasks that every core has: drain, ticker, one per queue to and from other cores.
    pub(super) fn start(self: &Rc<Driver>, incoming: Incoming<ShardMessage>) {
        spawn(drain_loop(Rc::clone(self)));
        spawn(tick_loop(Rc::clone(self)));
        spawn(mesh_room_loop(Rc::clone(self)));
        for to in self.mesh.others() {
            let driver = Rc::clone(self);
            spawn(async move { driver.mesh.send_backlog(to).await });
        }
        for (from, receiver) in incoming {
            let driver = Rc::clone(self);
            spawn(async move {
                while let Some(batch) = receiver.recv().await {
                    driver.on_event();
                    for message in batch {
                        routing::on_message(&driver.shard, from, message);
                    }
                }
            });
        }
    }

    /// Takes connections from `acceptors`; closes those that fall silent for `idle_ms`.
    pub(super) fn serve(self: &Rc<Driver>, acceptors: Vec<Acceptor>, idle_ms: Option<u64>) {
        let accept = |acceptor| glommio::spawn_local(accept_loop(Rc::clone(self), acceptor));
        self.accepting.replace(acceptors.into_iter().map(accept).collect());
        if let Some(idle_ms) = idle_ms {
            spawn(idle_loop(Rc::clone(self), idle_ms));
        }
    }

    /// Takes no more connections and no more frames; answers still leave.
    pub(super) fn stop_serving(&self) {
        self.is_stopping.set(true);
        self.shard.borrow_mut().is_stopping = true;
        self.accepting.take();
    }

    /// True while a produce waits for its commit, or an answer for its socket.
    pub(super) fn has_answers_to_come(&self) -> bool {
        !self.shard.borrow().produces.is_empty()
            || self.peers.borrow().iter().flatten().any(|peer| peer.unsent_bytes() > 0)
    }

    /// The time, for whatever comes next.
    pub(super) fn on_event(&self) -> Stamp {
        let (now, ns) = self.clock.now_and_ns();
        self.shard.borrow_mut().set_now(now);
        self.events.set(self.events.get().wrapping_add(1));
        if self.is_idle.replace(false) {
            self.awake.raise();
        }
        Stamp::at(ns)
    }

    /// Carries out everything in the outbox, including what that leads to.
    fn drain(self: &Rc<Driver>) {
        loop {
            dispatch::settle(&self.shard);
            let mut leaving = self.leaving.take();
            {
                let outbox = &mut self.shard.borrow_mut().outbox;
                std::mem::swap(&mut leaving.ready, &mut outbox.ready);
                std::mem::swap(&mut leaving.close, &mut outbox.close);
                std::mem::swap(&mut leaving.mesh, &mut outbox.mesh);
                std::mem::swap(&mut leaving.links, &mut outbox.links);
                std::mem::swap(&mut leaving.tasks, &mut outbox.tasks);
            }
            let is_done = leaving.is_empty();
            self.mesh.send(leaving.mesh.drain(..));
            leaving.tasks.drain(..).for_each(spawn);
            leaving.links.drain(..).for_each(|command| self.carry_out(command));
            for id in leaving.ready.drain(..) {
                let parts = self.shard.borrow_mut().take_output(id);
                self.send(id, parts);
            }
            for id in leaving.close.drain(..) {
                if let Some(peer) = self.peer(id) {
                    peer.close();
                }
            }
            self.leaving.replace(leaving);
            if is_done {
                return;
            }
        }
    }

    fn carry_out(self: &Rc<Driver>, command: LinkCommand) {
        match command {
            LinkCommand::Open { link, address } => {
                spawn(peer_links::run(Rc::clone(self), link, address));
            }
            LinkCommand::Send { link, parts } => {
                if let Some((peer, Sent::NeedsWriter)) = self.links.send(link, parts) {
                    spawn(async move { peer.write_rest(UNSENT_BYTES_LOW).await });
                }
            }
            LinkCommand::Close { link } => self.links.close(link),
        }
    }

    fn send(self: &Rc<Driver>, id: ConnectionId, parts: Vec<Part>) {
        let Some(peer) = self.peer(id) else { return };
        peer.active_us.set(self.shard.borrow().now.monotonic_us);
        let sent = peer.send(parts);
        self.shard.borrow_mut().on_sent(id);
        match sent {
            Sent::All | Sent::Queued => {}
            Sent::NeedsWriter => spawn(async move { peer.write_rest(UNSENT_BYTES_LOW).await }),
        }
    }

    fn peer(&self, id: ConnectionId) -> Option<Rc<Peer>> {
        let peers = self.peers.borrow();
        peers.get(id.index)?.as_ref().filter(|peer| peer.id == id).cloned()
    }

    fn add_peer(&self, peer: &Rc<Peer>) {
        let mut peers = self.peers.borrow_mut();
        if peers.len() <= peer.id.index {
            peers.resize(peer.id.index + 1, None);
        }
        assert!(peers[peer.id.index].is_none(), "an id is given back before it is used again");
        peers[peer.id.index] = Some(Rc::clone(peer));
    }

    fn remove_peer(&self, peer: &Peer) {
        self.shard.borrow_mut().on_disconnect(peer.id);
        let removed = self.peers.borrow_mut()[peer.id.index].take();
        assert!(removed.is_some_and(|removed| removed.id == peer.id));
    }
}

/// Runs a task of this core. It ends by itself or with the executor.
fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

async fn drain_loop(driver: Rc<Driver>) {
    let signal = driver.shard.borrow().outbox.signal();
    loop {
        signal.wait().await;
        driver.on_event();
        driver.drain();
    }
}

/// Ticks at deadlines, often while anything happens, seldom when nothing does.
async fn tick_loop(driver: Rc<Driver>) {
    let mut seen = driver.events.get();
    loop {
        let is_busy = driver.events.get() != seen;
        seen = driver.events.get();
        driver.is_idle.set(!is_busy);
        let longest_ms = if is_busy { TICK_BUSY_MS } else { TICK_IDLE_MS };
        let until_us = {
            let mut shard = driver.shard.borrow_mut();
            shard.set_now(driver.clock.now());
            shard.tick();
            shard.next_deadline_us().saturating_sub(shard.now.monotonic_us)
        };
        let wait_us = until_us.clamp(1000, longest_ms * 1000);
        let timer = pin!(Timer::new(Duration::from_micros(wait_us)));
        select(timer, pin!(driver.awake.wait())).await;
    }
}

/// Lets readers go on once other cores have caught up.
async fn mesh_room_loop(driver: Rc<Driver>) {
    let room = driver.mesh.room();
    loop {
        room.wait().await;
        if !driver.mesh.is_pressed() {
            driver.held.take().iter().for_each(|peer| peer.room.raise());
        }
    }
}

/// Closes connections that were silent for too long (`connections.max.idle.ms`).
async fn idle_loop(driver: Rc<Driver>, idle_ms: u64) {
    let pause = Duration::from_millis((idle_ms / IDLE_CHECKS).clamp(100, 60_000));
    loop {
        Timer::new(pause).await;
        let now_us = driver.clock.now().monotonic_us;
        let silent_since_us = now_us.saturating_sub(idle_ms.saturating_mul(1000));
        let peers: Vec<Rc<Peer>> = driver.peers.borrow().iter().flatten().cloned().collect();
        for peer in peers {
            if peer.active_us.get() < silent_since_us {
                peer.break_off();
            }
        }
    }
}

async fn accept_loop(driver: Rc<Driver>, acceptor: Acceptor) {
    loop {
        match acceptor.accept().await {
            Ok(accepted) => spawn(serve_connection(Rc::clone(&driver), accepted)),
            Err(error) => {
                tracing::warn!(%error, "accept");
                Timer::new(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection from its first byte to its last.
async fn serve_connection(driver: Rc<Driver>, accepted: Accepted) {
    driver.on_event();
    let id = driver.shard.borrow_mut().on_connect(accepted.local, accepted.peer);
    let Some(id) = id else { return }; // Refused: dropping the stream closes it.
    let now_us = driver.shard.borrow().now.monotonic_us;
    let peer = Rc::new(Peer::new(id, accepted.stream, now_us));
    driver.add_peer(&peer);
    if let Err(error) = read_frames(&driver, &peer).await {
        tracing::debug!(peer = %accepted.peer, %error, "connection lost");
        peer.break_off();
    }
    // The answer that closes it may not have been handed over yet.
    driver.drain();
    while peer.unsent_bytes() > 0 {
        peer.room.wait().await;
    }
    driver.on_event();
    driver.remove_peer(&peer);
}

/// Hands frames to the shard as fast as it takes them; ends when the connection does.
async fn read_frames(driver: &Rc<Driver>, peer: &Rc<Peer>) -> std::io::Result<()> {
    let mut inbox = Inbox::default();
    let mut is_part_of_a_frame = false;
    loop {
        while peer.unsent_bytes() > CONNECTION_UNSENT_BYTES_MAX {
            peer.room.wait().await;
        }
        while driver.mesh.is_pressed() {
            driver.held.borrow_mut().push(Rc::clone(peer));
            peer.room.wait().await;
        }
        lookout::look(driver, peer).await;
        if peer.receive(&driver.shared, &mut inbox).await? == 0 {
            return Ok(());
        }
        let received = driver.on_event();
        driver.lookout.on_received(peer.id, driver.shard.borrow().now.monotonic_us);
        if !is_part_of_a_frame {
            driver.shard.borrow_mut().on_received(peer.id, received);
        }
        if driver.is_stopping.get() {
            // The process ends soon; until then the connection stays for the answers still due.
            return std::future::pending().await;
        }
        let unread = inbox.bytes.len();
        peer.active_us.set(driver.shard.borrow().now.monotonic_us);
        loop {
            match dispatch::on_bytes(&driver.shard, peer.id, &mut inbox.bytes) {
                ReadState::NeedMore => break,
                ReadState::Paused(resume) => {
                    resume.wait().await;
                    driver.on_event();
                    peer.active_us.set(driver.shard.borrow().now.monotonic_us);
                }
                ReadState::Closed => return Ok(()),
            }
        }
        is_part_of_a_frame = !inbox.bytes.is_empty();
        if is_part_of_a_frame && inbox.bytes.len() < unread {
            driver.shard.borrow_mut().on_received(peer.id, received);
        }
        inbox.unpin();
    }
}
