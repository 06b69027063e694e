//! The broker a test talks to: ours, or Apache Kafka where the environment says so.

use std::env;

use crate::{ApacheKafka, Broker, KafkaOptions, Missing, Recorder, repository};

/// What the expectations are checked against, and what clients are pointed at.
pub struct Peer {
    process: Process,
    /// Stands between client and broker while golden frames are captured.
    recorder: Option<Recorder>,
}

enum Process {
    Highwater(Box<Broker>),
    Kafka(Box<ApacheKafka>),
}

impl Peer {
    /// Starts `binary`; with `HIGHWATER_PEER=kafka` Apache Kafka in its place.
    ///
    /// Both take the same `key=value` pairs. Kafka shows that a test expects what Kafka does.
    /// With `HIGHWATER_CAPTURE=1` the frames of all connections are kept for `save_golden`.
    ///
    /// # Errors
    /// `Missing` when Kafka is asked for and Java or Maven is not there.
    pub fn start(binary: &str, overrides: &[&str]) -> Result<Peer, Missing> {
        let recorder = env::var_os("HIGHWATER_CAPTURE").map(|_| Recorder::bind());
        let mut pairs: Vec<String> = overrides.iter().map(|pair| String::from(*pair)).collect();
        if let Some(recorder) = &recorder {
            pairs.push(format!("advertised.listeners=PLAINTEXT://{}", recorder.bootstrap()));
        }
        let process = if env::var("HIGHWATER_PEER").is_ok_and(|peer| peer == "kafka") {
            let options = KafkaOptions { properties: pairs, ..KafkaOptions::default() };
            Process::Kafka(Box::new(ApacheKafka::start(&options)?))
        } else {
            let pairs: Vec<&str> = pairs.iter().map(String::as_str).collect();
            Process::Highwater(Box::new(Broker::start(binary, &pairs)))
        };
        let peer = Peer { process, recorder };
        if let Some(recorder) = &peer.recorder {
            recorder.forward_to(&peer.own_bootstrap());
        }
        Ok(peer)
    }

    /// `host:port` for a client.
    pub fn bootstrap(&self) -> String {
        self.recorder.as_ref().map_or_else(|| self.own_bootstrap(), Recorder::bootstrap)
    }

    fn own_bootstrap(&self) -> String {
        match &self.process {
            Process::Highwater(broker) => broker.bootstrap(),
            Process::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// Our own broker; `None` where Kafka stands in for it.
    pub fn highwater(&mut self) -> Option<&mut Broker> {
        match &mut self.process {
            Process::Highwater(broker) => Some(broker),
            Process::Kafka(_) => None,
        }
    }

    /// The broker's process id.
    pub fn process_id(&self) -> u32 {
        match &self.process {
            Process::Highwater(broker) => broker.process_id(),
            Process::Kafka(kafka) => kafka.process_id(),
        }
    }

    /// Writes what `client` said and heard into tests/golden, where that is being captured.
    pub fn save_golden(&self, client: &str) {
        if let Some(recorder) = &self.recorder {
            let directory = repository().join("tests/golden");
            let pairs = recorder.save(client, &directory).expect("tests/golden is writable");
            println!("{client}: {pairs} golden pairs");
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        match &mut self.process {
            Process::Highwater(broker) => broker.kill(),
            Process::Kafka(kafka) => kafka.kill(),
        }
    }

    /// Starts it again on the same address and data; it must have ended.
    pub fn restart(&mut self) {
        match &mut self.process {
            Process::Highwater(broker) => broker.restart(),
            Process::Kafka(kafka) => kafka.restart(),
        }
    }

    /// The last lines the broker wrote.
    pub fn report(&self) -> String {
        match &self.process {
            Process::Highwater(broker) => broker.report(),
            Process::Kafka(kafka) => kafka.report(),
        }
    }
}
