//! Takes back the end of a partition's log, where its leader has other records.
//!
//! The steps are `storage/partition_log/cut.rs`'s; here they are carried out while the core goes
//! on with everything else. While it runs, the partition counts as draining, so nobody else writes
//! its segments.

use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::CUT_ROOM_RETRY_MS;
use crate::shard::housekeeping::persist_points;
use crate::shard::partition::Partition;
use crate::shard::reads::end_of;
use crate::shard::segment_writer;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef, WriteState};
use crate::shard::signal::{Signal, yield_now};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::{Cut, CutPlan, PartitionLog, RecoveryReport};
use std::rc::Rc;

/// What became of a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOutcome {
    /// The log ends below the cut, and no crash brings back what it had above.
    Done,
    /// The partition is gone, the disk is full or offline, what would stay is damaged, or the
    /// broker stops: the log is as it was. Try again later, if there is a later.
    NotNow,
}

impl<D: Disk> Shard<D> {
    fn partition_to_cut(
        &mut self,
        index: PartitionIndex,
        id: TopicPartition,
    ) -> Option<&mut Partition<D>> {
        if self.write_state != WriteState::Open || self.is_stopping {
            return None;
        }
        self.partitions.get_mut(index).filter(|partition| partition.id == id)
    }

    /// True when nothing of the log is under way, `None` when it cannot be cut.
    fn is_at_rest(
        &mut self,
        (index, id): (PartitionIndex, TopicPartition),
        signal: &Signal,
    ) -> Option<bool> {
        let partition = self.partition_to_cut(index, id)?;
        partition.cut_signal = Some(signal.clone());
        Some(!partition.is_draining && partition.log.is_at_rest())
    }

    fn begin_cut(&mut self, index: PartitionIndex, cut: Cut) {
        let partition = &mut self.partitions[index];
        partition.is_draining = true;
        partition.log.begin_cut(cut);
        self.mark_dirty(index);
    }

    fn end_cut(&mut self, index: PartitionIndex, id: TopicPartition) {
        // The journal may have waited for it, and the write loop for the journal.
        self.signals.drain.raise();
        let found = self.partitions.get_mut(index).filter(|partition| partition.id == id);
        let Some(partition) = found else { return };
        partition.cut_signal = None;
        partition.log.abandon_cut();
        partition.is_draining = false;
        partition.is_drain_awaited = false;
    }
}

/// Cuts a partition's log. Nothing may be appended to it meanwhile.
///
/// # Errors
/// The disk's; the log directory is offline then.
pub async fn cut_log<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    cut: Cut,
) -> Result<CutOutcome, StorageError> {
    let signal = Signal::default();
    let result = match begin(shard, (index, id), cut, &signal).await {
        Ok(true) => {
            let result = carry_out(shard, (index, id), &signal).await;
            shard.borrow_mut().end_cut(index, id);
            result
        }
        other => {
            shard.borrow_mut().end_wait(index, id);
            other.map(|_| CutOutcome::NotNow)
        }
    };
    let mut shard = shard.borrow_mut();
    if let Err(StorageError::Disk(error)) = &result {
        shard.go_offline(error);
    }
    shard.outbox.raise();
    result
}

impl<D: Disk> Shard<D> {
    fn end_wait(&mut self, index: PartitionIndex, id: TopicPartition) {
        let found = self.partitions.get_mut(index).filter(|partition| partition.id == id);
        if let Some(partition) = found {
            partition.cut_signal = None;
        }
    }
}

/// Begins the cut once nothing of the log is under way and what stays of it is sound. False when it
/// has not begun.
async fn begin<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    cut: Cut,
    signal: &Signal,
) -> Result<bool, StorageError> {
    let mut is_sound = false;
    loop {
        let is_at_rest = shard.borrow_mut().is_at_rest((index, id), signal);
        match is_at_rest {
            Some(true) if is_sound => {
                shard.borrow_mut().begin_cut(index, cut);
                return Ok(true);
            }
            Some(true) => match is_sound_below(shard, (index, id), cut).await? {
                true => is_sound = true,
                false => return Ok(false),
            },
            Some(false) => come_to_rest(shard, (index, id), signal).await,
            None => return Ok(false),
        }
    }
}

/// Looks at what the cut leaves and reads again. False when it is damaged, which is noted, or when
/// the partition is gone.
async fn is_sound_below<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    cut: Cut,
) -> Result<bool, StorageError> {
    let disk = shard.borrow().disk.clone();
    let mut from = None;
    loop {
        let plan = match shard.borrow_mut().partition_to_cut(index, id) {
            Some(partition) => partition.log.plan_look(cut, from),
            None => return Ok(false),
        };
        let Some(plan) = plan else { return Ok(true) };
        let cuts = plan.cuts();
        match plan.execute_in_memory(&disk).await {
            Ok(batches) if batches.is_empty() => return Ok(true),
            Ok(batches) => from = Some(end_of(&[batches])),
            Err(error) if error.damaged_file().is_some() => {
                let failed = (cuts, &error);
                shard.borrow_mut().on_read_failed(id, failed, "look before a cut");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Drains and syncs the log, or waits for whoever does, or for the compactor's next step.
async fn come_to_rest<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    signal: &Signal,
) {
    let is_busy = {
        let partition = &shard.borrow().partitions[index];
        partition.is_draining || partition.log.is_syncing()
    };
    if is_busy {
        signal.wait().await;
        return;
    }
    segment_writer::drain_one(shard, index, id).await;
    let turn = Rc::clone(&shard.borrow().cleaner.turn);
    drop(turn.lock().await);
    yield_now().await;
}

async fn carry_out<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    signal: &Signal,
) -> Result<CutOutcome, StorageError> {
    if !journal_entry(shard, (index, id), signal).await? || persist_points(shard).await.is_err() {
        return Ok(CutOutcome::NotNow);
    }
    let turn = Rc::clone(&shard.borrow().cleaner.turn);
    let _turn = turn.lock().await;
    let plan = {
        let mut shard = shard.borrow_mut();
        let now = shard.now;
        match shard.partition_to_cut(index, id) {
            Some(partition) => partition.log.plan_cut(now),
            None => None,
        }
    };
    let Some(plan) = plan else { return Ok(CutOutcome::NotNow) };
    let (log, report) = execute(shard, &plan).await?;
    let mut shard = shard.borrow_mut();
    let found = shard.partitions.get_mut(index).filter(|partition| partition.id == id);
    let Some(partition) = found else { return Ok(CutOutcome::NotNow) };
    tracing::info!(partition = %id, end = %log.log_end(), %report, "log cut as its leader's");
    partition.replace_log(log);
    shard.unpointed_bytes += report.scanned_bytes;
    Ok(CutOutcome::Done)
}

/// Cuts the files. From its first step on there is no way back: where the disk is full, it goes on
/// once there is room.
async fn execute<D: Disk>(
    shard: &ShardRef<D>,
    plan: &CutPlan,
) -> Result<(PartitionLog<D>, RecoveryReport), StorageError> {
    let disk = shard.borrow().disk.clone();
    loop {
        let error = match plan.execute(&disk).await {
            Err(StorageError::Disk(error)) if error.is_no_space() => error,
            done => return done,
        };
        let pause = {
            let mut shard = shard.borrow_mut();
            shard.on_disk_full(&error);
            let due_us = shard.now.deadline_us(CUT_ROOM_RETRY_MS);
            (!shard.is_stopping).then(|| shard.pauses.until(due_us))
        };
        let Some(pause) = pause else { return Err(error.into()) };
        if pause.await.is_err() {
            return Err(error.into());
        }
    }
}

/// Waits until the journal has the cut entry, and makes it durable. False when the broker cannot.
async fn journal_entry<D: Disk>(
    shard: &ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    signal: &Signal,
) -> Result<bool, StorageError> {
    loop {
        match shard.borrow_mut().partition_to_cut(index, id) {
            Some(partition) if partition.log.wants_cut_entry() => {}
            Some(_) => break,
            None => return Ok(false),
        }
        signal.wait().await;
    }
    let (files, disk) = {
        let shard = shard.borrow();
        (shard.journal.active_files(), shard.disk.clone())
    };
    for file in files {
        disk.sync(&file).await?;
    }
    shard.borrow_mut().journal.on_cut_synced(&id);
    Ok(true)
}

/// Journals the cut entry of a shorter log once more, so that the file of the last one can be given
/// back: `end` is what that file waits for.
pub async fn renew_entry<D: Disk>(
    shard: ShardRef<D>,
    (index, id): (PartitionIndex, TopicPartition),
    end: Offset,
) {
    let signal = Signal::default();
    {
        let mut shard = shard.borrow_mut();
        let Some(partition) = shard.partition_to_cut(index, id) else { return };
        if partition.cut_signal.is_some() || !partition.log.renew_cut_entry(end) {
            return;
        }
        partition.cut_signal = Some(signal.clone());
        shard.mark_dirty(index);
    }
    let result = journal_entry(&shard, (index, id), &signal).await;
    let mut shard = shard.borrow_mut();
    shard.end_wait(index, id);
    match result {
        Ok(_) => shard.signals.drain.raise(),
        Err(StorageError::Disk(error)) => shard.go_offline(&error),
        Err(error) => tracing::error!(%error, partition = %id, "cut entry"),
    }
}
