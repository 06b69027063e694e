//! Who belongs to the quorum: voters decide, learners are told.
//!
//! Invariants
//! - A member is a voter or a learner, never both.
//! - Once there is a voter there is always one: the last one is not removed.
//! - `apply` is a pure function of members and change, so every member arrives at the same sets.

use crate::model::ids::BrokerId;
use crate::model::limits::QUORUM_MEMBERS_MAX;
use bytes::{Buf, BufMut};
use std::collections::BTreeSet;

/// The members at one place of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    pub voters: BTreeSet<BrokerId>,
    pub learners: BTreeSet<BrokerId>,
}

/// One step from members to members; one at a time is under way (Raft's single-server change).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// From learner, or from nothing, to voter.
    AddVoter(BrokerId),
    /// From nothing to learner. A voter stays what it is: it is removed first.
    AddLearner(BrokerId),
    Remove(BrokerId),
}

impl Members {
    /// The members of a new quorum.
    pub fn of_voters(voters: impl IntoIterator<Item = BrokerId>) -> Members {
        Members { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    /// True when the change would change nothing, or would leave no voter.
    pub fn refuses(&self, change: MemberChange) -> bool {
        match change {
            MemberChange::AddVoter(id) => self.voters.contains(&id),
            MemberChange::AddLearner(id) => {
                self.voters.contains(&id) || self.learners.contains(&id)
            }
            MemberChange::Remove(id) => {
                let is_last_voter = self.voters.len() == 1 && self.voters.contains(&id);
                is_last_voter || !(self.voters.contains(&id) || self.learners.contains(&id))
            }
        }
    }

    /// Carries out a change; one that is refused changes nothing.
    pub fn apply(&mut self, change: MemberChange) {
        if self.refuses(change) {
            return;
        }
        match change {
            MemberChange::AddVoter(id) => {
                self.learners.remove(&id);
                self.voters.insert(id);
            }
            MemberChange::AddLearner(id) => {
                self.learners.insert(id);
            }
            MemberChange::Remove(id) => {
                self.voters.remove(&id);
                self.learners.remove(&id);
            }
        }
        assert!(self.voters.is_disjoint(&self.learners));
    }

    /// Voter or learner.
    pub fn contains(&self, id: BrokerId) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    /// Two lists of ids, each with a u16 count in front.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for ids in [&self.voters, &self.learners] {
            out.put_u16(u16::try_from(ids.len()).expect("bounded by QUORUM_MEMBERS_MAX"));
            for id in ids {
                out.put_i32(id.0);
            }
        }
    }

    /// Reads what `encode` wrote; `None` for anything else.
    pub fn decode(bytes: &mut &[u8]) -> Option<Members> {
        let voters = decode_ids(bytes)?;
        let learners = decode_ids(bytes)?;
        let is_sound = voters.is_disjoint(&learners) && (learners.is_empty() || !voters.is_empty());
        is_sound.then_some(Members { voters, learners })
    }
}

fn decode_ids(bytes: &mut &[u8]) -> Option<BTreeSet<BrokerId>> {
    let count = usize::from(bytes.try_get_u16().ok()?);
    if count > QUORUM_MEMBERS_MAX {
        return None;
    }
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let id = bytes.try_get_i32().ok().filter(|id| *id >= 0)?;
        ids.insert(BrokerId(id));
    }
    (ids.len() == count).then_some(ids)
}

impl MemberChange {
    /// The member it is about.
    pub fn member(self) -> BrokerId {
        match self {
            MemberChange::AddVoter(id)
            | MemberChange::AddLearner(id)
            | MemberChange::Remove(id) => id,
        }
    }

    /// One byte of kind, four of id.
    pub fn encode(self) -> [u8; 5] {
        let kind = match self {
            MemberChange::AddVoter(_) => 0,
            MemberChange::AddLearner(_) => 1,
            MemberChange::Remove(_) => 2,
        };
        let [a, b, c, d] = self.member().0.to_be_bytes();
        [kind, a, b, c, d]
    }

    /// Reads what `encode` wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<MemberChange> {
        let [kind, a, b, c, d] = *bytes else { return None };
        let id = i32::from_be_bytes([a, b, c, d]);
        if id < 0 {
            return None;
        }
        match kind {
            0 => Some(MemberChange::AddVoter(BrokerId(id))),
            1 => Some(MemberChange::AddLearner(BrokerId(id))),
            2 => Some(MemberChange::Remove(BrokerId(id))),
            _ => None,
        }
    }
}
