//! OffsetCommit, key 8: commit offsets of a group.
//!
//! Versions 2 to 9:
//! - v2 retention time, gone from v5 on (KIP-211).
//! - v3 throttle time.
//! - v4 throttling per KIP-219.
//! - v6 leader epoch of the offset (KIP-320).
//! - v7 group instance id (KIP-345).
//! - v8 flexible.
//! - v9 member epochs of the consumer protocol (KIP-848).
//!
//! Left out: v0 and v1 (KIP-896); v10 with topic ids, unstable in Kafka 4.1.

use crate::protocol::schema::schema;

schema! {
    api OffsetCommit: OffsetCommitRequest => OffsetCommitResponse, versions 2..=9;

    /// The request.
    struct OffsetCommitRequest {
        group_id: String, "0+";
        generation_id_or_member_epoch: i32 = -1, "1+", ignorable();
        member_id: String, "1+", ignorable();
        group_instance_id: Option<String> = None, "7+", null("7+");
        retention_time_ms: i64 = -1, "2-4", ignorable();
        topics: Vec<OffsetCommitRequestTopic>, "0+";
    }

    /// One of `topics` of [`OffsetCommitRequest`].
    struct OffsetCommitRequestTopic {
        name: String, "0-9", ignorable();
        partitions: Vec<OffsetCommitRequestPartition>, "0+";
    }

    /// One of `partitions` of [`OffsetCommitRequestTopic`].
    struct OffsetCommitRequestPartition {
        partition_index: i32, "0+";
        committed_offset: i64, "0+";
        committed_leader_epoch: i32 = -1, "6+", ignorable();
        committed_metadata: Option<String>, "0+", null("0+");
    }

    /// The response.
    struct OffsetCommitResponse {
        throttle_time_ms: i32, "3+", ignorable();
        topics: Vec<OffsetCommitResponseTopic>, "0+";
    }

    /// One of `topics` of [`OffsetCommitResponse`].
    struct OffsetCommitResponseTopic {
        name: String, "0-9", ignorable();
        partitions: Vec<OffsetCommitResponsePartition>, "0+";
    }

    /// One of `partitions` of [`OffsetCommitResponseTopic`].
    struct OffsetCommitResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
