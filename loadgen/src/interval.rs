//! What one thread saw in one second, and the sum of such seconds.
//!
//! Why seconds are kept apart: percentiles over time cannot be had from one histogram of the whole
//! run, and the warm-up is left out by not adding its seconds.
//!
//! Invariants
//! - Latencies are whole microseconds, 1 us to 60 s, three significant digits; longer ones count
//!   as 60 s.
//! - Adding intervals is exact: the histogram of a sum equals the histogram of all values.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

const LATENCY_US_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
const CURVE_STEPS_PER_HALVING: u32 = 5;

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// None recorded.
    pub(crate) fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
            .expect("bounds and digits are constants that the crate accepts");
        Latencies(histogram)
    }

    /// Counts one latency, given in nanoseconds.
    #[inline]
    pub(crate) fn record_ns(&mut self, latency_ns: u64) {
        self.0.saturating_record((latency_ns / 1000).max(1));
    }

    /// Percentile 0 to 100 in microseconds; 0 when nothing was recorded.
    pub(crate) fn percentile_us(&self, percentile: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_percentile(percentile) }
    }

    /// Largest value in microseconds; 0 when nothing was recorded.
    pub(crate) fn max_us(&self) -> u64 {
        self.0.max()
    }

    /// Mean in microseconds.
    pub(crate) fn mean_us(&self) -> f64 {
        self.0.mean()
    }

    /// Values recorded.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The histogram, for what writes it out.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The shape of the distribution: percentiles ever closer to 100, each with its microseconds.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        let steps = self.0.iter_quantiles(CURVE_STEPS_PER_HALVING);
        steps.map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to())).collect()
    }

    /// Adds what another has recorded.
    pub(crate) fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }
}

/// Counters and latencies of one second of one thread, or a sum of such.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    /// Seconds since the start of the run, warm-up included.
    pub(crate) second: u64,
    /// Time covered, in nanoseconds; of a sum over threads, the longest.
    pub(crate) wall_ns: u64,
    /// Time in which the thread waited for something to do, in nanoseconds.
    pub(crate) idle_ns: u64,
    /// Time in which threads were at work, in nanoseconds, summed over threads.
    pub(crate) busy_ns: u64,
    /// Time covered, summed over threads.
    pub(crate) thread_ns: u64,
    /// Time in which the busiest thread was at work, in nanoseconds.
    pub(crate) busiest_ns: u64,
    /// CPU time used, in nanoseconds, summed over threads.
    pub(crate) cpu_ns: u64,
    /// Whole seconds in which a thread did not run at all, in nanoseconds: the machine stood still
    /// or the clock jumped.
    pub(crate) jumped_ns: u64,
    /// Requests answered without an error.
    pub(crate) requests: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Bytes of their batches.
    pub(crate) bytes: u64,
    /// Requests that were due but never sent, or sent and never answered, when the run ended.
    pub(crate) unanswered: u64,
    /// From the intended send time to the answer; in a closed loop the same as `service`.
    pub(crate) response: Latencies,
    /// From the actual send to the answer.
    pub(crate) service: Latencies,
    /// By how much sends were late although a connection was free.
    pub(crate) lag: Latencies,
    /// From the intended send time to the arrival at a consumer.
    pub(crate) end_to_end: Latencies,
    /// Of EndTxn alone, from its sending to its answer.
    pub(crate) end_txn: Latencies,
    /// Steps of transactions that were taken again because the broker was not ready.
    pub(crate) retries: u64,
    /// Records of this run that arrived at a consumer.
    pub(crate) delivered: u64,
    /// Records that were not yet consumed when waiting ended.
    pub(crate) undelivered: u64,
    /// Partition answers with an error, by Kafka's number.
    pub(crate) errors: BTreeMap<i16, u64>,
}

impl Interval {
    /// An empty interval.
    pub(crate) fn new(second: u64) -> Interval {
        Interval {
            second,
            wall_ns: 0,
            idle_ns: 0,
            busy_ns: 0,
            thread_ns: 0,
            busiest_ns: 0,
            cpu_ns: 0,
            jumped_ns: 0,
            unanswered: 0,
            requests: 0,
            records: 0,
            bytes: 0,
            response: Latencies::new(),
            service: Latencies::new(),
            lag: Latencies::new(),
            end_to_end: Latencies::new(),
            end_txn: Latencies::new(),
            retries: 0,
            delivered: 0,
            undelivered: 0,
            errors: BTreeMap::new(),
        }
    }

    /// Makes it empty again and keeps its memory.
    pub(crate) fn reset(&mut self, second: u64) {
        for latencies in [
            &mut self.response,
            &mut self.service,
            &mut self.lag,
            &mut self.end_to_end,
            &mut self.end_txn,
        ] {
            latencies.0.reset();
        }
        self.retries = 0;
        self.errors.clear();
        self.second = second;
        self.wall_ns = 0;
        self.idle_ns = 0;
        self.busy_ns = 0;
        self.thread_ns = 0;
        self.busiest_ns = 0;
        self.cpu_ns = 0;
        self.jumped_ns = 0;
        self.unanswered = 0;
        self.requests = 0;
        self.records = 0;
        self.bytes = 0;
        self.delivered = 0;
        self.undelivered = 0;
    }

    /// Adds what another thread saw in the same second.
    pub(crate) fn add_thread(&mut self, other: &Interval) {
        assert_eq!(self.second, other.second);
        self.wall_ns = self.wall_ns.max(other.wall_ns);
        self.busiest_ns = self.busiest_ns.max(other.busiest_ns);
        self.jumped_ns = self.jumped_ns.max(other.jumped_ns);
        self.add_counts(other);
    }

    /// Adds a later second.
    pub(crate) fn add_second(&mut self, later: &Interval) {
        self.wall_ns += later.wall_ns;
        self.busiest_ns += later.busiest_ns;
        self.jumped_ns += later.jumped_ns;
        self.add_counts(later);
    }

    fn add_counts(&mut self, other: &Interval) {
        self.busy_ns += other.busy_ns;
        self.thread_ns += other.thread_ns;
        self.cpu_ns += other.cpu_ns;
        self.unanswered += other.unanswered;
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.lag.add(&other.lag);
        self.end_to_end.add(&other.end_to_end);
        self.end_txn.add(&other.end_txn);
        self.retries += other.retries;
        self.delivered += other.delivered;
        self.undelivered += other.undelivered;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
    }

    /// Counts one partition's refusal.
    pub(crate) fn count_error(&mut self, code: i16) {
        *self.errors.entry(code).or_default() += 1;
    }

    /// Partition answers with an error.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Latencies by name, in the order of importance; those that were not recorded are left out.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (&'static str, &Latencies)> {
        let named = [
            ("response", &self.response),
            ("service", &self.service),
            ("end_to_end", &self.end_to_end),
            ("end_txn", &self.end_txn),
            ("send_lag", &self.lag),
        ];
        named.into_iter().filter(|(_, latencies)| latencies.count() > 0)
    }

    /// Records per second that arrived at consumers.
    pub(crate) fn delivered_rate(&self) -> f64 {
        per_second(self.delivered, self.wall_ns)
    }

    /// Records per second.
    pub(crate) fn record_rate(&self) -> f64 {
        per_second(self.records, self.wall_ns)
    }

    /// Requests per second.
    pub(crate) fn request_rate(&self) -> f64 {
        per_second(self.requests, self.wall_ns)
    }

    /// Megabytes (10^6) of batches per second.
    pub(crate) fn megabyte_rate(&self) -> f64 {
        per_second(self.bytes, self.wall_ns) / 1e6
    }

    /// Part of the time in which threads were at work, 0 to 100.
    pub(crate) fn busy_percent(&self) -> f64 {
        if self.thread_ns == 0 {
            return 0.0;
        }
        100.0 * to_f64(self.busy_ns) / to_f64(self.thread_ns)
    }

    /// As [`Interval::busy_percent`], of each second's busiest thread: one thread at its limit
    /// holds up a run whose other threads wait.
    pub(crate) fn busiest_percent(&self) -> f64 {
        if self.wall_ns == 0 {
            return 0.0;
        }
        (100.0 * to_f64(self.busiest_ns) / to_f64(self.wall_ns)).min(100.0)
    }
}

fn per_second(count: u64, wall_ns: u64) -> f64 {
    if wall_ns == 0 { 0.0 } else { to_f64(count) * 1e9 / to_f64(wall_ns) }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: 53 bits are plenty")]
pub(crate) fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_threads_has_the_percentiles_of_all_values() {
        let (mut left, mut right, mut whole) =
            (Interval::new(3), Interval::new(3), Interval::new(3));
        for value_us in 1..=1000u64 {
            let part = if value_us % 3 == 0 { &mut left } else { &mut right };
            part.response.record_ns(value_us * 1000);
            whole.response.record_ns(value_us * 1000);
        }
        left.add_thread(&right);
        for percentile in [0.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            assert_eq!(
                left.response.percentile_us(percentile),
                whole.response.percentile_us(percentile)
            );
        }
        assert_eq!(left.response.count(), 1000);
        assert_eq!(left.response.max_us(), 1000);
    }

    #[test]
    fn rates_divide_by_the_time_covered_not_by_the_threads() {
        let mut first =
            Interval { wall_ns: 1_000_000_000, thread_ns: 1_000_000_000, ..Interval::new(0) };
        let second = first.clone();
        first.records = 50;
        first.add_thread(&Interval { records: 70, busy_ns: 1_500_000_000, ..second });
        assert_eq!(first.record_rate(), 120.0);
        assert_eq!(first.busy_percent(), 75.0);
    }

    #[test]
    fn the_busiest_thread_of_each_second_shows_beside_idle_ones() {
        let second = |busy_ns| Interval {
            wall_ns: 1_000_000_000,
            thread_ns: 1_000_000_000,
            busy_ns,
            busiest_ns: busy_ns,
            ..Interval::new(0)
        };
        let mut total = Interval::new(0);
        for busy_ns in [[990_000_000, 10_000_000], [10_000_000, 970_000_000]] {
            let mut sum = second(busy_ns[0]);
            sum.add_thread(&second(busy_ns[1]));
            total.add_second(&sum);
        }
        assert_eq!((total.busy_percent(), total.busiest_percent()), (49.5, 98.0));
    }

    #[test]
    fn a_latency_beyond_the_scale_counts_as_the_longest() {
        let mut interval = Interval::new(0);
        interval.response.record_ns(u64::MAX);
        interval.response.record_ns(0);
        assert_eq!(interval.response.count(), 2);
        assert!(interval.response.max_us() >= LATENCY_US_MAX);
        assert_eq!(interval.response.percentile_us(1.0), 1);
    }

    #[test]
    fn a_reset_interval_remembers_nothing() {
        let mut interval = Interval::new(0);
        interval.count_error(3);
        interval.lag.record_ns(5000);
        interval.records = 9;
        interval.reset(8);
        assert_eq!((interval.second, interval.records, interval.error_count()), (8, 0, 0));
        assert_eq!(interval.lag.count(), 0);
    }
}
