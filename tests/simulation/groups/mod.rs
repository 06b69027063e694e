//! What the simulation of groups is made of: members of both protocols, what they were told, and
//! what must hold of it.

pub(crate) mod classic; // members that join, sync and lead
pub(crate) mod consumer; // members that follow the coordinator's assignment (KIP-848)
pub(crate) mod history; // who was told to own what, and when
pub(crate) mod member; // what members of both protocols have in common
pub(crate) use highwater::sim::network; // how members reach their broker

pub(crate) mod offsets; // commits, and what fetches of them may show
pub(crate) mod wire; // subscriptions and assignments as Kafka's consumers write them

/// The group's id.
pub(crate) const GROUP: &str = "g";
/// What the group reads.
pub(crate) const TOPIC: &str = "t";
/// Partitions of [`TOPIC`].
pub(crate) const PARTITIONS: i32 = 4;
/// Silence after which a member is taken for dead, in milliseconds.
pub(crate) const SESSION_MS: u64 = 50;
/// How long a client waits for the answer to a commit or a fetch of offsets, in microseconds.
pub(crate) const PATIENCE_US: u64 = 12_000;
/// How often a member says that it is there, in milliseconds.
pub(crate) const HEARTBEAT_MS: u64 = 8;
