//! Sectors that a disk does not give back any more: reads that touch one fail (EIO), until its file
//! is removed or another one takes its place.
//!
//! What the broker is asked for is what is asked for rot: nobody is shown anything else, and the
//! replica leaves and is fetched anew. Where a start cannot do without the file it must say which
//! one; then whoever runs the broker puts in its place what can still be read, as docs/operate.md
//! says, and what is missing there is damage like any other.

use super::nemesis;
use super::rot::{self, Wound};
use super::world::World;
use highwater::model::ids::BrokerId;
use highwater::sim::cluster::NodeId;

/// Spoils a sector of a broker that does not run, if that harms nobody for good. True when it did.
pub(crate) fn spoil(world: &mut World, id: NodeId) -> bool {
    if !world.is_sound() || world.cluster.disk(id).is_failing() {
        return false;
    }
    let mut victims = rot::victims_on(world, id);
    if victims.is_empty() {
        return false;
    }
    let victim = victims.swap_remove(world.random.index(victims.len()));
    let Some(sector) = victim.sector(&mut world.random) else { return false };
    let mut wound = victim.wound(id, sector.start);
    world.cluster.disk(id).spoil_range(&wound.path, sector.clone());
    let is_probed = world.random.chance(60);
    wound.unreadable = Some(sector);
    rot::add(world, wound, is_probed);
    true
}

/// Puts what can be read in place of files that a broker does not open.
/// Those of a replica that stays closed, or of a broker whose directory went offline when it could
/// not go on without them, too, where nothing else will happen by itself.
pub(crate) fn copy_what_is_left(world: &mut World, id: NodeId, is_calm: bool) {
    let wounds: Vec<Wound> = world.harm.borrow().of(id);
    for wound in wounds {
        let disk = world.cluster.disk(id);
        let Some(sector) = wound.unreadable.clone().filter(|_| disk.is_spoilt(&wound.path)) else {
            continue;
        };
        let is_useless = world.cluster.failure(id).is_none() && nemesis::is_useless(world, id);
        let is_closed = is_calm && (is_useless || is_closed_for_good(world, &wound));
        if is_closed {
            world.cluster.kill(id, false);
        }
        if is_closed || is_named(world, &wound) {
            world.net.say(|| format!("copied what is left of {wound:?}"));
            let mut content = disk.content(&wound.path).expect("it is spoilt");
            content[sector].fill(0);
            disk.put(&wound.path, content);
        }
    }
}

/// The broker did not start, and said why.
fn is_named(world: &World, wound: &Wound) -> bool {
    let Some(failure) = world.cluster.failure(wound.node) else { return false };
    let name = wound.path.to_string_lossy();
    failure.contains(&*name) && failure.contains("code: 5")
}

/// The replica cannot be opened, and nobody else has what it takes to lead.
fn is_closed_for_good(world: &World, wound: &Wound) -> bool {
    let (Some(image), broker) = (world.newest_image(), BrokerId(wound.node)) else { return false };
    let Some(partition) = image.partition(&wound.id) else { return false };
    let core = partition.state.core_on(broker);
    let Some(core) = core.filter(|_| world.cluster.is_running(wound.node)) else { return false };
    let shard = world.cluster.core(wound.node, usize::from(core.0));
    let is_open = shard.borrow().partition_index(&wound.id).is_some();
    !is_open && partition.state.isr == [broker]
}
