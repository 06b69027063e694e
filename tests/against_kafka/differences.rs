//! Where we answer otherwise than Kafka, and why; docs/compatibility.md shows the list.

/// What is asked, the cases that ask it, and why the answers differ.
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    pub(crate) cases: &'static [&'static str],
    pub(crate) reason: &'static str,
}

const fn differ(
    what: &'static str,
    cases: &'static [&'static str],
    reason: &'static str,
) -> Difference {
    Difference { what, cases, reason }
}

/// A case that differs stands here; one that stands here differs.
pub(crate) const DIFFERENCES: &[Difference] = &[
    differ(
        "Bytes that are no UTF-8 in a name",
        &["a topic name that is no UTF-8"],
        "the connection is closed; Kafka reads them as replacement characters",
    ),
    differ(
        "SaslHandshake at a listener without SASL",
        &["SaslHandshake at a listener without SASL"],
        "SASL is not here yet, and its requests close the connection; Kafka answers \
        ILLEGAL_SASL_STATE",
    ),
    differ(
        "Produce: a topic without partitions",
        &["a topic without partitions"],
        "it is answered by its name; Kafka leaves it out",
    ),
    differ(
        "Produce: a codec that does not exist",
        &["codec 5", "codec 7"],
        "UNSUPPORTED_COMPRESSION_TYPE; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "Produce: compressed records that do not begin as their codec does",
        &["gzip that is none", "zstd that is none"],
        "INVALID_RECORD; Kafka answers UNKNOWN_SERVER_ERROR. What follows the first bytes is \
        looked at only where highwater.records.check is all",
    ),
    differ(
        "Produce: negative producer ids and epochs other than -1, null lengths other than -1",
        &["producer -2", "a negative epoch with a producer", "a key of length -2"],
        "INVALID_RECORD; Kafka stores them as they are",
    ),
    differ(
        "Produce: log_append_time_ms of a duplicate",
        &["a duplicate", "the duplicate before", "a duplicate of five batches ago"],
        "-1; Kafka gives the stored batch's timestamp though it is the producer's own",
    ),
    differ(
        "Fetch: negative sizes",
        &["Fetch of -1 bytes of a partition", "Fetch of -1 bytes"],
        "they count as 0, which still gives one batch; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "Fetch: what a size cuts",
        &["Fetch of two batches' bytes"],
        "whole batches only; Kafka may send the front of one more, which clients drop",
    ),
    differ(
        "Fetch: a partition twice",
        &["Fetch of a partition twice"],
        "both are answered; Kafka answers the last",
    ),
    differ(
        "Fetch and ListOffsets: isolation levels above 1",
        &["Fetch of isolation level 2", "offsets of isolation level 3"],
        "Fetch reads them as 0, ListOffsets as 1; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "CreateTopics: a topic that is only validated",
        &["a topic is only validated"],
        "no topic id, for there is none; Kafka gives one that it forgets",
    ),
    differ(
        "CreatePartitions: more than there may be",
        &["grown beyond all bounds"],
        "INVALID_PARTITIONS; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "Metadata: a topic that is made on the way",
        &["Metadata makes a topic"],
        "it is in the very answer; Kafka answers UNKNOWN_TOPIC_OR_PARTITION first, and clients \
        come again",
    ),
    differ(
        "Metadata: neither id nor name, or an id below version 12",
        &["Metadata of neither id nor name", "Metadata of an id in v10"],
        "INVALID_REQUEST or INVALID_TOPIC_EXCEPTION for that topic; Kafka refuses the whole \
        request, with UNKNOWN_SERVER_ERROR or INVALID_REQUEST, and names no broker",
    ),
    differ(
        "DescribeConfigs: source of min.insync.replicas",
        &["all keys of a topic", "all keys of a topic without synonyms", "no keys of a topic"],
        "DEFAULT_CONFIG; a newly formatted Kafka stores it as dynamic default of all brokers",
    ),
    differ(
        "IncrementalAlterConfigs: an operation that does not exist",
        &["operation 9", "operation -1"],
        "INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "IncrementalAlterConfigs: a broker key that does not exist",
        &["an unknown key of a broker is set"],
        "INVALID_REQUEST, for it would do nothing; Kafka stores it",
    ),
    differ(
        "JoinGroup into a group of the consumer protocol, with a subscription that is none",
        &["a stranger of the classic protocol joins consumers"],
        "INCONSISTENT_GROUP_PROTOCOL; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "OffsetFetch: a member epoch without a member",
        &["offsets without a member in an epoch"],
        "UNKNOWN_MEMBER_ID; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "ListConfigResources: loggers",
        &["loggers have configurations", "every resource"],
        "none: log levels are set at the start; Kafka lists each broker",
    ),
    differ(
        "ShareFetch and ShareAcknowledge without a group or member",
        &[
            "a share fetch without a group",
            "a share fetch of the empty group",
            "a share fetch without a member",
            "a share fetch of the empty member",
            "acknowledged without a group",
        ],
        "INVALID_REQUEST; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "ShareFetch: a topic that does not exist",
        &["a share fetch of an unknown topic"],
        "UNKNOWN_TOPIC_ID for each partition; Kafka answers UNKNOWN_SERVER_ERROR where there is no \
        other topic",
    ),
    differ(
        "ShareAcknowledge: a negative offset",
        &["a negative offset"],
        "INVALID_REQUEST; Kafka accepts what follows it",
    ),
    differ(
        "DescribeShareGroupOffsets: a topic without partitions",
        &["a share group's offsets of no partitions"],
        "a topic without partitions; Kafka answers UNKNOWN_SERVER_ERROR",
    ),
    differ(
        "AlterShareGroupOffsets",
        &[
            "share offsets are set",
            "share offsets of an unknown partition are set",
            "share offsets of an unknown topic are set",
            "share offsets are set under a member",
            "share offsets of the empty group are set",
            "share offsets of an unknown group are set",
            "share offsets of a classic group are set",
        ],
        "offsets are set, of a group that is not there as well, as from Kafka 4.2 on, or refused \
        with a code; Kafka 4.1 answers that nothing went wrong, names no topic, and sets nothing",
    ),
];
