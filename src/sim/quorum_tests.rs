//! The files of the metadata quorum under power cuts, and what one change costs.

use crate::controller::decide::{Change, ChangeReply};
use crate::controller::image::MetadataImage;
use crate::controller::metadata_log::encode_frame;
use crate::controller::records::MetadataRecord;
use crate::model::broker_config::{BrokerConfig, Origin, Setting};
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, ProducerId};
use crate::shard::metadata;
use crate::shard::quorum_files::{self, Identity, Loaded, MetadataError};
use crate::shard::shard::WriteState;
use crate::sim::broker::SimBroker;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use crate::sim::disk::{Faults, SimDisk};
use crate::sim::executor::SimExecutor;
use crate::sim::random::Random;
use crate::sim::setup::Setup;
use crate::storage::disk::create_dir_durably;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const DIR: &str = "/data/metadata";
const OLD_LOG: &str = "/data/metadata/metadata.log";

fn config(settings: &[(&str, &str)]) -> BrokerConfig {
    let setting = |(key, value): &(&str, &str)| Setting {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        origin: Origin::Flag,
    };
    let settings: Vec<Setting> = settings.iter().map(setting).collect();
    BrokerConfig::from_settings(&settings).expect("legal settings").0
}

async fn load(disk: SimDisk, config: Arc<BrokerConfig>) -> Result<Loaded<SimDisk>, MetadataError> {
    let blank = MetadataImage::new(config.node_id, Arc::default());
    let identity = Identity {
        id: config.node_id,
        directory: Uuid::from_u128(1),
        cluster: &config.cluster,
        seed: 1,
    };
    quorum_files::load(&disk, Path::new(DIR), &identity, &blank).await
}

fn load_on(disk: &SimDisk, settings: &[(&str, &str)]) -> Result<Loaded<SimDisk>, MetadataError> {
    let mut executor = SimExecutor::new(1);
    let disk = disk.moved_to(executor.handle());
    let config = Arc::new(config(settings));
    executor.run_until(load(disk, config))
}

fn old_disk(executor: &mut SimExecutor) -> SimDisk {
    let disk = SimDisk::new(executor.handle());
    let made = disk.clone();
    executor.run_until(async move {
        create_dir_durably(&made, Path::new(DIR)).await.expect("the disk has no faults");
    });
    let frames = [
        encode_frame(&[MetadataRecord::ClusterId(Uuid::from_u128(2))]).unwrap(),
        encode_frame(&[MetadataRecord::ProducerIds { next: ProducerId(5000) }]).unwrap(),
    ];
    disk.put(Path::new(OLD_LOG), frames.concat());
    disk
}

fn allocate(broker: &mut SimBroker) -> i64 {
    let shard = broker.core(0);
    let change = Change::AllocateProducerIds;
    let reply = broker.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::ProducerIds(Ok(block)) = reply else { panic!("{reply:?}") };
    block.first.0
}

fn newest(disk: &SimDisk, prefix: &str) -> PathBuf {
    let paths = disk.paths();
    let named = paths.iter().filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    named.max().expect("it was written").clone()
}

#[test]
fn the_log_of_an_older_version_is_taken_over_whenever_the_start_dies() {
    for steps in 0..120 {
        let mut executor = SimExecutor::new(steps);
        let disk = old_disk(&mut executor);
        let lone = Arc::new(config(&[]));
        let first = disk.clone();
        executor.handle().spawn(async move {
            drop(load(first, lone).await.expect("the disk has no faults"));
        });
        for _ in 0..steps {
            executor.step();
        }
        executor.kill_all();
        disk.crash(&mut Random::new(steps));
        let loaded = load_on(&disk, &[]).unwrap();
        assert_eq!(loaded.image.next_producer_id(), ProducerId(5000), "after {steps} steps");
        assert_eq!((loaded.image.end(), loaded.applied.index), (2, 1));
        assert!(disk.content(Path::new(OLD_LOG)).is_none());
    }
}

#[test]
fn a_lone_brokers_metadata_does_not_become_one_voters_opinion() {
    let mut executor = SimExecutor::new(1);
    let disk = old_disk(&mut executor);
    let three = [("node.id", "1"), ("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093")];
    let refused = load_on(&disk, &three);
    assert!(matches!(refused, Err(MetadataError::OwnCluster { id: 1 })));
    assert!(disk.content(Path::new(OLD_LOG)).is_some(), "nothing was changed");
    load_on(&disk, &[("node.id", "1")]).unwrap();
    let refused = load_on(&disk, &three);
    assert!(matches!(refused, Err(MetadataError::OwnCluster { id: 1 })));
}

#[test]
fn voters_of_a_new_cluster_are_those_of_the_configuration() {
    let executor = SimExecutor::new(1);
    let disk = SimDisk::new(executor.handle());
    let three = [("node.id", "2"), ("controller.quorum.voters", "1@a:9093,2@b:9093,3@c:9093")];
    let loaded = load_on(&disk, &three).unwrap();
    let voters: Vec<BrokerId> = loaded.applied.members.voters.into_iter().collect();
    assert_eq!(voters, [BrokerId(1), BrokerId(2), BrokerId(3)]);
}

#[test]
fn a_change_of_a_lone_broker_costs_one_sync() {
    let setup = Setup { cores: 2, settings: &[] };
    let (mut broker, disk) = setup.start(1, None);
    for _ in 0..10 {
        let before = disk.sync_count();
        allocate(&mut broker);
        assert_eq!(disk.sync_count() - before, 1);
    }
}

#[test]
fn every_producer_id_is_given_out_once_over_many_power_cuts() {
    let setup = Setup { cores: 2, settings: &[] };
    let (mut broker, mut disk) = setup.start(1, None);
    let mut last = -1;
    for life in 0..30 {
        for _ in 0..3 {
            let first = allocate(&mut broker);
            assert!(first > last, "{first} after {last}");
            last = first;
        }
        (broker, disk) = setup.crash(life, broker, &disk);
    }
}

#[test]
fn damage_to_what_was_committed_refuses_the_start_and_changes_nothing() {
    let setup = Setup { cores: 1, settings: &[] };
    let (mut broker, disk) = setup.start(1, None);
    for _ in 0..5 {
        allocate(&mut broker);
    }
    broker.executor.kill_all();
    drop(broker);
    disk.kill();
    let log = newest(&disk, "log-");
    let whole = disk.content(&log).unwrap();
    for byte in (0..whole.len() / 2).step_by(7) {
        disk.flip(&log, byte, 3);
        let damaged = disk.content(&log);
        let refused = load_on(&disk, &[]);
        assert!(matches!(refused, Err(MetadataError::Damaged { .. })), "byte {byte}");
        assert_eq!(disk.content(&log), damaged);
        disk.flip(&log, byte, 3);
    }
    disk.flip(&newest(&disk, "snapshot-"), 20, 1);
    assert!(matches!(load_on(&disk, &[]), Err(MetadataError::Damaged { .. })));
}

#[test]
fn a_vote_without_log_and_snapshot_is_no_new_cluster() {
    let setup = Setup { cores: 1, settings: &[] };
    let (mut broker, disk) = setup.start(1, None);
    broker.executor.kill_all();
    drop(broker);
    disk.kill();
    let executor = SimExecutor::new(1);
    let rest = SimDisk::new(executor.handle());
    let state = Path::new("/data/metadata/state");
    rest.put(state, disk.content(state).unwrap());
    assert!(matches!(load_on(&rest, &[]), Err(MetadataError::Damaged { .. })));
}

const THREE: ClusterSetup<'_> = ClusterSetup { brokers: 3, cores: 2, settings: &[] };
const PATIENCE_US: u64 = 20_000_000;

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

fn allocate_at(cluster: &mut SimCluster, id: NodeId) -> Result<i64, KafkaCode> {
    let shard = cluster.core(id, 0);
    let change = Change::AllocateProducerIds;
    let reply = cluster.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::ProducerIds(result) = reply else { panic!("{reply:?}") };
    result.map(|block| block.first.0).map_err(|refusal| refusal.code)
}

/// Every core of every running broker works with the same metadata and knows the same controller.
fn agrees(cluster: &SimCluster) -> bool {
    let cores =
        running(cluster).into_iter().flat_map(|id| [cluster.core(id, 0), cluster.core(id, 1)]);
    let seen: Vec<_> = cores
        .map(|core| {
            let core = core.borrow();
            (core.image.next_producer_id(), core.image.cluster_id(), core.metadata.controller())
        })
        .collect();
    seen.iter().all(|state| *state == seen[0]) && seen[0].2.is_some()
}

#[test]
fn three_brokers_keep_one_metadata_through_the_loss_of_each_leader() {
    for seed in 0..12 {
        let mut cluster = SimCluster::new(seed, &THREE);
        let mut last = -1;
        for life in 0..4 {
            assert!(
                cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some()),
                "seed {seed}"
            );
            let leader = active(&cluster).expect("waited for");
            let first = allocate_at(&mut cluster, leader).expect("the controller decides");
            assert!(first > last, "seed {seed}: {first} after {last}");
            last = first;
            assert!(cluster.wait_us(PATIENCE_US, agrees), "seed {seed}, life {life}");
            cluster.kill(leader, life % 2 == 0);
            assert!(
                cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some()),
                "seed {seed}"
            );
            cluster.start(leader);
            assert!(cluster.wait_us(PATIENCE_US, agrees), "seed {seed}, life {life} again");
        }
    }
}

#[test]
fn a_broker_that_does_not_lead_decides_nothing() {
    let mut cluster = SimCluster::new(3, &THREE);
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some() && agrees(cluster)));
    let leader = active(&cluster).expect("waited for");
    let other = leader % 3 + 1;
    let id = Uuid::from_u128(9);
    let shard = cluster.core(other, 0);
    let change = Change::FoundCluster { id };
    let reply = cluster.executor.run_until(async move { metadata::change(&shard, change).await });
    let ChangeReply::Done(Err(refusal)) = reply else { panic!("{reply:?}") };
    assert_eq!(refusal.code, KafkaCode::NotController);
    let known = cluster.core(other, 1).borrow().metadata.controller();
    assert_eq!(known, Some(BrokerId(leader)));
}

#[test]
fn a_controller_without_a_majority_answers_that_it_is_none() {
    let mut cluster = SimCluster::new(5, &THREE);
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some() && agrees(cluster)));
    let leader = active(&cluster).expect("waited for");
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        cluster.kill(id, false);
    }
    assert_eq!(allocate_at(&mut cluster, leader), Err(KafkaCode::NotController));
    assert_eq!(active(&cluster), None);
}

#[test]
fn a_voter_whose_disk_was_emptied_is_not_heard() {
    let mut cluster = SimCluster::new(7, &THREE);
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some() && agrees(cluster)));
    let leader = active(&cluster).expect("waited for");
    let (wiped, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.kill(wiped, false);
    cluster.wipe(wiped);
    cluster.kill(other, false);
    cluster.start(wiped);
    // Two of three are there, but one of them has forgotten its votes.
    cluster.pass_us(5_000_000);
    assert_eq!(active(&cluster), None);
    cluster.start(other);
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some()));
}

/// It went offline until its next start, as if its disk had failed.
#[test]
fn a_controller_whose_disk_is_full_gives_way_and_takes_part_again_when_there_is_room() {
    for seed in 0..4 {
        let mut cluster = SimCluster::new(seed, &THREE);
        let is_up = |c: &SimCluster| active(c).is_some() && agrees(c);
        assert!(cluster.wait_us(PATIENCE_US, is_up), "seed {seed}");
        let full = active(&cluster).unwrap();
        cluster.disk(full).set_faults(Faults { room_bytes: Some(0), ..Faults::default() });
        let shard = cluster.core(full, 0);
        cluster.executor.handle().spawn(async move {
            // Nobody is told what becomes of it.
            drop(metadata::change(&shard, Change::AllocateProducerIds).await);
        });
        let has_next = cluster.wait_us(PATIENCE_US, |c| active(c).is_some_and(|at| at != full));
        assert!(has_next, "seed {seed}");
        let next = active(&cluster).unwrap();
        assert!(allocate_at(&mut cluster, next).is_ok(), "seed {seed}");
        cluster.disk(full).set_faults(Faults::default());
        let is_back = cluster.wait_us(PATIENCE_US, |c| {
            agrees(c) && c.core(full, 0).borrow().write_state == WriteState::Open
        });
        assert!(is_back, "seed {seed}");
    }
}
