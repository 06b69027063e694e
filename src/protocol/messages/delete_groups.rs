//! DeleteGroups, key 42: delete empty groups (KIP-229).
//!
//! Versions 0 to 2:
//! - v1 throttling per KIP-219.
//! - v2 flexible.

use crate::protocol::schema::schema;

schema! {
    api DeleteGroups: DeleteGroupsRequest => DeleteGroupsResponse, versions 0..=2;

    /// The request.
    struct DeleteGroupsRequest {
        groups_names: Vec<String>, "0+";
    }

    /// The response.
    struct DeleteGroupsResponse {
        throttle_time_ms: i32, "0+";
        results: Vec<DeletableGroupResult>, "0+";
    }

    /// One of `results` of [`DeleteGroupsResponse`].
    struct DeletableGroupResult {
        group_id: String, "0+";
        error_code: i16, "0+";
    }
}
