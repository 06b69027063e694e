//! One partition on disk: what a durable log needs, and nothing of replication or the network.

pub mod disk;
#[cfg(any(test, feature = "sim"))]
pub mod disk_contract;
