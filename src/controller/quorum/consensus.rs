//! What the metadata needs of a consensus, whichever protocol is behind it.
//!
//! Why a trait: the protocol is a library, and its replacement is planned for
//! (docs/decisions/010). What stands here is all that the rest of the broker knows of it.
//!
//! The driver's duty, for each [`Ready`] in turn: send `messages` at once; make `persist` durable,
//! entries and snapshot before the state; then call [`Consensus::persisted`] and send what it
//! returns. Readies may be collected while an earlier one is still on its way to the disk.
//!
//! Invariants
//! - A vote and an acknowledgement leave only when what they promise is durable here.
//! - `committed` entries come in order, each once, and are durable here and on a majority.

use super::members::{MemberChange, Members};
use super::snapshot::Snapshot;
use super::wire::WireError;
use crate::model::ids::BrokerId;
use bytes::Bytes;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One entry of the quorum's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of the leader that appended it.
    pub term: u64,
    /// Position in the log, counted in entries from 1.
    pub index: u64,
    pub payload: Payload,
}

/// What an entry is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The first entry of a leader's term.
    Empty,
    /// One decision's records, as one frame (`metadata_log::encode_frame`).
    Records(Bytes),
    Members(MemberChange),
}

/// What a member must not forget: a vote given twice elects two leaders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durable {
    pub term: u64,
    /// Whom it voted for in `term`.
    pub vote: Option<BrokerId>,
    /// Entries up to here are committed, as far as is known durably.
    pub commit: u64,
    /// Data directories of the other voters, as first met: an emptied disk is not the old voter.
    pub directories: BTreeMap<BrokerId, Uuid>,
}

/// What is to be made durable, in this order: snapshot, entries, state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Persist {
    /// Replaces everything before it, and entries that do not follow from it.
    pub snapshot: Option<Snapshot>,
    /// Follow each other; entries already logged from the first one's index on are replaced.
    pub entries: Vec<Entry>,
    /// The state as it is to be from now on.
    pub state: Option<Durable>,
    /// False when only the commit index moved: it may be written at leisure.
    pub must_sync: bool,
}

/// Work that the consensus hands to its driver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ready {
    /// Counts up; what `persisted` is told.
    pub number: u64,
    pub messages: Vec<Outgoing>,
    pub persist: Persist,
    /// To be applied, behind `persist.snapshot` when there is one.
    pub committed: Vec<Entry>,
}

/// A message to another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub to: BrokerId,
    /// As `wire` encodes it.
    pub bytes: Bytes,
}

/// Where a proposal will stand in the log if it is committed: there with this term, or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposed {
    pub term: u64,
    pub index: u64,
}

/// A proposal that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProposed {
    #[error("this broker is not the active controller")]
    NotLeader,
    #[error("the quorum has too much that is not committed yet")]
    Full,
    #[error("another change of members is under way, or the leader's term has just begun")]
    ChangeUnderWay,
    #[error("the change would change nothing, or leave no voter")]
    Pointless,
}

/// The quorum as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuorumRole {
    pub leader: Option<BrokerId>,
    pub term: u64,
    pub is_leader: bool,
    pub members: Members,
    /// Data directories of the other voters, as far as they are known.
    pub directories: BTreeMap<BrokerId, Uuid>,
    /// Index of the last entry of this member's log.
    pub last_index: u64,
    pub commit: u64,
    /// What the leader knows of each member, itself included; empty elsewhere.
    pub progress: BTreeMap<BrokerId, u64>,
}

/// Who leads, as one member sees it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<BrokerId>,
    pub is_leader: bool,
}

/// A member of the quorum. One per process, on the controller's core.
pub trait Consensus {
    /// Time moves by `QUORUM_TICK_MS`.
    fn tick(&mut self);
    /// A message of another member came in.
    ///
    /// # Errors
    /// It is no message, or one that no sound member sends to this one; nothing has changed.
    fn step(&mut self, from: BrokerId, message: &[u8]) -> Result<(), WireError>;
    /// Appends a decision's frame to the log of the leader.
    ///
    /// # Errors
    /// Not the leader, or too much is under way.
    fn propose(&mut self, frame: Bytes) -> Result<Proposed, NotProposed>;
    /// Appends a change of members to the log of the leader.
    ///
    /// # Errors
    /// Not the leader, another change is under way, or nothing would change.
    fn change_members(&mut self, change: MemberChange) -> Result<Proposed, NotProposed>;
    /// What there is to do; `None` when nothing is.
    fn ready(&mut self) -> Option<Ready>;
    /// Everything of the readies up to `number` is durable; returns messages that waited for it.
    fn persisted(&mut self, number: u64) -> Vec<Outgoing>;
    /// A durable snapshot of what has been applied: what it covers may leave the log. Returns the
    /// entries that stay, and the index and term of the one before them.
    fn compact(&mut self, snapshot: Snapshot) -> Kept;
    /// Becomes leader at once where no other voter could object.
    fn hasten(&mut self);
    /// Has another voter lead as soon as it has all entries; given up after an election timeout.
    fn hand_over(&mut self, to: BrokerId);
    /// A connection to the member broke: what was on its way may be lost.
    fn unreachable(&mut self, member: BrokerId);
    /// The member's process has ended. If it led, this member follows nobody from here on, and
    /// votes for whoever asks, as after an election timeout. True for a voter that follows nobody
    /// now.
    fn on_gone(&mut self, member: BrokerId) -> bool;
    /// Asks for votes where nobody leads, without waiting for the election timeout.
    fn campaign(&mut self);
    /// A voter's data directory, from elsewhere than its own messages; the first one known counts.
    fn introduce(&mut self, voter: BrokerId, directory: Uuid);
    fn leadership(&self) -> Leadership;
    fn role(&self) -> QuorumRole;
}

/// What stays of a log whose beginning is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The entry before the first one that stays.
    pub base: LogBase,
    pub entries: Vec<Entry>,
}

/// The entry that a log starts behind; 0 and 0 for the very beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogBase {
    pub index: u64,
    pub term: u64,
}
