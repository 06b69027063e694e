//! The intended send time within a batch: what end-to-end latency is counted from.
//!
//! The first record's value begins with the run's id and the time, in nanoseconds of the monotonic
//! clock. So the time is right only for readers on the machine of the producer, and the id keeps
//! out what other runs have written.
//!
//! ```text
//! batch   [header 61][record: ...|value: run id 8|intended ns 8|...][record]...
//!                                        ^ StampPlace::at
//! ```
//!
//! Invariants
//! - A stamped batch has its right checksum.
//! - Brokers keep records as they were sent, so the place is the same for the reader.

use bytes::{Bytes, BytesMut};
use highwater::protocol::crc32c;

use crate::failure::Failure;

const ID_SIZE: usize = 8;
const STAMP_SIZE: usize = 16;
const HEADER_SIZE: usize = 61;
const ATTRIBUTES_AT: usize = 21;
const COMPRESSION_BITS: u8 = 0b111;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// What tells the batches of one run from those of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunMark(pub(crate) u64);

impl RunMark {
    /// Makes `batch` one that can be stamped.
    ///
    /// # Errors
    /// It is compressed, or its first value is shorter than the stamp.
    pub(crate) fn prepare(self, batch: &Bytes) -> Result<StampPlace, Failure> {
        let refusal = |reason: &str| Failure::Batch { reason: reason.to_owned() };
        if is_compressed(batch) {
            return Err(refusal("a compressed batch cannot be stamped: --compression none"));
        }
        let at = first_value(batch)
            .ok_or_else(|| refusal("a stamped record needs --record-bytes of 16 or more"))?;
        let mut stamped = BytesMut::from(&batch[..]);
        stamped[at..at + ID_SIZE].copy_from_slice(&self.0.to_le_bytes());
        let mut place = StampPlace { batch: Bytes::new(), at };
        let whole = StampPlace { batch: stamped.clone().freeze(), at };
        stamp_batch(&mut stamped, &whole, 0);
        place.batch = stamped.freeze();
        Ok(place)
    }

    /// The intended time of a fetched batch; `None` when it is of another run.
    #[inline]
    pub(crate) fn read(self, batch: &[u8]) -> Option<u64> {
        let at = first_value(batch)?;
        let stamp = batch.get(at..at + STAMP_SIZE)?;
        let time = stamp[ID_SIZE..].first_chunk::<8>()?;
        (stamp[..ID_SIZE] == self.0.to_le_bytes()).then(|| u64::from_le_bytes(*time))
    }
}

/// A batch that can be stamped, and where.
#[derive(Debug, Clone)]
pub(crate) struct StampPlace {
    batch: Bytes,
    at: usize,
}

impl StampPlace {
    /// The batch, stamped with time 0.
    pub(crate) fn batch(&self) -> &Bytes {
        &self.batch
    }

    /// Where the batch begins in `bytes`, from `start` on.
    pub(crate) fn find(&self, bytes: &[u8], start: usize) -> Option<usize> {
        let mut windows = bytes.get(start..)?.windows(self.batch.len());
        windows.position(|window| window == &self.batch[..]).map(|at| start + at)
    }
}

/// Puts the time into the batch at the front of `bytes` and corrects its checksum.
#[inline]
pub(crate) fn stamp_batch(bytes: &mut [u8], place: &StampPlace, intended_ns: u64) {
    let batch = &mut bytes[..place.batch.len()];
    let time = place.at + ID_SIZE..place.at + STAMP_SIZE;
    batch[time].copy_from_slice(&intended_ns.to_le_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn is_compressed(batch: &[u8]) -> bool {
    batch.get(ATTRIBUTES_AT + 1).is_some_and(|low| low & COMPRESSION_BITS != 0)
}

/// Where the value of the first record lies, when it has room for a stamp. Of a compressed batch it
/// is any place, or none.
#[inline]
fn first_value(batch: &[u8]) -> Option<usize> {
    let mut at = HEADER_SIZE;
    varint(batch, &mut at)?;
    // One byte of attributes, then the differences of time and offset.
    at += 1;
    varint(batch, &mut at)?;
    varint(batch, &mut at)?;
    // A key that is not there has length -1.
    let key_size = varint(batch, &mut at)?;
    at = at.checked_add(usize::try_from(key_size.max(0)).ok()?)?;
    let value_size = usize::try_from(varint(batch, &mut at)?).ok()?;
    let end = at.checked_add(value_size)?;
    (value_size >= STAMP_SIZE && end <= batch.len()).then_some(at)
}

/// Reads a zigzag variable-length number at `at` and moves behind it.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut bits = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_pool::{PoolSpec, RecordPool};
    use crate::variety::{Keys, Sizes};
    use highwater::protocol::compression::Compression;
    use highwater::protocol::record_batch::CheckedBatch;

    fn batches(size: usize, keys: Keys, compression: Compression) -> Vec<Bytes> {
        let spec = PoolSpec {
            records_per_batch: 3,
            sizes: Sizes::Uniform { min: size, max: size + 900 },
            keys,
            random_percent: 50,
            compression,
            seed: 5,
        };
        RecordPool::build(&spec, None).unwrap().batches
    }

    #[test]
    fn a_stamped_batch_is_right_and_is_read_by_its_own_run_only() {
        for keys in [Keys::None, Keys::Sequential(200)] {
            for batch in batches(100, keys, Compression::None).iter().take(100) {
                let place = RunMark(77).prepare(batch).unwrap();
                let mut frame = b"head".to_vec();
                frame.extend_from_slice(place.batch());
                frame.extend_from_slice(b"between");
                frame.extend_from_slice(place.batch());
                assert_eq!(place.find(&frame, 0), Some(4));
                let second = place.find(&frame, 5).unwrap();
                assert_eq!(second, 11 + place.batch().len());
                stamp_batch(&mut frame[second..], &place, 123_456_789);
                let stamped = Bytes::copy_from_slice(&frame[second..]);
                assert_eq!(RunMark(77).read(&stamped), Some(123_456_789));
                assert!(CheckedBatch::check_produced(stamped.clone()).is_ok());
                assert_eq!(RunMark(78).read(&stamped), None);
                assert_eq!(RunMark(77).read(&stamped[..70]), None);
            }
        }
    }

    #[test]
    fn batches_that_cannot_carry_a_stamp_are_refused_with_the_way_out() {
        let refusal = |batches: Vec<Bytes>| {
            let refused = batches.iter().find_map(|batch| RunMark(1).prepare(batch).err());
            refused.unwrap().to_string()
        };
        let small = batches(0, Keys::None, Compression::None);
        assert!(refusal(small).contains("--record-bytes"));
        let compressed = batches(100, Keys::None, Compression::Lz4);
        assert!(refusal(compressed).contains("--compression none"));
    }

    #[test]
    fn no_bytes_make_the_reader_of_stamps_panic() {
        let batch = &batches(100, Keys::Sequential(9), Compression::None)[0];
        for cut in 0..batch.len() {
            assert_eq!(RunMark(1).read(&batch[..cut]), None);
        }
        for at in HEADER_SIZE..HEADER_SIZE + 12 {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = batch.to_vec();
                bytes[at] = byte;
                RunMark(1).read(&bytes);
            }
        }
    }
}
