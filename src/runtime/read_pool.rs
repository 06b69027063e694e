//! Read buffers that are used again once every reader has let go of them.
//!
//! Why: the first touch of new memory costs more than the copy into it, and a warm fetch is little
//! but that copy. The pool keeps a handle to what it gave out; when that handle is the only one
//! left, the buffer is free.
//!
//! Invariant: at most `READ_BUFFERS_MAX` buffers are kept, each of at most
//! `READ_BUFFER_KEPT_BYTES`.

use crate::model::limits::{READ_BUFFER_KEPT_BYTES, READ_BUFFERS_MAX};
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;

/// Buffers below this size are not worth a place in the pool, in bytes.
const READ_BUFFER_POOLED_BYTES: usize = 4096;

/// The read buffers of one core.
#[derive(Default)]
pub(super) struct ReadPool {
    lent: RefCell<Vec<Bytes>>,
}

impl ReadPool {
    /// An empty buffer with room for `len` bytes.
    pub(super) fn take(&self, len: usize) -> BytesMut {
        if len < READ_BUFFER_POOLED_BYTES {
            return BytesMut::with_capacity(len);
        }
        let mut lent = self.lent.borrow_mut();
        while let Some(index) = lent.iter().position(Bytes::is_unique) {
            let Ok(mut buffer) = lent.swap_remove(index).try_into_mut() else { continue };
            buffer.clear();
            if buffer.capacity() >= len {
                return buffer;
            }
        }
        BytesMut::with_capacity(len)
    }

    /// Remembers a buffer that is being given out, to take it back later.
    pub(super) fn lend(&self, buffer: &Bytes) {
        let mut lent = self.lent.borrow_mut();
        let is_kept = (READ_BUFFER_POOLED_BYTES..=READ_BUFFER_KEPT_BYTES).contains(&buffer.len());
        if is_kept && lent.len() < READ_BUFFERS_MAX {
            lent.push(buffer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_lets_go() {
        let pool = ReadPool::default();
        let mut buffer = pool.take(4096);
        let place = buffer.as_ptr();
        buffer.extend_from_slice(&[1; 4096]);
        let lent = buffer.freeze();
        pool.lend(&lent);
        let reader = lent.slice(10..20);
        drop(lent);
        assert_ne!(pool.take(4096).as_ptr(), place, "a reader still holds it");
        drop(reader);
        let again = pool.take(4096);
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty());
    }
}
