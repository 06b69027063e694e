//! The compactor of one core: which log next, how fast, and what the log is told of it.
//!
//! Runs behind everything else: in bites of some hundred microseconds with a pause for others after
//! each, on a share of the executor that is small when there is other work, and not at all while
//! the disk is full or failed.
//!
//! Invariants
//! - One round at a time and core, so one key map.
//! - A step holds `CleanerState::turn`; the files of a deleted partition are removed between steps.

use crate::model::cleaner_config::CleanerConfig;
use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::CLEANER_PAUSE_MS_MIN;
use crate::shard::housekeeping::persist_points;
use crate::shard::segment_writer;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::signal::yield_now;
use crate::storage::compaction::{Cleanable, Round, RoundDone, SnapshotDone, Step, SwapPlan};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use hashbrown::HashSet;
use std::io::ErrorKind;
use std::rc::Rc;

/// How far a compactor may be ahead of its rate before it rests, in microseconds.
const CLEANER_DEBT_US: u64 = 20_000;
/// How far it may catch up when it was behind, in microseconds.
const CLEANER_CREDIT_US: u64 = 1_000_000;

/// Syncs after which the state of a partition's producers is written for certain, and one try more.
const SYNCS_FOR_SNAPSHOT: u32 = 4;

/// What a core's compactor keeps between rounds.
#[derive(Default)]
pub struct CleanerState {
    /// Held during each step.
    pub turn: Rc<futures::lock::Mutex<()>>,
    /// When the loop is to be woken, in monotonic microseconds; 0 is not at all.
    pub due_us: u64,
    /// Before this no more bytes may be read or written, in monotonic microseconds.
    paid_until_us: u64,
    /// Partitions whose log cannot be compacted; tried again after a restart.
    uncleanable: HashSet<TopicPartition>,
}

/// A log worth a round.
struct Candidate {
    index: PartitionIndex,
    id: TopicPartition,
    cleanable: Cleanable,
    ratio_min: f64,
}

/// How a round ended.
enum RoundEnd {
    Done(RoundDone),
    /// The partition is gone, or the core must stop.
    GivenUp,
}

impl<D: Disk> Shard<D> {
    fn cleaner_config(&self) -> CleanerConfig {
        CleanerConfig::resolve(|key| self.image.broker_value(key))
    }

    fn may_clean(&self) -> bool {
        !self.is_stopping && self.write_state == WriteState::Open
    }

    /// What compaction may touch ends here at the latest.
    fn stable_end(&self, index: PartitionIndex) -> Offset {
        let partition = &self.partitions[index];
        partition.log.last_stable_offset(partition.high_watermark())
    }

    /// Logs with something to compact, the dirtiest first.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (index, partition) in &self.partitions {
            if self.cleaner.uncleanable.contains(&partition.id) {
                continue;
            }
            let stable_end = self.stable_end(index);
            if let Some(cleanable) = partition.log.cleanable(self.now, stable_end) {
                let ratio_min = partition.log.config().min_cleanable_ratio;
                candidates.push(Candidate { index, id: partition.id, cleanable, ratio_min });
            }
        }
        candidates.sort_by(|a, b| b.cleanable.dirty_ratio().total_cmp(&a.cleanable.dirty_ratio()));
        candidates
    }

    fn is_cleaner_due(&self) -> bool {
        self.cleaner.due_us > 0 && self.cleaner.due_us <= self.now.monotonic_us
    }

    /// Wakes the compactor when its pause is over.
    pub fn tick_cleaner(&mut self) {
        if self.is_cleaner_due() {
            self.cleaner.due_us = 0;
            self.signals.cleaner.raise();
        }
    }

    /// When the compactor's pause is over, in monotonic microseconds, if it pauses.
    pub fn cleaner_deadline_us(&self) -> Option<u64> {
        Some(self.cleaner.due_us).filter(|due_us| *due_us > 0)
    }

    /// Counts bytes against the rate; returns until when to rest, if at all.
    fn pay(&mut self, bytes: u64) -> Option<u64> {
        let rate = self.cleaner_config().core_bytes_per_second(self.cores)?;
        let now_us = self.now.monotonic_us;
        let cost_us = bytes.saturating_mul(1_000_000) / rate;
        // A rest that was too long, as ticks are seldom in an idle broker, is made up for.
        let paid_from_us = now_us.saturating_sub(CLEANER_CREDIT_US);
        let paid_until_us = self.cleaner.paid_until_us.max(paid_from_us).saturating_add(cost_us);
        self.cleaner.paid_until_us = paid_until_us;
        (paid_until_us > now_us + CLEANER_DEBT_US).then_some(paid_until_us)
    }

    fn on_snapshot(&mut self, index: PartitionIndex, id: TopicPartition, done: SnapshotDone) {
        if self.holds(index, id) {
            self.partitions[index].log.snapshot_written(done);
        }
    }

    fn cancel_swap(&mut self, index: PartitionIndex, id: TopicPartition) {
        if self.holds(index, id) {
            self.partitions[index].log.cancel_swap();
        }
    }

    fn holds(&self, index: PartitionIndex, id: TopicPartition) -> bool {
        self.partitions.get(index).is_some_and(|partition| partition.id == id)
    }
}

/// The compactor of one core; ends with its executor.
pub async fn cleaner_loop<D: Disk>(shard: ShardRef<D>) {
    loop {
        let config = shard.borrow().cleaner_config();
        let has_worked = config.is_enabled && clean_one(&shard).await;
        if !has_worked {
            let pause_ms = config.backoff_ms.max(CLEANER_PAUSE_MS_MIN);
            let due_us = shard.borrow().now.deadline_us(pause_ms);
            rest_until(&shard, due_us).await;
        }
    }
}

async fn rest_until<D: Disk>(shard: &ShardRef<D>, due_us: u64) {
    let signal = {
        let mut shard = shard.borrow_mut();
        shard.cleaner.due_us = due_us;
        shard.signals.cleaner.clone()
    };
    signal.wait().await;
}

/// Runs a round over the dirtiest log that is due. False when there is none.
async fn clean_one<D: Disk>(shard: &ShardRef<D>) -> bool {
    if !shard.borrow().may_clean() {
        return false;
    }
    settle_closed(shard).await;
    let candidates = shard.borrow().candidates();
    for candidate in candidates {
        if !is_due(shard, &candidate).await {
            continue;
        }
        let Candidate { index, id, cleanable, .. } = candidate;
        if cleanable.needs_recovery_point {
            move_recovery_point(shard, index, id, cleanable.end).await;
        }
        let round = shard.borrow_mut().begin_round(index, id);
        if let Some(round) = round {
            return run(shard, index, id, round).await;
        }
    }
    false
}

/// Brings closed segments of compacted topics into their files, where only time has closed them.
async fn settle_closed<D: Disk>(shard: &ShardRef<D>) {
    let due: Vec<(PartitionIndex, TopicPartition)> = {
        let shard = shard.borrow();
        let due = shard.partitions.iter().filter(|(_, one)| one.log.is_settling_due());
        due.map(|(index, one)| (index, one.id)).collect()
    };
    for (index, id) in due {
        if shard.borrow().may_clean() {
            segment_writer::drain_one(shard, index, id).await;
        }
    }
}

async fn is_due<D: Disk>(shard: &ShardRef<D>, candidate: &Candidate) -> bool {
    if candidate.cleanable.dirty_ratio() > candidate.ratio_min {
        return true;
    }
    let disk = shard.borrow().disk.clone();
    candidate.cleanable.is_overdue(&disk).await.unwrap_or_else(|error| {
        tracing::warn!(%error, partition = %candidate.id, "age of the oldest record is unknown");
        false
    })
}

/// Writes down what a recovery needs, so that it needs none of the segments below `end`.
///
/// The producers' state can be written once the log is synced to its end; of a partition that takes
/// records all the time it is written with the second sync from now.
async fn move_recovery_point<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    end: Offset,
) {
    for _ in 0..SYNCS_FOR_SNAPSHOT {
        let (plan, disk) = {
            let mut shard = shard.borrow_mut();
            if !shard.holds(index, id) {
                return;
            }
            let log = &mut shard.partitions[index].log;
            if log.recovery_point().producers_from >= end {
                break;
            }
            (log.plan_snapshot_for_compaction(), shard.disk.clone())
        };
        let Some(plan) = plan else {
            segment_writer::drain_one(shard, index, id).await;
            continue;
        };
        match plan.execute(&disk).await {
            Ok(done) => shard.borrow_mut().on_snapshot(index, id, done),
            Err(error) => {
                tracing::warn!(%error, partition = %id, "producers' state cannot be written");
                return;
            }
        }
    }
    // A failure was logged; the round is not begun then.
    let _ = persist_points(shard).await;
}

impl<D: Disk> Shard<D> {
    fn begin_round(&mut self, index: PartitionIndex, id: TopicPartition) -> Option<Round<D>> {
        if !self.holds(index, id) {
            return None;
        }
        let (now, stable_end) = (self.now, self.stable_end(index));
        let key_map_bytes = self.cleaner_config().key_map_bytes(self.cores);
        self.partitions[index].log.plan_compaction(now, stable_end, key_map_bytes)
    }

    fn end_round(&mut self, id: TopicPartition, result: &Result<RoundEnd, StorageError>) {
        let index = self.partition_index(&id);
        if let Some(index) = index {
            let log = &mut self.partitions[index].log;
            match result {
                Ok(RoundEnd::Done(done)) => log.compacted(*done),
                Ok(RoundEnd::GivenUp) | Err(_) => log.compaction_failed(),
            }
        }
        match result {
            Ok(RoundEnd::Done(done)) => {
                let RoundDone { bytes_before, bytes_after, .. } = *done;
                self.stats.rounds_compacted += 1;
                tracing::info!(partition = %id, bytes_before, bytes_after, "compacted");
            }
            Ok(RoundEnd::GivenUp) => {}
            // The partition was deleted, or retention was faster than a long round.
            Err(StorageError::Disk(error)) if error.source.kind() == ErrorKind::NotFound => {}
            Err(StorageError::Disk(error)) if error.is_no_space() => {
                tracing::warn!(%error, partition = %id, "no room to compact");
            }
            // Compacted again once it has been fetched anew.
            Err(error) if error.damaged_file().is_some() => {
                let cuts = index.map_or(0, |index| self.partitions[index].log.cuts());
                self.on_read_failed(id, (cuts, error), "compaction");
            }
            Err(error) => {
                tracing::error!(%error, partition = %id, "not compacted until the next start");
                self.cleaner.uncleanable.insert(id);
            }
        }
    }
}

/// Runs one round to its end. True when it was completed.
async fn run<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    mut round: Round<D>,
) -> bool {
    let disk = shard.borrow().disk.clone();
    let result = run_steps(shard, index, id, &mut round).await;
    shard.borrow_mut().end_round(id, &result);
    if let Ok(RoundEnd::Done(_)) = result {
        return true;
    }
    let turn = Rc::clone(&shard.borrow().cleaner.turn);
    let _turn = turn.lock().await;
    if shard.borrow().holds(index, id)
        && let Err(error) = round.abandon(&disk).await
    {
        tracing::warn!(%error, partition = %id, "files of a compaction stay until the next start");
    }
    false
}

async fn run_steps<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    round: &mut Round<D>,
) -> Result<RoundEnd, StorageError> {
    let (disk, turn) = {
        let shard = shard.borrow();
        (shard.disk.clone(), Rc::clone(&shard.cleaner.turn))
    };
    loop {
        let held = turn.lock().await;
        let goes_on = {
            let shard = shard.borrow();
            shard.may_clean() && shard.holds(index, id)
        };
        if !goes_on {
            return Ok(RoundEnd::GivenUp);
        }
        let bytes = match round.step(&disk).await? {
            Step::Worked { bytes } => bytes,
            Step::Done(done) => return Ok(RoundEnd::Done(done)),
            Step::Swap(plan) => {
                if !swap(shard, index, id, *plan).await? {
                    return Ok(RoundEnd::GivenUp);
                }
                0
            }
        };
        drop(held);
        let rest = shard.borrow_mut().pay(bytes);
        match rest {
            Some(due_us) => rest_until(shard, due_us).await,
            None => yield_now().await,
        }
    }
}

/// Carries a swap out. False when the log has changed so that it cannot be.
async fn swap<D: Disk>(
    shard: &ShardRef<D>,
    index: PartitionIndex,
    id: TopicPartition,
    plan: SwapPlan<D>,
) -> Result<bool, StorageError> {
    let (disk, is_begun) = {
        let mut shard = shard.borrow_mut();
        let is_held = shard.holds(index, id);
        let is_begun = is_held && shard.partitions[index].log.begin_swap(&plan);
        (shard.disk.clone(), is_begun)
    };
    if !is_begun {
        plan.abandon(&disk).await?;
        return Ok(false);
    }
    let swapped = match plan.prepare(&disk).await {
        Ok(()) => plan.execute(&disk).await,
        Err(StorageError::Disk(error)) if error.is_no_space() => {
            shard.borrow_mut().cancel_swap(index, id);
            plan.abandon(&disk).await?;
            return Err(error.into());
        }
        Err(error) => Err(error),
    };
    let mut shard = shard.borrow_mut();
    // A deleted partition takes its files along: whatever failed with them does not matter.
    if !shard.holds(index, id) {
        return Ok(false);
    }
    match swapped {
        Ok(done) => {
            shard.partitions[index].log.swapped(done);
            Ok(true)
        }
        Err(StorageError::Disk(error)) => {
            shard.go_offline(&error);
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}
