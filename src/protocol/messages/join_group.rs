//! JoinGroup, key 11: become a member of a group, and wait for its next generation.
//!
//! Versions 0 to 9:
//! - v1 rebalance timeout.
//! - v2 throttle time.
//! - v3 throttling per KIP-219.
//! - v4 a first join without member id is answered MEMBER_ID_REQUIRED (KIP-394).
//! - v5 group instance id (KIP-345).
//! - v6 flexible.
//! - v7 protocol type in the response (KIP-559).
//! - v8 reason (KIP-800).
//! - v9 the leader may skip the assignment (KIP-814).

use bytes::Bytes;

use crate::protocol::schema::schema;

schema! {
    api JoinGroup: JoinGroupRequest => JoinGroupResponse, versions 0..=9;

    /// The request.
    struct JoinGroupRequest {
        group_id: String, "0+";
        session_timeout_ms: i32, "0+";
        rebalance_timeout_ms: i32 = -1, "1+", ignorable();
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "5+", null("5+");
        protocol_type: String, "0+";
        protocols: Vec<JoinGroupRequestProtocol>, "0+";
        reason: Option<String> = None, "8+", null("8+"), ignorable();
    }

    /// One of `protocols` of [`JoinGroupRequest`].
    struct JoinGroupRequestProtocol {
        name: String, "0+";
        metadata: Bytes, "0+";
    }

    /// The response.
    struct JoinGroupResponse {
        throttle_time_ms: i32, "2+", ignorable();
        error_code: i16, "0+";
        generation_id: i32 = -1, "0+";
        protocol_type: Option<String> = None, "7+", null("7+"), ignorable();
        protocol_name: Option<String>, "0+", null("7+");
        leader: String, "0+";
        skip_assignment: bool, "9+";
        member_id: String, "0+";
        members: Vec<JoinGroupResponseMember>, "0+";
    }

    /// One of `members` of [`JoinGroupResponse`].
    struct JoinGroupResponseMember {
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "5+", null("5+"), ignorable();
        metadata: Bytes, "0+";
    }
}
