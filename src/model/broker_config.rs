//! The broker's own configuration as types, from settings and where each came from.
//!
//! Why origins are carried: a refusal must name the file and line, the variable or the flag that
//! somebody has to change. Pure: who reads files and variables is `cli/config_source.rs`.
//!
//! Invariants
//! - Of several settings of a key the last one counts: callers hand them in as file, environment,
//!   flags. A broken value is refused even where a later one overrides it.
//! - An unknown key never stops a start; a value out of range always does.

mod cluster;
mod listening;

use crate::model::base64url;
use crate::model::cluster_config::{ClusterConfig, Roles};
use crate::model::config_keys::{
    ConfigError, ConfigKey, ConfigValue, Effect, FOREIGN_FAMILIES, Fault, broker_key, list_items,
    nearest_broker_key,
};
use crate::model::group_bounds::{CONSUMER_TIMEOUTS, SHARE_TIMEOUTS, TimeoutKeys, Timeouts};
use crate::model::group_config::{GroupConfig, MigrationPolicy, assignor_names};
use crate::model::ids::BrokerId;
use crate::model::limits::{FRAME_BYTES_MAX, GROUP_MEMBERS_MAX, SHARE_GROUP_MEMBERS_MAX};
use crate::model::listeners::{Endpoint, ListenerFault, Listeners};
use crate::model::share_config::ShareConfig;
use crate::model::transaction_config::TransactionConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { path: String, line: usize },
    Environment { variable: String },
    Flag,
}

/// One `key=value` as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Size of a topic that the broker makes for itself. The factor shrinks to the brokers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InternalTopic {
    pub partitions: i32,
    pub replication_factor: i16,
    /// Shrunk likewise; `None` leaves the topic default.
    pub min_insync_replicas: Option<i16>,
    /// `segment.bytes` when it is made.
    pub segment_bytes: i32,
}

/// The broker's configuration, fixed at start. One per process, shared by its cores.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`, or its old name `broker.id`.
    pub node_id: BrokerId,
    pub rack: Option<String>,
    /// Where to listen, and what clients are told.
    pub listeners: Listeners,
    /// `highwater.listeners.per.core` with `highwater.listeners.per.core.first.port`: how far above
    /// a listener's port its first core's own port lies; `None` where cores share ports only.
    pub first_core_port: Option<u16>,
    /// `highwater.metrics.listener`; `None` listens nowhere.
    pub metrics_listener: Option<Endpoint>,
    pub cluster: ClusterConfig,
    /// The one data directory.
    pub data_dir: PathBuf,
    /// `highwater.cluster.id`: identity of a cluster that does not exist yet.
    pub cluster_id: Option<String>,
    /// `highwater.cores`; `None` leaves it to the runtime.
    pub cores: Option<u16>,
    /// `highwater.core.list`: processors by number; empty leaves it to the runtime.
    pub core_list: Vec<usize>,
    /// `highwater.profile` and `highwater.spin.force`.
    pub spin: Spin,
    /// `num.partitions`, from 1.
    pub partitions: i32,
    /// `default.replication.factor`, from 1.
    pub replication_factor: i16,
    pub auto_create_topics: bool,
    pub delete_topics: bool,
    pub offsets_topic: InternalTopic,
    pub transactions_topic: InternalTopic,
    pub share_state_topic: InternalTopic,
    /// `share.coordinator.snapshot.update.records.per.snapshot`: changes of a share partition's
    /// state between two records of all of it.
    pub share_updates_per_snapshot: usize,
    /// What group coordinators go by.
    pub groups: GroupConfig,
    /// What transaction coordinators go by.
    pub transactions: TransactionConfig,
    /// `connections.max.idle.ms`; `None` never closes a silent connection.
    pub connections_max_idle_ms: Option<u64>,
    /// Most bytes of one Fetch answer.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`, of the whole broker.
    pub fetch_sessions_max: usize,
    /// `socket.request.max.bytes`, at most [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// `log.retention.check.interval.ms`: pause between two looks for segments to drop.
    pub retention_check_ms: u64,
    /// Every known key that somebody set, as text; secrets included.
    pub values: BTreeMap<String, String>,
}

/// Whether cores that have nothing to do go on looking for work instead of sleeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spin {
    #[default]
    Never,
    /// On processors that are kept for this process; on others the start is refused.
    WhereKept,
    /// On any processors.
    Forced,
}

/// Something to tell the operator once, at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigWarning {
    #[error("{setting}: unknown key, ignored{}", did_you_mean(.nearest))]
    Unknown { setting: Setting, nearest: Option<&'static str> },
    #[error("{setting}: accepted without effect: {reason}")]
    NoEffect { setting: Setting, reason: &'static str },
    #[error("{}: accepted without effect: {reason}", .keys.join(", "))]
    Foreign { keys: Vec<String>, reason: &'static str },
    #[error("{}: ignored: there is no ZooKeeper here, metadata is kept by the broker itself", .keys.join(", "))]
    ZooKeeper { keys: Vec<String> },
    #[error("listeners follow from advertised.listeners: {listeners}; set listeners to choose")]
    ListenersFromAdvertised { listeners: String },
}

/// Why the broker does not start.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BrokerConfigError {
    #[error("{setting}: {fault}{}", way_out(.key))]
    Value { setting: Setting, key: &'static ConfigKey, fault: Fault },
    #[error("{setting}: {reason}")]
    Refused { setting: Setting, reason: &'static str },
    #[error("{setting}: {fault}")]
    Listener { setting: Setting, fault: ListenerFault },
    #[error("{setting}: {rule}")]
    Rule { setting: Setting, rule: &'static str },
}

/// An unknown key with one of these in it may hold a secret, so its value is not shown.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "jaas", "keystore.key"];

/// The keys of a topic that the broker makes for itself.
struct InternalTopicKeys {
    partitions: &'static str,
    replication_factor: &'static str,
    min_insync_replicas: Option<&'static str>,
    segment_bytes: &'static str,
}

const OFFSETS_TOPIC: InternalTopicKeys = InternalTopicKeys {
    partitions: "offsets.topic.num.partitions",
    replication_factor: "offsets.topic.replication.factor",
    min_insync_replicas: None,
    segment_bytes: "offsets.topic.segment.bytes",
};
const TRANSACTIONS_TOPIC: InternalTopicKeys = InternalTopicKeys {
    partitions: "transaction.state.log.num.partitions",
    replication_factor: "transaction.state.log.replication.factor",
    min_insync_replicas: Some("transaction.state.log.min.isr"),
    segment_bytes: "transaction.state.log.segment.bytes",
};
const SHARE_STATE_TOPIC: InternalTopicKeys = InternalTopicKeys {
    partitions: "share.coordinator.state.topic.num.partitions",
    replication_factor: "share.coordinator.state.topic.replication.factor",
    min_insync_replicas: Some("share.coordinator.state.topic.min.isr"),
    segment_bytes: "share.coordinator.state.topic.segment.bytes",
};

const CONSUMER_RULE: &str = "group.consumer.session.timeout.ms and \
    group.consumer.heartbeat.interval.ms lie between group.consumer.min.* and group.consumer.max.* \
    of the same name (45000 to 60000 and 5000 to 15000 unless set), and the session is longer than \
    the interval";
const SHARE_RULE: &str = "group.share.session.timeout.ms and group.share.heartbeat.interval.ms lie \
    between group.share.min.* and group.share.max.* of the same name (45000 to 60000 and 5000 to \
    15000 unless set), and the session is longer than the interval";

/// What a set of settings comes to.
pub type Configured = (BrokerConfig, Vec<ConfigWarning>);

impl BrokerConfig {
    /// From settings in rising precedence.
    ///
    /// # Errors
    /// Everything that must be corrected, so that one start shows it all.
    pub fn from_settings(settings: &[Setting]) -> Result<Configured, Vec<BrokerConfigError>> {
        let mut reader = Reader::default();
        for setting in settings {
            reader.take(setting);
        }
        reader.finish()
    }

    /// What a client that came in at `local` is told: what that listener advertises, else the very
    /// address it reached us at.
    pub fn advertised(&self, local: SocketAddr) -> Endpoint {
        self.listeners.advertised(local)
    }

    /// Name of the listener that a client reached at `local`.
    pub fn listener_name(&self, local: SocketAddr) -> &str {
        self.listeners.name(local)
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig::from_settings(&[]).expect("the table's defaults are legal, a test holds it").0
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = match broker_key(&self.key) {
            Some(key) => key.is_sensitive(),
            None => SECRET_WORDS.iter().any(|word| self.key.contains(word)),
        };
        let value = if is_secret { "[hidden]" } else { &self.value };
        write!(f, "{}={value} ({})", self.key, self.origin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Environment { variable } => write!(f, "environment variable {variable}"),
            Origin::Flag => write!(f, "--override"),
        }
    }
}

fn did_you_mean(nearest: &Option<&str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

fn way_out(key: &ConfigKey) -> String {
    let mut text = String::new();
    let allowed = key.kind.valid_values();
    if !allowed.is_empty() {
        text.push_str(&format!("; allowed: {allowed}"));
    }
    match key.default {
        Some(default) if !default.is_empty() => {
            text.push_str(&format!("; without it: {default}"));
        }
        Some(_) | None => text.push_str("; or leave it out"),
    }
    text
}

/// Gathers settings, complaints and warnings.
#[derive(Default)]
struct Reader {
    settings: BTreeMap<String, Setting>,
    errors: Vec<BrokerConfigError>,
    warnings: Vec<ConfigWarning>,
    zookeeper: Vec<String>,
    foreign: BTreeMap<&'static str, Vec<String>>,
}

impl Reader {
    fn take(&mut self, setting: &Setting) {
        let name = setting.key.as_str();
        let Some(key) = broker_key(name) else {
            return self.take_unknown(setting);
        };
        match key.accept(&setting.value) {
            Ok(value) => self.warn_without_effect(setting, key, value),
            Err(ConfigError::Invalid { fault, .. }) => {
                let setting = setting.clone();
                self.errors.push(BrokerConfigError::Value { setting, key, fault });
            }
            Err(ConfigError::Refused { reason, .. }) => {
                let setting = setting.clone();
                self.errors.push(BrokerConfigError::Refused { setting, reason });
            }
            Err(
                ConfigError::UnknownTopicKey { .. }
                | ConfigError::UnknownGroupKey { .. }
                | ConfigError::Conflict { .. }
                | ConfigError::OutOfBounds { .. },
            ) => unreachable!("one known key was read"),
        }
        self.settings.insert(name.to_owned(), setting.clone());
    }

    fn take_unknown(&mut self, setting: &Setting) {
        let name = &setting.key;
        if name.starts_with("zookeeper.") {
            self.zookeeper.push(name.clone());
            return;
        }
        let family = FOREIGN_FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix));
        let nearest = nearest_broker_key(name);
        match (family, nearest) {
            (Some((_, reason)), None) => {
                self.foreign.entry(reason).or_default().push(name.clone());
            }
            (_, nearest) => {
                let setting = setting.clone();
                self.warnings.push(ConfigWarning::Unknown { setting, nearest });
            }
        }
    }

    /// Says so only where the value differs from the default: sample files spell defaults out.
    fn warn_without_effect(&mut self, setting: &Setting, key: &ConfigKey, value: ConfigValue<'_>) {
        let Effect::AcceptedNoEffect(reason) = key.effect else { return };
        let is_default = key.default.is_some_and(|default| key.parse(default) == Ok(value));
        if !is_default {
            let setting = setting.clone();
            self.warnings.push(ConfigWarning::NoEffect { setting, reason });
        }
    }

    fn finish(mut self) -> Result<Configured, Vec<BrokerConfigError>> {
        if !self.zookeeper.is_empty() {
            let keys = std::mem::take(&mut self.zookeeper);
            self.warnings.push(ConfigWarning::ZooKeeper { keys });
        }
        for (reason, keys) in std::mem::take(&mut self.foreign) {
            self.warnings.push(ConfigWarning::Foreign { keys, reason });
        }
        let node_id = self.node_id();
        let data_dir = self.data_dir();
        let cluster_id = self.cluster_id();
        let core_list = self.core_list();
        self.check_timeouts(&CONSUMER_TIMEOUTS, CONSUMER_RULE);
        self.check_timeouts(&SHARE_TIMEOUTS, SHARE_RULE);
        self.check_share_rules();
        let roles = self.roles();
        let listeners = self.listeners(roles);
        let first_core_port = self.first_core_port(node_id, roles);
        let metrics_listener = self.metrics_listener();
        let cluster = self.cluster(node_id, roles, &listeners);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let config = BrokerConfig {
            node_id,
            rack: self.text("broker.rack"),
            listeners,
            first_core_port,
            metrics_listener,
            cluster,
            data_dir,
            cluster_id,
            cores: self.cores(roles, &core_list),
            core_list,
            spin: self.spin(),
            partitions: self.default_number("num.partitions"),
            replication_factor: self.default_number("default.replication.factor"),
            auto_create_topics: self.bool("auto.create.topics.enable"),
            delete_topics: self.bool("delete.topic.enable"),
            offsets_topic: self.internal_topic(&OFFSETS_TOPIC),
            transactions_topic: self.internal_topic(&TRANSACTIONS_TOPIC),
            share_state_topic: self.internal_topic(&SHARE_STATE_TOPIC),
            share_updates_per_snapshot: self
                .default_number("share.coordinator.snapshot.update.records.per.snapshot"),
            groups: self.groups(),
            transactions: TransactionConfig {
                timeout_max_ms: self.default_number("transaction.max.timeout.ms"),
                id_expiration_ms: self.default_number("transactional.id.expiration.ms"),
                ..TransactionConfig::default()
            },
            connections_max_idle_ms: u64::try_from(
                self.default_number::<i64>("connections.max.idle.ms"),
            )
            .ok(),
            fetch_bytes_max: self.default_number("fetch.max.bytes"),
            fetch_sessions_max: self.at_least_0("max.incremental.fetch.session.cache.slots"),
            frame_bytes_max: self
                .default_number::<usize>("socket.request.max.bytes")
                .min(FRAME_BYTES_MAX),
            retention_check_ms: self.at_least_0("log.retention.check.interval.ms"),
            values: self.values(),
        };
        Ok((config, self.warnings))
    }

    fn spin(&self) -> Spin {
        match self.text("highwater.profile").as_deref() {
            Some("latency") if self.bool("highwater.spin.force") => Spin::Forced,
            Some("latency") => Spin::WhereKept,
            _ => Spin::Never,
        }
    }

    fn internal_topic(&self, keys: &InternalTopicKeys) -> InternalTopic {
        InternalTopic {
            partitions: self.default_number(keys.partitions),
            replication_factor: self.default_number(keys.replication_factor),
            min_insync_replicas: keys
                .min_insync_replicas
                .and_then(|key| self.number(key))
                .map(narrow),
            segment_bytes: self.default_number(keys.segment_bytes),
        }
    }

    /// The bounds hold for all groups here, and for one when it is given a value of its own.
    fn check_timeouts(&mut self, keys: &TimeoutKeys, rule: &'static str) {
        let of = Timeouts {
            session_ms: self.default_number(keys.session),
            heartbeat_ms: self.default_number(keys.heartbeat),
        };
        let checked = keys.check_bounds(of, |key| self.default_number(key));
        if checked.and_then(|()| keys.check_order(of)).is_err() {
            self.refuse_one_of(&keys.broker_keys(), rule);
        }
    }

    fn check_share_rules(&mut self) {
        const LOCKS: [&str; 3] = [
            "group.share.record.lock.duration.ms",
            "group.share.min.record.lock.duration.ms",
            "group.share.max.record.lock.duration.ms",
        ];
        const SESSIONS: [&str; 2] = ["group.share.max.share.sessions", "group.share.max.size"];
        let [lock, lock_min, lock_max]: [i64; 3] = LOCKS.map(|key| self.default_number(key));
        if !(lock_min..=lock_max).contains(&lock) {
            self.refuse_one_of(
                &LOCKS,
                "group.share.record.lock.duration.ms lies between \
                 group.share.min.record.lock.duration.ms and \
                 group.share.max.record.lock.duration.ms (30000, 15000 and 60000 unless set)",
            );
        }
        let assignors = self.text("group.share.assignors").unwrap_or_default();
        if list_items(&assignors).count() != 1 {
            self.refuse_one_of(
                &["group.share.assignors"],
                "share groups have one assignor: simple",
            );
        }
        let [sessions, members]: [i64; 2] = SESSIONS.map(|key| self.default_number(key));
        if sessions < members {
            self.refuse_one_of(
                &SESSIONS,
                "group.share.max.share.sessions is at least group.share.max.size (2000 and 200 \
                 unless set)",
            );
        }
    }

    /// Lays a broken rule at the door of the first of its keys that somebody set.
    fn refuse_one_of(&mut self, keys: &[&str], rule: &'static str) {
        let setting = keys.iter().find_map(|key| self.settings.get(*key)).cloned();
        let setting = setting.expect("the defaults are legal, so somebody set one of them");
        self.refuse(&setting, rule);
    }

    fn groups(&self) -> GroupConfig {
        let retention_minutes: u64 = self.default_number("offsets.retention.minutes");
        GroupConfig {
            session_timeout_min_ms: self.at_least_0("group.min.session.timeout.ms"),
            session_timeout_max_ms: self.at_least_0("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: self.at_least_0("group.initial.rebalance.delay.ms"),
            size_max: self.default_number::<usize>("group.max.size").min(GROUP_MEMBERS_MAX),
            consumer_session_timeout_ms: self.default_number("group.consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: self
                .default_number("group.consumer.heartbeat.interval.ms"),
            consumer_size_max: self
                .default_number::<usize>("group.consumer.max.size")
                .min(GROUP_MEMBERS_MAX),
            assignors: assignor_names(&self.text("group.consumer.assignors").unwrap_or_default()),
            migration_policy: MigrationPolicy::from_name(
                &self.text("group.consumer.migration.policy").unwrap_or_default(),
            ),
            share: self.share(),
            offset_metadata_bytes_max: self.at_least_0("offset.metadata.max.bytes"),
            offsets_retention_ms: retention_minutes * 60_000,
            offsets_retention_check_ms: self.default_number("offsets.retention.check.interval.ms"),
            ..GroupConfig::default()
        }
    }

    fn share(&self) -> ShareConfig {
        ShareConfig {
            session_timeout_ms: self.default_number("group.share.session.timeout.ms"),
            heartbeat_interval_ms: self.default_number("group.share.heartbeat.interval.ms"),
            size_max: self
                .default_number::<usize>("group.share.max.size")
                .min(SHARE_GROUP_MEMBERS_MAX),
            record_lock_ms: self.default_number("group.share.record.lock.duration.ms"),
            record_locks_max: self.default_number("group.share.partition.max.record.locks"),
            delivery_count_max: self.default_number("group.share.delivery.count.limit"),
            sessions_max: self.default_number("group.share.max.share.sessions"),
            ..ShareConfig::default()
        }
    }

    fn node_id(&mut self) -> BrokerId {
        let old = self.settings.get("broker.id").filter(|setting| setting.value.trim() != "-1");
        let old = old.cloned();
        let new = self.settings.get("node.id").cloned();
        if let (Some(old), Some(new)) = (&old, &new)
            && old.value.trim() != new.value.trim()
        {
            self.refuse(old, "node.id says otherwise; leave broker.id out");
        }
        let name = if new.is_none() && old.is_some() { "broker.id" } else { "node.id" };
        BrokerId(self.default_number(name))
    }

    fn data_dir(&mut self) -> PathBuf {
        let name = match self.settings.contains_key("log.dirs") {
            false if self.settings.contains_key("log.dir") => "log.dir",
            _ => "log.dirs",
        };
        let text = self.text(name).unwrap_or_default();
        let mut dirs = list_items(&text);
        let first = dirs.next().map(PathBuf::from);
        let has_more = dirs.next().is_some();
        if let Some(setting) = self.settings.get(name).cloned() {
            if has_more {
                self.refuse(&setting, "one data directory is supported; join the disks below it");
            } else if first.is_none() {
                self.refuse(&setting, "a data directory has a name");
            }
        }
        first.unwrap_or_default()
    }

    fn cluster_id(&mut self) -> Option<String> {
        let setting = self.settings.get("highwater.cluster.id")?.clone();
        let id = setting.value.trim();
        if base64url::decode_uuid(id).is_none() {
            self.refuse(
                &setting,
                "a cluster id is 16 bytes in base64url: 22 characters, no padding",
            );
        }
        Some(id.to_owned())
    }

    /// A process that is nothing but a controller works on one core: the quorum is on the first.
    fn cores(&self, roles: Roles, core_list: &[usize]) -> Option<u16> {
        let needs_one = !roles.broker && core_list.is_empty();
        self.number("highwater.cores").map(narrow).or(needs_one.then_some(1))
    }

    fn core_list(&mut self) -> Vec<usize> {
        let Some(setting) = self.settings.get("highwater.core.list").cloned() else {
            return Vec::new();
        };
        let numbers: Result<Vec<usize>, _> = list_items(&setting.value).map(str::parse).collect();
        numbers.unwrap_or_else(|_| {
            self.refuse(&setting, "a list of processor numbers, as in 0,2,4");
            Vec::new()
        })
    }

    fn refuse(&mut self, setting: &Setting, rule: &'static str) {
        let setting = setting.clone();
        self.errors.push(BrokerConfigError::Rule { setting, rule });
    }

    fn values(&self) -> BTreeMap<String, String> {
        let settings = self.settings.iter();
        settings.map(|(key, setting)| (key.clone(), setting.value.trim().to_owned())).collect()
    }

    /// The value in force: what was set and is legal, else the table's.
    fn value<T>(&self, name: &str, read: impl Fn(ConfigValue<'_>) -> Option<T>) -> Option<T> {
        let key = broker_key(name).expect("fields name rows of the table");
        let set = self.settings.get(name).map(|setting| setting.value.as_str());
        let legal = |text| key.accept(text).ok().and_then(&read);
        set.and_then(legal).or_else(|| key.default.and_then(legal))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name, |value| match value {
            ConfigValue::Text(text) => Some(text.to_owned()),
            ConfigValue::Bool(_) | ConfigValue::Number(_) | ConfigValue::Double(_) => None,
        })
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.value(name, |value| match value {
            ConfigValue::Number(number) => Some(number),
            ConfigValue::Bool(_) | ConfigValue::Text(_) | ConfigValue::Double(_) => None,
        })
    }

    /// Kafka allows any integer here; below 0 means what 0 means.
    fn at_least_0<T: TryFrom<i64>>(&self, name: &str) -> T {
        narrow(self.number(name).expect("a number with a default in the table").max(0))
    }

    fn default_number<T: TryFrom<i64>>(&self, name: &str) -> T {
        narrow(self.number(name).expect("a number with a default in the table"))
    }

    fn bool(&self, name: &str) -> bool {
        let value = self.value(name, |value| match value {
            ConfigValue::Bool(is_on) => Some(is_on),
            ConfigValue::Number(_) | ConfigValue::Text(_) | ConfigValue::Double(_) => None,
        });
        value.expect("a flag with a default in the table")
    }
}

/// The table bounds each number to the type of its field.
fn narrow<T: TryFrom<i64>>(number: i64) -> T {
    T::try_from(number).ok().expect("the table's range fits the field's type")
}

#[cfg(test)]
mod tests;
