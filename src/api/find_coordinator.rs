//! FindCoordinator: where a group's requests go. One broker, so it is always this one; what the
//! answer settles is that `__consumer_offsets` exists (it is made on first use).
//!
//! Transactional ids and share groups have no coordinator here and are told so.

use crate::api::context::RequestContext;
use crate::controller::decide::Change;
use crate::controller::image::OFFSETS_TOPIC;
use crate::coordinator::group::GroupCoordinator;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::shard::coordinator_host::coordinator_of;
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// First version that asks for many keys at once (KIP-699).
const MANY_KEYS_SINCE: i16 = 4;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

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
            Ok(()) => this_broker(&context, key),
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

type Refusal = (KafkaCode, Option<&'static str>);

async fn find<D: Disk>(
    context: &RequestContext<D>,
    key_type: i8,
    key: &str,
) -> Result<(), Refusal> {
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let message = "this broker does not serve transactions";
            return Err((KafkaCode::InvalidRequest, Some(message)));
        }
        _ => return Err((KafkaCode::InvalidRequest, None)),
    }
    if is_coordinated(context, key) {
        return Ok(());
    }
    let names = vec![OFFSETS_TOPIC.to_owned()];
    // Whatever became of the change, what counts is whether the topic is there now.
    let _ = metadata::change(&context.shard, Change::AutoCreateTopics { names }).await;
    if is_coordinated(context, key) {
        Ok(())
    } else {
        Err((KafkaCode::CoordinatorNotAvailable, None))
    }
}

fn is_coordinated<D: Disk>(context: &RequestContext<D>, group: &str) -> bool {
    coordinator_of::<GroupCoordinator>(&context.shard.borrow().image, group).is_some()
}

fn this_broker<D: Disk>(context: &RequestContext<D>, key: String) -> Coordinator {
    let shard = context.shard.borrow();
    let endpoint = shard.config.advertised(context.local);
    Coordinator {
        key,
        node_id: shard.config.node_id.0,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        error_code: KafkaCode::None.number(),
        error_message: None,
    }
}

fn refused((code, message): Refusal, key: String) -> Coordinator {
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: code.number(),
        error_message: Some(message.unwrap_or(code.message()).to_owned()),
    }
}
