//! How a partition's replicas keep the same log: the leader's and the follower's part. Sans-io.
//!
//! A follower opens a stream with [`messages::Open`]; both find the offset up to which their logs
//! are the same, the follower cuts what lies above it, and from then on the leader pushes batches
//! as they are stored and the follower acknowledges what it has made safe. Every message carries
//! the leader epoch, and a message of another epoch changes nothing (KIP-320).
//!
//! The driver hands in the time and what the log says, and carries out what comes back.

pub mod follower;
pub mod leader;
pub mod messages;
mod progress;

#[cfg(test)]
mod tests;

use crate::model::ids::{LeaderEpoch, Offset};

/// What both sides need to know of their own log to find where two logs part ways.
#[derive(Clone, Copy)]
pub struct LogView<'a> {
    pub log_start: Offset,
    pub log_end: Offset,
    /// Of the last record; `None` for a log without any.
    pub last_epoch: Option<LeaderEpoch>,
    /// Largest epoch at or below the one asked for and the offset where it ends. `None` when it is
    /// newer than `last_epoch` or the log has no records.
    pub end_of_epoch: &'a dyn Fn(LeaderEpoch) -> Option<(LeaderEpoch, Offset)>,
}

impl LogView<'_> {
    /// As `end_of_epoch`, and for an epoch newer than all: where the last one ends (KIP-279).
    fn end_at_or_below(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let last = self.last_epoch?;
        if epoch > last { Some((last, self.log_end)) } else { (self.end_of_epoch)(epoch) }
    }
}
