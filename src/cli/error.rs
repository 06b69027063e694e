//! What went wrong on the command line, in words, and the exit code that scripts look at.

use super::EXIT_USAGE;
use crate::model::errors::KafkaCode;
use crate::protocol::primitive::{DecodeError, EncodeError};
use std::io;
use std::path::PathBuf;

/// A command's end other than success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("no broker answers at {address}")]
    Unreachable { address: String, source: io::Error },
    #[error("the connection to {address} broke")]
    Broken { address: String, source: io::Error },
    #[error("{address} does not serve {api}")]
    NotServed { address: String, api: &'static str },
    #[error("{address} sent an answer that does not parse")]
    Answer { address: String, source: DecodeError },
    #[error("a request cannot be written")]
    Request { source: EncodeError },
    #[error("{what}: {} ({text})", code.name())]
    Refused { what: String, code: KafkaCode, text: String },
    #[error("{path}")]
    File { path: PathBuf, source: io::Error },
    #[error("line {number} of standard input is longer than {bytes_max} bytes")]
    LineTooLong { number: u64, bytes_max: usize },
    #[error("{flag} = {value}: {expected}")]
    Usage { flag: &'static str, value: String, expected: &'static str },
    #[error("topic {topic} is not there")]
    NoTopic { topic: String },
    #[error("topic {topic} has no partition {partition}; it has {count}, from 0")]
    NoPartition { topic: String, partition: i32, count: usize },
    #[error("partition {topic}/{partition} has no leader")]
    NoLeader { topic: String, partition: i32 },
    #[error("{damaged} of {batches} batches are damaged")]
    Damaged { damaged: u64, batches: u64 },
    #[error("broker {id} is not {wanted} of the metadata quorum")]
    NotInQuorum { id: i32, wanted: &'static str },
    #[error("broker {id} is not registered; registered are {}", listed(registered))]
    NoBroker { id: i32, registered: Vec<i32> },
    #[error(
        "partition {topic}/{partition} has replication factor {factor}, which the live brokers \
         other than {leaving} cannot give: {}",
        listed(live)
    )]
    TooFewBrokers { topic: String, partition: i32, factor: usize, leaving: i32, live: Vec<i32> },
    #[error("broker {id} still has {count} replicas, though all were moved {rounds} times")]
    StillArriving { id: i32, count: usize, rounds: usize },
    #[error("broker {id} holds {count} replicas{}", example_of(example.as_ref()))]
    StillHolds { id: i32, count: usize, example: Option<(String, i32)> },
    #[error(transparent)]
    Offline(#[from] crate::runtime::offline::OfflineError),
    #[error("{0}")]
    Start(#[from] crate::cli::start::StartFailure),
}

impl CliError {
    /// 64 usage, 65 damaged data, 69 no broker, 74 files and sockets, 78 configuration, 1 the rest.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage { .. } => EXIT_USAGE,
            CliError::Damaged { .. } | CliError::LineTooLong { .. } => 65,
            CliError::Unreachable { .. } | CliError::NoLeader { .. } => 69,
            CliError::Broken { .. } | CliError::File { .. } => 74,
            CliError::Start(failure) => failure.exit_code(),
            CliError::Offline(error) => error.exit_code(),
            CliError::NotServed { .. }
            | CliError::Answer { .. }
            | CliError::Request { .. }
            | CliError::Refused { .. }
            | CliError::NoTopic { .. }
            | CliError::NotInQuorum { .. }
            | CliError::NoBroker { .. }
            | CliError::TooFewBrokers { .. }
            | CliError::StillArriving { .. }
            | CliError::StillHolds { .. }
            | CliError::NoPartition { .. } => 1,
        }
    }

    /// True when a partition's leader is missing or on its way to another broker.
    pub(crate) fn is_of_leader(&self) -> bool {
        match self {
            CliError::NoLeader { .. } | CliError::Unreachable { .. } | CliError::Broken { .. } => {
                true
            }
            CliError::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// What to do about it, where that can be said.
    pub(crate) fn way_out(&self) -> Option<String> {
        match self {
            CliError::Unreachable { .. } => Some(
                "start one with `highwater`, or name another with --bootstrap HOST:PORT".to_owned(),
            ),
            CliError::NoTopic { topic } => {
                Some(format!("make it with `highwater topic create {topic}`"))
            }
            CliError::NoLeader { topic, .. } => Some(format!(
                "`highwater topic describe {topic}` names its replicas: start one that was in sync"
            )),
            CliError::Start(failure) => failure.way_out(),
            CliError::Offline(error) => error.fix(),
            CliError::NotInQuorum { .. } => Some(
                "`highwater cluster status` shows who is; a broker with \
                 controller.quorum.bootstrap.servers becomes an observer by being started"
                    .to_owned(),
            ),
            CliError::NoBroker { .. } => Some(
                "`highwater cluster status` shows them; a controller without process.roles=broker \
                 holds no partitions"
                    .to_owned(),
            ),
            CliError::TooFewBrokers { topic, .. } => Some(format!(
                "start one more broker, or give {topic} fewer replicas with \
                 kafka-reassign-partitions.sh; then start this command again"
            )),
            CliError::StillArriving { .. } => Some(
                "new partitions are placed on it while it runs: start this command again when \
                 nobody makes topics"
                    .to_owned(),
            ),
            CliError::StillHolds { id, .. } => Some(format!(
                "move them away with `highwater cluster decommission {id}`; with --force they are \
                 given up, which is for a broker whose disks are gone for good"
            )),
            CliError::LineTooLong { .. } => Some(
                "no broker takes a record of that size; the lines before it were sent".to_owned(),
            ),
            CliError::Damaged { .. } => Some(
                "see `highwater explain E0010`; the lines marked DAMAGED name file and position"
                    .to_owned(),
            ),
            CliError::Broken { .. }
            | CliError::NotServed { .. }
            | CliError::Answer { .. }
            | CliError::Request { .. }
            | CliError::Refused { .. }
            | CliError::File { .. }
            | CliError::Usage { .. }
            | CliError::NoPartition { .. } => None,
        }
    }
}

fn listed(ids: &[i32]) -> String {
    match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(i32::to_string).collect::<Vec<String>>().join(", "),
    }
}

fn example_of(example: Option<&(String, i32)>) -> String {
    example.map_or_else(String::new, |(topic, partition)| format!(", one of {topic}/{partition}"))
}

/// Turns an answer's error code into an error; `text` is the broker's own word, if any.
pub(crate) fn check(what: &str, code: i16, text: Option<&str>) -> Result<(), CliError> {
    let code = KafkaCode::from_number(code).unwrap_or(KafkaCode::UnknownServerError);
    if code == KafkaCode::None {
        return Ok(());
    }
    let text = text.unwrap_or_else(|| code.message()).to_owned();
    Err(CliError::Refused { what: what.to_owned(), code, text })
}
