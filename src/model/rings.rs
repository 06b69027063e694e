//! How deep the rings of the executors may be: locked memory against what rings take of it.
//!
//! The broker settles on a depth by it at its start, and `tuning check` shows the same depth.

use crate::model::limits::HOST_MEMLOCK_BYTES_MIN;

/// A depth of rings and the registered memory that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    /// Submission entries per ring.
    pub depth: usize,
    /// Registered memory per executor, in bytes.
    pub io_memory_bytes: usize,
}

/// Sizes tried, deepest first.
///
/// Depth is cheap and saves wake-ups: when as many completions as a ring is deep arrive in one
/// turn, the executor preempts the tasks that they woke.
pub const RING_SIZES: [RingSize; 4] = [
    RingSize { depth: 1024, io_memory_bytes: 256 * 1024 },
    RingSize { depth: 256, io_memory_bytes: 256 * 1024 },
    RingSize { depth: 128, io_memory_bytes: 128 * 1024 },
    RingSize { depth: 64, io_memory_bytes: 64 * 1024 },
];

/// Rings that one executor opens.
const RINGS_PER_EXECUTOR: u64 = 3;

/// Locked bytes per entry of a ring's depth: 64 submitted, two completions of 16, an index.
const LOCKED_BYTES_PER_ENTRY: u64 = 64 + 2 * 16 + 4;

/// Locked bytes of a ring besides its entries, rounding to pages included.
const LOCKED_BYTES_PER_RING: u64 = 8 * 1024;

/// Locked memory that `executors` take with rings of this size, in bytes.
fn locked_bytes(size: RingSize, executors: usize) -> u64 {
    let entries = size.depth as u64 * LOCKED_BYTES_PER_ENTRY;
    let ring = entries + LOCKED_BYTES_PER_RING + size.io_memory_bytes as u64;
    ring * RINGS_PER_EXECUTOR * executors as u64
}

/// RLIMIT_MEMLOCK at which `executors` get rings of this size, in bytes.
///
/// Half is left to others of the same user: the kernel counts per user, not per process.
pub fn memlock_bytes_for(size: RingSize, executors: usize) -> u64 {
    (locked_bytes(size, executors) * 2).max(HOST_MEMLOCK_BYTES_MIN)
}

/// The deepest rings that a limit of `memlock_bytes` has room for (`None` = unlimited).
///
/// # Errors
/// The limit in bytes that the shallowest rings need.
pub fn ring_size(memlock_bytes: Option<u64>, executors: usize) -> Result<RingSize, u64> {
    assert!(executors > 0);
    let Some(limit) = memlock_bytes else { return Ok(RING_SIZES[0]) };
    let fits = |size: &&RingSize| memlock_bytes_for(**size, executors) <= limit;
    let shallowest = RING_SIZES[RING_SIZES.len() - 1];
    RING_SIZES.iter().find(fits).copied().ok_or(memlock_bytes_for(shallowest, executors))
}
