//! What the generator itself can do: the same load against a broker that stores nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::cli::CalibrateArgs;
use crate::environment::{RunFacts, environment};
use crate::failure::Failure;
use crate::interval::{Interval, to_f64};
use crate::null_broker::NullBroker;
use crate::objective::rate_text;
use crate::produce_run::produce;
use crate::run::{RunOutcome, pin_to};
use crate::summary::{percentile_files, pretty, write_whole};

const SCHEMA: &str = "highwater-loadgen-calibration/1";

/// A broker may be measured up to this part of what the generator can do.
const FACTOR: f64 = 3.0;

/// Offsets at which the null broker's logs end; a produce run does not read them.
const END_OFFSET: i64 = 0;

/// A finished calibration.
#[derive(Debug)]
pub(crate) struct Calibration {
    total: Interval,
    /// See `environment`; nobody is asked about the null broker.
    environment: Value,
}

/// Runs it: a closed loop against a null broker in a thread of this process.
///
/// # Errors
/// As a produce run.
pub(crate) fn calibrate(args: &CalibrateArgs) -> Result<Calibration, Failure> {
    let is_over = AtomicBool::new(false);
    let mut load = args.load.clone();
    load.run.server_pid.clear();
    let (bound, address) = channel();
    let outcome = thread::scope(|scope| {
        let serve = || serve(args.null_core, &bound, &is_over);
        let server = thread::Builder::new()
            .name("null-broker".to_owned())
            .spawn_scoped(scope, serve)
            .map_err(|source| Failure::System { call: "clone", source })?;
        let outcome = match address.recv() {
            Ok(Some(address)) => {
                load.run.bootstrap = address;
                produce(&load, None).and_then(RunOutcome::whole).map(Some)
            }
            // The null broker did not start and says itself why.
            Ok(None) | Err(_) => Ok(None),
        };
        is_over.store(true, Ordering::Release);
        let served = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        served.and(outcome)
    })?;
    let (total, facts) = outcome.map_or_else(
        || (Interval::new(0), RunFacts::default()),
        |outcome| (outcome.total, outcome.facts),
    );
    let command: Vec<String> = std::env::args().collect();
    let environment = environment(&command, &facts, args.load.run.out.as_deref());
    let calibration = Calibration { total, environment };
    if let Some(directory) = &args.load.run.out {
        write_whole(&directory.join("calibration.json"), &pretty(&calibration.to_json()))
            .and(percentile_files(&calibration.total, directory))?;
    }
    Ok(calibration)
}

/// Binds a null broker, tells its address (`None` when there is none), and serves.
fn serve(
    core: Option<usize>,
    bound: &Sender<Option<String>>,
    is_over: &AtomicBool,
) -> Result<(), Failure> {
    let start = || {
        pin_to(core)?;
        let broker = NullBroker::bind("127.0.0.1:0", END_OFFSET)?;
        let address =
            broker.address().map_err(|source| Failure::System { call: "getsockname", source })?;
        Ok((broker, address))
    };
    let started = start();
    // The receiver lives as long as the scope of this thread.
    let _ = bound.send(started.as_ref().ok().map(|(_, address): &(_, String)| address.clone()));
    started.and_then(|(mut broker, _)| broker.run(|| is_over.load(Ordering::Acquire)))
}

impl Calibration {
    /// Records per second of time in which the generator was at work: what it could do if the null
    /// broker cost nothing.
    fn unhindered_rate(&self) -> f64 {
        let busy = self.total.busy_percent() / 100.0;
        if busy == 0.0 { 0.0 } else { self.total.record_rate() / busy }
    }

    /// The result for people.
    pub(crate) fn to_text(&self) -> String {
        let rate = self.total.record_rate();
        format!(
            "CLOSED LOOP against a null broker - latency not comparable\n\
             measured     {} records, {:.0} requests/s, {:.1} MB/s\n\
             generator    busy {:.0} %, {:.2} us CPU per request; alone {} records\n\
             plan         measure brokers up to {} records with this load ({FACTOR:.0}x less)\n",
            rate_text(rate),
            self.total.request_rate(),
            self.total.megabyte_rate(),
            self.total.busy_percent(),
            to_f64(self.total.cpu_ns) / 1e3 / to_f64(self.total.requests.max(1)),
            rate_text(self.unhindered_rate()),
            rate_text(rate / FACTOR),
        )
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "mode": "calibrate",
            "loop": "closed",
            "records_per_second": self.total.record_rate(),
            "requests_per_second": self.total.request_rate(),
            "megabytes_per_second": self.total.megabyte_rate(),
            "busy_percent": self.total.busy_percent(),
            "unhindered_records_per_second": self.unhindered_rate(),
            "measure_up_to_records_per_second": self.total.record_rate() / FACTOR,
            "environment": self.environment,
        })
    }
}
