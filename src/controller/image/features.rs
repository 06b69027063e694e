//! Levels of features as the metadata has them (KIP-584).
//!
//! Where no record tells, a level is that of `LEVELS_WITHOUT_RECORD`: so it is in a log that a
//! version before these records began, and every broker that reads it comes to the same.
//!
//! Invariant: a feature's epoch only grows.

use crate::controller::image::{ApplyError, MetadataImage};
use crate::controller::records::MetadataRecord;
use crate::model::features::{
    CONSUMER_GROUPS_SINCE, GROUP_VERSION, LEVELS_WITHOUT_RECORD, SHARE_GROUPS_SINCE, SHARE_VERSION,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How one feature is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureState {
    /// 0 where it is off.
    pub level: i16,
    /// Position in the metadata of the record that says so; `None` where no record does.
    pub epoch: Option<i64>,
}

/// What is in force before the first record.
pub(super) fn without_records() -> Arc<BTreeMap<String, FeatureState>> {
    let state = |(name, level): (&str, i16)| (name.to_owned(), FeatureState { level, epoch: None });
    Arc::new(LEVELS_WITHOUT_RECORD.into_iter().map(state).collect())
}

impl MetadataImage {
    /// Level of a feature in force; 0 where it is off.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).map_or(0, |state| state.level)
    }

    /// Features, also those that are off, sorted by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, FeatureState)> {
        self.features.iter().map(|(name, state)| (name.as_str(), *state))
    }

    /// Where in the metadata a level was changed last; 0 where none ever was.
    pub fn features_epoch(&self) -> i64 {
        self.features.values().filter_map(|state| state.epoch).max().unwrap_or(0)
    }

    /// Whether the consumer protocol is served.
    pub fn has_consumer_groups(&self) -> bool {
        self.feature(GROUP_VERSION) >= CONSUMER_GROUPS_SINCE
    }

    /// Whether share groups are served.
    pub fn has_share_groups(&self) -> bool {
        self.feature(SHARE_VERSION) >= SHARE_GROUPS_SINCE
    }

    pub(super) fn set_feature(
        &mut self,
        name: &str,
        level: i16,
        epoch: i64,
    ) -> Result<(), ApplyError> {
        let known = self.features.get(name).and_then(|state| state.epoch);
        if let Some(now) = known.filter(|now| epoch <= *now) {
            return Err(ApplyError::FeatureEpochBack { name: name.to_owned(), now, next: epoch });
        }
        let state = FeatureState { level, epoch: Some(epoch) };
        Arc::make_mut(&mut self.features).insert(name.to_owned(), state);
        assert!(self.features_epoch() >= epoch);
        Ok(())
    }

    pub(super) fn push_features(&self, records: &mut Vec<MetadataRecord>) {
        records.extend(self.features().filter_map(|(name, state)| {
            let (name, level) = (name.to_owned(), state.level);
            Some(MetadataRecord::Feature { name, level, epoch: state.epoch? })
        }));
    }
}
