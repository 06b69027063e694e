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
use crate::placement::{Placement, place};
use crate::produce_worker::{Pace, ProduceWorker, RequestShape};
use crate::record_pool::RecordPool;
use crate::recorder::Recorder;
use crate::request_ring::CycleRequest;
use crate::run::{RunOutcome, run_threads};
use crate::schedule::Schedule;
use crate::stamp::{RunMark, StampPlace};
use crate::topic::{NewTopic, Topic, delete_topic};

/// Broker-side limit for acks=all, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// Runs it, open loop at `rate` records per second or closed without one, and returns what was
/// seen.
pub(crate) fn produce(args: &LoadArgs, rate: Option<f64>) -> Result<RunOutcome, Failure> {
    let plan = ProducePlan::prepare(args)?;
    let lanes = plan.connect(args, None)?;
    let outcome = run_threads(&args.run, lanes, |thread, recorder, lanes| {
        plan.run(args, rate, (thread, recorder), lanes)
    })?;
    Ok(RunOutcome { payload: Some(plan.pool.to_json()), ..outcome })
}

/// What is known before the first connection of the load.
pub(crate) struct ProducePlan {
    pub(crate) topic: Topic,
    pub(crate) pool: RecordPool,
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
        let pool = RecordPool::build(&args.pool_spec())?;
        let shape = RequestShape {
            version,
            is_answered: args.acks != Acks::None,
            records_per_batch: u64::from(args.records_per_batch),
            bytes_per_batch: pool.bytes_per_batch(),
            batches_per_request: u64::from(args.partitions_per_request),
        };
        Ok(ProducePlan { topic, pool, shape })
    }

    /// Opens the connections, each with its requests. With `mark`, batches carry the intended send
    /// time.
    pub(crate) fn connect(
        &self,
        args: &LoadArgs,
        mark: Option<RunMark>,
    ) -> Result<Vec<Lane>, Failure> {
        let per_request = usize::from(args.partitions_per_request);
        let placements = place(&self.topic.leaders, usize::from(args.run.connections), per_request)
            .map_err(|led| Failure::TooManyPerRequest { asked: per_request, led })?;
        let lane = |(index, placement): (usize, &Placement)| {
            let share = self.pool.share(index, placements.len());
            let stamped =
                share.iter().map(|batch| mark.map(|mark| mark.prepare(batch)).transpose());
            let stamped = stamped.collect::<Result<Vec<Option<StampPlace>>, Failure>>()?;
            let cycle = self.cycle(args, &placement.groups, (&share, &stamped))?;
            Lane::connect(&placement.address, &cycle, usize::from(args.in_flight))
        };
        placements.iter().enumerate().map(lane).collect()
    }

    /// Requests until each group of partitions and each batch had its turn.
    fn cycle(
        &self,
        args: &LoadArgs,
        groups: &[Vec<i32>],
        (batches, stamped): (&[Bytes], &[Option<StampPlace>]),
    ) -> Result<Vec<CycleRequest>, Failure> {
        let per_request = usize::from(args.partitions_per_request);
        let rounds = batches.len().div_ceil(per_request).div_ceil(groups.len()).max(1);
        let request = |index: usize| {
            let picks = (0..per_request).map(|part| (index * per_request + part) % batches.len());
            let stamps: Vec<StampPlace> =
                picks.clone().filter_map(|pick| stamped[pick].clone()).collect();
            let records = picks.map(|pick| match &stamped[pick] {
                Some(place) => Records::from(place.batch().clone()),
                None => Records::from(batches[pick].clone()),
            });
            let partitions = &groups[index % groups.len()];
            let data = partitions
                .iter()
                .zip(records)
                .map(|(partition, records)| PartitionProduceData { index: *partition, records });
            let frame = encode(&self.topic, data.collect(), self.shape.version, args.acks)?;
            Ok(CycleRequest { frame, stamps })
        };
        (0..rounds * groups.len()).map(request).collect()
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
                let arrivals = args.arrivals.share(thread, args.run.threads_used());
                Pace::Open(Schedule::new(arrivals, share, span, seed))
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
    partition_data: Vec<PartitionProduceData>,
    version: i16,
    acks: Acks,
) -> Result<Frame, Failure> {
    let request = ProduceRequest {
        acks: acks.to_wire(),
        timeout_ms: PRODUCE_TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_data,
        }],
        ..ProduceRequest::default()
    };
    encode_request(&request, version, 0, Some(CLIENT_ID))
        .map_err(|error| Failure::Batch { reason: error.to_string() })
}
