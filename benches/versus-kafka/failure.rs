//! Why a comparison cannot go on.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("--rows {asked}: there is no such row; known are {known}")]
    UnknownRow { asked: String, known: String },
    #[error(
        "{program} cannot be run\n  help: is it installed? Kafka needs mvn and a Java 17 or later"
    )]
    NotRunnable {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} failed with {status}\n{output}")]
    Failed { program: String, status: String, output: String },
    #[error("no Kafka jar in {folder}")]
    NoKafkaJar { folder: PathBuf },
    #[error("{program} printed something else than a summary: {reason}")]
    NoSummary { program: String, reason: String },
    #[error("the broker took nothing: {refused}")]
    AllRefused { refused: String },
    #[error("{reason}")]
    Skipped { reason: String },
    #[error("{} has no line {marker}", path.display())]
    NoMarker { path: PathBuf, marker: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}
