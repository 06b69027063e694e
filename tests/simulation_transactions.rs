//! Transactions under the simulator: producers of both protocols write, commit, abort and fence
//! each other, the process dies or the power goes, and what readers of committed records see is
//! compared with what producers were told.
//!
//! `HIGHWATER_SEED=n cargo test --test simulation_transactions` replays one seed,
//! `HIGHWATER_SEEDS=n` runs the first n.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

#[path = "simulation/transactions/mod.rs"]
mod transactions;

use highwater::controller::decide::{Change, ChangeReply, Mode, NewTopic};
use highwater::model::broker_config::{BrokerConfig, Origin, Setting};
use highwater::shard::metadata;
use highwater::sim::broker::{SimBroker, SimStart};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use highwater::sim::random::Random;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use transactions::history::History;
use transactions::producer::{Producer, run_producer};
use transactions::reader;

const SEEDS_DEFAULT: u64 = 20;
const LIVES: u64 = 4;
const PARTITIONS: i32 = 4;
/// Two of them share a transactional id.
const PRODUCERS: usize = 4;
/// Longest time between a start and the next crash, in simulated microseconds.
const LIFE_US_MAX: u64 = 80_000;

#[test]
fn a_transaction_is_seen_as_a_whole_or_not_at_all_whatever_crashes() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("HIGHWATER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HIGHWATER_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let total = usize::try_from(seeds.end - seeds.start).unwrap();
    let (mut committed, mut aborted) = (0, 0);
    for seed in seeds {
        println!("replay: HIGHWATER_SEED={seed} cargo test --test simulation_transactions");
        let (own_committed, own_aborted) = run(seed);
        committed += own_committed;
        aborted += own_aborted;
    }
    println!("{total} seeds: {committed} transactions committed, {aborted} not");
    let is_enough = total == 1 || (committed > total && aborted > total);
    assert!(is_enough, "runs without transactions show nothing");
}

/// How many transactions were committed and how many were not.
fn run(seed: u64) -> (usize, usize) {
    let mut random = Random::new(seed);
    let history = Rc::new(RefCell::new(History::default()));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| Rc::new(RefCell::new(Producer::new(number, &mut random))))
        .collect();
    let mut disk: Option<SimDisk> = None;
    let mut topic = None;
    let mut ended_us = 0;
    for life in 0..=LIVES {
        let mut broker = start(&mut disk, &mut random, ended_us);
        let id = *topic.get_or_insert_with(|| create_topic(&mut broker));
        if life == LIVES || random.chance(30) {
            let waits = random.chance(20).then_some(transactions::TIMEOUT_MS_MAX);
            reader::settle(&mut broker, id, waits);
            reader::check(&mut broker, id, &history);
        }
        if life == LIVES {
            break;
        }
        let handle = broker.executor.handle();
        let cores = usize::from(broker.core(0).borrow().cores);
        for producer in &producers {
            if random.chance(40) {
                producer.borrow_mut().forget_everything();
            }
            let client = broker.connect(random.index(cores));
            let (producer, history) = (Rc::clone(producer), Rc::clone(&history));
            handle.spawn(run_producer(client, handle.clone(), id, producer, history));
        }
        for partition in 0..PARTITIONS {
            let client = broker.connect(random.index(cores));
            handle.spawn(reader::follow(client, id, partition, Rc::clone(&history)));
        }
        let end_us = handle.now().monotonic_us + 1000 + random.below(LIFE_US_MAX);
        while handle.now().monotonic_us < end_us && broker.executor.step() {}
        ended_us = handle.now().monotonic_us;
        broker.executor.kill_all();
        drop(broker);
        let disk = disk.as_ref().unwrap();
        if random.chance(60) { disk.crash(&mut random) } else { disk.kill() }
    }
    history.borrow().counts()
}

/// The clock goes on where it stood: a transaction that seems to begin in the future would be
/// aborted late.
fn start(disk: &mut Option<SimDisk>, random: &mut Random, now_us: u64) -> SimBroker {
    let executor = SimExecutor::new(random.next());
    executor.handle().advance(now_us);
    let moved = match disk {
        Some(disk) => disk.moved_to(executor.handle()),
        None => SimDisk::new(executor.handle()),
    };
    *disk = Some(moved.clone());
    let setting = |(key, value): (&str, &str)| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: Origin::Flag,
    };
    let settings =
        [("transaction.state.log.num.partitions", "3"), ("offsets.topic.num.partitions", "2")];
    let settings: Vec<Setting> = settings.map(setting).into();
    let config = Arc::new(BrokerConfig::from_settings(&settings).unwrap().0);
    let cores = 1 + u16::try_from(random.below(3)).unwrap();
    SimBroker::start(executor, SimStart { seed: random.next(), disk: moved, cores, config })
}

fn create_topic(broker: &mut SimBroker) -> uuid::Uuid {
    let shard = broker.core(0);
    let topic = NewTopic {
        name: transactions::TOPIC.to_owned(),
        partition_count: PARTITIONS,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: vec![("segment.bytes".to_owned(), Some("1048576".to_owned()))],
    };
    let change = Change::CreateTopics { topics: vec![topic], mode: Mode::Apply };
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Topics(answers) = reply else { panic!("{reply:?}") };
    answers[0].result.as_ref().unwrap().id.0
}
