//! What must hold after every step of the model, whatever was lost or late.

use super::cluster::{BROKERS, Fault, Role, World};

const STEPS: usize = 2500;
const SEEDS: u64 = 400;

/// All that is checked after every step.
pub(super) fn check(world: &mut World) -> Result<(), String> {
    what_one_replica_shows_is_what_all_show(world)?;
    what_is_committed_is_durable_on_every_in_sync_replica(world)?;
    what_was_acknowledged_is_committed_where_it_was_said(world)?;
    one_leader_per_epoch(world)?;
    equal_epochs_at_an_offset_mean_equal_logs_up_to_there(world)
}

/// Consumers of any replica, at any time, see the same records below the high watermark.
fn what_one_replica_shows_is_what_all_show(world: &mut World) -> Result<(), String> {
    for broker in 0..BROKERS {
        let at = &world.brokers[broker];
        let shown = at.high_watermark().min(at.log.len());
        for offset in 0..shown {
            match world.committed.get(offset) {
                Some(known) if *known == at.log[offset] => {}
                Some(known) => {
                    let shown = at.log[offset];
                    return Err(format!("{broker} shows {shown:?} at {offset}, was {known:?}"));
                }
                None => world.committed.push(at.log[offset]),
            }
        }
    }
    Ok(())
}

fn what_is_committed_is_durable_on_every_in_sync_replica(world: &World) -> Result<(), String> {
    for broker in &world.metadata().isr {
        let at = &world.brokers[*broker];
        let durable = &at.log[..at.durable];
        if !durable.starts_with(&world.committed) {
            let (has, committed) = (durable.len(), world.committed.len());
            return Err(format!(
                "{broker} is in sync with {has} of {committed} committed, or others"
            ));
        }
    }
    Ok(())
}

fn what_was_acknowledged_is_committed_where_it_was_said(world: &World) -> Result<(), String> {
    for (offset, value) in &world.acked {
        let found = world.committed.get(*offset).map(|record| record.value);
        if found != Some(*value) {
            return Err(format!("{value} was acknowledged at {offset}, where {found:?} is"));
        }
    }
    Ok(())
}

fn one_leader_per_epoch(world: &World) -> Result<(), String> {
    let mut epochs = Vec::new();
    for broker in &world.brokers {
        if let Role::Leader(leader) = &broker.role {
            if epochs.contains(&leader.epoch()) {
                return Err(format!("two leaders in {:?}", leader.epoch()));
            }
            epochs.push(leader.epoch());
        }
    }
    Ok(())
}

fn equal_epochs_at_an_offset_mean_equal_logs_up_to_there(world: &World) -> Result<(), String> {
    for first in 0..BROKERS {
        for second in first + 1..BROKERS {
            let (a, b) = (&world.brokers[first].log, &world.brokers[second].log);
            let both = a.len().min(b.len());
            let last_equal = (0..both).rev().find(|at| a[*at].epoch == b[*at].epoch);
            let same = last_equal.map_or(0, |at| at + 1);
            if a[..same] != b[..same] {
                return Err(format!(
                    "{first} and {second} agree on an epoch, not on what is below"
                ));
            }
        }
    }
    Ok(())
}

/// All replicas alike, in sync, durable and committed.
pub(super) fn has_converged(world: &World) -> bool {
    let log = &world.brokers[0].log;
    let is_same = |broker: &super::cluster::Broker| {
        broker.log == *log && broker.durable == log.len() && broker.high_watermark() == log.len()
    };
    world.metadata().isr.len() == BROKERS && world.brokers.iter().all(is_same)
}

/// One seed: faults for a while, then none until everything is well again.
fn run(seed: u64, fault: Fault) -> Result<World, String> {
    let mut world = World::new(seed, fault);
    for step in 0..STEPS {
        world.step().map_err(|error| format!("step {step}: {error}"))?;
    }
    match world.heal()? {
        true => Ok(world),
        false => Err("the replicas do not become the same".to_owned()),
    }
}

#[test]
fn acknowledged_records_survive_losses_crashes_and_elections() {
    let (mut acked, mut leaders, mut isr_changes) = (0, 0, 0);
    for seed in 0..SEEDS {
        let world = run(seed, Fault::None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        acked += world.acked.len();
        leaders += world.metadata().leader_epoch;
        let pairs = world.history.windows(2);
        isr_changes += pairs.filter(|pair| pair[0].isr.len() != pair[1].isr.len()).count();
    }
    // The seeds do what they are meant to do.
    assert!(acked > 4000, "{acked} acknowledged");
    assert!(leaders > 1200, "{leaders} leaders");
    assert!(isr_changes > 2000, "{isr_changes} changes of the in-sync replicas");
}

#[test]
fn each_planted_fault_is_found() {
    // The first one takes two leaders at once and a link that stalls just then.
    let faults = [
        (Fault::SkipEpochCheck, 1700),
        (Fault::AcknowledgeBeforeSync, 0),
        (Fault::ElectOutsideIsr, 0),
        (Fault::DropTruncation, 0),
    ];
    for (fault, first_seed) in faults {
        let is_found =
            |seed: u64| std::panic::catch_unwind(|| run(seed, fault).is_err()).unwrap_or(true);
        let is_any = (first_seed..first_seed + SEEDS).any(is_found);
        assert!(is_any, "{fault:?} is not found");
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..5 {
        let [first, second] = [0, 1].map(|_| run(seed, Fault::None).unwrap());
        assert_eq!(first.acked, second.acked);
        assert_eq!(first.committed, second.committed);
        assert_eq!(first.history.len(), second.history.len());
    }
}
