//! Counts the batches of fetched records by their headers alone.
//!
//! ```text
//! offset  size
//!      0     8  base offset
//!      8     4  length of what follows
//!     16     1  magic: 2
//!     17     4  CRC-32C of everything from offset 21 on
//!     23     4  last offset delta
//!     57     4  record count
//! ```

use highwater::protocol::crc32c;

const HEADER_SIZE: usize = 61;
const LENGTH_END: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

/// What the whole batches of one partition's records add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BatchCount {
    pub(crate) batches: u64,
    pub(crate) records: u64,
    /// Bytes of whole batches; a batch that is cut off at the end does not count.
    pub(crate) bytes: u64,
    /// Offset after the last record; `None` without a whole batch.
    pub(crate) next_offset: Option<i64>,
    /// Batches whose checksum is wrong, when checked.
    pub(crate) corrupt: u64,
}

/// Whether checksums are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrcCheck {
    Skip,
    Verify,
}

/// Walks over the batches in `records`.
pub(crate) fn count_batches(records: &[u8], crc: CrcCheck) -> BatchCount {
    let mut count = BatchCount::default();
    let mut rest = records;
    while let Some(batch) = first_batch(rest) {
        count.batches += 1;
        let (records, next_offset) = extent(batch);
        count.records += records;
        count.bytes += u64::try_from(batch.len()).expect("usize fits in 64 bits");
        count.next_offset = Some(next_offset);
        if crc == CrcCheck::Verify {
            let stated = int32_at(batch, CRC_AT).cast_unsigned();
            count.corrupt += u64::from(crc32c::crc32c(&batch[CRC_FROM..]) != stated);
        }
        rest = &rest[batch.len()..];
    }
    count
}

/// Records and offset after the last one, of one whole batch.
pub(crate) fn extent(batch: &[u8]) -> (u64, i64) {
    let records = u64::try_from(int32_at(batch, 57)).unwrap_or(0);
    let base = i64::from_be_bytes(*batch.first_chunk().expect("a batch has its header"));
    (records, base.saturating_add(i64::from(int32_at(batch, 23))) + 1)
}

/// The whole batch at the front of `bytes`, when there is one.
pub(crate) fn first_batch(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.len() < HEADER_SIZE {
        return None;
    }
    let size = usize::try_from(int32_at(bytes, 8)).ok()?.checked_add(LENGTH_END)?;
    if size < HEADER_SIZE { None } else { bytes.get(..size) }
}

fn int32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(*bytes[at..].first_chunk().expect("within the header"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{BatchSpec, build_batch};
    use highwater::protocol::compression::Compression;
    use highwater::protocol::record_batch::stamp;

    /// Two batches of 3 records at offsets 10 and 13.
    fn records() -> Vec<u8> {
        let spec = BatchSpec {
            records: 3,
            record_bytes: 50,
            random_percent: 100,
            compression: Compression::None,
            seed: 4,
        };
        let batch = build_batch(&spec).unwrap().to_vec();
        let mut records = Vec::new();
        for base_offset in [10, 13] {
            let mut copy = batch.clone();
            stamp(&mut copy, base_offset, 0);
            records.extend(copy);
        }
        records
    }

    #[test]
    fn whole_batches_count_and_a_cut_one_does_not() {
        let records = records();
        let whole = count_batches(&records, CrcCheck::Verify);
        let bytes = u64::try_from(records.len()).unwrap();
        let expected =
            BatchCount { batches: 2, records: 6, bytes, next_offset: Some(16), corrupt: 0 };
        assert_eq!(whole, expected);
        for cut in records.len() / 2..records.len() {
            let count = count_batches(&records[..cut], CrcCheck::Verify);
            assert_eq!((count.batches, count.records, count.next_offset), (1, 3, Some(13)));
        }
        assert_eq!(count_batches(&records[..70], CrcCheck::Skip), BatchCount::default());
    }

    #[test]
    fn a_flipped_bit_is_seen_when_checksums_are_verified() {
        let mut records = records();
        let last = records.len() - 1;
        records[last] ^= 1;
        assert_eq!(count_batches(&records, CrcCheck::Verify).corrupt, 1);
        assert_eq!(count_batches(&records, CrcCheck::Skip).corrupt, 0);
    }
}
