//! The batches that a run sends in turn, built once.
//!
//! Why a pool and not records made while sending: checksums and compression of what is sent would
//! cost more than sending it. So keys and sizes are drawn before the run, and the pool is sent over
//! and over; what it holds is said in the summary.
//!
//! Invariants
//! - The same seed builds the same records.
//! - The pool takes at most `POOL_BYTES_MAX`, but for one batch that is larger by itself.
//! - `sequential(n)` keys are all in the pool.
//! - Every batch has the same number of records. Where keys choose the partition, the last batch of
//!   a partition is filled up with keys that it has already.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use highwater::protocol::compression::Compression;
use highwater::protocol::partitioner::partition_of;
use highwater::protocol::record::{BatchBuilder, BatchOptions, BuildError, NewRecord};
use serde_json::{Value, json};

use crate::clock::wall_ms;
use crate::failure::Failure;
use crate::interval::to_f64;
use crate::payload::random_value;
use crate::schedule::Random;
use crate::variety::{KeyDraw, Keys, SizeDraw, Sizes};

/// Uncompressed bytes of all records of a pool.
const POOL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Draws for each key, so that a distribution shows its shape.
const DRAWS_PER_KEY: u64 = 4;

/// Records of a pool in which only sizes differ.
const SIZED_RECORDS: u64 = 1000;

/// What the records of a pool are like.
#[derive(Debug, Clone)]
pub(crate) struct PoolSpec {
    pub(crate) records_per_batch: u64,
    pub(crate) sizes: Sizes,
    pub(crate) keys: Keys,
    /// Part of each value that is random, 0 to 100; the rest is zeros.
    pub(crate) random_percent: u8,
    pub(crate) compression: Compression,
    pub(crate) seed: u64,
}

/// See the module's header.
#[derive(Debug, Clone)]
pub(crate) struct RecordPool {
    /// At least one; base offsets are 0.
    pub(crate) batches: Vec<Bytes>,
    /// Where each batch's keys belong; empty when batches go anywhere.
    pub(crate) partitions: Vec<i32>,
    wire_bytes: u64,
    records: u64,
    value_bytes: u64,
    distinct_keys: usize,
}

impl RecordPool {
    /// Builds all batches. With `partitions`, keys choose among so many, as Kafka's default
    /// partitioner does.
    ///
    /// # Errors
    /// More records or bytes than one batch can hold, or than the pool may.
    pub(crate) fn build(spec: &PoolSpec, partitions: Option<usize>) -> Result<RecordPool, Failure> {
        let mut random = Random::new(spec.seed);
        let mut draws = (SizeDraw::new(&spec.sizes), KeyDraw::new(&spec.keys));
        let mut pool = RecordPool {
            batches: Vec::new(),
            partitions: Vec::new(),
            wire_bytes: 0,
            records: 0,
            value_bytes: 0,
            distinct_keys: 0,
        };
        let mut keys = BTreeSet::new();
        let mut open: BTreeMap<usize, Vec<Option<u64>>> = BTreeMap::new();
        let per_batch = usize::try_from(spec.records_per_batch).unwrap_or(usize::MAX);
        let wanted = records_wanted(spec);
        let mut drawn = 0;
        while drawn < wanted.next_multiple_of(spec.records_per_batch)
            && (pool.batches.is_empty() || pool.bytes() < POOL_BYTES_MAX)
        {
            let number = draws.1.next(&mut random);
            drawn += 1;
            keys.extend(number);
            let partition = match (partitions, number) {
                (Some(partitions), Some(number)) => partition_of(&key_of(number), partitions),
                _ => 0,
            };
            let batch = open.entry(partition).or_default();
            batch.push(number);
            if batch.len() == per_batch {
                let batch = std::mem::take(batch);
                pool.push_batch(spec, (&mut draws.0, &mut random), (&batch, partition))?;
            }
        }
        for (partition, begun) in open.into_iter().filter(|(_, batch)| !batch.is_empty()) {
            let batch: Vec<Option<u64>> = begun.iter().copied().cycle().take(per_batch).collect();
            pool.push_batch(spec, (&mut draws.0, &mut random), (&batch, partition))?;
        }
        if partitions.is_none() || spec.keys == Keys::None {
            pool.partitions.clear();
        }
        pool.distinct_keys = keys.len();
        if let Keys::Sequential(count) = spec.keys
            && drawn < count
        {
            let reason = format!(
                "{count} sequential keys need more than {} MiB of records: fewer keys, or smaller \
                 records",
                POOL_BYTES_MAX / 1024 / 1024
            );
            return Err(Failure::Batch { reason });
        }
        Ok(pool)
    }

    fn push_batch(
        &mut self,
        spec: &PoolSpec,
        (sizes, random): (&mut SizeDraw, &mut Random),
        (numbers, partition): (&[Option<u64>], usize),
    ) -> Result<(), Failure> {
        let refusal = |error: BuildError| Failure::Batch { reason: error.to_string() };
        let options = BatchOptions { compression: spec.compression, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let timestamp_ms = wall_ms();
        for number in numbers {
            let size = sizes.next(random);
            let key = number.map(key_of);
            let value = random_value(size, spec.random_percent, random);
            let record = NewRecord {
                timestamp_ms,
                key: key.as_deref(),
                value: Some(&value),
                ..NewRecord::default()
            };
            builder.push(&record).map_err(refusal)?;
            self.value_bytes += u64::try_from(size).expect("usize fits in 64 bits");
        }
        self.records += spec.records_per_batch;
        let batch = builder.build().map_err(refusal)?;
        self.wire_bytes += length(&batch);
        self.batches.push(batch);
        self.partitions.push(i32::try_from(partition).expect("a topic's partitions are an int32"));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.wire_bytes.max(self.value_bytes)
    }

    /// Bytes of a batch on the wire, in the mean.
    pub(crate) fn bytes_per_batch(&self) -> u64 {
        self.wire_bytes / u64::try_from(self.batches.len().max(1)).expect("usize fits in 64 bits")
    }

    /// Numbers of the batches that connection `index` of `connections` sends in turn: its own
    /// share, or all when there are too few to share.
    pub(crate) fn share(&self, index: usize, connections: usize) -> Vec<usize> {
        let count = self.batches.len();
        if count < connections {
            return (0..count).collect();
        }
        (index..count).step_by(connections).collect()
    }

    /// What the summary says of it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "batches": self.batches.len(),
            "records": self.records,
            "distinct_keys": self.distinct_keys,
            "keys_choose_partition": !self.partitions.is_empty(),
            "value_bytes_mean": to_f64(self.value_bytes) / to_f64(self.records.max(1)),
            "batch_bytes_mean": self.bytes_per_batch(),
            "wire_bytes_per_value_byte": to_f64(self.wire_bytes) / to_f64(self.value_bytes.max(1)),
        })
    }
}

/// Of one length, so that the size of a record is that of its value.
fn key_of(number: u64) -> Vec<u8> {
    format!("key-{number:07}").into_bytes()
}

fn length(batch: &Bytes) -> u64 {
    u64::try_from(batch.len()).expect("usize fits in 64 bits")
}

fn records_wanted(spec: &PoolSpec) -> u64 {
    let for_sizes = if matches!(spec.sizes, Sizes::Fixed(_)) { 1 } else { SIZED_RECORDS };
    let for_keys = match spec.keys {
        Keys::None => 1,
        Keys::Sequential(count) => count,
        Keys::Uniform(count) | Keys::Zipf { count, .. } => DRAWS_PER_KEY * count,
    };
    for_sizes.max(for_keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater::protocol::record_batch::CheckedBatch;

    fn spec() -> PoolSpec {
        PoolSpec {
            records_per_batch: 10,
            sizes: Sizes::Fixed(100),
            keys: Keys::None,
            random_percent: 50,
            compression: Compression::None,
            seed: 1,
        }
    }

    fn keys_of(pool: &RecordPool) -> Vec<String> {
        let mut keys = Vec::new();
        for batch in &pool.batches {
            let checked = CheckedBatch::check_produced(batch.clone()).unwrap();
            let records = checked.decode_records().unwrap();
            keys.extend(records.iter().map(|record| {
                String::from_utf8(record.unwrap().key.unwrap_or_default().to_vec()).unwrap()
            }));
        }
        keys
    }

    #[test]
    fn records_that_are_all_alike_are_one_batch() {
        let pool = RecordPool::build(&spec(), None).unwrap();
        assert_eq!(pool.batches.len(), 1);
        assert_eq!(pool.to_json()["distinct_keys"], 0);
        assert_eq!(pool.share(3, 4).len(), 1);
    }

    #[test]
    fn sequential_keys_are_all_there_and_in_turn() {
        let pool =
            RecordPool::build(&PoolSpec { keys: Keys::Sequential(25), ..spec() }, None).unwrap();
        let keys = keys_of(&pool);
        assert_eq!((keys.len(), &keys[24][..], &keys[25][..]), (30, "key-0000024", "key-0000000"));
        assert_eq!(pool.to_json()["distinct_keys"], 25);
        let shares: Vec<usize> = (0..2).map(|index| pool.share(index, 2).len()).collect();
        assert_eq!(shares, [2, 1]);
    }

    #[test]
    fn drawn_keys_are_as_many_as_said_and_the_same_for_a_seed() {
        let zipf = PoolSpec { keys: Keys::Zipf { count: 500, exponent: 1.0 }, ..spec() };
        let (one, two) =
            (RecordPool::build(&zipf, None).unwrap(), RecordPool::build(&zipf, None).unwrap());
        assert_eq!(keys_of(&one), keys_of(&two));
        let distinct = one.to_json()["distinct_keys"].as_u64().unwrap();
        assert!((300..=500).contains(&distinct), "{distinct}");
    }

    #[test]
    fn keys_that_the_pool_cannot_hold_are_refused() {
        let sizes = Sizes::Fixed(1024 * 1024);
        let spec = PoolSpec { keys: Keys::Sequential(1000), sizes, ..spec() };
        let refusal = RecordPool::build(&spec, None).unwrap_err().to_string();
        assert!(refusal.contains("1000 sequential keys") && refusal.contains("64 MiB"));
    }

    #[test]
    fn stated_compressibility_is_what_lz4_and_zstd_measure() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            for (random_percent, value) in [(100, 0.0), (70, 0.3), (50, 0.5), (10, 0.9), (0, 1.0)] {
                for size in [200, 1024, 16 * 1024] {
                    let sizes = Sizes::Fixed(size);
                    let spec = PoolSpec {
                        records_per_batch: 50,
                        sizes,
                        random_percent,
                        compression,
                        ..spec()
                    };
                    let pool = RecordPool::build(&spec, None).unwrap();
                    let wire = pool.to_json()["wire_bytes_per_value_byte"].as_f64().unwrap();
                    // What is around a value costs some bytes of each record.
                    let allowed = 0.02 + 20.0 / size as f64;
                    assert!(
                        (1.0 - wire - value).abs() < allowed,
                        "{compression:?} of {size} bytes: {wire} of {value}"
                    );
                }
            }
        }
    }

    #[test]
    fn keys_choose_the_partition_and_batches_are_full() {
        let spec = PoolSpec { keys: Keys::Sequential(95), ..spec() };
        let pool = RecordPool::build(&spec, Some(4)).unwrap();
        assert_eq!(pool.partitions.len(), pool.batches.len());
        let mut seen = BTreeSet::new();
        for (batch, partition) in pool.batches.iter().zip(&pool.partitions) {
            let one = RecordPool { batches: vec![batch.clone()], ..pool.clone() };
            let keys = keys_of(&one);
            assert_eq!(keys.len(), 10);
            for key in keys {
                assert_eq!(i32::try_from(partition_of(key.as_bytes(), 4)), Ok(*partition), "{key}");
                seen.insert(key);
            }
        }
        // The draw goes on to a full batch, so some keys come a second time.
        assert_eq!(seen.len(), 95);
        assert!(RecordPool::build(&spec, None).unwrap().partitions.is_empty());
    }

    #[test]
    fn sizes_differ_within_a_batch_and_their_mean_is_said() {
        let sizes = Sizes::Uniform { min: 100, max: 300 };
        let pool = RecordPool::build(&PoolSpec { sizes, ..spec() }, None).unwrap();
        let mean = pool.to_json()["value_bytes_mean"].as_f64().unwrap();
        assert!((mean - 200.0).abs() < 10.0, "{mean}");
        assert_eq!(pool.batches.len(), 100);
    }
}
