//! Replicas of this broker that are damaged: they leave the in-sync set, and then are fetched anew.
//!
//! Damage is found when a log is opened, or when somebody reads what no opening has looked at. What
//! follows depends on what the replica is to its partition:
//! - A follower opens its stream anew, so that the leader counts nothing of what it acknowledged
//!   (`replication/progress.rs`). It acknowledges nothing more before the controller has answered
//!   that the replica is no member, and no proposal of before makes it one. Then its log is cut at
//!   the damage, and the leader feeds it from there.
//! - A leader with others in sync tells the controller, too, which has one of them lead; it goes on
//!   as a follower.
//! - A leader that is alone goes on: what it has is the best there is. Reads of what is damaged are
//!   refused, everything else is served, and nothing is cut.
//! - A log that cannot be opened, because the medium does not give back its files, is thrown away
//!   and begun anew once the controller has answered.
//!
//! Invariant: nothing is cut while the replica may be elected, nor where nobody else leads.

use crate::controller::decide::{Change, ChangeReply};
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, TopicPartition};
use crate::model::limits::{ISR_PROPOSAL_RETRY_MS, ISR_PROPOSALS_MAX};
use crate::replication::messages::StreamId;
use crate::shard::metadata;
use crate::shard::recovery;
use crate::shard::replica_messages;
use crate::shard::replicas::Role;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::Damage;
use hashbrown::{HashMap, HashSet};

/// What a core keeps of damaged replicas.
#[derive(Default)]
pub struct Repairs {
    /// Partitions whose files cannot be read, and which may be fetched anew.
    pub(super) unopened: HashSet<TopicPartition>,
    /// What was found in logs when this core's journal was replayed into them, until they are
    /// opened. Not where another number of cores has given them to another core.
    pub(super) found: HashMap<TopicPartition, Vec<Damage>>,
    /// When the controller is asked next at the earliest, in monotonic microseconds.
    not_before_us: u64,
}

impl<D: Disk> Shard<D> {
    /// A read has failed that was planned when the partition's log had been cut `cuts` times.
    pub(super) fn on_read_failed(
        &mut self,
        id: TopicPartition,
        (cuts, error): (u32, &StorageError),
        reader: &'static str,
    ) {
        let index = self.partition_index(&id);
        let is_news = index.is_some_and(|index| {
            let log = &mut self.partitions[index].log;
            log.note_damage(cuts, error)
        });
        if let Some(index) = index.filter(|_| is_news) {
            self.stats.damaged_replicas += 1;
            tracing::error!(%error, partition = %id, "{reader}: the replica is damaged, see E0010");
            self.leave_stream(index);
            self.signals.proposals.raise();
        } else if error.damaged_file().is_none() {
            tracing::error!(%error, partition = %id, "{reader}");
        } else {
            tracing::debug!(%error, partition = %id, "{reader}");
        }
    }

    /// A follower opens anew: its leader is to forget what it acknowledged.
    fn leave_stream(&mut self, index: PartitionIndex) {
        if let Role::Follower(following) = &mut self.partitions[index].role {
            following.replica.on_peer_down();
            self.tick_follower(index);
        }
    }

    /// Partitions that this broker does not follow and has a damaged replica of, while others are
    /// in sync.
    pub(super) fn take_losses(&mut self) -> Vec<TopicPartition> {
        if self.now.monotonic_us < self.repairs.not_before_us {
            return Vec::new();
        }
        let is_damaged = self.partitions.iter().filter(|(_, partition)| {
            partition.log.is_damaged() && !matches!(partition.role, Role::Follower(_))
        });
        let open = is_damaged.map(|(_, partition)| partition.id).filter(|id| self.is_member(id));
        let all = open.chain(self.repairs.unopened.iter().copied());
        let lost: Vec<TopicPartition> =
            all.filter(|id| self.is_elsewhere(id)).take(ISR_PROPOSALS_MAX).collect();
        if !lost.is_empty() {
            self.repairs.not_before_us = self.now.deadline_us(ISR_PROPOSAL_RETRY_MS);
        }
        lost
    }

    /// Whether this broker's replica may be elected, as far as is known here.
    fn is_member(&self, id: &TopicPartition) -> bool {
        let local = self.image.local();
        let state = self.image.partition(id).map(|partition| &partition.state);
        state.is_some_and(|state| state.isr.contains(&local) || state.elr.contains(&local))
    }

    /// Whether another replica is in sync, as far as is known here.
    fn is_elsewhere(&self, id: &TopicPartition) -> bool {
        let local = self.image.local();
        let state = self.image.partition(id).map(|partition| &partition.state);
        state.is_some_and(|state| state.isr.iter().any(|member| *member != local))
    }

    /// The attempt of a follower that is not being cut; another one needs an answer of its own.
    fn attempt(&self, id: &TopicPartition) -> Option<(PartitionIndex, (LeaderEpoch, StreamId))> {
        let index = self.partition_index(id)?;
        let partition = &self.partitions[index];
        let Role::Follower(following) = &partition.role else { return None };
        (!partition.is_cutting).then(|| (index, following.replica.attempt()))
    }
}

/// Tells the controller of damaged replicas; true for each that is out of everything.
async fn tell<D: Disk>(shard: &ShardRef<D>, partitions: &[TopicPartition]) -> Vec<bool> {
    let none = vec![false; partitions.len()];
    let broker = {
        let image = &shard.borrow().image;
        image.broker(image.local()).map(|own| (own.id(), own.epoch()))
    };
    let Some(broker) = broker else { return none };
    let change = Change::LoseReplicas { broker, partitions: partitions.to_vec() };
    let outcomes = match metadata::change(shard, change).await {
        ChangeReply::Lost(Ok(outcomes)) => outcomes,
        ChangeReply::Lost(Err(refusal)) => {
            tracing::warn!(code = refusal.code.name(), "damaged replicas: {}", refusal.message);
            return none;
        }
        other => unreachable!("damaged replicas are answered by partition, not by {other:?}"),
    };
    let is_out = |id: &TopicPartition| match outcomes.iter().find(|(other, _)| other == id) {
        Some((_, Ok(()))) => true,
        Some((_, Err(KafkaCode::EligibleLeadersNotAvailable))) | None => false,
        Some((_, Err(code))) => {
            tracing::warn!(partition = %id, code = code.name(), "a damaged replica stays");
            false
        }
    };
    partitions.iter().map(is_out).collect()
}

/// Has the controller take out replicas that do not follow, and begins anew those that could not be
/// opened.
pub(super) async fn lose<D: Disk>(shard: &ShardRef<D>, partitions: Vec<TopicPartition>) {
    let is_out = tell(shard, &partitions).await;
    for (id, _) in partitions.into_iter().zip(is_out).filter(|(_, is_out)| *is_out) {
        if shard.borrow().repairs.unopened.contains(&id) {
            recovery::begin_anew(shard, id).await;
        }
    }
}

/// Mends a follower's log, now that its leader is there to feed it anew.
pub(super) async fn mend<D: Disk>(shard: ShardRef<D>, id: TopicPartition) {
    let Some((_, attempt)) = shard.borrow().attempt(&id) else { return };
    let is_out = tell(&shard, &[id]).await[0];
    let (from, restarts) = {
        let mut shard = shard.borrow_mut();
        let now = shard.now;
        let known = shard.attempt(&id).filter(|(_, other)| *other == attempt);
        let Some((index, _)) = known else { return };
        let partition = &mut shard.partitions[index];
        let Role::Follower(following) = &mut partition.role else { return };
        match partition.log.damaged_from().filter(|_| is_out) {
            Some(from) => (following.replica.mend_from(from), from <= partition.log.log_start()),
            None => return following.replica.on_cut_failed(now),
        }
    };
    tracing::warn!(partition = %id, %from, "damaged: fetched anew from its leader");
    replica_messages::truncate(shard, id, from, restarts).await;
}
