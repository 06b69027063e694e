//! ElectLeaders, key 43: a leader is elected for partitions (KIP-183, KIP-460).
//!
//! Versions 0 to 2:
//! - v0 preferred leaders only, no top-level error code.
//! - v1 the kind of election, a top-level error code.
//! - v2 flexible.

use crate::protocol::schema::schema;

schema! {
    api ElectLeaders: ElectLeadersRequest => ElectLeadersResponse, versions 0..=2;

    /// The request.
    struct ElectLeadersRequest {
        election_type: i8, "1+";
        topic_partitions: Option<Vec<TopicPartitions>>, "0+", null("0+");
        timeout_ms: i32 = 60000, "0+";
    }

    /// One of `topic_partitions` of [`ElectLeadersRequest`].
    struct TopicPartitions {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct ElectLeadersResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "1+";
        replica_election_results: Vec<ReplicaElectionResult>, "0+";
    }

    /// One of `replica_election_results` of [`ElectLeadersResponse`].
    struct ReplicaElectionResult {
        topic: String, "0+";
        partition_result: Vec<PartitionResult>, "0+";
    }

    /// One of `partition_result` of [`ReplicaElectionResult`].
    struct PartitionResult {
        partition_id: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
    }
}
