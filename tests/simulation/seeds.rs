//! Runs seeds on all cores, and names the command that replays the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What seeds of one test have in common.
pub(crate) struct Seeds {
    /// Name of the test binary.
    pub(crate) target: &'static str,
    /// How many seeds run where nobody asks for others.
    pub(crate) count: u64,
}

impl Seeds {
    /// Runs `HIGHWATER_SEED` alone, or the first `HIGHWATER_SEEDS` (a number, or `from..to`), or as
    /// many as usual. Gives the sums of what the runs counted, and how many runs there were.
    pub(crate) fn run<const N: usize>(&self, run: fn(u64) -> [usize; N]) -> ([usize; N], u64) {
        let seeds = chosen().unwrap_or(0..self.count);
        let next = AtomicU64::new(seeds.start);
        let sums = Mutex::new([0; N]);
        let failed = Mutex::new(Vec::new());
        let worker = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end || !failed.lock().unwrap().is_empty() {
                    return;
                }
                match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                    Ok(counts) => {
                        let mut sums = sums.lock().unwrap();
                        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                    }
                    Err(_) => failed.lock().unwrap().push(seed),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(worker);
            }
        });
        if let Some(seed) = failed.into_inner().unwrap().first() {
            println!("replay: HIGHWATER_SEED={seed} cargo test --test {}", self.target);
            panic!("seed {seed} failed");
        }
        (sums.into_inner().unwrap(), seeds.end - seeds.start)
    }
}

fn chosen() -> Option<std::ops::Range<u64>> {
    let text = |name| std::env::var(name).ok();
    if let Some(seed) = text("HIGHWATER_SEED") {
        let seed: u64 = seed.parse().unwrap();
        return Some(seed..seed + 1);
    }
    let seeds = text("HIGHWATER_SEEDS")?;
    match seeds.split_once("..") {
        Some((from, to)) => Some(from.parse().unwrap()..to.parse().unwrap()),
        None => Some(0..seeds.parse().unwrap()),
    }
}
