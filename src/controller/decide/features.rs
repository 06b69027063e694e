//! Which levels features are in force at: those of a new cluster, and how they change (KIP-584,
//! KIP-1022).
//!
//! A level is put in force when every registered process can work at it, and the voters are all
//! registered. From then on, who cannot is not registered any more (`check_supported`).

use crate::controller::decide::brokers::NewBroker;
use crate::controller::decide::draft::Draft;
use crate::controller::decide::{ChangeReply, Decision, Refusal};
use crate::controller::image::{FeatureState, MetadataImage};
use crate::controller::records::{FeatureRange, MetadataRecord};
use crate::model::errors::KafkaCode;
use crate::model::features::{FEATURES, METADATA_VERSION, feature};
use crate::model::ids::BrokerId;
use std::collections::BTreeSet;

/// Levels of `metadata.version` that brought fields which Kafka does not take back: 3.4-IV0,
/// 3.5-IV2, 3.6-IV1, 3.6-IV2, 3.7-IV0, 3.7-IV2 and 4.0-IV1. A downgrade does not go below one.
const NO_WAY_BELOW: [i16; 7] = [8, 11, 13, 14, 15, 17, 23];

/// One feature that is to be in force at another level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureUpdate {
    pub name: String,
    pub level: i16,
    /// `None` for a kind that there is not.
    pub kind: Option<UpdateKind>,
}

/// What the asker is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateKind {
    /// No lower level than now.
    Upgrade,
    /// A lower one, if nothing is lost by it.
    SafeDowngrade,
    /// A lower one at any price. Nobody pays it: Kafka refuses what is not safe, too.
    UnsafeDowngrade,
}

/// A new cluster begins with everything that its first controller knows.
pub(super) fn found(draft: &mut Draft) {
    for known in FEATURES {
        set(draft, known.name, known.max);
    }
}

/// All updates or none of them.
pub(super) fn update(
    image: &MetadataImage,
    updates: Vec<FeatureUpdate>,
    voters: &BTreeSet<BrokerId>,
) -> Decision {
    let mut draft = Draft::new(image);
    let result = updates.iter().try_for_each(|update| check(image, update, voters));
    if result.is_ok() {
        for update in updates {
            // What is in force already was not changed by anybody.
            if draft.image.feature(&update.name) != update.level {
                set(&mut draft, &update.name, update.level);
            }
        }
    }
    assert!(result.is_ok() || draft.records.is_empty(), "all or none");
    Decision { records: draft.records, reply: ChangeReply::Done(result) }
}

fn set(draft: &mut Draft, name: &str, level: i16) {
    let epoch = i64::try_from(draft.image.end()).expect("fewer than 2^63 records");
    draft.push(MetadataRecord::Feature { name: name.to_owned(), level, epoch });
    assert!(draft.image.feature(name) == level);
    assert!(draft.image.features_epoch() == epoch);
}

/// In the order and the words of Kafka's controller.
fn check(
    image: &MetadataImage,
    update: &FeatureUpdate,
    voters: &BTreeSet<BrokerId>,
) -> Result<(), Refusal> {
    let (name, level) = (&update.name, update.level);
    let refuse = |reason: String| {
        let text = format!("Invalid update version {level} for feature {name}. {reason}");
        Err(Refusal::new(KafkaCode::InvalidUpdateVersion, text))
    };
    let Some(kind) = update.kind else {
        return refuse("The controller does not support the given upgrade type.".to_owned());
    };
    if level < 0 {
        return refuse("A feature version cannot be less than 0.".to_owned());
    }
    if let Some(reason) = not_supported(image, update, voters) {
        return refuse(reason);
    }
    let now = image.feature(name);
    if level < now && kind == UpdateKind::Upgrade {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type \
                      to either safe or unsafe downgrade.";
        return refuse(reason.to_owned());
    }
    if level > now && kind != UpdateKind::Upgrade {
        return refuse("Can't downgrade to a newer version.".to_owned());
    }
    match name == METADATA_VERSION {
        true => check_metadata_version(now, level, kind),
        false => Ok(()),
    }
}

/// Nothing here depends on this feature, so that a lower level would do no harm. What Kafka refuses
/// is refused all the same: who is told that a downgrade succeeded may believe that an older Kafka
/// reads the metadata now.
fn check_metadata_version(now: i16, level: i16, kind: UpdateKind) -> Result<(), Refusal> {
    if !NO_WAY_BELOW.iter().any(|least| (level + 1..=now).contains(least)) {
        return Ok(());
    }
    let reason = match kind {
        UpdateKind::UnsafeDowngrade => {
            "Unsafe metadata downgrade is not supported in this version."
        }
        UpdateKind::SafeDowngrade | UpdateKind::Upgrade => {
            "Refusing to perform the requested downgrade because it might delete metadata \
             information."
        }
    };
    let text = format!("Invalid metadata.version {level}. {reason}");
    Err(Refusal::new(KafkaCode::InvalidUpdateVersion, text))
}

/// Who cannot work at a level; `None` where everybody can.
///
/// Of a process that could not read the record no level is supported. Kafka takes level 0 for
/// supported by it.
fn not_supported(
    image: &MetadataImage,
    update: &FeatureUpdate,
    voters: &BTreeSet<BrokerId>,
) -> Option<String> {
    let (name, level) = (&update.name, update.level);
    let reason = |who: String, range: Option<(i16, i16)>| match range {
        Some((min, max)) if (min..=max).contains(&level) => None,
        Some((min, max)) => Some(format!("{who} only supports versions {min}-{max}")),
        None => Some(format!("{who} does not support this feature.")),
    };
    let local = feature(name).map(|known| (known.min, known.max));
    if local.is_none() && level == 0 {
        return Some(format!("Feature {name} not found."));
    }
    let own = image.local();
    if let Some(reason) = reason(format!("Local controller {}", own.0), local) {
        return Some(reason);
    }
    let brokers = image.brokers().map(|node| ("Broker", node));
    let controllers = image.nodes().filter(|node| !node.is_broker() && node.id() != own);
    for (role, node) in brokers.chain(controllers.map(|node| ("Controller", node))) {
        let told = range_of(&node.registration.features, name);
        if let Some(reason) = reason(format!("{role} {}", node.id().0), told) {
            return Some(reason);
        }
    }
    let mut absent = voters.iter().filter(|id| **id != own && image.node(**id).is_none());
    let BrokerId(id) = absent.next()?;
    Some(format!("controller {id} has not registered, and may not support this feature"))
}

/// Levels of a feature that a process with these ranges can work at; `None` where it has a version
/// that keeps no levels.
///
/// Who tells ranges of other features does not know this one, and works as if it were off: else a
/// later version's feature, off or not, would keep this version out. Kafka takes it so as well.
fn range_of(ranges: &[FeatureRange], name: &str) -> Option<(i16, i16)> {
    let told = ranges.iter().find(|range| range.name == name).map(|range| (range.min, range.max));
    let keeps_levels = || ranges.iter().any(|range| feature(&range.name).is_some());
    told.or_else(|| keeps_levels().then_some((0, 0)))
}

/// A process that cannot work at what is in force would misread what others write.
///
/// A version that keeps no levels works at those without records, and cannot read records of them.
pub(super) fn check_supported(image: &MetadataImage, broker: &NewBroker) -> Result<(), Refusal> {
    for (name, FeatureState { level, epoch }) in image.features() {
        let wants = match range_of(&broker.features, name) {
            Some((min, max)) if (min..=max).contains(&level) => continue,
            Some((min, max)) => {
                format!("The broker wants a version between {min} and {max}, inclusive.")
            }
            None if epoch.is_none() => continue,
            None => "The broker's own version keeps no levels of features.".to_owned(),
        };
        let message = format!(
            "Unable to register because the broker does not support finalized version {level} of \
             {name}. {wants}"
        );
        return Err(Refusal::new(KafkaCode::UnsupportedVersion, message));
    }
    Ok(())
}
