//! Counts of durations in fixed buckets: what happened, without keeping each of it.
//!
//! Log-linear: each power of two is cut into `SUB_BUCKETS` equal parts, so a value is known to 1 in
//! 32, whatever its size. Recording is a shift and an addition; nothing is ever allocated after
//! `default`. Longer than 2^40 ns (18 minutes) counts as that.

/// Parts of one power of two.
const SUB_BUCKETS: usize = 32;
const SUB_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// Largest value told apart, in bits.
const VALUE_BITS: u32 = 40;
const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;
const BUCKETS: usize = (VALUE_BITS - SUB_BITS + 1) as usize * SUB_BUCKETS;

/// Durations in nanoseconds, counted.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns.min(VALUE_MAX))] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them added up, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The longest, in nanoseconds, exactly; 0 where nothing was counted.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// How many were not longer than this, in nanoseconds; those within 1 in 32 of it may not
    /// count.
    pub fn count_up_to(&self, ns: u64) -> u64 {
        let within = self.counts.iter().enumerate().take_while(|(index, _)| highest(*index) <= ns);
        within.map(|(_, count)| count).sum()
    }

    /// The duration that `share` of 10,000 do not exceed, in nanoseconds, to 1 in 32 upwards; 0
    /// where nothing was counted.
    pub fn quantile_ns(&self, share: u32) -> u64 {
        let wanted = (u128::from(self.count) * u128::from(share)).div_ceil(10_000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted && *count > 0 {
                return highest(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (ns | 1).ilog2().max(SUB_BITS) - SUB_BITS;
    let part = usize::try_from(ns >> shift).expect("below 2 * SUB_BUCKETS");
    shift as usize * SUB_BUCKETS + part
}

/// Largest value of a bucket.
fn highest(index: usize) -> u64 {
    let shift = (index / SUB_BUCKETS).saturating_sub(1);
    let part = (index - shift * SUB_BUCKETS) as u64;
    ((part + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_a_thousand_durations_are_right_to_1_in_32() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record(us * 1000));
        for (share, us) in [(5000, 500), (9900, 990), (9990, 999), (10_000, 1000)] {
            let found = histogram.quantile_ns(share);
            let right = us * 1000;
            assert!(found >= right && found <= right + right / 32, "{share}: {found}");
        }
        let within = histogram.count_up_to(500_000);
        assert!((470..=500).contains(&within), "{within}");
        assert_eq!((histogram.count_up_to(0), histogram.count_up_to(u64::MAX)), (0, 1000));
        assert_eq!((histogram.count(), histogram.max_ns()), (1000, 1_000_000));
        assert_eq!(histogram.sum_ns(), 500_500_000);
    }

    #[test]
    fn nothing_and_the_extremes_are_no_trouble() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_ns(9900), histogram.max_ns()), (0, 0));
        histogram.record(0);
        assert_eq!(histogram.quantile_ns(9900), 0);
        histogram.record(u64::MAX);
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile_ns(9900), VALUE_MAX, "longer than that counts as that");
        assert_eq!((histogram.max_ns(), histogram.sum_ns()), (u64::MAX, u64::MAX));
    }

    proptest! {
        #[test]
        fn each_value_lies_in_its_bucket_and_buckets_are_in_order(ns in 0..=VALUE_MAX) {
            let index = bucket(ns);
            prop_assert!(index < BUCKETS);
            prop_assert!(highest(index) >= ns);
            prop_assert!(index == 0 || highest(index - 1) < ns);
        }
    }
}
