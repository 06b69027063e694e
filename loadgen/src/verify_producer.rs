//! One producer of a verification: writes its numbered records, and sends them again until they are
//! acknowledged.
//!
//! Why one request at a time: the next sequence is sent only after the one before was acknowledged,
//! so any other order in the log is the broker's doing.
//!
//! Invariants
//! - A batch is sent again byte for byte, so an idempotent producer's broker can leave it out.
//! - After a batch was given up nothing more is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::records::Records;

use crate::clock::{SECOND_NS, now_ns, wall_ms};
use crate::control::Control;
use crate::failure::Failure;
use crate::interval::Latencies;
use crate::ledger::{Claim, SEQUENCE_MAX, Stamped};
use crate::load_args::Acks;
use crate::topic::Topic;

const PRODUCE_TIMEOUT_MS: i32 = 5_000;
/// Above that of a batch: who is silent for longer is asked again, or somebody else is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What all producers of a run have in common.
#[derive(Debug, Clone)]
pub(crate) struct VerifyPlan {
    pub(crate) bootstrap: String,
    pub(crate) topic: Topic,
    pub(crate) run: u64,
    pub(crate) records_per_batch: u32,
    pub(crate) record_bytes: usize,
    pub(crate) is_idempotent: bool,
    /// Time between two rounds of one producer; a round is one batch for each partition.
    pub(crate) round_ns: u64,
    pub(crate) stop_ns: u64,
    pub(crate) patience_ns: u64,
}

/// What a producer has to say at its end.
#[derive(Debug)]
pub(crate) struct ProducerReport {
    pub(crate) claims: Vec<Claim>,
    /// Requests that were sent again, or whose connection could not be made.
    pub(crate) retries: u64,
    /// Batches that were given up.
    pub(crate) given_up: u64,
    /// From the time at which a batch was due to its acknowledgement, outages included.
    pub(crate) acknowledged: Latencies,
}

/// One thread's producer.
pub(crate) struct VerifyProducer<'a> {
    plan: &'a VerifyPlan,
    id: u32,
    topic: Topic,
    stamp: ProducerStamp,
    connections: BTreeMap<String, Control>,
    report: ProducerReport,
}

impl<'a> VerifyProducer<'a> {
    /// Asks for a producer id when the run is idempotent.
    ///
    /// # Errors
    /// The broker cannot be asked, or refuses.
    pub(crate) fn new(plan: &'a VerifyPlan, id: u32) -> Result<VerifyProducer<'a>, Failure> {
        let mut stamp = ProducerStamp::NONE;
        if plan.is_idempotent {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                ..InitProducerIdRequest::default()
            };
            let answer = connect(&plan.bootstrap)?.call(&request)?;
            if answer.error_code != 0 {
                return Err(refused("InitProducerId", plan, answer.error_code));
            }
            stamp.producer_id = answer.producer_id;
            stamp.producer_epoch = answer.producer_epoch;
        }
        let partitions = plan.topic.leaders.values().flatten();
        let claims = partitions.map(|partition| Claim {
            producer: id,
            partition: *partition,
            acked: 0,
            sent: 0,
        });
        let report = ProducerReport {
            claims: claims.collect(),
            retries: 0,
            given_up: 0,
            acknowledged: Latencies::new(),
        };
        let topic = plan.topic.clone();
        Ok(VerifyProducer { plan, id, topic, stamp, connections: BTreeMap::new(), report })
    }

    /// Writes until the end of the run or until a batch is given up.
    ///
    /// # Errors
    /// A refusal that sending again does not mend.
    pub(crate) fn run(mut self) -> Result<ProducerReport, Failure> {
        let mut due_ns = now_ns();
        while now_ns() < self.plan.stop_ns {
            wait_until(due_ns);
            let intended_ns = due_ns;
            due_ns += self.plan.round_ns;
            let mut pending = BTreeMap::new();
            for index in 0..self.report.claims.len() {
                let claim = self.report.claims[index];
                let count = u64::from(self.plan.records_per_batch);
                if claim.sent + count > SEQUENCE_MAX {
                    return Ok(self.report);
                }
                pending.insert(claim.partition, self.batch(claim.partition, claim.sent)?);
                self.report.claims[index].sent += count;
            }
            if !self.settle(pending, intended_ns)? {
                break;
            }
        }
        Ok(self.report)
    }

    fn batch(&self, partition: i32, first: u64) -> Result<Bytes, Failure> {
        let refusal = |reason: String| Failure::Batch { reason };
        let mut producer = self.stamp;
        if self.plan.is_idempotent {
            // Sequences of the protocol wrap to 0 behind the largest int32.
            producer.base_sequence = i32::try_from(first % (1 << 31)).expect("reduced to 31 bits");
        }
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
        let timestamp_ms = wall_ms();
        for sequence in first..first + u64::from(self.plan.records_per_batch) {
            let filler = sequence.to_le_bytes()[0];
            let mut value = vec![filler; self.plan.record_bytes];
            Stamped { run: self.plan.run, producer: self.id, partition, sequence }
                .write(&mut value);
            let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
            builder.push(&record).map_err(|error| refusal(error.to_string()))?;
        }
        builder.build().map_err(|error| refusal(error.to_string()))
    }

    /// Sends until every batch was acknowledged; false when patience ended before.
    fn settle(
        &mut self,
        mut pending: BTreeMap<i32, Bytes>,
        intended_ns: u64,
    ) -> Result<bool, Failure> {
        let give_up_ns = now_ns() + self.plan.patience_ns;
        loop {
            for (address, led) in self.topic.leaders.clone() {
                let own: Vec<(i32, Bytes)> = led
                    .iter()
                    .filter_map(|index| pending.get(index).map(|batch| (*index, batch.clone())))
                    .collect();
                for (partition, code) in self.produce(&address, own) {
                    if is_taken(code) {
                        pending.remove(&partition);
                        self.acknowledge(partition);
                        let waited_ns = now_ns().saturating_sub(intended_ns);
                        self.report.acknowledged.record_ns(waited_ns);
                    } else if KafkaCode::from_number(code).is_none_or(|code| !code.is_retriable()) {
                        return Err(refused("Produce", self.plan, code));
                    }
                }
            }
            if pending.is_empty() {
                return Ok(true);
            }
            self.report.retries += 1;
            if now_ns() >= give_up_ns {
                self.report.given_up += u64::try_from(pending.len()).expect("a small count");
                return Ok(false);
            }
            wait_until(now_ns() + u64::try_from(TRY_AGAIN_AFTER.as_nanos()).unwrap_or(SECOND_NS));
            self.find_leaders();
        }
    }

    fn acknowledge(&mut self, partition: i32) {
        let count = u64::from(self.plan.records_per_batch);
        for claim in &mut self.report.claims {
            if claim.partition == partition {
                claim.acked += count;
            }
        }
    }

    /// Each partition's answer; none when the broker could not be asked.
    fn produce(&mut self, address: &str, batches: Vec<(i32, Bytes)>) -> Vec<(i32, i16)> {
        if batches.is_empty() {
            return Vec::new();
        }
        let answers = self.try_produce(address, batches);
        // Why it failed does not matter: the connection is made anew and the batches sent again.
        answers.unwrap_or_else(|_| {
            self.connections.remove(address);
            Vec::new()
        })
    }

    fn try_produce(
        &mut self,
        address: &str,
        batches: Vec<(i32, Bytes)>,
    ) -> Result<Vec<(i32, i16)>, Failure> {
        if !self.connections.contains_key(address) {
            self.connections.insert(address.to_owned(), connect(address)?);
        }
        let connection = self.connections.get_mut(address).expect("inserted above");
        let partition_data = batches
            .into_iter()
            .map(|(index, batch)| PartitionProduceData { index, records: Records::from(batch) });
        let request = ProduceRequest {
            acks: Acks::All.to_wire(),
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: self.topic.name.clone(),
                topic_id: self.topic.id,
                partition_data: partition_data.collect(),
            }],
            ..ProduceRequest::default()
        };
        let version_max = if self.topic.id.is_nil() { 12 } else { 13 };
        let answer = connection.call_at_most(&request, version_max)?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        Ok(partitions.map(|partition| (partition.index, partition.error_code)).collect())
    }

    /// Asks again who leads; keeps what is known when nobody answers.
    fn find_leaders(&mut self) {
        let found = connect(&self.plan.bootstrap)
            .and_then(|mut control| Topic::find_now(&mut control, &self.topic.name));
        if let Ok(topic) = found {
            self.topic.leaders = topic.leaders;
        }
    }
}

/// Connects to brokers that come and go.
pub(crate) fn connect(addresses: &str) -> Result<Control, Failure> {
    Control::connect_within(addresses, ANSWER_TIMEOUT)
}

/// The broker has the batch; one that it had before is acknowledged by its own code.
fn is_taken(code: i16) -> bool {
    code == 0 || code == KafkaCode::DuplicateSequenceNumber.number()
}

fn refused(api: &'static str, plan: &VerifyPlan, code: i16) -> Failure {
    Failure::Refused { api, topic: plan.topic.name.clone(), code }
}

#[expect(clippy::disallowed_methods, reason = "paces a producer that is not measured")]
fn wait_until(due_ns: u64) {
    let now = now_ns();
    if due_ns > now {
        std::thread::sleep(Duration::from_nanos(due_ns - now));
    }
}
