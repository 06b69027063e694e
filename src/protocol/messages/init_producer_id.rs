//! InitProducerId, key 22: a producer id, and the end of older transactions (KIP-98).
//!
//! Versions 0 to 5:
//! - v1 throttling per KIP-219.
//! - v2 flexible.
//! - v3 carries the producer's id and epoch to bump it (KIP-360).
//! - v4 may answer PRODUCER_FENCED (KIP-588).
//! - v5 may answer TRANSACTION_ABORTABLE (KIP-890).
//!
//! Left out: v6, two-phase commit (KIP-939), unstable in Kafka 4.1.

use crate::protocol::schema::schema;

schema! {
    api InitProducerId: InitProducerIdRequest => InitProducerIdResponse, versions 0..=5;

    /// The request.
    struct InitProducerIdRequest {
        transactional_id: Option<String>, "0+", null("0+");
        transaction_timeout_ms: i32, "0+";
        producer_id: i64 = -1, "3+";
        producer_epoch: i16 = -1, "3+";
    }

    /// The response.
    struct InitProducerIdResponse {
        throttle_time_ms: i32, "0+", ignorable();
        error_code: i16, "0+";
        producer_id: i64 = -1, "0+";
        producer_epoch: i16, "0+";
    }
}
