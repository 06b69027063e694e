//! What goes wrong, when, and when it is mended.

use super::rot;
use super::swarm::Fault;
use super::world::World;
use super::{beside, unreadable};
use highwater::shard::shard::WriteState;
use highwater::sim::cluster::{NodeId, Weather};
use highwater::sim::disk::Faults;
use std::collections::BTreeMap;

/// Longest time that a broker stays away, in microseconds.
const AWAY_US_MAX: u64 = 1_500_000;
/// The same of one whose files are harmed meanwhile, which may take several lives.
const ROT_US_MAX: u64 = 400_000;
/// Longest time that a fault of the network or of time lasts, in microseconds.
const FAULT_US_MAX: u64 = 2_500_000;
/// How far a wall clock jumps at most, in milliseconds.
const JUMP_MS_MAX: u64 = 100_000;
/// Longest time that a disk fails, in microseconds.
const DISK_US_MAX: u64 = 400_000;

/// How often, and after how long, somebody looks whether brokers have started.
const ATTENDED: usize = 5;
const ATTEND_US: u64 = 400_000;

/// What ends a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    Start(NodeId),
    /// Start with an empty disk, where that harms nobody.
    Replace(NodeId),
    /// Start with what the disk has made of its files.
    Harm(NodeId, Fault),
    /// Die, for that to happen next time.
    Rot(NodeId, Fault),
    Resume(NodeId),
    Uncut(NodeId, NodeId),
    Hear(NodeId),
    MendDisk(NodeId),
}

/// Faults under way.
#[derive(Default)]
pub(crate) struct Nemesis {
    due: BTreeMap<(u64, u64), Undo>,
    count: u64,
}

impl Nemesis {
    /// Things go wrong for a while.
    pub(crate) fn trouble(&mut self, world: &mut World) {
        let end_us = world.now_us() + world.swarm.trouble_us;
        while world.now_us() < end_us {
            let pause_us = 1 + world.random.below(2 * world.swarm.interval_us);
            self.pass_us(world, pause_us);
            let fault = world.swarm.rates.pick(&mut world.random);
            self.strike(world, fault);
            self.replace_the_useless(world);
        }
    }

    fn pass_us(&mut self, world: &mut World, us: u64) {
        let end_us = world.now_us() + us;
        while world.now_us() < end_us {
            let next_us = self.due.keys().next().map_or(end_us, |(due_us, _)| *due_us);
            let until_us = next_us.min(end_us).max(world.now_us() + 1);
            world.run_us(until_us - world.now_us());
            let now_us = world.now_us();
            while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now_us) {
                let undo = entry.remove();
                self.mend(world, undo);
            }
        }
    }

    fn later(&mut self, world: &mut World, us_max: u64, undo: Undo) {
        self.count += 1;
        let due_us = world.now_us() + 1000 + world.random.below(us_max);
        self.due.insert((due_us, self.count), undo);
    }

    fn strike(&mut self, world: &mut World, fault: Fault) {
        let ids = world.cluster.ids();
        let id = ids[world.random.index(ids.len())];
        world.net.say(|| format!("{fault:?} {id}"));
        match fault {
            Fault::Kill => self.kill(world, id, false),
            Fault::PowerCut => self.kill(world, id, true),
            Fault::Dark => {
                for id in ids {
                    self.kill(world, id, true);
                }
            }
            Fault::Pause => {
                if world.cluster.is_running(id) {
                    world.cluster.set_paused(id, true);
                    self.later(world, FAULT_US_MAX, Undo::Resume(id));
                }
            }
            Fault::Cut => {
                let other = ids[world.random.index(ids.len())];
                self.cut(world, id, other);
            }
            Fault::Isolate => {
                for other in ids {
                    self.cut(world, id, other);
                    self.cut(world, other, id);
                }
                if world.random.chance(50) {
                    world.net.deaf.borrow_mut().insert(id);
                }
                if world.random.chance(50) {
                    world.net.mute.borrow_mut().insert(id);
                }
                self.later(world, FAULT_US_MAX, Undo::Hear(id));
            }
            Fault::Jump => {
                let ms = world.random.below(2 * JUMP_MS_MAX);
                let offset_ms = i64::try_from(ms).unwrap() - i64::try_from(JUMP_MS_MAX).unwrap();
                world.cluster.set_wall_offset_ms(id, offset_ms);
            }
            Fault::DiskErrors => {
                let (write_errors, sync_errors) =
                    (world.random.below(100), 1 + world.random.below(200));
                let faults = Faults { write_errors, sync_errors, ..Faults::default() };
                self.harm_disk(world, id, faults);
            }
            Fault::FullDisk => {
                let room_bytes = Some(world.random.below(100_000));
                self.harm_disk(world, id, Faults { room_bytes, ..Faults::default() });
            }
            Fault::Wipe => self.replace(world),
            fault => self.rot(world, id, fault),
        }
    }

    /// A broker dies, and its files are harmed before it is started anew.
    fn rot(&mut self, world: &mut World, id: NodeId, fault: Fault) {
        if world.cluster.is_running(id) {
            let is_power_cut = world.random.chance(50);
            world.cluster.kill(id, is_power_cut);
            self.later(world, ROT_US_MAX, Undo::Harm(id, fault));
        }
    }

    /// What a broker has is in its journal until it has died once: where nothing can be harmed yet,
    /// it dies again.
    fn harm_files(&mut self, world: &mut World, id: NodeId, fault: Fault) {
        if world.cluster.is_running(id) {
            return;
        }
        let is_harmed = match fault {
            Fault::BadSector => unreadable::spoil(world, id),
            Fault::RotIndex => beside::harm_index(world, id),
            Fault::RotMetadata => beside::harm_metadata(world, id),
            _ => rot::harm(world, id),
        };
        world.cluster.start(id);
        if !is_harmed {
            self.later(world, ROT_US_MAX, Undo::Rot(id, fault));
        }
    }

    fn harm_disk(&mut self, world: &mut World, id: NodeId, faults: Faults) {
        world.cluster.disk(id).set_faults(faults);
        self.later(world, DISK_US_MAX, Undo::MendDisk(id));
    }

    /// A broker without a vote dies, and comes back with another disk if nobody counts on this one
    /// by then. Voters keep theirs: a vote that is forgotten may be given twice.
    fn replace(&mut self, world: &mut World) {
        let (ids, voters) = (world.cluster.ids(), usize::from(world.swarm.voters));
        let id = ids[voters + world.random.index(ids.len() - voters)];
        if world.cluster.is_running(id) {
            world.cluster.kill(id, false);
            self.later(world, AWAY_US_MAX, Undo::Replace(id));
        }
    }

    /// What an operator does about brokers that say that their disk is offline: once the disk is
    /// in order again, they are started anew, and what was not synced may be gone.
    fn replace_the_useless(&mut self, world: &mut World) {
        for id in world.cluster.ids() {
            look_after_files(world, id, false);
            if !world.cluster.disk(id).is_failing() && is_useless(world, id) {
                self.kill(world, id, true);
            }
        }
    }

    fn kill(&mut self, world: &mut World, id: NodeId, is_power_cut: bool) {
        if world.cluster.is_running(id) || world.cluster.failure(id).is_some() {
            world.cluster.kill(id, is_power_cut);
            self.later(world, AWAY_US_MAX, Undo::Start(id));
        }
    }

    fn cut(&mut self, world: &mut World, from: NodeId, to: NodeId) {
        if from != to {
            world.cluster.set_weather(|weather| {
                weather.cuts.insert((from, to));
            });
            self.later(world, FAULT_US_MAX, Undo::Uncut(from, to));
        }
    }

    fn mend(&mut self, world: &mut World, undo: Undo) {
        world.net.say(|| format!("{undo:?}"));
        match undo {
            Undo::Start(id) => {
                if !world.cluster.is_running(id) {
                    world.cluster.start(id);
                }
            }
            Undo::Replace(id) => {
                if !world.cluster.is_running(id) {
                    if is_out_of_sync(world, id) && world.is_sound() {
                        world.net.say(|| format!("wiped {id}"));
                        world.cluster.wipe(id);
                    }
                    world.cluster.start(id);
                }
            }
            Undo::Harm(id, fault) => self.harm_files(world, id, fault),
            Undo::Rot(id, fault) => self.rot(world, id, fault),
            Undo::Resume(id) => world.cluster.set_paused(id, false),
            Undo::Uncut(from, to) => world.cluster.set_weather(|weather| {
                weather.cuts.remove(&(from, to));
            }),
            Undo::MendDisk(id) => world.cluster.disk(id).set_faults(world.swarm.usual_faults()),
            Undo::Hear(id) => {
                world.net.deaf.borrow_mut().remove(&id);
                world.net.mute.borrow_mut().remove(&id);
            }
        }
    }
}

/// Whether no partition counts on what a broker has: it is in no in-sync set, and will not be
/// before it is started again.
fn is_out_of_sync(world: &World, id: NodeId) -> bool {
    let Some(image) = world.decided_image() else { return false };
    image.topics().flat_map(|topic| topic.partitions()).all(|(_, partition)| {
        let state = &partition.state;
        state.isr.iter().chain(&state.elr).all(|member| member.0 != id)
    })
}

/// Ends all faults: everybody runs and hears everybody.
pub(crate) fn heal(world: &mut World) {
    world.net.say(|| "healed".to_owned());
    world.cluster.set_weather(|weather| *weather = Weather::default());
    world.net.calm();
    for id in world.cluster.ids() {
        world.cluster.disk(id).set_faults(world.swarm.usual_faults());
        world.cluster.set_paused(id, false);
        look_after_files(world, id, true);
        if is_useless(world, id) {
            world.cluster.kill(id, true);
        }
        if !world.cluster.is_running(id) {
            world.cluster.start(id);
        }
    }
}

/// Starts brokers anew that could not start before somebody had looked after their files.
pub(crate) fn attend(world: &mut World) {
    for _ in 0..ATTENDED {
        if !world.harm.borrow().may_keep_from_starting() {
            return;
        }
        world.run_us(ATTEND_US);
        for id in world.cluster.ids() {
            look_after_files(world, id, true);
            if world.cluster.failure(id).is_some() {
                world.cluster.kill(id, true);
            }
            if !world.cluster.is_running(id) {
                world.cluster.start(id);
            }
        }
    }
}

/// What an operator does about a broker that says which of its files it cannot do without.
fn look_after_files(world: &mut World, id: NodeId, is_calm: bool) {
    unreadable::copy_what_is_left(world, id, is_calm);
    beside::restore(world, id);
}

/// Whether a broker has given up its disk, or could not start on it.
pub(crate) fn is_useless(world: &World, id: NodeId) -> bool {
    if world.cluster.failure(id).is_some() {
        return true;
    }
    world.cluster.is_running(id) && {
        let shard = world.cluster.core(id, 0);
        let shard = shard.borrow();
        shard.write_state == WriteState::Offline
    }
}
