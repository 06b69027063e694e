//! What time asks for: deadlines, retention, rolling by age, free space, expiry of producer ids,
//! coordinators that could not be loaded before.
//!
//! The driver calls `tick` as often as deadlines need; the slow work runs in a loop of its own that
//! the tick wakes, so that a tick never waits for the disk.

use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::limits::{HOUSEKEEPING_INTERVAL_MS, RESERVE_BYTES, UNPOINTED_BYTES_MAX};
use crate::shard::coordinator_load;
use crate::shard::parked::FetchPhase;
use crate::shard::segment_writer;
use crate::shard::shard::{Finished, PartitionIndex, Shard, ShardRef, WriteState};
use crate::storage::checkpoint;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use std::rc::Rc;

impl<D: Disk> Shard<D> {
    /// Answers what has waited long enough. Call with a fresh clock, every few ms while anything is
    /// parked.
    pub fn tick(&mut self) {
        let now_us = self.now.monotonic_us;
        for (index, fetch) in self.fetches.iter_mut() {
            let is_due = fetch.deadline_us <= now_us;
            if is_due && fetch.phase == FetchPhase::Watching && !fetch.was_woken {
                fetch.was_woken = true;
                self.finished.push(Finished::Fetch(index));
            }
        }
        for (index, produce) in self.produces.iter_mut() {
            if produce.deadline_us <= now_us && !produce.is_answered && produce.outstanding > 0 {
                self.finished.push(Finished::Produce(index));
            }
        }
        self.tick_coordinators::<GroupCoordinator>();
        self.tick_coordinators::<TransactionCoordinator>();
        self.tick_coordinators::<ShareCoordinator>();
        self.tick_shares();
        self.tick_sessions();
        self.pauses.end(now_us);
        self.tick_cleaner();
        self.tick_peers();
        self.tick_replicas();
        self.tick_quorum();
        if now_us >= self.housekeeping_due_us {
            self.housekeeping_due_us = self.now.deadline_us(HOUSEKEEPING_INTERVAL_MS);
            self.signals.housekeeping.raise();
        }
        if !self.finished.is_empty() {
            self.outbox.raise();
        }
    }

    /// When `tick` has something to do at the latest, in monotonic microseconds.
    pub fn next_deadline_us(&mut self) -> u64 {
        let fetches = self.fetches.iter_mut().map(|(_, fetch)| fetch.deadline_us).min();
        let produces = self.produces.iter_mut().map(|(_, produce)| produce.deadline_us).min();
        let coordinators = self.groups.next_deadline_us().min(self.transactions.next_deadline_us());
        let coordinators = coordinators.min(self.share_states.next_deadline_us());
        let due = self.housekeeping_due_us.min(coordinators);
        let due = due.min(self.shares.next_deadline_us());
        let due = due.min(self.pauses.next_us()).min(self.peers.next_deadline_us());
        let due = due.min(self.replicas_due_us());
        let due = due.min(self.quorum.next_deadline_us());
        let due = due.min(self.cleaner_deadline_us().unwrap_or(due));
        due.min(fetches.unwrap_or(due)).min(produces.unwrap_or(due))
    }

    /// True when the fetch's time is up.
    pub fn is_overdue(&self, deadline_us: u64) -> bool {
        deadline_us <= self.now.monotonic_us
    }
}

/// What one round of housekeeping looks for in every partition.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Whether segments that retention lets go are dropped in this round.
    drops_segments: bool,
    producer_expiration_ms: i64,
}

impl<D: Disk> Shard<D> {
    /// `log.retention.check.interval.ms` says how often segments are dropped; files of those that
    /// were dropped before go in any round.
    fn next_look(&mut self) -> Look {
        let now_us = self.now.monotonic_us;
        let drops_segments = now_us >= self.retention_due_us;
        if drops_segments {
            self.retention_due_us = self.now.deadline_us(self.config.retention_check_ms);
        }
        let producer_expiration_ms = self.image.broker_number("producer.id.expiration.ms");
        Look { drops_segments, producer_expiration_ms }
    }
}

/// The slow work of one core; ends with its executor.
pub async fn housekeeping_loop<D: Disk>(shard: ShardRef<D>) {
    let signals = shard.borrow().signals.clone();
    loop {
        signals.housekeeping.wait().await;
        watch_space(&shard).await;
        coordinator_load::start_missing(&shard);
        if shard.borrow().journal.is_crowded() {
            // On a core that takes no more records nothing else would empty it.
            signals.drain.raise();
        }
        if shard.borrow().unpointed_bytes >= UNPOINTED_BYTES_MAX {
            // Logged there; tried again in the next round.
            let _ = persist_points(&shard).await;
        }
        let look = shard.borrow_mut().next_look();
        let indexes: Vec<PartitionIndex> = {
            let shard = shard.borrow();
            shard.partitions.iter().map(|(index, _)| index).collect()
        };
        for index in indexes {
            retain(&shard, index, look).await;
        }
    }
}

/// Refuses produce before the disk is really full, and takes it again when there is room.
async fn watch_space<D: Disk>(shard: &ShardRef<D>) {
    let disk = shard.borrow().disk.clone();
    let space = match disk.space().await {
        Ok(space) => space,
        Err(error) => {
            tracing::warn!(%error, "free space is unknown");
            return;
        }
    };
    let mut shard = shard.borrow_mut();
    let is_short = space.free_bytes < RESERVE_BYTES;
    match (shard.write_state, is_short) {
        (WriteState::Open, true) => {
            shard.write_state = WriteState::DiskFull;
            tracing::error!(
                free_bytes = space.free_bytes,
                reserve_bytes = RESERVE_BYTES,
                "disk full: produce is refused until there is room, see E0008"
            );
        }
        (WriteState::DiskFull, false) => {
            shard.write_state = WriteState::Open;
            tracing::info!(free_bytes = space.free_bytes, "disk has room: produce is accepted");
            shard.mark_pending_dirty();
        }
        _ => {}
    }
}

/// Rolls and drops segments of one partition as its topic's retention says.
async fn retain<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex, look: Look) {
    if look.drops_segments {
        drain_old(shard, index).await;
    }
    let (plan, disk, id) = {
        let mut shard = shard.borrow_mut();
        let (now, disk) = (shard.now, shard.disk.clone());
        let shard = &mut *shard;
        let Some(partition) = shard.partitions.get_mut(index) else { return };
        partition.log.expire_producers(now, look.producer_expiration_ms);
        partition.log.roll_if_old(now);
        partition.log.trim_tail(&shard.arena);
        let high_watermark = partition.high_watermark();
        let plan = match look.drops_segments {
            true => partition.log.plan_retention(now, high_watermark),
            false => partition.log.plan_removal(now),
        };
        (plan, disk, partition.id)
    };
    let Some(plan) = plan else { return };
    if plan.moves_log_start() && persist_points(shard).await.is_err() {
        return;
    }
    let result = plan.execute(&disk).await;
    let mut shard = shard.borrow_mut();
    let Some(partition) = shard.partitions.get_mut(index).filter(|p| p.id == id) else { return };
    match result {
        Ok(done) => partition.log.retained(done),
        Err(error) => tracing::error!(%error, partition = %id, "retention"),
    }
}

/// Brings into its segment what age lets go: only from there can it be dropped.
async fn drain_old<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex) {
    let due = {
        let shard = shard.borrow();
        let partition =
            shard.partitions.get(index).filter(|_| shard.write_state == WriteState::Open);
        partition.filter(|partition| partition.log.is_sync_due(shard.now)).map(|found| found.id)
    };
    if let Some(id) = due {
        segment_writer::drain_one(shard, index, id).await;
    }
}

/// Makes the recovery points of this core durable, before files below a log start go, before a
/// client is told of one, and before a start would have too much to read.
pub async fn persist_points<D: Disk>(shard: &ShardRef<D>) -> Result<(), StorageError> {
    let turn = Rc::clone(&shard.borrow().checkpoint_turn);
    let _turn = turn.lock().await;
    let (disk, dir, points, unpointed) = {
        let shard = shard.borrow();
        let points = shard.recovery_points();
        (shard.disk.clone(), shard.journal_dir(), points, shard.unpointed_bytes)
    };
    checkpoint::write(&disk, &dir, &points)
        .await
        .inspect_err(|error| tracing::error!(%error, "recovery points"))?;
    let mut shard = shard.borrow_mut();
    shard.on_points_durable(&points);
    shard.unpointed_bytes -= unpointed;
    Ok(())
}
