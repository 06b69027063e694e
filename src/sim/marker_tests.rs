//! Open and ended transactions as clients see them: fetches and ListOffsets of either isolation,
//! markers that an administrator writes, offsets of a group that wait for them, power cuts.
//!
//! The batches are put into the partitions directly: who may open a transaction is not the matter
//! here.

use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, CommitTransaction,
};
use crate::coordinator::group::records::Producer;
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersTopicRequest,
};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::protocol::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use crate::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::appends::append_committed;
use crate::shard::coordinator_host::{answer_here, coordinator_of};
use crate::sim::broker::{SimBroker, SimClient};
use crate::sim::setup::{Setup, make_topic};
use std::sync::Arc;

const TOPIC: &str = "t";
const GROUP: &str = "readers";
const OFFSETS: &str = "__consumer_offsets";
const SETUP: Setup<'_> =
    Setup { cores: 2, settings: &[("offsets.topic.num.partitions", "1"), ("num.partitions", "1")] };

/// Puts one record of a producer's transaction into the topic.
fn append(broker: &mut SimBroker, id: i64, sequence: i32) {
    let image = Arc::clone(&broker.core(0).borrow().image);
    let topic = image.topic_by_name(TOPIC).expect("made before").id;
    let place = TopicPartition { topic, partition: PartitionId(0) };
    let shard = broker.core(image.owner_of(&place).expect("owned").index());
    let producer = ProducerStamp { producer_id: id, producer_epoch: 0, base_sequence: sequence };
    let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let timestamp_ms = shard.borrow().now.wall_ms;
    let value = Some(&b"value"[..]);
    builder.push(&NewRecord { timestamp_ms, value, ..NewRecord::default() }).expect("small");
    let batch = CheckedBatch::check_first(&mut builder.build().expect("small")).expect("built");
    let outcome =
        broker.executor.run_until(async move { append_committed(&shard, place, batch).await });
    assert_eq!(outcome.code, KafkaCode::None);
}

async fn fetch(client: &mut SimClient, broker_topic: uuid::Uuid, isolation: i8) -> PartitionData {
    let partition =
        FetchPartition { partition: 0, partition_max_bytes: 100_000, ..FetchPartition::default() };
    let topic =
        FetchTopic { topic_id: broker_topic, partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: 100_000,
        isolation_level: isolation,
        session_epoch: -1,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let mut response = client.call(&request).await.expect("answered");
    response.responses.remove(0).partitions.remove(0)
}

async fn end(client: &mut SimClient, isolation_level: i8) -> i64 {
    let partition = ListOffsetsPartition { timestamp: -1, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: TOPIC.to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest {
        isolation_level,
        topics: vec![topic],
        ..ListOffsetsRequest::default()
    };
    let mut response = client.call(&request).await.expect("answered");
    response.topics.remove(0).partitions.remove(0).offset
}

/// Ends a transaction as `kafka-transactions abort` does.
async fn mark(client: &mut SimClient, topic: &str, id: i64, is_commit: bool) -> KafkaCode {
    let marker = WritableTxnMarker { transaction_result: is_commit, ..marker_of(topic, id) };
    write(client, marker).await
}

fn marker_of(topic: &str, id: i64) -> WritableTxnMarker {
    let topic = WritableTxnMarkerTopic {
        name: topic.to_owned(),
        partition_indexes: vec![0],
        ..WritableTxnMarkerTopic::default()
    };
    WritableTxnMarker { producer_id: id, topics: vec![topic], ..WritableTxnMarker::default() }
}

async fn write(client: &mut SimClient, marker: WritableTxnMarker) -> KafkaCode {
    let request = WriteTxnMarkersRequest { markers: vec![marker] };
    let mut response = client.call(&request).await.expect("answered");
    let code = response.markers.remove(0).topics.remove(0).partitions.remove(0).error_code;
    KafkaCode::from_number(code).expect("a known code")
}

async fn open_transactions(client: &mut SimClient) -> Vec<(i64, i64)> {
    let topics =
        vec![DescribeProducersTopicRequest { name: TOPIC.to_owned(), partition_indexes: vec![0] }];
    let request = DescribeProducersRequest { topics };
    let mut response = client.call(&request).await.expect("answered");
    let partition = response.topics.remove(0).partitions.remove(0);
    assert_eq!(partition.error_code, 0);
    let producers = partition.active_producers.into_iter();
    let mut open: Vec<(i64, i64)> =
        producers.map(|own| (own.producer_id, own.current_txn_start_offset)).collect();
    open.sort_unstable();
    open
}

/// What is told of aborted transactions: producer and first offset.
fn told(data: &PartitionData) -> Option<Vec<(i64, i64)>> {
    let aborted = data.aborted_transactions.as_ref()?;
    Some(aborted.iter().map(|one| (one.producer_id, one.first_offset)).collect())
}

#[test]
fn readers_of_committed_records_see_ended_transactions_only_before_and_after_a_power_cut() {
    let (mut broker, disk) = SETUP.start(1, None);
    make_topic(&mut broker, TOPIC);
    for (id, sequence) in [(1, 0), (2, 0), (1, 1)] {
        append(&mut broker, id, sequence);
    }
    let topic = broker.core(0).borrow().image.topic_by_name(TOPIC).expect("made").id.0;
    let mut client = broker.connect(1);
    broker.executor.run_until(async move {
        assert_eq!((end(&mut client, 0).await, end(&mut client, 1).await), (3, 0));
        let data = fetch(&mut client, topic, 1).await;
        assert_eq!((data.high_watermark, data.last_stable_offset), (3, 0));
        assert!(data.records.is_empty());
        assert_eq!(told(&fetch(&mut client, topic, 0).await), None);
        assert_eq!(mark(&mut client, TOPIC, 1, false).await, KafkaCode::None);
        assert_eq!(end(&mut client, 1).await, 1);
        assert_eq!(open_transactions(&mut client).await, [(1, -1), (2, 1)]);
    });
    let (mut broker, disk) = SETUP.crash(5, broker, &disk);
    let mut client = broker.connect(0);
    broker.executor.run_until(async move {
        assert_eq!((end(&mut client, 0).await, end(&mut client, 1).await), (4, 1));
        assert_eq!(open_transactions(&mut client).await, [(1, -1), (2, 1)]);
        assert_eq!(mark(&mut client, TOPIC, 2, true).await, KafkaCode::None);
        let data = fetch(&mut client, topic, 1).await;
        assert_eq!((data.high_watermark, data.last_stable_offset), (5, 5));
        assert_eq!(told(&data), Some(vec![(1, 0)]));
        assert_eq!(mark(&mut client, "nowhere", 2, true).await, KafkaCode::UnknownTopicOrPartition);
    });
    let (mut broker, _disk) = SETUP.crash(9, broker, &disk);
    let mut client = broker.connect(1);
    broker.executor.run_until(async move {
        assert_eq!(told(&fetch(&mut client, topic, 1).await), Some(vec![(1, 0)]));
        assert_eq!(told(&fetch(&mut client, topic, 0).await), None);
    });
}

/// Has a coordinator's marker written, for a transaction decided then and a leader of that epoch;
/// what is answered, and the log end and last stable offset after it.
fn order(broker: &mut SimBroker, decided_ms: i64, leader_epoch: i32) -> (KafkaCode, (i64, i64)) {
    let mut client = broker.connect(1);
    broker.executor.run_until(async move {
        let mut marker = WritableTxnMarker { decided_ms, ..marker_of(TOPIC, 1) };
        marker.topics[0].leader_epochs = vec![leader_epoch];
        let code = write(&mut client, marker).await;
        (code, (end(&mut client, 0).await, end(&mut client, 1).await))
    })
}

#[test]
fn a_marker_that_was_written_or_is_for_another_leader_is_not_written() {
    const FIRST_MS: i64 = 1000;
    let (mut broker, _disk) = SETUP.start(2, None);
    make_topic(&mut broker, TOPIC);
    append(&mut broker, 1, 0);
    let image = Arc::clone(&broker.core(0).borrow().image);
    let topic = image.topic_by_name(TOPIC).expect("made before").id;
    let place = TopicPartition { topic, partition: PartitionId(0) };
    let epoch = image.leader_epoch(&place).expect("made before").0;
    for other in [epoch - 1, epoch + 1] {
        let refused = (KafkaCode::NotLeaderOrFollower, (1, 0));
        assert_eq!(order(&mut broker, FIRST_MS, other), refused);
    }
    let written = (KafkaCode::None, (2, 2));
    for decided_ms in [FIRST_MS, FIRST_MS, FIRST_MS - 1] {
        assert_eq!(order(&mut broker, decided_ms, epoch), written);
    }
    append(&mut broker, 1, 1);
    assert_eq!(order(&mut broker, FIRST_MS, epoch), (KafkaCode::None, (3, 2)));
    assert_eq!(order(&mut broker, FIRST_MS + 1, epoch), (KafkaCode::None, (4, 4)));
    // An administrator means whatever is open.
    append(&mut broker, 1, 2);
    let mut client = broker.connect(0);
    broker.executor.run_until(async move {
        assert_eq!(mark(&mut client, TOPIC, 1, false).await, KafkaCode::None);
        assert_eq!((end(&mut client, 0).await, end(&mut client, 1).await), (6, 6));
    });
}

/// The committed offset of partition 0 for a consumer that waits for stable ones.
async fn stable_offset(client: &mut SimClient) -> Result<i64, KafkaCode> {
    let topics =
        vec![OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0] }];
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(topics),
        ..Default::default()
    };
    let request =
        OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
    loop {
        let mut fetched = client.call(&request).await.expect("answered").groups.remove(0);
        if fetched.error_code == KafkaCode::CoordinatorLoadInProgress.number() {
            continue;
        }
        assert_eq!(fetched.error_code, 0);
        let partition = fetched.topics.remove(0).partitions.remove(0);
        return match KafkaCode::from_number(partition.error_code).expect("a known code") {
            KafkaCode::None => Ok(partition.committed_offset),
            code => Err(code),
        };
    }
}

fn commit_in_transaction(broker: &mut SimBroker, id: i64, offset: i64) {
    let image = Arc::clone(&broker.core(0).borrow().image);
    let (place, core) = coordinator_of::<GroupCoordinator>(&image, GROUP).expect("made before");
    let shard = broker.core(core.index());
    let partition = CommitPartition { partition: 0, offset, leader_epoch: -1, metadata: None };
    let commit = CommitOffsets {
        group: GROUP.to_owned(),
        generation: -1,
        member: String::new(),
        instance: None,
        retention_ms: None,
        topics: vec![CommitTopic { name: TOPIC.to_owned(), partitions: vec![partition] }],
        names_missing_group: false,
    };
    let producer = Producer { id: ProducerId(id), epoch: ProducerEpoch(0) };
    let request = GroupRequest::CommitTransaction(CommitTransaction { producer, commit });
    let answer = broker.executor.run_until(async move {
        loop {
            let request = request.clone();
            match answer_here::<_, GroupCoordinator>(&shard, place, request).await {
                GroupAnswer::Refused(KafkaCode::CoordinatorLoadInProgress) => {}
                answer => return answer,
            }
        }
    });
    let GroupAnswer::CommitOffsets(results) = answer else { panic!("{answer:?}") };
    assert_eq!(results[0].partitions, [(0, KafkaCode::None)]);
}

#[test]
fn offsets_of_a_transaction_wait_for_its_marker_across_a_power_cut() {
    let (mut broker, disk) = SETUP.start(3, None);
    make_topic(&mut broker, TOPIC);
    let mut client = broker.connect(0);
    broker.executor.run_until(async move {
        let coordinator_keys = vec![GROUP.to_owned()];
        let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
        client.call(&request).await.expect("makes the topic");
    });
    commit_in_transaction(&mut broker, 1, 7);
    commit_in_transaction(&mut broker, 2, 8);
    let (mut broker, disk) = SETUP.crash(7, broker, &disk);
    let mut client = broker.connect(1);
    broker.executor.run_until(async move {
        assert_eq!(stable_offset(&mut client).await, Err(KafkaCode::UnstableOffsetCommit));
        assert_eq!(mark(&mut client, OFFSETS, 2, false).await, KafkaCode::None);
        assert_eq!(stable_offset(&mut client).await, Err(KafkaCode::UnstableOffsetCommit));
        assert_eq!(mark(&mut client, OFFSETS, 1, true).await, KafkaCode::None);
        assert_eq!(stable_offset(&mut client).await, Ok(7));
    });
    let (mut broker, _disk) = SETUP.crash(11, broker, &disk);
    let mut client = broker.connect(0);
    broker.executor.run_until(async move {
        assert_eq!(stable_offset(&mut client).await, Ok(7));
    });
}
