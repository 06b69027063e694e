//! AlterShareGroupOffsets, key 91: lets an empty share group read from other offsets (KIP-932).
//!
//! Version 0.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api AlterShareGroupOffsets:
        AlterShareGroupOffsetsRequest => AlterShareGroupOffsetsResponse, versions 0..=0;

    /// The request.
    struct AlterShareGroupOffsetsRequest {
        group_id: String, "0+";
        topics: Vec<AlterShareGroupOffsetsRequestTopic>, "0+";
    }

    /// One of `topics` of [`AlterShareGroupOffsetsRequest`].
    struct AlterShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
        partitions: Vec<AlterShareGroupOffsetsRequestPartition>, "0+";
    }

    /// One of `partitions` of [`AlterShareGroupOffsetsRequestTopic`].
    struct AlterShareGroupOffsetsRequestPartition {
        partition_index: i32, "0+";
        start_offset: i64, "0+";
    }

    /// The response.
    struct AlterShareGroupOffsetsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        responses: Vec<AlterShareGroupOffsetsResponseTopic>, "0+";
    }

    /// One of `responses` of [`AlterShareGroupOffsetsResponse`].
    struct AlterShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        partitions: Vec<AlterShareGroupOffsetsResponsePartition>, "0+";
    }

    /// One of `partitions` of [`AlterShareGroupOffsetsResponseTopic`].
    struct AlterShareGroupOffsetsResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}
