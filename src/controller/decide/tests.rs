use super::*;
use crate::controller::image::{OFFSETS_TOPIC, SHARE_STATE_TOPIC};
use crate::model::config_keys::TOPIC_KEYS;
use crate::model::ids::{CoreId, PartitionId};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;

/// A controller with its image: decides, applies, and hands out the answer.
struct Controller {
    image: MetadataImage,
    brokers: Vec<LiveBroker>,
    config: BrokerConfig,
    random: Cell<u128>,
}

impl Controller {
    fn new() -> Controller {
        Controller::with(&[(1, 2)])
    }

    fn with(brokers: &[(i32, u16)]) -> Controller {
        let live = |(id, cores): &(i32, u16)| LiveBroker {
            id: BrokerId(*id),
            cores: *cores,
            directory: Uuid::nil(),
        };
        Controller {
            image: MetadataImage::new(BrokerId(1), Arc::default()),
            brokers: brokers.iter().map(live).collect(),
            config: BrokerConfig { partitions: 3, ..BrokerConfig::default() },
            random: Cell::new(0),
        }
    }

    fn ask(&mut self, change: Change) -> Decision {
        let random = || {
            self.random.set(self.random.get() + 1);
            Uuid::from_u128(self.random.get())
        };
        let context = Context { brokers: &self.brokers, config: &self.config, random: &random };
        let decision = decide(&self.image, change, &context);
        for record in &decision.records {
            self.image.apply(record).expect("decisions follow from the image");
        }
        decision
    }

    /// `name` on success, `CODE: message` on refusal.
    fn create(&mut self, topic: NewTopic) -> String {
        let request = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
        topics_text(&self.ask(request).reply)
    }

    fn set(&mut self, name: ResourceName, changes: &[(&str, ConfigOp, &str)]) -> String {
        let changes = changes
            .iter()
            .map(|(key, op, value)| ConfigChange {
                key: (*key).to_owned(),
                op: *op,
                value: Some((*value).to_owned()),
            })
            .collect();
        let resources = vec![AlterResource { name, changes }];
        let mode = Mode::Apply;
        configs_text(&self.ask(Change::IncrementalAlterConfigs { resources, mode }).reply)
    }

    fn overrides(&self, topic: &str) -> String {
        let overrides = &self.image.topic_by_name(topic).unwrap().overrides;
        let pairs: Vec<String> =
            overrides.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(" ")
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("{}: {}", refusal.code.name(), refusal.message)
}

fn topics_text(reply: &ChangeReply) -> String {
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    let texts: Vec<String> = answers
        .iter()
        .map(|answer| match &answer.result {
            Ok(created) => format!(
                "{} x{} rf{}",
                answer.name, created.partition_count, created.replication_factor
            ),
            Err(refusal) => refused(refusal),
        })
        .collect();
    texts.join("; ")
}

fn configs_text(reply: &ChangeReply) -> String {
    let ChangeReply::Configs(answers) = reply else { panic!("{reply:?}") };
    let texts: Vec<String> = answers
        .iter()
        .map(|(_, result)| result.as_ref().map_or_else(refused, |()| "ok".to_owned()))
        .collect();
    texts.join("; ")
}

fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partition_count: -1,
        replication_factor: -1,
        ..NewTopic::default()
    }
}

fn sized(name: &str, partition_count: i32, replication_factor: i16) -> NewTopic {
    NewTopic { partition_count, replication_factor, ..topic(name) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
    NewTopic { configs, ..topic(name) }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments
        .iter()
        .map(|(partition, brokers)| Assignment {
            partition: PartitionId(*partition),
            brokers: brokers.iter().copied().map(BrokerId).collect(),
        })
        .collect();
    NewTopic { assignments, ..topic(name) }
}

fn topic_resource(name: &str) -> ResourceName {
    ResourceName::Topic(name.to_owned())
}

#[test]
fn a_topic_takes_the_brokers_sizes_and_spreads_over_the_cores() {
    let mut controller = Controller::new();
    assert_eq!(controller.create(topic("a")), "a x3 rf1");
    assert_eq!(controller.create(sized("b", 5, 1)), "b x5 rf1");
    let load = |core| controller.image.load(BrokerId(1), CoreId(core));
    assert_eq!((load(0), load(1)), (4, 4));
    let first = &controller.image.topic_by_name("a").unwrap().partitions[0].state;
    assert_eq!(first.leader, Some(BrokerId(1)));
    assert_eq!(first.isr, [BrokerId(1)]);
}

#[test]
fn illegal_names_are_refused_in_kafkas_words() {
    let mut controller = Controller::new();
    controller.create(topic("a.b"));
    let long = "x".repeat(250);
    for (name, expected) in [
        ("", "Topic name is invalid: the empty string is not allowed".to_owned()),
        (".", "Topic name is invalid: '.' is not allowed".to_owned()),
        ("..", "Topic name is invalid: '..' is not allowed".to_owned()),
        (
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'"
                .to_owned(),
        ),
        (
            &long,
            format!(
                "Topic name is invalid: the length of '{long}' is longer than the max allowed \
                 length 249"
            ),
        ),
        ("a_b", "Topic 'a_b' collides with existing topic: a.b".to_owned()),
    ] {
        assert_eq!(controller.create(topic(name)), format!("INVALID_TOPIC_EXCEPTION: {expected}"));
    }
    assert_eq!(
        controller.create(topic("a.b")),
        "TOPIC_ALREADY_EXISTS: Topic 'a.b' already exists."
    );
    assert_eq!(
        controller.create(topic("__cluster_metadata")),
        "INVALID_REQUEST: Creation of internal topic __cluster_metadata is prohibited."
    );
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let mut controller = Controller::new();
    for (partitions, factor, expected) in [
        (
            0,
            1,
            "INVALID_PARTITIONS: Number of partitions was set to an invalid non-positive value.",
        ),
        (
            -2,
            1,
            "INVALID_PARTITIONS: Number of partitions was set to an invalid non-positive value.",
        ),
        (i32::MAX, 1, "INVALID_PARTITIONS: A topic may have at most 100000 partitions."),
        (
            1,
            0,
            "INVALID_REPLICATION_FACTOR: Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            1,
            2,
            "INVALID_REPLICATION_FACTOR: Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are registered.",
        ),
    ] {
        assert_eq!(controller.create(sized("a", partitions, factor)), expected);
    }
    assert_eq!(controller.create(sized("a", 100_000, 1)), "a x100000 rf1");
    assert_eq!(controller.create(sized("b", 100_000, 1)), "b x100000 rf1");
    assert_eq!(
        controller.create(sized("c", 1, 1)),
        "INVALID_PARTITIONS: There would be 200001 partitions; the cluster may have at most 200000."
    );
}

#[test]
fn manual_assignments_are_taken_as_they_are_or_refused() {
    let mut controller = Controller::with(&[(1, 1), (2, 1), (3, 4)]);
    assert_eq!(controller.create(assigned("a", &[(1, &[3, 1]), (0, &[2, 3])])), "a x2 rf2");
    let state = &controller.image.topic_by_name("a").unwrap().partitions[1].state;
    assert_eq!(state.leader, Some(BrokerId(3)));
    for (assignments, expected) in [
        (
            &[(0, &[1][..]), (0, &[2])][..],
            "INVALID_REPLICA_ASSIGNMENT: Found multiple manual partition assignments for partition 0",
        ),
        (
            &[(0, &[1]), (2, &[2])],
            "INVALID_REPLICA_ASSIGNMENT: partitions should be a consecutive 0-based integer sequence",
        ),
        (
            &[(0, &[1]), (1, &[2, 1])],
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s).",
        ),
        (
            &[(0, &[])],
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes an empty replica list.",
        ),
        (
            &[(0, &[1, 1])],
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            &[(0, &[7])],
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
    ] {
        assert_eq!(controller.create(assigned("b", assignments)), expected);
    }
    let mixed = NewTopic { partition_count: 1, ..assigned("b", &[(0, &[1])]) };
    assert_eq!(
        controller.create(mixed),
        "INVALID_REQUEST: A manual partition assignment was specified, but numPartitions was not set to -1."
    );
}

#[test]
fn leaders_take_turns_among_brokers() {
    let mut controller = Controller::with(&[(1, 1), (2, 1), (3, 1)]);
    controller.create(sized("a", 6, 2));
    let topic = controller.image.topic_by_name("a").unwrap();
    for broker in [1, 2, 3] {
        let leads = |p: &&crate::controller::image::PartitionImage| {
            p.state.leader == Some(BrokerId(broker))
        };
        assert_eq!(topic.partitions.iter().filter(leads).count(), 2);
    }
}

#[test]
fn a_name_twice_in_one_request_is_refused_once_and_made_never() {
    let mut controller = Controller::new();
    let topics = vec![topic("a"), topic("b"), topic("a"), topic("b_c"), topic("b.c")];
    let request = Change::CreateTopics { topics, mode: Mode::Apply };
    assert_eq!(
        topics_text(&controller.ask(request).reply),
        "INVALID_REQUEST: Duplicate topic name.; b x3 rf1; b_c x3 rf1; INVALID_TOPIC_EXCEPTION: \
         Topic 'b.c' collides with existing topic: b_c"
    );
}

#[test]
fn validating_only_answers_the_same_and_writes_nothing() {
    let mut controller = Controller::new();
    let mode = Mode::ValidateOnly;
    let request = Change::CreateTopics { topics: vec![topic("a")], mode };
    let decision = controller.ask(request);
    assert_eq!(topics_text(&decision.reply), "a x3 rf1");
    assert_eq!(decision.records, []);
    assert_eq!(controller.image.topic_count(), 0);
}

#[test]
fn configs_of_a_new_topic_are_checked_and_kept_as_given() {
    let mut controller = Controller::new();
    let given = [("cleanup.policy", Some("compact,delete")), ("retention.ms", Some("604800000"))];
    controller.create(configured("a", &given));
    assert_eq!(controller.overrides("a"), "cleanup.policy=compact,delete retention.ms=604800000");
    for (key, value, expected) in [
        ("retention.ms", None, "Null value not supported for topic configs: retention.ms"),
        ("no.such.key", Some("1"), "Unknown topic config name: no.such.key"),
        (
            "cleanup.policy",
            Some("drop"),
            "Invalid value drop for configuration cleanup.policy: String must be one of: compact, delete",
        ),
    ] {
        assert_eq!(
            controller.create(configured("b", &[(key, value)])),
            format!("INVALID_CONFIG: {expected}")
        );
    }
}

#[test]
fn the_brokers_own_topics_fit_the_brokers_there_are() {
    let mut controller = Controller::new();
    let names = vec![OFFSETS_TOPIC.to_owned(), "__transaction_state".to_owned(), "a".to_owned()];
    let reply = controller.ask(Change::AutoCreateTopics { names }).reply;
    assert_eq!(
        topics_text(&reply),
        "__consumer_offsets x50 rf1; __transaction_state x50 rf1; a x3 rf1"
    );
    let offsets = controller.image.topic_by_name(OFFSETS_TOPIC).unwrap();
    assert!(offsets.is_internal && offsets.config.cleanup.compact);
    assert_eq!(
        controller.overrides("__transaction_state"),
        "cleanup.policy=compact compression.type=uncompressed min.insync.replicas=1 segment.bytes=104857600 unclean.leader.election.enable=false"
    );
    controller.ask(Change::AutoCreateTopics { names: vec![SHARE_STATE_TOPIC.to_owned()] });
    assert_eq!(
        controller.overrides(SHARE_STATE_TOPIC),
        "cleanup.policy=delete compression.type=producer min.insync.replicas=1 retention.bytes=-1 retention.ms=-1 segment.bytes=104857600"
    );
}

fn delete(controller: &mut Controller, topics: Vec<TopicRef>) -> Vec<String> {
    let reply = controller.ask(Change::DeleteTopics { topics }).reply;
    let ChangeReply::DeletedTopics(answers) = reply else { panic!("{reply:?}") };
    answers
        .iter()
        .map(|answer| match &answer.result {
            Ok(()) => format!("{} gone", answer.name.as_deref().unwrap()),
            Err(refusal) => refused(refusal),
        })
        .collect()
}

#[test]
fn topics_are_deleted_by_name_or_by_id() {
    let mut controller = Controller::new();
    controller.create(topic("a"));
    controller.create(topic("b"));
    let id = controller.image.topic_by_name("b").unwrap().id;
    let by_name = |name: &str| TopicRef { name: Some(name.to_owned()), id: TopicId::default() };
    let topics = vec![
        by_name("a"),
        TopicRef { name: None, id },
        by_name("c"),
        TopicRef { name: None, id: TopicId(Uuid::from_u128(77)) },
        TopicRef { name: Some("a".to_owned()), id },
        TopicRef { name: None, id: TopicId::default() },
    ];
    assert_eq!(
        delete(&mut controller, topics),
        [
            "a gone".to_owned(),
            "b gone".to_owned(),
            "UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition."
                .to_owned(),
            "UNKNOWN_TOPIC_ID: This server does not host this topic ID.".to_owned(),
            "INVALID_REQUEST: Topic name and topic ID can not both be specified.".to_owned(),
            "INVALID_REQUEST: Neither topic name nor id were specified.".to_owned(),
        ]
    );
    assert_eq!(controller.image.topic_count(), 0);
    controller.create(topic("twice"));
    let id = controller.image.topic_by_name("twice").unwrap().id;
    for again in [by_name("twice"), TopicRef { name: None, id }] {
        let topics = vec![by_name("twice"), again, by_name("d"), by_name("d")];
        let duplicate = "INVALID_REQUEST: Duplicate topic name.";
        assert_eq!(delete(&mut controller, topics), [duplicate; 2], "each is refused once");
    }
    controller.config.delete_topics = false;
    controller.create(topic("a"));
    assert!(delete(&mut controller, vec![by_name("a")])[0].starts_with("TOPIC_DELETION_DISABLED"));
}

fn grow(controller: &mut Controller, name: &str, count: i32, brokers: Option<&[i32]>) -> String {
    let assignments =
        brokers.map(|brokers| brokers.iter().map(|broker| vec![BrokerId(*broker)]).collect());
    let topics = vec![NewPartitions { name: name.to_owned(), count, assignments }];
    let request = Change::CreatePartitions { topics, mode: Mode::Apply };
    let reply = controller.ask(request).reply;
    let ChangeReply::Partitions(answers) = reply else { panic!("{reply:?}") };
    answers[0].1.as_ref().map_or_else(refused, |()| "ok".to_owned())
}

#[test]
fn a_topic_only_grows() {
    let mut controller = Controller::new();
    controller.create(topic("a"));
    for (name, count, brokers, expected) in [
        ("a", 3, None, "INVALID_PARTITIONS: Topic already has 3 partition(s)."),
        (
            "a",
            2,
            None,
            "INVALID_PARTITIONS: The topic a currently has 3 partition(s); 2 would not be an increase.",
        ),
        (
            "a",
            i32::MIN,
            None,
            "INVALID_PARTITIONS: The topic a currently has 3 partition(s); -2147483648 would not be an increase.",
        ),
        ("a", i32::MAX, None, "INVALID_PARTITIONS: A topic may have at most 100000 partitions."),
        (
            "a",
            5,
            Some(&[1][..]),
            "INVALID_REPLICA_ASSIGNMENT: Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        ("a", 4, None, "ok"),
        ("a", 6, Some(&[1, 1]), "ok"),
    ] {
        assert_eq!(grow(&mut controller, name, count, brokers), expected);
    }
    assert!(grow(&mut controller, "b", 4, None).starts_with("UNKNOWN_TOPIC_OR_PARTITION"));
    assert_eq!(controller.image.topic_by_name("a").unwrap().partition_count(), 6);
}

#[test]
fn keys_are_set_deleted_appended_and_subtracted() {
    use ConfigOp::{Append, Delete, Set, Subtract};
    let mut controller = Controller::new();
    controller.create(topic("a"));
    let a = || topic_resource("a");
    let default_value = [("retention.ms", Set, "604800000")];
    assert_eq!(controller.set(a(), &default_value), "ok");
    assert_eq!(controller.overrides("a"), "retention.ms=604800000", "equal to the default, kept");
    assert_eq!(controller.set(a(), &[("cleanup.policy", Append, "compact")]), "ok");
    assert_eq!(controller.overrides("a"), "cleanup.policy=delete,compact retention.ms=604800000");
    let changes = [("cleanup.policy", Subtract, "delete"), ("retention.ms", Delete, "")];
    assert_eq!(controller.set(a(), &changes), "ok");
    assert_eq!(controller.overrides("a"), "cleanup.policy=compact");
    assert_eq!(
        controller.set(a(), &[("retention.ms", Append, "1")]),
        "INVALID_CONFIG: Can't APPEND to key retention.ms because its type is not LIST."
    );
    assert_eq!(
        controller.set(a(), &[("retention.ms", Set, "1"), ("segment.bytes", Set, "1")]),
        "INVALID_CONFIG: Invalid value 1 for configuration segment.bytes: Value must be at least 1048576"
    );
    assert_eq!(
        controller.overrides("a"),
        "cleanup.policy=compact",
        "a refused set changes nothing"
    );
    assert_eq!(
        controller.set(a(), &[("retention.ms", Set, "1"), ("retention.ms", Delete, "")]),
        "INVALID_REQUEST: Error due to duplicate config keys"
    );
    assert!(controller.set(topic_resource("b"), &[]).starts_with("UNKNOWN_TOPIC_OR_PARTITION"));
}

#[test]
fn the_old_alter_configs_replaces_the_whole_set() {
    let mut controller = Controller::new();
    controller.create(configured("a", &[("retention.ms", Some("1")), ("segment.ms", Some("5"))]));
    let resources = vec![AlterResource {
        name: topic_resource("a"),
        changes: vec![("retention.bytes".to_owned(), Some("9".to_owned()))],
    }];
    let request = Change::AlterConfigs { resources, mode: Mode::Apply };
    assert_eq!(configs_text(&controller.ask(request).reply), "ok");
    assert_eq!(controller.overrides("a"), "retention.bytes=9");
}

#[test]
fn the_same_resource_twice_in_one_request_is_refused() {
    let mut controller = Controller::new();
    controller.create(topic("a"));
    let resource = || AlterResource { name: topic_resource("a"), changes: Vec::new() };
    let resources = vec![resource(), resource()];
    let request = Change::AlterConfigs { resources, mode: Mode::Apply };
    assert_eq!(
        configs_text(&controller.ask(request).reply),
        "INVALID_REQUEST: Each resource must appear at most once.; INVALID_REQUEST: Each resource \
         must appear at most once."
    );
}

#[test]
fn broker_keys_change_when_they_are_dynamic() {
    use ConfigOp::Set;
    let mut controller = Controller::new();
    controller.create(topic("a"));
    assert_eq!(controller.set(ResourceName::AllBrokers, &[("log.retention.ms", Set, "5")]), "ok");
    assert_eq!(controller.image.topic_by_name("a").unwrap().config.retention_ms, Some(5));
    let own = || ResourceName::Broker(BrokerId(1));
    for (key, value, expected) in [
        ("num.partitions", "2", "Cannot update these configs dynamically: Set(num.partitions)"),
        ("no.such.key", "2", "Unknown broker config name: no.such.key"),
        (
            "log.segment.bytes",
            "2",
            "Invalid value 2 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
    ] {
        assert_eq!(
            controller.set(own(), &[(key, Set, value)]),
            format!("INVALID_REQUEST: {expected}")
        );
    }
    assert_eq!(
        controller.set(ResourceName::Broker(BrokerId(2)), &[]),
        "INVALID_REQUEST: Unexpected broker id, expected 1, but received 2"
    );
}

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut controller = Controller::new();
    for expected in [0, 1000, 2000] {
        let reply = controller.ask(Change::AllocateProducerIds).reply;
        let first = ProducerId(expected);
        assert_eq!(reply, ChangeReply::ProducerIds(Ok(ProducerIdBlock { first })));
    }
}

#[test]
fn replicas_of_cores_that_are_gone_move_to_those_that_stay() {
    let mut controller = Controller::with(&[(1, 4)]);
    controller.create(sized("a", 8, 1));
    assert_eq!(controller.ask(Change::FitCores { cores: 3 }).records.len(), 2);
    let load = |core| controller.image.load(BrokerId(1), CoreId(core));
    assert_eq!((load(0), load(1), load(2), load(3)), (3, 3, 2, 0));
    assert_eq!(controller.ask(Change::FitCores { cores: 3 }).records, []);
}

proptest! {
    /// Whatever is asked, records follow from the image, and a replay of all of them gives it.
    #[test]
    fn any_history_replays_to_the_same_image(
        steps in prop::collection::vec((0..6u8, 0..4usize, -2..6i32, 0..TOPIC_KEYS.len()), 0..30),
    ) {
        let names = ["a", "a.b", "a_b", "c"];
        let mut controller = Controller::with(&[(1, 2), (2, 3)]);
        let mut history = Vec::new();
        for (step, name, number, key) in steps {
            let name = names[name].to_owned();
            let mode = Mode::Apply;
            let request = match step {
                0 | 1 => Change::CreateTopics {
                    topics: vec![sized(&name, number, 1 + i16::try_from(key % 2).unwrap())],
                    mode,
                },
                2 => Change::DeleteTopics {
                    topics: vec![TopicRef { name: Some(name), id: TopicId::default() }],
                },
                3 => Change::CreatePartitions {
                    topics: vec![NewPartitions { name, count: number, assignments: None }],
                    mode,
                },
                4 => Change::IncrementalAlterConfigs {
                    resources: vec![AlterResource {
                        name: ResourceName::Topic(name),
                        changes: vec![ConfigChange {
                            key: TOPIC_KEYS[key].name.to_owned(),
                            op: if number < 0 { ConfigOp::Delete } else { ConfigOp::Set },
                            value: TOPIC_KEYS[key].default.map(str::to_owned),
                        }],
                    }],
                    mode,
                },
                _ => Change::AllocateProducerIds,
            };
            history.extend(controller.ask(request).records);
        }
        let mut replayed = MetadataImage::new(BrokerId(1), Arc::default());
        let mut restored = replayed.clone();
        for record in &history {
            prop_assert_eq!(replayed.apply(record), Ok(()));
        }
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", controller.image));
        for record in controller.image.to_records() {
            prop_assert_eq!(restored.apply(&record), Ok(()));
        }
        prop_assert_eq!(restored.to_records(), controller.image.to_records());
    }
}
