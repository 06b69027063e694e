//! DeleteRecords, key 21: move the log start forward (KIP-107); -1 is the high watermark.
//!
//! Versions 0 to 2:
//! - v1 throttling per KIP-219.
//! - v2 flexible.

use crate::protocol::schema::schema;

schema! {
    api DeleteRecords: DeleteRecordsRequest => DeleteRecordsResponse, versions 0..=2;

    /// The request.
    struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>, "0+";
        timeout_ms: i32, "0+";
    }

    /// One of `topics` of [`DeleteRecordsRequest`].
    struct DeleteRecordsTopic {
        name: String, "0+";
        partitions: Vec<DeleteRecordsPartition>, "0+";
    }

    /// One of `partitions` of [`DeleteRecordsTopic`].
    struct DeleteRecordsPartition {
        partition_index: i32, "0+";
        offset: i64, "0+";
    }

    /// The response.
    struct DeleteRecordsResponse {
        throttle_time_ms: i32, "0+";
        topics: Vec<DeleteRecordsTopicResult>, "0+";
    }

    /// One of `topics` of [`DeleteRecordsResponse`].
    struct DeleteRecordsTopicResult {
        name: String, "0+";
        partitions: Vec<DeleteRecordsPartitionResult>, "0+";
    }

    /// One of `partitions` of [`DeleteRecordsTopicResult`].
    struct DeleteRecordsPartitionResult {
        partition_index: i32, "0+";
        low_watermark: i64, "0+";
        error_code: i16, "0+";
    }
}
