//! The metadata quorum: brokers that agree on one log of metadata. Sans-io.
//!
//! [`consensus`] says what a consensus must do for us, [`raft`] does it; [`wire`] is what members
//! send each other, [`log`], [`state`] and [`snapshot`] what each of them keeps on disk, [`files`]
//! in which order it is written and what is found again. Files are
//! read and written, messages carried and records applied by the layer above.

pub mod consensus;
pub mod files;
pub mod log;
pub mod members;
pub mod raft;
pub mod snapshot;
pub mod state;
mod store;
pub mod wire;

#[cfg(test)]
mod tests;
