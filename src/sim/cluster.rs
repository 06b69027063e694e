//! Several brokers in one simulated world: each with its disk, its cores and its life, and a
//! network between them that the seed and the test make late, deaf or broken.
//!
//! A connection delivers in order and once while it lives; between connections nothing is in
//! order. What is cut off in one direction piles up until the cut is healed or the connection is
//! given up, as TCP has it.
//!
//! Invariant: what a dead process was told is gone with it; its disk keeps what it had synced, and
//! a part of the rest when the power went.

use crate::api::dispatch::{self, ReadState};
use crate::model::broker_config::{BrokerConfig, Origin, Setting};
use crate::protocol::frame;
use crate::shard::connection::ConnectionId;
use crate::shard::peers::{LinkCommand, LinkId};
use crate::shard::presence::LinkEnd;
use crate::shard::recovery::{self, StartError};
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::signal::Signal;
use crate::sim::broker::{ADDRESS, Inbox, LinkDriver, SimClient, SimDoor, SimStart, Wiring, wire};
use crate::sim::disk::SimDisk;
use crate::sim::executor::{Group, SimExecutor, SimHandle};
use crate::sim::random::Random;
use bytes::{BufMut, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// Longest time that bytes are on their way between two brokers, in microseconds, unless set.
const DELAY_US_MAX: u64 = 300;
/// How long data may be cut off before a connection is given up, in microseconds.
const SILENCE_US: u64 = 5_000_000;
/// Longest time that what outlives its connection is on its way, in microseconds, unless set.
const STRAGGLE_US_MAX: u64 = 3_000_000;
/// Time between two looks at a direction that is cut off, in microseconds.
const CUT_LOOK_US: u64 = 1000;

/// How a cluster of a test is made.
pub struct ClusterSetup<'a> {
    pub brokers: u16,
    pub cores: u16,
    /// For every broker, beside its id and the voters; `{id}` in a value is the broker's.
    pub settings: &'a [(&'a str, &'a str)],
}

/// A broker of the world; its id counts from 1.
pub type NodeId = i32;

/// One broker of a world whose brokers are not all alike.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    pub cores: u16,
    /// Beside its id, its roles and the voters.
    pub settings: Vec<(String, String)>,
}

struct Node {
    disk: SimDisk,
    directory: Uuid,
    config: Arc<BrokerConfig>,
    cores: u16,
    /// Grows with each life: its tasks.
    group: Group,
    wiring: Option<Rc<Wiring>>,
    /// Why its last start came to nothing.
    failure: Option<String>,
}

/// What the network does from now on.
#[derive(Debug, Clone)]
pub struct Weather {
    pub delay_us_max: u64,
    /// Directions in which nothing arrives.
    pub cuts: BTreeSet<(NodeId, NodeId)>,
    /// Chance in a thousand that a connection breaks with a delivery.
    pub breaks: u64,
    /// Chance in a hundred that what is on its way arrives although its sender has closed the
    /// connection or is dead.
    pub stragglers: u64,
    /// How much later that is, in microseconds.
    pub straggle_us: Range<u64>,
}

/// Changes a frame, given without its length, before the broker reads whose first core's shard is
/// given with it. So a fault is planted: a check that would find something passes.
pub type Tamper = fn(&Shard<SimDisk>, Bytes) -> Bytes;

impl Default for Weather {
    fn default() -> Weather {
        Weather {
            delay_us_max: DELAY_US_MAX,
            cuts: BTreeSet::new(),
            breaks: 0,
            stragglers: 0,
            straggle_us: 0..STRAGGLE_US_MAX,
        }
    }
}

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pipe {
    queue: RefCell<VecDeque<(u64, Bytes)>>,
    signal: Signal,
}

/// One connection between two brokers.
struct Wire {
    from: NodeId,
    to: NodeId,
    forward: Pipe,
    /// Raised when answers have come or the connection broke.
    back: Signal,
    /// How it ended, once it has.
    end: Cell<Option<LinkEnd>>,
}

#[derive(Default)]
struct Fabric {
    nodes: BTreeMap<NodeId, Node>,
    weather: Weather,
    tamper: Option<Tamper>,
    wires: BTreeMap<(NodeId, usize, LinkId), Rc<Wire>>,
}

/// Several brokers and what is between them.
pub struct SimCluster {
    pub executor: SimExecutor,
    fabric: Rc<RefCell<Fabric>>,
    lives: u64,
    random: Random,
}

/// Where tasks of clients connect to whoever runs; clones are the same doors.
#[derive(Clone)]
pub struct SimDoors {
    fabric: Rc<RefCell<Fabric>>,
}

impl SimDoors {
    /// The door of a broker and the life that it leads to; `None` when it does not run.
    pub fn door(&self, id: NodeId) -> Option<(SimDoor, Group)> {
        let fabric = self.fabric.borrow();
        let node = fabric.nodes.get(&id)?;
        Some((SimDoor::new(Rc::clone(node.wiring.as_ref()?)), node.group))
    }

    /// Brokers of the cluster, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.fabric.borrow().nodes.keys().copied().collect()
    }
}

impl SimCluster {
    /// A cluster whose brokers are all started, on empty disks.
    pub fn new(seed: u64, setup: &ClusterSetup<'_>) -> SimCluster {
        let mut cluster = SimCluster::dark(seed, setup);
        for id in 1..=i32::from(setup.brokers) {
            cluster.start(id);
        }
        cluster
    }

    /// The same without a broker started.
    pub fn dark(seed: u64, setup: &ClusterSetup<'_>) -> SimCluster {
        let settings = setup.settings.iter();
        let settings = settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let node = NodeSetup { cores: setup.cores, settings: settings.collect() };
        let nodes = vec![node; usize::from(setup.brokers)];
        SimCluster::of(seed, setup.brokers, nodes)
    }

    /// A cluster of these brokers, of which the first `voters` vote. None is started.
    pub fn of(seed: u64, voters: u16, nodes: Vec<NodeSetup>) -> SimCluster {
        let executor = SimExecutor::new(seed);
        let mut fabric = Fabric::default();
        for (id, setup) in (1..).zip(nodes) {
            let node = Node {
                disk: SimDisk::new(executor.handle()),
                directory: directory(id, 0),
                config: Arc::new(config_of(id, voters, &setup.settings)),
                cores: setup.cores,
                group: Group(0),
                wiring: None,
                failure: None,
            };
            fabric.nodes.insert(id, node);
        }
        SimCluster {
            executor,
            fabric: Rc::new(RefCell::new(fabric)),
            lives: 0,
            random: Random::new(seed ^ 0x5eed),
        }
    }

    /// Another broker, on an empty disk and not started; it knows the cluster by one address.
    pub fn join(&mut self, id: NodeId, bootstrap: NodeId) {
        let server = format!("broker-{bootstrap}:9092");
        let mut settings = own_settings(id);
        settings.push(setting("controller.quorum.bootstrap.servers", &server));
        let mut fabric = self.fabric.borrow_mut();
        let node = Node {
            disk: SimDisk::new(self.executor.handle()),
            directory: directory(id, 0),
            config: Arc::new(BrokerConfig::from_settings(&settings).expect("legal settings").0),
            cores: fabric.nodes[&bootstrap].cores,
            group: Group(0),
            wiring: None,
            failure: None,
        };
        fabric.nodes.insert(id, node);
    }

    /// Starts a broker that does not run; its recovery goes on while time passes.
    pub fn start(&mut self, id: NodeId) {
        self.lives += 1;
        let group = Group(self.lives);
        let handle = self.executor.handle().of(group);
        let links = self.links_of(id, group);
        let (start, directory) = {
            let mut fabric = self.fabric.borrow_mut();
            let node = fabric.nodes.get_mut(&id).expect("a broker of this cluster");
            assert!(node.wiring.is_none(), "it runs already");
            node.group = group;
            node.failure = None;
            node.disk = node.disk.moved_to(handle.clone());
            let (disk, config) = (node.disk.clone(), Arc::clone(&node.config));
            let start = SimStart { seed: self.random.next(), disk, cores: node.cores, config };
            (start, node.directory)
        };
        let fabric = Rc::downgrade(&self.fabric);
        let life = handle.clone();
        handle.spawn(async move {
            let started = async {
                let wiring = wire(life, start, directory, links).await?;
                let first = wiring.cores[0].clone();
                if let Some(fabric) = fabric.upgrade()
                    && let Some(node) = fabric.borrow_mut().nodes.get_mut(&id)
                {
                    node.wiring = Some(wiring);
                }
                recovery::start_broker(&first).await
            };
            if let Err(error) = started.await {
                let fabric = fabric.upgrade().expect("whoever runs tasks holds the world");
                fabric.borrow_mut().on_failed_start(id, &error);
            }
        });
        self.await_wiring(id);
    }

    /// Lets the cores come up, before which nobody can connect.
    fn await_wiring(&mut self, id: NodeId) {
        let is_there = |cluster: &SimCluster| {
            let fabric = cluster.fabric.borrow();
            fabric.nodes[&id].wiring.is_some() || fabric.nodes[&id].failure.is_some()
        };
        while !is_there(self) {
            assert!(self.executor.step(), "every task waits and no timer is set: a deadlock");
        }
    }

    /// How many cores a broker has from its next start on.
    pub fn set_cores(&self, id: NodeId, cores: u16) {
        if let Some(node) = self.fabric.borrow_mut().nodes.get_mut(&id) {
            node.cores = cores;
        }
    }

    /// Why the last start of a broker came to nothing; it counts as running all the same.
    pub fn failure(&self, id: NodeId) -> Option<String> {
        self.fabric.borrow().nodes[&id].failure.clone()
    }

    /// Sets how far a running broker's wall clock is off.
    pub fn set_wall_offset_ms(&self, id: NodeId, offset_ms: i64) {
        let group = self.fabric.borrow().nodes[&id].group;
        self.executor.handle().of(group).set_wall_offset_ms(offset_ms);
    }

    /// The life that a broker is in; another one after each start.
    pub fn life(&self, id: NodeId) -> Group {
        self.fabric.borrow().nodes[&id].group
    }

    /// Who is in this life, if it is a running broker's.
    pub fn broker_of(&self, life: Group) -> Option<NodeId> {
        let fabric = self.fabric.borrow();
        let mut nodes = fabric.nodes.iter();
        let found = nodes.find(|(_, node)| node.group == life && node.wiring.is_some());
        found.map(|(id, _)| *id)
    }

    /// The identity of a broker's data directory.
    pub fn directory(&self, id: NodeId) -> Uuid {
        self.fabric.borrow().nodes[&id].directory
    }

    /// Where tasks of clients connect to whoever runs.
    pub fn doors(&self) -> SimDoors {
        SimDoors { fabric: Rc::clone(&self.fabric) }
    }

    /// `kill -9`, or a power cut: then the disk forgets a part of what was not synced.
    pub fn kill(&mut self, id: NodeId, is_power_cut: bool) {
        let mut fabric = self.fabric.borrow_mut();
        let node = fabric.nodes.get_mut(&id).expect("a broker of this cluster");
        self.executor.kill(node.group);
        node.wiring = None;
        if is_power_cut {
            node.disk.crash(&mut self.random);
        }
        node.failure = None;
        let own: Vec<Rc<Wire>> = fabric.wires.values().cloned().collect();
        for wire in own.iter().filter(|wire| wire.from == id || wire.to == id) {
            wire.break_off(LinkEnd::Closed);
        }
        fabric.wires.retain(|(from, ..), _| *from != id);
    }

    /// Gives a broker that does not run an empty disk of another identity.
    pub fn wipe(&mut self, id: NodeId) {
        self.lives += 1;
        let directory = directory(id, self.lives);
        self.empty_disk(id);
        if let Some(node) = self.fabric.borrow_mut().nodes.get_mut(&id) {
            node.directory = directory;
        }
    }

    /// Gives a broker that does not run an empty disk that claims to be the one before: what no
    /// promise holds for.
    pub fn empty_disk(&mut self, id: NodeId) {
        let handle = self.executor.handle();
        let mut fabric = self.fabric.borrow_mut();
        let node = fabric.nodes.get_mut(&id).expect("a broker of this cluster");
        assert!(node.wiring.is_none(), "it runs");
        node.disk = SimDisk::new(handle);
    }

    /// SIGSTOP and SIGCONT.
    pub fn set_paused(&self, id: NodeId, is_paused: bool) {
        let group = self.fabric.borrow().nodes[&id].group;
        self.executor.handle().set_paused(group, is_paused);
    }

    /// Whether its process is there, up or on its way.
    pub fn is_running(&self, id: NodeId) -> bool {
        self.fabric.borrow().nodes[&id].wiring.is_some()
    }

    /// Changes what the network does.
    pub fn set_weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.fabric.borrow_mut().weather);
    }

    /// Changes what brokers read of each other from now on.
    pub fn set_tamper(&self, tamper: Tamper) {
        self.fabric.borrow_mut().tamper = Some(tamper);
    }

    /// A client connected to a core of a running broker.
    pub fn connect(&self, id: NodeId, core: usize) -> SimClient {
        self.door(id).connect(core)
    }

    /// Where tasks connect to a running broker.
    pub fn door(&self, id: NodeId) -> SimDoor {
        SimDoor::new(self.wiring(id))
    }

    /// The shard of one core of a running broker.
    pub fn core(&self, id: NodeId, core: usize) -> ShardRef<SimDisk> {
        self.wiring(id).cores[core].clone()
    }

    pub fn disk(&self, id: NodeId) -> SimDisk {
        self.fabric.borrow().nodes[&id].disk.clone()
    }

    /// Brokers of the cluster, running or not.
    pub fn ids(&self) -> Vec<NodeId> {
        self.fabric.borrow().nodes.keys().copied().collect()
    }

    /// Lets time pass.
    pub fn pass_us(&mut self, us: u64) {
        let handle = self.executor.handle();
        self.executor.run_until(async move { handle.sleep_us(us).await });
    }

    /// Lets time pass until a condition holds; false when it does not within `us`.
    pub fn wait_us(&mut self, us: u64, mut holds: impl FnMut(&SimCluster) -> bool) -> bool {
        let step_us = 1000;
        for _ in 0..us.div_ceil(step_us) {
            if holds(self) {
                return true;
            }
            self.pass_us(step_us);
        }
        holds(self)
    }

    fn wiring(&self, id: NodeId) -> Rc<Wiring> {
        let fabric = self.fabric.borrow();
        Rc::clone(fabric.nodes[&id].wiring.as_ref().expect("it runs"))
    }

    fn links_of(&self, from: NodeId, group: Group) -> LinkDriver {
        let fabric = Rc::downgrade(&self.fabric);
        let handle = self.executor.handle().of(group);
        Rc::new(move |core, command| {
            let Some(fabric) = fabric.upgrade() else { return };
            match command {
                LinkCommand::Open { link, address } => {
                    let to = address.host.trim_start_matches("broker-").parse().unwrap_or(0);
                    let end = NearEnd { fabric, handle: handle.clone(), from, core, link };
                    handle.spawn(end.connect(to));
                }
                LinkCommand::Send { link, parts } => {
                    let fabric = fabric.borrow();
                    if let Some(wire) = fabric.wires.get(&(from, core, link)) {
                        let due_us = fabric.due_us(&handle);
                        let bytes = crate::protocol::part::join(parts);
                        wire.forward.queue.borrow_mut().push_back((due_us, bytes));
                        wire.forward.signal.raise();
                    }
                }
                LinkCommand::Close { link } => {
                    if let Some(wire) = fabric.borrow_mut().wires.remove(&(from, core, link)) {
                        wire.break_off(LinkEnd::Closed);
                    }
                }
            }
        })
    }
}

impl Fabric {
    /// A start may come to nothing where the disk was told to fail, and nowhere else.
    fn on_failed_start(&mut self, id: NodeId, error: &StartError) {
        let node = self.nodes.get_mut(&id).expect("a broker of this cluster");
        assert!(node.disk.has_failed(), "broker {id} cannot start: {error:?}");
        node.failure = Some(format!("{error:?}"));
    }

    fn due_us(&self, handle: &SimHandle) -> u64 {
        let delay_us = handle.random(|random| random.below(self.weather.delay_us_max + 1));
        handle.now().monotonic_us + delay_us
    }

    /// Whole frames to a broker, each as the tamper leaves it.
    fn tampered(&self, to: NodeId, bytes: Bytes, tamper: Tamper) -> Bytes {
        let Some(wiring) = &self.nodes[&to].wiring else { return bytes };
        let shard = wiring.cores[0].borrow();
        let (mut before, mut after) = (BytesMut::from(&bytes[..]), BytesMut::new());
        while let Ok(Some(frame)) = frame::next_frame(&mut before, usize::MAX) {
            let frame = tamper(&shard, frame);
            let size = u32::try_from(frame.len()).expect("simulated frames are small");
            after.put_u32(size);
            after.put_slice(&frame);
        }
        assert!(before.is_empty(), "brokers send whole frames");
        after.freeze()
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.weather.cuts.contains(&(from, to))
    }
}

impl Wire {
    fn break_off(&self, end: LinkEnd) {
        self.end.set(self.end.get().or(Some(end)));
        self.forward.signal.raise();
        self.back.raise();
    }
}

/// The calling side of one connection.
struct NearEnd {
    fabric: Rc<RefCell<Fabric>>,
    handle: SimHandle,
    from: NodeId,
    core: usize,
    link: LinkId,
}

/// The called side of one connection.
struct FarEnd {
    handle: SimHandle,
    shard: ShardRef<SimDisk>,
    id: ConnectionId,
    inbox: Inbox,
}

impl NearEnd {
    fn shard(&self) -> Option<ShardRef<SimDisk>> {
        let fabric = self.fabric.borrow();
        Some(fabric.nodes[&self.from].wiring.as_ref()?.cores[self.core].clone())
    }

    /// The connection from its first byte to its last, as the caller sees it.
    async fn connect(self, to: NodeId) {
        let delay_us = self.fabric.borrow().due_us(&self.handle);
        self.sleep_until(delay_us).await;
        let far = match self.reach(to) {
            Ok(far) => far,
            Err(end) => return self.down(end, "nobody answers"),
        };
        let wire = Rc::new(Wire {
            from: self.from,
            to,
            forward: Pipe::default(),
            back: far.inbox.signal.clone(),
            end: Cell::new(None),
        });
        let key = (self.from, self.core, self.link);
        self.fabric.borrow_mut().wires.insert(key, Rc::clone(&wire));
        let FarEnd { handle, shard, id, inbox } = &far;
        handle.spawn(deliver(
            Rc::clone(&self.fabric),
            handle.clone(),
            Rc::clone(&wire),
            (shard.clone(), *id),
        ));
        let inbox = inbox.clone();
        self.with_shard(|shard| shard.on_link_up(self.link));
        let end = self.listen(&wire, &inbox).await;
        wire.break_off(end);
        self.fabric.borrow_mut().wires.remove(&key);
        self.down(end, "the connection broke");
    }

    /// The host of a process that is dead says so; what is cut off says nothing.
    fn reach(&self, to: NodeId) -> Result<FarEnd, LinkEnd> {
        let fabric = self.fabric.borrow();
        if fabric.is_cut(self.from, to) || fabric.is_cut(to, self.from) {
            return Err(LinkEnd::Failed);
        }
        let node = fabric.nodes.get(&to).ok_or(LinkEnd::Failed)?;
        let wiring = node.wiring.as_ref().ok_or(LinkEnd::Refused)?;
        let core = self.handle.random(|random| random.index(wiring.cores.len()));
        let shard = wiring.cores[core].clone();
        let address = ADDRESS.parse().expect("a literal address");
        let id = shard.borrow_mut().on_connect(address, address).ok_or(LinkEnd::Closed)?;
        let inbox = Inbox::default();
        wiring.inboxes[core].borrow_mut().insert(id, inbox.clone());
        Ok(FarEnd { handle: wiring.handle.clone(), shard, id, inbox })
    }

    /// Takes answers until the connection ends; says how it did.
    async fn listen(&self, wire: &Rc<Wire>, inbox: &Inbox) -> LinkEnd {
        let mut received = BytesMut::new();
        loop {
            let bytes = inbox.bytes.borrow_mut().split();
            if let Some(end) = wire.end.get() {
                return end;
            }
            if bytes.is_empty() {
                inbox.signal.wait().await;
                continue;
            }
            let due_us = self.fabric.borrow().due_us(&self.handle);
            self.sleep_until(due_us).await;
            let way = (wire.to, wire.from);
            if let Err(end) = pass_cut(&self.fabric, &self.handle, way, (wire, false)).await {
                return end;
            }
            received.extend_from_slice(&bytes);
            let mut goes_on = true;
            self.with_shard(|shard| goes_on = shard.on_link_bytes(self.link, &mut received));
            if !goes_on {
                return LinkEnd::Failed;
            }
        }
    }

    async fn sleep_until(&self, due_us: u64) {
        let now_us = self.handle.now().monotonic_us;
        self.handle.sleep_us(due_us.saturating_sub(now_us)).await;
    }

    fn with_shard(&self, act: impl FnOnce(&mut Shard<SimDisk>)) {
        if let Some(shard) = self.shard() {
            let mut shard = shard.borrow_mut();
            shard.set_now(self.handle.now());
            act(&mut shard);
            shard.outbox.raise();
        }
    }

    fn down(&self, end: LinkEnd, cause: &str) {
        self.with_shard(|shard| shard.on_link_down(self.link, end, cause));
    }
}

/// Waits while a direction is cut off; how the connection ended, when it did meanwhile and what is
/// on its way does not outlive it.
async fn pass_cut(
    fabric: &Rc<RefCell<Fabric>>,
    handle: &SimHandle,
    (from, to): (NodeId, NodeId),
    (wire, outlives): (&Wire, bool),
) -> Result<(), LinkEnd> {
    let end = || wire.end.get().filter(|_| !outlives);
    let mut cut_us = 0;
    while fabric.borrow().is_cut(from, to) {
        handle.sleep_us(CUT_LOOK_US).await;
        cut_us += CUT_LOOK_US;
        if let Some(end) = end() {
            return Err(end);
        }
        if cut_us > SILENCE_US {
            return Err(LinkEnd::Failed);
        }
    }
    if let Some(end) = end() {
        return Err(end);
    }
    let breaks = fabric.borrow().weather.breaks;
    let is_broken = handle.random(|random| random.below(1000) < breaks);
    if is_broken { Err(LinkEnd::Closed) } else { Ok(()) }
}

/// Carries what the caller sends to the called broker, in order.
async fn deliver(
    fabric: Rc<RefCell<Fabric>>,
    handle: SimHandle,
    wire: Rc<Wire>,
    (shard, id): (ShardRef<SimDisk>, ConnectionId),
) {
    let stragglers = fabric.borrow().weather.stragglers;
    let outlives = stragglers > 0 && handle.random(|random| random.chance(stragglers));
    let mut is_late = false;
    let mut received = BytesMut::new();
    'connection: while outlives || wire.end.get().is_none() {
        let next = wire.forward.queue.borrow_mut().pop_front();
        let Some((due_us, bytes)) = next else {
            if wire.end.get().is_some() {
                break;
            }
            wire.forward.signal.wait().await;
            continue;
        };
        let now_us = handle.now().monotonic_us;
        handle.sleep_us(due_us.saturating_sub(now_us)).await;
        let way = (wire.from, wire.to);
        if let Err(end) = pass_cut(&fabric, &handle, way, (&wire, outlives)).await {
            wire.break_off(end);
            break;
        }
        if wire.end.get().is_some() && !is_late {
            is_late = true;
            let Range { start, end } = fabric.borrow().weather.straggle_us.clone();
            let straggle_us = handle.random(|random| random.below(end - start));
            handle.sleep_us(start + straggle_us).await;
        }
        let tamper = fabric.borrow().tamper;
        received.extend_from_slice(&match tamper {
            Some(tamper) => fabric.borrow().tampered(wire.to, bytes, tamper),
            None => bytes,
        });
        loop {
            shard.borrow_mut().set_now(handle.now());
            let state = dispatch::on_bytes(&shard, id, &mut received);
            shard.borrow().outbox.raise();
            match state {
                ReadState::NeedMore => break,
                ReadState::Paused(resume) => resume.wait().await,
                ReadState::Closed => break 'connection,
            }
        }
    }
    wire.break_off(LinkEnd::Closed);
    shard.borrow_mut().on_disconnect(id);
    let signal = {
        let fabric = fabric.borrow();
        let wiring = fabric.nodes[&wire.to].wiring.as_ref();
        let core = shard.borrow().core.index();
        wiring.and_then(|wiring| wiring.inboxes[core].borrow_mut().remove(&id))
    };
    if let Some(inbox) = signal {
        inbox.signal.raise();
    }
}

fn directory(id: NodeId, life: u64) -> Uuid {
    Uuid::from_u128(u128::from(id.unsigned_abs()) << 64 | u128::from(life))
}

fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.to_owned(), value: value.to_owned(), origin: Origin::Flag }
}

fn own_settings(id: NodeId) -> Vec<Setting> {
    vec![
        setting("node.id", &id.to_string()),
        setting("listeners", "PLAINTEXT://0.0.0.0:9092"),
        setting("advertised.listeners", &format!("PLAINTEXT://broker-{id}:9092")),
    ]
}

fn config_of(id: NodeId, voters: u16, own: &[(String, String)]) -> BrokerConfig {
    let is_voter = id <= i32::from(voters);
    let voters: Vec<String> =
        (1..=voters).map(|voter| format!("{voter}@broker-{voter}:9092")).collect();
    let mut settings = own_settings(id);
    settings.push(setting("process.roles", if is_voter { "broker,controller" } else { "broker" }));
    settings.push(setting("controller.quorum.voters", &voters.join(",")));
    let with_id = |value: &str| value.replace("{id}", &id.to_string());
    settings.extend(own.iter().map(|(key, value)| setting(key, &with_id(value))));
    BrokerConfig::from_settings(&settings).expect("legal settings").0
}
