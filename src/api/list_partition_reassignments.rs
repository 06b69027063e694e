//! ListPartitionReassignments: partitions on the move (KIP-455). `kafka-topics --describe` asks
//! for them whether or not there can be any.

use crate::api::answers::image;
use crate::api::brokers::{self, BrokerNames};
use crate::api::context::RequestContext;
use crate::controller::image::TopicImage;
use crate::controller::records::PartitionState;
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::storage::disk::Disk;

/// Answers ListPartitionReassignments.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let image = image(&context);
    let brokers = brokers::names(&context);
    let topics: Vec<OngoingTopicReassignment> = match request.topics {
        None => image.topics().filter_map(|topic| ongoing(topic, brokers, |_| true)).collect(),
        Some(wanted) => wanted
            .iter()
            .filter_map(|wanted| {
                let topic = image.topic_by_name(&wanted.name)?;
                ongoing(topic, brokers, |index| wanted.partition_indexes.contains(&index))
            })
            .collect(),
    };
    ListPartitionReassignmentsResponse { topics, ..ListPartitionReassignmentsResponse::default() }
}

fn ongoing(
    topic: &TopicImage,
    brokers: BrokerNames,
    is_wanted: impl Fn(i32) -> bool,
) -> Option<OngoingTopicReassignment> {
    let moving = topic.partitions().filter(|(id, image)| {
        let state = &image.state;
        is_wanted(id.partition.0) && !(state.adding.is_empty() && state.removing.is_empty())
    });
    let partitions: Vec<OngoingPartitionReassignment> =
        moving.map(|(id, image)| shown(id.partition.0, &image.state, brokers)).collect();
    let name = topic.name.to_string();
    (!partitions.is_empty()).then_some(OngoingTopicReassignment { name, partitions })
}

fn shown(
    partition_index: i32,
    state: &PartitionState,
    brokers: BrokerNames,
) -> OngoingPartitionReassignment {
    OngoingPartitionReassignment {
        partition_index,
        replicas: brokers.replicas(state),
        adding_replicas: brokers.numbers(state, &state.adding),
        removing_replicas: brokers.numbers(state, &state.removing),
    }
}
