//! FindCoordinator: where the requests of a group, a transactional id or a share partition's state
//! go: to whoever leads the key's partition of `__consumer_offsets`, `__transaction_state` or
//! `__share_group_state`. These topics are made on first use.

use crate::api::brokers::{self, Reachable};
use crate::api::context::RequestContext;
use crate::controller::decide::Change;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::base64url::decode_uuid;
use crate::model::errors::KafkaCode;
use crate::model::ids::TopicPartition;
use crate::protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::shard::coordinator_host::{Hosted, coordinating_partition};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// First version that asks for many keys at once (KIP-699).
const MANY_KEYS_SINCE: i16 = 4;

/// First version that asks for share coordinators (KIP-932).
const SHARE_SINCE: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Answers FindCoordinator.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let FindCoordinatorRequest { key, key_type, coordinator_keys } = request;
    let has_many = context.version >= MANY_KEYS_SINCE;
    let keys = if has_many { coordinator_keys } else { vec![key] };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        coordinators.push(match find(&context, key_type, &key).await {
            Ok(broker) => found(broker, key),
            Err(refusal) => refused(refusal, key),
        });
    }
    if has_many {
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let found = coordinators.pop().expect("one key was asked for");
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

async fn find<D: Disk>(
    context: &RequestContext<D>,
    key_type: i8,
    key: &str,
) -> Result<Reachable, KafkaCode> {
    let found = match key_type {
        GROUP => coordinating::<D, GroupCoordinator>(context, key).await,
        TRANSACTION => coordinating::<D, TransactionCoordinator>(context, key).await,
        SHARE if context.version >= SHARE_SINCE && is_share_key(key) => {
            coordinating::<D, ShareCoordinator>(context, key).await
        }
        _ => return Err(KafkaCode::InvalidRequest),
    };
    let leading = found.and_then(|partition| brokers::leading(context, &partition));
    leading.ok_or(KafkaCode::CoordinatorNotAvailable)
}

/// `groupId:topicId:partition`, as Kafka reads it: a group id with a colon in it has no such key.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.split(':');
    let (group, topic, partition) = (parts.next(), parts.next(), parts.next());
    parts.next().is_none()
        && group.is_some_and(|group| !group.trim().is_empty())
        && topic.is_some_and(|topic| decode_uuid(topic).is_some())
        && partition.is_some_and(|partition| partition.parse::<i32>().is_ok())
}

/// The partition whose leader coordinates a key; its topic is made if it is missing.
pub async fn coordinating<D: Disk, C: Hosted>(
    context: &RequestContext<D>,
    key: &str,
) -> Option<TopicPartition> {
    let found = coordinating_partition::<C>(&context.shard.borrow().image, key);
    if found.is_some() {
        return found;
    }
    let names = vec![C::TOPIC.to_owned()];
    // Whatever became of the change, what counts is whether the topic is there now.
    let _ = metadata::change(&context.shard, Change::AutoCreateTopics { names }).await;
    coordinating_partition::<C>(&context.shard.borrow().image, key)
}

fn found(broker: Reachable, key: String) -> Coordinator {
    Coordinator {
        key,
        node_id: broker.id.0,
        host: broker.endpoint.host,
        port: i32::from(broker.endpoint.port),
        error_code: KafkaCode::None.number(),
        error_message: None,
    }
}

fn refused(code: KafkaCode, key: String) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: code.number(),
        error_message: Some(code.message().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_share_key;

    #[test]
    fn a_share_partition_is_named_by_group_topic_and_index() {
        assert!(is_share_key("g:AAAAAAAAAAAAAAAAAAAAAQ:0"));
        for wrong in [
            "g",
            ":AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g:h:AAAAAAAAAAAAAAAAAAAAAQ:0",
            "g:topic:0",
            "g:AAAAAAAAAAAAAAAAAAAAAQ:x",
        ] {
            assert!(!is_share_key(wrong), "{wrong}");
        }
    }
}
