//! Sets up a run that produces and consumes at once: latency from the intended send time to the
//! consumer.

use std::sync::atomic::{AtomicUsize, Ordering};

use highwater::protocol::messages::fetch::FetchRequest;

use crate::cli::EndToEndArgs;
use crate::clock::now_ns;
use crate::consume_lane::FetchShape;
use crate::control::Control;
use crate::failure::Failure;
use crate::lane::Lane;
use crate::load_args::Acks;
use crate::placement::place;
use crate::produce_run::ProducePlan;
use crate::run::{RunOutcome, deal, run_shares};
use crate::schedule::Random;
use crate::stamp::RunMark;
use crate::tail_worker::{TailLane, TailWorker};

/// Most bytes that one answer brings for a partition.
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;

/// What a thread of the run is given.
enum Share {
    Producer(Box<Lane>),
    Consumer(Box<TailLane>),
}

/// Runs it and returns what was seen.
pub(crate) fn end_to_end(args: &EndToEndArgs) -> Result<RunOutcome, Failure> {
    let load = &args.load;
    if load.acks == Acks::None {
        let reason = "what is not acknowledged cannot be awaited: --acks 1 or all".to_owned();
        return Err(Failure::Batch { reason });
    }
    let plan = ProducePlan::prepare(load)?;
    let mark = RunMark(Random::new(now_ns() ^ load.seed).bits());
    let control = Control::connect(&load.run.bootstrap)?;
    let version_max = if plan.topic.id.is_nil() { 12 } else { i16::MAX };
    let shape = FetchShape {
        version: control.version_of::<FetchRequest>(version_max)?,
        topic: plan.topic.name.clone(),
        topic_id: plan.topic.id,
        max_bytes: PARTITION_BYTES_MAX,
        repeat: false,
    };
    let consumers = consumers(&plan, args.consumers)?;
    let producers = plan.connect(load, Some(mark))?.into_iter().map(Box::new).map(Share::Producer);
    let producing_threads = load.run.threads_used();
    let mut shares = deal(producers.collect(), producing_threads);
    shares.extend(consumers);
    let running = AtomicUsize::new(usize::from(producing_threads));
    let mut outcome = run_shares(&load.run, shares, |thread, recorder, share| {
        let (mut producers, mut lanes) = (Vec::new(), Vec::new());
        for part in share {
            match part {
                Share::Producer(lane) => producers.push(*lane),
                Share::Consumer(lane) => lanes.push(*lane),
            }
        }
        if lanes.is_empty() {
            let outcome = plan.run(load, Some(args.rate), (thread, recorder), producers);
            running.fetch_sub(1, Ordering::Release);
            return outcome;
        }
        TailWorker { lanes, recorder, shape: &shape, mark, producers: &running }.run()
    })?;
    outcome.payload = Some(plan.pool.to_json());
    outcome.facts.seed = Some(load.seed);
    Ok(outcome)
}

/// Consumers that share the partitions; at least one connection to each broker, and no thread
/// without one.
fn consumers(plan: &ProducePlan, threads: u16) -> Result<Vec<Vec<Share>>, Failure> {
    let leaders = &plan.topic.leaders;
    let wanted = usize::from(threads).min(plan.topic.partition_count());
    let placements = place(leaders, wanted.max(leaders.len()), 1)
        .map_err(|led| Failure::TooManyPerRequest { asked: 1, led })?;
    let mut taken = std::collections::BTreeSet::new();
    let mut lanes = Vec::new();
    for placement in &placements {
        let groups = placement.groups.iter().flatten().copied();
        // With more connections than partitions, several would follow the same one.
        let own: Vec<i32> = groups.filter(|partition| taken.insert(*partition)).collect();
        if !own.is_empty() {
            let lane = TailLane::connect(&placement.address, &plan.topic.name, &own)?;
            lanes.push(Share::Consumer(Box::new(lane)));
        }
    }
    let threads = u16::try_from(wanted.min(lanes.len())).expect("at most --consumers");
    Ok(deal(lanes, threads))
}
