//! The share partitions of one core, who waits for their records, and what must be written of them.
//!
//! A share partition lives on the core that owns the partition; a member's request is carried out
//! there (share_calls.rs) and waits on the core of its connection. What it waits for (records that
//! become readable or are released) wakes it through a watch, of which each connection has one per
//! partition (share_watches.rs).
//!
//! Invariants
//! - Of one share partition at most one write is under way (share_writes.rs).
//! - A watch is set before the look that finds nothing, so nothing is missed in between.

use crate::coordinator::share::partition::{DeliveryRules, PartitionWrite};
use crate::coordinator::share::{ShareKey, SharePartition};
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, TopicPartition};
use crate::model::limits::{SHARE_PARTITIONS_MAX, SHARE_TURN_MS};
use crate::model::share_config::ShareConfig;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::ShardMessage;
use crate::shard::shard::Shard;
use crate::shard::share_session::EndedSession;
use crate::shard::share_watches::{ShareWatch, ShareWatches};
use crate::shard::signal::Signal;
use crate::storage::disk::Disk;
use futures::channel::oneshot;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

/// Whoever waits for a write of a share partition.
type WriteWaiter = (u64, oneshot::Sender<Result<(), KafkaCode>>);

/// A share partition in use.
pub(super) struct OpenShare {
    pub(super) partition: SharePartition,
    pub(super) leader_epoch: LeaderEpoch,
    /// Tells it from another that was opened in its place.
    pub(super) generation: u64,
    /// Held while a member reads: the next one finds what is left.
    pub(super) turn: Rc<futures::lock::Mutex<()>>,
    waiters: Vec<WriteWaiter>,
    is_write_queued: bool,
}

/// The waiting of one request.
struct Poll {
    id: u64,
    deadline_us: u64,
    signal: Signal,
}

/// All of one core's share partitions, watches and waiting requests.
#[derive(Default)]
pub struct ShareTable {
    open: HashMap<ShareKey, OpenShare>,
    /// One turn for each share partition that is being opened.
    pub(super) openings: HashMap<ShareKey, Rc<futures::lock::Mutex<()>>>,
    generations: u64,
    pub(super) watches: ShareWatches,
    polls: HashMap<usize, Poll>,
    last_poll: u64,
    /// No lock ends and no request is due before.
    due_us_min: Option<u64>,
    pub(super) to_write: VecDeque<(ShareKey, u64)>,
    pub(super) ended: Vec<EndedSession>,
}

impl ShareTable {
    pub(super) fn get(&mut self, key: &ShareKey) -> Option<&mut OpenShare> {
        self.open.get_mut(key)
    }

    /// Takes a share partition into use; false when there are too many.
    pub(super) fn insert(
        &mut self,
        key: ShareKey,
        partition: SharePartition,
        leader_epoch: LeaderEpoch,
    ) -> bool {
        if self.open.len() >= SHARE_PARTITIONS_MAX {
            self.open.retain(|_, open| !open.partition.is_idle() || !open.waiters.is_empty());
            if self.open.len() >= SHARE_PARTITIONS_MAX {
                return false;
            }
        }
        self.generations += 1;
        let open = OpenShare {
            partition,
            leader_epoch,
            generation: self.generations,
            turn: Rc::default(),
            waiters: Vec::new(),
            is_write_queued: false,
        };
        self.open.insert(key, open);
        true
    }

    /// Forgets a share partition: whoever waits for a write is refused.
    pub(super) fn remove(&mut self, key: &ShareKey, code: KafkaCode) {
        let Some(open) = self.open.remove(key) else { return };
        for (_, waiter) in open.waiters {
            let _ = waiter.send(Err(code)); // The request's task was dropped.
        }
    }

    /// Completes once write `number` is committed or refused.
    pub(super) fn await_write(
        &mut self,
        key: &ShareKey,
        number: u64,
    ) -> Option<oneshot::Receiver<Result<(), KafkaCode>>> {
        let open = self.open.get_mut(key)?;
        let (sender, receiver) = oneshot::channel();
        open.waiters.push((number, sender));
        Some(receiver)
    }

    /// The next write, of the share partition that was queued and no other.
    pub(super) fn begin_write(
        &mut self,
        key: &ShareKey,
        generation: u64,
    ) -> Option<(PartitionWrite, LeaderEpoch)> {
        let open = self.open.get_mut(key).filter(|open| open.generation == generation)?;
        open.is_write_queued = false;
        Some((open.partition.begin_write()?, open.leader_epoch))
    }

    /// Tells whoever waits for write `number` or an earlier one.
    pub(super) fn answer_writes(
        &mut self,
        key: &ShareKey,
        number: u64,
        result: Result<(), KafkaCode>,
    ) {
        let Some(open) = self.open.get_mut(key) else { return };
        for (_, waiter) in open.waiters.extract_if(.., |(awaited, _)| *awaited <= number) {
            let _ = waiter.send(result); // The request's task was dropped.
        }
    }

    pub(super) fn note_due(&mut self, due_us: u64) {
        self.due_us_min = Some(self.due_us_min.map_or(due_us, |before| before.min(due_us)));
    }

    /// When `Shard::tick_shares` has something to do at the earliest, in monotonic microseconds.
    pub fn next_deadline_us(&self) -> u64 {
        self.due_us_min.unwrap_or(u64::MAX)
    }

    /// Starts the waiting of a connection's request; it has one at a time.
    pub fn open_poll(&mut self, connection: ConnectionId, deadline_us: u64) -> (u64, Signal) {
        self.last_poll += 1;
        let signal = Signal::default();
        let poll = Poll { id: self.last_poll, deadline_us, signal: signal.clone() };
        self.polls.insert(connection.index, poll);
        self.note_due(deadline_us);
        (self.last_poll, signal)
    }

    /// Ends it. Watches that are left behind go with the next one of the connection.
    pub fn close_poll(&mut self, connection: ConnectionId, id: u64) {
        if self.polls.get(&connection.index).is_some_and(|poll| poll.id == id) {
            self.polls.remove(&connection.index);
        }
    }

    /// A partition of a waiting request has records; false when it does not wait any more.
    pub fn on_wake(&mut self, place: usize, poll: u64) -> bool {
        let waiting = self.polls.get(&place).filter(|waiting| waiting.id == poll);
        waiting.inspect(|waiting| waiting.signal.raise()).is_some()
    }
}

impl<D: Disk> Shard<D> {
    /// What holds for a share group.
    pub fn share_config(&self, group: &str) -> ShareConfig {
        let own = self.group_overrides.get(group).copied().unwrap_or_default();
        self.config.groups.with(own).share
    }

    pub(super) fn delivery_rules(&self, group: &str) -> DeliveryRules {
        let config = self.share_config(group);
        DeliveryRules {
            delivery_count_max: config.delivery_count_max,
            locks_max: config.record_locks_max,
            lock_us: config.record_lock_ms.saturating_mul(1000),
        }
    }

    /// A partition has more to read, or a share partition has records again: requests that watch it
    /// look again, one after the other.
    pub(super) fn wake_shares(&mut self, partition: &TopicPartition) {
        let due_us = self.now.deadline_us(SHARE_TURN_MS);
        let called = self.shares.watches.news(partition, due_us);
        self.call_shares(*partition, called);
    }

    /// A request has looked for records of a partition, or does not wait any more: the next in its
    /// line is called.
    pub(super) fn pass_share_turn(&mut self, partition: TopicPartition, watch: ShareWatch) {
        let due_us = self.now.deadline_us(SHARE_TURN_MS);
        let called = self.shares.watches.pass(&partition, watch, due_us);
        self.call_shares(partition, called.into_iter().collect());
    }

    fn call_shares(&mut self, partition: TopicPartition, mut called: Vec<ShareWatch>) {
        let due_us = self.now.deadline_us(SHARE_TURN_MS);
        if !called.is_empty() {
            self.shares.note_due(due_us);
        }
        while let Some(watch) = called.pop() {
            if watch.core != self.core {
                self.send(watch.core, ShardMessage::WakeShare { partition, watch });
            } else if !self.shares.on_wake(watch.place, watch.poll) {
                called.extend(self.shares.watches.pass(&partition, watch, due_us));
            }
        }
    }

    /// Has what changed of a share partition written.
    pub(super) fn queue_share_write(&mut self, key: &ShareKey) {
        let Some(open) = self.shares.open.get_mut(key) else { return };
        if !open.is_write_queued && open.partition.has_news() {
            open.is_write_queued = true;
            self.shares.to_write.push_back((key.clone(), open.generation));
            self.signals.shares.raise();
        }
    }

    /// Ends locks and waits whose time is up.
    pub(super) fn tick_shares(&mut self) {
        let now_us = self.now.monotonic_us;
        if self.shares.next_deadline_us() > now_us {
            return;
        }
        let mut next = None;
        let mut note = |due_us: u64| next = Some(next.map_or(due_us, |min: u64| min.min(due_us)));
        for poll in self.shares.polls.values() {
            match poll.deadline_us <= now_us {
                true => poll.signal.raise(),
                false => note(poll.deadline_us),
            }
        }
        let mut expired = Vec::new();
        for (key, open) in &mut self.shares.open {
            match open.partition.next_deadline_us() {
                Some(due_us) if due_us <= now_us => expired.push(key.clone()),
                Some(due_us) => note(due_us),
                None => {}
            }
        }
        let called = self.shares.watches.overdue(now_us, self.now.deadline_us(SHARE_TURN_MS));
        self.shares.watches.next_deadline_us().into_iter().for_each(&mut note);
        self.shares.due_us_min = next;
        for key in expired {
            self.expire_share(&key);
        }
        for (partition, watch) in called {
            self.call_shares(partition, vec![watch]);
        }
    }

    fn expire_share(&mut self, key: &ShareKey) {
        let rules = self.delivery_rules(&key.group);
        let now_us = self.now.monotonic_us;
        let Some(open) = self.shares.open.get_mut(key) else { return };
        let has_changed = open.partition.expire(now_us, &rules);
        if let Some(due_us) = open.partition.next_deadline_us() {
            self.shares.note_due(due_us);
        }
        if has_changed {
            self.queue_share_write(key);
            self.wake_shares(&key.partition);
        }
    }

    /// The connection is gone: so are its share sessions, and nobody waits for an answer.
    pub(super) fn end_share_sessions(&mut self, connection: ConnectionId) {
        if let Some(poll) = self.shares.polls.get(&connection.index) {
            poll.signal.raise();
        }
        let ended = self.share_sessions.close_all_of(connection);
        if !ended.is_empty() {
            self.shares.ended.extend(ended);
            self.signals.shares.raise();
        }
    }

    /// The image changed: share partitions go with their topics and their leaders, and a leader
    /// that was elected anew begins anew: another one may have led in between.
    pub(super) fn drop_orphan_shares(&mut self) {
        let open = self.shares.open.iter();
        let fate = |(key, open): (&ShareKey, &OpenShare)| {
            let code = match self.image.leader_core(&key.partition) {
                Err(code) => code,
                Ok(_) if self.image.leader_epoch(&key.partition) == Some(open.leader_epoch) => {
                    return None;
                }
                Ok(_) => KafkaCode::NotLeaderOrFollower,
            };
            Some((key.clone(), code))
        };
        let orphans: Vec<(ShareKey, KafkaCode)> = open.filter_map(fate).collect();
        for (key, code) in orphans {
            self.shares.remove(&key, code);
        }
        for partition in self.shares.watches.partitions() {
            if self.image.leader_core(&partition).is_err() {
                self.wake_shares(&partition);
            }
        }
    }

    /// The log may begin later than it did.
    pub(super) fn follow_log_start(&mut self, key: &ShareKey) {
        let Some(index) = self.partition_index(&key.partition) else { return };
        let log_start = self.partitions[index].log.log_start();
        if let Some(open) = self.shares.open.get_mut(key)
            && open.partition.on_log_start(log_start)
        {
            self.queue_share_write(key);
        }
    }
}
