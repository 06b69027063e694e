//! ListConfigResources, key 74: what has a configuration (KIP-1142).
//!
//! Versions 0 and 1, both flexible:
//! - v0 ListClientMetricsResources: names of client metrics subscriptions only (KIP-714).
//! - v1 all kinds of resources, or those asked for.

use crate::protocol::schema::schema;

schema! {
    api ListConfigResources: ListConfigResourcesRequest => ListConfigResourcesResponse,
        versions 0..=1;

    /// The request. No types means all.
    struct ListConfigResourcesRequest {
        resource_types: Vec<i8>, "1+";
    }

    /// The response.
    struct ListConfigResourcesResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        config_resources: Vec<ListedResource>, "0+";
    }

    /// One of `config_resources` of [`ListConfigResourcesResponse`].
    struct ListedResource {
        resource_name: String, "0+";
        resource_type: i8 = 16, "1+", ignorable();
    }
}
