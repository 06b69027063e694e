//! Topics: made, grown, removed and described, legally and not.

use highwater::protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use highwater::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use highwater::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use highwater::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use highwater::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use uuid::Uuid;

use crate::{Pair, Side};

pub(crate) fn run(pair: &mut Pair) {
    names(pair);
    counts(pair);
    topic_configs(pair);
    partitions(pair);
    removals(pair);
    metadata(pair);
    metadata_by_id(pair);
    descriptions(pair);
}

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    }
}

fn made(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, timeout_ms: 15_000, ..CreateTopicsRequest::default() }
}

/// Answers come in any order of Kafka's choosing: sorted by name, and configurations left out.
fn create(side: &mut Side, request: &CreateTopicsRequest, version: i16) -> String {
    let answer = side.call(request, version);
    let mut lines: Vec<String> = answer
        .topics
        .iter()
        .map(|topic| {
            let has_id = !topic.topic_id.is_nil();
            let (code, count, factor) =
                (topic.error_code, topic.num_partitions, topic.replication_factor);
            let configs = topic.configs.as_ref().map(|configs| !configs.is_empty());
            let hidden = topic.topic_config_error_code;
            format!("{} {code} {has_id} {count} {factor} {configs:?} {hidden}", topic.name)
        })
        .collect();
    lines.sort();
    lines.join("; ")
}

fn names(pair: &mut Pair) {
    let long = "x".repeat(249);
    let longer = "x".repeat(250);
    let cases: Vec<(&'static str, String)> = vec![
        ("a topic is made", "made".to_owned()),
        ("a topic is made again", "made".to_owned()),
        ("a topic without a name", String::new()),
        ("a topic named .", ".".to_owned()),
        ("a topic named ..", "..".to_owned()),
        ("a topic with a slash", "a/b".to_owned()),
        ("a topic with a blank", "a b".to_owned()),
        ("a topic with an umlaut", "ä".to_owned()),
        ("a topic with a dot", "dot.ted".to_owned()),
        ("a topic that collides with one with a dot", "dot_ted".to_owned()),
        ("a topic of 249 letters", long),
        ("a topic of 250 letters", longer),
        ("a topic with two underlines in front", "__own".to_owned()),
        ("the offsets topic is made again", "__consumer_offsets".to_owned()),
        ("the cluster's metadata topic", "__cluster_metadata".to_owned()),
    ];
    for (name, called) in cases {
        pair.case(name, move |side| create(side, &made(vec![topic(&called)]), 7));
    }
    for (name, version) in [
        ("a topic is made, v2", 2),
        ("a topic is made, v4", 4),
        ("a topic is made, v5", 5),
        ("a topic is made, v6", 6),
    ] {
        let called = format!("made-{version}");
        pair.case(name, move |side| create(side, &made(vec![topic(&called)]), version));
    }
    pair.case("a topic twice in one request", |side| {
        create(side, &made(vec![topic("twice"), topic("twice"), topic("once")]), 7)
    });
    pair.case("no topics are made", |side| create(side, &made(vec![]), 7));
    pair.case("a topic is only validated", |side| {
        let request = CreateTopicsRequest { validate_only: true, ..made(vec![topic("dry")]) };
        let first = create(side, &request, 7);
        format!("{first} {}", create(side, &request, 7))
    });
}

fn counts(pair: &mut Pair) {
    for (name, partitions, factor) in [
        ("0 partitions", 0, 1),
        ("-1 partitions", -1, 1),
        ("-2 partitions", -2, 1),
        ("factor 0", 1, 0),
        ("factor -1", 1, -1),
        ("factor -2", 1, -2),
        ("factor 2 on one broker", 1, 2),
        ("factor 32767", 1, 32_767),
    ] {
        let called = format!("counted{}{}", name.len(), partitions * 7 + i32::from(factor));
        pair.case(name, move |side| {
            let topic = CreatableTopic {
                num_partitions: partitions,
                replication_factor: factor,
                ..topic(&called)
            };
            create(side, &made(vec![topic]), 7)
        });
    }
    pair.case("defaults before v4", |side| {
        let topic =
            CreatableTopic { num_partitions: -1, replication_factor: -1, ..topic("default-3") };
        create(side, &made(vec![topic]), 3)
    });
    let assigned = |pairs: &[(i32, &[i32])]| {
        let one = |(index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *index,
            broker_ids: brokers.to_vec(),
        };
        pairs.iter().map(one).collect::<Vec<_>>()
    };
    type Pairs = &'static [(i32, &'static [i32])];
    let cases: [(&'static str, Pairs); 9] = [
        ("an assignment", &[(0, &[1]), (1, &[1])]),
        ("an assignment to an unknown broker", &[(0, &[5])]),
        ("an assignment to a broker twice", &[(0, &[1, 1])]),
        ("an assignment to a negative broker", &[(0, &[-1])]),
        ("an assignment to no broker", &[(0, &[])]),
        ("an assignment with a gap", &[(0, &[1]), (2, &[1])]),
        ("an assignment not from 0", &[(1, &[1])]),
        ("an assignment of a partition twice", &[(0, &[1]), (0, &[1])]),
        ("an assignment of uneven factors", &[(0, &[1]), (1, &[1, 2])]),
    ];
    for (at, (name, pairs)) in cases.into_iter().enumerate() {
        let assignments = assigned(pairs);
        pair.case(name, move |side| {
            let topic = CreatableTopic {
                num_partitions: -1,
                replication_factor: -1,
                assignments: assignments.clone(),
                ..topic(&format!("assigned{at}"))
            };
            create(side, &made(vec![topic]), 7)
        });
    }
    pair.case("an assignment and a count", |side| {
        let assignments =
            vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1] }];
        create(side, &made(vec![CreatableTopic { assignments, ..topic("both") }]), 7)
    });
}

fn topic_configs(pair: &mut Pair) {
    let cases: [(&'static str, &str, Option<&str>); 17] = [
        ("an unknown key", "no.such.key", Some("1")),
        ("a key that is only a broker's", "num.partitions", Some("1")),
        ("an empty key", "", Some("1")),
        ("a null value", "retention.ms", None),
        ("a value that is no number", "retention.ms", Some("soon")),
        ("a value below its range", "retention.ms", Some("-2")),
        ("a value above an int", "segment.bytes", Some("99999999999")),
        ("segments that are too small", "segment.bytes", Some("13")),
        ("an unknown cleanup policy", "cleanup.policy", Some("shred")),
        ("both cleanup policies", "cleanup.policy", Some("compact,delete")),
        ("an empty cleanup policy", "cleanup.policy", Some("")),
        ("an unknown codec", "compression.type", Some("rar")),
        ("a codec's level out of range", "compression.gzip.level", Some("99")),
        ("a ratio above 1", "min.cleanable.dirty.ratio", Some("1.5")),
        ("a flag that is none", "preallocate", Some("maybe")),
        ("blanks around a value", "retention.ms", Some(" 5000 ")),
        ("a remote tier", "remote.storage.enable", Some("true")),
    ];
    for (at, (name, key, value)) in cases.into_iter().enumerate() {
        pair.case(name, move |side| {
            let config =
                CreatableTopicConfig { name: key.to_owned(), value: value.map(str::to_owned) };
            let topic =
                CreatableTopic { configs: vec![config], ..topic(&format!("configured{at}")) };
            create(side, &made(vec![topic]), 7)
        });
    }
    pair.case("one good and one bad topic", |side| {
        create(side, &made(vec![topic("good-one"), topic("bad/one")]), 7)
    });
    pair.case("a topic whose lags are the wrong way round", |side| {
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        let configs =
            vec![config("min.compaction.lag.ms", "10"), config("max.compaction.lag.ms", "5")];
        create(side, &made(vec![CreatableTopic { configs, ..topic("lags") }]), 7)
    });
}

fn partitions(pair: &mut Pair) {
    pair.topic("growing", 2, &[]);
    let grown = |name: &str, count: i32, assignments: Option<Vec<Vec<i32>>>| {
        let assignment = |broker_ids| CreatePartitionsAssignment { broker_ids };
        let topic = CreatePartitionsTopic {
            name: name.to_owned(),
            count,
            assignments: assignments
                .map(|lists| lists.into_iter().map(assignment).collect::<Vec<_>>()),
        };
        CreatePartitionsRequest { topics: vec![topic], timeout_ms: 15_000, validate_only: false }
    };
    let cases: Vec<(&'static str, CreatePartitionsRequest)> = vec![
        ("as many partitions as there are", grown("growing", 2, None)),
        ("fewer partitions", grown("growing", 1, None)),
        ("grown to 0 partitions", grown("growing", 0, None)),
        ("grown to -1 partitions", grown("growing", -1, None)),
        ("an unknown topic grows", grown("no-topic", 3, None)),
        ("the offsets topic grows", grown("__consumer_offsets", 2, None)),
        ("grown onto an unknown broker", grown("growing", 3, Some(vec![vec![9]]))),
        ("grown onto a broker twice", grown("growing", 3, Some(vec![vec![1, 1]]))),
        ("grown with too few assignments", grown("growing", 4, Some(vec![vec![1]]))),
        ("grown with too many assignments", grown("growing", 3, Some(vec![vec![1], vec![1]]))),
        ("grown with no assignments", grown("growing", 3, Some(vec![]))),
        ("grown onto no broker", grown("growing", 3, Some(vec![vec![]]))),
        ("grown for real", grown("growing", 3, None)),
        ("grown onto a broker", grown("growing", 4, Some(vec![vec![1]]))),
        ("grown beyond all bounds", grown("growing", i32::MAX, None)),
    ];
    for (name, request) in cases {
        pair.case(name, move |side| side.ask(&request, 3));
    }
    pair.case("a topic grows twice in one request", |side| {
        let mut request = grown("growing", 7, None);
        request.topics.push(CreatePartitionsTopic { count: 8, ..request.topics[0].clone() });
        side.ask(&request, 3)
    });
    pair.case("no topic grows", |side| {
        side.ask(&CreatePartitionsRequest { topics: vec![], ..grown("x", 1, None) }, 3)
    });
}

fn removals(pair: &mut Pair) {
    let names = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| (*name).to_owned()).collect(),
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    pair.topic("doomed", 1, &[]);
    pair.topic("doomed-by-id", 1, &[]);
    pair.case("a topic is removed", move |side| side.ask(&names(&["doomed"]), 5));
    pair.case("a topic is removed again", move |side| side.ask(&names(&["doomed"]), 5));
    pair.case("an unknown topic is removed", move |side| side.ask(&names(&["no-topic"]), 4));
    pair.case("a topic without a name is removed", move |side| side.ask(&names(&[""]), 5));
    pair.case("no topics are removed", move |side| side.ask(&names(&[]), 5));
    let states = |states: Vec<(Option<&str>, Uuid)>| DeleteTopicsRequest {
        topics: states
            .into_iter()
            .map(|(name, topic_id)| DeleteTopicState { name: name.map(str::to_owned), topic_id })
            .collect(),
        timeout_ms: 15_000,
        ..DeleteTopicsRequest::default()
    };
    pair.case("an unknown id is removed", move |side| {
        side.ask(&states(vec![(None, Uuid::from_u128(99))]), 6)
    });
    pair.case("a removal with neither name nor id", move |side| {
        side.ask(&states(vec![(None, Uuid::nil())]), 6)
    });
    pair.case("a removal with both name and id", move |side| {
        let id = side.topic_id("doomed-by-id");
        side.ask(&states(vec![(Some("doomed-by-id"), id)]), 6)
    });
    pair.case("a removal by id and by name at once", move |side| {
        let id = side.topic_id("doomed-by-id");
        side.ask(&states(vec![(None, id), (Some("doomed-by-id"), Uuid::nil())]), 6)
    });
    pair.case("a removal by id", move |side| {
        let id = side.topic_id("doomed-by-id");
        side.ask(&states(vec![(None, id)]), 6)
    });
    pair.case("a name twice in a removal", move |side| {
        side.ask(&states(vec![(Some("no-a"), Uuid::nil()), (Some("no-a"), Uuid::nil())]), 6)
    });
}

fn asked(names: Option<&[&str]>, creates: bool) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    MetadataRequest {
        topics: names.map(|names| names.iter().map(topic).collect()),
        allow_auto_topic_creation: creates,
        ..MetadataRequest::default()
    }
}

/// Kafka gives partitions in any order: sorted by number.
fn look(side: &mut Side, request: &MetadataRequest, version: i16) -> String {
    let mut answer = match side.wire().call(request, version) {
        Ok(answer) => answer,
        Err(error) => return side.ended(&error),
    };
    for topic in &mut answer.topics {
        topic.partitions.sort_by_key(|partition| partition.partition_index);
    }
    crate::mask::masked(&format!("{answer:?}"))
}

fn metadata(pair: &mut Pair) {
    pair.topic("seen", 2, &[]);
    for (name, version) in [
        ("Metadata v1", 1),
        ("Metadata v4", 4),
        ("Metadata v7", 7),
        ("Metadata v8", 8),
        ("Metadata v9", 9),
        ("Metadata v10", 10),
        ("Metadata v12", 12),
        ("Metadata v13", 13),
    ] {
        // Before version 4 a request cannot say no.
        pair.case(name, move |side| look(side, &asked(Some(&["seen"]), version < 4), version));
    }
    let cases: [(&'static str, &[&str]); 6] = [
        ("Metadata of no topic", &[]),
        ("Metadata of an unknown topic", &["no-topic"]),
        ("Metadata of a name that is not legal", &["a/b"]),
        ("Metadata of an empty name", &[""]),
        ("Metadata of a topic twice", &["seen", "seen"]),
        ("Metadata of a good and an unknown topic", &["seen", "no-topic"]),
    ];
    for (name, names) in cases {
        pair.case(name, move |side| look(side, &asked(Some(names), false), 9));
    }
    pair.case("Metadata of a bad name that could be made", |side| {
        look(side, &asked(Some(&["a/b"]), true), 9)
    });
    pair.case("Metadata makes a topic", |side| {
        let first = side.call(&asked(Some(&["auto-made"]), true), 9);
        format!("{}", first.topics[0].error_code)
    });
}

fn metadata_by_id(pair: &mut Pair) {
    let by_id = |id: Uuid, name: Option<&str>| {
        let name = name.map(str::to_owned);
        let topic = MetadataRequestTopic { topic_id: id, name };
        MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
    };
    pair.case("Metadata of an unknown id", move |side| {
        look(side, &by_id(Uuid::from_u128(99), None), 12)
    });
    pair.case("Metadata of a known id", move |side| {
        let id = side.topic_id("seen");
        look(side, &by_id(id, None), 12)
    });
    pair.case("Metadata of an id and a name", move |side| {
        let id = side.topic_id("seen");
        look(side, &by_id(id, Some("seen")), 12)
    });
    pair.case("Metadata of neither id nor name", move |side| {
        look(side, &by_id(Uuid::nil(), None), 12)
    });
    pair.case("Metadata of an id in v10", move |side| {
        let id = side.topic_id("seen");
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { topic_id: id, name: Some(String::new()) }]),
            ..MetadataRequest::default()
        };
        look(side, &request, 10)
    });
    pair.case("Metadata with authorised operations", |side| {
        let request = MetadataRequest {
            include_topic_authorized_operations: true,
            ..asked(Some(&["seen"]), false)
        };
        look(side, &request, 12)
    });
    pair.case("Metadata with the cluster's authorised operations", |side| {
        let request = MetadataRequest {
            include_cluster_authorized_operations: true,
            ..asked(Some(&["seen"]), false)
        };
        look(side, &request, 9)
    });
    pair.case("Metadata of all topics names internal ones", |side| {
        let answer = side.call(&asked(None, false), 9);
        let internal: Vec<_> = answer.topics.iter().filter(|topic| topic.is_internal).collect();
        format!("{:?}", internal.iter().map(|topic| topic.name.as_ref()).collect::<Vec<_>>())
    });
}

fn descriptions(pair: &mut Pair) {
    let describe = |names: &[&str], limit: i32, cursor: Option<(&str, i32)>| {
        let topic = |name: &&str| TopicRequest { name: (*name).to_owned() };
        DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic, partition_index)| Cursor {
                topic_name: topic.to_owned(),
                partition_index,
            }),
        }
    };
    let cases: Vec<(&'static str, DescribeTopicPartitionsRequest)> = vec![
        ("two topics are described", describe(&["seen", "growing"], 2000, None)),
        ("partitions up to a limit", describe(&["seen", "growing"], 3, None)),
        ("limit 0", describe(&["seen"], 0, None)),
        ("a negative limit", describe(&["seen"], -1, None)),
        ("from a cursor", describe(&["growing", "seen"], 2, Some(("growing", 2)))),
        ("from a cursor behind the last", describe(&["seen"], 2, Some(("seen", 9)))),
        ("from a negative cursor", describe(&["seen"], 2, Some(("seen", -1)))),
        ("from a cursor of another topic", describe(&["seen"], 2, Some(("zzz", 0)))),
        ("an unknown topic is described", describe(&["no-topic"], 10, None)),
        ("a bad name is described", describe(&["a/b"], 10, None)),
        ("a topic is described twice", describe(&["seen", "seen"], 10, None)),
    ];
    for (name, request) in cases {
        pair.case(name, move |side| side.ask(&request, 0));
    }
    let moving = |name: &str, partitions: &[i32]| {
        let topic = ListPartitionReassignmentsTopics {
            name: name.to_owned(),
            partition_indexes: partitions.to_vec(),
        };
        ListPartitionReassignmentsRequest { topics: Some(vec![topic]), timeout_ms: 5000 }
    };
    pair.case("reassignments", |side| {
        let all = ListPartitionReassignmentsRequest { topics: None, timeout_ms: 5000 };
        side.ask(&all, 0)
    });
    pair.case("reassignments of a topic", move |side| side.ask(&moving("seen", &[0]), 0));
    pair.case("reassignments of an unknown topic", move |side| {
        side.ask(&moving("no-topic", &[0, 9]), 0)
    });
}
