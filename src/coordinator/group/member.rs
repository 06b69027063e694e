//! One member of a classic group.

use super::calls::{GroupAnswer, Join, Joined, Protocol, Synced};
use super::records::MemberMetadata;
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;
use bytes::Bytes;

/// A member as the coordinator knows it; its id is the key it is kept under.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: u64,
    pub(super) session_timeout_ms: u64,
    /// In order of preference.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// Its parked JoinGroup.
    pub(super) joining: Option<Waiter>,
    /// Its parked SyncGroup.
    pub(super) syncing: Option<Waiter>,
    /// Has not been in a generation yet: its parked JoinGroup does not keep it alive.
    pub(super) is_new: bool,
    /// Monotonic microseconds at which it counts as dead; `None` while its own parked request
    /// keeps it alive.
    pub(super) expires_at_us: Option<u64>,
}

impl Member {
    /// A member from its first JoinGroup.
    pub(super) fn joining(join: Join, waiter: Waiter) -> Member {
        let (session_timeout_ms, rebalance_timeout_ms) = timeouts_of(&join);
        Member {
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(waiter),
            syncing: None,
            is_new: true,
            expires_at_us: None,
        }
    }

    /// Takes over what a further JoinGroup says and parks it. A JoinGroup that is still parked
    /// comes from a connection its client has given up.
    pub(super) fn rejoin(&mut self, id: &str, join: Join, waiter: Waiter, turn: &mut Turn<'_>) {
        self.refuse_join(id, KafkaCode::RebalanceInProgress, turn);
        let (session_timeout_ms, rebalance_timeout_ms) = timeouts_of(&join);
        self.session_timeout_ms = session_timeout_ms;
        self.rebalance_timeout_ms = rebalance_timeout_ms;
        self.protocols = join.protocols;
        self.joining = Some(waiter);
    }

    /// Answers a parked JoinGroup with an error, if there is one.
    pub(super) fn refuse_join(&mut self, id: &str, code: KafkaCode, turn: &mut Turn<'_>) {
        if let Some(waiter) = self.joining.take() {
            turn.answer(waiter, GroupAnswer::Join(Joined::refused(code, id)));
        }
    }

    /// Answers a parked SyncGroup with an error, if there is one.
    pub(super) fn refuse_sync(&mut self, code: KafkaCode, turn: &mut Turn<'_>) {
        if let Some(waiter) = self.syncing.take() {
            turn.answer(waiter, GroupAnswer::Sync(Synced::refused(code)));
        }
    }

    /// The member was heard from: its session begins anew.
    pub(super) fn refresh(&mut self, turn: &Turn<'_>) {
        self.expires_at_us = Some(turn.deadline_us(self.session_timeout_ms));
    }

    /// True when its silence is our doing: it waits for an answer of ours.
    pub(super) fn is_kept_alive(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|supported| supported.name == protocol)
    }

    /// Its subscription in the format of `protocol`; empty when it does not support it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|supported| supported.name == protocol)
            .map(|supported| supported.metadata.clone())
            .unwrap_or_default()
    }
}

impl MemberMetadata {
    /// The member as a record of a generation that uses `protocol` describes it.
    pub(super) fn into_member(self, protocol: &str) -> Member {
        let session_timeout_ms = u64::try_from(self.session_timeout_ms).unwrap_or(0);
        Member {
            instance: self.instance,
            client_id: self.client_id,
            client_host: self.client_host,
            rebalance_timeout_ms: u64::try_from(self.rebalance_timeout_ms)
                .unwrap_or(session_timeout_ms),
            session_timeout_ms,
            protocols: vec![Protocol { name: protocol.to_owned(), metadata: self.subscription }],
            assignment: self.assignment,
            joining: None,
            syncing: None,
            is_new: false,
            expires_at_us: None,
        }
    }
}

/// Session and rebalance timeout of a join in ms. A negative rebalance timeout (JoinGroup v0 has
/// none) means the session timeout.
fn timeouts_of(join: &Join) -> (u64, u64) {
    let session = u64::try_from(join.session_timeout_ms).unwrap_or(0);
    let rebalance = u64::try_from(join.rebalance_timeout_ms).unwrap_or(session);
    (session, rebalance)
}
