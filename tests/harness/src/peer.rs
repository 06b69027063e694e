//! The broker a test talks to: ours, or Apache Kafka where the environment says so.

use std::env;

use crate::{ApacheKafka, Broker, KafkaOptions, Missing};

/// What the expectations are checked against.
pub enum Peer {
    Highwater(Box<Broker>),
    Kafka(Box<ApacheKafka>),
}

impl Peer {
    /// Starts `binary`; with `HIGHWATER_PEER=kafka` Apache Kafka in its place.
    ///
    /// Both take the same `key=value` pairs. Kafka shows that a test expects what Kafka does.
    ///
    /// # Errors
    /// `Missing` when Kafka is asked for and Java or Maven is not there.
    pub fn start(binary: &str, overrides: &[&str]) -> Result<Peer, Missing> {
        let is_kafka = env::var("HIGHWATER_PEER").is_ok_and(|peer| peer == "kafka");
        if !is_kafka {
            return Ok(Peer::Highwater(Box::new(Broker::start(binary, overrides))));
        }
        let properties = overrides.iter().map(|pair| String::from(*pair)).collect();
        let options = KafkaOptions { properties, ..KafkaOptions::default() };
        Ok(Peer::Kafka(Box::new(ApacheKafka::start(&options)?)))
    }

    /// `host:port` for a client.
    pub fn bootstrap(&self) -> String {
        match self {
            Peer::Highwater(broker) => broker.bootstrap(),
            Peer::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        match self {
            Peer::Highwater(broker) => broker.kill(),
            Peer::Kafka(kafka) => kafka.kill(),
        }
    }

    /// Starts it again on the same address and data; it must have ended.
    pub fn restart(&mut self) {
        match self {
            Peer::Highwater(broker) => broker.restart(),
            Peer::Kafka(kafka) => kafka.restart(),
        }
    }

    /// The last lines the broker wrote.
    pub fn report(&self) -> String {
        match self {
            Peer::Highwater(broker) => broker.report(),
            Peer::Kafka(kafka) => kafka.report(),
        }
    }
}
