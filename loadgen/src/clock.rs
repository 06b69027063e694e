//! Time as the generator sees it: monotonic nanoseconds, and the CPU time it has used itself.
//!
//! Why nanoseconds as plain `u64`: every request carries two of them, and intended send times are
//! computed far ahead of any event.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// One second in nanoseconds.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Monotonic time in nanoseconds since an arbitrary origin, the same for all threads.
#[inline]
pub(crate) fn now_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// Wall-clock time in milliseconds since 1970, for record timestamps only.
pub(crate) fn wall_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

/// How far the wall clock is ahead of the monotonic one, in milliseconds: it changes only when
/// somebody sets the wall clock.
pub(crate) fn wall_offset_ms() -> i64 {
    let now_ms = i64::try_from(now_ns() / 1_000_000).expect("milliseconds fit in 63 bits");
    wall_ms().saturating_sub(now_ms)
}

/// `duration_ns` as the kernel takes it.
pub(crate) fn timespec(duration_ns: u64) -> Timespec {
    let part = |value: u64| i64::try_from(value).expect("u64 nanoseconds are at most 585 years");
    Timespec { tv_sec: part(duration_ns / SECOND_NS), tv_nsec: part(duration_ns % SECOND_NS) }
}

fn to_ns(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).expect("these clocks never run before their origin");
    let nanoseconds = u64::try_from(time.tv_nsec).expect("the kernel keeps it within a second");
    seconds * SECOND_NS + nanoseconds
}
