//! SaslHandshake, key 17: choose a SASL mechanism (KIP-43). Never flexible.
//!
//! Versions 0 to 1:
//! - v0 is followed by bare SASL tokens.
//! - v1 is followed by SaslAuthenticate (KIP-152).

use crate::protocol::schema::schema;

schema! {
    api SaslHandshake: SaslHandshakeRequest => SaslHandshakeResponse, versions 0..=1;

    /// The request.
    struct SaslHandshakeRequest {
        mechanism: String, "0+";
    }

    /// The response.
    struct SaslHandshakeResponse {
        error_code: i16, "0+";
        mechanisms: Vec<String>, "0+";
    }
}
