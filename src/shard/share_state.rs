//! The state of a share group's partitions, as the group coordinator asks for it (KIP-932).
//!
//! What each call changes is committed when it returns. A change of the state from here also makes
//! the partition's owner forget what it holds in memory: it reads the state anew with the next
//! request of a member, and locks of before are void.

use crate::coordinator::share::{ShareAnswer, ShareKey, ShareRequest, ShareSummary};
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicPartition;
use crate::shard::shard::ShardRef;
use crate::shard::share_calls::{self, ShareCall};
use crate::shard::share_host::ask_share_state;
use crate::storage::disk::Disk;

/// A start offset that the first reader chooses, as `share.auto.offset.reset` says.
pub const START_UNSET: i64 = -1;

/// Lets a group begin with a partition. `start_offset` [`START_UNSET`] leaves the choice to the
/// first reader. Asked again under the same epoch it changes nothing.
///
/// # Errors
/// FENCED_STATE_EPOCH under an epoch older than the state's; COORDINATOR_NOT_AVAILABLE and the like
/// where it may be tried again.
pub async fn initialize<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    partition: TopicPartition,
    state_epoch: i32,
    start_offset: i64,
) -> Result<(), KafkaCode> {
    let key = ShareKey { group: group.to_owned(), partition };
    let request = ShareRequest::Initialize { key: key.clone(), state_epoch, start_offset };
    changed(shard, &key, ask_share_state(shard, &key, request).await).await
}

/// Sets the start offset of a group without members anew: what was in flight or acknowledged at or
/// behind it is delivered again. The epoch must be above the one before.
///
/// # Errors
/// As [`initialize`]; INVALID_REQUEST for a negative offset.
pub async fn alter_start_offset<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    partition: TopicPartition,
    state_epoch: i32,
    start_offset: i64,
) -> Result<(), KafkaCode> {
    if start_offset < 0 {
        return Err(KafkaCode::InvalidRequest);
    }
    initialize(shard, group, partition, state_epoch, start_offset).await
}

/// Forgets a partition of a group; no error when it is not known.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE and the like where it may be tried again.
pub async fn delete<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    partition: TopicPartition,
) -> Result<(), KafkaCode> {
    let key = ShareKey { group: group.to_owned(), partition };
    let request = ShareRequest::Delete { key: key.clone() };
    changed(shard, &key, ask_share_state(shard, &key, request).await).await
}

/// Where a group stands in a partition; -1 everywhere when it is not known.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE and the like where it may be tried again.
pub async fn read_summary<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    partition: TopicPartition,
) -> Result<ShareSummary, KafkaCode> {
    let key = ShareKey { group: group.to_owned(), partition };
    let request = ShareRequest::Summary { key: key.clone() };
    match ask_share_state(shard, &key, request).await {
        ShareAnswer::Summary(summary) => Ok(summary),
        ShareAnswer::Refused(code) => Err(code),
        other => unreachable!("a summary is not answered by {other:?}"),
    }
}

/// Lets the partition's owner know of a change.
async fn changed<D: Disk>(
    shard: &ShardRef<D>,
    key: &ShareKey,
    answer: ShareAnswer,
) -> Result<(), KafkaCode> {
    match answer {
        ShareAnswer::Unchanged => return Ok(()),
        ShareAnswer::Done => {}
        ShareAnswer::Refused(code) => return Err(code),
        other => unreachable!("a change of the state is not answered by {other:?}"),
    }
    let owner = shard.borrow().image.leader_core(&key.partition);
    if let Ok(core) = owner {
        let (group, partition) = (key.group.clone(), key.partition);
        share_calls::call(shard, core, ShareCall::Forget { group, partition }).await;
    }
    Ok(())
}
