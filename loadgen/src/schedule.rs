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
use std::path::Path;

use crate::interval::to_f64;
use crate::trace::Trace;
use crate::units::parse_duration;

/// How requests of a rate are spaced. All but `Constant` and `Trace` have the random gaps of many
/// independent users, over which the rate may move.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arrivals {
    /// Every gap is the same.
    Constant,
    /// Gaps are exponential; shows queueing that an even pace hides.
    Poisson,
    /// `peak` times the rate for `on_ns`, then for `off_ns` so much less that the rate is the mean.
    Burst { on_ns: f64, off_ns: f64, peak: f64 },
    /// From `from` times the rate to `to` times the rate, over the whole run.
    Ramp { from: f64, to: f64 },
    /// As recorded, stretched to the rate.
    Trace(Trace),
}

impl Arrivals {
    /// What thread number `thread` of `threads` plays: of a recording its share, of everything else
    /// the same with other random numbers.
    pub(crate) fn share(&self, thread: u16, threads: u16) -> Arrivals {
        match self {
            Arrivals::Trace(trace) => Arrivals::Trace(trace.share(thread, threads)),
            other => other.clone(),
        }
    }
}

/// Reads `constant`, `poisson`, `burst(on,off,peak)`, `ramp(from,to)` or `trace(file)`.
///
/// # Errors
/// Names the text and shows examples.
pub(crate) fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    let refusal = || {
        format!(
            "{text}: one of constant, poisson, burst(on,off,peak) as in burst(100ms,900ms,5), \
             ramp(from,to) as in ramp(0.5,1.5), trace(file) as in trace(gaps.txt)"
        )
    };
    if let Some(file) = text.strip_prefix("trace(").and_then(|rest| rest.strip_suffix(')')) {
        return Trace::read(Path::new(file)).map(Arrivals::Trace);
    }
    let (name, rest) = text.split_once('(').unwrap_or((text, ")"));
    let values: Vec<&str> = rest.strip_suffix(')').ok_or_else(refusal)?.split(',').collect();
    let factor = |text: &str| match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(refusal()),
    };
    match (name, values.as_slice()) {
        ("constant", [""]) => Ok(Arrivals::Constant),
        ("poisson", [""]) => Ok(Arrivals::Poisson),
        ("ramp", [from, to]) => {
            let (from, to) = (factor(from)?, factor(to)?);
            if from + to > 0.0 { Ok(Arrivals::Ramp { from, to }) } else { Err(refusal()) }
        }
        ("burst", [on, off, peak]) => {
            let (on_ns, off_ns) =
                (to_f64(parse_duration(on.trim())?), to_f64(parse_duration(off.trim())?));
            let peak = factor(peak)?;
            if peak < 1.0 || on_ns == 0.0 || off_ns == 0.0 || peak * on_ns > on_ns + off_ns {
                return Err(format!(
                    "{text}: peak is at least 1, and peak times on at most on plus off, so that \
                     the rate stays the mean"
                ));
            }
            Ok(Arrivals::Burst { on_ns, off_ns, peak })
        }
        _ => Err(refusal()),
    }
}

/// The due times of one thread's requests.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    start_ns: u64,
    span_ns: f64,
    gap_ns: f64,
    /// Gaps given out since `start_ns`: a count when constant, a sum of random gaps otherwise.
    elapsed_gaps: f64,
    /// Requests given out.
    count: usize,
    random: Random,
}

impl Schedule {
    /// `requests_per_second` above 0, for a run from `start_ns` that lasts `span_ns`; the first
    /// request is due one gap after the start.
    pub(crate) fn new(
        arrivals: Arrivals,
        requests_per_second: f64,
        (start_ns, span_ns): (u64, u64),
        seed: u64,
    ) -> Schedule {
        assert!(requests_per_second > 0.0);
        let gap_ns = to_f64(SECOND_NS) / requests_per_second;
        let span_ns = to_f64(span_ns.max(1));
        let random = Random::new(seed);
        let mut schedule =
            Schedule { arrivals, start_ns, span_ns, gap_ns, elapsed_gaps: 0.0, count: 0, random };
        schedule.advance();
        schedule
    }

    /// When the next request is due.
    #[inline]
    pub(crate) fn due_ns(&self) -> u64 {
        let mean_ns = self.elapsed_gaps * self.gap_ns;
        let offset_ns = match self.arrivals {
            Arrivals::Constant | Arrivals::Poisson | Arrivals::Trace(_) => mean_ns,
            Arrivals::Burst { on_ns, off_ns, peak } => burst_ns(mean_ns, on_ns, off_ns, peak),
            Arrivals::Ramp { from, to } => ramp_ns(mean_ns, from, to, self.span_ns),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "gaps are not negative; a time after which the rate is 0 is infinite"
        )]
        let offset_ns = offset_ns as u64;
        self.start_ns.saturating_add(offset_ns)
    }

    /// Moves on to the request after.
    #[inline]
    pub(crate) fn advance(&mut self) {
        match &self.arrivals {
            Arrivals::Constant => self.elapsed_gaps += 1.0,
            Arrivals::Poisson | Arrivals::Burst { .. } | Arrivals::Ramp { .. } => {
                self.elapsed_gaps -= self.random.unit().ln();
            }
            Arrivals::Trace(trace) => self.elapsed_gaps = trace.due_gaps(self.count),
        }
        self.count += 1;
    }
}

/// Where `mean_ns` of an even rate lies in bursts: the share of a period's requests that belongs
/// to the burst passes in `on_ns`, the rest in `off_ns`.
fn burst_ns(mean_ns: f64, on_ns: f64, off_ns: f64, peak: f64) -> f64 {
    let period_ns = on_ns + off_ns;
    let before_ns = (mean_ns / period_ns).floor() * period_ns;
    let (rest_ns, burst_share_ns) = (mean_ns - before_ns, peak * on_ns);
    let within_ns = if rest_ns <= burst_share_ns {
        rest_ns / peak
    } else {
        on_ns + (rest_ns - burst_share_ns) * off_ns / (period_ns - burst_share_ns)
    };
    before_ns + within_ns
}

/// Where `mean_ns` of an even rate lies when the rate's factor moves evenly: the root of
/// `from t + (to - from) t^2 / 2 span = mean`.
fn ramp_ns(mean_ns: f64, from: f64, to: f64, span_ns: f64) -> f64 {
    let square = from * from + 2.0 * (to - from) * mean_ns / span_ns;
    if square < 0.0 { f64::INFINITY } else { 2.0 * mean_ns / (from + square.sqrt()) }
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
    pub(crate) fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
        let mantissa = ((self.bits() >> 11) + 1) as f64;
        mantissa / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(arrivals: Arrivals, rate: f64, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals, rate, (1000, 4 * SECOND_NS), 7);
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
    fn bursts_keep_the_mean_and_fall_into_their_time() {
        let arrivals = parse_arrivals("burst(100ms,900ms,5)").unwrap();
        let times = due_times(arrivals, 10_000.0, 100_000);
        assert!(times.is_sorted());
        let total_ns = *times.last().unwrap() as f64;
        assert!((total_ns / 10e9 - 1.0).abs() < 0.02, "{total_ns}");
        let in_burst = times.iter().filter(|time| **time % SECOND_NS < SECOND_NS / 10).count();
        assert!((45_000..55_000).contains(&in_burst), "{in_burst}");
    }

    #[test]
    fn a_trace_keeps_its_shape_at_the_rate_that_is_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "10ms\n30ms\n").unwrap();
        let arrivals = parse_arrivals(&format!("trace({})", file.path().display())).unwrap();
        let times = due_times(arrivals, 1000.0, 4);
        assert_eq!(times, [501_000, 2_001_000, 2_501_000, 4_001_000]);
    }

    #[test]
    fn a_ramp_moves_from_its_first_factor_to_its_last() {
        let times = due_times(parse_arrivals("ramp(0,2)").unwrap(), 10_000.0, 40_000);
        assert!(times.is_sorted());
        let first_half = times.iter().filter(|time| **time < 2 * SECOND_NS).count();
        assert!((9_500..10_500).contains(&first_half), "{first_half}");
        let falling = due_times(parse_arrivals("ramp(1,0)").unwrap(), 10_000.0, 40_000);
        assert!(falling[15_000] < 4 * SECOND_NS && falling[39_999] == u64::MAX);
    }

    #[test]
    fn arrivals_that_are_none_are_refused_with_examples() {
        let missing = parse_arrivals("trace(/nothing/here)").unwrap_err();
        assert!(missing.starts_with("/nothing/here: "), "{missing}");
        for text in
            ["", "even", "burst(1s,1s)", "burst(1s,1s,3)", "ramp(1)", "ramp(0,0)", "ramp(-1,2)"]
        {
            let refusal = parse_arrivals(text).unwrap_err();
            assert!(refusal.starts_with(text) && refusal.contains("peak"), "{refusal}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        assert_eq!(
            due_times(Arrivals::Poisson, 50.0, 1000),
            due_times(Arrivals::Poisson, 50.0, 1000)
        );
    }
}
