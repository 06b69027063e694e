//! EndTxn: the decision. Answered once it is in the coordinator's log; the markers follow.

use crate::api::context::RequestContext;
use crate::api::transactions::{FENCED_BY_NAME_SINCE, with_spare_id, worded_for};
use crate::coordinator::transaction::calls::EndTransaction;
use crate::coordinator::transaction::metadata::{Flow, Outcome};
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::model::ids::{ProducerEpoch, ProducerId};
use crate::protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use crate::storage::disk::Disk;

/// First version whose clients take a new epoch from each answer (KIP-890).
const EPOCH_PER_TRANSACTION_SINCE: i16 = 5;

/// Answers EndTxn.
pub async fn handle<D: Disk>(context: RequestContext<D>, request: EndTxnRequest) -> EndTxnResponse {
    let flow = match context.version >= EPOCH_PER_TRANSACTION_SINCE {
        true => Flow::EpochPerTransaction,
        false => Flow::EpochPerProducer,
    };
    let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
    let answer = with_spare_id(&context.shard, &request.transactional_id, |spare_id| {
        TransactionRequest::End(EndTransaction {
            transactional_id: request.transactional_id.clone(),
            producer_id: ProducerId(request.producer_id),
            producer_epoch: ProducerEpoch(request.producer_epoch),
            outcome,
            flow,
            spare_id,
        })
    });
    match answer.await {
        TransactionAnswer::End { producer_id, producer_epoch } => EndTxnResponse {
            throttle_time_ms: 0,
            error_code: KafkaCode::None.number(),
            producer_id: producer_id.0,
            producer_epoch: producer_epoch.0,
        },
        other => {
            let code = worded_for(other.refusal(), context.version >= FENCED_BY_NAME_SINCE);
            EndTxnResponse { error_code: code.number(), ..Default::default() }
        }
    }
}
