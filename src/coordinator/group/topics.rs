//! The topics that exist, as far as groups care: names, ids, partition counts.
//!
//! Why a view of its own: coordinators do not know the controller's image. The owner makes a new
//! view when topics change and hands it to each coordinator; groups notice by its number.

use crate::model::ids::TopicId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicView {
    pub id: TopicId,
    pub partitions: i32,
}

/// All topics at one moment. One per core, shared by its coordinators.
#[derive(Debug, Default)]
pub struct Topics {
    /// Grows with each change.
    version: u64,
    by_name: BTreeMap<Arc<str>, TopicView>,
    names: HashMap<TopicId, Arc<str>>,
}

impl Topics {
    /// A view from names and topics; `version` is above that of every earlier view.
    pub fn new(version: u64, topics: impl Iterator<Item = (Arc<str>, TopicView)>) -> Topics {
        let by_name: BTreeMap<Arc<str>, TopicView> = topics.collect();
        let names: HashMap<TopicId, Arc<str>> =
            by_name.iter().map(|(name, topic)| (topic.id, Arc::clone(name))).collect();
        assert!(names.len() == by_name.len());
        Topics { version, by_name, names }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, name: &str) -> Option<TopicView> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&self, id: &TopicId) -> Option<&str> {
        self.names.get(id).map(|name| &**name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// A number that differs, but for chance, when any of these topics was made, removed, made
    /// again or grown. Our own function: Kafka's records carry such a number too (KIP-1101), and a
    /// number from elsewhere costs a group one needless rebalance.
    pub(super) fn hash_of<'n>(&self, names: impl Iterator<Item = &'n str>) -> i64 {
        let mut hash = Fnv::default();
        for name in names {
            if let Some(topic) = self.get(name) {
                hash.add(name.as_bytes());
                hash.add(topic.id.0.as_bytes());
                hash.add(&topic.partitions.to_be_bytes());
            }
        }
        hash.0.cast_signed()
    }
}

/// FNV-1a with 64 bits: the same on every machine and in every release.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn topics(list: &[(&str, u128, i32)]) -> Topics {
        let view = |(name, id, partitions): &(&str, u128, i32)| {
            let id = TopicId(Uuid::from_u128(*id));
            (Arc::from(*name), TopicView { id, partitions: *partitions })
        };
        Topics::new(1, list.iter().map(view))
    }

    #[test]
    fn the_number_tells_growth_and_a_new_topic_under_an_old_name() {
        let hash = |list| topics(list).hash_of(["a", "b"].into_iter());
        let first = hash(&[("a", 1, 3), ("z", 9, 9)]);
        assert_eq!(first, hash(&[("a", 1, 3)]));
        assert_ne!(first, hash(&[("a", 1, 4)]));
        assert_ne!(first, hash(&[("a", 2, 3)]));
        assert_ne!(first, hash(&[("a", 1, 3), ("b", 2, 1)]));
    }

    #[test]
    fn a_topic_is_found_by_name_and_by_id() {
        let topics = topics(&[("a", 1, 3)]);
        let found = topics.get("a").unwrap();
        assert_eq!((topics.name(&found.id), found.partitions), (Some("a"), 3));
        assert_eq!(topics.name(&TopicId(Uuid::from_u128(5))), None);
    }
}
