//! `highwater topic`: create, list, describe, alter and delete topics.

use crate::cli::args::{Target, TopicCommand};
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::leaders;
use crate::cli::offsets;
use crate::cli::table::Table;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponseTopic};
use serde_json::json;

/// Resource type of topics in configuration requests.
const RESOURCE_TOPIC: i8 = 2;
/// `config_source` of a value set on the topic itself.
const SOURCE_TOPIC: i8 = 1;
/// `config_operation` values of IncrementalAlterConfigs.
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
/// First version of DeleteTopics that has states instead of names.
const DELETE_BY_STATE: i16 = 6;
const TIMEOUT_MS: i32 = 30_000;

/// Runs one of the topic commands.
pub(crate) fn run(command: &TopicCommand) -> Result<(), CliError> {
    match command {
        TopicCommand::Create { name, partitions, replicas, configs, target } => {
            let topic = CreatableTopic {
                name: name.clone(),
                num_partitions: partitions.unwrap_or(-1),
                replication_factor: replicas.unwrap_or(-1),
                configs: creatable(configs)?,
                ..CreatableTopic::default()
            };
            create(topic, target)
        }
        TopicCommand::List { internal, json, target } => list(*internal, *json, target),
        TopicCommand::Describe { name, json, target } => describe(name, *json, target),
        TopicCommand::Alter { name, set, unset, partitions, target } => {
            let mut client = Client::connect(&target.bootstrap)?;
            if !set.is_empty() || !unset.is_empty() {
                alter_configs(&mut client, name, set, unset)?;
            }
            match partitions {
                Some(count) => add_partitions(&mut client, name, *count),
                None => Ok(()),
            }
        }
        TopicCommand::Delete { names, target } => delete(names, target),
    }
}

/// Splits KEY=VALUE.
pub(crate) fn key_value<'a>(
    flag: &'static str,
    text: &'a str,
) -> Result<(&'a str, &'a str), CliError> {
    let expected = "must be KEY=VALUE";
    let usage = || CliError::Usage { flag, value: text.to_owned(), expected };
    text.split_once('=').ok_or_else(usage)
}

fn creatable(configs: &[String]) -> Result<Vec<CreatableTopicConfig>, CliError> {
    let parse = |text: &String| {
        let (name, value) = key_value("--config", text)?;
        Ok(CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()) })
    };
    configs.iter().map(parse).collect()
}

fn create(topic: CreatableTopic, target: &Target) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let name = topic.name.clone();
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
    for result in client.call(&request)?.topics {
        check(&format!("topic {name}"), result.error_code, result.error_message.as_deref())?;
        let (partitions, replicas) = (result.num_partitions, result.replication_factor);
        println!("created {name}: {partitions} partitions, {replicas} replicas");
    }
    Ok(())
}

fn list(has_internal: bool, is_json: bool, target: &Target) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let mut topics = client.call(&request)?.topics;
    topics.retain(|topic| has_internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    if is_json {
        for topic in &topics {
            println!("{}", topic_json(topic));
        }
        return Ok(());
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS", "ID"]);
    for topic in &topics {
        let replicas = topic.partitions.first().map_or(0, |p| p.replica_nodes.len());
        table.row(vec![
            topic.name.clone().unwrap_or_default(),
            topic.partitions.len().to_string(),
            replicas.to_string(),
            topic.topic_id.to_string(),
        ]);
    }
    print!("{}", table.render());
    Ok(())
}

fn topic_json(topic: &MetadataResponseTopic) -> serde_json::Value {
    let partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| {
            json!({
                "partition": p.partition_index, "leader": p.leader_id,
                "replicas": p.replica_nodes, "isr": p.isr_nodes,
            })
        })
        .collect();
    json!({ "topic": topic.name, "id": topic.topic_id.to_string(), "partitions": partitions })
}

fn describe(name: &str, is_json: bool, target: &Target) -> Result<(), CliError> {
    let mut leaders = leaders::Leaders::find(&target.bootstrap, name, false)?;
    let ends = offsets::first_and_last(&mut leaders, name)?;
    let configs = overrides(&mut Client::connect(&target.bootstrap)?, name)?;
    if is_json {
        let mut value = topic_json(&leaders.topic);
        value["offsets"] = json!(ends);
        value["config"] = configs.iter().cloned().collect::<serde_json::Map<_, _>>().into();
        println!("{value}");
        return Ok(());
    }
    println!("{name}  id {}", leaders.topic.topic_id);
    for (key, value) in &configs {
        println!("  {key} = {}", value.as_str().unwrap_or_default());
    }
    let mut table =
        Table::new(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "FIRST", "END"]);
    let shown = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |it| it.to_string());
    for (partition, ends) in leaders.topic.partitions.iter().zip(&ends) {
        let leader = partition.leader_id;
        table.row(vec![
            partition.partition_index.to_string(),
            if leader < 0 { "none".to_owned() } else { leader.to_string() },
            partition.leader_epoch.to_string(),
            format!("{:?}", partition.replica_nodes),
            format!("{:?}", partition.isr_nodes),
            shown(ends.map(|(first, _)| first)),
            shown(ends.map(|(_, end)| end)),
        ]);
    }
    print!("{}", table.render());
    Ok(())
}

/// The configuration set on the topic itself.
fn overrides(
    client: &mut Client,
    name: &str,
) -> Result<Vec<(String, serde_json::Value)>, CliError> {
    let resource = DescribeConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name: name.to_owned(),
        configuration_keys: None,
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let mut found = Vec::new();
    for result in client.call(&request)?.results {
        check(&format!("topic {name}"), result.error_code, result.error_message.as_deref())?;
        let own = result.configs.into_iter().filter(|entry| entry.config_source == SOURCE_TOPIC);
        found.extend(own.map(|entry| (entry.name, entry.value.into())));
    }
    Ok(found)
}

fn alter_configs(
    client: &mut Client,
    name: &str,
    set: &[String],
    unset: &[String],
) -> Result<(), CliError> {
    let mut configs = Vec::new();
    for text in set {
        let (key, value) = key_value("--set", text)?;
        configs.push(AlterableConfig {
            name: key.to_owned(),
            config_operation: OPERATION_SET,
            value: Some(value.to_owned()),
        });
    }
    configs.extend(unset.iter().map(|key| AlterableConfig {
        name: key.clone(),
        config_operation: OPERATION_DELETE,
        value: None,
    }));
    let resource = AlterConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name: name.to_owned(),
        configs,
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    for response in client.call(&request)?.responses {
        check(&format!("topic {name}"), response.error_code, response.error_message.as_deref())?;
    }
    println!("altered {name}");
    Ok(())
}

fn add_partitions(client: &mut Client, name: &str, count: i32) -> Result<(), CliError> {
    let topic = CreatePartitionsTopic { name: name.to_owned(), count, assignments: None };
    let request = CreatePartitionsRequest {
        topics: vec![topic],
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    for result in client.call(&request)?.results {
        check(&format!("topic {name}"), result.error_code, result.error_message.as_deref())?;
    }
    println!("{name} has {count} partitions");
    Ok(())
}

fn delete(names: &[String], target: &Target) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let mut request = DeleteTopicsRequest { timeout_ms: TIMEOUT_MS, ..Default::default() };
    if client.version_of::<DeleteTopicsRequest>()? >= DELETE_BY_STATE {
        let states = names.iter().map(|name| DeleteTopicState {
            name: Some(name.clone()),
            ..DeleteTopicState::default()
        });
        request.topics = states.collect();
    } else {
        request.topic_names = names.to_vec();
    }
    let mut first_failure = Ok(());
    for response in client.call::<DeleteTopicsRequest>(&request)?.responses {
        let name = response.name.unwrap_or_default();
        let text = response.error_message.as_deref();
        match check(&format!("topic {name}"), response.error_code, text) {
            Ok(()) => println!("deleted {name}"),
            Err(error) => first_failure = first_failure.and(Err(error)),
        }
    }
    first_failure
}
