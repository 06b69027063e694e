//! Transactions of many producers: a closed loop over shared connections.
//!
//! A transaction counts when EndTxn was answered. Its latency is from the first request to that
//! answer, pauses included; that of EndTxn alone is kept beside it.

use std::time::Duration;

use highwater::protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use highwater::protocol::messages::add_partitions_to_txn::AddPartitionsToTxnRequest;
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::ProduceRequest;
use highwater::protocol::messages::txn_offset_commit::TxnOffsetCommitRequest;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};

use crate::clock::{SECOND_NS, now_ns, wall_ms};
use crate::control::Control;
use crate::coordinators::{
    CoordinatorOf, Switchboard, finalized_level, find_coordinators, is_passing,
};
use crate::exchange::{Answer, Conversation, Exchange, converse};
use crate::failure::Failure;
use crate::group_args::{FlowChoice, TransactArgs};
use crate::recorder::Recorder;
use crate::run::{RunOutcome, run_threads};
use crate::topic::Topic;
use crate::transaction::{
    Flow, GroupOffsets, Producer, Progress, Share, Step, TransactionPlan, TransactionVersions,
};

const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
const READY_WITHIN_NS: u64 = 60 * SECOND_NS;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The level of `transaction.version` from which on flow 2 is spoken.
const FLOW_TWO_FROM: i16 = 2;

/// A producer, and the addresses that its requests go to.
struct Seat {
    producer: Producer,
    coordinator: String,
    shares: Vec<(String, Vec<i32>)>,
    group: Option<(String, String)>,
}

/// Runs it and returns what was seen.
pub(crate) fn transact(args: &TransactArgs) -> Result<RunOutcome, Failure> {
    let mut control = Control::connect(&args.run.bootstrap)?;
    let topic = args.topic.find(&mut control, &args.run.topic)?;
    let asked = usize::try_from(args.partitions_per_transaction).expect("bounded by the flag");
    if asked > topic.partition_count() {
        let flag = "--partitions-per-transaction";
        return Err(Failure::TooFewPartitions { flag, asked, actual: topic.partition_count() });
    }
    let plan = plan(&mut control, args, &topic)?;
    let seats = seats(&mut control, args, &topic, plan.flow)?;
    run_threads(&args.run, seats, |_, recorder, seats| {
        let per_thread = usize::from(args.run.connections / args.run.threads_used());
        let addresses: Vec<String> = seats.iter().flat_map(Seat::addresses).cloned().collect();
        let board = Switchboard::new(&addresses, per_thread);
        let exchange = Exchange::connect(board.addresses())?;
        let producers =
            seats.into_iter().enumerate().map(|(index, seat)| seat.take(&board, index)).collect();
        converse(exchange, recorder, &mut Transactions { plan: plan.clone(), producers })
    })
}

fn plan(
    control: &mut Control,
    args: &TransactArgs,
    topic: &Topic,
) -> Result<TransactionPlan, Failure> {
    let flow = match args.flow {
        FlowChoice::One => Flow::One,
        FlowChoice::Two => Flow::Two,
        FlowChoice::Auto => match finalized_level(control, "transaction.version")? {
            FLOW_TWO_FROM.. => Flow::Two,
            _ => Flow::One,
        },
    };
    let newest_produce = if topic.id.is_nil() { 12 } else { 13 };
    let versions = match flow {
        Flow::One => TransactionVersions {
            add_partitions: control.version_of::<AddPartitionsToTxnRequest>(3)?,
            produce: control.version_of::<ProduceRequest>(11)?,
            add_offsets: control.version_of::<AddOffsetsToTxnRequest>(i16::MAX)?,
            commit: control.version_of::<TxnOffsetCommitRequest>(4)?,
            end: control.version_of::<EndTxnRequest>(4)?,
        },
        Flow::Two => TransactionVersions {
            add_partitions: 0,
            produce: control.version_within::<ProduceRequest>(12..=newest_produce)?,
            add_offsets: 0,
            commit: control.version_within::<TxnOffsetCommitRequest>(5..=5)?,
            end: control.version_within::<EndTxnRequest>(5..=5)?,
        },
    };
    let records = i32::try_from(args.records_per_batch).expect("bounded by the flag");
    Ok(TransactionPlan {
        topic: topic.name.clone(),
        topic_id: topic.id,
        batch: batch(args)?,
        records_per_batch: records,
        flow,
        versions,
        abort_percent: u64::from(args.abort_percent),
        backoff_ns: args.backoff,
    })
}

fn batch(args: &TransactArgs) -> Result<bytes::Bytes, Failure> {
    let options = BatchOptions { is_transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let value = vec![b'v'; args.record_bytes];
    let timestamp_ms = wall_ms();
    let refusal = |error: highwater::protocol::record::BuildError| Failure::Batch {
        reason: error.to_string(),
    };
    for _ in 0..args.records_per_batch {
        let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
        builder.push(&record).map_err(refusal)?;
    }
    builder.build().map_err(refusal)
}

/// All producers, each with its producer id.
fn seats(
    control: &mut Control,
    args: &TransactArgs,
    topic: &Topic,
    flow: Flow,
) -> Result<Vec<Seat>, Failure> {
    let ids: Vec<String> =
        (0..args.producers).map(|index| format!("{}-{index}", args.id_prefix)).collect();
    let coordinators = find_coordinators(control, CoordinatorOf::Transaction, &ids)?;
    let groups = if args.offsets {
        find_coordinators(control, CoordinatorOf::Group, &ids)?.into_iter().map(Some).collect()
    } else {
        vec![None; ids.len()]
    };
    let per_transaction = usize::try_from(args.partitions_per_transaction).expect("by the flag");
    let mut seats = Vec::with_capacity(ids.len());
    let parts = ids.into_iter().zip(coordinators).zip(groups);
    for (index, ((id, coordinator), group)) in parts.enumerate() {
        let mut producer = Producer::new(id.clone(), flow);
        init_producer_id(&coordinator, &mut producer)?;
        seats.push(Seat {
            producer,
            coordinator,
            shares: shares(topic, index * per_transaction, per_transaction),
            group: group.map(|address| (address, id)),
        });
    }
    Ok(seats)
}

/// `count` partitions from number `first` on, by the address of their leader.
fn shares(topic: &Topic, first: usize, count: usize) -> Vec<(String, Vec<i32>)> {
    let total = topic.partition_count();
    let is_own = |partition: i32| {
        let place = usize::try_from(partition).unwrap_or(0) + total - first % total;
        place % total < count
    };
    let share = |(address, led): (&String, &Vec<i32>)| {
        let own: Vec<i32> = led.iter().copied().filter(|partition| is_own(*partition)).collect();
        (!own.is_empty()).then(|| (address.clone(), own))
    };
    topic.leaders.iter().filter_map(share).collect()
}

#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn init_producer_id(coordinator: &str, producer: &mut Producer) -> Result<(), Failure> {
    let request = InitProducerIdRequest {
        transactional_id: Some(producer.transactional_id.clone()),
        transaction_timeout_ms: TRANSACTION_TIMEOUT_MS,
        ..InitProducerIdRequest::default()
    };
    let deadline_ns = now_ns() + READY_WITHIN_NS;
    let mut control = Control::connect(coordinator)?;
    loop {
        let answer = control.call(&request)?;
        match answer.error_code {
            0 => {
                (producer.producer_id, producer.epoch) =
                    (answer.producer_id, answer.producer_epoch);
                return Ok(());
            }
            code if is_passing(code) && now_ns() < deadline_ns => {
                std::thread::sleep(ASK_AGAIN_AFTER);
            }
            code => return Err(Failure::Declined { api: "InitProducerId", code }),
        }
    }
}

impl Seat {
    fn addresses(&self) -> impl Iterator<Item = &String> {
        let group = self.group.iter().map(|(address, _)| address);
        let leaders = self.shares.iter().map(|(address, _)| address);
        std::iter::once(&self.coordinator).chain(leaders).chain(group)
    }

    /// The producer, with its links.
    fn take(self, board: &Switchboard, index: usize) -> Producer {
        let mut producer = self.producer;
        producer.coordinator = board.link(&self.coordinator, index);
        let share = |(address, partitions): (String, Vec<i32>)| Share {
            link: board.link(&address, index),
            partitions,
        };
        producer.shares = self.shares.into_iter().map(share).collect();
        producer.group = self
            .group
            .map(|(address, group)| GroupOffsets { group, link: board.link(&address, index) });
        producer
    }
}

/// One thread's producers.
struct Transactions {
    plan: TransactionPlan,
    producers: Vec<Producer>,
}

impl Conversation for Transactions {
    type Ticket = (usize, Step);

    fn hear(
        &mut self,
        (index, step): (usize, Step),
        answer: Answer<'_, '_>,
        recorder: &mut Recorder,
    ) -> Result<(), Failure> {
        let now = answer.now_ns;
        let producer = &mut self.producers[index];
        let interval = recorder.current();
        match producer.hear(&self.plan, step, answer)? {
            Progress::Going => {}
            Progress::Again => interval.retries += 1,
            Progress::Ended => {
                let latency_ns = now.saturating_sub(producer.began_ns);
                interval.response.record_ns(latency_ns);
                interval.service.record_ns(latency_ns);
                interval.end_txn.record_ns(now.saturating_sub(producer.end_ns));
                let batches: usize = producer.shares.iter().map(|one| one.partitions.len()).sum();
                let batches = u64::try_from(batches).expect("usize fits in 64 bits");
                let batch_bytes = u64::try_from(self.plan.batch.len()).expect("as above");
                interval.requests += 1;
                interval.records += batches * u64::from(self.plan.records_per_batch.unsigned_abs());
                interval.bytes += batches * batch_bytes;
                producer.begin_anew();
            }
        }
        Ok(())
    }

    fn speak(&mut self, exchange: &mut Exchange<(usize, Step)>, now: u64) -> Result<(), Failure> {
        for (index, producer) in self.producers.iter_mut().enumerate() {
            if producer.due_ns.is_some_and(|due_ns| due_ns <= now) {
                producer.speak(&self.plan, exchange, (index, now))?;
            }
        }
        Ok(())
    }

    fn due_ns(&self) -> Option<u64> {
        self.producers.iter().filter_map(|producer| producer.due_ns).min()
    }

    fn is_done(&self) -> bool {
        false
    }
}
