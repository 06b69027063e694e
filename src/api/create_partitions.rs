//! CreatePartitions: topics grow (KIP-195).

use crate::api::answers::{mode, outcome};
use crate::api::brokers::{self, BrokerNames};
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, NewPartitions};
use crate::model::ids::BrokerId;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers CreatePartitions.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let brokers = brokers::names(&context);
    let topics = request.topics.into_iter().map(|topic| new_partitions(topic, brokers)).collect();
    let change = Change::CreatePartitions { topics, mode: mode(request.validate_only) };
    let ChangeReply::Partitions(answers) = metadata::change(&context.shard, change).await else {
        unreachable!("partitions to create are answered by partitions");
    };
    let results = answers
        .into_iter()
        .map(|(name, result)| {
            let (error_code, error_message) = outcome(&result);
            CreatePartitionsTopicResult { name, error_code, error_message }
        })
        .collect();
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
}

fn new_partitions(topic: CreatePartitionsTopic, names: BrokerNames) -> NewPartitions {
    let meant = |id| names.broker(BrokerId(id));
    let assignments = topic.assignments.map(|assignments| {
        let brokers = |ids: Vec<i32>| ids.into_iter().map(meant).collect();
        assignments.into_iter().map(|assignment| brokers(assignment.broker_ids)).collect()
    });
    NewPartitions { name: topic.name, count: topic.count, assignments }
}
