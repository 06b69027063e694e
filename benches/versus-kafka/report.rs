//! Medians, spreads and ratios, as a table in Markdown.

use std::fmt;

use crate::Arguments;
use crate::measure::Sample;
use crate::rows::{Figure, Row};
use crate::server::Broker;

/// From here on the generator, not the broker, may have set the figure.
const CLIENT_BUSY_MAX: f64 = 90.0;

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

/// What the table shows.
#[derive(Debug)]
pub(crate) struct Report {
    preamble: Vec<String>,
    rows: Vec<(Row, Vec<Measured>)>,
    starts: Vec<Start>,
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
            "Produce and fetch rows are CLOSED LOOP: they show capacity; their latency is that of a \
             saturated broker (P2 alone is one request at a time; its client spins)."
                .to_owned(),
        ];
        Report { preamble, rows: Vec::new(), starts: Vec::new(), loaded: Vec::new() }
    }

    pub(crate) fn add_row(&mut self, row: &Row, measured: Vec<Measured>) {
        self.rows.push((*row, measured));
    }

    pub(crate) fn add_start(&mut self, start: Start) {
        self.starts.push(start);
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
             | CPU Kafka | CPU Highwater | client busy | note |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
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
        for (broker, bytes) in &self.loaded {
            writeln!(f, "* P17 resident after these rows: {broker} {:.0} MB", megabytes(*bytes))?;
        }
        Ok(())
    }
}

fn table_line(row: &Row, measured: &[Measured]) -> String {
    let of = |broker: Broker, figure: &dyn Fn(&Sample) -> f64| {
        let samples = measured.iter().filter(|one| one.broker == broker);
        Spread::of(samples.flat_map(|one| one.samples.iter().map(figure)).collect())
    };
    let (unit, figure): (&str, &dyn Fn(&Sample) -> f64) = match row.figure {
        Figure::RequestRate => ("requests/s", &|sample| sample.requests_per_second),
        Figure::MegabyteRate => ("MB/s", &|sample| sample.megabytes_per_second),
        Figure::MedianLatency => ("us", &|sample| sample.p50_us),
    };
    let cpu: &dyn Fn(&Sample) -> f64 = match row.figure {
        Figure::MegabyteRate => &|sample| sample.cpu_seconds_per_gigabyte,
        Figure::RequestRate | Figure::MedianLatency => &|sample| sample.cpu_us_per_request,
    };
    let cpu_unit = match row.figure {
        Figure::MegabyteRate => "s/GB",
        Figure::RequestRate | Figure::MedianLatency => "us/request",
    };
    let both = [Broker::Kafka, Broker::Highwater];
    let [kafka, own] = both.map(|broker| of(broker, figure));
    let [kafka_p99, own_p99] = both.map(|broker| of(broker, &|sample| sample.p99_us / 1e3));
    let [kafka_cpu, own_cpu] = both.map(|broker| of(broker, cpu));
    let busy = both.map(|broker| of(broker, &|sample| sample.client_busy_percent));
    let errors = both.map(|broker| of(broker, &|sample| sample.errors));
    format!(
        "| {} | {}; {} | {} {unit} | {} {unit} | **{}** | {} | {} | {} ms | {} ms | {} {cpu_unit} | {} \
         {cpu_unit} | {:.0} / {:.0} % | {} |",
        row.id,
        row.title,
        row.durability,
        cell(kafka, 0),
        cell(own, 0),
        ratio_text(kafka, own, 2),
        row.bar,
        row.goal,
        cell(kafka_p99, 2),
        cell(own_p99, 2),
        cell(kafka_cpu, 2),
        cell(own_cpu, 2),
        busy[0].map_or(0.0, |spread| spread.most),
        busy[1].map_or(0.0, |spread| spread.most),
        note(busy, errors)
    )
}

fn note(busy: [Option<Spread>; 2], errors: [Option<Spread>; 2]) -> String {
    let mut notes = Vec::new();
    if busy.iter().flatten().any(|spread| spread.most > CLIENT_BUSY_MAX) {
        notes.push("CLIENT SATURATED: does not count");
    }
    if errors.iter().flatten().any(|spread| spread.most > 0.0) {
        notes.push("errors");
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
