//! UpdateFeatures: levels of features are put in force, all that are named or none (KIP-584,
//! KIP-1022).

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, FeatureUpdate, Mode, Refusal, UpdateKind};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::update_features as wire;
use crate::protocol::messages::update_features::{
    FeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;
use std::collections::BTreeSet;

/// First version that tells the kind of an update, and whether it is only to be checked.
const FIRST_WITH_KIND: i16 = 1;
/// First version without an outcome for each feature.
const FIRST_WITH_ONE_OUTCOME: i16 = 2;

/// Answers UpdateFeatures.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let version = context.version;
    let mode = match version >= FIRST_WITH_KIND && request.validate_only {
        true => Mode::ValidateOnly,
        false => Mode::Apply,
    };
    let updates = updates(version, request.feature_updates);
    let names: Vec<String> = updates.iter().map(|update| update.name.clone()).collect();
    if let Err(refusal) = update(&context, updates, mode).await {
        return refused(refusal);
    }
    let result = |feature| FeatureResult { feature, ..FeatureResult::default() };
    let results = match version < FIRST_WITH_ONE_OUTCOME {
        true => names.into_iter().map(result).collect(),
        false => Vec::new(),
    };
    UpdateFeaturesResponse { results, ..UpdateFeaturesResponse::default() }
}

async fn update<D: Disk>(
    context: &RequestContext<D>,
    updates: Vec<FeatureUpdate>,
    mode: Mode,
) -> Result<(), Refusal> {
    let levels: Vec<String> =
        updates.iter().map(|update| format!("{}={}", update.name, update.level)).collect();
    // The controller's core names the voters.
    let change = Change::UpdateFeatures { updates, mode, voters: BTreeSet::new() };
    let result = match metadata::change(&context.shard, change).await {
        ChangeReply::Done(result) => result,
        other => unreachable!("nothing is told of features, not {other:?}"),
    };
    if result.is_ok() && mode == Mode::Apply {
        tracing::info!(?levels, "features are in force at the levels asked for");
    }
    result
}

/// A feature that is named twice counts as it is named last.
fn updates(version: i16, named: Vec<wire::FeatureUpdate>) -> Vec<FeatureUpdate> {
    let mut updates: Vec<FeatureUpdate> = Vec::with_capacity(named.len());
    let mut seen = BTreeSet::new();
    for one in named.into_iter().rev() {
        if !seen.insert(one.feature.clone()) {
            continue;
        }
        let kind = match (version < FIRST_WITH_KIND, one.allow_downgrade, one.upgrade_type) {
            (true, false, _) | (false, _, 1) => Some(UpdateKind::Upgrade),
            (true, true, _) | (false, _, 2) => Some(UpdateKind::SafeDowngrade),
            (false, _, 3) => Some(UpdateKind::UnsafeDowngrade),
            (false, ..) => None,
        };
        updates.push(FeatureUpdate { name: one.feature, level: one.max_version_level, kind });
    }
    updates.reverse();
    updates
}

fn refused(refusal: Refusal) -> UpdateFeaturesResponse {
    let message = match refusal.code {
        KafkaCode::InvalidUpdateVersion => {
            let text =
                "The update failed for all features since the following feature had an error";
            format!("{text}: {}", refusal.message)
        }
        _ => refusal.message,
    };
    UpdateFeaturesResponse {
        error_code: refusal.code.number(),
        error_message: Some(message),
        ..UpdateFeaturesResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_says_its_own_way_what_the_asker_is_prepared_for() {
        let kind = |version, allow_downgrade, upgrade_type| {
            let feature = "group.version".to_owned();
            let named = wire::FeatureUpdate {
                feature,
                allow_downgrade,
                upgrade_type,
                ..Default::default()
            };
            updates(version, vec![named.clone(), named]).pop().unwrap().kind
        };
        assert_eq!(kind(0, false, 1), Some(UpdateKind::Upgrade));
        assert_eq!(kind(0, true, 1), Some(UpdateKind::SafeDowngrade));
        for version in [1, 2] {
            assert_eq!(kind(version, false, 1), Some(UpdateKind::Upgrade));
            assert_eq!(kind(version, false, 2), Some(UpdateKind::SafeDowngrade));
            assert_eq!(kind(version, false, 3), Some(UpdateKind::UnsafeDowngrade));
            assert_eq!(kind(version, false, 0), None);
            assert_eq!(kind(version, false, 9), None);
        }
    }
}
