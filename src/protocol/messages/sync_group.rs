//! SyncGroup, key 14: hand out and receive the assignment of a generation.
//!
//! Versions 0 to 5:
//! - v1 throttle time.
//! - v2 throttling per KIP-219.
//! - v3 group instance id (KIP-345).
//! - v4 flexible.
//! - v5 protocol type and name (KIP-559).

use bytes::Bytes;

use crate::protocol::schema::schema;

schema! {
    api SyncGroup: SyncGroupRequest => SyncGroupResponse, versions 0..=5;

    /// The request.
    struct SyncGroupRequest {
        group_id: String, "0+";
        generation_id: i32, "0+";
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "3+", null("3+");
        protocol_type: Option<String> = None, "5+", null("5+"), ignorable();
        protocol_name: Option<String> = None, "5+", null("5+"), ignorable();
        assignments: Vec<SyncGroupRequestAssignment>, "0+";
    }

    /// One of `assignments` of [`SyncGroupRequest`].
    struct SyncGroupRequestAssignment {
        member_id: String, "0+";
        assignment: Bytes, "0+";
    }

    /// The response.
    struct SyncGroupResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "0+";
        protocol_type: Option<String> = None, "5+", null("5+"), ignorable();
        protocol_name: Option<String> = None, "5+", null("5+"), ignorable();
        assignment: Bytes, "0+";
    }
}
