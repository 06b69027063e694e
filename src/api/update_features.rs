//! UpdateFeatures: levels of features are put in force (KIP-584, KIP-1022).
//!
//! This program runs each feature at its highest level and knows no way down: a request is checked
//! as Kafka checks it, one for the level in force succeeds, and one for a lower level is refused.

use crate::api::api_versions::FEATURES;
use crate::api::context::RequestContext;
use crate::controller::decide::Refusal;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::update_features::{
    FeatureResult, FeatureUpdate, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::storage::disk::Disk;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;
/// First version without an outcome for each feature.
const FIRST_WITH_ONE_OUTCOME: i16 = 2;

/// Answers UpdateFeatures.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let (local, version) = (context.shard.borrow().config.node_id.0, context.version);
    let checked = request.feature_updates.iter().try_for_each(|update| {
        let kind = match (version, update.allow_downgrade) {
            (0, true) => SAFE_DOWNGRADE,
            (0, false) => UPGRADE,
            _ => update.upgrade_type,
        };
        check(local, update, kind)
    });
    if let Err(refusal) = checked {
        let text = "The update failed for all features since the following feature had an error";
        return UpdateFeaturesResponse {
            error_code: refusal.code.number(),
            error_message: Some(format!("{text}: {}", refusal.message)),
            ..UpdateFeaturesResponse::default()
        };
    }
    let result = |update: FeatureUpdate| FeatureResult {
        feature: update.feature,
        ..FeatureResult::default()
    };
    let results = match version < FIRST_WITH_ONE_OUTCOME {
        true => request.feature_updates.into_iter().map(result).collect(),
        false => Vec::new(),
    };
    UpdateFeaturesResponse { results, ..UpdateFeaturesResponse::default() }
}

/// In the order and the words of Kafka's controller.
fn check(local: i32, update: &FeatureUpdate, kind: i8) -> Result<(), Refusal> {
    let (name, level) = (&update.feature, update.max_version_level);
    let refuse = |reason: String| {
        let text = format!("Invalid update version {level} for feature {name}. {reason}");
        Err(Refusal::new(KafkaCode::InvalidUpdateVersion, text))
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&kind) {
        return refuse("The controller does not support the given upgrade type.".to_owned());
    }
    if level < 0 {
        return refuse("A feature version cannot be less than 0.".to_owned());
    }
    let Some((_, min, max)) = FEATURES.iter().find(|(known, ..)| known == name).copied() else {
        return refuse(format!("Local controller {local} does not support this feature."));
    };
    if !(min..=max).contains(&level) {
        return refuse(format!("Local controller {local} only supports versions {min}-{max}"));
    }
    match kind {
        _ if level == max => Ok(()),
        UPGRADE => refuse(
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade."
                .to_owned(),
        ),
        _ => refuse(format!("This feature has no level below {max} here.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(feature: &str, level: i16, kind: i8) -> String {
        let update = FeatureUpdate {
            feature: feature.to_owned(),
            max_version_level: level,
            ..FeatureUpdate::default()
        };
        check(3, &update, kind).err().map_or_else(String::new, |refusal| refusal.message)
    }

    #[test]
    fn the_level_in_force_is_taken_and_everything_else_is_refused_in_kafkas_words() {
        for (feature, min, max) in FEATURES {
            assert_eq!(outcome(feature, max, UPGRADE), "");
            assert!(outcome(feature, max + 1, UPGRADE).contains("only supports versions"));
            assert!(outcome(feature, min, UPGRADE).contains("Can't downgrade the version"));
            assert!(outcome(feature, min, SAFE_DOWNGRADE).contains("no level below"));
            assert!(outcome(feature, max, 9).contains("the given upgrade type"));
        }
        assert_eq!(
            outcome("no.such.feature", 1, UPGRADE),
            "Invalid update version 1 for feature no.such.feature. Local controller 3 does not \
             support this feature."
        );
        assert!(outcome("group.version", -1, UPGRADE).contains("cannot be less than 0"));
    }
}
