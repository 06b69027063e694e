//! Times as feeds write them: numbers since 1970 (or since anything), or ISO 8601.
//!
//! Invariants
//! - Nanoseconds are exact: nothing goes through floating point.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TimeUnit {
    /// By the first time of the file: ISO 8601, or by the size of the number, which then is one
    /// since 1970; small numbers are seconds.
    Auto,
    /// As in 2026-01-30T09:30:00.123456789Z; without a zone, UTC.
    Iso,
    S,
    Ms,
    Us,
    Ns,
}

const SECOND_NS: i128 = 1_000_000_000;
const FRACTION_DIGITS_MAX: usize = 9;

impl TimeUnit {
    /// What `text`, the first time of a file, is in.
    pub(crate) fn of(self, text: &str) -> TimeUnit {
        if self != TimeUnit::Auto {
            return self;
        }
        let whole = text.split('.').next().unwrap_or_default();
        if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
            return TimeUnit::Iso;
        }
        // Now is a number of 10 digits in seconds, and of three more in each smaller unit.
        match whole.trim_start_matches('0').len() {
            0..=11 => TimeUnit::S,
            12..=14 => TimeUnit::Ms,
            15..=17 => TimeUnit::Us,
            _ => TimeUnit::Ns,
        }
    }

    /// What is expected where a time of this unit stands.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            TimeUnit::Auto | TimeUnit::Iso => "a time as in 2026-01-30T09:30:00.5Z",
            TimeUnit::S => "a time in seconds, as in 1769765400.5",
            TimeUnit::Ms => "a time in milliseconds, as in 1769765400500",
            TimeUnit::Us => "a time in microseconds, as in 1769765400500000",
            TimeUnit::Ns => "a time in nanoseconds, as in 1769765400500000000",
        }
    }

    /// Nanoseconds; `None` when `text` is no time of this unit.
    pub(crate) fn parse(self, text: &str) -> Option<i64> {
        let ns = match self {
            TimeUnit::Auto | TimeUnit::Iso => parse_iso(text)?,
            TimeUnit::S => parse_number(text, SECOND_NS)?,
            TimeUnit::Ms => parse_number(text, 1_000_000)?,
            TimeUnit::Us => parse_number(text, 1000)?,
            TimeUnit::Ns => parse_number(text, 1)?,
        };
        i64::try_from(ns).ok()
    }
}

/// A decimal number of `unit_ns`.
fn parse_number(text: &str, unit_ns: i128) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = i128::from(digits(whole)?);
    Some(sign * (whole * unit_ns + fraction_ns(fraction, unit_ns)?))
}

fn digits(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The digits behind a decimal point, of `unit_ns`; those below a nanosecond are cut off.
fn fraction_ns(text: &str, unit_ns: i128) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &text[..text.len().min(FRACTION_DIGITS_MAX)];
    let scale = 10i128.pow(u32::try_from(kept.len()).ok()?);
    Some(i128::from(digits(kept)?) * unit_ns / scale)
}

/// `YYYY-MM-DD`, then `T` or a space, `hh:mm[:ss[.fraction]]`, then `Z`, `+hh:mm` or nothing.
fn parse_iso(text: &str) -> Option<i128> {
    let (date, time) = text.split_once(['T', ' '])?;
    let date: Vec<&str> = date.split('-').collect();
    let [year, month, day] = date[..] else {
        return None;
    };
    let (time, offset_s) = match time.rfind(['Z', '+', '-']) {
        Some(at) => (&time[..at], parse_offset(&time[at..])?),
        None => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = time.split(':').map(digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    let is_right = parts.next().is_none()
        && (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let fraction = fraction_ns(fraction, SECOND_NS)?;
    is_right.then(|| i128::from(seconds - offset_s) * SECOND_NS + fraction)
}

/// Seconds east of Greenwich.
fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2)?,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let before_year = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let before_month: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    before_year + before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_nanoseconds() {
        assert_eq!(TimeUnit::S.parse("1769765400.123456789"), Some(1_769_765_400_123_456_789));
        assert_eq!(TimeUnit::Ms.parse("1.5"), Some(1_500_000));
        assert_eq!(TimeUnit::Us.parse("-2"), Some(-2000));
        assert_eq!(TimeUnit::Ns.parse("7.9"), Some(7));
        for text in ["", "x", "1e5", "1.x", "99999999999999999999"] {
            assert_eq!(TimeUnit::S.parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_counted_from_1970() {
        let day_ns = 86_400 * 1_000_000_000;
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02 00:00", day_ns),
            ("2000-03-01T00:00:00Z", 11_017 * day_ns),
            ("2026-01-30T09:30:00.5+09:30", 1_769_731_200_500_000_000),
            ("2026-01-29T14:30:00-0930", 1_769_731_200_000_000_000),
        ] {
            assert_eq!(TimeUnit::Iso.parse(text), Some(ns), "{text}");
        }
        for text in ["2026-02-29T00:00:00", "2026-01-30", "2026-13-01T00:00", "now", "1-1-1T1:1Q"] {
            assert_eq!(TimeUnit::Iso.parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_time_tells_the_unit() {
        for (text, unit) in [
            ("1769765400", TimeUnit::S),
            ("0.001", TimeUnit::S),
            ("1769765400500", TimeUnit::Ms),
            ("1769765400500000", TimeUnit::Us),
            ("1769765400500000000", TimeUnit::Ns),
            ("2026-01-30T09:30:00Z", TimeUnit::Iso),
        ] {
            assert_eq!(TimeUnit::Auto.of(text), unit, "{text}");
        }
        assert_eq!(TimeUnit::Us.of("5"), TimeUnit::Us);
    }
}
