//! A capacity plan as a sweep found it: a table for people, JSON and CSV for programs.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::capacity_plan::{
    CORE_BUSY_MAX, Headroom, Point, Source, cores_for, curve, free_bytes, knee, response_at,
};
use crate::failure::Failure;
use crate::objective::rate_text;
use crate::progress::duration;
use crate::resources::Used;
use crate::summary::{pretty, write_whole};

/// 2: a plan with knee, latencies below the maximum, cores, room on the disk and environment.
pub(crate) const SCHEMA: &str = "highwater-loadgen-capacity/2";
/// The winner runs so many times.
pub(crate) const REPEATS: usize = 3;
/// A plan leaves room: for a lost broker, catching up, and growth.
const SHARES: [f64; 3] = [0.5, 0.7, 0.9];

/// One rate, tried once.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) offered: f64,
    pub(crate) achieved: f64,
    /// Of batches as they are stored.
    pub(crate) bytes_per_second: f64,
    /// p50, p99 and p99.9 of the response, in microseconds.
    pub(crate) response_us: [u64; 3],
    /// What did not hold; empty for a step that held.
    pub(crate) broken: Vec<String>,
    /// It broke, and the same rate held when it was tried again: it counts for nothing.
    pub(crate) is_outdone: bool,
    /// Why the latencies of a step that held are in part the generator's.
    pub(crate) note: Option<String>,
    /// The latencies are the generator's, or in part.
    pub(crate) is_invalid: bool,
    pub(crate) used: Used,
}

/// A finished sweep.
#[derive(Debug)]
pub(crate) struct Capacity {
    pub(crate) objective: String,
    pub(crate) steps: Vec<Step>,
    /// Records per second; `None` when no rate held.
    pub(crate) max_rate: Option<f64>,
    /// `--target` in records per second.
    pub(crate) target: Option<f64>,
    /// `--retention` in seconds.
    pub(crate) retention_seconds: Option<f64>,
    /// What the brokers told of themselves, after the last step.
    pub(crate) cluster: Map<String, Value>,
    pub(crate) environment: Value,
    /// What ended the sweep early.
    pub(crate) failure: Option<Failure>,
}

/// Cores for the target, and how many of them would be at work.
type Cores = (f64, f64);

/// A part of the maximum, and the latencies there; `None` where nothing was measured.
#[derive(Debug)]
struct Share {
    share: f64,
    rate: f64,
    response: Option<(Point, Source)>,
}

impl Capacity {
    /// Steps whose latencies are the broker's.
    fn points(&self) -> Vec<Point> {
        let valid = self.steps.iter().filter(|step| !step.is_invalid && !step.is_outdone);
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a response")]
        let point = |step: &Step| Point {
            rate: step.offered,
            response_us: step.response_us.map(|us| us as f64),
        };
        curve(valid.map(point))
    }

    /// The repeats of the winner: a sweep that found one ends with them.
    fn winners(&self) -> &[Step] {
        match self.max_rate {
            Some(_) => &self.steps[self.steps.len().saturating_sub(REPEATS)..],
            None => &[],
        }
    }

    /// `None` when not asked for.
    fn cores(&self) -> Option<Result<Cores, &'static str>> {
        let target = self.target?;
        let per_rate = self.winners().iter().map(|step| {
            step.used
                .broker_cores
                .map(|cores| cores / step.achieved)
                .ok_or("--server-pid is not given")
        });
        // Of the repeats the one that cost the most.
        let dearest = per_rate.reduce(|left, right| Ok(left?.max(right?)));
        Some(dearest.unwrap_or(Err("no rate held")).map(|cores| cores_for(target, 1.0, cores)))
    }

    /// `None` when not asked for.
    fn headroom(&self) -> Option<Result<Headroom, String>> {
        let retention_seconds = self.retention_seconds?;
        let (Some(rate), Some(step)) = (self.max_rate, self.winners().first()) else {
            return Some(Err("no rate held".to_owned()));
        };
        let bytes_per_second = rate * step.bytes_per_second / step.achieved;
        let room = |free_bytes| Headroom { bytes_per_second, retention_seconds, free_bytes };
        Some(free_bytes(&self.cluster).map(room))
    }

    fn shares(&self) -> Vec<Share> {
        let points = self.points();
        let Some(max_rate) = self.max_rate else {
            return Vec::new();
        };
        let share = |share: f64| {
            let rate = share * max_rate;
            Share { share, rate, response: response_at(&points, rate) }
        };
        SHARES.map(share).into()
    }

    /// `capacity.json`, and the steps as a table in `capacity.csv`.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<(), Failure> {
        fs::create_dir_all(directory)
            .map_err(|source| Failure::Output { path: directory.to_owned(), source })?;
        let mut csv = String::from(
            "offered_records_per_second,records_per_second,p50_us,p99_us,p99_9_us,holds,valid\n",
        );
        for step in &self.steps {
            let [p50, p99, p99_9] = step.response_us;
            let (offered, achieved, holds) = (step.offered, step.achieved, step.broken.is_empty());
            let valid = !step.is_invalid;
            writeln!(csv, "{offered:.1},{achieved:.1},{p50},{p99},{p99_9},{holds},{valid}")
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
        match self.max_rate {
            None if self.failure.is_some() => text.push_str("PARTIAL: the sweep ended early\n"),
            None => text.push_str(&format!("no rate held {}\n", self.objective)),
            Some(rate) => text.push_str(&format!(
                "maximum      {} holds {} (lowest of {REPEATS})\n",
                rate_text(rate),
                self.objective
            )),
        }
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<12} {value}").expect("writing to a string");
        };
        line("limited by", limiting(&self.steps).to_owned());
        line("knee", self.knee_text());
        for Share { share, rate, response } in self.shares() {
            let name = format!("at {:.0} %", share * 100.0);
            line(&name, format!("{}  {}", rate_text(rate), response_text(response)));
        }
        if let Some(cores) = self.cores() {
            line("cores", self.cores_text(cores));
        }
        if let Some(headroom) = self.headroom() {
            line("disk", headroom_text(headroom));
        }
        text
    }

    fn knee_text(&self) -> String {
        match knee(&self.points()) {
            Ok(point) => {
                let p99 = duration(whole(point.response_us[1]));
                format!("{} (p99 {p99}): p99 rises steeply beyond", rate_text(point.rate))
            }
            Err(reason) => format!("none: {reason}"),
        }
    }

    fn cores_text(&self, cores: Result<Cores, &'static str>) -> String {
        let target = rate_text(self.target.unwrap_or_default());
        match cores {
            Ok((cores, busy)) => format!(
                "{cores:.0} of this kind for {target}: {busy:.2} at work, each {:.0} % at most",
                CORE_BUSY_MAX * 100.0
            ),
            Err(reason) => format!("not known for {target}: {reason}"),
        }
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        let (knee, knee_absent) = split(knee(&self.points()).map(|point| {
            json!({
                "records_per_second": point.rate,
                "p99_us": point.response_us[1],
                "method": "kneedle",
                "rates_measured": self.points().len(),
            })
        }));
        let (cores, cores_absent) = split(self.cores().transpose().map(|cores| {
            cores.map(|(cores, busy)| {
                json!({
                    "target_records_per_second": self.target,
                    "cores": cores,
                    "cores_at_work": busy,
                    "core_busy_percent_max": CORE_BUSY_MAX * 100.0,
                })
            })
        }));
        let (disk, disk_absent) = split(self.headroom().transpose().map(|headroom| {
            headroom.map(|room| {
                json!({
                    "bytes_per_second": room.bytes_per_second,
                    "retention_seconds": room.retention_seconds,
                    "needed_bytes": room.needed_bytes(),
                    "free_bytes": room.free_bytes,
                    "days_until_full": room.days_until_full(),
                    "is_enough": room.is_enough(),
                })
            })
        }));
        json!({
            "schema": SCHEMA,
            "mode": "sweep",
            "loop": "open",
            "objective": self.objective,
            "max_records_per_second": self.max_rate,
            "limited_by": limiting(&self.steps),
            "knee": knee,
            "knee_absent": knee_absent,
            "below_maximum": self.shares().into_iter().map(share_json).collect::<Vec<Value>>(),
            "suggested_cores": cores,
            "suggested_cores_absent": cores_absent,
            "disk": disk,
            "disk_absent": disk_absent,
            "failure": self.failure.as_ref().map(ToString::to_string),
            "repeats": REPEATS,
            "steps": self.steps.iter().map(step_json).collect::<Vec<Value>>(),
            "environment": self.environment,
        })
    }
}

/// A figure, or why it is absent.
fn split<T, E>(told: Result<T, E>) -> (Option<T>, Option<E>) {
    match told {
        Ok(figure) => (Some(figure), None),
        Err(reason) => (None, Some(reason)),
    }
}

/// What the lowest rate that broke was short of.
fn limiting(steps: &[Step]) -> &'static str {
    let broken = steps.iter().filter(|step| !step.broken.is_empty() && !step.is_outdone);
    let lowest = broken.min_by(|left, right| left.offered.total_cmp(&right.offered));
    match lowest {
        Some(step) if step.broken.iter().all(|fault| fault.starts_with("INVALID")) => "client",
        Some(step) => step.used.limit(),
        None => "none: the objective held at the highest rate that was tried",
    }
}

/// A step as a line of the table.
pub(crate) fn step_line(step: &Step) -> String {
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
        match &step.note {
            Some(note) => format!("holds, latencies INVALID: {note}"),
            None if step.broken.is_empty() => "holds".to_owned(),
            None if step.is_outdone => format!("held when tried again: {}", step.broken.join("; ")),
            None => step.broken.join("; "),
        }
    )
}

fn step_json(step: &Step) -> Value {
    let [p50, p99, p99_9] = step.response_us;
    json!({
        "offered_records_per_second": step.offered,
        "records_per_second": step.achieved,
        "bytes_per_second": step.bytes_per_second,
        "p50_us": p50,
        "p99_us": p99,
        "p99_9_us": p99_9,
        "holds": step.broken.is_empty(),
        "valid": !step.is_invalid,
        "broken": step.broken,
        "outdone": step.is_outdone,
        "note": step.note,
        "broker_core_percent": step.used.broker_core,
        "broker_cores_at_work": step.used.broker_cores,
        "disk_percent": step.used.disk,
        "client_percent": step.used.client,
    })
}

fn share_json(Share { share, rate, response }: Share) -> Value {
    let latency = |index: usize| response.map(|(point, _)| point.response_us[index]);
    json!({
        "share": share,
        "records_per_second": rate,
        "p50_us": latency(0),
        "p99_us": latency(1),
        "p99_9_us": latency(2),
        "source": response.map(|(_, source)| source.name()),
    })
}

fn response_text(response: Option<(Point, Source)>) -> String {
    let Some((point, source)) = response else {
        return "latency not measured: no valid step was as low (a lower --from, --spin)"
            .to_owned();
    };
    let [p50, p99, p99_9] = point.response_us.map(|us| duration(whole(us)));
    format!("p50 {p50}  p99 {p99}  p99.9 {p99_9}  ({})", source.name())
}

fn headroom_text(headroom: Result<Headroom, String>) -> String {
    match headroom {
        Ok(room) => format!(
            "{:.1} MB/s, so {:.1} GB for {:.1} days of retention; {:.1} GB are free: {}",
            room.bytes_per_second / 1e6,
            room.needed_bytes() / 1e9,
            room.retention_seconds / 86_400.0,
            room.free_bytes / 1e9,
            match room.is_enough() {
                true => "enough".to_owned(),
                false => format!("full after {:.1} days", room.days_until_full()),
            }
        ),
        Err(reason) => format!("not known: {reason}"),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds, of a line between two measured ones"
)]
fn whole(us: f64) -> u64 {
    us.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(offered: f64, p99: u64, broken: &[&str]) -> Step {
        let broker_cores = Some(offered / 100_000.0);
        Step {
            offered,
            achieved: offered,
            bytes_per_second: offered * 100.0,
            response_us: [p99 / 2, p99, p99 * 2],
            broken: broken.iter().map(|fault| (*fault).to_owned()).collect(),
            is_outdone: false,
            note: None,
            is_invalid: broken.iter().any(|fault| fault.starts_with("INVALID")),
            used: Used { broker_core: Some(90.0), broker_cores, disk: 5.0, client: 20.0 },
        }
    }

    fn capacity(steps: Vec<Step>) -> Capacity {
        let cluster = json!({
            "brokers": [{ "log_dirs": [{ "is_local": true, "free_bytes": 864_000_000_000_u64 }] }],
        });
        Capacity {
            objective: "p99<5ms".to_owned(),
            steps,
            max_rate: Some(50_000.0),
            target: Some(210_000.0),
            retention_seconds: Some(7.0 * 86_400.0),
            cluster: cluster.as_object().unwrap().clone(),
            environment: Value::Null,
            failure: None,
        }
    }

    fn swept() -> Capacity {
        let slow = &["first half: p99 400 ms (< 5 ms)"];
        let mut steps = vec![
            step(20_000.0, 1000, &[]),
            step(30_000.0, 1200, &[]),
            step(45_000.0, 2000, &[]),
            step(67_500.0, 400_000, slow),
            step(56_250.0, 90_000, slow),
            // The generator's own latency is in no curve.
            step(51_000.0, 900_000, &["INVALID: the generator was busy"]),
        ];
        steps.extend([3000, 3500, 3200].map(|p99| step(50_000.0, p99, &[])));
        capacity(steps)
    }

    #[test]
    fn a_plan_has_the_knee_latencies_below_cores_and_days() {
        let plan = swept();
        let json = plan.to_json();
        assert_eq!(json["schema"], "highwater-loadgen-capacity/2");
        assert_eq!(json["knee"]["records_per_second"], 50_000.0);
        assert_eq!(
            (&json["knee"]["p99_us"], &json["knee"]["rates_measured"]),
            (&json!(3500.0), &json!(6))
        );
        let below = &json["below_maximum"];
        assert_eq!(
            (&below[0]["p99_us"], &below[0]["source"]),
            (&json!(1100.0), &json!("interpolated"))
        );
        assert_eq!(
            (&below[2]["p99_us"], &below[2]["source"]),
            (&json!(2000.0), &json!("measured"))
        );
        // 2.1 cores at work.
        assert_eq!(json["suggested_cores"]["cores"], 3.0);
        assert_eq!(json["disk"]["days_until_full"], 2.0);
        assert_eq!(json["disk"]["is_enough"], false);
        assert!(json["disk_absent"].is_null() && json["knee_absent"].is_null());
        let text = plan.to_text();
        for line in [
            "maximum      50.0k/s holds p99<5ms (lowest of 3)",
            "knee         50.0k/s (p99 3.50 ms)",
            "at 90 %      45.0k/s  p50 1.00 ms  p99 2.00 ms  p99.9 4.00 ms  (measured)",
            "cores        3 of this kind for 210.0k/s: 2.10 at work, each 70 % at most",
            "disk         5.0 MB/s, so 3024.0 GB for 7.0 days of retention; 864.0 GB are free: full after 2.0 days",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_step_that_held_though_late_counts_for_the_rate_and_not_for_latencies() {
        let mut late = step(50_000.0, 3000, &[]);
        (late.note, late.is_invalid) = (Some("sent late".to_owned()), true);
        assert!(step_line(&late).ends_with("holds, latencies INVALID: sent late"));
        let json = step_json(&late);
        assert_eq!((&json["holds"], &json["valid"]), (&json!(true), &json!(false)));
        assert_eq!(json["note"], "sent late");
        let plan = capacity(vec![late]);
        assert!(plan.points().is_empty());
        assert!(plan.to_text().contains("maximum      50.0k/s holds"));
        assert!(plan.to_text().contains("no valid step was as low"));
    }

    #[test]
    fn a_step_that_held_when_it_was_tried_again_is_no_limit_and_in_no_curve() {
        let slow = &["second half: p99 400 ms (< 5 ms)"];
        let mut steps = vec![step(10_000.0, 400_000, slow), step(10_000.0, 900, &[])];
        steps.push(step(67_500.0, 400_000, slow));
        steps[0].used.broker_core = Some(10.0);
        assert_eq!(limiting(&steps), steps[0].used.limit());
        steps[0].is_outdone = true;
        assert_eq!(limiting(&steps), steps[2].used.limit());
        assert_ne!(steps[0].used.limit(), steps[2].used.limit());
        let plan = capacity(steps);
        assert_eq!(plan.points()[0].response_us[1], 900.0);
        assert!(plan.to_text().contains("held when tried again: second half: p99 400 ms"));
        assert_eq!(plan.to_json()["steps"][0]["outdone"], true);
    }

    #[test]
    fn what_was_not_asked_for_is_absent_and_what_is_not_known_says_why() {
        let mut plan = swept();
        (plan.target, plan.retention_seconds) = (None, None);
        let json = plan.to_json();
        for field in ["suggested_cores", "suggested_cores_absent", "disk", "disk_absent"] {
            assert!(json[field].is_null(), "{field}");
        }
        let mut plan = capacity(vec![step(50_000.0, 3000, &[])]);
        plan.cluster.clear();
        plan.steps[0].used.broker_cores = None;
        let json = plan.to_json();
        assert!(json["knee"].is_null());
        assert_eq!(json["knee_absent"], "1 rates were measured, 5 are needed");
        assert_eq!(json["suggested_cores_absent"], "--server-pid is not given");
        assert_eq!(json["disk_absent"], "the brokers were not asked");
        assert!(json["below_maximum"][0]["source"].is_null());
        assert!(plan.to_text().contains("at 50 %      25.0k/s  latency not measured"));
        plan.max_rate = None;
        let json = plan.to_json();
        assert_eq!(json["disk_absent"], "no rate held");
        assert_eq!(json["suggested_cores_absent"], "no rate held");
        assert_eq!(json["below_maximum"], json!([]));
    }
}
