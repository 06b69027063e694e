//! What leaders of this core send to their followers: batches, as soon as they are in memory.
//!
//! A follower's copy is made while ours is being written, so that an acknowledgement by all takes
//! the longer of the two and not their sum. What followers have not taken is read again from the
//! tail, or from a segment when they are far behind; how much is under way to each is bounded by
//! the replica.

use crate::model::ids::{Offset, TopicPartition};
use crate::protocol::part::Part;
use crate::protocol::peer::PeerKind;
use crate::replication::leader::{PushFailure, PushOrder};
use crate::replication::messages::{Body, push_header};
use crate::shard::reads::end_of;
use crate::shard::replicas::Role;
use crate::shard::shard::{PartitionIndex, Shard, ShardRef};
use crate::storage::disk::Disk;
use crate::storage::partition_log::{FileRead, ReadPlan};
use bytes::Bytes;

/// What became of one order.
enum Pushed<D: Disk> {
    Sent,
    /// The connection takes no more: the next tick tries again.
    NoRoom,
    OnDisk(PushOrder, Box<FileRead<D>>),
}

impl<D: Disk> Shard<D> {
    /// Has the push loop look at a partition led here.
    pub(super) fn queue_push(&mut self, index: PartitionIndex) {
        let partition = &mut self.partitions[index];
        let Role::Leader(leader) = &partition.role else { return };
        if !leader.is_alone() && !partition.is_push_due {
            partition.is_push_due = true;
            self.replicas.queue.push(index);
            self.signals.push.raise();
        }
    }

    fn push_next(&mut self, index: PartitionIndex) -> Option<Pushed<D>> {
        let id = self.partitions.get(index)?.id;
        let allowance = self.push_allowance(&id);
        let partition = self.partitions.get_mut(index)?;
        let log_end = partition.log.log_end();
        let safe_end = partition.safe_end();
        let Role::Leader(leader) = &mut partition.role else { return None };
        leader.on_local(log_end, safe_end);
        let order = leader.next_push(allowance)?;
        Some(match partition.log.read(order.from, order.bytes_max, log_end, true) {
            ReadPlan::Memory(batches) => match self.send_push(index, &order, batches) {
                true => Pushed::Sent,
                false => Pushed::NoRoom,
            },
            ReadPlan::File(plan) => Pushed::OnDisk(order, Box::new(plan)),
            ReadPlan::Empty | ReadPlan::OutOfRange => {
                leader.push_failed(&order, PushFailure::NotReadable);
                Pushed::Sent
            }
        })
    }

    /// True when the batches are on their way, or nobody wants them any more.
    fn send_push(&mut self, index: PartitionIndex, order: &PushOrder, batches: Vec<Bytes>) -> bool {
        let now = self.now;
        let id = self.partitions[index].id;
        let log_start = self.partitions[index].log.log_start();
        let core = self.core_on(&id, order.to);
        let Role::Leader(leader) = &self.partitions[index].role else { return true };
        let (Some(core), Some(head)) = (core, leader.push_head(order, log_start)) else {
            return true;
        };
        let size: usize = batches.iter().map(Bytes::len).sum();
        let end = end_of(&batches);
        assert!(end > order.from, "a push has a batch");
        let header = push_header(id, &head, size);
        let payload: Vec<Part> = std::iter::once(header).chain(batches).map(Part::from).collect();
        let is_sent = self.send_peer(order.to, core, PeerKind::Replication, &payload);
        let Role::Leader(leader) = &mut self.partitions[index].role else { return true };
        let is_counted = is_sent && !leader.isr().contains(&order.to);
        match is_sent {
            true => leader.pushed(order, &head, (end, size), now),
            false => leader.push_failed(order, PushFailure::NoRoom),
        }
        if is_counted {
            self.count_push(&id, size);
        }
        is_sent
    }

    /// Tells followers that have everything how far it is committed.
    fn push_beats(&mut self, index: PartitionIndex) {
        loop {
            let Some(partition) = self.partitions.get_mut(index) else { return };
            let log_start = partition.log.log_start();
            let Role::Leader(leader) = &mut partition.role else { return };
            let Some((to, beat)) = leader.next_beat(log_start) else { return };
            self.tell(index, to, Body::HighWatermark(beat));
        }
    }

    fn on_push_read(&mut self, id: TopicPartition, order: &PushOrder, batches: Option<Bytes>) {
        let Some(index) = self.partition_index(&id) else { return };
        match batches.filter(|batches| end_of(std::slice::from_ref(batches)) > Offset::ZERO) {
            Some(batches) => {
                self.send_push(index, order, vec![batches]);
            }
            None => {
                if let Role::Leader(leader) = &mut self.partitions[index].role {
                    leader.push_failed(order, PushFailure::NotReadable);
                }
            }
        }
        self.queue_push(index);
    }
}

/// The push loop of one core; ends with its executor.
pub(super) async fn push_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().signals.push.clone();
    loop {
        let queue = std::mem::take(&mut shard.borrow_mut().replicas.queue);
        if queue.is_empty() {
            signal.wait().await;
            continue;
        }
        for index in queue {
            push_all(&shard, index);
        }
    }
}

fn push_all<D: Disk>(shard: &ShardRef<D>, index: PartitionIndex) {
    if let Some(partition) = shard.borrow_mut().partitions.get_mut(index) {
        partition.is_push_due = false;
    }
    loop {
        let pushed = shard.borrow_mut().push_next(index);
        match pushed {
            Some(Pushed::Sent) => {}
            Some(Pushed::OnDisk(order, plan)) => {
                let id = shard.borrow().partitions[index].id;
                let task = read_and_push(shard.clone(), id, order, plan);
                shard.borrow_mut().outbox.spawn(task);
            }
            Some(Pushed::NoRoom) => return,
            None => break,
        }
    }
    shard.borrow_mut().push_beats(index);
}

async fn read_and_push<D: Disk>(
    shard: ShardRef<D>,
    id: TopicPartition,
    order: PushOrder,
    plan: Box<FileRead<D>>,
) {
    let disk = shard.borrow().disk.clone();
    let cuts = plan.cuts();
    let read = plan.execute_in_memory(&disk).await;
    if let Err(error) = &read {
        shard.borrow_mut().on_read_failed(id, (cuts, error), "read for a follower");
    }
    shard.borrow_mut().on_push_read(id, &order, read.ok());
}
