//! The keys of the broker itself.
use super::ConfigKey;

/// Sorted by name.
pub const BROKER_KEYS: &[ConfigKey] = &[];
