//! One partition on disk: what a durable log needs, and nothing of replication or the network.

pub mod append_check;
pub mod checkpoint;
pub mod clean_stop;
pub mod compaction;
pub mod disk;
#[cfg(any(test, feature = "sim"))]
pub mod disk_contract;
pub mod epoch_cache;
pub mod error;
pub mod index;
pub mod journal;
pub mod partition_log;
pub mod producer_state;
pub mod record_rules;
mod recovery;
mod retention;
mod segment;
pub mod tail_cache;
pub mod transactions;
