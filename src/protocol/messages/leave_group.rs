//! LeaveGroup, key 13: members leave their group.
//!
//! Versions 0 to 5:
//! - v1 throttle time.
//! - v2 throttling per KIP-219.
//! - v3 many members, each with its error (KIP-345).
//! - v4 flexible.
//! - v5 reason (KIP-800).

use crate::protocol::schema::schema;

schema! {
    api LeaveGroup: LeaveGroupRequest => LeaveGroupResponse, versions 0..=5;

    /// The request.
    struct LeaveGroupRequest {
        group_id: String, "0+";
        member_id: String, "0-2";
        members: Vec<MemberIdentity>, "3+";
    }

    /// One of `members` of [`LeaveGroupRequest`].
    struct MemberIdentity {
        member_id: String, "3+";
        group_instance_id: Option<String> = None, "3+", null("3+");
        reason: Option<String> = None, "5+", null("5+"), ignorable();
    }

    /// The response.
    struct LeaveGroupResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "0+";
        members: Vec<MemberResponse>, "3+";
    }

    /// One of `members` of [`LeaveGroupResponse`].
    struct MemberResponse {
        member_id: String, "3+";
        group_instance_id: Option<String>, "3+", null("3+");
        error_code: i16, "3+";
    }
}
