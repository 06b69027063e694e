//! Stored batches one by one, so that those with acquired records can be told from the rest.

use crate::coordinator::share::partition::{AcquiredRange, BatchSpan};
use crate::model::ids::Offset;
use crate::protocol::record_batch::BatchHeader;
use crate::storage::transactions::AbortedTransaction;
use bytes::Bytes;

/// One batch of a read.
#[derive(Debug, Clone)]
pub(super) struct FoundBatch {
    first: u64,
    last: u64,
    /// The producer of a transaction's records; none of a marker.
    transactional: Option<i64>,
    /// As stored; a header may stand apart.
    bytes: Vec<Bytes>,
}

impl FoundBatch {
    pub(super) fn span(&self, is_aborted: bool) -> BatchSpan {
        BatchSpan { first: self.first, last: self.last, is_aborted }
    }

    /// Whether it is part of a transaction.
    pub(super) fn is_of(&self, transaction: &AbortedTransaction) -> bool {
        let range = transaction.first..=transaction.marker;
        self.transactional == Some(transaction.producer.0)
            && range.contains(&Offset::new(self.first))
    }
}

/// The whole batches of a read. A batch may lie in several parts, its header does not.
pub(super) fn split(parts: Vec<Bytes>) -> Vec<FoundBatch> {
    let mut batches = Vec::new();
    let mut parts = parts.into_iter();
    let mut part = Bytes::new();
    loop {
        if part.is_empty() {
            match parts.next() {
                Some(next) => part = next,
                None => break,
            }
            continue;
        }
        let Ok(header) = BatchHeader::read(&part) else { break };
        let (size, attributes) = (header.size(), header.attributes());
        let ends = (u64::try_from(header.base_offset()), u64::try_from(header.last_offset()));
        let (Ok(first), Ok(last)) = ends else { break };
        let is_data = attributes.is_transactional() && !attributes.is_control();
        let transactional = is_data.then_some(header.producer_id());
        let mut bytes = Vec::with_capacity(1);
        let mut left = size;
        while left > 0 {
            if part.is_empty() {
                match parts.next() {
                    Some(next) => part = next,
                    None => return batches,
                }
            }
            let some = part.split_to(left.min(part.len()));
            left -= some.len();
            if !some.is_empty() {
                bytes.push(some);
            }
        }
        if first <= last {
            batches.push(FoundBatch { first, last, transactional, bytes });
        }
    }
    batches
}

/// The bytes of batches that hold any record of `ranges`; both are in the order of the log.
pub(super) fn with_any_of(batches: &[FoundBatch], ranges: &[AcquiredRange]) -> Vec<Bytes> {
    let mut ranges = ranges.iter().peekable();
    let mut found = Vec::new();
    for batch in batches {
        while ranges.next_if(|range| range.last < batch.first).is_some() {}
        if ranges.peek().is_some_and(|range| range.first <= batch.last) {
            found.extend(batch.bytes.iter().cloned());
        }
    }
    found
}
