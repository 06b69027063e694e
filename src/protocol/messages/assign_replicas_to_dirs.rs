//! AssignReplicasToDirs, key 73: where a broker keeps its replicas (KIP-858). Ours have one
//! directory each, and say only which replicas are damaged: those in [`LOST_DIRECTORY`].

use crate::protocol::schema::schema;
use uuid::Uuid;

/// Stands for a directory that does not give back what it holds.
pub const LOST_DIRECTORY: Uuid = Uuid::from_u128(2);

schema! {
    api AssignReplicasToDirs: AssignReplicasToDirsRequest => AssignReplicasToDirsResponse,
    versions 0..=0;

    /// The request.
    struct AssignReplicasToDirsRequest {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        directories: Vec<DirectoryToAssign>, "0+";
    }

    /// One of `directories` of [`AssignReplicasToDirsRequest`].
    struct DirectoryToAssign {
        id: Uuid, "0+";
        topics: Vec<TopicToAssign>, "0+";
    }

    /// One of `topics` of [`DirectoryToAssign`].
    struct TopicToAssign {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionToAssign>, "0+";
    }

    /// One of `partitions` of [`TopicToAssign`].
    struct PartitionToAssign {
        partition_index: i32, "0+";
    }

    /// The response.
    struct AssignReplicasToDirsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        directories: Vec<AssignedDirectory>, "0+";
    }

    /// One of `directories` of [`AssignReplicasToDirsResponse`].
    struct AssignedDirectory {
        id: Uuid, "0+";
        topics: Vec<AssignedTopic>, "0+";
    }

    /// One of `topics` of [`AssignedDirectory`].
    struct AssignedTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<AssignedPartition>, "0+";
    }

    /// One of `partitions` of [`AssignedTopic`].
    struct AssignedPartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}
