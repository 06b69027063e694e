//! Configurations: read, set and refused.

use highwater::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource as OldResource, AlterableConfig as OldConfig,
};
use highwater::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use highwater::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use crate::{Pair, Side};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn run(pair: &mut Pair) {
    pair.topic("set", 1, &[("retention.ms", "1000000")]);
    descriptions(pair);
    increments(pair);
    brokers(pair);
    replacements(pair);
    groups(pair);
}

fn described(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: false,
    }
}

/// Keys in order of their names, without those that only one of the two can have.
fn describe(side: &mut Side, request: &DescribeConfigsRequest, version: i16) -> String {
    let mut answer = side.call(request, version);
    for result in &mut answer.results {
        result.configs.retain(|config| !config.name.starts_with("highwater."));
        // Of groups whose protocol is not here.
        result.configs.retain(|config| {
            !["share.", "streams."].iter().any(|family| config.name.starts_with(family))
        });
        result.configs.sort_by(|a, b| a.name.cmp(&b.name));
    }
    crate::mask::masked(&format!("{answer:?}"))
}

fn descriptions(pair: &mut Pair) {
    for (name, version) in [
        ("one key of a topic, v1", 1),
        ("one key of a topic, v3", 3),
        ("one key of a topic, v4", 4),
    ] {
        pair.case(name, move |side| {
            describe(side, &described(TOPIC, "set", Some(&["retention.ms"])), version)
        });
    }
    pair.case("all keys of a topic", |side| describe(side, &described(TOPIC, "set", None), 4));
    pair.case("all keys of a topic without synonyms", |side| {
        let request =
            DescribeConfigsRequest { include_synonyms: false, ..described(TOPIC, "set", None) };
        describe(side, &request, 4)
    });
    let cases: Vec<(&'static str, i8, &str, Option<&[&str]>)> = vec![
        ("no keys of a topic", TOPIC, "set", Some(&[])),
        ("an unknown key of a topic", TOPIC, "set", Some(&["no.such.key"])),
        ("keys of an unknown topic", TOPIC, "no-topic", None),
        ("keys of a topic without a name", TOPIC, "", None),
        ("keys of a topic with a bad name", TOPIC, "a/b", None),
        ("a key of the broker", BROKER, "1", Some(&["num.partitions"])),
        ("a list of the broker", BROKER, "1", Some(&["log.cleanup.policy"])),
        (
            "retention of the broker",
            BROKER,
            "1",
            Some(&["log.retention.ms", "log.retention.hours"]),
        ),
        ("a key of all brokers", BROKER, "", Some(&["num.partitions"])),
        ("keys of an unknown broker", BROKER, "77", None),
        ("keys of a broker that is no number", BROKER, "one", None),
        ("keys of a logger of an unknown broker", LOGGER, "77", None),
        ("keys of resource type 0", 0, "x", None),
        ("keys of resource type 99", 99, "x", None),
    ];
    for (name, kind, called, keys) in cases {
        let request = described(kind, called, keys);
        pair.case(name, move |side| match side.wire().call(&request, 4) {
            Ok(_) => describe(side, &request, 4),
            Err(error) => side.ended(&error),
        });
    }
    pair.case("a topic described twice", |side| {
        let mut request = described(TOPIC, "set", Some(&["retention.ms"]));
        request.resources.push(request.resources[0].clone());
        describe(side, &request, 4)
    });
}

fn altered(
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    let config = |(name, operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *operation,
        value: value.map(str::to_owned),
    };
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: changes.iter().map(config).collect(),
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

fn increments(pair: &mut Pair) {
    type Changes = &'static [(&'static str, i8, Option<&'static str>)];
    let cases: Vec<(&'static str, &str, Changes)> = vec![
        ("a key is set", "set", &[("retention.ms", SET, Some("5000"))]),
        ("a key is set to nonsense", "set", &[("retention.ms", SET, Some("x"))]),
        ("a key is set to null", "set", &[("retention.ms", SET, None)]),
        ("an unknown key is set", "set", &[("no.such.key", SET, Some("1"))]),
        ("an unknown key is deleted", "set", &[("no.such.key", DELETE, None)]),
        (
            "a key is set twice",
            "set",
            &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))],
        ),
        (
            "a key is set and deleted",
            "set",
            &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)],
        ),
        ("operation 9", "set", &[("retention.ms", 9, Some("1"))]),
        ("operation -1", "set", &[("retention.ms", -1, Some("1"))]),
        ("a number is appended to", "set", &[("retention.ms", APPEND, Some("1"))]),
        ("a list is appended to", "set", &[("cleanup.policy", APPEND, Some("compact"))]),
        ("a list is appended what it has", "set", &[("cleanup.policy", APPEND, Some("delete"))]),
        ("a list is appended nonsense", "set", &[("cleanup.policy", APPEND, Some("x"))]),
        ("a list is subtracted from", "set", &[("cleanup.policy", SUBTRACT, Some("compact"))]),
        ("a list loses what it has not", "set", &[("cleanup.policy", SUBTRACT, Some("x"))]),
        ("a list loses all", "set", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
        ("a key is deleted", "set", &[("retention.ms", DELETE, None)]),
        ("a key is deleted again", "set", &[("retention.ms", DELETE, None)]),
        ("a key is deleted with a value", "set", &[("retention.ms", DELETE, Some("7"))]),
        ("nothing is changed", "set", &[]),
        ("a key of an unknown topic is set", "no-topic", &[("retention.ms", SET, Some("1"))]),
        ("a key of a topic without a name is set", "", &[("retention.ms", SET, Some("1"))]),
    ];
    for (name, topic, changes) in cases {
        let request = altered(TOPIC, topic, changes);
        pair.case(name, move |side| side.ask(&request, 1));
    }
    pair.case("what the changes have left", |side| {
        describe(side, &described(TOPIC, "set", Some(&["retention.ms", "cleanup.policy"])), 4)
    });
    pair.case("a change that is only validated", |side| {
        let mut request = altered(TOPIC, "set", &[("retention.ms", SET, Some("77"))]);
        request.validate_only = true;
        side.ask(&request, 1)
    });
    pair.case("a topic changed twice in one request", |side| {
        let mut request = altered(TOPIC, "set", &[("retention.ms", SET, Some("88"))]);
        request.resources.push(request.resources[0].clone());
        side.ask(&request, 1)
    });
    pair.case("nothing at all is changed", |side| {
        let request = IncrementalAlterConfigsRequest { resources: vec![], validate_only: false };
        side.ask(&request, 1)
    });
}

fn brokers(pair: &mut Pair) {
    type Changes = &'static [(&'static str, i8, Option<&'static str>)];
    let cases: Vec<(&'static str, i8, &str, Changes)> = vec![
        ("a broker's key is set", BROKER, "1", &[("log.retention.ms", SET, Some("900000"))]),
        ("a broker's key is deleted", BROKER, "1", &[("log.retention.ms", DELETE, None)]),
        ("all brokers' key is set", BROKER, "", &[("log.retention.ms", SET, Some("800000"))]),
        ("all brokers' key is deleted", BROKER, "", &[("log.retention.ms", DELETE, None)]),
        ("a broker's fixed key is set", BROKER, "1", &[("num.partitions", SET, Some("4"))]),
        ("a broker's key is set to nonsense", BROKER, "1", &[("log.retention.ms", SET, Some("x"))]),
        ("an unknown key of a broker is set", BROKER, "1", &[("no.such", SET, Some("x"))]),
        ("a key of an unknown broker is set", BROKER, "7", &[("log.retention.ms", SET, Some("1"))]),
        ("a key of no number is set", BROKER, "a", &[("log.retention.ms", SET, Some("1"))]),
        ("a key of resource type 0 is set", 0, "x", &[("retention.ms", SET, Some("1"))]),
        ("a key of resource type 99 is set", 99, "x", &[("retention.ms", SET, Some("1"))]),
    ];
    for (name, kind, called, changes) in cases {
        let request = altered(kind, called, changes);
        pair.case(name, move |side| side.ask(&request, 1));
    }
}

fn replacements(pair: &mut Pair) {
    let replaced = |name: &str, configs: &[(&str, Option<&str>)]| {
        let config = |(name, value): &(&str, Option<&str>)| OldConfig {
            name: (*name).to_owned(),
            value: value.map(str::to_owned),
        };
        let resource = OldResource {
            resource_type: TOPIC,
            resource_name: name.to_owned(),
            configs: configs.iter().map(config).collect(),
        };
        AlterConfigsRequest { resources: vec![resource], validate_only: false }
    };
    let cases: Vec<(&'static str, AlterConfigsRequest)> = vec![
        ("keys are replaced", replaced("set", &[("retention.bytes", Some("123"))])),
        ("keys are replaced by none", replaced("set", &[])),
        ("keys are replaced by null", replaced("set", &[("retention.ms", None)])),
        ("keys are replaced by nonsense", replaced("set", &[("retention.ms", Some("x"))])),
        ("keys are replaced by unknown ones", replaced("set", &[("no.such", Some("x"))])),
        ("keys of an unknown topic are replaced", replaced("no-topic", &[])),
        (
            "keys are replaced by one twice",
            replaced("set", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]),
        ),
    ];
    for (name, request) in cases {
        pair.case(name, move |side| side.ask(&request, 2));
    }
}

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

fn groups(pair: &mut Pair) {
    type Changes = &'static [(&'static str, i8, Option<&'static str>)];
    pair.case("keys of a group that is not there", |side| {
        describe(side, &described(GROUP, "unset", None), 4)
    });
    pair.case("keys of the empty group", |side| describe(side, &described(GROUP, "", None), 4));
    pair.case("an unknown key of a group", |side| {
        describe(side, &described(GROUP, "unset", Some(&["no.such.key"])), 4)
    });
    let cases: [(&'static str, &str, Changes); 14] = [
        ("a group's session is set", "own", &[(SESSION, SET, Some("50000"))]),
        ("a group's heartbeat is set", "own", &[(HEARTBEAT, SET, Some("6000"))]),
        ("a group's session is too short", "own", &[(SESSION, SET, Some("1000"))]),
        ("a group's session is too long", "own", &[(SESSION, SET, Some("60001"))]),
        ("a group's heartbeat is too short", "own", &[(HEARTBEAT, SET, Some("4999"))]),
        ("a group's heartbeat is too long", "own", &[(HEARTBEAT, SET, Some("15001"))]),
        ("a group's session is 0", "own", &[(SESSION, SET, Some("0"))]),
        ("a group's session is no number", "own", &[(SESSION, SET, Some("long"))]),
        ("a group's session is null", "own", &[(SESSION, SET, None)]),
        ("a group's session is appended to", "own", &[(SESSION, APPEND, Some("1"))]),
        ("an unknown key of a group is set", "own", &[("no.such.key", SET, Some("1"))]),
        ("a topic's key of a group is set", "own", &[("retention.ms", SET, Some("1"))]),
        ("a key of the empty group is set", "", &[(SESSION, SET, Some("50000"))]),
        ("nothing of a group is set", "nothing", &[]),
    ];
    for (name, group, changes) in cases {
        let request = altered(GROUP, group, changes);
        pair.case(name, move |side| side.ask(&request, 1));
    }
    pair.case("what a group has of its own", |side| {
        describe(side, &described(GROUP, "own", None), 4)
    });
    let replaced = |configs: &[(&str, &str)]| {
        let config = |(name, value): &(&str, &str)| OldConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        };
        let resource = OldResource {
            resource_type: GROUP,
            resource_name: "own".to_owned(),
            configs: configs.iter().map(config).collect(),
        };
        AlterConfigsRequest { resources: vec![resource], validate_only: false }
    };
    let request = replaced(&[(HEARTBEAT, "7000")]);
    pair.case("a group's keys are replaced", move |side| side.ask(&request, 2));
    pair.case("what a group has after that", |side| {
        describe(side, &described(GROUP, "own", None), 4)
    });
    pair.case("members hear of their group's interval", |side| {
        let beat = crate::consumers::first("own", "m-1");
        side.ask(&beat, 1)
    });
    let request = altered(GROUP, "own", &[(HEARTBEAT, DELETE, None), (SESSION, DELETE, None)]);
    pair.case("a group's keys are deleted", move |side| side.ask(&request, 1));
    // A broker of Kafka hears a moment later of what its controller did.
    pair.both(|side| {
        let is_gone = harness::wait_until("the group's keys to go", crate::PATIENCE, || {
            let told = describe(side, &described(GROUP, "own", None), 4);
            (!told.contains("7000")).then_some(())
        });
        is_gone.unwrap_or_else(|what| panic!("{what}"));
    });
    pair.case("a group without keys again", |side| {
        describe(side, &described(GROUP, "own", None), 4)
    });
}
