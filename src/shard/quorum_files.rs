//! The quorum's files of one broker: found at the start, written step by step.
//!
//! ```text
//! metadata/state              term, vote, commit        (controller/quorum/state.rs)
//! metadata/snapshot-<index>   all metadata up to there  (controller/quorum/snapshot.rs)
//! metadata/log-<index>        what came after an entry  (controller/quorum/log.rs)
//! metadata/metadata.log       of a version before the quorum: taken over once, then removed
//! ```
//!
//! Invariants
//! - Files are looked at as a whole before any is changed; damage changes none.
//! - An older snapshot or log goes only when the newer one and its name are durable.

use crate::controller::image::{ApplyError, MetadataImage};
use crate::controller::metadata_log::{self, MetadataLogError};
use crate::controller::quorum::consensus::{Consensus, Entry, Payload, Ready};
use crate::controller::quorum::files::{FileStep, Files, FilesError, Recovered};
use crate::controller::quorum::members::Members;
use crate::controller::quorum::raft::{RaftConsensus, Start};
use crate::controller::quorum::snapshot::{Snapshot, SnapshotError, image_bytes};
use crate::controller::quorum::state::{self, STATE_BYTES};
use crate::controller::records::MetadataRecord;
use crate::model::cluster_config::ClusterConfig;
use crate::model::ids::BrokerId;
use crate::storage::disk::{Disk, DiskError, OpenMode, create_dir_durably};
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const OLD_LOG: &str = "metadata.log";
pub(super) const STATE: &str = "state";
pub(super) const SNAPSHOT: &str = "snapshot-";
pub(super) const LOG: &str = "log-";
const ASIDE: &str = ".new";

/// Term of the first snapshot of a quorum of several.
const FOUNDED_TOGETHER_TERM: u64 = 1;
/// Term of the first snapshot of a lone broker.
const FOUNDED_ALONE_TERM: u64 = 2;

/// Why metadata cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{}: see E0011", .path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: FilesError,
    },
    #[error(transparent)]
    DamagedOldLog(#[from] MetadataLogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{} of {size} bytes is larger than memory can address", .path.display())]
    TooLarge { path: PathBuf, size: u64 },
    #[error(
        "this data directory holds the metadata of broker {id} alone, and controller.quorum.voters \
         names others too: start it without that key, or with an empty data directory"
    )]
    OwnCluster { id: i32 },
    #[error(
        "this data directory was formatted to join a cluster, and no key says where it is: set \
         controller.quorum.bootstrap.servers"
    )]
    NoCluster,
    #[error("{} holds no metadata: there is nothing to recover from", .dir.display())]
    NothingToRecover { dir: PathBuf },
    #[error("{} holds metadata already", .dir.display())]
    NotEmpty { dir: PathBuf },
}

/// Who this broker is to its quorum.
pub struct Identity<'a> {
    pub id: BrokerId,
    pub directory: Uuid,
    pub cluster: &'a ClusterConfig,
    /// Decides election timeouts.
    pub seed: u64,
}

/// What the log adds up to, as far as it has been applied.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub index: u64,
    pub term: u64,
    pub members: Members,
}

/// Open files and a member that goes on from them.
pub struct Loaded<D: Disk> {
    pub image: MetadataImage,
    /// With what may be committed too, but for removals: no journal may lose what belongs to a
    /// topic that is there after all.
    pub widest: MetadataImage,
    pub applied: Applied,
    pub snapshot_index: u64,
    pub snapshot_members: Members,
    pub consensus: RaftConsensus,
    pub files: OpenFiles<D>,
    pub plan: Files,
    /// Collected while what is committed was applied; still to be made durable.
    pub readies: Vec<Ready>,
}

/// The files that are written in place.
pub struct OpenFiles<D: Disk> {
    dir: PathBuf,
    log: D::File,
    state: D::File,
}

impl<D: Disk> Clone for OpenFiles<D> {
    fn clone(&self) -> OpenFiles<D> {
        OpenFiles { dir: self.dir.clone(), log: self.log.clone(), state: self.state.clone() }
    }
}

/// Opens the quorum's files under `dir`, makes them where there are none, and applies to `blank`
/// what is known to be committed.
///
/// # Errors
/// A file cannot be read or is damaged: what was promised is not known, and nothing is changed.
pub async fn load<D: Disk>(
    disk: &D,
    dir: &Path,
    identity: &Identity<'_>,
    blank: &MetadataImage,
) -> Result<Loaded<D>, MetadataError> {
    create_dir_durably(disk, dir).await?;
    if newest(disk, dir, SNAPSHOT).await?.is_none() && newest(disk, dir, LOG).await?.is_none() {
        found(disk, dir, identity, blank).await?;
    }
    let (files, recovered) = recover(disk, dir).await?;
    clear(disk, dir).await?;
    let mut image = recovered.snapshot.image(blank)?;
    check_members(&recovered, &image, identity)?;
    let mut applied = Applied {
        index: recovered.snapshot.index,
        term: recovered.snapshot.term,
        members: recovered.snapshot.members.clone(),
    };
    let snapshot_index = applied.index;
    let snapshot_members = applied.members.clone();
    let commit = recovered.state.commit;
    let open_end: Vec<Entry> =
        recovered.entries.iter().filter(|entry| entry.index > commit).cloned().collect();
    let mut consensus = RaftConsensus::new(Start {
        id: identity.id,
        directory: identity.directory,
        state: recovered.state,
        snapshot: recovered.snapshot,
        base: recovered.base,
        entries: recovered.entries,
        seed: identity.seed,
    });
    let mut readies = Vec::new();
    while let Some(mut ready) = consensus.ready() {
        for entry in std::mem::take(&mut ready.committed) {
            apply(&mut image, &mut applied, &entry)?;
        }
        readies.push(ready);
    }
    let widest = widen(&image, &open_end);
    let plan = recovered.files;
    let loaded = Loaded {
        image,
        widest,
        applied,
        snapshot_index,
        snapshot_members,
        consensus,
        files,
        plan,
        readies,
    };
    Ok(loaded)
}

/// The image with entries that are not known to be committed, as far as they follow from it.
fn widen(image: &MetadataImage, entries: &[Entry]) -> MetadataImage {
    let mut widest = MetadataImage::clone(image);
    for entry in entries {
        let Payload::Records(frame) = &entry.payload else { continue };
        let Ok((frames, _)) = metadata_log::decode_frames(frame) else { continue };
        for record in frames.iter().flatten() {
            if !matches!(record, MetadataRecord::RemoveTopic { .. }) {
                // What does not follow without the removals does not make topics either.
                let _ = widest.apply(record);
            }
        }
    }
    widest
}

/// Applies one committed entry.
pub fn apply(
    image: &mut MetadataImage,
    applied: &mut Applied,
    entry: &Entry,
) -> Result<(), MetadataError> {
    assert!(entry.index == applied.index + 1, "committed entries come in order, each once");
    match &entry.payload {
        Payload::Empty => {}
        Payload::Members(change) => applied.members.apply(*change),
        Payload::Records(frame) => {
            let (frames, _) = metadata_log::decode_frames(frame)?;
            for record in frames.iter().flatten() {
                image.apply(record)?;
            }
        }
    }
    applied.index = entry.index;
    applied.term = entry.term;
    Ok(())
}

impl<D: Disk> OpenFiles<D> {
    /// Carries out steps in their order. What is left of them after an error begins with the one
    /// that failed, which may be tried again.
    pub async fn run(&mut self, disk: &D, steps: &mut VecDeque<FileStep>) -> Result<(), DiskError> {
        while let Some(step) = steps.front().cloned() {
            self.run_one(disk, step).await?;
            steps.pop_front();
        }
        Ok(())
    }

    async fn run_one(&mut self, disk: &D, step: FileStep) -> Result<(), DiskError> {
        match step {
            FileStep::WriteLog { position, parts } => {
                disk.write_at(&self.log, position, parts).await
            }
            FileStep::CutLog { len } => disk.truncate(&self.log, len).await,
            FileStep::SyncLog => disk.sync(&self.log).await,
            FileStep::WriteState { position, bytes } => {
                disk.write_at(&self.state, position, vec![bytes]).await
            }
            FileStep::SyncState => disk.sync(&self.state).await,
            FileStep::PutSnapshot { index, bytes } => {
                put(disk, &self.dir, SNAPSHOT, index, bytes).await.map(drop)
            }
            FileStep::ReplaceLog { base, bytes } => {
                self.log = put(disk, &self.dir, LOG, base, bytes).await?;
                Ok(())
            }
        }
    }
}

/// Writes the snapshot that a quorum begins with, and an empty log behind it.
pub(super) async fn put_first<D: Disk>(
    disk: &D,
    dir: &Path,
    snapshot: &Snapshot,
) -> Result<(), MetadataError> {
    for step in Files::format(snapshot) {
        match step {
            FileStep::PutSnapshot { index, bytes } => {
                put(disk, dir, SNAPSHOT, index, bytes).await?;
            }
            FileStep::ReplaceLog { base, bytes } => {
                put(disk, dir, LOG, base, bytes).await?;
            }
            FileStep::WriteLog { .. }
            | FileStep::CutLog { .. }
            | FileStep::SyncLog
            | FileStep::WriteState { .. }
            | FileStep::SyncState => unreachable!("a first snapshot needs no more"),
        }
    }
    Ok(())
}

/// Writes a file aside, gives it its name, and removes those that it replaces.
pub(super) async fn put<D: Disk>(
    disk: &D,
    dir: &Path,
    prefix: &str,
    index: u64,
    bytes: Bytes,
) -> Result<D::File, DiskError> {
    let path = dir.join(name(prefix, index));
    let aside = dir.join(format!("{prefix}{index:020}{ASIDE}"));
    disk.remove(&aside).await?;
    let file = disk.open(&aside, OpenMode::CreateNew).await?;
    disk.write_at(&file, 0, vec![bytes]).await?;
    disk.sync(&file).await?;
    drop(file);
    disk.rename(&aside, &path).await?;
    disk.sync_dir(dir).await?;
    for entry in disk.list(dir).await? {
        if index_of(&entry.name, prefix).is_some_and(|older| older < index) {
            disk.remove(&dir.join(&entry.name)).await?;
        }
    }
    disk.open(&path, OpenMode::ReadWrite).await
}

fn name(prefix: &str, index: u64) -> String {
    format!("{prefix}{index:020}")
}

pub(super) fn index_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}

pub(super) async fn newest<D: Disk>(
    disk: &D,
    dir: &Path,
    prefix: &str,
) -> Result<Option<u64>, DiskError> {
    let names = disk.list(dir).await?;
    Ok(names.iter().filter_map(|entry| index_of(&entry.name, prefix)).max())
}

/// The first files of a broker: of a new quorum, of one that it will be told of, or of the log that
/// a version before the quorum wrote.
async fn found<D: Disk>(
    disk: &D,
    dir: &Path,
    identity: &Identity<'_>,
    blank: &MetadataImage,
) -> Result<(), MetadataError> {
    let (id, cluster) = (identity.id, identity.cluster);
    let is_alone = cluster.is_alone(id);
    refuse_lost_files(disk, dir).await?;
    let old = old_log(disk, dir, blank).await?;
    if old.is_some() && !is_alone {
        return Err(MetadataError::OwnCluster { id: id.0 });
    }
    let members = match is_alone {
        true => Members::of_voters([id]),
        false if cluster.is_voter(id) => {
            Members::of_voters(cluster.voters.iter().map(|voter| voter.id))
        }
        // It has no say until it is told of the members by their leader.
        false => return Ok(()),
    };
    let data = old.as_ref().map(image_bytes).unwrap_or_default();
    // Not at 0: whoever joins later has nothing, and must see that it lacks this. And not at a term
    // that several found together: what one alone has founded is only its own.
    let term = if is_alone { FOUNDED_ALONE_TERM } else { FOUNDED_TOGETHER_TERM };
    let snapshot = Snapshot { index: 1, term, members, data };
    put_first(disk, dir, &snapshot).await?;
    if old.is_some() {
        tracing::info!("metadata.log has become the first snapshot of the metadata quorum");
    }
    Ok(())
}

/// A vote without log and snapshot: they were removed, and this is no new quorum.
async fn refuse_lost_files<D: Disk>(disk: &D, dir: &Path) -> Result<(), MetadataError> {
    let names = disk.list(dir).await?;
    if !names.iter().any(|entry| entry.name == STATE) {
        return Ok(());
    }
    let path = dir.join(STATE);
    let bytes = read_all(disk, &path).await?;
    match state::decode(&bytes) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            let source = FilesError::NoSnapshot { base: 0 };
            Err(MetadataError::Damaged { path: dir.to_owned(), source })
        }
        Err(error) => Err(MetadataError::Damaged { path, source: error.into() }),
    }
}

async fn old_log<D: Disk>(
    disk: &D,
    dir: &Path,
    blank: &MetadataImage,
) -> Result<Option<MetadataImage>, MetadataError> {
    let names = disk.list(dir).await?;
    if !names.iter().any(|entry| entry.name == OLD_LOG) {
        return Ok(None);
    }
    let content = read_all(disk, &dir.join(OLD_LOG)).await?;
    let (frames, len) = metadata_log::decode_frames(&content)?;
    if len < content.len() {
        tracing::warn!(bytes = content.len() - len, "metadata.log: torn tail left behind");
    }
    let mut image = MetadataImage::clone(blank);
    for record in frames.iter().flatten() {
        image.apply(record)?;
    }
    Ok(Some(image))
}

pub(super) async fn recover<D: Disk>(
    disk: &D,
    dir: &Path,
) -> Result<(OpenFiles<D>, Recovered), MetadataError> {
    let mut contents = [None, None];
    let mut log_path = dir.to_owned();
    for (content, prefix) in contents.iter_mut().zip([SNAPSHOT, LOG]) {
        if let Some(index) = newest(disk, dir, prefix).await? {
            log_path = dir.join(name(prefix, index));
            *content = Some(read_all(disk, &log_path).await?);
        }
    }
    let state_path = dir.join(STATE);
    let state = disk.open(&state_path, OpenMode::ReadWrite).await?;
    disk.sync_dir(dir).await?;
    let state_bytes = disk.read_at(&state, 0, STATE_BYTES).await?;
    let [snapshot, log] = &contents;
    let damaged = |source| {
        let path = match &source {
            FilesError::State(_) => state_path.clone(),
            FilesError::Log(_) => log_path.clone(),
            FilesError::Snapshot(_) | FilesError::NoSnapshot { .. } => dir.to_owned(),
        };
        MetadataError::Damaged { path, source }
    };
    let recovered = Files::recover(snapshot.as_deref(), log.as_deref(), &state_bytes);
    let mut recovered = recovered.map_err(damaged)?;
    let log = match log {
        Some(_) => disk.open(&log_path, OpenMode::ReadWrite).await?,
        // The repairs below put the log in its place.
        None => state.clone(),
    };
    let mut files = OpenFiles { dir: dir.to_owned(), log, state };
    let repairs = std::mem::take(&mut recovered.repairs);
    if repairs.iter().any(|step| matches!(step, FileStep::CutLog { .. })) {
        tracing::warn!(path = %log_path.display(), "torn tail cut");
    }
    files.run(disk, &mut repairs.into()).await?;
    Ok((files, recovered))
}

/// Removes what a start that died has left behind, and the log that has been taken over.
async fn clear<D: Disk>(disk: &D, dir: &Path) -> Result<(), DiskError> {
    for entry in disk.list(dir).await? {
        if entry.name == OLD_LOG || entry.name.ends_with(ASIDE) {
            disk.remove(&dir.join(&entry.name)).await?;
        }
    }
    Ok(())
}

fn check_members(
    recovered: &Recovered,
    image: &MetadataImage,
    identity: &Identity<'_>,
) -> Result<(), MetadataError> {
    let (id, cluster) = (identity.id, identity.cluster);
    let members = &recovered.snapshot.members;
    let is_blank = members.voters.is_empty() && recovered.entries.is_empty();
    if is_blank && cluster.is_alone(id) {
        return Err(MetadataError::NoCluster);
    }
    let configured = Members::of_voters(cluster.voters.iter().map(|voter| voter.id));
    if configured.voters.is_empty() || members.voters.is_empty() {
        return Ok(());
    }
    if configured.voters == members.voters {
        return Ok(());
    }
    let has_others = image.nodes().any(|node| node.id() != id);
    if *members == Members::of_voters([id]) && !has_others {
        return Err(MetadataError::OwnCluster { id: id.0 });
    }
    let (stored, wanted) = (&members.voters, &configured.voters);
    tracing::info!(?stored, ?wanted, "the quorum's own voters count, not controller.quorum.voters");
    Ok(())
}

pub(super) async fn read_all<D: Disk>(disk: &D, path: &Path) -> Result<Bytes, MetadataError> {
    let file = disk.open(path, OpenMode::Read).await?;
    let size = disk.size(&file).await?;
    let too_large = |_| MetadataError::TooLarge { path: path.to_owned(), size };
    let len = usize::try_from(size).map_err(too_large)?;
    Ok(disk.read_at(&file, 0, len).await?)
}
