//! Replay of a coordinator's partition: at start, and after a failed append.
//!
//! The whole partition is read from its log start, in order, up to the high watermark. Compaction
//! keeps that short: the last record of each group and offset, and what came in since.
//!
//! Nobody needs to ask for it: what a coordinator has promised (an end of a transaction, a member's
//! session) is kept, though its clients may never come back.

use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::ids::{Offset, ProducerId, TopicPartition};
use crate::model::limits::COORDINATOR_LOAD_BYTES;
use crate::protocol::record::TransactionMarker;
use crate::protocol::record_batch::{BatchError, CheckedBatch};
use crate::shard::coordinator_host::{Birth, Hosted, coordinators};
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::ReadPlan;
use bytes::Bytes;

/// Bytes of a batch besides the one record that is as large as allowed.
const BATCH_OVERHEAD_BYTES: usize = 2048;

/// Why a coordinator's partition could not be replayed.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("the partition was closed meanwhile")]
    Closed,
    #[error("offset {offset} is not in the log any more")]
    OutOfRange { offset: Offset },
}

/// What a replay read.
#[derive(Default)]
struct Loaded {
    records: u64,
    /// Records whose bytes are not what their first number says, left out.
    unreadable: u64,
}

/// Starts the replay of a partition of this core. False when the partition is not open here.
pub(super) fn start<D: Disk, C: Hosted>(shard: &ShardRef<D>, id: TopicPartition) -> bool {
    let mut borrowed = shard.borrow_mut();
    let Some(index) = borrowed.leader_index(&id) else { return false };
    let log = &borrowed.partitions[index].log;
    // What a failed coordinator or the leader before appended is not safe yet: whoever comes next,
    // a request or housekeeping, looks again.
    if borrowed.partitions[index].high_watermark() < log.log_end() {
        return true;
    }
    let max_message_bytes = usize::try_from(log.config().max_message_bytes).unwrap_or(usize::MAX);
    let coordinator = C::begin(Birth {
        config: &borrowed.config,
        topics: &borrowed.topics,
        group_overrides: &borrowed.group_overrides,
        record_bytes_max: max_message_bytes.saturating_sub(BATCH_OVERHEAD_BYTES),
        leader_epoch: borrowed.partitions[index].leader_epoch,
    });
    if C::host(&mut borrowed).begin_load(id, coordinator) {
        borrowed.outbox.spawn(load::<D, C>(shard.clone(), id));
    }
    true
}

/// Starts the replay of every coordinator on this core that is not hosted, but of those that could
/// write nothing.
pub(super) fn start_missing<D: Disk>(shard: &ShardRef<D>) {
    start_all::<D, GroupCoordinator>(shard);
    start_all::<D, TransactionCoordinator>(shard);
    start_all::<D, ShareCoordinator>(shard);
}

fn start_all<D: Disk, C: Hosted>(shard: &ShardRef<D>) {
    let own: Vec<TopicPartition> = {
        let mut shard = shard.borrow_mut();
        if shard.write_state != WriteState::Open || shard.is_stopping {
            return;
        }
        let own = coordinators::<C>(&shard.image).into_iter();
        let mut own: Vec<_> = own.filter(|(_, core)| *core == shard.core).collect();
        own.retain(|(id, _)| !C::host(&mut shard).holds(id) && shard.has_replicas_enough(id));
        own.into_iter().map(|(id, _)| id).collect()
    };
    for id in own {
        start::<D, C>(shard, id);
    }
}

async fn load<D: Disk, C: Hosted>(shard: ShardRef<D>, id: TopicPartition) {
    match replay::<D, C>(&shard, id).await {
        Ok(loaded) => report::<C>(id, &loaded),
        Err(error) => {
            tracing::error!(%error, partition = %id, "{} cannot be loaded", C::NAME);
            C::host(&mut shard.borrow_mut()).abandon_load(&id);
        }
    }
}

fn report<C: Hosted>(id: TopicPartition, loaded: &Loaded) {
    let Loaded { records, unreadable } = *loaded;
    if unreadable > 0 {
        tracing::warn!(partition = %id, records, unreadable, "{}: records left out", C::NAME);
    } else if records > 0 {
        tracing::info!(partition = %id, records, "{} loaded", C::NAME);
    }
}

async fn replay<D: Disk, C: Hosted>(
    shard: &ShardRef<D>,
    id: TopicPartition,
) -> Result<Loaded, LoadError> {
    let disk = shard.borrow().disk.clone();
    let mut loaded = Loaded::default();
    let mut next = shard.borrow_mut().coordinator_log_start(id)?;
    loop {
        let plan = shard.borrow_mut().coordinator_read(id, next)?;
        let parts = match plan {
            ReadPlan::Empty => break,
            ReadPlan::OutOfRange => return Err(LoadError::OutOfRange { offset: next }),
            ReadPlan::Memory(parts) => parts,
            ReadPlan::File(read) => {
                let cuts = read.cuts();
                let read = read.execute_in_memory(&disk).await;
                if let Err(error) = &read {
                    shard.borrow_mut().on_read_failed(id, (cuts, error), C::NAME);
                }
                vec![read?]
            }
        };
        let before = next;
        for part in parts {
            let mut shard = shard.borrow_mut();
            let coordinator = C::host(&mut shard).loading(&id).ok_or(LoadError::Closed)?;
            next = apply(coordinator, part, next, &mut loaded)?;
        }
        if next == before {
            return Err(LoadError::OutOfRange { offset: next });
        }
    }
    let mut shard = shard.borrow_mut();
    let now = shard.now;
    let host = C::host(&mut shard);
    let step = host.loading(&id).ok_or(LoadError::Closed)?.on_loaded(now);
    host.end_load(&id, next);
    shard.take_step::<C>(id, step);
    Ok(loaded)
}

/// Replays the batches in `part` that lie at or behind `next`; returns the offset after them.
fn apply<C: Hosted>(
    coordinator: &mut C,
    mut part: Bytes,
    mut next: Offset,
    loaded: &mut Loaded,
) -> Result<Offset, LoadError> {
    while !part.is_empty() {
        let batch = CheckedBatch::check_first(&mut part)?;
        let header = batch.header();
        let end = Offset::from_wire(header.last_offset()).map_or(next, |last| last.advance(1));
        if end <= next {
            continue;
        }
        match header.attributes().is_control() {
            true => apply_marker(coordinator, &batch),
            false => apply_records(coordinator, &batch, loaded)?,
        }
        next = end;
    }
    Ok(next)
}

fn apply_records<C: Hosted>(
    coordinator: &mut C,
    batch: &CheckedBatch,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let is_transactional = batch.header().attributes().is_transactional();
    let producer = ProducerId(batch.header().producer_id());
    for record in batch.decode_records()?.iter() {
        let record = record?;
        let key = record.key.map(Bytes::copy_from_slice).unwrap_or_default();
        let value = record.value.map(Bytes::copy_from_slice);
        loaded.records += 1;
        let applied = match is_transactional {
            true => coordinator.replay_transactional(producer, &key, value.as_ref()),
            false => coordinator.replay(&key, value.as_ref()),
        };
        if applied.is_err() {
            loaded.unreadable += 1;
        }
    }
    Ok(())
}

fn apply_marker<C: Hosted>(coordinator: &mut C, batch: &CheckedBatch) {
    if let Some((marker, _)) = TransactionMarker::of(batch) {
        let producer = ProducerId(batch.header().producer_id());
        coordinator.on_marker(producer, marker == TransactionMarker::Commit);
    }
}

impl<D: Disk> Shard<D> {
    fn has_replicas_enough(&self, id: &TopicPartition) -> bool {
        self.leader_index(id).is_some_and(|index| self.replica_refusal(index).is_none())
    }

    fn coordinator_log_start(&mut self, id: TopicPartition) -> Result<Offset, LoadError> {
        let index = self.partition_index(&id).ok_or(LoadError::Closed)?;
        Ok(self.partitions[index].log.log_start())
    }

    fn coordinator_read(
        &mut self,
        id: TopicPartition,
        from: Offset,
    ) -> Result<ReadPlan<D>, LoadError> {
        let index = self.partition_index(&id).ok_or(LoadError::Closed)?;
        let up_to = self.partitions[index].high_watermark();
        if from >= up_to {
            return Ok(ReadPlan::Empty);
        }
        Ok(self.partitions[index].log.read(from, COORDINATOR_LOAD_BYTES, up_to, true))
    }
}
