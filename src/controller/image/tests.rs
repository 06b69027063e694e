use super::*;
use crate::controller::records::{Availability, BrokerEndpoint, BrokerRegistration, Replica};
use crate::model::cluster_config::Roles;
use crate::model::listeners::Endpoint;

const LOCAL: BrokerId = BrokerId(1);

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn topic(n: u128, name: &str) -> MetadataRecord {
    MetadataRecord::Topic { id: id(n), name: name.to_owned() }
}

fn partition(n: u128, partition: i32, core: u16) -> MetadataRecord {
    let replica = Replica { broker: LOCAL, core: CoreId(core), directory: Uuid::nil() };
    let state = PartitionState { replicas: vec![replica], ..PartitionState::default() };
    let id = TopicPartition { topic: id(n), partition: PartitionId(partition) };
    MetadataRecord::Partition { id, state }
}

fn config(resource: ConfigResource, key: &str, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::Config { resource, key: key.to_owned(), value: value.map(str::to_owned) }
}

fn image(records: &[MetadataRecord]) -> MetadataImage {
    let static_config = ConfigMap::from([("log.retention.hours".into(), "1".into())]);
    let mut image = MetadataImage::new(LOCAL, Arc::new(static_config));
    for record in records {
        image.apply(record).unwrap();
    }
    image
}

#[test]
fn a_snapshot_gives_the_same_image() {
    let records = [
        MetadataRecord::ClusterId(Uuid::from_u128(9)),
        topic(1, "a.b"),
        config(ConfigResource::Topic(id(1)), "segment.bytes", Some("2097152")),
        partition(1, 0, 1),
        partition(1, 1, 0),
        topic(2, "b"),
        partition(2, 0, 1),
        config(ConfigResource::AllBrokers, "log.retention.ms", Some("5")),
        MetadataRecord::ProducerIds { next: ProducerId(2000) },
    ];
    let first = image(&records);
    let again = image(&first.to_records());
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    assert_eq!(again.partition_count(), 3);
    assert_eq!(again.load(LOCAL, CoreId(1)), 2);
}

#[test]
fn a_topic_takes_broker_defaults_as_they_change_and_keeps_its_overrides() {
    let mut image = image(&[topic(1, "a"), topic(2, "b")]);
    let own = ConfigResource::Topic(id(2));
    image.apply(&config(own, "retention.ms", Some("7"))).unwrap();
    let retention =
        |image: &MetadataImage, name| image.topic_by_name(name).unwrap().config.retention_ms;
    assert_eq!(retention(&image, "a"), Some(3_600_000));
    for (resource, value, expected) in [
        (ConfigResource::AllBrokers, Some("10"), 10),
        (ConfigResource::Broker(LOCAL), Some("20"), 20),
        (ConfigResource::Broker(BrokerId(2)), Some("30"), 20),
        (ConfigResource::Broker(LOCAL), None, 10),
        (ConfigResource::AllBrokers, None, 3_600_000),
    ] {
        image.apply(&config(resource.clone(), "log.retention.ms", value)).unwrap();
        assert_eq!(retention(&image, "a"), Some(expected), "{resource:?} {value:?}");
        assert_eq!(retention(&image, "b"), Some(7));
    }
}

#[test]
fn a_removed_topic_leaves_nothing_behind() {
    let mut image = image(&[topic(1, "a.b"), partition(1, 0, 0)]);
    let shared = image.clone();
    assert_eq!(image.colliding_topic("a_b"), Some("a.b"));
    image.apply(&MetadataRecord::RemoveTopic { id: id(1) }).unwrap();
    assert_eq!(image.topic_count() + image.partition_count(), 0);
    assert_eq!(image.colliding_topic("a_b"), None);
    assert_eq!(image.load(LOCAL, CoreId(0)), 0);
    assert!(shared.topic_by_name("a.b").is_some(), "a clone does not change");
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let mut image = image(&[topic(1, "a")]);
    let gap = TopicPartition { topic: id(1), partition: PartitionId(2) };
    for (record, error) in [
        (topic(1, "b"), ApplyError::TopicExists { id: id(1) }),
        (topic(2, "a"), ApplyError::NameTaken { name: "a".into() }),
        (partition(3, 0, 0), ApplyError::NoTopic { id: id(3) }),
        (partition(1, 2, 0), ApplyError::PartitionGap { id: gap, expected: 0 }),
        (MetadataRecord::RemoveTopic { id: id(3) }, ApplyError::NoTopic { id: id(3) }),
    ] {
        assert_eq!(image.apply(&record), Err(error));
    }
}

fn registered(id: i32, epoch: i64) -> MetadataRecord {
    let listener = "PLAINTEXT".to_owned();
    let endpoint = Endpoint { host: format!("b{id}"), port: 9092 };
    MetadataRecord::RegisterBroker(Arc::new(BrokerRegistration {
        id: BrokerId(id),
        epoch: BrokerEpoch(epoch),
        incarnation: Uuid::from_u128(1),
        directory: Uuid::from_u128(2),
        endpoints: vec![BrokerEndpoint { listener, endpoint }],
        rack: None,
        cores: 2,
        roles: Roles { broker: true, controller: true },
        features: Vec::new(),
        was_clean: false,
    }))
}

fn state(id: i32, epoch: i64, availability: Availability) -> MetadataRecord {
    MetadataRecord::BrokerState { id: BrokerId(id), epoch: BrokerEpoch(epoch), availability }
}

#[test]
fn a_broker_is_fenced_until_its_own_registration_is_told_otherwise() {
    let mut image = image(&[registered(1, 0), registered(2, 1)]);
    assert_eq!(image.alive().count(), 0);
    image.apply(&state(1, 0, Availability::Active)).unwrap();
    assert!(image.is_active(BrokerId(1)) && !image.is_active(BrokerId(2)));
    assert_eq!(image.broker(BrokerId(1)).unwrap().endpoint("PLAINTEXT").unwrap().host, "b1");
    image.apply(&state(1, 0, Availability::ControlledShutdown)).unwrap();
    assert_eq!((image.alive().count(), image.is_active(BrokerId(1))), (1, false));
    let no_broker = ApplyError::NoBroker { id: BrokerId(1), epoch: BrokerEpoch(7) };
    assert_eq!(image.apply(&state(1, 7, Availability::Active)), Err(no_broker));
    let back = ApplyError::BrokerEpochBack { id: BrokerId(2), now: 1, next: 1 };
    assert_eq!(image.apply(&registered(2, 1)), Err(back));
    image.apply(&registered(1, 9)).unwrap();
    assert_eq!(image.alive().count(), 0, "a new registration begins fenced");
}

#[test]
fn a_snapshot_keeps_brokers_features_and_the_position() {
    let gone = MetadataRecord::UnregisterBroker { id: BrokerId(3), epoch: BrokerEpoch(2) };
    let first = image(&[
        registered(1, 0),
        registered(2, 1),
        registered(3, 2),
        state(2, 1, Availability::ControlledShutdown),
        gone,
        feature("transaction.version", 2, 6),
        feature("share.version", 0, 7),
        feature("share.version", 0, 8),
    ]);
    assert_eq!(first.end(), 8);
    let again = image(&first.to_records());
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    assert_eq!((again.feature("transaction.version"), again.features_epoch()), (2, 8));
    assert!(!again.has_share_groups(), "a snapshot keeps what is off");
}

fn feature(name: &str, level: i16, epoch: i64) -> MetadataRecord {
    MetadataRecord::Feature { name: name.to_owned(), level, epoch }
}

#[test]
fn a_log_without_levels_has_those_of_the_last_version_that_kept_none() {
    let mut image = image(&[MetadataRecord::ClusterId(Uuid::from_u128(9))]);
    let levels = |image: &MetadataImage| {
        let levels = image.features().map(|(name, state)| format!("{name}={}", state.level));
        (levels.collect::<Vec<String>>().join(" "), image.features_epoch())
    };
    let old = "group.version=1 metadata.version=27 share.version=1 transaction.version=2";
    assert_eq!(levels(&image), (old.to_owned(), 0));
    assert!(image.has_consumer_groups() && image.has_share_groups());
    let kept = |record: &MetadataRecord| matches!(record, MetadataRecord::Feature { .. });
    assert!(!image.to_records().iter().any(kept), "nor does its snapshot");
    image.apply(&feature("group.version", 0, 1)).unwrap();
    assert!(!image.has_consumer_groups() && image.has_share_groups());
    assert_eq!(image.features_epoch(), 1);
    let back = ApplyError::FeatureEpochBack { name: "group.version".into(), now: 1, next: 1 };
    assert_eq!(image.apply(&feature("group.version", 1, 1)), Err(back));
}
