//! DescribeCluster: cluster id, brokers and who decides (KIP-700).

use crate::api::answers::{CLUSTER_OPERATIONS, operations};
use crate::api::brokers::{self, Reachable};
use crate::api::context::RequestContext;
use crate::api::controllers::controllers;
use crate::model::base64url;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::model::listeners::Endpoint;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::storage::disk::Disk;

/// What a client may ask for (KIP-919): of brokers at their listeners, of controllers at theirs.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// First version in which a client says what it asks for.
const FIRST_WITH_ENDPOINT_TYPE: i16 = 1;

/// Answers DescribeCluster.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let (cluster_id, active) = {
        let shard = context.shard.borrow();
        (shard.cluster_id, shard.metadata.controller())
    };
    let told = if context.is_controllers { CONTROLLERS } else { BROKERS };
    if request.endpoint_type != told {
        let code = match request.endpoint_type {
            _ if context.version < FIRST_WITH_ENDPOINT_TYPE => KafkaCode::InvalidRequest,
            BROKERS | CONTROLLERS => KafkaCode::MismatchedEndpointType,
            _ => KafkaCode::UnsupportedEndpointType,
        };
        return DescribeClusterResponse {
            error_code: code.number(),
            error_message: Some(code.message().to_owned()),
            ..DescribeClusterResponse::default()
        };
    }
    let is_asked = request.include_cluster_authorized_operations;
    let (controller_id, described) = match context.is_controllers {
        true => (active.map_or(-1, |id| id.0), described_controllers(&context)),
        false => (brokers::controller(&context).0, described_brokers(&context, &request)),
    };
    DescribeClusterResponse {
        endpoint_type: told,
        cluster_id: base64url::encode_uuid(cluster_id),
        controller_id,
        brokers: described,
        cluster_authorized_operations: operations(is_asked, CLUSTER_OPERATIONS),
        ..DescribeClusterResponse::default()
    }
}

fn described_controllers<D: Disk>(context: &RequestContext<D>) -> Vec<DescribeClusterBroker> {
    let shown = |(id, endpoint): (BrokerId, Endpoint)| DescribeClusterBroker {
        broker_id: id.0,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        ..DescribeClusterBroker::default()
    };
    controllers(context).into_iter().map(shown).collect()
}

fn described_brokers<D: Disk>(
    context: &RequestContext<D>,
    request: &DescribeClusterRequest,
) -> Vec<DescribeClusterBroker> {
    let shown = |broker: Reachable, is_fenced| DescribeClusterBroker {
        broker_id: broker.id.0,
        host: broker.endpoint.host,
        port: i32::from(broker.endpoint.port),
        rack: broker.rack,
        is_fenced,
    };
    let alive = brokers::brokers(context).into_iter().map(|broker| shown(broker, false));
    let mut described: Vec<DescribeClusterBroker> = alive.collect();
    if request.include_fenced_brokers {
        let fenced = brokers::fenced_brokers(context).into_iter();
        described.extend(fenced.map(|broker| shown(broker, true)));
        described.sort_by_key(|broker| broker.broker_id);
    }
    described
}
