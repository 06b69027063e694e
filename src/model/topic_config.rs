//! A topic's configuration as types: what the log acts upon, never text.
//!
//! Why resolved once: overrides and broker defaults change rarely, appends read them always. The
//! metadata image makes one `TopicConfig` per topic whenever either changes.
//!
//! Invariants
//! - Every field comes from a row of [`TOPIC_KEYS`]; a row that is acted upon has a field here.
//! - Milliseconds are `i64`, as record timestamps are, and never negative; "forever" is `None`.

use crate::model::config_keys::{
    ConfigError, ConfigKey, ConfigValue, Synonym, TOPIC_KEYS, list_items, topic_key,
};
use crate::model::ids::{BrokerId, PartitionId};
use std::collections::BTreeMap;

/// What `acks=all` and coordinator writes wait for (`highwater.durability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Stable storage: survives a power cut.
    #[default]
    Flush,
    /// The kernel's page cache: survives a crash of the process, not of the machine.
    Kernel,
}

/// Codec of the stored batches (`compression.type`, KIP-390).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionPolicy {
    /// As the producer sent them.
    #[default]
    Producer,
    Uncompressed,
    /// 1 to 9; `None` is the codec's own default.
    Gzip {
        level: Option<u32>,
    },
    Snappy,
    Lz4,
    /// -131072 to 22.
    Zstd {
        level: i32,
    },
}

/// Whose clock stamps records (`message.timestamp.type`, KIP-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// `cleanup.policy`; neither is possible and keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are dropped by age and size.
    pub delete: bool,
    /// Records need keys; the last one of each is kept.
    pub compact: bool,
}

/// Whose records are looked through before they are appended (`highwater.records.check`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordsCheck {
    /// Those that can be read as they are.
    #[default]
    Uncompressed,
    /// Compressed ones too, for which they are decompressed.
    All,
}

/// Replicas whose catching up is throttled (KIP-73).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ThrottledReplicas {
    #[default]
    None,
    All,
    Some(Vec<(PartitionId, BrokerId)>),
}

impl ThrottledReplicas {
    /// Whether a broker's replica of a partition is among them.
    pub fn has(&self, partition: PartitionId, broker: BrokerId) -> bool {
        match self {
            ThrottledReplicas::None => false,
            ThrottledReplicas::All => true,
            ThrottledReplicas::Some(replicas) => replicas.contains(&(partition, broker)),
        }
    }

    /// Reads what the key's kind has checked: `partition:broker,...`, or `*` for all.
    fn read(text: &str) -> ThrottledReplicas {
        let pair = |item: &str| {
            let (partition, broker) = item.split_once(':')?;
            Some((PartitionId(partition.parse().ok()?), BrokerId(broker.parse().ok()?)))
        };
        let replicas: Vec<_> = list_items(text).filter_map(pair).collect();
        match (text.trim(), replicas.is_empty()) {
            ("*", _) => ThrottledReplicas::All,
            (_, true) => ThrottledReplicas::None,
            (_, false) => ThrottledReplicas::Some(replicas),
        }
    }
}

/// One topic's configuration. One per topic and core, replaced as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    pub cleanup: CleanupPolicy,
    pub compression: CompressionPolicy,
    /// Milliseconds that a compacted log keeps the marker of a deleted key (KIP-534).
    pub delete_retention_ms: i64,
    pub durability: Durability,
    /// Milliseconds a dropped segment's file stays on disk.
    pub file_delete_delay_ms: i64,
    /// Throttled where they follow.
    pub follower_throttled: ThrottledReplicas,
    /// Bytes of log between two entries of the offset index.
    pub index_interval_bytes: u32,
    /// Throttled where they lead.
    pub leader_throttled: ThrottledReplicas,
    /// Milliseconds after which a record must be compacted (KIP-354).
    pub max_compaction_lag_ms: i64,
    /// Largest batch as sent, in bytes.
    pub max_message_bytes: u32,
    /// How far ahead of the broker's clock a timestamp may be, in milliseconds.
    pub timestamp_after_max_ms: i64,
    /// How far behind the broker's clock a timestamp may be, in milliseconds.
    pub timestamp_before_max_ms: i64,
    pub timestamp_type: TimestampType,
    /// Share of uncompacted bytes from which on a log is compacted, 0 to 1.
    pub min_cleanable_ratio: f64,
    /// Milliseconds that a record stays as it was written.
    pub min_compaction_lag_ms: i64,
    /// From 1.
    pub min_insync_replicas: u32,
    pub records_check: RecordsCheck,
    /// Bytes per partition; `None` is no bound.
    pub retention_bytes: Option<u64>,
    /// Milliseconds; `None` is forever.
    pub retention_ms: Option<i64>,
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u32,
    /// Size of the offset index at which a segment is closed, in bytes.
    pub segment_index_bytes: u32,
    /// Largest random time taken off `segment_ms`, in milliseconds.
    pub segment_jitter_ms: i64,
    /// Age at which a segment is closed, in milliseconds.
    pub segment_ms: i64,
    /// A replica that may lack records may lead where nobody else is left.
    pub unclean_leader_election: bool,
}

/// Defaults of topic keys as the broker's own configuration sets them; the rest is the table's.
/// One per broker, changed by dynamic broker configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicDefaults {
    values: BTreeMap<&'static str, String>,
}

impl TopicDefaults {
    /// From the broker's keys: `value_of` gives what somebody set, `None` where nobody did.
    pub fn from_broker<'a>(value_of: impl Fn(&str) -> Option<&'a str>) -> TopicDefaults {
        let mut values = BTreeMap::new();
        for key in TOPIC_KEYS {
            let set = key.synonyms.iter().find_map(|synonym| {
                value_of(synonym.broker_key).map(|value| synonym.translate(value))
            });
            if let Some(value) = set {
                values.insert(key.name, value);
            }
        }
        TopicDefaults { values }
    }

    /// The default of a topic key, as text.
    pub fn get(&self, key: &ConfigKey) -> Option<&str> {
        self.values.get(key.name).map(String::as_str).or(key.default)
    }
}

impl Synonym {
    /// The broker key's value in units of the topic key; a negative one stays "forever".
    pub fn translate(&self, value: &str) -> String {
        match value.trim().parse::<i64>() {
            Ok(number) if self.scale != 1 && number >= 0 => {
                number.saturating_mul(self.scale).to_string()
            }
            Ok(_) if self.scale != 1 => "-1".to_owned(),
            Ok(_) | Err(_) => value.trim().to_owned(),
        }
    }
}

impl TopicConfig {
    /// The configuration of a topic with these overrides.
    ///
    /// An override that is unknown or not legal is reported and takes its default: a decision
    /// refuses it, a replay of the log (written by a version that allowed it) carries on.
    pub fn resolve(
        overrides: &BTreeMap<String, String>,
        defaults: &TopicDefaults,
    ) -> (TopicConfig, Vec<ConfigError>) {
        let mut errors = Vec::new();
        for (key, value) in overrides {
            match topic_key(key) {
                Some(key) => errors.extend(key.accept(value).err()),
                None => errors.push(ConfigError::UnknownTopicKey { key: key.clone() }),
            }
        }
        let values = Values { overrides, defaults };
        errors.extend(values.conflict());
        (values.config(), errors)
    }
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::resolve(&BTreeMap::new(), &TopicDefaults::default()).0
    }
}

/// Look-ups through override, broker default and table, in this order.
struct Values<'a> {
    overrides: &'a BTreeMap<String, String>,
    defaults: &'a TopicDefaults,
}

impl<'a> Values<'a> {
    fn config(&self) -> TopicConfig {
        TopicConfig {
            cleanup: self.cleanup(),
            compression: self.compression(),
            delete_retention_ms: self.number("delete.retention.ms"),
            durability: match self.text("highwater.durability") {
                "kernel" => Durability::Kernel,
                _ => Durability::Flush,
            },
            file_delete_delay_ms: self.number("file.delete.delay.ms"),
            index_interval_bytes: self.size("index.interval.bytes"),
            follower_throttled: ThrottledReplicas::read(
                self.text("follower.replication.throttled.replicas"),
            ),
            leader_throttled: ThrottledReplicas::read(
                self.text("leader.replication.throttled.replicas"),
            ),
            max_compaction_lag_ms: self.number("max.compaction.lag.ms"),
            max_message_bytes: self.size("max.message.bytes"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_type: match self.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_ratio: self.ratio("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: self.number("min.compaction.lag.ms"),
            min_insync_replicas: self.size("min.insync.replicas"),
            records_check: match self.text("highwater.records.check") {
                "all" => RecordsCheck::All,
                _ => RecordsCheck::Uncompressed,
            },
            retention_bytes: u64::try_from(self.number("retention.bytes")).ok(),
            retention_ms: Some(self.number("retention.ms")).filter(|ms| *ms >= 0),
            segment_bytes: self.size("segment.bytes"),
            segment_index_bytes: self.size("segment.index.bytes"),
            segment_jitter_ms: self.number("segment.jitter.ms"),
            segment_ms: self.number("segment.ms"),
            unclean_leader_election: self.flag("unclean.leader.election.enable"),
        }
    }

    /// Two keys that contradict each other.
    fn conflict(&self) -> Option<ConfigError> {
        let (low, high) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let (low_value, high_value) = (self.number(low), self.number(high));
        (low_value > high_value).then_some(ConfigError::Conflict {
            low,
            low_value,
            high,
            high_value,
        })
    }

    fn cleanup(&self) -> CleanupPolicy {
        let policies = self.text("cleanup.policy");
        CleanupPolicy {
            delete: list_items(policies).any(|policy| policy == "delete"),
            compact: list_items(policies).any(|policy| policy == "compact"),
        }
    }

    fn compression(&self) -> CompressionPolicy {
        match self.text("compression.type") {
            "uncompressed" => CompressionPolicy::Uncompressed,
            "gzip" => CompressionPolicy::Gzip {
                level: u32::try_from(self.number("compression.gzip.level")).ok(),
            },
            "snappy" => CompressionPolicy::Snappy,
            "lz4" => CompressionPolicy::Lz4,
            "zstd" => CompressionPolicy::Zstd {
                level: i32::try_from(self.number("compression.zstd.level"))
                    .expect("the table bounds it to 32 bits"),
            },
            _ => CompressionPolicy::Producer,
        }
    }

    /// The first legal value of override, broker default and table.
    fn value(&self, name: &str) -> ConfigValue<'a> {
        let key = topic_key(name).expect("fields name rows of the table");
        let overridden = self.overrides.get(name).map(String::as_str);
        let broker_default = self.defaults.values.get(key.name).map(String::as_str);
        [overridden, broker_default, key.default]
            .into_iter()
            .flatten()
            .find_map(|text| key.accept(text).ok())
            .expect("the table's own default is legal, a test holds it")
    }

    fn text(&self, name: &str) -> &'a str {
        match self.value(name) {
            ConfigValue::Text(text) => text,
            ConfigValue::Bool(_) | ConfigValue::Number(_) | ConfigValue::Double(_) => {
                panic!("{name} is a text in the table")
            }
        }
    }

    fn number(&self, name: &str) -> i64 {
        match self.value(name) {
            ConfigValue::Number(number) => number,
            ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::Double(_) => {
                panic!("{name} is a number in the table")
            }
        }
    }

    fn ratio(&self, name: &str) -> f64 {
        match self.value(name) {
            ConfigValue::Double(ratio) => ratio,
            ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::Number(_) => {
                panic!("{name} is a ratio in the table")
            }
        }
    }

    fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            ConfigValue::Bool(is_on) => is_on,
            ConfigValue::Number(_) | ConfigValue::Text(_) | ConfigValue::Double(_) => {
                panic!("{name} is a flag in the table")
            }
        }
    }

    fn size(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).expect("the table bounds sizes to 0..=i32::MAX")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(overrides: &[(&str, &str)], broker: &[(&str, &str)]) -> (TopicConfig, Vec<String>) {
        let overrides = overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let defaults = TopicDefaults::from_broker(|key| {
            broker.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
        });
        let (config, errors) = TopicConfig::resolve(&overrides, &defaults);
        (config, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn throttled_replicas_are_pairs_or_all() {
        let key = "leader.replication.throttled.replicas";
        let has = |text, partition, broker| {
            let (config, errors) = resolve(&[(key, text)], &[]);
            assert_eq!(errors, Vec::<String>::new());
            config.leader_throttled.has(PartitionId(partition), BrokerId(broker))
        };
        assert!(has("*", 3, 1) && !has("", 0, 1));
        assert!(has("0:1,1:2", 1, 2) && !has("0:1,1:2", 1, 1));
    }

    #[test]
    fn the_defaults_are_those_of_kafka() {
        let config = TopicConfig::default();
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.retention_ms, Some(7 * 24 * 3_600_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.cleanup, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.compression, CompressionPolicy::Producer);
        assert_eq!(config.timestamp_before_max_ms, i64::MAX);
    }

    #[test]
    fn an_override_wins_over_the_broker_and_the_broker_over_the_table() {
        let broker = [("log.retention.hours", "2"), ("log.segment.bytes", "2097152")];
        let (config, errors) = resolve(&[("segment.bytes", "1048576")], &broker);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(config.segment_bytes, 1_048_576);
        assert_eq!(config.retention_ms, Some(7_200_000));
    }

    #[test]
    fn of_the_brokers_retentions_milliseconds_win_then_minutes_then_hours() {
        let hours = ("log.retention.hours", "1");
        let minutes = ("log.retention.minutes", "2");
        let ms = ("log.retention.ms", "3");
        assert_eq!(resolve(&[], &[hours]).0.retention_ms, Some(3_600_000));
        assert_eq!(resolve(&[], &[hours, minutes]).0.retention_ms, Some(120_000));
        assert_eq!(resolve(&[], &[hours, minutes, ms]).0.retention_ms, Some(3));
        assert_eq!(resolve(&[], &[("log.retention.hours", "-1")]).0.retention_ms, None);
    }

    #[test]
    fn an_illegal_override_is_reported_with_kafkas_text_and_takes_its_default() {
        let (config, errors) = resolve(
            &[
                ("cleanup.policy", "shred"),
                ("no.such.key", "1"),
                ("remote.storage.enable", "true"),
                ("retention.ms", "-2"),
                ("segment.bytes", "abc"),
            ],
            &[],
        );
        assert_eq!(config, TopicConfig::default());
        assert_eq!(
            errors,
            [
                "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
                "Unknown topic config name: no.such.key",
                "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
                "Invalid value -2 for configuration retention.ms: Value must be at least -1",
                "Invalid value abc for configuration segment.bytes: Not a number of type INT",
            ]
        );
    }

    #[test]
    fn lags_of_compaction_may_not_contradict_each_other() {
        let lags = [("min.compaction.lag.ms", "5"), ("max.compaction.lag.ms", "2")];
        assert_eq!(
            resolve(&lags, &[]).1,
            ["conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (2)"]
        );
    }

    #[test]
    fn lists_and_codecs_become_types() {
        let (config, _) = resolve(
            &[("cleanup.policy", "compact, delete"), ("compression.type", "gzip")],
            &[("compression.gzip.level", "7")],
        );
        assert_eq!(config.cleanup, CleanupPolicy { delete: true, compact: true });
        assert_eq!(config.compression, CompressionPolicy::Gzip { level: Some(7) });
        let (config, _) = resolve(&[("highwater.durability", "kernel")], &[]);
        assert_eq!(config.durability, Durability::Kernel);
        let (config, _) = resolve(&[], &[("highwater.records.check", "all")]);
        assert_eq!(config.records_check, RecordsCheck::All);
    }
}
