//! The metadata quorum at work: on the controller's core, between the consensus, the disk, the
//! other members and the image.
//!
//! ```text
//! tick, on_message, propose ─▶ pump ─▶ messages out
//!                               │ readies
//!                          persist (one write, one sync for all of them) ─▶ messages that waited
//!                               │ committed entries
//!                           apply (one image for all of them) ─▶ publish ─▶ waiting decisions
//! ```
//!
//! Why persisting and applying take turns of their own: cores may need long to open what an image
//! gives them, and votes and heartbeats must not wait for that.
//!
//! Invariants
//! - An image that a core works with is committed and durable here.
//! - A decision is answered when it is applied, or when it is known that this leader will not learn
//!   what became of it.
//! - After a write or sync that failed nothing leaves any more: a voter that forgets is worse than
//!   one that is silent.

use crate::controller::image::MetadataImage;
use crate::controller::quorum::consensus::{
    Consensus, Entry, NotProposed, Outgoing, Payload, Proposed, QuorumRole, Ready,
};
use crate::controller::quorum::files::{FileStep, Files};
use crate::controller::quorum::members::{MemberChange, Members};
use crate::controller::quorum::raft::RaftConsensus;
use crate::controller::quorum::snapshot::{Snapshot, image_bytes};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId};
use crate::model::limits::{
    QUORUM_COMMIT_WRITE_MS, QUORUM_EARLY_CAMPAIGNS, QUORUM_ROOM_RETRY_MS, QUORUM_SNAPSHOT_BYTES,
    QUORUM_SNAPSHOT_ENTRIES, QUORUM_STAGGER_MS, QUORUM_TICK_MS,
};
use crate::protocol::part::Part;
use crate::protocol::peer::PeerKind;
use crate::shard::mesh::ShardMessage;
use crate::shard::metadata::{self, CONTROLLER_CORE, Controller};
use crate::shard::quorum_files::{self, Applied, Loaded, MetadataError, OpenFiles};
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::signal::Signal;
use crate::storage::disk::{Disk, DiskError};
use bytes::Bytes;
use futures::channel::oneshot;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

/// The quorum on one core; only the controller's core has one that is open.
pub struct Quorum<D: Disk> {
    open: Option<Open<D>>,
    /// Something waits for the disk.
    persists: Signal,
    /// Something waits to be applied.
    applies: Signal,
    persist_turn: Rc<futures::lock::Mutex<()>>,
    apply_turn: Rc<futures::lock::Mutex<()>>,
}

impl<D: Disk> Default for Quorum<D> {
    fn default() -> Quorum<D> {
        Quorum {
            open: None,
            persists: Signal::default(),
            applies: Signal::default(),
            persist_turn: Rc::default(),
            apply_turn: Rc::default(),
        }
    }
}

/// What became of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Applied,
    /// Leadership ended first: another leader may or may not commit it.
    Unknown,
}

struct Open<D: Disk> {
    consensus: RaftConsensus,
    files: OpenFiles<D>,
    plan: Files,
    readies: Vec<Ready>,
    committed: VecDeque<Step>,
    applied: Applied,
    /// The image before the first record, for snapshots that come in.
    blank: MetadataImage,
    snapshot_index: u64,
    /// As the last snapshot names them: who joins later is given a newer one.
    snapshot_members: Members,
    snapshot: Option<Snapshot>,
    waiting: BTreeMap<Proposed, oneshot::Sender<Fate>>,
    /// When members were last heard, in milliseconds of the wall clock, and last had all entries.
    heard: BTreeMap<BrokerId, (i64, i64)>,
    tick_us: u64,
    /// The leader's process has ended, and nobody has taken its place yet.
    orphan: Option<Orphan>,
    /// Data directories of learners whom this member tells as the leader of a term.
    learners: (u64, BTreeMap<BrokerId, Uuid>),
    /// When the commit index is written down, if nothing else comes before.
    commit_us: Option<u64>,
    /// The image that this core decides upon is the quorum's own.
    has_image: bool,
    /// The broker has opened its partitions: what is committed may be published.
    serves: bool,
    /// The disk is full: until there is room, this member is as one that does not run.
    is_stuck: bool,
    has_failed: bool,
}

/// A voter whose leader is gone.
#[derive(Debug, Clone, Copy)]
struct Orphan {
    /// When it asks for votes, in monotonic microseconds.
    campaign_us: u64,
    pause_ms: u64,
    campaigns: u32,
}

enum Step {
    Install(Snapshot),
    Apply(Entry),
}

/// The quorum for DescribeQuorum.
#[derive(Debug, Clone, Default)]
pub struct QuorumView {
    pub role: QuorumRole,
    /// When members were last heard, and when they last had all entries; wall clock, milliseconds.
    pub heard: BTreeMap<BrokerId, (i64, i64)>,
}

impl<D: Disk> Quorum<D> {
    /// Goes on from what `load` found.
    pub fn open(&mut self, loaded: Loaded<D>, blank: MetadataImage) {
        assert!(self.open.is_none(), "a quorum is opened once");
        self.open = Some(Open {
            consensus: loaded.consensus,
            files: loaded.files,
            plan: loaded.plan,
            readies: loaded.readies,
            committed: VecDeque::new(),
            snapshot_index: loaded.snapshot_index,
            snapshot_members: loaded.snapshot_members,
            applied: loaded.applied,
            blank,
            snapshot: None,
            waiting: BTreeMap::new(),
            heard: BTreeMap::new(),
            tick_us: 0,
            orphan: None,
            learners: (0, BTreeMap::new()),
            commit_us: None,
            has_image: false,
            serves: false,
            is_stuck: false,
            has_failed: false,
        });
    }

    /// When `tick_quorum` has something to do, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        let Some(open) = &self.open else { return u64::MAX };
        if open.is_stuck {
            // Where nobody else is a member, nothing but the pause has an end.
            return if open.is_alone() { u64::MAX } else { open.tick_us };
        }
        let commit_us = open.commit_us.unwrap_or(u64::MAX);
        let orphan_us = open.orphan.map_or(u64::MAX, |orphan| orphan.campaign_us);
        if open.is_alone() { commit_us } else { commit_us.min(open.tick_us).min(orphan_us) }
    }

    /// Applies what is committed to an image that no core works with yet.
    ///
    /// # Errors
    /// A record is not known here, or does not follow from those before it.
    pub fn take_committed(&mut self, image: &mut MetadataImage) -> Result<(), MetadataError> {
        match &mut self.open {
            Some(open) => open.apply_committed(image).map(drop),
            None => Ok(()),
        }
    }

    /// What was taken of the committed entries is the image that this core works with: from here on
    /// it may decide.
    pub fn begin(&mut self) {
        if let Some(open) = &mut self.open {
            open.has_image = true;
        }
    }

    /// Everything committed may be published from here on.
    pub fn serve(&mut self) {
        if let Some(open) = &mut self.open {
            open.serves = true;
        }
        self.applies.raise();
    }

    /// True when this member is the leader and has applied an entry of its own term: it knows all
    /// that its predecessors decided.
    pub fn is_active(&self) -> bool {
        self.open.as_ref().is_some_and(Open::is_active)
    }

    /// Whether the quorum's files are read: before that nothing is known of it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether nobody else has a vote.
    pub fn is_alone(&self) -> bool {
        self.open.as_ref().is_some_and(Open::is_alone)
    }

    /// Who leads and who follows how far.
    pub fn view(&self) -> QuorumView {
        let Some(open) = &self.open else { return QuorumView::default() };
        QuorumView { role: open.consensus.role(), heard: open.heard.clone() }
    }
}

impl<D: Disk> Open<D> {
    fn is_active(&self) -> bool {
        let now = self.consensus.leadership();
        let knows_all = self.applied.term == now.term && self.has_image;
        now.is_leader && knows_all && !self.has_failed && !self.is_stuck
    }

    fn is_alone(&self) -> bool {
        let members = &self.applied.members;
        members.voters.len() == 1 && members.learners.is_empty()
    }

    /// Asks for votes when it is this voter's turn; true when it did.
    fn campaign_if_due(&mut self, now: Now) -> bool {
        let Some(orphan) = &mut self.orphan else { return false };
        let is_over = self.consensus.leadership().leader.is_some()
            || orphan.campaigns >= QUORUM_EARLY_CAMPAIGNS;
        if is_over {
            self.orphan = None;
            return false;
        }
        if orphan.campaign_us > now.monotonic_us {
            return false;
        }
        orphan.campaigns += 1;
        orphan.campaign_us = now.deadline_us(orphan.pause_ms);
        self.consensus.campaign();
        true
    }

    fn on_heard(&mut self, from: BrokerId, now_ms: i64) {
        self.heard.entry(from).or_insert((0, 0)).0 = now_ms;
        if !self.consensus.leadership().is_leader {
            return;
        }
        let role = self.consensus.role();
        if role.progress.get(&from) == Some(&role.last_index) {
            self.heard.entry(from).or_insert((0, 0)).1 = now_ms;
        }
    }
}

impl<D: Disk> Shard<D> {
    /// Moves the quorum's time; on every core, most have none.
    pub fn tick_quorum(&mut self) {
        let now = self.now;
        let now_us = now.monotonic_us;
        let next_us = now.deadline_us(QUORUM_TICK_MS);
        let Some(open) = &mut self.quorum.open else { return };
        if open.is_stuck {
            open.tick_us = next_us;
            return;
        }
        if open.commit_us.is_some_and(|due| due <= now_us) {
            self.quorum.persists.raise();
        }
        if open.is_alone() {
            return;
        }
        let has_campaigned = open.campaign_if_due(now);
        let is_due = open.tick_us <= now_us;
        if is_due {
            open.tick_us = next_us;
            open.consensus.tick();
        }
        if is_due || has_campaigned {
            self.pump_quorum();
        }
    }

    /// A member's process has ended. Where it led, the voters take turns to ask for votes at once.
    pub(super) fn on_quorum_peer_gone(&mut self, broker: BrokerId) {
        let now = self.now;
        let own = self.image.local();
        let Some(open) = &mut self.quorum.open else { return };
        if !open.consensus.on_gone(broker) {
            return;
        }
        let others = open.applied.members.voters.iter().filter(|voter| **voter != broker);
        let turn = others.clone().filter(|voter| **voter < own).count() as u64;
        open.orphan = Some(Orphan {
            campaign_us: now.deadline_us(turn * QUORUM_STAGGER_MS),
            pause_ms: others.count() as u64 * QUORUM_STAGGER_MS,
            campaigns: 0,
        });
        tracing::info!(broker = broker.0, turn, "the active controller's process has ended");
        self.pump_quorum();
    }

    /// Takes what the consensus wants done: messages leave, the rest waits for the disk.
    fn pump_quorum(&mut self) {
        let Some(open) = &mut self.quorum.open else { return };
        if open.has_failed || open.is_stuck {
            return;
        }
        let mut messages = Vec::new();
        while let Some(mut ready) = open.consensus.ready() {
            messages.append(&mut ready.messages);
            open.readies.push(ready);
        }
        if !open.readies.is_empty() {
            self.quorum.persists.raise();
        }
        let now = open.consensus.leadership();
        let is_lost = |place: &Proposed| !now.is_leader || place.term != now.term;
        let lost: Vec<Proposed> = open.waiting.keys().copied().filter(is_lost).collect();
        for place in lost {
            open.resolve(place, Fate::Unknown);
        }
        self.send_quorum(messages);
        self.tell_controller();
    }

    fn send_quorum(&mut self, messages: Vec<Outgoing>) {
        for message in messages {
            // Lost messages are sent again by the protocol itself.
            let payload = [Part::Memory(message.bytes)];
            self.send_peer(message.to, CONTROLLER_CORE, PeerKind::Raft, &payload);
        }
    }

    /// Tells every core who decides, when that has changed.
    fn tell_controller(&mut self) {
        let Some(open) = &self.quorum.open else { return };
        let now = open.consensus.leadership();
        let leader = if now.is_leader && !open.is_active() { None } else { now.leader };
        let controller = Controller { leader, term: now.term };
        if controller == self.metadata.controller {
            return;
        }
        self.metadata.controller = controller;
        match leader {
            _ if open.is_alone() => {} // It is its own.
            Some(broker) => tracing::info!(broker = broker.0, term = now.term, "the controller"),
            None => tracing::info!(term = now.term, "no controller is known"),
        }
        if now.is_leader {
            self.signals.controller.raise();
        }
        for core in (0..self.cores).map(CoreId).filter(|core| *core != CONTROLLER_CORE) {
            self.send(core, ShardMessage::Controller(controller));
        }
    }

    /// Puts a decision's frame into the log; the receiver hears what became of it.
    ///
    /// # Errors
    /// This member does not lead, or too much is under way.
    pub fn propose(&mut self, frame: Bytes) -> Result<oneshot::Receiver<Fate>, NotProposed> {
        let open = self.quorum.open.as_mut().ok_or(NotProposed::NotLeader)?;
        let place = open.consensus.propose(frame)?;
        Ok(self.await_place(place))
    }

    /// Puts a change of members into the log; the receiver hears what became of it.
    ///
    /// # Errors
    /// This member does not lead, or another change is under way.
    pub fn change_members(
        &mut self,
        change: MemberChange,
    ) -> Result<oneshot::Receiver<Fate>, NotProposed> {
        let open = self.quorum.open.as_mut().ok_or(NotProposed::NotLeader)?;
        let place = open.consensus.change_members(change)?;
        Ok(self.await_place(place))
    }

    fn await_place(&mut self, place: Proposed) -> oneshot::Receiver<Fate> {
        let (sender, receiver) = oneshot::channel();
        if let Some(open) = &mut self.quorum.open {
            open.waiting.insert(place, sender);
        }
        self.pump_quorum();
        receiver
    }

    /// Has the voter lead that has most entries of those who were heard at `since_ms` or later.
    pub fn hand_over_quorum(&mut self, since_ms: i64) {
        let own = self.image.local();
        let Some(open) = &mut self.quorum.open else { return };
        let role = open.consensus.role();
        let is_heard = |id: &BrokerId| open.heard.get(id).is_some_and(|(at, _)| *at >= since_ms);
        let others = role.members.voters.iter().filter(|id| **id != own && is_heard(id));
        if let Some(to) = others.max_by_key(|id| role.progress.get(id).copied()).copied() {
            open.consensus.hand_over(to);
            self.pump_quorum();
        }
    }

    /// Becomes leader at once where nobody else could object.
    pub fn hasten_quorum(&mut self) {
        if let Some(open) = &mut self.quorum.open {
            open.consensus.hasten();
        }
        self.pump_quorum();
    }

    /// The connection to a member broke: what was on its way may be lost. The next tick sends anew.
    pub fn on_quorum_peer_down(&mut self, broker: BrokerId) {
        if let Some(open) = &mut self.quorum.open
            && open.applied.members.contains(broker)
        {
            open.consensus.unreachable(broker);
        }
    }

    /// Nothing that was promised can be promised any more.
    fn fail_quorum(&mut self) {
        if let Some(open) = &mut self.quorum.open {
            open.has_failed = true;
            open.waiting.clear();
        }
        self.tell_controller();
    }
}

/// A message of another member came in.
pub fn on_message<D: Disk>(shard: &ShardRef<D>, from: BrokerId, payload: &Bytes) {
    let mut shard = shard.borrow_mut();
    let now_ms = shard.now.wall_ms;
    let Some(open) = &mut shard.quorum.open else { return };
    if open.has_failed || open.is_stuck {
        return;
    }
    match open.consensus.step(from, payload) {
        Ok(()) => open.on_heard(from, now_ms),
        Err(error) => {
            let message = format!("a message of broker {} about the quorum: {error}", from.0);
            shard.complain_of(from.0, KafkaCode::InvalidRecord, &message);
        }
    }
    shard.pump_quorum();
}

/// Makes durable what waits for it, until nothing does.
pub async fn persist<D: Disk>(shard: &ShardRef<D>) {
    let turn = Rc::clone(&shard.borrow().quorum.persist_turn);
    let _turn = turn.lock().await;
    loop {
        shard.borrow_mut().pump_quorum();
        let Some(mut batch) = shard.borrow_mut().plan_persist() else { return };
        if let Err(error) = write(shard, &mut batch).await {
            let mut shard = shard.borrow_mut();
            shard.fail_quorum();
            shard.go_offline(&error);
            return;
        }
        shard.borrow_mut().on_persisted(batch.files, batch.readies);
    }
}

/// Carries out the steps of a batch; where the disk is full, once there is room.
async fn write<D: Disk>(shard: &ShardRef<D>, batch: &mut Batch<D>) -> Result<(), DiskError> {
    let disk = shard.borrow().disk.clone();
    loop {
        let Err(error) = batch.files.run(&disk, &mut batch.steps).await else { break };
        // What a sync has failed to write is not known to be in memory any more.
        let is_sync = matches!(batch.steps.front(), Some(FileStep::SyncLog | FileStep::SyncState));
        let pause = match error.is_no_space() && !is_sync {
            true => shard.borrow_mut().await_room(&error),
            false => None,
        };
        let Some(pause) = pause else { return Err(error) };
        if pause.await.is_err() {
            return Err(error);
        }
    }
    if let Some(open) = &mut shard.borrow_mut().quorum.open {
        open.is_stuck = false;
    }
    Ok(())
}

struct Batch<D: Disk> {
    files: OpenFiles<D>,
    steps: VecDeque<FileStep>,
    readies: Vec<Ready>,
}

impl<D: Disk> Shard<D> {
    /// Makes this member one that says and hears nothing, and ends when it is time to look for room
    /// again; `None` for a broker that starts or stops.
    fn await_room(&mut self, error: &DiskError) -> Option<oneshot::Receiver<()>> {
        let is_stopping = self.is_stopping;
        let open = self.quorum.open.as_mut().filter(|open| open.serves && !is_stopping)?;
        open.is_stuck = true;
        self.on_disk_full(error);
        self.tell_controller();
        let due_us = self.now.deadline_us(QUORUM_ROOM_RETRY_MS);
        Some(self.pauses.until(due_us))
    }

    /// Everything that waits, as one run of steps; `None` when nothing does.
    fn plan_persist(&mut self) -> Option<Batch<D>> {
        let now_us = self.now.monotonic_us;
        let later_us = self.now.deadline_us(QUORUM_COMMIT_WRITE_MS);
        let open = self.quorum.open.as_mut().filter(|open| !open.has_failed)?;
        let is_due = open.commit_us.is_some_and(|due| due <= now_us) && open.readies.is_empty();
        if open.readies.is_empty() && open.snapshot.is_none() && !is_due {
            return None;
        }
        let readies = std::mem::take(&mut open.readies);
        let persists = readies.iter().map(|ready| ready.persist.clone());
        let mut steps = VecDeque::from(open.plan.plan(persists.collect()));
        if readies.iter().any(|ready| ready.persist.state.is_some()) {
            open.commit_us = Some(later_us);
        }
        if is_due {
            steps.extend(open.plan.plan_commit());
            open.commit_us = None;
        }
        if let Some(snapshot) = open.snapshot.take() {
            let kept = open.consensus.compact(snapshot.clone());
            steps.extend(open.plan.plan_compaction(&snapshot, &kept));
            open.snapshot_index = snapshot.index;
        }
        Some(Batch { files: open.files.clone(), steps, readies })
    }

    fn on_persisted(&mut self, files: OpenFiles<D>, readies: Vec<Ready>) {
        let Some(open) = &mut self.quorum.open else { return };
        open.files = files;
        let Some(number) = readies.last().map(|ready| ready.number) else { return };
        let messages = open.consensus.persisted(number);
        for ready in readies {
            if let Some(snapshot) = ready.persist.snapshot {
                open.snapshot_index = snapshot.index;
                open.snapshot_members.clone_from(&snapshot.members);
                open.committed.push_back(Step::Install(snapshot));
            }
            open.committed.extend(ready.committed.into_iter().map(Step::Apply));
        }
        if !open.committed.is_empty() {
            self.quorum.applies.raise();
        }
        self.send_quorum(messages);
    }
}

impl<D: Disk> Open<D> {
    fn resolve(&mut self, place: Proposed, fate: Fate) {
        if let Some(sender) = self.waiting.remove(&place) {
            let _ = sender.send(fate); // Whoever asked has gone away.
        }
    }

    /// Applies everything that is committed to `image`; places that are settled by it.
    fn apply_committed(
        &mut self,
        image: &mut MetadataImage,
    ) -> Result<(Vec<Proposed>, bool), MetadataError> {
        let mut places = Vec::new();
        let mut has_changed = false;
        for step in std::mem::take(&mut self.committed) {
            match step {
                Step::Install(snapshot) => {
                    *image = snapshot.image(&self.blank)?;
                    self.applied.index = snapshot.index;
                    self.applied.term = snapshot.term;
                    self.applied.members = snapshot.members;
                    has_changed = true;
                }
                Step::Apply(entry) => {
                    quorum_files::apply(image, &mut self.applied, &entry)?;
                    has_changed |= matches!(entry.payload, Payload::Records(_));
                    places.push(Proposed { term: entry.term, index: entry.index });
                }
            }
        }
        Ok((places, has_changed))
    }

    /// Registered voters are known by their data directories, also to those they never spoke to.
    fn introduce_voters(&mut self, image: &MetadataImage) {
        for voter in &self.applied.members.voters {
            if let Some(node) = image.node(*voter) {
                self.consensus.introduce(*voter, node.registration.directory);
            }
        }
    }

    /// A snapshot of what is applied, when the log behind the last one has become long.
    fn snapshot_if_due(&mut self, image: &MetadataImage) {
        let entries = self.applied.index - self.snapshot_index.min(self.applied.index);
        let is_long = (entries > 0 && self.applied.members != self.snapshot_members)
            || entries >= QUORUM_SNAPSHOT_ENTRIES
            || (entries > 0 && self.plan.log_bytes() >= QUORUM_SNAPSHOT_BYTES);
        if is_long && self.snapshot.is_none() {
            self.snapshot_members.clone_from(&self.applied.members);
            self.snapshot = Some(Snapshot {
                index: self.applied.index,
                term: self.applied.term,
                members: self.applied.members.clone(),
                data: image_bytes(image),
            });
        }
    }
}

/// Applies what is committed, until nothing is left, and hands each image to every core.
pub async fn apply<D: Disk>(shard: &ShardRef<D>) {
    let turn = Rc::clone(&shard.borrow().quorum.apply_turn);
    let _turn = turn.lock().await;
    loop {
        let (image, places, has_changed) = {
            let mut shard = shard.borrow_mut();
            let mut image = MetadataImage::clone(&shard.image);
            let Some(open) = &mut shard.quorum.open else { return };
            if open.committed.is_empty() || open.has_failed {
                return;
            }
            match open.apply_committed(&mut image) {
                Ok((places, has_changed)) => (image, places, has_changed),
                Err(error) => {
                    tracing::error!(%error, "committed metadata cannot be applied");
                    shard.fail_quorum();
                    return;
                }
            }
        };
        let image = Arc::new(image);
        if has_changed {
            metadata::publish(shard, Arc::clone(&image)).await;
        }
        let mut shard = shard.borrow_mut();
        if let Some(open) = &mut shard.quorum.open {
            for place in places {
                open.resolve(place, Fate::Applied);
            }
            open.introduce_voters(&image);
            open.snapshot_if_due(&image);
            if open.snapshot.is_some() {
                shard.quorum.persists.raise();
            }
        }
        shard.tell_controller();
        shard.follow_brokers();
    }
}

impl<D: Disk> Shard<D> {
    /// Whoever is registered is a member, at least as a learner; one change at a time.
    fn follow_brokers(&mut self) {
        let Some(open) = self.quorum.open.as_mut().filter(|open| open.is_active()) else { return };
        let term = open.consensus.leadership().term;
        let members = &open.applied.members;
        let joins = self.image.nodes().map(|node| node.id());
        let joins = joins.filter(|id| !members.contains(*id)).map(MemberChange::AddLearner);
        let goes = members.learners.iter().filter(|id| self.image.node(**id).is_none());
        let next = joins.chain(goes.copied().map(MemberChange::Remove)).next();
        if open.learners.0 != term {
            open.learners = (term, BTreeMap::new());
        }
        let told = &mut open.learners.1;
        told.retain(|id, _| members.learners.contains(id));
        let mut is_other = |id: &BrokerId| {
            let directory = self.image.node(*id)?.registration.directory;
            (*told.entry(*id).or_insert(directory) != directory).then_some(*id)
        };
        // What it had is gone with its disk: it begins anew.
        let replaced: Vec<BrokerId> = members.learners.iter().filter_map(&mut is_other).collect();
        let next = next.or_else(|| replaced.first().copied().map(MemberChange::Remove));
        if let Some(change) = next {
            // Refused while another is under way: its end leads here again.
            let _ = self.change_members(change);
        }
    }
}

/// The quorum's disk loop; sleeps for good on cores without a quorum.
pub async fn persist_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().quorum.persists.clone();
    loop {
        signal.wait().await;
        persist(&shard).await;
    }
}

/// The quorum's applying loop; sleeps for good on cores without a quorum.
pub async fn apply_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().quorum.applies.clone();
    loop {
        signal.wait().await;
        let serves = shard.borrow().quorum.open.as_ref().is_some_and(|open| open.serves);
        if serves {
            apply(&shard).await;
            metadata::found_cluster(&shard);
        }
    }
}

/// Writes down what is known to be committed; the last step of a stop.
pub async fn close<D: Disk>(shard: &ShardRef<D>) {
    {
        let mut shard = shard.borrow_mut();
        let now_us = shard.now.monotonic_us;
        if let Some(open) = &mut shard.quorum.open {
            open.commit_us = open.commit_us.map(|_| now_us);
        }
    }
    persist(shard).await;
}
