//! Share groups (KIP-932), the side of the data: which records of a partition are whose, and the
//! record of it that outlives a crash.
//!
//! One [`ShareCoordinator`] per partition of `__share_group_state`, on the core that owns that
//! partition, keeps what is durable. One [`SharePartition`] per group and partition, on the core
//! that owns the partition, says who may have which record now. Neither knows the members of a
//! group: that is the group coordinator's.

mod calls;
pub mod coordinator;
pub mod partition;
pub mod records;
mod state;

#[cfg(test)]
mod tests;

pub use calls::{ShareAnswer, ShareRequest, ShareState, ShareSummary, StateWrite};
pub use coordinator::{Prune, ShareCoordinator, ShareStep};
pub use partition::SharePartition;
pub use records::{DeliveryState, ShareKey, StateBatch};
