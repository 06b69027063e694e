//! InitProducerId: identity of an idempotent producer (KIP-98). Each core takes ids from the
//! controller by the block, so most requests ask nobody.
//!
//! A transactional id is refused: transactions are not served yet, and an id without its fencing
//! would be a promise broken.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, Refusal};
use crate::model::errors::KafkaCode;
use crate::model::ids::ProducerId;
use crate::model::limits::PRODUCER_ID_BLOCK;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers InitProducerId.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return refused(KafkaCode::InvalidRequest);
    }
    match next_id(&context).await {
        Ok(ProducerId(producer_id)) => {
            InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() }
        }
        Err(refusal) => refused(refusal.code),
    }
}

fn refused(code: KafkaCode) -> InitProducerIdResponse {
    let error_code = code.number();
    InitProducerIdResponse { error_code, producer_epoch: -1, ..InitProducerIdResponse::default() }
}

async fn next_id<D: Disk>(context: &RequestContext<D>) -> Result<ProducerId, Refusal> {
    if let Some(id) = context.shard.borrow_mut().producer_ids.next() {
        return Ok(ProducerId(id));
    }
    let change = Change::AllocateProducerIds;
    let ChangeReply::ProducerIds(block) = metadata::change(&context.shard, change).await else {
        unreachable!("producer ids are answered by producer ids");
    };
    let first = block?.first.0;
    // Of blocks that several tasks asked for at once the last one stays; the others' ids are lost,
    // as those of a restart are.
    let mut shard = context.shard.borrow_mut();
    shard.producer_ids = first + 1..first + PRODUCER_ID_BLOCK;
    Ok(ProducerId(first))
}
