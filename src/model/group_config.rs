//! The settings that group coordinators read.

use crate::model::config_keys::{ConfigValue, group_key, list_items};
use crate::model::limits::GROUP_MEMBERS_MAX;
use crate::model::share_config::{OffsetReset, ShareConfig, ShareIsolation, ShareOverrides};
use std::collections::BTreeMap;

/// Names of the server-side assignors that may be asked for, the default first; some, and each
/// once.
pub type AssignorNames = [Option<&'static str>; 2];

/// Every assignor's name.
pub const ASSIGNORS: AssignorNames = [Some("uniform"), Some("range")];

/// From `group.consumer.assignors`, whose elements were checked: names, or Kafka's classes.
pub fn assignor_names(list: &str) -> AssignorNames {
    let mut names = AssignorNames::default();
    for item in list_items(list) {
        let short = item.rsplit('.').next().unwrap_or(item).to_ascii_lowercase();
        let short = short.trim_end_matches("assignor");
        let known = ASSIGNORS.into_iter().flatten().find(|name| *name == short);
        let is_new = known.is_some() && !names.contains(&known);
        if let Some(free) = names.iter_mut().find(|name| name.is_none()).filter(|_| is_new) {
            *free = known;
        }
    }
    if names[0].is_some() { names } else { ASSIGNORS }
}

/// What one group has of its own (KIP-848, KIP-932).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: Option<u64>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `share.*`.
    pub share: ShareOverrides,
}

impl GroupOverrides {
    /// From a group's values, which were checked when they were set.
    pub fn from_values(values: &BTreeMap<String, String>) -> GroupOverrides {
        let read = |name: &str| group_key(name)?.accept(values.get(name)?).ok();
        let number = |name: &str| match read(name)? {
            ConfigValue::Number(number) => Some(number),
            ConfigValue::Bool(_) | ConfigValue::Double(_) | ConfigValue::Text(_) => None,
        };
        let text = |name: &str| match read(name)? {
            ConfigValue::Text(text) => Some(text),
            ConfigValue::Bool(_) | ConfigValue::Double(_) | ConfigValue::Number(_) => None,
        };
        let duration = |name: &str| number(name).and_then(|ms| u64::try_from(ms).ok());
        let interval = |name: &str| number(name).and_then(|ms| i32::try_from(ms).ok());
        GroupOverrides {
            session_timeout_ms: duration("consumer.session.timeout.ms"),
            heartbeat_interval_ms: interval("consumer.heartbeat.interval.ms"),
            share: ShareOverrides {
                session_timeout_ms: duration("share.session.timeout.ms"),
                heartbeat_interval_ms: interval("share.heartbeat.interval.ms"),
                record_lock_ms: duration("share.record.lock.duration.ms"),
                offset_reset: text("share.auto.offset.reset").and_then(OffsetReset::parse),
                isolation: text("share.isolation.level").map(ShareIsolation::from_name),
            },
        }
    }
}

/// Which groups with members may change their protocol (KIP-848); empty ones always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    Bidirectional,
    Upgrade,
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    /// From the setting's value, which was checked, in any case.
    pub fn from_name(name: &str) -> MigrationPolicy {
        match name.to_ascii_lowercase().as_str() {
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            "disabled" => MigrationPolicy::Disabled,
            _ => MigrationPolicy::Bidirectional,
        }
    }

    /// A classic group may become a consumer group.
    pub fn lets_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    /// A consumer group may become a classic group.
    pub fn lets_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

/// Settings of all group coordinators of a broker; defaults are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: JoinGroup with less gets INVALID_SESSION_TIMEOUT.
    pub session_timeout_min_ms: u64,
    /// `group.max.session.timeout.ms`: JoinGroup with more gets INVALID_SESSION_TIMEOUT.
    pub session_timeout_max_ms: u64,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for further members.
    pub initial_rebalance_delay_ms: u64,
    /// `group.max.size`: members of one group, at most [`GROUP_MEMBERS_MAX`].
    pub size_max: usize,
    /// Size in bytes of a group's own record (all subscriptions and assignments): what the topic's
    /// `max.message.bytes` leaves room for.
    pub record_bytes_max: usize,
    /// How long a new member may wait in its first JoinGroup before it is taken for dead.
    pub new_member_join_timeout_ms: u64,
    /// `group.consumer.session.timeout.ms`: silence after which a member of the consumer protocol
    /// is fenced.
    pub consumer_session_timeout_ms: u64,
    /// `group.consumer.heartbeat.interval.ms`: how often members of the consumer protocol are
    /// told to send heartbeats.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one consumer group, at most [`GROUP_MEMBERS_MAX`].
    pub consumer_size_max: usize,
    /// `group.consumer.assignors`.
    pub assignors: AssignorNames,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
    /// Of share groups.
    pub share: ShareConfig,
    /// `offset.metadata.max.bytes`: length of the text a client keeps with an offset.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in ms: age at which offsets of an empty group are removed.
    pub offsets_retention_ms: u64,
    /// `offsets.retention.check.interval.ms`: how often expired offsets are looked for.
    pub offsets_retention_check_ms: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            size_max: GROUP_MEMBERS_MAX,
            record_bytes_max: 1_000_000,
            new_member_join_timeout_ms: 300_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_size_max: GROUP_MEMBERS_MAX,
            assignors: ASSIGNORS,
            migration_policy: MigrationPolicy::Bidirectional,
            share: ShareConfig::default(),
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_ms: 600_000,
        }
    }
}

impl GroupConfig {
    /// What holds for a group with settings of its own.
    pub fn with(self, own: GroupOverrides) -> GroupConfig {
        GroupConfig {
            consumer_session_timeout_ms: own
                .session_timeout_ms
                .unwrap_or(self.consumer_session_timeout_ms),
            consumer_heartbeat_interval_ms: own
                .heartbeat_interval_ms
                .unwrap_or(self.consumer_heartbeat_interval_ms),
            share: self.share.with(own.share),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignors_are_named_or_given_by_kafkas_classes() {
        let class = "org.apache.kafka.coordinator.group.assignor.";
        assert_eq!(assignor_names("range"), [Some("range"), None]);
        assert_eq!(assignor_names("range,uniform,range"), [Some("range"), Some("uniform")]);
        let classes = format!("{class}RangeAssignor, {class}UniformAssignor");
        assert_eq!(assignor_names(&classes), [Some("range"), Some("uniform")]);
        assert_eq!(assignor_names(""), ASSIGNORS);
    }

    #[test]
    fn a_group_takes_what_it_has_of_its_own_and_the_brokers_for_the_rest() {
        let values = [
            ("consumer.session.timeout.ms", "50000"),
            ("share.auto.offset.reset", "earliest"),
            ("share.record.lock.duration.ms", "20000"),
        ];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let own = GroupOverrides::from_values(&BTreeMap::from(values));
        let config = GroupConfig::default().with(own);
        assert_eq!(config.consumer_session_timeout_ms, 50_000);
        assert_eq!(config.consumer_heartbeat_interval_ms, 5_000);
        assert_eq!(config.share.offset_reset, OffsetReset::Earliest);
        assert_eq!(config.share.record_lock_ms, 20_000);
        assert_eq!(GroupConfig::default().with(GroupOverrides::default()), GroupConfig::default());
    }
}
