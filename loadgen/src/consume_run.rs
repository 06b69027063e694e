//! Sets up a consume run: topic, offsets, connections, threads.

use std::collections::BTreeMap;

use highwater::protocol::messages::fetch::FetchRequest;

use crate::cli::ConsumeArgs;
use crate::clock::SECOND_NS;
use crate::consume_lane::{ConsumeLane, FetchShape, Position};
use crate::consume_worker::ConsumeWorker;
use crate::control::Control;
use crate::failure::Failure;
use crate::load_args::RunArgs;
use crate::placement::{Placement, place};
use crate::run::{RunOutcome, run_threads};
use crate::topic::{LogEnd, Topic, list_offsets};

/// A run to the end of the log may take this long.
const READ_ALL_WITHIN_NS: u64 = 24 * 3600 * SECOND_NS;

/// Runs it and returns what was seen.
pub(crate) fn consume(args: &ConsumeArgs) -> Result<RunOutcome, Failure> {
    let mut control = Control::connect(&args.run.bootstrap)?;
    let mut topic = Topic::find(&mut control, &args.run.topic)?;
    keep_partitions(&mut topic, &args.partition)?;
    // Version 13 names topics by id, which needs a broker that has told the id.
    let version_max = if topic.id.is_nil() { 12 } else { i16::MAX };
    let shape = FetchShape {
        version: control.version_of::<FetchRequest>(version_max)?,
        topic: topic.name.clone(),
        topic_id: topic.id,
        max_bytes: i32::try_from(args.max_bytes).unwrap_or(i32::MAX),
        repeat: args.repeat,
    };
    let positions = positions(&topic)?;
    let placements = place(&topic.leaders, usize::from(args.run.connections), 1)
        .map_err(|led| Failure::TooManyPerRequest { asked: 1, led })?;
    let lane = |placement: &Placement| {
        let own = placement.groups.iter().flatten();
        let own = own.filter_map(|partition| positions.get(partition).cloned()).collect();
        ConsumeLane::connect(&placement.address, own, args.max_bytes)
    };
    let lanes = placements.iter().map(lane).collect::<Result<Vec<ConsumeLane>, Failure>>()?;
    run_threads(&run_args(args), lanes, |_, recorder, lanes| {
        ConsumeWorker { lanes, recorder, shape: shape.clone(), crc: args.crc() }.run()
    })
}

/// Reading to the end takes as long as it takes, and has no warm-up.
fn run_args(args: &ConsumeArgs) -> RunArgs {
    let mut run = args.run.clone();
    if !args.repeat {
        run.warmup = 0;
        run.duration = READ_ALL_WITHIN_NS;
    }
    run
}

fn keep_partitions(topic: &mut Topic, asked: &[i32]) -> Result<(), Failure> {
    let count = topic.partition_count();
    for partition in asked {
        if !topic.leaders.values().any(|led| led.contains(partition)) {
            return Err(Failure::NoSuchPartition {
                topic: topic.name.clone(),
                partition: *partition,
                last: count.saturating_sub(1),
            });
        }
    }
    if !asked.is_empty() {
        for led in topic.leaders.values_mut() {
            led.retain(|partition| asked.contains(partition));
        }
        topic.leaders.retain(|_, led| !led.is_empty());
    }
    Ok(())
}

fn positions(topic: &Topic) -> Result<BTreeMap<i32, Position>, Failure> {
    let mut positions = BTreeMap::new();
    for (address, led) in &topic.leaders {
        let mut leader = Control::connect(address)?;
        let starts = list_offsets(&mut leader, &topic.name, led, LogEnd::Start)?;
        let ends = list_offsets(&mut leader, &topic.name, led, LogEnd::End)?;
        for (partition, start) in starts {
            let end = ends.get(&partition).copied().unwrap_or(start);
            positions.insert(partition, Position { partition, start, end, next: start });
        }
    }
    Ok(positions)
}
