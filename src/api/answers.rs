//! What several handlers answer alike: what a client may do, configurations, refusals.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, Mode, Refusal, ResourceName};
use crate::controller::image::{ConfigMap, MetadataImage, TopicImage};
use crate::controller::records::ConfigResource;
use crate::model::config_keys::{Effect, broker_key, group_key, topic_key};
use crate::model::config_view::{self, BrokerLayers, ConfigEntry};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicPartition};
use crate::shard::metadata;
use crate::storage::disk::Disk;
use std::sync::Arc;

/// Bits of READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS
/// (KIP-430): all that can be done to a topic. Nothing is authorised, so everybody may.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Bits of CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS and
/// IDEMPOTENT_WRITE: all that can be done to a cluster.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Bits of READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: all that can be done to a
/// group.
pub const ALL_GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// Why no ACLs can be shown, in Kafka's words.
pub const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker";
/// Why no ACLs can be changed, in Kafka's words.
pub const NO_AUTHORIZER_TO_CHANGE: &str = "No Authorizer is configured.";
/// The operations were not asked for.
pub const NO_OPERATIONS: i32 = i32::MIN;

/// Requests to other cores that a handler has on their way at a time.
pub const QUESTIONS_AT_ONCE: usize = 256;

/// The image of this moment; a handler keeps to one.
pub fn image<D: Disk>(context: &RequestContext<D>) -> Arc<MetadataImage> {
    Arc::clone(&context.shard.borrow().image)
}

/// `operations` where the client asked to know them, else Kafka's "not asked".
pub fn operations(is_asked: bool, operations: i32) -> i32 {
    if is_asked { operations } else { i32::MIN }
}

/// Whether a request is carried out, from its `validate_only`.
pub fn mode(validate_only: bool) -> Mode {
    if validate_only { Mode::ValidateOnly } else { Mode::Apply }
}

/// Number and text of an outcome; success has no text.
pub fn outcome(result: &Result<(), Refusal>) -> (i16, Option<String>) {
    match result {
        Ok(()) => (KafkaCode::None.number(), None),
        Err(refusal) => (refusal.code.number(), Some(refusal.message.clone())),
    }
}

/// A partition of a topic that a client names, and the core of this broker that leads it.
pub fn owned_partition(
    image: &MetadataImage,
    topic: Option<&Arc<TopicImage>>,
    partition: i32,
) -> Result<(TopicPartition, CoreId), KafkaCode> {
    let topic = topic.ok_or(KafkaCode::UnknownTopicOrPartition)?.id;
    let id = TopicPartition { topic, partition: PartitionId(partition) };
    Ok((id, image.leader_core(&id)?))
}

/// A topic's configuration as DescribeConfigs shows it.
pub fn topic_configs(image: &MetadataImage, overrides: &ConfigMap) -> Vec<ConfigEntry> {
    let nothing = ConfigMap::new();
    config_view::topic_entries(overrides, image.defaults(), layers(image, &nothing))
}

/// What was set for the local broker; `nothing` stands in for layers that hold none.
pub fn layers<'a>(image: &'a MetadataImage, nothing: &'a ConfigMap) -> BrokerLayers<'a> {
    let own = ConfigResource::Broker(image.local());
    BrokerLayers {
        own: image.config_of(&own).unwrap_or(nothing),
        all: image.config_of(&ConfigResource::AllBrokers).unwrap_or(nothing),
        fixed: image.static_config(),
    }
}

/// Tells the operator of keys that a client set and that change nothing here.
pub fn warn_without_effect<'a>(
    resource: &ResourceName,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in settings {
        let key = match resource {
            ResourceName::Topic(_) => topic_key(name),
            ResourceName::Broker(_) | ResourceName::AllBrokers => broker_key(name),
            ResourceName::Group(_) => group_key(name),
        };
        let Some(key) = key else { continue };
        let Effect::AcceptedNoEffect(reason) = key.effect else { continue };
        let is_default = key.default.is_some_and(|default| key.parse(default) == key.parse(value));
        if !is_default {
            tracing::warn!(?resource, key = key.name, value, reason, "accepted without effect");
        }
    }
}

/// Alters the configuration of those resources that are well named, and puts the answers for all
/// of them into the request's order: type, name and outcome.
pub async fn alter<D: Disk, R>(
    context: &RequestContext<D>,
    resources: Vec<(i8, String, Result<R, Refusal>)>,
    change: impl FnOnce(Vec<R>) -> Change,
) -> Vec<(i8, String, Result<(), Refusal>)> {
    let mut answers = Vec::with_capacity(resources.len());
    let mut wanted = Vec::new();
    for (kind, name, resource) in resources {
        let outcome = match resource {
            Ok(resource) => {
                wanted.push(resource);
                None
            }
            Err(refusal) => Some(Err(refusal)),
        };
        answers.push((kind, name, outcome));
    }
    let mut decided = match wanted.is_empty() {
        true => Vec::new(),
        false => match metadata::change(&context.shard, change(wanted)).await {
            ChangeReply::Configs(decided) => decided,
            other => unreachable!("configurations are answered by configurations, not {other:?}"),
        },
    }
    .into_iter();
    let mut outcome_of = |outcome: Option<Result<(), Refusal>>| {
        outcome.unwrap_or_else(|| decided.next().expect("one answer for each resource").1)
    };
    answers.into_iter().map(|(kind, name, outcome)| (kind, name, outcome_of(outcome))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_the_bits_that_kafka_answers_without_an_authorizer() {
        assert_eq!(TOPIC_OPERATIONS, 3576);
        assert_eq!(CLUSTER_OPERATIONS, 8096);
        assert_eq!(operations(false, TOPIC_OPERATIONS), i32::MIN);
    }
}
