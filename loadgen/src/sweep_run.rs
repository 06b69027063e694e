//! The highest rate that holds an objective: a capacity plan.
//!
//! ```text
//! from ──x1.5──► holds ──x1.5──► holds ──x1.5──► broken twice   ramp
//!                                  │◄─bisect to 3 %─►│
//!                                    winner x 3, the lowest counts
//! ```
//!
//! Invariants
//! - A rate that breaks is tried once more before the search gives it up: it bounds all that comes
//!   after, and one stall of a machine is no limit of a broker.
//! - A step holds only when both halves of its measured time hold: a queue that grows is caught.
//! - A step does not hold whose generator was full, or that left requests over. One that sent late
//!   holds if the objective does: the response counts from the intended time.

use std::env;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker_facts::describe_cluster;
use crate::capacity::{Capacity, REPEATS, Step, step_line};
use crate::cli::SweepArgs;
use crate::environment::{CoreTime, RunFacts, environment, steal_since};
use crate::failure::Failure;
use crate::interval::{Interval, to_f64};
use crate::load_args::{LoadArgs, RunArgs};
use crate::produce_run::produce;
use crate::resources::Resources;
use crate::summary::{Loop, Summary};
use crate::tuning_check::tuning_check;

const RAMP: f64 = 1.5;
const PRECISION: f64 = 1.03;

/// Nothing holds when not even the rate to begin with, divided by this, does.
const GIVE_UP: f64 = 16.0;

/// Rates of a search; a bound against brokers that behave differently each time.
const STEPS_MAX: usize = 60;

/// Runs it; every step is a produce run.
///
/// # Errors
/// As a produce run, when it is the first; later ones end the sweep, which keeps what was found.
pub(crate) fn sweep(args: &SweepArgs) -> Result<Capacity, Failure> {
    let cores_at_start = CoreTime::read();
    let mut load = args.load.clone();
    let out = load.run.out.take();
    let mut tries = Tries { args, load, out: out.clone(), steps: Vec::new() };
    let found = search(args.from, args.to.rate(), |rate| tries.holds(rate))
        .and_then(|winner| winner.map_or(Ok(None), |rate| repeat(rate, |rate| tries.run(rate))));
    let steps = tries.steps;
    let (max_rate, failure) = match found {
        Ok(max_rate) => (max_rate, None),
        Err(failure) if steps.is_empty() => return Err(failure),
        Err(failure) => (None, Some(failure)),
    };
    // Behind the last step: what the sweep itself has filled is no longer free.
    let cluster = describe_cluster(&args.load.run.bootstrap, &args.load.run.topic);
    let facts = RunFacts {
        seed: Some(args.load.seed),
        steal_percent: steal_since(cores_at_start),
        cluster: cluster.clone(),
    };
    let mut capacity = Capacity {
        objective: args.slo.to_string(),
        steps,
        max_rate,
        target: args.target,
        retention_seconds: args.retention.map(|ns| to_f64(ns) / 1e9),
        cluster,
        environment: sweep_environment(&args.load.run, &facts),
        failure,
    };
    if let Some(directory) = out {
        let written = capacity.write_to(&directory);
        capacity.failure = capacity.failure.take().or(written.err());
    }
    Ok(capacity)
}

/// The steps of a sweep, one after the other.
struct Tries<'a> {
    args: &'a SweepArgs,
    load: LoadArgs,
    /// Each step's files have a directory of their own in it, the plan is beside them.
    out: Option<PathBuf>,
    steps: Vec<Step>,
}

impl Tries<'_> {
    /// What was achieved where the objective held.
    fn run(&mut self, rate: f64) -> Result<Option<f64>, Failure> {
        let name = format!("step-{:02}", self.steps.len() + 1);
        self.load.run.out = self.out.as_ref().map(|directory| directory.join(name));
        let step = try_step(self.args, &self.load, rate)?;
        // Only the first step may replace the topic.
        self.load.fresh = false;
        eprintln!("{}", step_line(&step));
        let held = step.broken.is_empty().then_some(step.achieved);
        self.steps.push(step);
        Ok(held)
    }

    fn holds(&mut self, rate: f64) -> Result<bool, Failure> {
        if self.run(rate)?.is_some() {
            return Ok(true);
        }
        let broken = self.steps.len() - 1;
        let held = self.run(rate)?.is_some();
        self.steps[broken].is_outdone = held;
        Ok(held)
    }
}

fn sweep_environment(run: &RunArgs, facts: &RunFacts) -> Value {
    let command: Vec<String> = env::args().collect();
    let mut environment = environment(&command, facts, run.out.as_deref());
    if run.is_kept() {
        environment["tuning_check"] = json!(tuning_check());
    }
    environment
}

fn try_step(args: &SweepArgs, load: &LoadArgs, rate: f64) -> Result<Step, Failure> {
    let before = Resources::read(&load.run.server_pid);
    let outcome = produce(load, Some(rate))?.whole()?;
    let used = before.used_until(&Resources::read(&load.run.server_pid), &outcome.total);
    let mut faults: Vec<String> = Vec::new();
    for (half, name) in outcome.halves.iter().zip(["first half", "second half"]) {
        let broken = args.slo.broken_by(half);
        let faults_of_half = broken.into_iter().chain(unserved(half));
        faults.extend(faults_of_half.map(|fault| format!("{name}: {fault}")));
    }
    let total = &outcome.total;
    let percentiles = [50.0, 99.0, 99.9];
    let response_us = percentiles.map(|percentile| total.response.percentile_us(percentile));
    let achieved = total.record_rate();
    let bytes_per_second = total.megabyte_rate() * 1e6;
    let command: Vec<String> = env::args().collect();
    let environment = environment(&command, &outcome.facts, load.run.out.as_deref());
    let pacing = Loop::Open { rate };
    let summary = Summary { mode: "produce", pacing, outcome, command, environment };
    if let Some(directory) = &load.run.out {
        summary.write_to(directory)?;
    }
    let is_invalid = !summary.invalid_reasons().is_empty();
    let (broken, note) = judge(faults, summary.hindrances(), summary.lateness());
    let offered = rate;
    Ok(Step {
        offered,
        achieved,
        bytes_per_second,
        response_us,
        broken,
        is_outdone: false,
        note,
        is_invalid,
        used,
    })
}

/// Requests that are in no response: of a rate that holds, one in so many at most.
const LEFT_OVER_SHARE: u64 = 100;

/// That the rate was not offered, or not taken.
fn unserved(half: &Interval) -> Option<String> {
    let due = half.requests + half.unanswered;
    let is_unserved = half.requests == 0 || half.unanswered * LEFT_OVER_SHARE > due;
    let left = half.unanswered;
    is_unserved.then(|| format!("{left} of {due} requests were never sent, or never answered"))
}

/// What a step breaks, and what is to be known of one that holds. A response counts from the
/// intended time: an objective that holds although requests were sent late, holds.
fn judge(
    mut faults: Vec<String>,
    hindrances: Vec<String>,
    lateness: Option<String>,
) -> (Vec<String>, Option<String>) {
    if faults.is_empty() && hindrances.is_empty() {
        return (faults, lateness);
    }
    let invalid = hindrances.into_iter().chain(lateness);
    faults.extend(invalid.map(|reason| format!("INVALID: {reason}")));
    (faults, None)
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
    fn an_objective_that_holds_although_the_generator_was_late_holds() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let late = || Some("late".to_owned());
        assert_eq!(judge(vec![], vec![], late()), (vec![], late()));
        assert_eq!(judge(vec![], vec![], None), (vec![], None));
        let broken = judge(texts(&["p99"]), vec![], late());
        assert_eq!(broken, (texts(&["p99", "INVALID: late"]), None));
        // A generator that was full has not offered the rate.
        let broken = judge(vec![], texts(&["busy"]), late());
        assert_eq!(broken, (texts(&["INVALID: busy", "INVALID: late"]), None));
    }

    #[test]
    fn a_rate_that_was_not_served_does_not_hold() {
        let half = |requests, unanswered| {
            let mut half = Interval::new(0);
            (half.requests, half.unanswered) = (requests, unanswered);
            unserved(&half)
        };
        assert_eq!(half(99, 1), None);
        let left = "2 of 100 requests were never sent, or never answered";
        assert_eq!(half(98, 2).as_deref(), Some(left));
        assert!(half(0, 0).is_some(), "nothing is no proof");
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
