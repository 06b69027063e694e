//! Share groups (KIP-932): wrong heartbeats, sessions and acknowledgements, their offsets, and
//! groups of the other kinds asked for as if they were queues.

use std::time::Duration;

use harness::wait_until;
use highwater::protocol::messages::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition,
    AlterShareGroupOffsetsRequestTopic,
};
use highwater::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use highwater::protocol::messages::delete_groups::DeleteGroupsRequest;
use highwater::protocol::messages::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use highwater::protocol::messages::describe_groups::DescribeGroupsRequest;
use highwater::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsRequestTopic,
};
use highwater::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use highwater::protocol::messages::share_acknowledge::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use highwater::protocol::messages::share_fetch::{
    AcknowledgementBatch as FetchedBatch, FetchPartition, FetchTopic, ShareFetchRequest,
};
use highwater::protocol::messages::share_group_describe::ShareGroupDescribeRequest;
use highwater::protocol::messages::share_group_heartbeat::ShareGroupHeartbeatRequest;
use uuid::Uuid;

use crate::groups::joining;
use crate::{Pair, STALLED, Side, consumers, mask};

const TOPIC: &str = "shared";
const RECORDS: i64 = 4;
const MEMBER: &str = "mVxT3ZpqTQ2kz2YVw0s6nA";
const VERSION: i16 = 1;
const OFFSETS_VERSION: i16 = 0;
const LEAVE: i32 = -1;
const PATIENCE: Duration = Duration::from_secs(60);
/// What a share group may take to hand out what is there.
const FIRST_RECORDS: Duration = Duration::from_secs(15);

/// Stops early where Kafka stalls.
pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 1, &[]);
    pair.both(|side| {
        for _ in 0..RECORDS {
            let sent = side.wire().send_batch((TOPIC, 0), -1, crate::produce::batch(b"a job"));
            sent.expect("the broker runs");
            assert_eq!(side.wire().receive_produced().expect("answered").error_code, 0);
        }
    });
    first_beats(pair);
    later_beats(pair);
    fetches(pair);
    acknowledgements(pair);
    sessions(pair);
    descriptions(pair);
    offsets(pair);
    changed_offsets(pair);
    other_calls(pair);
}

/// A first heartbeat that is right.
fn first(group: &str, member: &str) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rack_id: None,
        subscribed_topic_names: Some(vec![TOPIC.to_owned()]),
    }
}

fn later(group: &str, member: &str, member_epoch: i32) -> ShareGroupHeartbeatRequest {
    let subscribed_topic_names = None;
    ShareGroupHeartbeatRequest { member_epoch, subscribed_topic_names, ..first(group, member) }
}

fn first_beats(pair: &mut Pair) {
    type Change = fn(&mut ShareGroupHeartbeatRequest);
    let cases: [(&'static str, Change); 11] = [
        ("a share beat to the empty group", |beat| beat.group_id.clear()),
        ("a share beat to a group of blanks", |beat| beat.group_id = "  ".to_owned()),
        ("a share beat without a member id", |beat| beat.member_id.clear()),
        ("a share beat of epoch -2", |beat| beat.member_epoch = -2),
        ("a share beat of epoch -3", |beat| beat.member_epoch = -3),
        ("a first share beat without a subscription", |beat| beat.subscribed_topic_names = None),
        ("a first share beat with no topics", |beat| {
            beat.subscribed_topic_names = Some(Vec::new());
        }),
        ("a first share beat with an empty rack", |beat| beat.rack_id = Some(String::new())),
        ("a first share beat for an unknown topic", |beat| {
            beat.subscribed_topic_names = Some(vec!["no-topic".to_owned()]);
        }),
        ("a later share beat to an unknown group", |beat| beat.member_epoch = 3),
        ("a share beat that leaves an unknown group", |beat| beat.member_epoch = LEAVE),
    ];
    for (at, (name, change)) in cases.into_iter().enumerate() {
        let mut beat = first(&format!("share-beaten{at}"), MEMBER);
        change(&mut beat);
        pair.case(name, move |side| side.ask(&beat, VERSION));
    }
    pair.case("a share beat to a classic group with members", |side| {
        side.ask(&first("j5", MEMBER), VERSION)
    });
    pair.case("a share beat to consumers", |side| side.ask(&first("modern", MEMBER), VERSION));
    pair.case("a later share beat to consumers", |side| {
        side.ask(&later("modern", MEMBER, 1), VERSION)
    });
}

fn later_beats(pair: &mut Pair) {
    pair.case("a share beat of a later epoch", |side| {
        join(side, "share-epochs");
        let epoch = side.call(&first("share-epochs", MEMBER), VERSION).member_epoch;
        side.ask(&later("share-epochs", MEMBER, epoch + 7), VERSION)
    });
    pair.case("a share beat of an old epoch", |side| {
        let mut two = first("share-epochs", "second");
        two.subscribed_topic_names = Some(vec![TOPIC.to_owned(), "no-topic".to_owned()]);
        let epoch = side.call(&two, VERSION).member_epoch;
        let mut seen = vec![side.ask(&later("share-epochs", "second", epoch - 1), VERSION)];
        seen.push(side.ask(&later("share-epochs", "second", epoch - 2), VERSION));
        seen.push(side.ask(&later("share-epochs", "second", LEAVE), VERSION));
        format!("{seen:?}")
    });
    pair.case("a share beat of a stranger", |side| {
        side.ask(&later("share-epochs", "nobody", 1), VERSION)
    });
    pair.case("a stranger leaves a share group", |side| {
        side.ask(&later("share-epochs", "nobody", LEAVE), VERSION)
    });
    pair.case("a share member leaves twice", |side| {
        join(side, "share-left");
        let mut seen = vec![side.ask(&later("share-left", MEMBER, LEAVE), VERSION)];
        seen.push(side.ask(&later("share-left", MEMBER, LEAVE), VERSION));
        seen.push(side.ask(&later("share-left", MEMBER, 1), VERSION));
        format!("{seen:?}")
    });
}

/// Has a group begin at the log start, before there is one.
fn begin_at_the_log_start(side: &mut Side, group: &str) {
    let earliest = AlterableConfig {
        name: "share.auto.offset.reset".to_owned(),
        config_operation: 0,
        value: Some("earliest".to_owned()),
    };
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: group.to_owned(),
        configs: vec![earliest],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(side.call(&request, 1).responses[0].error_code, 0, "a group's configuration");
}

/// A member that has the partition.
fn join(side: &mut Side, group: &str) {
    let has_partition = wait_until("a share group's partition", PATIENCE, || {
        let answer = side.call(&first(group, MEMBER), VERSION);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        answer.assignment.is_some_and(|own| !own.topic_partitions.is_empty()).then_some(())
    });
    has_partition.unwrap_or_else(|what| panic!("{what} of {group}"));
}

fn fetch(group: &str, topic_id: Uuid, share_session_epoch: i32) -> ShareFetchRequest {
    let partition = FetchPartition { partition_index: 0, acknowledgement_batches: Vec::new() };
    ShareFetchRequest {
        group_id: Some(group.to_owned()),
        member_id: Some(MEMBER.to_owned()),
        share_session_epoch,
        max_wait_ms: 200,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 500,
        batch_size: 500,
        topics: vec![FetchTopic { topic_id, partitions: vec![partition] }],
        forgotten_topics_data: Vec::new(),
    }
}

/// A member of a share group that has acquired all records on this connection.
struct Holder {
    group: String,
    topic_id: Uuid,
    /// The session's next.
    epoch: i32,
}

impl Holder {
    /// The session's next fetch.
    fn fetch(&self) -> ShareFetchRequest {
        fetch(&self.group, self.topic_id, self.epoch)
    }

    fn acknowledge(
        &self,
        share_session_epoch: i32,
        batches: &[(i64, i64, &[i8])],
    ) -> ShareAcknowledgeRequest {
        let batch = |(first, last, kinds): &(i64, i64, &[i8])| AcknowledgementBatch {
            first_offset: *first,
            last_offset: *last,
            acknowledge_types: kinds.to_vec(),
        };
        let partition = AcknowledgePartition {
            partition_index: 0,
            acknowledgement_batches: batches.iter().map(batch).collect(),
        };
        ShareAcknowledgeRequest {
            group_id: Some(self.group.clone()),
            member_id: Some(MEMBER.to_owned()),
            share_session_epoch,
            topics: vec![AcknowledgeTopic { topic_id: self.topic_id, partitions: vec![partition] }],
        }
    }
}

/// Makes one; `None` when the broker hands out nothing of what is there.
fn acquire(side: &mut Side, group: &str) -> Option<Holder> {
    begin_at_the_log_start(side, group);
    let topic_id = side.topic_id(TOPIC);
    join(side, group);
    let mut epoch = 0;
    let mut acquired = 0;
    let all = wait_until("records of a share group", FIRST_RECORDS, || {
        let answer = side.call(&fetch(group, topic_id, epoch), VERSION);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        epoch += 1;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let ranges = partitions.flat_map(|partition| &partition.acquired_records);
        acquired += ranges.map(|range| range.last_offset - range.first_offset + 1).sum::<i64>();
        (acquired >= RECORDS).then_some(())
    });
    all.ok().map(|()| Holder { group: group.to_owned(), topic_id, epoch })
}

fn fetches(pair: &mut Pair) {
    type Change = fn(&mut ShareFetchRequest);
    let cases: [(&'static str, Change); 9] = [
        ("a share fetch without a group", |fetch| fetch.group_id = None),
        ("a share fetch of the empty group", |fetch| fetch.group_id = Some(String::new())),
        ("a share fetch without a member", |fetch| fetch.member_id = None),
        ("a share fetch of the empty member", |fetch| fetch.member_id = Some(String::new())),
        ("a share fetch in a session that is not there", |fetch| fetch.share_session_epoch = 3),
        ("a share fetch that ends a session that is not there", |fetch| {
            fetch.share_session_epoch = -1;
        }),
        ("a share fetch of epoch -2", |fetch| fetch.share_session_epoch = -2),
        ("a first share fetch that acknowledges", |fetch| {
            let batch =
                FetchedBatch { first_offset: 0, last_offset: 0, acknowledge_types: vec![1] };
            fetch.topics[0].partitions[0].acknowledgement_batches = vec![batch];
        }),
        ("a share fetch of an unknown partition", |fetch| {
            fetch.topics[0].partitions[0].partition_index = 7;
        }),
    ];
    for (at, (name, change)) in cases.into_iter().enumerate() {
        pair.case(name, move |side| {
            let mut request = fetch(&format!("share-fetched{at}"), side.topic_id(TOPIC), 0);
            change(&mut request);
            side.ask(&request, VERSION)
        });
    }
    pair.case("a share fetch of an unknown topic", |side| {
        side.ask(&fetch("share-fetched", Uuid::from_u128(7), 0), VERSION)
    });
    pair.case("a share fetch of no partitions", |side| {
        let mut request = fetch("share-fetched", Uuid::from_u128(7), 0);
        request.topics.clear();
        side.ask(&request, VERSION)
    });
    pair.case("a share fetch of a topic of another group type", |side| {
        let topic_id = side.topic_id(TOPIC);
        side.ask(&fetch("j5", topic_id, 0), VERSION)
    });
}

fn acknowledgements(pair: &mut Pair) {
    type Batches = &'static [(i64, i64, &'static [i8])];
    let cases: [(&'static str, Batches); 17] = [
        ("records accepted", &[(0, 3, &[1])]),
        ("records accepted one by one", &[(0, 3, &[1, 1, 1, 1])]),
        ("records of three fates", &[(0, 3, &[1, 2, 3, 1])]),
        ("records in two batches", &[(0, 1, &[1]), (2, 3, &[2])]),
        ("a gap where a record is", &[(0, 0, &[0])]),
        ("a record that was not acquired", &[(9, 9, &[1])]),
        ("records that were acquired and one that was not", &[(3, 4, &[1])]),
        ("acknowledgement type 4", &[(0, 0, &[4])]),
        ("acknowledgement type 9", &[(0, 0, &[9])]),
        ("acknowledgement type -1", &[(0, 0, &[-1])]),
        ("no acknowledgement type", &[(0, 0, &[])]),
        ("more acknowledgement types than records", &[(0, 1, &[1, 1, 1])]),
        ("fewer acknowledgement types than records", &[(0, 3, &[1, 1])]),
        ("a batch that ends before it begins", &[(2, 1, &[1])]),
        ("batches in the wrong order", &[(2, 3, &[1]), (0, 1, &[1])]),
        ("batches that overlap", &[(0, 2, &[1]), (2, 3, &[1])]),
        ("a negative offset", &[(-1, 0, &[1])]),
    ];
    for (at, (name, batches)) in cases.into_iter().enumerate() {
        pair.case(name, move |side| {
            let group = format!("share-said{at}");
            let Some(held) = acquire(side, &group) else { return STALLED.to_owned() };
            side.ask(&held.acknowledge(held.epoch, batches), VERSION)
        });
    }
    pair.case("records accepted twice", |side| {
        let Some(held) = acquire(side, "share-twice") else { return STALLED.to_owned() };
        side.call(&held.acknowledge(held.epoch, &[(0, 1, &[1])]), VERSION);
        side.ask(&held.acknowledge(held.epoch + 1, &[(0, 1, &[1])]), VERSION)
    });
    pair.case("records rejected with the next fetch", |side| {
        let Some(held) = acquire(side, "share-rejected") else { return STALLED.to_owned() };
        let mut request = held.fetch();
        let batch = FetchedBatch { first_offset: 0, last_offset: 3, acknowledge_types: vec![3] };
        request.topics[0].partitions[0].acknowledgement_batches = vec![batch];
        side.ask(&request, VERSION)
    });
}

fn sessions(pair: &mut Pair) {
    const ACCEPT: &[(i64, i64, &[i8])] = &[(0, 0, &[1])];
    type Change = fn(&mut ShareAcknowledgeRequest, i32);
    let cases: [(&'static str, Change); 9] = [
        ("acknowledged in a session's old epoch", |own, epoch| own.share_session_epoch = epoch - 1),
        ("acknowledged in a session's later epoch", |own, epoch| {
            own.share_session_epoch = epoch + 1;
        }),
        ("acknowledged in the first epoch", |own, _| own.share_session_epoch = 0),
        ("acknowledged in epoch -2", |own, _| own.share_session_epoch = -2),
        ("acknowledged with the session's end", |own, _| own.share_session_epoch = -1),
        ("acknowledged by another member", |own, _| {
            own.member_id = Some("AAAAAAAAAAAAAAAAAAAAAQ".to_owned());
        }),
        ("acknowledged without a group", |own, _| own.group_id = None),
        ("acknowledged in an unknown topic", |own, _| {
            own.topics[0].topic_id = Uuid::from_u128(9);
        }),
        ("acknowledged in an unknown partition", |own, _| {
            own.topics[0].partitions[0].partition_index = 5;
        }),
    ];
    for (at, (name, change)) in cases.into_iter().enumerate() {
        pair.case(name, move |side| {
            let group = format!("share-session{at}");
            let Some(held) = acquire(side, &group) else { return STALLED.to_owned() };
            let mut request = held.acknowledge(held.epoch.max(1), ACCEPT);
            change(&mut request, held.epoch);
            side.ask(&request, VERSION)
        });
    }
    for (name, epoch) in [("a share fetch of a later epoch", 5), ("a share fetch of epoch 0", 0)] {
        pair.case(name, move |side| {
            let group = format!("share-jump{epoch}");
            let Some(held) = acquire(side, &group) else { return STALLED.to_owned() };
            let mut request = held.fetch();
            request.share_session_epoch = if epoch == 0 { 0 } else { held.epoch + epoch };
            let answer = side.call(&request, VERSION);
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
            format!("{} {codes:?}", answer.error_code)
        });
    }
    pair.case("released with the session's end, delivered again", |side| {
        let Some(held) = acquire(side, "share-ended") else { return STALLED.to_owned() };
        let mut end = held.acknowledge(-1, &[]);
        end.topics.clear();
        let mut seen = vec![side.ask(&end, VERSION)];
        let again = wait_until("released records", PATIENCE, || {
            side.wire = None;
            let answer = side.call(&fetch(&held.group, held.topic_id, 0), VERSION);
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
            let ranges: Vec<String> = partitions
                .flat_map(|partition| &partition.acquired_records)
                .map(|range| format!("{range:?}"))
                .collect();
            (!ranges.is_empty()).then_some(ranges)
        });
        seen.extend(again.unwrap_or_else(|what| panic!("{what}")));
        format!("{seen:?}")
    });
}

fn descriptions(pair: &mut Pair) {
    pair.both(|side| join(side, "share-known"));
    for (name, group) in [
        ("a share group is described", "share-known"),
        ("an unknown share group is described", "share-nowhere"),
        ("the empty share group is described", ""),
        ("a classic group is described as a share group", "j5"),
        ("consumers are described as a share group", "modern"),
    ] {
        pair.case(name, move |side| {
            let group_ids = vec![group.to_owned()];
            let request =
                ShareGroupDescribeRequest { group_ids, include_authorized_operations: false };
            side.ask(&request, VERSION)
        });
    }
}

fn describe_offsets(
    group: &str,
    topics: Option<&[(&str, &[i32])]>,
) -> DescribeShareGroupOffsetsRequest {
    let topics = topics.map(|topics| {
        let named = |(name, partitions): &(&str, &[i32])| DescribeShareGroupOffsetsRequestTopic {
            topic_name: (*name).to_owned(),
            partitions: partitions.to_vec(),
        };
        topics.iter().map(named).collect()
    });
    let group = DescribeShareGroupOffsetsRequestGroup { group_id: group.to_owned(), topics };
    DescribeShareGroupOffsetsRequest { groups: vec![group] }
}

fn offsets(pair: &mut Pair) {
    type Topics = Option<&'static [(&'static str, &'static [i32])]>;
    pair.case("a share group's new start is written", |side| {
        let Some(held) = acquire(side, "share-kept") else { return STALLED.to_owned() };
        let accept = held.acknowledge(held.epoch, &[(0, 1, &[1])]);
        assert_eq!(side.call(&accept, VERSION).responses[0].partitions[0].error_code, 0);
        // Kafka writes the new start with the next change, as when it takes back what a member had
        // that goes.
        side.wire = None;
        let described = describe_offsets("share-kept", Some(&[(TOPIC, &[0])]));
        let is_written = wait_until("a share group's new start", FIRST_RECORDS, || {
            let answer = side.call(&described, OFFSETS_VERSION);
            let partition = answer.groups.first()?.topics.first()?.partitions.first()?;
            (partition.start_offset > 0).then_some(())
        });
        is_written.map_or_else(|_| STALLED.to_owned(), |()| "written".to_owned())
    });
    let cases: [(&'static str, &str, Topics); 9] = [
        ("offsets of a share group", "share-kept", Some(&[(TOPIC, &[0])])),
        ("all offsets of a share group", "share-kept", None),
        ("no offsets of a share group", "share-kept", Some(&[])),
        ("a share group's offsets of an unknown partition", "share-kept", Some(&[(TOPIC, &[4])])),
        ("a share group's offsets of an unknown topic", "share-kept", Some(&[("no-topic", &[0])])),
        ("a share group's offsets of no partitions", "share-kept", Some(&[(TOPIC, &[])])),
        ("offsets of an unknown share group", "share-nowhere", Some(&[(TOPIC, &[0])])),
        ("all offsets of an unknown share group", "share-nowhere", None),
        ("share offsets of a classic group", "j5", None),
    ];
    for (name, group, topics) in cases {
        pair.case(name, move |side| side.ask(&describe_offsets(group, topics), OFFSETS_VERSION));
    }
}

fn alter(group: &str, topic: &str, partition_index: i32) -> AlterShareGroupOffsetsRequest {
    let partition = AlterShareGroupOffsetsRequestPartition { partition_index, start_offset: 2 };
    let topic_name = topic.to_owned();
    let topic = AlterShareGroupOffsetsRequestTopic { topic_name, partitions: vec![partition] };
    AlterShareGroupOffsetsRequest { group_id: group.to_owned(), topics: vec![topic] }
}

fn forget(group: &str, topic: &str) -> DeleteShareGroupOffsetsRequest {
    let topic = DeleteShareGroupOffsetsRequestTopic { topic_name: topic.to_owned() };
    DeleteShareGroupOffsetsRequest { group_id: group.to_owned(), topics: vec![topic] }
}

fn changed_offsets(pair: &mut Pair) {
    pair.both(|side| {
        join(side, "share-empty");
        side.call(&later("share-empty", MEMBER, LEAVE), VERSION);
    });
    for (name, group, topic, partition) in [
        ("share offsets are set", "share-empty", TOPIC, 0),
        ("share offsets of an unknown partition are set", "share-empty", TOPIC, 6),
        ("share offsets of an unknown topic are set", "share-empty", "no-topic", 0),
        ("share offsets are set under a member", "share-kept", TOPIC, 0),
        ("share offsets of the empty group are set", "", TOPIC, 0),
        ("share offsets of an unknown group are set", "share-new", TOPIC, 0),
        ("share offsets of a classic group are set", "j5", TOPIC, 0),
    ] {
        pair.case(name, move |side| {
            let set = side.ask(&alter(group, topic, partition), OFFSETS_VERSION);
            let found = side.ask(&describe_offsets(group, None), OFFSETS_VERSION);
            format!("{set} {found}")
        });
    }
    for (name, group, topic) in [
        ("share offsets of an unknown topic are deleted", "share-empty", "no-topic"),
        ("share offsets that are not there are deleted", "share-empty", "administered"),
        ("share offsets are deleted under a member", "share-kept", TOPIC),
        ("share offsets of the empty group are deleted", "", TOPIC),
        ("share offsets of an unknown group are deleted", "share-nobody", TOPIC),
        ("share offsets of a classic group are deleted", "j5", TOPIC),
        ("share offsets are deleted", "share-empty", TOPIC),
        ("share offsets are deleted again", "share-empty", TOPIC),
    ] {
        pair.case(name, move |side| side.ask(&forget(group, topic), OFFSETS_VERSION));
    }
}

fn other_calls(pair: &mut Pair) {
    let named = || vec!["share-known".to_owned()];
    pair.case("a consumer joins a share group the classic way", |side| {
        side.ask(&joining("share-known", ""), 5)
    });
    pair.case("a consumer's beat to a share group", |side| {
        side.ask(&consumers::first("share-known", "m-1"), 1)
    });
    pair.case("a share group is described the classic way", move |side| {
        let answer = side.ask(&DescribeGroupsRequest { groups: named(), ..Default::default() }, 6);
        mask::masked(&answer)
    });
    pair.case("a share group is described as consumers", move |side| {
        let group_ids = named();
        let include_authorized_operations = false;
        side.ask(&ConsumerGroupDescribeRequest { group_ids, include_authorized_operations }, 1)
    });
    pair.case("a share group with members is removed", move |side| {
        side.ask(&DeleteGroupsRequest { groups_names: named() }, 2)
    });
    pair.case("an empty share group is removed", |side| {
        side.call(&later("share-known", MEMBER, LEAVE), VERSION);
        let groups_names = vec!["share-known".to_owned()];
        side.ask(&DeleteGroupsRequest { groups_names }, 2)
    });
    pair.case("offsets of a share group are forgotten the classic way", |side| {
        side.ask(&crate::groups::forget("share-kept", TOPIC, 0), 0)
    });
}
