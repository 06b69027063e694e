//! What is built on Kafka's clients, unmodified, against the real binary: Streams, Connect, Flink,
//! Spark, and the verifiable producer and consumer of Kafka's own system tests.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the test runner shows these lines when a test fails")]

use std::process::Command;
use std::time::Duration;

use harness::{Broker, Cluster};

#[path = "ecosystem/connect.rs"]
mod connect;
#[path = "ecosystem/flink.rs"]
mod flink;
#[path = "ecosystem/spark.rs"]
mod spark;
#[path = "ecosystem/streams.rs"]
mod streams;
#[path = "ecosystem/verifiable.rs"]
mod verifiable;

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");
/// Longer than the start of a program, and than any session or transaction timeout here.
const PATIENCE: Duration = Duration::from_secs(240);

/// Whom a program is pointed at.
trait Brokers {
    fn addresses(&self) -> String;
    fn last_words(&self) -> String;
}

impl Brokers for Broker {
    fn addresses(&self) -> String {
        self.bootstrap()
    }

    fn last_words(&self) -> String {
        self.report()
    }
}

impl Brokers for Cluster {
    fn addresses(&self) -> String {
        self.bootstrap()
    }

    fn last_words(&self) -> String {
        self.report()
    }
}

/// A broker on which groups form at once and internal topics have one replica.
fn start_broker() -> Broker {
    let settings = [
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=4",
        "transaction.state.log.num.partitions=4",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
    ];
    Broker::start(BINARY, &settings)
}

fn create_topic(broker: &Broker, name: &str, partitions: i32) {
    let status = Command::new(BINARY)
        .args(["topic", "create", name, "--partitions", &partitions.to_string()])
        .args(["--bootstrap", &broker.bootstrap()])
        .status()
        .expect("built by cargo");
    assert!(status.success(), "topic {name} is made");
}
