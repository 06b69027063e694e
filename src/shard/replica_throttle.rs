//! How fast replicas that are not in sync catch up, where somebody has set a bound (KIP-73).
//!
//! Leaders count what they push to throttled followers; followers count what they take, by making
//! room for more only as the bound allows. Replicas in sync are never held up: that would take them
//! out of the in-sync set.
//!
//! The bounds are the broker's: its cores that have throttled replicas share them in equal parts.
//!
//! Invariant: over any time, a core moves at most its rate, a second's worth beside it, and one
//! push.

use crate::controller::image::MetadataImage;
use crate::model::clock::Now;
use crate::model::ids::{BrokerId, CoreId, TopicPartition};
use crate::model::topic_config::{ThrottledReplicas, TopicConfig};
use crate::shard::replicas::Role;
use crate::shard::shard::{PartitionIndex, Shard};
use crate::storage::disk::Disk;
use std::collections::BTreeSet;

const US_PER_S: u64 = 1_000_000;

/// Bytes that may move, replenished with time. One per core and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bucket {
    /// Bytes a second; `None` is no bound.
    rate: Option<u64>,
    /// Below zero after a push that was larger than what was left.
    bytes: i64,
    filled_us: u64,
}

impl Bucket {
    /// Goes on with another rate.
    fn set_rate(&mut self, rate: Option<u64>, now: Now) {
        if self.rate != rate {
            *self = Bucket { rate, bytes: 0, filled_us: now.monotonic_us };
        }
    }

    /// Bytes that may move now; `usize::MAX` without a bound.
    fn available(&mut self, now: Now) -> usize {
        let Some(rate) = self.rate else { return usize::MAX };
        let passed_us = now.monotonic_us.saturating_sub(self.filled_us).min(US_PER_S);
        let gained = u128::from(rate) * u128::from(passed_us) / u128::from(US_PER_S);
        if gained > 0 || passed_us == US_PER_S {
            self.filled_us = now.monotonic_us;
            let full = i64::try_from(rate).unwrap_or(i64::MAX);
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            self.bytes = self.bytes.saturating_add(gained).min(full);
        }
        usize::try_from(self.bytes).unwrap_or(0)
    }

    fn take(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.bytes = self.bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// The bounds of one core.
#[derive(Debug, Default)]
pub(super) struct ReplicaThrottle {
    leaders: Bucket,
    followers: Bucket,
}

impl ReplicaThrottle {
    /// Takes over what the image says of bounds.
    pub(super) fn update(&mut self, image: &MetadataImage, now: Now) {
        let rate = |key: &str, cores: usize| {
            let rate = u64::try_from(image.broker_number(key)).unwrap_or(0);
            (rate < i64::MAX.cast_unsigned() && cores > 0).then(|| (rate / cores as u64).max(1))
        };
        let local = image.local();
        let (leading, following) = throttled_cores(image, local);
        self.leaders.set_rate(rate("leader.replication.throttled.rate", leading.len()), now);
        self.followers.set_rate(rate("follower.replication.throttled.rate", following.len()), now);
    }
}

/// Cores of this broker that lead throttled replicas, and those that follow in some.
fn throttled_cores(image: &MetadataImage, local: BrokerId) -> (BTreeSet<CoreId>, BTreeSet<CoreId>) {
    let (mut leading, mut following) = (BTreeSet::new(), BTreeSet::new());
    for topic in image.topics() {
        let config = &topic.config;
        let is_free = config.leader_throttled == ThrottledReplicas::None
            && config.follower_throttled == ThrottledReplicas::None;
        if is_free {
            continue;
        }
        for (id, partition) in topic.partitions() {
            let number = id.partition;
            let Some(core) = partition.state.core_on(local) else { continue };
            let is_led = partition.state.leader == Some(local);
            if is_led && config.leader_throttled.has(number, local) {
                leading.insert(core);
            }
            if !is_led && config.follower_throttled.has(number, local) {
                following.insert(core);
            }
        }
    }
    (leading, following)
}

impl<D: Disk> Shard<D> {
    /// Bytes that a leader here may push now to followers that are not in sync.
    pub(super) fn push_allowance(&mut self, id: &TopicPartition) -> usize {
        match self.is_throttled(id, |config| &config.leader_throttled) {
            true => self.replicas.throttle.leaders.available(self.now),
            false => usize::MAX,
        }
    }

    /// A push has left for a follower that is not in sync.
    pub(super) fn count_push(&mut self, id: &TopicPartition, bytes: usize) {
        if self.is_throttled(id, |config| &config.leader_throttled) {
            self.replicas.throttle.leaders.take(bytes);
        }
    }

    /// Makes room at the leader for as much more as the bound allows.
    pub(super) fn grant(&mut self, index: PartitionIndex) {
        let id = self.partitions[index].id;
        let Role::Follower(following) = &self.partitions[index].role else { return };
        let owed = following.replica.owed_bytes();
        if owed == 0 {
            return;
        }
        let is_in_sync = self
            .image
            .partition(&id)
            .is_some_and(|known| known.state.isr.contains(&self.image.local()));
        let is_free = is_in_sync || !self.is_throttled(&id, |config| &config.follower_throttled);
        let granted = match is_free {
            true => owed,
            false => {
                let left = self.replicas.throttle.followers.available(self.now) as u64;
                owed.min(left)
            }
        };
        if !is_free {
            self.replicas.throttle.followers.take(usize::try_from(granted).unwrap_or(usize::MAX));
        }
        if let Role::Follower(following) = &mut self.partitions[index].role {
            following.replica.grant(granted);
        }
    }

    /// Lets a throttled follower's leader go on, when time has made room.
    pub(super) fn grant_more(&mut self, index: PartitionIndex) {
        let Role::Follower(following) = &self.partitions[index].role else { return };
        if following.replica.owed_bytes() > 0 {
            self.acknowledge(index);
        }
    }

    fn is_throttled(
        &self,
        id: &TopicPartition,
        list: impl Fn(&TopicConfig) -> &ThrottledReplicas,
    ) -> bool {
        let topic = self.image.topic_by_id(&id.topic);
        topic.is_some_and(|topic| list(&topic.config).has(id.partition, self.image.local()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { monotonic_us: ms * 1000, ..Now::default() }
    }

    #[test]
    fn a_bucket_gives_its_rate_and_pays_back_what_was_too_much() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.available(at(0)), usize::MAX);
        bucket.set_rate(Some(1000), at(0));
        assert_eq!(bucket.available(at(0)), 0);
        assert_eq!(bucket.available(at(500)), 500);
        bucket.take(1500);
        assert_eq!(bucket.available(at(1000)), 0);
        assert_eq!(bucket.available(at(2000)), 500);
        assert_eq!(bucket.available(at(60_000)), 1000, "a second's worth at most");
        let mut moved = 0;
        for ms in 60_000..70_000 {
            let now = bucket.available(at(ms)).min(300);
            bucket.take(now);
            moved += now;
        }
        assert!((10_000..=11_000).contains(&moved), "{moved}");
    }
}
