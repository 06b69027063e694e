//! Transactional producers of both protocols: each consumes positions of an input that is its own,
//! writes, and commits the position in the same transaction. It goes on where the group says.

use super::TXN_TOPIC;
use super::caller::{Caller, Net, RETRY_US};
use super::coordinated::{Coordinators, Kind, Turn, turn};
use super::past::{Fate, History, Transaction, TransactionId};
use super::producer::timestamp_ms;
use highwater::protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use highwater::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::schema::Request;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uuid::Uuid;

/// Whose offsets are the producers' positions; the partition is the producer's number.
pub(crate) const GROUP: &str = "transformers";
/// Partitions of the topic that they write.
pub(crate) const PARTITIONS: i32 = 2;
/// How many there are at most.
pub(crate) const PRODUCERS_MAX: usize = 2;
/// Longest pause between two transactions, in microseconds.
const PAUSE_US_MAX: u64 = 100_000;
/// How long a broker lets a transaction be open, in milliseconds.
const TIMEOUT_MS: i32 = 2000;

/// Which of Kafka's protocols a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Partitions are added by the client; one epoch for all transactions.
    Old,
    /// Partitions join with the first batch; each transaction has an epoch (KIP-890).
    New,
}

/// The producer is not any more what it was, or its transaction cannot go on.
struct Lost;

struct Producer {
    number: usize,
    flow: Flow,
    topic: Uuid,
    identity: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    position: Option<i64>,
    begun: u64,
    caller: Caller,
    coordinators: Coordinators,
    history: Rc<RefCell<History>>,
}

pub(crate) fn transactional_id(number: usize) -> String {
    format!("transformer-{number}")
}

/// Runs transactions one after the other.
pub(crate) async fn run(net: Net, topic: Uuid, number: usize, history: Rc<RefCell<History>>) {
    let flow = if net.random(|random| random.chance(50)) { Flow::Old } else { Flow::New };
    let mut producer = Producer {
        number,
        flow,
        topic,
        identity: None,
        sequences: BTreeMap::new(),
        position: None,
        begun: 0,
        caller: Caller::new(&net),
        coordinators: Coordinators::default(),
        history,
    };
    while !net.is_over.get() {
        if producer.transact().await.is_err() || net.random(|random| random.chance(5)) {
            producer.identity = None;
            producer.position = None;
        }
        net.pause(PAUSE_US_MAX).await;
    }
}

/// Takes an id anew, which ends whatever transaction it has.
pub(crate) async fn take_id(net: &Net, number: usize) {
    let mut caller = Caller::new(net);
    let mut coordinators = Coordinators::default();
    while init(&mut caller, &mut coordinators, number).await.is_err() {}
}

/// Takes the first producer's id anew, and a group's offsets into its transaction.
pub(crate) async fn add_offsets(caller: &mut Caller, coordinators: &mut Coordinators, group: &str) {
    while coordinators.find(caller, Kind::Group, group).await.is_none() {}
    let Ok((producer_id, producer_epoch)) = init(caller, coordinators, 0).await else {
        panic!("nobody else has the id");
    };
    let id = transactional_id(0);
    let request = || AddOffsetsToTxnRequest {
        transactional_id: id.clone(),
        producer_id,
        producer_epoch,
        group_id: group.to_owned(),
    };
    let ask = Ask { kind: Kind::Transaction, key: &id, version: 3 };
    let added = until_done(caller, coordinators, ask, request, |answer| answer.error_code).await;
    assert!(added.is_ok(), "nobody else has the id");
}

async fn init(
    caller: &mut Caller,
    coordinators: &mut Coordinators,
    number: usize,
) -> Result<(i64, i16), Lost> {
    let request = || InitProducerIdRequest {
        transactional_id: Some(transactional_id(number)),
        transaction_timeout_ms: TIMEOUT_MS,
        producer_id: -1,
        producer_epoch: -1,
    };
    let ask = Ask { kind: Kind::Transaction, key: &transactional_id(number), version: 4 };
    let answer = until_done(caller, coordinators, ask, request, |answer| answer.error_code).await?;
    Ok((answer.producer_id, answer.producer_epoch))
}

#[derive(Clone, Copy)]
struct Ask<'a> {
    kind: Kind,
    key: &'a str,
    version: i16,
}

/// Asks a coordinator until it has done what it is asked for. A request is not sent again before
/// the one before it is gone: the old protocol has nothing that would tell them apart.
async fn until_done<R>(
    caller: &mut Caller,
    coordinators: &mut Coordinators,
    ask: Ask<'_>,
    request: impl Fn() -> R,
    code: impl Fn(&R::Response) -> i16,
) -> Result<R::Response, Lost>
where
    R: Request + 'static,
    R::Response: 'static,
{
    loop {
        let Some(at) = coordinators.find(caller, ask.kind, ask.key).await else { continue };
        let answer = caller.call_version(at, request(), ask.version).await;
        let told = answer.as_ref().map(&code);
        caller.net.say(|| format!("{} of {at}: {told:?}", std::any::type_name::<R>()));
        match told.map_or(Turn::Again, turn) {
            Turn::Done => return answer.ok_or(Lost),
            Turn::Lost => return Err(Lost),
            Turn::Again => {}
        }
        coordinators.forget(ask.kind, ask.key);
        caller.until_gone().await;
        caller.net.pause(RETRY_US).await;
    }
}

impl Producer {
    async fn transact(&mut self) -> Result<(), Lost> {
        if self.identity.is_none() {
            let id = init(&mut self.caller, &mut self.coordinators, self.number).await?;
            self.identity = Some(id);
            self.sequences.clear();
        }
        let from = self.position().await;
        let net = self.caller.net.clone();
        let (count, wants_commit) = net.random(|random| (1 + random.below(3), random.chance(70)));
        let to = from + i64::try_from(count).unwrap();
        let (id, batches) = self.begin((from, to));
        if self.flow == Flow::Old {
            self.add_partitions(&batches).await?;
        }
        for (partition, values) in &batches {
            self.produce(*partition, values).await?;
        }
        self.commit_position(to).await?;
        if wants_commit {
            self.history.borrow_mut().transactions.get_mut(&id).unwrap().fate = Fate::InDoubt;
        }
        self.end(wants_commit).await?;
        if wants_commit {
            let mut history = self.history.borrow_mut();
            history.transactions.get_mut(&id).unwrap().fate = Fate::Committed;
            history.promises += 1;
            self.position = Some(to);
        }
        Ok(())
    }

    /// Where the input goes on.
    async fn position(&mut self) -> i64 {
        if let Some(position) = self.position {
            return position;
        }
        let partitions = i32::try_from(PRODUCERS_MAX).unwrap();
        loop {
            let place = (TXN_TOPIC, partitions);
            let told = self.coordinators.committed(&mut self.caller, GROUP, place).await;
            if let Some(told) = told {
                return told[&self.input()].max(0);
            }
        }
    }

    fn input(&self) -> i32 {
        i32::try_from(self.number).unwrap()
    }

    fn begin(&mut self, (from, to): (i64, i64)) -> (TransactionId, Vec<(i32, Vec<String>)>) {
        self.begun += 1;
        let id = (self.number, self.begun);
        let net = self.caller.net.clone();
        let mut values: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut batches = Vec::new();
        for batch in 0..net.random(|random| 1 + random.below(3)) {
            let partition = i32::try_from(net.random(|random| random.below(2))).unwrap();
            let own: Vec<String> = (0..net.random(|random| 1 + random.below(2)))
                .map(|n| format!("{}-{}-{batch}-{n}", id.0, id.1))
                .collect();
            values.entry(partition).or_default().extend(own.clone());
            batches.push((partition, own));
        }
        let input = Some((self.input(), from, to));
        let transaction =
            Transaction { fate: Fate::NeverCommitted, values, has_offset: true, input };
        self.history.borrow_mut().transactions.insert(id, transaction);
        (id, batches)
    }

    async fn add_partitions(&mut self, batches: &[(i32, Vec<String>)]) -> Result<(), Lost> {
        let partitions: BTreeSet<i32> = batches.iter().map(|batch| batch.0).collect();
        let partitions: Vec<i32> = partitions.into_iter().collect();
        let id = transactional_id(self.number);
        let (producer_id, producer_epoch) = self.identity.ok_or(Lost)?;
        let request = || AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.clone(),
            v3_and_below_producer_id: producer_id,
            v3_and_below_producer_epoch: producer_epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: TXN_TOPIC.to_owned(),
                partitions: partitions.clone(),
            }],
            ..Default::default()
        };
        let ask = Ask { kind: Kind::Transaction, key: &id, version: 3 };
        let (caller, coordinators) = (&mut self.caller, &mut self.coordinators);
        until_done(caller, coordinators, ask, request, |answer| {
            let parts = &answer.results_by_topic_v3_and_below[0].results_by_partition;
            parts.iter().map(|one| one.partition_error_code).max().unwrap()
        })
        .await?;
        Ok(())
    }

    async fn produce(&mut self, partition: i32, values: &[String]) -> Result<(), Lost> {
        loop {
            let Some((leader, _)) = self.caller.leader(TXN_TOPIC, partition).await else {
                continue;
            };
            let request = self.batch(partition, values)?;
            let version = if self.flow == Flow::New { 13 } else { 11 };
            let answer = self.caller.call_version(leader, request, version).await;
            let code = answer.map(|answer| answer.responses[0].partition_responses[0].error_code);
            let identity = self.identity;
            self.caller.net.say(|| format!("{values:?} {identity:?} at {leader}: {code:?}"));
            match code.map_or(Turn::Again, turn) {
                Turn::Done => break,
                Turn::Lost => return Err(Lost),
                Turn::Again => {}
            }
            self.caller.forget_leader(TXN_TOPIC, partition);
            self.caller.net.pause(RETRY_US).await;
        }
        let sequence = self.sequences.entry(partition).or_default();
        *sequence += i32::try_from(values.len()).unwrap();
        Ok(())
    }

    fn batch(&self, partition: i32, values: &[String]) -> Result<ProduceRequest, Lost> {
        let (producer_id, producer_epoch) = self.identity.ok_or(Lost)?;
        let base_sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let producer = ProducerStamp { producer_id, producer_epoch, base_sequence };
        let options = BatchOptions { producer, is_transactional: true, ..Default::default() };
        let mut builder = BatchBuilder::new(options);
        for value in values {
            let record = NewRecord {
                timestamp_ms: timestamp_ms(&self.caller.net),
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let is_new = self.flow == Flow::New;
        let data =
            PartitionProduceData { index: partition, records: builder.build().unwrap().into() };
        Ok(ProduceRequest {
            transactional_id: Some(transactional_id(self.number)),
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                name: if is_new { String::new() } else { TXN_TOPIC.to_owned() },
                topic_id: if is_new { self.topic } else { Uuid::nil() },
                partition_data: vec![data],
            }],
        })
    }

    async fn commit_position(&mut self, to: i64) -> Result<(), Lost> {
        let id = transactional_id(self.number);
        let (producer_id, producer_epoch) = self.identity.ok_or(Lost)?;
        let input = self.input();
        let (caller, coordinators) = (&mut self.caller, &mut self.coordinators);
        if self.flow == Flow::Old {
            let request = || AddOffsetsToTxnRequest {
                transactional_id: id.clone(),
                producer_id,
                producer_epoch,
                group_id: GROUP.to_owned(),
            };
            let ask = Ask { kind: Kind::Transaction, key: &id, version: 3 };
            until_done(caller, coordinators, ask, request, |answer| answer.error_code).await?;
        }
        let request = || TxnOffsetCommitRequest {
            transactional_id: id.clone(),
            group_id: GROUP.to_owned(),
            producer_id,
            producer_epoch,
            generation_id: -1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: TXN_TOPIC.to_owned(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: input,
                    committed_offset: to,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let version = if self.flow == Flow::New { 5 } else { 3 };
        let ask = Ask { kind: Kind::Group, key: GROUP, version };
        until_done(caller, coordinators, ask, request, |answer| {
            answer.topics[0].partitions[0].error_code
        })
        .await?;
        Ok(())
    }

    async fn end(&mut self, committed: bool) -> Result<(), Lost> {
        let id = transactional_id(self.number);
        let (producer_id, producer_epoch) = self.identity.ok_or(Lost)?;
        let request = || EndTxnRequest {
            transactional_id: id.clone(),
            producer_id,
            producer_epoch,
            committed,
        };
        let version = if self.flow == Flow::New { 5 } else { 4 };
        let ask = Ask { kind: Kind::Transaction, key: &id, version };
        let (caller, coordinators) = (&mut self.caller, &mut self.coordinators);
        let answer =
            until_done(caller, coordinators, ask, request, |answer| answer.error_code).await?;
        if self.flow == Flow::New {
            self.identity = Some((answer.producer_id, answer.producer_epoch));
            self.sequences.clear();
        }
        Ok(())
    }
}
