//! Metadata: brokers, topics and leaders. The one request that makes missing topics.
//!
//! Unlike Kafka, a topic that is made on the way is in the very answer: a change of metadata is
//! answered when every core has opened its partitions, so no client has to come again.

use crate::api::answers::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, image, operations};
use crate::api::brokers::{self, BrokerNames, Reachable};
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, topic_name_fault};
use crate::controller::image::{MetadataImage, PartitionImage, TopicImage};
use crate::controller::records::PartitionState;
use crate::model::base64url;
use crate::model::errors::KafkaCode;
use crate::model::ids::{TopicId, TopicPartition};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// First version in which no list, not an empty one, means all topics.
const NULL_MEANS_ALL_SINCE: i16 = 1;
/// First version that finds topics by id (KIP-516).
const IDS_SINCE: i16 = 12;

/// Answers Metadata.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: MetadataRequest,
) -> MetadataResponse {
    let is_cluster_asked = request.include_cluster_authorized_operations;
    let is_topic_asked = request.include_topic_authorized_operations;
    let may_create =
        request.allow_auto_topic_creation && context.shard.borrow().config.auto_create_topics;
    let wanted = match request.topics {
        Some(topics) if topics.is_empty() && context.version < NULL_MEANS_ALL_SINCE => None,
        wanted => wanted,
    };
    let names = brokers::names(&context);
    let topics = match wanted {
        None => {
            let image = image(&context);
            image.topics().map(|topic| found(&image, topic, names)).collect()
        }
        Some(wanted) => {
            let refused = match may_create {
                true => create_missing(&context, &wanted).await,
                false => BTreeMap::new(),
            };
            let image = image(&context);
            let mut seen = HashSet::new();
            let wanted = wanted
                .into_iter()
                .filter(|topic| seen.insert((topic.topic_id, topic.name.clone())));
            let finder = Finder { image: &image, refused: &refused, names };
            wanted.map(|topic| finder.find(topic, context.version)).collect()
        }
    };
    let mut topics: Vec<MetadataResponseTopic> = topics;
    for topic in &mut topics {
        topic.topic_authorized_operations = operations(is_topic_asked, TOPIC_OPERATIONS);
    }
    let shown = |broker: Reachable| MetadataResponseBroker {
        node_id: broker.id.0,
        host: broker.endpoint.host,
        port: i32::from(broker.endpoint.port),
        rack: broker.rack,
    };
    let cluster_id = context.shard.borrow().cluster_id;
    MetadataResponse {
        brokers: brokers::brokers(&context).into_iter().map(shown).collect(),
        cluster_id: Some(base64url::encode_uuid(cluster_id)),
        controller_id: brokers::controller(&context).0,
        topics,
        cluster_authorized_operations: operations(is_cluster_asked, CLUSTER_OPERATIONS),
        ..MetadataResponse::default()
    }
}

/// Makes the topics that are asked for by name and not there; gives why some were refused.
async fn create_missing<D: Disk>(
    context: &RequestContext<D>,
    wanted: &[MetadataRequestTopic],
) -> BTreeMap<String, KafkaCode> {
    let image = image(context);
    let mut names: Vec<String> = wanted
        .iter()
        .filter(|topic| topic.topic_id == Uuid::nil())
        .filter_map(|topic| topic.name.clone())
        .filter(|name| image.topic_by_name(name).is_none() && topic_name_fault(name).is_none())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let change = Change::AutoCreateTopics { names };
    let ChangeReply::Topics(answers) = metadata::change(&context.shard, change).await else {
        unreachable!("topics to create are answered by topics");
    };
    let mut refused = BTreeMap::new();
    for answer in answers {
        match answer.result {
            Ok(created) => tracing::info!(
                topic = answer.name,
                partitions = created.partition_count,
                "topic made for a client that asked for it"
            ),
            // Somebody else made it meanwhile: the image has it now.
            Err(refusal) if refusal.code == KafkaCode::TopicAlreadyExists => {}
            Err(refusal) => {
                refused.insert(answer.name, refusal.code);
            }
        }
    }
    refused
}

/// What topics are looked up in.
struct Finder<'a> {
    image: &'a MetadataImage,
    /// Topics that were to be made on the way and were not.
    refused: &'a BTreeMap<String, KafkaCode>,
    names: BrokerNames,
}

impl Finder<'_> {
    fn find(&self, wanted: MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
        // Kafka's own client puts an empty name beside the id it asks for.
        if wanted.topic_id != Uuid::nil() && version >= IDS_SINCE {
            return match self.image.topic_by_id(&TopicId(wanted.topic_id)) {
                Some(topic) => found(self.image, topic, self.names),
                None => missing(KafkaCode::UnknownTopicId, None, wanted.topic_id, version),
            };
        }
        let Some(name) = wanted.name else {
            return missing(KafkaCode::InvalidRequest, None, wanted.topic_id, version);
        };
        if let Some(topic) = self.image.topic_by_name(&name) {
            return found(self.image, topic, self.names);
        }
        let code = match (topic_name_fault(&name), self.refused.get(&name)) {
            (Some(_), _) => KafkaCode::InvalidTopicException,
            (None, Some(code)) => *code,
            (None, None) => KafkaCode::UnknownTopicOrPartition,
        };
        missing(code, Some(name), Uuid::nil(), version)
    }
}

fn missing(
    code: KafkaCode,
    name: Option<String>,
    topic_id: Uuid,
    version: i16,
) -> MetadataResponseTopic {
    // Before version 12 a name cannot be null on the wire.
    let name = name.or_else(|| (version < IDS_SINCE).then(String::new));
    let error_code = code.number();
    MetadataResponseTopic { error_code, name, topic_id, ..MetadataResponseTopic::default() }
}

fn found(image: &MetadataImage, topic: &TopicImage, names: BrokerNames) -> MetadataResponseTopic {
    let shown = |(id, known): (TopicPartition, &PartitionImage)| {
        partition(image, id.partition.0, &known.state, names)
    };
    let partitions = topic.partitions().map(shown);
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id.0,
        is_internal: topic.is_internal,
        partitions: partitions.collect(),
        ..MetadataResponseTopic::default()
    }
}

fn partition(
    image: &MetadataImage,
    partition_index: i32,
    state: &PartitionState,
    names: BrokerNames,
) -> MetadataResponsePartition {
    let error_code = match state.leader {
        Some(_) => KafkaCode::None.number(),
        None => KafkaCode::LeaderNotAvailable.number(),
    };
    MetadataResponsePartition {
        error_code,
        partition_index,
        leader_id: names.leader_number(state),
        leader_epoch: state.leader_epoch.0,
        replica_nodes: names.replicas(state),
        isr_nodes: names.numbers(state, &state.isr),
        offline_replicas: brokers::offline_replicas(image, names, state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::records::MetadataRecord;
    use crate::model::ids::BrokerId;
    use std::sync::Arc;

    fn image() -> MetadataImage {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        let id = TopicId(Uuid::from_u128(7));
        image.apply(&MetadataRecord::Topic { id, name: "a".to_owned() }).unwrap();
        image
    }

    fn ask(name: Option<&str>, id: u128, version: i16) -> (i16, Option<String>, u128) {
        let topic_id = Uuid::from_u128(id);
        let wanted = MetadataRequestTopic { topic_id, name: name.map(str::to_owned) };
        let refused = BTreeMap::from([("r".to_owned(), KafkaCode::InvalidReplicationFactor)]);
        let names = BrokerNames::new(BrokerId(1), 0);
        let finder = Finder { image: &image(), refused: &refused, names };
        let topic = finder.find(wanted, version);
        (topic.error_code, topic.name, topic.topic_id.as_u128())
    }

    #[test]
    fn topics_are_found_by_name_and_from_version_12_by_id() {
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(ask(Some("a"), 0, 0), (0, name("a"), 7));
        assert_eq!(ask(None, 7, 12), (0, name("a"), 7));
        assert_eq!(ask(Some(""), 7, 12), (0, name("a"), 7), "as kafka-clients 4.1 asks");
        assert_eq!(ask(None, 8, 12), (100, None, 8));
        assert_eq!(ask(None, 0, 12), (42, None, 0));
        assert_eq!(ask(None, 7, 11), (42, name(""), 7));
        assert_eq!(ask(Some("b"), 0, 12), (3, name("b"), 0));
        assert_eq!(ask(Some("b!"), 0, 12), (17, name("b!"), 0));
        assert_eq!(ask(Some("r"), 0, 12), (38, name("r"), 0));
    }
}
