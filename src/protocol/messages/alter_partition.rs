//! AlterPartition, key 56: a leader changes who is in sync (KIP-497).
//!
//! Versions 2 to 3:
//! - v2 topics by their ids.
//! - v3 members with the epochs of their registrations (KIP-903).

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api AlterPartition: AlterPartitionRequest => AlterPartitionResponse, versions 2..=3;

    /// The request.
    struct AlterPartitionRequest {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        topics: Vec<TopicToAlter>, "0+";
    }

    /// One of `topics` of [`AlterPartitionRequest`].
    struct TopicToAlter {
        topic_id: Uuid, "2+", ignorable();
        partitions: Vec<PartitionToAlter>, "0+";
    }

    /// One of `partitions` of [`TopicToAlter`].
    struct PartitionToAlter {
        partition_index: i32, "0+";
        leader_epoch: i32, "0+";
        new_isr: Vec<i32>, "0-2";
        new_isr_with_epochs: Vec<IsrMember>, "3+";
        leader_recovery_state: i8, "1+";
        partition_epoch: i32, "0+";
    }

    /// One of `new_isr_with_epochs` of [`PartitionToAlter`].
    struct IsrMember {
        broker_id: i32, "3+";
        broker_epoch: i64 = -1, "3+";
    }

    /// The response.
    struct AlterPartitionResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        topics: Vec<AlteredTopic>, "0+";
    }

    /// One of `topics` of [`AlterPartitionResponse`].
    struct AlteredTopic {
        topic_id: Uuid, "2+", ignorable();
        partitions: Vec<AlteredPartition>, "0+";
    }

    /// One of `partitions` of [`AlteredTopic`].
    struct AlteredPartition {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32, "0+";
        isr: Vec<i32>, "0+";
        leader_recovery_state: i8, "1+", ignorable();
        partition_epoch: i32, "0+";
    }
}
