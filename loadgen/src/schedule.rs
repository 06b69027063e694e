//! When each request is meant to be sent, whatever the broker does (open loop).
//!
//! Why intended times and not sleeps between sends: a generator that waits for a slow broker sends
//! less while it is slow, and so hides the very latency it should measure (coordinated omission).
//! Latency is counted from the times given out here.
//!
//! Invariants
//! - Times never go back.
//! - A constant schedule does not drift: request `n` is due at `start + n / rate`, rounded once.

use crate::clock::SECOND_NS;

/// How gaps between requests are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Every gap is the same.
    Constant,
    /// Gaps are exponential, as from many independent users; shows queueing that an even pace
    /// hides.
    Poisson,
}

/// The due times of one thread's requests.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    start_ns: u64,
    gap_ns: f64,
    /// Gaps given out since `start_ns`: a count when constant, a sum of random gaps otherwise.
    elapsed_gaps: f64,
    random: Random,
}

impl Schedule {
    /// `requests_per_second` above 0; the first request is due one gap after `start_ns`.
    pub(crate) fn new(
        arrivals: Arrivals,
        requests_per_second: f64,
        start_ns: u64,
        seed: u64,
    ) -> Schedule {
        assert!(requests_per_second > 0.0);
        #[expect(clippy::cast_precision_loss, reason = "a billion is exact")]
        let gap_ns = SECOND_NS as f64 / requests_per_second;
        let mut schedule =
            Schedule { arrivals, start_ns, gap_ns, elapsed_gaps: 0.0, random: Random::new(seed) };
        schedule.advance();
        schedule
    }

    /// When the next request is due.
    #[inline]
    pub(crate) fn due_ns(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "gaps are not negative, and a run does not last 585 years"
        )]
        let offset_ns = (self.elapsed_gaps * self.gap_ns) as u64;
        self.start_ns + offset_ns
    }

    /// Moves on to the request after.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.elapsed_gaps += match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => -self.random.unit().ln(),
        };
    }
}

/// SplitMix64: enough randomness for gaps and payload, repeatable from its seed.
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// 64 random bits.
    #[inline]
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in (0, 1], so that its logarithm is finite.
    #[inline]
    fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
        let mantissa = ((self.bits() >> 11) + 1) as f64;
        mantissa / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(arrivals: Arrivals, rate: f64, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals, rate, 1000, 7);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(schedule.due_ns());
            schedule.advance();
        }
        times
    }

    #[test]
    fn a_constant_schedule_does_not_drift() {
        let times = due_times(Arrivals::Constant, 3.0, 30_000_000);
        assert_eq!(times[0], 1000 + SECOND_NS / 3);
        assert_eq!(times.last(), Some(&(1000 + 10_000_000 * SECOND_NS)));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let times = due_times(Arrivals::Poisson, 1000.0, 200_000);
        assert!(times.is_sorted());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.02, "mean gap {mean} ns");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "deviation {}", variance.sqrt());
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        assert_eq!(
            due_times(Arrivals::Poisson, 50.0, 1000),
            due_times(Arrivals::Poisson, 50.0, 1000)
        );
    }
}
