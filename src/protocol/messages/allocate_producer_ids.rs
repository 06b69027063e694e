//! AllocateProducerIds, key 67: a block of producer ids for one broker (KIP-730).

use crate::protocol::schema::schema;

schema! {
    api AllocateProducerIds: AllocateProducerIdsRequest => AllocateProducerIdsResponse,
    versions 0..=0;

    /// The request.
    struct AllocateProducerIdsRequest {
        broker_id: i32, "0+";
        broker_epoch: i64 = -1, "0+";
    }

    /// The response.
    struct AllocateProducerIdsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        producer_id_start: i64, "0+";
        producer_id_len: i32, "0+";
    }
}
