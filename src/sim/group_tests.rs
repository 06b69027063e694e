//! Groups end to end: requests of clients on several cores, the coordinator on its own core, its
//! records in a partition, power cuts in between.

use crate::controller::image::OFFSETS_TOPIC;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribed,
};
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerGroupTopicPartitions,
};
use crate::protocol::messages::describe_groups::DescribeGroupsRequest;
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use crate::protocol::messages::list_groups::ListGroupsRequest;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::sim::broker::SimClient;
use crate::sim::random::Random;
use crate::sim::setup::{Setup, make_topic};
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const GROUP: &str = "readers";
const TOPIC: &str = "t";
const SETUP: Setup<'_> = Setup {
    cores: 2,
    settings: &[
        ("offsets.topic.num.partitions", "4"),
        ("group.initial.rebalance.delay.ms", "10"),
        ("num.partitions", "3"),
    ],
};

async fn find(client: &mut SimClient) {
    let request =
        FindCoordinatorRequest { coordinator_keys: vec![GROUP.to_owned()], ..Default::default() };
    let found = client.call(&request).await.expect("answered").coordinators;
    assert_eq!(found[0].error_code, 0);
    assert_eq!((found[0].host.as_str(), found[0].port), ("127.0.0.1", 9092));
}

async fn join(client: &mut SimClient, member: &str) -> JoinGroupResponse {
    let protocol =
        JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"s") };
    let request = JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    };
    client.call(&request).await.expect("answered")
}

/// Joins with the id that the first join hands out, through loading coordinators.
async fn enter(client: &mut SimClient) -> JoinGroupResponse {
    let mut member = String::new();
    loop {
        let joined = join(client, &member).await;
        match KafkaCode::from_number(joined.error_code) {
            Some(KafkaCode::None) => return joined,
            Some(KafkaCode::MemberIdRequired) => member = joined.member_id,
            Some(code) if code.is_retriable() => {}
            code => panic!("{code:?}"),
        }
    }
}

async fn sync(client: &mut SimClient, joined: &JoinGroupResponse) -> Bytes {
    let assignment = |member: &str| SyncGroupRequestAssignment {
        member_id: member.to_owned(),
        assignment: Bytes::from(format!("for {member}")),
    };
    let request = SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: joined.members.iter().map(|m| assignment(&m.member_id)).collect(),
        ..Default::default()
    };
    let synced = client.call(&request).await.expect("answered");
    assert_eq!(synced.error_code, 0);
    synced.assignment
}

async fn beat(client: &mut SimClient, joined: &JoinGroupResponse) -> KafkaCode {
    let request = HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    };
    let beaten = client.call(&request).await.expect("answered");
    KafkaCode::from_number(beaten.error_code).expect("a known code")
}

async fn commit(client: &mut SimClient, member: Option<&JoinGroupResponse>, offset: i64) -> i16 {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: 7,
        committed_metadata: Some("note".to_owned()),
    };
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.to_owned(),
        partitions: vec![partition(0), partition(99)],
    };
    let request = OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: member.map_or(-1, |joined| joined.generation_id),
        member_id: member.map(|joined| joined.member_id.clone()).unwrap_or_default(),
        topics: vec![topic],
        ..Default::default()
    };
    let committed = client.call(&request).await.expect("answered");
    let partitions = &committed.topics[0].partitions;
    assert_eq!(partitions[1].error_code, KafkaCode::UnknownTopicOrPartition.number());
    partitions[0].error_code
}

/// Offset, leader epoch and metadata of partition 0, once the coordinator is loaded.
async fn fetch(client: &mut SimClient) -> (i64, i32, String) {
    let topics =
        vec![OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0] }];
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(topics),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    loop {
        let mut fetched = client.call(&request).await.expect("answered").groups.remove(0);
        if fetched.error_code == KafkaCode::CoordinatorLoadInProgress.number() {
            continue;
        }
        assert_eq!(fetched.error_code, 0);
        let partition = fetched.topics.remove(0).partitions.remove(0);
        let metadata = partition.metadata.unwrap_or_default();
        return (partition.committed_offset, partition.committed_leader_epoch, metadata);
    }
}

#[test]
fn two_members_on_two_cores_share_a_group_and_its_offsets() {
    let (mut broker, _disk) = SETUP.start(1, None);
    make_topic(&mut broker, TOPIC);
    let (mut a, mut b) = (broker.connect(0), broker.connect(1));
    let handle = broker.executor.handle();
    let b_joined = Rc::new(Cell::new(None));
    let b_slot = Rc::clone(&b_joined);
    let shard = broker.core(0);
    broker.executor.run_until(async move {
        find(&mut a).await;
        let image = Arc::clone(&shard.borrow().image);
        let offsets = image.topic_by_name(OFFSETS_TOPIC).expect("made on first use");
        assert_eq!(offsets.partition_count(), 4);

        let first = enter(&mut a).await;
        assert_eq!(sync(&mut a, &first).await, format!("for {}", first.member_id));
        assert_eq!(commit(&mut a, Some(&first), 5).await, 0);

        handle.spawn(async move {
            let joined = enter(&mut b).await;
            assert_eq!(sync(&mut b, &joined).await, format!("for {}", joined.member_id));
            b_slot.set(Some((joined, b)));
        });
        while beat(&mut a, &first).await != KafkaCode::RebalanceInProgress {
            handle.sleep_us(1000).await;
        }
        let second = join(&mut a, &first.member_id).await;
        assert_eq!((second.generation_id, second.members.len()), (2, 2));
        assert_eq!(sync(&mut a, &second).await, format!("for {}", second.member_id));
        let (joined, mut b) = loop {
            if let Some(done) = b_joined.take() {
                break done;
            }
            handle.sleep_us(1000).await;
        };
        assert_eq!(joined.generation_id, 2);
        assert_eq!(commit(&mut a, Some(&first), 6).await, KafkaCode::IllegalGeneration.number());
        assert_eq!(fetch(&mut b).await, (5, 7, "note".to_owned()));

        let listed = b.call(&ListGroupsRequest::default()).await.expect("answered");
        let states: Vec<(String, String)> =
            listed.groups.into_iter().map(|own| (own.group_id, own.group_state)).collect();
        assert_eq!(states, [(GROUP.to_owned(), "Stable".to_owned())]);
    });
}

#[test]
fn a_group_and_its_offsets_are_there_after_a_power_cut() {
    let (mut broker, disk) = SETUP.start(2, None);
    make_topic(&mut broker, TOPIC);
    let mut a = broker.connect(0);
    let joined = broker.executor.run_until(async move {
        find(&mut a).await;
        let joined = enter(&mut a).await;
        sync(&mut a, &joined).await;
        assert_eq!(commit(&mut a, Some(&joined), 42).await, 0);
        joined
    });
    let (mut broker, _disk) = SETUP.crash(3, broker, &disk);
    let mut a = broker.connect(1);
    broker.executor.run_until(async move {
        assert_eq!(fetch(&mut a).await, (42, 7, "note".to_owned()));
        assert_eq!(beat(&mut a, &joined).await, KafkaCode::None);
        let groups = vec![GROUP.to_owned(), "nobody".to_owned()];
        let request = DescribeGroupsRequest { groups, include_authorized_operations: true };
        let described = a.call(&request).await.expect("answered").groups;
        assert_eq!(described[0].group_state, "Stable");
        assert_eq!(described[0].authorized_operations, 3400);
        assert_eq!(described[0].members[0].member_id, joined.member_id);
        assert_eq!(described[0].members[0].client_host, "/127.0.0.1");
        assert_eq!(described[1].error_code, KafkaCode::GroupIdNotFound.number());
    });
}

#[test]
fn no_acknowledged_commit_is_lost_whenever_the_power_goes() {
    for seed in 0..12 {
        let (mut broker, disk) = SETUP.start(seed, None);
        make_topic(&mut broker, TOPIC);
        let acknowledged = Rc::new(Cell::new(-1));
        let mut client = broker.connect(usize::try_from(seed % 2).unwrap());
        let told = Rc::clone(&acknowledged);
        let handle = broker.executor.handle();
        handle.spawn(async move {
            find(&mut client).await;
            for offset in 0.. {
                let code = commit(&mut client, None, offset).await;
                if code == 0 {
                    told.set(offset);
                }
            }
        });
        let steps = 3000 + Random::new(seed).below(4000);
        for _ in 0..steps {
            assert!(broker.executor.step());
        }
        let acknowledged = acknowledged.get();
        assert!(acknowledged >= 0, "seed {seed} committed nothing");
        let (mut broker, _disk) = SETUP.crash(1000 + seed, broker, &disk);
        let mut client = broker.connect(0);
        let found = broker.executor.run_until(async move { fetch(&mut client).await.0 });
        assert!(
            found >= acknowledged,
            "seed {seed}: {found} after {acknowledged} was acknowledged"
        );
    }
}

/// A heartbeat of the consumer protocol, through a coordinator that is loading.
async fn consumer_beat(
    client: &mut SimClient,
    member: &str,
    epoch: i32,
    owned: Option<Vec<ConsumerGroupTopicPartitions>>,
) -> ConsumerGroupHeartbeatResponse {
    let is_join = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        rebalance_timeout_ms: if is_join { 5_000 } else { -1 },
        subscribed_topic_names: is_join.then(|| vec![TOPIC.to_owned()]),
        topic_partitions: if is_join { Some(Vec::new()) } else { owned },
        ..Default::default()
    };
    loop {
        let beaten = client.call(&request).await.expect("answered");
        match KafkaCode::from_number(beaten.error_code) {
            Some(code) if code.is_retriable() => {}
            _ => return beaten,
        }
    }
}

fn indexes(beaten: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let assignment = beaten.assignment.as_ref()?;
    Some(assignment.topic_partitions.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

async fn consumer_describe(client: &mut SimClient) -> ConsumerGroupDescribed {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![GROUP.to_owned()],
        include_authorized_operations: true,
    };
    client.call(&request).await.expect("answered").groups.remove(0)
}

#[test]
fn a_consumer_group_goes_on_in_the_middle_of_a_handover_after_a_power_cut() {
    let (mut broker, disk) = SETUP.start(4, None);
    make_topic(&mut broker, TOPIC);
    let (mut a, mut b) = (broker.connect(0), broker.connect(1));
    let kept = broker.executor.run_until(async move {
        find(&mut a).await;
        let first = consumer_beat(&mut a, "a", 0, None).await;
        assert_eq!((first.member_epoch, indexes(&first)), (1, Some(vec![0, 1, 2])));
        let second = consumer_beat(&mut b, "b", 0, None).await;
        assert_eq!((second.member_epoch, indexes(&second)), (2, Some(vec![])));
        let told = consumer_beat(&mut a, "a", 1, None).await;
        assert_eq!((told.member_epoch, indexes(&told)), (1, Some(vec![0, 1])));
        told.assignment.expect("just seen").topic_partitions
    });
    let (mut broker, _disk) = SETUP.crash(5, broker, &disk);
    let (mut a, mut b) = (broker.connect(1), broker.connect(0));
    broker.executor.run_until(async move {
        // Partition 2 is still a's: it has not said that it let go.
        let waiting = consumer_beat(&mut b, "b", 2, None).await;
        assert_eq!((waiting.error_code, indexes(&waiting)), (0, None));
        let gone = consumer_beat(&mut a, "a", 1, Some(kept)).await;
        assert_eq!((gone.error_code, gone.member_epoch), (0, 2));
        let taken = consumer_beat(&mut b, "b", 2, None).await;
        assert_eq!(indexes(&taken), Some(vec![2]));

        let described = consumer_describe(&mut a).await;
        assert_eq!((described.error_code, described.group_state.as_str()), (0, "Stable"));
        assert_eq!((described.group_epoch, described.assignment_epoch), (2, 2));
        assert_eq!((described.assignor_name.as_str(), described.members.len()), ("uniform", 2));
        assert_eq!(described.members[0].assignment.topic_partitions[0].topic_name, TOPIC);
        assert_eq!(described.authorized_operations, 3400);

        let left = consumer_beat(&mut a, "a", -1, None).await;
        assert_eq!((left.error_code, left.member_epoch), (0, -1));
        let alone = consumer_beat(&mut b, "b", 2, None).await;
        assert_eq!((alone.member_epoch, indexes(&alone)), (3, Some(vec![0, 1, 2])));
    });
}
