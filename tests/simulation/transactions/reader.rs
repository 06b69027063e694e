//! Readers of committed records: one that follows a partition, and one that looks at everything
//! once all transactions have ended.

use super::committed::committed_values;
use super::history::{History, Seen, TransactionId};
use super::{ALL, GROUP, TOPIC, WORKERS, transactional_id};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::describe_transactions::DescribeTransactionsRequest;
use highwater::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchTopic, PartitionData,
};
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::list_transactions::ListTransactionsRequest;
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use highwater::sim::broker::{SimBroker, SimClient};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uuid::Uuid;

const READ_COMMITTED: i8 = 1;
const PARTITIONS: i32 = 4;
/// Answers after which something does not merely take its time, but hangs.
const TRIES_MAX: u32 = 20_000;

/// Follows one partition; whatever it is shown must have been committed, and stay.
pub(crate) async fn follow(
    mut client: SimClient,
    topic: Uuid,
    partition: i32,
    history: Rc<RefCell<History>>,
) {
    let mut next = 0;
    while let Some(data) = fetch(&mut client, topic, partition, next, 5).await {
        let (values, end) = committed_values(data, next);
        next = end;
        for (offset, value) in values {
            history.borrow_mut().show(partition, offset, value);
        }
    }
}

async fn fetch(
    client: &mut SimClient,
    topic: Uuid,
    partition: i32,
    from: i64,
    max_wait_ms: i32,
) -> Option<PartitionData> {
    let part = FetchPartition {
        partition,
        fetch_offset: from,
        partition_max_bytes: 300_000,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic_id: topic, partitions: vec![part], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1_000_000,
        isolation_level: READ_COMMITTED,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let answer = client.call(&request).await?;
    let data = answer.responses.into_iter().next()?.partitions.into_iter().next()?;
    assert_eq!(data.error_code, 0, "fetch of {partition} from {from}");
    Some(data)
}

/// Ends every transaction: by time where `wait_ms` is given, else by taking every id anew.
pub(crate) fn settle(broker: &mut SimBroker, topic: Uuid, wait_ms: Option<i32>) {
    let handle = broker.executor.handle();
    let mut client = broker.connect(0);
    broker.executor.run_until(async move {
        let groups = [GROUP, WORKERS].map(|group| (0, group.to_owned()));
        for (key_type, key) in groups.into_iter().chain(ids().map(|id| (1, id))) {
            let find = FindCoordinatorRequest {
                key_type,
                coordinator_keys: vec![key.clone()],
                ..Default::default()
            };
            let ask = async |client: &mut SimClient| {
                client.call(&find).await.unwrap().coordinators[0].error_code
            };
            again(&mut client, &key, ask).await;
        }
        match wait_ms {
            Some(wait_ms) => handle.sleep_us(u64::try_from(wait_ms + 200).unwrap() * 1000).await,
            None => take_all_ids(&mut client).await,
        }
        for partition in 0..PARTITIONS {
            let is_open = async |client: &mut SimClient| {
                let data = fetch(client, topic, partition, 0, 0).await.unwrap();
                let is_open = data.last_stable_offset < data.high_watermark;
                if is_open { KafkaCode::ConcurrentTransactions.number() } else { 0 }
            };
            again(&mut client, "the last stable offset reaches the end", is_open).await;
        }
        expect_none_left(&mut client).await;
    });
}

/// Every transactional id.
fn ids() -> impl Iterator<Item = String> {
    (1..ALL).map(transactional_id)
}

async fn take_all_ids(client: &mut SimClient) {
    for id in ids() {
        let init = InitProducerIdRequest {
            transactional_id: Some(id.clone()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let ask = async |client: &mut SimClient| client.call(&init).await.unwrap().error_code;
        again(client, &id, ask).await;
    }
}

/// Waits until no transaction is open or being ended.
async fn expect_none_left(client: &mut SimClient) {
    let states = ["Ongoing", "PrepareCommit", "PrepareAbort"].map(str::to_owned);
    let list = ListTransactionsRequest { state_filters: states.into(), ..Default::default() };
    let mut listed = client.call(&list).await.unwrap();
    for _ in 0..TRIES_MAX {
        if listed.error_code == 0 && listed.transaction_states.is_empty() {
            return;
        }
        listed = client.call(&list).await.unwrap();
    }
    let ids = listed.transaction_states.iter().map(|one| one.transactional_id.clone());
    let describe = DescribeTransactionsRequest { transactional_ids: ids.collect() };
    let described = client.call(&describe).await.unwrap();
    panic!("not ended after {TRIES_MAX} questions: {listed:?} {described:?}");
}

/// Asks until the answer is not a passing refusal; anything else than success is a failure.
async fn again(
    client: &mut SimClient,
    what: &str,
    mut ask: impl AsyncFnMut(&mut SimClient) -> i16,
) {
    for _ in 0..TRIES_MAX {
        let code = KafkaCode::from_number(ask(client).await).unwrap();
        if code == KafkaCode::None {
            return;
        }
        assert!(code.is_retriable(), "{what}: {code:?}");
    }
    panic!("{what}: not after {TRIES_MAX} questions");
}

/// Records and offsets against what producers were told. All transactions must have ended.
pub(crate) fn check(broker: &mut SimBroker, topic: Uuid, history: &Rc<RefCell<History>>) {
    let mut client = broker.connect(0);
    let (found, offsets, consumed) = broker.executor.run_until(async move {
        let mut found: BTreeMap<i32, Seen> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            found.insert(partition, read_all(&mut client, topic, partition).await);
        }
        let own = committed_offsets(&mut client, GROUP).await;
        (found, own, committed_offsets(&mut client, WORKERS).await)
    });
    let history = history.borrow();
    let there = history.check(&found);
    for (partition, offset) in offsets {
        let producer = usize::try_from(partition).unwrap();
        let wanted = last_offset(&history, producer, &there).unwrap_or(-1);
        assert_eq!(offset, wanted, "committed offset of producer {producer}");
    }
    history.every_input_is_consumed_once(&there, &consumed);
}

/// The last offset that a producer committed with a transaction of `there`.
fn last_offset(history: &History, producer: usize, there: &BTreeSet<TransactionId>) -> Option<i64> {
    let own = there.iter().filter(|id| id.0 == producer);
    let with_offset = own.filter(|id| history.transactions[id].has_offset);
    with_offset.map(|id| i64::try_from(id.1).unwrap()).max()
}

async fn read_all(client: &mut SimClient, topic: Uuid, partition: i32) -> Seen {
    let mut seen = Seen::new();
    let mut next = 0;
    loop {
        let data = fetch(client, topic, partition, next, 0).await.unwrap();
        let end = data.high_watermark;
        let (values, reached) = committed_values(data, next);
        seen.extend(values);
        if reached == end {
            return seen;
        }
        assert!(reached > next, "nothing between {next} and {end} of partition {partition}");
        next = reached;
    }
}

async fn committed_offsets(client: &mut SimClient, group: &str) -> Vec<(i32, i64)> {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.to_owned(),
        partition_indexes: (0..PARTITIONS).collect(),
    };
    let group = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request =
        OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    for _ in 0..TRIES_MAX {
        let mut answer = client.call(&request).await.unwrap();
        let group = answer.groups.remove(0);
        let parts = group.topics.into_iter().flat_map(|topic| topic.partitions);
        let parts: Vec<_> = parts.collect();
        let codes = parts.iter().map(|part| part.error_code).chain([group.error_code]);
        let code = KafkaCode::from_number(codes.max().unwrap()).unwrap();
        if code == KafkaCode::None {
            return parts
                .iter()
                .map(|part| (part.partition_index, part.committed_offset))
                .collect();
        }
        assert!(code.is_retriable(), "{code:?}");
    }
    panic!("the group's offsets stay undecided");
}
