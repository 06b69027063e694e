//! FindCoordinator, key 10: the broker that coordinates a group or a transactional id.
//!
//! Versions 0 to 6:
//! - v1 key type, error message (KIP-98).
//! - v2 throttling per KIP-219.
//! - v3 flexible.
//! - v4 many keys; the answer is in `coordinators` only (KIP-699).
//! - v5 may answer TRANSACTION_ABORTABLE (KIP-890).
//! - v6 share groups (KIP-932).

use crate::protocol::schema::schema;

schema! {
    api FindCoordinator: FindCoordinatorRequest => FindCoordinatorResponse, versions 0..=6;

    /// The request.
    struct FindCoordinatorRequest {
        key: String, "0-3";
        key_type: i8, "1+";
        coordinator_keys: Vec<String>, "4+";
    }

    /// The response.
    struct FindCoordinatorResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "0-3";
        error_message: Option<String>, "1-3", null("1-3"), ignorable();
        node_id: i32, "0-3";
        host: String, "0-3";
        port: i32, "0-3";
        coordinators: Vec<Coordinator>, "4+";
    }

    /// One of `coordinators` of [`FindCoordinatorResponse`].
    struct Coordinator {
        key: String, "4+";
        node_id: i32, "4+";
        host: String, "4+";
        port: i32, "4+";
        error_code: i16, "4+";
        error_message: Option<String>, "4+", null("4+"), ignorable();
    }
}
