//! AllocateProducerIds: a block of producer ids for one broker (KIP-730). Between brokers only.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, ProducerIdBlock};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::limits::PRODUCER_ID_BLOCK;
use crate::protocol::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers AllocateProducerIds.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    match allocate(&context, &request).await {
        Ok(block) => AllocateProducerIdsResponse {
            producer_id_start: block.first.0,
            producer_id_len: i32::try_from(PRODUCER_ID_BLOCK).expect("a block of thousands"),
            ..AllocateProducerIdsResponse::default()
        },
        Err(code) => AllocateProducerIdsResponse {
            error_code: code.number(),
            ..AllocateProducerIdsResponse::default()
        },
    }
}

async fn allocate<D: Disk>(
    context: &RequestContext<D>,
    request: &AllocateProducerIdsRequest,
) -> Result<ProducerIdBlock, KafkaCode> {
    context.check_peer(request.broker_id)?;
    let epoch = BrokerEpoch(request.broker_epoch);
    let known = context.shard.borrow().image.broker(BrokerId(request.broker_id)).cloned();
    if known.is_none_or(|known| known.epoch() != epoch) {
        return Err(KafkaCode::StaleBrokerEpoch);
    }
    match metadata::change(&context.shard, Change::AllocateProducerIds).await {
        ChangeReply::ProducerIds(result) => result.map_err(|refusal| refusal.code),
        other => unreachable!("producer ids are answered by a block, not by {other:?}"),
    }
}
