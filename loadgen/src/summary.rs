//! What a run has shown: a verdict on itself, a table for people, JSON for programs.
//!
//! Invariants
//! - A closed loop is marked in every output.
//! - A run whose generator was the bottleneck is INVALID, in every output and by its exit code.
//! - JSON fields are only added; a change of meaning raises `SCHEMA`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::failure::{Failure, code_name};
use crate::interval::{Interval, Latencies, to_f64};
use crate::progress::duration;
use crate::run::RunOutcome;
use crate::second::{Second, percentile_text};

/// Name and version of the JSON schema.
pub(crate) const SCHEMA: &str = "highwater-loadgen/1";

const CLOSED_LOOP: &str = "CLOSED LOOP - latency not comparable";

/// The generator's own lateness may be this part of the latency it reports.
const LAG_SHARE_MAX: f64 = 0.1;
/// Lateness below this is within the resolution of timers and counts as none.
const LAG_US_MIN: u64 = 20;
const BUSY_PERCENT_MAX: f64 = 90.0;

/// Setting the wall clock by less is what keeping it in step does all the time.
const WALL_STEP_MS_MIN: u64 = 500;

/// Exit code of a run in which requests were refused or not answered.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// Exit code of a run whose generator was the bottleneck.
pub(crate) const EXIT_INVALID: u8 = 3;

/// How requests were admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Loop {
    Closed,
    /// At so many records per second.
    Open {
        rate: f64,
    },
}

/// A finished run and how it was asked for.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) mode: &'static str,
    pub(crate) pacing: Loop,
    pub(crate) outcome: RunOutcome,
    pub(crate) command: Vec<String>,
    /// See `environment`.
    pub(crate) environment: Value,
}

impl Summary {
    /// Why the figures are the generator's rather than the broker's; empty when they count.
    pub(crate) fn invalid_reasons(&self) -> Vec<String> {
        let mut reasons = self.hindrances();
        reasons.extend(self.lateness());
        reasons
    }

    /// What kept the generator from offering the load: it was full, or its clock jumped.
    pub(crate) fn hindrances(&self) -> Vec<String> {
        let total = &self.outcome.total;
        let mut reasons = Vec::new();
        if total.busiest_percent().max(total.busy_percent()) > BUSY_PERCENT_MAX {
            reasons.push(format!(
                "the generator was busy {:.0} % of the time (its busiest thread {:.0} %): more \
                 threads, or another core",
                total.busy_percent(),
                total.busiest_percent()
            ));
        }
        if total.jumped_ns > 0 {
            reasons.push(format!(
                "the clock jumped by {:.0} s, or the machine stood still: run it again",
                to_f64(total.jumped_ns) / 1e9
            ));
        }
        reasons
    }

    /// That it sent late, by a good part of the response, which counts from the intended time.
    pub(crate) fn lateness(&self) -> Option<String> {
        let total = &self.outcome.total;
        let lag_us = total.lag.percentile_us(99.0);
        let response_us = total.response.percentile_us(99.0);
        let matters = lag_us > LAG_US_MIN && to_f64(lag_us) > LAG_SHARE_MAX * to_f64(response_us);
        // A thread that never sleeps is late only where it does not run.
        let cure = match self.command.iter().any(|word| word == "--spin") {
            true => "although it spins, so others run on its core",
            false => "try --spin",
        };
        matters.then(|| {
            format!(
                "the generator sent late by {} at p99, with a response p99 of {}: {cure}",
                duration(lag_us),
                duration(response_us)
            )
        })
    }

    /// 0, or what went wrong.
    pub(crate) fn exit_code(&self) -> u8 {
        let total = &self.outcome.total;
        if !self.invalid_reasons().is_empty() {
            EXIT_INVALID
        } else if total.error_count() > 0 || total.unanswered > 0 || total.undelivered > 0 {
            EXIT_REFUSED
        } else {
            0
        }
    }

    /// The table.
    pub(crate) fn to_text(&self) -> String {
        let total = &self.outcome.total;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<12} {value}").expect("writing to a string");
        };
        match self.pacing {
            Loop::Closed => line("loop", CLOSED_LOOP.to_owned()),
            Loop::Open { rate } => line("loop", format!("open, {rate:.0} records/s offered")),
        }
        line("measured", format!("{:.2} s", to_f64(total.wall_ns) / 1e9));
        line(
            "throughput",
            format!(
                "{:.0} records/s, {:.0} requests/s, {:.1} MB/s of batches",
                total.record_rate(),
                total.request_rate(),
                total.megabyte_rate()
            ),
        );
        line("response", latencies_text(&total.response));
        if matches!(self.pacing, Loop::Open { .. }) {
            line("service", latencies_text(&total.service));
            line("send lag", latencies_text(&total.lag));
        }
        if total.delivered > 0 {
            line("end to end", latencies_text(&total.end_to_end));
            line("delivered", format!("{:.0} records/s", total.delivered_rate()));
        }
        if total.end_txn.count() > 0 {
            line("end of txn", latencies_text(&total.end_txn));
            line("retries", total.retries.to_string());
        }
        line(
            "generator",
            format!(
                "busy {:.0} %, its busiest thread {:.0} %, {:.2} CPU s",
                total.busy_percent(),
                total.busiest_percent(),
                to_f64(total.cpu_ns) / 1e9
            ),
        );
        if let Some(server) = self.server_text() {
            line("broker", server);
        }
        line("errors", errors_text(total));
        if let Some(note) = self.clock_note() {
            line("clock", note);
        }
        for reason in self.invalid_reasons() {
            line("INVALID", reason);
        }
        if let Some(failure) = &self.outcome.failure {
            line("PARTIAL", format!("the run ended early: {failure}"));
        }
        text
    }

    /// Said when somebody has set the wall clock.
    fn clock_note(&self) -> Option<String> {
        let step_ms = self.outcome.wall_step_ms;
        (step_ms.unsigned_abs() >= WALL_STEP_MS_MIN).then(|| {
            format!(
                "the wall clock was set by {step_ms} ms during the run; latencies do not depend \
                 on it, timestamps of records do"
            )
        })
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        let total = &self.outcome.total;
        let reasons = self.invalid_reasons();
        let (pacing, note, rate) = match self.pacing {
            Loop::Closed => ("closed", Some(CLOSED_LOOP), None),
            Loop::Open { rate } => ("open", None, Some(rate)),
        };
        json!({
            "schema": SCHEMA,
            "mode": self.mode,
            "loop": pacing,
            "note": note,
            "offered_records_per_second": rate,
            "valid": reasons.is_empty(),
            "invalid_reasons": reasons,
            "failure": self.outcome.failure.as_ref().map(ToString::to_string),
            "wall_clock_step_ms": self.outcome.wall_step_ms,
            "measured_seconds": to_f64(total.wall_ns) / 1e9,
            "requests": total.requests,
            "records": total.records,
            "bytes": total.bytes,
            "records_per_second": total.record_rate(),
            "requests_per_second": total.request_rate(),
            "megabytes_per_second": total.megabyte_rate(),
            "response_us": latencies_json(&total.response),
            "service_us": latencies_json(&total.service),
            "send_lag_us": latencies_json(&total.lag),
            "end_to_end_us": latencies_json(&total.end_to_end),
            "end_txn_us": latencies_json(&total.end_txn),
            "retries": total.retries,
            "delivered": total.delivered,
            "delivered_per_second": total.delivered_rate(),
            "undelivered": total.undelivered,
            "errors": errors_json(total),
            "unanswered": total.unanswered,
            "generator": {
                "busy_percent": total.busy_percent(),
                "busiest_thread_percent": total.busiest_percent(),
                "cpu_seconds": to_f64(total.cpu_ns) / 1e9,
            },
            "server": self.server_json(),
            "payload": self.outcome.payload,
            "seconds": self.outcome.seconds.iter().map(second_json).collect::<Vec<Value>>(),
            "environment": self.environment,
        })
    }

    /// Writes `summary.json` and one `.hgrm` per latency into the directory of the run. A file that
    /// cannot be written does not keep the others from being tried.
    ///
    /// # Errors
    /// The first file that cannot be written.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<(), Failure> {
        let summary = write_whole(&directory.join("summary.json"), &pretty(&self.to_json()));
        let files = percentile_files(&self.outcome.total, directory);
        summary.and(files)
    }

    /// What the broker's process used while figures counted.
    fn server_json(&self) -> Option<Value> {
        let (start, end) = self.outcome.server?;
        let cpu_seconds = end.cpu_seconds - start.cpu_seconds;
        let total = &self.outcome.total;
        let per = |scale: f64, count: u64| (count > 0).then(|| cpu_seconds * scale / to_f64(count));
        Some(json!({
            "cpu_seconds": cpu_seconds,
            "cpu_seconds_per_gigabyte": per(1e9, total.bytes),
            "cpu_microseconds_per_request": per(1e6, total.requests),
            "resident_bytes": end.resident_bytes,
        }))
    }

    fn server_text(&self) -> Option<String> {
        let server = self.server_json()?;
        let mut parts =
            vec![format!("{:.2} CPU s", server["cpu_seconds"].as_f64().unwrap_or_default())];
        // Nothing moved, or no request answered: there is nothing to divide by.
        parts.extend(
            server["cpu_seconds_per_gigabyte"].as_f64().map(|cpu| format!("{cpu:.3} CPU s/GB")),
        );
        let per_request = server["cpu_microseconds_per_request"].as_f64();
        parts.extend(per_request.map(|cpu| format!("{cpu:.1} us CPU per request")));
        let resident = server["resident_bytes"].as_f64().unwrap_or_default();
        parts.push(format!("{:.0} MB resident", resident / 1e6));
        Some(parts.join(", "))
    }
}

/// Writes one `.hgrm` per latency.
///
/// # Errors
/// The first file that cannot be written; the others are tried nevertheless.
pub(crate) fn percentile_files(total: &Interval, directory: &Path) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for (name, latencies) in total.latencies() {
        let path = directory.join(format!("{name}.hgrm"));
        let written = write_whole(&path, &percentile_text(latencies));
        outcome = outcome.and(written);
    }
    outcome
}

/// Writes one file of JSON; makes the directory when it is missing.
///
/// # Errors
/// The directory cannot be made, or the file not be written.
pub(crate) fn write_file(directory: &Path, name: &str, json: &Value) -> Result<(), Failure> {
    fs::create_dir_all(directory)
        .map_err(|source| Failure::Output { path: directory.to_owned(), source })?;
    write_whole(&directory.join(name), &pretty(json))
}

/// JSON as files have it.
pub(crate) fn pretty(json: &Value) -> String {
    format!("{json:#}\n")
}

/// Writes a file beside its place and then moves it there: what is at `path` is always whole.
///
/// # Errors
/// It cannot be written; what was at `path` before is still there.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let outcome = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    outcome.map_err(|source| {
        // Half a file is of no use, and its room may be what is missing.
        let _ = fs::remove_file(&beside);
        Failure::Output { path: path.to_owned(), source }
    })
}

/// Percentiles for people.
pub(crate) fn latencies_text(latencies: &Latencies) -> String {
    if latencies.count() == 0 {
        return "none".to_owned();
    }
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        duration(latencies.percentile_us(50.0)),
        duration(latencies.percentile_us(90.0)),
        duration(latencies.percentile_us(99.0)),
        duration(latencies.percentile_us(99.9)),
        duration(latencies.max_us()),
    )
}

/// Percentiles in microseconds.
pub(crate) fn latencies_json(latencies: &Latencies) -> Value {
    json!({
        "count": latencies.count(),
        "mean": latencies.mean_us(),
        "p50": latencies.percentile_us(50.0),
        "p90": latencies.percentile_us(90.0),
        "p99": latencies.percentile_us(99.0),
        "p99_9": latencies.percentile_us(99.9),
        "p99_99": latencies.percentile_us(99.99),
        "max": latencies.max_us(),
        "curve": latencies.curve(),
    })
}

fn errors_text(total: &Interval) -> String {
    let mut parts: Vec<String> =
        total.errors.iter().map(|(code, count)| format!("{} {count}", code_name(*code))).collect();
    if total.unanswered > 0 {
        parts.push(format!("unanswered or never sent {}", total.unanswered));
    }
    if total.undelivered > 0 {
        parts.push(format!("not consumed {}", total.undelivered));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn errors_json(total: &Interval) -> Value {
    let errors = total.errors.iter().map(|(code, count)| (code_name(*code), json!(count)));
    Value::Object(errors.collect::<Map<String, Value>>())
}

fn second_json(second: &Second) -> Value {
    let [p50, p90, p99, p99_9, max] = second.response_us;
    let [end_to_end_p50, end_to_end_p99] = second.end_to_end_us;
    json!({
        "second": second.second,
        "records_per_second": second.record_rate,
        "megabytes_per_second": second.megabyte_rate,
        "p50_us": p50,
        "p90_us": p90,
        "p99_us": p99,
        "p99_9_us": p99_9,
        "max_us": max,
        "end_to_end_p50_us": end_to_end_p50,
        "end_to_end_p99_us": end_to_end_p99,
        "delivered_per_second": second.delivered_rate,
        "errors": second.errors,
        "busy_percent": second.busy_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerUse;

    fn summary(pacing: Loop, change: impl FnOnce(&mut Interval)) -> Summary {
        let mut total = Interval::new(0);
        total.wall_ns = 2_000_000_000;
        total.thread_ns = 2_000_000_000;
        total.busy_ns = 1_000_000_000;
        total.records = 1000;
        (0..1000).for_each(|_| total.response.record_ns(1_000_000));
        change(&mut total);
        let outcome = RunOutcome { total, ..RunOutcome::new() };
        let environment = json!({ "seed": 7 });
        Summary { mode: "produce", pacing, outcome, command: Vec::new(), environment }
    }

    #[test]
    fn a_closed_loop_is_marked_in_both_outputs() {
        let closed = summary(Loop::Closed, |_| {});
        assert!(closed.to_text().contains("CLOSED LOOP"));
        assert_eq!(closed.to_json()["note"], CLOSED_LOOP);
        let open = summary(Loop::Open { rate: 500.0 }, |_| {});
        assert!(!open.to_text().contains("CLOSED"));
        assert_eq!(open.to_json()["loop"], "open");
        assert_eq!(open.exit_code(), 0);
        assert_eq!(open.to_json()["environment"]["seed"], 7);
    }

    #[test]
    fn a_busy_generator_makes_the_run_invalid() {
        let busy = summary(Loop::Closed, |total| total.busy_ns = 1_900_000_000);
        assert_eq!(busy.exit_code(), EXIT_INVALID);
        assert!(busy.to_text().contains("INVALID"));
        assert_eq!(busy.to_json()["valid"], false);
    }

    #[test]
    fn one_thread_at_its_limit_makes_the_run_invalid_beside_idle_ones() {
        let one = summary(Loop::Open { rate: 500.0 }, |total| {
            total.thread_ns = 4_000_000_000;
            total.busiest_ns = 1_900_000_000;
        });
        assert_eq!(one.to_json()["generator"]["busiest_thread_percent"], 95.0);
        assert_eq!(one.exit_code(), EXIT_INVALID);
    }

    #[test]
    fn a_clock_that_jumped_is_said_and_a_wall_clock_that_was_set_is_noted() {
        let jumped = summary(Loop::Closed, |total| total.jumped_ns = 60_000_000_000);
        assert_eq!(jumped.exit_code(), EXIT_INVALID);
        assert!(jumped.to_text().contains("jumped by 60 s"), "{}", jumped.to_text());
        let mut set = summary(Loop::Closed, |_| {});
        set.outcome.wall_step_ms = -3_600_000;
        assert_eq!(set.exit_code(), 0);
        assert!(set.to_text().contains("set by -3600000 ms"), "{}", set.to_text());
        set.outcome.wall_step_ms = 20;
        assert!(!set.to_text().contains("wall clock"));
    }

    #[test]
    fn the_brokers_cpu_is_divided_only_by_what_was_moved() {
        let used = |cpu_seconds| ServerUse { cpu_seconds, resident_bytes: 5_000_000 };
        let mut run = summary(Loop::Closed, |total| total.requests = 4);
        run.outcome.server = Some((used(1.0), used(3.0)));
        assert!(run.to_json()["server"]["cpu_seconds_per_gigabyte"].is_null());
        let text = run.to_text();
        let line = "broker       2.00 CPU s, 500000.0 us CPU per request, 5 MB resident";
        assert!(text.contains(line) && !text.contains("CPU s/GB"), "{text}");
        run.outcome.total.bytes = 500_000_000;
        assert!(run.to_text().contains("2.00 CPU s, 4.000 CPU s/GB, 500000.0 us"));
    }

    #[test]
    fn a_full_disk_leaves_the_older_summary_and_no_half_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("summary.json");
        write_whole(&path, "before").unwrap();
        let beside = directory.path().join("summary.json.part");
        std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
        let run = summary(Loop::Closed, |_| {});
        let refusal = run.write_to(directory.path()).unwrap_err();
        assert!(refusal.to_string().contains("summary.json"), "{refusal}");
        assert_eq!(refusal.exit_code(), 74);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert!(!beside.exists() && directory.path().join("response.hgrm").exists());
    }

    #[test]
    fn sending_late_makes_the_run_invalid_only_when_it_matters() {
        let late = |lag_us: u64| {
            summary(Loop::Open { rate: 500.0 }, |total| {
                (0..1000).for_each(|_| total.lag.record_ns(lag_us * 1000));
            })
        };
        assert_eq!(late(90).exit_code(), 0);
        assert_eq!(late(150).exit_code(), EXIT_INVALID);
        let reason = |run: &Summary| run.invalid_reasons().concat();
        assert!(reason(&late(150)).ends_with(": try --spin"));
        let spun = Summary { command: vec!["--spin".to_owned()], ..late(150) };
        assert!(reason(&spun).ends_with("so others run on its core"), "{}", reason(&spun));
    }

    #[test]
    fn refusals_are_named_as_kafka_names_them() {
        let refused = summary(Loop::Closed, |total| {
            total.count_error(10);
            total.count_error(10);
            total.count_error(9999);
            total.unanswered = 4;
        });
        assert_eq!(refused.exit_code(), EXIT_REFUSED);
        let json = refused.to_json();
        assert_eq!(json["errors"]["MESSAGE_TOO_LARGE"], 2);
        assert_eq!(json["errors"]["error 9999"], 1);
        assert!(refused.to_text().contains("unanswered or never sent 4"));
    }
}
