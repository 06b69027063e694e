//! The batch that a run sends: built once, with its checksum.

use bytes::Bytes;
use highwater::protocol::compression::Compression;
use highwater::protocol::record::{BatchBuilder, BatchOptions, BuildError, NewRecord};

use crate::clock::wall_ms;
use crate::failure::Failure;
use crate::schedule::Random;

/// What a batch holds.
#[derive(Debug, Clone)]
pub(crate) struct BatchSpec {
    pub(crate) records: u64,
    /// Size of each record's value; there is no key.
    pub(crate) record_bytes: usize,
    /// Part of each value that is random, 0 to 100; the rest is zeros. Decides how far it can be
    /// compressed.
    pub(crate) random_percent: u8,
    pub(crate) compression: Compression,
    pub(crate) seed: u64,
}

/// Builds the batch, at base offset 0, with the time of now.
///
/// # Errors
/// More records or bytes than one batch can hold.
pub(crate) fn build_batch(spec: &BatchSpec) -> Result<Bytes, Failure> {
    let refusal = |error: BuildError| Failure::Batch { reason: error.to_string() };
    let options = BatchOptions { compression: spec.compression, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let mut random = Random::new(spec.seed);
    let timestamp_ms = wall_ms();
    for _ in 0..spec.records {
        let value = random_value(spec.record_bytes, spec.random_percent, &mut random);
        let record = NewRecord { timestamp_ms, value: Some(&value), ..NewRecord::default() };
        builder.push(&record).map_err(refusal)?;
    }
    builder.build().map_err(refusal)
}

/// A value whose first part is random, `random_percent` of it; the rest is zeros.
pub(crate) fn random_value(size: usize, random_percent: u8, random: &mut Random) -> Vec<u8> {
    let mut value = vec![0; size];
    let random_bytes = size * usize::from(random_percent.min(100)) / 100;
    for chunk in value[..random_bytes].chunks_mut(8) {
        chunk.copy_from_slice(&random.bits().to_le_bytes()[..chunk.len()]);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater::protocol::record_batch::CheckedBatch;

    fn spec(compression: Compression, random_percent: u8) -> BatchSpec {
        BatchSpec { records: 150, record_bytes: 100, random_percent, compression, seed: 1 }
    }

    #[test]
    fn a_batch_passes_the_brokers_own_check_with_every_compression() {
        for compression in Compression::ALL {
            let batch = build_batch(&spec(compression, 50)).unwrap();
            let checked = CheckedBatch::check_produced(batch).unwrap();
            assert_eq!(checked.header().record_count(), 150);
        }
    }

    #[test]
    fn the_random_part_decides_how_far_it_compresses() {
        let sizes: Vec<usize> = [0, 50, 100]
            .into_iter()
            .map(|percent| build_batch(&spec(Compression::Lz4, percent)).unwrap().len())
            .collect();
        assert!(sizes.is_sorted() && sizes[0] * 4 < sizes[1], "{sizes:?}");
        assert!(sizes[2] > 15_000, "{sizes:?}");
    }

    #[test]
    fn the_same_seed_builds_the_same_records() {
        let records =
            |seed| build_batch(&BatchSpec { seed, ..spec(Compression::None, 50) }).unwrap();
        assert_eq!(records(1).len(), records(1).len());
        assert!(records(1)[61..] == records(1)[61..] && records(1)[61..] != records(2)[61..]);
    }
}
