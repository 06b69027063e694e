//! One piece of what goes to a socket: bytes in memory, or a range of a file that the kernel moves
//! to the socket by itself.
//!
//! Why: a fetch of old data that passes through our memory is copied twice more than one that does
//! not (docs/decisions/003). The codec only counts such a range; the driver's socket sends it.

use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes of an open file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// Stays open while any range of it waits to be sent, on whichever core.
    pub file: Arc<OwnedFd>,
    /// Where in the file the range begins, in bytes.
    pub position: u64,
    pub len: usize,
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    Memory(Bytes),
    File(FileRange),
}

impl Part {
    /// Bytes of the piece.
    pub fn len(&self) -> usize {
        match self {
            Part::Memory(bytes) => bytes.len(),
            Part::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, unless they are in a file.
    pub fn memory(&self) -> Option<&Bytes> {
        match self {
            Part::Memory(bytes) => Some(bytes),
            Part::File(_) => None,
        }
    }

    /// Drops the first `len` bytes, which must be there.
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.len());
        match self {
            Part::Memory(bytes) => drop(bytes.split_to(len)),
            Part::File(range) => {
                range.position += len as u64;
                range.len -= len;
            }
        }
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Part {
        Part::Memory(bytes)
    }
}

impl From<FileRange> for Part {
    fn from(range: FileRange) -> Part {
        Part::File(range)
    }
}

/// All parts in one piece; copies when there is more than one.
///
/// For clients and tests, whose parts are in memory.
pub fn join(mut parts: Vec<Part>) -> Bytes {
    let in_memory = "only a broker's answers to sockets have parts in files";
    if parts.len() <= 1 {
        let only = parts.pop().unwrap_or_else(|| Part::Memory(Bytes::new()));
        return only.memory().expect(in_memory).clone();
    }
    let pieces: Vec<&[u8]> =
        parts.iter().map(|part| part.memory().expect(in_memory).as_ref()).collect();
    Bytes::from(pieces.concat())
}
