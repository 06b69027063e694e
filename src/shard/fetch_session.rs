//! Fetch sessions (KIP-227): what a client fetches is remembered, so that it sends only changes.
//!
//! A session belongs to the core whose connection opened it. A client that reconnects to another
//! core is told FETCH_SESSION_ID_NOT_FOUND and opens a new one, as after a broker's restart.
//!
//! Invariants
//! - At most as many sessions as the core was given, and never more than `FETCH_SESSIONS_MAX`; the
//!   one idle longest makes room when it has been idle for `SESSION_IDLE_US_MIN`, else the new
//!   fetch goes without a session.
//! - The epoch of a session grows by one with each request and wraps to 1.

use crate::model::errors::KafkaCode;
use crate::model::limits::FETCH_SESSIONS_MAX;
use crate::shard::parked::TopicName;
use hashbrown::HashMap;

/// Idle time in microseconds after which a session may be evicted (KIP-227: two minutes).
const SESSION_IDLE_US_MIN: u64 = 120_000_000;

/// The request's `session_epoch` that opens a session.
pub const EPOCH_INITIAL: i32 = 0;
/// The request's `session_epoch` that closes a session, or wants none.
pub const EPOCH_FINAL: i32 = -1;

/// A partition as a session remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPart {
    pub topic: TopicName,
    pub partition: i32,
    pub fetch_offset: i64,
    pub max_bytes: i32,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
    /// What the client was last told; an unchanged partition is left out of the answer.
    pub told: Option<Told>,
}

/// The fields of an answer whose change makes a partition worth mentioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: i64,
    pub log_start_offset: i64,
    pub last_stable_offset: i64,
}

/// One client's remembered fetch.
#[derive(Debug)]
pub struct FetchSession {
    epoch: i32,
    used_us: u64,
    parts: Vec<SessionPart>,
}

/// All sessions of one core.
pub struct FetchSessions {
    sessions_max: usize,
    sessions: HashMap<i32, FetchSession>,
    last_id: i32,
}

/// What a request's session fields ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
}

impl FetchSessions {
    /// No sessions, with room for `sessions_max`.
    pub fn new(sessions_max: usize) -> FetchSessions {
        let sessions_max = sessions_max.min(FETCH_SESSIONS_MAX);
        FetchSessions { sessions_max, sessions: HashMap::new(), last_id: 0 }
    }

    /// Opens a session over `parts`; `None` when there is no room for one.
    pub fn open(&mut self, parts: Vec<SessionPart>, now_us: u64) -> Option<i32> {
        if self.sessions.len() >= self.sessions_max && !self.evict_idle(now_us) {
            return None;
        }
        loop {
            self.last_id = if self.last_id == i32::MAX { 1 } else { self.last_id + 1 };
            if !self.sessions.contains_key(&self.last_id) {
                break;
            }
        }
        let session = FetchSession { epoch: 1, used_us: now_us, parts };
        self.sessions.insert(self.last_id, session);
        assert!(self.sessions.len() <= self.sessions_max);
        Some(self.last_id)
    }

    /// Forgets a session; no error when it is not there.
    pub fn close(&mut self, id: i32) {
        self.sessions.remove(&id);
    }

    /// Applies an incremental request and returns all partitions to fetch, in turn order.
    ///
    /// # Errors
    /// FETCH_SESSION_ID_NOT_FOUND and INVALID_FETCH_SESSION_EPOCH, as KIP-227 has them.
    pub fn update(
        &mut self,
        request: SessionRequest,
        changed: Vec<SessionPart>,
        forgotten: &[(TopicName, i32)],
        now_us: u64,
    ) -> Result<Vec<SessionPart>, KafkaCode> {
        let session =
            self.sessions.get_mut(&request.id).ok_or(KafkaCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(KafkaCode::InvalidFetchSessionEpoch);
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.used_us = now_us;
        if !forgotten.is_empty() {
            session.parts.retain(|part| {
                !forgotten.iter().any(|(topic, id)| part.partition == *id && part.topic == *topic)
            });
        }
        for part in changed {
            session.merge(part);
        }
        Ok(session.parts.clone())
    }

    /// Decides whether a partition must be mentioned, and remembers what the client is told.
    pub fn is_news(&mut self, id: i32, topic: &TopicName, partition: i32, told: Told) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        let Some(part) = session.find(topic, partition) else { return true };
        let is_news = part.told != Some(told);
        part.told = Some(told);
        is_news
    }

    /// Moves a partition that returned data to the end, so that every partition gets its turn.
    pub fn served(&mut self, id: i32, topic: &TopicName, partition: i32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let place =
            session.parts.iter().position(|p| p.partition == partition && p.topic == *topic);
        if let Some(place) = place {
            let part = session.parts.remove(place);
            session.parts.push(part);
        }
    }

    /// Sessions open now.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True when no session is open.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn evict_idle(&mut self, now_us: u64) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used_us);
        let Some((&id, session)) = oldest else { return false };
        if now_us.saturating_sub(session.used_us) < SESSION_IDLE_US_MIN {
            return false;
        }
        self.sessions.remove(&id);
        true
    }
}

impl FetchSession {
    fn find(&mut self, topic: &TopicName, partition: i32) -> Option<&mut SessionPart> {
        self.parts.iter_mut().find(|part| part.partition == partition && part.topic == *topic)
    }

    fn merge(&mut self, change: SessionPart) {
        match self.find(&change.topic, change.partition) {
            Some(part) => {
                let told = part.told;
                *part = SessionPart { told, ..change };
            }
            None => self.parts.push(change),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn part(partition: i32, fetch_offset: i64) -> SessionPart {
        SessionPart {
            topic: TopicName::Name(Bytes::from_static(b"t")),
            partition,
            fetch_offset,
            max_bytes: 100,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            told: None,
        }
    }

    fn offsets(parts: &[SessionPart]) -> Vec<(i32, i64)> {
        parts.iter().map(|part| (part.partition, part.fetch_offset)).collect()
    }

    #[test]
    fn an_incremental_fetch_changes_what_it_names_and_keeps_the_rest() {
        let mut sessions = FetchSessions::new(10);
        let id = sessions.open(vec![part(0, 0), part(1, 0)], 0).unwrap();
        let request = SessionRequest { id, epoch: 1 };
        let forgotten = [(part(0, 0).topic, 0)];
        let parts = sessions.update(request, vec![part(1, 7), part(2, 3)], &forgotten, 1).unwrap();
        assert_eq!(offsets(&parts), [(1, 7), (2, 3)]);
    }

    #[test]
    fn wrong_ids_and_epochs_get_kafkas_codes_and_change_nothing() {
        let mut sessions = FetchSessions::new(10);
        let id = sessions.open(vec![part(0, 0)], 0).unwrap();
        let wrong_id = SessionRequest { id: id + 1, epoch: 1 };
        let wrong_epoch = SessionRequest { id, epoch: 2 };
        assert_eq!(
            sessions.update(wrong_id, vec![], &[], 0),
            Err(KafkaCode::FetchSessionIdNotFound)
        );
        assert_eq!(
            sessions.update(wrong_epoch, vec![], &[], 0),
            Err(KafkaCode::InvalidFetchSessionEpoch)
        );
        assert!(sessions.update(SessionRequest { id, epoch: 1 }, vec![], &[], 0).is_ok());
    }

    #[test]
    fn a_partition_is_mentioned_when_what_the_client_knows_has_changed() {
        let mut sessions = FetchSessions::new(10);
        let id = sessions.open(vec![part(0, 0)], 0).unwrap();
        let told = Told { high_watermark: 5, log_start_offset: 0, last_stable_offset: 5 };
        let topic = part(0, 0).topic;
        assert!(sessions.is_news(id, &topic, 0, told));
        assert!(!sessions.is_news(id, &topic, 0, told));
        assert!(sessions.is_news(id, &topic, 0, Told { high_watermark: 6, ..told }));
    }

    #[test]
    fn a_full_table_makes_room_only_for_sessions_long_idle() {
        let mut sessions = FetchSessions::new(100);
        for _ in 0..100 {
            sessions.open(vec![], 0).unwrap();
        }
        assert_eq!(sessions.open(vec![], SESSION_IDLE_US_MIN - 1), None);
        assert!(sessions.open(vec![], SESSION_IDLE_US_MIN).is_some());
        assert_eq!(sessions.len(), 100);
    }

    #[test]
    fn a_core_without_slots_opens_no_session() {
        assert_eq!(FetchSessions::new(0).open(vec![], SESSION_IDLE_US_MIN), None);
    }
}
