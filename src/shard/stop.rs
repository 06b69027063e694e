//! An orderly end: what was appended reaches its segment, and the next start has nothing to replay.

use crate::model::ids::CoreId;
use crate::model::limits::DRAINS_AT_ONCE;
use crate::shard::housekeeping::persist_points;
use crate::shard::questions::{Question, ask};
use crate::shard::quorum;
use crate::shard::segment_writer;
use crate::shard::shard::{PartitionIndex, ShardRef, WriteState};
use crate::storage::clean_stop;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use futures::future::join_all;

/// Makes one core durable and empties its journal. Connections are told to close.
pub async fn stop_core<D: Disk>(shard: &ShardRef<D>) {
    shard.borrow_mut().is_stopping = true;
    if shard.borrow().write_state == WriteState::Offline {
        return;
    }
    segment_writer::drain_all(shard).await;
    close_logs(shard).await;
    // What keeps them from being written was said where it failed; the next start reads more.
    let _ = persist_points(shard).await;
}

/// Writes what the next start would otherwise have to read from the logs' segments.
async fn close_logs<D: Disk>(shard: &ShardRef<D>) {
    let disk = shard.borrow().disk.clone();
    let indexes: Vec<PartitionIndex> = {
        let shard = shard.borrow();
        shard.partitions.iter().map(|(index, _)| index).collect()
    };
    let close = |index: PartitionIndex| {
        let (disk, shard) = (disk.clone(), shard.clone());
        async move {
            let plan = shard.borrow_mut().partitions.get_mut(index)?.log.plan_close()?;
            let failure = match plan.execute(&disk).await {
                Ok(done) => {
                    let mut shard = shard.borrow_mut();
                    shard.partitions.get_mut(index)?.log.synced(done).map(StorageError::from)
                }
                Err(error) => Some(error),
            };
            if let Some(error) = failure {
                tracing::warn!(%error, "state of producers at the stop");
            }
            Some(())
        }
    };
    for some in indexes.chunks(DRAINS_AT_ONCE) {
        join_all(some.iter().map(|index| close(*index))).await;
    }
}

/// Stops every core, this one last; called on the controller's core.
pub async fn stop_broker<D: Disk>(shard: &ShardRef<D>) {
    let (core, cores) = {
        let shard = shard.borrow();
        (shard.core, shard.cores)
    };
    let others = (0..cores).map(CoreId).filter(|other| *other != core);
    join_all(others.map(|other| ask(shard, other, Question::Stop))).await;
    stop_core(shard).await;
    quorum::close(shard).await;
    sign_off(shard).await;
}

/// Leaves word for the next start that this process ended in order (KIP-966).
async fn sign_off<D: Disk>(shard: &ShardRef<D>) {
    let (disk, dir, epoch) = {
        let shard = shard.borrow();
        let Some(epoch) = shard.membership.epoch else { return };
        if shard.write_state != WriteState::Open {
            return;
        }
        (shard.disk.clone(), shard.data_dir.clone(), epoch)
    };
    if let Err(error) = clean_stop::write(&disk, &dir, epoch).await {
        tracing::warn!(%error, "the next start will count as one after a crash");
    }
}
