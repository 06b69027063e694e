//! OffsetFetch, key 9: committed offsets of groups.
//!
//! Versions 1 to 9:
//! - v2 null topics means all; top-level error code.
//! - v3 throttle time.
//! - v4 throttling per KIP-219.
//! - v5 leader epoch of the offset (KIP-320).
//! - v6 flexible.
//! - v7 require_stable (KIP-447).
//! - v8 many groups (KIP-709).
//! - v9 member id and epoch (KIP-848).
//!
//! Left out: v0 (KIP-896); v10 with topic ids, unstable in Kafka 4.1.

use crate::protocol::schema::schema;

schema! {
    api OffsetFetch: OffsetFetchRequest => OffsetFetchResponse, versions 1..=9;

    /// The request.
    struct OffsetFetchRequest {
        group_id: String, "0-7";
        topics: Option<Vec<OffsetFetchRequestTopic>>, "0-7", null("2-7");
        groups: Vec<OffsetFetchRequestGroup>, "8+";
        require_stable: bool, "7+";
    }

    /// One of `topics` of [`OffsetFetchRequest`].
    struct OffsetFetchRequestTopic {
        name: String, "0-7";
        partition_indexes: Vec<i32>, "0-7";
    }

    /// One of `groups` of [`OffsetFetchRequest`].
    struct OffsetFetchRequestGroup {
        group_id: String, "8+";
        member_id: Option<String> = None, "9+", null("9+"), ignorable();
        member_epoch: i32 = -1, "9+", ignorable();
        topics: Option<Vec<OffsetFetchRequestTopics>>, "8+", null("8+");
    }

    /// One of `topics` of [`OffsetFetchRequestGroup`].
    struct OffsetFetchRequestTopics {
        name: String, "8-9", ignorable();
        partition_indexes: Vec<i32>, "8+";
    }

    /// The response.
    struct OffsetFetchResponse {
        throttle_time_ms: i32, "3+", ignorable();
        topics: Vec<OffsetFetchResponseTopic>, "0-7";
        error_code: i16, "2-7", ignorable();
        groups: Vec<OffsetFetchResponseGroup>, "8+";
    }

    /// One of `topics` of [`OffsetFetchResponse`].
    struct OffsetFetchResponseTopic {
        name: String, "0-7";
        partitions: Vec<OffsetFetchResponsePartition>, "0-7";
    }

    /// One of `partitions` of [`OffsetFetchResponseTopic`].
    struct OffsetFetchResponsePartition {
        partition_index: i32, "0-7";
        committed_offset: i64, "0-7";
        committed_leader_epoch: i32 = -1, "5-7", ignorable();
        metadata: Option<String>, "0-7", null("0-7");
        error_code: i16, "0-7";
    }

    /// One of `groups` of [`OffsetFetchResponse`].
    struct OffsetFetchResponseGroup {
        group_id: String, "8+";
        topics: Vec<OffsetFetchResponseTopics>, "8+";
        error_code: i16, "8+";
    }

    /// One of `topics` of [`OffsetFetchResponseGroup`].
    struct OffsetFetchResponseTopics {
        name: String, "8-9", ignorable();
        partitions: Vec<OffsetFetchResponsePartitions>, "8+";
    }

    /// One of `partitions` of [`OffsetFetchResponseTopics`].
    struct OffsetFetchResponsePartitions {
        partition_index: i32, "8+";
        committed_offset: i64, "8+";
        committed_leader_epoch: i32 = -1, "8+", ignorable();
        metadata: Option<String>, "8+", null("8+");
        error_code: i16, "8+";
    }
}
