//! DescribeConfigs: configurations of topics and brokers, with where each value came from.

use crate::api::answers::{image, layers, topic_configs};
use crate::api::brokers::{self, BrokerNames};
use crate::api::context::RequestContext;
use crate::controller::decide::{Refusal, ResourceName};
use crate::controller::image::{ConfigMap, MetadataImage};
use crate::controller::records::ConfigResource;
use crate::model::config_view::{self, ConfigEntry};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::storage::disk::Disk;

/// What of each key the client wants to see.
#[derive(Clone, Copy)]
struct Detail {
    has_synonyms: bool,
    has_documentation: bool,
}

/// Answers DescribeConfigs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail = Detail {
        has_synonyms: request.include_synonyms,
        has_documentation: request.include_documentation,
    };
    let image = image(&context);
    let resources = request.resources.into_iter();
    let brokers = brokers::names(&context);
    let results = resources.map(|resource| describe(&image, brokers, resource, detail)).collect();
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

fn describe(
    image: &MetadataImage,
    brokers: BrokerNames,
    wanted: DescribeConfigsResource,
    detail: Detail,
) -> DescribeConfigsResult {
    let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = wanted;
    // An empty list asks for all keys, as no list does.
    let keys = configuration_keys.unwrap_or_default();
    let is_wanted =
        |entry: &ConfigEntry| keys.is_empty() || keys.iter().any(|key| key == entry.key);
    let named = ResourceName::from_wire(resource_type, &resource_name);
    match named.and_then(|named| entries(image, &brokers.resource(named))) {
        Ok(entries) => DescribeConfigsResult {
            resource_type,
            resource_name,
            configs: entries.into_iter().filter(is_wanted).map(|e| shown(e, detail)).collect(),
            ..DescribeConfigsResult::default()
        },
        Err(refusal) => DescribeConfigsResult {
            error_code: refusal.code.number(),
            error_message: Some(refusal.message),
            resource_type,
            resource_name,
            ..DescribeConfigsResult::default()
        },
    }
}

fn entries(image: &MetadataImage, named: &ResourceName) -> Result<Vec<ConfigEntry>, Refusal> {
    let nothing = ConfigMap::new();
    let resource = named.find(image)?;
    Ok(match &resource {
        ConfigResource::Topic(id) => {
            let topic = image.topic_by_id(id).ok_or(KafkaCode::UnknownTopicOrPartition)?;
            topic_configs(image, &topic.overrides)
        }
        ConfigResource::Group(_) => {
            let own = image.config_of(&resource).unwrap_or(&nothing);
            config_view::group_entries(own, layers(image, &nothing))
        }
        ConfigResource::Broker(_) => config_view::broker_entries(layers(image, &nothing)),
        ConfigResource::AllBrokers => config_view::all_brokers_entries(layers(image, &nothing).all),
    })
}

fn shown(entry: ConfigEntry, detail: Detail) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().filter(|_| detail.has_synonyms);
    let synonyms = synonyms.map(|synonym| DescribeConfigsSynonym {
        name: synonym.key.to_owned(),
        value: synonym.value,
        source: synonym.source.number(),
    });
    DescribeConfigsResourceResult {
        name: entry.key.to_owned(),
        value: entry.value,
        read_only: entry.is_read_only,
        config_source: entry.source.number(),
        is_sensitive: entry.is_sensitive,
        synonyms: synonyms.collect(),
        config_type: entry.kind,
        documentation: detail.has_documentation.then(|| entry.documentation.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::records::MetadataRecord;
    use crate::model::ids::{BrokerId, TopicId};
    use std::sync::Arc;
    use uuid::Uuid;

    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;

    fn image() -> MetadataImage {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        let id = TopicId(Uuid::from_u128(7));
        image.apply(&MetadataRecord::Topic { id, name: "connect-offsets".to_owned() }).unwrap();
        let resource = ConfigResource::Topic(id);
        let (key, value) = ("cleanup.policy".to_owned(), Some("compact".to_owned()));
        image.apply(&MetadataRecord::Config { resource, key, value }).unwrap();
        image
    }

    fn ask(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
        let keys = keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect());
        let wanted = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned(),
            configuration_keys: keys,
        };
        let detail = Detail { has_synonyms: true, has_documentation: false };
        describe(&image(), BrokerNames::new(BrokerId(1), 0), wanted, detail)
    }

    #[test]
    fn connect_reads_exactly_compact() {
        let result = ask(TOPIC, "connect-offsets", Some(&["cleanup.policy"]));
        assert_eq!(result.configs.len(), 1);
        assert_eq!(result.configs[0].value.as_deref(), Some("compact"));
        assert_eq!((result.configs[0].config_source, result.configs[0].config_type), (1, 7));
        assert_eq!(result.configs[0].documentation, None);
    }

    #[test]
    fn an_unknown_resource_is_refused_by_name() {
        let error = |kind, name| {
            let result = ask(kind, name, None);
            (result.error_code, result.error_message.unwrap_or_default())
        };
        assert_eq!(error(TOPIC, "b").0, KafkaCode::UnknownTopicOrPartition.number());
        assert_eq!(
            error(BROKER, "2"),
            (42, "Unexpected broker id, expected 1, but received 2".to_owned())
        );
        assert_eq!(error(8, "1"), (42, "Unknown resource type 8".to_owned()));
    }

    #[test]
    fn brokers_show_every_key_and_all_brokers_only_what_was_set() {
        assert!(ask(BROKER, "1", None).configs.len() > 100);
        assert_eq!(ask(BROKER, "", None).configs.len(), 0);
    }
}
