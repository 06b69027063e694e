//! After the trouble: in bounded time every partition is led and whole again, clients go on, and
//! every replica holds the same, which is judged against what clients were told.

use super::TXN_TOPIC;
use super::caller::Caller;
use super::coordinated::Coordinators;
use super::group::Group;
use super::history::Log;
use super::nemesis;
use super::offsets;
use super::reader;
use super::rot;
use super::transactional;
use super::world::World;
use bytes::Bytes;
use highwater::model::ids::{Offset, PartitionId, TopicId, TopicPartition};
use highwater::sim::cluster::NodeId;
use highwater::storage::partition_log::ReadPlan;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a healed cluster may take to be whole again, in simulated microseconds.
const REST_US_MAX: u64 = 30_000_000;
/// Acknowledgements that each producer must get after the trouble.
const PROGRESS: usize = 2;

/// Mends everything, waits until all is well, and judges what is there.
pub(crate) fn settle(world: &mut World) {
    nemesis::heal(world);
    nemesis::attend(world);
    let before = world.history.borrow().acks_of.clone();
    let is_whole = world.wait_us(REST_US_MAX, is_every_partition_whole);
    assert!(is_whole, "partitions stay apart: {:#?}", world.states());
    mend_what_disks_harmed(world);
    let is_going_on = world.wait_us(REST_US_MAX, |world| every_producer_goes_on(world, &before));
    assert!(is_going_on, "producers stand still: {before:?} {:#?}", world.states());
    let is_shared = world.wait_us(REST_US_MAX, |world| {
        world.group.as_ref().is_none_or(Group::members_finally_share_everything)
    });
    let members = world.group.as_ref().map(Group::describe);
    assert!(is_shared, "the group does not come to rest: {members:#?} {:#?}", world.states());
    world.net.end();
    let is_over = world.wait_us(REST_US_MAX, |world| world.net.busy.get() == 0);
    assert!(is_over, "clients come to an end: {:#?}", world.states());
    end_transactions(world);
    let is_still = world.wait_us(REST_US_MAX, is_every_replica_the_same);
    assert!(is_still, "replicas differ: {:#?}", world.states());
    judge(world);
    judge_transactions(world);
    judge_offsets(world);
    if let Some(judge) = world.group.as_ref().map(Group::judge) {
        finish(world, "what a group knows is told", judge);
    }
}

/// Damage that nobody reads is not found: somebody reads all of it.
fn mend_what_disks_harmed(world: &mut World) {
    rot::probe_all(world);
    let is_sound = world.wait_us(REST_US_MAX, World::is_sound);
    assert!(is_sound, "{:#?} is not mended: {:#?}", world.harm.borrow(), world.states());
    let is_whole = world.wait_us(REST_US_MAX, is_every_partition_whole);
    assert!(is_whole, "partitions stay apart: {:#?}", world.states());
}

/// Runs a client's task to its end, which must come in time.
fn finish<T: 'static>(world: &mut World, what: &str, task: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&result);
    world.net.handle.spawn(async move {
        let value = task.await;
        slot.replace(Some(value));
    });
    let is_done = world.wait_us(REST_US_MAX, |_| result.borrow().is_some());
    assert!(is_done, "{what}: {:#?}", world.states());
    result.take().expect("waited for")
}

/// Ends what transactional producers have begun, by taking their ids.
fn end_transactions(world: &mut World) {
    for number in 0..world.swarm.transformers {
        let net = world.net.clone();
        finish(world, "an id can be taken", async move {
            transactional::take_id(&net, number).await;
        });
    }
}

fn judge_transactions(world: &mut World) {
    if world.swarm.transformers == 0 {
        return;
    }
    let mut found = BTreeMap::new();
    for source in world.txn_sources() {
        let net = world.net.clone();
        let read = async move { reader::read_committed(&net, source).await };
        let seen = finish(world, "the last stable offset reaches the end", read);
        found.insert(source.partition, seen);
    }
    let net = world.net.clone();
    let partitions = i32::try_from(transactional::PRODUCERS_MAX).unwrap();
    let committed = finish(world, "positions are told", async move {
        let (mut caller, mut coordinators) = (Caller::new(&net), Coordinators::default());
        loop {
            let place = (TXN_TOPIC, partitions);
            let told = coordinators.committed(&mut caller, transactional::GROUP, place).await;
            if let Some(told) = told {
                return told;
            }
        }
    });
    let past = world.past.borrow();
    let there = past.check(&found);
    let committed: Vec<(i32, i64)> = committed.into_iter().collect();
    past.every_input_is_consumed_once(&there, &committed);
}

fn judge_offsets(world: &mut World) {
    if !world.swarm.has_committers {
        return;
    }
    let (net, place, register) = (world.net.clone(), world.place, Rc::clone(&world.register));
    finish(world, "committed offsets are told", async move {
        let (mut caller, mut coordinators) = (Caller::new(&net), Coordinators::default());
        while !offsets::look(&mut caller, &mut coordinators, place, &register).await {}
    });
}

/// Everybody knows the same, every partition is led, and every replica is in sync.
fn is_every_partition_whole(world: &World) -> bool {
    if !world.is_every_broker_active() {
        return false;
    }
    let image = world.newest_image().unwrap();
    image.topics().flat_map(|topic| topic.partitions()).all(|(_, partition)| {
        let state = &partition.state;
        state.leader.is_some() && state.isr.len() == state.replicas.len()
    })
}

fn every_producer_goes_on(world: &World, before: &BTreeMap<usize, usize>) -> bool {
    let history = world.history.borrow();
    (0..world.swarm.producers).all(|number| {
        let then = before.get(&number).copied().unwrap_or(0);
        history.acks_of.get(&number).is_some_and(|now| *now >= then + PROGRESS)
    })
}

/// The replicas of a partition, where it is open.
fn ends(world: &World, id: TopicPartition) -> Option<Vec<(NodeId, Offset, Offset, Offset)>> {
    let image = world.newest_image()?;
    let replicas = image.partition(&id)?.state.replicas.clone();
    let ends = replicas.into_iter().map(|replica| {
        if !world.cluster.is_running(replica.broker.0) {
            return None;
        }
        let shard = world.cluster.core(replica.broker.0, usize::from(replica.core.0));
        let shard = shard.borrow();
        let partition = &shard.partitions[shard.partition_index(&id)?];
        let log = &partition.log;
        let ends = (log.log_end(), partition.safe_end(), partition.high_watermark());
        Some((replica.broker.0, ends.0, ends.1, ends.2))
    });
    ends.collect()
}

/// Every replica of every partition is open, and has all that any of them has, safe.
fn is_every_replica_the_same(world: &World) -> bool {
    let Some(image) = world.newest_image() else { return false };
    image.topics().flat_map(|topic| topic.partitions()).all(|(id, _)| {
        ends(world, id).is_some_and(|ends| {
            let (_, end, ..) = ends[0];
            ends.iter().all(|own| (own.1, own.2, own.3) == (end, end, end))
        })
    })
}

fn judge(world: &mut World) {
    for partition in 0..world.place.partitions {
        let id =
            TopicPartition { topic: TopicId(world.place.topic), partition: PartitionId(partition) };
        let replicas: Vec<NodeId> = ends(world, id).unwrap().iter().map(|own| own.0).collect();
        let contents: Vec<Bytes> = replicas.iter().map(|node| content(world, *node, id)).collect();
        replicas_agree_byte_for_byte(id, &contents);
        for bytes in contents {
            let found: Log = reader::values_of(bytes);
            world.history.borrow().check(partition, &found);
        }
    }
}

fn replicas_agree_byte_for_byte(id: TopicPartition, contents: &[Bytes]) {
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "replicas of {id} differ");
}

/// All batches of one replica.
fn content(world: &mut World, node: NodeId, id: TopicPartition) -> Bytes {
    let image = world.newest_image().unwrap();
    let core = image.partition(&id).unwrap().state.core_on(highwater::model::ids::BrokerId(node));
    let shard = world.cluster.core(node, usize::from(core.unwrap().0));
    world.cluster.executor.run_until(async move {
        let mut all = Vec::new();
        let mut from = Offset::ZERO;
        loop {
            let (plan, disk) = {
                let shard = shard.borrow();
                let partition = &shard.partitions[shard.partition_index(&id).unwrap()];
                let end = partition.high_watermark();
                (partition.log.read(from, 1 << 20, end, true), shard.disk.clone())
            };
            let bytes = match plan {
                ReadPlan::Memory(parts) => Bytes::from(parts.concat()),
                ReadPlan::File(plan) => plan.execute_in_memory(&disk).await.unwrap(),
                ReadPlan::Empty => return Bytes::from(all),
                ReadPlan::OutOfRange => panic!("{from} of {id} is not at broker {node}"),
            };
            let mut rest = bytes.clone();
            while !rest.is_empty() {
                let batch = highwater::protocol::record_batch::CheckedBatch::check_first(&mut rest);
                from = Offset::from_wire(batch.unwrap().header().last_offset() + 1).unwrap();
            }
            all.extend_from_slice(&bytes);
        }
    })
}
