//! ListTransactions: all transactional ids of this broker, from every coordinator partition, by
//! state, producer id, age and a pattern of the id (KIP-664, KIP-994, KIP-1152).

use crate::api::brokers::tells_of;
use crate::api::context::RequestContext;
use crate::coordinator::patterns;
use crate::coordinator::transaction::calls::TransactionFilter;
use crate::coordinator::transaction::metadata::TransactionState;
use crate::coordinator::transaction::{
    TransactionAnswer, TransactionCoordinator, TransactionRequest,
};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, ListedTransactionState,
};
use crate::shard::coordinator_host::coordinators;
use crate::shard::transaction_host::ask_transactions_of;
use crate::storage::disk::Disk;

/// Answers ListTransactions. A coordinator that is still being loaded makes the whole list
/// incomplete, which is said with its code.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let mut response = ListTransactionsResponse::default();
    let mut states = Vec::new();
    for name in request.state_filters {
        match TransactionState::from_name(&name) {
            Some(state) => states.push(state),
            None => response.unknown_state_filters.push(name),
        }
    }
    if states.is_empty() && !response.unknown_state_filters.is_empty() {
        return response; // Nothing is in a state that does not exist.
    }
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(|pattern| patterns::compile(&pattern)).transpose() else {
        let error_code = KafkaCode::InvalidRegularExpression.number();
        return ListTransactionsResponse { error_code, ..Default::default() };
    };
    let filter = TransactionFilter {
        states,
        producer_ids: request.producer_id_filters.into_iter().collect(),
        longer_than_ms: (request.duration_filter >= 0).then_some(request.duration_filter),
        pattern,
    };
    let owners = coordinators::<TransactionCoordinator>(&context.shard.borrow().image);
    for owner in owners.into_iter().filter(|(_, core)| tells_of(&context, *core)) {
        let request = TransactionRequest::List(filter.clone());
        match ask_transactions_of(&context.shard, owner, request).await {
            TransactionAnswer::List(listed) => {
                let state = listed.into_iter().map(|own| ListedTransactionState {
                    transactional_id: own.transactional_id,
                    producer_id: own.producer_id.0,
                    transaction_state: own.state.name().to_owned(),
                });
                response.transaction_states.extend(state);
            }
            other => {
                let error_code = other.refusal().number();
                return ListTransactionsResponse { error_code, ..Default::default() };
            }
        }
    }
    response
}
