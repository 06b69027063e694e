//! One core's broker, without a runtime: the same code runs under `runtime/` and `sim/`.

pub mod appends; // batches into this core's partitions
pub mod cleaner; // log compaction, behind everything else
pub mod connection; // bytes in, answers out in request order; no socket
pub mod coordinator_host; // coordinators of this core
mod coordinator_load; // their replay
pub mod fetch_plan; // a fetch with its names resolved
pub mod fetch_session; // what clients fetch, remembered (KIP-227)
pub mod group_commit; // one journal write and one sync for many partitions
pub mod group_host; // group coordinators among them, and the way to one
pub mod housekeeping; // retention, rolling by time, free space, expiry
pub mod markers; // ends of transactions in this core's partitions
pub mod mesh; // what cores say to each other
pub mod metadata; // the metadata log, and its image on every core
pub mod outbox; // what leaves the shard
pub mod parked; // requests that wait
pub mod partition; // one partition: log, high watermark, waiters
pub mod producer_ids; // identities for producers, never twice
pub mod questions; // one question, one reply, between cores
pub mod reads; // fetch passes, watches and wakes
pub mod recovery; // from files to an open shard
pub mod routing; // messages from other cores
pub mod segment_writer; // from memory to segment files
#[allow(clippy::module_inception, reason = "the shard is this module's one idea")]
pub mod shard; // the state of one core
mod share_batches; // stored batches one by one
pub mod share_calls; // what members of share groups ask of a partition's core
pub mod share_groups; // what share groups want done with that state
pub mod share_host; // share coordinators among them, and the way to one
pub mod share_session; // what members of share groups fetch, remembered
pub mod share_state; // a share partition's state, as group coordinators ask for it
pub mod share_table; // share partitions of this core, and who waits for them
pub mod share_writes; // what happens to them, made durable
pub mod signal; // wake-ups under any executor
pub mod stats; // counters of one core
pub mod stop; // an orderly end
pub mod transaction_host; // transaction coordinators among them, and their markers
pub mod transactional; // batches of transactions on their way in
pub mod verification; // a transaction coordinator asked about partitions
pub mod waiters; // who waits at a partition

use crate::storage::disk::Disk;
use futures::future::LocalBoxFuture;

/// How a driver should rank a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Clients wait for it.
    Serving,
    /// Takes what the others leave.
    Background,
}

/// The long-lived loops of one core; the driver runs each as a task.
pub fn loops<D: Disk>(shard: &shard::ShardRef<D>) -> Vec<(Priority, LocalBoxFuture<'static, ()>)> {
    vec![
        (Priority::Serving, Box::pin(group_commit::write_loop(shard.clone()))),
        (Priority::Serving, Box::pin(group_commit::sync_loop(shard.clone()))),
        (Priority::Serving, Box::pin(segment_writer::drain_loop(shard.clone()))),
        (Priority::Serving, Box::pin(transaction_host::marker_loop(shard.clone()))),
        (Priority::Serving, Box::pin(share_writes::share_loop(shard.clone()))),
        (Priority::Serving, Box::pin(transactional::verify_loop(shard.clone()))),
        (Priority::Serving, Box::pin(housekeeping::housekeeping_loop(shard.clone()))),
        (Priority::Background, Box::pin(cleaner::cleaner_loop(shard.clone()))),
    ]
}
