//! DescribeCluster, key 60: brokers, controller and cluster id (KIP-700).
//!
//! Versions 0 to 2:
//! - v1 type of endpoint (KIP-919).
//! - v2 fenced brokers (KIP-1073).

use crate::protocol::schema::schema;

schema! {
    api DescribeCluster: DescribeClusterRequest => DescribeClusterResponse, versions 0..=2;

    /// The request.
    struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool, "0+";
        endpoint_type: i8 = 1, "1+";
        include_fenced_brokers: bool, "2+";
    }

    /// The response.
    struct DescribeClusterResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        endpoint_type: i8 = 1, "1+";
        cluster_id: String, "0+";
        controller_id: i32 = -1, "0+";
        brokers: Vec<DescribeClusterBroker>, "0+";
        cluster_authorized_operations: i32 = i32::MIN, "0+";
    }

    /// One of `brokers` of [`DescribeClusterResponse`].
    struct DescribeClusterBroker {
        broker_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null("0+");
        is_fenced: bool, "2+";
    }
}
