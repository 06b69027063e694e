//! DescribeConfigs, key 32: read configurations (KIP-133).
//!
//! Versions 1 to 4:
//! - v1 sources and synonyms (KIP-226).
//! - v2 throttling per KIP-219.
//! - v3 types and documentation (KIP-569).
//! - v4 flexible.
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api DescribeConfigs: DescribeConfigsRequest => DescribeConfigsResponse, versions 1..=4;

    /// The request.
    struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>, "0+";
        include_synonyms: bool, "1+";
        include_documentation: bool, "3+";
    }

    /// One of `resources` of [`DescribeConfigsRequest`].
    struct DescribeConfigsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configuration_keys: Option<Vec<String>>, "0+", null("0+");
    }

    /// The response.
    struct DescribeConfigsResponse {
        throttle_time_ms: i32, "0+";
        results: Vec<DescribeConfigsResult>, "0+";
    }

    /// One of `results` of [`DescribeConfigsResponse`].
    struct DescribeConfigsResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        resource_type: i8, "0+";
        resource_name: String, "0+";
        configs: Vec<DescribeConfigsResourceResult>, "0+";
    }

    /// One of `configs` of [`DescribeConfigsResult`].
    struct DescribeConfigsResourceResult {
        name: String, "0+";
        value: Option<String>, "0+", null("0+");
        read_only: bool, "0+";
        config_source: i8 = -1, "1+", ignorable();
        is_sensitive: bool, "0+";
        synonyms: Vec<DescribeConfigsSynonym>, "1+", ignorable();
        config_type: i8, "3+", ignorable();
        documentation: Option<String>, "3+", null("0+"), ignorable();
    }

    /// One of `synonyms` of [`DescribeConfigsResourceResult`].
    struct DescribeConfigsSynonym {
        name: String, "1+";
        value: Option<String>, "1+", null("0+");
        source: i8, "1+";
    }
}
