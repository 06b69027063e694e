//! Large writes around the page cache, from aligned buffers that are kept and used again.
//!
//! A write is cut into a head and a tail, which go through the page cache, and a middle of whole
//! pages in chunks, several of them in flight. The payload is copied once, into the buffers.
//! Chunks have the size of a power of two, so that each buffer fits a later chunk exactly.
//!
//! Invariant: a buffer is in the pool or in flight, never both; the pool keeps at most
//! `DIRECT_BUFFERS_MAX` of each size.

use super::disk::{io_error, write_cached};
use crate::model::limits::{DIRECT_BUFFERS_MAX, DIRECT_CHUNK_BYTES};
use bytes::{Buf, Bytes};
use futures::stream::{FuturesUnordered, StreamExt};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use hashbrown::HashMap;
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

/// Direct writes cover whole pages, so that no cached page is touched in part.
const PAGE_BYTES: u64 = 4096;

/// Chunks of one write in flight at once.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Below this a chunk is not worth a request of its own, in bytes.
const CHUNK_BYTES_MIN: usize = 16 * 1024;

const _: () = assert!(DIRECT_CHUNK_BYTES.is_power_of_two());
const _: () = assert!(CHUNK_BYTES_MIN.is_power_of_two());
const _: () = assert!(CHUNK_BYTES_MIN as u64 >= PAGE_BYTES);

/// The direct-write buffers of one core.
#[derive(Clone, Default)]
pub(super) struct DirectWriter {
    /// By size.
    pool: Rc<RefCell<HashMap<usize, Vec<Rc<DmaBuffer>>>>>,
}

/// Opens the file behind `fd` once more, around the page cache; `None` where that is not supported.
pub(super) async fn open(fd: BorrowedFd<'_>) -> Option<Rc<DmaFile>> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let opened = OpenOptions::new().read(true).write(true).dma_open(path).await;
    // A read-only descriptor or a file system without O_DIRECT: the page cache serves as well.
    opened.ok().filter(|file| PAGE_BYTES.is_multiple_of(file.alignment())).map(Rc::new)
}

impl DirectWriter {
    /// Writes `parts` from `position`; `cached` is the same file through the page cache.
    pub(super) async fn write(
        &self,
        direct: &DmaFile,
        cached: BorrowedFd<'_>,
        position: u64,
        parts: &[Bytes],
    ) -> io::Result<()> {
        let mut source = PartsReader { parts: parts.to_vec(), index: 0 };
        let len = parts.iter().map(Bytes::len).sum::<usize>() as u64;
        let mut at = position.next_multiple_of(PAGE_BYTES);
        let end = position + len;
        if at >= end {
            return write_cached(cached, position, parts);
        }
        write_cached(cached, position, &source.take(at - position))?;
        let mut in_flight = FuturesUnordered::new();
        loop {
            let size = chunk_size(end - at);
            if size > 0 && in_flight.len() < CHUNKS_IN_FLIGHT {
                let buffer = self.filled(&mut source, size);
                in_flight.push(write_chunk(direct, cached, buffer, at));
                at += size as u64;
            } else if let Some(done) = in_flight.next().await {
                self.put_back(done?);
            } else {
                break;
            }
        }
        write_cached(cached, at, &source.take(end - at))
    }

    /// A buffer of `size` bytes with the next ones of the source.
    fn filled(&self, source: &mut PartsReader, size: usize) -> Rc<DmaBuffer> {
        let pooled = self.pool.borrow_mut().entry(size).or_default().pop();
        let mut buffer =
            pooled.unwrap_or_else(|| Rc::new(glommio::allocate_dma_buffer_global(size)));
        let target = Rc::get_mut(&mut buffer).expect("a pooled buffer is not in flight");
        source.fill(target.as_bytes_mut());
        buffer
    }

    fn put_back(&self, buffer: Rc<DmaBuffer>) {
        let mut pool = self.pool.borrow_mut();
        let kept = pool.entry(buffer.len()).or_default();
        if kept.len() < DIRECT_BUFFERS_MAX {
            kept.push(buffer);
        }
    }
}

/// The largest chunk within `rest` bytes; 0 when what is left is better off in the page cache.
fn chunk_size(rest: u64) -> usize {
    let rest = usize::try_from(rest).unwrap_or(DIRECT_CHUNK_BYTES).min(DIRECT_CHUNK_BYTES);
    if rest < CHUNK_BYTES_MIN { 0 } else { 1 << rest.ilog2() }
}

/// Writes one chunk; what a short write leaves goes through the page cache, which names the cause.
async fn write_chunk(
    direct: &DmaFile,
    cached: BorrowedFd<'_>,
    buffer: Rc<DmaBuffer>,
    position: u64,
) -> io::Result<Rc<DmaBuffer>> {
    let written = direct.write_rc_at(Rc::clone(&buffer), position).await.map_err(io_error)?;
    if written < buffer.len() {
        let rest = Bytes::copy_from_slice(&buffer.as_bytes()[written..]);
        write_cached(cached, position + written as u64, &[rest])?;
    }
    Ok(buffer)
}

/// Reads parts one behind the other.
struct PartsReader {
    parts: Vec<Bytes>,
    index: usize,
}

impl PartsReader {
    /// The next `len` bytes without copying them.
    fn take(&mut self, len: u64) -> Vec<Bytes> {
        let mut taken = Vec::new();
        let mut missing = usize::try_from(len).expect("the ends of a write are short");
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
