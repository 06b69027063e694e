//! Room on the disk, what it still has to do, and what of a broker's files is in the page cache.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, major, minor, stat, statvfs, sync};

use crate::server::pause;

/// Time between two looks at what a disk does.
const LOOK: Duration = Duration::from_millis(250);
/// A disk that completes fewer requests than this between two looks is at rest...
const REQUESTS_AT_REST: u64 = 16;
/// ...when so many looks in a row say so.
const LOOKS_AT_REST: u32 = 3;
/// Looks after which a measurement begins all the same: 30 s.
const LOOKS_MAX: u32 = 120;

/// Free gigabytes of the file system that `folder` is on.
pub(crate) fn free_gb(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / 1_000_000_000)
}

/// Writes back what is dirty, and waits until the disk below `folder` is at rest: the blocks of
/// what the run before has deleted are discarded for seconds after it, 7,000 requests in each.
pub(crate) fn settle(folder: &Path) {
    sync();
    let mut at_rest = 0;
    let mut before = requests_of(folder);
    for _ in 0..LOOKS_MAX {
        pause(LOOK);
        let after = requests_of(folder);
        let Some((before_count, after_count)) = before.zip(after) else { return };
        let is_quiet = after_count.saturating_sub(before_count) < REQUESTS_AT_REST;
        at_rest = if is_quiet { at_rest + 1 } else { 0 };
        if at_rest == LOOKS_AT_REST {
            return;
        }
        before = after;
    }
}

/// Reads, writes and discards that the disk below `folder` has completed; `None` where the kernel
/// does not count it.
fn requests_of(folder: &Path) -> Option<u64> {
    let device = stat(folder).ok()?.st_dev;
    let device = [major(device).to_string(), minor(device).to_string()];
    requests_in(&std::fs::read_to_string("/proc/diskstats").ok()?, &device)
}

/// The line of one disk: numbers and name, then reads, writes and discards, of each four columns.
fn requests_in(diskstats: &str, device: &[String; 2]) -> Option<u64> {
    let mut lines = diskstats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line.len() > 14 && line[..2] == device[..])?;
    [3, 7, 14].into_iter().map(|column| line.get(column)?.parse::<u64>().ok()).sum()
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
