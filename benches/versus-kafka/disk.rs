//! Room on the disk, and what of a broker's files is in the page cache.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise, statvfs};

/// Free gigabytes of the file system that `folder` is on.
pub(crate) fn free_gb(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / 1_000_000_000)
}

/// Drops the page cache of all files below `folder`; what is dirty has been written before.
pub(crate) fn evict(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let Ok(entry) = entry else {
            continue;
        };
        let path = entry.path();
        let outcome = match entry.file_type() {
            Ok(kind) if kind.is_dir() => evict(&path),
            Ok(kind) if kind.is_file() => {
                File::open(&path).and_then(|file| Ok(fadvise(&file, 0, None, Advice::DontNeed)?))
            }
            _ => Ok(()),
        };
        match outcome {
            // The broker removes files while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(())
}
