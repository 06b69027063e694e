//! ApiVersions, key 18: what the broker speaks; the first request of every connection.
//!
//! Versions 0 to 4:
//! - v1 throttle time in the response.
//! - v2 throttled responses are sent before the connection is muted (KIP-219).
//! - v3 flexible; client software name and version (KIP-511); features (KIP-584).
//! - v4 features with a minimum version of 0 may be told (KIP-1022).
//!
//! Left out: v5 (KIP-1242). A version above ours is answered in v0 with UNSUPPORTED_VERSION.

use crate::protocol::schema::schema;

schema! {
    api ApiVersions: ApiVersionsRequest => ApiVersionsResponse, versions 0..=4;

    /// The request.
    struct ApiVersionsRequest {
        client_software_name: String, "3+", ignorable();
        client_software_version: String, "3+", ignorable();
    }

    /// The response.
    struct ApiVersionsResponse {
        error_code: i16, "0+";
        api_keys: Vec<ApiVersion>, "0+";
        throttle_time_ms: i32, "1+", ignorable();
        supported_features: Vec<SupportedFeatureKey>, "3+", tag(0, "3+"), ignorable();
        finalized_features_epoch: i64 = -1, "3+", tag(1, "3+"), ignorable();
        finalized_features: Vec<FinalizedFeatureKey>, "3+", tag(2, "3+"), ignorable();
        zk_migration_ready: bool, "3+", tag(3, "3+"), ignorable();
    }

    /// One of `api_keys` of [`ApiVersionsResponse`].
    struct ApiVersion {
        api_key: i16, "0+";
        min_version: i16, "0+";
        max_version: i16, "0+";
    }

    /// One of `supported_features` of [`ApiVersionsResponse`].
    struct SupportedFeatureKey {
        name: String, "3+";
        min_version: i16, "3+";
        max_version: i16, "3+";
    }

    /// One of `finalized_features` of [`ApiVersionsResponse`].
    struct FinalizedFeatureKey {
        name: String, "3+";
        max_version_level: i16, "3+";
        min_version_level: i16, "3+";
    }
}
