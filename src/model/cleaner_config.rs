//! What the compactor of each core goes by, from the broker's keys as they are in force.
//!
//! Why resolved anew for each round: all but `log.cleaner.enable` may change while the broker
//! runs, and a round takes seconds.

use crate::model::config_keys::{ConfigValue, broker_key};
use crate::model::limits::KEY_MAP_BYTES_MIN;

/// Settings of the compactors of one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub is_enabled: bool,
    /// `log.cleaner.backoff.ms`: pause when nothing is to be done.
    pub backoff_ms: u64,
    /// `log.cleaner.dedupe.buffer.size`: bytes of key maps, of all cores together.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`: bytes read and written by all cores together; `None`
    /// is no bound.
    pub io_bytes_per_second: Option<u64>,
}

impl CleanerConfig {
    /// From the broker's keys: `value_of` gives what somebody set, `None` where nobody did.
    pub fn resolve<'a>(value_of: impl Fn(&str) -> Option<&'a str>) -> CleanerConfig {
        let number = |name| match in_force(name, &value_of) {
            ConfigValue::Number(number) => u64::try_from(number).unwrap_or(0),
            ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::Double(_) => {
                unreachable!("{name} is a number in the table")
            }
        };
        let rate = match in_force("log.cleaner.io.max.bytes.per.second", &value_of) {
            ConfigValue::Double(rate) => whole(rate),
            ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::Number(_) => None,
        };
        let enable = in_force("log.cleaner.enable", &value_of);
        let buffer = number("log.cleaner.dedupe.buffer.size");
        CleanerConfig {
            is_enabled: enable == ConfigValue::Bool(true),
            backoff_ms: number("log.cleaner.backoff.ms"),
            dedupe_buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
            io_bytes_per_second: rate,
        }
    }

    /// Bytes of the key map of one of `cores` cores.
    pub fn key_map_bytes(&self, cores: u16) -> usize {
        (self.dedupe_buffer_bytes / usize::from(cores.max(1))).max(KEY_MAP_BYTES_MIN)
    }

    /// Bytes per second of one of `cores` cores.
    pub fn core_bytes_per_second(&self, cores: u16) -> Option<u64> {
        self.io_bytes_per_second.map(|rate| (rate / u64::from(cores.max(1))).max(1))
    }
}

/// A rate as whole bytes; one that no disk reaches is no bound.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
fn whole(rate: f64) -> Option<u64> {
    const UNBOUNDED: f64 = 1e15;
    (rate < UNBOUNDED).then_some(rate.max(1.0) as u64)
}

fn in_force<'a>(name: &str, value_of: &impl Fn(&str) -> Option<&'a str>) -> ConfigValue<'a> {
    let key = broker_key(name).expect("fields name rows of the table");
    let legal = |text: &'a str| key.accept(text).ok();
    let set = value_of(name).and_then(legal);
    set.or_else(|| key.default.and_then(legal)).expect("the table's default is legal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_kafka() {
        let config = CleanerConfig::resolve(|_| None);
        assert!(config.is_enabled);
        assert_eq!(config.backoff_ms, 15_000);
        assert_eq!(config.dedupe_buffer_bytes, 128 << 20);
        assert_eq!(config.io_bytes_per_second, None);
        assert_eq!(config.key_map_bytes(2), 64 << 20);
    }

    #[test]
    fn the_rate_is_shared_by_the_cores() {
        let config = CleanerConfig::resolve(|name| {
            (name == "log.cleaner.io.max.bytes.per.second").then_some("1048576.0")
        });
        assert_eq!(config.core_bytes_per_second(4), Some(262_144));
    }
}
