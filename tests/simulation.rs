//! The log under power cuts: random appends, commits, drains, syncs, rolls, retention and reads on
//! a simulated disk, cut off at a random point, recovered, and compared with what was promised.
//!
//! One seed decides everything. A failure prints the command that repeats it.
//! `HIGHWATER_SEED=n` runs that seed alone, `HIGHWATER_SEEDS=n` that many.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "simulation/appends.rs"]
mod appends;
#[path = "simulation/compaction.rs"]
mod compaction;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/storage.rs"]
mod storage;

/// Seeds of one test by default: a few seconds on two cores.
const SEEDS_DEFAULT: u64 = 1000;

/// Runs `body` for each seed and names the one that failed.
fn for_each_seed(test: &str, body: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (first, count) = match number("HIGHWATER_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("HIGHWATER_SEEDS").unwrap_or(SEEDS_DEFAULT)),
    };
    for seed in first..first + count {
        let _named = NamedSeed { test, seed };
        body(seed);
    }
}

struct NamedSeed<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for NamedSeed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let NamedSeed { test, seed } = self;
            eprintln!("repeat with: HIGHWATER_SEED={seed} cargo test --test simulation {test}");
        }
    }
}

#[test]
fn what_was_durable_is_there_after_every_crash() {
    for_each_seed("what_was_durable_is_there_after_every_crash", storage::run_crashes);
}

#[test]
fn compaction_takes_only_what_is_superseded_whatever_crashes() {
    for_each_seed("compaction_takes_only_what_is_superseded_whatever_crashes", |seed| {
        storage::run_compaction(seed);
    });
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    for_each_seed("a_full_disk_loses_nothing_and_goes_on_when_there_is_room", |seed| {
        storage::run_full_disk(seed);
    });
}
