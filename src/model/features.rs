//! Features whose level a cluster agrees on (KIP-584, KIP-1022): which there are, and which levels
//! of them this version can work at.
//!
//! A level is a promise to every broker that reads the same metadata: nobody does what a broker of
//! the cluster might not understand. So it is raised by a command once all brokers have the new
//! version, and it is kept in the metadata.

/// Which group protocols are served.
pub const GROUP_VERSION: &str = "group.version";
/// Which metadata records and requests between brokers Kafka would use. Nothing here depends on it:
/// tools ask for it and set it.
pub const METADATA_VERSION: &str = "metadata.version";
/// Whether share groups are served.
pub const SHARE_VERSION: &str = "share.version";
/// Which transaction protocol clients are to use. The broker serves all of them.
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// First level of `group.version` with the consumer protocol (KIP-848).
pub const CONSUMER_GROUPS_SINCE: i16 = 1;
/// First level of `share.version` with share groups (KIP-932).
pub const SHARE_GROUPS_SINCE: i16 = 1;

/// A feature with the levels that this version can work at, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

impl Feature {
    const fn new(name: &'static str, min: i16, max: i16) -> Feature {
        Feature { name, min, max }
    }
}

/// All features, sorted by name. A new cluster begins with each at its highest level.
pub const FEATURES: [Feature; 4] = [
    Feature::new(GROUP_VERSION, 0, 1),
    // 3.3-IV3 to 4.1-IV1, as Kafka 4.1 has them.
    Feature::new(METADATA_VERSION, 7, 27),
    Feature::new(SHARE_VERSION, 0, 1),
    // 2 gives each transaction an epoch of its own (KIP-890, second part).
    Feature::new(TRANSACTION_VERSION, 0, 2),
];

/// Levels in force where the metadata has no record of them: those of the last version that kept
/// none. Every broker reads the same metadata, so these never change, whatever `FEATURES` becomes.
pub const LEVELS_WITHOUT_RECORD: [(&str, i16); 4] =
    [(GROUP_VERSION, 1), (METADATA_VERSION, 27), (SHARE_VERSION, 1), (TRANSACTION_VERSION, 2)];

/// A feature that this version knows.
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_without_records_is_within_what_this_version_can_work_at() {
        for (name, level) in LEVELS_WITHOUT_RECORD {
            let known = feature(name).unwrap();
            assert!((known.min..=known.max).contains(&level), "{name}");
        }
        assert!(FEATURES.is_sorted_by_key(|known| known.name));
    }
}
