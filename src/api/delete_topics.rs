//! DeleteTopics: topics go, by name or by id (KIP-516).

use crate::api::answers::outcome;
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, TopicRef};
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicId;
use crate::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// First version with a list of names or ids.
const IDS_SINCE: i16 = 6;
/// First version whose clients know TOPIC_DELETION_DISABLED (KIP-322).
const DISABLED_SINCE: i16 = 3;

/// Answers DeleteTopics.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let topics = match context.version >= IDS_SINCE {
        true => {
            let by_ref = |topic: crate::protocol::messages::delete_topics::DeleteTopicState| {
                TopicRef { name: topic.name, id: TopicId(topic.topic_id) }
            };
            request.topics.into_iter().map(by_ref).collect()
        }
        false => {
            let by_name = |name| TopicRef { name: Some(name), id: TopicId::default() };
            request.topic_names.into_iter().map(by_name).collect()
        }
    };
    let change = Change::DeleteTopics { topics };
    let ChangeReply::DeletedTopics(answers) = metadata::change(&context.shard, change).await else {
        unreachable!("topics to delete are answered by topics");
    };
    let responses = answers
        .into_iter()
        .map(|answer| {
            let (code, error_message) = outcome(&answer.result);
            let is_strange = code == KafkaCode::TopicDeletionDisabled.number()
                && context.version < DISABLED_SINCE;
            let error_code = if is_strange { KafkaCode::InvalidRequest.number() } else { code };
            let topic_id = answer.id.0;
            DeletableTopicResult { name: answer.name, topic_id, error_code, error_message }
        })
        .collect();
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}
