//! One core's broker: its partitions, its connections, what is parked, and what must leave.
//!
//! Lives on one core, behind `Rc<RefCell<..>>` shared by that core's tasks; no borrow outlives a
//! step. It reads no clock, opens no socket and knows no executor: the driver hands in the time and
//! the bytes, and drains the outbox. So the same code runs under `runtime/` and under `sim/`.

use crate::controller::image::MetadataImage;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::group::topics::Topics;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::broker_config::BrokerConfig;
use crate::model::clock::Now;
use crate::model::group_config::GroupOverrides;
use crate::model::ids::{CoreId, TopicPartition};
use crate::model::limits::{CONNECTIONS_MAX, RETENTION_DELAY_MS};
use crate::protocol::part::Part;
use crate::shard::connection::{Connection, ConnectionId, SlotId};
use crate::shard::coordinator_host::Host;
use crate::shard::fetch_session::FetchSessions;
use crate::shard::mesh::{AppendOutcome, AppendPart, ParkedKey, PartToken, ShardMessage};
use crate::shard::outbox::Outbox;
use crate::shard::parked::{ParkedFetch, ParkedProduce, ParkedTable};
use crate::shard::partition::Partition;
use crate::shard::segment_sync::Sweep;
use crate::shard::share_session::ShareSessions;
use crate::shard::share_table::ShareTable;
use crate::shard::signal::Signal;
use crate::shard::stages::{Stage, StageClock, Stages, Stamp};
use crate::shard::stats::Stats;
use crate::shard::transaction_host::MarkerQueue;
use crate::shard::transactional::HeldBatches;
use crate::shard::verification::{Guards, Pauses};
use crate::storage::disk::Disk;
use crate::storage::journal::{Journal, JournalEntry};
use crate::storage::tail_cache::TailArena;
use futures::channel::oneshot;
use hashbrown::{HashMap, HashSet};
use slab::Slab;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

use super::questions::Reply;

/// A shard as its tasks share it; all on one core.
pub type ShardRef<D> = Rc<RefCell<Shard<D>>>;

/// Index of a partition in its shard's table; stable while the partition is open.
pub type PartitionIndex = usize;

/// Something parked that became answerable; the request layer encodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    Produce(usize),
    Fetch(usize),
}

/// Why the shard takes no more data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteState {
    Open,
    /// Free space is below the reserve; ends by itself when there is room again.
    DiskFull,
    /// A write or sync failed; nothing is acknowledged any more until the broker is restarted.
    Offline,
}

/// Wake-ups of the long-lived loops.
#[derive(Clone, Default)]
pub struct LoopSignals {
    /// Something was appended and not yet written.
    pub commit: Signal,
    /// Something was written to the journal and not yet synced.
    pub sync: Signal,
    /// The segment writer should look.
    pub drain: Signal,
    /// The journal has room again.
    pub room: Signal,
    /// A transaction was decided: its partitions are to be told.
    pub markers: Signal,
    /// Batches wait for a transaction coordinator that was not asked yet.
    pub verify: Signal,
    /// A share partition has changed, or share sessions have ended.
    pub shares: Signal,
    /// Time moved: retention, checkpoints, rolling.
    pub housekeeping: Signal,
    /// Leaders have something for their followers.
    pub push: Signal,
    /// In-sync replicas may have to change.
    pub proposals: Signal,
    /// A broker's process has ended, or this broker has become the active controller.
    pub controller: Signal,
    /// The compactor's pause is over.
    pub cleaner: Signal,
}

/// The driver's source of random ids.
pub type Random = Rc<dyn Fn() -> Uuid>;

/// State of one core.
pub struct Shard<D: Disk> {
    pub core: CoreId,
    pub cores: u16,
    pub config: Arc<BrokerConfig>,
    pub data_dir: PathBuf,
    pub disk: D,
    pub now: Now,
    pub image: Arc<MetadataImage>,
    pub write_state: WriteState,
    pub partitions: Slab<Partition<D>>,
    pub partition_indexes: HashMap<TopicPartition, PartitionIndex>,
    pub journal: Journal<D>,
    pub arena: TailArena,
    pub signals: LoopSignals,
    pub outbox: Outbox,
    pub produces: ParkedTable<Box<ParkedProduce>>,
    /// Parked produces to be used again.
    pub produce_pool: Vec<Box<ParkedProduce>>,
    /// Room for sorting a produce's parts, used again for each.
    pub part_buffer: Vec<(CoreId, AppendPart)>,
    pub fetches: ParkedTable<ParkedFetch>,
    pub sessions: FetchSessions,
    pub finished: Vec<Finished>,
    pub stats: Stats,
    pub stages: Stages,
    pub groups: Host<GroupCoordinator>,
    pub transactions: Host<TransactionCoordinator>,
    pub share_states: Host<ShareCoordinator>,
    pub shares: ShareTable,
    pub share_sessions: ShareSessions,
    pub markers: MarkerQueue,
    /// Batches that wait for a transaction coordinator.
    pub held: HeldBatches,
    pub guards: Guards,
    pub pauses: Pauses,
    /// The topics that exist, as coordinators see them.
    pub topics: Arc<Topics>,
    /// Settings of single groups, as group coordinators see them.
    pub group_overrides: Arc<BTreeMap<String, GroupOverrides>>,
    pub commit: super::group_commit::GroupCommit,
    pub membership: super::membership::Membership,
    pub lookup: super::lookup::Lookup,
    pub metadata: super::metadata::Metadata,
    pub quorum: super::quorum::Quorum<D>,
    pub is_stopping: bool,
    /// What the journal held at the start, until it is replayed.
    pub replay: Vec<JournalEntry>,
    /// Partitions that could not be opened: their log is damaged or unreadable.
    pub offline_partitions: HashSet<TopicPartition>,
    pub repairs: super::damage::Repairs,
    /// Identity of this process: a role is of its own registration, never of an earlier one's.
    pub incarnation: Uuid,
    /// Identity of the data directory.
    pub directory_id: Uuid,
    /// Identity for a cluster that does not exist yet.
    pub cluster_id: Uuid,
    /// Producer ids that this core may give out.
    pub producer_ids: Range<i64>,
    /// The driver's source of chance.
    pub random: Random,
    /// Held while recovery points are written, so that an older set never replaces a newer one.
    pub checkpoint_turn: Rc<futures::lock::Mutex<()>>,
    /// Bytes of segments, synced or read by recovery, that no recovery point spares the next start.
    pub unpointed_bytes: u64,
    pub sweep: Sweep,
    pub housekeeping_due_us: u64,
    /// When segments to drop are looked for next.
    pub retention_due_us: u64,
    pub cleaner: super::cleaner::CleanerState,
    pub peers: super::peers::Peers,
    pub replicas: super::replicas::Replicas,
    connections: Slab<Connection>,
    connections_opened: u64,
    /// Connections whose reading waits for the write path to catch up.
    pressed: Vec<ConnectionId>,
    questions: HashMap<u64, oneshot::Sender<Reply>>,
    questions_asked: u64,
    append_tasks: HashMap<u64, oneshot::Sender<AppendOutcome>>,
}

/// What a new shard is made of.
pub struct ShardParts<D: Disk> {
    pub core: CoreId,
    pub cores: u16,
    pub config: Arc<BrokerConfig>,
    pub data_dir: PathBuf,
    pub disk: D,
    pub journal: Journal<D>,
    /// What the journal held.
    pub replay: Vec<JournalEntry>,
    /// The image before the first record.
    pub image: MetadataImage,
    pub directory_id: Uuid,
    pub cluster_id: Uuid,
    /// The same on all cores.
    pub incarnation: Uuid,
    pub random: Random,
    pub stage_clock: StageClock,
    pub now: Now,
}

impl<D: Disk> Shard<D> {
    /// A shard without partitions; `open` in recovery.rs fills it.
    pub fn new(parts: ShardParts<D>) -> Shard<D> {
        assert!(parts.core.0 < parts.cores);
        let cores = usize::from(parts.cores);
        let sessions_max = parts.config.fetch_sessions_max.div_ceil(cores);
        let share_sessions_max = parts.config.groups.share.sessions_max.div_ceil(cores);
        let first_look_ms = parts.config.retention_check_ms.min(RETENTION_DELAY_MS);
        Shard {
            core: parts.core,
            cores: parts.cores,
            config: parts.config,
            data_dir: parts.data_dir,
            disk: parts.disk,
            now: parts.now,
            image: Arc::new(parts.image),
            write_state: WriteState::Open,
            partitions: Slab::new(),
            partition_indexes: HashMap::new(),
            journal: parts.journal,
            arena: TailArena::default(),
            signals: LoopSignals::default(),
            outbox: Outbox::default(),
            produces: ParkedTable::default(),
            produce_pool: Vec::new(),
            part_buffer: Vec::new(),
            fetches: ParkedTable::default(),
            sessions: FetchSessions::new(sessions_max),
            finished: Vec::new(),
            stats: Stats::default(),
            stages: Stages::new(parts.stage_clock),
            groups: Host::default(),
            transactions: Host::default(),
            share_states: Host::default(),
            shares: ShareTable::default(),
            share_sessions: ShareSessions::new(parts.core, share_sessions_max),
            markers: MarkerQueue::default(),
            held: HeldBatches::default(),
            guards: Guards::default(),
            pauses: Pauses::default(),
            topics: Arc::default(),
            group_overrides: Arc::default(),
            commit: super::group_commit::GroupCommit::default(),
            membership: super::membership::Membership::default(),
            lookup: super::lookup::Lookup::default(),
            metadata: super::metadata::Metadata::default(),
            quorum: super::quorum::Quorum::default(),
            is_stopping: false,
            replay: parts.replay,
            offline_partitions: HashSet::new(),
            repairs: super::damage::Repairs::default(),
            incarnation: parts.incarnation,
            directory_id: parts.directory_id,
            cluster_id: parts.cluster_id,
            producer_ids: 0..0,
            random: parts.random,
            checkpoint_turn: Rc::default(),
            unpointed_bytes: 0,
            sweep: Sweep::default(),
            housekeeping_due_us: 0,
            retention_due_us: parts.now.deadline_us(first_look_ms),
            cleaner: super::cleaner::CleanerState::default(),
            peers: super::peers::Peers::default(),
            replicas: super::replicas::Replicas::default(),
            connections: Slab::new(),
            connections_opened: 0,
            pressed: Vec::new(),
            questions: HashMap::new(),
            questions_asked: 0,
            append_tasks: HashMap::new(),
        }
    }

    /// Any 64 bits, from the driver's source of chance.
    pub fn random_number(&self) -> u64 {
        (self.random)().as_u64_pair().0
    }

    /// Takes the driver's reading of the clock; monotonic time never goes back.
    pub fn set_now(&mut self, now: Now) {
        assert!(now.monotonic_us >= self.now.monotonic_us);
        self.now = now;
    }

    /// A client connected; `None` when this core has `CONNECTIONS_MAX` already: close it at once.
    pub fn on_connect(&mut self, local: SocketAddr, peer: SocketAddr) -> Option<ConnectionId> {
        if self.connections.len() >= CONNECTIONS_MAX || self.is_stopping {
            self.stats.connections_refused += 1;
            return None;
        }
        self.connections_opened += 1;
        let entry = self.connections.vacant_entry();
        let id = ConnectionId { index: entry.key(), generation: self.connections_opened };
        let connection = entry.insert(Connection::new(id, local, peer));
        connection.is_controllers = self.config.listeners.is_controllers(local);
        self.stats.connections_opened += 1;
        Some(id)
    }

    /// The socket is gone; what is still parked for it will be swallowed.
    pub fn on_disconnect(&mut self, id: ConnectionId) {
        if self.connection(id).is_some() {
            self.connections.remove(id.index);
            self.end_share_sessions(id);
        }
    }

    /// The connection, unless it is gone.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index).filter(|connection| connection.id == id)
    }

    /// Connections open on this core.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Bytes of a connection came in: of them its next frame is cut.
    pub fn on_received(&mut self, id: ConnectionId, seen: Stamp) {
        if let Some(connection) = self.connection(id) {
            connection.seen = seen;
        }
    }

    /// What [`Shard::take_output`] gave was handed to the socket.
    pub fn on_sent(&mut self, id: ConnectionId) {
        let settled = self.connection(id).map(Connection::take_settled).unwrap_or_default();
        self.stages.end(Stage::Answer, settled);
    }

    /// Puts an answer into its slot, and tells the driver when bytes may leave.
    pub fn fill(&mut self, slot: SlotId, parts: Vec<Part>) {
        self.fill_settled(slot, parts, Stamp::NONE);
    }

    /// The same for an answer that was settled at a time.
    pub fn fill_settled(&mut self, slot: SlotId, parts: Vec<Part>, settled: Stamp) {
        let Some(connection) = self.connection(slot.connection) else { return };
        if connection.fill(slot.sequence, parts, settled) {
            self.outbox.ready.push(slot.connection);
            self.outbox.raise();
        }
    }

    /// Closes a connection after what is answered has left.
    pub fn close_connection(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connection(id) {
            connection.close();
            self.outbox.close.push(id);
            self.outbox.raise();
        }
    }

    /// True while the client of a connection has an answer to come.
    pub fn owes_answers(&mut self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(|connection| connection.owes_answers())
    }

    /// What the driver should write now, in order; empty when the connection is gone.
    pub fn take_output(&mut self, id: ConnectionId) -> Vec<Part> {
        self.connection(id).map(Connection::take_output).unwrap_or_default()
    }

    /// Holds a reader until the write path has caught up.
    pub fn press(&mut self, id: ConnectionId) {
        self.pressed.push(id);
        self.stats.reads_paused += 1;
    }

    /// Lets all held readers go on.
    pub fn release_pressed(&mut self) {
        for id in std::mem::take(&mut self.pressed) {
            if let Some(connection) = self.connection(id) {
                connection.resume.raise();
            }
        }
    }

    /// True while readers are held by [`Shard::press`].
    pub fn has_pressed(&self) -> bool {
        !self.pressed.is_empty()
    }

    /// The open partition's index on this core.
    pub fn partition_index(&self, partition: &TopicPartition) -> Option<PartitionIndex> {
        self.partition_indexes.get(partition).copied()
    }

    /// Registers a question to another core; the receiver completes with its reply.
    pub fn open_question(&mut self) -> (u64, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        self.questions_asked += 1;
        self.questions.insert(self.questions_asked, sender);
        (self.questions_asked, receiver)
    }

    /// A reply came in; the asker may have gone away meanwhile.
    pub fn on_reply(&mut self, id: u64, reply: Reply) {
        if let Some(sender) = self.questions.remove(&id) {
            let _ = sender.send(reply); // The asker's task was dropped: nobody wants the reply.
        }
    }

    /// Sends to another core through the outbox.
    pub fn send(&mut self, to: CoreId, message: ShardMessage) {
        assert!(to != self.core, "a core does not send to itself");
        self.outbox.mesh.push((to, message));
        self.outbox.raise();
    }

    /// Brings an append's outcome home: to this core's tables or to the core that asked.
    pub fn resolve(&mut self, token: PartToken, outcome: AppendOutcome) {
        match token {
            PartToken::Request { core, .. } if core != self.core => {
                self.outbox.appended(core, token, outcome);
            }
            PartToken::Request { key, part, .. } => self.on_appended(key, part, outcome),
            PartToken::Coordinator { partition } => {
                let code = outcome.code;
                if self.transactions.holds(&partition) {
                    self.on_coordinator_appended::<TransactionCoordinator>(partition, code);
                } else if self.share_states.holds(&partition) {
                    self.on_coordinator_appended::<ShareCoordinator>(partition, code);
                } else {
                    self.on_coordinator_appended::<GroupCoordinator>(partition, code);
                }
            }
            PartToken::Task { id } => {
                if let Some(sender) = self.append_tasks.remove(&id) {
                    let _ = sender.send(outcome); // The task was dropped: nobody waits.
                }
            }
        }
    }

    /// An outcome for a produce parked here arrived.
    pub fn on_appended(&mut self, key: ParkedKey, part: u32, outcome: AppendOutcome) {
        let Some(produce) = self.produces.get_mut(key) else { return };
        if produce.settle(part, outcome) {
            produce.stamp = self.stages.mark(produce.stamp);
            self.finished.push(Finished::Produce(key.index as usize));
            self.outbox.raise();
        }
    }

    /// A token for an append by a task of this core; the receiver completes with the outcome.
    pub fn open_append_task(&mut self) -> (PartToken, oneshot::Receiver<AppendOutcome>) {
        let (sender, receiver) = oneshot::channel();
        self.questions_asked += 1;
        self.append_tasks.insert(self.questions_asked, sender);
        (PartToken::Task { id: self.questions_asked }, receiver)
    }
}
