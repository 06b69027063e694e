//! Words of the domain, shared by every layer. No I/O, no logic beyond arithmetic.

pub mod base64url;
pub mod broker_config;
pub mod cleaner_config;
pub mod clock;
pub mod cluster_config;
pub mod config_keys;
pub mod config_view;
pub mod errors;
pub mod features;
pub mod group_bounds;
pub mod group_config;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod listeners;
pub mod rings;
pub mod share_config;
pub mod topic_config;
pub mod transaction_config;
