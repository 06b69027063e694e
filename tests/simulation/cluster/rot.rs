//! What a disk does to bytes that a broker had made safe: bits flip, a write was never carried out,
//! a write went to another place.
//!
//! Why it is done to one broker at a time, and only where another replica that is in sync has the
//! same bytes: damage of every copy is a loss that nobody can mend. Until all of a wound is found
//! and mended no other broker is wounded, and none is given an empty disk.
//!
//! What may be asked of a broker depends on where it happens:
//! - In a segment, below the recovery point, whatever is lost or in a wrong place is found by
//!   whoever reads there: checksums and the offsets of neighbours tell. Nobody may be shown it, and
//!   the replica leaves, and is fetched anew. What nothing tells is left out (`Victim::overwrite`).
//! - Above the recovery point and in the journal it looks like what a power cut leaves of writes
//!   that no sync covered, and is cut. So journals are harmed only where nobody counts on them: the
//!   broker is fenced, and in no in-sync set.

use super::beside::{self, Backup};
use super::caller::{Net, PATIENCE_US, RETRY_US};
use super::swarm::Planted;
use super::world::World;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::select;
use highwater::model::ids::{BrokerId, Offset, PartitionId, TopicId, TopicPartition};
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::record_batch::{BatchHeader, CheckedBatch};
use highwater::sim::cluster::NodeId;
use highwater::sim::random::Random;
use highwater::storage::checkpoint::{self, RecoveryPoints};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;

/// What a disk writes as one piece, in bytes.
const SECTOR_BYTES: usize = 512;
/// Bytes of a batch that no checksum covers and nothing else tells: its leader epoch.
const UNCHECKED: Range<usize> = 12..16;
/// From here on everything in a batch is checked in compacted logs, too. No checksum covers the
/// base offset before it, and where offsets may be missing another one is as good.
const CHECKED_FROM: usize = 16;
/// Of a journal file, which has its header there.
const JOURNAL_BLOCK: usize = 4096;

/// Bytes of a segment that are not what they were.
#[derive(Debug, Clone)]
pub(crate) struct Wound {
    pub(crate) node: NodeId,
    pub(crate) id: TopicPartition,
    pub(crate) path: PathBuf,
    /// Bytes that cannot be read; else they can, and are wrong.
    pub(crate) unreadable: Option<Range<usize>>,
    /// Of a batch that was there.
    offset: i64,
    is_dense: bool,
    is_mended: Rc<Cell<bool>>,
}

/// A segment of which a part may be harmed: other replicas have it.
pub(crate) struct Victim {
    id: TopicPartition,
    path: PathBuf,
    content: Vec<u8>,
    /// Where the batches are that may be harmed, and their first and last offsets.
    batches: Vec<(Range<usize>, (i64, i64))>,
    is_dense: bool,
}

/// What disks have done to what they had, as far as it is not mended.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    wounds: Vec<Wound>,
    /// Brokers whose journal was harmed.
    journals: BTreeSet<NodeId>,
    /// Of a broker whose metadata was harmed.
    pub(crate) backup: Option<Backup>,
    /// How many there were of both.
    pub(crate) count: usize,
    /// Writes to a wrong place that were left out, because what they bring passes for what was
    /// there.
    pub(crate) passing: usize,
}

impl Harm {
    fn is_any(&self) -> bool {
        !self.wounds.is_empty() || !self.journals.is_empty() || self.backup.is_some()
    }

    /// Whether a broker may need somebody to look after its files.
    pub(crate) fn may_keep_from_starting(&self) -> bool {
        self.backup.is_some() || self.wounds.iter().any(|wound| wound.unreadable.is_some())
    }

    /// What is not mended of a broker's segments.
    pub(crate) fn of(&self, node: NodeId) -> Vec<Wound> {
        self.wounds.iter().filter(|wound| wound.node == node).cloned().collect()
    }

    /// Whether a replica may lack what it had, once it is no member any more.
    pub(crate) fn is_of(&self, node: NodeId, id: TopicPartition) -> bool {
        let is_it = |wound: &Wound| wound.node == node && wound.id == id;
        self.journals.contains(&node) || self.wounds.iter().any(is_it)
    }
}

/// Harms files of a broker that does not run, if that harms nobody for good. True when it did.
pub(crate) fn harm(world: &mut World, id: NodeId) -> bool {
    if !world.is_sound() || world.cluster.disk(id).is_failing() {
        return false;
    }
    let victims = victims_on(world, id);
    if !victims.is_empty() {
        harm_segments(world, id, victims);
    }
    if is_out_of_use(world, id) && world.random.chance(50) {
        harm_journal(world, id);
    }
    if world.swarm.planted == Planted::ForgetRecoveryPoints {
        for path in files(world, id, "/data/journal", "recovery-points") {
            world.cluster.disk(id).put(&path, Vec::new());
        }
    }
    !world.is_sound()
}

/// Has somebody read wherever a disk was harmed.
pub(crate) fn probe_all(world: &World) {
    for wound in &world.harm.borrow().wounds {
        probe(world, wound);
    }
}

fn probe(world: &World, wound: &Wound) {
    let net = world.net.clone();
    world.net.handle.spawn(read_until_mended(net, wound.clone()));
}

impl World {
    /// Whether no disk holds anything that is not as it was written, as far as is known here.
    pub(crate) fn is_sound(&self) -> bool {
        let mut harm = self.harm.borrow_mut();
        harm.backup.take_if(|backup| beside::has_started(self, backup));
        harm.journals.retain(|node| !is_in_sync_everywhere(self, *node));
        harm.wounds.retain(|wound| {
            if is_mended(self, wound) {
                self.net.say(|| format!("mended {wound:?}"));
                wound.is_mended.set(true);
            }
            !wound.is_mended.get()
        });
        !harm.is_any()
    }
}

/// The replica is in sync again, knows of no damage, and what its disk holds is whole.
fn is_mended(world: &World, wound: &Wound) -> bool {
    let Some(image) = world.newest_image().filter(|_| world.cluster.is_running(wound.node)) else {
        return false;
    };
    // No topic is deleted: where this one is not known nothing is.
    let Some(partition) = image.partition(&wound.id) else { return false };
    let broker = BrokerId(wound.node);
    let core = partition.state.core_on(broker).filter(|_| partition.state.isr.contains(&broker));
    let Some(core) = core else { return false };
    let shard = world.cluster.core(wound.node, usize::from(core.0));
    let shard = shard.borrow();
    let Some(index) = shard.partition_index(&wound.id) else { return false };
    if world.cluster.disk(wound.node).is_spoilt(&wound.path) {
        return false;
    }
    let content = world.cluster.disk(wound.node).content(&wound.path).unwrap_or_default();
    !shard.partitions[index].log.is_damaged() && is_whole(content, wound.is_dense)
}

fn is_in_sync_everywhere(world: &World, node: NodeId) -> bool {
    let Some(image) = world.newest_image() else { return false };
    let broker = BrokerId(node);
    let mut partitions = image.topics().flat_map(|topic| topic.partitions());
    partitions.all(|(_, partition)| {
        let state = &partition.state;
        state.core_on(broker).is_none() || state.isr.contains(&broker)
    })
}

fn is_whole(content: Vec<u8>, is_dense: bool) -> bool {
    let mut bytes = Bytes::from(content);
    let mut next: Option<i64> = None;
    while !bytes.is_empty() {
        let Ok(batch) = CheckedBatch::check_first(&mut bytes) else { return false };
        let base = batch.header().base_offset();
        let follows = |next| if is_dense { base == next } else { base >= next };
        if !next.is_none_or(follows) {
            return false;
        }
        next = Some(batch.header().last_offset() + 1);
    }
    true
}

fn files(world: &World, id: NodeId, dir: &str, ending: &str) -> Vec<PathBuf> {
    let is_it = |path: &PathBuf| path.starts_with(dir) && path.to_string_lossy().ends_with(ending);
    world.cluster.disk(id).paths().into_iter().filter(is_it).collect()
}

fn recovery_points(world: &mut World, id: NodeId) -> RecoveryPoints {
    let disk = world.cluster.disk(id).moved_to(world.cluster.executor.handle());
    let cores = world.swarm.cores[usize::try_from(id - 1).unwrap()];
    world.cluster.executor.run_until(async move {
        let mut all = RecoveryPoints::default();
        for core in 0..cores {
            let dir = Path::new("/data/journal").join(core.to_string());
            for (id, point) in checkpoint::read(&disk, &dir).await.unwrap() {
                let known = all.entry(id).or_insert(point);
                *known = known.later(point);
            }
        }
        all
    })
}

/// The partition whose segment this is.
fn partition_of(path: &Path) -> Option<TopicPartition> {
    let mut names = path.strip_prefix("/data/topics").ok()?.iter();
    let topic = TopicId(names.next()?.to_str()?.parse().ok()?);
    let partition = PartitionId(names.next()?.to_str()?.parse().ok()?);
    Some(TopicPartition { topic, partition })
}

/// Offset below which another broker, which is in sync, has everything for certain.
fn kept_elsewhere(world: &World, id: NodeId, partition: TopicPartition) -> Option<Offset> {
    let image = world.decided_image()?;
    let state = &image.partition(&partition)?.state;
    let others =
        state.isr.iter().filter(|other| other.0 != id && world.cluster.is_running(other.0));
    let ends = others.filter_map(|other| {
        let core = state.core_on(*other)?;
        let shard = world.cluster.core(other.0, usize::from(core.0));
        let shard = shard.borrow();
        let replica = &shard.partitions[shard.partition_index(&partition)?];
        Some(replica.high_watermark().min(replica.safe_end()))
    });
    ends.max()
}

/// What can be harmed of the segments of a broker that does not run.
pub(crate) fn victims_on(world: &mut World, id: NodeId) -> Vec<Victim> {
    let points = recovery_points(world, id);
    let segments = files(world, id, "/data/topics", ".log").into_iter();
    segments.filter_map(|path| victim(world, (id, path), &points)).collect()
}

fn victim(
    world: &World,
    (node, path): (NodeId, PathBuf),
    points: &RecoveryPoints,
) -> Option<Victim> {
    let id = partition_of(&path)?;
    let image = world.newest_image()?;
    let is_dense = !image.topic_by_id(&id.topic)?.config.cleanup.compact;
    let end = kept_elsewhere(world, node, id)?.min(points.get(&id)?.recovery_offset);
    let content = world.cluster.disk(node).content(&path)?;
    let mut batches = Vec::new();
    let mut start = 0;
    while let Ok(header) = BatchHeader::read(&content[start..]) {
        if header.last_offset() >= end.to_wire() || start + header.size() > content.len() {
            break;
        }
        let offsets = (header.base_offset(), header.last_offset());
        batches.push((start..start + header.size(), offsets));
        start += header.size();
    }
    (!batches.is_empty()).then_some(Victim { id, path, content, batches, is_dense })
}

fn harm_segments(world: &mut World, node: NodeId, mut victims: Vec<Victim>) {
    let first = world.random.index(victims.len());
    let second = world.random.index(victims.len());
    let (kind, is_probed) = (world.random.below(3), world.random.chance(60));
    let random = &mut world.random.fork();
    let mut harmed = Vec::new();
    let sector = victims[first].sector(random);
    match (kind, sector) {
        (1 | 2, Some(sector)) => {
            // What should be there is nowhere, or overwrites what should be elsewhere.
            let lost = victims[first].content[sector.clone()].to_vec();
            let passing = &mut world.harm.borrow_mut().passing;
            if victims[first].overwrite(sector.start, (&[0; SECTOR_BYTES], passing)) {
                harmed.push(victims[first].wound(node, sector.start));
            }
            let other = victims[second].sector(random).filter(|_| kind == 2);
            if let Some(other) = other
                && victims[second].overwrite(other.start, (&lost, passing))
            {
                harmed.push(victims[second].wound(node, other.start));
            }
        }
        _ => harmed.push(victims[first].flip(node, random)),
    }
    for victim in victims {
        let disk = world.cluster.disk(node);
        if disk.content(&victim.path).as_ref() != Some(&victim.content) {
            disk.put(&victim.path, victim.content);
        }
    }
    for wound in harmed {
        add(world, wound, is_probed);
    }
}

/// Notes what was done to a disk. Somebody may read there until it is mended.
pub(crate) fn add(world: &World, wound: Wound, is_probed: bool) {
    world.net.say(|| format!("harmed (probed {is_probed}): {wound:?}"));
    if is_probed {
        probe(world, &wound);
    }
    let harm = &mut *world.harm.borrow_mut();
    harm.count += 1;
    harm.wounds.push(wound);
}

impl Victim {
    pub(crate) fn wound(&self, node: NodeId, position: usize) -> Wound {
        let harmed = self.batches.iter().find(|(bytes, _)| position < bytes.end);
        Wound {
            node,
            id: self.id,
            path: self.path.clone(),
            unreadable: None,
            offset: harmed.expect("it lies in the batches").1.0,
            is_dense: self.is_dense,
            is_mended: Rc::default(),
        }
    }

    fn flip(&mut self, node: NodeId, random: &mut Random) -> Wound {
        let (batch, _) = self.batches[random.index(self.batches.len())].clone();
        let from = if self.is_dense { 0 } else { CHECKED_FROM };
        let places: Vec<usize> =
            (from..batch.len()).filter(|place| !UNCHECKED.contains(place)).collect();
        let position = batch.start + places[random.index(places.len())];
        self.content[position] ^= 1 << random.below(8);
        self.wound(node, batch.start)
    }

    /// A sector that lies in the batches; none in compacted logs, where it may hold no more than a
    /// base offset.
    pub(crate) fn sector(&self, random: &mut Random) -> Option<Range<usize>> {
        let end = self.batches.last().map_or(0, |(bytes, _)| bytes.end);
        let sectors = if self.is_dense { end / SECTOR_BYTES } else { 0 };
        let start = (sectors > 0).then(|| random.index(sectors) * SECTOR_BYTES)?;
        Some(start..start + SECTOR_BYTES)
    }

    /// Nothing in a batch says whose it is: a whole one of another log that lands exactly where one
    /// of the same first offset was, or one of the same last offset that an index speaks of, passes
    /// for it. Only that is not done, and counted.
    fn overwrite(&mut self, start: usize, (bytes, passing): (&[u8], &mut usize)) -> bool {
        let sector = start..start + bytes.len();
        let mut content = self.content.clone();
        content[sector.clone()].copy_from_slice(bytes);
        let is_touched =
            |batch: &Range<usize>| batch.start < sector.end && sector.start < batch.end;
        let mut passes = false;
        for (batch, (first, last)) in self.batches.iter().filter(|(batch, _)| is_touched(batch)) {
            if content[batch.clone()] == self.content[batch.clone()] {
                return false;
            }
            let mut there = Bytes::copy_from_slice(&content[batch.start..]);
            if let Ok(there) = CheckedBatch::check_first(&mut there) {
                let there = there.header();
                passes |= there.base_offset() == *first || there.last_offset() == *last;
            }
        }
        *passing += usize::from(passes);
        if !passes {
            self.content = content;
        }
        !passes
    }
}

/// Whether no partition counts on what a broker has, and none will before it is registered anew.
fn is_out_of_use(world: &World, id: NodeId) -> bool {
    let Some(image) = world.decided_image() else { return false };
    let counts = |id: &BrokerId| {
        image
            .topics()
            .flat_map(|topic| topic.partitions())
            .any(|(_, one)| one.state.isr.contains(id) || one.state.elr.contains(id))
    };
    !image.is_active(BrokerId(id)) && !counts(&BrokerId(id))
}

/// A bit flips in a journal, or one of its sectors was never written.
fn harm_journal(world: &mut World, id: NodeId) {
    let mut journals = files(world, id, "/data/journal", ".journal");
    if journals.is_empty() {
        return;
    }
    let path = journals.swap_remove(world.random.index(journals.len()));
    let mut content = world.cluster.disk(id).content(&path).expect("it was listed");
    let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if written <= JOURNAL_BLOCK {
        return;
    }
    let position = JOURNAL_BLOCK + world.random.index(written - JOURNAL_BLOCK);
    if world.random.chance(50) {
        content[position] ^= 1 << world.random.below(8);
    } else {
        let start = position / SECTOR_BYTES * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(content.len());
        content[start..end].fill(0);
    }
    world.net.say(|| format!("harmed byte {position} of {written} in {}", path.display()));
    world.cluster.disk(id).put(&path, content);
    let harm = &mut *world.harm.borrow_mut();
    harm.count += 1;
    harm.journals.insert(id);
}

/// A consumer that reads one batch of one broker until it gets it.
async fn read_until_mended(net: Net, wound: Wound) {
    let part = FetchPartition {
        partition: wound.id.partition.0,
        fetch_offset: wound.offset,
        partition_max_bytes: 1,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic_id: wound.id.topic.0, partitions: vec![part], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 10,
        min_bytes: 1,
        max_bytes: 1,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    while !wound.is_mended.get() {
        net.handle.sleep_us(RETRY_US).await;
        let Some((door, life)) = net.doors.door(wound.node) else { continue };
        let (request, handle) = (request.clone(), net.handle.of(life));
        let (sender, receiver) = oneshot::channel();
        // Of the broker's own life: what it has not answered ends with it.
        handle.spawn(async move {
            let mut client = door.connect(0);
            if let Some(answer) = client.call(&request).await {
                drop(sender.send(answer));
            }
        });
        drop(select(receiver, pin!(net.handle.sleep_us(PATIENCE_US))).await);
    }
}
