//! Where producers put a key: what Kafka's clients agree on, so that a key goes to the same
//! partition whoever produces it.

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The partition of a key among `partitions`, by Kafka's default partitioner: murmur2 with the sign
/// bit cleared, modulo their number.
///
/// # Panics
/// When `partitions` is 0.
pub fn partition_of(key: &[u8], partitions: usize) -> usize {
    assert!(partitions > 0);
    murmur2(key) as usize % partitions
}

fn murmur2(key: &[u8]) -> u32 {
    let mut hash = SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        let word = (word ^ (word >> 24)).wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ word;
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    (hash ^ (hash >> 15)) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn keys_hash_as_kafkas_partitioner_hashes_them() {
        // From UtilsTest of Apache Kafka, sign bit cleared.
        for (key, hash) in
            [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107_i32)]
        {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned() & 0x7fff_ffff, "{key}");
        }
    }
}
