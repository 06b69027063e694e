//! BrokerRegistration, key 62: a broker's process joins the cluster (KIP-631).
//!
//! Versions 0 to 4:
//! - v1 whether it comes from ZooKeeper.
//! - v2 identities of its data directories (KIP-858).
//! - v3 the epoch of the process before (KIP-966).
//! - v4 as v3.

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api BrokerRegistration: BrokerRegistrationRequest => BrokerRegistrationResponse,
    versions 0..=4;

    /// The request.
    struct BrokerRegistrationRequest {
        broker_id: i32, "0+";
        cluster_id: String, "0+";
        incarnation_id: Uuid, "0+";
        listeners: Vec<RegisteredListener>, "0+";
        features: Vec<RegisteredFeature>, "0+";
        rack: Option<String>, "0+", null("0+");
        is_migrating_zk_broker: bool, "1+";
        log_dirs: Vec<Uuid>, "2+";
        previous_broker_epoch: i64 = -1, "3+", ignorable();
    }

    /// One of `listeners` of [`BrokerRegistrationRequest`].
    struct RegisteredListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
        security_protocol: i16, "0+";
    }

    /// One of `features` of [`BrokerRegistrationRequest`].
    struct RegisteredFeature {
        name: String, "0+";
        min_supported_version: i16, "0+";
        max_supported_version: i16, "0+";
    }

    /// The response.
    struct BrokerRegistrationResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        broker_epoch: i64 = -1, "0+";
    }
}
