//! AlterPartitionReassignments: partitions move to other replicas (KIP-455).

use crate::api::answers::outcome;
use crate::api::brokers;
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, FactorChange, Refusal};
use crate::model::ids::BrokerId;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers AlterPartitionReassignments.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let names = brokers::names(&context);
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let factor = match allow_replication_factor_change {
        true => FactorChange::Allowed,
        false => FactorChange::Refused,
    };
    let broker = |id| names.broker(BrokerId(id));
    let moves = |topic: ReassignableTopic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let target = partition.replicas.map(|ids| ids.into_iter().map(broker).collect());
            (partition.partition_index, target)
        });
        (topic.name, partitions.collect())
    };
    let topics = request.topics.into_iter().map(moves).collect();
    let change = Change::AlterReassignments { topics, factor };
    let ChangeReply::ByPartition(outcomes) = metadata::change(&context.shard, change).await else {
        unreachable!("reassignments are answered partition by partition");
    };
    let responses = outcomes.into_iter().map(|(name, results)| response(name, &results)).collect();
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

fn response(name: String, results: &[(i32, Result<(), Refusal>)]) -> ReassignableTopicResponse {
    let answer = |(partition_index, result): &(i32, Result<(), Refusal>)| {
        let (error_code, error_message) = outcome(result);
        let partition_index = *partition_index;
        ReassignablePartitionResponse { partition_index, error_code, error_message }
    };
    ReassignableTopicResponse { name, partitions: results.iter().map(answer).collect() }
}
