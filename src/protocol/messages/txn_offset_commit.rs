//! TxnOffsetCommit, key 28: commit offsets of a group as part of a transaction (KIP-98).
//!
//! Versions 0 to 5:
//! - v1 throttling per KIP-219.
//! - v2 leader epoch of the offset (KIP-320).
//! - v3 flexible; member id, group instance id and generation (KIP-447).
//! - v4 TRANSACTION_ABORTABLE (KIP-890).
//! - v5 the group's partition joins the transaction by itself (KIP-890).

use crate::protocol::schema::schema;

schema! {
    api TxnOffsetCommit: TxnOffsetCommitRequest => TxnOffsetCommitResponse, versions 0..=5;

    /// The request.
    struct TxnOffsetCommitRequest {
        transactional_id: String, "0+";
        group_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        generation_id: i32 = -1, "3+";
        member_id: String, "3+";
        group_instance_id: Option<String> = None, "3+", null("3+");
        topics: Vec<TxnOffsetCommitRequestTopic>, "0+";
    }

    /// One of `topics` of [`TxnOffsetCommitRequest`].
    struct TxnOffsetCommitRequestTopic {
        name: String, "0+";
        partitions: Vec<TxnOffsetCommitRequestPartition>, "0+";
    }

    /// One of `partitions` of [`TxnOffsetCommitRequestTopic`].
    struct TxnOffsetCommitRequestPartition {
        partition_index: i32, "0+";
        committed_offset: i64, "0+";
        committed_leader_epoch: i32 = -1, "2+", ignorable();
        committed_metadata: Option<String>, "0+", null("0+");
    }

    /// The response.
    struct TxnOffsetCommitResponse {
        throttle_time_ms: i32, "0+";
        topics: Vec<TxnOffsetCommitResponseTopic>, "0+";
    }

    /// One of `topics` of [`TxnOffsetCommitResponse`].
    struct TxnOffsetCommitResponseTopic {
        name: String, "0+";
        partitions: Vec<TxnOffsetCommitResponsePartition>, "0+";
    }

    /// One of `partitions` of [`TxnOffsetCommitResponseTopic`].
    struct TxnOffsetCommitResponsePartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
