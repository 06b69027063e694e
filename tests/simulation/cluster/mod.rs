//! What the simulation of a cluster is made of: faults, clients, what they remember, and what must
//! hold.

pub(crate) mod beside; // what disks do to indexes and metadata
pub(crate) mod caller; // a client's way to the brokers
#[path = "../transactions/committed.rs"]
pub(crate) mod committed; // what a reader of committed records makes of an answer
pub(crate) mod coordinated; // requests that coordinators answer
pub(crate) mod group; // members of a group
pub(crate) mod history; // what clients were told
pub(crate) mod nemesis; // what goes wrong, when, and when it is mended
pub(crate) mod offsets; // consumers that commit how far they are
#[path = "../transactions/history.rs"]
pub(crate) mod past; // what transactional producers were told
pub(crate) mod planted; // faults that no cluster could stand
pub(crate) mod producer; // idempotent producers, and some that promise nothing
pub(crate) mod reader; // consumers that follow partitions
pub(crate) mod regressions; // what seeds have found, by name
pub(crate) mod rot; // what disks do to what they had
pub(crate) mod settling; // after the trouble: everything must come to rest
pub(crate) mod swarm; // which faults a seed has
pub(crate) mod transactional; // producers that transform an input
pub(crate) mod unreadable; // what disks do not give back
pub(crate) mod watch; // invariants of the brokers
pub(crate) mod world; // cluster, clients and history of one seed

/// Where records without transactions are written.
pub(crate) const TOPIC: &str = "plain";
/// Where transactions are written.
pub(crate) const TXN_TOPIC: &str = "transformed";
