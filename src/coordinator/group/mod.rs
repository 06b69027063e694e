//! The group coordinator: who consumes which partitions, and how far each group has read.
//!
//! One [`GroupCoordinator`] per partition of `__consumer_offsets`, on the core that owns that
//! partition. Groups of the classic protocol (`classic.rs`) and of the consumer protocol (KIP-848,
//! `consumer.rs`), which a group may move between and keep its offsets; share groups (KIP-932,
//! `share.rs`).
//!
//! Why own request and answer structs ([`GroupRequest`], [`GroupAnswer`]) and not the protocol's
//! messages: the machine must not know wire versions. What differs between versions (a single
//! member in LeaveGroup v2, no rebalance timeout in JoinGroup v0) is settled in `api/`, once.

pub mod assignor;
pub mod calls;
pub mod classic;
pub mod consumer;
pub mod coordinator;
mod expiry;
mod heartbeat;
mod join;
mod kinds;
mod leave;
mod member;
mod offsets;
mod pending;
pub mod rebalances;
pub mod records;
pub mod share;
mod subscription;
mod sync;
pub mod topics;
mod turn;

#[cfg(test)]
mod tests;

pub use calls::{GroupAnswer, GroupFilter, GroupRequest};
pub use coordinator::GroupCoordinator;
pub use turn::Step;
