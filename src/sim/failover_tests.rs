//! How soon others lead in the place of a broker that was killed, and who is left alone.

use crate::model::ids::BrokerId;
use crate::model::limits::{
    PEER_PROBE_MS, PEER_REFUSALS_GONE, QUORUM_ELECTION_TICKS, QUORUM_TICK_MS,
};
use crate::shard::{joining, stop};
use crate::sim::cluster::{ClusterSetup, NodeId, NodeSetup, SimCluster};

/// With Kafka's own timeouts.
const SETUP: ClusterSetup<'_> = ClusterSetup { brokers: 3, cores: 2, settings: &[] };
const PATIENCE_US: u64 = 60_000_000;
const SESSION_US: u64 = 9_000_000;
const ELECTION_US: u64 = QUORUM_ELECTION_TICKS as u64 * QUORUM_TICK_MS * 1000;
/// Until a host has refused often enough.
const EVIDENCE_US: u64 = PEER_REFUSALS_GONE as u64 * PEER_PROBE_MS * 1000;

/// A cluster whose brokers are all in use, and its active controller.
fn whole(seed: u64) -> (SimCluster, NodeId) {
    let mut cluster = SimCluster::new(seed, &SETUP);
    let is_up = cluster.wait_us(PATIENCE_US, |c| active(c).is_some_and(|at| all_in_use(c, at)));
    assert!(is_up, "seed {seed}");
    // Every broker has said something to the controller on a connection of its own.
    cluster.pass_us(1_000_000);
    let active = active(&cluster).unwrap();
    (cluster, active)
}

/// The broker that decides, as it knows itself.
fn active(cluster: &SimCluster) -> Option<NodeId> {
    let mut running = cluster.ids().into_iter().filter(|id| cluster.is_running(*id));
    running.find(|id| cluster.core(*id, 0).borrow().quorum.is_active())
}

fn all_in_use(cluster: &SimCluster, at: NodeId) -> bool {
    cluster.ids().into_iter().all(|id| is_in_use(cluster, at, id))
}

fn is_in_use(cluster: &SimCluster, at: NodeId, id: NodeId) -> bool {
    cluster.core(at, 0).borrow().image.is_active(BrokerId(id))
}

fn others(cluster: &SimCluster, than: NodeId) -> Vec<NodeId> {
    cluster.ids().into_iter().filter(|id| *id != than).collect()
}

#[test]
fn a_killed_broker_is_fenced_long_before_its_session_ends_and_put_to_use_when_it_is_back() {
    for seed in 0..8 {
        let (mut cluster, active) = whole(seed);
        let victim = others(&cluster, active)[0];
        let witness = others(&cluster, active)[1];
        cluster.kill(victim, false);
        let is_fenced = cluster.wait_us(2 * EVIDENCE_US, |c| !is_in_use(c, witness, victim));
        assert!(is_fenced, "seed {seed}");
        cluster.start(victim);
        assert!(cluster.wait_us(PATIENCE_US, |c| all_in_use(c, active)), "seed {seed}");
        // Nothing that was learnt of the first process counts against the second.
        for _ in 0..30 {
            cluster.pass_us(100_000);
            assert!(all_in_use(&cluster, active), "seed {seed}");
        }
    }
}

#[test]
fn a_killed_controller_has_a_successor_before_the_election_timeout() {
    for seed in 0..8 {
        let (mut cluster, victim) = whole(seed);
        let witness = others(&cluster, victim)[0];
        cluster.kill(victim, false);
        let has_next = cluster.wait_us(ELECTION_US / 2, |c| active(c).is_some());
        assert!(has_next, "seed {seed}");
        let is_fenced = cluster.wait_us(ELECTION_US / 4, |c| !is_in_use(c, witness, victim));
        assert!(is_fenced, "the successor knows of its end, too, seed {seed}");
        cluster.start(victim);
        let next = active(&cluster).unwrap();
        assert!(cluster.wait_us(PATIENCE_US, |c| all_in_use(c, next)), "seed {seed}");
    }
}

#[test]
fn a_broker_that_only_does_not_answer_keeps_its_session() {
    for seed in 0..4 {
        let (mut cluster, active) = whole(seed);
        let victim = others(&cluster, active)[0];
        match seed % 3 {
            0 => cluster.set_weather(|weather| weather.cuts.extend([(active, victim)])),
            1 => cluster.set_weather(|weather| weather.cuts.extend([(victim, active)])),
            _ => cluster.set_paused(victim, true),
        }
        let was_fenced = cluster.wait_us(SESSION_US / 2, |c| !is_in_use(c, active, victim));
        assert!(!was_fenced, "seed {seed}");
        cluster.set_weather(|weather| weather.cuts.clear());
        cluster.set_paused(victim, false);
    }
}

/// Nobody else can be elected while it stands still, and everybody's heartbeats wait for it.
#[test]
fn a_controller_that_stood_still_takes_nobody_for_silent() {
    const SESSION_US: u64 = 1_000_000;
    let settings = [("broker.session.timeout.ms", "1000"), ("broker.heartbeat.interval.ms", "200")];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    for seed in 0..8 {
        let node = NodeSetup { cores: 1, settings: settings.clone() };
        let mut cluster = SimCluster::of(seed, 1, vec![node; 3]);
        cluster.ids().into_iter().for_each(|id| cluster.start(id));
        let is_up = |c: &SimCluster| active(c).is_some_and(|at| all_in_use(c, at));
        assert!(cluster.wait_us(PATIENCE_US, is_up), "seed {seed}");
        cluster.pass_us(SESSION_US);
        for sessions in 1..=2 {
            cluster.set_paused(1, true);
            cluster.pass_us(sessions * SESSION_US);
            cluster.set_paused(1, false);
            let was_fenced = cluster.wait_us(2 * SESSION_US, |c| !all_in_use(c, 1));
            assert!(!was_fenced, "seed {seed}: after {sessions} sessions");
        }
        // Whoever is silent while it runs is fenced as ever.
        cluster.set_paused(3, true);
        let is_fenced = cluster.wait_us(2 * SESSION_US, |c| !is_in_use(c, 1, 3));
        assert!(is_fenced, "seed {seed}");
        assert!(is_in_use(&cluster, 1, 2), "seed {seed}");
    }
}

#[test]
fn a_broker_whose_connections_break_is_not_fenced() {
    for seed in 0..4 {
        let (mut cluster, active) = whole(seed);
        cluster.set_weather(|weather| weather.breaks = 200);
        for _ in 0..40 {
            cluster.pass_us(50_000);
            assert!(all_in_use(&cluster, active), "seed {seed}");
        }
    }
}

#[test]
fn a_broker_says_whether_the_process_before_it_ended_in_order() {
    for is_orderly in [true, false] {
        let (mut cluster, active) = whole(11);
        let id = others(&cluster, active)[0];
        if is_orderly {
            let shard = cluster.core(id, 0);
            cluster.executor.run_until(async move {
                joining::leave(&shard).await;
                stop::stop_broker(&shard).await;
            });
        }
        cluster.kill(id, false);
        for was_clean in [is_orderly, false] {
            assert!(cluster.wait_us(PATIENCE_US, |c| !is_in_use(c, active, id)));
            cluster.start(id);
            assert!(cluster.wait_us(PATIENCE_US, |c| is_in_use(c, active, id)));
            let said = {
                let shard = cluster.core(active, 0);
                let shard = shard.borrow();
                shard.image.broker(BrokerId(id)).unwrap().registration.was_clean
            };
            assert_eq!(said, was_clean, "the second process was killed");
            cluster.kill(id, false);
        }
    }
}
