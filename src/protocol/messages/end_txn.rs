//! EndTxn, key 26: commits or aborts a transaction (KIP-98).
//!
//! Versions 0 to 5:
//! - v1 throttling per KIP-219.
//! - v2 may answer PRODUCER_FENCED (KIP-588).
//! - v3 flexible.
//! - v4 may answer TRANSACTION_ABORTABLE (KIP-890).
//! - v5 an epoch of its own for each transaction; the answer says the next one (KIP-890).

use crate::protocol::schema::schema;

schema! {
    api EndTxn: EndTxnRequest => EndTxnResponse, versions 0..=5;

    /// The request.
    struct EndTxnRequest {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        committed: bool, "0+";
    }

    /// The response.
    struct EndTxnResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        producer_id: i64 = -1, "5+", ignorable();
        producer_epoch: i16 = -1, "5+", ignorable();
    }
}
