//! A cluster of one broker: its quorum, its resources, and what it cannot do and says as Kafka says
//! it: elections, moves, ACLs.

use highwater::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use highwater::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use highwater::protocol::messages::create_acls::{AclCreation, CreateAclsRequest};
use highwater::protocol::messages::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use highwater::protocol::messages::describe_acls::DescribeAclsRequest;
use highwater::protocol::messages::describe_log_dirs::DescribeLogDirsRequest;
use highwater::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, WantedPartition, WantedTopic,
};
use highwater::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use highwater::protocol::messages::list_config_resources::ListConfigResourcesRequest;

use crate::mask::mask_values;
use crate::{Pair, Side};

const TOPIC: &str = "administered";

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 2, &[]);
    elections(pair);
    reassignments(pair);
    log_directories(pair);
    acls(pair);
    quorum(pair);
    resources(pair);
}

fn elect(election_type: i8, topics: Option<&[(&str, &[i32])]>) -> ElectLeadersRequest {
    let topics = topics.map(|topics| {
        let named = |(topic, partitions): &(&str, &[i32])| TopicPartitions {
            topic: (*topic).to_owned(),
            partitions: partitions.to_vec(),
        };
        topics.iter().map(named).collect()
    });
    ElectLeadersRequest { election_type, topic_partitions: topics, timeout_ms: 5000 }
}

fn elections(pair: &mut Pair) {
    let some: &[(&str, &[i32])] = &[(TOPIC, &[1, 0, 2])];
    let none: &[(&str, &[i32])] = &[("nowhere", &[0])];
    for (name, request, version) in [
        ("preferred leaders are elected", elect(0, Some(some)), 2),
        ("preferred leaders are elected, version 0", elect(0, Some(some)), 0),
        ("unclean leaders are elected", elect(1, Some(some)), 1),
        ("a leader is elected for an unknown topic", elect(0, Some(none)), 2),
        ("leaders of no partitions are elected", elect(0, Some(&[])), 2),
    ] {
        pair.case(name, move |side| side.ask(&request, version));
    }
    // The topics come in any order, and each side has others by now.
    pair.case("preferred leaders of all partitions are elected", |side| {
        let answer = side.call(&elect(0, None), 2);
        let results = &answer.replica_election_results;
        let elections: usize = results.iter().map(|topic| topic.partition_result.len()).sum();
        let is_named = results.iter().any(|topic| topic.topic == TOPIC);
        format!("{} {elections} {is_named}", answer.error_code)
    });
}

fn moved(
    name: &str,
    partition_index: i32,
    replicas: Option<&[i32]>,
) -> AlterPartitionReassignmentsRequest {
    let replicas = replicas.map(<[i32]>::to_vec);
    let partitions = vec![ReassignablePartition { partition_index, replicas }];
    let topics = vec![ReassignableTopic { name: name.to_owned(), partitions }];
    AlterPartitionReassignmentsRequest {
        timeout_ms: 5000,
        topics,
        ..AlterPartitionReassignmentsRequest::default()
    }
}

fn reassignments(pair: &mut Pair) {
    for (name, request) in [
        ("a partition moves to where it is", moved(TOPIC, 0, Some(&[1]))),
        ("a partition moves to an unknown broker", moved(TOPIC, 0, Some(&[2]))),
        ("a partition grows to an unknown broker", moved(TOPIC, 0, Some(&[1, 2]))),
        ("a partition moves to one broker twice", moved(TOPIC, 0, Some(&[1, 1]))),
        ("a partition moves nowhere", moved(TOPIC, 0, Some(&[]))),
        ("a partition moves to a negative broker", moved(TOPIC, 0, Some(&[-1]))),
        ("no move is cancelled", moved(TOPIC, 0, None)),
        ("an unknown partition moves", moved(TOPIC, 9, Some(&[1]))),
        ("a negative partition moves", moved(TOPIC, -1, Some(&[1]))),
        ("a partition of an unknown topic moves", moved("nowhere", 0, Some(&[1]))),
        ("a move of an unknown topic is cancelled", moved("nowhere", 0, None)),
    ] {
        pair.case(name, move |side| side.ask(&request, 0));
    }
    let kept = AlterPartitionReassignmentsRequest {
        allow_replication_factor_change: false,
        ..moved(TOPIC, 1, Some(&[1]))
    };
    pair.case("a move keeps the number of replicas", move |side| side.ask(&kept, 1));
}

/// The codes; the names of directories differ.
fn move_into(side: &mut Side, path: Option<&str>, topic: &str, partition: i32) -> String {
    let described = side.call(&DescribeLogDirsRequest { topics: Some(Vec::new()) }, 4);
    let own = described.results[0].log_dir.clone();
    let topic = AlterReplicaLogDirTopic { name: topic.to_owned(), partitions: vec![partition] };
    let path = path.map_or(own, str::to_owned);
    let request =
        AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path, topics: vec![topic] }] };
    side.ask(&request, 2)
}

fn log_directories(pair: &mut Pair) {
    pair.case("a replica moves into its own directory", |side| move_into(side, None, TOPIC, 0));
    pair.case("an unknown partition moves between directories", |side| {
        move_into(side, None, TOPIC, 7)
    });
    pair.case("an unknown topic moves between directories", |side| {
        move_into(side, None, "nowhere", 0)
    });
    pair.case("a replica moves into an unknown directory", |side| {
        move_into(side, Some("/nowhere"), TOPIC, 0)
    });
    pair.case("an unknown topic moves into an unknown directory", |side| {
        move_into(side, Some("/nowhere"), "nowhere", 0)
    });
}

fn acls(pair: &mut Pair) {
    let describe = DescribeAclsRequest {
        resource_type_filter: 2,
        operation: 1,
        permission_type: 1,
        ..DescribeAclsRequest::default()
    };
    pair.case("ACLs without an authorizer", move |side| side.ask(&describe, 3));
    let creation = AclCreation {
        resource_type: 2,
        resource_name: TOPIC.to_owned(),
        principal: "User:a".to_owned(),
        host: "*".to_owned(),
        operation: 3,
        permission_type: 3,
        ..AclCreation::default()
    };
    let two = CreateAclsRequest { creations: vec![creation.clone(), creation] };
    pair.case("ACLs are made without an authorizer", move |side| side.ask(&two, 3));
    let filter = DeleteAclsFilter {
        resource_type_filter: 2,
        operation: 1,
        permission_type: 1,
        ..DeleteAclsFilter::default()
    };
    let request = DeleteAclsRequest { filters: vec![filter] };
    pair.case("ACLs are deleted without an authorizer", move |side| side.ask(&request, 2));
}

/// A topic's name and partitions.
type Partitions<'a> = (&'a str, &'a [i32]);

fn quorum_of(topics: &[Partitions<'_>]) -> DescribeQuorumRequest {
    let wanted = |(name, partitions): &Partitions<'_>| WantedTopic {
        topic_name: (*name).to_owned(),
        partitions: partitions
            .iter()
            .map(|partition_index| WantedPartition { partition_index: *partition_index })
            .collect(),
    };
    DescribeQuorumRequest { topics: topics.iter().map(wanted).collect() }
}

/// How far the log is, and since when, is each broker's own.
fn described_quorum(side: &mut Side, topics: &[Partitions<'_>], version: i16) -> String {
    let own = ["high_watermark", "last_caught_up_timestamp", "leader_epoch", "log_end_offset"];
    let own = own.into_iter().chain(["name", "replica_directory_id"]);
    // Version 0 has no times: both sides then show what an absent one is read as.
    let timed: &[&str] = if version > 0 { &["last_fetch_timestamp"] } else { &[] };
    let own = own.chain(timed.iter().copied());
    own.fold(side.ask(&quorum_of(topics), version), |text, field| mask_values(&text, field))
}

fn quorum(pair: &mut Pair) {
    const LOG: &str = "__cluster_metadata";
    let cases: [(&str, &[Partitions<'_>], i16); 6] = [
        ("the quorum", &[(LOG, &[0])], 2),
        ("the quorum, version 1", &[(LOG, &[0])], 1),
        ("the quorum, version 0", &[(LOG, &[0])], 0),
        ("the quorum of another partition", &[(LOG, &[1])], 2),
        ("the quorum of a topic", &[(TOPIC, &[0, 1])], 2),
        ("the quorum of nothing", &[], 2),
    ];
    for (name, topics, version) in cases {
        pair.case(name, move |side| described_quorum(side, topics, version));
    }
}

fn listed(side: &mut Side, resource_types: &[i8], version: i16) -> String {
    let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
    let mut answer = side.call(&request, version);
    // Topics and groups of other cases come and go.
    answer.config_resources.retain(|resource| {
        !matches!(resource.resource_type, 2 | 32) || resource.resource_name == TOPIC
    });
    answer.config_resources.sort_by_key(|resource| resource.resource_type);
    format!("{answer:?}")
}

fn resources(pair: &mut Pair) {
    let cases: [(&str, &[i8], i16); 6] = [
        ("topics and brokers have configurations", &[2, 4], 1),
        ("client metrics are listed by version 0", &[], 0),
        ("groups and client metrics", &[32, 16], 1),
        ("resources of an unknown type", &[3], 1),
        ("loggers have configurations", &[8], 1),
        ("every resource", &[], 1),
    ];
    for (name, types, version) in cases {
        pair.case(name, move |side| listed(side, types, version));
    }
}
