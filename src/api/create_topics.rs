//! CreateTopics: new topics, decided by the controller's core; answered when every core serves
//! them.

use crate::api::answers::{image, mode, topic_configs, warn_without_effect};
use crate::api::brokers::{self, BrokerNames};
use crate::api::context::RequestContext;
use crate::controller::decide::{
    Assignment, Change, ChangeReply, CreatedTopic, NewTopic, ResourceName,
};
use crate::controller::image::MetadataImage;
use crate::model::ids::{BrokerId, PartitionId};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::protocol::peer::PEER_CLIENT;
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers CreateTopics.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    if context.is_peer() && context.client_id == PEER_CLIENT {
        return make_for_peer(&context, request).await;
    }
    let brokers = brokers::names(&context);
    let topics = request.topics.into_iter().map(|topic| new_topic(topic, brokers)).collect();
    let change = Change::CreateTopics { topics, mode: mode(request.validate_only) };
    let ChangeReply::Topics(answers) = metadata::change(&context.shard, change).await else {
        unreachable!("topics to create are answered by topics");
    };
    let image = image(&context);
    let topics = answers
        .into_iter()
        .map(|answer| match answer.result {
            Ok(created) => {
                let resource = ResourceName::Topic(answer.name.clone());
                let settings = created.overrides.iter().map(|(key, value)| (&**key, &**value));
                warn_without_effect(&resource, settings);
                made(&image, answer.name, &created)
            }
            Err(refusal) => CreatableTopicResult {
                name: answer.name,
                error_code: refusal.code.number(),
                error_message: Some(refusal.message),
                ..CreatableTopicResult::default()
            },
        })
        .collect();
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
}

/// Topics that a client of another broker found missing: what they are made like is decided here,
/// as for our own clients.
async fn make_for_peer<D: Disk>(
    context: &RequestContext<D>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let names = request.topics.into_iter().map(|topic| topic.name).collect();
    let change = Change::AutoCreateTopics { names };
    let ChangeReply::Topics(answers) = metadata::change(&context.shard, change).await else {
        unreachable!("topics to create are answered by topics");
    };
    let topics = answers.into_iter().map(|answer| {
        let refusal = answer.result.err();
        CreatableTopicResult {
            name: answer.name,
            error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.number()),
            error_message: refusal.map(|refusal| refusal.message),
            ..CreatableTopicResult::default()
        }
    });
    CreateTopicsResponse { topics: topics.collect(), ..CreateTopicsResponse::default() }
}

fn new_topic(topic: CreatableTopic, brokers: BrokerNames) -> NewTopic {
    let meant = |id| brokers.broker(BrokerId(id));
    let assignments = topic.assignments.into_iter().map(|assignment| Assignment {
        partition: PartitionId(assignment.partition_index),
        brokers: assignment.broker_ids.into_iter().map(meant).collect(),
    });
    NewTopic {
        name: topic.name,
        partition_count: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: topic.configs.into_iter().map(|config| (config.name, config.value)).collect(),
    }
}

fn made(image: &MetadataImage, name: String, created: &CreatedTopic) -> CreatableTopicResult {
    let configs = topic_configs(image, &created.overrides);
    let configs = configs.into_iter().map(|entry| CreatableTopicConfigs {
        name: entry.key.to_owned(),
        value: entry.value,
        read_only: entry.is_read_only,
        config_source: entry.source.number(),
        is_sensitive: entry.is_sensitive,
    });
    CreatableTopicResult {
        name,
        topic_id: created.id.0,
        num_partitions: created.partition_count,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}
