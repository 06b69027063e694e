//! ConsumerGroupHeartbeat, key 68: joins, stays in and leaves a group of the consumer protocol
//! (KIP-848).
//!
//! Versions 0 and 1:
//! - v1 subscription by regular expression; the client makes its own member id (KIP-1082).

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ConsumerGroupHeartbeat:
        ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse, versions 0..=1;

    /// The request.
    struct ConsumerGroupHeartbeatRequest {
        group_id: String, "0+";
        member_id: String, "0+";
        member_epoch: i32, "0+";
        instance_id: Option<String> = None, "0+", null("0+");
        rack_id: Option<String> = None, "0+", null("0+");
        rebalance_timeout_ms: i32 = -1, "0+";
        subscribed_topic_names: Option<Vec<String>> = None, "0+", null("0+");
        subscribed_topic_regex: Option<String> = None, "1+", null("1+");
        server_assignor: Option<String> = None, "0+", null("0+");
        topic_partitions: Option<Vec<ConsumerGroupTopicPartitions>> = None, "0+", null("0+");
    }

    /// The response.
    struct ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        member_id: Option<String> = None, "0+", null("0+");
        member_epoch: i32, "0+";
        heartbeat_interval_ms: i32, "0+";
        assignment: Option<ConsumerGroupAssignment> = None, "0+", null("0+");
    }

    /// `assignment` of [`ConsumerGroupHeartbeatResponse`].
    struct ConsumerGroupAssignment {
        topic_partitions: Vec<ConsumerGroupTopicPartitions>, "0+";
    }

    /// Partitions of one topic.
    struct ConsumerGroupTopicPartitions {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }
}
