//! Points in time as people type them: `2026-11-21T10:30:00.000`, with `Z` or an offset such as
//! `+02:00`; without either it is UTC. The same form as Kafka's tools take.

/// Milliseconds since 1970; `None` when the text is no such time.
pub(super) fn parse_ms(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) =
        (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (time, zone_minutes) = split_zone(time)?;
    let (time, fraction_ms) = match time.split_once('.') {
        Some((time, fraction)) => (time, digits(fraction, 3)?),
        None => (time, 0),
    };
    let mut time = time.split(':');
    let (hour, minute) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let second = time.next().map_or(Some(0), |second| digits(second, 2))?;
    let is_over = date.next().is_none() && time.next().is_none();
    let is_legal = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_over || !is_legal {
        return None;
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - zone_minutes;
    Some((minutes * 60 + second) * 1000 + fraction_ms)
}

/// `count` digits as a number.
fn digits(text: &str, count: usize) -> Option<i64> {
    let is_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits { text.parse().ok() } else { None }
}

/// The time without its zone, and the zone in minutes east.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(at);
    let (hours, minutes) = match zone[1..].split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
        None => (digits(zone.get(1..3)?, 2)?, digits(zone.get(3..)?, 2)?),
    };
    let east = hours * 60 + minutes;
    Some((time, if zone.starts_with('-') { -east } else { east }))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before_year = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let before_month: i64 = (1..month).map(|month| days_of(year, month)).sum();
    before_year + before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    #[test]
    fn times_with_and_without_zone_are_read() {
        assert_eq!(parse_ms("1970-01-01T00:00:00.000"), Some(0));
        assert_eq!(parse_ms("2000-02-29T12:00:00Z"), Some(951_825_600_000));
        assert_eq!(parse_ms("2026-11-21T10:30:05.250"), Some(1_795_257_005_250));
        assert_eq!(parse_ms("2026-11-21T12:30:05.250+02:00"), Some(1_795_257_005_250));
        assert_eq!(parse_ms("2026-11-21T05:00:05.250-0530"), Some(1_795_257_005_250));
        assert_eq!(parse_ms("1969-12-31T23:59"), Some(-60_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-11-21",
            "2026-13-01T00:00:00",
            "2026-02-29T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00:00.1",
            "2026-01-01T00:00:00:00",
            "26-01-01T00:00:00",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00+é1",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }
}
