//! ApiVersions: what we serve, from the one table in dispatch.rs.
//!
//! A version above ours is answered in v0 with UNSUPPORTED_VERSION and our own range, so that the
//! client can ask again (KIP-35; franz-go opens with v5). Features in force are told with the
//! position in the metadata where one was changed last, so that a client sees which of two answers
//! is the newer. A broker that has not joined its cluster yet tells none.

use crate::api::context::RequestContext;
use crate::api::controllers;
use crate::api::dispatch::{SERVED, encode};
use crate::controller::image::{FeatureState, MetadataImage};
use crate::model::errors::KafkaCode;
use crate::model::features::{FEATURES, Feature};
use crate::protocol::api_key::ApiKey;
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::part::Part;
use crate::storage::disk::Disk;

/// First version that may tell a feature whose minimum is 0 (KIP-1022).
const FEATURES_FROM_0_SINCE: i16 = 4;
/// Where nothing is known of what is in force.
const UNKNOWN_EPOCH: i64 = -1;
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
    let (finalized_features_epoch, finalized_features) = finalized(&context.shard.borrow().image);
    ApiVersionsResponse {
        api_keys,
        supported_features: supported_features(context.version),
        finalized_features_epoch,
        finalized_features,
        ..ApiVersionsResponse::default()
    }
}

fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    let may_tell = |known: &Feature| known.min > 0 || version >= FEATURES_FROM_0_SINCE;
    let supported = |known: Feature| SupportedFeatureKey {
        name: known.name.to_owned(),
        min_version: known.min,
        max_version: known.max,
    };
    FEATURES.into_iter().filter(may_tell).map(supported).collect()
}

/// What is in force, and since which position; a feature that is off is not told of.
///
/// An image without a cluster has the levels of a log without records, which may be others than
/// those of the cluster that is about to be joined.
fn finalized(image: &MetadataImage) -> (i64, Vec<FinalizedFeatureKey>) {
    if image.cluster_id().is_none() {
        return (UNKNOWN_EPOCH, Vec::new());
    }
    let finalized = |(name, state): (&str, FeatureState)| FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: state.level,
        min_version_level: state.level,
    };
    let on = image.features().filter(|(_, state)| state.level > 0);
    (image.features_epoch(), on.map(finalized).collect())
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
    use super::*;
    use crate::controller::records::MetadataRecord;
    use crate::model::ids::BrokerId;
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn what_is_in_force_is_told_with_where_it_changed() {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        let told = |image: &MetadataImage| {
            let (epoch, features) = finalized(image);
            let features: Vec<String> = features
                .into_iter()
                .map(|one| format!("{} {}", one.name, one.max_version_level))
                .collect();
            (features.join(", "), epoch)
        };
        assert_eq!(told(&image), (String::new(), -1), "no cluster yet");
        image.apply(&MetadataRecord::ClusterId(Uuid::from_u128(9))).unwrap();
        let old = "group.version 1, metadata.version 27, share.version 1, transaction.version 2";
        assert_eq!(told(&image), (old.to_owned(), 0));
        for (name, level, epoch) in [("share.version", 0, 7), ("transaction.version", 1, 8)] {
            let name = name.to_owned();
            image.apply(&MetadataRecord::Feature { name, level, epoch }).unwrap();
        }
        let new = "group.version 1, metadata.version 27, transaction.version 1";
        assert_eq!(told(&image), (new.to_owned(), 8));
        assert_eq!(supported_features(3).len(), 1, "only one begins above 0");
        assert_eq!(supported_features(4).len(), FEATURES.len());
    }

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
