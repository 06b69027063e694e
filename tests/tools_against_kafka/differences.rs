//! Command lines that print something else than for Kafka, and why; docs/compatibility.md shows
//! the list.

/// Command lines whose output differs, in which lines, and why.
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    /// How the command lines begin.
    pub(crate) commands: &'static [&'static str],
    /// The lines with one of these in them differ.
    pub(crate) lines: &'static [&'static str],
    /// Lines whose words up to this character stand on one side only differ too.
    pub(crate) common_up_to: Option<char>,
    pub(crate) reason: &'static str,
}

/// Each line may differ.
const ALL: &[&str] = &[""];

const fn differ(
    what: &'static str,
    commands: &'static [&'static str],
    lines: &'static [&'static str],
    reason: &'static str,
) -> Difference {
    Difference { what, commands, lines, common_up_to: None, reason }
}

const PLACES: &[&str] = &[
    "advertised.listeners=",
    "broker.id=",
    "controller.",
    "listener.security.protocol.map=",
    "listeners=",
    "log.dir=",
    "log.dirs=",
    "node.id=",
    "process.roles=",
];

/// A command line that differs stands here; one that stands here differs.
pub(crate) const DIFFERENCES: &[Difference] = &[
    differ(
        "A topic of two million partitions",
        &["kafka-topics.sh --create --topic too-many"],
        &["at most 100000 partitions", "Excessively large number"],
        "INVALID_PARTITIONS above 100,000 for one topic; Kafka answers POLICY_VIOLATION above \
        10,000 in one request",
    ),
    differ(
        "`kafka-topics.sh --describe --topics-with-overrides`",
        &["kafka-topics.sh --describe --exclude-internal --topics-with-overrides"],
        &["Topic: placed", "Topic: plain"],
        "topics without settings of their own are left out; a newly formatted Kafka counts its \
        own `min.insync.replicas` as an override of each",
    ),
    differ(
        "All settings of a topic",
        &[
            "kafka-configs.sh --entity-type topics --entity-name plain --describe --all",
            "kafka-configs.sh --topic lines --describe --all",
        ],
        &["highwater.", "min.insync.replicas="],
        "`highwater.*` keys are there; `min.insync.replicas` as above",
    ),
    differ(
        "Settings of a topic that does not exist",
        &["kafka-configs.sh --topic no-such-topic --alter"],
        &["UnknownTopicOrPartitionException"],
        "the message names the topic; Kafka's is empty",
    ),
    differ(
        "The default settings of all brokers",
        &["kafka-configs.sh --broker-defaults --describe"],
        &["min.insync.replicas="],
        "none at first; `min.insync.replicas` as above",
    ),
    Difference {
        what: "All settings of a broker",
        commands: &["kafka-configs.sh --broker 1 --describe --all"],
        lines: PLACES,
        common_up_to: Some('='),
        reason: "keys that are acted upon or warned about (docs/config.md); the values of common keys are \
        the same but for where each listens and stores",
    },
    differ(
        "All settings of a group",
        &["kafka-configs.sh --group readers --describe --all"],
        &["share.", "streams."],
        "no groups of Streams' own protocol yet",
    ),
    differ(
        "`kafka-client-metrics.sh --alter` and `--delete`",
        &["kafka-client-metrics.sh --alter", "kafka-client-metrics.sh --delete"],
        ALL,
        "refused: there are no client metrics yet",
    ),
    differ(
        "Users, quotas, SCRAM",
        &[
            "kafka-configs.sh --entity-type users",
            "kafka-configs.sh --entity-type clients",
            "kafka-configs.sh --client app",
            "kafka-configs.sh --user",
            "kafka-configs.sh --ip",
        ],
        ALL,
        "the tools say that quotas are not supported: neither they nor users are here yet",
    ),
    differ(
        "`__consumer_offsets` by Kafka's own formatter",
        &["kafka-console-consumer.sh --topic __consumer_offsets"],
        &["\"version\":"],
        "values are of version 3; Kafka 4.1 writes version 4, which may name the topic's id",
    ),
    differ(
        "`kafka-metadata-quorum.sh describe`",
        &["kafka-metadata-quorum.sh describe"],
        &["ClusterId:", "LeaderEpoch:", "HighWatermark:", "CurrentVoters:", " Leader"],
        "ids, elections and the length of the metadata log are each broker's own; the voter's \
        endpoint is the client's listener, for there is no other",
    ),
    differ(
        "`kafka-features.sh describe`",
        &["kafka-features.sh describe"],
        &["eligible.leader.replicas.version", "kraft.version", "share.version"],
        "features of several brokers are not listed; a new cluster has `share.version` 1, which Kafka \
        4.1 leaves to its administrator",
    ),
    differ(
        "`kafka-features.sh upgrade --release-version`",
        &["kafka-features.sh upgrade --release-version"],
        ALL,
        "refused whole: it asks for `kraft.version` and `eligible.leader.replicas.version` too, which \
        are not here; `--feature` names those that are",
    ),
    Difference {
        what: "`kafka-broker-api-versions.sh`",
        commands: &["kafka-broker-api-versions.sh"],
        lines: &["UNSUPPORTED"],
        common_up_to: Some(':'),
        reason: "what the table above says",
    },
];
