//! Levels of features in a cluster: changed by one command, agreed on by all brokers, obeyed, kept
//! over a power cut, and the condition for belonging to the cluster.

use crate::controller::decide::Refusal;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::protocol::messages::share_acknowledge::ShareAcknowledgeRequest;
use crate::protocol::messages::share_fetch::ShareFetchRequest;
use crate::protocol::messages::share_group_describe::ShareGroupDescribeRequest;
use crate::protocol::messages::share_group_heartbeat::ShareGroupHeartbeatRequest;
use crate::protocol::messages::update_features::{
    FeatureUpdate, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::shard::shard::Shard;
use crate::sim::cluster::{ClusterSetup, NodeId, SimCluster};
use crate::sim::disk::SimDisk;
use bytes::Bytes;

const THREE: ClusterSetup<'_> = ClusterSetup { brokers: 3, cores: 2, settings: &[] };
/// What a cluster may take for anything here, in simulated microseconds.
const PATIENCE_US: u64 = 60_000_000;
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
/// A feature and its range as a registration tells them; records have the length in another form.
const RANGE: &[u8] = b"\x0eshare.version\0\0\0\x01";

fn start(seed: u64) -> SimCluster {
    let mut cluster = SimCluster::new(seed, &THREE);
    assert!(cluster.wait_us(PATIENCE_US, |cluster| active(cluster).is_some() && is_whole(cluster)));
    cluster
}

fn active(cluster: &SimCluster) -> Option<NodeId> {
    let mut running = cluster.ids().into_iter().filter(|id| cluster.is_running(*id));
    running.find(|id| cluster.core(*id, 0).borrow().quorum.is_active())
}

/// Whether every core of every broker uses all three.
fn is_whole(cluster: &SimCluster) -> bool {
    let in_use = |id: NodeId, core| {
        let shard = cluster.core(id, core);
        let shard = shard.borrow();
        shard.image.alive().filter(|broker| broker.is_active()).count() == 3
    };
    cluster.ids().into_iter().all(|id| cluster.is_running(id) && in_use(id, 0) && in_use(id, 1))
}

fn update(
    cluster: &mut SimCluster,
    at: NodeId,
    features: &[(&str, i16)],
    upgrade_type: i8,
) -> UpdateFeaturesResponse {
    let update = |(feature, level): &(&str, i16)| FeatureUpdate {
        feature: (*feature).to_owned(),
        max_version_level: *level,
        upgrade_type,
        ..FeatureUpdate::default()
    };
    let feature_updates = features.iter().map(update).collect();
    let request = UpdateFeaturesRequest { feature_updates, ..UpdateFeaturesRequest::default() };
    let mut client = cluster.connect(at, 1);
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    answer.expect("it runs")
}

/// Levels above 0 as one core of a broker tells them, with where one was changed last.
fn told(cluster: &mut SimCluster, at: NodeId, core: usize) -> (String, i64) {
    let mut client = cluster.connect(at, core);
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
    };
    let answer = cluster.executor.run_until(async move { client.call(&request).await });
    let ApiVersionsResponse { finalized_features, finalized_features_epoch, .. } =
        answer.expect("it runs");
    let levels =
        finalized_features.iter().map(|one| format!("{}={}", one.name, one.max_version_level));
    (levels.collect::<Vec<String>>().join(" "), finalized_features_epoch)
}

/// What all cores of all brokers tell, once it is the same.
fn told_by_all(cluster: &mut SimCluster) -> (String, i64) {
    let epoch =
        |cluster: &SimCluster, id, core| cluster.core(id, core).borrow().image.features_epoch();
    assert!(cluster.wait_us(PATIENCE_US, |cluster| {
        let first = epoch(cluster, 1, 0);
        (1..=3).all(|id| (0..2).all(|core| epoch(cluster, id, core) == first))
    }));
    let first = told(cluster, 1, 0);
    for id in 1..=3 {
        assert_eq!((told(cluster, id, 0), told(cluster, id, 1)), (first.clone(), first.clone()));
    }
    first
}

/// The codes of requests that need a feature, on the second core of a broker.
fn codes(cluster: &mut SimCluster, at: NodeId) -> (Vec<KafkaCode>, Vec<KafkaCode>) {
    let mut client = cluster.connect(at, 1);
    let group_id = || "g".to_owned();
    let (consumers, shares) = cluster.executor.run_until(async move {
        let beat = ConsumerGroupHeartbeatRequest { group_id: group_id(), ..Default::default() };
        let describe =
            ConsumerGroupDescribeRequest { group_ids: vec![group_id()], ..Default::default() };
        let consumers = vec![
            client.call(&beat).await.expect("it runs").error_code,
            client.call(&describe).await.expect("it runs").groups[0].error_code,
        ];
        let beat = ShareGroupHeartbeatRequest { group_id: group_id(), ..Default::default() };
        let describe =
            ShareGroupDescribeRequest { group_ids: vec![group_id()], ..Default::default() };
        let fetch = ShareFetchRequest { group_id: Some(group_id()), ..Default::default() };
        let done = ShareAcknowledgeRequest { group_id: Some(group_id()), ..Default::default() };
        let shares = vec![
            client.call(&beat).await.expect("it runs").error_code,
            client.call(&describe).await.expect("it runs").groups[0].error_code,
            client.call(&fetch).await.expect("it runs").error_code,
            client.call(&done).await.expect("it runs").error_code,
        ];
        (consumers, shares)
    });
    let known = |codes: Vec<i16>| -> Vec<KafkaCode> {
        codes.into_iter().map(|code| KafkaCode::from_number(code).expect("a known code")).collect()
    };
    (known(consumers), known(shares))
}

#[test]
fn a_level_is_changed_at_any_broker_obeyed_by_all_and_kept_over_a_power_cut() {
    for seed in 0..4 {
        let mut cluster = start(seed);
        let (founded, first) = told_by_all(&mut cluster);
        let all = "group.version=1 metadata.version=27 share.version=1 transaction.version=2";
        assert_eq!(founded, all);
        let other = active(&cluster).expect("waited for") % 3 + 1;
        let off = [("share.version", 0), ("group.version", 0)];
        let answer = update(&mut cluster, other, &off, SAFE_DOWNGRADE);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        let (lower, second) = told_by_all(&mut cluster);
        assert_eq!(lower, "metadata.version=27 transaction.version=2");
        assert!(second > first, "clients see which of two answers is the newer");
        let unsupported = KafkaCode::UnsupportedVersion;
        for id in cluster.ids() {
            assert_eq!(codes(&mut cluster, id), (vec![unsupported; 2], vec![unsupported; 4]));
        }

        for id in cluster.ids() {
            cluster.kill(id, true);
        }
        for id in cluster.ids() {
            cluster.start(id);
        }
        assert!(cluster.wait_us(PATIENCE_US, |c| active(c).is_some() && is_whole(c)));
        assert_eq!(told_by_all(&mut cluster), (lower, second));
        let on = [("group.version", 1), ("share.version", 1)];
        let answer = update(&mut cluster, other, &on, UPGRADE);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        let (again, third) = told_by_all(&mut cluster);
        assert!(again == all && third > second, "{again} {third}");
        let (consumers, shares) = codes(&mut cluster, other);
        assert!(!consumers.contains(&unsupported) && !shares.contains(&unsupported));
    }
}

/// A registration as one of a version that cannot work with share groups.
fn without_share_groups(_: &Shard<SimDisk>, frame: Bytes) -> Bytes {
    let mut changed = frame.to_vec();
    if let Some(at) = frame.windows(RANGE.len()).position(|window| window == RANGE) {
        changed[at + RANGE.len() - 1] = 0;
    }
    changed.into()
}

/// What the log of a core was told of a broker that is not registered.
fn said_of(cluster: &SimCluster, (at, core): (NodeId, usize), broker: NodeId) -> Option<String> {
    let shard = cluster.core(at, core);
    let shard = shard.borrow();
    shard.membership.unregistered(BrokerId(broker)).map(str::to_owned)
}

#[test]
fn the_log_tells_of_refused_registrations_that_last_where_they_are_decided() {
    let cluster = start(8);
    let leader = active(&cluster).expect("waited for");
    for at in cluster.ids() {
        for core in 0..2 {
            let refuse = |code: KafkaCode| {
                let shard = cluster.core(at, core);
                shard.borrow_mut().on_registration_refused(BrokerId(9), &Refusal::from(code));
                said_of(&cluster, (at, core), 9)
            };
            assert_eq!(refuse(KafkaCode::NotController), None, "it passes by itself");
            let said = refuse(KafkaCode::InvalidRegistration);
            assert_eq!(said.is_some(), at == leader, "{at} {core}: {said:?}");
        }
    }
}

#[test]
fn a_broker_of_a_version_that_cannot_do_what_is_in_force_waits_until_it_is_not() {
    let mut cluster = start(7);
    let leader = active(&cluster).expect("waited for");
    let older = leader % 3 + 1;
    cluster.kill(older, false);
    cluster.set_tamper(without_share_groups);
    cluster.start(older);
    let is_refused = |cluster: &SimCluster| {
        let said = (0..2).filter_map(|core| said_of(cluster, (leader, core), older));
        said.into_iter().any(|message| message.contains("finalized version 1 of share.version"))
    };
    assert!(cluster.wait_us(PATIENCE_US, is_refused), "the log of the controller names it");
    let is_used =
        |cluster: &SimCluster| cluster.core(leader, 0).borrow().image.is_active(BrokerId(older));
    assert!(cluster.wait_us(PATIENCE_US, |cluster| !is_used(cluster)));
    cluster.pass_us(PATIENCE_US / 2);
    assert!(!is_used(&cluster), "it asks again and again in vain");

    let off = update(&mut cluster, leader, &[("share.version", 0)], SAFE_DOWNGRADE);
    assert_eq!(off.error_code, 0, "{off:?}");
    assert!(cluster.wait_us(PATIENCE_US, is_used), "nothing stands against it now");
    let on = update(&mut cluster, leader, &[("share.version", 1)], UPGRADE);
    let expected = format!(
        "The update failed for all features since the following feature had an error: Invalid \
         update version 1 for feature share.version. Broker {older} only supports versions 0-0"
    );
    assert_eq!(on.error_message, Some(expected));
}
