//! A whole broker under the simulator: several cores, their mesh, clients without sockets.
//!
//! The same `shard` and `api` code as the real broker; this driver only carries bytes, messages and
//! time, in an order that the seed decides. Messages between two cores keep their order and may be
//! late; a crash ends every task where it stands.

use crate::api::dispatch::{self, ReadState};
use crate::controller::image::MetadataImage;
use crate::model::broker_config::BrokerConfig;
use crate::model::ids::CoreId;
use crate::protocol::frame::{self, ResponseHeader};
use crate::protocol::part::join;
use crate::protocol::primitive::Reader;
use crate::protocol::schema::{Message, Request};
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::ShardMessage;
use crate::shard::peers::LinkCommand;
use crate::shard::presence::LinkEnd;
use crate::shard::shard::{Shard, ShardParts, ShardRef};
use crate::shard::signal::Signal;
use crate::shard::stages::Stamp;
use crate::shard::{loops, recovery, routing};
use crate::sim::disk::SimDisk;
use crate::sim::executor::{SimExecutor, SimHandle};
use crate::sim::random::Random;
use crate::storage::error::StorageError;
use crate::storage::journal::{Journal, JournalSizes};
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// Small journals, so that a short run rolls and recycles them.
const JOURNAL: JournalSizes = JournalSizes { file_bytes: 256 * 1024, files_max: 3 };
/// How often a simulated core ticks, in microseconds.
const TICK_US: u64 = 2000;
/// Longest delay of a message between two cores, in microseconds.
const MESH_DELAY_US_MAX: u64 = 200;
/// Shortest time between a request and its answer, in microseconds.
const CALL_US_MIN: u64 = 50;
/// Identity of a lone broker's data directory.
const DIRECTORY: Uuid = Uuid::from_u128(1);
pub(super) const ADDRESS: &str = "127.0.0.1:9092";

pub(super) type Core = ShardRef<SimDisk>;
pub(super) type Inboxes = Rc<RefCell<HashMap<ConnectionId, Inbox>>>;

/// What one connection's client has not read yet.
#[derive(Clone, Default)]
pub(super) struct Inbox {
    pub(super) bytes: Rc<RefCell<BytesMut>>,
    /// Raised when bytes arrived or the connection is gone.
    pub(super) signal: Signal,
}

/// Messages on their way from one core to another.
#[derive(Clone, Default)]
struct Lane {
    queue: Rc<RefCell<VecDeque<ShardMessage>>>,
    signal: Signal,
}

/// What the tasks of one simulated broker share.
pub(super) struct Wiring {
    pub(super) handle: SimHandle,
    pub(super) cores: Vec<Core>,
    /// Sorted, so that the order in which their tasks start is the same in each run of a seed.
    lanes: BTreeMap<(CoreId, CoreId), Lane>,
    pub(super) inboxes: Vec<Inboxes>,
    /// Carries out what a core says about connections to other brokers.
    links: LinkDriver,
}

/// Carries out what a core, by its index, says about connections to other brokers.
pub(super) type LinkDriver = Rc<dyn Fn(usize, LinkCommand)>;

/// A running broker. Dropping it is a `kill -9`.
pub struct SimBroker {
    pub executor: SimExecutor,
    wiring: Rc<Wiring>,
}

/// What a simulated broker is started with.
pub struct SimStart {
    pub seed: u64,
    pub disk: SimDisk,
    pub cores: u16,
    pub config: Arc<BrokerConfig>,
}

impl SimBroker {
    /// Recovers what the disk holds and returns when clients may connect.
    pub fn start(mut executor: SimExecutor, start: SimStart) -> SimBroker {
        let handle = executor.handle();
        let cores: Rc<RefCell<Vec<Core>>> = Rc::default();
        let alone = Rc::clone(&cores);
        let links: LinkDriver = Rc::new(move |core, command| {
            if let LinkCommand::Open { link, .. } = command {
                let shard = alone.borrow()[core].clone();
                shard.borrow_mut().on_link_down(link, LinkEnd::Failed, "no network");
            }
        });
        let wiring = executor
            .run_until(wire(handle, start, DIRECTORY, links))
            .expect("a simulated disk without injected errors is readable");
        cores.borrow_mut().extend(wiring.cores.iter().cloned());
        let first = wiring.cores[0].clone();
        executor
            .run_until(async move { recovery::start_broker(&first).await })
            .expect("a simulated disk without injected errors is readable");
        SimBroker { executor, wiring }
    }

    /// The shard of one core.
    pub fn core(&self, index: usize) -> Core {
        self.wiring.cores[index].clone()
    }

    /// A client connected to one core.
    pub fn connect(&self, core: usize) -> SimClient {
        self.door().connect(core)
    }

    /// Where tasks of this broker's executor connect to it.
    pub fn door(&self) -> SimDoor {
        SimDoor { wiring: Rc::clone(&self.wiring) }
    }
}

/// Gives connections to a running broker; clones are the same door.
#[derive(Clone)]
pub struct SimDoor {
    wiring: Rc<Wiring>,
}

impl SimDoor {
    pub(super) fn new(wiring: Rc<Wiring>) -> SimDoor {
        SimDoor { wiring }
    }

    /// A new connection to one core, below [`SimDoor::cores`].
    pub fn connect(&self, core: usize) -> SimClient {
        let address = ADDRESS.parse().expect("a literal address");
        let shard = self.wiring.cores[core].clone();
        let id = shard.borrow_mut().on_connect(address, address).expect("far from the limit");
        let inbox = Inbox::default();
        self.wiring.inboxes[core].borrow_mut().insert(id, inbox.clone());
        SimClient { wiring: Rc::clone(&self.wiring), core, id, inbox, correlation_id: 0 }
    }

    pub fn cores(&self) -> usize {
        self.wiring.cores.len()
    }

    pub fn handle(&self) -> SimHandle {
        self.wiring.handle.clone()
    }
}

/// The cores of one broker and the tasks that its driver would run.
pub(super) async fn wire(
    handle: SimHandle,
    start: SimStart,
    directory: Uuid,
    links: LinkDriver,
) -> Result<Rc<Wiring>, StorageError> {
    let cores = open_cores(handle.clone(), start, directory).await?;
    let mut lanes = BTreeMap::new();
    for from in &cores {
        for to in &cores {
            let pair = (from.borrow().core, to.borrow().core);
            if pair.0 != pair.1 {
                lanes.insert(pair, Lane::default());
            }
        }
    }
    let inboxes = cores.iter().map(|_| Inboxes::default()).collect();
    let wiring = Rc::new(Wiring { handle: handle.clone(), cores, lanes, inboxes, links });
    for core in &wiring.cores {
        let index = core.borrow().core.index();
        handle.spawn(pump(Rc::clone(&wiring), index));
        handle.spawn(ticker(Rc::clone(&wiring), index));
        for (_, task) in loops(core) {
            handle.spawn(task);
        }
    }
    for (from, to) in wiring.lanes.keys() {
        handle.spawn(carry(Rc::clone(&wiring), *from, *to));
    }
    Ok(wiring)
}

async fn open_cores(
    handle: SimHandle,
    start: SimStart,
    directory: Uuid,
) -> Result<Vec<Core>, StorageError> {
    let mut cores = Vec::new();
    for core in 0..start.cores {
        let data_dir = PathBuf::from("/data");
        let dir = data_dir.join("journal").join(core.to_string());
        let (journal, replay) = Journal::open_sized(&start.disk, &dir, JOURNAL).await?;
        let random = RefCell::new(Random::new(start.seed ^ u64::from(core)));
        let node = start.config.node_id;
        let image = MetadataImage::new(node, Arc::new(start.config.values.clone()));
        let shard = Shard::new(ShardParts {
            core: CoreId(core),
            cores: start.cores,
            config: Arc::clone(&start.config),
            data_dir,
            disk: start.disk.clone(),
            journal,
            replay,
            image,
            incarnation: Uuid::from_u128(u128::from(start.seed)),
            directory_id: directory,
            cluster_id: Uuid::from_u128(2),
            random: Rc::new(move || {
                let random = &mut *random.borrow_mut();
                Uuid::from_u128(u128::from(random.next()) << 64 | u128::from(random.next()))
            }),
            stage_clock: Rc::new({
                let handle = handle.clone();
                move || handle.now().monotonic_us * 1000
            }),
            now: handle.now(),
        });
        cores.push(Rc::new(RefCell::new(shard)));
    }
    Ok(cores)
}

/// The driver's drain task of one core.
async fn pump(wiring: Rc<Wiring>, index: usize) {
    let shard = wiring.cores[index].clone();
    let signal = shard.borrow().outbox.signal();
    let own = shard.borrow().core;
    loop {
        signal.wait().await;
        shard.borrow_mut().set_now(wiring.handle.now());
        dispatch::settle(&shard);
        let (ready, close, mesh, tasks) = {
            let outbox = &mut shard.borrow_mut().outbox;
            let ready = std::mem::take(&mut outbox.ready);
            let close = std::mem::take(&mut outbox.close);
            (ready, close, std::mem::take(&mut outbox.mesh), std::mem::take(&mut outbox.tasks))
        };
        for task in tasks {
            wiring.handle.spawn(task);
        }
        let commands = std::mem::take(&mut shard.borrow_mut().outbox.links);
        for command in commands {
            (wiring.links)(index, command);
        }
        for (to, message) in mesh {
            let lane = &wiring.lanes[&(own, to)];
            lane.queue.borrow_mut().push_back(message);
            lane.signal.raise();
        }
        for id in ready {
            let parts = shard.borrow_mut().take_output(id);
            if let Some(inbox) = wiring.inboxes[index].borrow().get(&id) {
                inbox.bytes.borrow_mut().extend_from_slice(&join(parts));
                inbox.signal.raise();
            }
            shard.borrow_mut().on_sent(id);
        }
        for id in close {
            shard.borrow_mut().on_disconnect(id);
            if let Some(inbox) = wiring.inboxes[index].borrow().get(&id) {
                inbox.signal.raise();
            }
        }
    }
}

async fn ticker(wiring: Rc<Wiring>, index: usize) {
    let shard = wiring.cores[index].clone();
    loop {
        wiring.handle.sleep_us(TICK_US).await;
        let mut shard = shard.borrow_mut();
        shard.set_now(wiring.handle.now());
        shard.tick();
    }
}

/// Carries messages from one core to another, in order, each as late as chance has it.
async fn carry(wiring: Rc<Wiring>, from: CoreId, to: CoreId) {
    let lane = wiring.lanes[&(from, to)].clone();
    let shard = wiring.cores[to.index()].clone();
    loop {
        let next = lane.queue.borrow_mut().pop_front();
        let Some(message) = next else {
            lane.signal.wait().await;
            continue;
        };
        let delay_us = wiring.handle.random(|random| random.below(MESH_DELAY_US_MAX));
        wiring.handle.sleep_us(delay_us).await;
        shard.borrow_mut().set_now(wiring.handle.now());
        routing::on_message(&shard, from, message);
    }
}

/// A client with one connection and one request in flight. Dropping it closes the connection.
pub struct SimClient {
    wiring: Rc<Wiring>,
    core: usize,
    id: ConnectionId,
    inbox: Inbox,
    correlation_id: i32,
}

impl Drop for SimClient {
    fn drop(&mut self) {
        self.wiring.inboxes[self.core].borrow_mut().remove(&self.id);
        // A crash drops clients while the shard is at work: it has no use for their goodbye.
        if let Ok(mut shard) = self.wiring.cores[self.core].try_borrow_mut() {
            shard.on_disconnect(self.id);
        }
    }
}

impl SimClient {
    /// Sends a request in its newest version and waits for the answer; `None` when the broker
    /// closed the connection.
    pub async fn call<R: Request>(&mut self, request: &R) -> Option<R::Response> {
        self.call_version(request, *R::VERSIONS.end()).await
    }

    /// The same in a version of the caller's choice, which must be one of the request's.
    pub async fn call_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Option<R::Response> {
        self.correlation_id += 1;
        let sent = frame::encode_request(request, version, self.correlation_id, Some("sim"))
            .expect("tests write what their version carries");
        let mut bytes = BytesMut::from(&sent.into_bytes()[..]);
        let shard = self.wiring.cores[self.core].clone();
        let seen = Stamp::at(self.wiring.handle.now().monotonic_us * 1000);
        shard.borrow_mut().on_received(self.id, seen);
        loop {
            shard.borrow_mut().set_now(self.wiring.handle.now());
            match dispatch::on_bytes(&shard, self.id, &mut bytes) {
                ReadState::NeedMore => break,
                ReadState::Paused(resume) => resume.wait().await,
                ReadState::Closed => return None,
            }
        }
        shard.borrow().outbox.raise();
        // Whoever asks again and again must not stop the clock.
        self.wiring.handle.sleep_us(CALL_US_MIN).await;
        let answer = self.answer().await?;
        let mut reader = Reader::new(&answer);
        let header = ResponseHeader::decode(&mut reader, R::KEY, version).expect("our own answer");
        assert!(header.correlation_id == self.correlation_id, "answers leave in request order");
        Some(R::Response::decode(&mut reader, version).expect("our own answer"))
    }

    /// Hands the broker any bytes at all; true while it still reads from this client.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let shard = self.wiring.cores[self.core].clone();
        shard.borrow_mut().set_now(self.wiring.handle.now());
        let state = dispatch::on_bytes(&shard, self.id, &mut BytesMut::from(bytes));
        shard.borrow().outbox.raise();
        !matches!(state, ReadState::Closed)
    }

    async fn answer(&mut self) -> Option<Bytes> {
        loop {
            let next = frame::next_frame(&mut self.inbox.bytes.borrow_mut(), usize::MAX);
            if let Ok(Some(frame)) = next {
                return Some(frame);
            }
            self.wiring.cores[self.core].borrow_mut().connection(self.id)?;
            self.inbox.signal.wait().await;
        }
    }
}
