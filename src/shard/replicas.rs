//! What this broker's replicas are to their partitions, and how that changes with the metadata.
//!
//! A partition that is open here is led here, follows another broker, or is led by nobody. The
//! decisions are `replication`'s; this carries them out: it reads from the log what is to be
//! pushed, appends what is pushed here, cuts the log, and tells both sides what became safe.
//!
//! Invariant: a role is of one leader epoch. Another epoch is another role, and whoever waited for
//! the old one is told so, unless this broker went on leading without a gap.

use crate::controller::image::{MetadataImage, PartitionImage};
use crate::controller::records::PartitionState;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId, CoreId, LeaderEpoch, TopicPartition};
use crate::model::limits::REPLICA_TICK_MS;
use crate::replication::LogView;
use crate::replication::follower::FollowerReplica;
use crate::replication::leader::{self, LeaderReplica, LeaderStart};
use crate::replication::messages::{Body, Message};
use crate::shard::mesh::AppendOutcome;
use crate::shard::partition::Partition;
use crate::shard::replica_throttle::ReplicaThrottle;
use crate::shard::shard::{PartitionIndex, Shard};
use crate::storage::disk::Disk;
use std::sync::Arc;

/// What one replica is to its partition.
pub enum Role {
    Leader(Box<LeaderReplica>),
    Follower(Box<Following>),
    /// No leader is known.
    Leaderless,
}

impl Role {
    /// True when the partition's leader is `broker`, as far as this one knows.
    pub(super) fn follows(&self, broker: BrokerId) -> bool {
        matches!(self, Role::Follower(following) if following.leader == broker)
    }
}

/// A replica that follows another broker.
pub struct Following {
    pub replica: FollowerReplica,
    pub leader: BrokerId,
    /// The leader's core.
    pub core: CoreId,
    /// Of this broker's own registration.
    pub broker_epoch: BrokerEpoch,
}

/// What the replicas of one core share.
#[derive(Default)]
pub struct Replicas {
    /// Partitions led here that may have something to push: those with `is_push_due`, each once.
    pub(super) queue: Vec<PartitionIndex>,
    /// Partitions with followers, or that follow; there is nothing to tick without them.
    pub(super) shared: usize,
    pub(super) due_us: u64,
    pub(super) throttle: ReplicaThrottle,
}

impl<D: Disk> Partition<D> {
    /// The log as `replication` looks at it.
    pub(super) fn with_view<T>(&self, look: impl FnOnce(&LogView<'_>) -> T) -> T {
        let end_of_epoch = |epoch: LeaderEpoch| self.log.end_offset_for_epoch(epoch);
        look(&LogView {
            log_start: self.log.log_start(),
            log_end: self.log.log_end(),
            last_epoch: self.log.last_epoch(),
            end_of_epoch: &end_of_epoch,
        })
    }

    fn is_shared(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => !leader.is_alone(),
            Role::Follower(_) => true,
            Role::Leaderless => false,
        }
    }
}

impl<D: Disk> Shard<D> {
    /// Gives every open partition the role that the current image has for it, where that may be
    /// another one than in the image before.
    pub(super) fn take_roles(&mut self, before: &MetadataImage) {
        let image = Arc::clone(&self.image);
        let has_same_brokers = image.has_same_brokers(before);
        let open: Vec<PartitionIndex> = self.partitions.iter().map(|(index, _)| index).collect();
        for index in open {
            let id = self.partitions[index].id;
            let (known, now) = (before.topic_by_id(&id.topic), image.topic_by_id(&id.topic));
            let is_same = has_same_brokers
                && known.zip(now).is_some_and(|(known, now)| Arc::ptr_eq(known, now));
            if is_same && !matches!(self.partitions[index].role, Role::Leaderless) {
                continue;
            }
            if let Some(partition) = image.partition(&id) {
                self.take_role(index, &image, partition);
            }
        }
        self.replicas.shared = self.partitions.iter().filter(|(_, p)| p.is_shared()).count();
        if self.replicas.shared > 0 {
            self.replicas.throttle.update(&image, self.now);
        }
    }

    /// Gives a partition that was opened late its role.
    pub(super) fn retake_role_of(&mut self, id: &TopicPartition) {
        if let Some(index) = self.partition_index(id) {
            self.retake_role(index);
        }
    }

    /// Gives a partition whose log was cut the role that it could not take meanwhile.
    pub(super) fn retake_role(&mut self, index: PartitionIndex) {
        let image = std::sync::Arc::clone(&self.image);
        let id = self.partitions[index].id;
        if let Some(partition) = image.partition(&id) {
            self.take_role(index, &image, partition);
        }
        self.replicas.shared = self.partitions.iter().filter(|(_, p)| p.is_shared()).count();
    }

    fn take_role(&mut self, index: PartitionIndex, image: &MetadataImage, wanted: &PartitionImage) {
        let local = image.local();
        if self.partitions[index].is_cutting {
            return;
        }
        let state = &wanted.state;
        let epoch = state.leader_epoch;
        let partition = &mut self.partitions[index];
        let before = partition.leader_epoch;
        partition.leader_epoch = epoch;
        // Metadata from before this process registered speaks of an earlier one: under the same
        // epoch that one may have led, and said what this one does not know.
        let own = image.broker(local).map(|broker| broker.registration.incarnation);
        let leader = state.leader.filter(|_| own == Some(self.incarnation));
        match (&mut partition.role, leader) {
            (Role::Leader(leader), Some(id)) if id == local && leader.epoch() == epoch => {
                leader.on_partition_state(&view_of(image, state, partition.log.config()), self.now);
                self.settle_partition(index);
                self.queue_push(index);
            }
            (Role::Leader(_), Some(id)) if id == local && epoch.0 == before.0 + 1 => {
                self.lead(index, image, state);
            }
            (_, Some(id)) if id == local => {
                self.resign(index);
                self.lead(index, image, state);
            }
            (Role::Follower(following), Some(id))
                if following.leader == id
                    && following.replica.epoch() == epoch
                    && Some(following.broker_epoch) == image.broker(local).map(|b| b.epoch()) => {}
            (_, Some(id)) => {
                self.resign(index);
                self.follow(index, image, state, id);
            }
            (_, None) => {
                self.resign(index);
                self.partitions[index].role = Role::Leaderless;
            }
        }
    }

    fn lead(&mut self, index: PartitionIndex, image: &MetadataImage, state: &PartitionState) {
        let partition = &mut self.partitions[index];
        partition.log.begin_epoch(state.leader_epoch);
        let log_end = partition.log.log_end();
        let start = LeaderStart {
            local: image.local(),
            epoch: state.leader_epoch,
            epoch_start: log_end,
            log_end,
            safe_end: partition.safe_end(),
            high_watermark: partition.high_watermark(),
            lag_max_ms: self.config.cluster.replica_lag_max_ms,
            now: self.now,
        };
        let view = view_of(image, state, partition.log.config());
        let leader = LeaderReplica::new(start, &view);
        if !leader.is_alone() {
            tracing::info!(partition = %partition.id, epoch = state.leader_epoch.0, %log_end, "leads");
        }
        partition.role = Role::Leader(Box::new(leader));
        self.settle_partition(index);
    }

    fn follow(
        &mut self,
        index: PartitionIndex,
        image: &MetadataImage,
        state: &PartitionState,
        leader: BrokerId,
    ) {
        let partition = &mut self.partitions[index];
        let broker_epoch = image.broker(image.local()).map(|broker| broker.epoch());
        let (Some(broker_epoch), Some(core)) = (broker_epoch, state.core_on(leader)) else {
            partition.role = Role::Leaderless;
            return;
        };
        let epoch = state.leader_epoch;
        partition.log.forget_empty_epoch();
        let high_watermark = partition.high_watermark();
        let replica = FollowerReplica::new(epoch, broker_epoch, high_watermark);
        tracing::info!(partition = %partition.id, epoch = epoch.0, leader = leader.0, "follows");
        let following = Following { replica, leader, core, broker_epoch };
        partition.role = Role::Follower(Box::new(following));
        self.tick_follower(index);
    }

    /// Whoever waits for the role before is told that it is over.
    fn resign(&mut self, index: PartitionIndex) {
        if let Role::Leader(leader) = &mut self.partitions[index].role {
            let closes = leader.resign();
            for (to, close) in closes {
                self.tell(index, to, Body::Close(close));
            }
        }
        self.fail_waiting(index, KafkaCode::NotLeaderOrFollower);
    }

    /// Answers everybody who waits at a partition with a refusal.
    pub(super) fn fail_waiting(&mut self, index: PartitionIndex, code: KafkaCode) {
        while let Some((token, outcome)) = self.partitions[index].next_failed(code) {
            self.resolve(token, outcome);
        }
        self.wake_fetches(index, crate::shard::waiters::Rise::Both);
    }

    /// Sends a message about a partition to the broker's core that holds a replica of it.
    pub(super) fn tell(&mut self, index: PartitionIndex, to: BrokerId, body: Body) -> bool {
        let partition = self.partitions[index].id;
        let Some(core) = self.core_on(&partition, to) else { return false };
        self.tell_core(partition, (to, core), body)
    }

    /// Sends a message about a partition to a core of another broker.
    pub(super) fn tell_core(
        &mut self,
        partition: TopicPartition,
        (to, core): (BrokerId, CoreId),
        body: Body,
    ) -> bool {
        let message = Message { partition, body }.to_bytes();
        self.send_peer(to, core, crate::protocol::peer::PeerKind::Replication, &[message.into()])
    }

    pub(super) fn core_on(&self, id: &TopicPartition, broker: BrokerId) -> Option<CoreId> {
        self.image.partition(id)?.state.core_on(broker)
    }

    /// The index of a partition that is open and led here.
    pub fn leader_index(&self, id: &TopicPartition) -> Option<PartitionIndex> {
        let index = self.partition_index(id)?;
        matches!(self.partitions[index].role, Role::Leader(_)).then_some(index)
    }

    /// Why an append to a partition led here must be refused for want of replicas.
    pub(super) fn replica_refusal(&self, index: PartitionIndex) -> Option<AppendOutcome> {
        let Role::Leader(leader) = &self.partitions[index].role else { return None };
        leader.is_below_min_isr().then(|| {
            let message = format!(
                "The size of the current ISR {} is insufficient to satisfy the min.isr \
                 requirement for partition {}",
                leader.isr().len(),
                self.partitions[index].id
            );
            AppendOutcome::refused(KafkaCode::NotEnoughReplicas, Some(message))
        })
    }

    /// The connection for frames to a broker is gone, and frames with it.
    pub(super) fn on_peer_down(&mut self, broker: BrokerId) {
        if self.replicas.shared == 0 {
            return;
        }
        for (_, partition) in &mut self.partitions {
            match &mut partition.role {
                Role::Leader(leader) => leader.on_peer_down(broker),
                Role::Follower(following) if following.leader == broker => {
                    following.replica.on_peer_down();
                }
                Role::Follower(_) | Role::Leaderless => {}
            }
        }
    }

    /// Lets time pass for all replicas.
    pub(super) fn tick_replicas(&mut self) {
        if self.replicas_due_us() > self.now.monotonic_us {
            return;
        }
        self.replicas.due_us = self.now.deadline_us(REPLICA_TICK_MS);
        let open: Vec<PartitionIndex> = self.partitions.iter().map(|(index, _)| index).collect();
        for index in open {
            let now = self.now;
            match &mut self.partitions[index].role {
                Role::Leader(leader) if !leader.is_alone() => {
                    for (to, close) in leader.tick(now) {
                        self.tell(index, to, Body::Close(close));
                    }
                    self.queue_push(index);
                }
                Role::Follower(_) => {
                    self.tick_follower(index);
                    self.grant_more(index);
                }
                Role::Leader(_) | Role::Leaderless => {}
            }
        }
        self.signals.proposals.raise();
    }

    pub(super) fn tick_follower(&mut self, index: PartitionIndex) {
        let now = self.now;
        let partition = &mut self.partitions[index];
        let Role::Follower(mut following) =
            std::mem::replace(&mut partition.role, Role::Leaderless)
        else {
            return;
        };
        let open = partition.with_view(|log| following.replica.tick(log, now));
        let leader = (following.leader, following.core);
        partition.role = Role::Follower(following);
        if let Some(open) = open {
            let id = partition.id;
            self.tell_core(id, leader, Body::Open(open));
        }
    }

    /// When `tick_replicas` has something to do, in monotonic microseconds.
    pub(super) fn replicas_due_us(&self) -> u64 {
        let is_idle = self.replicas.shared == 0 && self.repairs.unopened.is_empty();
        if is_idle { u64::MAX } else { self.replicas.due_us }
    }
}

/// The controller's state of a partition as its leader looks at it.
fn view_of(
    image: &MetadataImage,
    state: &PartitionState,
    config: &crate::model::topic_config::TopicConfig,
) -> leader::PartitionState {
    let replicas = state.replicas.iter().map(|replica| {
        let broker = image.broker(replica.broker).filter(|broker| broker.is_active());
        leader::Replica { id: replica.broker, broker_epoch: broker.map(|broker| broker.epoch()) }
    });
    leader::PartitionState {
        partition_epoch: state.partition_epoch,
        replicas: replicas.collect(),
        isr: state.isr.clone(),
        min_isr: usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX),
    }
}
