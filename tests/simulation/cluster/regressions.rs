//! What seeds have found, each as a scene of its own that needs no luck. What needs less than a
//! cluster is where it belongs: seed 962 in `tests/storage/transactions.rs`, seed 3168 in
//! `tests/storage/foreign.rs`, seed 667 in `src/shard/transaction_host.rs`, seeds 1093 and 2960 in
//! `src/sim/replica_tests.rs`, seeds 1898 and 2876 in `src/controller/quorum/tests/crashes.rs`.

use super::caller::Caller;
use super::coordinated::{Coordinators, Kind};
use super::swarm::Planted;
use super::transactional;
use super::world::World;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::shard::shard::WriteState;
use highwater::sim::disk::Faults;
use std::collections::BTreeSet;

/// A transaction's coordinator takes in the offsets of any group, wherever that is coordinated: it
/// answered COORDINATOR_NOT_AVAILABLE for ever unless it was here (seed 127).
#[test]
fn offsets_of_a_group_that_another_broker_coordinates_join_a_transaction() {
    let mut world = World::new(1, Planted::Nothing);
    world.net.calm();
    let net = world.net.clone();
    let coordinated = world.cluster.executor.run_until(async move {
        let (mut caller, mut coordinators) = (Caller::new(&net), Coordinators::default());
        let mut brokers = BTreeSet::new();
        let id = transactional::transactional_id(0);
        for number in 0..8 {
            let group = format!("group-{number}");
            transactional::add_offsets(&mut caller, &mut coordinators, &group).await;
            brokers.insert(coordinators.find(&mut caller, Kind::Group, &group).await);
            brokers.insert(coordinators.find(&mut caller, Kind::Transaction, &id).await);
        }
        brokers.len()
    });
    assert!(coordinated > 1, "groups with coordinators of their own");
}

/// A sync that failed while a log was opened was no reason to give up the disk: the replica stayed
/// closed, in a broker that counted as well (seed 1032).
#[test]
fn a_sync_that_fails_while_a_log_is_opened_takes_the_disk_offline() {
    let mut world = World::new(1, Planted::Nothing);
    world.net.calm();
    world.cluster.disk(3).set_faults(Faults { sync_errors: 1000, ..Faults::default() });
    world.create_topic("late", 3);
    let is_told = |world: &World| {
        let shard = world.cluster.core(3, 0);
        let shard = shard.borrow();
        shard.write_state == WriteState::Offline
    };
    assert!(world.wait_us(30_000_000, is_told), "{:#?}", world.states());
}

/// A broker whose new registration it has not heard of yet cannot get producer ids: it told clients
/// STALE_BROKER_EPOCH, which no client retries (seed 236, while faults were planted).
#[test]
fn a_broker_that_registers_anew_lets_clients_ask_again_for_producer_ids() {
    let mut world = World::new(1, Planted::Nothing);
    world.net.calm();
    let controller = world.cluster.core(1, 0).borrow().metadata.controller().unwrap().0;
    let id = if controller == 2 { 3 } else { 2 };
    world.cluster.set_weather(|weather| weather.delay_us_max = 100_000);
    for _ in 0..20 {
        world.cluster.kill(id, false);
        world.cluster.start(id);
        let door = world.cluster.door(id);
        let handle = world.cluster.executor.handle();
        world.cluster.executor.run_until(async move {
            let mut codes = BTreeSet::new();
            let until_us = handle.now().monotonic_us + 1_000_000;
            while handle.now().monotonic_us < until_us {
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    transaction_timeout_ms: 60_000,
                    producer_id: -1,
                    producer_epoch: -1,
                };
                let answer = door.connect(0).call(&request).await.unwrap();
                let code = KafkaCode::from_number(answer.error_code).unwrap();
                assert!(code == KafkaCode::None || code.is_retriable(), "{code:?} after {codes:?}");
                codes.insert(answer.error_code);
                if code == KafkaCode::None {
                    return;
                }
                handle.sleep_us(1000).await;
            }
        });
    }
}
