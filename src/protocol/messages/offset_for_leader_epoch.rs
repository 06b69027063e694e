//! OffsetForLeaderEpoch, key 23: where a leader epoch ends in the log (KIP-101).
//!
//! Versions 2 to 4:
//! - v2 current leader epoch for fencing (KIP-320).
//! - v3 replica id (KIP-392).
//! - v4 flexible.
//!
//! Left out: v0 and v1 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api OffsetForLeaderEpoch: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse,
    versions 2..=4;

    /// The request.
    struct OffsetForLeaderEpochRequest {
        replica_id: i32 = -2, "3+", ignorable();
        topics: Vec<OffsetForLeaderTopic>, "0+";
    }

    /// One of `topics` of [`OffsetForLeaderEpochRequest`].
    struct OffsetForLeaderTopic {
        topic: String, "0+";
        partitions: Vec<OffsetForLeaderPartition>, "0+";
    }

    /// One of `partitions` of [`OffsetForLeaderTopic`].
    struct OffsetForLeaderPartition {
        partition: i32, "0+";
        current_leader_epoch: i32 = -1, "2+", ignorable();
        leader_epoch: i32, "0+";
    }

    /// The response.
    struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32, "2+", ignorable();
        topics: Vec<OffsetForLeaderTopicResult>, "0+";
    }

    /// One of `topics` of [`OffsetForLeaderEpochResponse`].
    struct OffsetForLeaderTopicResult {
        topic: String, "0+";
        partitions: Vec<EpochEndOffset>, "0+";
    }

    /// One of `partitions` of [`OffsetForLeaderTopicResult`].
    struct EpochEndOffset {
        error_code: i16, "0+";
        partition: i32, "0+";
        leader_epoch: i32 = -1, "1+", ignorable();
        end_offset: i64 = -1, "0+";
    }
}
