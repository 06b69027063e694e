//! The last offset of each key in the part of a log that is being compacted, in bounded memory.
//!
//! A key is held as 128 bits of keyed hash: two SipHash values of 64 bits under a secret drawn for
//! each map, told apart by a first byte. Keys are not compared again. Among n keys the chance that
//! any two are taken for one is below n^2 / 2^129, for the 2.6 million keys of the smallest usual
//! map 2^-86, and nobody can look for such keys without the secret; a disk that returns wrong bytes
//! under a right checksum is far likelier. (Kafka's map is the same with MD5, without a secret.)
//!
//! Invariants
//! - At most `SLOTS_USED_PERCENT` of the slots are used, so a probe ends.
//! - A key's offset never falls.

use crate::model::ids::Offset;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Two numbers of hash, and the offset and one; 0 there marks a free slot. An array, as memory for
/// zeroes of that shape comes from the system as it is: nobody waits until many MiB are cleared.
type Slot = [u64; 3];

/// Share of the slots that may be used, as Kafka's `log.cleaner.io.buffer.load.factor`.
const SLOTS_USED_PERCENT: usize = 90;

/// Fewest slots of a map.
const SLOTS_MIN: usize = 16;

/// Keys and the last offset of each. One per compaction under way.
pub(super) struct KeyMap {
    slots: Vec<Slot>,
    used: usize,
    used_max: usize,
    secret: RandomState,
}

impl KeyMap {
    /// Room for `keys` keys, or for as many as fit into `bytes_max`.
    pub(super) fn new(keys: u64, bytes_max: usize) -> KeyMap {
        let fitting = bytes_max / size_of::<Slot>();
        let wanted = usize::try_from(keys).unwrap_or(usize::MAX).saturating_mul(4) / 3;
        let count = wanted.min(fitting).max(SLOTS_MIN);
        KeyMap {
            slots: vec![[0; 3]; count],
            used: 0,
            used_max: count / 100 * SLOTS_USED_PERCENT + count % 100 * SLOTS_USED_PERCENT / 100,
            secret: RandomState::new(),
        }
    }

    /// Notes that `key` is at `offset`. False when the key is new and there is no room.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let index = self.find(hash);
        let [first, second, offset_and_one] = &mut self.slots[index];
        if *offset_and_one == 0 {
            if self.used == self.used_max {
                return false;
            }
            self.used += 1;
            [*first, *second] = hash;
        }
        *offset_and_one = (*offset_and_one).max(offset.get() + 1);
        assert!(self.used <= self.used_max);
        true
    }

    /// The last offset of `key`, if it was put.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        let [_, _, offset_and_one] = self.slots[self.find(self.hash(key))];
        offset_and_one.checked_sub(1).map(Offset::new)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [0u8, 1].map(|which| {
            let mut hasher = self.secret.build_hasher();
            hasher.write_u8(which);
            hasher.write(key);
            hasher.finish()
        })
    }

    /// The slot that has the hash, or the free one where it belongs.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let place = (u128::from(hash[0]) * count as u128) >> 64;
        let mut index = usize::try_from(place).expect("below the count");
        loop {
            let [first, second, offset_and_one] = self.slots[index];
            if offset_and_one == 0 || [first, second] == hash {
                return index;
            }
            index = if index + 1 == count { 0 } else { index + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn the_last_offset_of_each_key_is_found(
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 1..200),
        ) {
            let mut map = KeyMap::new(keys.len() as u64, usize::MAX);
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                prop_assert!(map.put(key, Offset::new(offset as u64)));
                model.insert(key.clone(), Offset::new(offset as u64));
            }
            for (key, offset) in &model {
                prop_assert_eq!(map.get(key), Some(*offset));
            }
            prop_assert_eq!(map.get(b"not there"), None);
        }
    }

    #[test]
    fn a_full_map_takes_no_new_key_and_still_moves_known_ones() {
        let mut map = KeyMap::new(u64::MAX, 1000);
        let mut taken = 0u64;
        while map.put(&taken.to_be_bytes(), Offset::new(taken)) {
            taken += 1;
        }
        assert_eq!(taken, 36, "90 percent of 41 slots of 24 bytes");
        assert!(map.put(&0u64.to_be_bytes(), Offset::new(99)));
        assert_eq!(map.get(&0u64.to_be_bytes()), Some(Offset::new(99)));
    }
}
