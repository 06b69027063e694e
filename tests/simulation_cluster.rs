//! A whole cluster under the simulator: brokers with several cores, their quorum, producers and
//! consumers, while processes die and stand still, the power goes, and the network cuts, delays
//! and breaks. Each seed has some of these faults, drawn anew. When the trouble is over the cluster
//! must come to rest in bounded time, and hold what clients were told.
//!
//! What must be true of brokers at any time is in `cluster::watch`, what must be true of what
//! clients saw in `cluster::history`: each promise is a function of its own.
//!
//! `HIGHWATER_SEED=n cargo test --test simulation_cluster` replays one seed,
//! `HIGHWATER_SEEDS=n` runs the first n, `HIGHWATER_SEEDS=n..m` those from n to m.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

#[path = "simulation/cluster/mod.rs"]
mod cluster;
#[path = "simulation/seeds.rs"]
mod seeds;

use cluster::group::Group;
use cluster::nemesis::Nemesis;
use cluster::settling;
use cluster::swarm::Planted;
use cluster::world::World;
use seeds::Seeds;
use std::panic::catch_unwind;

/// Each life of a broker is new memory: an allocator that keeps pages halves a run's cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: Seeds = Seeds { target: "simulation_cluster", count: 1000 };

#[test]
fn a_cluster_keeps_what_it_acknowledged_whatever_goes_wrong() {
    let ([acks, committed, commits, promises, harms, passing, steps], runs) = SEEDS.run(run);
    println!("{runs} seeds: {acks} batches acknowledged, {committed} transactions committed");
    println!("{commits} offsets committed, {promises} promises to members, {steps} steps");
    println!(
        "{harms} files harmed, {passing} writes to wrong places left out that pass for others"
    );
    let runs = usize::try_from(runs).unwrap();
    let is_enough =
        runs == 1 || (acks > 10 * runs && committed > runs && commits > runs && promises > runs);
    assert!(is_enough, "runs that acknowledge nothing show nothing");
}

/// Seeds within which each planted fault must be found.
const PLANTED_SEEDS_MAX: u64 = 300;

#[test]
fn records_that_are_acknowledged_before_they_are_synced_are_found() {
    find(Planted::AcknowledgeBeforeSync);
}

#[test]
fn an_election_outside_the_in_sync_replicas_is_found() {
    find(Planted::ElectOutsideIsr);
}

#[test]
fn a_truncation_that_is_dropped_is_found() {
    find(Planted::DropTruncation);
}

#[test]
fn damage_that_is_cut_while_nobody_is_told_is_found() {
    find(Planted::ForgetRecoveryPoints);
}

fn find(planted: Planted) {
    let fails = |seed: &u64| catch_unwind(|| run_planted(*seed, planted)).is_err();
    let found = (0..PLANTED_SEEDS_MAX).find(fails);
    println!("{planted:?}: {found:?}");
    assert!(found.is_some(), "{planted:?} is not found");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// Without a planted fault.
fn run(seed: u64) -> [usize; 7] {
    run_planted(seed, Planted::Nothing)
}

/// How many batches were acknowledged, transactions committed and offsets, what members were
/// promised, how many files were harmed, how many were not because nobody could tell, and how many
/// steps it took.
fn run_planted(seed: u64, planted: Planted) -> [usize; 7] {
    let mut world = World::new(seed, planted);
    Nemesis::default().trouble(&mut world);
    settling::settle(&mut world);
    let acks = world.history.borrow().acks;
    let [committed, ..] = world.past.borrow().counts();
    let commits = world.register.borrow().commits;
    let promises = world.group.as_ref().map_or(0, Group::promises);
    let (harms, passing) = (world.harm.borrow().count, world.harm.borrow().passing);
    let steps = usize::try_from(world.steps).unwrap();
    [acks, committed, commits, promises, harms, passing, steps]
}
