//! From files to an open broker, and from a new image to open partitions.
//!
//! The controller's core leads a start: it loads the metadata, has every core replay its journal
//! into the segments (whoever owns the partitions from now on, so the number of cores may change
//! between starts), and then publishes the image, upon which each core opens what it owns.
//!
//! Restart time is bounded by the journal, not by the data: a segment is read from its recovery
//! point on only, and a core writes its points anew after `UNPOINTED_BYTES_MAX`.

use crate::controller::decide::{Change, ChangeReply};
use crate::controller::image::MetadataImage;
use crate::coordinator::group::GroupCoordinator;
use crate::coordinator::share::ShareCoordinator;
use crate::coordinator::transaction::TransactionCoordinator;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::model::limits::DRAINS_AT_ONCE;
use crate::shard::coordinator_load;
use crate::shard::metadata::{self, CONTROLLER_CORE, MetadataError};
use crate::shard::partition::Partition;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::shard::{PartitionIndex, Shard, ShardRef};
use crate::shard::waiters::Rise;
use crate::storage::checkpoint::{self, RecoveryPoint, RecoveryPoints};
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
    #[error("the metadata log cannot be written: {}", .0.name())]
    Log(KafkaCode),
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
    let (disk, dir, cores, blank) = {
        let shard = shard.borrow();
        assert!(shard.core == CONTROLLER_CORE);
        let blank = MetadataImage::clone(&shard.image);
        (shard.disk.clone(), shard.data_dir.join("metadata"), shard.cores, blank)
    };
    let loaded = metadata::load(&disk, &dir, blank).await?;
    let image = Arc::new(loaded.image);
    shard.borrow_mut().metadata = loaded.log;
    let asks = (0..cores).map(|core| {
        let question = Question::Replay { image: Arc::clone(&image) };
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
    let id = shard.borrow().cluster_id;
    for change in [Change::FoundCluster { id }, Change::FitCores { cores }] {
        if let ChangeReply::Done(Err(refusal)) = metadata::change_here(shard, change).await {
            return Err(StartError::Log(refusal.code));
        }
    }
    let image = Arc::clone(&shard.borrow().image);
    metadata::publish(shard, image).await;
    Ok(())
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
    let Some((mut log, _)) = opened else { return Ok(None) };
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
    let Some(topic) = image.topic_by_id(&id.topic) else { return Ok(None) };
    let (disk, dir, now) = {
        let shard = shard.borrow();
        (shard.disk.clone(), shard.partition_dir(&id), shard.now)
    };
    let point = points.get(&id).copied().unwrap_or_default();
    let open = OpenLog { dir, partition: id, config: Arc::clone(&topic.config), point, now };
    let (log, report) = PartitionLog::open(&disk, open).await?;
    if report.is_worth_telling() {
        tracing::warn!(partition = %id, topic = %topic.name, %report, "recovered");
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
    coordinator_load::start_all::<D, GroupCoordinator>(shard);
    coordinator_load::start_all::<D, TransactionCoordinator>(shard);
    coordinator_load::start_all::<D, ShareCoordinator>(shard);
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
                Err(error) => {
                    tracing::error!(%error, partition = %id, "partition stays offline, see E0010");
                    shard.borrow_mut().offline_partitions.insert(*id);
                }
            }
        }
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
        let is_gone = |id: &&TopicPartition| image.topic_by_id(&id.topic).is_none();
        let gone = self.partition_indexes.keys().filter(is_gone).copied().collect();
        (new, gone)
    }

    fn add_partition(&mut self, id: TopicPartition, log: PartitionLog<D>, image: &MetadataImage) {
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
        self.on_left_memory(partition.log.pending_bytes());
    }

    /// Works with `image` from here on; returns the one before.
    fn take_image(&mut self, image: Arc<MetadataImage>) -> Arc<MetadataImage> {
        let indexes: Vec<(TopicPartition, PartitionIndex)> =
            self.partition_indexes.iter().map(|(id, index)| (*id, *index)).collect();
        for (id, index) in indexes {
            let Some(topic) = image.topic_by_id(&id.topic) else { continue };
            let partition = &mut self.partitions[index];
            partition.log.set_config(Arc::clone(&topic.config));
            partition.leader_epoch = image.leader_epoch(&id).unwrap_or(partition.leader_epoch);
        }
        std::mem::replace(&mut self.image, image)
    }
}
