//! Sets up a produce run: topic, batch, requests, connections, threads.

use bytes::Bytes;
use highwater::protocol::frame::encode_request;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::primitive::Frame;
use highwater::protocol::records::Records;

use crate::control::{CLIENT_ID, Control};
use crate::failure::Failure;
use crate::interval::to_f64;
use crate::lane::Lane;
use crate::load_args::{Acks, LoadArgs};
use crate::payload::{BatchSpec, build_batch};
use crate::placement::{Placement, place};
use crate::produce_worker::{Pace, ProduceWorker, RequestShape};
use crate::recorder::Recorder;
use crate::run::{RunOutcome, run_threads};
use crate::schedule::Schedule;
use crate::stamp::StampPlace;
use crate::topic::{NewTopic, Topic, delete_topic};

/// Broker-side limit for acks=all, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// Runs it, open loop at `rate` records per second or closed without one, and returns what was
/// seen.
pub(crate) fn produce(args: &LoadArgs, rate: Option<f64>) -> Result<RunOutcome, Failure> {
    let plan = ProducePlan::prepare(args)?;
    let lanes = plan.connect(args, None)?;
    run_threads(&args.run, lanes, |thread, recorder, lanes| {
        plan.run(args, rate, (thread, recorder), lanes)
    })
}

/// What is known before the first connection of the load.
pub(crate) struct ProducePlan {
    pub(crate) topic: Topic,
    pub(crate) batch: Bytes,
    shape: RequestShape,
}

impl ProducePlan {
    /// Finds or makes the topic, and builds the batch.
    pub(crate) fn prepare(args: &LoadArgs) -> Result<ProducePlan, Failure> {
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
        Ok(ProducePlan { topic, batch, shape })
    }

    /// Opens the connections, each with its requests.
    pub(crate) fn connect(
        &self,
        args: &LoadArgs,
        stamp: Option<&StampPlace>,
    ) -> Result<Vec<Lane>, Failure> {
        let per_request = usize::from(args.partitions_per_request);
        let placements = place(&self.topic.leaders, usize::from(args.run.connections), per_request)
            .map_err(|led| Failure::TooManyPerRequest { asked: per_request, led })?;
        let batch = stamp.map_or(&self.batch, StampPlace::batch);
        let lane = |placement: &Placement| {
            let cycle = placement.groups.iter().map(|partitions| {
                let records = Records::from(batch.clone());
                encode(&self.topic, partitions, records, self.shape.version, args.acks)
            });
            let cycle = cycle.collect::<Result<Vec<Frame>, Failure>>()?;
            Lane::connect(&placement.address, &cycle, usize::from(args.in_flight), stamp)
        };
        placements.iter().map(lane).collect()
    }

    /// One thread's share of the load, to the end of the run.
    pub(crate) fn run(
        &self,
        args: &LoadArgs,
        rate: Option<f64>,
        (thread, recorder): (u16, Recorder),
        lanes: Vec<Lane>,
    ) -> Result<(), Failure> {
        let records_per_request =
            to_f64(self.shape.records_per_batch * self.shape.batches_per_request);
        let pace = match rate {
            None => Pace::Closed,
            Some(rate) => {
                let window = recorder.window();
                let threads = to_f64(u64::from(args.run.threads_used()));
                let share = rate / records_per_request / threads;
                let span = (window.start_ns, window.stop_ns - window.start_ns);
                let seed = args.seed ^ (u64::from(thread) << 32);
                Pace::Open(Schedule::new(args.arrivals, share, span, seed))
            }
        };
        ProduceWorker::new(lanes, recorder, pace, self.shape)?.run()
    }
}

fn find_topic(control: &mut Control, args: &LoadArgs) -> Result<Topic, Failure> {
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
