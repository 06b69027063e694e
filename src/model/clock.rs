//! The time as a driver read it. Nothing below the drivers reads a clock.

/// One reading of the driver's clock, handed down with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Microseconds since an arbitrary start; never goes back. For deadlines and latencies.
    pub monotonic_us: u64,
    /// Milliseconds since 1970 UTC; may jump. For record timestamps and retention.
    pub wall_ms: i64,
}

impl Now {
    /// The monotonic time `ms` milliseconds from here, in microseconds.
    pub fn deadline_us(self, ms: u64) -> u64 {
        self.monotonic_us.saturating_add(ms.saturating_mul(1000))
    }
}
