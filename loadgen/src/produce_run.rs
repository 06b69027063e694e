//! Sets up a produce run: topic, batch, requests, connections, threads.

use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::primitive::Frame;
use highwater::protocol::records::Records;

use crate::cli::{Acks, ProduceArgs};
use crate::control::{CLIENT_ID, Control};
use crate::failure::Failure;
use crate::interval::to_f64;
use crate::lane::Lane;
use crate::payload::{BatchSpec, build_batch};
use crate::placement::{Placement, place};
use crate::produce_worker::{Pace, ProduceWorker, RequestShape};
use crate::run::{RunOutcome, run_threads};
use crate::schedule::Schedule;
use crate::topic::{NewTopic, Topic, delete_topic};

/// Broker-side limit for acks=all, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// Runs it and returns what was seen.
pub(crate) fn produce(args: &ProduceArgs) -> Result<RunOutcome, Failure> {
    let mut control = Control::connect(&args.run.bootstrap)?;
    let topic = find_topic(&mut control, args)?;
    // Version 13 names topics by id, which needs a broker that has told the id.
    let version_max = if topic.id.is_nil() { 12 } else { 13 };
    let version = control.version_of::<ProduceRequest>(version_max)?;
    let batch = build_batch(&BatchSpec {
        records: u64::from(args.records_per_batch),
        record_bytes: args.record_bytes,
        random_percent: args.random_percent,
        compression: args.compression,
        seed: args.seed,
    })?;
    let shape = RequestShape {
        version,
        is_answered: args.acks != Acks::None,
        records_per_batch: u64::from(args.records_per_batch),
        bytes_per_batch: u64::try_from(batch.len()).expect("usize fits in 64 bits"),
        batches_per_request: u64::from(args.partitions_per_request),
    };
    let per_request = usize::from(args.partitions_per_request);
    let placements = place(&topic.leaders, usize::from(args.run.connections), per_request)
        .map_err(|led| Failure::TooManyPerRequest { asked: per_request, led })?;
    let lane = |placement: &Placement| {
        let cycle = placement.groups.iter().map(|partitions| {
            let records = Records::from(batch.clone());
            encode(&topic, partitions, records, version, args.acks)
        });
        let cycle = cycle.collect::<Result<Vec<Frame>, Failure>>()?;
        Lane::connect(&placement.address, &cycle, usize::from(args.in_flight))
    };
    let lanes = placements.iter().map(lane).collect::<Result<Vec<Lane>, Failure>>()?;
    let batches_per_second = args.rate.map(|records| records / f64::from(args.records_per_batch));
    let requests_per_second =
        batches_per_second.map(|batches| batches / f64::from(args.partitions_per_request));
    run_threads(&args.run, lanes, |thread, recorder, lanes| {
        let pace = match requests_per_second {
            None => Pace::Closed,
            Some(rate) => {
                let start_ns = recorder.window().start_ns;
                let share = rate / to_f64(u64::from(args.run.threads_used()));
                let seed = args.seed ^ (u64::from(thread) << 32);
                Pace::Open(Schedule::new(args.arrivals, share, start_ns, seed))
            }
        };
        ProduceWorker::new(lanes, recorder, pace, shape)?.run()
    })
}

fn find_topic(control: &mut Control, args: &ProduceArgs) -> Result<Topic, Failure> {
    if args.fresh {
        delete_topic(control, &args.run.topic)?;
    }
    let partitions = args
        .partitions
        .map(|partitions| usize::try_from(partitions).expect("at most 100,000 by the flag"));
    let new = NewTopic {
        partitions,
        replication_factor: args.replication_factor,
        configs: args.config.clone(),
    };
    Topic::find_or_create(control, &args.run.topic, &new)
}

fn encode(
    topic: &Topic,
    partitions: &[i32],
    records: Records,
    version: i16,
    acks: Acks,
) -> Result<Frame, Failure> {
    let partition_data = partitions
        .iter()
        .map(|partition| PartitionProduceData { index: *partition, records: records.clone() });
    let request = ProduceRequest {
        acks: acks.to_wire(),
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_data: partition_data.collect(),
        }],
        ..ProduceRequest::default()
    };
    encode_request(&request, version, 0, Some(CLIENT_ID))
        .map_err(|error| Failure::Batch { reason: error.to_string() })
}
