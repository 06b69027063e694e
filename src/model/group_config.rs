//! The settings that group coordinators read.

use crate::model::limits::GROUP_MEMBERS_MAX;

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
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
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
            migration_policy: MigrationPolicy::Bidirectional,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_ms: 600_000,
        }
    }
}
