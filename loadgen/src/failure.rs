//! Why a run could not start or could not go on: each names the thing and the way out.
//!
//! Exit codes follow sysexits: 78 a wrong request of ours (topic, flags), 65 a line of a feed that
//! cannot be read, 74 the network, 76 a peer that does not keep to the protocol. A run that ended,
//! but with refused records or with a generator that lagged, has a summary and its own codes (see
//! `summary`).

use std::io;
use std::path::PathBuf;

use highwater::model::errors::KafkaCode;

/// What ends a run early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no broker answers at {address}\n  help: check --bootstrap, and that the broker is up")]
    Unreachable {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{address} is not host:port\n  help: as in --bootstrap 127.0.0.1:9092")]
    BadAddress { address: String },
    #[error("the connection to {address} was lost while it {during}")]
    ConnectionLost {
        address: String,
        during: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "{address} closed the connection while it {during}\n  \
             help: the broker's log says why; a broker closes on requests that it cannot read"
    )]
    ConnectionClosed { address: String, during: &'static str },
    #[error("{address} answered {api} with bytes that cannot be read: {reason}")]
    Unreadable { address: String, api: &'static str, reason: String },
    #[error("{address} speaks {api} {broker_min} to {broker_max}, loadgen {own_min} to {own_max}")]
    NoCommonVersion {
        address: String,
        api: &'static str,
        broker_min: i16,
        broker_max: i16,
        own_min: i16,
        own_max: i16,
    },
    #[error("{address} does not offer {api}")]
    ApiMissing { address: String, api: &'static str },
    #[error(
        "there is no topic {topic} at {address}\n  help: produce to it first, or check --topic"
    )]
    TopicMissing { address: String, topic: String },
    #[error(
        "topic {topic} has {actual} partitions, --partitions asks for {asked}\n  \
             help: leave --partitions out, or choose another --topic"
    )]
    PartitionCount { topic: String, actual: usize, asked: usize },
    #[error("{api} of topic {topic} was refused: {} ({})", code_name(*.code), code_message(*.code))]
    Refused { api: &'static str, topic: String, code: i16 },
    #[error("--partitions-per-request {asked} exceeds the {led} partitions that one broker leads")]
    TooManyPerRequest { asked: usize, led: usize },
    #[error(
        "--partitions-per-request {asked} exceeds the {reached} partitions of one broker that keys \
         belong to\n  help: more --keys, or --partitioner turn"
    )]
    FewKeys { asked: usize, reached: usize },
    #[error("{flag} {asked} exceeds the {actual} partitions of the topic")]
    TooFewPartitions { flag: &'static str, asked: usize, actual: usize },
    #[error("{api} was refused: {} ({})", code_name(*.code), code_message(*.code))]
    Declined { api: &'static str, code: i16 },
    #[error("{address} speaks {api} up to version {version}, this run needs {needed}")]
    TooOld { address: String, api: &'static str, version: i16, needed: i16 },
    #[error("group {group} has no committed offset\n  help: check --group-prefix and --groups")]
    NothingCommitted { group: String },
    #[error("the group was not stable within {waited_s} s: {standing}")]
    NotStable { waited_s: u64, standing: String },
    #[error("the cluster was not whole within {waited_s} s: {standing}")]
    NotWhole { waited_s: u64, standing: String },
    #[error("--bootstrap names no broker beside --leader {leader}, which is to be killed")]
    NoSurvivor { leader: String },
    #[error("{api} version {version} cannot be written: {reason}")]
    Request { api: &'static str, version: i16, reason: String },
    #[error("partition {partition} is not in topic {topic}, which has 0 to {last}")]
    NoSuchPartition { topic: String, partition: i32, last: usize },
    #[error("cannot build the batch: {reason}")]
    Batch { reason: String },
    #[error("cannot read {}: {reason}", path.display())]
    BadRun { path: PathBuf, reason: String },
    #[error("--set {set}: {reason}")]
    BadSet { set: String, reason: String },
    #[error("{}:{line}: {reason}", path.display())]
    BadJob { path: PathBuf, line: usize, reason: String },
    #[error("{}:{line}: {reason}", path.display())]
    BadLine { path: PathBuf, line: u64, reason: String },
    #[error(
        "cannot write {}\n  help: what was seen until then is kept; --out may name another disk",
        path.display()
    )]
    Output {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("--core {core} is not a core this process may run on: {allowed:?}")]
    NoSuchCore { core: usize, allowed: Vec<usize> },
    #[error("system call {call}")]
    System {
        call: &'static str,
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Unreachable { .. }
            | Failure::ConnectionLost { .. }
            | Failure::ConnectionClosed { .. }
            | Failure::NotStable { .. }
            | Failure::NotWhole { .. }
            | Failure::Output { .. }
            | Failure::System { .. } => 74,
            Failure::BadLine { .. } => 65,
            Failure::Unreadable { .. }
            | Failure::NoCommonVersion { .. }
            | Failure::TooOld { .. }
            | Failure::ApiMissing { .. } => 76,
            Failure::BadAddress { .. }
            | Failure::TopicMissing { .. }
            | Failure::PartitionCount { .. }
            | Failure::Refused { .. }
            | Failure::TooManyPerRequest { .. }
            | Failure::TooFewPartitions { .. }
            | Failure::FewKeys { .. }
            | Failure::Declined { .. }
            | Failure::NothingCommitted { .. }
            | Failure::NoSurvivor { .. }
            | Failure::Request { .. }
            | Failure::NoSuchPartition { .. }
            | Failure::Batch { .. }
            | Failure::BadRun { .. }
            | Failure::BadSet { .. }
            | Failure::BadJob { .. }
            | Failure::NoSuchCore { .. } => 78,
        }
    }
}

/// Kafka's name of an error number, or the number itself when Kafka has none.
pub(crate) fn code_name(code: i16) -> String {
    KafkaCode::from_number(code)
        .map_or_else(|| format!("error {code}"), |known| known.name().to_owned())
}

fn code_message(code: i16) -> &'static str {
    KafkaCode::from_number(code).map_or("not a code of Kafka 4", KafkaCode::message)
}
