//! Coordinators: state that lives in a partition's records and is held in memory by the core that
//! owns the partition. Pure steps: events in, records and answers out.

pub mod group;
pub mod patterns;
pub mod replayed;
pub mod share;
pub mod transaction;

/// The partition of a coordinator's topic that holds `key`: a group, a transactional id or a share
/// partition's text.
///
/// Kafka's own rule, since its tools compute it too: Java's `String.hashCode` (over UTF-16 units)
/// with the sign bit masked, modulo the number of partitions.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    assert!(partitions > 0);
    (java_hash(key) & 0x7fff_ffff) % partitions
}

/// Java's `String.hashCode`, which counts UTF-16 units.
fn java_hash(text: &str) -> u32 {
    let units = text.encode_utf16();
    units.fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}
