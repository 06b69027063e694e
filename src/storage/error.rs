//! What may go wrong below a partition's log, with the code that a client gets for it.

use crate::model::errors::KafkaCode;
use crate::storage::disk::DiskError;
use std::path::PathBuf;

/// A failure of the files of one partition or one journal.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Bytes that were safe once and no longer are what was written. They are never cut off; what
    /// lies around them stays readable.
    #[error("{file} is damaged at byte {position}: {what}")]
    Corrupt { file: PathBuf, position: u64, what: &'static str },
    /// The disk refused. After a failed write or sync the log directory must go offline.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl StorageError {
    /// What a client is answered.
    pub fn kafka_code(&self) -> KafkaCode {
        match self {
            StorageError::Corrupt { .. } => KafkaCode::CorruptMessage,
            StorageError::Disk(_) => KafkaCode::KafkaStorageError,
        }
    }
}
