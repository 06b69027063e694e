//! A quorum of members in one process, with a disk and a network that a seed is unkind to.
//!
//! The disk keeps any sectors of what was not synced; the network loses, repeats and reorders;
//! members crash between any two steps. After every event the safety of what they did is checked.

use crate::controller::quorum::consensus::{
    Consensus, Entry, NotProposed, Outgoing, Payload, Proposed, Ready,
};
use crate::controller::quorum::files::{FileStep, Files};
use crate::controller::quorum::members::{MemberChange, Members};
use crate::controller::quorum::raft::{RaftConsensus, Start};
use crate::controller::quorum::snapshot::Snapshot;
use crate::controller::quorum::state::STATE_BYTES;
use crate::model::ids::BrokerId;
use bytes::{Buf, BufMut, Bytes};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Chance from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A file and what a power cut would leave of it.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

impl File {
    fn write(&mut self, position: u64, bytes: &[u8]) {
        let position = usize::try_from(position).unwrap();
        let end = position + bytes.len();
        self.now.resize(self.now.len().max(end), 0);
        self.now[position..end].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
    }

    /// Each sector is the new one or the old one.
    fn lose_power(&mut self, chance: &mut Chance) {
        let len = if chance.percent(50) { self.now.len() } else { self.durable.len() };
        let mut left = vec![0; len];
        for start in (0..len).step_by(512) {
            let from = if chance.percent(50) { &self.now } else { &self.durable };
            let end = (start + 512).min(len);
            let have = from.get(start..end.min(from.len()).max(start)).unwrap_or_default();
            left[start..start + have.len()].copy_from_slice(have);
        }
        self.now = left;
        self.sync();
    }
}

/// A member's files.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) snapshot: Option<Bytes>,
    pub(super) log: Option<File>,
    pub(super) state: File,
}

impl Disk {
    pub(super) fn run(&mut self, step: &FileStep) {
        match step {
            FileStep::WriteLog { position, parts } => {
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                self.log.as_mut().unwrap().write(*position, &bytes);
            }
            FileStep::CutLog { len } => {
                self.log.as_mut().unwrap().now.truncate(usize::try_from(*len).unwrap());
            }
            FileStep::SyncLog => self.log.as_mut().unwrap().sync(),
            FileStep::WriteState { position, bytes } => self.state.write(*position, bytes),
            FileStep::SyncState => self.state.sync(),
            FileStep::PutSnapshot { bytes, .. } => self.snapshot = Some(bytes.clone()),
            FileStep::ReplaceLog { bytes, .. } => {
                self.log = Some(File { now: bytes.to_vec(), durable: bytes.to_vec() });
            }
        }
    }

    fn lose_power(&mut self, chance: &mut Chance) {
        if let Some(log) = &mut self.log {
            log.lose_power(chance);
        }
        self.state.lose_power(chance);
        self.state.now.truncate(STATE_BYTES);
    }
}

/// What all applied entries add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) index: u64,
    hash: u64,
}

impl Sum {
    fn add(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.index + 1, "entries are applied in order, each once");
        self.index = entry.index;
        let mut crc = crc32c::crc32c(&entry.term.to_be_bytes());
        match &entry.payload {
            Payload::Empty => {}
            Payload::Records(bytes) => crc = crc32c::crc32c_append(crc, bytes),
            Payload::Members(change) => crc = crc32c::crc32c_append(crc, &change.encode()),
        }
        self.hash = self.hash.wrapping_mul(0x0100_0000_01B3) ^ u64::from(crc);
    }

    fn encode(self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64(self.index);
        out.put_u64(self.hash);
        Bytes::from(out)
    }

    fn decode(mut bytes: &[u8]) -> Sum {
        if bytes.is_empty() {
            return Sum { index: 1, hash: 0 };
        }
        Sum { index: bytes.get_u64(), hash: bytes.get_u64() }
    }
}

pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) disk: Disk,
    pub(super) raft: Option<RaftConsensus>,
    pub(super) files: Files,
    pub(super) sum: Sum,
    pub(super) sum_term: u64,
    pub(super) members: Members,
    snapshot_members: Members,
    queue: Vec<Ready>,
}

/// Safety seen so far, over all members and all their lives.
#[derive(Debug, Default)]
pub(super) struct History {
    leaders: BTreeMap<u64, BrokerId>,
    /// Term and sum behind each applied entry.
    applied: BTreeMap<u64, (u64, u64)>,
    pub(super) acknowledged: BTreeSet<Proposed>,
}

pub(super) struct Quorum {
    pub(super) chance: Chance,
    pub(super) nodes: Vec<Node>,
    pub(super) wire: Vec<(BrokerId, Outgoing)>,
    /// Pairs that hear nothing of each other, by direction.
    pub(super) cut: BTreeSet<(BrokerId, BrokerId)>,
    pub(super) history: History,
    pub(super) waiting: Vec<(usize, Proposed)>,
    /// False once faults are over.
    is_unkind: bool,
    /// Everything that happened, in one number.
    pub(super) trace: u64,
}

pub(super) fn first_snapshot(voters: &[i32]) -> Snapshot {
    let members = Members::of_voters(voters.iter().map(|id| BrokerId(*id)));
    Snapshot { index: 1, term: 1, members, data: Bytes::new() }
}

impl Quorum {
    pub(super) fn new(voters: i32, spares: i32, seed: u64) -> Quorum {
        let ids: Vec<i32> = (0..voters).collect();
        let snapshot = first_snapshot(&ids);
        let mut quorum = Quorum {
            chance: Chance(seed),
            nodes: Vec::new(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            history: History::default(),
            waiting: Vec::new(),
            is_unkind: true,
            trace: 0,
        };
        for id in 0..voters + spares {
            let mut disk = Disk::default();
            if id < voters {
                Files::format(&snapshot).iter().for_each(|step| disk.run(step));
            }
            quorum.nodes.push(Node {
                id: BrokerId(id),
                disk,
                raft: None,
                files: Files::default(),
                sum: Sum::default(),
                sum_term: 0,
                members: Members::default(),
                snapshot_members: Members::default(),
                queue: Vec::new(),
            });
            quorum.start(usize::try_from(id).unwrap());
        }
        quorum
    }

    pub(super) fn start(&mut self, at: usize) {
        let seed = self.chance.next();
        let node = &mut self.nodes[at];
        let snapshot = node.disk.snapshot.as_deref();
        let log = node.disk.log.as_ref().map(|log| &log.now[..]);
        let recovered = Files::recover(snapshot, log, &node.disk.state.now).unwrap();
        recovered.repairs.iter().for_each(|step| node.disk.run(step));
        node.files = recovered.files;
        node.sum = match recovered.snapshot.index {
            0 => Sum::default(),
            _ => Sum::decode(&recovered.snapshot.data),
        };
        node.sum_term = recovered.snapshot.term;
        node.members = recovered.snapshot.members.clone();
        node.snapshot_members = node.members.clone();
        node.raft = Some(RaftConsensus::new(Start {
            id: node.id,
            directory: Uuid::from_u128(u128::try_from(at).unwrap() + 1),
            state: recovered.state,
            snapshot: recovered.snapshot,
            base: recovered.base,
            entries: recovered.entries,
            seed,
        }));
        self.collect(at);
    }

    /// Takes what a member has to do; messages that may leave at once leave.
    pub(super) fn collect(&mut self, at: usize) {
        while let Some(ready) = self.nodes[at].raft.as_mut().and_then(Consensus::ready) {
            self.send(at, ready.messages.clone());
            self.nodes[at].queue.push(ready);
        }
        let node = &self.nodes[at];
        let role = node.raft.as_ref().unwrap().role();
        if role.is_leader {
            let leader = *self.history.leaders.entry(role.term).or_insert(node.id);
            assert_eq!(leader, node.id, "two leaders in term {}", role.term);
        }
    }

    fn send(&mut self, at: usize, messages: Vec<Outgoing>) {
        let from = self.nodes[at].id;
        for message in messages {
            self.trace = self.trace.wrapping_mul(31) ^ u64::from(crc32c::crc32c(&message.bytes));
            self.wire.push((from, message));
        }
    }

    /// Carries out everything that waits for the disk, and applies what it commits.
    pub(super) fn persist(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let readies = std::mem::take(&mut node.queue);
        let Some(number) = readies.last().map(|ready| ready.number) else { return };
        let persists = readies.iter().map(|ready| ready.persist.clone()).collect();
        for step in node.files.plan(persists) {
            node.disk.run(&step);
        }
        let released = node.raft.as_mut().unwrap().persisted(number);
        self.send(at, released);
        for ready in readies {
            if let Some(snapshot) = &ready.persist.snapshot {
                self.install(at, snapshot);
            }
            self.apply(at, &ready.committed);
        }
        if self.nodes[at].members != self.nodes[at].snapshot_members {
            self.compact(at);
        }
        if self.nodes[at].raft.is_some() {
            self.collect(at);
        }
    }

    fn install(&mut self, at: usize, snapshot: &Snapshot) {
        let node = &mut self.nodes[at];
        assert!(snapshot.index > node.sum.index, "a snapshot never takes a member back");
        node.sum = Sum::decode(&snapshot.data);
        node.sum_term = snapshot.term;
        node.members = snapshot.members.clone();
        node.snapshot_members = node.members.clone();
        assert_eq!(node.sum.index, snapshot.index);
        if let Some(known) = self.history.applied.get(&snapshot.index) {
            assert_eq!(*known, (snapshot.term, node.sum.hash), "snapshots are what was applied");
        }
    }

    fn apply(&mut self, at: usize, entries: &[Entry]) {
        for entry in entries {
            let node = &mut self.nodes[at];
            node.sum.add(entry);
            node.sum_term = entry.term;
            if let Payload::Members(change) = entry.payload {
                node.members.apply(change);
            }
            let now = (entry.term, node.sum.hash);
            let first = *self.history.applied.entry(entry.index).or_insert(now);
            assert_eq!(first, now, "entry {} of member {at} is another one", entry.index);
            let place = Proposed { term: entry.term, index: entry.index };
            if self.waiting.contains(&(at, place)) {
                self.history.acknowledged.insert(place);
            }
        }
    }

    pub(super) fn tick(&mut self, at: usize) {
        if let Some(raft) = &mut self.nodes[at].raft {
            raft.tick();
            self.collect(at);
        }
    }

    /// Delivers message `which` of those on the wire.
    pub(super) fn deliver(&mut self, which: usize) {
        let (from, message) = self.wire.swap_remove(which);
        if self.cut.contains(&(from, message.to)) {
            return;
        }
        let at = usize::try_from(message.to.0).unwrap();
        if let Some(raft) = &mut self.nodes[at].raft {
            raft.step(from, &message.bytes).unwrap();
            self.collect(at);
        }
    }

    pub(super) fn propose(&mut self, at: usize) -> Result<(), NotProposed> {
        let number = self.chance.next();
        let len = 8 + self.chance.below(900);
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(len, 7);
        let Some(raft) = &mut self.nodes[at].raft else { return Ok(()) };
        let place = raft.propose(Bytes::from(payload))?;
        self.waiting.push((at, place));
        self.collect(at);
        Ok(())
    }

    pub(super) fn change(&mut self, at: usize, change: MemberChange) -> Result<(), NotProposed> {
        let Some(raft) = &mut self.nodes[at].raft else { return Ok(()) };
        raft.change_members(change)?;
        self.collect(at);
        Ok(())
    }

    /// The process ends in the middle of what it was writing; the power goes, or stays.
    pub(super) fn crash(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let persists = node.queue.drain(..).map(|ready| ready.persist).collect();
        let steps = node.files.plan(persists);
        let done = self.chance.below(steps.len() + 1);
        for step in &steps[..done] {
            node.disk.run(step);
        }
        node.disk.lose_power(&mut self.chance);
        node.raft = None;
        let id = node.id;
        self.wire.retain(|(from, _)| *from != id || self.chance.percent(50));
        self.waiting.retain(|(waits, _)| *waits != at);
    }

    pub(super) fn compact(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some(raft) = &mut node.raft else { return };
        if !node.queue.is_empty() || node.sum.index <= 1 {
            return;
        }
        let members = node.members.clone();
        node.snapshot_members = members.clone();
        let data = node.sum.encode();
        let snapshot = Snapshot { index: node.sum.index, term: node.sum_term, members, data };
        let kept = raft.compact(snapshot.clone());
        let steps = node.files.plan_compaction(&snapshot, &kept);
        let is_cut_off = self.is_unkind && self.chance.percent(20);
        let done = if is_cut_off { self.chance.below(steps.len()) } else { steps.len() };
        for step in steps.iter().take(done) {
            node.disk.run(step);
        }
        if done < steps.len() {
            self.crash(at);
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let roles = self.nodes.iter().map(|node| node.raft.as_ref().map(Consensus::role));
        let leading = roles.enumerate().filter_map(|(at, role)| Some((role?, at)));
        leading
            .filter(|(role, _)| role.is_leader)
            .max_by_key(|(role, _)| role.term)
            .map(|(_, at)| at)
    }

    /// Heals everything and waits until a new proposal is applied by all members.
    pub(super) fn converge(&mut self) {
        self.cut.clear();
        self.is_unkind = false;
        for at in 0..self.nodes.len() {
            if self.nodes[at].raft.is_none() {
                self.start(at);
            }
        }
        let mut goal = None;
        for _ in 0..2000 {
            for at in 0..self.nodes.len() {
                self.tick(at);
                self.persist(at);
            }
            for _ in 0..self.wire.len() {
                self.deliver(0);
            }
            if goal.is_none()
                && let Some(leader) = self.leader()
                && self.propose(leader).is_ok()
            {
                goal = self.waiting.last().copied();
            }
            if let Some((leader, place)) = goal {
                if !self.history.applied.contains_key(&place.index) && self.leader() != Some(leader)
                {
                    goal = None;
                    continue;
                }
                let members = &self.nodes[leader].members;
                let mut nodes = self.nodes.iter().filter(|node| members.contains(node.id));
                if nodes.all(|node| node.sum.index >= place.index) {
                    let (term, _) = self.history.applied[&place.index];
                    if term == place.term {
                        return;
                    }
                    goal = None;
                }
            }
        }
        panic!("the quorum does not recover");
    }

    /// Everything that was acknowledged is still there.
    pub(super) fn check_acknowledged(&self) {
        for place in &self.history.acknowledged {
            let (term, _) = self.history.applied[&place.index];
            assert_eq!(term, place.term, "entry {} was acknowledged and lost", place.index);
        }
    }
}
