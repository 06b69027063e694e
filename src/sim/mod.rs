//! The other driver: one seed decides the order of tasks, the time, and what the disk loses.
//!
//! The same code that runs on io_uring runs here, so that glue is tested under power cuts, full
//! disks and flipped bits, and a failure is repeated by its seed.

pub mod broker; // a whole broker, its mesh and its clients
pub mod cluster; // several of them, and what is between them
pub mod disk;
pub mod executor;
pub mod network; // delays, broken connections, requests sent again
pub mod random;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod controller_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod deletion_tests;
#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod failover_tests;
#[cfg(test)]
mod feature_tests;
#[cfg(test)]
mod follower_read_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod late_marker_tests;
#[cfg(test)]
mod marker_tests;
#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod quorum_tests;
#[cfg(test)]
mod replica_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod setup; // how the tests here begin
#[cfg(test)]
mod share_cluster_tests;
#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod voter_tests;
