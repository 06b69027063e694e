//! Producer ids that a core gives out. It takes them from the controller by the block; a block is
//! in the metadata log before any id of it is used, so no id is given out twice, also not after a
//! crash.

use crate::controller::decide::{Change, ChangeReply};
use crate::model::errors::KafkaCode;
use crate::model::ids::ProducerId;
use crate::model::limits::PRODUCER_ID_BLOCK;
use crate::shard::metadata;
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;

/// An id that nobody has had.
///
/// # Errors
/// What the controller says when its log takes no more. COORDINATOR_LOAD_IN_PROGRESS, as Kafka has
/// it, while this broker registers anew and has not heard of it: clients ask again.
pub async fn next<D: Disk>(shard: &ShardRef<D>) -> Result<ProducerId, KafkaCode> {
    if let Some(id) = shard.borrow_mut().producer_ids.next() {
        return Ok(ProducerId(id));
    }
    let change = Change::AllocateProducerIds;
    let ChangeReply::ProducerIds(block) = metadata::change(shard, change).await else {
        unreachable!("producer ids are answered by producer ids");
    };
    let first = block.map_err(|refusal| told_to_clients(refusal.code))?.first.0;
    // Of blocks that several tasks asked for at once the last one stays; the others' ids are lost,
    // as those of a restart are.
    shard.borrow_mut().producer_ids = first + 1..first + PRODUCER_ID_BLOCK;
    Ok(ProducerId(first))
}

fn told_to_clients(code: KafkaCode) -> KafkaCode {
    match code {
        KafkaCode::StaleBrokerEpoch => KafkaCode::CoordinatorLoadInProgress,
        other => other,
    }
}
