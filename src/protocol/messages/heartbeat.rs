//! Heartbeat, key 12: a member is alive; the answer tells of rebalances.
//!
//! Versions 0 to 4:
//! - v1 throttle time.
//! - v2 throttling per KIP-219.
//! - v3 group instance id (KIP-345).
//! - v4 flexible.

use crate::protocol::schema::schema;

schema! {
    api Heartbeat: HeartbeatRequest => HeartbeatResponse, versions 0..=4;

    /// The request.
    struct HeartbeatRequest {
        group_id: String, "0+";
        generation_id: i32, "0+";
        member_id: String, "0+";
        group_instance_id: Option<String> = None, "3+", null("3+");
    }

    /// The response.
    struct HeartbeatResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "0+";
    }
}
