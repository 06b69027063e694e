//! Sets up a produce run: topic, batch, requests, connections, threads.

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
use crate::load_args::{Acks, LoadArgs, Partitioner};
use crate::placement::{Placement, place};
use crate::produce_worker::{Pace, ProduceWorker, RequestShape};
use crate::record_pool::RecordPool;
use crate::recorder::Recorder;
use crate::request_ring::CycleRequest;
use crate::run::{RunOutcome, run_threads};
use crate::schedule::Schedule;
use crate::stamp::RunMark;
use crate::topic::{NewTopic, Topic, delete_topic};
use crate::turns::{Pick, any_partition, own_partition};
use crate::variety::Keys;

/// Broker-side limit for acks=all, in milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// Runs it, open loop at `rate` records per second or closed without one, and returns what was
/// seen.
pub(crate) fn produce(args: &LoadArgs, rate: Option<f64>) -> Result<RunOutcome, Failure> {
    let plan = ProducePlan::prepare(args)?;
    let lanes = plan.connect(args, None)?;
    let mut outcome = run_threads(&args.run, lanes, |thread, recorder, lanes| {
        plan.run(args, rate, (thread, recorder), lanes)
    })?;
    outcome.payload = Some(plan.pool.to_json());
    outcome.facts.seed = Some(args.seed);
    Ok(outcome)
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
        let by_key = args.partitioner == Partitioner::Key && args.keys != Keys::None;
        let partitions = by_key.then(|| topic.partition_count());
        let pool = RecordPool::build(&args.pool_spec(), partitions)?;
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
            let picks = self.picks(&placements, (index, placement), per_request)?;
            let requests = picks.iter().map(|picks| self.request(args, picks, mark));
            let cycle = requests.collect::<Result<Vec<CycleRequest>, Failure>>()?;
            Lane::connect(&placement.address, &cycle, usize::from(args.in_flight))
        };
        placements.iter().enumerate().map(lane).collect()
    }

    /// What connection `index` sends, request by request.
    fn picks(
        &self,
        placements: &[Placement],
        (index, placement): (usize, &Placement),
        per_request: usize,
    ) -> Result<Vec<Vec<Pick>>, Failure> {
        if self.pool.partitions.is_empty() {
            return Ok(any_partition(&placement.groups, &self.pool.share(index, placements.len())));
        }
        let led = self.topic.leaders.get(&placement.address);
        let is_led = |partition: &i32| led.is_some_and(|led| led.contains(partition));
        let picks: Vec<Pick> = (0..)
            .zip(&self.pool.partitions)
            .filter(|(_, partition)| is_led(partition))
            .map(|(batch, partition)| (*partition, batch))
            .collect();
        let to_same = |other: &&Placement| other.address == placement.address;
        let siblings = placements.iter().filter(to_same).count();
        let turn = placements[..index].iter().filter(to_same).count();
        own_partition(&picks, (turn, siblings), per_request)
            .map_err(|reached| Failure::FewKeys { asked: per_request, reached })
    }

    fn request(
        &self,
        args: &LoadArgs,
        picks: &[Pick],
        mark: Option<RunMark>,
    ) -> Result<CycleRequest, Failure> {
        let (mut data, mut stamps) = (Vec::new(), Vec::new());
        for (partition, batch) in picks {
            let mut batch = self.pool.batches[*batch].clone();
            if let Some(mark) = mark {
                let place = mark.prepare(&batch)?;
                batch = place.batch().clone();
                stamps.push(place);
            }
            data.push(PartitionProduceData { index: *partition, records: Records::from(batch) });
        }
        let frame = encode(&self.topic, data, self.shape.version, args.acks)?;
        Ok(CycleRequest { frame, stamps })
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
