//! What the requests for the state of share groups have in common (KIP-932): between brokers only,
//! and answered partition by partition by the share coordinator that lives here.

use crate::api::answers::QUESTIONS_AT_ONCE;
use crate::api::context::RequestContext;
use crate::coordinator::share::{ShareAnswer, ShareKey, ShareRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{PartitionId, TopicId, TopicPartition};
use crate::model::limits::GROUP_TEXT_BYTES_MAX;
use crate::shard::share_host;
use crate::storage::disk::Disk;
use futures::future::join_all;
use uuid::Uuid;

/// Puts a request to the coordinator of a share partition's state, if that is here.
///
/// # Errors
/// CLUSTER_AUTHORIZATION_FAILED of clients, INVALID_REQUEST for what names no share partition,
/// NOT_COORDINATOR and COORDINATOR_LOAD_IN_PROGRESS, and the coordinator's own refusal.
pub async fn ask<D: Disk>(
    context: &RequestContext<D>,
    (group, topic, partition): (&str, Uuid, i32),
    request: impl FnOnce(ShareKey) -> Result<ShareRequest, KafkaCode>,
) -> Result<ShareAnswer, KafkaCode> {
    if !context.is_peer() {
        return Err(KafkaCode::ClusterAuthorizationFailed);
    }
    if !(1..=GROUP_TEXT_BYTES_MAX).contains(&group.len()) || partition < 0 {
        return Err(KafkaCode::InvalidRequest);
    }
    let partition = TopicPartition { topic: TopicId(topic), partition: PartitionId(partition) };
    let key = ShareKey { group: group.to_owned(), partition };
    let request = request(key.clone())?;
    match share_host::ask_here(&context.shard, &key, request).await {
        ShareAnswer::Refused(code) => Err(code),
        answer => Ok(answer),
    }
}

/// Answers each partition of a topic, a bounded number of them at a time.
pub async fn for_each<P: Clone, R>(partitions: &[P], answer: impl AsyncFn(P) -> R) -> Vec<R> {
    let mut answers = Vec::with_capacity(partitions.len());
    for some in partitions.chunks(QUESTIONS_AT_ONCE) {
        answers.extend(join_all(some.iter().map(|own| answer(own.clone()))).await);
    }
    answers
}

/// Code and text of a partition's answer.
pub fn code_of<T>(answer: &Result<T, KafkaCode>) -> (i16, Option<String>) {
    match answer {
        Ok(_) => (KafkaCode::None.number(), None),
        Err(code) => (code.number(), Some(code.message().to_owned())),
    }
}
