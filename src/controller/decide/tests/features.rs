//! Levels of features: of a new cluster, and how they change.

use super::*;
use std::collections::BTreeSet;

use UpdateKind::{SafeDowngrade, UnsafeDowngrade, Upgrade};

/// A process of a version that keeps no levels.
fn ancient(id: i32) -> NewBroker {
    NewBroker { features: Vec::new(), ..process(id, 1, 1) }
}

/// A process that works at one feature's levels up to `max` only.
fn older(id: i32, name: &str, max: i16) -> NewBroker {
    let mut broker = process(id, 1, 1);
    broker.features.iter_mut().find(|range| range.name == name).unwrap().max = max;
    broker
}

/// A process of a version that keeps levels, but does not know one feature.
fn without(id: i32, name: &str) -> NewBroker {
    let mut broker = process(id, 1, 1);
    broker.features.retain(|range| range.name != name);
    broker
}

/// A cluster of this version with these voters, all registered.
fn cluster(voters: &[i32]) -> Controller {
    let mut controller = Controller::empty();
    controller.ask(Change::FoundCluster { id: Uuid::from_u128(9) });
    for id in voters {
        controller.register(process(*id, 1, 1)).unwrap();
    }
    controller
}

fn levels(image: &MetadataImage) -> String {
    let levels = image.features().map(|(name, state)| format!("{name}={}", state.level));
    levels.collect::<Vec<String>>().join(" ")
}

impl Controller {
    fn update_features(
        &mut self,
        updates: &[(&str, i16, UpdateKind)],
        mode: Mode,
        voters: &[i32],
    ) -> String {
        let update = |(name, level, kind): &(&str, i16, UpdateKind)| FeatureUpdate {
            name: (*name).to_owned(),
            level: *level,
            kind: Some(*kind),
        };
        let updates = updates.iter().map(update).collect();
        let voters = voters.iter().map(|id| BrokerId(*id)).collect();
        match self.ask(Change::UpdateFeatures { updates, mode, voters }).reply {
            ChangeReply::Done(result) => result.err().map_or_else(String::new, |one| refused(&one)),
            other => panic!("{other:?}"),
        }
    }

    fn update(&mut self, name: &str, level: i16, kind: UpdateKind) -> String {
        self.update_features(&[(name, level, kind)], Mode::Apply, &[1])
    }
}

#[test]
fn a_new_cluster_keeps_each_feature_at_its_highest_level() {
    let highest = FEATURES.map(|known| format!("{}={}", known.name, known.max)).join(" ");
    let cluster = Uuid::from_u128(9);
    let alone = Change::OpenAlone { cluster, broker: Box::new(process(1, 1, 1)) };
    for founding in [Change::FoundCluster { id: cluster }, alone] {
        let mut controller = Controller::empty();
        let records = controller.ask(founding.clone()).records;
        let kept = |record: &&MetadataRecord| matches!(record, MetadataRecord::Feature { .. });
        assert_eq!(records.iter().filter(kept).count(), FEATURES.len());
        assert_eq!(levels(&controller.image), highest);
        assert_eq!(controller.image.features_epoch(), 4, "where the last of them lies");
        controller.ask(founding);
        assert_eq!(controller.image.features_epoch(), 4, "founded once");
    }
}

#[test]
fn what_a_version_without_levels_founded_gets_no_records_by_itself() {
    let mut controller = Controller::empty();
    let id = Uuid::from_u128(9);
    controller.image.apply(&MetadataRecord::ClusterId(id)).unwrap();
    assert!(controller.ask(Change::FoundCluster { id }).records.is_empty());
    controller.register(ancient(1)).unwrap();
    assert_eq!(controller.image.features_epoch(), 0);
    assert_eq!(
        controller.update("group.version", 0, SafeDowngrade),
        "INVALID_UPDATE_VERSION: Invalid update version 0 for feature group.version. Broker 1 does \
         not support this feature.",
        "it could not read the record"
    );
    controller.register(process(1, 1, 2)).unwrap();
    assert_eq!(controller.update("group.version", 0, SafeDowngrade), "");
    assert!(!controller.image.has_consumer_groups());
}

#[test]
fn levels_go_down_and_up_again_and_each_change_has_its_position() {
    let mut controller = cluster(&[1]);
    for feature in ["group.version", "share.version"] {
        let before = controller.image.features_epoch();
        assert_eq!(controller.update(feature, 0, SafeDowngrade), "");
        assert_eq!(controller.image.feature(feature), 0);
        let down = controller.image.features_epoch();
        assert_eq!(u64::try_from(down), Ok(controller.image.end() - 1));
        assert_eq!(controller.update(feature, 0, SafeDowngrade), "", "it is there already");
        assert_eq!(controller.image.features_epoch(), down, "nothing changed");
        assert_eq!(controller.update(feature, 1, Upgrade), "");
        let up = controller.image.features_epoch();
        assert!(before < down && down < up);
    }
    for (level, kind) in [(1, SafeDowngrade), (0, UnsafeDowngrade), (2, Upgrade)] {
        assert_eq!(controller.update("transaction.version", level, kind), "");
        assert_eq!(controller.image.feature("transaction.version"), level);
    }
}

#[test]
fn what_is_refused_is_refused_in_kafkas_words() {
    let mut controller = cluster(&[1]);
    controller.update("share.version", 0, SafeDowngrade);
    let before = controller.image.end();
    for (name, level, kind, reason) in [
        ("group.version", -1, Upgrade, "A feature version cannot be less than 0."),
        ("group.version", 2, Upgrade, "Local controller 1 only supports versions 0-1"),
        ("metadata.version", 6, SafeDowngrade, "Local controller 1 only supports versions 7-27"),
        ("no.such", 1, Upgrade, "Local controller 1 does not support this feature."),
        ("no.such", 0, SafeDowngrade, "Feature no.such not found."),
        (
            "group.version",
            0,
            Upgrade,
            "Can't downgrade the version of this feature without setting the upgrade type to \
             either safe or unsafe downgrade.",
        ),
        ("share.version", 1, UnsafeDowngrade, "Can't downgrade to a newer version."),
    ] {
        let expected = format!(
            "INVALID_UPDATE_VERSION: Invalid update version {level} for feature {name}. {reason}"
        );
        assert_eq!(controller.update(name, level, kind), expected);
    }
    let update = FeatureUpdate { name: "group.version".to_owned(), level: 1, kind: None };
    let change = Change::UpdateFeatures {
        updates: vec![update],
        mode: Mode::Apply,
        voters: BTreeSet::new(),
    };
    let ChangeReply::Done(Err(refusal)) = controller.ask(change).reply else { panic!() };
    assert!(refusal.message.ends_with("The controller does not support the given upgrade type."));
    assert_eq!(controller.image.end(), before);
}

#[test]
fn metadata_version_goes_down_only_as_far_as_kafka_lets_it() {
    let mut controller = cluster(&[1]);
    for level in [26, 23] {
        assert_eq!(controller.update("metadata.version", level, SafeDowngrade), "");
        assert_eq!(controller.image.feature("metadata.version"), level);
    }
    for (kind, reason) in [
        (
            SafeDowngrade,
            "Refusing to perform the requested downgrade because it might delete metadata \
             information.",
        ),
        (UnsafeDowngrade, "Unsafe metadata downgrade is not supported in this version."),
    ] {
        let expected = format!("INVALID_UPDATE_VERSION: Invalid metadata.version 22. {reason}");
        assert_eq!(controller.update("metadata.version", 22, kind), expected);
    }
    assert_eq!(controller.update("metadata.version", 27, Upgrade), "");
}

#[test]
fn one_feature_that_is_refused_holds_back_all_and_a_check_writes_nothing() {
    let mut controller = cluster(&[1]);
    let before = controller.image.end();
    let both = [("group.version", 0, SafeDowngrade), ("share.version", 7, Upgrade)];
    let answer = controller.update_features(&both, Mode::Apply, &[1]);
    assert!(answer.contains("share.version"), "{answer}");
    let good = [("group.version", 0, SafeDowngrade), ("share.version", 0, SafeDowngrade)];
    assert_eq!(controller.update_features(&good, Mode::ValidateOnly, &[1]), "");
    assert_eq!(controller.image.end(), before);
    assert_eq!(controller.update_features(&good, Mode::Apply, &[1]), "");
    assert_eq!(controller.image.end(), before + 2);
}

#[test]
fn a_level_waits_for_every_registered_process_and_every_voter() {
    let mut controller = cluster(&[1, 2]);
    controller.update("share.version", 0, SafeDowngrade);
    controller.register(older(3, "share.version", 0)).unwrap();
    let alone = Roles { broker: false, controller: true };
    controller.register(NewBroker { roles: alone, ..older(4, "group.version", 0) }).unwrap_err();
    let up = [("share.version", 1, Upgrade)];
    let prefix = "INVALID_UPDATE_VERSION: Invalid update version 1 for feature share.version.";
    assert_eq!(
        controller.update_features(&up, Mode::Apply, &[1]),
        format!("{prefix} Broker 3 only supports versions 0-0")
    );
    controller.ask(Change::UnregisterBroker { id: BrokerId(3) });
    controller.register(NewBroker { roles: alone, ..older(4, "share.version", 0) }).unwrap();
    assert_eq!(
        controller.update_features(&up, Mode::Apply, &[1]),
        format!("{prefix} Controller 4 only supports versions 0-0")
    );
    controller.ask(Change::UnregisterBroker { id: BrokerId(4) });
    assert_eq!(
        controller.update_features(&up, Mode::Apply, &[1, 2, 5]),
        format!("{prefix} controller 5 has not registered, and may not support this feature")
    );
    assert_eq!(controller.update_features(&up, Mode::Apply, &[1, 2]), "");
}

#[test]
fn a_process_works_at_level_0_of_a_feature_that_it_does_not_know() {
    let mut controller = cluster(&[1]);
    let wants_0 = |controller: &mut Controller, broker, name: &str| {
        let message = refused(&controller.register(broker).unwrap_err());
        assert_eq!(
            message,
            format!(
                "UNSUPPORTED_VERSION: Unable to register because the broker does not support \
                 finalized version 1 of {name}. The broker wants a version between 0 and 0, \
                 inclusive."
            )
        );
    };
    wants_0(&mut controller, without(2, "share.version"), "share.version");
    controller.update("share.version", 0, SafeDowngrade);
    controller.register(without(2, "share.version")).unwrap();
    assert_eq!(controller.update("share.version", 0, SafeDowngrade), "", "it is there already");
    assert_eq!(
        controller.update("share.version", 1, Upgrade),
        "INVALID_UPDATE_VERSION: Invalid update version 1 for feature share.version. Broker 2 only \
         supports versions 0-0"
    );
    // As a later version leaves its own features before its levels are raised.
    for (level, epoch) in [(0, 1_000), (1, 1_001)] {
        let name = "later.version".to_owned();
        controller.image.apply(&MetadataRecord::Feature { name, level, epoch }).unwrap();
        if level == 0 {
            controller.register(process(3, 1, 1)).unwrap();
            let message = refused(&controller.register(ancient(4)).unwrap_err());
            assert!(message.ends_with("own version keeps no levels of features."), "{message}");
        }
    }
    wants_0(&mut controller, process(5, 1, 1), "later.version");
}

#[test]
fn a_process_that_cannot_work_at_a_level_in_force_is_not_registered() {
    let mut controller = cluster(&[1]);
    let message = |controller: &mut Controller, broker| match controller.register(broker) {
        Ok(_) => "registered".to_owned(),
        Err(refusal) => refused(&refusal),
    };
    let prefix = "UNSUPPORTED_VERSION: Unable to register because the broker does not support \
                  finalized version";
    assert_eq!(
        message(&mut controller, older(2, "transaction.version", 1)),
        format!(
            "{prefix} 2 of transaction.version. The broker wants a version between 0 and 1, \
             inclusive."
        )
    );
    assert_eq!(
        message(&mut controller, ancient(2)),
        format!(
            "{prefix} 1 of group.version. The broker's own version keeps no levels of features."
        )
    );
    controller.update("transaction.version", 1, SafeDowngrade);
    assert_eq!(message(&mut controller, older(2, "transaction.version", 1)), "registered");
    // The same at the start of a broker by itself.
    let mut alone = cluster(&[1]);
    let cluster = Uuid::from_u128(9);
    let broker =
        Box::new(NewBroker { incarnation: Uuid::from_u128(2), ..older(1, "group.version", 0) });
    let reply = alone.ask(Change::OpenAlone { cluster, broker }).reply;
    let ChangeReply::Registered(Err(refusal)) = reply else { panic!("{reply:?}") };
    assert!(refused(&refusal).starts_with(prefix));
}
