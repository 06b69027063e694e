//! Voters that come and go while the cluster runs, disks that are replaced, and a cluster that goes
//! on from one broker when the others are gone for good.

use crate::controller::decide::{Change, ChangeReply};
use crate::controller::image::MetadataImage;
use crate::model::broker_config::BrokerConfig;
use crate::model::cluster_config::parse_voters;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::model::limits::PRODUCER_ID_BLOCK;
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, VoterListener};
use crate::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use crate::shard::metadata;
use crate::shard::quorum_files::{self, Identity, MetadataError};
use crate::shard::quorum_rescue::{self, Rescue};
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use crate::sim::disk::SimDisk;
use crate::sim::executor::SimExecutor;
use crate::sim::random::Random;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const DIR: &str = "/data/metadata";
const THREE: ClusterSetup<'_> = ClusterSetup { brokers: 3, cores: 2, settings: &[] };
const ONE: ClusterSetup<'_> = ClusterSetup { brokers: 1, cores: 2, settings: &[] };
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;

fn running(cluster: &SimCluster) -> Vec<NodeId> {
    cluster.ids().into_iter().filter(|id| cluster.is_running(*id)).collect()
}

fn active(cluster: &SimCluster) -> Option<NodeId> {
    let mut leading = running(cluster).into_iter().filter_map(|id| {
        let shard = cluster.core(id, 0);
        let shard = shard.borrow();
        shard.quorum.is_active().then(|| (shard.metadata.controller.term, id))
    });
    let first = leading.next()?;
    Some(leading.fold(first, Ord::max).1)
}

/// The voters as all running brokers know them, when they agree.
fn voters(cluster: &SimCluster) -> Option<Vec<NodeId>> {
    let mut all = running(cluster).into_iter().map(|id| {
        let members = cluster.core(id, 0).borrow().quorum.view().role.members;
        members.voters.into_iter().map(|voter| voter.0).collect::<Vec<_>>()
    });
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Whether the active controller uses all these brokers.
fn uses(cluster: &SimCluster, ids: &[NodeId]) -> bool {
    active(cluster).is_some_and(|leader| {
        let shard = cluster.core(leader, 0);
        let shard = shard.borrow();
        ids.iter().all(|id| shard.image.is_active(BrokerId(*id)))
    })
}

fn expect_uses(cluster: &mut SimCluster, ids: &[NodeId]) {
    let is_used = cluster.wait_us(PATIENCE_US, |cluster| uses(cluster, ids));
    assert!(is_used, "brokers {ids:?} are in use: {:#?}", states(cluster));
}

fn expect_voters(cluster: &mut SimCluster, wanted: &[NodeId]) {
    let is_so = cluster.wait_us(PATIENCE_US, |cluster| {
        active(cluster).is_some() && voters(cluster).as_deref() == Some(wanted)
    });
    assert!(is_so, "voters are {wanted:?}: {:#?}", states(cluster));
}

fn states(cluster: &SimCluster) -> Vec<String> {
    let state = |id| {
        let shard = cluster.core(id, 0);
        let shard = shard.borrow();
        let known: Vec<i32> = shard.image.brokers().map(|broker| broker.id().0).collect();
        format!("{id}: brokers {known:?}, {:?}", shard.quorum.view().role)
    };
    running(cluster).into_iter().map(state).collect()
}

fn allocate(cluster: &mut SimCluster) -> i64 {
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some()));
    let shard = cluster.core(active(cluster).expect("waited for"), 0);
    let change = Change::AllocateProducerIds;
    let reply = cluster.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::ProducerIds(Ok(block)) = reply else { panic!("{reply:?}") };
    block.first.0
}

fn directory(cluster: &SimCluster, id: NodeId) -> Uuid {
    cluster.core(id, 0).borrow().directory_id
}

type Outcome = (KafkaCode, String);

fn outcome(code: i16, text: Option<String>) -> Outcome {
    (KafkaCode::from_number(code).expect("a known code"), text.unwrap_or_default())
}

fn add_with(cluster: &mut SimCluster, at: NodeId, key: (NodeId, Uuid)) -> Outcome {
    add_reached_at(cluster, at, key, &[])
}

/// Names where the voter is reached, too: listener, host and port.
fn add_reached_at(
    cluster: &mut SimCluster,
    at: NodeId,
    (id, directory): (NodeId, Uuid),
    listeners: &[(&str, &str, u16)],
) -> Outcome {
    let mut client = cluster.connect(at, 1);
    let listener = |(name, host, port): &(&str, &str, u16)| VoterListener {
        name: (*name).to_owned(),
        host: (*host).to_owned(),
        port: *port,
    };
    let request = AddRaftVoterRequest {
        cluster_id: None,
        timeout_ms: 10_000,
        voter_id: id,
        voter_directory_id: directory,
        listeners: listeners.iter().map(listener).collect(),
    };
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    let answer = answer.expect("it is answered");
    outcome(answer.error_code, answer.error_message)
}

fn remove_with(cluster: &mut SimCluster, at: NodeId, (id, directory): (NodeId, Uuid)) -> Outcome {
    let mut client = cluster.connect(at, 1);
    let request =
        RemoveRaftVoterRequest { cluster_id: None, voter_id: id, voter_directory_id: directory };
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    let answer = answer.expect("it is answered");
    outcome(answer.error_code, answer.error_message)
}

/// A running broker other than these.
fn another(cluster: &SimCluster, but: &[NodeId]) -> NodeId {
    running(cluster).into_iter().find(|id| !but.contains(id)).expect("one more runs")
}

fn three(seed: u64) -> SimCluster {
    let mut cluster = SimCluster::new(seed, &THREE);
    expect_uses(&mut cluster, &[1, 2, 3]);
    cluster
}

#[test]
fn an_observer_finds_its_cluster_by_one_address_and_is_given_a_vote() {
    for seed in 0..4 {
        let mut cluster = three(seed);
        cluster.join(4, 2);
        cluster.start(4);
        expect_uses(&mut cluster, &[1, 2, 3, 4]);
        expect_voters(&mut cluster, &[1, 2, 3]);
        let key = (4, directory(&cluster, 4));
        // Asked of a broker that does not decide: it passes the request on.
        let at = another(&cluster, &[active(&cluster).unwrap(), 4]);
        assert_eq!(add_with(&mut cluster, at, key).0, KafkaCode::None, "seed {seed}");
        expect_voters(&mut cluster, &[1, 2, 3, 4]);
        let first = allocate(&mut cluster);
        // Three of four decide, the new one among them.
        let lost = another(&cluster, &[4]);
        cluster.kill(lost, seed % 2 == 0);
        assert!(allocate(&mut cluster) > first, "seed {seed}");
        cluster.kill(4, false);
        cluster.start(4);
        expect_uses(&mut cluster, &[4]);
    }
}

#[test]
fn a_lone_broker_grows_into_a_cluster() {
    let mut cluster = SimCluster::new(5, &ONE);
    expect_uses(&mut cluster, &[1]);
    let first = allocate(&mut cluster);
    for id in [2, 3] {
        cluster.join(id, 1);
        cluster.start(id);
        expect_uses(&mut cluster, &[1, id]);
        let key = (id, directory(&cluster, id));
        assert_eq!(add_with(&mut cluster, id, key).0, KafkaCode::None);
    }
    expect_voters(&mut cluster, &[1, 2, 3]);
    cluster.kill(1, true);
    assert!(allocate(&mut cluster) > first);
    cluster.start(1);
    expect_uses(&mut cluster, &[1, 2, 3]);
}

#[test]
fn the_leader_removes_itself_and_another_one_leads() {
    for seed in 10..14 {
        let mut cluster = three(seed);
        let first = allocate(&mut cluster);
        let leader = active(&cluster).unwrap();
        let key = (leader, directory(&cluster, leader));
        let at = another(&cluster, &[leader]);
        assert_eq!(remove_with(&mut cluster, at, key).0, KafkaCode::None, "seed {seed}");
        // It may go at once: nobody needs its vote.
        cluster.kill(leader, false);
        let rest: Vec<NodeId> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
        expect_voters(&mut cluster, &rest);
        assert!(allocate(&mut cluster) > first, "seed {seed}");
        // It comes back as an observer, and disturbs nobody.
        cluster.start(leader);
        expect_voters(&mut cluster, &rest);
        let term = cluster.core(rest[0], 0).borrow().metadata.controller.term;
        cluster.pass_us(10_000_000);
        assert_eq!(cluster.core(rest[0], 0).borrow().metadata.controller.term, term);
        expect_uses(&mut cluster, &[1, 2, 3]);
    }
}

#[test]
fn a_voter_whose_disk_was_replaced_is_removed_and_added_again() {
    for seed in 20..24 {
        let mut cluster = three(seed);
        let first = allocate(&mut cluster);
        let leader = active(&cluster).unwrap();
        let broken = leader % 3 + 1;
        let old = (broken, directory(&cluster, broken));
        cluster.kill(broken, true);
        cluster.wipe(broken);
        cluster.start(broken);
        let new = (broken, directory(&cluster, broken));
        let is_registered = |cluster: &SimCluster| {
            let shard = cluster.core(leader, 0);
            let shard = shard.borrow();
            let known = shard.image.broker(BrokerId(broken));
            known.is_some_and(|known| known.registration.directory == new.1)
        };
        assert!(cluster.wait_us(PATIENCE_US, is_registered), "seed {seed}");
        let (code, text) = add_with(&mut cluster, leader, new);
        assert_eq!(code, KafkaCode::DuplicateVoter, "seed {seed}: {text}");
        assert_eq!(remove_with(&mut cluster, leader, new).0, KafkaCode::VoterNotFound);
        assert_eq!(remove_with(&mut cluster, leader, old).0, KafkaCode::None, "seed {seed}");
        let (code, text) = add_with(&mut cluster, leader, new);
        assert_eq!(code, KafkaCode::None, "seed {seed}: {text}");
        expect_voters(&mut cluster, &[1, 2, 3]);
        // Its vote counts: two of three decide, and it is one of them.
        let lost = another(&cluster, &[broken]);
        cluster.kill(lost, false);
        assert!(allocate(&mut cluster) > first, "seed {seed}");
    }
}

#[test]
fn an_observer_whose_disk_was_replaced_catches_up() {
    let mut cluster = three(30);
    cluster.join(4, 1);
    cluster.start(4);
    expect_uses(&mut cluster, &[1, 2, 3, 4]);
    cluster.kill(4, false);
    cluster.wipe(4);
    cluster.start(4);
    let is_there = |cluster: &SimCluster| {
        let leader = active(cluster).unwrap_or(1);
        let end = cluster.core(leader, 0).borrow().image.end();
        uses(cluster, &[4]) && cluster.core(4, 0).borrow().image.end() == end
    };
    assert!(cluster.wait_us(PATIENCE_US, is_there), "{:#?}", states(&cluster));
}

#[test]
fn changes_of_voters_that_cannot_be_are_refused_by_name() {
    let mut cluster = three(40);
    let leader = active(&cluster).unwrap();
    let (one, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let key = (one, directory(&cluster, one));
    let nowhere = (9, Uuid::from_u128(9));
    let (code, text) = add_with(&mut cluster, leader, nowhere);
    assert_eq!(code, KafkaCode::InvalidRequest);
    assert!(text.contains("Broker 9 is not registered"), "{text}");
    assert_eq!(add_with(&mut cluster, leader, (9, Uuid::nil())).0, KafkaCode::InvalidRequest);
    assert_eq!(add_with(&mut cluster, leader, key).0, KafkaCode::DuplicateVoter);
    assert_eq!(remove_with(&mut cluster, leader, nowhere).0, KafkaCode::VoterNotFound);
    let wrong = (one, Uuid::from_u128(9));
    assert_eq!(remove_with(&mut cluster, leader, wrong).0, KafkaCode::VoterNotFound);
    cluster.join(4, leader);
    cluster.start(4);
    expect_uses(&mut cluster, &[4]);
    let wrong = (4, Uuid::from_u128(9));
    assert_eq!(add_with(&mut cluster, leader, wrong).0, KafkaCode::InvalidVoterKey);
    // The other one is gone: without this one nobody could decide.
    cluster.kill(other, false);
    cluster.pass_us(3_000_000);
    let (code, text) = remove_with(&mut cluster, leader, key);
    assert_eq!(code, KafkaCode::RequestTimedOut);
    assert!(text.contains("could not decide"), "{text}");
    cluster.kill(4, false);
    let mut alone = SimCluster::new(41, &ONE);
    expect_uses(&mut alone, &[1]);
    let last = (1, directory(&alone, 1));
    let (code, text) = remove_with(&mut alone, 1, last);
    assert_eq!(code, KafkaCode::InvalidRequest);
    assert!(text.contains("is the last one"), "{text}");
}

/// Kafka's tool names the listeners of the configuration that it is given; ours names none.
#[test]
fn a_voter_that_is_said_to_be_reached_elsewhere_than_it_registered_is_refused_by_name() {
    let mut cluster = three(42);
    cluster.join(4, 1);
    cluster.start(4);
    expect_uses(&mut cluster, &[1, 2, 3, 4]);
    let key = (4, directory(&cluster, 4));
    let own = ("PLAINTEXT", "broker-4", 9092);
    for (listeners, reason) in [
        (
            vec![own, ("PLAINTEXT", "broker-4", 9093)],
            "Listener PLAINTEXT of broker 4 is registered at broker-4:9092, not at broker-4:9093.",
        ),
        (
            vec![("PLAINTEXT", "elsewhere", 9092)],
            "Listener PLAINTEXT of broker 4 is registered at broker-4:9092, not at elsewhere:9092.",
        ),
        (
            vec![own, ("CONTROLLER", "broker-4", 9092)],
            "Broker 4 has registered no listener CONTROLLER, only PLAINTEXT.",
        ),
    ] {
        // Whoever is asked, the active controller or a broker that passes it on.
        for at in 1..=2 {
            let (code, text) = add_reached_at(&mut cluster, at, key, &listeners);
            assert_eq!((code, text.as_str()), (KafkaCode::InvalidRequest, reason), "{listeners:?}");
        }
    }
    expect_voters(&mut cluster, &[1, 2, 3]);
    let in_other_case = ("plaintext", "Broker-4", 9092);
    let (code, text) = add_reached_at(&mut cluster, 1, key, &[in_other_case]);
    assert_eq!(code, KafkaCode::None, "{text}");
    expect_voters(&mut cluster, &[1, 2, 3, 4]);
}

fn blank(id: NodeId) -> MetadataImage {
    MetadataImage::new(BrokerId(id), Arc::default())
}

fn rescue_on(executor: &mut SimExecutor, disk: &SimDisk, id: NodeId) -> Rescue {
    let disk = disk.moved_to(executor.handle());
    let rescued = executor.run_until(async move {
        quorum_rescue::rescue(&disk, Path::new(DIR), BrokerId(id), &blank(id)).await
    });
    rescued.expect("the disk has no faults")
}

fn forget_on(executor: &mut SimExecutor, disk: &SimDisk) {
    let disk = disk.moved_to(executor.handle());
    let done =
        executor.run_until(async move { quorum_rescue::forget(&disk, Path::new(DIR)).await });
    done.expect("the disk has no faults");
}

#[test]
fn one_broker_goes_on_when_the_majority_is_gone_and_the_others_rejoin() {
    for seed in 50..54 {
        let mut cluster = three(seed);
        let first = allocate(&mut cluster);
        let leader = active(&cluster).unwrap();
        // Once the leader and once a follower is the one that is left.
        let left = if seed % 2 == 0 { leader } else { leader % 3 + 1 };
        let has_all = |cluster: &SimCluster| {
            cluster.core(left, 0).borrow().image.next_producer_id().0 > first
        };
        assert!(cluster.wait_us(PATIENCE_US, has_all), "seed {seed}");
        for id in [1, 2, 3] {
            cluster.kill(id, true);
        }
        let disk = cluster.disk(left);
        let rescued = rescue_on(&mut cluster.executor, &disk, left);
        assert_eq!(rescued.voters.len(), 3, "seed {seed}");
        cluster.start(left);
        expect_voters(&mut cluster, &[left]);
        let next = allocate(&mut cluster);
        assert!(next > first, "seed {seed}: {next} after {first}: {rescued:?}");
        // A voter of before is not heard, whatever it says.
        let (stale, other) = (left % 3 + 1, (left + 1) % 3 + 1);
        cluster.start(stale);
        cluster.pass_us(5_000_000);
        assert_eq!(active(&cluster), Some(left), "seed {seed}");
        cluster.kill(stale, false);
        for id in [stale, other] {
            let disk = cluster.disk(id);
            forget_on(&mut cluster.executor, &disk);
            cluster.start(id);
        }
        expect_uses(&mut cluster, &[1, 2, 3]);
        expect_voters(&mut cluster, &[left]);
        for id in [stale, other] {
            let key = (id, directory(&cluster, id));
            assert_eq!(add_with(&mut cluster, left, key).0, KafkaCode::None, "seed {seed}");
        }
        expect_voters(&mut cluster, &[1, 2, 3]);
        assert!(allocate(&mut cluster) > next, "seed {seed}");
    }
}

async fn load(disk: SimDisk, id: NodeId) -> Result<(i64, usize), MetadataError> {
    let mut config = BrokerConfig::from_settings(&[]).expect("defaults").0.cluster;
    let voters = "1@broker-1:9092,2@broker-2:9092,3@broker-3:9092";
    config.voters = parse_voters(voters).expect("three voters");
    let identity =
        Identity { id: BrokerId(id), directory: Uuid::from_u128(1), cluster: &config, seed: 1 };
    let loaded = quorum_files::load(&disk, Path::new(DIR), &identity, &blank(id)).await?;
    Ok((loaded.image.next_producer_id().0, loaded.applied.members.voters.len()))
}

/// Runs a step of an operator cut off after so many steps of the disk, then loads what is left.
fn cut_off(
    disk: &SimDisk,
    steps: u64,
    operation: impl AsyncFnOnce(SimDisk) + 'static,
) -> Result<(i64, usize), MetadataError> {
    let mut executor = SimExecutor::new(steps);
    let moved = disk.moved_to(executor.handle());
    executor.handle().spawn(async move { operation(moved).await });
    for _ in 0..steps {
        executor.step();
    }
    executor.kill_all();
    disk.crash(&mut Random::new(steps));
    let mut executor = SimExecutor::new(steps);
    let disk = disk.moved_to(executor.handle());
    executor.run_until(load(disk, 1))
}

/// The disk of a broker of three that has agreed on something.
fn used_disk(seed: u64) -> (SimDisk, i64) {
    let mut cluster = three(seed);
    let last = allocate(&mut cluster);
    let next = last + PRODUCER_ID_BLOCK;
    let has_all =
        |cluster: &SimCluster| cluster.core(1, 0).borrow().image.next_producer_id().0 == next;
    assert!(cluster.wait_us(PATIENCE_US, has_all));
    // Time for what is committed to be written down.
    cluster.pass_us(5_000_000);
    for id in [1, 2, 3] {
        cluster.kill(id, false);
    }
    (cluster.disk(1), next)
}

/// The same metadata on another disk.
fn copied(disk: &SimDisk) -> SimDisk {
    let copy = SimDisk::new(SimExecutor::new(1).handle());
    for path in disk.paths().iter().filter(|path| path.starts_with(DIR)) {
        copy.put(path, disk.content(path).expect("it is listed"));
    }
    copy
}

#[test]
fn a_recovery_that_is_cut_off_anywhere_is_as_before_or_as_after() {
    let (used, next) = used_disk(60);
    for steps in 0..60 {
        let rescued = cut_off(&copied(&used), steps, async |disk: SimDisk| {
            let rescued =
                quorum_rescue::rescue(&disk, Path::new(DIR), BrokerId(1), &blank(1)).await;
            drop(rescued.expect("the disk has no faults"));
        });
        let (known, voters) = rescued.expect("as before or as after");
        assert!(voters == 1 || voters == 3, "after {steps} steps: {voters} voters");
        assert!(known == next || voters == 3, "after {steps} steps: {known} of {next}");
    }
}

#[test]
fn forgetting_that_is_cut_off_anywhere_never_leaves_half_a_vote() {
    let mut ends = [0, 0, 0];
    let (used, _) = used_disk(61);
    for steps in 0..80 {
        let forgotten = cut_off(&copied(&used), steps, async |disk: SimDisk| {
            quorum_rescue::forget(&disk, Path::new(DIR)).await.expect("the disk has no faults");
        });
        match forgotten {
            Ok((_, 3)) => ends[0] += 1,
            Err(MetadataError::Damaged { .. }) => ends[1] += 1,
            Ok((0, 0)) => ends[2] += 1,
            other => panic!("after {steps} steps: {other:?}"),
        }
    }
    assert!(ends[0] > 0 && ends[2] > 0, "{ends:?}");
}

#[test]
fn a_directory_formatted_to_join_founds_nothing() {
    let mut executor = SimExecutor::new(70);
    let disk = SimDisk::new(executor.handle());
    let formatted = disk.clone();
    executor.run_until(async move {
        quorum_rescue::format(&formatted, Path::new(DIR)).await.expect("the disk has no faults");
        quorum_rescue::format(&formatted, Path::new(DIR)).await.expect("and again");
    });
    assert_eq!(executor.run_until(load(disk.clone(), 1)).unwrap(), (0, 0));
    let again = disk;
    let refused =
        executor.run_until(async move { quorum_rescue::format(&again, Path::new(DIR)).await });
    assert!(matches!(refused, Err(MetadataError::NotEmpty { .. })), "{refused:?}");
}
