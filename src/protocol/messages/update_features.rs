//! UpdateFeatures, key 57: levels of features are put in force (KIP-584).
//!
//! Versions 0 to 2, all flexible:
//! - v1 kinds of downgrade in place of a flag, and requests that only ask.
//! - v2 one outcome for all, none for each feature.

use crate::protocol::schema::schema;

schema! {
    api UpdateFeatures: UpdateFeaturesRequest => UpdateFeaturesResponse, versions 0..=2;

    /// The request.
    struct UpdateFeaturesRequest {
        timeout_ms: i32 = 60000, "0+";
        feature_updates: Vec<FeatureUpdate>, "0+";
        validate_only: bool, "1+";
    }

    /// One of `feature_updates` of [`UpdateFeaturesRequest`].
    struct FeatureUpdate {
        feature: String, "0+";
        max_version_level: i16, "0+";
        allow_downgrade: bool, "0";
        upgrade_type: i8 = 1, "1+";
    }

    /// The response.
    struct UpdateFeaturesResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        results: Vec<FeatureResult>, "0-1", ignorable();
    }

    /// One of `results` of [`UpdateFeaturesResponse`].
    struct FeatureResult {
        feature: String, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
    }
}
