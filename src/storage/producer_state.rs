//! What idempotent producers have written to one partition (KIP-98, KIP-360), so that a batch sent
//! twice is stored once and a lost one is noticed.
//!
//! The state is a function of the log: it follows from the batches alone, whoever appended them.
//! Snapshots only save reading all of it at a start.
//!
//! Snapshot file `<offset, 20 digits>.snapshot`, little-endian. It holds the last five batches of a
//! producer, which Kafka's own format does not.
//! ```text
//!   0  magic "HWPRODS1"                     per producer, 40 bytes and 24 a batch
//!   8  crc32c of 12..end                     0  producer id
//!  12  producers, u32                        8  epoch, i16
//!                                           10  batches, u16
//!                                           12  coordinator epoch, i32; -1 is none
//!                                           16  first offset of the open transaction; -1 is none
//!                                           24  last timestamp, ms
//!                                           32  last update, ms
//!                                           40  per batch: first, last sequence;
//!                                               base, last offset
//! ```
//!
//! Invariants
//! - At most `PRODUCER_BATCHES_KEPT` batches are kept for a producer, all of its current epoch.
//! - A control batch (a transaction's end marker) occupies no sequence numbers.

use crate::model::ids::{Offset, ProducerEpoch, ProducerId};
use crate::model::limits::PRODUCER_BATCHES_KEPT;
use crate::protocol::crc32c;
use bytes::{BufMut, Bytes, BytesMut};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

const MAGIC: [u8; 8] = *b"HWPRODS1";
const HEADER_BYTES: usize = 16;
const PRODUCER_BYTES: usize = 40;
const BATCH_BYTES: usize = 24;

/// What a batch says about its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// From 0 to 2^31-1, then 0 again; -1 in a coordinator's batches, which have none.
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp_ms: i64,
    pub is_transactional: bool,
}

/// Sequence numbers and offsets of one stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSpan {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: Offset,
    pub last_offset: Offset,
}

/// Why a producer's batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceRefusal {
    /// The epoch is older than one that was seen.
    FencedEpoch { current: ProducerEpoch },
    /// The sequence does not follow the last one; `expected` would.
    OutOfOrder { expected: i32 },
    /// The producer has an open transaction, and the batch is not part of one.
    OutsideTransaction,
}

/// What to do with a producer's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceVerdict {
    Append,
    /// It is stored already, there.
    Duplicate(BatchSpan),
    Refuse(SequenceRefusal),
}

/// What is told of one producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// -1 before the first batch of the epoch.
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    /// -1 before the first marker.
    pub coordinator_epoch: i32,
    /// First offset of the transaction that no marker has ended yet.
    pub open_transaction: Option<Offset>,
}

/// One producer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    /// First offset of the transaction that no marker has ended yet.
    open_transaction: Option<Offset>,
    last_timestamp_ms: i64,
    /// Wall clock of the last append, for expiry.
    updated_ms: i64,
    batches: [BatchSpan; PRODUCER_BATCHES_KEPT],
    /// Oldest first; only the first `batch_count` are real.
    batch_count: usize,
}

impl Producer {
    fn push(&mut self, span: BatchSpan) {
        if self.batch_count == PRODUCER_BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[self.batch_count] = span;
        self.batch_count += 1;
    }
}

/// The producers of one partition.
#[derive(Debug, Clone, Default)]
pub struct ProducerState {
    producers: HashMap<ProducerId, Producer, RandomState>,
}

/// The sequence that follows `sequence`.
pub fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

impl ProducerState {
    /// Current epoch of a producer, where it is known.
    pub fn epoch(&self, id: ProducerId) -> Option<ProducerEpoch> {
        self.producers.get(&id).map(|producer| producer.epoch)
    }

    /// Judges a client's batch; changes nothing.
    pub fn check(&self, batch: &ProducerBatch) -> SequenceVerdict {
        // A producer without state may begin anywhere: its state may have expired (KIP-360).
        let Some(producer) = self.producers.get(&batch.id) else { return SequenceVerdict::Append };
        if batch.epoch < producer.epoch {
            let current = producer.epoch;
            return SequenceVerdict::Refuse(SequenceRefusal::FencedEpoch { current });
        }
        if batch.epoch > producer.epoch {
            return if batch.first_sequence == 0 {
                SequenceVerdict::Append
            } else {
                SequenceVerdict::Refuse(SequenceRefusal::OutOfOrder { expected: 0 })
            };
        }
        let kept = &producer.batches[..producer.batch_count];
        let is_outside = producer.open_transaction.is_some() && !batch.is_transactional;
        let is_same = |span: &&BatchSpan| {
            span.first_sequence == batch.first_sequence && span.last_sequence == batch.last_sequence
        };
        if let Some(span) = kept.iter().find(is_same) {
            return SequenceVerdict::Duplicate(*span);
        }
        // Only markers were seen under this epoch: its sequences begin at 0.
        let expected = kept.last().map_or(0, |last| next_sequence(last.last_sequence));
        if batch.first_sequence != expected {
            SequenceVerdict::Refuse(SequenceRefusal::OutOfOrder { expected })
        } else if is_outside {
            SequenceVerdict::Refuse(SequenceRefusal::OutsideTransaction)
        } else {
            SequenceVerdict::Append
        }
    }

    /// Notes a batch that is in the log. Does not judge: what is stored is true. Returns whether it
    /// is the first of a transaction.
    pub fn on_batch(&mut self, batch: &ProducerBatch, now_ms: i64) -> bool {
        let producer = self.producer(batch.id, batch.epoch);
        if batch.epoch > producer.epoch {
            producer.epoch = batch.epoch;
            producer.batch_count = 0;
            producer.batches = Default::default();
        }
        if batch.first_sequence >= 0 {
            producer.push(BatchSpan {
                first_sequence: batch.first_sequence,
                last_sequence: batch.last_sequence,
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
            });
        }
        producer.last_timestamp_ms = batch.max_timestamp_ms;
        producer.updated_ms = now_ms;
        assert!(producer.batch_count <= PRODUCER_BATCHES_KEPT);
        let is_first = batch.is_transactional && producer.open_transaction.is_none();
        if is_first {
            producer.open_transaction = Some(batch.base_offset);
        }
        is_first
    }

    /// Notes a marker that ends a producer's transaction; returns where the transaction began.
    pub fn on_marker(
        &mut self,
        marker: &ProducerBatch,
        coordinator_epoch: i32,
        now_ms: i64,
    ) -> Option<Offset> {
        let producer = self.producer(marker.id, marker.epoch);
        if marker.epoch > producer.epoch {
            producer.epoch = marker.epoch;
            producer.batch_count = 0;
            producer.batches = Default::default();
        }
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp_ms = marker.max_timestamp_ms;
        producer.updated_ms = now_ms;
        producer.open_transaction.take()
    }

    fn producer(&mut self, id: ProducerId, epoch: ProducerEpoch) -> &mut Producer {
        self.producers.entry(id).or_insert(Producer {
            epoch,
            coordinator_epoch: -1,
            open_transaction: None,
            last_timestamp_ms: -1,
            updated_ms: 0,
            batches: [BatchSpan::default(); PRODUCER_BATCHES_KEPT],
            batch_count: 0,
        })
    }

    /// Open transactions: producer and first offset, in no order.
    pub fn open_transactions(&self) -> impl Iterator<Item = (ProducerId, Offset)> {
        let open =
            |(id, producer): (&ProducerId, &Producer)| Some((*id, producer.open_transaction?));
        self.producers.iter().filter_map(open)
    }

    /// True when a batch of this producer and epoch opened a transaction that no marker has ended.
    pub fn has_open_transaction(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        let producer = self.producers.get(&id).filter(|producer| producer.epoch == epoch);
        producer.is_some_and(|producer| producer.open_transaction.is_some())
    }

    /// Epoch of the coordinator that wrote the producer's last marker; -1 without one.
    pub fn coordinator_epoch(&self, id: ProducerId) -> i32 {
        self.producers.get(&id).map_or(-1, |producer| producer.coordinator_epoch)
    }

    /// All producers, in no order (DescribeProducers).
    pub fn describe(&self) -> impl Iterator<Item = ActiveProducer> {
        self.producers.iter().map(|(id, producer)| {
            let kept = &producer.batches[..producer.batch_count];
            ActiveProducer {
                id: *id,
                epoch: producer.epoch,
                last_sequence: kept.last().map_or(-1, |span| span.last_sequence),
                last_timestamp_ms: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                open_transaction: producer.open_transaction,
            }
        })
    }

    /// Forgets producers that were silent for `expiration_ms` and have no open transaction.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, producer| {
            let silent_ms = now_ms.saturating_sub(producer.updated_ms);
            producer.open_transaction.is_some() || silent_ms < expiration_ms
        });
    }

    /// Producers known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Spans kept for a producer, oldest first, with its epoch. For tests and tools.
    pub fn spans(&self, id: ProducerId) -> Option<(ProducerEpoch, &[BatchSpan])> {
        let producer = self.producers.get(&id)?;
        Some((producer.epoch, &producer.batches[..producer.batch_count]))
    }

    /// Each producer's epoch and the last offset of its last batch, where sequences are known.
    pub fn last_batches(
        &self,
    ) -> impl Iterator<Item = (ProducerId, ProducerEpoch, Option<Offset>)> + '_ {
        self.producers.iter().map(|(id, producer)| {
            let kept = producer.batches[..producer.batch_count].last();
            (*id, producer.epoch, kept.map(|span| span.last_offset))
        })
    }

    /// The content of a snapshot file.
    pub fn encode(&self) -> Bytes {
        let batches: usize = self.producers.values().map(|producer| producer.batch_count).sum();
        let size = HEADER_BYTES + self.producers.len() * PRODUCER_BYTES + batches * BATCH_BYTES;
        let mut out = BytesMut::with_capacity(size);
        out.put_slice(&MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(u32::try_from(self.producers.len()).expect("fewer than appends in a week"));
        for (id, producer) in &self.producers {
            encode_producer(*id, producer, &mut out);
        }
        assert!(out.len() == size);
        let crc = crc32c::crc32c(&out[12..]);
        out[8..12].copy_from_slice(&crc.to_le_bytes());
        out.freeze()
    }

    /// From a snapshot file; `None` when it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<ProducerState> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let crc = u32::from_le_bytes(*header[8..].first_chunk()?);
        if header[..8] != MAGIC || crc != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        let count = u32::from_le_bytes(*header[12..].first_chunk()?);
        let mut state = ProducerState::default();
        let mut rest = &bytes[HEADER_BYTES..];
        for _ in 0..count {
            let (id, producer, after) = decode_producer(rest)?;
            state.producers.insert(id, producer);
            rest = after;
        }
        rest.is_empty().then_some(state)
    }
}

fn encode_producer(id: ProducerId, producer: &Producer, out: &mut BytesMut) {
    out.put_i64_le(id.0);
    out.put_i16_le(producer.epoch.0);
    out.put_u16_le(u16::try_from(producer.batch_count).expect("at most five"));
    out.put_i32_le(producer.coordinator_epoch);
    out.put_i64_le(producer.open_transaction.map_or(-1, Offset::to_wire));
    out.put_i64_le(producer.last_timestamp_ms);
    out.put_i64_le(producer.updated_ms);
    for span in &producer.batches[..producer.batch_count] {
        out.put_i32_le(span.first_sequence);
        out.put_i32_le(span.last_sequence);
        out.put_i64_le(span.base_offset.to_wire());
        out.put_i64_le(span.last_offset.to_wire());
    }
}

fn decode_producer(bytes: &[u8]) -> Option<(ProducerId, Producer, &[u8])> {
    let (head, mut rest) = bytes.split_first_chunk::<PRODUCER_BYTES>()?;
    let long = |at: usize| Some(i64::from_le_bytes(*head[at..].first_chunk()?));
    let batch_count = usize::from(u16::from_le_bytes(*head[10..].first_chunk()?));
    if batch_count > PRODUCER_BATCHES_KEPT {
        return None;
    }
    let mut batches = [BatchSpan::default(); PRODUCER_BATCHES_KEPT];
    for span in &mut batches[..batch_count] {
        let (bytes, after) = rest.split_first_chunk::<BATCH_BYTES>()?;
        *span = BatchSpan {
            first_sequence: i32::from_le_bytes(*bytes.first_chunk()?),
            last_sequence: i32::from_le_bytes(*bytes[4..].first_chunk()?),
            base_offset: Offset::from_wire(i64::from_le_bytes(*bytes[8..].first_chunk()?))?,
            last_offset: Offset::from_wire(i64::from_le_bytes(*bytes[16..].first_chunk()?))?,
        };
        rest = after;
    }
    let producer = Producer {
        epoch: ProducerEpoch(i16::from_le_bytes(*head[8..].first_chunk()?)),
        coordinator_epoch: i32::from_le_bytes(*head[12..].first_chunk()?),
        open_transaction: Offset::from_wire(long(16)?),
        last_timestamp_ms: long(24)?,
        updated_ms: long(32)?,
        batches,
        batch_count,
    };
    Some((ProducerId(long(0)?), producer, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(id: i64, epoch: i16, first: i32, count: i32, base: u64) -> ProducerBatch {
        let last_sequence = (0..count - 1).fold(first, |sequence, _| next_sequence(sequence));
        ProducerBatch {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            first_sequence: first,
            last_sequence,
            base_offset: Offset::new(base),
            last_offset: Offset::new(base + u64::from(count.unsigned_abs()) - 1),
            max_timestamp_ms: 1000,
            is_transactional: false,
        }
    }

    fn append(state: &mut ProducerState, batch: ProducerBatch) {
        assert_eq!(state.check(&batch), SequenceVerdict::Append);
        state.on_batch(&batch, 0);
    }

    fn out_of_order(expected: i32) -> SequenceVerdict {
        SequenceVerdict::Refuse(SequenceRefusal::OutOfOrder { expected })
    }

    #[test]
    fn a_batch_sent_again_is_found_among_the_last_five_only() {
        let mut state = ProducerState::default();
        for index in 0..6 {
            append(&mut state, batch(7, 0, index * 2, 2, 100 + u64::try_from(index).unwrap() * 2));
        }
        let SequenceVerdict::Duplicate(span) = state.check(&batch(7, 0, 2, 2, 999)) else {
            panic!("the second batch is within the window");
        };
        assert_eq!(span.base_offset, Offset::new(102));
        assert_eq!(state.check(&batch(7, 0, 0, 2, 999)), out_of_order(12));
        assert_eq!(state.check(&batch(7, 0, 2, 3, 999)), out_of_order(12));
    }

    #[test]
    fn a_gap_is_refused_and_names_the_sequence_that_was_due() {
        let mut state = ProducerState::default();
        append(&mut state, batch(7, 0, 0, 10, 0));
        assert_eq!(state.check(&batch(7, 0, 11, 1, 10)), out_of_order(10));
        assert_eq!(state.check(&batch(7, 0, 10, 1, 10)), SequenceVerdict::Append);
    }

    #[test]
    fn sequences_wrap_to_zero_behind_the_largest() {
        let mut state = ProducerState::default();
        append(&mut state, batch(7, 0, i32::MAX - 1, 4, 0));
        assert_eq!(state.spans(ProducerId(7)).unwrap().1[0].last_sequence, 1);
        append(&mut state, batch(7, 0, 2, 1, 4));
        append(&mut state, batch(8, 0, i32::MAX, 1, 5));
        append(&mut state, batch(8, 0, 0, 1, 6));
    }

    #[test]
    fn a_producer_without_state_may_begin_anywhere() {
        let state = ProducerState::default();
        assert_eq!(state.check(&batch(7, 3, 41, 1, 0)), SequenceVerdict::Append);
    }

    #[test]
    fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
        let mut state = ProducerState::default();
        append(&mut state, batch(7, 0, 0, 3, 0));
        assert_eq!(state.check(&batch(7, 1, 3, 1, 3)), out_of_order(0));
        append(&mut state, batch(7, 1, 0, 1, 3));
        let fenced = SequenceRefusal::FencedEpoch { current: ProducerEpoch(1) };
        assert_eq!(state.check(&batch(7, 0, 3, 1, 4)), SequenceVerdict::Refuse(fenced));
        // The old epoch's batches are no duplicates of the new one's.
        assert_eq!(state.check(&batch(7, 1, 0, 3, 4)), out_of_order(1));
    }

    #[test]
    fn a_marker_ends_the_transaction_that_the_first_batch_opened() {
        let mut state = ProducerState::default();
        let transactional =
            |batch: ProducerBatch| ProducerBatch { is_transactional: true, ..batch };
        append(&mut state, transactional(batch(7, 0, 0, 1, 5)));
        append(&mut state, transactional(batch(8, 0, 0, 1, 6)));
        append(&mut state, transactional(batch(7, 0, 1, 1, 7)));
        let outside = state.check(&batch(7, 0, 2, 1, 8));
        assert_eq!(outside, SequenceVerdict::Refuse(SequenceRefusal::OutsideTransaction));
        let mut open: Vec<_> = state.open_transactions().map(|(id, first)| (id.0, first)).collect();
        open.sort_unstable();
        assert_eq!(open, [(7, Offset::new(5)), (8, Offset::new(6))]);
        let began = state.on_marker(&batch(7, 0, -1, 1, 8), 1, 0);
        assert_eq!(began, Some(Offset::new(5)));
        assert!(!state.has_open_transaction(ProducerId(7), ProducerEpoch(0)));
        assert!(state.has_open_transaction(ProducerId(8), ProducerEpoch(0)));
        assert_eq!(state.check(&batch(7, 0, 2, 1, 9)), SequenceVerdict::Append);
        // A marker under a newer epoch (KIP-890) starts the sequences again.
        state.on_marker(&batch(8, 1, -1, 1, 9), 1, 0);
        assert_eq!(state.check(&batch(8, 1, 0, 1, 9)), SequenceVerdict::Append);
        assert_eq!(state.check(&batch(8, 1, 1, 1, 9)), out_of_order(0));
    }

    #[test]
    fn silent_producers_expire_unless_a_transaction_is_open() {
        let mut state = ProducerState::default();
        state.on_batch(&batch(7, 0, 0, 1, 0), 1000);
        state.on_batch(&ProducerBatch { is_transactional: true, ..batch(8, 0, 0, 1, 1) }, 1000);
        state.on_batch(&batch(9, 0, 0, 1, 2), 1500);
        state.expire(1999, 1000);
        assert_eq!(state.len(), 3);
        state.expire(2000, 1000);
        assert_eq!(state.len(), 2);
        assert!(state.spans(ProducerId(7)).is_none());
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back_and_no_damaged_one_does(
            appends in prop::collection::vec((0i64..5, 0i16..3, 0i32..100, 1i32..4), 0..40),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut state = ProducerState::default();
            for (offset, (id, epoch, first, count)) in appends.into_iter().enumerate() {
                state.on_batch(&batch(id, epoch, first, count, offset as u64 * 4), 7);
            }
            let bytes = state.encode();
            let read = ProducerState::decode(&bytes).unwrap();
            prop_assert_eq!(&read.producers, &state.producers);
            let mut damaged = bytes.to_vec();
            let at = flip.index(damaged.len());
            damaged[at] ^= 1;
            prop_assert!(ProducerState::decode(&damaged).is_none());
            prop_assert!(ProducerState::decode(&bytes[..at]).is_none());
        }
    }
}
