//! The cluster's metadata as replayed records, and the decisions that write them. Sans-io.
//!
//! A request becomes records ([`decide`]), records are logged ([`metadata_log`]) and then applied
//! to every core's copy ([`image`]). What is not in a record does not survive a restart.

pub mod decide;
pub mod image;
pub mod metadata_log;
pub mod quorum;
pub mod records;
pub mod sessions;
