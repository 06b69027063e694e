//! UnregisterBroker: a broker is gone for good (KIP-631).

use crate::api::answers::outcome;
use crate::api::brokers;
use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, Refusal};
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::unregister_broker::{
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers UnregisterBroker.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let id = brokers::names(&context).broker(BrokerId(request.broker_id));
    let result = unregister(&context, id).await;
    let (error_code, error_message) = outcome(&result);
    UnregisterBrokerResponse { error_code, error_message, ..UnregisterBrokerResponse::default() }
}

async fn unregister<D: Disk>(context: &RequestContext<D>, id: BrokerId) -> Result<(), Refusal> {
    let (is_alone, local) = {
        let shard = context.shard.borrow();
        (shard.config.cluster.is_alone(shard.config.node_id), shard.config.node_id)
    };
    // It would come back with its next start only, and serve clients until then.
    if is_alone && id == local {
        let message = format!("Broker {} is the only one of its cluster.", id.0);
        return Err(Refusal::new(KafkaCode::InvalidRequest, message));
    }
    match metadata::change(&context.shard, Change::UnregisterBroker { id }).await {
        ChangeReply::Done(result) => result,
        other => unreachable!("nothing is told of a broker that is gone, not {other:?}"),
    }
}
