//! ApiVersions: what we serve, from the one table in dispatch.rs.
//!
//! A version above ours is answered in v0 with UNSUPPORTED_VERSION and our own range, so that the
//! client can ask again (KIP-35; franz-go opens with v5). Features are finalised only where they
//! work.

use crate::api::context::RequestContext;
use crate::api::controllers;
use crate::api::dispatch::{SERVED, encode};
use crate::model::errors::KafkaCode;
use crate::protocol::api_key::ApiKey;
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::part::Part;
use crate::storage::disk::Disk;

/// Features by name, with the lowest level that is known and the highest, which is in force.
pub(super) const FEATURES: [(&str, i16, i16); 4] = [
    // Which group protocols are served: 1 is the consumer protocol (KIP-848), as in Kafka 4.1.
    ("group.version", 0, 1),
    // Which metadata records and RPCs a cluster may use: 3.3-IV3 to 4.1-IV1, as Kafka 4.1 has them.
    ("metadata.version", 7, 27),
    // Whether share groups are served (KIP-932): 1 where they are.
    ("share.version", 0, 1),
    // Which transaction protocol is served: 2 gives each transaction an epoch of its own (KIP-890,
    // second part). Kafka 4.1 finalises it.
    ("transaction.version", 0, 2),
];
/// First version that may tell a feature whose minimum is 0 (KIP-1022).
const FEATURES_FROM_0_SINCE: i16 = 4;
/// What the software of our own clients is called. They alone are told of the APIs that Kafka does
/// not have: no other client has a use for them, and some might stumble.
const OWN_SOFTWARE: &str = "highwater";
/// First version whose request names the client's software (KIP-511).
const FIRST_WITH_SOFTWARE: i16 = 3;

/// Answers with the table of served APIs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let has_names = is_software_text(&request.client_software_name)
        && is_software_text(&request.client_software_version);
    if context.version >= FIRST_WITH_SOFTWARE && !has_names {
        let error_code = KafkaCode::InvalidRequest.number();
        return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
    }
    let is_own_client = request.client_software_name.starts_with(OWN_SOFTWARE);
    let told = SERVED.iter().filter(|range| {
        let is_served = !context.is_controllers || controllers::serves(range.key);
        is_served && (is_own_client || !range.key.is_own())
    });
    let served = told.map(|range| ApiVersion {
        api_key: range.key.number(),
        min_version: range.min,
        max_version: range.max,
    });
    let mut api_keys: Vec<ApiVersion> = served.collect();
    api_keys.sort_by_key(|api| api.api_key);
    ApiVersionsResponse {
        api_keys,
        supported_features: supported_features(context.version),
        finalized_features_epoch: 0,
        finalized_features: FEATURES.into_iter().map(finalized).collect(),
        ..ApiVersionsResponse::default()
    }
}

fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    let may_tell = |(_, min, _): &(&str, i16, i16)| *min > 0 || version >= FEATURES_FROM_0_SINCE;
    let supported = |(name, min_version, max_version): (&str, i16, i16)| SupportedFeatureKey {
        name: name.to_owned(),
        min_version,
        max_version,
    };
    FEATURES.into_iter().filter(may_tell).map(supported).collect()
}

fn finalized((name, _, level): (&str, i16, i16)) -> FinalizedFeatureKey {
    FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    }
}

/// The answer to a version that we do not know.
pub fn unsupported(correlation_id: i32) -> Vec<Part> {
    let own = SERVED.iter().filter(|range| range.key == ApiKey::ApiVersions);
    let api_keys = own.map(|range| ApiVersion {
        api_key: range.key.number(),
        min_version: range.min,
        max_version: range.max,
    });
    let response = ApiVersionsResponse {
        error_code: KafkaCode::UnsupportedVersion.number(),
        api_keys: api_keys.collect(),
        ..ApiVersionsResponse::default()
    };
    encode(&response, 0, correlation_id).expect("v0 carries a code and the ranges")
}

/// KIP-511's pattern: letters, digits, '-' and '.', beginning and ending with letter or digit.
fn is_software_text(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let bytes = text.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.iter().all(|byte| is_inner(*byte)) && ends_well(bytes.first()) && ends_well(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::is_software_text;

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["apache-kafka-java", "4.1.0", "a"] {
            assert!(is_software_text(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä"] {
            assert!(!is_software_text(bad), "{bad}");
        }
    }
}
