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
use highwater::protocol::record_batch::CheckedBatch;

use crate::failure::Failure;

const ID_SIZE: usize = 8;
const STAMP_SIZE: usize = 16;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// Where batches of one run carry their stamp.
#[derive(Debug, Clone)]
pub(crate) struct StampPlace {
    batch: Bytes,
    at: usize,
}

impl StampPlace {
    /// Makes `batch` one that can be stamped, for the run `run_id`.
    ///
    /// # Errors
    /// It is compressed, or its first value is shorter than the stamp.
    pub(crate) fn prepare(batch: &Bytes, run_id: u64) -> Result<StampPlace, Failure> {
        let refusal = |reason: &str| Failure::Batch { reason: reason.to_owned() };
        let Some(at) = first_value(batch)? else {
            return Err(refusal("a stamped record needs --record-bytes of 16 or more"));
        };
        let mut stamped = BytesMut::from(&batch[..]);
        stamped[at..at + ID_SIZE].copy_from_slice(&run_id.to_le_bytes());
        let mut place = StampPlace { batch: Bytes::new(), at };
        let whole = StampPlace { batch: stamped.clone().freeze(), at };
        stamp_batch(&mut stamped, &whole, 0);
        place.batch = stamped.freeze();
        Ok(place)
    }

    /// The batch, stamped with time 0.
    pub(crate) fn batch(&self) -> &Bytes {
        &self.batch
    }

    /// Where copies of the batch begin in `bytes`, from `start` on.
    pub(crate) fn find(&self, bytes: &[u8], start: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = start;
        while let Some(window) = bytes.get(at..at + self.batch.len()) {
            if window == &self.batch[..] {
                found.push(at);
                at += self.batch.len();
            } else {
                at += 1;
            }
        }
        found
    }

    /// The intended time of a fetched batch; `None` when it is of another run.
    #[inline]
    pub(crate) fn read(&self, batch: &[u8]) -> Option<u64> {
        let stamp = batch.get(self.at..self.at + STAMP_SIZE)?;
        let own = &self.batch[self.at..self.at + ID_SIZE];
        let time = stamp[ID_SIZE..].first_chunk::<8>()?;
        (&stamp[..ID_SIZE] == own).then(|| u64::from_le_bytes(*time))
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

/// Where the value of the first record lies, when it has room for a stamp.
fn first_value(batch: &Bytes) -> Result<Option<usize>, Failure> {
    let refusal = |reason: String| Failure::Batch { reason };
    let checked =
        CheckedBatch::check_produced(batch.clone()).map_err(|error| refusal(error.to_string()))?;
    let records = checked.decode_records().map_err(|error| refusal(error.to_string()))?;
    let first = records.iter().next().and_then(Result::ok);
    let Some(value) = first.and_then(|record| record.value) else {
        return Ok(None);
    };
    // Uncompressed records are read in place, so the value's address says where it lies.
    let at = value.as_ptr().addr().wrapping_sub(batch.as_ptr().addr());
    if batch.get(at..at.saturating_add(value.len())) != Some(value) {
        return Err(refusal("a compressed batch cannot be stamped: --compression none".to_owned()));
    }
    Ok((value.len() >= STAMP_SIZE).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{BatchSpec, build_batch};
    use highwater::protocol::compression::Compression;

    fn batch(record_bytes: usize, compression: Compression) -> Bytes {
        let spec = BatchSpec { records: 3, record_bytes, random_percent: 50, compression, seed: 5 };
        build_batch(&spec).unwrap()
    }

    #[test]
    fn a_stamped_batch_is_right_and_is_read_by_its_own_run_only() {
        let place = StampPlace::prepare(&batch(100, Compression::None), 77).unwrap();
        let mut frame = b"head".to_vec();
        frame.extend_from_slice(place.batch());
        frame.extend_from_slice(b"between");
        frame.extend_from_slice(place.batch());
        let starts = place.find(&frame, 0);
        assert_eq!(starts, [4, 11 + place.batch().len()]);
        stamp_batch(&mut frame[starts[1]..], &place, 123_456_789);
        let stamped = Bytes::copy_from_slice(&frame[starts[1]..]);
        assert_eq!(place.read(&stamped), Some(123_456_789));
        assert!(CheckedBatch::check_produced(stamped.clone()).is_ok());
        let other = StampPlace::prepare(&batch(100, Compression::None), 78).unwrap();
        assert_eq!(other.read(&stamped), None);
        assert_eq!(place.read(&stamped[..70]), None);
    }

    #[test]
    fn batches_that_cannot_carry_a_stamp_are_refused_with_the_way_out() {
        let refusal = |batch: Bytes| StampPlace::prepare(&batch, 1).unwrap_err().to_string();
        assert!(refusal(batch(15, Compression::None)).contains("--record-bytes"));
        assert!(refusal(batch(100, Compression::Lz4)).contains("--compression none"));
    }
}
