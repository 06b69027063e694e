//! What a disk does to files that stand beside the records: indexes, and the files of the metadata
//! quorum.
//!
//! - An index only says where to begin looking. Whatever it says, every record is found.
//! - The quorum's files hold what nobody else can say: what this broker has promised. Damage to
//!   that keeps the broker from starting, by name, and its folder is restored from a backup
//!   (E0011). Two kinds pass for what a power cut leaves, and are not done to a broker: in the log
//!   behind all that it knows to be committed, and in the newer slot of its vote.

use super::world::World;
use highwater::controller::quorum::files::{Files, Recovered};
use highwater::sim::cluster::NodeId;
use highwater::sim::random::Random;
use std::path::PathBuf;

/// Bytes that a disk loses as one piece.
const SECTOR_BYTES: usize = 512;
const METADATA_DIR: &str = "/data/metadata";

/// The metadata files of one broker, as they were before one of them was harmed.
#[derive(Debug)]
pub(crate) struct Backup {
    node: NodeId,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// What is damaged was promised.
    must_refuse: bool,
}

/// Harms indexes of a broker that does not run. True when it did.
pub(crate) fn harm_index(world: &mut World, id: NodeId) -> bool {
    if !world.is_sound() {
        return false;
    }
    let mut files =
        paths(world, id, |name| name.ends_with(".index") || name.ends_with(".timeindex"));
    files.retain(|path| path.starts_with("/data/topics"));
    let mut is_harmed = false;
    for path in files {
        let content = world.cluster.disk(id).content(&path).expect("it was listed");
        if content.is_empty() || world.random.chance(50) {
            continue;
        }
        let harmed = harmed(content, &mut world.random);
        world.net.say(|| format!("harmed {}", path.display()));
        world.cluster.disk(id).put(&path, harmed);
        world.harm.borrow_mut().count += 1;
        is_harmed = true;
    }
    is_harmed
}

/// Harms one metadata file of a broker that does not run, where that is not what a power cut may
/// leave. True when it did.
pub(crate) fn harm_metadata(world: &mut World, id: NodeId) -> bool {
    if !world.is_sound() {
        return false;
    }
    let files = metadata(world, id);
    let Ok(before) = recovered(&files) else { return false };
    let index = world.random.index(files.len());
    let mut after = files.clone();
    after[index].1 = harmed(after[index].1.clone(), &mut world.random);
    let found = recovered(&after);
    let must_refuse = found.is_err();
    let is_all_there =
        found.is_ok_and(|found| found.state == before.state && found.entries == before.entries);
    if after == files || !(must_refuse || is_all_there) {
        return false;
    }
    let (path, content) = after.swap_remove(index);
    world.net.say(|| format!("harmed {} of {id}", path.display()));
    world.cluster.disk(id).note_loss();
    world.cluster.disk(id).put(&path, content);
    let mut harm = world.harm.borrow_mut();
    harm.count += 1;
    harm.backup = Some(Backup { node: id, files, must_refuse });
    true
}

/// Restores the metadata of a broker that has refused to start for it.
pub(crate) fn restore(world: &World, id: NodeId) {
    let is_refused = |failure: String| failure.contains("Metadata(Damaged");
    if !world.cluster.failure(id).is_some_and(is_refused) {
        return;
    }
    let backup = world.harm.borrow_mut().backup.take_if(|backup| backup.node == id);
    // Restored already, and not yet started again.
    let Some(backup) = backup else { return };
    world.net.say(|| format!("restored the metadata of {id}"));
    for (path, content) in backup.files {
        world.cluster.disk(id).put(&path, content);
    }
}

/// Whether a broker has read the metadata that was harmed, and could do without.
pub(crate) fn has_started(world: &World, backup: &Backup) -> bool {
    let is_running = world.cluster.is_running(backup.node);
    let has_read = is_running && world.cluster.core(backup.node, 0).borrow().image.end() > 0;
    assert!(!(has_read && backup.must_refuse), "{} starts on damaged metadata", backup.node);
    has_read
}

fn paths(world: &World, id: NodeId, is_it: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let paths = world.cluster.disk(id).paths().into_iter();
    paths.filter(|path| is_it(&path.to_string_lossy())).collect()
}

/// Newest snapshot, newest log, and state.
fn metadata(world: &World, id: NodeId) -> Vec<(PathBuf, Vec<u8>)> {
    let newest = |kind: &str| {
        let prefix = format!("{METADATA_DIR}/{kind}");
        paths(world, id, |name| name.starts_with(&prefix) && !name.contains("tmp")).pop()
    };
    let files = ["snapshot-", "log-", "state"].into_iter().filter_map(newest);
    let content = |path: PathBuf| {
        let content = world.cluster.disk(id).content(&path).expect("it was listed");
        (path, content)
    };
    files.map(content).collect()
}

fn recovered(files: &[(PathBuf, Vec<u8>)]) -> Result<Recovered, String> {
    let of = |kind: &str| {
        let is_it = |path: &PathBuf| path.to_string_lossy().contains(kind);
        files.iter().find(|(path, _)| is_it(path)).map(|(_, content)| &content[..])
    };
    let state = of("/state").unwrap_or_default();
    Files::recover(of("/snapshot-"), of("/log-"), state).map_err(|error| error.to_string())
}

/// A bit that flipped, or a sector that is lost.
fn harmed(mut content: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if content.is_empty() {
        return content;
    }
    let place = random.index(content.len());
    if random.chance(50) {
        content[place] ^= 1 << random.below(8);
    } else {
        let start = place / SECTOR_BYTES * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(content.len());
        content[start..end].fill(0);
    }
    content
}
