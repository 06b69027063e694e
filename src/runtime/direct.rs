//! Large writes around the page cache, from aligned buffers that are kept and used again.
//!
//! A write is cut into a head and a tail, which go through the page cache on the core, and a middle
//! of whole pages, which a thread of the blocking pool copies into its own buffer and writes.
//!
//! Why not glommio's `DmaFile`: its probe takes a read from an empty file for proof that the device
//! can be polled, and from then on the core spins while any direct write is under way. A write that
//! grows the file is handed to a kernel thread anyway, so a thread of ours costs no more, and it
//! takes the copy off the core as well.

use super::disk::write_cached;
use bytes::{Buf, Bytes};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Direct writes cover whole pages, so that no cached page is touched in part.
const PAGE_BYTES: usize = 4096;

/// Pages of a thread's buffer: what one direct write takes at most.
const BUFFER_PAGES: usize = 256;

/// Memory that a direct write may start from.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

thread_local! {
    /// One per thread of the blocking pool, for as long as the thread lives.
    static BUFFER: RefCell<Vec<Page>> = const { RefCell::new(Vec::new()) };
}

/// Opens the file behind `fd` once more, around the page cache; `None` where that is not supported.
pub(super) fn open(fd: BorrowedFd<'_>) -> Option<Arc<OwnedFd>> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    // A read-only descriptor or a file system without O_DIRECT: the page cache serves as well.
    rustix::fs::open(path, flags, Mode::empty()).ok().map(Arc::new)
}

/// Writes `parts` from `position`; `cached` is the same file through the page cache.
pub(super) async fn write(
    direct: Arc<OwnedFd>,
    cached: BorrowedFd<'_>,
    position: u64,
    parts: Vec<Bytes>,
) -> io::Result<()> {
    let mut rest = Parts { parts, index: 0 };
    let head = position.next_multiple_of(PAGE_BYTES as u64) - position;
    let head = usize::try_from(head).expect("less than a page");
    let len = rest.len();
    if len < head + PAGE_BYTES {
        return write_cached(cached, position, &rest.take(len));
    }
    let tail = (len - head) % PAGE_BYTES;
    let start = position + head as u64;
    let end = position + (len - tail) as u64;
    write_cached(cached, position, &rest.take(head))?;
    let last = rest.take_last(tail);
    // The list itself goes along: none of thousands of small batches is built here once more.
    let written = glommio::executor()
        .spawn_blocking(move || {
            let left = write_pages(&direct, start, rest);
            drop(direct);
            left
        })
        .await?;
    // What a direct write left goes through the page cache, which names the cause.
    let left_from = end - written.iter().map(Bytes::len).sum::<usize>() as u64;
    write_cached(cached, left_from, &written)?;
    write_cached(cached, end, &last)
}

/// Writes whole pages from this thread's buffer; returns what the kernel did not take.
fn write_pages(direct: &OwnedFd, mut at: u64, mut rest: Parts) -> io::Result<Vec<Bytes>> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            buffer.resize(BUFFER_PAGES, Page::new_zeroed());
        }
        let buffer = buffer.as_mut_slice().as_mut_bytes();
        let mut missing = rest.len();
        while missing > 0 {
            let size = missing.min(buffer.len());
            rest.fill(&mut buffer[..size]);
            missing -= size;
            let mut done = 0;
            while done < size {
                match rustix::io::pwrite(direct, &buffer[done..size], at + done as u64) {
                    Ok(written) if written > 0 && written % PAGE_BYTES == 0 => done += written,
                    Err(Errno::INTR) => {}
                    Ok(_) | Err(Errno::INVAL) => {
                        let mut left = vec![Bytes::copy_from_slice(&buffer[done..size])];
                        left.extend(rest.take(missing));
                        return Ok(left);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            at += size as u64;
        }
        Ok(Vec::new())
    })
}

/// Parts, read one behind the other.
struct Parts {
    parts: Vec<Bytes>,
    index: usize,
}

impl Parts {
    fn len(&self) -> usize {
        self.parts[self.index..].iter().map(Bytes::len).sum()
    }

    /// The next `len` bytes without copying them.
    fn take(&mut self, len: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing = len;
        while missing > 0 {
            let part = &mut self.parts[self.index];
            let size = part.len().min(missing);
            taken.push(part.split_to(size));
            missing -= size;
            if part.is_empty() {
                self.index += 1;
            }
        }
        taken
    }

    /// The last `len` bytes without copying them.
    fn take_last(&mut self, len: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing = len;
        while missing > 0 {
            let part = self.parts.last_mut().expect("as many bytes as asked for");
            let size = part.len().min(missing);
            taken.push(part.split_off(part.len() - size));
            missing -= size;
            if part.is_empty() {
                self.parts.pop();
            }
        }
        taken.reverse();
        taken
    }

    /// Copies the next bytes to fill `target`.
    fn fill(&mut self, mut target: &mut [u8]) {
        while !target.is_empty() {
            let part = &mut self.parts[self.index];
            let size = part.len().min(target.len());
            let (now, later) = target.split_at_mut(size);
            part.copy_to_slice(now);
            target = later;
            if part.is_empty() {
                self.index += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_take_is_handed_back_whole() {
        // An odd position is refused with EINVAL by a direct write.
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create_new(folder.path().join("x")).unwrap();
        let direct = open(std::os::fd::AsFd::as_fd(&file)).expect("a temporary folder on a disk");
        // More than one buffer.
        let parts = vec![Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 3192 + (1 << 20)])];
        let all = || Parts { parts: parts.clone(), index: 0 };
        let left = write_pages(&direct, 1, all()).unwrap();
        assert_eq!(left.concat(), parts.concat());
        assert!(write_pages(&direct, 0, all()).unwrap().is_empty());
        assert_eq!(std::fs::read(folder.path().join("x")).unwrap(), parts.concat());
    }

    #[test]
    fn what_is_taken_from_both_ends_leaves_the_middle() {
        let bytes: Vec<u8> = (0..20).collect();
        for (first, last) in [(0, 0), (3, 4), (7, 7), (5, 12), (0, 20), (20, 0)] {
            let parts = bytes.chunks(7).map(Bytes::copy_from_slice).collect();
            let mut rest = Parts { parts, index: 0 };
            assert_eq!(rest.take(first).concat(), bytes[..first]);
            assert_eq!(rest.take_last(last).concat(), bytes[20 - last..]);
            let mut middle = vec![0; 20 - first - last];
            assert_eq!(rest.len(), middle.len());
            rest.fill(&mut middle);
            assert_eq!(middle, bytes[first..20 - last]);
        }
    }
}
