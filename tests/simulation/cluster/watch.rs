//! What must be true of the brokers after every step. Each invariant is a function of its own.
//!
//! A step polls one task, so what it can have changed is the replicas of one broker, what that
//! broker knows of the metadata, or what a client was told: only these are looked at. A client's
//! task hands its bytes to a broker's door itself; what that appends moves nothing that is looked
//! at before a task of the broker has run.

use super::history::History;
use super::producer::Place;
use super::rot::Harm;
use highwater::controller::image::MetadataImage;
use highwater::controller::metadata_log;
use highwater::model::ids::{BrokerId, Offset, TopicId, TopicPartition};
use highwater::shard::partition::Partition;
use highwater::shard::replicas::Role;
use highwater::shard::shard::Shard;
use highwater::sim::cluster::{NodeId, SimCluster};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::Group;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One replica as its process has it.
#[derive(Debug, Clone)]
struct Sight {
    node: NodeId,
    life: Group,
    id: TopicPartition,
    epoch: i32,
    log_start: Offset,
    safe_end: Offset,
    high_watermark: Offset,
    /// Epoch that it leads in, and who is in sync then.
    leads: Option<(i32, Vec<BrokerId>)>,
}

impl Sight {
    /// Whether a replica is as it was.
    fn is_of(&self, partition: &Partition<SimDisk>) -> bool {
        let leads = match &partition.role {
            Role::Leader(leader) => Some((leader.epoch().0, leader.isr())),
            Role::Follower(_) | Role::Leaderless => None,
        };
        self.leads.as_ref().map(|(epoch, isr)| (*epoch, isr.as_slice())) == leads
            && self.epoch == partition.leader_epoch.0
            && self.log_start == partition.log.log_start()
            && self.safe_end == partition.safe_end()
            && self.high_watermark == partition.high_watermark()
    }
}

/// How far one replica was in one life of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    epoch: i32,
    high_watermark: Offset,
    log_start: Offset,
}

/// What was seen before.
#[derive(Default)]
pub(crate) struct Watch {
    leaders: BTreeMap<(TopicPartition, i32), Group>,
    controllers: BTreeMap<u64, Group>,
    /// End of the metadata to its bytes.
    metadata: BTreeMap<u64, Vec<u8>>,
    ends: BTreeMap<Group, u64>,
    /// Epochs of a partition's leader and state, by life.
    epochs: BTreeMap<(Group, TopicPartition), (i32, i32)>,
    marks: BTreeMap<(Group, TopicPartition), Mark>,
    newest: Option<Arc<MetadataImage>>,
    /// Every replica of the running brokers, as it is after the last step.
    sights: BTreeMap<(TopicPartition, NodeId), Sight>,
    /// Answers to producers that were looked at.
    acks: usize,
}

impl Watch {
    /// Looks at all brokers: what happened to them from outside is not in any step.
    pub(crate) fn look(&mut self, cluster: &SimCluster, told: (&History, &Harm), place: Place) {
        self.sights.clear();
        for id in cluster.ids().into_iter().filter(|id| cluster.is_running(*id)) {
            self.refresh(cluster, id);
        }
        let all: BTreeSet<TopicPartition> = self.sights.keys().map(|(id, _)| *id).collect();
        for id in all {
            self.judge(cluster, told, place, id);
        }
        self.acks = told.0.acks;
    }

    /// Looks at what one step, in which `life` ran, may have changed.
    pub(crate) fn step(
        &mut self,
        cluster: &SimCluster,
        told: (&History, &Harm),
        place: Place,
        life: Group,
    ) {
        let known_end = self.newest.as_ref().map(|image| image.end());
        let changed = match cluster.broker_of(life) {
            Some(id) => self.refresh(cluster, id),
            None => Vec::new(),
        };
        // Whom the metadata counts on has changed, or what clients were told.
        let is_all =
            self.newest.as_ref().map(|image| image.end()) != known_end || told.0.acks != self.acks;
        if is_all {
            self.look(cluster, told, place);
            return;
        }
        for id in changed {
            self.judge(cluster, told, place, id);
        }
    }

    /// Takes in how a broker's replicas are now; gives those that have changed.
    fn refresh(&mut self, cluster: &SimCluster, id: NodeId) -> Vec<TopicPartition> {
        let life = cluster.life(id);
        let first = cluster.core(id, 0);
        let (cores, image) = {
            let shard = first.borrow();
            if shard.quorum.is_active() {
                let term = shard.quorum.view().role.term;
                self.one_controller_per_term(term, life);
            }
            (shard.cores, Arc::clone(&shard.image))
        };
        self.take_image(life, &image);
        let mut changed = Vec::new();
        for core in 0..cores {
            let shard = cluster.core(id, usize::from(core));
            let shard = shard.borrow();
            for (_, partition) in &shard.partitions {
                let known = self.sights.get(&(partition.id, id));
                if known.is_some_and(|known| known.life == life && known.is_of(partition)) {
                    continue;
                }
                let sight = sight_of(id, life, partition);
                self.one_leader_per_epoch(&sight);
                changed.push(sight.id);
                self.sights.insert((sight.id, id), sight);
            }
        }
        changed
    }

    /// What must be true of one partition's replicas, all of which have been looked at.
    fn judge(
        &mut self,
        cluster: &SimCluster,
        (history, harm): (&History, &Harm),
        place: Place,
        id: TopicPartition,
    ) {
        let own = self.sights.range((id, NodeId::MIN)..=(id, NodeId::MAX));
        let own: Vec<Sight> = own.map(|(_, sight)| sight.clone()).collect();
        for sight in &own {
            let is_anew = self.is_given_up(harm, id, BrokerId(sight.node));
            self.epochs_and_high_watermarks_only_grow(sight, is_anew);
            let counts = |member: &BrokerId| !self.is_given_up(harm, id, *member);
            high_watermark_is_safe_on_every_in_sync_replica(cluster, sight, &own, counts);
        }
        let is_told_of = id.topic == TopicId(place.topic) && id.partition.0 < place.partitions;
        if let Some(image) = self.newest.as_ref().filter(|_| is_told_of) {
            let end = history.acked_end(id.partition.0);
            what_is_acknowledged_is_on_every_in_sync_replica(cluster, image, id, end, &own);
        }
    }

    /// Whether a disk has harmed a member's replica, and the metadata does not count on it any
    /// more: then it is cut and fetched anew, before each leader has heard of that.
    fn is_given_up(&self, harm: &Harm, id: TopicPartition, member: BrokerId) -> bool {
        let known = self.newest.as_ref().and_then(|image| image.partition(&id));
        let counts = known.is_none_or(|known| {
            let state = &known.state;
            state.isr.contains(&member) || state.elr.contains(&member)
        });
        !counts && harm.is_of(member.0, id)
    }

    fn take_image(&mut self, life: Group, image: &Arc<MetadataImage>) {
        let before = self.ends.insert(life, image.end());
        if before == Some(image.end()) {
            return;
        }
        assert!(before.is_none_or(|before| before < image.end()), "metadata goes back");
        if image.end() > 0 {
            self.committed_metadata_agrees(image);
        }
        for topic in image.topics() {
            for (id, partition) in topic.partitions() {
                in_sync_replicas_are_replicas(image, id);
                let epochs = (partition.state.leader_epoch.0, partition.state.partition_epoch);
                let before = self.epochs.insert((life, id), epochs).unwrap_or(epochs);
                assert!(before.0 <= epochs.0 && before.1 <= epochs.1, "epochs of {id} go back");
            }
        }
        if self.newest.as_ref().is_none_or(|newest| newest.end() < image.end()) {
            self.newest = Some(Arc::clone(image));
        }
    }

    fn one_controller_per_term(&mut self, term: u64, life: Group) {
        let known = *self.controllers.entry(term).or_insert(life);
        assert_eq!(known, life, "term {term} has two active controllers");
    }

    fn committed_metadata_agrees(&mut self, image: &MetadataImage) {
        let bytes = metadata_log::encode_frame(&image.to_records()).unwrap().to_vec();
        let known = self.metadata.entry(image.end()).or_insert_with(|| bytes.clone());
        assert!(*known == bytes, "two brokers differ about the metadata up to {}", image.end());
    }

    fn one_leader_per_epoch(&mut self, sight: &Sight) {
        let Some((epoch, _)) = sight.leads else { return };
        let known = *self.leaders.entry((sight.id, epoch)).or_insert(sight.life);
        assert_eq!(known, sight.life, "epoch {epoch} of {} has two leaders", sight.id);
    }

    fn epochs_and_high_watermarks_only_grow(&mut self, sight: &Sight, is_anew: bool) {
        let mark = Mark {
            epoch: sight.epoch,
            high_watermark: sight.high_watermark,
            log_start: sight.log_start,
        };
        let before = self.marks.insert((sight.life, sight.id), mark).unwrap_or(mark);
        let only_grows = before.epoch <= mark.epoch
            && (is_anew || before.high_watermark <= mark.high_watermark)
            && before.log_start <= mark.log_start;
        assert!(only_grows, "{before:?} and now {sight:?}");
    }
}

fn sight_of(node: NodeId, life: Group, partition: &Partition<SimDisk>) -> Sight {
    let leads = match &partition.role {
        Role::Leader(leader) => Some((leader.epoch().0, leader.isr().to_vec())),
        Role::Follower(_) | Role::Leaderless => None,
    };
    Sight {
        node,
        life,
        id: partition.id,
        epoch: partition.leader_epoch.0,
        log_start: partition.log.log_start(),
        safe_end: partition.safe_end(),
        high_watermark: partition.high_watermark(),
        leads,
    }
}

/// A line about one replica, for whoever looks at a failure.
pub(crate) fn describe(shard: &Shard<SimDisk>, partition: &Partition<SimDisk>) -> String {
    let role = match &partition.role {
        Role::Leader(leader) => format!("leads {} {leader:?}", leader.epoch().0),
        Role::Follower(following) => {
            format!(
                "follows {} {:?} core {} of me {}",
                following.leader.0, following.replica, following.core.0, shard.core.0
            )
        }
        Role::Leaderless => "leaderless".to_owned(),
    };
    let state = shard.image.partition(&partition.id).map(|known| {
        let state = &known.state;
        (state.leader, state.leader_epoch, state.isr.clone(), state.elr.clone())
    });
    let log = &partition.log;
    let ends = (log.log_start(), log.log_end(), log.durable_end(), partition.high_watermark());
    format!("{} {role} {ends:?} {state:?} cutting {}", partition.id, partition.is_cutting)
}

fn in_sync_replicas_are_replicas(image: &MetadataImage, id: TopicPartition) {
    let state = &image.partition(&id).unwrap().state;
    let is_replica = |id: &BrokerId| state.replicas.iter().any(|replica| replica.broker == *id);
    assert!(!state.isr.is_empty(), "{id} has nobody in sync");
    assert!(state.isr.iter().chain(&state.elr).all(is_replica), "{id}: {state:?}");
    assert!(state.elr.iter().all(|id| !state.isr.contains(id)), "{id}: {state:?}");
    assert!(state.leader.is_none_or(|leader| state.isr.contains(&leader)), "{id}: {state:?}");
}

/// Whether a broker still has the data directory that the metadata means.
fn has_its_directory(
    cluster: &SimCluster,
    image: &MetadataImage,
    id: &TopicPartition,
    broker: BrokerId,
) -> bool {
    let replicas = image.partition(id).into_iter().flat_map(|known| &known.state.replicas);
    let mut own = replicas.filter(|replica| replica.broker == broker);
    own.any(|replica| replica.directory == cluster.directory(broker.0))
}

fn high_watermark_is_safe_on_every_in_sync_replica(
    cluster: &SimCluster,
    leader: &Sight,
    sights: &[Sight],
    counts: impl Fn(&BrokerId) -> bool,
) {
    let Some((_, isr)) = &leader.leads else { return };
    let shard = cluster.core(leader.node, 0);
    let image = Arc::clone(&shard.borrow().image);
    for member in isr.iter().filter(|member| counts(member)) {
        let Some(sight) = sights.iter().find(|sight| sight.node == member.0) else { continue };
        if has_its_directory(cluster, &image, &leader.id, *member) {
            assert!(
                sight.safe_end >= leader.high_watermark,
                "{leader:?} says what is not safe on {sight:?}"
            );
        }
    }
}

fn what_is_acknowledged_is_on_every_in_sync_replica(
    cluster: &SimCluster,
    image: &MetadataImage,
    id: TopicPartition,
    acked_end: i64,
    sights: &[Sight],
) {
    let Some(known) = image.partition(&id) else { return };
    for member in known.state.isr.iter().chain(&known.state.elr) {
        let Some(sight) = sights.iter().find(|sight| sight.node == member.0) else { continue };
        if has_its_directory(cluster, image, &id, *member) {
            assert!(
                sight.safe_end.to_wire() >= acked_end,
                "{acked_end} of {id} is acknowledged and not on {sight:?} of {:?}",
                known.state
            );
        }
    }
}
