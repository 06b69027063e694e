//! Highwater against Apache Kafka, in one run on one machine.
//!
//! Why alternating: a machine's speed drifts with its neighbours, its page cache and its disk. Each
//! repeat measures both brokers one after the other, the next repeat in the other order, and the
//! medians are compared. The broker that is not measured stays up, idle; dirty pages of the one
//! before are written back first.
//!
//! ```text
//! cargo bench --bench versus-kafka -- --rows P1,P2,P5,P7,P9,P17 --repeats 5 [--quick]
//! cargo bench --bench versus-kafka -- --rows G --repeats 5 [--quick]
//! ```
//!
//! Apache Kafka comes from Maven Central (needs `mvn` and a Java 17 or later), into
//! `target/versus-kafka`, once. It runs with the flags that its own start script has.
#![expect(clippy::print_stdout, reason = "the table goes to standard output")]

mod failure;
mod highwater;
mod kafka;
mod measure;
mod report;
mod rows;
mod server;
mod start;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;

use crate::failure::Failure;
use crate::measure::{Loadgen, Sample};
use crate::report::{Measured, Report};
use crate::rows::{ROWS, Row, Work};
use crate::server::{Broker, Purpose, Server};
use crate::start::{measure_restarts, measure_starts};

const ROWS_BY_DEFAULT: &str = "P1,P2,P5,P7,P9,P17";

/// Compare with Apache Kafka, row by row.
#[derive(Debug, Clone, Parser)]
#[command(name = "versus-kafka")]
struct Arguments {
    /// Rows to measure, as in P1,P9; all known ones with "all".
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Measurements of each broker per row.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Shorter: Kafka is warmed for 10 s instead of 30, each measurement takes 4 s instead of 8.
    #[arg(long)]
    quick: bool,
    /// Core of the brokers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load generator.
    #[arg(long, default_value_t = 1)]
    client_core: usize,
    /// Measure only this one.
    #[arg(long, value_enum)]
    only: Option<Broker>,
    /// Apache Kafka's version; the newest 4.x by default.
    #[arg(long, default_value = "[4.0,5.0)")]
    kafka_version: String,
    /// A highwater binary that is already built.
    #[arg(long)]
    highwater: Option<PathBuf>,
    /// A loadgen binary that is already built.
    #[arg(long)]
    loadgen: Option<PathBuf>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn brokers(&self) -> Vec<Broker> {
        self.only.map_or_else(|| vec![Broker::Kafka, Broker::Highwater], |only| vec![only])
    }

    fn warm_seconds(&self, broker: Broker) -> u32 {
        match (broker, self.quick) {
            (Broker::Kafka, false) => 30,
            (Broker::Kafka, true) => 10,
            (Broker::Highwater, _) => 5,
        }
    }

    fn measured_seconds(&self) -> u32 {
        if self.quick { 4 } else { 8 }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.rows.is_empty() {
        println!(
            "versus-kafka takes minutes and both cores; to run it:\n  \
             cargo bench --bench versus-kafka -- --rows {ROWS_BY_DEFAULT} --repeats 5"
        );
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("versus-kafka: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, Failure> {
    let rows = rows::select(&arguments.rows)?;
    let folder = folder()?;
    let binaries = binaries(arguments)?;
    let loadgen = Loadgen { binary: binaries.loadgen.clone(), core: arguments.client_core };
    let needs_kafka = arguments.brokers().contains(&Broker::Kafka);
    let kafka =
        needs_kafka.then(|| kafka::install(&folder, &arguments.kafka_version)).transpose()?;
    let start = |broker: Broker, name: &str, purpose: Purpose| {
        let data = folder.join(name);
        match (broker, &kafka) {
            (Broker::Kafka, Some(kafka)) => kafka.start(&data, arguments.server_core, purpose),
            _ => highwater::start(&binaries.highwater, &data, arguments.server_core, purpose),
        }
    };
    let kafka_version = kafka.as_ref().map(|kafka| kafka.version.clone());
    let mut report = Report::new(&std::env::args().collect::<Vec<_>>(), kafka_version, arguments);
    if rows.iter().any(|row| matches!(row.work, Work::Start)) {
        measure_starts(arguments, &loadgen, &start, &mut report)?;
    }
    if let Some(row) = rows.iter().find(|row| matches!(row.work, Work::Restart)) {
        measure_restarts(arguments, &loadgen, &start, (row, &mut report))?;
    }
    for purpose in [Purpose::Records, Purpose::Groups] {
        let of_purpose = |row: &&Row| !row.is_of_starts() && row.purpose() == purpose;
        let rows: Vec<&Row> = rows.iter().filter(of_purpose).collect();
        if !rows.is_empty() {
            measure_rows(arguments, &loadgen, (&start, purpose), (&rows, &mut report))?;
        }
    }
    let text = report.to_string();
    std::fs::write(folder.join("report.md"), &text)?;
    Ok(text)
}

/// Starts both brokers, and measures `rows` with them.
fn measure_rows(
    arguments: &Arguments,
    loadgen: &Loadgen,
    (start, purpose): (&impl Fn(Broker, &str, Purpose) -> Result<Server, Failure>, Purpose),
    (rows, report): (&[&Row], &mut Report),
) -> Result<(), Failure> {
    let mut servers = Vec::new();
    for broker in arguments.brokers() {
        eprintln!("starting {broker}");
        let server = start(broker, &format!("data-{broker}"), purpose)?;
        loadgen.wait_until_ready(&server)?;
        servers.push(server);
    }
    for row in rows {
        let measured = measure_row(arguments, loadgen, &mut servers, row)?;
        report.add_row(row, measured);
        std::fs::write(folder()?.join("report.md"), report.to_string())?;
    }
    for server in &servers {
        report.add_loaded_memory(server.broker, server.resident_bytes()?);
    }
    Ok(())
}

/// Warms both brokers up with the row's own work, then measures them in turn.
fn measure_row(
    arguments: &Arguments,
    loadgen: &Loadgen,
    servers: &mut [Server],
    row: &Row,
) -> Result<Vec<Measured>, Failure> {
    for server in servers.iter() {
        eprintln!("{}: {} warms up", row.id, server.broker);
        loadgen.prepare(server, row)?;
        loadgen.run(server, row, arguments.warm_seconds(server.broker))?;
    }
    let mut samples: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for repeat in 0..arguments.repeats {
        let mut order: Vec<usize> = (0..servers.len()).collect();
        if repeat % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let sample = loadgen.run(&servers[index], row, arguments.measured_seconds())?;
            eprintln!(
                "{} {}/{} {}: {sample}",
                row.id,
                repeat + 1,
                arguments.repeats,
                servers[index].broker
            );
            samples[index].push(sample);
        }
    }
    let brokers = servers.iter().map(|server| server.broker);
    Ok(brokers.zip(samples).map(|(broker, samples)| Measured { broker, samples }).collect())
}

struct Binaries {
    loadgen: PathBuf,
    highwater: PathBuf,
}

/// Release binaries, built now: those of `cargo bench` have another panic strategy.
fn binaries(arguments: &Arguments) -> Result<Binaries, Failure> {
    let release = target_folder().join("release");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--release", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if arguments.highwater.is_none() {
        build.args(["-p", "highwater", "--bin", "highwater"]);
    }
    if arguments.loadgen.is_none() {
        build.args(["-p", "loadgen", "--bin", "loadgen"]);
    }
    if arguments.highwater.is_none() || arguments.loadgen.is_none() {
        server::expect_success(&mut build)?;
    }
    Ok(Binaries {
        loadgen: arguments.loadgen.clone().unwrap_or_else(|| release.join("loadgen")),
        highwater: arguments.highwater.clone().unwrap_or_else(|| release.join("highwater")),
    })
}

fn target_folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("target"), PathBuf::from)
}

/// Where Kafka, data directories and the report live.
fn folder() -> Result<PathBuf, Failure> {
    let folder = target_folder().join("versus-kafka");
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::canonicalize(folder)?)
}

/// Ids of all rows, for messages.
fn known_rows() -> String {
    ROWS.iter().map(|row| row.id).collect::<Vec<_>>().join(",")
}
