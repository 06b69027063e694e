//! What the timeouts of groups must lie between, for all groups and for one with its own.

use crate::model::config_keys::ConfigError;

/// The timeouts of members that the broker chooses (KIP-848, KIP-932), in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub session_ms: i64,
    pub heartbeat_ms: i64,
}

/// Names of the keys of one kind of groups.
#[derive(Debug, PartialEq, Eq)]
pub struct TimeoutKeys {
    /// Of one group.
    pub own_session: &'static str,
    pub own_heartbeat: &'static str,
    /// Of all groups.
    pub session: &'static str,
    pub heartbeat: &'static str,
    pub session_min: &'static str,
    pub session_max: &'static str,
    pub heartbeat_min: &'static str,
    pub heartbeat_max: &'static str,
}

/// Of consumer groups.
pub const CONSUMER_TIMEOUTS: TimeoutKeys = TimeoutKeys {
    own_session: "consumer.session.timeout.ms",
    own_heartbeat: "consumer.heartbeat.interval.ms",
    session: "group.consumer.session.timeout.ms",
    heartbeat: "group.consumer.heartbeat.interval.ms",
    session_min: "group.consumer.min.session.timeout.ms",
    session_max: "group.consumer.max.session.timeout.ms",
    heartbeat_min: "group.consumer.min.heartbeat.interval.ms",
    heartbeat_max: "group.consumer.max.heartbeat.interval.ms",
};

/// Of share groups.
pub const SHARE_TIMEOUTS: TimeoutKeys = TimeoutKeys {
    own_session: "share.session.timeout.ms",
    own_heartbeat: "share.heartbeat.interval.ms",
    session: "group.share.session.timeout.ms",
    heartbeat: "group.share.heartbeat.interval.ms",
    session_min: "group.share.min.session.timeout.ms",
    session_max: "group.share.max.session.timeout.ms",
    heartbeat_min: "group.share.min.heartbeat.interval.ms",
    heartbeat_max: "group.share.max.heartbeat.interval.ms",
};

const LOCK: &str = "share.record.lock.duration.ms";
const LOCK_MIN: &str = "group.share.min.record.lock.duration.ms";
const LOCK_MAX: &str = "group.share.max.record.lock.duration.ms";
const AT_LEAST: &str = "greater than or equal to";
const AT_MOST: &str = "less than or equal to";

impl TimeoutKeys {
    /// Refuses timeouts outside what `broker`, the numbers of all groups, allows.
    ///
    /// # Errors
    /// The first that does not fit, in Kafka's order, by the names that a group's own keys have.
    pub fn check_bounds(
        &self,
        of: Timeouts,
        broker: impl Fn(&'static str) -> i64,
    ) -> Result<(), ConfigError> {
        at_least(self.own_heartbeat, of.heartbeat_ms, self.heartbeat_min, &broker)?;
        at_most(self.own_heartbeat, of.heartbeat_ms, self.heartbeat_max, &broker)?;
        at_least(self.own_session, of.session_ms, self.session_min, &broker)?;
        at_most(self.own_session, of.session_ms, self.session_max, &broker)
    }

    /// Refuses a session that ends before its heartbeat.
    ///
    /// # Errors
    /// [`ConfigError::OutOfBounds`], by the names that a group's own keys have.
    pub fn check_order(&self, of: Timeouts) -> Result<(), ConfigError> {
        let (key, bound) = (self.own_session, self.own_heartbeat);
        match of.session_ms > of.heartbeat_ms {
            true => Ok(()),
            false => Err(ConfigError::OutOfBounds { key, relation: "greater than", bound }),
        }
    }

    /// All six keys of the broker.
    pub fn broker_keys(&self) -> [&'static str; 6] {
        let [low, high] = [self.session_min, self.session_max];
        [self.session, self.heartbeat, low, high, self.heartbeat_min, self.heartbeat_max]
    }
}

/// Refuses an acquisition lock of a share group outside what `broker` allows.
///
/// # Errors
/// [`ConfigError::OutOfBounds`], by the name that a group's own key has.
pub fn check_record_lock(
    lock_ms: i64,
    broker: impl Fn(&'static str) -> i64,
) -> Result<(), ConfigError> {
    at_least(LOCK, lock_ms, LOCK_MIN, &broker)?;
    at_most(LOCK, lock_ms, LOCK_MAX, &broker)
}

fn at_least(
    key: &'static str,
    value: i64,
    bound: &'static str,
    broker: impl Fn(&'static str) -> i64,
) -> Result<(), ConfigError> {
    match value >= broker(bound) {
        true => Ok(()),
        false => Err(ConfigError::OutOfBounds { key, relation: AT_LEAST, bound }),
    }
}

fn at_most(
    key: &'static str,
    value: i64,
    bound: &'static str,
    broker: impl Fn(&'static str) -> i64,
) -> Result<(), ConfigError> {
    match value <= broker(bound) {
        true => Ok(()),
        false => Err(ConfigError::OutOfBounds { key, relation: AT_MOST, bound }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(key: &str) -> i64 {
        match () {
            _ if key.contains("min.session") => 10,
            _ if key.contains("max.session") => 20,
            _ if key.contains("min.heartbeat") => 5,
            _ if key.contains("max.heartbeat") => 15,
            _ if key.contains("min.record") => 30,
            _ => 60,
        }
    }

    #[test]
    fn timeouts_lie_within_their_bounds_and_a_session_outlasts_a_heartbeat() {
        for keys in [&CONSUMER_TIMEOUTS, &SHARE_TIMEOUTS] {
            for (session_ms, heartbeat_ms, word) in [
                (20, 15, ""),
                (10, 5, ""),
                (20, 4, keys.heartbeat_min),
                (20, 16, keys.heartbeat_max),
                (9, 5, keys.session_min),
                (21, 5, keys.session_max),
                (12, 12, keys.own_heartbeat),
            ] {
                let of = Timeouts { session_ms, heartbeat_ms };
                let checked = keys.check_bounds(of, broker).and_then(|()| keys.check_order(of));
                let words = checked.err().map(|error| error.to_string());
                assert!(words.as_deref().unwrap_or_default().ends_with(word), "{words:?}");
                assert_eq!(words.is_none(), word.is_empty());
            }
        }
    }

    #[test]
    fn an_acquisition_lock_lies_within_its_bounds() {
        for (lock_ms, is_legal) in [(29, false), (30, true), (60, true), (61, false)] {
            assert_eq!(check_record_lock(lock_ms, broker).is_ok(), is_legal);
        }
    }
}
