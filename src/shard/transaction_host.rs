//! The transaction coordinators of this core: one per partition of `__transaction_state` that it
//! owns.

use crate::controller::image::{MetadataImage, TRANSACTIONS_TOPIC};
use crate::coordinator::partition_of;
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, PartitionId, TopicPartition};
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;

/// The partition whose owner coordinates `transactional_id`, and that owner. `None` before the
/// topic exists.
pub fn coordinator_of(
    image: &MetadataImage,
    transactional_id: &str,
) -> Option<(TopicPartition, CoreId)> {
    let topic = image.topic_by_name(TRANSACTIONS_TOPIC)?;
    let partitions = u32::try_from(topic.partition_count()).ok().filter(|count| *count > 0)?;
    let partition = i32::try_from(partition_of(transactional_id, partitions)).ok()?;
    let id = TopicPartition { topic: topic.id, partition: PartitionId(partition) };
    Some((id, image.owner_of(&id)?))
}

/// Puts a request to the coordinator of `transactional_id`, on whichever core it lives.
pub async fn ask_transaction<D: Disk>(
    shard: &ShardRef<D>,
    transactional_id: &str,
    request: TransactionRequest,
) -> TransactionAnswer {
    let owner = coordinator_of(&shard.borrow().image, transactional_id);
    let Some((partition, core)) = owner else {
        return TransactionAnswer::Refused(KafkaCode::NotCoordinator);
    };
    let question = Question::Transaction { partition, request: Box::new(request) };
    match ask(shard, core, question).await {
        Reply::Transaction(answer) => *answer,
        other => unreachable!("a transaction's request is not answered by {other:?}"),
    }
}

/// Answers a request on the core that owns the coordinator.
pub async fn answer_here<D: Disk>(
    _shard: &ShardRef<D>,
    _id: TopicPartition,
    _request: TransactionRequest,
) -> TransactionAnswer {
    TransactionAnswer::Refused(KafkaCode::CoordinatorNotAvailable)
}
