//! DescribeQuorum, key 55: who keeps the metadata log, and how far each of them is (KIP-595).
//!
//! Versions 0 to 2, all flexible:
//! - v1 times of the last fetch and of having caught up (KIP-836).
//! - v2 error texts, directory ids, and the nodes' listeners (KIP-853).

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api DescribeQuorum: DescribeQuorumRequest => DescribeQuorumResponse, versions 0..=2;

    /// The request.
    struct DescribeQuorumRequest {
        topics: Vec<WantedTopic>, "0+";
    }

    /// One of `topics` of [`DescribeQuorumRequest`].
    struct WantedTopic {
        topic_name: String, "0+";
        partitions: Vec<WantedPartition>, "0+";
    }

    /// One of `partitions` of [`WantedTopic`].
    struct WantedPartition {
        partition_index: i32, "0+";
    }

    /// The response.
    struct DescribeQuorumResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "2+", null("2+"), ignorable();
        topics: Vec<DescribedTopic>, "0+";
        nodes: Vec<QuorumNode>, "2+";
    }

    /// One of `topics` of [`DescribeQuorumResponse`].
    struct DescribedTopic {
        topic_name: String, "0+";
        partitions: Vec<DescribedPartition>, "0+";
    }

    /// One of `partitions` of [`DescribedTopic`]. The leader is -1 where none is known.
    struct DescribedPartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "2+", null("2+"), ignorable();
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        high_watermark: i64, "0+";
        current_voters: Vec<ReplicaState>, "0+";
        observers: Vec<ReplicaState>, "0+";
    }

    /// One replica of the metadata log. Times are in milliseconds since 1970, -1 where unknown.
    struct ReplicaState {
        replica_id: i32, "0+";
        replica_directory_id: Uuid, "2+";
        log_end_offset: i64, "0+";
        last_fetch_timestamp: i64 = -1, "1+", ignorable();
        last_caught_up_timestamp: i64 = -1, "1+", ignorable();
    }

    /// One of `nodes` of [`DescribeQuorumResponse`].
    struct QuorumNode {
        node_id: i32, "2+";
        listeners: Vec<QuorumListener>, "2+";
    }

    /// One of `listeners` of [`QuorumNode`].
    struct QuorumListener {
        name: String, "2+";
        host: String, "2+";
        port: u16, "2+";
    }
}
