//! What a broker shows to those who watch it and speak no Kafka: metrics over HTTP.

pub mod http; // a listener and one thread behind it
pub mod metrics; // an overview as text for Prometheus
