//! Transactions under the simulator: producers of both protocols write, commit, abort and fence
//! each other, the process dies or the power goes, and what readers of committed records see is
//! compared with what producers were told. Some producers transform what they consume, as
//! members of a group. Connections break, and requests come late and twice.
//!
//! `HIGHWATER_SEED=n cargo test --test simulation_transactions` replays one seed,
//! `HIGHWATER_SEEDS=n` runs the first n, `HIGHWATER_SEEDS=n..m` those from n to m.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

#[path = "simulation/lives.rs"]
mod lives;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "simulation/transactions/mod.rs"]
mod transactions;

use highwater::sim::network::{Network, NetworkFaults};
use highwater::sim::random::Random;
use lives::Lives;
use seeds::Seeds;
use std::cell::RefCell;
use std::rc::Rc;
use transactions::history::History;
use transactions::producer::{Producer, run_producer};
use transactions::reader;

/// Each life of a broker is new memory: an allocator that keeps pages halves a run's cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: Seeds = Seeds { target: "simulation_transactions", count: 1000 };
const PARTITIONS: i32 = 4;
/// Longest time between a start and the next crash, in simulated microseconds.
const LIFE_US_MAX: u64 = 80_000;

#[test]
fn a_transaction_is_seen_as_a_whole_or_not_at_all_whatever_crashes() {
    let ([committed, aborted, consuming], runs) = SEEDS.run(run);
    println!("{runs} seeds: {committed} transactions committed, {consuming} of them consumed");
    println!("{aborted} not committed");
    let runs = usize::try_from(runs).unwrap();
    let is_enough = runs == 1 || (committed > runs && aborted > runs && consuming > runs / 2);
    assert!(is_enough, "runs without transactions show nothing");
}

/// How many transactions were committed, how many were not, and how many of the first consumed.
fn run(seed: u64) -> [usize; 3] {
    let mut random = Random::new(seed);
    let history = Rc::new(RefCell::new(History::default()));
    let producers: Vec<_> = (0..transactions::ALL)
        .map(|number| Rc::new(RefCell::new(Producer::new(number, &mut random))))
        .collect();
    let mut lives = Lives::new(&[
        ("transaction.state.log.num.partitions", "3"),
        ("offsets.topic.num.partitions", "2"),
        ("group.consumer.min.session.timeout.ms", "1"),
        ("group.consumer.min.heartbeat.interval.ms", "1"),
        ("group.consumer.session.timeout.ms", "15"),
        ("group.consumer.heartbeat.interval.ms", "5"),
    ]);
    let faults = NetworkFaults::swarm(&mut random);
    let mut topic = None;
    let count = 1 + random.below(3);
    for life in 0..=count {
        let mut broker = lives.begin(&mut random);
        let id = *topic.get_or_insert_with(|| {
            lives::create_topic(&mut broker, transactions::TOPIC, PARTITIONS)
        });
        if life == count || random.chance(20) {
            let waits = random.chance(20).then_some(transactions::TIMEOUT_MS_MAX);
            reader::settle(&mut broker, id, waits);
            reader::check(&mut broker, id, &history);
        }
        if life == count {
            break;
        }
        let handle = broker.executor.handle();
        let network = Network::new(broker.door(), faults);
        for producer in &producers {
            if random.chance(40) {
                producer.borrow_mut().forget_everything();
            }
            let (producer, history) = (Rc::clone(producer), Rc::clone(&history));
            handle.spawn(run_producer(network.clone(), id, producer, history));
        }
        for partition in 0..PARTITIONS {
            let client = broker.connect(random.index(broker.door().cores()));
            handle.spawn(reader::follow(client, id, partition, Rc::clone(&history)));
        }
        let for_us = 1000 + random.below(LIFE_US_MAX);
        Lives::last(&mut broker, for_us, &mut random, || history.borrow().promises);
        drop(network);
        lives.end(broker, &mut random);
    }
    history.borrow().counts()
}
