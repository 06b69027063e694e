//! DescribeTransactions, key 65: state and partitions of transactional ids (KIP-664).
//!
//! Version 0.

use crate::protocol::schema::schema;

schema! {
    api DescribeTransactions: DescribeTransactionsRequest => DescribeTransactionsResponse,
        versions 0..=0;

    /// The request.
    struct DescribeTransactionsRequest {
        transactional_ids: Vec<String>, "0+";
    }

    /// The response.
    struct DescribeTransactionsResponse {
        throttle_time_ms: i32, "0+";
        transaction_states: Vec<DescribedTransactionState>, "0+";
    }

    /// One of `transaction_states` of [`DescribeTransactionsResponse`].
    struct DescribedTransactionState {
        error_code: i16, "0+";
        transactional_id: String, "0+";
        transaction_state: String, "0+";
        transaction_timeout_ms: i32, "0+";
        transaction_start_time_ms: i64, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        topics: Vec<TransactionTopic>, "0+";
    }

    /// One of `topics` of [`DescribedTransactionState`].
    struct TransactionTopic {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }
}
