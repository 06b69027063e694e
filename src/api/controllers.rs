//! What is served at the listeners that `controller.listener.names` names, which are the only ones
//! of a process that is nothing but a controller.
//!
//! It is what Kafka serves there (the APIs whose `listeners` include `controller`); who asks for
//! anything else is hung up on. What only the active controller decides is passed on to it, as
//! everywhere.

use crate::api::context::RequestContext;
use crate::controller::image::BrokerImage;
use crate::model::ids::BrokerId;
use crate::model::listeners::Endpoint;
use crate::protocol::api_key::ApiKey;
use crate::storage::disk::Disk;
use std::sync::Arc;

const SERVED: &[ApiKey] = &[
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeQuorum,
    ApiKey::AlterPartition,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::BrokerRegistration,
    ApiKey::BrokerHeartbeat,
    ApiKey::UnregisterBroker,
    ApiKey::AllocateProducerIds,
    ApiKey::AssignReplicasToDirs,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
    // Ours, for `highwater cluster status`.
    ApiKey::DescribeBrokers,
];

/// Whether an API is served at listeners of the controller.
pub fn serves(key: ApiKey) -> bool {
    SERVED.contains(&key)
}

/// Registered controllers that the asking client reaches by the listener that it came in by, in
/// order of their ids (KIP-919).
pub fn controllers<D: Disk>(context: &RequestContext<D>) -> Vec<(BrokerId, Endpoint)> {
    let shard = context.shard.borrow();
    let own = shard.config.node_id;
    let name = shard.config.listener_name(context.local);
    let endpoint = |node: &Arc<BrokerImage>| match node.id() == own {
        true => Some(shard.config.advertised(context.local)),
        false => node.endpoint(name).cloned(),
    };
    let all = shard.image.nodes().filter(|node| node.registration.roles.controller);
    all.filter_map(|node| Some((node.id(), endpoint(node)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::forward;

    #[test]
    fn a_controller_serves_what_is_passed_on_to_it_and_nothing_of_partitions_or_groups() {
        for key in forward::FORWARDED {
            assert!(serves(*key), "{}", key.name());
        }
        let others = [ApiKey::Produce, ApiKey::Fetch, ApiKey::Metadata, ApiKey::JoinGroup];
        assert!(!others.into_iter().any(serves));
    }
}
