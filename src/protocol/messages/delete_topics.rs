//! DeleteTopics, key 20: delete topics.
//!
//! Versions 1 to 6:
//! - v2 throttling per KIP-219.
//! - v3 may answer TOPIC_DELETION_DISABLED (KIP-322).
//! - v4 flexible.
//! - v5 error messages; may answer THROTTLING_QUOTA_EXCEEDED (KIP-599).
//! - v6 name or topic id (KIP-516).
//!
//! Left out: v0 (KIP-896).

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse, versions 1..=6;

    /// The request.
    struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState>, "6+";
        topic_names: Vec<String>, "0-5", ignorable();
        timeout_ms: i32, "0+";
    }

    /// One of `topics` of [`DeleteTopicsRequest`].
    struct DeleteTopicState {
        name: Option<String> = None, "6+", null("6+");
        topic_id: Uuid, "6+";
    }

    /// The response.
    struct DeleteTopicsResponse {
        throttle_time_ms: i32, "1+", ignorable();
        responses: Vec<DeletableTopicResult>, "0+";
    }

    /// One of `responses` of [`DeleteTopicsResponse`].
    struct DeletableTopicResult {
        name: Option<String>, "0+", null("6+");
        topic_id: Uuid, "6+", ignorable();
        error_code: i16, "0+";
        error_message: Option<String> = None, "5+", null("5+"), ignorable();
    }
}
