//! Raft behind [`Consensus`]: pre-vote, check-quorum, snapshots, one change of members at a time.
//!
//! Why the library is kept on a lead: it draws election timeouts from the process's own chance, so
//! each is overwritten by one from our seed; and it ends the process on a message that no sound
//! member sends, so `RaftConsensus::check` refuses such messages before it sees them.
//!
//! Invariants
//! - The same seed and the same calls give the same bytes.
//! - Nothing that `step` is given ends the process.
//! - A voter whose data directory is not the one first met is neither heard nor counted.

use super::consensus::{
    Consensus, Durable, Entry, Kept, Leadership, LogBase, NotProposed, Outgoing, Payload, Persist,
    Proposed, QuorumRole, Ready,
};
use super::members::{MemberChange, Members};
use super::snapshot::Snapshot;
use super::store::{self, Store, to_broker, to_number};
use super::wire::{Message, MessageKind, WireError};
use crate::model::ids::BrokerId;
use crate::model::limits::{
    QUORUM_APPEND_BYTES, QUORUM_APPENDS_UNANSWERED, QUORUM_ELECTION_TICKS, QUORUM_ENTRIES_KEPT,
    QUORUM_HEARTBEAT_TICKS, QUORUM_READY_BYTES, QUORUM_SNAPSHOT_TICKS, QUORUM_UNCOMMITTED_BYTES,
};
use ::raft::eraftpb::{self, ConfChange, ConfChangeType, HardState, MessageType};
use ::raft::{Config, ProgressState, RawNode, SnapshotStatus, StateRole};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// What a member starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub id: BrokerId,
    pub directory: Uuid,
    pub state: Durable,
    pub snapshot: Snapshot,
    /// The entry that `entries` follow.
    pub base: LogBase,
    pub entries: Vec<Entry>,
    /// Decides election timeouts.
    pub seed: u64,
}

/// One member of the quorum, by Raft.
pub struct RaftConsensus {
    node: RawNode<Store>,
    id: BrokerId,
    directory: Uuid,
    members: Members,
    directories: BTreeMap<BrokerId, Uuid>,
    /// A directory was learnt that no state on disk names yet.
    owes_state: bool,
    /// Messages that wait until the ready of this number is durable.
    held: VecDeque<(u64, Vec<eraftpb::Message>)>,
    /// Ticks for which each member has been sent nothing but a snapshot.
    snapshots: BTreeMap<BrokerId, u32>,
    election_ticks: usize,
    /// Term and role that `election_ticks` was drawn for.
    drawn_for: (u64, StateRole),
    chance: u64,
}

impl RaftConsensus {
    /// A member with what it has on disk. Entries above the snapshot come out of `ready` again as
    /// soon as they are known to be committed.
    pub fn new(start: Start) -> RaftConsensus {
        let state = start.state;
        let applied = start.snapshot.index;
        let members = start.snapshot.members.clone();
        let mut store = Store::new(start.base, start.entries, start.snapshot);
        assert!(state.commit.max(applied) <= store.last_index());
        store.initial = HardState {
            term: state.term,
            vote: state.vote.map_or(0, to_number),
            commit: state.commit.max(applied),
            ..HardState::default()
        };
        let config = Config {
            id: to_number(start.id),
            election_tick: QUORUM_ELECTION_TICKS,
            heartbeat_tick: QUORUM_HEARTBEAT_TICKS,
            applied,
            max_size_per_msg: QUORUM_APPEND_BYTES,
            max_inflight_msgs: QUORUM_APPENDS_UNANSWERED,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            max_uncommitted_size: QUORUM_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: QUORUM_READY_BYTES,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, store, &logger).expect("the configuration is sound");
        let mut consensus = RaftConsensus {
            node,
            id: start.id,
            directory: start.directory,
            members,
            directories: state.directories,
            owes_state: false,
            held: VecDeque::new(),
            snapshots: BTreeMap::new(),
            election_ticks: 0,
            drawn_for: (u64::MAX, StateRole::Leader),
            chance: start.seed,
        };
        consensus.set_election_timeout();
        consensus
    }

    /// Our own election timeout in place of the library's, drawn anew with each term and role.
    fn set_election_timeout(&mut self) {
        let now = (self.node.raft.term, self.node.raft.state);
        if now != self.drawn_for {
            self.drawn_for = now;
            self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let spread = (mixed ^ (mixed >> 31)) % QUORUM_ELECTION_TICKS as u64;
            let spread = usize::try_from(spread).expect("below a usize");
            self.election_ticks = QUORUM_ELECTION_TICKS + spread;
        }
        self.node.raft.set_randomized_election_timeout(self.election_ticks);
    }

    /// Refuses what would make the library end the process, and what only a member that lost
    /// committed entries can say.
    fn check(&self, message: &Message) -> Result<(), WireError> {
        let log = &self.node.raft.raft_log;
        let contradiction = |index| WireError::Contradiction { from: message.from.0, index };
        // A leader that was replaced may say what nobody has committed: the library answers that it
        // is over, and takes nothing of it.
        let is_over = message.term < self.node.raft.term;
        match message.kind {
            kind if self.is_only_voter() && kind.is_of_voters() => {
                return Err(WireError::Outsider { from: message.from.0 });
            }
            MessageKind::Heartbeat if !is_over && message.commit > log.last_index() => {
                return Err(contradiction(message.commit));
            }
            MessageKind::AppendReply
                if !is_over && !message.rejects && message.index > log.last_index() =>
            {
                return Err(contradiction(message.index));
            }
            MessageKind::Append => {
                let mut before = (message.index, message.log_term);
                for entry in &message.entries {
                    let follows = entry.index == before.0 + 1 && entry.term >= before.1;
                    if !follows || entry.term > message.term {
                        return Err(WireError::Malformed);
                    }
                    before = (entry.index, entry.term);
                    let is_other = log.term(entry.index).is_ok_and(|term| term != entry.term);
                    let is_committed = (log.first_index()..=log.committed).contains(&entry.index);
                    if !is_over && is_committed && is_other {
                        return Err(contradiction(entry.index));
                    }
                }
            }
            MessageKind::Snapshot => {
                let snapshot = message.snapshot.as_ref().ok_or(WireError::Malformed)?;
                let is_sound = snapshot.index > 0
                    && snapshot.index < u64::MAX / 2
                    && snapshot.term <= message.term
                    && !snapshot.members.voters.is_empty();
                if !is_sound {
                    return Err(WireError::Malformed);
                }
            }
            MessageKind::Heartbeat
            | MessageKind::AppendReply
            | MessageKind::Vote
            | MessageKind::VoteReply
            | MessageKind::PreVote
            | MessageKind::PreVoteReply
            | MessageKind::HeartbeatReply
            | MessageKind::TimeoutNow => {}
        }
        let carries_entries = message.kind == MessageKind::Append;
        let carries_snapshot = message.kind == MessageKind::Snapshot;
        let is_in_place = (carries_entries || message.entries.is_empty())
            && (carries_snapshot || message.snapshot.is_none());
        if is_in_place && message.term > 0 { Ok(()) } else { Err(WireError::Malformed) }
    }

    /// Nobody else leads or asks for votes: a second voter would have needed this one's word.
    fn is_only_voter(&self) -> bool {
        self.members.voters.len() == 1 && self.members.voters.contains(&self.id)
    }

    /// Remembers the sender's data directory, or refuses one that is not the voter's own.
    fn check_directory(&mut self, message: &Message) -> Result<(), WireError> {
        let from = message.from;
        match self.directories.get(&from) {
            Some(known) if *known != message.directory => Err(WireError::OtherDirectory {
                from: from.0,
                directory: message.directory,
                known: *known,
            }),
            Some(_) => Ok(()),
            None => {
                if self.members.voters.contains(&from) {
                    self.directories.insert(from, message.directory);
                    self.owes_state = true;
                }
                Ok(())
            }
        }
    }

    fn state(&self) -> Durable {
        let raft = &self.node.raft;
        Durable {
            term: raft.term,
            vote: to_broker(raft.vote),
            commit: raft.raft_log.committed,
            directories: self.directories.clone(),
        }
    }

    fn outgoing(&self, messages: Vec<eraftpb::Message>) -> Vec<Outgoing> {
        messages.iter().filter_map(|message| encode(message, self.id, self.directory)).collect()
    }

    /// Carries out the changes of members among committed entries.
    fn on_committed(&mut self, entries: &[eraftpb::Entry]) -> Vec<Entry> {
        let entries: Vec<Entry> = entries.iter().map(store::from_library).collect();
        for entry in &entries {
            if let Payload::Members(change) = entry.payload {
                self.on_change(change);
            }
        }
        if let Some(last) = entries.last() {
            self.node.advance_apply_to(last.index);
        }
        entries
    }

    fn on_change(&mut self, change: MemberChange) {
        self.directories.remove(&change.member());
        if self.members.refuses(change) {
            return;
        }
        self.members.apply(change);
        let (kind, id) = match change {
            MemberChange::AddVoter(id) => (ConfChangeType::AddNode, id),
            MemberChange::AddLearner(id) => (ConfChangeType::AddLearnerNode, id),
            MemberChange::Remove(id) => (ConfChangeType::RemoveNode, id),
        };
        let mut library = ConfChange::default();
        library.set_change_type(kind);
        library.node_id = to_number(id);
        self.node.apply_conf_change(&library).expect("Members refuses what the library refuses");
        self.owes_state = true;
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && !self.members.voters.contains(&self.id) {
            // The library would go on leading, and drop every proposal.
            raft.become_follower(raft.term, ::raft::INVALID_ID);
            self.set_election_timeout();
        }
    }

    /// Sends a snapshot again where the first was lost: the library waits for news of it.
    fn watch_snapshots(&mut self) {
        let mut lost = Vec::new();
        let mut under_way = BTreeMap::new();
        if self.node.raft.state == StateRole::Leader {
            for (number, progress) in self.node.raft.prs().iter() {
                let Some(id) = to_broker(*number) else { continue };
                if progress.state == ProgressState::Snapshot {
                    let ticks = self.snapshots.get(&id).copied().unwrap_or(0) + 1;
                    under_way.insert(id, ticks);
                    if ticks >= QUORUM_SNAPSHOT_TICKS {
                        lost.push(id);
                    }
                }
            }
        }
        self.snapshots = under_way;
        for id in lost {
            self.unreachable(id);
        }
    }
}

impl Consensus for RaftConsensus {
    fn tick(&mut self) {
        self.node.tick();
        self.set_election_timeout();
        self.watch_snapshots();
    }

    fn step(&mut self, from: BrokerId, message: &[u8]) -> Result<(), WireError> {
        let message = Message::decode(message)?;
        if message.from != from || message.to != self.id || from == self.id || from.0 < 0 {
            return Err(WireError::Misdirected { says: message.from.0, to: message.to.0 });
        }
        self.check(&message)?;
        self.check_directory(&message)?;
        // What it does not want it drops by itself: replies of strangers, old terms.
        let _ = self.node.step(decode(message));
        self.set_election_timeout();
        Ok(())
    }

    fn propose(&mut self, frame: Bytes) -> Result<Proposed, NotProposed> {
        assert!(!frame.is_empty());
        self.append(eraftpb::Entry { data: frame, ..eraftpb::Entry::default() })
    }

    fn change_members(&mut self, change: MemberChange) -> Result<Proposed, NotProposed> {
        if self.node.raft.state != StateRole::Leader {
            return Err(NotProposed::NotLeader);
        }
        if self.node.raft.has_pending_conf() {
            return Err(NotProposed::ChangeUnderWay);
        }
        if self.members.refuses(change) {
            return Err(NotProposed::Pointless);
        }
        self.append(store::to_library(Entry {
            term: 0,
            index: 0,
            payload: Payload::Members(change),
        }))
    }

    fn ready(&mut self) -> Option<Ready> {
        if !self.node.has_ready() && !self.owes_state {
            return None;
        }
        let mut library = self.node.ready();
        let snapshot = (!library.snapshot().is_empty())
            .then(|| store::from_library_snapshot(library.snapshot()));
        let entries = library.take_entries();
        let must_sync = library.must_sync() || self.owes_state;
        let has_state = library.hs().is_some() || self.owes_state;
        let messages = library.take_messages();
        let held = library.take_persisted_messages();
        let committed = library.take_committed_entries();
        let number = library.number();
        if let Some(snapshot) = &snapshot {
            self.members = snapshot.members.clone();
            self.node.mut_store().install(snapshot.clone());
        }
        self.node.mut_store().append(&entries);
        self.node.advance_append_async(library);
        self.held.push_back((number, held));
        self.owes_state = false;
        let committed = self.on_committed(&committed);
        let persist = Persist {
            snapshot,
            entries: entries.iter().map(store::from_library).collect(),
            state: has_state.then(|| self.state()),
            must_sync,
        };
        Some(Ready { number, messages: self.outgoing(messages), persist, committed })
    }

    fn persisted(&mut self, number: u64) -> Vec<Outgoing> {
        self.node.on_persist_ready(number);
        self.set_election_timeout();
        let mut messages = Vec::new();
        while let Some((_, released)) = self.held.pop_front_if(|(held, _)| *held <= number) {
            messages.extend(released);
        }
        self.outgoing(messages)
    }

    fn compact(&mut self, snapshot: Snapshot) -> Kept {
        self.node.mut_store().compact(snapshot, QUORUM_ENTRIES_KEPT);
        let store = self.node.store();
        Kept { base: store.base(), entries: store.entries().collect() }
    }

    fn hasten(&mut self) {
        if self.is_only_voter() && self.node.raft.state == StateRole::Follower {
            // Nobody else could vote; refused only while changes of members are not applied yet.
            let _ = self.node.campaign();
            self.set_election_timeout();
        }
    }

    fn hand_over(&mut self, to: BrokerId) {
        self.node.transfer_leader(to_number(to));
    }

    fn unreachable(&mut self, member: BrokerId) {
        let number = to_number(member);
        self.snapshots.remove(&member);
        self.node.report_unreachable(number);
        let progress = self.node.raft.prs().get(number);
        if progress.is_some_and(|progress| progress.state == ProgressState::Snapshot) {
            self.node.report_snapshot(number, SnapshotStatus::Failure);
        }
    }

    fn on_gone(&mut self, member: BrokerId) -> bool {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader || !self.members.voters.contains(&self.id) {
            return false;
        }
        if raft.leader_id == to_number(member) {
            // The term and the vote in it stay: only the lease of the leader is over.
            raft.become_follower(raft.term, ::raft::INVALID_ID);
            self.set_election_timeout();
        }
        self.node.raft.leader_id == ::raft::INVALID_ID
    }

    fn campaign(&mut self) {
        let raft = &self.node.raft;
        // A candidate may have its votes on the way: slow disks are not to take them from it.
        let is_free = raft.leader_id == ::raft::INVALID_ID && raft.state != StateRole::Candidate;
        if is_free && self.members.voters.contains(&self.id) {
            // Refused only while changes of members are not applied yet.
            let _ = self.node.campaign();
            self.set_election_timeout();
        }
    }

    fn introduce(&mut self, voter: BrokerId, directory: Uuid) {
        let is_new = voter != self.id && !self.directories.contains_key(&voter);
        if is_new && self.members.voters.contains(&voter) {
            self.directories.insert(voter, directory);
            self.owes_state = true;
        }
    }

    fn leadership(&self) -> Leadership {
        let raft = &self.node.raft;
        Leadership {
            term: raft.term,
            leader: to_broker(raft.leader_id),
            is_leader: raft.state == StateRole::Leader,
        }
    }

    fn role(&self) -> QuorumRole {
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        let progress = raft.prs().iter().filter(|_| is_leader);
        QuorumRole {
            leader: to_broker(raft.leader_id),
            term: raft.term,
            is_leader,
            members: self.members.clone(),
            directories: self.directories.clone(),
            last_index: raft.raft_log.last_index(),
            commit: raft.raft_log.committed,
            progress: progress
                .filter_map(|(number, progress)| Some((to_broker(*number)?, progress.matched)))
                .collect(),
        }
    }
}

impl RaftConsensus {
    fn append(&mut self, entry: eraftpb::Entry) -> Result<Proposed, NotProposed> {
        if self.node.raft.state != StateRole::Leader {
            return Err(NotProposed::NotLeader);
        }
        let mut message = eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = to_number(self.id);
        message.set_entries(vec![entry].into());
        self.node.step(message).map_err(|_| NotProposed::Full)?;
        Ok(Proposed { term: self.node.raft.term, index: self.node.raft.raft_log.last_index() })
    }
}

/// Kinds beside the library's; what is not here never leaves and never comes in.
const KINDS: [(MessageKind, MessageType); 10] = [
    (MessageKind::Append, MessageType::MsgAppend),
    (MessageKind::AppendReply, MessageType::MsgAppendResponse),
    (MessageKind::Vote, MessageType::MsgRequestVote),
    (MessageKind::VoteReply, MessageType::MsgRequestVoteResponse),
    (MessageKind::PreVote, MessageType::MsgRequestPreVote),
    (MessageKind::PreVoteReply, MessageType::MsgRequestPreVoteResponse),
    (MessageKind::Heartbeat, MessageType::MsgHeartbeat),
    (MessageKind::HeartbeatReply, MessageType::MsgHeartbeatResponse),
    (MessageKind::Snapshot, MessageType::MsgSnapshot),
    (MessageKind::TimeoutNow, MessageType::MsgTimeoutNow),
];

/// What the library puts into a vote's context when the leader asked for it.
const TRANSFER: &[u8] = b"CampaignTransfer";

fn encode(message: &eraftpb::Message, from: BrokerId, directory: Uuid) -> Option<Outgoing> {
    let kind = KINDS.iter().find(|(_, library)| *library == message.get_msg_type())?.0;
    let to = to_broker(message.to)?;
    let snapshot = (!message.get_snapshot().is_empty())
        .then(|| store::from_library_snapshot(message.get_snapshot()));
    let message = Message {
        kind,
        from,
        to,
        directory,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        rejects: message.reject,
        reject_hint: message.reject_hint,
        is_transfer: message.context == TRANSFER,
        entries: message.entries.iter().map(store::from_library).collect(),
        snapshot,
    };
    Some(Outgoing { to, bytes: message.encode() })
}

fn decode(message: Message) -> eraftpb::Message {
    let kind = KINDS.iter().find(|(kind, _)| *kind == message.kind).expect("all kinds are there").1;
    let mut library = eraftpb::Message::default();
    library.set_msg_type(kind);
    library.from = to_number(message.from);
    library.to = to_number(message.to);
    library.term = message.term;
    library.log_term = message.log_term;
    library.index = message.index;
    library.commit = message.commit;
    library.commit_term = message.commit_term;
    library.request_snapshot = message.request_snapshot;
    library.reject = message.rejects;
    library.reject_hint = message.reject_hint;
    if message.is_transfer {
        library.context = Bytes::from_static(TRANSFER);
    }
    let entries: Vec<_> = message.entries.into_iter().map(store::to_library).collect();
    library.set_entries(entries.into());
    if let Some(snapshot) = &message.snapshot {
        library.set_snapshot(store::to_library_snapshot(snapshot));
    }
    library
}
