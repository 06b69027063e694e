//! Random numbers that a seed repeats.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose moments and bytes.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The seed in the environment variable `key`, else one from the clock. Printed either way.
    pub fn seed_from_env(key: &str) -> u64 {
        let seed = env::var(key).map_or_else(
            |_| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
                now.as_secs() ^ u64::from(now.subsec_nanos())
            },
            |text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is no u64")),
        );
        println!("{key}={seed} repeats this run");
        seed
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// An index into something of `count` items.
    pub fn index(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("usize fits u64");
        usize::try_from(self.below(count)).expect("below a usize")
    }
}
