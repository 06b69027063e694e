//! A transactional producer with one request in flight. It goes on where it stood when its broker
//! comes back, as clients do, or has forgotten everything and begins anew.

use super::history::{Fate, History, Transaction, TransactionId};
use super::{GROUP, TIMEOUT_MS_MAX, TOPIC};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use highwater::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::records::Records;
use highwater::sim::broker::SimClient;
use highwater::sim::executor::SimHandle;
use highwater::sim::random::Random;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uuid::Uuid;

/// `key_type` of FindCoordinator: of groups, and of transactional ids.
const KEY_TYPES: [i8; 2] = [0, 1];

/// Which of Kafka's protocols a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Partitions are added by the client; one epoch for all transactions.
    Old,
    /// Partitions join with the first batch; each transaction has an epoch (KIP-890).
    New,
}

/// How a producer means to end its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    Abort,
    /// It takes its id anew instead.
    Abandon,
}

#[derive(Debug)]
struct Open {
    id: TransactionId,
    batches: Vec<(i32, Vec<String>)>,
    sent: usize,
    is_added: bool,
    has_offset: bool,
    is_offset_added: bool,
    is_offset_sent: bool,
    ending: Ending,
}

pub(crate) struct Producer {
    number: usize,
    transactional_id: String,
    flow: Flow,
    timeout_ms: i32,
    identity: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    begun: u64,
    open: Option<Open>,
    /// Coordinators that were asked for since the broker came back.
    found: usize,
}

/// What an answer means to a producer.
enum Turn {
    Done,
    Again,
    /// It is not the producer any more that it was, or its transaction cannot go on.
    Lost,
}

fn turn(code: i16) -> Turn {
    let code = KafkaCode::from_number(code).unwrap();
    match code {
        KafkaCode::None => Turn::Done,
        KafkaCode::ProducerFenced
        | KafkaCode::InvalidProducerEpoch
        | KafkaCode::InvalidTxnState
        | KafkaCode::InvalidProducerIdMapping
        | KafkaCode::TransactionAbortable => Turn::Lost,
        code if code.is_retriable() => Turn::Again,
        code => panic!("{code:?}"),
    }
}

impl Producer {
    pub(crate) fn new(number: usize, random: &mut Random) -> Producer {
        let timeouts = u64::try_from(TIMEOUT_MS_MAX - 20).unwrap();
        Producer {
            number,
            transactional_id: format!("id-{}", number.max(1)),
            flow: if random.chance(50) { Flow::Old } else { Flow::New },
            timeout_ms: 20 + i32::try_from(random.below(timeouts)).unwrap(),
            identity: None,
            sequences: BTreeMap::new(),
            begun: 0,
            open: None,
            found: 0,
        }
    }

    /// The application was started anew.
    pub(crate) fn forget_everything(&mut self) {
        self.identity = None;
        self.open = None;
    }

    fn begin(&mut self, random: &mut Random, history: &mut History) {
        self.begun += 1;
        let id = (self.number, self.begun);
        let mut values: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut batches = Vec::new();
        for batch in 0..1 + random.index(4) {
            let partition = i32::try_from(random.index(4)).unwrap();
            let size = if random.chance(3) { 100_000 } else { random.index(200) };
            let own: Vec<String> = (0..1 + random.index(3))
                .map(|n| format!("{}-{}-{batch}-{n}-{}", id.0, id.1, "x".repeat(size)))
                .collect();
            values.entry(partition).or_default().extend(own.clone());
            batches.push((partition, own));
        }
        let ending = match random.below(100) {
            0..65 => Ending::Commit,
            65..90 => Ending::Abort,
            _ => Ending::Abandon,
        };
        let has_offset = random.chance(40);
        let transaction = Transaction { fate: Fate::NeverCommitted, values, has_offset };
        history.transactions.insert(id, transaction);
        self.open = Some(Open {
            id,
            batches,
            sent: 0,
            is_added: false,
            has_offset,
            is_offset_added: false,
            is_offset_sent: false,
            ending,
        });
    }
}

/// What is to be sent next.
enum Request {
    Find(FindCoordinatorRequest),
    Init(InitProducerIdRequest),
    Add(AddPartitionsToTxnRequest),
    AddOffsets(AddOffsetsToTxnRequest),
    Produce(ProduceRequest),
    Offsets(TxnOffsetCommitRequest),
    End(EndTxnRequest),
}

/// Runs transactions one after the other, for ever.
pub(crate) async fn run_producer(
    mut client: SimClient,
    handle: SimHandle,
    topic: Uuid,
    producer: Rc<RefCell<Producer>>,
    history: Rc<RefCell<History>>,
) {
    producer.borrow_mut().found = 0;
    loop {
        let request = {
            let mut producer = producer.borrow_mut();
            if producer.identity.is_some() && producer.open.is_none() {
                handle.random(|random| producer.begin(random, &mut history.borrow_mut()));
            }
            producer.next_request(topic, &mut history.borrow_mut())
        };
        // A producer that stands still between its requests may wake up as a zombie.
        let pause_us =
            handle.random(|random| if random.chance(15) { random.below(25_000) } else { 0 });
        if pause_us > 0 {
            handle.sleep_us(pause_us).await;
        }
        let flow = producer.borrow().flow;
        let Some(answer) = send(&mut client, &request, flow).await else { return };
        let turn = producer.borrow_mut().take(&request, answer, &mut history.borrow_mut());
        let pause_us = match turn {
            Turn::Done => 0,
            Turn::Again => 500,
            // Two producers with one id would otherwise do nothing but fence each other.
            Turn::Lost => handle.random(|random| 2000 + random.below(20_000)),
        };
        if pause_us > 0 {
            handle.sleep_us(pause_us).await;
        }
    }
}

/// Code of an answer, and the identity that it gives.
struct Answer {
    code: i16,
    identity: (i64, i16),
}

async fn send(client: &mut SimClient, request: &Request, flow: Flow) -> Option<Answer> {
    let is_new = flow == Flow::New;
    let code = |code| Answer { code, identity: (-1, -1) };
    Some(match request {
        Request::Find(request) => code(client.call(request).await?.coordinators[0].error_code),
        Request::Init(request) => {
            let answer = client.call(request).await?;
            let identity = (answer.producer_id, answer.producer_epoch);
            Answer { code: answer.error_code, identity }
        }
        Request::Add(request) => {
            let answer = client.call_version(request, 3).await?;
            let topic = &answer.results_by_topic_v3_and_below[0];
            let codes = topic.results_by_partition.iter().map(|one| one.partition_error_code);
            code(codes.max().unwrap())
        }
        Request::AddOffsets(request) => code(client.call(request).await?.error_code),
        Request::Produce(request) => {
            let answer = client.call_version(request, if is_new { 13 } else { 11 }).await?;
            code(answer.responses[0].partition_responses[0].error_code)
        }
        Request::Offsets(request) => {
            let answer = client.call_version(request, if is_new { 5 } else { 3 }).await?;
            code(answer.topics[0].partitions[0].error_code)
        }
        Request::End(request) => {
            let answer = client.call_version(request, if is_new { 5 } else { 4 }).await?;
            let identity = (answer.producer_id, answer.producer_epoch);
            Answer { code: answer.error_code, identity }
        }
    })
}

impl Producer {
    fn next_request(&self, topic: Uuid, history: &mut History) -> Request {
        let transactional_id = self.transactional_id.clone();
        if let Some(key_type) = KEY_TYPES.get(self.found) {
            let key = if *key_type == 0 { GROUP.to_owned() } else { transactional_id };
            return Request::Find(FindCoordinatorRequest {
                key_type: *key_type,
                coordinator_keys: vec![key],
                ..Default::default()
            });
        }
        let Some((producer_id, producer_epoch)) = self.identity else {
            return Request::Init(InitProducerIdRequest {
                transactional_id: Some(transactional_id),
                transaction_timeout_ms: self.timeout_ms,
                ..Default::default()
            });
        };
        let open = self.open.as_ref().expect("begun before");
        if self.flow == Flow::Old && !open.is_added {
            let partitions: BTreeSet<i32> = open.batches.iter().map(|batch| batch.0).collect();
            let partitions = partitions.into_iter().collect();
            return Request::Add(AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: transactional_id,
                v3_and_below_producer_id: producer_id,
                v3_and_below_producer_epoch: producer_epoch,
                v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                    name: TOPIC.to_owned(),
                    partitions,
                }],
                ..Default::default()
            });
        }
        if let Some(batch) = open.batches.get(open.sent) {
            return Request::Produce(self.produce(topic, batch));
        }
        if self.flow == Flow::Old && open.has_offset && !open.is_offset_added {
            let group_id = GROUP.to_owned();
            return Request::AddOffsets(AddOffsetsToTxnRequest {
                transactional_id,
                producer_id,
                producer_epoch,
                group_id,
            });
        }
        if open.has_offset && !open.is_offset_sent {
            return Request::Offsets(self.commit_offset(open));
        }
        if open.ending == Ending::Commit {
            history.transactions.get_mut(&open.id).unwrap().fate = Fate::InDoubt;
        }
        let committed = open.ending == Ending::Commit;
        Request::End(EndTxnRequest { transactional_id, producer_id, producer_epoch, committed })
    }

    fn produce(&self, topic: Uuid, (partition, values): &(i32, Vec<String>)) -> ProduceRequest {
        let (producer_id, producer_epoch) = self.identity.expect("asked for before");
        let base_sequence = self.sequences.get(partition).copied().unwrap_or(0);
        let producer = ProducerStamp { producer_id, producer_epoch, base_sequence };
        let options = BatchOptions { producer, is_transactional: true, ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        for value in values {
            let record = NewRecord {
                timestamp_ms: 1_700_000_000_000,
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let records = Records::from(builder.build().unwrap());
        let is_new = self.flow == Flow::New;
        ProduceRequest {
            transactional_id: Some(self.transactional_id.clone()),
            acks: -1,
            timeout_ms: 60_000,
            topic_data: vec![TopicProduceData {
                name: if is_new { String::new() } else { TOPIC.to_owned() },
                topic_id: if is_new { topic } else { Uuid::nil() },
                partition_data: vec![PartitionProduceData { index: *partition, records }],
            }],
        }
    }

    fn commit_offset(&self, open: &Open) -> TxnOffsetCommitRequest {
        let (producer_id, producer_epoch) = self.identity.expect("asked for before");
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: i32::try_from(self.number).unwrap(),
            committed_offset: i64::try_from(open.id.1).unwrap(),
            ..Default::default()
        };
        TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: GROUP.to_owned(),
            producer_id,
            producer_epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![partition],
            }],
            ..Default::default()
        }
    }

    fn take(&mut self, request: &Request, answer: Answer, history: &mut History) -> Turn {
        let turn = turn(answer.code);
        match turn {
            Turn::Again => return turn,
            Turn::Lost => {
                self.forget_everything();
                return turn;
            }
            Turn::Done => {}
        }
        let open = self.open.as_mut();
        match request {
            Request::Find(_) => self.found += 1,
            Request::Init(_) => {
                self.identity = Some(answer.identity);
                self.sequences.clear();
            }
            Request::Add(_) => open.unwrap().is_added = true,
            Request::AddOffsets(_) => open.unwrap().is_offset_added = true,
            Request::Produce(_) => {
                let open = open.unwrap();
                let (partition, values) = &open.batches[open.sent];
                *self.sequences.entry(*partition).or_default() +=
                    i32::try_from(values.len()).unwrap();
                open.sent += 1;
                if open.ending == Ending::Abandon && open.sent == open.batches.len() {
                    self.forget_everything();
                }
            }
            Request::Offsets(_) => open.unwrap().is_offset_sent = true,
            Request::End(end) => {
                let id = open.unwrap().id;
                if end.committed {
                    history.transactions.get_mut(&id).unwrap().fate = Fate::Committed;
                }
                self.open = None;
                if self.flow == Flow::New {
                    self.identity = Some(answer.identity);
                    self.sequences.clear();
                }
            }
        }
        turn
    }
}
