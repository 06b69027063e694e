//! Transactions end to end: a transaction over partitions of several cores, its coordinator on its
//! own core, power cuts in between. A transaction is there as a whole or not at all.

use crate::model::errors::KafkaCode;
use crate::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use crate::protocol::messages::describe_transactions::DescribeTransactionsRequest;
use crate::protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::record::TransactionMarker;
use crate::protocol::record_batch::CheckedBatch;
use crate::sim::broker::{SimBroker, SimClient};
use crate::sim::random::Random;
use crate::sim::setup::{Setup, make_topic};
use std::cell::RefCell;
use std::rc::Rc;
use uuid::Uuid;

const ID: &str = "payments";
const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;
const CORES: u16 = 2;

/// Producer id and epoch of a marker, and whether it commits.
type Marker = ((i64, i16), bool);

const SETUP: Setup<'_> = Setup {
    cores: CORES,
    settings: &[("transaction.state.log.num.partitions", "4"), ("num.partitions", "4")],
};

fn is_passing(code: i16) -> bool {
    let code = KafkaCode::from_number(code).expect("a known code");
    code.is_retriable() || code == KafkaCode::ConcurrentTransactions
}

/// Producer id and epoch, through loading coordinators and transactions that are being ended.
async fn init(client: &mut SimClient) -> (i64, i16) {
    let find = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![ID.to_owned()],
        ..Default::default()
    };
    assert_eq!(client.call(&find).await.expect("answered").coordinators[0].error_code, 0);
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    loop {
        let answer = client.call(&request).await.expect("answered");
        if !is_passing(answer.error_code) {
            assert_eq!(answer.error_code, 0);
            return (answer.producer_id, answer.producer_epoch);
        }
    }
}

/// Adds every partition of the topic.
async fn add(client: &mut SimClient, (producer_id, producer_epoch): (i64, i16)) {
    let topic =
        AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions: (0..PARTITIONS).collect() };
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: ID.to_owned(),
        producer_id,
        producer_epoch,
        verify_only: false,
        topics: vec![topic],
    };
    let request =
        AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
    loop {
        let answer = client.call(&request).await.expect("answered").results_by_transaction;
        let results = &answer[0].topic_results[0].results_by_partition;
        if !results.iter().any(|result| is_passing(result.partition_error_code)) {
            assert!(results.iter().all(|result| result.partition_error_code == 0), "{results:?}");
            return;
        }
    }
}

/// Ends the transaction; the producer is what the answer says.
async fn end(
    client: &mut SimClient,
    (producer_id, producer_epoch): (i64, i16),
    committed: bool,
) -> (i64, i16) {
    let transactional_id = ID.to_owned();
    let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed };
    loop {
        let answer: EndTxnResponse = client.call(&request).await.expect("answered");
        if !is_passing(answer.error_code) {
            assert_eq!(answer.error_code, 0);
            return (answer.producer_id, answer.producer_epoch);
        }
    }
}

/// The state of the id, once its coordinator is loaded.
async fn state(client: &mut SimClient) -> String {
    let request = DescribeTransactionsRequest { transactional_ids: vec![ID.to_owned()] };
    loop {
        let mut states = client.call(&request).await.expect("answered").transaction_states;
        let state = states.pop().expect("one was asked for");
        if !is_passing(state.error_code) {
            assert_eq!(state.error_code, 0);
            return state.transaction_state;
        }
    }
}

/// Waits until no transaction is open or being ended.
async fn settled(client: &mut SimClient) -> String {
    loop {
        let state = state(client).await;
        if state == "CompleteCommit" || state == "CompleteAbort" || state == "Empty" {
            return state;
        }
    }
}

/// Markers of a partition in their order: epoch and whether it commits. One that was written twice,
/// because its coordinator did not hear of it, counts once.
async fn markers(client: &mut SimClient, topic_id: Uuid, partition: i32) -> Vec<Marker> {
    let mut found = Vec::new();
    let mut fetch_offset = 0;
    loop {
        let wanted = FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: i32::MAX,
            ..Default::default()
        };
        let topic = FetchTopic { topic_id, partitions: vec![wanted], ..Default::default() };
        let request = FetchRequest { topics: vec![topic], ..Default::default() };
        let mut response = client.call(&request).await.expect("answered");
        let data = response.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0);
        let mut bytes = data.records.into_bytes();
        while !bytes.is_empty() {
            let batch = CheckedBatch::check_first(&mut bytes).expect("the broker's own batch");
            let header = batch.header();
            fetch_offset = header.last_offset() + 1;
            let records = batch.decode_records().expect("the broker's own batch");
            let record = records.iter().next().expect("a marker").expect("a record");
            let marker = record.key.and_then(TransactionMarker::from_key).expect("a marker");
            let identity = (header.producer_id(), header.producer_epoch());
            found.push((identity, marker == TransactionMarker::Commit));
        }
        if fetch_offset == data.high_watermark {
            found.dedup();
            return found;
        }
    }
}

fn topic_id(broker: &SimBroker) -> Uuid {
    broker.core(0).borrow().image.topic_by_name(TOPIC).expect("made first").id.0
}

#[test]
fn every_partition_of_a_transaction_is_told_its_end_on_whichever_core_it_lives() {
    let (mut broker, _disk) = SETUP.start(1, None);
    make_topic(&mut broker, TOPIC);
    let topic = topic_id(&broker);
    for core in 0..usize::from(CORES) {
        let mut client = broker.connect(core);
        broker.executor.run_until(async move {
            let producer = init(&mut client).await;
            add(&mut client, producer).await;
            assert_eq!(state(&mut client).await, "Ongoing");
            let producer = end(&mut client, producer, true).await;
            assert_eq!(settled(&mut client).await, "CompleteCommit");
            add(&mut client, producer).await;
            let last = end(&mut client, producer, false).await;
            assert_eq!(settled(&mut client).await, "CompleteAbort");
            for partition in 0..PARTITIONS {
                let found = markers(&mut client, topic, partition).await;
                assert_eq!(found[found.len() - 2..], [(producer, true), (last, false)]);
            }
        });
    }
}

#[test]
fn a_second_producer_with_the_id_aborts_what_the_first_has_open() {
    let (mut broker, _disk) = SETUP.start(2, None);
    make_topic(&mut broker, TOPIC);
    let topic = topic_id(&broker);
    let (mut a, mut b) = (broker.connect(0), broker.connect(1));
    broker.executor.run_until(async move {
        let (id, epoch) = init(&mut a).await;
        add(&mut a, (id, epoch)).await;
        assert_eq!(init(&mut b).await, (id, epoch + 2));
        let request = EndTxnRequest {
            transactional_id: ID.to_owned(),
            producer_id: id,
            producer_epoch: epoch,
            committed: true,
        };
        let refused = a.call(&request).await.expect("answered");
        assert_eq!(refused.error_code, KafkaCode::ProducerFenced.number());
        for partition in 0..PARTITIONS {
            assert_eq!(markers(&mut b, topic, partition).await, [((id, epoch + 1), false)]);
        }
    });
}

#[test]
fn a_decision_that_was_answered_reaches_every_partition_whenever_the_power_goes() {
    for seed in 0..12 {
        let (mut broker, disk) = SETUP.start(seed, None);
        make_topic(&mut broker, TOPIC);
        let topic = topic_id(&broker);
        let mut client = broker.connect(usize::try_from(seed % 2).expect("0 or 1"));
        let answered: Rc<RefCell<Vec<Marker>>> = Rc::default();
        let told = Rc::clone(&answered);
        let mut chance = Random::new(seed);
        broker.executor.handle().spawn(async move {
            let mut producer = init(&mut client).await;
            loop {
                add(&mut client, producer).await;
                let committed = chance.below(2) == 0;
                producer = end(&mut client, producer, committed).await;
                told.borrow_mut().push((producer, committed));
            }
        });
        let steps = 6000 + Random::new(seed).below(8000);
        for _ in 0..steps {
            assert!(broker.executor.step());
        }
        let answered = answered.take();
        assert!(!answered.is_empty(), "seed {seed} ended nothing");
        let (mut broker, _disk) = SETUP.crash(1000 + seed, broker, &disk);
        let mut client = broker.connect(0);
        broker.executor.run_until(async move {
            init(&mut client).await; // Ends what the crash left open.
            let first = markers(&mut client, topic, 0).await;
            assert_eq!(first[..answered.len()], answered, "seed {seed}");
            for partition in 1..PARTITIONS {
                let other = markers(&mut client, topic, partition).await;
                assert_eq!(other, first, "seed {seed}: partition {partition} has it otherwise");
            }
        });
    }
}
