//! Verification: writes numbered records while brokers may come and go, reads them along and once
//! more at the end, and says what was lost, doubled, reordered or damaged.
//!
//! Fatal: an acknowledged record that is not there, a record that a consumer was shown and that is
//! gone, another order within a partition, damage, a sequence that was never sent; and with
//! `--idempotent` a duplicate. Not fatal: a record that is there without having been acknowledged.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::broker_facts::describe_cluster;
use crate::cli::VerifyArgs;
use crate::clock::{SECOND_NS, now_ns};
use crate::environment::{CoreTime, RunFacts, environment, steal_since};
use crate::failure::Failure;
use crate::interval::{Latencies, to_f64};
use crate::ledger::{RECORD_BYTES_MIN, Settled};
use crate::schedule::Random;
use crate::second::percentile_text;
use crate::summary::{latencies_json, latencies_text, write_file, write_whole};
use crate::topic::{NewTopic, Topic};
use crate::verify_producer::{ProducerReport, VerifyPlan, VerifyProducer, connect};
use crate::verify_reader::{VerifyReader, log_ends};

const SCHEMA: &str = "highwater-loadgen-verify/1";

/// What verification has found.
#[derive(Debug)]
pub(crate) struct Verdict {
    settled: Settled,
    records_read: u64,
    duplicates: u64,
    reordered: u64,
    corrupt: u64,
    vanished: u64,
    foreign: u64,
    retries: u64,
    given_up: u64,
    reader_reconnects: u64,
    is_idempotent: bool,
    /// From the time at which a batch was due to its acknowledgement, outages included.
    acknowledged: Latencies,
    /// See `environment`.
    environment: Value,
}

impl Verdict {
    fn counts(&self) -> [(&'static str, u64, bool); 10] {
        [
            ("acked", self.settled.acked, false),
            ("read", self.records_read, false),
            ("acked_lost", self.settled.acked_lost, true),
            ("vanished", self.vanished, true),
            ("reordered", self.reordered, true),
            ("corrupt", self.corrupt, true),
            ("never_sent", self.settled.never_sent, true),
            ("duplicates", self.duplicates, self.is_idempotent),
            ("unacked_present", self.settled.unacked_present, false),
            ("foreign", self.foreign, false),
        ]
    }

    /// Names of the faults that were found.
    fn faults(&self) -> Vec<&'static str> {
        let fatal =
            self.counts().into_iter().filter(|(_, count, is_fatal)| *is_fatal && *count > 0);
        let mut faults: Vec<&str> = fatal.map(|(name, ..)| name).collect();
        if self.settled.acked == 0 {
            faults.push("nothing_acknowledged");
        }
        faults
    }

    /// 0 without a fault, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::from(!self.faults().is_empty())
    }

    /// The table.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, count, is_fatal) in self.counts() {
            let mark = if is_fatal && count > 0 { "  FATAL" } else { "" };
            writeln!(text, "{name:<16} {count}{mark}").expect("writing to a string");
        }
        writeln!(text, "{:<16} {}", "retries", self.retries).expect("writing to a string");
        writeln!(text, "{:<16} {}", "acknowledged in", latencies_text(&self.acknowledged))
            .expect("writing to a string");
        let verdict = match self.faults() {
            faults if faults.is_empty() => "good".to_owned(),
            faults => format!("BAD: {}", faults.join(", ")),
        };
        writeln!(text, "{:<16} {verdict}", "verdict").expect("writing to a string");
        text
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({
            "schema": SCHEMA,
            "mode": "verify",
            "good": self.faults().is_empty(),
            "faults": self.faults(),
            "idempotent": self.is_idempotent,
            "retries": self.retries,
            "given_up": self.given_up,
            "reader_reconnects": self.reader_reconnects,
            "acknowledged_us": latencies_json(&self.acknowledged),
            "environment": self.environment,
        });
        for (name, count, _) in self.counts() {
            json[name] = json!(count);
        }
        json
    }
}

impl Verdict {
    /// `verify.json`, and the latency's percentiles in `acknowledged.hgrm`.
    ///
    /// # Errors
    /// The first file that cannot be written; the other is tried nevertheless.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<(), Failure> {
        let json = write_file(directory, "verify.json", &self.to_json());
        let path = directory.join("acknowledged.hgrm");
        json.and(write_whole(&path, &percentile_text(&self.acknowledged)))
    }
}

/// Runs it.
///
/// # Errors
/// The topic cannot be had, a refusal that sending again does not mend, or a broker that is not
/// back at the end within `--patience`.
pub(crate) fn verify(args: &VerifyArgs) -> Result<Verdict, Failure> {
    if args.record_bytes < RECORD_BYTES_MIN {
        let reason = format!("--record-bytes of at least {RECORD_BYTES_MIN}: a stamp must fit");
        return Err(Failure::Batch { reason });
    }
    let cores_at_start = CoreTime::read();
    let plan = plan(args)?;
    let starts = log_ends(&args.bootstrap, &args.topic)?;
    let reader = || VerifyReader::new(&args.bootstrap, &plan.topic, starts.clone(), plan.run);
    let mut live = reader();
    let reports = produce_and_follow(args, &plan, &mut live)?;
    let deadline_ns = now_ns() + args.patience;
    let ends = ends_within(args, deadline_ns)?;
    let mut last = reader();
    last.read_to(&ends, deadline_ns)?;
    let mut acknowledged = Latencies::new();
    reports.iter().for_each(|report| acknowledged.add(&report.acknowledged));
    let claims: Vec<_> = reports.iter().flat_map(|report| report.claims.clone()).collect();
    let facts = RunFacts {
        seed: Some(plan.run),
        steal_percent: steal_since(cores_at_start),
        cluster: describe_cluster(&args.bootstrap, &args.topic),
    };
    let command: Vec<String> = std::env::args().collect();
    Ok(Verdict {
        settled: last.ledger.settle(&claims),
        records_read: last.ledger.records,
        duplicates: last.ledger.duplicates,
        reordered: last.ledger.reordered.max(live.ledger.reordered),
        corrupt: last.ledger.corrupt.max(live.ledger.corrupt),
        vanished: last.ledger.vanished_since(&live.ledger),
        foreign: last.ledger.foreign,
        retries: reports.iter().map(|report| report.retries).sum(),
        given_up: reports.iter().map(|report| report.given_up).sum(),
        reader_reconnects: live.reconnects + last.reconnects,
        is_idempotent: args.idempotent,
        acknowledged,
        environment: environment(&command, &facts, args.out.as_deref()),
    })
}

fn plan(args: &VerifyArgs) -> Result<VerifyPlan, Failure> {
    let mut control = connect(&args.bootstrap)?;
    let partitions = args
        .partitions
        .map(|partitions| usize::try_from(partitions).expect("at most 100,000 by the flag"));
    let new = NewTopic {
        partitions,
        replication_factor: args.replication_factor,
        configs: args.config.clone(),
    };
    let topic = Topic::find_or_create(&mut control, &args.topic, &new)?;
    let batches = topic.partition_count() * usize::from(args.producers);
    let records =
        u64::try_from(batches).expect("usize fits in 64 bits") * u64::from(args.records_per_batch);
    let round_seconds = to_f64(records) / args.rate;
    let round = std::time::Duration::try_from_secs_f64(round_seconds).unwrap_or_default();
    Ok(VerifyPlan {
        bootstrap: args.bootstrap.clone(),
        topic,
        run: Random::new(now_ns()).bits(),
        records_per_batch: args.records_per_batch,
        record_bytes: args.record_bytes,
        is_idempotent: args.idempotent,
        round_ns: u64::try_from(round.as_nanos()).unwrap_or(SECOND_NS),
        stop_ns: now_ns() + args.duration,
        patience_ns: args.patience,
    })
}

fn produce_and_follow(
    args: &VerifyArgs,
    plan: &VerifyPlan,
    live: &mut VerifyReader,
) -> Result<Vec<ProducerReport>, Failure> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clone = |source| Failure::System { call: "clone", source };
        let follow = || live.follow(|| is_over.load(Ordering::Acquire));
        thread::Builder::new().spawn_scoped(scope, follow).map_err(clone)?;
        let mut producers = Vec::new();
        for id in 0..u32::from(args.producers) {
            let work = move || VerifyProducer::new(plan, id)?.run();
            producers.push(thread::Builder::new().spawn_scoped(scope, work));
        }
        let mut reports = Vec::new();
        for producer in producers {
            reports.push(match producer {
                Ok(handle) => {
                    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                Err(source) => Err(clone(source)),
            });
        }
        // Only now: an early return would leave the reader without an end.
        is_over.store(true, Ordering::Release);
        reports.into_iter().collect()
    })
}

/// Asks until the broker is back.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn ends_within(
    args: &VerifyArgs,
    deadline_ns: u64,
) -> Result<std::collections::BTreeMap<i32, i64>, Failure> {
    loop {
        match log_ends(&args.bootstrap, &args.topic) {
            Err(_) if now_ns() < deadline_ns => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            outcome => return outcome,
        }
    }
}
