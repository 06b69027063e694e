//! Words of the domain, shared by every layer. No I/O, no logic beyond arithmetic.

pub mod clock;
pub mod config_keys;
pub mod errors;
pub mod ids;
pub mod limits;
pub mod topic_config;
