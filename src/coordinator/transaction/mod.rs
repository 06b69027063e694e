//! The transaction coordinator: which producer may write under a transactional id, and which
//! partitions its transaction spans (KIP-98, KIP-360, KIP-447, KIP-890).
//!
//! One [`TransactionCoordinator`] per partition of `__transaction_state`, on the core that owns
//! that partition. Like the group coordinator it must not know wire versions: what differs between
//! versions of a request is settled in `api/`, once.

mod add;
pub mod calls;
pub mod coordinator;
mod end;
mod init;
pub mod metadata;
pub mod records;
mod turn;

#[cfg(test)]
mod tests;

pub use calls::{TransactionAnswer, TransactionRequest};
pub use coordinator::TransactionCoordinator;
pub use turn::{MarkersToWrite, TransactionStep};
