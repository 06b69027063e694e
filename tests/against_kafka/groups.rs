//! Group calls with wrong members, generations and names, and a group's life with one member.

use bytes::Bytes;
use highwater::protocol::messages::delete_groups::DeleteGroupsRequest;
use highwater::protocol::messages::describe_groups::DescribeGroupsRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::heartbeat::HeartbeatRequest;
use highwater::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use highwater::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use highwater::protocol::messages::list_groups::ListGroupsRequest;
use highwater::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use highwater::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use highwater::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use highwater::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::{Pair, Side};

const TOPIC: &str = "grouped";

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 2, &[]);
    coordinators(pair);
    joins(pair);
    strangers(pair);
    commits(pair);
    life(pair);
    removals(pair);
}

fn find(keys: &[&str], key_type: i8) -> FindCoordinatorRequest {
    FindCoordinatorRequest {
        key_type,
        coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..FindCoordinatorRequest::default()
    }
}

/// The topic of offsets is made upon the first wish: asks until it is there.
pub(crate) fn settle(pair: &mut Pair) {
    pair.both(|side| {
        let settled = harness::wait_until("a coordinator", crate::PATIENCE, || {
            let found = side.call(&find(&["g"], 0), 4);
            (found.coordinators[0].error_code == 0).then_some(())
        });
        settled.unwrap_or_else(|what| panic!("{what}"));
    });
}

fn coordinators(pair: &mut Pair) {
    pair.case("a coordinator", move |side| side.ask(&find(&["g"], 0), 4));
    pair.case("coordinators of two groups", move |side| side.ask(&find(&["g", "h"], 0), 6));
    pair.case("a coordinator of nothing", move |side| side.ask(&find(&[], 0), 4));
    pair.case("a coordinator of the empty group", move |side| side.ask(&find(&[""], 0), 4));
    pair.case("a coordinator of type 9", move |side| side.ask(&find(&["g"], 9), 4));
    pair.case("a coordinator of type -1", move |side| side.ask(&find(&["g"], -1), 4));
    pair.case("a share coordinator below v6", move |side| side.ask(&find(&["g:a:0"], 2), 5));
    pair.case("a coordinator, v3", |side| {
        let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
        side.ask(&request, 3)
    });
}

pub(crate) fn joining(group: &str, member: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"m") };
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    }
}

fn joins(pair: &mut Pair) {
    pair.case("JoinGroup asks for a member id", |side| side.ask(&joining("j1", ""), 5));
    pair.case("JoinGroup v9 asks for a member id", |side| side.ask(&joining("j1", ""), 9));
    pair.case("JoinGroup of the empty group", |side| side.ask(&joining("", ""), 5));
    pair.case("JoinGroup of a stranger", |side| side.ask(&joining("j1", "who"), 5));
    pair.case("JoinGroup of a stranger to a new group", |side| side.ask(&joining("j2", "who"), 5));
    for (name, session) in [
        ("a session too short", 10),
        ("a session too long", 99_999_999),
        ("a negative session", -1),
    ] {
        pair.case(name, move |side| {
            let request = JoinGroupRequest { session_timeout_ms: session, ..joining("j3", "") };
            side.ask(&request, 5)
        });
    }
    pair.case("JoinGroup without protocols", |side| {
        side.ask(&JoinGroupRequest { protocols: vec![], ..joining("j4", "") }, 5)
    });
    pair.case("JoinGroup without a protocol type", |side| {
        side.ask(&JoinGroupRequest { protocol_type: String::new(), ..joining("j4", "") }, 5)
    });
    pair.case("JoinGroup v2 joins at once", |side| side.ask(&joining("j5", ""), 2));
    pair.case("JoinGroup with an instance joins at once", |side| {
        let request =
            JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..joining("j6", "") };
        side.ask(&request, 5)
    });
    pair.case("JoinGroup with another protocol type", |side| {
        let request = JoinGroupRequest { protocol_type: "connect".to_owned(), ..joining("j5", "") };
        side.ask(&request, 2)
    });
    pair.case("JoinGroup with another protocol", |side| {
        let mut request = joining("j5", "");
        request.protocols[0].name = "sticky".to_owned();
        side.ask(&request, 2)
    });
}

pub(crate) fn beat(group: &str, generation_id: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        ..HeartbeatRequest::default()
    }
}

pub(crate) fn syncing(group: &str, generation_id: i32, member: &str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        ..SyncGroupRequest::default()
    }
}

fn leaving(group: &str, member: &str, instance: Option<&str>) -> LeaveGroupRequest {
    let identity = MemberIdentity {
        member_id: member.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        ..MemberIdentity::default()
    };
    LeaveGroupRequest {
        group_id: group.to_owned(),
        members: vec![identity],
        ..LeaveGroupRequest::default()
    }
}

fn strangers(pair: &mut Pair) {
    pair.case("Heartbeat to an unknown group", |side| side.ask(&beat("nobody", 1, "m"), 4));
    pair.case("Heartbeat to the empty group", |side| side.ask(&beat("", 1, "m"), 4));
    pair.case("Heartbeat of a stranger", |side| side.ask(&beat("j5", 1, "m"), 4));
    pair.case("Heartbeat without a member", |side| side.ask(&beat("j5", 1, ""), 4));
    pair.case("SyncGroup to an unknown group", |side| side.ask(&syncing("nobody", 1, "m"), 5));
    pair.case("SyncGroup to the empty group", |side| side.ask(&syncing("", 1, "m"), 5));
    pair.case("SyncGroup of a stranger", |side| side.ask(&syncing("j5", 1, "m"), 5));
    pair.case("SyncGroup without protocols", |side| {
        let request = SyncGroupRequest {
            protocol_type: None,
            protocol_name: None,
            ..syncing("nobody", 1, "m")
        };
        side.ask(&request, 5)
    });
    pair.case("LeaveGroup of an unknown group", |side| side.ask(&leaving("nobody", "m", None), 5));
    pair.case("LeaveGroup of the empty group", |side| side.ask(&leaving("", "m", None), 5));
    pair.case("LeaveGroup of a stranger", |side| side.ask(&leaving("j5", "m", None), 5));
    pair.case("LeaveGroup of an unknown instance", |side| {
        side.ask(&leaving("j5", "", Some("nobody")), 5)
    });
    pair.case("LeaveGroup of no members", |side| {
        let request = LeaveGroupRequest { members: vec![], ..leaving("j5", "", None) };
        side.ask(&request, 5)
    });
    pair.case("LeaveGroup v2 of a stranger", |side| {
        let request = LeaveGroupRequest {
            group_id: "j5".to_owned(),
            member_id: "m".to_owned(),
            ..LeaveGroupRequest::default()
        };
        side.ask(&request, 2)
    });
    pair.case("groups that are not there are described", |side| {
        let groups = vec!["nobody".to_owned(), String::new()];
        side.ask(&DescribeGroupsRequest { groups, ..Default::default() }, 5)
    });
    pair.case("an unknown group is described, v6", |side| {
        let groups = vec!["nobody".to_owned()];
        side.ask(&DescribeGroupsRequest { groups, ..Default::default() }, 6)
    });
    pair.case("no groups are described", |side| side.ask(&DescribeGroupsRequest::default(), 5));
}

fn commit(group: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let part = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some(String::new()),
        ..OffsetCommitRequestPartition::default()
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![part] }],
        ..OffsetCommitRequest::default()
    }
}

fn commits(pair: &mut Pair) {
    pair.case("a commit without a group's members", |side| side.ask(&commit("c", TOPIC, 0, 5), 8));
    pair.case("a commit of the empty group", |side| side.ask(&commit("", TOPIC, 0, 5), 8));
    pair.case("a commit of an unknown topic", |side| side.ask(&commit("c", "no-topic", 0, 5), 8));
    pair.case("a commit of an unknown partition", |side| side.ask(&commit("c", TOPIC, 9, 5), 8));
    pair.case("a commit of offset -5", |side| side.ask(&commit("c", TOPIC, 1, -5), 8));
    pair.case("a commit of nothing", |side| {
        side.ask(&OffsetCommitRequest { topics: vec![], ..commit("c", TOPIC, 0, 5) }, 8)
    });
    pair.case("a commit of a generation that never was", |side| {
        let request =
            OffsetCommitRequest { generation_id_or_member_epoch: 3, ..commit("c2", TOPIC, 0, 5) };
        side.ask(&request, 8)
    });
    pair.case("a commit of a stranger", |side| {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: 1,
            member_id: "who".to_owned(),
            ..commit("j5", TOPIC, 0, 5)
        };
        side.ask(&request, 8)
    });
    pair.case("a commit with long metadata", |side| {
        let mut request = commit("c", TOPIC, 0, 6);
        request.topics[0].partitions[0].committed_metadata = Some("x".repeat(5000));
        side.ask(&request, 8)
    });
    pair.case("a commit with null metadata", |side| {
        let mut request = commit("c", TOPIC, 1, 6);
        request.topics[0].partitions[0].committed_metadata = None;
        side.ask(&request, 8)
    });
    pair.case("a commit, v2", |side| side.ask(&commit("c", TOPIC, 0, 7), 2));
    pair.case("a commit, v9", |side| side.ask(&commit("c", TOPIC, 0, 8), 9));
    let fetched = |group: &str, topics: Option<&[(&str, &[i32])]>| {
        let topic = |(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopics {
            name: (*name).to_owned(),
            partition_indexes: partitions.to_vec(),
        };
        let group = OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            ..OffsetFetchRequestGroup::default()
        };
        OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
    };
    let cases: Vec<(&'static str, OffsetFetchRequest, i16)> = vec![
        ("committed offsets", fetched("c", Some(&[(TOPIC, &[0, 1, 9])])), 8),
        ("all committed offsets", fetched("c", None), 8),
        ("committed offsets of no topic", fetched("c", Some(&[])), 8),
        ("committed offsets of an unknown topic", fetched("c", Some(&[("no-topic", &[0])])), 8),
        ("committed offsets of an unknown group", fetched("nobody", Some(&[(TOPIC, &[0])])), 8),
        ("all committed offsets of an unknown group", fetched("nobody", None), 9),
        ("committed offsets of the empty group", fetched("", Some(&[(TOPIC, &[0])])), 8),
    ];
    for (name, request, version) in cases {
        pair.case(name, move |side| side.ask(&request, version));
    }
    pair.case("committed offsets for a stranger with an epoch", move |side| {
        let mut request = fetched("c", Some(&[(TOPIC, &[0])]));
        request.groups[0].member_id = Some("who".to_owned());
        request.groups[0].member_epoch = 4;
        side.ask(&request, 9)
    });
}

/// Joins for the first time and again with the id that it was given.
fn enter(side: &mut Side, group: &str) -> (String, i32, String) {
    let told = side.call(&joining(group, ""), 5).member_id;
    let joined = side.call(&joining(group, &told), 5);
    let text = crate::mask::masked(&format!("{joined:?}"));
    (joined.member_id, joined.generation_id, text)
}

fn life(pair: &mut Pair) {
    pair.case("a member's life", |side| {
        let (member, generation, text) = enter(side, "life");
        let mut seen = vec![text];
        seen.push(side.ask(&beat("life", generation, &member), 4));
        let assignment = SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: Bytes::from_static(b"all"),
        };
        let mut sync = syncing("life", generation, &member);
        sync.assignments = vec![assignment];
        let wrong_type = SyncGroupRequest { protocol_type: Some("x".to_owned()), ..sync.clone() };
        let wrong_name = SyncGroupRequest { protocol_name: Some("x".to_owned()), ..sync.clone() };
        let wrong_generation = SyncGroupRequest { generation_id: generation + 1, ..sync.clone() };
        seen.push(side.ask(&wrong_type, 5));
        seen.push(side.ask(&wrong_name, 5));
        seen.push(side.ask(&wrong_generation, 5));
        seen.push(side.ask(&sync, 5));
        seen.push(side.ask(&sync, 5));
        seen.push(side.ask(&beat("life", generation, &member), 4));
        seen.push(side.ask(&beat("life", generation - 1, &member), 4));
        seen.push(side.ask(&beat("life", generation + 1, &member), 4));
        let groups = vec!["life".to_owned()];
        let describe =
            DescribeGroupsRequest { groups: groups.clone(), include_authorized_operations: true };
        seen.push(side.ask(&describe, 5).replace("/127.0.0.1", "*"));
        seen.push(side.ask(&DeleteGroupsRequest { groups_names: groups }, 2));
        let mine = |generation: i32| OffsetCommitRequest {
            generation_id_or_member_epoch: generation,
            member_id: member.clone(),
            ..commit("life", TOPIC, 0, 5)
        };
        seen.push(side.ask(&mine(generation), 8));
        seen.push(side.ask(&mine(generation + 1), 8));
        seen.push(side.ask(&commit("life", TOPIC, 0, 5), 8));
        seen.push(side.ask(&leaving("life", &member, None), 5));
        seen.push(side.ask(&leaving("life", &member, None), 5));
        format!("{seen:#?}")
    });
    pair.case("an instance that returns under a new member id", |side| {
        let request =
            JoinGroupRequest { group_instance_id: Some("one".to_owned()), ..joining("static", "") };
        let first = side.call(&request, 5);
        let mut seen = vec![crate::mask::masked(&format!("{first:?}"))];
        let assignment = SyncGroupRequestAssignment {
            member_id: first.member_id.clone(),
            assignment: Bytes::from_static(b"all"),
        };
        let sync = SyncGroupRequest {
            assignments: vec![assignment],
            group_instance_id: Some("one".to_owned()),
            ..syncing("static", first.generation_id, &first.member_id)
        };
        seen.push(side.ask(&sync, 5));
        seen.push(side.ask(&request, 5));
        let fenced = HeartbeatRequest {
            group_instance_id: Some("one".to_owned()),
            ..beat("static", first.generation_id, &first.member_id)
        };
        seen.push(side.ask(&fenced, 4));
        seen.push(side.ask(&leaving("static", "", Some("one")), 5));
        format!("{seen:#?}")
    });
}

/// OffsetDelete of one partition.
pub(crate) fn forget(group: &str, topic: &str, partition: i32) -> OffsetDeleteRequest {
    OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: partition }],
        }],
    }
}

fn removals(pair: &mut Pair) {
    let delete = |names: &[&str]| DeleteGroupsRequest {
        groups_names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    pair.case("an offset is forgotten", move |side| side.ask(&forget("c", TOPIC, 1), 0));
    pair.case("an offset of an unknown topic is forgotten", move |side| {
        side.ask(&forget("c", "no-topic", 1), 0)
    });
    pair.case("an offset of an unknown group is forgotten", move |side| {
        side.ask(&forget("nobody", TOPIC, 1), 0)
    });
    pair.case("an offset of the empty group is forgotten", move |side| {
        side.ask(&forget("", TOPIC, 1), 0)
    });
    pair.case("a group is removed", move |side| side.ask(&delete(&["c"]), 2));
    pair.case("a group is removed again", move |side| side.ask(&delete(&["c"]), 2));
    pair.case("the empty group is removed", move |side| side.ask(&delete(&[""]), 2));
    pair.case("no group is removed", move |side| side.ask(&delete(&[]), 2));
    pair.case("a group with members is removed", move |side| {
        enter(side, "kept");
        side.ask(&delete(&["kept"]), 2)
    });
    pair.case("groups in a state that does not exist", |side| {
        let request =
            ListGroupsRequest { states_filter: vec!["Odd".to_owned()], ..Default::default() };
        side.ask(&request, 5)
    });
    pair.case("groups of a type that does not exist", |side| {
        let request =
            ListGroupsRequest { types_filter: vec!["odd".to_owned()], ..Default::default() };
        side.ask(&request, 5)
    });
    pair.case("the group that keeps offsets only", |side| {
        side.ask(&commit("offsets-only", TOPIC, 0, 5), 8);
        let request =
            ListGroupsRequest { states_filter: vec!["Empty".to_owned()], ..Default::default() };
        let mut names: Vec<String> = side
            .call(&request, 5)
            .groups
            .into_iter()
            .map(|group| format!("{} {} {}", group.group_id, group.group_state, group.group_type))
            .collect();
        names.sort();
        format!("{names:?}")
    });
}
