//! The one seam to the outside: files. `runtime/disk.rs` is the real one, `sim/disk.rs` the one
//! that loses power.
//!
//! Why plain positions and refcounted parts: the log decides what is written where; how (buffered
//! or direct, which pool, which ring) is the driver's own choice and may change without the log.
//!
//! Contract
//! - A completed `write_at` survives the death of the process; it survives a power cut only once
//!   a later `sync` of the same file has completed. Until then any subset of its sectors may go.
//! - A created, renamed or removed name survives a power cut once `sync_dir` of its folder has
//!   completed.
//! - After an error of `write_at` or `sync` the file's unsynced content is unknown: never retry, go
//!   offline.

use crate::protocol::part::FileRange;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

/// The system's number for an input/output error.
pub const EIO: i32 = 5;

/// What `open` may do to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; read only.
    Read,
    /// Created when missing, kept when there; read and write.
    ReadWrite,
    /// Created empty; an existing one is an error.
    CreateNew,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes; 0 for folders.
    pub size: u64,
}

/// Room on the file system that holds the data directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}")]
pub struct DiskError {
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// True when the medium does not give back what it holds (EIO).
    pub fn is_unreadable(&self) -> bool {
        self.operation == "read" && self.source.raw_os_error() == Some(EIO)
    }

    /// True when the file system or quota is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// True when nothing was to be changed: what is on the disk is what it was.
    pub fn is_of_reading(&self) -> bool {
        matches!(self.operation, "open" | "read" | "stat" | "list" | "measure")
    }
}

/// Files as the log sees them. One per core, cloned freely; futures need not be `Send`.
#[allow(
    async_fn_in_trait,
    reason = "executors are single-threaded by design: no Send bound is wanted"
)]
pub trait Disk: Clone + 'static {
    /// An open file; clones share it, the last one closes it.
    type File: Clone + 'static;

    /// Opens a file; its folder must exist.
    async fn open(&self, path: &Path, mode: OpenMode) -> Result<Self::File, DiskError>;
    /// Up to `len` bytes from `position`; shorter at the end of the file, empty beyond it.
    async fn read_at(
        &self,
        file: &Self::File,
        position: u64,
        len: usize,
    ) -> Result<Bytes, DiskError>;
    /// The range as the kernel can send it to a socket by itself; `None` unless all of it is in
    /// memory now, so that sending it never waits for the disk.
    fn lend(&self, file: &Self::File, position: u64, len: usize) -> Option<FileRange>;
    /// These bytes will be read soon and should be in memory then: no promise, and nothing waits.
    fn read_ahead(&self, file: &Self::File, position: u64, len: usize);
    /// Writes all parts, one behind the other, from `position`; grows the file when needed.
    async fn write_at(
        &self,
        file: &Self::File,
        position: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), DiskError>;
    /// Everything written to the file so far is on stable storage when this completes.
    async fn sync(&self, file: &Self::File) -> Result<(), DiskError>;
    /// Bytes in the file.
    async fn size(&self, file: &Self::File) -> Result<u64, DiskError>;
    /// Makes the file `size` bytes of zeros on disk, allocated and written, so that later
    /// in-place writes need no metadata commit. Synced when it completes.
    async fn fill_zeros(&self, file: &Self::File, size: u64) -> Result<(), DiskError>;
    /// Cuts or extends the file to `size` bytes.
    async fn truncate(&self, file: &Self::File, size: u64) -> Result<(), DiskError>;
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;
    /// Removes a file, or a folder with all below it; no error when it is not there.
    async fn remove(&self, path: &Path) -> Result<(), DiskError>;
    /// Names in a folder, in no particular order; empty when the folder is not there.
    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError>;
    /// Makes the folder and those above it.
    async fn create_dir(&self, dir: &Path) -> Result<(), DiskError>;
    async fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;
    async fn space(&self) -> Result<Space, DiskError>;
}

/// Makes a folder of the data directory, and its name durable with those of the two above it.
///
/// Without this a power cut may take a whole folder of synced files with it.
pub async fn create_dir_durably<D: Disk>(disk: &D, dir: &Path) -> Result<(), DiskError> {
    disk.create_dir(dir).await?;
    for above in dir.ancestors().skip(1).take(2).filter(|above| above.parent().is_some()) {
        disk.sync_dir(above).await?;
    }
    Ok(())
}
