//! DescribeTopicPartitions: topics in order of their names, a page of partitions at a time
//! (KIP-966).

use crate::api::answers::{TOPIC_OPERATIONS, image};
use crate::api::brokers::{self, BrokerNames, offline_replicas};
use crate::api::context::RequestContext;
use crate::controller::decide::topic_name_fault;
use crate::controller::image::{MetadataImage, TopicImage};
use crate::controller::records::PartitionState;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, TopicRequest,
};
use crate::storage::disk::Disk;

/// Most partitions of one answer (`max.request.partition.size.limit` of Kafka).
const PARTITIONS_PER_PAGE_MAX: usize = 2000;

/// Answers DescribeTopicPartitions.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    match has_good_cursor(&request) {
        true => describe(&image(&context), brokers::names(&context), request),
        false => refuse(request),
    }
}

/// A cursor stands upon a partition of a topic that is asked for.
fn has_good_cursor(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let mut names = request.topics.iter().map(|topic| &topic.name);
    let is_asked_for = request.topics.is_empty() || names.any(|name| *name == cursor.topic_name);
    is_asked_for && cursor.partition_index >= 0
}

fn refuse(request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |topic: TopicRequest| DescribeTopicPartitionsResponseTopic {
        error_code: KafkaCode::InvalidRequest.number(),
        name: Some(topic.name),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    let topics = request.topics.into_iter().map(refused).collect();
    DescribeTopicPartitionsResponse { topics, ..DescribeTopicPartitionsResponse::default() }
}

fn describe(
    image: &MetadataImage,
    brokers: BrokerNames,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let limit = limit.clamp(1, PARTITIONS_PER_PAGE_MAX);
    let cursor = request.cursor.unwrap_or_default();
    let is_all = request.topics.is_empty();
    let mut names: Vec<String> = request.topics.into_iter().map(|topic| topic.name).collect();
    names.sort_unstable();
    names.dedup();
    if is_all {
        // One page cannot show more topics than partitions; one more tells that there is more.
        let from_cursor = image.topics_from(&cursor.topic_name).take(limit + 1);
        names = from_cursor.map(|topic| topic.name.to_string()).collect();
    }
    let response = DescribeTopicPartitionsResponse::default();
    let mut page = Page { brokers, left: limit, response };
    for name in names.iter().filter(|name| **name >= cursor.topic_name) {
        let from = if *name == cursor.topic_name { cursor.partition_index } else { 0 };
        if !page.add(image, name, from) {
            break;
        }
    }
    page.response
}

/// An answer as it fills.
struct Page {
    brokers: BrokerNames,
    /// Partitions that it may still take.
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page {
    /// Adds a topic from a partition on; false when the page is full and the rest must wait.
    fn add(&mut self, image: &MetadataImage, name: &str, from: i32) -> bool {
        let Some(topic) = image.topic_by_name(name) else {
            self.response.topics.push(missing(name));
            return true;
        };
        if self.left == 0 {
            self.stop_at(name, 0);
            return false;
        }
        let skipped = usize::try_from(from).unwrap_or(0);
        let partitions: Vec<DescribeTopicPartitionsResponsePartition> = topic
            .partitions()
            .skip(skipped)
            .take(self.left)
            .map(|(id, known)| partition(image, id.partition.0, &known.state, self.brokers))
            .collect();
        self.left -= partitions.len();
        let next = skipped + partitions.len();
        self.response.topics.push(found(topic, partitions));
        if next < topic.partitions.len() {
            self.stop_at(name, next);
            return false;
        }
        true
    }

    fn stop_at(&mut self, name: &str, partition: usize) {
        self.response.next_cursor = Some(Cursor {
            topic_name: name.to_owned(),
            partition_index: i32::try_from(partition).expect("partition numbers are i32"),
        });
    }
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match topic_name_fault(name) {
        Some(_) => KafkaCode::InvalidTopicException,
        None => KafkaCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.number(),
        name: Some(name.to_owned()),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn found(
    topic: &TopicImage,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: KafkaCode::None.number(),
        name: Some(topic.name.to_string()),
        topic_id: topic.id.0,
        is_internal: topic.is_internal,
        partitions,
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}

fn partition(
    image: &MetadataImage,
    partition_index: i32,
    state: &PartitionState,
    brokers: BrokerNames,
) -> DescribeTopicPartitionsResponsePartition {
    let numbers = |ids: &[BrokerId]| brokers.numbers(state, ids);
    let code = match state.leader {
        Some(_) => KafkaCode::None,
        None => KafkaCode::LeaderNotAvailable,
    };
    DescribeTopicPartitionsResponsePartition {
        error_code: code.number(),
        partition_index,
        leader_id: brokers.leader_number(state),
        leader_epoch: state.leader_epoch.0,
        replica_nodes: brokers.replicas(state),
        isr_nodes: numbers(&state.isr),
        eligible_leader_replicas: Some(numbers(&state.elr)),
        last_known_elr: Some(numbers(state.last_known_leader.as_slice())),
        offline_replicas: offline_replicas(image, brokers, state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::records::{MetadataRecord, Replica};
    use crate::model::ids::{CoreId, PartitionId, TopicId, TopicPartition};
    use std::sync::Arc;
    use uuid::Uuid;

    fn image(topics: &[(&str, i32)]) -> MetadataImage {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        for (index, (name, count)) in topics.iter().enumerate() {
            let topic = TopicId(Uuid::from_u128(index as u128 + 1));
            image.apply(&MetadataRecord::Topic { id: topic, name: (*name).to_owned() }).unwrap();
            for partition in (0..*count).map(PartitionId) {
                let replica =
                    Replica { broker: BrokerId(1), core: CoreId(0), directory: Uuid::nil() };
                let state = PartitionState { replicas: vec![replica], ..PartitionState::default() };
                let id = TopicPartition { topic, partition };
                image.apply(&MetadataRecord::Partition { id, state }).unwrap();
            }
        }
        image
    }

    /// All pages as `name:first-last`, with `|` between pages.
    fn pages(image: &MetadataImage, names: &[&str], limit: i32) -> String {
        let mut cursor = None;
        let mut pages: Vec<String> = Vec::new();
        loop {
            let topics = names.iter().map(|name| TopicRequest { name: (*name).to_owned() });
            let response = describe(
                image,
                BrokerNames::new(BrokerId(1), 0),
                DescribeTopicPartitionsRequest {
                    topics: topics.collect(),
                    response_partition_limit: limit,
                    cursor,
                },
            );
            let shown = response.topics.iter().map(|topic| {
                let name = topic.name.as_deref().unwrap();
                match (topic.partitions.first(), topic.partitions.last()) {
                    (Some(first), Some(last)) => {
                        format!("{name}:{}-{}", first.partition_index, last.partition_index)
                    }
                    _ => format!("{name}!{}", topic.error_code),
                }
            });
            pages.push(shown.collect::<Vec<_>>().join(" "));
            cursor = response.next_cursor;
            if cursor.is_none() {
                return pages.join(" | ");
            }
        }
    }

    #[test]
    fn all_topics_come_in_order_and_in_pages() {
        let image = image(&[("b", 3), ("a", 2), ("c", 1)]);
        assert_eq!(pages(&image, &[], 2000), "a:0-1 b:0-2 c:0-0");
        assert_eq!(pages(&image, &[], 2), "a:0-1 | b:0-1 | b:2-2 c:0-0");
        assert_eq!(pages(&image, &[], 3), "a:0-1 b:0-0 | b:1-2 c:0-0");
        assert_eq!(pages(&image, &[], 0), "a:0-0 | a:1-1 | b:0-0 | b:1-1 | b:2-2 | c:0-0");
    }

    #[test]
    fn named_topics_are_sorted_and_unknown_ones_named() {
        let image = image(&[("a", 1), ("b", 2)]);
        assert_eq!(pages(&image, &["b", "x", "a", "b", "!"], 2), "!!17 a:0-0 b:0-0 | b:1-1 x!3");
    }

    /// KIP-966.
    #[test]
    fn replicas_that_may_be_elected_stand_beside_those_in_sync() {
        let mut image = image(&[("a", 1)]);
        let topic = TopicId(Uuid::from_u128(1));
        let replica = |id| Replica { broker: id, core: CoreId(0), directory: Uuid::nil() };
        let state = PartitionState {
            replicas: [1, 2, 3].map(|id| replica(BrokerId(id))).to_vec(),
            isr: vec![BrokerId(1)],
            elr: vec![BrokerId(3)],
            last_known_leader: Some(BrokerId(2)),
            ..PartitionState::default()
        };
        let id = TopicPartition { topic, partition: PartitionId(0) };
        image.apply(&MetadataRecord::Partition { id, state }).unwrap();
        let request = DescribeTopicPartitionsRequest {
            topics: Vec::new(),
            response_partition_limit: 10,
            cursor: None,
        };
        let response = describe(&image, BrokerNames::new(BrokerId(1), 0), request);
        let shown = &response.topics[0].partitions[0];
        assert_eq!((&*shown.replica_nodes, &*shown.isr_nodes), (&[1, 2, 3][..], &[1][..]));
        assert_eq!(shown.eligible_leader_replicas.as_deref(), Some(&[3][..]));
        assert_eq!(shown.last_known_elr.as_deref(), Some(&[2][..]));
    }

    #[test]
    fn a_cursor_upon_a_topic_that_is_gone_goes_on_with_the_next() {
        let image = image(&[("a", 1), ("c", 2)]);
        let cursor = Some(Cursor { topic_name: "b".to_owned(), partition_index: 5 });
        let request = DescribeTopicPartitionsRequest {
            topics: Vec::new(),
            response_partition_limit: 10,
            cursor,
        };
        let response = describe(&image, BrokerNames::new(BrokerId(1), 0), request);
        assert_eq!(response.topics.len(), 1);
        assert_eq!(response.topics[0].partitions.len(), 2);
    }
}
