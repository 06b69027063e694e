//! Two runs side by side, and limits for a build that must not get slower.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::Failure;

/// Name on the command line, place in the summary, unit.
const FIGURES: [(&str, &str, &str); 12] = [
    ("rate", "/records_per_second", "records/s"),
    ("mb", "/megabytes_per_second", "MB/s"),
    ("p50", "/response_us/p50", "us"),
    ("p90", "/response_us/p90", "us"),
    ("p99", "/response_us/p99", "us"),
    ("p99.9", "/response_us/p99_9", "us"),
    ("max", "/response_us/max", "us"),
    ("mean", "/response_us/mean", "us"),
    ("e2e_p50", "/end_to_end_us/p50", "us"),
    ("e2e_p99", "/end_to_end_us/p99", "us"),
    ("cpu_per_gb", "/server/cpu_seconds_per_gigabyte", "CPU s/GB"),
    ("unanswered", "/unanswered", "requests"),
];

/// A change that is too much.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    figure: usize,
    /// In percent; above 0 when growth is limited, below 0 when shrinking is.
    percent: f64,
}

/// All limits of `--fail-if`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits(Vec<Limit>);

/// Reads limits separated by commas, as in `p99>+10%,rate<-5%`.
///
/// # Errors
/// Names the limit, shows examples, and lists the figures.
pub(crate) fn parse_limits(text: &str) -> Result<Limits, String> {
    text.split(',').map(|part| parse_limit(part.trim())).collect::<Result<_, _>>().map(Limits)
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let refusal = || {
        let names = FIGURES.map(|(name, ..)| name).join(", ");
        format!("{text}: a limit is as in p99>+10% or rate<-5%; figures are {names}")
    };
    let (name, change, sign) = match (text.split_once(">+"), text.split_once("<-")) {
        (Some((name, change)), None) => (name, change, 1.0),
        (None, Some((name, change))) => (name, change, -1.0),
        _ => return Err(refusal()),
    };
    let figure = FIGURES.iter().position(|(known, ..)| *known == name).ok_or_else(refusal)?;
    let percent = change.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if percent.is_finite() && percent >= 0.0 => {
            Ok(Limit { figure, percent: sign * percent })
        }
        _ => Err(refusal()),
    }
}

/// A comparison, ready to be shown.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) text: String,
    /// What differs beside the broker's code: the figures may come of that.
    pub(crate) notes: Vec<String>,
    /// Limits that were crossed, and why runs cannot be compared.
    pub(crate) faults: Vec<String>,
}

/// Compares two summaries.
pub(crate) fn compare(before: &Value, after: &Value, limits: Option<&Limits>) -> Comparison {
    let mut text = format!("{:<12} {:>14} {:>14} {:>9}\n", "figure", "before", "after", "change");
    let limits = limits.map_or(&[][..], |limits| &limits.0);
    let mut faults = Vec::new();
    for (name, run) in [("before", before), ("after", after)] {
        if run["valid"] == false {
            faults.push(format!("the run {name} is INVALID: its figures are the generator's"));
        }
    }
    if before["loop"] != after["loop"] {
        faults.push("one run is CLOSED LOOP and the other is not".to_owned());
    }
    for (index, (name, place, unit)) in FIGURES.iter().enumerate() {
        let asked = limits.iter().filter(|limit| limit.figure == index);
        let value = |run: &Value| run.pointer(place).and_then(Value::as_f64);
        let (Some(old), Some(new)) = (value(before), value(after)) else {
            faults.extend(asked.map(|_| format!("{name} is not in both runs")));
            continue;
        };
        let change = change_percent(old, new);
        writeln!(text, "{name:<12} {old:>14.1} {new:>14.1} {change:>+8.1}%  {unit}")
            .expect("writing to a string");
        for limit in asked {
            let is_crossed =
                if limit.percent > 0.0 { change > limit.percent } else { change < limit.percent };
            let is_crossed = is_crossed || (limit.percent == 0.0 && change != 0.0);
            if is_crossed {
                faults.push(format!("{name} {change:+.1}% crosses {:+}%", limit.percent));
            }
        }
    }
    Comparison { text, notes: differences(before, after), faults }
}

/// Kernel and durability, where both runs tell of them: older summaries may not.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let kernel = |run: &Value| run["environment"]["kernel"].as_str().map(str::to_owned);
    let topic = |run: &Value| shown(&run["environment"]["topic"]["durability"]);
    let brokers = |run: &Value| {
        let brokers = run["environment"]["brokers"].as_array()?;
        let mut kinds: Vec<String> =
            brokers.iter().map(|broker| shown(&broker["durability"])).collect::<Option<_>>()?;
        kinds.sort_unstable();
        kinds.dedup();
        Some(kinds.join("; "))
    };
    let pairs = [
        ("kernel", kernel(before), kernel(after)),
        ("the topic's durability", topic(before), topic(after)),
        ("the brokers' durability", brokers(before), brokers(after)),
    ];
    let differing = pairs.into_iter().filter_map(|(name, before, after)| {
        let (before, after) = (before?, after?);
        (before != after).then(|| format!("{name} differs: {before} before, {after} after"))
    });
    differing.collect()
}

/// Keys and values in the order of the keys.
fn shown(config: &Value) -> Option<String> {
    let entries = config.as_object()?.iter();
    let entries = entries.map(|(key, value)| {
        value.as_str().map_or_else(|| format!("{key}={value}"), |text| format!("{key}={text}"))
    });
    Some(entries.collect::<Vec<String>>().join(" "))
}

fn change_percent(old: f64, new: f64) -> f64 {
    match (old == 0.0, new == 0.0) {
        (true, true) => 0.0,
        (true, false) => f64::INFINITY,
        _ => 100.0 * (new - old) / old,
    }
}

/// Reads `summary.json` of a run: the file itself, or the directory it lies in.
///
/// # Errors
/// It is not there, is no JSON, or is not a summary.
pub(crate) fn read_run(path: &Path) -> Result<Value, Failure> {
    let file: PathBuf = if path.is_dir() { path.join("summary.json") } else { path.to_owned() };
    let refusal = |reason: String| Failure::BadRun { path: file.clone(), reason };
    let text = fs::read_to_string(&file).map_err(|error| refusal(error.to_string()))?;
    let run: Value = serde_json::from_str(&text).map_err(|error| refusal(error.to_string()))?;
    match run["schema"].as_str() {
        Some(crate::summary::SCHEMA) => Ok(run),
        Some(other) => Err(refusal(format!("schema {other}, not {}", crate::summary::SCHEMA))),
        None => Err(refusal("it has no schema: not a summary of loadgen".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(rate: f64, p99: u64) -> Value {
        json!({ "loop": "open", "valid": true, "records_per_second": rate,
                "response_us": { "p99": p99 } })
    }

    fn faults(before: &Value, after: &Value, limits: &str) -> Vec<String> {
        compare(before, after, Some(&parse_limits(limits).unwrap())).faults
    }

    #[test]
    fn a_limit_is_crossed_in_its_direction_only() {
        let limits = "p99>+10%,rate<-5%";
        assert_eq!(faults(&run(100.0, 100), &run(96.0, 109), limits), [""; 0]);
        assert_eq!(faults(&run(100.0, 100), &run(200.0, 10), limits), [""; 0]);
        assert_eq!(faults(&run(100.0, 100), &run(94.0, 111), limits).len(), 2);
        assert_eq!(faults(&run(100.0, 0), &run(100.0, 1), "p99>+10%").len(), 1);
    }

    #[test]
    fn runs_that_cannot_be_compared_are_faults() {
        let mut other = run(100.0, 100);
        other["loop"] = json!("closed");
        other["valid"] = json!(false);
        assert_eq!(faults(&run(100.0, 100), &other, "p99>+10%").len(), 2);
        assert_eq!(
            faults(&run(1.0, 1), &run(1.0, 1), "e2e_p99>+10%"),
            ["e2e_p99 is not in both runs"]
        );
    }

    #[test]
    fn another_kernel_or_durability_is_noted_and_is_no_fault() {
        let on = |kernel: &str, durability: &str| {
            let mut run = run(1.0, 1);
            let config = json!({ "highwater.durability": durability });
            run["environment"] = json!({
                "kernel": kernel,
                "topic": { "durability": config },
                "brokers": [{ "durability": config }, { "durability": config }],
            });
            run
        };
        let compared = |before: &Value, after: &Value| compare(before, after, None);
        let same = compared(&on("6.18", "flush"), &on("6.18", "flush"));
        assert_eq!((same.notes.len(), same.faults.len()), (0, 0));
        let other = compared(&on("6.18", "flush"), &on("6.19", "kernel"));
        assert_eq!((other.notes.len(), other.faults.len()), (3, 0));
        assert_eq!(other.notes[0], "kernel differs: 6.18 before, 6.19 after");
        let topic = "the topic's durability differs: highwater.durability=flush before, \
                     highwater.durability=kernel after";
        assert_eq!(other.notes[1], topic);
        // A run of before these were told says nothing.
        assert_eq!(compared(&run(1.0, 1), &on("6.19", "kernel")).notes, [""; 0]);
    }

    #[test]
    fn a_limit_that_is_none_is_refused_with_the_figures() {
        for text in ["", "p99", "p99>10%", "p98>+10%", "p99>+x%", "rate<-5"] {
            let refusal = parse_limits(text).unwrap_err();
            assert!(refusal.contains("p99>+10%") && refusal.contains("e2e_p50"), "{refusal}");
        }
    }
}
