//! ShareGroupHeartbeat, key 76: joins, stays in and leaves a share group (KIP-932).
//!
//! Version 1; version 0 was Kafka 4.0's early access.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ShareGroupHeartbeat:
        ShareGroupHeartbeatRequest => ShareGroupHeartbeatResponse, versions 1..=1;

    /// The request.
    struct ShareGroupHeartbeatRequest {
        group_id: String, "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        rack_id: Option<String> = None, "0+", null("0+");
        subscribed_topic_names: Option<Vec<String>> = None, "0+", null("0+");
    }

    /// The response.
    struct ShareGroupHeartbeatResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        member_id: Option<String> = None, "0+", null("0+");
        member_epoch: i32, "0+";
        heartbeat_interval_ms: i32, "0+";
        assignment: Option<ShareGroupAssignment> = None, "0+", null("0+");
    }

    /// What the member is to read, in [`ShareGroupHeartbeatResponse`].
    struct ShareGroupAssignment {
        topic_partitions: Vec<ShareGroupTopicPartitions>, "0+";
    }

    /// Partitions of one topic in [`ShareGroupAssignment`].
    struct ShareGroupTopicPartitions {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }
}
