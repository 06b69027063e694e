//! DeleteShareGroupOffsets, key 92: an empty share group forgets topics (KIP-932).
//!
//! Version 0.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api DeleteShareGroupOffsets:
        DeleteShareGroupOffsetsRequest => DeleteShareGroupOffsetsResponse, versions 0..=0;

    /// The request.
    struct DeleteShareGroupOffsetsRequest {
        group_id: String, "0+";
        topics: Vec<DeleteShareGroupOffsetsRequestTopic>, "0+";
    }

    /// One of `topics` of [`DeleteShareGroupOffsetsRequest`].
    struct DeleteShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
    }

    /// The response.
    struct DeleteShareGroupOffsetsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        responses: Vec<DeleteShareGroupOffsetsResponseTopic>, "0+";
    }

    /// One of `responses` of [`DeleteShareGroupOffsetsResponse`].
    struct DeleteShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}
