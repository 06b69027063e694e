//! Room held back for the moment when the file system is full.
//!
//! Deleting topics, raising log starts and writing recovery points need a little room themselves.
//! A file of `RESERVE_FILE_BYTES` is kept in the data directory and cut when almost nothing is
//! free; produce is refused well before (`RESERVE_BYTES`), and stays refused by what this frees.

use super::disk::LocalDisk;
use super::run_shard::LocalShard;
use crate::model::limits::{RESERVE_BYTES, RESERVE_FILE_BYTES};
use crate::shard::shard::WriteState;
use crate::storage::disk::Disk;
use glommio::timer::Timer;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RESERVE_FILE: &str = "reserve";

/// How often a full file system is looked at.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// Free bytes below which the reserve is given up.
const RELEASE_BYTES: u64 = RESERVE_FILE_BYTES / 4;

/// Free bytes above which it is taken again, with room to spare for produce.
const HOLD_BYTES: u64 = RESERVE_BYTES + 2 * RESERVE_FILE_BYTES;

const _: () = assert!(RELEASE_BYTES + RESERVE_FILE_BYTES < RESERVE_BYTES);

/// Occupies the reserve in the data directory.
pub(super) fn hold(dir: &Path) -> io::Result<()> {
    match rustix::fs::fallocate(open(dir)?, FallocateFlags::empty(), 0, RESERVE_FILE_BYTES) {
        // Where blocks cannot be reserved the free-space check alone has to do.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn release(dir: &Path) -> io::Result<()> {
    open(dir)?.set_len(0)
}

fn open(dir: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(RESERVE_FILE))
}

/// Whether the reserve should be held, from whether it is and what is free.
fn should_hold(is_held: bool, free_bytes: u64) -> bool {
    if is_held { free_bytes >= RELEASE_BYTES } else { free_bytes > HOLD_BYTES }
}

/// Releases and takes the reserve as room comes and goes; runs on one core, as long as it does.
pub(super) async fn watch(shard: LocalShard, disk: LocalDisk, dir: PathBuf) {
    let mut is_held = true;
    loop {
        Timer::new(CHECK_PAUSE).await;
        if is_held && shard.borrow().write_state == WriteState::Open {
            continue;
        }
        let Ok(space) = disk.space().await else { continue };
        let is_wanted = should_hold(is_held, space.free_bytes);
        if is_wanted == is_held {
            continue;
        }
        let target = dir.clone();
        let change = move || if is_wanted { hold(&target) } else { release(&target) };
        match glommio::executor().spawn_blocking(change).await {
            Ok(()) => {
                is_held = is_wanted;
                tracing::warn!(is_held, free_bytes = space.free_bytes, "disk reserve");
            }
            Err(error) => tracing::warn!(%error, "disk reserve"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_goes_when_nothing_is_free_and_returns_when_there_is_plenty() {
        assert!(should_hold(true, RESERVE_BYTES));
        assert!(!should_hold(true, RELEASE_BYTES - 1));
        assert!(!should_hold(false, RELEASE_BYTES + RESERVE_FILE_BYTES), "not by its own room");
        assert!(!should_hold(false, RESERVE_BYTES + RESERVE_FILE_BYTES));
        assert!(should_hold(false, HOLD_BYTES + 1));
    }

    #[test]
    fn a_released_reserve_takes_no_room_until_it_is_held_again() {
        let folder = tempfile::tempdir().unwrap();
        let len = || std::fs::metadata(folder.path().join(RESERVE_FILE)).unwrap().len();
        hold(folder.path()).unwrap();
        assert_eq!(len(), RESERVE_FILE_BYTES);
        release(folder.path()).unwrap();
        assert_eq!(len(), 0);
        hold(folder.path()).unwrap();
        assert_eq!(len(), RESERVE_FILE_BYTES);
    }
}
