//! One partition on disk: what a durable log needs, and nothing of replication or the network.

pub mod disk;
