//! What of a file is in memory, as the kernel counts it.
//!
//! Why: bytes that the kernel moves from a file to a socket by itself must be there already, or
//! the core waits for the disk in a system call that knows no "not now".

use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel counts in.
const PAGE_BYTES: u64 = 4096;

/// Number of the system call, the same on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// Argument of cachestat(2), Linux 6.5.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
}

/// Answer of cachestat(2).
#[derive(Default)]
#[repr(C)]
struct Counts {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// True when every page of the range is in memory. An older kernel cannot tell: false.
#[allow(unsafe_code, reason = "cachestat has no binding")]
pub(super) fn holds(file: BorrowedFd<'_>, position: u64, len: usize) -> bool {
    assert!(len > 0);
    let mut range = Range { start: position, len: len as u64 };
    let mut counts = Counts::default();
    let no_flags: libc::c_uint = 0;
    // SAFETY: both structs have the kernel's layout and live across the call, which writes only to
    // `counts`; the descriptor is open. Test: a range is in memory once it was read.
    let result = unsafe {
        libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw mut range, &raw mut counts, no_flags)
    };
    let first = position / PAGE_BYTES;
    let last = (position + len as u64 - 1) / PAGE_BYTES;
    result == 0 && counts.cached == last - first + 1
}

/// Takes a file out of the cache, as far as it is clean; for tests of what is not there.
#[cfg(test)]
pub(super) fn evict(file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fdatasync(file)?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn a_range_is_in_memory_once_it_was_written_or_read_and_until_it_is_evicted() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 300_000]).unwrap();
        assert!(holds(file.as_fd(), 100, 299_000));
        evict(file.as_fd()).unwrap();
        assert!(!holds(file.as_fd(), 100, 299_000));
    }
}
