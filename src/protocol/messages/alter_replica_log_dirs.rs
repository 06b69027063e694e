//! AlterReplicaLogDirs, key 34: replicas move to another log directory (KIP-113).
//!
//! Versions 1 to 2:
//! - v1 first version kept by Kafka 4.
//! - v2 flexible.
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api AlterReplicaLogDirs:
    AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse,
    versions 1..=2;

    /// The request.
    struct AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir>, "0+";
    }

    /// One of `dirs` of [`AlterReplicaLogDirsRequest`].
    struct AlterReplicaLogDir {
        path: String, "0+";
        topics: Vec<AlterReplicaLogDirTopic>, "0+";
    }

    /// One of `topics` of [`AlterReplicaLogDir`].
    struct AlterReplicaLogDirTopic {
        name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct AlterReplicaLogDirsResponse {
        throttle_time_ms: i32, "0+";
        results: Vec<AlterReplicaLogDirTopicResult>, "0+";
    }

    /// One of `results` of [`AlterReplicaLogDirsResponse`].
    struct AlterReplicaLogDirTopicResult {
        topic_name: String, "0+";
        partitions: Vec<AlterReplicaLogDirPartitionResult>, "0+";
    }

    /// One of `partitions` of [`AlterReplicaLogDirTopicResult`].
    struct AlterReplicaLogDirPartitionResult {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
