//! DescribeCluster: cluster id, brokers and who decides (KIP-700).

use crate::api::answers::{CLUSTER_OPERATIONS, operations, this_broker};
use crate::api::context::RequestContext;
use crate::model::base64url;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::storage::disk::Disk;

/// Brokers, as opposed to controllers, which have no listener of their own here (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers DescribeCluster.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        let code = match request.endpoint_type {
            CONTROLLERS => KafkaCode::MismatchedEndpointType,
            _ => KafkaCode::UnsupportedEndpointType,
        };
        return DescribeClusterResponse {
            error_code: code.number(),
            error_message: Some(code.message().to_owned()),
            ..DescribeClusterResponse::default()
        };
    }
    let broker = this_broker(&context);
    let cluster_id = context.shard.borrow().cluster_id;
    let is_asked = request.include_cluster_authorized_operations;
    DescribeClusterResponse {
        cluster_id: base64url::encode_uuid(cluster_id),
        controller_id: broker.id.0,
        brokers: vec![DescribeClusterBroker {
            broker_id: broker.id.0,
            host: broker.endpoint.host,
            port: i32::from(broker.endpoint.port),
            rack: broker.rack,
            is_fenced: false,
        }],
        cluster_authorized_operations: operations(is_asked, CLUSTER_OPERATIONS),
        ..DescribeClusterResponse::default()
    }
}
