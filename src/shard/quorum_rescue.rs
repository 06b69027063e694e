//! The quorum's files while no broker runs: formatted to join, made the only voter, or forgotten.
//!
//! Why apart from `quorum_files`: nothing here happens by itself. An operator asks for it by name,
//! and two of the three give up a promise that the quorum made.
//!
//! Invariants
//! - Cut off between any two steps, a directory is as before, as after, or refuses the start.
//! - A recovery keeps every entry this broker holds, committed or not: what was acknowledged and is
//!   here stays acknowledged.

use crate::controller::image::MetadataImage;
use crate::controller::metadata_log;
use crate::controller::quorum::consensus::{Entry, LogBase, Payload};
use crate::controller::quorum::log;
use crate::controller::quorum::members::Members;
use crate::controller::quorum::snapshot::{Snapshot, image_bytes};
use crate::model::ids::BrokerId;
use crate::shard::quorum_files::{
    LOG, MetadataError, SNAPSHOT, STATE, index_of, newest, put, put_first, recover,
};
use crate::storage::disk::{Disk, DiskError, create_dir_durably};
use std::collections::BTreeSet;
use std::path::Path;

/// What a data directory knows of its quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescue {
    pub voters: BTreeSet<BrokerId>,
    pub term: u64,
    /// Up to here this broker knows that a majority has the entries.
    pub commit: u64,
    /// Up to here it has entries.
    pub last_index: u64,
    pub topics: usize,
    pub brokers: usize,
}

/// Lays an empty log down, so that the first start founds nothing and waits to be told.
///
/// # Errors
/// There is metadata already, or the disk fails.
pub async fn format<D: Disk>(disk: &D, dir: &Path) -> Result<(), MetadataError> {
    create_dir_durably(disk, dir).await?;
    let names = disk.list(dir).await?;
    let is_ours = |name: &str| name == log_0();
    if names.iter().any(|entry| !is_ours(&entry.name)) {
        return Err(MetadataError::NotEmpty { dir: dir.to_owned() });
    }
    Ok(put_empty_log(disk, dir).await?)
}

/// What a recovery from this directory would go on with. Changes nothing but a torn tail.
///
/// # Errors
/// There is no metadata, or it is damaged.
pub async fn inspect<D: Disk>(
    disk: &D,
    dir: &Path,
    blank: &MetadataImage,
) -> Result<Rescue, MetadataError> {
    Ok(read(disk, dir, blank).await?.0)
}

/// Makes `id` the only voter, with all that this directory holds. The voters of before are voters
/// no more; they are still registered as brokers.
///
/// # Errors
/// There is no metadata, it is damaged, or the disk fails.
pub async fn rescue<D: Disk>(
    disk: &D,
    dir: &Path,
    id: BrokerId,
    blank: &MetadataImage,
) -> Result<Rescue, MetadataError> {
    let (rescue, image) = read(disk, dir, blank).await?;
    // Above all that any voter of before may have seen in its own term, so that nothing follows on.
    let snapshot = Snapshot {
        index: rescue.last_index + 1,
        term: rescue.term + 1,
        members: Members::of_voters([id]),
        data: image_bytes(&image),
    };
    put_first(disk, dir, &snapshot).await?;
    Ok(rescue)
}

/// Removes all that this directory knows of its quorum, vote and all: its broker waits to be told.
/// Records stay.
///
/// # Errors
/// The disk fails; the start is refused until this has been carried to its end.
pub async fn forget<D: Disk>(disk: &D, dir: &Path) -> Result<(), MetadataError> {
    create_dir_durably(disk, dir).await?;
    // While the state is there, a log that ends below its commit is damage: it goes last.
    put_empty_log(disk, dir).await?;
    for prefix in [LOG, SNAPSHOT] {
        for entry in disk.list(dir).await? {
            if index_of(&entry.name, prefix).is_some_and(|_| entry.name != log_0()) {
                disk.remove(&dir.join(&entry.name)).await?;
            }
        }
        disk.sync_dir(dir).await?;
    }
    disk.remove(&dir.join(STATE)).await?;
    Ok(disk.sync_dir(dir).await?)
}

async fn read<D: Disk>(
    disk: &D,
    dir: &Path,
    blank: &MetadataImage,
) -> Result<(Rescue, MetadataImage), MetadataError> {
    let nothing = || MetadataError::NothingToRecover { dir: dir.to_owned() };
    create_dir_durably(disk, dir).await?;
    let has_files =
        newest(disk, dir, SNAPSHOT).await?.is_some() || newest(disk, dir, LOG).await?.is_some();
    if !has_files {
        return Err(nothing());
    }
    let (_, recovered) = recover(disk, dir).await?;
    let mut image = recovered.snapshot.image(blank)?;
    let mut members = recovered.snapshot.members.clone();
    let mut last_index = recovered.snapshot.index;
    for entry in recovered.entries.iter().filter(|entry| entry.index > last_index) {
        let applied = apply(&mut image, &mut members, entry);
        match applied {
            Ok(()) => {}
            Err(error) if entry.index <= recovered.state.commit => return Err(error),
            // What never was committed need not follow from what is.
            Err(_) => break,
        }
    }
    last_index = recovered.entries.last().map_or(last_index, |last| last.index.max(last_index));
    if last_index == 0 {
        return Err(nothing());
    }
    let rescue = Rescue {
        voters: members.voters,
        term: recovered.state.term,
        commit: recovered.state.commit,
        last_index,
        topics: image.topic_count(),
        brokers: image.brokers().count(),
    };
    Ok((rescue, image))
}

fn apply(
    image: &mut MetadataImage,
    members: &mut Members,
    entry: &Entry,
) -> Result<(), MetadataError> {
    match &entry.payload {
        Payload::Empty => {}
        Payload::Members(change) => members.apply(*change),
        Payload::Records(frame) => {
            let (frames, _) = metadata_log::decode_frames(frame)?;
            let mut next = image.clone();
            for record in frames.iter().flatten() {
                next.apply(record)?;
            }
            *image = next;
        }
    }
    Ok(())
}

fn log_0() -> String {
    format!("{LOG}{:020}", 0)
}

async fn put_empty_log<D: Disk>(disk: &D, dir: &Path) -> Result<(), DiskError> {
    let header = log::encode_header(LogBase::default());
    put(disk, dir, LOG, 0, header).await.map(drop)
}
