//! CreateTopics: new topics, decided by the controller's core; answered when every core serves
//! them.

use crate::api::answers::{image, mode, topic_configs, warn_without_effect};
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
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers CreateTopics.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let topics = request.topics.into_iter().map(new_topic).collect();
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

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.into_iter().map(|assignment| Assignment {
        partition: PartitionId(assignment.partition_index),
        brokers: assignment.broker_ids.into_iter().map(BrokerId).collect(),
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
