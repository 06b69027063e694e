//! Transactions of one partition as its log tells them: which are open, which have ended where no
//! reader knows of it yet, and which were aborted (KIP-98).
//!
//! ```text
//!   first of the oldest undecided       its marker      high watermark
//!   |--- read_committed stops here ---------|------------------|
//! ```
//! A transaction is undecided until its marker lies below the high watermark: a marker that a crash
//! may take back has decided nothing. Readers of committed records stop at the oldest undecided one
//! and are told of the aborted ones, whose records they skip.
//!
//! Aborted transactions stand in `<base offset>.txnindex` beside the segment that has the marker,
//! byte for byte Kafka's, big-endian, 34 bytes an entry; there is no file without an entry:
//! ```text
//!   0  version, i16, 0
//!   2  producer id
//!  10  first offset of the transaction
//!  18  offset of the marker
//!  26  last stable offset once the marker was written
//! ```
//! All of them are in memory as well, so that a fetch need not ask the disk twice; a marker takes
//! 78 bytes of log and its entry half of that, so the log's own retention bounds them.
//!
//! Invariants
//! - Everything is a function of the log and the high watermark; the files only save reading.
//! - Aborted transactions are kept in the order of their markers.

use crate::model::ids::{Offset, ProducerId};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of an entry of a `.txnindex`.
pub const ABORTED_ENTRY_BYTES: usize = 34;
const VERSION: i16 = 0;

/// A transaction whose records must not be shown to readers of committed records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first: Offset,
    /// Offset of the marker: the last of the transaction.
    pub marker: Offset,
    /// First offset that was undecided once the marker was written.
    pub stable: Offset,
}

/// The transactions of one partition. One per partition log.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// First offset of each transaction without a marker.
    open: BTreeMap<Offset, ProducerId>,
    /// First offset to marker of those whose marker may not be committed yet.
    ended: BTreeMap<Offset, Offset>,
    aborted: VecDeque<AbortedTransaction>,
}

impl Transactions {
    /// A producer's first batch of a transaction is in the log.
    pub(super) fn begin(&mut self, producer: ProducerId, first: Offset) {
        let other = self.open.insert(first, producer);
        assert!(other.is_none(), "a batch belongs to one transaction");
    }

    /// A marker is in the log.
    pub(super) fn end(
        &mut self,
        producer: ProducerId,
        first: Offset,
        marker: Offset,
        is_commit: bool,
    ) {
        self.open.remove(&first);
        self.ended.insert(first, marker);
        if !is_commit {
            let next_open = self.open.first_key_value().map(|(first, _)| *first);
            let stable = next_open.unwrap_or(marker.advance(1));
            self.add_aborted(AbortedTransaction { producer, first, marker, stable });
        }
    }

    /// Adds what the log or an index file says of an aborted transaction.
    pub(super) fn add_aborted(&mut self, transaction: AbortedTransaction) {
        assert!(self.aborted.back().is_none_or(|last| last.marker < transaction.marker));
        self.aborted.push_back(transaction);
    }

    /// Markers below `high_watermark` are committed: their transactions are decided.
    pub(super) fn on_committed(&mut self, high_watermark: Offset) {
        if !self.ended.is_empty() {
            self.ended.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// First offset of the oldest undecided transaction.
    pub(super) fn first_undecided(&self) -> Option<Offset> {
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let ended = self.ended.first_key_value().map(|(first, _)| *first);
        open.into_iter().chain(ended).min()
    }

    /// Aborted transactions with records in `from..up_to`, in the order of their markers.
    pub(super) fn aborted_between(&self, from: Offset, up_to: Offset) -> Vec<AbortedTransaction> {
        let mut found = Vec::new();
        for transaction in self.aborted_from(from) {
            if transaction.first < up_to {
                found.push(*transaction);
            }
            // What was aborted later began at or behind that offset.
            if transaction.stable >= up_to {
                break;
            }
        }
        found
    }

    /// Aborted transactions whose markers lie in `from..end`.
    pub(super) fn markers_between(
        &self,
        from: Offset,
        end: Offset,
    ) -> impl Iterator<Item = &AbortedTransaction> {
        self.aborted_from(from).take_while(move |transaction| transaction.marker < end)
    }

    /// Compaction has left these of the aborted transactions with markers in `from..end`.
    pub(super) fn replace_between(
        &mut self,
        from: Offset,
        end: Offset,
        kept: Vec<AbortedTransaction>,
    ) {
        assert!(kept.iter().all(|one| from <= one.marker && one.marker < end));
        let first = self.aborted.partition_point(|one| one.marker < from);
        let behind = self.aborted.split_off(self.aborted.partition_point(|one| one.marker < end));
        self.aborted.truncate(first);
        self.aborted.extend(kept.into_iter().chain(behind));
    }

    fn aborted_from(&self, from: Offset) -> impl Iterator<Item = &AbortedTransaction> {
        let at = self.aborted.partition_point(|transaction| transaction.marker < from);
        self.aborted.range(at..)
    }

    /// Segments below `offset` are gone, and with them what was aborted there.
    pub(super) fn forget_below(&mut self, offset: Offset) {
        let gone = self.aborted.partition_point(|transaction| transaction.marker < offset);
        self.aborted.drain(..gone);
    }
}

/// The content of an index file, or of a part of it.
pub(super) fn encode<'a>(entries: impl Iterator<Item = &'a AbortedTransaction>) -> Bytes {
    let mut out = BytesMut::new();
    for entry in entries {
        out.put_i16(VERSION);
        out.put_i64(entry.producer.0);
        out.put_i64(entry.first.to_wire());
        out.put_i64(entry.marker.to_wire());
        out.put_i64(entry.stable.to_wire());
    }
    out.freeze()
}

/// From an index file: the entries up to the first that cannot be one, and whether those are all.
pub(super) fn decode(bytes: &[u8]) -> (Vec<AbortedTransaction>, bool) {
    let mut transactions: Vec<AbortedTransaction> = Vec::new();
    let mut rest = bytes;
    while let Some((entry, after)) = rest.split_first_chunk::<ABORTED_ENTRY_BYTES>() {
        let Some(transaction) = decode_entry(entry) else { break };
        if transactions.last().is_some_and(|last| last.marker >= transaction.marker) {
            break;
        }
        transactions.push(transaction);
        rest = after;
    }
    (transactions, rest.is_empty())
}

fn decode_entry(entry: &[u8; ABORTED_ENTRY_BYTES]) -> Option<AbortedTransaction> {
    let (version, fields) = entry.split_first_chunk::<2>()?;
    let long = |at: usize| Some(i64::from_be_bytes(*fields[at..].first_chunk()?));
    let transaction = AbortedTransaction {
        producer: ProducerId(long(0)?),
        first: Offset::from_wire(long(8)?)?,
        marker: Offset::from_wire(long(16)?)?,
        stable: Offset::from_wire(long(24)?)?,
    };
    let is_sound = transaction.first < transaction.marker;
    (i16::from_be_bytes(*version) == VERSION && is_sound).then_some(transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u64) -> Offset {
        Offset::new(offset)
    }

    #[test]
    fn a_transaction_is_undecided_until_its_marker_is_committed() {
        let mut transactions = Transactions::default();
        assert_eq!(transactions.first_undecided(), None);
        transactions.begin(ProducerId(1), at(5));
        transactions.begin(ProducerId(2), at(7));
        transactions.end(ProducerId(1), at(5), at(9), true);
        assert_eq!(transactions.first_undecided(), Some(at(5)));
        transactions.on_committed(at(9));
        assert_eq!(transactions.first_undecided(), Some(at(5)), "the marker itself is at 9");
        transactions.on_committed(at(10));
        assert_eq!(transactions.first_undecided(), Some(at(7)));
    }

    #[test]
    fn a_reader_is_told_of_aborted_transactions_in_its_range_only() {
        let mut transactions = Transactions::default();
        transactions.begin(ProducerId(1), at(0));
        transactions.begin(ProducerId(2), at(3));
        transactions.end(ProducerId(2), at(3), at(6), false);
        transactions.end(ProducerId(1), at(0), at(8), false);
        transactions.begin(ProducerId(3), at(9));
        transactions.end(ProducerId(3), at(9), at(12), false);
        let told = |from, up_to| {
            let found = transactions.aborted_between(at(from), at(up_to));
            found.iter().map(|one| one.producer.0).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 13), [2, 1, 3]);
        assert_eq!(told(0, 3), [1]);
        assert_eq!(told(7, 9), [1]);
        assert_eq!(told(9, 10), [3]);
        assert_eq!(told(13, 20), [] as [i64; 0]);
    }

    proptest! {
        #[test]
        fn an_index_reads_back_up_to_where_it_is_torn(
            gaps in prop::collection::vec((0i64..9, 1u64..50, 1u64..50), 0..20),
            cut in 1usize..34,
        ) {
            let mut offset = 0;
            let mut transactions = Transactions::default();
            for (producer, before, length) in gaps {
                let first = offset + before;
                offset = first + length;
                transactions.begin(ProducerId(producer), at(first));
                transactions.end(ProducerId(producer), at(first), at(offset), false);
                offset += 1;
            }
            let bytes = encode(transactions.aborted.iter());
            let (read, is_whole) = decode(&bytes);
            prop_assert!(is_whole && read.iter().eq(transactions.aborted.iter()));
            if !bytes.is_empty() {
                let (read, is_whole) = decode(&bytes[..bytes.len() - cut]);
                prop_assert!(!is_whole && read.len() + 1 == transactions.aborted.len());
            }
        }
    }
}
