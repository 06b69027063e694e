//! DescribeGroups, key 15: state and members of classic groups.
//!
//! Versions 0 to 6:
//! - v1 throttle time.
//! - v2 throttling per KIP-219.
//! - v3 authorised operations on request (KIP-430).
//! - v4 group instance ids (KIP-345).
//! - v5 flexible.
//! - v6 GROUP_ID_NOT_FOUND and error messages (KIP-1043).

use bytes::Bytes;

use crate::protocol::schema::schema;

schema! {
    api DescribeGroups: DescribeGroupsRequest => DescribeGroupsResponse, versions 0..=6;

    /// The request.
    struct DescribeGroupsRequest {
        groups: Vec<String>, "0+";
        include_authorized_operations: bool, "3+";
    }

    /// The response.
    struct DescribeGroupsResponse {
        throttle_time_ms: i32, "1+", ignorable();
        groups: Vec<DescribedGroup>, "0+";
    }

    /// One of `groups` of [`DescribeGroupsResponse`].
    struct DescribedGroup {
        error_code: i16, "0+";
        error_message: Option<String> = None, "6+", null("6+");
        group_id: String, "0+";
        group_state: String, "0+";
        protocol_type: String, "0+";
        protocol_data: String, "0+";
        members: Vec<DescribedGroupMember>, "0+";
        authorized_operations: i32 = i32::MIN, "3+";
        rebalances: Vec<GroupRebalance>, "5+", tag(10_000, "5+"), ignorable();
    }

    /// Why the group rebalanced. Our own tagged field, which other clients skip (KIP-482).
    struct GroupRebalance {
        at_ms: i64, "5+";
        from: i32, "5+";
        reason: String, "5+";
    }

    /// One of `members` of [`DescribedGroup`].
    struct DescribedGroupMember {
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "4+", null("4+"), ignorable();
        client_id: String, "0+";
        client_host: String, "0+";
        member_metadata: Bytes, "0+";
        member_assignment: Bytes, "0+";
    }
}
