//! DeleteShareGroupOffsets: an empty share group forgets topics (KIP-932).

use crate::api::context::RequestContext;
use crate::api::share_requests;
use crate::coordinator::group::consumer::calls::DescribedTopic;
use crate::coordinator::group::share::calls::{
    BeginForget, EndForget, Forgetting, ShareGroupAnswer, ShareGroupRequest,
};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse,
    DeleteShareGroupOffsetsResponseTopic,
};
use crate::shard::share_groups::{self, ask_share_group};
use crate::storage::disk::Disk;
use uuid::Uuid;

/// Answers DeleteShareGroupOffsets.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteShareGroupOffsetsRequest,
) -> DeleteShareGroupOffsetsResponse {
    if let Err(code) = share_requests::check_served(&context) {
        return refused(code, share_requests::NOT_SERVED.to_owned());
    }
    if request.topics.is_empty() {
        return DeleteShareGroupOffsetsResponse::default();
    }
    let group = request.group_id;
    if group.is_empty() {
        let code = KafkaCode::InvalidGroupId;
        return refused(code, code.message().to_owned());
    }
    let topics = request.topics.into_iter().map(|topic| topic.topic_name).collect();
    let begin = BeginForget { group: group.clone(), topics: Some(topics) };
    let begun = ask_share_group(&context.shard, &group, ShareGroupRequest::BeginForget(begin));
    let Forgetting { topics, unknown } = match begun.await {
        Ok(ShareGroupAnswer::BeginForget(Ok(forgetting))) => forgetting,
        Ok(ShareGroupAnswer::BeginForget(Err(refusal))) => {
            return refused(refusal.code, refusal.message);
        }
        Ok(other) => unreachable!("a forgetting is not answered by {other:?}"),
        Err(code) => return refused(code, code.message().to_owned()),
    };
    let mut responses = Vec::with_capacity(topics.len() + unknown.len());
    let mut gone = Vec::with_capacity(topics.len());
    for DescribedTopic { id, name, partitions } in topics {
        let forgotten = share_groups::forget(&context.shard, &group, (id, &partitions)).await;
        let code = forgotten.err().unwrap_or(KafkaCode::None);
        if code == KafkaCode::None {
            gone.push(id);
        }
        let message = (code != KafkaCode::None).then(|| code.message().to_owned());
        responses.push(topic(name, id.0, code, message));
    }
    if !gone.is_empty() {
        let end = EndForget { group: group.clone(), topics: gone };
        // Refused, it leaves the topics named as being deleted: the next deletion ends it.
        let _ = ask_share_group(&context.shard, &group, ShareGroupRequest::EndForget(end)).await;
    }
    let unknown = unknown.into_iter().map(|(name, exists)| {
        let code = KafkaCode::UnknownTopicOrPartition;
        let message = match exists {
            true => "There is no offset information to delete.".to_owned(),
            false => code.message().to_owned(),
        };
        topic(name, Uuid::nil(), code, Some(message))
    });
    responses.extend(unknown);
    DeleteShareGroupOffsetsResponse { responses, ..Default::default() }
}

fn topic(
    topic_name: String,
    topic_id: Uuid,
    code: KafkaCode,
    error_message: Option<String>,
) -> DeleteShareGroupOffsetsResponseTopic {
    let error_code = code.number();
    DeleteShareGroupOffsetsResponseTopic { topic_name, topic_id, error_code, error_message }
}

fn refused(code: KafkaCode, message: String) -> DeleteShareGroupOffsetsResponse {
    DeleteShareGroupOffsetsResponse {
        error_code: code.number(),
        error_message: Some(message),
        ..Default::default()
    }
}
