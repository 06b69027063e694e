//! Recent batches in memory: what is not yet in the segment file, and what was so recently that
//! readers at the end of the log need no disk.
//!
//! Why batches are copied or not: a slice of a receive buffer keeps all of it alive. Small batches
//! are copied once, stamped, into chunks that a whole shard fills in order of arrival, so chunks
//! also leave in that order. Large ones keep their part of the receive buffer, which they fill
//! anyway; only their 61-byte head is copied, because offset and epoch are stamped into it.
//!
//! Invariants
//! - A batch leaves memory only when it is in the segment file.
//! - A batch older than the shard's last `budget_bytes` of appends leaves as soon as it may.
//! - Within a tail, batches are contiguous in offset and in bytes.

use crate::model::ids::Offset;
use crate::model::limits::{BATCH_COPY_BYTES_MAX, TAIL_BYTES_MAX};
use crate::protocol::record_batch::{BATCH_HEADER_SIZE, BatchHeader};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Bytes that the arena asks of the allocator at once.
const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(BATCH_COPY_BYTES_MAX * 4 <= CHUNK_BYTES);

/// Where a shard's small batches and all batch heads are put. One per core.
pub struct TailArena {
    chunk: BytesMut,
    /// Bytes of all batches ever appended on this shard, with what a tail needs to keep each: for
    /// batches of one small record that is as much again.
    position: u64,
    budget_bytes: u64,
}

impl Default for TailArena {
    fn default() -> TailArena {
        TailArena::with_budget(TAIL_BYTES_MAX)
    }
}

impl TailArena {
    /// An arena whose batches may be dropped once `budget_bytes` were appended after them.
    pub fn with_budget(budget_bytes: usize) -> TailArena {
        TailArena { chunk: BytesMut::new(), position: 0, budget_bytes: budget_bytes as u64 }
    }

    /// Stores a batch with its stamped header. Copies the payload when it is small.
    pub(super) fn store(&mut self, header: &BatchHeader, payload: &Bytes) -> StoredBytes {
        let size = BATCH_HEADER_SIZE + payload.len();
        assert!(header.size() == size);
        let is_small = size <= BATCH_COPY_BYTES_MAX;
        let needed = if is_small { size } else { BATCH_HEADER_SIZE };
        if self.chunk.capacity() - self.chunk.len() < needed {
            self.chunk = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.chunk.extend_from_slice(header.as_bytes());
        if is_small {
            self.chunk.extend_from_slice(payload);
        }
        let head = self.chunk.split().freeze();
        let rest = if is_small { Bytes::new() } else { payload.clone() };
        let position = self.position;
        self.position += (size + size_of::<TailBatch>()) as u64;
        StoredBytes { head, rest, arena_position: position }
    }

    /// True when what was stored at `arena_position` should leave memory.
    fn is_over_budget(&self, arena_position: u64) -> bool {
        self.position - arena_position > self.budget_bytes
    }
}

/// A stamped batch in memory: one piece, or its head and the rest.
#[derive(Debug, Clone)]
pub(super) struct StoredBytes {
    pub(super) head: Bytes,
    /// Empty when `head` is everything.
    pub(super) rest: Bytes,
    pub(super) arena_position: u64,
}

impl StoredBytes {
    /// A batch that is stamped already, in one piece.
    pub(super) fn whole(bytes: Bytes) -> StoredBytes {
        StoredBytes { head: bytes, rest: Bytes::new(), arena_position: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

/// One batch of a partition's tail.
#[derive(Debug, Clone)]
pub(super) struct TailBatch {
    pub(super) base_offset: Offset,
    pub(super) end_offset: Offset,
    /// Where it begins in its segment file.
    pub(super) position: u64,
    /// Bytes of the partition appended before it since the log was opened.
    pub(super) appended_before: u64,
    pub(super) max_timestamp_ms: i64,
    pub(super) bytes: StoredBytes,
}

/// The last batches of one partition, ending at the log end.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<TailBatch>,
    /// Bytes appended since the log was opened.
    appended_bytes: u64,
}

impl Tail {
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    pub(super) fn push(&mut self, batch: TailBatch) {
        if let Some(last) = self.batches.back() {
            assert!(batch.base_offset >= last.end_offset);
        }
        assert!(batch.appended_before == self.appended_bytes);
        assert!(batch.end_offset > batch.base_offset);
        self.appended_bytes += batch.bytes.size() as u64;
        self.batches.push_back(batch);
    }

    /// First offset in memory; `None` when nothing is.
    pub(super) fn start(&self) -> Option<Offset> {
        self.batches.front().map(|batch| batch.base_offset)
    }

    /// Bytes appended before the batch at `offset`, which must be a batch's base or the log end.
    pub(super) fn appended_before(&self, offset: Offset) -> u64 {
        let index = self.first_not(|batch| batch.base_offset < offset);
        self.batches.get(index).map_or(self.appended_bytes, |batch| batch.appended_before)
    }

    /// Batches from the one that holds `offset` on.
    pub(super) fn from(&self, offset: Offset) -> impl ExactSizeIterator<Item = &TailBatch> {
        let index = self.first_not(|batch| batch.end_offset <= offset);
        self.batches.range(index..)
    }

    /// Index of the first batch that does not come before what is sought. Looked for from the end,
    /// in growing steps: a search over the whole tail cost a tenth of a core at 250,000 appends a
    /// second, and almost every one is for the last few batches.
    fn first_not(&self, is_before: impl Fn(&TailBatch) -> bool) -> usize {
        let len = self.batches.len();
        let mut step = 1;
        while step <= len && !is_before(&self.batches[len - step]) {
            step *= 2;
        }
        let mut low = len.saturating_sub(step);
        let mut high = len - step / 2;
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(&self.batches[middle]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Drops batches below `drained_end` that the shard has no room for any more.
    pub(super) fn trim(&mut self, drained_end: Offset, arena: &TailArena) {
        while let Some(first) = self.batches.front() {
            let is_needed = first.end_offset > drained_end;
            if is_needed || !arena.is_over_budget(first.bytes.arena_position) {
                break;
            }
            self.batches.pop_front();
        }
    }

    /// Drops batches below the log start, wherever they are.
    pub(super) fn drop_below(&mut self, drained_end: Offset, log_start: Offset) {
        let end = drained_end.min(log_start);
        while self.batches.front().is_some_and(|first| first.end_offset <= end) {
            self.batches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_is_found_whatever_the_length_of_the_tail() {
        let mut tail = Tail::default();
        for count in 0..70u64 {
            for sought in 0..=count * 10 {
                let expected = tail.batches.partition_point(|b| b.end_offset.get() <= sought);
                assert_eq!(tail.first_not(|b| b.end_offset.get() <= sought), expected);
            }
            tail.push(TailBatch {
                base_offset: Offset::new(count * 10),
                end_offset: Offset::new(count * 10 + 10),
                position: 0,
                appended_before: tail.appended_bytes(),
                max_timestamp_ms: 0,
                bytes: StoredBytes::whole(Bytes::from_static(b"batch")),
            });
        }
    }
}
