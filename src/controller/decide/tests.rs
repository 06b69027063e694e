use super::*;
use crate::controller::image::{OFFSETS_TOPIC, SHARE_STATE_TOPIC};
use crate::controller::records::{BrokerEndpoint, FeatureRange};
use crate::model::cluster_config::Roles;
use crate::model::config_keys::TOPIC_KEYS;
use crate::model::features::{FEATURES, Feature};
use crate::model::ids::{CoreId, PartitionId};
use crate::model::listeners::Endpoint;
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;

mod cluster;
mod configs;
mod controllers;
mod features;

/// A controller with its image: decides, applies, and hands out the answer.
struct Controller {
    image: MetadataImage,
    /// All records so far.
    history: Vec<MetadataRecord>,
    config: BrokerConfig,
    random: Cell<u128>,
}

/// A process of a broker with a listener; its directory is the broker's own.
fn process(id: i32, cores: u16, incarnation: u128) -> NewBroker {
    let endpoint = Endpoint { host: "localhost".to_owned(), port: 9092 };
    NewBroker {
        id: BrokerId(id),
        incarnation: Uuid::from_u128(incarnation),
        directory: Uuid::from_u128(u128::from(id.unsigned_abs())),
        endpoints: vec![BrokerEndpoint { listener: "PLAINTEXT".to_owned(), endpoint }],
        rack: None,
        cores,
        roles: Roles { broker: true, controller: true },
        features: FEATURES.map(range).to_vec(),
        previous_epoch: None,
    }
}

fn range(known: Feature) -> FeatureRange {
    FeatureRange { name: known.name.to_owned(), min: known.min, max: known.max }
}

impl Controller {
    fn new() -> Controller {
        Controller::with(&[(1, 2)])
    }

    /// With brokers in use, by id and number of cores.
    fn with(brokers: &[(i32, u16)]) -> Controller {
        let mut controller = Controller::empty();
        for (id, cores) in brokers {
            controller.register(process(*id, *cores, 1)).unwrap();
            controller.beat(*id);
        }
        controller
    }

    fn empty() -> Controller {
        Controller {
            image: MetadataImage::new(BrokerId(1), Arc::default()),
            history: Vec::new(),
            config: BrokerConfig { partitions: 3, ..BrokerConfig::default() },
            random: Cell::new(0),
        }
    }

    fn ask(&mut self, change: Change) -> Decision {
        let random = || {
            self.random.set(self.random.get() + 1);
            Uuid::from_u128(self.random.get())
        };
        let context = Context { config: &self.config, random: &random };
        let decision = decide(&self.image, change, &context);
        for record in &decision.records {
            self.image.apply(record).expect("decisions follow from the image");
        }
        self.history.extend_from_slice(&decision.records);
        decision
    }

    /// A process registers with nobody else in its place.
    fn register(&mut self, broker: NewBroker) -> Result<BrokerEpoch, Refusal> {
        let broker = Box::new(broker);
        match self.ask(Change::RegisterBroker { broker, has_session: false }).reply {
            ChangeReply::Registered(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat of a broker that has applied all metadata.
    fn beat(&mut self, id: i32) -> BrokerStanding {
        self.beat_with(id, |_| {})
    }

    fn beat_with(&mut self, id: i32, adjust: impl FnOnce(&mut Heartbeat)) -> BrokerStanding {
        let id = BrokerId(id);
        let mut beat = Heartbeat {
            id,
            epoch: self.image.broker(id).unwrap().epoch(),
            position: i64::try_from(self.image.end()).unwrap() - 1,
            wants_fence: false,
            wants_shutdown: false,
            is_shutdown_known: true,
        };
        adjust(&mut beat);
        match self.ask(Change::Heartbeat(beat)).reply {
            ChangeReply::Standing(result) => result.unwrap(),
            other => panic!("{other:?}"),
        }
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
    let open = |cores, incarnation| Change::OpenAlone {
        cluster: Uuid::from_u128(9),
        broker: Box::new(process(1, cores, incarnation)),
    };
    let mut controller = Controller::empty();
    let founded = controller.ask(open(4, 1)).records.len();
    assert_eq!(founded, 3 + FEATURES.len(), "cluster, levels, registration, in use");
    controller.create(sized("a", 8, 1));
    assert_eq!(controller.ask(open(3, 2)).records.len(), 4);
    let load = |core| controller.image.load(BrokerId(1), CoreId(core));
    assert_eq!((load(0), load(1), load(2), load(3)), (3, 3, 2, 0));
    let led = |partition: &crate::controller::image::PartitionImage| {
        (partition.state.leader, partition.state.leader_epoch.0)
    };
    let topic = controller.image.topic_by_name("a").unwrap();
    assert!(topic.partitions.iter().all(|one| led(one) == (Some(BrokerId(1)), 0)));
    assert_eq!(controller.ask(open(3, 3)).records.len(), 2, "registered anew, nothing moves");
}

proptest! {
    /// Whatever is asked, records follow from the image, and a replay of all of them gives it.
    #[test]
    fn any_history_replays_to_the_same_image(
        steps in prop::collection::vec((0..6u8, 0..4usize, -2..6i32, 0..TOPIC_KEYS.len()), 0..30),
    ) {
        let names = ["a", "a.b", "a_b", "c"];
        let mut controller = Controller::with(&[(1, 2), (2, 3)]);
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
            controller.ask(request);
        }
        let mut replayed = MetadataImage::new(BrokerId(1), Arc::default());
        let mut restored = replayed.clone();
        for record in &controller.history {
            prop_assert_eq!(replayed.apply(record), Ok(()));
        }
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", controller.image));
        for record in controller.image.to_records() {
            prop_assert_eq!(restored.apply(&record), Ok(()));
        }
        prop_assert_eq!(restored.to_records(), controller.image.to_records());
    }
}
