//! ListGroups, key 16: the groups this broker coordinates.
//!
//! Versions 0 to 5:
//! - v1 throttle time.
//! - v2 throttling per KIP-219.
//! - v3 flexible.
//! - v4 filter by state (KIP-518).
//! - v5 filter by type (KIP-848).

use crate::protocol::schema::schema;

schema! {
    api ListGroups: ListGroupsRequest => ListGroupsResponse, versions 0..=5;

    /// The request.
    struct ListGroupsRequest {
        states_filter: Vec<String>, "4+";
        types_filter: Vec<String>, "5+";
    }

    /// The response.
    struct ListGroupsResponse {
        throttle_time_ms: i32, "1+", ignorable();
        error_code: i16, "0+";
        groups: Vec<ListedGroup>, "0+";
    }

    /// One of `groups` of [`ListGroupsResponse`].
    struct ListedGroup {
        group_id: String, "0+";
        protocol_type: String, "0+";
        group_state: String, "4+", ignorable();
        group_type: String, "5+", ignorable();
    }
}
