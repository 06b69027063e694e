//! UnregisterBroker, key 64: a broker is gone for good (KIP-631).

use crate::protocol::schema::schema;

schema! {
    api UnregisterBroker: UnregisterBrokerRequest => UnregisterBrokerResponse, versions 0..=0;

    /// The request.
    struct UnregisterBrokerRequest {
        broker_id: i32, "0+";
    }

    /// The response.
    struct UnregisterBrokerResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
    }
}
