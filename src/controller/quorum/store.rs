//! The log as the consensus library reads it: in memory, a mirror of what is, or is about to be, on
//! disk.
//!
//! Metadata is small and every broker holds all of it, so the part of the log that is not covered
//! by the snapshot stays in memory too, bounded by `QUORUM_SNAPSHOT_ENTRIES` and
//! `QUORUM_SNAPSHOT_BYTES`.

use super::consensus::{Entry, LogBase, Payload};
use super::members::{MemberChange, Members};
use super::snapshot::Snapshot;
use crate::model::ids::BrokerId;
use ::raft::eraftpb;
use ::raft::eraftpb::EntryType;
use ::raft::{GetEntriesContext, RaftState, Storage, StorageError};
use bytes::Bytes;
use std::collections::VecDeque;

/// What the library may ask for. One per process.
pub(super) struct Store {
    /// Term, vote and commit that the member starts with.
    pub(super) initial: eraftpb::HardState,
    /// Members at the end of the snapshot: where the library begins to apply.
    pub(super) members: Members,
    base: LogBase,
    entries: VecDeque<eraftpb::Entry>,
    snapshot: Snapshot,
}

impl Store {
    /// From what was on disk: the entries follow `base`, which the snapshot covers.
    pub(super) fn new(base: LogBase, entries: Vec<Entry>, snapshot: Snapshot) -> Store {
        assert!(base.index <= snapshot.index);
        Store {
            initial: eraftpb::HardState::default(),
            members: snapshot.members.clone(),
            base,
            entries: entries.into_iter().map(to_library).collect(),
            snapshot,
        }
    }

    pub(super) fn last_index(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    /// Replaces what is there from the first new entry's index on.
    pub(super) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.index, "what a snapshot covers is never replaced");
        assert!(first.index <= self.last_index() + 1, "the log has no holes");
        let keep = usize::try_from(first.index - self.base.index - 1).expect("entries in memory");
        self.entries.truncate(keep);
        self.entries.extend(entries.iter().cloned());
    }

    /// Everything before is replaced by another member's snapshot.
    pub(super) fn install(&mut self, snapshot: Snapshot) {
        assert!(snapshot.index > self.snapshot.index);
        self.base = LogBase { index: snapshot.index, term: snapshot.term };
        self.entries.clear();
        self.snapshot = snapshot;
    }

    /// Takes this member's own snapshot, and drops all but `keep` of the entries it covers.
    pub(super) fn compact(&mut self, snapshot: Snapshot, keep: u64) {
        assert!(snapshot.index >= self.snapshot.index && snapshot.index <= self.last_index());
        let base = snapshot.index.saturating_sub(keep).max(self.base.index);
        while self.base.index < base {
            let dropped = self.entries.pop_front().expect("the base is below the last index");
            self.base = LogBase { index: dropped.index, term: dropped.term };
        }
        self.snapshot = snapshot;
    }

    pub(super) fn base(&self) -> LogBase {
        self.base
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().map(from_library)
    }

    fn position(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index + 1)?).ok()
    }
}

impl Storage for Store {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        let conf_state = to_conf_state(&self.members);
        Ok(RaftState { hard_state: self.initial.clone(), conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> ::raft::Result<Vec<eraftpb::Entry>> {
        let Some(from) = self.position(low) else {
            return Err(StorageError::Compacted.into());
        };
        let to = self.position(high).unwrap_or(from).min(self.entries.len());
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let mut found = Vec::new();
        for entry in self.entries.range(from.min(to)..to) {
            size += entry.data.len() as u64 + 64;
            if size > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> ::raft::Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        if index == self.snapshot.index {
            return Ok(self.snapshot.term);
        }
        let position = self.position(index).ok_or(StorageError::Compacted)?;
        let entry = self.entries.get(position).ok_or(StorageError::Unavailable)?;
        Ok(entry.term)
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(Store::last_index(self))
    }

    fn snapshot(&self, request_index: u64, to: u64) -> ::raft::Result<eraftpb::Snapshot> {
        // A member that joined later would not take a snapshot that does not name it: the next one.
        let names_it = to_broker(to).is_some_and(|id| self.snapshot.members.contains(id));
        if self.snapshot.index < request_index || !names_it {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(to_library_snapshot(&self.snapshot))
    }
}

/// The library's number of a member; it takes 0 for nobody.
pub(super) fn to_number(id: BrokerId) -> u64 {
    u64::from(u32::try_from(id.0).expect("ids of members are not negative")) + 1
}

/// The member of a number; `None` for nobody.
pub(super) fn to_broker(number: u64) -> Option<BrokerId> {
    i32::try_from(number.checked_sub(1)?).ok().map(BrokerId)
}

pub(super) fn to_conf_state(members: &Members) -> eraftpb::ConfState {
    let mut state = eraftpb::ConfState::default();
    state.set_voters(members.voters.iter().map(|id| to_number(*id)).collect());
    state.set_learners(members.learners.iter().map(|id| to_number(*id)).collect());
    state
}

fn from_conf_state(state: &eraftpb::ConfState) -> Members {
    let ids = |numbers: &[u64]| numbers.iter().filter_map(|number| to_broker(*number)).collect();
    Members { voters: ids(state.get_voters()), learners: ids(state.get_learners()) }
}

/// A change of members travels in an entry's context, where the library does not look.
pub(super) fn to_library(entry: Entry) -> eraftpb::Entry {
    let mut library =
        eraftpb::Entry { term: entry.term, index: entry.index, ..eraftpb::Entry::default() };
    match entry.payload {
        Payload::Empty => {}
        Payload::Records(frame) => library.data = frame,
        Payload::Members(change) => {
            library.set_entry_type(EntryType::EntryConfChange);
            library.context = Bytes::copy_from_slice(&change.encode());
        }
    }
    library
}

pub(super) fn from_library(entry: &eraftpb::Entry) -> Entry {
    let payload = match change_of(entry) {
        Some(change) => Payload::Members(change),
        None if entry.data.is_empty() => Payload::Empty,
        None => Payload::Records(entry.data.clone()),
    };
    Entry { term: entry.term, index: entry.index, payload }
}

fn change_of(entry: &eraftpb::Entry) -> Option<MemberChange> {
    match entry.get_entry_type() {
        EntryType::EntryNormal => None,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            MemberChange::decode(&entry.context)
        }
    }
}

pub(super) fn to_library_snapshot(snapshot: &Snapshot) -> eraftpb::Snapshot {
    let data = snapshot.data.clone();
    let mut library = eraftpb::Snapshot { data, ..eraftpb::Snapshot::default() };
    let metadata = library.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term;
    metadata.set_conf_state(to_conf_state(&snapshot.members));
    assert!(library.get_metadata().index == snapshot.index);
    library
}

pub(super) fn from_library_snapshot(snapshot: &eraftpb::Snapshot) -> Snapshot {
    let metadata = snapshot.get_metadata();
    Snapshot {
        index: metadata.index,
        term: metadata.term,
        members: from_conf_state(metadata.get_conf_state()),
        data: snapshot.data.clone(),
    }
}
