//! The keys a topic may override: Kafka 4.1's 33, two retired ones, and two of our own.

use super::row::{int, key, long, synonym};
use super::{ConfigKey, ConfigKind, Synonym, Update};

const LONG_MAX: &str = "9223372036854775807";
const HOURS: i64 = 3_600_000;
const MINUTES: i64 = 60_000;

const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const NO_TIERS: &str = "there is no remote tier, so local retention is retention";
const DURABLE: &str =
    "acknowledged records are on stable storage already; highwater.durability is the choice";

/// Sorted by name.
pub const TOPIC_KEYS: &[ConfigKey] = &[
    topic(
        "cleanup.policy",
        ConfigKind::List(&["compact", "delete"]),
        "delete",
        "What happens to old segments: delete drops them by age and size, compact keeps the last record of each key.",
        &[synonym("log.cleanup.policy", 1)],
    ),
    topic(
        "compression.gzip.level",
        ConfigKind::Level { min: 1, max: 9 },
        "-1",
        "Level used when compression.type is gzip.",
        &[synonym("compression.gzip.level", 1)],
    ),
    topic(
        "compression.lz4.level",
        ConfigKind::Int { min: 1, max: 17 },
        "9",
        "Level used when compression.type is lz4.",
        &[synonym("compression.lz4.level", 1)],
    )
    .no_effect("the lz4 encoder has one level"),
    topic(
        "compression.type",
        ConfigKind::OneOf(COMPRESSIONS),
        "producer",
        "Codec of the stored batches; producer keeps them as they were sent.",
        &[synonym("compression.type", 1)],
    ),
    topic(
        "compression.zstd.level",
        ConfigKind::Int { min: -131_072, max: 22 },
        "3",
        "Level used when compression.type is zstd.",
        &[synonym("compression.zstd.level", 1)],
    ),
    topic(
        "delete.retention.ms",
        long(0),
        "86400000",
        "How long a compacted topic keeps the marker of a deleted key.",
        &[synonym("log.cleaner.delete.retention.ms", 1)],
    ),
    topic(
        "file.delete.delay.ms",
        long(0),
        "60000",
        "How long the file of a dropped segment stays on disk.",
        &[synonym("log.segment.delete.delay.ms", 1)],
    ),
    topic(
        "flush.messages",
        long(1),
        LONG_MAX,
        "Records between forced flushes.",
        &[synonym("log.flush.interval.messages", 1)],
    )
    .no_effect(DURABLE),
    topic(
        "flush.ms",
        long(0),
        LONG_MAX,
        "Milliseconds between forced flushes.",
        &[synonym("log.flush.interval.ms", 1), synonym("log.flush.scheduler.interval.ms", 1)],
    )
    .no_effect(DURABLE),
    topic(
        "follower.replication.throttled.replicas",
        ConfigKind::ThrottledReplicas,
        "",
        "Replicas whose catching up is throttled on the follower's side.",
        &[],
    ),
    topic(
        "highwater.durability",
        ConfigKind::OneOf(&["flush", "kernel"]),
        "flush",
        "What acks=all waits for: flush is stable storage (survives a power cut), kernel is the page cache (survives a crash of the process).",
        &[synonym("highwater.durability", 1)],
    ),
    topic(
        "highwater.records.check",
        ConfigKind::OneOf(&["uncompressed", "all"]),
        "uncompressed",
        "Whose records are looked through when they are produced: uncompressed trusts compressed ones behind their checksum, all decompresses them first, as Kafka does.",
        &[synonym("highwater.records.check", 1)],
    ),
    topic(
        "index.interval.bytes",
        int(0),
        "4096",
        "Bytes of log between two entries of the offset index.",
        &[synonym("log.index.interval.bytes", 1)],
    ),
    topic(
        "leader.replication.throttled.replicas",
        ConfigKind::ThrottledReplicas,
        "",
        "Replicas whose catching up is throttled on the leader's side.",
        &[],
    ),
    topic(
        "local.retention.bytes",
        long(-2),
        "-2",
        "Bytes kept on local disk once the remote tier has them; -2 is retention.bytes.",
        &[synonym("log.local.retention.bytes", 1)],
    )
    .no_effect(NO_TIERS),
    topic(
        "local.retention.ms",
        long(-2),
        "-2",
        "Milliseconds kept on local disk once the remote tier has them; -2 is retention.ms.",
        &[synonym("log.local.retention.ms", 1)],
    )
    .no_effect(NO_TIERS),
    topic(
        "max.compaction.lag.ms",
        long(1),
        LONG_MAX,
        "Longest time a record may stay uncompacted.",
        &[synonym("log.cleaner.max.compaction.lag.ms", 1)],
    ),
    topic(
        "max.message.bytes",
        int(0),
        "1048588",
        "Largest record batch, as sent, in bytes.",
        &[synonym("message.max.bytes", 1)],
    ),
    topic(
        "message.downconversion.enable",
        ConfigKind::Bool,
        "true",
        "Retired by Kafka 4.0, which has one record format.",
        &[],
    )
    .no_effect("there is one record format, so nothing is converted down")
    .retired(),
    topic(
        "message.format.version",
        ConfigKind::Text,
        "3.0-IV1",
        "Retired by Kafka 4.0, which has one record format.",
        &[],
    )
    .no_effect("there is one record format, version 2")
    .retired(),
    topic(
        "message.timestamp.after.max.ms",
        long(0),
        "3600000",
        "How far ahead of the broker's clock a record's timestamp may be.",
        &[synonym("log.message.timestamp.after.max.ms", 1)],
    ),
    topic(
        "message.timestamp.before.max.ms",
        long(0),
        LONG_MAX,
        "How far behind the broker's clock a record's timestamp may be.",
        &[synonym("log.message.timestamp.before.max.ms", 1)],
    ),
    topic(
        "message.timestamp.type",
        ConfigKind::OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        "Whose clock stamps records: the producer's or the broker's.",
        &[synonym("log.message.timestamp.type", 1)],
    ),
    topic(
        "min.cleanable.dirty.ratio",
        ConfigKind::Double { min: 0.0, max: 1.0 },
        "0.5",
        "Share of uncompacted bytes from which on a log is compacted.",
        &[synonym("log.cleaner.min.cleanable.ratio", 1)],
    ),
    topic(
        "min.compaction.lag.ms",
        long(0),
        "0",
        "Shortest time a record stays uncompacted.",
        &[synonym("log.cleaner.min.compaction.lag.ms", 1)],
    ),
    topic(
        "min.insync.replicas",
        int(1),
        "1",
        "In-sync replicas that acks=all needs; fewer refuse the write.",
        &[synonym("min.insync.replicas", 1)],
    ),
    topic(
        "preallocate",
        ConfigKind::Bool,
        "false",
        "Allocate a segment's file at full size when it is made.",
        &[synonym("log.preallocate", 1)],
    )
    .no_effect("the journal is preallocated, segments are written in large runs"),
    topic(
        "remote.log.copy.disable",
        ConfigKind::Bool,
        "false",
        "Stop copying segments to the remote tier.",
        &[],
    )
    .refused("Tiered Storage functionality is disabled in the broker."),
    topic(
        "remote.log.delete.on.disable",
        ConfigKind::Bool,
        "false",
        "Delete the remote tier's segments when it is switched off.",
        &[],
    )
    .refused("Tiered Storage functionality is disabled in the broker."),
    topic(
        "remote.storage.enable",
        ConfigKind::Bool,
        "false",
        "Copy segments to a remote tier.",
        &[],
    )
    .refused("Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."),
    topic(
        "retention.bytes",
        super::row::ANY_LONG,
        "-1",
        "Bytes a partition keeps before whole segments are dropped; -1 is no bound.",
        &[synonym("log.retention.bytes", 1)],
    ),
    topic(
        "retention.ms",
        long(-1),
        "604800000",
        "Age at which a segment is dropped; -1 is never.",
        &[
            synonym("log.retention.ms", 1),
            synonym("log.retention.minutes", MINUTES),
            synonym("log.retention.hours", HOURS),
        ],
    ),
    topic(
        "segment.bytes",
        int(1024 * 1024),
        "1073741824",
        "Size at which a segment is closed and the next one begins.",
        &[synonym("log.segment.bytes", 1)],
    ),
    topic(
        "segment.index.bytes",
        int(4),
        "10485760",
        "Size of an offset index at which its segment is closed.",
        &[synonym("log.index.size.max.bytes", 1)],
    ),
    topic(
        "segment.jitter.ms",
        long(0),
        "0",
        "Largest random time by which a segment is closed before segment.ms.",
        &[synonym("log.roll.jitter.ms", 1), synonym("log.roll.jitter.hours", HOURS)],
    ),
    topic(
        "segment.ms",
        long(1),
        "604800000",
        "Age at which a segment is closed and the next one begins.",
        &[synonym("log.roll.ms", 1), synonym("log.roll.hours", HOURS)],
    ),
    topic(
        "unclean.leader.election.enable",
        ConfigKind::Bool,
        "false",
        "Allow a replica that is not in sync to lead, at the price of lost records.",
        &[synonym("unclean.leader.election.enable", 1)],
    ),
];

const fn topic(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    doc: &'static str,
    synonyms: &'static [Synonym],
) -> ConfigKey {
    key(name, kind, default, doc).from(synonyms).update(Update::ClusterWide)
}
