//! What a share group's coordinator wants done with the state of its partitions (KIP-932).
//!
//! The group coordinator notes in its records what it is about to do, this file has the share
//! coordinator do it, and tells the group coordinator how it went. Done twice, after a crash, it
//! comes to the same.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::share::calls::{
    AlteredPartition, Initialized, ShareGroupAnswer, ShareGroupRequest, ToInitialize,
};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::coordinator::share::ShareSummary;
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, TopicId, TopicPartition};
use crate::model::limits::SHARE_STATES_AT_ONCE;
use crate::shard::group_host::ask_group;
use crate::shard::shard::ShardRef;
use crate::shard::share_state::{self, START_UNSET};
use crate::storage::disk::Disk;
use futures::future::join_all;

/// Puts a request to the coordinator of a share group.
///
/// # Errors
/// The refusal of the request as a whole.
pub async fn ask_share_group<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    request: ShareGroupRequest,
) -> Result<ShareGroupAnswer, KafkaCode> {
    match ask_group(shard, group, GroupRequest::Share(Box::new(request))).await {
        GroupAnswer::Share(answer) => Ok(answer),
        other => Err(other.refusal()),
    }
}

/// Tells the share coordinator of partitions that are new to a group, then the group that it may
/// assign them.
pub async fn initialize<D: Disk>(shard: ShardRef<D>, group: String, new: ToInitialize) {
    let ToInitialize { epoch, partitions } = new;
    let mut of =
        Initialized { group: group.clone(), done: Assignment::new(), failed: Assignment::new() };
    let each = |partition| share_state::initialize(&shard, &group, partition, epoch, START_UNSET);
    for (partition, told) in for_each(&flat(&partitions), each).await {
        let side = match told {
            Ok(()) => &mut of.done,
            Err(code) => {
                let code = code.name();
                tracing::warn!(group, %partition, code, "share partition not initialized");
                &mut of.failed
            }
        };
        side.entry(partition.topic).or_default().insert(partition.partition.0);
    }
    report(&shard, of).await;
}

/// Sets start offsets of an empty group; the code of each partition comes back in its place.
pub async fn alter<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    epoch: i32,
    (topic, partitions): (TopicId, Vec<AlteredPartition>),
) -> Vec<AlteredPartition> {
    let mut of =
        Initialized { group: group.to_owned(), done: Assignment::new(), failed: Assignment::new() };
    let mut altered = Vec::with_capacity(partitions.len());
    for mut own in partitions {
        if own.code == KafkaCode::None {
            let id = TopicPartition { topic, partition: PartitionId(own.partition) };
            let done = share_state::alter_start_offset(shard, group, id, epoch, own.offset).await;
            own.code = done.err().unwrap_or(KafkaCode::None);
            let side = if done.is_ok() { &mut of.done } else { &mut of.failed };
            side.entry(topic).or_default().insert(own.partition);
        }
        altered.push(own);
    }
    report(shard, of).await;
    altered
}

async fn report<D: Disk>(shard: &ShardRef<D>, of: Initialized) {
    if of.done.is_empty() && of.failed.is_empty() {
        return;
    }
    let group = of.group.clone();
    if let Err(code) = ask_share_group(shard, &group, ShareGroupRequest::Initialized(of)).await {
        // The group asks for the same again after a while.
        tracing::warn!(group, code = code.name(), "share group not told of its partitions");
    }
}

/// Lets the share coordinator forget partitions of one topic.
///
/// # Errors
/// The first that was met; the rest is tried all the same.
pub async fn forget<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    (topic, partitions): (TopicId, &[i32]),
) -> Result<(), KafkaCode> {
    let all = of_topic(topic, partitions);
    let done = for_each(&all, |partition| share_state::delete(shard, group, partition)).await;
    done.into_iter().try_for_each(|(_, done)| done)
}

/// Where a group stands in partitions of one topic; an error where that is not known.
pub async fn summaries<D: Disk>(
    shard: &ShardRef<D>,
    group: &str,
    (topic, partitions): (TopicId, &[i32]),
) -> Vec<(i32, Result<ShareSummary, KafkaCode>)> {
    let all = of_topic(topic, partitions);
    let read = for_each(&all, |partition| share_state::read_summary(shard, group, partition)).await;
    read.into_iter().map(|(id, summary)| (id.partition.0, summary)).collect()
}

/// Asks about each partition, a bounded number of them at a time.
async fn for_each<T>(
    partitions: &[TopicPartition],
    ask: impl AsyncFn(TopicPartition) -> Result<T, KafkaCode>,
) -> Vec<(TopicPartition, Result<T, KafkaCode>)> {
    let mut answers = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(SHARE_STATES_AT_ONCE) {
        let asked = some.iter().map(|partition| ask(*partition));
        answers.extend(some.iter().copied().zip(join_all(asked).await));
    }
    assert!(answers.len() == partitions.len());
    answers
}

fn of_topic(topic: TopicId, partitions: &[i32]) -> Vec<TopicPartition> {
    let partition = |index: &i32| TopicPartition { topic, partition: PartitionId(*index) };
    partitions.iter().map(partition).collect()
}

fn flat(assignment: &Assignment) -> Vec<TopicPartition> {
    let topics = assignment.iter();
    let each = topics.flat_map(|(topic, set)| {
        set.iter().map(|index| TopicPartition { topic: *topic, partition: PartitionId(*index) })
    });
    each.collect()
}
