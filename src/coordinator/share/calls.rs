//! What a share coordinator is asked, and what it answers: Kafka's requests between brokers
//! (KIP-932: Initialize, Read, Write, Delete and ReadSummary of ShareGroupState) as calls.

use super::records::{ShareKey, StateBatch};
use crate::model::errors::KafkaCode;

/// One request to the coordinator of a share partition's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareRequest {
    /// A group begins with a partition, or its start offset is set anew. `start_offset` -1 leaves
    /// the choice to the first reader. The epoch known already and -1 change nothing.
    Initialize {
        key: ShareKey,
        state_epoch: i32,
        start_offset: i64,
    },
    /// The owner of the partition begins to serve it.
    Read {
        key: ShareKey,
        leader_epoch: i32,
    },
    Write {
        key: ShareKey,
        write: StateWrite,
    },
    Summary {
        key: ShareKey,
    },
    /// No error when there is nothing.
    Delete {
        key: ShareKey,
    },
}

/// A change of a share partition's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    /// -1 leaves it as it is.
    pub start_offset: i64,
    /// What changed: newer than all that was written before.
    pub batches: Vec<StateBatch>,
}

/// A share partition's state as its owner reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareState {
    pub state_epoch: i32,
    /// -1 while nobody has chosen one.
    pub start_offset: i64,
    /// Disjoint and ascending, none below the start offset.
    pub batches: Vec<StateBatch>,
}

/// The same in short. Offsets and epochs are -1 where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSummary {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    /// Records at or above the start offset whose delivery is over; `None` before there is a start
    /// offset.
    pub delivery_complete_count: Option<u64>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareAnswer {
    Done,
    /// There was nothing to do.
    Unchanged,
    State(ShareState),
    Summary(ShareSummary),
    Refused(KafkaCode),
}

impl ShareRequest {
    /// Whether carrying it out may bring forth records.
    pub fn may_write(&self) -> bool {
        !matches!(self, ShareRequest::Summary { .. })
    }
}
