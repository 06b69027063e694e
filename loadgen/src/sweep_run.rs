//! The highest rate that holds an objective: a capacity plan.
//!
//! ```text
//! from ──x1.5──► holds ──x1.5──► holds ──x1.5──► broken      ramp
//!                                  │◄─bisect to 3 %─►│
//!                                    winner x 3, the lowest counts
//! ```
//!
//! Invariants
//! - A step holds only when both halves of its measured time hold: a queue that grows is caught.
//! - A step whose generator lagged does not hold, and says so.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::SweepArgs;
use crate::environment::environment;
use crate::failure::Failure;
use crate::objective::rate_text;
use crate::produce_run::produce;
use crate::progress::duration;
use crate::resources::{Resources, Used};
use crate::summary::{Loop, Summary, pretty, write_whole};

const SCHEMA: &str = "highwater-loadgen-capacity/1";
const RAMP: f64 = 1.5;
const PRECISION: f64 = 1.03;
const REPEATS: usize = 3;

/// Nothing holds when not even the rate to begin with, divided by this, does.
const GIVE_UP: f64 = 16.0;

/// Steps of a search; a bound against brokers that behave differently each time.
const STEPS_MAX: usize = 60;

/// One rate, tried once.
#[derive(Debug)]
struct Step {
    offered: f64,
    achieved: f64,
    /// p50, p99 and p99.9 of the response, in microseconds.
    response_us: [u64; 3],
    /// What did not hold; empty for a step that held.
    broken: Vec<String>,
    used: Used,
}

/// A finished sweep.
#[derive(Debug)]
pub(crate) struct Capacity {
    objective: String,
    steps: Vec<Step>,
    /// Records per second; `None` when no rate held.
    pub(crate) max_rate: Option<f64>,
    limit: &'static str,
    /// What ended the sweep early.
    pub(crate) failure: Option<Failure>,
}

/// Runs it; every step is a produce run.
///
/// # Errors
/// As a produce run, when it is the first; later ones end the sweep, which keeps what was found.
pub(crate) fn sweep(args: &SweepArgs) -> Result<Capacity, Failure> {
    let mut steps = Vec::new();
    let mut load = args.load.clone();
    let out = load.run.out.take();
    let mut try_rate = |rate: f64| -> Result<Option<f64>, Failure> {
        // Each step's files have a directory of their own, the plan is beside them.
        let name = format!("step-{:02}", steps.len() + 1);
        load.run.out = out.as_ref().map(|directory| directory.join(name));
        let step = try_step(args, &load, rate)?;
        // Only the first step may replace the topic.
        load.fresh = false;
        eprintln!("{}", step_line(&step));
        let held = step.broken.is_empty().then_some(step.achieved);
        steps.push(step);
        Ok(held)
    };
    let found = search(args.from, args.to.rate(), |rate| Ok(try_rate(rate)?.is_some()))
        .and_then(|winner| winner.map_or(Ok(None), |rate| repeat(rate, &mut try_rate)));
    let (max_rate, failure) = match found {
        Ok(max_rate) => (max_rate, None),
        Err(failure) if steps.is_empty() => return Err(failure),
        Err(failure) => (None, Some(failure)),
    };
    let limit = limiting(&steps);
    let mut capacity =
        Capacity { objective: args.slo.to_string(), steps, max_rate, limit, failure };
    if let Some(directory) = out {
        let written = capacity.write_to(&directory);
        capacity.failure = capacity.failure.take().or(written.err());
    }
    Ok(capacity)
}

fn try_step(
    args: &SweepArgs,
    load: &crate::load_args::LoadArgs,
    rate: f64,
) -> Result<Step, Failure> {
    let before = Resources::read(&load.run.server_pid);
    let outcome = produce(load, Some(rate))?.whole()?;
    let used = before.used_until(&Resources::read(&load.run.server_pid), &outcome.total);
    let mut broken: Vec<String> = Vec::new();
    for (half, name) in outcome.halves.iter().zip(["first half", "second half"]) {
        let faults = args.slo.broken_by(half);
        broken.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    let total = &outcome.total;
    let percentiles = [50.0, 99.0, 99.9];
    let response_us = percentiles.map(|percentile| total.response.percentile_us(percentile));
    let achieved = total.record_rate();
    let command: Vec<String> = std::env::args().collect();
    let environment = environment(&command, &outcome.facts, load.run.out.as_deref());
    let pacing = Loop::Open { rate };
    let summary = Summary { mode: "produce", pacing, outcome, command, environment };
    if let Some(directory) = &load.run.out {
        summary.write_to(directory)?;
    }
    broken.extend(summary.invalid_reasons().into_iter().map(|reason| format!("INVALID: {reason}")));
    Ok(Step { offered: rate, achieved, response_us, broken, used })
}

/// The highest rate that `holds`, to 3 %; below `from` when that does not hold itself.
fn search(
    from: f64,
    ceiling: f64,
    mut holds: impl FnMut(f64) -> Result<bool, Failure>,
) -> Result<Option<f64>, Failure> {
    let mut rate = from.min(ceiling);
    let (mut good, mut bad) = (None, None);
    for _ in 0..STEPS_MAX {
        if holds(rate)? {
            good = Some(rate)
        } else {
            bad = Some(rate)
        }
        rate = match (good, bad) {
            (Some(good), None) if good >= ceiling => return Ok(Some(good)),
            (Some(good), None) => (good * RAMP).min(ceiling),
            (None, Some(bad)) if bad < from / GIVE_UP => return Ok(None),
            (None, Some(bad)) => bad / RAMP,
            (Some(good), Some(bad)) if bad <= good * PRECISION => return Ok(Some(good)),
            (Some(good), Some(bad)) => f64::midpoint(good, bad),
            (None, None) => return Ok(None),
        };
    }
    Ok(good)
}

/// Repeats the winner; goes down by 3 % when a repeat does not hold.
fn repeat(
    mut rate: f64,
    mut try_rate: impl FnMut(f64) -> Result<Option<f64>, Failure>,
) -> Result<Option<f64>, Failure> {
    for _ in 0..STEPS_MAX {
        let mut lowest = f64::INFINITY;
        for _ in 0..REPEATS {
            match try_rate(rate)? {
                Some(achieved) => lowest = lowest.min(achieved),
                None => {
                    lowest = f64::NAN;
                    break;
                }
            }
        }
        if lowest.is_finite() {
            return Ok(Some(lowest));
        }
        rate /= PRECISION;
    }
    Ok(None)
}

/// What the lowest rate that broke was short of.
fn limiting(steps: &[Step]) -> &'static str {
    let broken = steps.iter().filter(|step| !step.broken.is_empty());
    let lowest = broken.min_by(|left, right| left.offered.total_cmp(&right.offered));
    match lowest {
        Some(step) if step.broken.iter().all(|fault| fault.starts_with("INVALID")) => "client",
        Some(step) => step.used.limit(),
        None => "none: the objective held at the highest rate that was tried",
    }
}

fn step_line(step: &Step) -> String {
    let [p50, p99, p99_9] = step.response_us;
    let core = step.used.broker_core.map_or("-".to_owned(), |percent| format!("{percent:.0}"));
    format!(
        "{:>11} {:>11} {:>9} {:>9} {:>9} {:>5} {:>5.0} {:>6.0}  {}",
        rate_text(step.offered),
        rate_text(step.achieved),
        duration(p50),
        duration(p99),
        duration(p99_9),
        core,
        step.used.disk,
        step.used.client,
        if step.broken.is_empty() { "holds".to_owned() } else { step.broken.join("; ") }
    )
}

impl Capacity {
    /// `capacity.json`, and the steps as a table in `capacity.csv`.
    fn write_to(&self, directory: &Path) -> Result<(), Failure> {
        fs::create_dir_all(directory)
            .map_err(|source| Failure::Output { path: directory.to_owned(), source })?;
        let mut csv = String::from(
            "offered_records_per_second,records_per_second,p50_us,p99_us,p99_9_us,holds\n",
        );
        for step in &self.steps {
            let [p50, p99, p99_9] = step.response_us;
            let (offered, achieved, holds) = (step.offered, step.achieved, step.broken.is_empty());
            writeln!(csv, "{offered:.1},{achieved:.1},{p50},{p99},{p99_9},{holds}")
                .expect("writing to a string");
        }
        let json = write_whole(&directory.join("capacity.json"), &pretty(&self.to_json()));
        json.and(write_whole(&directory.join("capacity.csv"), &csv))
    }

    /// The table of all steps and the plan.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!(
            "{:>11} {:>11} {:>9} {:>9} {:>9} {:>5} {:>5} {:>6}\n",
            "offered", "achieved", "p50", "p99", "p99.9", "core%", "disk%", "client%"
        );
        for step in &self.steps {
            writeln!(text, "{}", step_line(step)).expect("writing to a string");
        }
        let plan = match self.max_rate {
            None if self.failure.is_some() => "PARTIAL: the sweep ended early".to_owned(),
            None => format!("no rate held {}", self.objective),
            Some(rate) => format!(
                "{} holds {} (lowest of {REPEATS}); plan with {} at 50 %, {} at 70 %, {} at 90 %",
                rate_text(rate),
                self.objective,
                rate_text(rate * 0.5),
                rate_text(rate * 0.7),
                rate_text(rate * 0.9)
            ),
        };
        writeln!(text, "{plan}\nlimited by: {}", self.limit).expect("writing to a string");
        text
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let [p50, p99, p99_9] = step.response_us;
            json!({
                "offered_records_per_second": step.offered,
                "records_per_second": step.achieved,
                "p50_us": p50,
                "p99_us": p99,
                "p99_9_us": p99_9,
                "holds": step.broken.is_empty(),
                "broken": step.broken,
                "broker_core_percent": step.used.broker_core,
                "disk_percent": step.used.disk,
                "client_percent": step.used.client,
            })
        });
        json!({
            "schema": SCHEMA,
            "mode": "sweep",
            "loop": "open",
            "objective": self.objective,
            "max_records_per_second": self.max_rate,
            "limited_by": self.limit,
            "failure": self.failure.as_ref().map(ToString::to_string),
            "repeats": REPEATS,
            "steps": steps.collect::<Vec<Value>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(from: f64, ceiling: f64, capacity: f64) -> (Option<f64>, usize) {
        let mut tries = 0;
        let winner = search(from, ceiling, |rate| {
            tries += 1;
            Ok(rate <= capacity)
        });
        (winner.unwrap(), tries)
    }

    #[test]
    fn a_search_comes_within_three_percent_from_below() {
        for capacity in [9_000.0, 10_000.0, 123_456.0, 4_000_000.0] {
            let (winner, tries) = searched(10_000.0, f64::INFINITY, capacity);
            let winner = winner.unwrap();
            assert!(winner <= capacity && winner * PRECISION >= capacity, "{winner} {capacity}");
            assert!(tries < 30, "{tries}");
        }
    }

    #[test]
    fn a_ceiling_ends_the_search_and_nothing_that_holds_is_said() {
        assert_eq!(searched(10_000.0, 30_000.0, 1e9).0, Some(30_000.0));
        assert_eq!(searched(10_000.0, f64::INFINITY, 0.0).0, None);
    }

    #[test]
    fn the_lowest_of_three_repeats_counts_and_a_broken_one_lowers_the_rate() {
        let mut achieved = [Some(99.0), None, Some(95.0), Some(93.0), Some(96.0)].into_iter();
        let mut tried = Vec::new();
        let lowest = repeat(100.0, |rate| {
            tried.push(rate.round());
            Ok(achieved.next().flatten())
        });
        assert_eq!(lowest.unwrap(), Some(93.0));
        assert_eq!(tried, [100.0, 100.0, 97.0, 97.0, 97.0]);
    }
}
