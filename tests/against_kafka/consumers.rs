//! Groups of the consumer protocol (KIP-848), wrong heartbeats above all, and both kinds of groups
//! asked for the wrong way.

use highwater::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use highwater::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupTopicPartitions,
};
use highwater::protocol::messages::delete_groups::DeleteGroupsRequest;
use highwater::protocol::messages::describe_groups::DescribeGroupsRequest;
use highwater::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use highwater::protocol::messages::list_groups::ListGroupsRequest;
use highwater::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use uuid::Uuid;

use crate::groups::{beat, forget, joining, syncing};
use crate::{Pair, Side};

const TOPIC: &str = "consumed";
const VERSION: i16 = 1;
const LEAVE: i32 = -1;
const LEAVE_STATIC: i32 = -2;

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 3, &[]);
    first_beats(pair);
    strangers(pair);
    life(pair);
    two_members(pair);
    instances(pair);
    other_calls(pair);
    lists(pair);
    descriptions(pair);
    fetches(pair);
}

/// A first heartbeat that is right.
pub(crate) fn first(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec![TOPIC.to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// A later heartbeat without news.
fn later(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn owning(topic_id: Uuid, partitions: &[i32]) -> Option<Vec<ConsumerGroupTopicPartitions>> {
    Some(vec![ConsumerGroupTopicPartitions { topic_id, partitions: partitions.to_vec() }])
}

fn first_beats(pair: &mut Pair) {
    type Change = fn(&mut ConsumerGroupHeartbeatRequest);
    let cases: [(&'static str, Change); 16] = [
        ("a beat to the empty group", |beat| beat.group_id.clear()),
        ("a beat to a group of blanks", |beat| beat.group_id = "  ".to_owned()),
        ("a beat without a member id", |beat| beat.member_id.clear()),
        ("a beat of epoch -3", |beat| beat.member_epoch = -3),
        ("a first beat without a rebalance timeout", |beat| beat.rebalance_timeout_ms = -1),
        ("a first beat with rebalance timeout 0", |beat| beat.rebalance_timeout_ms = 0),
        ("a first beat without a subscription", |beat| beat.subscribed_topic_names = None),
        ("a first beat with no topics", |beat| beat.subscribed_topic_names = Some(Vec::new())),
        ("a first beat without partitions", |beat| beat.topic_partitions = None),
        ("a first beat that owns partitions", |beat| {
            beat.topic_partitions = owning(Uuid::from_u128(5), &[0]);
        }),
        ("a beat with an empty instance", |beat| beat.instance_id = Some(String::new())),
        ("a beat with an empty rack", |beat| beat.rack_id = Some(String::new())),
        ("a beat with an unknown assignor", |beat| beat.server_assignor = Some("best".to_owned())),
        ("a beat with an empty assignor", |beat| beat.server_assignor = Some(String::new())),
        ("a beat with a regular expression that is none", |beat| {
            beat.subscribed_topic_regex = Some("a(b".to_owned());
        }),
        ("a beat that leaves statically without an instance", |beat| beat.member_epoch = -2),
    ];
    for (at, (name, change)) in cases.into_iter().enumerate() {
        let mut beat = first(&format!("beaten{at}"), "m-1");
        change(&mut beat);
        pair.case(name, move |side| side.ask(&beat, VERSION));
    }
    pair.case("a first beat for an unknown topic", |side| {
        let topics = Some(vec!["no-topic".to_owned()]);
        let beat =
            ConsumerGroupHeartbeatRequest { subscribed_topic_names: topics, ..first("none", "m") };
        side.ask(&beat, VERSION)
    });
    pair.case("a first beat of v0 gets a member id", |side| {
        let answer = side.call(&first("zero", ""), 0);
        let id = answer.member_id.unwrap_or_default();
        format!("{} {} {}", answer.error_code, id.is_empty(), answer.member_epoch)
    });
    for (name, assignor) in [("the range assignor", "range"), ("the uniform assignor", "uniform")] {
        pair.case(name, move |side| {
            let server_assignor = Some(assignor.to_owned());
            let group = format!("assigned-{assignor}");
            let beat = ConsumerGroupHeartbeatRequest { server_assignor, ..first(&group, "m-1") };
            let joined = side.ask(&beat, VERSION);
            format!("{joined} {}", describe(side, &group))
        });
    }
}

fn strangers(pair: &mut Pair) {
    pair.case("a later beat to an unknown group", |side| {
        side.ask(&later("nobody", "m", 3), VERSION)
    });
    pair.case("a beat that leaves an unknown group", |side| {
        side.ask(&later("nobody", "m", LEAVE), VERSION)
    });
    pair.case("a beat that leaves an unknown group for a while", |side| {
        let instance_id = Some("i".to_owned());
        let beat =
            ConsumerGroupHeartbeatRequest { instance_id, ..later("nobody", "m", LEAVE_STATIC) };
        side.ask(&beat, VERSION)
    });
    pair.case("a beat of a stranger", |side| {
        side.call(&first("strange", "m-1"), VERSION);
        side.ask(&later("strange", "m-2", 1), VERSION)
    });
    pair.case("a stranger leaves", |side| side.ask(&later("strange", "m-2", LEAVE), VERSION));
    pair.case("a beat to a classic group with members", |side| {
        side.ask(&first("j5", "m-1"), VERSION)
    });
    pair.case("a later beat to a classic group", |side| side.ask(&later("j5", "m-1", 1), VERSION));
    pair.case("a beat that leaves a classic group", |side| {
        side.ask(&later("j5", "m-1", LEAVE), VERSION)
    });
}

/// What ConsumerGroupDescribe says of one group.
fn describe(side: &mut Side, group: &str) -> String {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        include_authorized_operations: false,
    };
    let mut answer = side.call(&request, VERSION);
    for group in &mut answer.groups {
        group.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    }
    crate::mask::masked(&format!("{answer:?}"))
}

fn commit(group: &str, member: &str, epoch: i32) -> OffsetCommitRequest {
    let part = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 0,
        committed_metadata: Some(String::new()),
        ..OffsetCommitRequestPartition::default()
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        generation_id_or_member_epoch: epoch,
        topics: vec![OffsetCommitRequestTopic { name: TOPIC.to_owned(), partitions: vec![part] }],
        ..OffsetCommitRequest::default()
    }
}

fn fetched(group: &str, member: Option<&str>, epoch: i32) -> OffsetFetchRequest {
    let topics =
        vec![OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0] }];
    let group = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        member_id: member.map(str::to_owned),
        member_epoch: epoch,
        topics: Some(topics),
    };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

fn life(pair: &mut Pair) {
    pair.case("a consumer's life", |side| {
        let topic_id = side.topic_id(TOPIC);
        let mut seen = vec![side.ask(&first("alive", "m-1"), VERSION)];
        seen.push(describe(side, "alive"));
        let all = owning(topic_id, &[0, 1, 2]);
        let mut ask = |beat: ConsumerGroupHeartbeatRequest| seen.push(side.ask(&beat, VERSION));
        let own = |epoch| ConsumerGroupHeartbeatRequest {
            topic_partitions: all.clone(),
            ..later("alive", "m-1", epoch)
        };
        ask(own(1));
        ask(later("alive", "m-1", 1));
        ask(first("alive", "m-1"));
        ask(later("alive", "m-1", 2));
        ask(later("alive", "m-1", 0));
        ask(later("alive", "m-1", 1));
        ask(ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: Some(Vec::new()),
            ..later("alive", "m-1", 1)
        });
        seen.push(describe(side, "alive"));
        format!("{seen:#?}")
    });
    pair.case("a consumer leaves and comes back", |side| {
        side.call(&first("back", "m-1"), VERSION);
        let mut seen = vec![side.ask(&later("back", "m-1", LEAVE), VERSION)];
        seen.push(describe(side, "back"));
        seen.push(side.ask(&later("back", "m-1", 1), VERSION));
        seen.push(side.ask(&first("back", "m-1"), VERSION));
        seen.push(describe(side, "back"));
        format!("{seen:#?}")
    });
}

fn two_members(pair: &mut Pair) {
    pair.case("two consumers share", |side| {
        let topic_id = side.topic_id(TOPIC);
        let mut seen = Vec::new();
        let mut ask = |side: &mut Side, beat| seen.push(side.ask(&beat, VERSION));
        let owns = |member: &str, epoch, partitions: &[i32]| ConsumerGroupHeartbeatRequest {
            topic_partitions: owning(topic_id, partitions),
            ..later("two", member, epoch)
        };
        ask(side, first("two", "m-1"));
        ask(side, owns("m-1", 1, &[0, 1, 2]));
        ask(side, first("two", "m-2"));
        ask(side, later("two", "m-2", 2));
        ask(side, later("two", "m-1", 1));
        ask(side, owns("m-1", 1, &[0, 1]));
        ask(side, later("two", "m-2", 2));
        ask(side, later("two", "m-1", 1));
        ask(side, later("two", "m-1", 2));
        seen.push(describe(side, "two"));
        format!("{seen:#?}")
    });
}

fn instances(pair: &mut Pair) {
    pair.case("a static consumer", |side| {
        let with = |beat: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
            instance_id: Some("one".to_owned()),
            ..beat
        };
        let mut seen = vec![side.ask(&with(first("fixed", "m-1")), VERSION)];
        let mut ask = |beat| seen.push(side.ask(&beat, VERSION));
        ask(with(first("fixed", "m-2")));
        ask(with(later("fixed", "m-2", 1)));
        ask(with(later("fixed", "m-2", LEAVE)));
        ask(with(later("fixed", "m-1", LEAVE_STATIC)));
        ask(with(later("fixed", "m-1", 1)));
        ask(with(first("fixed", "m-2")));
        ask(with(later("fixed", "m-1", 1)));
        ask(with(later("fixed", "m-2", LEAVE)));
        seen.push(describe(side, "fixed"));
        format!("{seen:#?}")
    });
}

fn other_calls(pair: &mut Pair) {
    pair.both(|side| side.call(&first("modern", "m-1"), VERSION));
    pair.case("a stranger of the classic protocol joins consumers", |side| {
        side.ask(&joining("modern", "who"), 5)
    });
    pair.case("a member of another type joins consumers", |side| {
        let mut request = joining("modern", "");
        request.protocol_type = "connect".to_owned();
        side.ask(&request, 2)
    });
    pair.case("a classic heartbeat to consumers", |side| side.ask(&beat("modern", 1, "m-1"), 4));
    pair.case("a classic sync with consumers", |side| side.ask(&syncing("modern", 1, "m-1"), 5));
    pair.case("a consumer leaves the classic way", |side| {
        let member = MemberIdentity { member_id: "m-9".to_owned(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: "modern".to_owned(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        side.ask(&request, 5)
    });
    for (name, member, epoch, version) in [
        ("a consumer's commit", "m-1", 1, 9),
        ("a consumer's commit of an old epoch", "m-1", 0, 9),
        ("a consumer's commit of a later epoch", "m-1", 7, 9),
        ("a consumer's commit of epoch -1", "m-1", -1, 9),
        ("a consumer's commit, v8", "m-1", 1, 8),
        ("a consumer's commit of an old epoch, v8", "m-1", 0, 8),
        ("a stranger's commit", "m-2", 1, 9),
        ("a commit without a member", "", -1, 9),
    ] {
        pair.case(name, move |side| side.ask(&commit("modern", member, epoch), version));
    }
    for (name, member, epoch) in [
        ("a consumer's offsets", Some("m-1"), 1),
        ("a consumer's offsets in an old epoch", Some("m-1"), 0),
        ("a consumer's offsets in a later epoch", Some("m-1"), 9),
        ("a stranger's offsets", Some("m-2"), 1),
        ("offsets without a member", None, -1),
        ("offsets without a member in an epoch", None, 1),
        ("offsets of an empty member", Some(""), -1),
    ] {
        pair.case(name, move |side| side.ask(&fetched("modern", member, epoch), 9));
    }
    pair.case("an offset of consumers is forgotten", |side| {
        side.ask(&forget("modern", TOPIC, 0), 0)
    });
    pair.case("consumers are described the classic way", |side| {
        let groups = vec!["modern".to_owned()];
        side.ask(&DescribeGroupsRequest { groups, ..Default::default() }, 6)
    });
    pair.case("consumers are described the classic way, v5", |side| {
        let groups = vec!["modern".to_owned()];
        side.ask(&DescribeGroupsRequest { groups, ..Default::default() }, 5)
    });
    pair.case("a group with consumers is removed", |side| {
        side.ask(&DeleteGroupsRequest { groups_names: vec!["modern".to_owned()] }, 2)
    });
}

/// Names, states and types of the groups that this module has made.
fn listed(side: &mut Side, states: &[&str], types: &[&str], version: i16) -> String {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
    let answer = side.call(&request, version);
    let mut groups: Vec<String> = answer
        .groups
        .into_iter()
        .filter(|group| ["modern", "alive", "two", "fixed", "j5"].contains(&&*group.group_id))
        .map(|group| format!("{group:?}"))
        .collect();
    groups.sort();
    format!("{} {groups:?}", answer.error_code)
}

fn lists(pair: &mut Pair) {
    type Filter = &'static [&'static str];
    let cases: [(&'static str, Filter, Filter, i16); 11] = [
        ("all groups", &[], &[], 5),
        ("all groups, v3", &[], &[], 3),
        ("all groups, v0", &[], &[], 0),
        ("groups of consumers", &[], &["consumer"], 5),
        ("groups of consumers in capitals", &[], &["CONSUMER"], 5),
        ("classic groups", &[], &["classic"], 5),
        ("share groups", &[], &["share"], 5),
        ("groups of an empty type", &[], &[""], 5),
        ("stable groups", &["Stable"], &[], 5),
        ("stable groups in small letters", &["stable"], &[], 4),
        ("empty and stable consumers", &["Empty", "Stable"], &["consumer"], 5),
    ];
    for (name, states, types, version) in cases {
        pair.case(name, move |side| listed(side, states, types, version));
    }
    for (name, state) in [
        ("reconciling groups", "Reconciling"),
        ("assigning groups", "Assigning"),
        ("dead groups", "Dead"),
        ("groups of an empty state", ""),
    ] {
        pair.case(name, move |side| listed(side, &[state], &[], 5));
    }
}

fn descriptions(pair: &mut Pair) {
    let ask = |groups: &[&str], operations: bool| ConsumerGroupDescribeRequest {
        group_ids: groups.iter().map(|group| (*group).to_owned()).collect(),
        include_authorized_operations: operations,
    };
    let cases: [(&'static str, ConsumerGroupDescribeRequest, i16); 7] = [
        ("an unknown group of consumers is described", ask(&["nobody"], false), 1),
        ("the empty group of consumers is described", ask(&[""], false), 1),
        ("a classic group is described as consumers", ask(&["j5"], false), 1),
        ("consumers are described, v0", ask(&["modern"], false), 0),
        ("consumers are described with operations", ask(&["modern"], true), 1),
        ("an unknown group is described with operations", ask(&["nobody"], true), 1),
        ("no consumers are described", ask(&[], false), 1),
    ];
    for (name, request, version) in cases {
        pair.case(name, move |side| side.ask(&request, version));
    }
    pair.case("consumers are described twice", move |side| {
        side.ask(&ask(&["modern", "modern"], false), 1)
    });
    pair.case("a group is described twice", |side| {
        let groups = vec!["nobody".to_owned(), "nobody".to_owned()];
        side.ask(&DescribeGroupsRequest { groups, ..Default::default() }, 5)
    });
    pair.case("an unknown group is described with operations, the classic way", |side| {
        let groups = vec!["nobody".to_owned()];
        side.ask(&DescribeGroupsRequest { groups, include_authorized_operations: true }, 6)
    });
}

fn fetches(pair: &mut Pair) {
    pair.case("offsets of two groups and of one twice", |side| {
        let mut request = fetched("modern", None, -1);
        request.groups.extend(fetched("nobody", None, -1).groups);
        request.groups.extend(fetched("modern", None, -1).groups);
        side.ask(&request, 8)
    });
    pair.case("offsets of no groups", |side| side.ask(&OffsetFetchRequest::default(), 8));
    for (name, version) in [("offsets, v1", 1), ("offsets, v5", 5), ("offsets, v7", 7)] {
        pair.case(name, move |side| {
            let request = OffsetFetchRequest {
                group_id: "modern".to_owned(),
                topics: Some(vec![OffsetFetchRequestTopic {
                    name: TOPIC.to_owned(),
                    partition_indexes: vec![0, 0, 7],
                }]),
                ..OffsetFetchRequest::default()
            };
            side.ask(&request, version)
        });
    }
    pair.case("stable offsets", |side| {
        let request = OffsetFetchRequest { require_stable: true, ..fetched("modern", None, -1) };
        side.ask(&request, 9)
    });
}
