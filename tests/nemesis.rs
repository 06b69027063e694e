//! Three brokers on hosts of their own (network namespaces), and everything that happens to
//! hosts: processes are killed and stopped, links go down, packets get lost in one direction,
//! indexes, ends of segments and of the journal and single bits get lost between a kill and a
//! restart, a disk is full. Meanwhile `loadgen verify` writes and reads, and transactions are
//! written and read; at the end both histories are judged.
//!
//! Faults come for three minutes; `HIGHWATER_NEMESIS_SECONDS` says for how long instead (3600 is
//! an hour). `HIGHWATER_SEED` repeats a run's faults, though not the
//! machine's timing. Needs root and `ip` of iproute2, and Python for the transactions. A run
//! that fails prints its seed and every fault with its time.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "the seed and the faults belong into a failure's output")]

#[path = "nemesis/faults.rs"]
mod faults;
#[path = "nemesis/history.rs"]
mod history;
#[path = "nemesis/hosts.rs"]
mod hosts;
#[path = "nemesis/load.rs"]
mod load;
#[path = "nemesis/surgery.rs"]
mod surgery;

use faults::Schedule;
use harness::{Network, Random, Toolchain, loadgen, python};
use hosts::Hosts;
use load::{TRANSACTIONS, Transactions, VERIFY, Verify};
use std::env;
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// All topics that there are in the end: what harms a broker's files harms any of them.
const TOPICS: [&str; 4] = [VERIFY, TRANSACTIONS, "__consumer_offsets", "__transaction_state"];

/// For how long there are faults, unless the environment says so.
const DURATION: Duration = Duration::from_secs(180);

fn duration() -> Duration {
    let Ok(given) = env::var("HIGHWATER_NEMESIS_SECONDS") else { return DURATION };
    Duration::from_secs(given.parse().expect("HIGHWATER_NEMESIS_SECONDS is a number"))
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_to_one_host_after_the_other() {
    let name = "faults of hosts";
    let duration = duration();
    let Some(python) = python().or_skip(name) else { return };
    let loadgen = loadgen();
    // Outlives whatever is inside of it.
    let Some(network) = Network::create(3).or_skip(name) else { return };
    network.enter_hub();
    let seed = Random::seed_from_env("HIGHWATER_SEED");
    let mut hosts = Hosts::start(BINARY, &network);
    hosts.make_topics(&[VERIFY, TRANSACTIONS]);
    let mut verify = Verify::start(&loadgen, &hosts.bootstrap(), duration);
    let mut transactions = Transactions::start(&python, &hosts.bootstrap());
    hosts.wait_until_written(&[VERIFY, TRANSACTIONS]);
    hosts.wait_until_well(&TOPICS);
    let began = Instant::now();
    let mut schedule = Schedule::new(seed);
    while began.elapsed() < duration {
        let step = schedule.next_step();
        println!("{:7.1} s: {step}", began.elapsed().as_secs_f64());
        hosts.go_through(&step);
        hosts.wait_until_well(&TOPICS);
        verify.assert_going();
        transactions.listen();
    }
    println!("{:7.1} s: the end", began.elapsed().as_secs_f64());
    println!("{} times a replica was fetched anew", hosts.repairs());
    let mut faults: Vec<String> = verify.end().into_iter().collect();
    faults.extend(transactions.end());
    if !faults.is_empty() {
        let kept = hosts.keep(&TOPICS, seed);
        let report = hosts.report();
        panic!("HIGHWATER_SEED={seed}: {faults:#?}\nkept in {}\n{report}", kept.display());
    }
}
