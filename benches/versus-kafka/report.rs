//! Medians, spreads and ratios, as a table in Markdown.

use std::fmt;

use crate::Arguments;
use crate::measure::Sample;
use crate::rows::{Figure, RESTART_GROUPS, Row};
use crate::server::{Broker, Down};

/// From here on the generator, not the broker, may have set the figure.
const CLIENT_BUSY_MAX: f64 = 90.0;

/// Broker, generator and a kernel thread each may want to run; more is somebody else's work.
const LOAD_MAX: f64 = 3.5;

/// All samples of one broker in one row.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) broker: Broker,
    pub(crate) samples: Vec<Sample>,
}

/// One start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) broker: Broker,
    pub(crate) milliseconds: f64,
    pub(crate) resident_bytes: u64,
}

/// One start on many groups, to the answer with the last one's committed offsets.
#[derive(Debug)]
pub(crate) struct Restart {
    pub(crate) broker: Broker,
    pub(crate) down: Down,
    pub(crate) milliseconds: f64,
}

/// What the table shows.
#[derive(Debug)]
pub(crate) struct Report {
    preamble: Vec<String>,
    rows: Vec<(Row, Vec<Measured>)>,
    starts: Vec<Start>,
    restarts: Vec<Restart>,
    loaded: Vec<(Broker, u64)>,
}

impl Report {
    /// Says how figures came about; `kafka_version` when Kafka takes part.
    pub(crate) fn new(
        command: &[String],
        kafka_version: Option<String>,
        arguments: &Arguments,
    ) -> Report {
        let system = rustix::system::uname();
        let preamble = vec![
            format!("Command: `{}`", command.get(1..).unwrap_or_default().join(" ")),
            format!(
                "Box: {}, {} cores, Linux {}",
                cpu_model(),
                std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
                system.release().to_string_lossy()
            ),
            format!(
                "Apache Kafka {}: single node, its start script's JVM flags, 1 GiB heap, warmed \
                 {} s per row{}",
                kafka_version.as_deref().unwrap_or("absent"),
                arguments.warm_seconds(Broker::Kafka),
                if arguments.quick { " (--quick: too short for its compiler to finish)" } else { "" }
            ),
            format!(
                "Highwater: release build, 1 shard. Brokers on core {}, loadgen on core {}; \
                 {} repeats of {} s in alternating order, the other broker up and idle, dirty \
                 pages written back before each. Cells: median (least to most).",
                arguments.server_core,
                arguments.client_core,
                arguments.repeats,
                arguments.measured_seconds()
            ),
            "All rows but starts and rebalances are CLOSED LOOP: they show capacity; their latency \
             is that of a saturated broker (P2 alone is one request at a time; its client spins). \
             Transactions wait 20 ms, as Kafka's client does, when a broker is not ready."
                .to_owned(),
        ];
        Report {
            preamble,
            rows: Vec::new(),
            starts: Vec::new(),
            restarts: Vec::new(),
            loaded: Vec::new(),
        }
    }

    pub(crate) fn add_row(&mut self, row: &Row, measured: Vec<Measured>) {
        self.rows.push((*row, measured));
    }

    pub(crate) fn add_start(&mut self, start: Start) {
        self.starts.push(start);
    }

    pub(crate) fn add_restart(&mut self, restart: Restart) {
        self.restarts.push(restart);
    }

    /// Resident memory after all rows.
    pub(crate) fn add_loaded_memory(&mut self, broker: Broker, bytes: u64) {
        self.loaded.push((broker, bytes));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Highwater and Apache Kafka\n")?;
        for line in &self.preamble {
            writeln!(f, "* {line}")?;
        }
        writeln!(
            f,
            "\n| row | workload | Kafka | Highwater | ratio | bar | goal | p99 Kafka | p99 Highwater \
             | p99 ratio | CPU Kafka | CPU Highwater | CPU ratio | client busy | note |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (row, measured) in &self.rows {
            writeln!(f, "{}", table_line(row, measured))?;
        }
        self.write_starts(f)
    }
}

impl Report {
    fn write_starts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.starts.is_empty() {
            let of = |broker: Broker, figure: &dyn Fn(&Start) -> f64| {
                let starts = self.starts.iter().filter(|start| start.broker == broker);
                Spread::of(starts.map(figure).collect())
            };
            let line = |title: &str, unit: &str, digits, figure: &dyn Fn(&Start) -> f64| {
                let (kafka, own) = (of(Broker::Kafka, figure), of(Broker::Highwater, figure));
                format!(
                    "P17 {title}: Kafka {} {unit}, Highwater {} {unit}, ratio {}",
                    cell(kafka, digits),
                    cell(own, digits),
                    ratio_text(kafka, own, 3)
                )
            };
            writeln!(f)?;
            writeln!(
                f,
                "* {} (bar 0.1, goal 0.02)",
                line("start to first accepted record", "ms", 0, &|start| start.milliseconds)
            )?;
            writeln!(
                f,
                "* {} (bar 0.2, goal 0.1)",
                line("resident when idle", "MB", 0, &|start| megabytes(start.resident_bytes))
            )?;
        }
        for down in [Down::Killed, Down::Stopped] {
            let of = |broker: Broker| {
                let all = self.restarts.iter();
                let own = all.filter(|restart| restart.broker == broker && restart.down == down);
                Spread::of(own.map(|restart| restart.milliseconds).collect())
            };
            let (kafka, own) = (of(Broker::Kafka), of(Broker::Highwater));
            if kafka.is_some() || own.is_some() {
                writeln!(
                    f,
                    "* G4 restart {down} with {RESTART_GROUPS} groups of 4 offsets, to the last \
                     group's answer: Kafka {} ms, Highwater {} ms, ratio {} (bar under 2000 ms)",
                    cell(kafka, 0),
                    cell(own, 0),
                    ratio_text(kafka, own, 3)
                )?;
            }
        }
        for (broker, bytes) in &self.loaded {
            writeln!(f, "* P17 resident after these rows: {broker} {:.0} MB", megabytes(*bytes))?;
        }
        Ok(())
    }
}

/// Reads one figure of a sample, and its unit.
type Reading = (&'static str, fn(&Sample) -> f64);

fn readings(figure: Figure) -> (Reading, Reading) {
    let per_request: Reading = ("us/request", |sample| sample.cpu_us_per_request);
    match figure {
        Figure::RequestRate => (("requests/s", |sample| sample.requests_per_second), per_request),
        Figure::MedianLatency => (("us", |sample| sample.p50_us), per_request),
        Figure::MegabyteRate => (
            ("MB/s", |sample| sample.megabytes_per_second),
            ("s/GB", |sample| sample.cpu_seconds_per_gigabyte),
        ),
    }
}

fn table_line(row: &Row, measured: &[Measured]) -> String {
    let of = |broker: Broker, figure: fn(&Sample) -> f64| {
        let samples = measured.iter().filter(|one| one.broker == broker);
        Spread::of(samples.flat_map(|one| one.samples.iter().map(figure)).collect())
    };
    let ((unit, figure), (cpu_unit, cpu)) = readings(row.figure);
    let both = |figure| [of(Broker::Kafka, figure), of(Broker::Highwater, figure)];
    let [kafka, own] = both(figure);
    let [kafka_p99, own_p99] = both(|sample| sample.p99_us / 1e3);
    let [kafka_cpu, own_cpu] = both(cpu);
    let busy = both(|sample| sample.client_busy_percent)
        .map(|spread| spread.map_or(0.0, |spread| spread.most));
    let cells = [
        row.id.to_owned(),
        format!("{}; {}", row.title, row.durability),
        format!("{} {unit}", cell(kafka, 0)),
        format!("{} {unit}", cell(own, 0)),
        format!("**{}**", ratio_text(kafka, own, 2)),
        format!("{}x", row.bar),
        format!("{}x", row.goal),
        format!("{} ms", cell(kafka_p99, 2)),
        format!("{} ms", cell(own_p99, 2)),
        ratio_text(kafka_p99, own_p99, 2),
        format!("{} {cpu_unit}", cell(kafka_cpu, 2)),
        format!("{} {cpu_unit}", cell(own_cpu, 2)),
        ratio_text(kafka_cpu, own_cpu, 2),
        format!("{:.0} / {:.0} %", busy[0], busy[1]),
        notes(measured),
    ];
    format!("| {} |", cells.join(" | "))
}

/// What makes a row count less, or not at all.
fn notes(measured: &[Measured]) -> String {
    let most = |figure: fn(&Sample) -> f64| {
        let samples = measured.iter().flat_map(|one| &one.samples);
        samples.map(figure).fold(0.0, f64::max)
    };
    let mut notes = Vec::new();
    if most(|sample| sample.client_busy_percent) > CLIENT_BUSY_MAX {
        notes.push("CLIENT SATURATED: does not count".to_owned());
    }
    if most(|sample| sample.load) > LOAD_MAX {
        notes.push(format!(
            "BOX BUSY (load {:.0}): only the CPU columns compare",
            most(|sample| sample.load)
        ));
    }
    if most(|sample| sample.errors) > 0.0 {
        notes.push("errors".to_owned());
    }
    notes.join(", ")
}

/// Median and extremes of a few figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// `None` when there are no figures.
    fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Spread { median, least, most })
    }
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "-".to_owned(),
        Some(Spread { median, least, most }) => {
            format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
        }
    }
}

fn ratio_text(kafka: Option<Spread>, own: Option<Spread>, digits: usize) -> String {
    match (kafka, own) {
        (Some(kafka), Some(own)) if kafka.median > 0.0 => {
            format!("{:.digits$}x", own.median / kafka.median)
        }
        _ => "-".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn cpu_model() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':'])).to_owned()
}
