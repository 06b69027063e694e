//! SaslAuthenticate, key 36: one step of the SASL exchange (KIP-152).
//!
//! Versions 0 to 2:
//! - v1 session lifetime, for re-authentication (KIP-368).
//! - v2 flexible.

use bytes::Bytes;

use crate::protocol::schema::schema;

schema! {
    api SaslAuthenticate: SaslAuthenticateRequest => SaslAuthenticateResponse, versions 0..=2;

    /// The request.
    struct SaslAuthenticateRequest {
        auth_bytes: Bytes, "0+";
    }

    /// The response.
    struct SaslAuthenticateResponse {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        auth_bytes: Bytes, "0+";
        session_lifetime_ms: i64, "1+", ignorable();
    }
}
