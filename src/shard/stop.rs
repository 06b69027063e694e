//! An orderly end: what was appended reaches its segment, and the next start has nothing to replay.

use crate::model::ids::CoreId;
use crate::shard::questions::{Question, ask};
use crate::shard::segment_writer;
use crate::shard::shard::{ShardRef, WriteState};
use crate::storage::disk::Disk;
use futures::future::join_all;

/// Makes one core durable and empties its journal. Connections are told to close.
pub async fn stop_core<D: Disk>(shard: &ShardRef<D>) {
    shard.borrow_mut().is_stopping = true;
    if shard.borrow().write_state == WriteState::Offline {
        return;
    }
    segment_writer::drain_all(shard).await;
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
}
