//! What the simulation of transactions is made of: producers, readers, and what they remember.

pub(crate) mod committed; // what a reader of committed records makes of an answer
pub(crate) mod history; // what was begun, told and seen
pub(crate) mod producer; // a transactional producer that outlives its broker
pub(crate) mod reader; // readers of committed records and offsets
pub(crate) mod seat; // a producer's place in a group whose input it transforms

/// Where everything is written.
pub(crate) const TOPIC: &str = "t";
/// Group of producers that commit offsets without being in it; each commits those of the partition
/// with its own number.
pub(crate) const GROUP: &str = "g";
/// Group of those that transform what they consume.
pub(crate) const WORKERS: &str = "w";
/// Partitions of [`TOPIC`] whose offsets [`WORKERS`] commits.
pub(crate) const INPUTS: i32 = 4;
/// Two of them share a transactional id.
pub(crate) const PRODUCERS: usize = 4;
/// Producers and workers.
pub(crate) const ALL: usize = 6;
/// No transaction here lives longer unless its producer goes on.
pub(crate) const TIMEOUT_MS_MAX: i32 = 400;

/// Two producers have the same.
pub(crate) fn transactional_id(number: usize) -> String {
    format!("id-{}", number.max(1))
}
