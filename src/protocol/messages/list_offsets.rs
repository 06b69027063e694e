//! ListOffsets, key 2: offsets by timestamp, and first and last ones.
//!
//! Versions 1 to 10:
//! - v2 isolation level (KIP-98).
//! - v3 throttling per KIP-219.
//! - v4 leader epochs (KIP-320).
//! - v6 flexible.
//! - v7 offset of the largest timestamp, -3 (KIP-734).
//! - v8 earliest local offset, -4 (KIP-405).
//! - v9 latest tiered offset, -5 (KIP-1005).
//! - v10 timeout (KIP-1075).
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api ListOffsets: ListOffsetsRequest => ListOffsetsResponse, versions 1..=10;

    /// The request.
    struct ListOffsetsRequest {
        replica_id: i32, "0+";
        isolation_level: i8, "2+";
        topics: Vec<ListOffsetsTopic>, "0+";
        timeout_ms: i32, "10+", ignorable();
    }

    /// One of `topics` of [`ListOffsetsRequest`].
    struct ListOffsetsTopic {
        name: String, "0+";
        partitions: Vec<ListOffsetsPartition>, "0+";
    }

    /// One of `partitions` of [`ListOffsetsTopic`].
    struct ListOffsetsPartition {
        partition_index: i32, "0+";
        current_leader_epoch: i32 = -1, "4+", ignorable();
        timestamp: i64, "0+";
    }

    /// The response.
    struct ListOffsetsResponse {
        throttle_time_ms: i32, "2+", ignorable();
        topics: Vec<ListOffsetsTopicResponse>, "0+";
    }

    /// One of `topics` of [`ListOffsetsResponse`].
    struct ListOffsetsTopicResponse {
        name: String, "0+";
        partitions: Vec<ListOffsetsPartitionResponse>, "0+";
    }

    /// One of `partitions` of [`ListOffsetsTopicResponse`].
    struct ListOffsetsPartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        timestamp: i64 = -1, "1+";
        offset: i64 = -1, "1+";
        leader_epoch: i32 = -1, "4+";
    }
}
