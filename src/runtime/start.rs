//! A broker process from its first check to its last byte on disk.
//!
//! Everything that can be refused is refused before a core starts: processors, io_uring and limits,
//! the data directory, the addresses. Then one pinned executor per shard; the first one leads
//! recovery; connections are accepted once all partitions are open.
//!
//! Stop: SIGTERM or SIGINT ends accepting and reading; produces under way are answered, within
//! `STOP_ANSWERS_MS`; every core drains and syncs. A second signal ends the process at once, which
//! costs the next start a replay of the journal and nothing else.

use super::awake;
use super::clock::Clock;
use super::cores::{self, CoreError, CorePlan};
use super::data_dir::{DataDir, DataDirError};
use super::disk::LocalDisk;
use super::exclusive::{self, Roots};
use super::inspector::{self, Inspector, Questions};
use super::mesh::{self, MeshEnds};
use super::probe::{self, ProbeError, ProbeReport};
use super::reserve;
use super::run_shard::Driver;
use super::sockets::{self, Acceptor, ListenError};
use crate::controller::image::MetadataImage;
use crate::model::base64url::decode_uuid;
use crate::model::broker_config::{BrokerConfig, Spin};
use crate::model::ids::{BrokerId, CoreId};
use crate::model::limits::{SPIN_BEFORE_PARK_MS, STOP_ANSWERS_MS};
use crate::model::listeners::CorePortFault;
use crate::shard::mesh::ShardMessage;
use crate::shard::shard::{Shard, ShardParts, ShardRef, WriteState};
use crate::shard::{Priority, joining, loops, recovery, stop};
use crate::storage::error::StorageError;
use crate::storage::journal::Journal;
use futures::channel::oneshot;
use glommio::timer::Timer;
use glommio::{Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use socket2::Socket;
use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use uuid::Uuid;

/// Configuration that cannot work here (sysexits EX_CONFIG).
pub const EXIT_CONFIGURATION: u8 = 78;

/// A disk or socket that failed (sysexits EX_IOERR).
pub const EXIT_IO: u8 = 74;

/// What the conventions add to a signal's number in an exit code.
const EXIT_SIGNAL_BASE: i32 = 128;

/// Threads per core for what may wait: direct writes, names, folders, preallocation.
const BLOCKING_THREADS: usize = 4;

/// The background's share of a busy core; everything else has 1000.
const BACKGROUND_SHARES: usize = 100;

/// How often a stopping core looks whether its answers have left.
const STOP_POLL: Duration = Duration::from_millis(2);

/// What a broker that has just come up can tell about itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Listener name and address, port 0 resolved.
    pub addresses: Vec<(String, SocketAddr)>,
    /// By listener, the ports at which each core alone is reached; empty unless asked for.
    pub core_ports: Vec<Vec<u16>>,
    pub cores: CorePlan,
    pub probe: ProbeReport,
    pub data_dir: PathBuf,
    pub cluster_id: Uuid,
    pub node_id: BrokerId,
    /// True when this start created the data directory.
    pub is_new: bool,
    /// From the first check to the last open partition.
    pub started_in: Duration,
    /// Asks this broker.
    pub inspector: Inspector,
}

/// Why a broker did not start, or did not stay up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Cores(#[from] CoreError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("highwater.listeners.per.core is true, and {0}")]
    CorePorts(#[from] CorePortFault),
    #[error("{host}:{port} does not resolve to an address")]
    Resolve { host: String, port: u16, source: io::Error },
    #[error("start the executor of core {core}: {cause}")]
    Executor { core: u16, cause: String },
    #[error("open the journal of core {core}")]
    Journal { core: u16, source: StorageError },
    #[error(transparent)]
    Recovery(#[from] recovery::StartError),
    #[error("watch for signals")]
    Signals { source: io::Error },
    #[error("the log directory went offline while the broker ran, see E0009")]
    Offline,
}

impl StartError {
    /// 78 where the configuration must change, 74 where a disk or socket failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Cores(_)
            | StartError::Probe(_)
            | StartError::Listen(_)
            | StartError::CorePorts(_)
            | StartError::Resolve { .. }
            | StartError::Executor { .. } => EXIT_CONFIGURATION,
            StartError::DataDir(error) if !error.is_io() => EXIT_CONFIGURATION,
            StartError::DataDir(_)
            | StartError::Journal { .. }
            | StartError::Recovery(_)
            | StartError::Signals { .. }
            | StartError::Offline => EXIT_IO,
        }
    }

    /// What the operator can do, where that can be said.
    pub fn fix(&self) -> Option<String> {
        match self {
            StartError::Cores(error) => Some(error.fix().into()),
            StartError::Probe(error) => Some(error.fix()),
            StartError::DataDir(error) => Some(error.fix()),
            StartError::Listen(error) => Some(error.fix()),
            StartError::CorePorts(_) => Some(
                "move the listeners apart, or the cores' ports away from theirs with \
                 highwater.listeners.per.core.first.port"
                    .into(),
            ),
            StartError::Resolve { .. } => Some("name an address in listeners".into()),
            StartError::Executor { .. }
            | StartError::Journal { .. }
            | StartError::Recovery(_)
            | StartError::Signals { .. } => None,
            StartError::Offline => {
                Some("repair the disk; `highwater explain E0009` says more".into())
            }
        }
    }
}

/// What cores and signals tell the main thread.
enum Event {
    Ready,
    Failed(StartError),
    Signal(i32),
    /// Nobody needs this broker any more: all cores may stop.
    Left,
    Stopped,
}

/// The main thread's hold on one core.
struct CoreHandle {
    serve: oneshot::Sender<()>,
    stop: oneshot::Sender<()>,
}

/// Everything that one core starts with; moved to its thread.
struct CoreParts {
    core: CoreId,
    cores: u16,
    config: Arc<BrokerConfig>,
    data_dir: PathBuf,
    ids: Identity,
    clock: Clock,
    mesh: MeshEnds<ShardMessage>,
    sockets: Vec<Socket>,
    serve: oneshot::Receiver<()>,
    stop: oneshot::Receiver<()>,
    events: mpsc::Sender<Event>,
    /// The first core's.
    questions: Option<Questions>,
}

/// Who this broker is.
#[derive(Debug, Clone, Copy)]
struct Identity {
    cluster: Uuid,
    directory: Uuid,
    /// Of this process.
    incarnation: Uuid,
}

/// Runs a broker until a signal stops it. `on_ready` is called once clients may connect.
///
/// # Errors
/// Whatever keeps it from starting. Once it is up, errors are logged and answered to clients.
pub fn run(config: Arc<BrokerConfig>, on_ready: impl FnOnce(&Facts)) -> Result<(), StartError> {
    let clock = Clock::start();
    let start_us = clock.now().monotonic_us;
    keep_pages_small();
    let plan = cores::plan(config.cores.map(usize::from), &config.core_list)?;
    if config.spin == Spin::WhereKept {
        exclusive::check(&plan, &Roots::of_this_machine())?;
    }
    let report = probe::probe(plan.cores.len())?;
    let cluster_id = config.cluster_id.as_deref().and_then(decode_uuid);
    let data_dir = DataDir::open(&config.data_dir, config.node_id, cluster_id)?;
    let count = u16::try_from(plan.cores.len()).expect("a plan has few cores");
    let Listening { addresses, sockets, ports } = listen(&config, count)?;
    let core_ports = ports.iter().map(|(_, of_cores)| of_cores.clone()).collect();
    let listeners = config.listeners.opened(ports);
    let mut config = BrokerConfig { listeners, ..BrokerConfig::clone(&config) };
    if config.cluster.voters.is_empty() {
        config.cluster.voters.clone_from(&data_dir.voters);
    }
    let config = Arc::new(config);
    let (events, received) = mpsc::channel();
    watch_signals(events.clone())?;
    let ids = Identity {
        cluster: data_dir.cluster_id,
        directory: data_dir.directory_id,
        incarnation: Uuid::new_v4(),
    };
    let (inspector, questions) = inspector::channel();
    let mut questions = Some(questions);
    let mut handles = Vec::new();
    let ends = mesh::ends(count);
    for (index, (mesh, sockets)) in (0..).zip(ends.into_iter().zip(sockets)) {
        let (serve, serve_receiver) = oneshot::channel();
        let (stop, stop_receiver) = oneshot::channel();
        let parts = CoreParts {
            core: CoreId(index),
            cores: count,
            config: Arc::clone(&config),
            data_dir: data_dir.path.clone(),
            ids,
            clock,
            mesh,
            sockets,
            serve: serve_receiver,
            stop: stop_receiver,
            events: events.clone(),
            questions: questions.take(),
        };
        spawn_core(parts, plan.cores[usize::from(index)], &report)?;
        handles.push(CoreHandle { serve, stop });
    }
    let facts = |started_us: u64| Facts {
        addresses,
        core_ports,
        cores: plan,
        probe: report,
        data_dir: data_dir.path.clone(),
        cluster_id: data_dir.cluster_id,
        node_id: data_dir.node_id,
        is_new: data_dir.is_new,
        started_in: Duration::from_micros(started_us - start_us),
        inspector,
    };
    supervise(&received, handles, || on_ready(&facts(clock.now().monotonic_us)))
}

/// The main thread's part: lets cores serve when all is open, stops them on a signal.
fn supervise(
    events: &mpsc::Receiver<Event>,
    handles: Vec<CoreHandle>,
    on_ready: impl FnOnce(),
) -> Result<(), StartError> {
    let mut on_ready = Some(on_ready);
    let (mut serve, mut stop): (Vec<_>, Vec<_>) =
        handles.into_iter().map(|handle| (handle.serve, handle.stop)).unzip();
    loop {
        match events.recv().expect("this thread holds a sender") {
            Event::Ready => {
                // A core that is gone has sent why it failed.
                for core in serve.drain(..) {
                    let _ = core.send(());
                }
                if let Some(on_ready) = on_ready.take() {
                    on_ready();
                }
            }
            Event::Failed(error) => return Err(error),
            Event::Signal(signal) => {
                tracing::info!(signal, "stopping; a second signal ends the process at once");
                // The first core leads the stop. One that is gone has stopped already.
                let _ = stop.remove(0).send(());
            }
            Event::Left => {
                for core in stop.drain(..) {
                    let _ = core.send(());
                }
            }
            Event::Stopped => return Ok(()),
        }
    }
}

/// Addresses as configured, resolved, and a socket of each for every core.
fn listen(config: &BrokerConfig, cores: u16) -> Result<Listening, StartError> {
    let planned = match config.first_core_port {
        Some(first) => config.listeners.plan_core_ports(first, cores)?,
        None => config.listeners.iter().map(|_| Vec::new()).collect(),
    };
    let mut listening = Listening {
        addresses: Vec::new(),
        sockets: (0..cores).map(|_| Vec::new()).collect(),
        ports: Vec::new(),
    };
    for (listener, core_ports) in config.listeners.iter().zip(planned) {
        let (host, port) = (listener.bind.host.as_str(), listener.bind.port);
        let shared = match host {
            // Every interface: IPv6 with IPv4 in it, or IPv4 alone where IPv6 is switched off.
            "" => sockets::bind_all(SocketAddr::from(([0u16; 8], port)), cores)
                .or_else(|_| sockets::bind_all(SocketAddr::from(([0u8; 4], port)), cores))?,
            host => sockets::bind_all(resolve(host, port)?, cores)?,
        };
        let address = bound_address(&shared[0]);
        let mut own_ports = Vec::with_capacity(core_ports.len());
        for (own, port) in listening.sockets.iter_mut().zip(core_ports) {
            let sockets = sockets::bind_all(SocketAddr::new(address.ip(), port), 1)?;
            own_ports.push(bound_address(&sockets[0]).port());
            own.extend(sockets);
        }
        listening.addresses.push((listener.name.clone(), address));
        listening.ports.push((address.port(), own_ports));
        listening.sockets.iter_mut().zip(shared).for_each(|(core, socket)| core.push(socket));
    }
    Ok(listening)
}

fn bound_address(socket: &Socket) -> SocketAddr {
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    address.expect("a bound socket has an address")
}

/// What is bound.
struct Listening {
    /// Listener names with their addresses.
    addresses: Vec<(String, SocketAddr)>,
    /// By core.
    sockets: Vec<Vec<Socket>>,
    /// By listener: its port, and those of its cores.
    ports: Vec<(u16, Vec<u16>)>,
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Resolve { host: host.into(), port, source };
    let mut found = (host, port).to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[allow(clippy::disallowed_methods, reason = "the one thread besides the cores' own")]
fn watch_signals(events: mpsc::Sender<Event>) -> Result<(), StartError> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|source| StartError::Signals { source })?;
    std::thread::spawn(move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            if is_stopping || events.send(Event::Signal(signal)).is_err() {
                std::process::exit(EXIT_SIGNAL_BASE + signal);
            }
            is_stopping = true;
        }
    });
    Ok(())
}

fn spawn_core(parts: CoreParts, cpu: usize, report: &ProbeReport) -> Result<(), StartError> {
    let core = parts.core.0;
    let events = parts.events.clone();
    let mut builder = LocalExecutorBuilder::new(Placement::Fixed(cpu));
    if parts.config.spin != Spin::Never {
        builder = builder.spin_before_park(Duration::from_millis(SPIN_BEFORE_PARK_MS));
    }
    let spawned = builder
        .name(&format!("core{core}"))
        .io_memory(report.io_memory_bytes)
        .ring_depth(report.ring_depth)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .spawn(move || async move {
            let event = match run_core(parts).await {
                Ok(()) => Event::Stopped,
                Err(error) => Event::Failed(error),
            };
            drop(events.send(event)); // The main thread is gone: so is the process.
        });
    // The handle is not joined: the core says through its event how it ended.
    spawned.map(drop).map_err(|error| StartError::Executor { core, cause: error.to_string() })
}

/// One core's life. Only the first one returns after a stop, when all cores have stopped.
async fn run_core(parts: CoreParts) -> Result<(), StartError> {
    let awake = awake::keep();
    let disk = LocalDisk::new(&parts.data_dir);
    let core = parts.core;
    let journal_dir = parts.data_dir.join("journal").join(core.0.to_string());
    let (journal, replay) = Journal::open(&disk, &journal_dir)
        .await
        .map_err(|source| StartError::Journal { core: core.0, source })?;
    let (mesh, incoming) = parts.mesh.connect().await;
    let data_dir = parts.data_dir;
    let shard = Rc::new(RefCell::new(Shard::new(ShardParts {
        core,
        cores: parts.cores,
        config: Arc::clone(&parts.config),
        data_dir: data_dir.clone(),
        disk: disk.clone(),
        journal,
        replay,
        image: MetadataImage::new(parts.config.node_id, Arc::new(parts.config.values.clone())),
        incarnation: parts.ids.incarnation,
        directory_id: parts.ids.directory,
        cluster_id: parts.ids.cluster,
        random: Rc::new(Uuid::new_v4),
        stage_clock: Rc::new(move || parts.clock.now_ns()),
        now: parts.clock.now(),
    })));
    let driver = Driver::new(Rc::clone(&shard), parts.clock, mesh);
    driver.start(incoming);
    drop(awake); // The driver's ticker does that from here on.
    spawn_loops(&shard);
    if let Some(questions) = parts.questions {
        glommio::spawn_local(inspector::answer_loop(Rc::clone(&shard), questions)).detach();
    }
    let is_leading = core == CoreId(0);
    if is_leading {
        glommio::spawn_local(reserve::watch(Rc::clone(&shard), disk, data_dir)).detach();
        recovery::start_broker(&shard).await?;
        drop(parts.events.send(Event::Ready));
    }
    if parts.serve.await.is_ok() {
        let acceptors = parts.sockets.into_iter().map(Acceptor::new).collect();
        driver.serve(acceptors, parts.config.connections_max_idle_ms);
    }
    // The sender is dropped only with the process.
    let _ = parts.stop.await;
    if is_leading {
        // The other cores go on until others lead what this broker leads.
        joining::leave(&shard).await;
        drop(parts.events.send(Event::Left));
    }
    driver.stop_serving();
    if !is_leading {
        return std::future::pending().await;
    }
    finish_answers(&driver, parts.clock).await;
    stop::stop_broker(&shard).await;
    match shard.borrow().write_state {
        WriteState::Offline => Err(StartError::Offline),
        WriteState::Open | WriteState::DiskFull => Ok(()),
    }
}

/// Keeps transparent huge pages away from this process: each first touch of one zeroes 2 MiB on the
/// core that serves (docs/decisions/014-small-pages.md).
fn keep_pages_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages stay: requests may wait for their zeroing");
    }
}

/// Starts a core's loops; those in the background get a small share where there is other work.
fn spawn_loops(shard: &ShardRef<LocalDisk>) {
    let executor = glommio::executor();
    let shares = Shares::Static(BACKGROUND_SHARES);
    let background = executor.create_task_queue(shares, Latency::NotImportant, "background");
    for (priority, task) in loops(shard) {
        match priority {
            Priority::Serving => glommio::spawn_local(task).detach(),
            Priority::Background => {
                let spawned = glommio::spawn_local_into(task, background);
                spawned.expect("the queue was just made").detach()
            }
        };
    }
}

/// Waits until produces under way are answered and the answers have left, but not for ever.
async fn finish_answers(driver: &Driver, clock: Clock) {
    let deadline_us = clock.now().deadline_us(STOP_ANSWERS_MS);
    while driver.has_answers_to_come() && clock.now().monotonic_us < deadline_us {
        Timer::new(STOP_POLL).await;
    }
}
