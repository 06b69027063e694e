//! A transaction of a client without KIP-890, whose epoch stays: the sequence of a record that was
//! aborted stays taken. A client that gives it to the next transaction's record loses that one, as
//! librdkafka does where it aborts what waits to be sent again (tests/clients, transactions_life).

use highwater::protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use highwater::protocol::messages::end_txn::EndTxnRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};

use crate::mask::mask_values;
use crate::{PATIENCE, Pair, Side};

const TOPIC: &str = "aborted";
const ID: &str = "abandons";
/// What a coordinator is looked for by.
const TRANSACTION: i8 = 1;
/// The last version that does not add its partitions to the transaction by itself.
const PRODUCE_VERSION: i16 = 11;

/// Asks until a coordinator is there and nothing is under way.
fn until_done(what: &str, mut ask: impl FnMut() -> i16) {
    let settled = harness::wait_until(what, PATIENCE, || (ask() == 0).then_some(()));
    settled.unwrap_or_else(|what| panic!("{what}"));
}

fn begin(side: &mut Side) -> ProducerStamp {
    let find =
        FindCoordinatorRequest { key: ID.to_owned(), key_type: TRANSACTION, ..Default::default() };
    until_done("a transaction coordinator", || side.call(&find, 3).error_code);
    let request = InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 60_000,
        ..InitProducerIdRequest::default()
    };
    let mut producer = ProducerStamp { producer_id: -1, producer_epoch: -1, base_sequence: 0 };
    until_done("a transactional producer", || {
        let answer = side.call(&request, 4);
        producer.producer_id = answer.producer_id;
        producer.producer_epoch = answer.producer_epoch;
        answer.error_code
    });
    producer
}

fn add(side: &mut Side, producer: ProducerStamp) {
    let topic = AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions: vec![0] };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: ID.to_owned(),
        v3_and_below_producer_id: producer.producer_id,
        v3_and_below_producer_epoch: producer.producer_epoch,
        v3_and_below_topics: vec![topic],
        ..AddPartitionsToTxnRequest::default()
    };
    until_done("a partition in a transaction", || {
        let answer = side.call(&request, 3);
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    });
}

fn write(side: &mut Side, producer: ProducerStamp, value: &[u8]) -> String {
    let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let record = NewRecord { timestamp_ms: 1, value: Some(value), ..NewRecord::default() };
    builder.push(&record).expect("small");
    let batch = builder.build().expect("small");
    let data = PartitionProduceData { index: 0, records: batch.into() };
    let topic = TopicProduceData {
        name: TOPIC.to_owned(),
        partition_data: vec![data],
        ..TopicProduceData::default()
    };
    let request = ProduceRequest {
        transactional_id: Some(ID.to_owned()),
        acks: -1,
        timeout_ms: 15_000,
        topic_data: vec![topic],
    };
    // What a repetition says of its time stands in the list of differences already.
    mask_values(&side.ask(&request, PRODUCE_VERSION), "log_append_time_ms")
}

fn end(side: &mut Side, producer: ProducerStamp, committed: bool) {
    let request = EndTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        committed,
    };
    until_done("the end of a transaction", || side.call(&request, 3).error_code);
}

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 1, &[]);
    pair.case("the sequence of an aborted record", |side| {
        let producer = begin(side);
        add(side, producer);
        let first = write(side, producer, b"first");
        end(side, producer, false);
        add(side, producer);
        let second = write(side, producer, b"second");
        end(side, producer, true);
        assert!(first.contains("base_offset: 0"), "{first}");
        assert!(second.contains("base_offset: 0"), "it passes for the first one: {second}");
        format!("{first}\n{second}")
    });
}
