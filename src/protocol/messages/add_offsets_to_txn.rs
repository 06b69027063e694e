//! AddOffsetsToTxn, key 25: a group whose offsets a transaction will commit (KIP-98).
//!
//! Versions 0 to 4:
//! - v1 throttling per KIP-219.
//! - v2 may answer PRODUCER_FENCED (KIP-588).
//! - v3 flexible.
//! - v4 may answer TRANSACTION_ABORTABLE (KIP-890).

use crate::protocol::schema::schema;

schema! {
    api AddOffsetsToTxn: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse, versions 0..=4;

    /// The request.
    struct AddOffsetsToTxnRequest {
        transactional_id: String, "0+";
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        group_id: String, "0+";
    }

    /// The response.
    struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
    }
}
