//! Two tables in Markdown: each row's figures against their bars, and what stands beside them.

use std::fmt::Write;

use crate::Arguments;
use crate::bench::Measured;
use crate::failure::Failure;
use crate::figure::{Bound, Figure, Judged, Sample, Spread};
use crate::rows::{self, Row};
use crate::server::Broker;

/// Broker, generator and a kernel thread each may want to run; more is somebody else's work.
const LOAD_MAX: f64 = 3.5;

/// A generator that was as busy set the figure itself.
const CLIENT_BUSY_MAX: f64 = 90.0;

pub(crate) const VERDICT_HEAD: &str = "\
| row | workload | figure | Kafka | Highwater | ratio | bar | goal | result | date |
|---|---|---|---|---|---|---|---|---|---|";

pub(crate) const DETAIL_HEAD: &str = "\
| row | p50, p99, p99.9 Kafka | Highwater | CPU Kafka | CPU Highwater | ratio | resident Kafka | \
Highwater | client busy | durability, notes |
|---|---|---|---|---|---|---|---|---|---|";

/// What was measured so far, in the order of the rows.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) preamble: Vec<String>,
    date: String,
    rows: Vec<(Row, Result<Measured, Failure>)>,
}

impl Report {
    /// Says how figures came about; `kafka_version` when Kafka takes part.
    pub(crate) fn new(kafka_version: Option<&str>, arguments: &Arguments) -> Report {
        let system = rustix::system::uname();
        let command: Vec<String> =
            std::env::args().skip(1).filter(|word| word != "--bench").collect();
        let preamble = vec![
            format!("`cargo bench --bench versus-kafka -- {}`", command.join(" ")),
            format!(
                "Box: {}, {} cores, Linux {}, {}; brokers on core {}, loadgen on core {}.",
                cpu_model(),
                std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
                system.release().to_string_lossy(),
                memory(),
                arguments.server_core,
                arguments.client_core,
            ),
            format!(
                "Apache Kafka {}: one node (rows R: three, all on the brokers' core, as are \
                 Highwater's three), its start script's JVM flags, 1 GiB heap, warmed {} s when it \
                 starts and {} s for each row.",
                kafka_version.unwrap_or("absent"),
                arguments.first_warm_seconds(),
                arguments.warm_seconds(Broker::Kafka),
            ),
            format!(
                "{} repeats in alternating order, the other broker up and idle, dirty pages \
                 written back and the disk at rest before each. Cells: median (least to most). \
                 Rows without a rate are closed loops: they show capacity, and their latency is \
                 that of a saturated broker.",
                arguments.repeats
            ),
        ];
        Report { preamble, date: today(), rows: Vec::new() }
    }

    /// Adds a row, or why there is none.
    pub(crate) fn add(&mut self, row: &Row, measured: Result<Measured, Failure>) {
        self.rows.push((*row, measured));
    }

    /// Brings rows into the order of the tables: they are measured in another.
    pub(crate) fn sort(&mut self) {
        let ids: Vec<&str> = rows::all().iter().map(|row| row.id).collect();
        self.rows.sort_by_key(|(row, _)| ids.iter().position(|id| *id == row.id));
    }

    /// Rows that were not measured whole.
    pub(crate) fn failures(&self) -> usize {
        let is_failed = |measured: &Result<Measured, Failure>| {
            measured.as_ref().map_or(true, |measured| measured.failure.is_some())
        };
        self.rows.iter().filter(|(_, measured)| is_failed(measured)).count()
    }

    /// Lines of the first table, each with its row's id.
    pub(crate) fn verdicts(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for (row, measured) in &self.rows {
            match measured {
                Ok(measured) => {
                    let judged = row.judged.iter();
                    lines
                        .extend(judged.map(|judged| (row.id, self.verdict(row, measured, judged))));
                }
                Err(failure) => {
                    let reason = one_line(failure);
                    let line = format!(
                        "| {} | {} | | | | | | | NOT MEASURED: {reason} | {} |",
                        row.id, row.title, self.date
                    );
                    lines.push((row.id, line));
                }
            }
        }
        lines
    }

    fn verdict(&self, row: &Row, measured: &Measured, judged: &Judged) -> String {
        let [kafka, own] =
            sides(measured).map(|samples| Spread::of_figure(&samples, judged.figure));
        let show = |spread: Option<Spread>| {
            spread.map_or("-".to_owned(), |spread| spread.show(judged.figure))
        };
        let bound = |bound: Option<Bound>| {
            bound.map_or("-".to_owned(), |bound| match bound {
                Bound::Ratio(_) => bound.to_string(),
                Bound::Own(value) => judged.figure.show(value),
            })
        };
        let ratio = ratio(kafka, own).map_or("-".to_owned(), |ratio| format!("{ratio:.3}x"));
        let cells = [
            row.id.to_owned(),
            row.title.to_owned(),
            judged.figure.label().0.to_owned(),
            show(kafka),
            show(own),
            ratio,
            bound(judged.bar),
            bound(judged.goal),
            result(measured, judged),
            self.date.clone(),
        ];
        format!("| {} |", cells.join(" | "))
    }

    /// Lines of the second table, each with its row's id.
    pub(crate) fn details(&self) -> Vec<(&'static str, String)> {
        let measured = self.rows.iter();
        let measured = measured.filter_map(|(row, measured)| Some((row, measured.as_ref().ok()?)));
        measured.map(|(row, measured)| (row.id, detail(row, measured))).collect()
    }

    /// The whole as a page of its own.
    pub(crate) fn page(&self) -> String {
        let mut text = "# Highwater and Apache Kafka\n\n".to_owned();
        for line in &self.preamble {
            writeln!(text, "* {line}").expect("writing to a string");
        }
        for (head, lines) in [(VERDICT_HEAD, self.verdicts()), (DETAIL_HEAD, self.details())] {
            writeln!(text, "\n{head}").expect("writing to a string");
            for (_, line) in lines {
                writeln!(text, "{line}").expect("writing to a string");
            }
        }
        text
    }
}

/// Kafka's samples, then ours.
fn sides(measured: &Measured) -> [Vec<Sample>; 2] {
    [Broker::Kafka, Broker::Highwater].map(|broker| measured.of(broker))
}

fn ratio(kafka: Option<Spread>, own: Option<Spread>) -> Option<f64> {
    let (kafka, own) = (kafka?.median, own?.median);
    (kafka > 0.0).then(|| own / kafka)
}

/// Whether the figure reaches its bar; and when the generator was at its end, that it does not
/// count: what a faster generator would show is then at least as good where more is better.
fn result(measured: &Measured, judged: &Judged) -> String {
    let sides = sides(measured);
    let [kafka, own] = [0, 1].map(|side: usize| Spread::of_figure(&sides[side], judged.figure));
    let reaches = |bound: Bound| {
        let (value, limit) = match bound {
            Bound::Own(limit) => (own?.median, limit),
            Bound::Ratio(limit) => (ratio(kafka, own)?, limit),
        };
        Some(if judged.figure.is_more_better() { value >= limit } else { value <= limit })
    };
    let is_saturated = sides[1].iter().any(is_saturated);
    let result = match (judged.bar.and_then(reaches), judged.goal.and_then(reaches)) {
        (None, _) => return if judged.bar.is_some() { "no pair" } else { "-" }.to_owned(),
        (Some(true), Some(true)) => "met, and the goal",
        (Some(true), _) => "met",
        (Some(false), _) => "missed",
    };
    if is_saturated {
        let bound = if judged.figure.is_more_better() { " as a lower bound" } else { "" };
        return format!("client saturated, does not count ({result}{bound})");
    }
    format!("**{result}**")
}

fn is_saturated(sample: &Sample) -> bool {
    sample.invalid.is_some()
        || sample.get(Figure::ClientBusy).is_some_and(|busy| busy > CLIENT_BUSY_MAX)
}

fn detail(row: &Row, measured: &Measured) -> String {
    let [kafka, own] = sides(measured);
    let median = |samples: &[Sample], figure| {
        Spread::of_figure(samples, figure).map(|spread: Spread| figure.show(spread.median))
    };
    let tail = |samples: &[Sample]| {
        let parts = [Figure::P50, Figure::P99, Figure::P999];
        let parts: Vec<String> =
            parts.iter().filter_map(|figure| median(samples, *figure)).collect();
        if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
    };
    let by_bytes = row.judged.iter().any(|judged| judged.figure == Figure::MegabyteRate);
    let (cpu, of) = if by_bytes {
        (Figure::CpuPerGigabyte, "/GB")
    } else {
        (Figure::CpuPerRequest, " a request")
    };
    let cpu_of = |samples: &[Sample]| {
        median(samples, cpu).map_or("-".to_owned(), |text| format!("{text}{of}"))
    };
    let spread = |samples: &[Sample]| Spread::of_figure(samples, cpu);
    let memory =
        |samples: &[Sample]| median(samples, Figure::Resident).unwrap_or_else(|| "-".to_owned());
    let busy = |samples: &[Sample]| {
        let busy = Spread::of_figure(samples, Figure::ClientBusy);
        busy.map_or("-".to_owned(), |busy| format!("{:.0} %", busy.most))
    };
    let cells = [
        row.id.to_owned(),
        tail(&kafka),
        tail(&own),
        cpu_of(&kafka),
        cpu_of(&own),
        ratio(spread(&kafka), spread(&own)).map_or("-".to_owned(), |ratio| format!("{ratio:.2}x")),
        memory(&kafka),
        memory(&own),
        format!("{} / {}", busy(&kafka), busy(&own)),
        notes(row, measured),
    ];
    format!("| {} |", cells.join(" | "))
}

/// What an acknowledgement meant, and what makes a row count less or not at all.
fn notes(row: &Row, measured: &Measured) -> String {
    let mut notes = vec![row.durability.to_owned()];
    notes.extend(measured.remark.clone());
    let most = |figure| {
        let values = measured.samples.iter().filter_map(|(_, sample)| sample.get(figure));
        values.fold(0.0, f64::max)
    };
    for broker in [Broker::Kafka, Broker::Highwater] {
        let samples = measured.of(broker);
        if let Some(invalid) = samples.iter().find_map(|sample| sample.invalid.clone()) {
            notes.push(format!("{broker} INVALID: {invalid}"));
        } else if samples.iter().any(is_saturated) {
            notes.push(format!("{broker} CLIENT SATURATED"));
        }
        let refused = samples.iter().find_map(|sample| sample.refused.clone());
        notes.extend(refused.map(|refused| format!("{broker} ERRORS: {refused}")));
    }
    if most(Figure::Load) > LOAD_MAX {
        notes.push(format!("BOX BUSY (load {:.0})", most(Figure::Load)));
    }
    if let Some(failure) = &measured.failure {
        notes.push(format!("PARTIAL: {}", one_line(failure)));
    }
    notes.join("; ")
}

/// A failure for a cell: the first lines, without what Markdown would take for a column.
fn one_line(failure: &Failure) -> String {
    let text = failure.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "/").chars().take(300).collect()
}

fn cpu_model() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':'])).to_owned()
}

fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.map_or("unknown memory".to_owned(), |kibibytes| {
        format!("{} GiB of memory", kibibytes.div_ceil(1024 * 1024))
    })
}

/// The day, as in 2026-11-21.
fn today() -> String {
    let output = std::process::Command::new("date").arg("+%Y-%m-%d").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
