//! Highwater against Apache Kafka, in one run on one machine.
//!
//! Why alternating: a machine's speed drifts with its neighbours, its page cache and its disk. Each
//! repeat measures both brokers one after the other, the next repeat in the other order, and the
//! medians are compared. The broker that is not measured stays up, idle; dirty pages of the one
//! before are written back first, and its deleted files discarded.
//!
//! ```text
//! cargo bench --bench versus-kafka -- --rows P --repeats 5 --write docs/performance.md
//! cargo bench --bench versus-kafka -- --rows P3,P4,G --repeats 3 --quick
//! ```
//!
//! Invariants
//! - A row that fails is tried once more with new brokers, says why in its place when it fails
//!   again, and the rows after it are measured.
//! - What was measured is in `target/versus-kafka/report.md` after each row.
//! - Brokers end with this process, however it ends, and take their data with them.
//!
//! Apache Kafka comes from Maven Central (needs `mvn` and a Java 17 or later), into
//! `target/versus-kafka`, once. It runs with the flags that its own start script has.
#![expect(clippy::print_stdout, reason = "the tables go to standard output")]

mod bench;
mod clients;
mod cluster;
mod cores;
mod disk;
mod document;
mod failure;
mod figure;
mod highwater;
mod kafka;
mod lives;
mod loads;
mod measure;
mod reads;
mod report;
mod rows;
mod rows_clients;
mod rows_cluster;
mod rows_groups;
mod rows_lives;
mod rows_produce;
mod rows_rates;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{Bench, Measured};
use crate::failure::Failure;
use crate::measure::{Loadgen, warmup_seconds};
use crate::report::Report;
use crate::rows::{Row, Work};
use crate::server::{Broker, Purpose, Server};

/// Files and connections of a broker with ten thousand of each.
const OPEN_FILES: u64 = 65_536;

/// Compare with Apache Kafka, row by row.
#[derive(Debug, Clone, Parser)]
#[command(name = "versus-kafka")]
struct Arguments {
    /// Rows to measure, as in P1,P9a; P, G, R or C are all of their kind; "all" is all.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Measurements of each broker per row.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Shorter measurements and warm-ups, less data, fewer partitions: each row says what it had.
    #[arg(long)]
    quick: bool,
    /// Put the results into this page, between its markers, in place of the rows measured here.
    #[arg(long)]
    write: Option<PathBuf>,
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

    /// Before each row, with its own work.
    fn warm_seconds(&self, broker: Broker) -> u32 {
        match (broker, self.quick) {
            (Broker::Kafka, false) => 20,
            (Broker::Kafka, true) => 4,
            (Broker::Highwater, false) => 3,
            (Broker::Highwater, true) => 1,
        }
    }

    /// Once, when brokers were started: Kafka's compiler needs it.
    fn first_warm_seconds(&self) -> u32 {
        if self.quick { 10 } else { 30 }
    }

    /// For so long a log is read again and again.
    fn pass_seconds(&self) -> u32 {
        if self.quick { 3 } else { 8 }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.rows.is_empty() {
        println!(
            "versus-kafka takes minutes and both cores; to run it:\n  \
             cargo bench --bench versus-kafka -- --rows P --repeats 5"
        );
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(report) => {
            println!("{}", report.page());
            let failures = report.failures();
            if failures > 0 {
                eprintln!(
                    "versus-kafka: {failures} rows were not measured whole; the tables say why"
                );
            }
            ExitCode::from(u8::from(failures > 0))
        }
        Err(failure) => {
            eprintln!("versus-kafka: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let mut rows = rows::select(&arguments.rows)?;
    let seconds: u32 = rows.iter().map(|row| row.estimate(arguments)).sum();
    eprintln!("{} rows; about {} minutes on a quiet machine", rows.len(), seconds.div_ceil(60));
    // Rows that can share brokers follow each other.
    rows.sort_by_key(|row| (row.has_own_brokers(), row.purpose));
    raise_open_files();
    let folder = folder()?;
    let needs_kafka = arguments.brokers().contains(&Broker::Kafka);
    let kafka =
        needs_kafka.then(|| kafka::install(&folder, &arguments.kafka_version)).transpose()?;
    let bench = Bench { arguments, loadgen: binaries(arguments)?, kafka, folder };
    let version = bench.kafka.as_ref().map(|kafka| kafka.version.as_str());
    let mut report = Report::new(version, arguments);
    let mut session = Session { purpose: Purpose::Records, servers: Vec::new(), measured: 0 };
    for row in &rows {
        eprintln!("{}: {}", row.id, row.title);
        let measured = measure(&bench, &mut session, row).or_else(|failure| match failure {
            Failure::Skipped { .. } => Err(failure),
            failure => {
                // Brokers that were in a bad way are gone then; what fails twice is the row's.
                eprintln!("{} failed, once more with new brokers: {failure}", row.id);
                session.end();
                measure(&bench, &mut session, row)
            }
        });
        match &measured {
            Ok(Measured { failure: None, .. }) => session.measured += 1,
            Ok(Measured { failure: Some(failure), .. }) | Err(failure) => {
                eprintln!("{} FAILED, the next row follows: {failure}", row.id);
                // Whatever state it has left the brokers in is gone with them.
                session.end();
            }
        }
        report.add(row, measured);
        report.sort();
        std::fs::write(bench.folder.join("report.md"), report.page())?;
        if let Some(path) = &arguments.write {
            document::write(path, &report)?;
        }
    }
    Ok(report)
}

/// Brokers that rows share.
struct Session {
    purpose: Purpose,
    servers: Vec<Server>,
    /// Rows that they have been through.
    measured: usize,
}

impl Session {
    fn end(&mut self) {
        self.servers.clear();
        self.measured = 0;
    }

    /// Has both brokers up for `row`.
    fn prepare(&mut self, bench: &Bench<'_>, row: &Row) -> Result<(), Failure> {
        if row.has_own_brokers() || self.purpose != row.purpose {
            self.end();
        }
        if row.has_own_brokers() || !self.servers.is_empty() {
            return Ok(());
        }
        self.servers = bench.start_all(row.purpose)?;
        self.purpose = row.purpose;
        // Its records have no keys: a topic that compacts would refuse them.
        let warming = match row.purpose.nodes() {
            1 => Row { work: Work::Load(rows_produce::BATCHES), both: &[], ..*row },
            _ => Row { work: Work::Load(rows_cluster::REPLICATED), ..*row },
        };
        for server in self.servers.iter().filter(|server| server.broker == Broker::Kafka) {
            eprintln!("{} warms up", server.broker);
            bench.loadgen.run(server, &warming, bench.arguments.first_warm_seconds())?;
        }
        Ok(())
    }
}

fn measure(bench: &Bench<'_>, session: &mut Session, row: &Row) -> Result<Measured, Failure> {
    if matches!(row.work, Work::Memory) && session.measured == 0 {
        let reason = "memory after other rows: name them too, as in --rows P1,P9,P17".to_owned();
        return Err(Failure::Skipped { reason });
    }
    session.prepare(bench, row)?;
    bench.wait_for_room(row)?;
    match row.work {
        Work::Load(_) | Work::Rebalance(_) => loads::measure(bench, &session.servers, row),
        Work::Read(_) => reads::measure(bench, &mut session.servers, row),
        Work::Memory => lives::measure_memory(&session.servers),
        Work::Start => lives::measure_starts(bench, row),
        Work::Groups(down) => lives::measure_groups(bench, row, down),
        Work::Crash { partitions } => lives::measure_crashes(bench, row, partitions),
        Work::Cores(_) => cores::measure(bench, row),
        Work::Crowd => lives::measure_crowd(bench, row),
        Work::Half { closed, open } => {
            loads::measure_half(bench, &session.servers, row, (closed, open))
        }
        Work::Kcat(way) => clients::measure(bench, &session.servers, row, way),
        Work::Failover { partitions } => cluster::measure_failovers(bench, row, partitions),
    }
}

/// As far as this user may; a broker that runs out of files says so in its row.
fn raise_open_files() {
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map(|most| most.max(OPEN_FILES));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    if raised.is_err() {
        // The soft limit may be raised to the hard one by everybody.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now });
    }
}

/// Release binaries, built now: those of `cargo bench` have another panic strategy.
fn binaries(arguments: &Arguments) -> Result<Loadgen, Failure> {
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
    Ok(Loadgen {
        binary: arguments.loadgen.clone().unwrap_or_else(|| release.join("loadgen")),
        highwater: arguments.highwater.clone().unwrap_or_else(|| release.join("highwater")),
        core: arguments.client_core,
        warmup_seconds: warmup_seconds(arguments),
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
