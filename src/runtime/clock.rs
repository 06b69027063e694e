//! The only reader of the machine's clocks; everything else is handed a `Now`.

use crate::model::clock::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clocks of this process; copies agree, so that times may travel between cores.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose monotonic time starts at 1 s, so that "a while ago" is never negative.
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Nanoseconds of the monotonic clock, read now; never 0.
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn now_ns(&self) -> u64 {
        let elapsed = self.start.elapsed() + Duration::from_secs(1);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Both clocks, read now.
    pub fn now(&self) -> Now {
        self.now_and_ns().0
    }

    /// Both clocks, and the very reading of the monotonic one in nanoseconds.
    /// Everybody else is handed the time, so that the simulator may say what it is.
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn now_and_ns(&self) -> (Now, u64) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let monotonic_ns = self.now_ns();
        let now = Now {
            monotonic_us: monotonic_ns / 1000,
            wall_ms: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX),
        };
        (now, monotonic_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn the_clock_never_goes_back_and_knows_the_century() {
        let clock = Clock::start();
        let (earlier, later) = (clock.now(), clock.now());
        assert!(earlier.monotonic_us >= 1_000_000);
        assert!(later.monotonic_us >= earlier.monotonic_us);
        assert!(clock.now_ns() / 1000 >= later.monotonic_us, "they are one clock");
        assert!(later.wall_ms > 1_600_000_000_000);
    }
}
