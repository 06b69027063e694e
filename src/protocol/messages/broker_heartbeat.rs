//! BrokerHeartbeat, key 63: a broker is alive, and asks what it may do (KIP-631).
//!
//! Versions 0 to 1:
//! - v1 data directories that have failed (KIP-858).

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api BrokerHeartbeat: BrokerHeartbeatRequest => BrokerHeartbeatResponse, versions 0..=1;

    /// The request.
    struct BrokerHeartbeatRequest {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
        current_metadata_offset: i64, "0+";
        want_fence: bool, "0+";
        want_shut_down: bool, "0+";
        offline_log_dirs: Vec<Uuid>, "1+", tag(0, "1+");
    }

    /// The response.
    struct BrokerHeartbeatResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        is_caught_up: bool, "0+";
        is_fenced: bool = true, "0+";
        should_shut_down: bool, "0+";
    }
}
