//! ConsumerGroupDescribe, key 69: state and members of groups of the consumer protocol (KIP-848).
//!
//! Versions 0 and 1:
//! - v1 which protocol a member speaks (KIP-1099).

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ConsumerGroupDescribe:
        ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse, versions 0..=1;

    /// The request.
    struct ConsumerGroupDescribeRequest {
        group_ids: Vec<String>, "0+";
        include_authorized_operations: bool, "0+";
    }

    /// The response.
    struct ConsumerGroupDescribeResponse {
        throttle_time_ms: i32, "0+";
        groups: Vec<ConsumerGroupDescribed>, "0+";
    }

    /// One of `groups` of [`ConsumerGroupDescribeResponse`].
    struct ConsumerGroupDescribed {
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        group_id: String, "0+";
        group_state: String, "0+";
        group_epoch: i32, "0+";
        assignment_epoch: i32, "0+";
        assignor_name: String, "0+";
        members: Vec<ConsumerGroupDescribedMember>, "0+";
        authorized_operations: i32 = i32::MIN, "0+";
        rebalances: Vec<ConsumerGroupRebalance>, "0+", tag(10_000, "0+"), ignorable();
    }

    /// Why the group rebalanced. Our own tagged field, which other clients skip (KIP-482).
    struct ConsumerGroupRebalance {
        at_ms: i64, "0+";
        from: i32, "0+";
        reason: String, "0+";
    }

    /// One of `members` of [`ConsumerGroupDescribed`].
    struct ConsumerGroupDescribedMember {
        member_id: String, "0+";
        instance_id: Option<String> = None, "0+", null("0+");
        rack_id: Option<String> = None, "0+", null("0+");
        member_epoch: i32, "0+";
        client_id: String, "0+";
        client_host: String, "0+";
        subscribed_topic_names: Vec<String>, "0+";
        subscribed_topic_regex: Option<String> = None, "0+", null("0+");
        assignment: ConsumerGroupDescribedAssignment, "0+";
        target_assignment: ConsumerGroupDescribedAssignment, "0+";
        member_type: i8 = -1, "1+", ignorable();
    }

    /// Present or target assignment of [`ConsumerGroupDescribedMember`].
    struct ConsumerGroupDescribedAssignment {
        topic_partitions: Vec<ConsumerGroupDescribedPartitions>, "0+";
    }

    /// Partitions of one topic in [`ConsumerGroupDescribedAssignment`].
    struct ConsumerGroupDescribedPartitions {
        topic_id: Uuid, "0+";
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }
}
