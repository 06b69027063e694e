//! IncrementalAlterConfigs, key 44: change single keys of a resource's configuration (KIP-339).
//!
//! Versions 0 to 1:
//! - v1 flexible.

use crate::protocol::schema::schema;

schema! {
    api IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse,
    versions 0..=1;

    /// The request.
    struct IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource>, "0+";
        validate_only: bool, "0+";
    }

    /// One of `resources` of [`IncrementalAlterConfigsRequest`].
    struct AlterConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<AlterableConfig>, "0+";
    }

    /// One of `configs` of [`AlterConfigsResource`].
    struct AlterableConfig {
        name: String, "0+";
        config_operation: i8, "0+";
        value: Option<String>, "0+", null("0+");
    }

    /// The response.
    struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32, "0+";
        responses: Vec<AlterConfigsResourceResponse>, "0+";
    }

    /// One of `responses` of [`IncrementalAlterConfigsResponse`].
    struct AlterConfigsResourceResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        resource_type: i8, "0+";
        resource_name: String, "0+";
    }
}
