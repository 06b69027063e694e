//! The keys that a group may override (resource type GROUP, KIP-848): Kafka 4.1's of consumers.

use super::row::{int, key, synonym};
use super::{ConfigKey, ConfigKind, Synonym, Update};

/// Sorted by name.
pub const GROUP_KEYS: &[ConfigKey] = &[
    group(
        "consumer.heartbeat.interval.ms",
        "5000",
        "Heartbeat interval of the group's members, between group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms.",
        &[synonym("group.consumer.heartbeat.interval.ms", 1)],
    ),
    group(
        "consumer.session.timeout.ms",
        "45000",
        "Session timeout of the group's members, between group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms, and above the heartbeat interval.",
        &[synonym("group.consumer.session.timeout.ms", 1)],
    ),
];

const MILLISECONDS: ConfigKind = int(1);

const fn group(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
    synonyms: &'static [Synonym],
) -> ConfigKey {
    key(name, MILLISECONDS, default, doc).from(synonyms).update(Update::ClusterWide)
}
