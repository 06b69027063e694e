//! Queues between cores: one bounded single-producer queue per ordered pair, in batches.
//!
//! A hop costs a wake of the other core (12 us when it is busy, 50 us and more when it sleeps), so
//! everything that one drain of the outbox has for a core travels as one batch. A queue that is
//! full keeps the rest here in order, and beyond `MESH_QUEUE_LEN` messages the core stops reading
//! its sockets until the others have caught up.
//!
//! Invariant: messages of one core to another arrive in the order in which they were sent.

use crate::model::ids::CoreId;
use crate::model::limits::MESH_QUEUE_LEN;
use crate::shard::signal::Signal;
use futures::future::{join, join_all};
use glommio::GlommioError;
use glommio::ResourceType;
use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Batches that one queue holds.
const BATCHES_MAX: usize = 256;

/// One core's ends of all its queues, made on the main thread and moved to the core's own.
pub(super) struct MeshEnds<M: Send> {
    core: CoreId,
    senders: Vec<Option<SharedSender<Vec<M>>>>,
    receivers: Vec<Option<SharedReceiver<Vec<M>>>>,
}

/// The ends for every core.
pub(super) fn ends<M: Send + 'static>(cores: u16) -> Vec<MeshEnds<M>> {
    let unjoined = |core| MeshEnds {
        core: CoreId(core),
        senders: (0..cores).map(|_| None).collect(),
        receivers: (0..cores).map(|_| None).collect(),
    };
    let mut all: Vec<MeshEnds<M>> = (0..cores).map(unjoined).collect();
    for from in 0..all.len() {
        for to in 0..all.len() {
            if from != to {
                let (sender, receiver) = new_bounded(BATCHES_MAX);
                all[from].senders[to] = Some(sender);
                all[to].receivers[from] = Some(receiver);
            }
        }
    }
    all
}

/// A core's incoming queues, by the core they come from.
pub(super) type Incoming<M> = Vec<(CoreId, ConnectedReceiver<Vec<M>>)>;

/// The outgoing queues of one core.
pub(super) struct Mesh<M: Send> {
    lanes: Vec<Option<Lane<M>>>,
    /// Messages that wait here for room in their queue.
    waiting: Cell<usize>,
    /// Raised when fewer wait.
    room: Signal,
}

struct Lane<M: Send> {
    sender: ConnectedSender<Vec<M>>,
    /// Batches that found the queue full, oldest first.
    backlog: RefCell<VecDeque<Vec<M>>>,
    /// What the current drain has for the core.
    batch: RefCell<Vec<M>>,
    has_backlog: Signal,
}

impl<M: Send + 'static> MeshEnds<M> {
    /// Joins the queues on the core's own executor; completes when all other cores have done so.
    pub(super) async fn connect(self) -> (Mesh<M>, Incoming<M>) {
        let core = self.core;
        let senders = self.senders.into_iter().map(|end| async move {
            match end {
                Some(end) => Some(end.connect().await),
                None => None,
            }
        });
        let receivers = self.receivers.into_iter().map(|end| async move {
            match end {
                Some(end) => Some(end.connect().await),
                None => None,
            }
        });
        let (senders, receivers) = join(join_all(senders), join_all(receivers)).await;
        let lanes = senders.into_iter().map(|sender| sender.map(Lane::new)).collect();
        let incoming = (0..).map(CoreId).zip(receivers);
        let incoming = incoming.filter_map(|(from, end)| Some((from, end?))).collect();
        let mesh = Mesh { lanes, waiting: Cell::new(0), room: Signal::default() };
        assert!(mesh.lanes[core.index()].is_none());
        (mesh, incoming)
    }
}

impl<M: Send + 'static> Lane<M> {
    fn new(sender: ConnectedSender<Vec<M>>) -> Lane<M> {
        Lane {
            sender,
            backlog: RefCell::default(),
            batch: RefCell::default(),
            has_backlog: Signal::default(),
        }
    }
}

impl<M: Send + 'static> Mesh<M> {
    /// Sends messages, in order per core, one batch per core.
    pub(super) fn send(&self, messages: impl Iterator<Item = (CoreId, M)>) {
        for (to, message) in messages {
            self.lane(to).batch.borrow_mut().push(message);
        }
        for lane in self.lanes.iter().flatten() {
            if !lane.batch.borrow().is_empty() {
                let batch = std::mem::take(&mut *lane.batch.borrow_mut());
                self.push(lane, batch);
            }
        }
    }

    fn push(&self, lane: &Lane<M>, batch: Vec<M>) {
        let mut backlog = lane.backlog.borrow_mut();
        if !backlog.is_empty() {
            self.waiting.set(self.waiting.get() + batch.len());
            backlog.push_back(batch);
            return;
        }
        match lane.sender.try_send(batch) {
            Ok(()) => {}
            Err(GlommioError::WouldBlock(ResourceType::Channel(batch))) => {
                self.waiting.set(self.waiting.get() + batch.len());
                backlog.push_back(batch);
                lane.has_backlog.raise();
            }
            // The other core is gone: the process is on its way out.
            Err(_) => tracing::debug!("a message to a stopped core was dropped"),
        }
    }

    /// True while reading should rest until other cores have caught up.
    pub(super) fn is_pressed(&self) -> bool {
        self.waiting.get() >= MESH_QUEUE_LEN
    }

    /// Raised whenever waiting messages have left. For one waiter, who tells the others.
    pub(super) fn room(&self) -> Signal {
        self.room.clone()
    }

    /// Other cores of the broker.
    pub(super) fn others(&self) -> Vec<CoreId> {
        let lanes = (0..).map(CoreId).zip(&self.lanes);
        lanes.filter_map(|(core, lane)| lane.as_ref().map(|_| core)).collect()
    }

    /// Sends the backlog for one core whenever there is one; runs as long as the executor.
    pub(super) async fn send_backlog(&self, to: CoreId) {
        let lane = self.lane(to);
        loop {
            lane.has_backlog.wait().await;
            loop {
                let Some(batch) = lane.backlog.borrow_mut().front_mut().map(std::mem::take) else {
                    break;
                };
                let count = batch.len();
                if lane.sender.send(batch).await.is_err() {
                    tracing::debug!("a message to a stopped core was dropped");
                }
                // Only now: while it stands in the backlog, later batches queue behind it.
                lane.backlog.borrow_mut().pop_front();
                self.waiting.set(self.waiting.get() - count);
                self.room.raise();
            }
        }
    }

    fn lane(&self, to: CoreId) -> &Lane<M> {
        self.lanes[to.index()].as_ref().expect("a core does not send to itself")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement};
    use std::rc::Rc;

    const MESSAGES: u64 = 20_000;

    /// Floods the other core, checks what comes from it, returns the most that waited here.
    async fn flood(ends: MeshEnds<u64>) -> usize {
        let _awake = crate::runtime::awake::keep();
        let (mesh, mut incoming) = ends.connect().await;
        let mesh = Rc::new(mesh);
        let other = mesh.others()[0];
        let sending = Rc::clone(&mesh);
        glommio::spawn_local(async move { sending.send_backlog(other).await }).detach();
        let mut most = 0;
        for first in (0..MESSAGES).step_by(10) {
            mesh.send((first..first + 10).map(|number| (other, number)));
            most = most.max(mesh.waiting.get());
        }
        let (from, receiver) = incoming.pop().expect("two cores");
        assert_eq!(from, other);
        let mut expected = 0;
        while expected < MESSAGES {
            for number in receiver.recv().await.expect("the other core lives") {
                assert_eq!(number, expected);
                expected += 1;
            }
        }
        while mesh.waiting.get() > 0 {
            mesh.room().wait().await;
        }
        assert!(!mesh.is_pressed());
        most
    }

    #[test]
    fn a_flood_arrives_in_order_and_beyond_the_bound_the_sender_is_pressed() {
        let cores: Vec<_> = ends(2)
            .into_iter()
            .map(|ends| {
                let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 * 1024);
                builder.spawn(move || flood(ends)).unwrap()
            })
            .collect();
        for core in cores {
            assert!(core.join().unwrap() >= MESH_QUEUE_LEN);
        }
    }
}
