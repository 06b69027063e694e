//! The line that each second prints on standard error.

use crate::interval::Interval;

/// `is_measured` is false during the warm-up.
pub(crate) fn print_second(interval: &Interval, is_measured: bool) {
    eprintln!("{}", second_line(interval, is_measured));
}

fn second_line(interval: &Interval, is_measured: bool) -> String {
    let mut line = format!(
        "{:>4} s {:>10.0} records/s {:>8.1} MB/s  p50 {} p99 {} max {}  busy {:.0} %",
        interval.second + 1,
        interval.record_rate(),
        interval.megabyte_rate(),
        duration(interval.response.percentile_us(50.0)),
        duration(interval.response.percentile_us(99.0)),
        duration(interval.response.max_us()),
        interval.busy_percent(),
    );
    if interval.error_count() > 0 {
        line.push_str(&format!("  errors {}", interval.error_count()));
    }
    if !is_measured {
        line.push_str("  warm-up");
    }
    line
}

/// Microseconds for people: three digits and a unit.
pub(crate) fn duration(microseconds: u64) -> String {
    let value = crate::interval::to_f64(microseconds);
    match microseconds {
        0..1_000 => format!("{microseconds} us"),
        1_000..10_000 => format!("{:.2} ms", value / 1e3),
        10_000..100_000 => format!("{:.1} ms", value / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        _ => format!("{:.2} s", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let shown: Vec<String> =
            [0, 999, 1_234, 12_345, 123_456, 1_234_567].into_iter().map(duration).collect();
        assert_eq!(shown, ["0 us", "999 us", "1.23 ms", "12.3 ms", "123 ms", "1.23 s"]);
    }

    #[test]
    fn a_second_of_the_warm_up_says_so() {
        let mut interval = Interval { wall_ns: 1_000_000_000, records: 1000, ..Interval::new(2) };
        interval.count_error(3);
        let line = second_line(&interval, false);
        assert!(line.starts_with("   3 s       1000 records/s"), "{line}");
        assert!(line.ends_with("errors 1  warm-up"), "{line}");
        assert!(!second_line(&interval, true).contains("warm-up"));
    }
}
