use super::*;
use crate::controller::quorum::snapshot::image_bytes;
use crate::model::limits::{CONFIG_BYTES_MAX, CONFIG_VALUE_BYTES_MAX};

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
fn all_configurations_together_have_a_bound_and_give_room_back() {
    use ConfigOp::{Delete, Set};
    let mut controller = Controller::new();
    let long = "0:1,".repeat(CONFIG_VALUE_BYTES_MAX / 4 - 1) + "0:1";
    let key = "leader.replication.throttled.replicas";
    let fits = CONFIG_BYTES_MAX / CONFIG_VALUE_BYTES_MAX - 1;
    let names: Vec<String> = (0..=fits).map(|number| format!("t{number}")).collect();
    for name in &names {
        controller.create(topic(name));
    }
    let refused: Vec<String> = names
        .iter()
        .map(|name| controller.set(topic_resource(name), &[(key, Set, &long)]))
        .filter(|answer| answer != "ok")
        .collect();
    assert_eq!(refused.len(), 1, "one more than there is room for");
    assert!(refused[0].starts_with("POLICY_VIOLATION: The configurations of all"), "{refused:?}");
    let data = image_bytes(&controller.image).len();
    let counted = controller.image.config_bytes();
    let topics = 512 * names.len();
    assert!((counted..counted + topics).contains(&data), "{counted} of {data}");
    assert_eq!(controller.set(topic_resource("t0"), &[(key, Delete, "")]), "ok");
    let last = topic_resource(&names[fits]);
    assert_eq!(controller.set(last, &[(key, Set, &long)]), "ok");
    let before = controller.image.config_bytes();
    let gone = TopicRef { name: Some("t1".to_owned()), id: TopicId::default() };
    assert_eq!(delete(&mut controller, vec![gone]), ["t1 gone"]);
    assert_eq!(controller.image.config_bytes(), before - counted / fits);
}
