//! A data directory whose broker does not run: formatted, recovered from, or made to forget.
//!
//! The steps themselves are `shard/quorum_rescue.rs`, which the simulator cuts off at every step;
//! here they get the directory's lock, the real disk, and a line in `audit.log` before and after.

use super::awake;
use super::clock::Clock;
use super::data_dir::{DataDir, DataDirError, Format, Founding};
use super::disk::LocalDisk;
use super::probe::{self, ProbeError};
use super::start::{EXIT_CONFIGURATION, EXIT_IO};
use crate::controller::image::MetadataImage;
use crate::shard::quorum_files::MetadataError;
use crate::shard::quorum_rescue::{self, Rescue};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const AUDIT_FILE: &str = "audit.log";
const METADATA_DIR: &str = "metadata";

/// Why nothing was done, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("io_uring could not be set up: {0}")]
    Executor(String),
    #[error("{}", .path.display())]
    File { path: PathBuf, source: io::Error },
}

impl OfflineError {
    /// 78 where another directory or state of it is needed, 74 where files failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            OfflineError::DataDir(error) if !error.is_io() => EXIT_CONFIGURATION,
            OfflineError::Metadata(
                MetadataError::NothingToRecover { .. } | MetadataError::NotEmpty { .. },
            )
            | OfflineError::Probe(_) => EXIT_CONFIGURATION,
            OfflineError::DataDir(_)
            | OfflineError::Metadata(_)
            | OfflineError::Executor(_)
            | OfflineError::File { .. } => EXIT_IO,
        }
    }

    /// What the operator can do.
    pub fn fix(&self) -> Option<String> {
        match self {
            OfflineError::DataDir(error) => Some(error.fix()),
            OfflineError::Metadata(_)
            | OfflineError::Probe(_)
            | OfflineError::Executor(_)
            | OfflineError::File { .. } => None,
        }
    }
}

/// Formats a data directory; what is formatted so already stays as it is.
///
/// # Errors
/// It is formatted otherwise, a broker runs on it, or the disk fails.
pub fn format(dir: &Path, wanted: &Format) -> Result<DataDir, OfflineError> {
    DataDir::format(dir, wanted, || match wanted.founding {
        Founding::Joins => {
            on_disk(dir, async |disk, metadata| quorum_rescue::format(&disk, &metadata).await)
        }
        Founding::Alone | Founding::With(_) => Ok(()),
    })
}

/// What a recovery would go on with; the directory of a broker that does not run.
///
/// # Errors
/// There is nothing to go on with, a broker runs on it, or the disk fails.
pub fn inspect(dir: &Path) -> Result<(DataDir, Rescue), OfflineError> {
    let taken = DataDir::reopen(dir)?;
    let blank = MetadataImage::new(taken.node_id, Arc::default());
    let rescue = on_disk(dir, async |disk, metadata| {
        quorum_rescue::inspect(&disk, &metadata, &blank).await
    })?;
    Ok((taken, rescue))
}

/// Makes the broker of a directory the only voter of its cluster.
///
/// # Errors
/// As [`inspect`].
pub fn rescue(dir: &Path) -> Result<Rescue, OfflineError> {
    let (taken, found) = inspect(dir)?;
    let kept = keep_metadata(dir)?;
    let id = taken.node_id.0;
    audit(
        dir,
        &format!(
            "recover: node {id} becomes the only voter in place of {:?}, from entry {} of term {} \
             (known to be committed: {}); metadata of before: {}",
            voters(&found),
            found.last_index,
            found.term,
            found.commit,
            kept.display()
        ),
    )?;
    let blank = MetadataImage::new(taken.node_id, Arc::default());
    let rescued = on_disk(dir, async |disk, metadata| {
        quorum_rescue::rescue(&disk, &metadata, taken.node_id, &blank).await
    })?;
    audit(dir, &format!("recover: done, node {id} is the only voter"))?;
    Ok(rescued)
}

/// Makes the broker of a directory forget its metadata and its vote; its records stay.
///
/// # Errors
/// The directory is no broker's, a broker runs on it, or the disk fails.
pub fn forget(dir: &Path) -> Result<PathBuf, OfflineError> {
    let taken = DataDir::reopen(dir)?;
    let kept = keep_metadata(dir)?;
    let id = taken.node_id.0;
    let text = format!(
        "recover --rejoin: node {id} forgets its metadata and its vote; metadata of before: {}",
        kept.display()
    );
    audit(dir, &text)?;
    on_disk(dir, async |disk, metadata| quorum_rescue::forget(&disk, &metadata).await)?;
    audit(dir, &format!("recover --rejoin: done, node {id} waits to be told of the metadata"))?;
    Ok(kept)
}

fn voters(rescue: &Rescue) -> Vec<i32> {
    rescue.voters.iter().map(|id| id.0).collect()
}

/// Runs steps on the directory's metadata under an executor of its own.
fn on_disk<T>(
    dir: &Path,
    steps: impl AsyncFnOnce(LocalDisk, PathBuf) -> Result<T, MetadataError>,
) -> Result<T, OfflineError> {
    let report = probe::probe(1)?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(report.io_memory_bytes)
        .ring_depth(report.ring_depth)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| OfflineError::Executor(error.to_string()))?;
    let metadata = dir.join(METADATA_DIR);
    Ok(executor.run(async {
        let _awake = awake::keep();
        steps(LocalDisk::new(dir), metadata).await
    })?)
}

/// Copies the quorum's files beside the folder that they are in.
fn keep_metadata(dir: &Path) -> Result<PathBuf, OfflineError> {
    let from = dir.join(METADATA_DIR);
    let kept = dir.join(format!("{METADATA_DIR}.before-{}", seconds()));
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OfflineError::File { path, source }
    };
    fs::create_dir(&kept).map_err(at(&kept))?;
    let entries = match fs::read_dir(&from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
        Err(error) => return Err(at(&from)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(at(&from))?;
        let to = kept.join(entry.file_name());
        fs::copy(entry.path(), &to).map_err(at(&to))?;
    }
    Ok(kept)
}

/// A line that stays: when, and what.
fn audit(dir: &Path, text: &str) -> Result<(), OfflineError> {
    let path = dir.join(AUDIT_FILE);
    let line = format!("{} {text}\n", seconds());
    let written = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.sync_all()
    });
    tracing::warn!("{text}");
    written.map_err(|source| OfflineError::File { path, source })
}

/// Of the wall clock, since 1970.
fn seconds() -> i64 {
    Clock::start().now().wall_ms / 1000
}
