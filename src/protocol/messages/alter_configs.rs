//! AlterConfigs, key 33: replace the whole set of a resource's configuration (KIP-133).
//!
//! Versions 0 to 2:
//! - v1 throttling per KIP-219.
//! - v2 flexible.

use crate::protocol::schema::schema;

schema! {
    api AlterConfigs: AlterConfigsRequest => AlterConfigsResponse, versions 0..=2;

    /// The request.
    struct AlterConfigsRequest {
        resources: Vec<AlterConfigsResource>, "0+";
        validate_only: bool, "0+";
    }

    /// One of `resources` of [`AlterConfigsRequest`].
    struct AlterConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<AlterableConfig>, "0+";
    }

    /// One of `configs` of [`AlterConfigsResource`].
    struct AlterableConfig {
        name: String, "0+";
        value: Option<String>, "0+", null("0+");
    }

    /// The response.
    struct AlterConfigsResponse {
        throttle_time_ms: i32, "0+";
        responses: Vec<AlterConfigsResourceResponse>, "0+";
    }

    /// One of `responses` of [`AlterConfigsResponse`].
    struct AlterConfigsResourceResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        resource_type: i8, "0+";
        resource_name: String, "0+";
    }
}
