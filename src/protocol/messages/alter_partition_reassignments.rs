//! AlterPartitionReassignments, key 45: partitions move to other replicas (KIP-455).
//!
//! Versions 0 to 1:
//! - v0 as first made.
//! - v1 whether the number of replicas may change.

use crate::protocol::schema::schema;

schema! {
    api AlterPartitionReassignments:
    AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse,
    versions 0..=1;

    /// The request.
    struct AlterPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000, "0+";
        allow_replication_factor_change: bool = true, "1+";
        topics: Vec<ReassignableTopic>, "0+";
    }

    /// One of `topics` of [`AlterPartitionReassignmentsRequest`].
    struct ReassignableTopic {
        name: String, "0+";
        partitions: Vec<ReassignablePartition>, "0+";
    }

    /// One of `partitions` of [`ReassignableTopic`].
    struct ReassignablePartition {
        partition_index: i32, "0+";
        replicas: Option<Vec<i32>> = None, "0+", null("0+");
    }

    /// The response.
    struct AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32, "0+";
        allow_replication_factor_change: bool = true, "1+", ignorable();
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        responses: Vec<ReassignableTopicResponse>, "0+";
    }

    /// One of `responses` of [`AlterPartitionReassignmentsResponse`].
    struct ReassignableTopicResponse {
        name: String, "0+";
        partitions: Vec<ReassignablePartitionResponse>, "0+";
    }

    /// One of `partitions` of [`ReassignableTopicResponse`].
    struct ReassignablePartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
    }
}
