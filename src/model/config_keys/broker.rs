//! The keys of the broker itself: Kafka 4.1's that a set-up is likely to hold, and ours.
//!
//! Defaults that differ from Kafka's on purpose: `listeners` (loopback), `log.dirs` (a folder
//! beside the caller), `node.id` and `process.roles` (a broker starts without a file).

use crate::model::limits::CORES_MAX;

use super::row::{ANY_INT, ANY_LONG, int, key, long, short};
use super::{ConfigKey, ConfigKind, Update};

const LONG_MAX: &str = "9223372036854775807";
const INT_MAX: &str = "2147483647";

const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const NO_CLUSTER: &str = "brokers replicate by pushing, and keep metadata in a way of their own";
const CLEANER_BUFFERS: &str = "the compactor sizes its buffers by itself";
const NO_THREADS: &str = "work is done by one executor per core, see highwater.cores";
const NO_TLS: &str = "TLS and SASL are not built in, every listener is PLAINTEXT";
const NO_QUOTA: &str = "connection limits per address are not built in";
const NO_GROUP: &str = "groups of the classic and the consumer protocol and share groups are built in, as the keys of docs/config.md say";
const NO_LOAD_SIZE: &str = "a coordinator's replay reads 1 MiB at a time";
const NO_LINGER: &str = "a group commit gathers writes without waiting";
const NO_SUCH_TRANSACTION_KEY: &str = "the keys of transactions that act are those of docs/config.md; two-phase commit is not built in";
const ALWAYS_VERIFIED: &str = "a transaction is always verified";
const OWN_DEADLINE: &str = "each transactional id has a deadline of its own";
const NO_ACL: &str = "authorisation is not built in: whoever reaches a listener may do everything";
const DURABLE: &str = "the journal decides when to sync; highwater.durability is the choice";
const KERNEL_BUFFERS: &str = "the kernel sizes socket buffers by itself";
/// Kafka's own replica selectors by their classes (KIP-392).
pub const RACK_SELECTOR: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
const LEADER_SELECTOR: &str = "org.apache.kafka.common.replica.LeaderSelector";
/// Kafka's own assignors by their classes.
const UNIFORM_CLASS: &str = "org.apache.kafka.coordinator.group.assignor.UniformAssignor";
const RANGE_CLASS: &str = "org.apache.kafka.coordinator.group.assignor.RangeAssignor";
const SIMPLE_CLASS: &str = "org.apache.kafka.coordinator.group.assignor.SimpleAssignor";

/// Sorted by name.
pub const BROKER_KEYS: &[ConfigKey] = &[
    key("advertised.listeners", ConfigKind::Text, "", "Addresses that clients are told, by listener name. Unset tells each client the address it connected to.").unset(),
    key("allow.everyone.if.no.acl.found", ConfigKind::Bool, "false", "Whether a resource without ACLs is open.").no_effect(NO_ACL),
    key("authorizer.class.name", ConfigKind::Text, "", "Authorizer.").refused("authorisation is not built in; remove the key, and bind the listener to a private address"),
    key("auto.create.topics.enable", ConfigKind::Bool, "true", "Whether a client's Metadata request makes a missing topic."),
    key("auto.leader.rebalance.enable", ConfigKind::Bool, "true", "Whether leaders move back to preferred replicas."),
    key("background.threads", int(1), "10", "Threads for background work.").update(Update::ClusterWide).no_effect(NO_THREADS),
    key("broker.heartbeat.interval.ms", int(1), "2000", "Pause between two heartbeats of a broker to the active controller."),
    key("broker.id", int(-1), "-1", "Old name of node.id."),
    key("broker.rack", ConfigKind::Text, "", "Rack that clients and replica placement are told.").unset(),
    key("broker.session.timeout.ms", int(1), "9000", "Silence after which the active controller takes a broker for dead."),
    dynamic("compression.gzip.level", ConfigKind::Level { min: 1, max: 9 }, "-1", "Default of the topic's key."),
    dynamic("compression.lz4.level", ConfigKind::Int { min: 1, max: 17 }, "9", "Default of the topic's key.").no_effect("the lz4 encoder has one level"),
    dynamic("compression.type", ConfigKind::OneOf(COMPRESSIONS), "producer", "Default of the topic's key."),
    dynamic("compression.zstd.level", ConfigKind::Int { min: -131_072, max: 22 }, "3", "Default of the topic's key."),
    key("connections.max.idle.ms", ANY_LONG, "600000", "Idle time after which a connection is closed; negative is never."),
    key("connections.max.reauth.ms", ANY_LONG, "0", "Time after which SASL clients must authenticate again.").no_effect(NO_TLS),
    key("controlled.shutdown.enable", ConfigKind::Bool, "true", "Whether leaders move away before a stop."),
    key("controller.listener.names", ConfigKind::Text, "", "Listeners of the controller, which serve what Kafka's do; with process.roles=controller there are no others.").unset(),
    key("controller.quorum.bootstrap.servers", ConfigKind::List(&[]), "", "Addresses by which a process that is not among the voters finds its cluster."),
    key("controller.quorum.voters", ConfigKind::List(&[]), "", "Controllers of the quorum."),
    key("default.replication.factor", ConfigKind::Int { min: 1, max: 32_767 }, "1", "Replicas of a topic that does not say."),
    key("delete.topic.enable", ConfigKind::Bool, "true", "Whether topics may be deleted."),
    key("fetch.max.bytes", int(1024), "57671680", "Most bytes one Fetch may answer; more than 57671680 counts as that."),
    key("follower.replication.throttled.rate", long(0), LONG_MAX, "Bytes a second that throttled replicas take here while they are not in sync; shared by the cores that have some.").update(Update::PerBroker),
    key("group.consumer.assignors", ConfigKind::List(&["uniform", "range", UNIFORM_CLASS, RANGE_CLASS]), "uniform,range", "Server-side assignors of the consumer protocol; the first is taken where no member asks for one."),
    key("group.consumer.heartbeat.interval.ms", int(1), "5000", "Heartbeat interval of members of the consumer protocol."),
    key("group.consumer.max.heartbeat.interval.ms", int(1), "15000", "Longest heartbeat interval that all groups or one may be given."),
    key("group.consumer.max.session.timeout.ms", int(1), "60000", "Longest session timeout that all groups or one may be given."),
    key("group.consumer.max.size", int(1), INT_MAX, "Most members of a group of the consumer protocol."),
    key("group.consumer.migration.policy", ConfigKind::OneOf(&["bidirectional", "upgrade", "downgrade", "disabled"]), "bidirectional", "Which groups with members may move between the classic and the consumer protocol."),
    key("group.consumer.min.heartbeat.interval.ms", int(1), "5000", "Shortest heartbeat interval that all groups or one may be given."),
    key("group.consumer.min.session.timeout.ms", int(1), "45000", "Shortest session timeout that all groups or one may be given."),
    key("group.consumer.session.timeout.ms", int(1), "45000", "Session timeout of members of the consumer protocol."),
    key("group.coordinator.append.linger.ms", int(0), "5", "How long a coordinator gathers writes.").no_effect(NO_LINGER),
    key("group.coordinator.rebalance.protocols", ConfigKind::List(&["consumer", "classic", "share", "streams"]), "classic,consumer,streams", "Group protocols that are served.").no_effect(NO_GROUP),
    key("group.initial.rebalance.delay.ms", ANY_INT, "3000", "How long a new group waits for more members."),
    key("group.max.session.timeout.ms", ANY_INT, "1800000", "Longest session timeout a member may ask for."),
    key("group.max.size", int(1), INT_MAX, "Most members of a group."),
    key("group.min.session.timeout.ms", ANY_INT, "6000", "Shortest session timeout a member may ask for."),
    key("group.share.assignors", ConfigKind::List(&["simple", SIMPLE_CLASS]), "simple", "Server-side assignor of share groups."),
    key("group.share.delivery.count.limit", ConfigKind::Int { min: 2, max: 10 }, "5", "How often a record is delivered to a share group before it is given up."),
    key("group.share.heartbeat.interval.ms", int(1), "5000", "Heartbeat interval of members of share groups."),
    key("group.share.max.heartbeat.interval.ms", int(1), "15000", "Longest heartbeat interval that all share groups or one may be given."),
    key("group.share.max.record.lock.duration.ms", ConfigKind::Int { min: 30_000, max: 3_600_000 }, "60000", "Longest acquisition lock that all share groups or one may be given."),
    key("group.share.max.session.timeout.ms", int(1), "60000", "Longest session timeout that all share groups or one may be given."),
    key("group.share.max.share.sessions", int(1), "2000", "Share sessions kept, one per member that fetches."),
    key("group.share.max.size", ConfigKind::Int { min: 1, max: 1000 }, "200", "Most members of a share group."),
    key("group.share.min.heartbeat.interval.ms", int(1), "5000", "Shortest heartbeat interval that all share groups or one may be given."),
    key("group.share.min.record.lock.duration.ms", ConfigKind::Int { min: 1000, max: 30_000 }, "15000", "Shortest acquisition lock that all share groups or one may be given."),
    key("group.share.min.session.timeout.ms", int(1), "45000", "Shortest session timeout that all share groups or one may be given."),
    key("group.share.partition.max.record.locks", ConfigKind::Int { min: 100, max: 10_000 }, "2000", "Records of one partition that a share group may hold at a time."),
    key("group.share.record.lock.duration.ms", ConfigKind::Int { min: 1000, max: 3_600_000 }, "30000", "How long a record delivered to a member of a share group is its own."),
    key("group.share.session.timeout.ms", int(1), "45000", "Session timeout of members of share groups."),
    key("highwater.cluster.id", ConfigKind::Text, "", "Identity of a new cluster, 22 characters of base64url. Unset makes one up at the first start.").unset(),
    key("highwater.core.list", ConfigKind::List(&[]), "", "Processors to pin the shards to, in order: 0,2,4. Unset takes the first ones.").unset(),
    key("highwater.cores", ConfigKind::Int { min: 1, max: CORES_MAX }, "", "Shards, each with a core of its own. Unset takes the cores there are, at most 2, and one where process.roles=controller.").unset(),
    key("highwater.durability", ConfigKind::OneOf(&["flush", "kernel"]), "flush", "Default of the topic's key.").update(Update::ClusterWide),
    key("highwater.listeners.per.core", ConfigKind::Bool, "false", "Whether each core is also reached at a port of its own, and clients are led straight to the core that owns a partition. Each core is a broker to clients then: the first one under node.id, each further one 1000000 above the one before."),
    key("highwater.listeners.per.core.first.port", ConfigKind::Int { min: 1, max: 65_535 }, "1", "How far above a listener's port its first core's own port lies; the others follow."),
    key("highwater.metrics.listener", ConfigKind::Text, "", "HOST:PORT at which GET /metrics answers in Prometheus' text format. Without encryption or passwords: name an address that only those who watch can reach. Unset listens nowhere.").unset(),
    key("highwater.profile", ConfigKind::OneOf(&["default", "latency"]), "default", "latency: cores spin instead of sleeping, which saves a wake for each request that finds them idle. Refused unless their processors are kept for the broker alone."),
    key("highwater.records.check", ConfigKind::OneOf(&["uncompressed", "all"]), "uncompressed", "Default of the topic's key.").update(Update::ClusterWide),
    key("highwater.spin.force", ConfigKind::Bool, "false", "Whether highwater.profile=latency spins on processors that others use too."),
    key("inter.broker.listener.name", ConfigKind::Text, "", "Listener between brokers.").unset(),
    key("leader.imbalance.check.interval.seconds", long(1), "300", "Pause between two looks whether leaders should move back to preferred replicas."),
    key("leader.imbalance.per.broker.percentage", int(0), "10", "Share of the partitions that prefer a broker which may be led by others, in percent."),
    key("leader.replication.throttled.rate", long(0), LONG_MAX, "Bytes a second that are sent here to followers of throttled replicas that are not in sync; shared by the cores that have some.").update(Update::PerBroker),
    key("listener.security.protocol.map", ConfigKind::Text, "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", "Protocol of each listener name."),
    key("listeners", ConfigKind::Text, "PLAINTEXT://127.0.0.1:9092", "Addresses to listen on: NAME://host:port,... An empty host is every interface."),
    key("log.cleaner.backoff.ms", long(0), "15000", "Pause of the compactor when there is nothing to do.").update(Update::ClusterWide),
    key("log.cleaner.dedupe.buffer.size", ANY_LONG, "134217728", "Memory of the compactors of all cores for keys, in bytes.").update(Update::ClusterWide),
    dynamic("log.cleaner.delete.retention.ms", long(0), "86400000", "Default of the topic's delete.retention.ms."),
    key("log.cleaner.enable", ConfigKind::Bool, "true", "Whether the compactor runs."),
    key("log.cleaner.io.max.bytes.per.second", ConfigKind::Double { min: 0.0, max: f64::MAX }, "1.7976931348623157E308", "Most bytes that the compactors of all cores read and write in a second.").update(Update::ClusterWide),
    dynamic("log.cleaner.max.compaction.lag.ms", long(1), LONG_MAX, "Default of the topic's max.compaction.lag.ms."),
    dynamic("log.cleaner.min.cleanable.ratio", ConfigKind::Double { min: 0.0, max: 1.0 }, "0.5", "Default of the topic's min.cleanable.dirty.ratio."),
    dynamic("log.cleaner.min.compaction.lag.ms", long(0), "0", "Default of the topic's min.compaction.lag.ms."),
    key("log.cleaner.threads", int(0), "1", "Threads of the compactor.").update(Update::ClusterWide).no_effect(NO_THREADS),
    dynamic("log.cleanup.policy", ConfigKind::List(&["compact", "delete"]), "delete", "Default of the topic's cleanup.policy."),
    key("log.dir", ConfigKind::Text, "", "The data directory, unless log.dirs is set.").unset(),
    key("log.dirs", ConfigKind::List(&[]), "highwater-data", "The data directory. One only."),
    dynamic("log.flush.interval.messages", long(1), LONG_MAX, "Default of the topic's flush.messages.").no_effect(DURABLE),
    dynamic("log.flush.interval.ms", ANY_LONG, "", "Default of the topic's flush.ms.").unset().no_effect(DURABLE),
    key("log.flush.scheduler.interval.ms", ANY_LONG, LONG_MAX, "Default of the topic's flush.ms.").no_effect(DURABLE),
    dynamic("log.index.interval.bytes", int(0), "4096", "Default of the topic's index.interval.bytes."),
    dynamic("log.index.size.max.bytes", int(4), "10485760", "Default of the topic's segment.index.bytes."),
    dynamic("log.local.retention.bytes", long(-2), "-2", "Default of the topic's local.retention.bytes.").no_effect("there is no remote tier"),
    dynamic("log.local.retention.ms", long(-2), "-2", "Default of the topic's local.retention.ms.").no_effect("there is no remote tier"),
    dynamic("log.message.timestamp.after.max.ms", long(0), "3600000", "Default of the topic's message.timestamp.after.max.ms."),
    dynamic("log.message.timestamp.before.max.ms", long(0), LONG_MAX, "Default of the topic's message.timestamp.before.max.ms."),
    dynamic("log.message.timestamp.type", ConfigKind::OneOf(&["CreateTime", "LogAppendTime"]), "CreateTime", "Default of the topic's message.timestamp.type."),
    dynamic("log.preallocate", ConfigKind::Bool, "false", "Default of the topic's preallocate.").no_effect("the journal is preallocated, segments are written in large runs"),
    dynamic("log.retention.bytes", ANY_LONG, "-1", "Default of the topic's retention.bytes."),
    key("log.retention.check.interval.ms", long(1), "300000", "Pause between two looks for segments to drop."),
    key("log.retention.hours", ANY_INT, "168", "Default of the topic's retention.ms in hours, unless minutes or ms are set."),
    key("log.retention.minutes", ANY_INT, "", "Default of the topic's retention.ms in minutes, unless ms is set.").unset(),
    dynamic("log.retention.ms", ANY_LONG, "", "Default of the topic's retention.ms.").unset(),
    key("log.roll.hours", int(1), "168", "Default of the topic's segment.ms in hours, unless ms is set."),
    key("log.roll.jitter.hours", int(0), "0", "Default of the topic's segment.jitter.ms in hours, unless ms is set."),
    dynamic("log.roll.jitter.ms", ANY_LONG, "", "Default of the topic's segment.jitter.ms.").unset(),
    dynamic("log.roll.ms", ANY_LONG, "", "Default of the topic's segment.ms.").unset(),
    dynamic("log.segment.bytes", int(1024 * 1024), "1073741824", "Default of the topic's segment.bytes."),
    dynamic("log.segment.delete.delay.ms", long(0), "60000", "Default of the topic's file.delete.delay.ms."),
    key("max.connection.creation.rate", int(0), INT_MAX, "New connections a second.").update(Update::ClusterWide).no_effect(NO_QUOTA),
    key("max.connections", int(0), INT_MAX, "Connections of the broker.").update(Update::ClusterWide).no_effect("each core takes up to 20,000"),
    key("max.connections.per.ip", int(0), INT_MAX, "Connections of one address.").update(Update::ClusterWide).no_effect(NO_QUOTA),
    key("max.incremental.fetch.session.cache.slots", int(0), "1000", "Fetch sessions kept, shared out over the cores; more than 10000 a core count as that."),
    dynamic("message.max.bytes", int(0), "1048588", "Default of the topic's max.message.bytes."),
    dynamic("min.insync.replicas", int(1), "1", "Default of the topic's min.insync.replicas."),
    key("node.id", int(0), "1", "Identity of this broker in its cluster."),
    key("num.io.threads", int(1), "8", "Threads that handle requests.").update(Update::ClusterWide).no_effect(NO_THREADS),
    key("num.network.threads", int(1), "3", "Threads that serve sockets.").update(Update::ClusterWide).no_effect(NO_THREADS),
    key("num.partitions", int(1), "1", "Partitions of a topic that does not say."),
    key("num.recovery.threads.per.data.dir", int(1), "2", "Threads that recover logs.").update(Update::ClusterWide).no_effect(NO_THREADS),
    key("num.replica.fetchers", ANY_INT, "1", "Threads that fetch from other brokers.").update(Update::ClusterWide).no_effect(NO_CLUSTER),
    key("offset.metadata.max.bytes", ANY_INT, "4096", "Longest text beside a committed offset."),
    key("offsets.commit.timeout.ms", int(1), "5000", "How long an offset commit may take.").no_effect("a commit waits for the log as long as it takes"),
    key("offsets.retention.check.interval.ms", int(1), "600000", "Time between two looks for expired offsets."),
    key("offsets.retention.minutes", int(1), "10080", "How long an empty group's offsets are kept."),
    key("offsets.topic.num.partitions", int(1), "50", "Partitions of __consumer_offsets."),
    key("offsets.topic.replication.factor", short(1), "3", "Replicas of __consumer_offsets; no more than there are brokers."),
    key("offsets.topic.segment.bytes", int(1), "104857600", "segment.bytes of __consumer_offsets when it is made; less than 1048576 counts as that."),
    key("process.roles", ConfigKind::List(&["broker", "controller"]), "broker,controller", "What this process is. A broker has its controller built in unless it says broker alone; a controller by itself votes about the metadata, and holds no partitions."),
    key("producer.id.expiration.ms", int(1), "86400000", "How long an idle producer's sequence numbers are remembered.").update(Update::ClusterWide),
    key("queued.max.requests", int(1), "500", "Requests waiting before sockets are read no further.").no_effect("each connection has a bound of its own"),
    key("replica.fetch.max.bytes", int(0), "1048576", "Bytes of a partition that a replica fetches at a time.").no_effect(NO_CLUSTER),
    key("replica.fetch.wait.max.ms", ANY_INT, "500", "How long a replica's fetch waits.").no_effect(NO_CLUSTER),
    key("replica.lag.time.max.ms", ANY_LONG, "30000", "Lag after which a replica leaves the in-sync set."),
    key("replica.selector.class", ConfigKind::OneOf(&[RACK_SELECTOR, LEADER_SELECTOR]), "", "Which replica consumers are sent to: RackAwareReplicaSelector is one in the consumer's rack (client.rack), LeaderSelector or unset is the leader.").unset(),
    key("request.timeout.ms", ANY_INT, "30000", "How long requests between brokers may take."),
    key("sasl.enabled.mechanisms", ConfigKind::List(&[]), "GSSAPI", "SASL mechanisms offered.").no_effect(NO_TLS),
    key("sasl.mechanism.inter.broker.protocol", ConfigKind::Text, "GSSAPI", "SASL mechanism between brokers.").no_effect(NO_TLS),
    key("security.inter.broker.protocol", ConfigKind::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), "PLAINTEXT", "Protocol between brokers.").no_effect(NO_CLUSTER),
    key("share.coordinator.append.linger.ms", int(0), "5", "How long a share coordinator gathers writes.").no_effect(NO_LINGER),
    key("share.coordinator.load.buffer.size", int(1), "5242880", "Bytes a share coordinator reads at a time when it loads.").no_effect(NO_LOAD_SIZE),
    key("share.coordinator.snapshot.update.records.per.snapshot", int(0), "500", "Changes of a share partition's state between two records of all of it."),
    key("share.coordinator.state.topic.compression.codec", ANY_INT, "0", "Compression of __share_group_state.").no_effect("it is not compressed"),
    key("share.coordinator.state.topic.min.isr", short(1), "2", "min.insync.replicas of __share_group_state; no more than there are brokers."),
    key("share.coordinator.state.topic.num.partitions", int(1), "50", "Partitions of __share_group_state."),
    key("share.coordinator.state.topic.replication.factor", short(1), "3", "Replicas of __share_group_state; no more than there are brokers."),
    key("share.coordinator.state.topic.segment.bytes", int(1), "104857600", "segment.bytes of __share_group_state when it is made; less than 1048576 counts as that."),
    key("share.coordinator.threads", int(1), "1", "Threads of the share coordinator.").no_effect(NO_THREADS),
    key("share.coordinator.write.timeout.ms", int(1), "5000", "How long a share coordinator's write may take.").no_effect("a write waits for the log as long as it takes"),
    key("share.fetch.purgatory.purge.interval.requests", ANY_INT, "1000", "Requests between two purges of waiting share fetches.").no_effect("a waiting fetch leaves with its answer"),
    key("socket.listen.backlog.size", int(1), "50", "Connections the kernel holds before they are accepted.").no_effect("the kernel's somaxconn counts"),
    key("socket.receive.buffer.bytes", ANY_INT, "102400", "Receive buffer of a socket.").no_effect(KERNEL_BUFFERS),
    key("socket.request.max.bytes", int(1), "104857600", "Longest request; more than 104857600 counts as that."),
    key("socket.send.buffer.bytes", ANY_INT, "102400", "Send buffer of a socket.").no_effect(KERNEL_BUFFERS),
    key("ssl.client.auth", ConfigKind::OneOf(&["required", "requested", "none"]), "none", "Whether clients must show a certificate.").no_effect(NO_TLS),
    key("ssl.key.password", ConfigKind::Password, "", "Password of the private key.").unset().no_effect(NO_TLS),
    key("ssl.keystore.location", ConfigKind::Text, "", "Certificate and key.").unset().no_effect(NO_TLS),
    key("ssl.keystore.password", ConfigKind::Password, "", "Password of the key store.").unset().no_effect(NO_TLS),
    key("ssl.keystore.type", ConfigKind::Text, "JKS", "Format of the key store.").no_effect(NO_TLS),
    key("ssl.truststore.location", ConfigKind::Text, "", "Certificates that are trusted.").unset().no_effect(NO_TLS),
    key("ssl.truststore.password", ConfigKind::Password, "", "Password of the trust store.").unset().no_effect(NO_TLS),
    key("super.users", ConfigKind::Text, "", "Principals that may do everything.").no_effect(NO_ACL),
    key("transaction.abort.timed.out.transaction.cleanup.interval.ms", int(1), "10000", "Pause between two looks for transactions that are too old.").no_effect(OWN_DEADLINE),
    key("transaction.max.timeout.ms", int(1), "900000", "Longest transaction timeout a producer may ask for."),
    key("transaction.partition.verification.enable", ConfigKind::Bool, "true", "Whether produce verifies that its transaction is open.").update(Update::ClusterWide).no_effect(ALWAYS_VERIFIED),
    key("transaction.remove.expired.transaction.cleanup.interval.ms", int(1), "3600000", "Pause between two looks for transactional ids that are too old.").no_effect(OWN_DEADLINE),
    key("transaction.state.log.min.isr", int(1), "2", "min.insync.replicas of __transaction_state; no more than there are brokers."),
    key("transaction.state.log.num.partitions", int(1), "50", "Partitions of __transaction_state."),
    key("transaction.state.log.replication.factor", short(1), "3", "Replicas of __transaction_state; no more than there are brokers."),
    key("transaction.state.log.segment.bytes", int(1), "104857600", "segment.bytes of __transaction_state when it is made; less than 1048576 counts as that."),
    key("transactional.id.expiration.ms", int(1), "604800000", "How long an idle transactional id is remembered."),
    dynamic("unclean.leader.election.enable", ConfigKind::Bool, "false", "Default of the topic's key."),
];

/// Beginnings of keys that Kafka or its distributions know and that mean nothing here.
pub const FOREIGN_FAMILIES: &[(&str, &str)] = &[
    ("alter.config.policy.", "policies are Java classes"),
    ("client.quota.callback.", "quota callbacks are Java classes"),
    ("confluent.", "these belong to another distribution"),
    ("controller.", NO_CLUSTER),
    ("create.topic.policy.", "policies are Java classes"),
    ("delegation.token.", "delegation tokens are not built in"),
    ("group.", NO_GROUP),
    ("kafka.metrics.", "metrics reporters are Java classes"),
    ("listener.name.", NO_TLS),
    ("log.cleaner.", CLEANER_BUFFERS),
    ("metadata.", NO_CLUSTER),
    ("metric", "metrics reporters are Java classes"),
    ("offsets.", NO_GROUP),
    ("password.encoder.", NO_TLS),
    ("principal.builder.", "principal builders are Java classes"),
    ("quota.", "quotas are not built in"),
    ("remote.", "there is no remote tier"),
    ("replica.", NO_CLUSTER),
    ("replication.", NO_CLUSTER),
    ("sasl.", NO_TLS),
    ("security.", NO_TLS),
    ("share.", NO_GROUP),
    ("ssl.", NO_TLS),
    ("telemetry.", "client telemetry is not collected"),
    ("transaction.", NO_SUCH_TRANSACTION_KEY),
];

const fn dynamic(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    doc: &'static str,
) -> ConfigKey {
    key(name, kind, default, doc).update(Update::ClusterWide)
}
