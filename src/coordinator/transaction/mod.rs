//! The transaction coordinator: which producer may write under a transactional id, and which
//! partitions its transaction spans (KIP-98, KIP-360, KIP-890).
//!
//! Like the group coordinator it must not know wire versions: what differs between versions of a
//! request is settled in `api/`, once.

pub mod calls;

pub use calls::{TransactionAnswer, TransactionRequest};
