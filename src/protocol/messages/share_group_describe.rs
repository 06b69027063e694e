//! ShareGroupDescribe, key 77: state and members of share groups (KIP-932).
//!
//! Version 1; version 0 was Kafka 4.0's early access.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ShareGroupDescribe:
        ShareGroupDescribeRequest => ShareGroupDescribeResponse, versions 1..=1;

    /// The request.
    struct ShareGroupDescribeRequest {
        group_ids: Vec<String>, "0+";
        include_authorized_operations: bool, "0+";
    }

    /// The response.
    struct ShareGroupDescribeResponse {
        throttle_time_ms: i32, "0+";
        groups: Vec<ShareGroupDescribed>, "0+";
    }

    /// One of `groups` of [`ShareGroupDescribeResponse`].
    struct ShareGroupDescribed {
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        group_id: String, "0+";
        group_state: String, "0+";
        group_epoch: i32, "0+";
        assignment_epoch: i32, "0+";
        assignor_name: String, "0+";
        members: Vec<ShareGroupDescribedMember>, "0+";
        authorized_operations: i32 = i32::MIN, "0+";
        rebalances: Vec<ShareGroupRebalance>, "0+", tag(10_000, "0+"), ignorable();
    }

    /// Why the group rebalanced. Our own tagged field, which other clients skip (KIP-482).
    struct ShareGroupRebalance {
        at_ms: i64, "0+";
        from: i32, "0+";
        reason: String, "0+";
    }

    /// One of `members` of [`ShareGroupDescribed`].
    struct ShareGroupDescribedMember {
        member_id: String, "0+";
        rack_id: Option<String> = None, "0+", null("0+");
        member_epoch: i32, "0+";
        client_id: String, "0+";
        client_host: String, "0+";
        subscribed_topic_names: Vec<String>, "0+";
        assignment: ShareGroupDescribedAssignment, "0+";
    }

    /// What a [`ShareGroupDescribedMember`] is to read.
    struct ShareGroupDescribedAssignment {
        topic_partitions: Vec<ShareGroupDescribedPartitions>, "0+";
    }

    /// Partitions of one topic in [`ShareGroupDescribedAssignment`].
    struct ShareGroupDescribedPartitions {
        topic_id: Uuid, "0+";
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }
}
