//! `Disk` on Linux: which system call for which write, by measurement.
//!
//! - Small writes, and all writes to a preallocated file (the journal), are one `pwritev` on the
//!   core's own thread: 1 to 3 us into pages that are resident, no ring round trip, so acks=1 costs
//!   nothing but the copy. Recycled journal files keep their pages resident.
//! - Large writes to growing files (segments) go around the page cache (direct.rs): first touch of
//!   a new page-cache page costs several times what the device needs.
//! - fdatasync always goes through the ring and never holds the core.
//! - What is in the page cache is lent where it may be: the kernel sends such a range by itself.
//! - Reads try the page cache without waiting (`RWF_NOWAIT`); what is not there comes through the
//!   ring. What a reader will want next is read ahead, so that it is lent and not copied.
//! - Names, folders and everything else that may wait runs on glommio's blocking pool, whose
//!   threads are not pinned to the cores of the shards.
//!
//! A page is never both dirty in the cache and written directly at once: direct writes cover whole
//! pages only, the ends of a large write go through the cache before and after, and the kernel
//! writes back and drops cached pages below a direct write (generic_file_direct_write).

use super::direct;
use super::page_cache;
use super::read_pool::ReadPool;
use crate::model::limits::{DIRECT_WRITE_BYTES_MIN, READ_AHEADS_MAX};
use crate::protocol::part::FileRange;
use crate::storage::disk::{DirEntry, Disk, DiskError, OpenMode, Space};
use bytes::{Bytes, BytesMut};
use glommio::GlommioError;
use glommio::io::{BufferedFile, OpenOptions};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};
use std::cell::{Cell, OnceCell};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Most slices that one vectored system call takes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// Zeros written by one call while a file is filled, in bytes.
const ZEROS_BYTES: usize = 1024 * 1024;

/// The files of one core. Only usable on that core's executor.
#[derive(Clone)]
pub struct LocalDisk {
    data_dir: Rc<Path>,
    read_pool: Rc<ReadPool>,
    /// Read-aheads under way.
    aheads: Rc<Cell<usize>>,
}

/// An open file; the last clone closes it through the ring.
#[derive(Clone)]
pub struct LocalFile {
    inner: Rc<FileState>,
}

struct FileState {
    path: PathBuf,
    file: BufferedFile,
    /// Preallocated, written in place, always through the page cache.
    is_in_place: Cell<bool>,
    /// The same file for other cores to send from; made when it is first lent.
    lent: OnceCell<Option<Arc<OwnedFd>>>,
    /// The same file opened around the page cache; `None` where the file system cannot.
    direct: OnceCell<Option<Arc<OwnedFd>>>,
}

impl AsFd for LocalFile {
    #[allow(unsafe_code, reason = "see SAFETY below")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `file` owns the descriptor and closes it only when dropped, and the borrow
        // cannot outlive `self`.
        unsafe { BorrowedFd::borrow_raw(self.inner.file.as_raw_fd()) }
    }
}

impl LocalFile {
    /// The same file as others may hold it; `None` when descriptors have run out.
    fn shared(&self) -> Option<Arc<OwnedFd>> {
        let own = || rustix::io::fcntl_dupfd_cloexec(self.as_fd(), 0).ok().map(Arc::new);
        self.inner.lent.get_or_init(own).clone()
    }
}

impl LocalDisk {
    /// A disk whose room is that of the file system below `data_dir`.
    pub fn new(data_dir: &Path) -> LocalDisk {
        LocalDisk { data_dir: Rc::from(data_dir), read_pool: Rc::default(), aheads: Rc::default() }
    }
}

impl Disk for LocalDisk {
    type File = LocalFile;

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<LocalFile, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o640);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true).create(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let file =
            options.buffered_open(path).await.map_err(|error| ring_error("open", path, error))?;
        let state = FileState {
            path: path.to_path_buf(),
            file,
            is_in_place: Cell::new(false),
            lent: OnceCell::new(),
            direct: OnceCell::new(),
        };
        Ok(LocalFile { inner: Rc::new(state) })
    }

    async fn read_at(
        &self,
        file: &LocalFile,
        position: u64,
        len: usize,
    ) -> Result<Bytes, DiskError> {
        let mut read = self.read_pool.take(len);
        match read_cached(file.as_fd(), position, len, &mut read) {
            Ok(()) => {}
            // Not resident at all, or a file system without RWF_NOWAIT: the ring waits for it.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => {}
            Err(error) => return Err(error_of("read", &file.inner.path, error.into())),
        }
        while read.len() < len {
            let missing = len - read.len();
            let from = position + read.len() as u64;
            let piece = file
                .inner
                .file
                .read_at(from, missing)
                .await
                .map_err(|error| ring_error("read", &file.inner.path, error))?;
            if piece.is_empty() {
                break; // The end of the file.
            }
            read.extend_from_slice(&piece);
        }
        let read = read.freeze();
        self.read_pool.lend(&read);
        Ok(read)
    }

    fn lend(&self, file: &LocalFile, position: u64, len: usize) -> Option<FileRange> {
        if !page_cache::holds(file.as_fd(), position, len) {
            return None;
        }
        // Out of descriptors: the caller reads instead.
        let file = file.shared()?;
        Some(FileRange { file, position, len })
    }

    fn read_ahead(&self, file: &LocalFile, position: u64, len: usize) {
        let under_way = self.aheads.get();
        if under_way >= READ_AHEADS_MAX || page_cache::holds(file.as_fd(), position, len) {
            return;
        }
        let Some(file) = file.shared() else { return };
        let aheads = Rc::clone(&self.aheads);
        aheads.set(under_way + 1);
        // The kernel submits the reads within the call, and waits where the device's queue is full.
        let ask = move || {
            let len = NonZeroU64::new(len as u64);
            rustix::fs::fadvise(&file, position, len, rustix::fs::Advice::WillNeed)
        };
        glommio::spawn_local(async move {
            // A file system that cannot leaves the reader where it was.
            let _ = glommio::executor().spawn_blocking(ask).await;
            aheads.set(aheads.get() - 1);
        })
        .detach();
    }

    async fn write_at(
        &self,
        file: &LocalFile,
        position: u64,
        parts: Vec<Bytes>,
    ) -> Result<(), DiskError> {
        let len: usize = parts.iter().map(Bytes::len).sum();
        if len >= DIRECT_WRITE_BYTES_MIN
            && !file.inner.is_in_place.get()
            && let Some(direct) = file.inner.direct.get_or_init(|| direct::open(file.as_fd()))
        {
            let result = direct::write(Arc::clone(direct), file.as_fd(), position, parts).await;
            return result.map_err(|error| error_of("write", &file.inner.path, error));
        }
        write_cached(file.as_fd(), position, &parts)
            .map_err(|error| error_of("write", &file.inner.path, error))
    }

    async fn sync(&self, file: &LocalFile) -> Result<(), DiskError> {
        let result = file.inner.file.fdatasync().await;
        result.map_err(|error| ring_error("fdatasync", &file.inner.path, error))
    }

    async fn size(&self, file: &LocalFile) -> Result<u64, DiskError> {
        let stat = rustix::fs::fstat(file.as_fd())
            .map_err(|error| error_of("stat", &file.inner.path, error.into()))?;
        Ok(u64::try_from(stat.st_size).expect("the kernel reports no negative size"))
    }

    async fn fill_zeros(&self, file: &LocalFile, size: u64) -> Result<(), DiskError> {
        file.inner.is_in_place.set(true);
        let owned = rustix::io::fcntl_dupfd_cloexec(file.as_fd(), 0)
            .map_err(|error| error_of("fill", &file.inner.path, error.into()))?;
        off_core("fill", &file.inner.path, move |_| write_zeros(owned.as_fd(), size)).await
    }

    async fn truncate(&self, file: &LocalFile, size: u64) -> Result<(), DiskError> {
        let result = file.inner.file.truncate(size).await;
        result.map_err(|error| ring_error("truncate", &file.inner.path, error))
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let to = to.to_path_buf();
        off_core("rename", from, move |from| fs::rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        off_core("remove", path, |path| {
            let removed = fs::symlink_metadata(path).and_then(|metadata| {
                if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            });
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        })
        .await
    }

    async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, DiskError> {
        off_core("list", dir, list_folder).await
    }

    async fn create_dir(&self, dir: &Path) -> Result<(), DiskError> {
        off_core("create", dir, |dir| fs::create_dir_all(dir)).await
    }

    async fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        off_core("sync", dir, |dir| fs::File::open(dir)?.sync_all()).await
    }

    async fn space(&self) -> Result<Space, DiskError> {
        off_core("measure", &self.data_dir, |dir| {
            let room = rustix::fs::statvfs(dir)?;
            Ok(Space {
                total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
                free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
            })
        })
        .await
    }
}

/// Runs something that may wait on the blocking pool.
async fn off_core<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, DiskError> {
    let owned = path.to_path_buf();
    let result = glommio::executor().spawn_blocking(move || work(&owned)).await;
    result.map_err(|source| error_of(operation, path, source))
}

fn error_of(operation: &'static str, path: &Path, source: io::Error) -> DiskError {
    DiskError { operation, path: path.to_path_buf(), source }
}

fn ring_error(operation: &'static str, path: &Path, error: GlommioError<()>) -> DiskError {
    error_of(operation, path, io_error(error))
}

/// The kernel's own error without glommio's wrapping, whose words repeat ours.
pub(super) fn io_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => other.into(),
    }
}

/// Reads what the page cache holds; shorter than asked where residency ends or the file does.
#[allow(unsafe_code, reason = "see SAFETY below")]
fn read_cached(
    fd: BorrowedFd<'_>,
    position: u64,
    len: usize,
    buffer: &mut BytesMut,
) -> Result<(), Errno> {
    assert!(buffer.is_empty());
    assert!(buffer.capacity() >= len);
    if len == 0 {
        return Ok(());
    }
    let spare = buffer.spare_capacity_mut();
    // SAFETY: the slice covers memory that `buffer` owns; it is handed to the kernel, which only
    // writes to it, and is not read here before `set_len`. Checked by the disk contract.
    let target = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), len) };
    let read =
        rustix::io::preadv2(fd, &mut [IoSliceMut::new(target)], position, ReadWriteFlags::NOWAIT)?;
    assert!(read <= len);
    // SAFETY: the kernel has written the first `read` bytes.
    unsafe { buffer.set_len(read) };
    Ok(())
}

/// Writes all parts through the page cache, on this thread.
pub(super) fn write_cached(
    fd: BorrowedFd<'_>,
    mut position: u64,
    parts: &[Bytes],
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let turn = rest.len().min(SLICES_MAX);
        let written = match rustix::io::pwritev(fd, &rest[..turn], position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        position += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

fn write_zeros(fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    rustix::fs::ftruncate(fd, 0)?;
    match rustix::fs::fallocate(fd, FallocateFlags::empty(), 0, size) {
        // Not every file system can; the zeros below allocate all the same.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = Bytes::from(vec![0; ZEROS_BYTES]);
    let mut position = 0;
    while position < size {
        let len = usize::try_from(size - position).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        write_cached(fd, position, &[zeros.slice(..len)])?;
        position += len as u64;
    }
    rustix::fs::fsync(fd)?;
    Ok(())
}

fn list_folder(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Just removed.
            Err(error) => return Err(error),
        };
        let is_dir = metadata.is_dir();
        names.push(DirEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dir,
            size: if is_dir { 0 } else { metadata.len() },
        });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk_contract::check_disk;

    #[test]
    fn the_local_disk_keeps_the_disk_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        crate::runtime::tests::on_executor(move || async move {
            check_disk(&LocalDisk::new(&path), &path).await;
        });
    }

    #[test]
    fn an_error_names_the_operation_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing");
        crate::runtime::tests::on_executor(move || async move {
            let disk = LocalDisk::new(&path);
            let error = disk.open(&path, OpenMode::Read).await.err().unwrap();
            assert_eq!(error.to_string(), format!("open {}", path.display()));
            assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
            assert!(!error.is_no_space());
        });
    }
}
