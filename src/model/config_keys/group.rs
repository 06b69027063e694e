//! The keys that a group may override (resource type GROUP): Kafka 4.1's of consumers (KIP-848) and
//! of share groups (KIP-932).

use super::row::{int, key, synonym};
use super::{ConfigKey, ConfigKind, Synonym, Update};

/// Sorted by name.
pub const GROUP_KEYS: &[ConfigKey] = &[
    group(
        "consumer.heartbeat.interval.ms",
        MILLISECONDS,
        "5000",
        "Heartbeat interval of the group's members, between group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms.",
        &[synonym("group.consumer.heartbeat.interval.ms", 1)],
    ),
    group(
        "consumer.session.timeout.ms",
        MILLISECONDS,
        "45000",
        "Session timeout of the group's members, between group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms, and above the heartbeat interval.",
        &[synonym("group.consumer.session.timeout.ms", 1)],
    ),
    group(
        "share.auto.offset.reset",
        ConfigKind::OffsetReset,
        "latest",
        "Where a share group begins in a partition that it is new to.",
        &[],
    ),
    group(
        "share.heartbeat.interval.ms",
        MILLISECONDS,
        "5000",
        "Heartbeat interval of the share group's members, between group.share.min.heartbeat.interval.ms and group.share.max.heartbeat.interval.ms.",
        &[synonym("group.share.heartbeat.interval.ms", 1)],
    ),
    group(
        "share.isolation.level",
        ConfigKind::OneOf(&["read_committed", "read_uncommitted"]),
        "read_uncommitted",
        "Whether the share group is given records of transactions that are not committed.",
        &[],
    ),
    group(
        "share.record.lock.duration.ms",
        int(1000),
        "30000",
        "How long a delivered record is its member's own, between group.share.min.record.lock.duration.ms and group.share.max.record.lock.duration.ms.",
        &[synonym("group.share.record.lock.duration.ms", 1)],
    ),
    group(
        "share.session.timeout.ms",
        MILLISECONDS,
        "45000",
        "Session timeout of the share group's members, between group.share.min.session.timeout.ms and group.share.max.session.timeout.ms, and above the heartbeat interval.",
        &[synonym("group.share.session.timeout.ms", 1)],
    ),
];

const MILLISECONDS: ConfigKind = int(1);

const fn group(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    doc: &'static str,
    synonyms: &'static [Synonym],
) -> ConfigKey {
    key(name, kind, default, doc).from(synonyms).update(Update::ClusterWide)
}
