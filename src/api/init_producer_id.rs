//! InitProducerId: identity of an idempotent producer, and of a transactional one with the end of
//! whoever used its id before (KIP-98, KIP-360). Each core takes ids from the controller by the
//! block, so most requests ask nobody for an id.

use crate::api::context::RequestContext;
use crate::api::transactions::{FENCED_BY_NAME_SINCE_INIT, with_spare_id, worded_for};
use crate::coordinator::transaction::calls::InitProducer;
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::shard::producer_ids;
use crate::storage::disk::Disk;

/// Answers InitProducerId.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let is_torn = (request.producer_id == -1) != (request.producer_epoch == -1);
    let identity = match request.transactional_id.clone() {
        None if is_torn => Err(KafkaCode::InvalidRequest),
        Some(id) if id.is_empty() => Err(KafkaCode::InvalidRequest),
        None => producer_ids::next(&context.shard).await.map(|id| (id, ProducerEpoch(0))),
        Some(id) => init_transactional(&context, id, &request).await,
    };
    match identity {
        Ok((ProducerId(producer_id), ProducerEpoch(producer_epoch))) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..Default::default() }
        }
        Err(code) => InitProducerIdResponse {
            error_code: worded_for(code, context.version >= FENCED_BY_NAME_SINCE_INIT).number(),
            producer_epoch: -1,
            ..Default::default()
        },
    }
}

async fn init_transactional<D: Disk>(
    context: &RequestContext<D>,
    transactional_id: String,
    request: &InitProducerIdRequest,
) -> Result<(ProducerId, ProducerEpoch), KafkaCode> {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(KafkaCode::InvalidRequest),
        (id, epoch) => Some((ProducerId(id), ProducerEpoch(epoch))),
    };
    let timeout_ms = request.transaction_timeout_ms;
    let id = transactional_id.clone();
    let answer = with_spare_id(&context.shard, &id, |spare_id| {
        let transactional_id = transactional_id.clone();
        let init = InitProducer { transactional_id, timeout_ms, expected, spare_id };
        TransactionRequest::Init(init)
    });
    match answer.await {
        TransactionAnswer::Init { producer_id, producer_epoch } => {
            Ok((producer_id, producer_epoch))
        }
        other => Err(other.refusal()),
    }
}
