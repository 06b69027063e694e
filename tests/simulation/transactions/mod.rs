//! What the simulation of transactions is made of: producers, readers, and what they remember.

pub(crate) mod history; // what was begun, told and seen
pub(crate) mod producer; // a transactional producer that outlives its broker
pub(crate) mod reader; // readers of committed records and offsets

/// Where everything is written.
pub(crate) const TOPIC: &str = "t";
/// Group of all offsets; a producer commits those of the partition with its own number.
pub(crate) const GROUP: &str = "g";
/// No transaction here lives longer unless its producer goes on.
pub(crate) const TIMEOUT_MS_MAX: i32 = 2000;
