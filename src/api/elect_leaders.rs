//! ElectLeaders: a leader is elected for partitions (KIP-183, KIP-460).

use crate::api::answers::outcome;
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, ElectionKind, PartitionOutcomes};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers ElectLeaders. Asked for all partitions, Kafka names each topic, and of its partitions
/// those only that had an election.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let kind = match request.election_type {
        PREFERRED => ElectionKind::Preferred,
        UNCLEAN => ElectionKind::Unclean,
        _ => {
            let error_code = KafkaCode::InvalidRequest.number();
            return ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
        }
    };
    let partitions = request
        .topic_partitions
        .map(|topics| topics.into_iter().map(|topic| (topic.topic, topic.partitions)).collect());
    let change = Change::ElectLeaders { kind, partitions };
    let ChangeReply::ByPartition(outcomes) = metadata::change(&context.shard, change).await else {
        unreachable!("elections are answered partition by partition");
    };
    ElectLeadersResponse {
        replica_election_results: results(outcomes),
        ..ElectLeadersResponse::default()
    }
}

fn results(outcomes: PartitionOutcomes) -> Vec<ReplicaElectionResult> {
    let result = |(partition_id, elected)| {
        let (error_code, error_message) = outcome(&elected);
        PartitionResult { partition_id, error_code, error_message }
    };
    let topic = |(topic, partitions): (String, Vec<_>)| ReplicaElectionResult {
        topic,
        partition_result: partitions.into_iter().map(result).collect(),
    };
    outcomes.into_iter().map(topic).collect()
}
