//! OffsetDelete, key 47: delete committed offsets of a group (KIP-496). Never flexible.
//!
//! Version 0.

use crate::protocol::schema::schema;

schema! {
    api OffsetDelete: OffsetDeleteRequest => OffsetDeleteResponse, versions 0..=0;

    /// The request.
    struct OffsetDeleteRequest {
        group_id: String, "0+";
        topics: Vec<OffsetDeleteRequestTopic>, "0+";
    }

    /// One of `topics` of [`OffsetDeleteRequest`].
    struct OffsetDeleteRequestTopic {
        name: String, "0+";
        partitions: Vec<OffsetDeleteRequestPartition>, "0+";
    }

    /// One of `partitions` of [`OffsetDeleteRequestTopic`].
    struct OffsetDeleteRequestPartition {
        partition_index: i32, "0+";
    }

    /// The response.
    struct OffsetDeleteResponse {
        error_code: i16, "0+";
        throttle_time_ms: i32, "0+", ignorable();
        topics: Vec<OffsetDeleteResponseTopic>, "0+";
    }

    /// One of `topics` of [`OffsetDeleteResponse`].
    struct OffsetDeleteResponseTopic {
        name: String, "0+";
        partitions: Vec<OffsetDeleteResponsePartition>, "0+";
    }

    /// One of `partitions` of [`OffsetDeleteResponseTopic`].
    struct OffsetDeleteResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
