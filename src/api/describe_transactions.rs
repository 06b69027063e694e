//! DescribeTransactions: transactional ids in full, each from its own coordinator (KIP-664).

use crate::api::context::RequestContext;
use crate::coordinator::transaction::calls::TopicPartitions;
use crate::coordinator::transaction::{TransactionAnswer, TransactionRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribedTransactionState,
    TransactionTopic,
};
use crate::shard::transaction_host::ask_transaction;
use crate::storage::disk::Disk;

/// Answers DescribeTransactions.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        transaction_states.push(describe(&context, id).await);
    }
    DescribeTransactionsResponse { throttle_time_ms: 0, transaction_states }
}

async fn describe<D: Disk>(
    context: &RequestContext<D>,
    transactional_id: String,
) -> DescribedTransactionState {
    let request = TransactionRequest::Describe(transactional_id.clone());
    let described = match ask_transaction(&context.shard, &transactional_id, request).await {
        TransactionAnswer::Describe(described) => described,
        other => {
            let error_code = other.refusal().number();
            return DescribedTransactionState {
                error_code,
                transactional_id,
                ..Default::default()
            };
        }
    };
    let topic = |TopicPartitions { topic, partitions }| TransactionTopic { topic, partitions };
    DescribedTransactionState {
        error_code: KafkaCode::None.number(),
        transactional_id,
        transaction_state: described.state.name().to_owned(),
        transaction_timeout_ms: described.timeout_ms,
        transaction_start_time_ms: described.started_ms,
        producer_id: described.producer_id.0,
        producer_epoch: described.producer_epoch.0,
        topics: described.topics.into_iter().map(topic).collect(),
    }
}
