//! Share sessions (KIP-932): which partitions a member of a share group fetches, so that it sends
//! only changes.
//!
//! A session belongs to a group's member and to the connection that opened it: it ends with either.
//! It lives on the core of that connection.
//!
//! Invariants
//! - At most as many sessions as the core was given, of at most `SHARE_SESSION_PARTITIONS_MAX`
//!   partitions each.
//! - The epoch of a session grows by one with each request and wraps to 1.

use crate::model::errors::KafkaCode;
use crate::model::ids::CoreId;
use crate::model::limits::SHARE_SESSION_PARTITIONS_MAX;
use crate::shard::connection::ConnectionId;
use hashbrown::HashMap;
use uuid::Uuid;

/// The epoch of a request that opens a session.
pub const SHARE_EPOCH_INITIAL: i32 = 0;
/// The epoch of a request that ends a session.
pub const SHARE_EPOCH_FINAL: i32 = -1;

/// Who fetches: a group and its member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShareMember {
    pub group: String,
    pub member: String,
}

/// A partition as a client names it.
pub type NamedPartition = (Uuid, i32);

#[derive(Debug)]
struct ShareSession {
    id: u64,
    /// Of the next request.
    epoch: i32,
    connection: ConnectionId,
    partitions: Vec<NamedPartition>,
}

/// A session that has ended, with what its member may hold records of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSession {
    pub of: ShareMember,
    /// Tells it from the member's next one.
    pub id: u64,
    pub partitions: Vec<NamedPartition>,
}

/// All share sessions of one core.
pub struct ShareSessions {
    sessions_max: usize,
    sessions: HashMap<ShareMember, ShareSession>,
    /// The core in the upper bits, so that it is one of the broker's.
    last_id: u64,
}

impl ShareSessions {
    /// No sessions on a core, with room for `sessions_max`.
    pub fn new(core: CoreId, sessions_max: usize) -> ShareSessions {
        ShareSessions { sessions_max, sessions: HashMap::new(), last_id: u64::from(core.0) << 48 }
    }

    /// Opens a session, in place of the member's former one, and gives its id.
    ///
    /// # Errors
    /// SHARE_SESSION_LIMIT_REACHED; INVALID_REQUEST for too many partitions.
    pub fn open(
        &mut self,
        of: ShareMember,
        connection: ConnectionId,
        partitions: Vec<NamedPartition>,
    ) -> Result<u64, KafkaCode> {
        self.sessions.remove(&of);
        if self.sessions.len() >= self.sessions_max {
            return Err(KafkaCode::ShareSessionLimitReached);
        }
        self.last_id += 1;
        let id = self.last_id;
        let mut session = ShareSession { id, epoch: 1, connection, partitions: Vec::new() };
        session.change(partitions, &[])?;
        self.sessions.insert(of, session);
        Ok(id)
    }

    /// Checks a request's epoch, which counts from then on, and gives the session's id.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND and INVALID_SHARE_SESSION_EPOCH, as KIP-932 has them.
    pub fn advance(&mut self, of: &ShareMember, epoch: i32) -> Result<u64, KafkaCode> {
        let session = self.sessions.get_mut(of).ok_or(KafkaCode::ShareSessionNotFound)?;
        if session.epoch != epoch {
            return Err(KafkaCode::InvalidShareSessionEpoch);
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        Ok(session.id)
    }

    /// Adds partitions and forgets some.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND; INVALID_REQUEST for too many partitions.
    pub fn change(
        &mut self,
        of: &ShareMember,
        added: Vec<NamedPartition>,
        forgotten: &[NamedPartition],
    ) -> Result<(), KafkaCode> {
        let session = self.sessions.get_mut(of).ok_or(KafkaCode::ShareSessionNotFound)?;
        session.change(added, forgotten)
    }

    /// The partitions to fetch, each time another one first.
    pub fn turn(&mut self, of: &ShareMember) -> Vec<NamedPartition> {
        let Some(session) = self.sessions.get_mut(of) else { return Vec::new() };
        if !session.partitions.is_empty() {
            session.partitions.rotate_left(1);
        }
        session.partitions.clone()
    }

    /// Ends a session.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND.
    pub fn close(&mut self, of: &ShareMember) -> Result<EndedSession, KafkaCode> {
        let ended = self.sessions.remove_entry(of).ok_or(KafkaCode::ShareSessionNotFound)?;
        let (of, session) = ended;
        Ok(EndedSession { of, id: session.id, partitions: session.partitions })
    }

    /// Ends the sessions that a connection opened.
    pub fn close_all_of(&mut self, connection: ConnectionId) -> Vec<EndedSession> {
        if self.sessions.is_empty() {
            return Vec::new();
        }
        let ended = self.sessions.extract_if(|_, session| session.connection == connection);
        let ended = ended.map(|(of, session)| EndedSession {
            of,
            id: session.id,
            partitions: session.partitions,
        });
        ended.collect()
    }
}

impl ShareSession {
    fn change(
        &mut self,
        added: Vec<NamedPartition>,
        forgotten: &[NamedPartition],
    ) -> Result<(), KafkaCode> {
        let mut known: hashbrown::HashSet<NamedPartition> =
            self.partitions.iter().copied().collect();
        for partition in added {
            if known.insert(partition) {
                self.partitions.push(partition);
            }
        }
        if !forgotten.is_empty() {
            let forgotten: hashbrown::HashSet<&NamedPartition> = forgotten.iter().collect();
            self.partitions.retain(|partition| !forgotten.contains(partition));
        }
        match self.partitions.len() <= SHARE_SESSION_PARTITIONS_MAX {
            true => Ok(()),
            false => Err(KafkaCode::InvalidRequest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> ShareMember {
        ShareMember { group: "g".to_owned(), member: name.to_owned() }
    }

    fn connection(index: usize) -> ConnectionId {
        ConnectionId { index, generation: 1 }
    }

    fn named(partition: i32) -> NamedPartition {
        (Uuid::from_u128(1), partition)
    }

    #[test]
    fn a_session_counts_its_requests_and_remembers_its_partitions() {
        let mut sessions = ShareSessions::new(CoreId(0), 1);
        let of = member("a");
        assert_eq!(sessions.advance(&of, 1), Err(KafkaCode::ShareSessionNotFound));
        sessions.open(of.clone(), connection(1), vec![named(0), named(1)]).unwrap();
        assert_eq!(sessions.advance(&of, 2), Err(KafkaCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.advance(&of, 1), Ok(1));
        assert_eq!(sessions.advance(&of, 1), Err(KafkaCode::InvalidShareSessionEpoch));
        assert_eq!(sessions.advance(&of, 2), Ok(1));
        sessions.change(&of, vec![named(1), named(2)], &[named(0)]).unwrap();
        assert_eq!(sessions.turn(&of), [named(2), named(1)]);
        assert_eq!(sessions.turn(&of), [named(1), named(2)]);
        let ended = sessions.close(&of).unwrap();
        assert_eq!(ended.partitions, [named(1), named(2)]);
        assert_eq!(sessions.close(&of), Err(KafkaCode::ShareSessionNotFound));
    }

    #[test]
    fn a_session_ends_with_its_connection_and_only_with_its_own() {
        let mut sessions = ShareSessions::new(CoreId(0), 9);
        for (name, from) in [("a", 1), ("b", 2), ("c", 1)] {
            sessions.open(member(name), connection(from), vec![]).unwrap();
        }
        let mut ended = sessions.close_all_of(connection(1));
        ended.sort_by(|one, other| one.of.member.cmp(&other.of.member));
        let names: Vec<&str> = ended.iter().map(|session| session.of.member.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(sessions.advance(&member("b"), 1), Ok(2));
    }

    #[test]
    fn a_full_table_opens_no_session_but_in_place_of_the_members_own() {
        let mut sessions = ShareSessions::new(CoreId(0), 1);
        sessions.open(member("a"), connection(1), vec![]).unwrap();
        let refused = sessions.open(member("b"), connection(1), vec![]);
        assert_eq!(refused, Err(KafkaCode::ShareSessionLimitReached));
        assert_eq!(sessions.open(member("a"), connection(2), vec![]), Ok(2));
    }
}
