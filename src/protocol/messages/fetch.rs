//! Fetch, key 1: read batches of partitions; consumers and followers alike.
//!
//! Versions 4 to 18:
//! - v4 isolation level (KIP-98).
//! - v5 log start offset.
//! - v7 fetch sessions (KIP-227).
//! - v9 current leader epoch (KIP-320).
//! - v10 zstd allowed (KIP-110).
//! - v11 rack and preferred read replica (KIP-392).
//! - v12 flexible; diverging epochs (KIP-595).
//! - v13 topic ids instead of names (KIP-516).
//! - v14 OFFSET_MOVED_TO_TIERED_STORAGE (KIP-405).
//! - v15 replica state as a tagged field (KIP-903).
//! - v16 endpoints of new leaders (KIP-951).
//! - v17 directory ids (KIP-853).
//! - v18 the follower's high watermark (KIP-1166).
//!
//! Left out: v0 to v3 (KIP-896).

use uuid::Uuid;

use crate::protocol::records::Records;
use crate::protocol::schema::schema;

schema! {
    api Fetch: FetchRequest => FetchResponse, versions 4..=18;

    /// The request.
    struct FetchRequest {
        cluster_id: Option<String> = None, "12+", null("12+"), tag(0, "12+"), ignorable();
        replica_id: i32 = -1, "0-14";
        replica_state: ReplicaState, "15+", tag(1, "15+");
        max_wait_ms: i32, "0+";
        min_bytes: i32, "0+";
        max_bytes: i32 = i32::MAX, "3+", ignorable();
        isolation_level: i8, "4+", ignorable();
        session_id: i32, "7+", ignorable();
        session_epoch: i32 = -1, "7+", ignorable();
        topics: Vec<FetchTopic>, "0+";
        forgotten_topics_data: Vec<ForgottenTopic>, "7+";
        rack_id: String, "11+", ignorable();
    }

    /// The `replica_state` of [`FetchRequest`].
    struct ReplicaState {
        replica_id: i32 = -1, "15+";
        replica_epoch: i64 = -1, "15+";
    }

    /// One of `topics` of [`FetchRequest`].
    struct FetchTopic {
        topic: String, "0-12", ignorable();
        topic_id: Uuid, "13+", ignorable();
        partitions: Vec<FetchPartition>, "0+";
    }

    /// One of `partitions` of [`FetchTopic`].
    struct FetchPartition {
        partition: i32, "0+";
        current_leader_epoch: i32 = -1, "9+", ignorable();
        fetch_offset: i64, "0+";
        last_fetched_epoch: i32 = -1, "12+";
        log_start_offset: i64 = -1, "5+", ignorable();
        partition_max_bytes: i32, "0+";
        replica_directory_id: Uuid, "17+", tag(0, "17+"), ignorable();
        high_watermark: i64 = i64::MAX, "18+", tag(1, "18+"), ignorable();
    }

    /// One of `forgotten_topics_data` of [`FetchRequest`].
    struct ForgottenTopic {
        topic: String, "7-12", ignorable();
        topic_id: Uuid, "13+", ignorable();
        partitions: Vec<i32>, "7+";
    }

    /// The response.
    struct FetchResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "7+", ignorable();
        session_id: i32, "7+";
        responses: Vec<FetchableTopicResponse>, "0+";
        node_endpoints: Vec<NodeEndpoint>, "16+", tag(0, "16+");
    }

    /// One of `responses` of [`FetchResponse`].
    struct FetchableTopicResponse {
        topic: String, "0-12", ignorable();
        topic_id: Uuid, "13+", ignorable();
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`FetchableTopicResponse`].
    struct PartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        high_watermark: i64, "0+";
        last_stable_offset: i64 = -1, "4+", ignorable();
        log_start_offset: i64 = -1, "5+", ignorable();
        diverging_epoch: EpochEndOffset, "12+", tag(0, "12+");
        current_leader: LeaderIdAndEpoch, "12+", tag(1, "12+");
        snapshot_id: SnapshotId, "12+", tag(2, "12+");
        aborted_transactions: Option<Vec<AbortedTransaction>>, "4+", null("4+"), ignorable();
        preferred_read_replica: i32 = -1, "11+";
        records: Records, "0+", null("0+");
    }

    /// The `diverging_epoch` of [`PartitionData`].
    struct EpochEndOffset {
        epoch: i32 = -1, "12+";
        end_offset: i64 = -1, "12+";
    }

    /// The `current_leader` of [`PartitionData`].
    struct LeaderIdAndEpoch {
        leader_id: i32 = -1, "12+";
        leader_epoch: i32 = -1, "12+";
    }

    /// The `snapshot_id` of [`PartitionData`].
    struct SnapshotId {
        end_offset: i64 = -1, "0+";
        epoch: i32 = -1, "0+";
    }

    /// One of `aborted_transactions` of [`PartitionData`].
    struct AbortedTransaction {
        producer_id: i64, "4+";
        first_offset: i64, "4+";
    }

    /// One of `node_endpoints` of [`FetchResponse`].
    struct NodeEndpoint {
        node_id: i32, "16+";
        host: String, "16+";
        port: i32, "16+";
        rack: Option<String> = None, "16+", null("16+");
    }
}
