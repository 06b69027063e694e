//! A latency objective as `p99<5ms,errors=0`: what a rate must hold to count.

use std::fmt;

use crate::interval::Interval;
use crate::progress::duration;
use crate::units::{parse_duration, parse_rate};

/// One condition.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// A response percentile (100 is the longest) below so many microseconds.
    Percentile { percentile: f64, below_us: u64 },
    /// At most so many refused batches.
    Errors(u64),
    /// At most so many requests due and not answered at the end.
    Backlog(u64),
}

/// All conditions hold together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    text: String,
    conditions: Vec<Condition>,
}

/// Reads conditions separated by commas: `pNN<time`, `max<time`, `errors=n`, `backlog=n`.
///
/// # Errors
/// Names the condition and shows examples.
pub(crate) fn parse_objective(text: &str) -> Result<Objective, String> {
    let conditions = text.split(',').map(|part| parse_condition(part.trim()));
    let conditions = conditions.collect::<Result<Vec<Condition>, String>>()?;
    Ok(Objective { text: text.to_owned(), conditions })
}

fn parse_condition(text: &str) -> Result<Condition, String> {
    let refusal =
        || format!("{text}: a condition is as in p50<300us, p99<5ms, max<1s, errors=0, backlog=0");
    if let Some((name, limit)) = text.split_once('<') {
        let below_us = parse_duration(limit).map_err(|_| refusal())? / 1000;
        let percentile = match name {
            "max" => 100.0,
            _ => name.strip_prefix('p').and_then(|number| number.parse().ok()).unwrap_or(-1.0),
        };
        return match percentile {
            0.0..=100.0 if below_us > 0 => Ok(Condition::Percentile { percentile, below_us }),
            _ => Err(refusal()),
        };
    }
    let (name, limit) = text.split_once('=').ok_or_else(refusal)?;
    let limit: u64 = limit.parse().map_err(|_| refusal())?;
    match name {
        "errors" => Ok(Condition::Errors(limit)),
        "backlog" => Ok(Condition::Backlog(limit)),
        _ => Err(refusal()),
    }
}

impl Objective {
    /// What `interval` breaks, with the value that it shows; empty when it holds all.
    pub(crate) fn broken_by(&self, interval: &Interval) -> Vec<String> {
        let broken = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Percentile { percentile, below_us } => {
                let value = interval.response.percentile_us(*percentile);
                (value >= *below_us).then(|| {
                    format!("p{percentile} {} (< {})", duration(value), duration(*below_us))
                })
            }
            Condition::Errors(most) => {
                let count = interval.error_count();
                (count > *most).then(|| format!("errors {count} (<= {most})"))
            }
            Condition::Backlog(most) => {
                let count = interval.unanswered;
                (count > *most).then(|| format!("backlog {count} (<= {most})"))
            }
        });
        broken.collect()
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Where a sweep stops raising the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ceiling {
    /// Where the objective breaks.
    Auto,
    /// There, or at this rate.
    Rate(f64),
}

impl Ceiling {
    /// The highest rate to try.
    pub(crate) fn rate(self) -> f64 {
        match self {
            Ceiling::Auto => f64::INFINITY,
            Ceiling::Rate(rate) => rate,
        }
    }
}

/// `auto` or a rate.
///
/// # Errors
/// Names the text and shows examples.
pub(crate) fn parse_ceiling(text: &str) -> Result<Ceiling, String> {
    if text == "auto" { Ok(Ceiling::Auto) } else { parse_rate(text).map(Ceiling::Rate) }
}

/// Rates for people: whole records.
pub(crate) fn rate_text(rate: f64) -> String {
    match rate {
        ..10_000.0 => format!("{rate:.0}/s"),
        ..10_000_000.0 => format!("{:.1}k/s", rate / 1e3),
        _ => format!("{:.2}M/s", rate / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_names_what_breaks_it() {
        let objective = parse_objective("p99<5ms, max<1s,errors=0,backlog=2").unwrap();
        let mut interval = Interval::new(0);
        (0..1000).for_each(|_| interval.response.record_ns(4_000_000));
        assert_eq!(objective.broken_by(&interval), [""; 0]);
        (0..20).for_each(|_| interval.response.record_ns(2_000_000_000));
        interval.count_error(3);
        interval.unanswered = 3;
        let broken = objective.broken_by(&interval);
        assert_eq!(broken.len(), 4, "{broken:?}");
        assert!(broken[0].starts_with("p99 2.00 s") && broken[2].starts_with("errors 1"));
    }

    #[test]
    fn a_condition_that_is_none_is_refused_with_examples() {
        for text in ["", "p99", "p99<fast", "p101<5ms", "q99<5ms", "errors<1", "lag=0"] {
            let refusal = parse_objective(text).unwrap_err();
            assert!(refusal.contains("as in p50<300us, p99<5ms"), "{text}: {refusal}");
        }
        assert_eq!(parse_ceiling("auto"), Ok(Ceiling::Auto));
        assert_eq!(parse_ceiling("20k"), Ok(Ceiling::Rate(20_000.0)));
    }
}
