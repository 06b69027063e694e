//! ListPartitionReassignments, key 46: reassignments going on (KIP-455).
//!
//! Version 0.

use crate::protocol::schema::schema;

schema! {
    api ListPartitionReassignments:
    ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse,
    versions 0..=0;

    /// The request.
    struct ListPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000, "0+";
        topics: Option<Vec<ListPartitionReassignmentsTopics>> = None, "0+", null("0+");
    }

    /// One of `topics` of [`ListPartitionReassignmentsRequest`].
    struct ListPartitionReassignmentsTopics {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// The response.
    struct ListPartitionReassignmentsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        topics: Vec<OngoingTopicReassignment>, "0+";
    }

    /// One of `topics` of [`ListPartitionReassignmentsResponse`].
    struct OngoingTopicReassignment {
        name: String, "0+";
        partitions: Vec<OngoingPartitionReassignment>, "0+";
    }

    /// One of `partitions` of [`OngoingTopicReassignment`].
    struct OngoingPartitionReassignment {
        partition_index: i32, "0+";
        replicas: Vec<i32>, "0+";
        adding_replicas: Vec<i32>, "0+";
        removing_replicas: Vec<i32>, "0+";
    }
}
