//! ListTransactions, key 66: the transactional ids that this broker coordinates (KIP-664).
//!
//! Versions 0 to 2:
//! - v1 filter by duration (KIP-994).
//! - v2 filter by a pattern of the id (KIP-1152).

use crate::protocol::schema::schema;

schema! {
    api ListTransactions: ListTransactionsRequest => ListTransactionsResponse, versions 0..=2;

    /// The request.
    struct ListTransactionsRequest {
        state_filters: Vec<String>, "0+";
        producer_id_filters: Vec<i64>, "0+";
        duration_filter: i64 = -1, "1+";
        transactional_id_pattern: Option<String> = None, "2+", null("2+");
    }

    /// The response.
    struct ListTransactionsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        unknown_state_filters: Vec<String>, "0+";
        transaction_states: Vec<ListedTransactionState>, "0+";
    }

    /// One of `transaction_states` of [`ListTransactionsResponse`].
    struct ListedTransactionState {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        transaction_state: String, "0+";
    }
}
