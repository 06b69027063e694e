//! One transactional producer: its transaction step by step, as Kafka's client takes them.
//!
//! ```text
//! flow 1   AddPartitionsToTxn ─► Produce to each leader ─► AddOffsetsToTxn ─► TxnOffsetCommit
//!          ─► EndTxn
//! flow 2   Produce to each leader ─► TxnOffsetCommit ─► EndTxn   (KIP-890: the broker adds)
//! ```
//!
//! Invariants
//! - A step begins when every answer of the one before is in; only produces to several leaders are
//!   on the way together.
//! - A step that the broker was not ready for is taken again after a pause, byte for byte.

use bytes::{Bytes, BytesMut};
use highwater::protocol::crc32c;
use highwater::protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use highwater::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use highwater::protocol::records::Records;
use uuid::Uuid;

use crate::coordinators::is_passing;
use crate::exchange::{Answer, Exchange};
use crate::failure::Failure;

const PRODUCE_TIMEOUT_MS: i32 = 30_000;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const PRODUCER_ID_AT: usize = 43;
const EPOCH_AT: usize = 51;
const SEQUENCE_AT: usize = 53;

/// What is the same for all producers.
#[derive(Debug, Clone)]
pub(crate) struct TransactionPlan {
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    /// Transactional, with an empty producer stamp.
    pub(crate) batch: Bytes,
    pub(crate) records_per_batch: i32,
    pub(crate) flow: Flow,
    pub(crate) versions: TransactionVersions,
    pub(crate) abort_percent: u64,
    pub(crate) backoff_ns: u64,
}

/// Who adds partitions to a transaction, and how long an epoch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    One,
    Two,
}

/// Versions on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransactionVersions {
    pub(crate) add_partitions: i16,
    pub(crate) produce: i16,
    pub(crate) add_offsets: i16,
    pub(crate) commit: i16,
    pub(crate) end: i16,
}

/// What an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    AddPartitions,
    Produce,
    AddOffsets,
    CommitOffsets,
    End,
}

/// What an answer has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More answers of this step are awaited, or the next step begins.
    Going,
    /// The step is taken again after a pause.
    Again,
    Ended,
}

/// The partitions of one producer that one broker leads.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) link: usize,
    pub(crate) partitions: Vec<i32>,
}

/// The group whose offsets each transaction commits.
#[derive(Debug, Clone)]
pub(crate) struct GroupOffsets {
    pub(crate) group: String,
    pub(crate) link: usize,
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) transactional_id: String,
    pub(crate) coordinator: usize,
    pub(crate) shares: Vec<Share>,
    pub(crate) group: Option<GroupOffsets>,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    sequence: i32,
    offset: i64,
    count: u64,
    step: Step,
    awaited: usize,
    must_retry: bool,
    /// When the step is to be taken; `None` while answers are awaited.
    pub(crate) due_ns: Option<u64>,
    pub(crate) began_ns: u64,
    /// When EndTxn was first sent.
    pub(crate) end_ns: u64,
}

impl Producer {
    /// One that begins its first transaction at once.
    pub(crate) fn new(transactional_id: String, flow: Flow) -> Producer {
        Producer {
            transactional_id,
            coordinator: 0,
            shares: Vec::new(),
            group: None,
            producer_id: -1,
            epoch: -1,
            sequence: 0,
            offset: 0,
            count: 0,
            step: first_step(flow),
            awaited: 0,
            must_retry: false,
            due_ns: Some(0),
            began_ns: 0,
            end_ns: 0,
        }
    }

    /// Takes the step at hand.
    pub(crate) fn speak(
        &mut self,
        plan: &TransactionPlan,
        exchange: &mut Exchange<(usize, Step)>,
        (index, now): (usize, u64),
    ) -> Result<(), Failure> {
        self.due_ns = None;
        self.must_retry = false;
        let ticket = (index, self.step);
        let versions = plan.versions;
        if self.began_ns == 0 {
            self.began_ns = now;
        }
        self.awaited = 1;
        match (self.step, &self.group) {
            (Step::AddPartitions, _) => {
                let request = self.partitions_to_add(plan);
                exchange.ask(self.coordinator, &request, versions.add_partitions, ticket)
            }
            (Step::Produce, _) => {
                self.awaited = self.shares.len();
                let batch = Records::from(self.stamped(&plan.batch));
                self.shares.iter().try_for_each(|share| {
                    let request = self.produce(plan, share, &batch);
                    exchange.ask(share.link, &request, versions.produce, ticket)
                })
            }
            (Step::AddOffsets, Some(group)) => {
                let request = AddOffsetsToTxnRequest {
                    transactional_id: self.transactional_id.clone(),
                    producer_id: self.producer_id,
                    producer_epoch: self.epoch,
                    group_id: group.group.clone(),
                };
                exchange.ask(self.coordinator, &request, versions.add_offsets, ticket)
            }
            (Step::CommitOffsets, Some(group)) => {
                let request = self.offsets(plan, group);
                exchange.ask(group.link, &request, versions.commit, ticket)
            }
            (Step::End | Step::AddOffsets | Step::CommitOffsets, _) => {
                if self.end_ns == 0 {
                    self.end_ns = now;
                }
                let request = EndTxnRequest {
                    transactional_id: self.transactional_id.clone(),
                    producer_id: self.producer_id,
                    producer_epoch: self.epoch,
                    committed: self.count % 100 >= plan.abort_percent,
                };
                exchange.ask(self.coordinator, &request, versions.end, (index, Step::End))
            }
        }
    }

    fn partitions_to_add(&self, plan: &TransactionPlan) -> AddPartitionsToTxnRequest {
        let partitions = self.shares.iter().flat_map(|share| &share.partitions);
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.producer_id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: plan.topic.clone(),
                partitions: partitions.copied().collect(),
            }],
            ..AddPartitionsToTxnRequest::default()
        }
    }

    fn produce(&self, plan: &TransactionPlan, share: &Share, batch: &Records) -> ProduceRequest {
        let data =
            |partition: &i32| PartitionProduceData { index: *partition, records: batch.clone() };
        ProduceRequest {
            transactional_id: Some(self.transactional_id.clone()),
            acks: -1,
            timeout_ms: PRODUCE_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: plan.topic.clone(),
                topic_id: plan.topic_id,
                partition_data: share.partitions.iter().map(data).collect(),
            }],
        }
    }

    fn offsets(&self, plan: &TransactionPlan, group: &GroupOffsets) -> TxnOffsetCommitRequest {
        TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: group.group.clone(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: plan.topic.clone(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    committed_offset: self.offset,
                    committed_metadata: Some(String::new()),
                    ..TxnOffsetCommitRequestPartition::default()
                }],
            }],
            ..TxnOffsetCommitRequest::default()
        }
    }

    /// A copy of `batch` with this producer's id, epoch and sequence, and its checksum.
    fn stamped(&self, batch: &Bytes) -> Bytes {
        let mut bytes = BytesMut::from(&batch[..]);
        bytes[PRODUCER_ID_AT..EPOCH_AT].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[EPOCH_AT..SEQUENCE_AT].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[SEQUENCE_AT..SEQUENCE_AT + 4].copy_from_slice(&self.sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes.freeze()
    }

    /// Takes an answer of the step at hand.
    ///
    /// # Errors
    /// Bytes that cannot be read, or a refusal that waiting does not mend.
    pub(crate) fn hear(
        &mut self,
        plan: &TransactionPlan,
        step: Step,
        answer: Answer<'_, '_>,
    ) -> Result<Progress, Failure> {
        let now = answer.now_ns;
        let mut next_epoch = None;
        let (api, codes) = read_codes(plan, step, answer, &mut next_epoch)?;
        for code in codes.into_iter().filter(|code| *code != 0) {
            if !is_passing(code) {
                return Err(Failure::Declined { api, code });
            }
            self.must_retry = true;
        }
        self.awaited -= 1;
        if self.awaited > 0 {
            return Ok(Progress::Going);
        }
        if self.must_retry {
            self.due_ns = Some(now + plan.backoff_ns);
            return Ok(Progress::Again);
        }
        self.due_ns = Some(now);
        if step != Step::End {
            self.step = self.next_step(plan.flow);
            return Ok(Progress::Going);
        }
        self.step = first_step(plan.flow);
        self.count += 1;
        self.offset += 1;
        self.sequence = self.sequence.wrapping_add(plan.records_per_batch) & i32::MAX;
        if let Some((producer_id, epoch)) = next_epoch {
            if (producer_id, epoch) != (self.producer_id, self.epoch) {
                self.sequence = 0;
            }
            (self.producer_id, self.epoch) = (producer_id, epoch);
        }
        Ok(Progress::Ended)
    }

    /// Forgets the times of the transaction that has ended.
    pub(crate) fn begin_anew(&mut self) {
        self.began_ns = 0;
        self.end_ns = 0;
    }

    fn next_step(&self, flow: Flow) -> Step {
        match (self.step, flow) {
            (Step::AddPartitions, _) => Step::Produce,
            (Step::Produce, Flow::One) if self.group.is_some() => Step::AddOffsets,
            (Step::Produce, Flow::Two) if self.group.is_some() => Step::CommitOffsets,
            (Step::AddOffsets, _) => Step::CommitOffsets,
            (Step::Produce | Step::CommitOffsets | Step::End, _) => Step::End,
        }
    }
}

fn first_step(flow: Flow) -> Step {
    match flow {
        Flow::One => Step::AddPartitions,
        Flow::Two => Step::Produce,
    }
}

/// The name of the request and every error code of its answer; EndTxn may say the next epoch.
fn read_codes(
    plan: &TransactionPlan,
    step: Step,
    answer: Answer<'_, '_>,
    next_epoch: &mut Option<(i64, i16)>,
) -> Result<(&'static str, Vec<i16>), Failure> {
    let versions = plan.versions;
    Ok(match step {
        Step::AddPartitions => {
            let answer = answer.read::<AddPartitionsToTxnRequest>(versions.add_partitions)?;
            let topics = answer.results_by_topic_v3_and_below.iter();
            let results = topics.flat_map(|topic| &topic.results_by_partition);
            ("AddPartitionsToTxn", results.map(|result| result.partition_error_code).collect())
        }
        Step::Produce => {
            let answer = answer.read::<ProduceRequest>(versions.produce)?;
            let results = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            ("Produce", results.map(|result| result.error_code).collect())
        }
        Step::AddOffsets => {
            let answer = answer.read::<AddOffsetsToTxnRequest>(versions.add_offsets)?;
            ("AddOffsetsToTxn", vec![answer.error_code])
        }
        Step::CommitOffsets => {
            let answer = answer.read::<TxnOffsetCommitRequest>(versions.commit)?;
            let results = answer.topics.iter().flat_map(|topic| &topic.partitions);
            ("TxnOffsetCommit", results.map(|result| result.error_code).collect())
        }
        Step::End => {
            let answer = answer.read::<EndTxnRequest>(versions.end)?;
            if plan.flow == Flow::Two && answer.producer_id >= 0 {
                *next_epoch = Some((answer.producer_id, answer.producer_epoch));
            }
            ("EndTxn", vec![answer.error_code])
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
    use highwater::protocol::record_batch::CheckedBatch;

    #[test]
    fn a_stamped_batch_passes_the_brokers_own_check() {
        let options = BatchOptions { is_transactional: true, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() }).unwrap();
        let mut producer = Producer::new("t".to_owned(), Flow::Two);
        (producer.producer_id, producer.epoch, producer.sequence) = (77, 5, 1234);
        let stamped = producer.stamped(&builder.build().unwrap());
        let checked = CheckedBatch::check_produced(stamped).unwrap();
        assert_eq!(checked.header().producer_id(), 77);
        assert_eq!(checked.header().producer_epoch(), 5);
        assert_eq!(checked.header().base_sequence(), 1234);
    }

    #[test]
    fn steps_follow_the_flow() {
        let steps = |flow, group: Option<GroupOffsets>| {
            let mut producer = Producer::new("t".to_owned(), flow);
            producer.group = group;
            let mut steps = vec![producer.step];
            while producer.step != Step::End {
                producer.step = producer.next_step(flow);
                steps.push(producer.step);
            }
            steps
        };
        let group = Some(GroupOffsets { group: "g".to_owned(), link: 0 });
        use Step::{AddOffsets, AddPartitions, CommitOffsets, End, Produce};
        assert_eq!(steps(Flow::One, None), [AddPartitions, Produce, End]);
        let one = steps(Flow::One, group.clone());
        assert_eq!(one, [AddPartitions, Produce, AddOffsets, CommitOffsets, End]);
        assert_eq!(steps(Flow::Two, group), [Produce, CommitOffsets, End]);
    }
}
