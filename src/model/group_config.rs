//! The settings that group coordinators read.

use crate::model::limits::GROUP_MEMBERS_MAX;

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
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_ms: 600_000,
        }
    }
}
