//! What may go wrong below a partition's log, with the code that a client gets for it.

use crate::model::errors::KafkaCode;
use crate::storage::disk::DiskError;
use std::path::{Path, PathBuf};

/// A failure of the files of one partition or one journal.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Bytes that were safe once and no longer are what was written. They are never cut off; what
    /// lies around them stays readable.
    #[error("{file} is damaged at byte {position}: {what}")]
    Corrupt { file: PathBuf, position: u64, what: &'static str },
    /// Bytes that are what was written, by their checksum, and make no sense all the same.
    #[error("{file} cannot be understood at byte {position}: {what}")]
    Senseless { file: PathBuf, position: u64, what: &'static str },
    /// The disk refused. After a failed write or sync the log directory must go offline.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl StorageError {
    /// What a client is answered.
    pub fn kafka_code(&self) -> KafkaCode {
        match self {
            StorageError::Corrupt { .. } | StorageError::Senseless { .. } => {
                KafkaCode::CorruptMessage
            }
            StorageError::Disk(_) => KafkaCode::KafkaStorageError,
        }
    }

    /// The file that does not give back what was written to it; another replica may have that.
    pub fn damaged_file(&self) -> Option<&Path> {
        match self {
            StorageError::Corrupt { file, .. } => Some(file),
            StorageError::Disk(error) if error.is_unreadable() => Some(&error.path),
            StorageError::Senseless { .. } | StorageError::Disk(_) => None,
        }
    }
}
