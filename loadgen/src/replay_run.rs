//! Sets up a replay: the feed, the topic, connections, a thread that reads and one that sends.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::thread;

use highwater::protocol::messages::produce::ProduceRequest;
use serde_json::json;

use crate::clock::wall_ms;
use crate::control::Control;
use crate::failure::Failure;
use crate::feed::{Feed, FeedFormat};
use crate::interval::to_f64;
use crate::load_args::Acks;
use crate::placement::place;
use crate::replay_args::{ReplayArgs, Speed};
use crate::replay_source::{FeedReport, ReplayPlan, ReplaySource};
use crate::replay_worker::{ReplayLane, ReplayShape, ReplayWorker};
use crate::run::{RunOutcome, run_shares};
use crate::summary::Loop;
use crate::topic::{NewTopic, Topic};

/// Requests that are made ahead of their sending.
const READ_AHEAD_MAX: usize = 256;

/// Runs it; returns what was seen, and how the records were paced.
///
/// # Errors
/// The file, the topic, or a connection cannot be had; later failures are in the outcome.
pub(crate) fn replay(args: &ReplayArgs) -> Result<(RunOutcome, Loop), Failure> {
    let mut plan = plan(args)?;
    let lanes = connect(args, &mut plan)?;
    let shape = ReplayShape {
        version: plan.version,
        is_answered: args.acks != Acks::None,
        is_timed: args.speed != Speed::Max,
    };
    let (sender, batches) = sync_channel(READ_AHEAD_MAX);
    let source = ReplaySource::new(&plan, lanes.len(), sender, wall_ms());
    // Taken by the one thread that sends.
    let batches = Mutex::new(Some(batches));
    let (outcome, report) = thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("loadgen-reader".to_owned())
            .spawn_scoped(scope, || source.run())
            .map_err(|source| Failure::System { call: "clone", source })?;
        let outcome = run_shares(&args.run(), vec![lanes], |_, recorder, lanes| {
            let batches = batches.lock().ok().and_then(|mut batches| batches.take());
            let batches = batches.expect("there is one share, so one thread");
            ReplayWorker::new(lanes, recorder, shape, batches).run()
        });
        // When the run did not start, nobody has taken it, and the reader would wait for ever.
        drop(batches);
        let report = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, Failure>((outcome?, report))
    })?;
    Ok(finish(args, outcome, report))
}

fn plan(args: &ReplayArgs) -> Result<ReplayPlan<'_>, Failure> {
    let refusal = |reason: &str| Failure::BadRun { path: args.file.clone(), reason: reason.into() };
    let shape = args.shape().ok_or_else(|| {
        refusal("its name ends in none of .csv, .ndjson and .pcapng: --format says which")
    })?;
    let has_times = shape.time_column.is_some() || shape.format == FeedFormat::Pcapng;
    if args.speed != Speed::Max && !has_times {
        return Err(refusal("--time-column must name the column with the times, or --speed max"));
    }
    // What is wrong with the file is said before anything happens to the topic.
    Feed::open(&args.file, &shape)?;
    let mut control = Control::connect(&args.bootstrap)?;
    let partitions = args
        .partitions
        .map(|partitions| usize::try_from(partitions).expect("at most 100,000 by the flag"));
    let new = NewTopic {
        partitions,
        replication_factor: args.replication_factor,
        configs: args.config.clone(),
    };
    let topic = Topic::find_or_create(&mut control, &args.topic, &new)?;
    let version_max = if topic.id.is_nil() { 12 } else { 13 };
    let version = control.version_of::<ProduceRequest>(version_max)?;
    let lanes = vec![0; topic.partition_count()];
    Ok(ReplayPlan { args, shape, topic, version, lanes })
}

/// Opens the connections, at least one to each broker, and gives each partition its own.
fn connect(args: &ReplayArgs, plan: &mut ReplayPlan<'_>) -> Result<Vec<ReplayLane>, Failure> {
    let leaders = &plan.topic.leaders;
    let wanted = usize::from(args.connections).min(plan.topic.partition_count());
    let placements = place(leaders, wanted.max(leaders.len()), 1)
        .map_err(|led| Failure::TooManyPerRequest { asked: 1, led })?;
    for (index, placement) in placements.iter().enumerate().rev() {
        for partition in placement.groups.iter().flatten() {
            let partition = usize::try_from(*partition).unwrap_or(usize::MAX);
            if let Some(lane) = plan.lanes.get_mut(partition) {
                *lane = index;
            }
        }
    }
    let in_flight = usize::from(args.in_flight);
    let lanes = placements.iter().map(|place| ReplayLane::connect(&place.address, in_flight));
    lanes.collect()
}

fn finish(args: &ReplayArgs, mut outcome: RunOutcome, report: FeedReport) -> (RunOutcome, Loop) {
    let seconds = to_f64(report.span_ns) / 1e9;
    let pacing = match args.speed {
        Speed::Max => Loop::Closed,
        Speed::Factor(_) if report.span_ns == 0 => Loop::Open { rate: to_f64(report.records) },
        Speed::Factor(_) => Loop::Open { rate: to_f64(report.records) / seconds },
    };
    outcome.payload = Some(json!({
        "file": args.file.display().to_string(),
        "records": report.records,
        "rounds": report.rounds,
        "bad_lines": report.bad_lines,
        "disordered": report.disordered,
        "packets_left_out": report.left_out,
        "played_seconds": seconds,
    }));
    outcome.failure = outcome.failure.take().or(report.failure);
    (outcome, pacing)
}
