//! The settings that share groups go by (KIP-932): of their members, and of the records that these
//! hold.

/// Where a share group begins in a partition that it is new to: `share.auto.offset.reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the high watermark.
    #[default]
    Latest,
    /// At the log start.
    Earliest,
    /// At the first record that is not older than this, in ms.
    ByDuration { ms: u64 },
}

impl OffsetReset {
    /// From `latest`, `earliest` or `by_duration:` and an ISO 8601 duration of days, hours,
    /// minutes and seconds that is not negative; `None` for anything else.
    pub fn parse(text: &str) -> Option<OffsetReset> {
        match text {
            "latest" => Some(OffsetReset::Latest),
            "earliest" => Some(OffsetReset::Earliest),
            _ => {
                let ms = duration_ms(text.strip_prefix("by_duration:")?)?;
                Some(OffsetReset::ByDuration { ms: u64::try_from(ms).ok()? })
            }
        }
    }
}

/// `PnDTnHnMn.nS` in any case, each part with a sign of its own, as Java reads durations.
fn duration_ms(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (sign, text) = split_sign(&text);
    let body = text.strip_prefix('P')?;
    let (date, time) = match body.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (body, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    let mut rest = date;
    if let Some((days, after)) = split_part(rest, 'D') {
        total = total.checked_add(whole(days)?.checked_mul(86_400_000)?)?;
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    rest = time;
    for (unit, unit_ms) in [('H', 3_600_000), ('M', 60_000)] {
        if let Some((count, after)) = split_part(rest, unit) {
            total = total.checked_add(whole(count)?.checked_mul(unit_ms)?)?;
            rest = after;
        }
    }
    if let Some((seconds, after)) = split_part(rest, 'S') {
        total = total.checked_add(seconds_ms(seconds)?)?;
        rest = after;
    }
    if rest.is_empty() { total.checked_mul(sign) } else { None }
}

fn split_sign(text: &str) -> (i64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        Some(_) | None => (1, text),
    }
}

/// The number before `unit` and what follows it, when the next part is of that unit.
fn split_part(text: &str, unit: char) -> Option<(&str, &str)> {
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    text[end..].starts_with(unit).then(|| (&text[..end], &text[end + 1..]))
}

fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = split_sign(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse::<i64>().ok()?.checked_mul(sign) } else { None }
}

/// Seconds with up to nine digits of fraction; what is finer than a millisecond is cut off.
fn seconds_ms(text: &str) -> Option<i64> {
    let Some((seconds, fraction)) = text.split_once(['.', ',']) else {
        return whole(text)?.checked_mul(1000);
    };
    let is_fraction = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let sign = split_sign(seconds).0;
    let nanos = format!("{fraction:0<9}");
    let millis = nanos.get(..3)?.parse::<i64>().ok()?;
    let whole = whole(seconds)?.checked_mul(1000)?;
    if is_fraction { whole.checked_add(millis * sign) } else { None }
}

/// Which records of transactions a share group is given: `share.isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareIsolation {
    /// All of them, those of aborted transactions too.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions.
    ReadCommitted,
}

impl ShareIsolation {
    /// From the setting's value, which was checked.
    pub fn from_name(name: &str) -> ShareIsolation {
        match name {
            "read_committed" => ShareIsolation::ReadCommitted,
            _ => ShareIsolation::ReadUncommitted,
        }
    }
}

/// What one share group has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShareOverrides {
    /// `share.session.timeout.ms`.
    pub session_timeout_ms: Option<u64>,
    /// `share.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `share.record.lock.duration.ms`.
    pub record_lock_ms: Option<u64>,
    /// `share.auto.offset.reset`.
    pub offset_reset: Option<OffsetReset>,
    /// `share.isolation.level`.
    pub isolation: Option<ShareIsolation>,
}

/// Settings of share groups; defaults are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareConfig {
    /// `group.share.session.timeout.ms`: silence after which a member is fenced.
    pub session_timeout_ms: u64,
    /// `group.share.heartbeat.interval.ms`: how often members are told to send heartbeats.
    pub heartbeat_interval_ms: i32,
    /// `group.share.max.size`: members of one group, at most
    /// [`SHARE_GROUP_MEMBERS_MAX`](crate::model::limits::SHARE_GROUP_MEMBERS_MAX).
    pub size_max: usize,
    /// `group.share.record.lock.duration.ms`: how long a delivered record is its member's own.
    pub record_lock_ms: u64,
    /// `group.share.partition.max.record.locks`: records of one partition under way at a time.
    pub record_locks_max: usize,
    /// `group.share.delivery.count.limit`: deliveries after which a record is given up.
    pub delivery_count_max: i16,
    /// `group.share.max.share.sessions`, of the whole broker.
    pub sessions_max: usize,
    /// Where a group begins in a partition that it is new to; only a group of its own says so.
    pub offset_reset: OffsetReset,
    /// Only a group of its own says so.
    pub isolation: ShareIsolation,
}

impl Default for ShareConfig {
    fn default() -> Self {
        ShareConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            size_max: 200,
            record_lock_ms: 30_000,
            record_locks_max: 2_000,
            delivery_count_max: 5,
            sessions_max: 2_000,
            offset_reset: OffsetReset::Latest,
            isolation: ShareIsolation::ReadUncommitted,
        }
    }
}

impl ShareConfig {
    /// What holds for a group with settings of its own.
    pub fn with(self, own: ShareOverrides) -> ShareConfig {
        ShareConfig {
            session_timeout_ms: own.session_timeout_ms.unwrap_or(self.session_timeout_ms),
            heartbeat_interval_ms: own.heartbeat_interval_ms.unwrap_or(self.heartbeat_interval_ms),
            record_lock_ms: own.record_lock_ms.unwrap_or(self.record_lock_ms),
            offset_reset: own.offset_reset.unwrap_or(self.offset_reset),
            isolation: own.isolation.unwrap_or(self.isolation),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_named_or_a_duration_that_is_not_negative() {
        let by = |ms| Some(OffsetReset::ByDuration { ms });
        for (text, expected) in [
            ("latest", Some(OffsetReset::Latest)),
            ("earliest", Some(OffsetReset::Earliest)),
            ("by_duration:PT1H", by(3_600_000)),
            ("by_duration:P1DT2H3M4.5S", by(93_784_500)),
            ("by_duration:pt0.0019s", by(1)),
            ("by_duration:PT0S", by(0)),
            ("by_duration:-PT-1S", by(1000)),
            ("by_duration:PT1,25S", by(1250)),
            ("by_duration:P-1DT25H", by(3_600_000)),
            ("by_duration:-PT1S", None),
            ("by_duration:PT", None),
            ("by_duration:P", None),
            ("by_duration:P1W", None),
            ("by_duration:PT1M1H", None),
            ("by_duration:P1DT", None),
            ("by_duration:1H", None),
            ("by_duration:PT99999999999999999999H", None),
            ("by_duration:", None),
            ("by_duration", None),
            ("none", None),
            ("Latest", None),
        ] {
            assert_eq!(OffsetReset::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_share_group_takes_what_it_has_of_its_own_and_the_brokers_for_the_rest() {
        let own = ShareOverrides {
            record_lock_ms: Some(15_000),
            isolation: Some(ShareIsolation::ReadCommitted),
            ..ShareOverrides::default()
        };
        let config = ShareConfig::default().with(own);
        assert_eq!((config.record_lock_ms, config.session_timeout_ms), (15_000, 45_000));
        assert_eq!(config.isolation, ShareIsolation::ReadCommitted);
        assert_eq!(ShareConfig::default().with(ShareOverrides::default()), ShareConfig::default());
    }
}
