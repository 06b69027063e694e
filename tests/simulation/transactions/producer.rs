//! A transactional producer with one request in flight. It goes on where it stood when its broker
//! comes back, as clients do, or has forgotten everything and begins anew.

use super::history::{Fate, History, Input, Transaction, TransactionId};
use super::seat::{self, Seat};
use super::{GROUP, PRODUCERS, TIMEOUT_MS_MAX, TOPIC, WORKERS, transactional_id};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use highwater::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use highwater::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::offset_fetch::OffsetFetchRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::records::Records;
use highwater::protocol::schema;
use highwater::sim::executor::SimHandle;
use highwater::sim::network::{Ask, Endpoint, Network, Patience};
use highwater::sim::random::Random;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uuid::Uuid;

/// `key_type` of FindCoordinator: of groups, and of transactional ids.
const KEY_TYPES: [i8; 2] = [0, 1];
/// Longest time that a producer stands still, in microseconds: longer than a seat outlasts silence.
const PAUSE_US_MAX: u64 = 30_000;
/// How long a client waits for an answer before it sends its request again, in microseconds.
const PATIENCE_US: u64 = 15_000;
/// How long one waits that has enough of a batch, in microseconds.
const IMPATIENCE_US: u64 = 500;

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
    /// It does not wait for its last batch, and aborts while that may still be under way.
    Desert,
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
    input: Option<Input>,
    /// Its end has been asked for.
    is_ending: bool,
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
    /// In the group whose input it transforms, if it does.
    seat: Option<Seat>,
}

/// What an answer means to a producer.
enum Turn {
    Done,
    Again,
    /// The group has given its seat to another one, or is about to: its transaction must not go on.
    Unseated,
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
        KafkaCode::IllegalGeneration
        | KafkaCode::UnknownMemberId
        | KafkaCode::FencedMemberEpoch
        | KafkaCode::StaleMemberEpoch => Turn::Unseated,
        code if code.is_retriable() => Turn::Again,
        code => panic!("{code:?}"),
    }
}

impl Producer {
    pub(crate) fn new(number: usize, random: &mut Random) -> Producer {
        let timeouts = u64::try_from(TIMEOUT_MS_MAX - 20).unwrap();
        Producer {
            number,
            transactional_id: transactional_id(number),
            flow: if random.chance(50) { Flow::Old } else { Flow::New },
            timeout_ms: 20 + i32::try_from(random.below(timeouts)).unwrap(),
            identity: None,
            sequences: BTreeMap::new(),
            begun: 0,
            open: None,
            found: 0,
            seat: (number >= PRODUCERS).then(|| Seat::new(number)),
        }
    }

    /// The application was started anew.
    pub(crate) fn forget_everything(&mut self) {
        self.identity = None;
        self.open = None;
        if let Some(seat) = &mut self.seat {
            seat.forget_positions();
        }
    }

    fn group(&self) -> &'static str {
        if self.seat.is_some() { WORKERS } else { GROUP }
    }

    fn begin(&mut self, input: Option<Input>, random: &mut Random, history: &mut History) {
        self.begun += 1;
        let id = (self.number, self.begun);
        let mut values: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut batches = Vec::new();
        for batch in 0..1 + random.index(3) {
            let partition = i32::try_from(random.index(4)).unwrap();
            let size = if random.chance(1) { 100_000 } else { random.index(60) };
            let own: Vec<String> = (0..1 + random.index(3))
                .map(|n| format!("{}-{}-{batch}-{n}-{}", id.0, id.1, "x".repeat(size)))
                .collect();
            values.entry(partition).or_default().extend(own.clone());
            batches.push((partition, own));
        }
        let ending = match random.below(100) {
            0..65 => Ending::Commit,
            65..80 => Ending::Abort,
            80..90 => Ending::Desert,
            _ => Ending::Abandon,
        };
        let has_offset = input.is_some() || random.chance(40);
        let transaction = Transaction { fate: Fate::NeverCommitted, values, has_offset, input };
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
            input,
            is_ending: false,
        });
    }
}

/// What is to be sent next.
enum Request {
    Find(FindCoordinatorRequest),
    Beat(ConsumerGroupHeartbeatRequest),
    Positions(OffsetFetchRequest),
    Init(InitProducerIdRequest),
    Add(AddPartitionsToTxnRequest),
    AddOffsets(AddOffsetsToTxnRequest),
    Produce(ProduceRequest),
    Offsets(TxnOffsetCommitRequest),
    End(EndTxnRequest),
}

/// Runs transactions one after the other, for ever.
pub(crate) async fn run_producer(
    network: Network,
    topic: Uuid,
    producer: Rc<RefCell<Producer>>,
    history: Rc<RefCell<History>>,
) {
    let (mut endpoint, handle) = (network.endpoint(), network.handle());
    producer.borrow_mut().greet();
    loop {
        let request = {
            let (producer, history) = (&mut *producer.borrow_mut(), &mut *history.borrow_mut());
            match producer.prepare(topic, &handle, history) {
                Some(request) => request,
                None => producer.next_request(topic, history),
            }
        };
        // A producer that stands still between its requests may wake up as a zombie.
        let pause_us =
            handle.random(|random| if random.chance(15) { random.below(PAUSE_US_MAX) } else { 0 });
        if pause_us > 0 {
            handle.sleep_us(pause_us).await;
        }
        let manner = producer.borrow().manner(&request);
        let answer = send(&mut endpoint, &request, manner).await;
        let turn = match answer {
            Some(answer) => producer.borrow_mut().take(&request, answer, &mut history.borrow_mut()),
            None => producer.borrow_mut().go_on_without(&request),
        };
        let pause_us = match turn {
            Turn::Done => 0,
            Turn::Again | Turn::Unseated => 500,
            // Two producers with one id would otherwise do nothing but fence each other.
            Turn::Lost => handle.random(|random| 2000 + random.below(20_000)),
        };
        if pause_us > 0 {
            handle.sleep_us(pause_us).await;
        }
    }
}

/// Code of an answer, and what it gives.
struct Answer {
    code: i16,
    given: Given,
}

enum Given {
    Nothing,
    Identity((i64, i16)),
    Seat(ConsumerGroupHeartbeatResponse),
    Positions(Vec<(i32, i64)>),
}

/// How a request is sent.
#[derive(Clone, Copy)]
struct Manner {
    flow: Flow,
    patience: Patience,
    is_resent: bool,
}

async fn ask<R>(
    endpoint: &mut Endpoint,
    request: &R,
    version: i16,
    m: Manner,
) -> Option<R::Response>
where
    R: schema::Request + Clone + 'static,
    R::Response: 'static,
{
    let (patience, is_resent) = (m.patience, m.is_resent);
    endpoint.call(Ask { request: request.clone(), version, patience, is_resent }).await
}

async fn send(to: &mut Endpoint, request: &Request, m: Manner) -> Option<Answer> {
    let is_new = m.flow == Flow::New;
    let code = |code| Answer { code, given: Given::Nothing };
    Some(match request {
        Request::Find(request) => code(ask(to, request, 4, m).await?.coordinators[0].error_code),
        Request::Beat(request) => {
            let answer = ask(to, request, 1, m).await?;
            Answer { code: answer.error_code, given: Given::Seat(answer) }
        }
        Request::Positions(request) => {
            let (code, positions) = seat::positions(&ask(to, request, 9, m).await?);
            Answer { code, given: Given::Positions(positions) }
        }
        Request::Init(request) => {
            let answer = ask(to, request, 4, m).await?;
            let identity = (answer.producer_id, answer.producer_epoch);
            Answer { code: answer.error_code, given: Given::Identity(identity) }
        }
        Request::Add(request) => {
            let answer = ask(to, request, 3, m).await?;
            let topic = &answer.results_by_topic_v3_and_below[0];
            let codes = topic.results_by_partition.iter().map(|one| one.partition_error_code);
            code(codes.max().unwrap())
        }
        Request::AddOffsets(request) => code(ask(to, request, 3, m).await?.error_code),
        Request::Produce(request) => {
            let answer = ask(to, request, if is_new { 13 } else { 11 }, m).await?;
            code(answer.responses[0].partition_responses[0].error_code)
        }
        Request::Offsets(request) => {
            let answer = ask(to, request, if is_new { 5 } else { 3 }, m).await?;
            code(answer.topics[0].partitions[0].error_code)
        }
        Request::End(request) => {
            let answer = ask(to, request, if is_new { 5 } else { 4 }, m).await?;
            let identity = (answer.producer_id, answer.producer_epoch);
            Answer { code: answer.error_code, given: Given::Identity(identity) }
        }
    })
}

impl Producer {
    /// A broker has come up.
    fn greet(&mut self) {
        self.found = 0;
        if let Some(seat) = &mut self.seat {
            seat.doubt();
        }
    }

    /// What must be asked before a transaction can go on.
    fn prepare(
        &mut self,
        topic: Uuid,
        handle: &SimHandle,
        history: &mut History,
    ) -> Option<Request> {
        let transactional_id = self.transactional_id.clone();
        if let Some(key_type) = KEY_TYPES.get(self.found) {
            let key = if *key_type == 0 { self.group().to_owned() } else { transactional_id };
            return Some(Request::Find(FindCoordinatorRequest {
                key_type: *key_type,
                coordinator_keys: vec![key],
                ..Default::default()
            }));
        }
        if let Some(seat) = &mut self.seat
            && seat.is_due(handle.now().monotonic_us)
        {
            return Some(Request::Beat(seat.beat(topic, handle.now().monotonic_us)));
        }
        if self.identity.is_none() {
            return Some(Request::Init(InitProducerIdRequest {
                transactional_id: Some(transactional_id),
                transaction_timeout_ms: self.timeout_ms,
                ..Default::default()
            }));
        }
        if self.open.is_some() {
            return None;
        }
        let chosen = self.seat.as_ref().and_then(|seat| handle.random(|r| seat.choose(r)));
        if let Some((_, None)) = chosen {
            return Some(Request::Positions(seat::positions_request()));
        }
        handle.random(|random| {
            let input = chosen.and_then(|(partition, position)| {
                let from = position?;
                Some((partition, from, from + 1 + i64::try_from(random.below(3)).unwrap()))
            });
            self.begin(input, random, history);
        });
        None
    }

    /// How a request is sent. The old protocol has nothing that would tell a late request of an
    /// earlier transaction from one of this: its clients must not let them be under way twice.
    fn manner(&self, request: &Request) -> Manner {
        let is_of_one_epoch = self.flow == Flow::Old
            && matches!(
                request,
                Request::Add(_) | Request::AddOffsets(_) | Request::Offsets(_) | Request::End(_)
            );
        let is_deserted = matches!(request, Request::Produce(_))
            && self.open.as_ref().is_some_and(Open::is_at_desertion);
        let patience = match request {
            Request::Beat(_) => Patience::UntilGone,
            _ if is_of_one_epoch => Patience::UntilGone,
            _ if is_deserted => Patience::Us(IMPATIENCE_US),
            _ => Patience::Us(PATIENCE_US),
        };
        let is_resent = !is_deserted && !matches!(request, Request::Beat(_));
        Manner { flow: self.flow, patience, is_resent }
    }

    /// No answer came, and the request is not sent again.
    fn go_on_without(&mut self, request: &Request) -> Turn {
        match request {
            Request::Beat(_) => self.greet_seat(),
            _ => {
                let open = self.open.as_mut().expect("only batches are deserted");
                assert!(open.ending == Ending::Desert);
                open.sent += 1;
                open.has_offset = false;
            }
        }
        Turn::Done
    }

    fn greet_seat(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.doubt();
        }
    }

    fn next_request(&mut self, topic: Uuid, history: &mut History) -> Request {
        let transactional_id = self.transactional_id.clone();
        let (producer_id, producer_epoch) = self.identity.expect("asked for before");
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
            let group_id = self.group().to_owned();
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
        let open = self.open.as_mut().expect("begun before");
        open.is_ending = true;
        let committed = open.ending == Ending::Commit;
        if committed {
            history.transactions.get_mut(&open.id).unwrap().fate = Fate::InDoubt;
        }
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
        let own = (i32::try_from(self.number).unwrap(), i64::try_from(open.id.1).unwrap());
        let (partition_index, committed_offset) =
            open.input.map_or(own, |(partition, _, to)| (partition, to));
        let partition = TxnOffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            ..Default::default()
        };
        let seat = self.seat.as_ref();
        TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: self.group().to_owned(),
            producer_id,
            producer_epoch,
            generation_id: seat.map_or(-1, |seat| seat.epoch),
            member_id: seat.map_or_else(String::new, |seat| seat.member.clone()),
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
            Turn::Again => {}
            Turn::Lost => self.forget_everything(),
            Turn::Unseated => self.on_unseated(request),
            Turn::Done => {
                self.on_success(request, answer.given, history);
                if matches!(request, Request::Beat(_))
                    && self.seat.as_ref().is_some_and(Seat::is_idle)
                {
                    return Turn::Again;
                }
            }
        }
        turn
    }

    /// What was consumed may be another one's by now: the transaction is aborted.
    fn on_unseated(&mut self, request: &Request) {
        let seat = self.seat.as_mut().expect("only those with a seat are told so");
        match request {
            Request::Beat(_) => seat.lose(),
            _ => seat.forget_positions(),
        }
        if let Some(open) = &mut self.open {
            open.give_up();
        }
    }

    fn on_success(&mut self, request: &Request, given: Given, history: &mut History) {
        history.promises += usize::from(matches!(request, Request::End(_) | Request::Produce(_)));
        match (request, given) {
            (Request::Find(_), _) => self.found += 1,
            (Request::Beat(_), Given::Seat(answer)) => self.on_seat(&answer),
            (Request::Positions(_), Given::Positions(positions)) => {
                let seat = self.seat.as_mut().expect("it asked");
                positions.into_iter().for_each(|(index, at)| seat.go_on_at(index, at));
            }
            (Request::Init(_), Given::Identity(identity)) => {
                self.identity = Some(identity);
                self.sequences.clear();
            }
            (Request::End(end), Given::Identity(identity)) => {
                self.on_end(end.committed, identity, history);
            }
            (Request::Produce(_), _) => self.on_produced(),
            (Request::Add(_), _) => self.open.as_mut().unwrap().is_added = true,
            (Request::AddOffsets(_), _) => self.open.as_mut().unwrap().is_offset_added = true,
            (Request::Offsets(_), _) => self.open.as_mut().unwrap().is_offset_sent = true,
            _ => panic!("an answer to another request"),
        }
    }

    fn on_seat(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        let seat = self.seat.as_mut().expect("it asked");
        seat.take(answer);
        if let Some(open) = &mut self.open
            && open.input.is_some_and(|input| !seat.covers(input))
        {
            open.give_up();
        }
    }

    fn on_produced(&mut self) {
        let open = self.open.as_mut().unwrap();
        let (partition, values) = &open.batches[open.sent];
        *self.sequences.entry(*partition).or_default() += i32::try_from(values.len()).unwrap();
        open.sent += 1;
        if open.ending == Ending::Abandon && open.sent == open.batches.len() {
            self.forget_everything();
        }
    }

    fn on_end(&mut self, committed: bool, identity: (i64, i16), history: &mut History) {
        let open = self.open.take().unwrap();
        if committed {
            history.transactions.get_mut(&open.id).unwrap().fate = Fate::Committed;
        }
        match (&mut self.seat, open.input) {
            (Some(seat), Some((partition, _, to))) if committed => seat.go_on_at(partition, to),
            (Some(seat), _) => seat.forget_positions(),
            (None, _) => {}
        }
        if self.flow == Flow::New {
            self.identity = Some(identity);
            self.sequences.clear();
        } else if open.ending == Ending::Desert {
            // Nobody knows whether the batch that it did not wait for counts.
            self.identity = None;
        }
    }
}

impl Open {
    fn is_at_desertion(&self) -> bool {
        self.ending == Ending::Desert && self.sent + 1 == self.batches.len()
    }

    /// Nothing more is written: it is aborted, unless a commit has been asked for already.
    fn give_up(&mut self) {
        if !self.is_ending {
            // The next batch may have been sent before a crash, and a doubt stays one.
            let is_in_doubt = self.sent < self.batches.len() || self.ending == Ending::Desert;
            self.ending = if is_in_doubt { Ending::Desert } else { Ending::Abort };
            self.sent = self.batches.len();
            self.has_offset = false;
        }
    }
}
