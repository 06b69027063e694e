//! The metadata log and its image: how topics and configurations change, on every core alike.
//!
//! The controller's core (core 0) decides, appends the records to its log, syncs, applies them, and
//! hands the new image to every core; a change is answered when all cores have opened what it asks
//! of them. The cluster replaces the log's transport by a quorum, not the records.
//!
//! Invariants
//! - One change at a time: each is decided upon the image that the one before it left.
//! - An image that a core works with is always backed by synced records.

use crate::controller::decide::{self, Change, ChangeReply, Context, LiveBroker};
use crate::controller::image::{ApplyError, MetadataImage};
use crate::controller::metadata_log;
use crate::model::ids::CoreId;
use crate::shard::mesh::ShardMessage;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::recovery;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::{Disk, DiskError, OpenMode, create_dir_durably};
use bytes::Bytes;
use futures::future::join_all;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Core that decides changes of metadata.
pub const CONTROLLER_CORE: CoreId = CoreId(0);

/// The open metadata log; only the controller's core has one.
pub struct MetadataLog<D: Disk> {
    /// Held over a whole change, so that changes are decided one after the other.
    turn: Rc<futures::lock::Mutex<()>>,
    file: Option<D::File>,
    position: u64,
}

impl<D: Disk> Default for MetadataLog<D> {
    fn default() -> MetadataLog<D> {
        MetadataLog { turn: Rc::default(), file: None, position: 0 }
    }
}

/// What `load` found.
pub struct LoadedMetadata<D: Disk> {
    pub image: MetadataImage,
    pub log: MetadataLog<D>,
}

/// Opens the metadata log under `dir` and replays it onto `image`; a torn last frame is cut.
///
/// # Errors
/// The file cannot be read, or is damaged before its end: acknowledged changes would be lost.
pub async fn load<D: Disk>(
    disk: &D,
    dir: &Path,
    mut image: MetadataImage,
) -> Result<LoadedMetadata<D>, MetadataError> {
    create_dir_durably(disk, dir).await?;
    let path = dir.join("metadata.log");
    let file = disk.open(&path, OpenMode::ReadWrite).await?;
    disk.sync_dir(dir).await?;
    let size = disk.size(&file).await?;
    let len = usize::try_from(size).map_err(|_| MetadataError::TooLarge { size })?;
    let content = disk.read_at(&file, 0, len).await?;
    let (frames, valid_bytes) = metadata_log::decode_frames(&content)?;
    for record in frames.iter().flatten() {
        image.apply(record)?;
    }
    let position = valid_bytes as u64;
    if position < size {
        tracing::warn!(bytes = size - position, "metadata log: torn tail cut");
        disk.truncate(&file, position).await?;
        disk.sync(&file).await?;
    }
    let log = MetadataLog { turn: Rc::default(), file: Some(file), position };
    Ok(LoadedMetadata { image, log })
}

/// Why metadata cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Damaged(#[from] metadata_log::MetadataLogError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("metadata log of {size} bytes is larger than memory can address")]
    TooLarge { size: u64 },
}

/// Asks the controller's core for a change and waits until every core works with it.
pub async fn change<D: Disk>(shard: &ShardRef<D>, change: Change) -> ChangeReply {
    match ask(shard, CONTROLLER_CORE, Question::Change(change)).await {
        Reply::Change(reply) => reply,
        other => unreachable!("a change is answered by a change, not by {other:?}"),
    }
}

/// Carries out a change; on the controller's core.
pub async fn change_here<D: Disk>(shard: &ShardRef<D>, change: Change) -> ChangeReply {
    assert!(shard.borrow().core == CONTROLLER_CORE);
    let turn = Rc::clone(&shard.borrow().metadata.turn);
    let _turn = turn.lock().await;
    let decision = shard.borrow().decide(change);
    if decision.records.is_empty() {
        return decision.reply;
    }
    let frame = metadata_log::encode_frame(&decision.records);
    if let Err(error) = append(shard, frame).await {
        shard.borrow_mut().go_offline(&error);
        return decision.reply.failed();
    }
    let mut next = MetadataImage::clone(&shard.borrow().image);
    for record in &decision.records {
        next.apply(record).expect("decide wrote what follows from this image");
    }
    publish(shard, Arc::new(next)).await;
    decision.reply
}

impl<D: Disk> Shard<D> {
    fn decide(&self, change: Change) -> decide::Decision {
        let brokers = [LiveBroker {
            id: self.image.local(),
            cores: self.cores,
            directory: self.directory_id,
        }];
        let context = Context { brokers: &brokers, config: &self.config, random: &*self.random };
        decide::decide(&self.image, change, &context)
    }
}

async fn append<D: Disk>(shard: &ShardRef<D>, frame: Bytes) -> Result<(), DiskError> {
    let (disk, file, position) = {
        let shard = shard.borrow();
        let file = shard.metadata.file.clone().expect("the controller's core has opened its log");
        (shard.disk.clone(), file, shard.metadata.position)
    };
    let size = frame.len() as u64;
    disk.write_at(&file, position, vec![frame]).await?;
    disk.sync(&file).await?;
    shard.borrow_mut().metadata.position = position + size;
    Ok(())
}

/// Hands an image to every core and waits until all have opened their partitions.
pub async fn publish<D: Disk>(shard: &ShardRef<D>, image: Arc<MetadataImage>) {
    let replies = {
        let mut shard = shard.borrow_mut();
        let own = shard.core;
        let others = (0..shard.cores).map(CoreId).filter(|core| *core != own);
        let mut replies = Vec::new();
        for core in others {
            let (id, receiver) = shard.open_question();
            shard.send(core, ShardMessage::Image { id, image: Arc::clone(&image) });
            replies.push(receiver);
        }
        replies
    };
    recovery::apply_image(shard, image).await;
    for reply in join_all(replies).await {
        reply.expect("cores live and die together");
    }
}
