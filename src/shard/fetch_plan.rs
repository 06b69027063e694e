//! A fetch after its names are resolved: what to read where, and how to word the answer.

use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::shard::mesh::{Isolation, ReaderPlace};
use crate::shard::parked::TopicName;
use std::sync::Arc;

/// One partition of a fetch, in request or session order.
#[derive(Debug, Clone)]
pub struct FetchPart {
    /// The topic as the client names it.
    pub topic: TopicName,
    pub partition: i32,
    /// Who owns it; the code to answer when nobody does.
    pub owner: Result<(TopicPartition, CoreId), KafkaCode>,
    pub fetch_offset: i64,
    pub max_bytes: usize,
    pub current_leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// How the answer relates to a fetch session (KIP-227).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionUse {
    /// No session: every partition is answered.
    None,
    /// The first answer of a new session: every partition is answered.
    Opened(i32),
    /// Only partitions that changed are answered.
    Continued(i32),
}

impl SessionUse {
    /// The id that the answer carries; 0 without a session.
    pub fn id(self) -> i32 {
        match self {
            SessionUse::None => 0,
            SessionUse::Opened(id) | SessionUse::Continued(id) => id,
        }
    }
}

/// A fetch as it is carried out.
#[derive(Debug, Clone)]
pub struct FetchPlan {
    pub correlation_id: i32,
    pub version: i16,
    pub isolation: Isolation,
    /// Where the reader is, when replicas are chosen by it.
    pub place: Option<Arc<ReaderPlace>>,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub session: SessionUse,
    pub parts: Vec<FetchPart>,
}
