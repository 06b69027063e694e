//! CreatePartitions, key 37: raise a topic's partition count (KIP-195); `count` is the new
//! total.
//!
//! Versions 0 to 3:
//! - v1 throttling per KIP-219.
//! - v2 flexible.
//! - v3 may answer THROTTLING_QUOTA_EXCEEDED (KIP-599).

use crate::protocol::schema::schema;

schema! {
    api CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse, versions 0..=3;

    /// The request.
    struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>, "0+";
        timeout_ms: i32, "0+";
        validate_only: bool, "0+";
    }

    /// One of `topics` of [`CreatePartitionsRequest`].
    struct CreatePartitionsTopic {
        name: String, "0+";
        count: i32, "0+";
        assignments: Option<Vec<CreatePartitionsAssignment>>, "0+", null("0+");
    }

    /// One of `assignments` of [`CreatePartitionsTopic`].
    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>, "0+";
    }

    /// The response.
    struct CreatePartitionsResponse {
        throttle_time_ms: i32, "0+";
        results: Vec<CreatePartitionsTopicResult>, "0+";
    }

    /// One of `results` of [`CreatePartitionsResponse`].
    struct CreatePartitionsTopicResult {
        name: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}
