//! One core's broker, without a runtime: the same code runs under `runtime/` and `sim/`.

pub mod appends; // batches into this core's partitions
pub mod cleaner; // log compaction, behind everything else
pub mod connection; // bytes in, answers out in request order; no socket
pub mod coordinator_host; // coordinators of this core
mod controller_calls; // what this broker wants of another that is the controller
mod coordinator_load; // their replay
mod damage; // replicas that are damaged, and how they are mended
mod deletions; // records that go on request, at every replica
pub mod fetch_plan; // a fetch with its names resolved
pub mod fetch_session; // what clients fetch, remembered (KIP-227)
pub mod group_commit; // one journal write and one sync for many partitions
pub mod group_host; // group coordinators among them, and the way to one
pub mod housekeeping; // retention, rolling by time, free space, expiry
pub mod lookup; // who the active controller is, asked of others
pub mod markers; // ends of transactions in this core's partitions
pub mod membership;
pub mod mesh; // what cores say to each other
pub mod metadata; // changes of the metadata, and their image on every core
pub mod outbox; // what leaves the shard
pub mod parked; // requests that wait
pub mod partition; // one partition: log, high watermark, waiters
pub mod peers; // connections to other brokers, and calls on them
pub mod presence; // whether another broker's process has ended
pub mod producer_ids; // identities for producers, never twice
pub mod questions; // one question, one reply, between cores
pub mod quorum; // agreement on the metadata: tick, persist, apply
pub mod quorum_files; // what of it is on disk
pub mod quorum_rescue; // the same while no broker runs: formatted, recovered, forgotten
pub mod reads; // fetch passes, watches and wakes
pub mod recovery; // from files to an open shard
pub mod joining; // registration, heartbeats, and who falls silent
mod isr_proposals; // in-sync sets, as leaders here want them
mod replica_messages; // what other brokers' replicas say
mod replica_push; // batches to followers
mod replica_throttle; // how fast they catch up
mod remote_shares; // share coordinators on other brokers
mod remote_transactions; // their partitions and coordinators on other brokers
pub mod replicas; // who leads here and who follows
pub mod routing; // messages from other cores
pub mod segment_sync; // segment files to stable storage
pub mod segment_writer; // from memory to segment files
#[allow(clippy::module_inception, reason = "the shard is this module's one idea")]
pub mod shard; // the state of one core
mod share_batches; // stored batches one by one
pub mod share_calls; // what members of share groups ask of a partition's core
pub mod share_groups; // what share groups want done with that state
pub mod share_host; // share coordinators among them, and the way to one
pub mod share_session; // what members of share groups fetch, remembered
pub mod share_state; // a share partition's state, as group coordinators ask for it
pub mod share_table; // share partitions of this core
pub mod share_watches; // who waits for records of them, in what order
pub mod share_writes; // what happens to them, made durable
pub mod signal; // wake-ups under any executor
pub mod overview; // what a broker tells whoever watches it
pub mod stages; // where the time of requests goes
pub mod stats; // counters of one core
pub mod stop; // an orderly end
pub mod transaction_host; // transaction coordinators among them, and their markers
pub mod transactional; // batches of transactions on their way in
pub mod truncation; // logs that are cut where their leader has other records
pub mod verification; // a transaction coordinator asked about partitions
pub mod voters; // who decides about the metadata, changed while it runs
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
        (Priority::Serving, Box::pin(replica_push::push_loop(shard.clone()))),
        (Priority::Serving, Box::pin(joining::membership_loop(shard.clone()))),
        (Priority::Serving, Box::pin(joining::controller_loop(shard.clone()))),
        (Priority::Serving, Box::pin(isr_proposals::proposal_loop(shard.clone()))),
        (Priority::Serving, Box::pin(transaction_host::marker_loop(shard.clone()))),
        (Priority::Serving, Box::pin(share_writes::share_loop(shard.clone()))),
        (Priority::Serving, Box::pin(transactional::verify_loop(shard.clone()))),
        (Priority::Serving, Box::pin(quorum::persist_loop(shard.clone()))),
        (Priority::Serving, Box::pin(quorum::apply_loop(shard.clone()))),
        (Priority::Serving, Box::pin(housekeeping::housekeeping_loop(shard.clone()))),
        (Priority::Background, Box::pin(cleaner::cleaner_loop(shard.clone()))),
    ]
}
