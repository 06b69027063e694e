//! Configurations change: one key at a time (KIP-339) or as a whole set (the old AlterConfigs).

use crate::controller::decide::{ChangeReply, Decision, Refusal, topic_name};
use crate::controller::image::{ConfigMap, MetadataImage};
use crate::controller::records::{ConfigResource, MetadataRecord};
use crate::model::config_keys::{
    ConfigError, ConfigKey, ConfigKind, Update, broker_key, group_key, list_items, topic_key,
};
use crate::model::errors::KafkaCode;
use crate::model::group_bounds::{
    CONSUMER_TIMEOUTS, SHARE_TIMEOUTS, TimeoutKeys, Timeouts, check_record_lock,
};
use crate::model::ids::BrokerId;
use crate::model::limits::{GROUP_CONFIGS_MAX, GROUP_TEXT_BYTES_MAX};
use crate::model::topic_config::TopicConfig;
use std::collections::BTreeSet;

/// A resource as clients name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceName {
    Topic(String),
    Broker(BrokerId),
    AllBrokers,
    Group(String),
}

/// A resource and what shall change; `C` is a change of one key.
#[derive(Debug, Clone)]
pub struct AlterResource<C> {
    pub name: ResourceName,
    pub changes: Vec<C>,
}

/// One key's change.
#[derive(Debug, Clone)]
pub struct ConfigChange {
    pub key: String,
    pub op: ConfigOp,
    /// `None` only makes sense for `Delete`.
    pub value: Option<String>,
}

/// What to do with a key (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigOp {
    Set,
    /// Back to the default.
    Delete,
    /// Add elements to a list.
    Append,
    /// Take elements out of a list.
    Subtract,
}

const WIRE_TOPIC: i8 = 2;
const WIRE_BROKER: i8 = 4;
const WIRE_GROUP: i8 = 32;

impl ResourceName {
    /// From the wire's type and name; refused where this broker holds no such configuration.
    pub fn from_wire(kind: i8, name: &str) -> Result<ResourceName, Refusal> {
        match (kind, name) {
            (WIRE_TOPIC, name) => Ok(ResourceName::Topic(name.to_owned())),
            (WIRE_BROKER, "") => Ok(ResourceName::AllBrokers),
            (WIRE_BROKER, name) => match name.parse::<i32>() {
                Ok(id) if id >= 0 => Ok(ResourceName::Broker(BrokerId(id))),
                Ok(_) | Err(_) => {
                    Err(invalid_request(format!("Node id must be an integer, but it is: {name}")))
                }
            },
            (WIRE_GROUP, name) => Ok(ResourceName::Group(name.to_owned())),
            (kind, _) => Err(invalid_request(format!("Unknown resource type {kind}"))),
        }
    }

    /// Type and name as the wire has them.
    pub fn to_wire(&self) -> (i8, String) {
        match self {
            ResourceName::Topic(name) => (WIRE_TOPIC, name.clone()),
            ResourceName::Broker(id) => (WIRE_BROKER, id.0.to_string()),
            ResourceName::AllBrokers => (WIRE_BROKER, String::new()),
            ResourceName::Group(id) => (WIRE_GROUP, id.clone()),
        }
    }

    /// The resource in the image, if it exists.
    pub fn find(&self, image: &MetadataImage) -> Result<ConfigResource, Refusal> {
        match self {
            ResourceName::Topic(name) => {
                if let Some(fault) = topic_name::fault(name) {
                    return Err(Refusal::new(KafkaCode::InvalidTopicException, fault));
                }
                match image.topic_by_name(name) {
                    Some(topic) => Ok(ConfigResource::Topic(topic.id)),
                    None => Err(Refusal::new(
                        KafkaCode::UnknownTopicOrPartition,
                        format!("The topic '{name}' does not exist."),
                    )),
                }
            }
            ResourceName::Broker(id) if *id == image.local() || image.broker(*id).is_some() => {
                Ok(ConfigResource::Broker(*id))
            }
            ResourceName::Broker(id) => Err(invalid_request(format!(
                "Unexpected broker id, expected {}, but received {}",
                image.local().0,
                id.0
            ))),
            ResourceName::AllBrokers => Ok(ConfigResource::AllBrokers),
            ResourceName::Group(id) if id.is_empty() => {
                Err(invalid_request("Group name must not be empty"))
            }
            ResourceName::Group(id) if id.len() > GROUP_TEXT_BYTES_MAX => {
                Err(Refusal::new(KafkaCode::InvalidGroupId, "The group id is too long."))
            }
            // It need not exist: its settings may come first.
            ResourceName::Group(id) => Ok(ConfigResource::Group(id.clone())),
        }
    }
}

impl ConfigOp {
    /// From the wire's number.
    pub fn from_wire(op: i8) -> Result<ConfigOp, Refusal> {
        match op {
            0 => Ok(ConfigOp::Set),
            1 => Ok(ConfigOp::Delete),
            2 => Ok(ConfigOp::Append),
            3 => Ok(ConfigOp::Subtract),
            op => Err(invalid_request(format!("Unknown operations type {op}"))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            ConfigOp::Set => "SET",
            ConfigOp::Delete => "DELETE",
            ConfigOp::Append => "APPEND",
            ConfigOp::Subtract => "SUBTRACT",
        }
    }
}

pub(super) fn alter_incrementally(
    image: &MetadataImage,
    resources: Vec<AlterResource<ConfigChange>>,
) -> Decision {
    let mut room = GroupRoom::of(image);
    alter_each(resources, |name, changes| {
        check_keys(changes.iter().map(|change| change.key.as_str()))?;
        let nulls: Vec<&str> = changes
            .iter()
            .filter(|change| change.op != ConfigOp::Delete && change.value.is_none())
            .map(|change| change.key.as_str())
            .collect();
        check_nulls(&nulls)?;
        let resource = name.find(image)?;
        let before = values(image, &resource);
        let mut after = before.clone();
        for change in &changes {
            apply_change(image, &resource, change, &mut after)?;
        }
        check(image, &resource, &before, &after)?;
        room.take(&resource, &before, &after)?;
        Ok(difference(&resource, &before, &after))
    })
}

pub(super) fn replace(
    image: &MetadataImage,
    resources: Vec<AlterResource<(String, Option<String>)>>,
) -> Decision {
    let mut room = GroupRoom::of(image);
    alter_each(resources, |name, changes| {
        check_keys(changes.iter().map(|(key, _)| key.as_str()))?;
        let nulls: Vec<&str> = changes
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(key, _)| key.as_str())
            .collect();
        check_nulls(&nulls)?;
        let resource = name.find(image)?;
        let before = values(image, &resource);
        let after = changes
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)))
            .collect();
        check(image, &resource, &before, &after)?;
        room.take(&resource, &before, &after)?;
        Ok(difference(&resource, &before, &after))
    })
}

/// The overrides of a topic to be, checked.
pub(super) fn checked_overrides(
    image: &MetadataImage,
    overrides: ConfigMap,
) -> Result<ConfigMap, Refusal> {
    match TopicConfig::resolve(&overrides, image.defaults()).1.first() {
        Some(error) => Err(Refusal::new(KafkaCode::InvalidConfig, error.to_string())),
        None => Ok(overrides),
    }
}

fn alter_each<C>(
    resources: Vec<AlterResource<C>>,
    mut alter: impl FnMut(&ResourceName, Vec<C>) -> Result<Vec<MetadataRecord>, Refusal>,
) -> Decision {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<ResourceName> = resources
        .iter()
        .filter(|resource| !seen.insert(&resource.name))
        .map(|resource| resource.name.clone())
        .collect();
    let mut records = Vec::new();
    let asked = resources.len();
    let mut answers = Vec::with_capacity(asked);
    let all_topics = ResourceName::Topic(String::new());
    for AlterResource { name, changes } in resources {
        let result = match repeated.contains(&name) {
            true => Err(invalid_request("Each resource must appear at most once.")),
            false if name == ResourceName::Group(String::new()) => {
                Err(invalid_request("Default group resources are not allowed."))
            }
            false if name == all_topics => {
                Err(invalid_request("Default topic resources are not allowed."))
            }
            false => alter(&name, changes).map(|changed| records.extend(changed)),
        };
        answers.push((name, result));
    }
    assert!(answers.len() == asked);
    Decision { records, reply: ChangeReply::Configs(answers) }
}

fn check_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(invalid_request("Error due to duplicate config keys"));
        }
    }
    Ok(())
}

fn check_nulls(keys: &[&str]) -> Result<(), Refusal> {
    match keys {
        [] => Ok(()),
        keys => Err(invalid_request(format!("Null value not supported for : {}", keys.join(", ")))),
    }
}

fn values(image: &MetadataImage, resource: &ConfigResource) -> ConfigMap {
    match resource {
        ConfigResource::Topic(id) => image.topic_by_id(id).map(|topic| topic.overrides.clone()),
        ConfigResource::Broker(_) | ConfigResource::AllBrokers | ConfigResource::Group(_) => {
            image.config_of(resource).cloned()
        }
    }
    .unwrap_or_default()
}

fn apply_change(
    image: &MetadataImage,
    resource: &ConfigResource,
    change: &ConfigChange,
    values: &mut ConfigMap,
) -> Result<(), Refusal> {
    let key = change.key.clone();
    let value = change.value.clone().unwrap_or_default();
    match change.op {
        ConfigOp::Set => values.insert(key, value),
        ConfigOp::Delete => values.remove(&key),
        ConfigOp::Append | ConfigOp::Subtract => {
            let row = row(resource, &key);
            if !row.is_some_and(is_list) {
                return Err(Refusal::new(
                    KafkaCode::InvalidConfig,
                    format!(
                        "Can't {} to key {key} because its type is not LIST.",
                        change.op.name()
                    ),
                ));
            }
            let current = values.get(&key).map(String::as_str).or_else(|| match resource {
                ConfigResource::Topic(_) => row.and_then(|row| image.defaults().get(row)),
                ConfigResource::Broker(_)
                | ConfigResource::AllBrokers
                | ConfigResource::Group(_) => {
                    image.static_config().get(&key).map(String::as_str).or(row?.default)
                }
            });
            let list = changed_list(current.unwrap_or_default(), change.op, &value);
            values.insert(key, list)
        }
    };
    Ok(())
}

fn changed_list(current: &str, op: ConfigOp, value: &str) -> String {
    let mut items: Vec<&str> = list_items(current).collect();
    match op {
        ConfigOp::Subtract => {
            let gone: BTreeSet<&str> = list_items(value).collect();
            items.retain(|item| !gone.contains(item));
        }
        _ => {
            let mut known: BTreeSet<&str> = items.iter().copied().collect();
            items.extend(list_items(value).filter(|item| known.insert(item)));
        }
    }
    items.join(",")
}

fn row(resource: &ConfigResource, key: &str) -> Option<&'static ConfigKey> {
    match resource {
        ConfigResource::Topic(_) => topic_key(key),
        ConfigResource::Broker(_) | ConfigResource::AllBrokers => broker_key(key),
        ConfigResource::Group(_) => group_key(key),
    }
}

fn is_list(row: &ConfigKey) -> bool {
    matches!(row.kind, ConfigKind::List(_) | ConfigKind::ThrottledReplicas)
}

/// Refuses a set of values that this resource cannot have.
fn check(
    image: &MetadataImage,
    resource: &ConfigResource,
    before: &ConfigMap,
    after: &ConfigMap,
) -> Result<(), Refusal> {
    match resource {
        ConfigResource::Topic(_) => checked_overrides(image, after.clone()).map(|_| ()),
        ConfigResource::Broker(_) | ConfigResource::AllBrokers => {
            let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
            for (key, value) in changed {
                check_dynamic(key, value)?;
            }
            Ok(())
        }
        ConfigResource::Group(_) => check_group(image, after)
            .map_err(|error| Refusal::new(KafkaCode::InvalidConfig, error.to_string())),
    }
}

/// How many more groups may have settings of their own.
struct GroupRoom(usize);

impl GroupRoom {
    fn of(image: &MetadataImage) -> GroupRoom {
        GroupRoom(GROUP_CONFIGS_MAX.saturating_sub(image.group_configs().count()))
    }

    fn take(
        &mut self,
        resource: &ConfigResource,
        before: &ConfigMap,
        after: &ConfigMap,
    ) -> Result<(), Refusal> {
        let is_new = before.is_empty() && !after.is_empty();
        if !is_new || !matches!(resource, ConfigResource::Group(_)) {
            return Ok(());
        }
        let message = format!("{GROUP_CONFIGS_MAX} groups have settings of their own");
        let left = self.0.checked_sub(1);
        self.0 = left.ok_or_else(|| Refusal::new(KafkaCode::PolicyViolation, message))?;
        assert!(self.0 < GROUP_CONFIGS_MAX);
        Ok(())
    }
}

/// Refuses what no group may have, and timeouts outside the broker's bounds.
fn check_group(image: &MetadataImage, values: &ConfigMap) -> Result<(), ConfigError> {
    for (key, value) in values {
        let row = group_key(key).ok_or(ConfigError::UnknownGroupKey { key: key.clone() })?;
        row.accept(value)?;
    }
    let broker = |name: &str| image.broker_number(name);
    let number = |own: &str, inherited: &str| {
        let own = values.get(own).and_then(|value| value.trim().parse().ok());
        own.unwrap_or_else(|| broker(inherited))
    };
    let timeouts = |keys: &TimeoutKeys| Timeouts {
        session_ms: number(keys.own_session, keys.session),
        heartbeat_ms: number(keys.own_heartbeat, keys.heartbeat),
    };
    let consumer = timeouts(&CONSUMER_TIMEOUTS);
    let share = timeouts(&SHARE_TIMEOUTS);
    CONSUMER_TIMEOUTS.check_bounds(consumer, broker)?;
    SHARE_TIMEOUTS.check_bounds(share, broker)?;
    let lock = number("share.record.lock.duration.ms", "group.share.record.lock.duration.ms");
    check_record_lock(lock, broker)?;
    CONSUMER_TIMEOUTS.check_order(consumer)?;
    SHARE_TIMEOUTS.check_order(share)
}

/// KAFKA-13609: Kafka answers INVALID_REQUEST here, and so tools expect it.
fn check_dynamic(key: &str, value: &str) -> Result<(), Refusal> {
    let Some(row) = broker_key(key) else {
        return Err(invalid_request(format!("Unknown broker config name: {key}")));
    };
    if row.update == Update::ReadOnly {
        return Err(invalid_request(format!(
            "Cannot update these configs dynamically: Set({key})"
        )));
    }
    row.accept(value).map(|_| ()).map_err(|error: ConfigError| invalid_request(error.to_string()))
}

/// What turns `before` into `after`.
fn difference(
    resource: &ConfigResource,
    before: &ConfigMap,
    after: &ConfigMap,
) -> Vec<MetadataRecord> {
    let removed = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key, None));
    let set = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| (key, Some(value.clone())));
    let records: Vec<MetadataRecord> = removed
        .chain(set)
        .map(|(key, value)| {
            let (resource, key) = (resource.clone(), key.clone());
            MetadataRecord::Config { resource, key, value }
        })
        .collect();
    assert!(records.is_empty() == (before == after));
    records
}

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(KafkaCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SESSION: &str = "consumer.session.timeout.ms";
    const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

    /// Sets or deletes keys of a group; the outcome, and what groups have then.
    fn alter(image: &mut MetadataImage, group: &str, values: &[(&str, Option<&str>)]) -> String {
        let change = |(key, value): &(&str, Option<&str>)| ConfigChange {
            key: (*key).to_owned(),
            op: if value.is_some() { ConfigOp::Set } else { ConfigOp::Delete },
            value: value.map(str::to_owned),
        };
        let changes = values.iter().map(change).collect();
        let name = ResourceName::Group(group.to_owned());
        let decision = alter_incrementally(image, vec![AlterResource { name, changes }]);
        for record in &decision.records {
            image.apply(record).unwrap();
        }
        let ChangeReply::Configs(answers) = decision.reply else { panic!("{:?}", decision.reply) };
        let outcome = answers[0].1.as_ref().map_or_else(|refusal| refusal.code.name(), |()| "ok");
        let all = image.group_configs().map(|(id, values)| {
            let short = values.iter().map(|(key, value)| format!("{key}={value}"));
            format!(" {id}: {}", short.collect::<Vec<_>>().join(" "))
        });
        format!("{outcome}{}", all.collect::<String>())
    }

    #[test]
    fn a_group_has_settings_of_its_own_within_the_brokers_bounds() {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        let own = [(SESSION, Some("50000")), (HEARTBEAT, Some("6000"))];
        let both = "ok g: consumer.heartbeat.interval.ms=6000 consumer.session.timeout.ms=50000";
        assert_eq!(alter(&mut image, "g", &own), both);
        let one = "g: consumer.session.timeout.ms=50000";
        assert_eq!(alter(&mut image, "g", &[(HEARTBEAT, None)]), format!("ok {one}"));
        for wrong in [
            (SESSION, "10"),
            (SESSION, "soon"),
            (HEARTBEAT, "1"),
            ("retention.ms", "1"),
            ("share.session.timeout.ms", "10"),
            ("share.record.lock.duration.ms", "14999"),
            ("share.auto.offset.reset", "none"),
            ("share.isolation.level", "READ_COMMITTED"),
        ] {
            let refused = alter(&mut image, "g", &[(wrong.0, Some(wrong.1))]);
            assert_eq!(refused, format!("INVALID_CONFIG {one}"));
        }
        assert_eq!(alter(&mut image, "", &own), format!("INVALID_REQUEST {one}"));
        assert_eq!(alter(&mut image, "g", &[(SESSION, None)]), "ok");
    }

    #[test]
    fn only_so_many_groups_have_settings_of_their_own() {
        let image = MetadataImage::new(BrokerId(1), Arc::default());
        let mut room = GroupRoom::of(&image);
        let set = ConfigMap::from([(SESSION.to_owned(), "50000".to_owned())]);
        let group = ConfigResource::Group("g".to_owned());
        for _ in 0..GROUP_CONFIGS_MAX {
            room.take(&group, &ConfigMap::new(), &set).unwrap();
        }
        assert!(room.take(&group, &ConfigMap::new(), &set).is_err());
        assert!(room.take(&group, &set, &set).is_ok(), "it has its place");
    }
}
