//! From files to an open broker, and from a new image to open partitions.
//!
//! The controller's core leads a start: it loads the metadata, has every core replay its journal
//! into the segments (whoever owns the partitions from now on, so the number of cores may change
//! between starts), and then publishes the image, upon which each core opens what it owns.
//!
//! Restart time is not bounded by the data: a segment is read from its recovery point on only, and
//! a core syncs and writes its points anew after `UNSYNCED_BYTES_MAX` and `UNPOINTED_BYTES_MAX`.

use crate::controller::decide::Refusal;
use crate::controller::image::MetadataImage;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::model::limits::DRAINS_AT_ONCE;
use crate::model::topic_config::{Durability, TopicConfig};
use crate::shard::coordinator_load;
use crate::shard::membership;
use crate::shard::metadata::{self, CONTROLLER_CORE};
use crate::shard::partition::Partition;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::quorum;
use crate::shard::quorum_files::{self, Identity, MetadataError};
use crate::shard::shard::{PartitionIndex, Shard, ShardRef};
use crate::shard::waiters::Rise;
use crate::storage::checkpoint::{self, RecoveryPoint, RecoveryPoints};
use crate::storage::clean_stop;
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::journal::{Journal, JournalEntry};
use crate::storage::partition_log::{OpenLog, PartitionLog, RecoveryReport};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the metadata cannot be begun ({}): {}", .0.code.name(), .0.message)]
    Registration(Refusal),
}

impl<D: Disk> Shard<D> {
    /// Folder of this core's journal and recovery points.
    pub fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal").join(self.core.0.to_string())
    }

    /// Folder of one partition's segments.
    pub fn partition_dir(&self, id: &TopicPartition) -> PathBuf {
        let topic = self.data_dir.join("topics").join(id.topic.to_string());
        topic.join(id.partition.0.to_string())
    }

    /// Tells the logs which recovery points a crash would find from now on.
    pub fn on_points_durable(&mut self, points: &RecoveryPoints) {
        for (_, partition) in &mut self.partitions {
            if let Some(point) = points.get(&partition.id) {
                partition.log.on_recovery_point_durable(*point);
            }
        }
    }

    /// Where recovery may begin in each open partition of this core.
    pub fn recovery_points(&self) -> RecoveryPoints {
        self.partitions.iter().map(|(_, p)| (p.id, p.log.recovery_point())).collect()
    }
}

/// Brings a whole broker up; runs on the controller's core, returns when clients may connect.
///
/// # Errors
/// The metadata or a journal cannot be read. Damage to one partition does not stop the start.
pub async fn start_broker<D: Disk>(shard: &ShardRef<D>) -> Result<(), StartError> {
    let (disk, dir) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.data_dir.clone())
    };
    let previous = clean_stop::take(&disk, &dir).await.map_err(StorageError::from)?;
    shard.borrow_mut().membership.previous_epoch = previous;
    let OpenedMetadata { image, widest } = open_metadata(shard).await?;
    let cores = shard.borrow().cores;
    let asks = (0..cores).map(|core| {
        let question = Question::Replay { image: Arc::clone(&widest) };
        async move { ask(shard, CoreId(core), question).await }
    });
    for reply in join_all(asks).await {
        if let Reply::Replayed(result) = reply {
            result?;
        }
    }
    // Decided before any core works with the image: it may still give partitions to cores that do
    // not exist any more, and a coordinator that is loaded would send its markers there.
    shard.borrow_mut().image = image;
    shard.borrow_mut().quorum.begin();
    if shard.borrow().quorum.is_alone() {
        membership::open_alone(shard).await.map_err(StartError::Registration)?;
    }
    let image = Arc::clone(&shard.borrow().image);
    metadata::publish(shard, image).await;
    shard.borrow_mut().quorum.serve();
    Ok(())
}

/// The metadata that a start begins with.
struct OpenedMetadata {
    /// What is committed.
    image: Arc<MetadataImage>,
    /// What journals may belong to.
    widest: Arc<MetadataImage>,
}

/// Loads what this broker knows of the metadata, and makes it a member of its quorum.
async fn open_metadata<D: Disk>(shard: &ShardRef<D>) -> Result<OpenedMetadata, StartError> {
    let (disk, dir, blank, config) = {
        let shard = shard.borrow();
        assert!(shard.core == CONTROLLER_CORE);
        let blank = MetadataImage::clone(&shard.image);
        let dir = shard.data_dir.join("metadata");
        (shard.disk.clone(), dir, blank, Arc::clone(&shard.config))
    };
    let identity = Identity {
        id: config.node_id,
        directory: shard.borrow().directory_id,
        cluster: &config.cluster,
        seed: shard.borrow().random_number(),
    };
    let mut loaded = quorum_files::load(&disk, &dir, &identity, &blank).await?;
    let mut image = std::mem::replace(&mut loaded.image, blank.clone());
    let mut widest = std::mem::replace(&mut loaded.widest, blank.clone());
    shard.borrow_mut().quorum.open(loaded, blank);
    if shard.borrow().quorum.is_alone() {
        // It elects itself, and so commits all that its log holds.
        shard.borrow_mut().hasten_quorum();
        quorum::persist(shard).await;
        shard.borrow_mut().quorum.take_committed(&mut image)?;
        widest = image.clone();
    }
    Ok(OpenedMetadata { image: Arc::new(image), widest: Arc::new(widest) })
}

/// Puts what this core's journals hold into the segments, and empties the journals.
pub async fn replay_journals<D: Disk>(
    shard: &ShardRef<D>,
    image: &Arc<MetadataImage>,
) -> Result<(), StorageError> {
    let (disk, core, cores, data_dir) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.core, shard.cores, shard.data_dir.clone())
    };
    let own = std::mem::take(&mut shard.borrow_mut().replay);
    replay_entries(shard, image, own).await?;
    let write = shard.borrow_mut().journal.clear();
    disk.write_at(&write.file, write.position, write.parts).await?;
    disk.sync(&write.file).await?;
    // Journals of cores that no longer exist fall to the cores that do, in turn.
    let parent = data_dir.join("journal");
    for entry in disk.list(&parent).await? {
        let Ok(orphan) = entry.name.parse::<u16>() else { continue };
        if orphan < cores || orphan % cores != core.0 {
            continue;
        }
        let dir = parent.join(&entry.name);
        let (_, entries) = Journal::open(&disk, &dir).await?;
        replay_entries(shard, image, entries).await?;
        disk.remove(&dir).await?;
        disk.sync_dir(&parent).await?;
    }
    Ok(())
}

async fn replay_entries<D: Disk>(
    shard: &ShardRef<D>,
    image: &Arc<MetadataImage>,
    entries: Vec<JournalEntry>,
) -> Result<(), StorageError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut by_partition: BTreeMap<TopicPartition, Vec<JournalEntry>> = BTreeMap::new();
    for entry in entries {
        by_partition.entry(entry.partition).or_default().push(entry);
    }
    let mut points = all_recovery_points(shard).await?;
    let (disk, dir) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.journal_dir())
    };
    let mut left: Vec<(TopicPartition, Vec<JournalEntry>)> = by_partition.into_iter().collect();
    while !left.is_empty() {
        let some = left.split_off(left.len().saturating_sub(DRAINS_AT_ONCE));
        let replays = some.into_iter().map(|part| replay_partition(shard, image, part, &points));
        for replayed in join_all(replays).await {
            if let Some((id, point)) = replayed? {
                points.insert(id, point);
            }
        }
    }
    checkpoint::write(&disk, &dir, &points).await
}

/// Where the partition's recovery may begin from now on; `None` when its topic is gone.
async fn replay_partition<D: Disk>(
    shard: &ShardRef<D>,
    image: &Arc<MetadataImage>,
    (id, entries): (TopicPartition, Vec<JournalEntry>),
    points: &RecoveryPoints,
) -> Result<Option<(TopicPartition, RecoveryPoint)>, StorageError> {
    let disk = shard.borrow().disk.clone();
    let opened = open_log(shard, image, id, points).await?;
    let Some((mut log, report)) = opened else { return Ok(None) };
    if !report.damage.is_empty() {
        // What follows leaves nothing in these segments for the next opening to read.
        shard.borrow_mut().repairs.found.insert(id, report.damage);
    }
    log.replay(entries);
    // Before the point is taken, so that it names the snapshot that the close writes: else the
    // next start would read again from the snapshot before, further back with each crash.
    log.close(&disk).await?;
    Ok(Some((id, log.recovery_point())))
}

/// The recovery points of all cores; where two speak of one partition, the later one counts.
async fn all_recovery_points<D: Disk>(shard: &ShardRef<D>) -> Result<RecoveryPoints, StorageError> {
    let (disk, parent) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.data_dir.join("journal"))
    };
    let mut all = RecoveryPoints::default();
    for entry in disk.list(&parent).await? {
        for (id, point) in checkpoint::read(&disk, &parent.join(&entry.name)).await? {
            let known = all.entry(id).or_insert(point);
            *known = known.later(point);
        }
    }
    Ok(all)
}

async fn open_log<D: Disk>(
    shard: &ShardRef<D>,
    image: &Arc<MetadataImage>,
    id: TopicPartition,
    points: &RecoveryPoints,
) -> Result<Option<(PartitionLog<D>, RecoveryReport)>, StorageError> {
    let topic = image.topic_by_id(&id.topic);
    let config = match topic {
        Some(topic) => Arc::clone(&topic.config),
        // A broker that forgot its metadata (`cluster recover --rejoin`) keeps its records, also
        // those in its journal: which topics there are it is still to be told.
        None if image.end() == 0 => {
            Arc::new(TopicConfig::resolve(&BTreeMap::new(), image.defaults()).0)
        }
        None => return Ok(None),
    };
    let (disk, dir, now) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.partition_dir(&id), shard.now)
    };
    let point = points.get(&id).copied().unwrap_or_default();
    let open = OpenLog { dir, partition: id, config, point, now };
    let (log, report) = PartitionLog::open(&disk, open).await?;
    if report.is_worth_telling() {
        let topic = topic.map_or("unknown", |topic| &*topic.name);
        tracing::warn!(partition = %id, topic, %report, "recovered");
    }
    Ok(Some((log, report)))
}

/// Makes this core work with an image: opens what is new, closes what is gone.
pub async fn apply_image<D: Disk>(shard: &ShardRef<D>, image: Arc<MetadataImage>) {
    let (wanted, gone) = shard.borrow_mut().compare(&image);
    if !wanted.is_empty() {
        match all_recovery_points(shard).await {
            Ok(points) => open_partitions(shard, &image, wanted, &points).await,
            Err(error) => tracing::error!(%error, "recovery points: new partitions stay closed"),
        }
    }
    for id in gone {
        remove_partition(shard, id).await;
    }
    let before = shard.borrow_mut().take_image(image);
    shard.borrow_mut().drop_orphans::<GroupCoordinator>();
    shard.borrow_mut().drop_orphans::<TransactionCoordinator>();
    shard.borrow_mut().drop_orphans::<ShareCoordinator>();
    shard.borrow_mut().drop_orphan_shares();
    shard.borrow_mut().forget_offsets_of_deleted(&before);
    shard.borrow_mut().show_topics_to_groups();
    coordinator_load::start_missing(shard);
}

async fn open_partitions<D: Disk>(
    shard: &ShardRef<D>,
    image: &Arc<MetadataImage>,
    wanted: Vec<TopicPartition>,
    points: &RecoveryPoints,
) {
    for some in wanted.chunks(DRAINS_AT_ONCE) {
        let opens = some.iter().map(|id| open_log(shard, image, *id, points));
        for (id, opened) in some.iter().zip(join_all(opens).await) {
            match opened {
                Ok(Some((log, report))) => {
                    let mut shard = shard.borrow_mut();
                    shard.unpointed_bytes += report.scanned_bytes;
                    shard.add_partition(*id, log, image);
                }
                Ok(None) => unreachable!("wanted partitions come from the image"),
                Err(error) => shard.borrow_mut().on_open_error(*id, &error),
            }
        }
    }
}

/// Throws away files that cannot be read, and opens an empty log in their place that the
/// partition's leader is to feed: the controller has taken this replica out of everything.
pub(super) async fn begin_anew<D: Disk>(shard: &ShardRef<D>, id: TopicPartition) {
    let (image, disk, dir) = {
        let shard = shard.borrow();
        (Arc::clone(&shard.image), shard.disk.clone(), shard.partition_dir(&id))
    };
    let leader = image.partition(&id).and_then(|partition| partition.state.leader);
    if leader.is_none_or(|leader| leader == image.local()) {
        return;
    }
    let opened = async {
        let points = all_recovery_points(shard).await?;
        disk.remove(&dir).await?;
        open_log(shard, &image, id, &points).await
    };
    match opened.await {
        Ok(Some((log, _))) => {
            let mut shard = shard.borrow_mut();
            let image = Arc::clone(&shard.image);
            shard.repairs.unopened.remove(&id);
            if image.owner_of(&id) == Some(shard.core) {
                shard.offline_partitions.remove(&id);
                shard.add_partition(id, log, &image);
                shard.retake_role_of(&id);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, partition = %id, "stays offline"),
    }
}

async fn remove_partition<D: Disk>(shard: &ShardRef<D>, id: TopicPartition) {
    let (disk, dir) = {
        let mut shard = shard.borrow_mut();
        shard.drop_partition(&id);
        (shard.disk.clone(), shard.partition_dir(&id))
    };
    let turn = Rc::clone(&shard.borrow().cleaner.turn);
    let removed = {
        let _turn = turn.lock().await;
        disk.remove(&dir).await
    };
    if let Err(error) = removed {
        tracing::error!(%error, partition = %id, "files of a deleted partition stay behind");
        return;
    }
    let Some(topic_dir) = dir.parent() else { return };
    let is_empty = disk.list(topic_dir).await.is_ok_and(|names| names.is_empty());
    if is_empty && let Err(error) = disk.remove(topic_dir).await {
        tracing::error!(%error, "folder of a deleted topic stays behind");
    }
}

impl<D: Disk> Shard<D> {
    /// Partitions of this core that the image adds, and those that it no longer gives it.
    fn compare(&mut self, image: &MetadataImage) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
        let wanted = image.partitions_of(self.core);
        let is_new = |id: &TopicPartition| {
            !self.partition_indexes.contains_key(id) && !self.offline_partitions.contains(id)
        };
        let new: Vec<TopicPartition> = wanted.filter(is_new).collect();
        // Only what the committed metadata takes away is removed, never what is merely unknown.
        let is_gone = |id: &&TopicPartition| image.owner_of(id) != Some(self.core);
        let gone = self.partition_indexes.keys().filter(is_gone).copied().collect();
        (new, gone)
    }

    fn on_open_error(&mut self, id: TopicPartition, error: &StorageError) {
        tracing::error!(%error, partition = %id, "partition stays offline, see E0010");
        self.offline_partitions.insert(id);
        if error.damaged_file().is_some() {
            self.repairs.unopened.insert(id);
        }
        // What a failed write or sync leaves behind cannot be told by reading it again.
        if let StorageError::Disk(error) = error
            && !error.is_of_reading()
            && !error.is_no_space()
        {
            self.go_offline(error);
        }
    }

    fn add_partition(
        &mut self,
        id: TopicPartition,
        mut log: PartitionLog<D>,
        image: &MetadataImage,
    ) {
        if let Some(damage) = self.repairs.found.remove(&id) {
            log.remember_damage(damage);
        }
        let leader_epoch = image.leader_epoch(&id).unwrap_or_default();
        let index = self.partitions.insert(Partition::new(id, log, leader_epoch));
        let before = self.partition_indexes.insert(id, index);
        assert!(before.is_none(), "a partition is opened once");
    }

    fn drop_partition(&mut self, id: &TopicPartition) {
        let Some(index) = self.partition_indexes.remove(id) else { return };
        let code = KafkaCode::UnknownTopicOrPartition;
        while let Some((token, outcome)) = self.partitions[index].next_failed(code) {
            self.resolve(token, outcome);
        }
        self.wake_fetches(index, Rise::Both);
        let partition = self.partitions.remove(index);
        partition.release_waits();
        self.on_left_memory(partition.log.pending_bytes());
    }

    /// Works with `image` from here on; returns the one before.
    fn take_image(&mut self, image: Arc<MetadataImage>) -> Arc<MetadataImage> {
        let indexes: Vec<(TopicPartition, PartitionIndex)> =
            self.partition_indexes.iter().map(|(id, index)| (*id, *index)).collect();
        for (id, index) in indexes {
            let Some(topic) = image.topic_by_id(&id.topic) else { continue };
            let log = &mut self.partitions[index].log;
            let before = log.config().durability;
            log.set_config(Arc::clone(&topic.config));
            if topic.config.durability == Durability::Flush && before == Durability::Kernel {
                self.on_durability_raised(index);
            }
        }
        let before = std::mem::replace(&mut self.image, image);
        self.take_roles(&before);
        before
    }
}
