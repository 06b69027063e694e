//! Reads of this core's partitions for fetches parked here or on other cores, and their wake-ups.
//!
//! A fetch is read in passes. When a pass finds too little, each owning core is asked to watch; the
//! first rise of a readable end wakes the fetch, and it reads again. A watch carries the end that
//! the pass saw, so a rise between the read and the watch is noticed when the watch arrives.

use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, LeaderEpoch, Offset};
use crate::protocol::messages::fetch::AbortedTransaction;
use crate::protocol::part::Part;
use crate::protocol::record_batch::BatchHeader;
use crate::shard::mesh::{
    Isolation, ParkedKey, ReadOrder, ReadOutcome, ReadPart, ReaderPlace, ShardMessage, WatchOrder,
};
use crate::shard::parked::FetchPhase;
use crate::shard::partition::Partition;
use crate::shard::replicas::Role;
use crate::shard::shard::{Finished, PartitionIndex, Shard, ShardRef};
use crate::shard::stages::Stage;
use crate::shard::waiters::{FetchWatch, Rise};
use crate::storage::disk::Disk;
use crate::storage::partition_log::{FileRead, ReadPlan};
use bytes::Bytes;
use std::cmp::Reverse;

/// What one part of a read found in memory, or where on disk it continues.
enum Found<D: Disk> {
    Done(ReadOutcome),
    OnDisk(ReadOutcome, Box<FileRead<D>>),
}

/// Carries out reads for a fetch; answers at once when all is in memory, else through a task.
pub fn read<D: Disk>(shard: &ShardRef<D>, order: ReadOrder) {
    let mut budget = order.max_bytes;
    let mut done = Vec::with_capacity(order.parts.len());
    let mut on_disk = Vec::new();
    {
        let mut shard = shard.borrow_mut();
        for part in &order.parts {
            let is_first = budget == order.max_bytes;
            if let Some(outcome) = shard.lead_on(part, order.place.as_deref()) {
                done.push((part.part, outcome));
                continue;
            }
            match shard.read_part(part, order.isolation, budget, is_first) {
                Found::Done(outcome) => {
                    budget = budget.saturating_sub(outcome.size());
                    done.push((part.part, outcome));
                }
                Found::OnDisk(outcome, plan) => {
                    budget = budget.saturating_sub(plan.max_bytes());
                    on_disk.push((part.part, outcome, plan));
                }
            }
        }
        if on_disk.is_empty() {
            shard.read_done(&order, done);
            return;
        }
    }
    let task = read_from_disk(shard.clone(), order, done, on_disk);
    shard.borrow_mut().outbox.spawn(task);
}

async fn read_from_disk<D: Disk>(
    shard: ShardRef<D>,
    order: ReadOrder,
    mut done: Vec<(u32, ReadOutcome)>,
    on_disk: Vec<(u32, ReadOutcome, Box<FileRead<D>>)>,
) {
    let disk = shard.borrow().disk.clone();
    for (part, mut outcome, plan) in on_disk {
        let cuts = plan.cuts();
        match plan.execute(&disk).await {
            Ok(records) if records.is_empty() => {}
            Ok(records) => outcome.records.push(records),
            Err(error) => {
                if let Some(asked) = order.parts.iter().find(|asked| asked.part == part) {
                    let failed = (cuts, &error);
                    shard.borrow_mut().on_read_failed(asked.partition, failed, "fetch from disk");
                }
                outcome = ReadOutcome { code: error.kafka_code(), ..outcome };
            }
        }
        done.push((part, outcome));
    }
    let mut shard = shard.borrow_mut();
    shard.read_done(&order, done);
    shard.outbox.raise();
}

impl<D: Disk> Shard<D> {
    fn read_part(
        &mut self,
        part: &ReadPart,
        isolation: Isolation,
        budget: usize,
        is_first: bool,
    ) -> Found<D> {
        let Some(index) = self.partition_index(&part.partition) else {
            return Found::Done(ReadOutcome::refused(KafkaCode::NotLeaderOrFollower));
        };
        let partition = &mut self.partitions[index];
        if let Err(code) = check_epoch(partition, part.current_leader_epoch) {
            return Found::Done(ReadOutcome::refused(code));
        }
        let out_of_range = || Found::Done(ReadOutcome::refused(KafkaCode::OffsetOutOfRange));
        if part.last_fetched_epoch > partition.leader_epoch.0 {
            return out_of_range();
        }
        let mut outcome = found_nothing(partition);
        if let Some(diverging) = diverging(partition, part) {
            outcome.diverging = Some(diverging);
            return Found::Done(outcome);
        }
        let from = match Offset::from_wire(part.fetch_offset) {
            Some(from) if from >= partition.log.log_start() && from <= partition.log.log_end() => {
                from
            }
            _ => return out_of_range(),
        };
        let up_to = partition.readable_end(isolation);
        let max_bytes = part.max_bytes.min(budget);
        let is_committed = isolation == Isolation::ReadCommitted;
        outcome.aborted = is_committed.then(Vec::new);
        if max_bytes == 0 && !is_first {
            return Found::Done(outcome);
        }
        let aborted = |end| is_committed.then(|| aborted_between(partition, from, end));
        match partition.log.read(from, max_bytes, up_to, is_first) {
            ReadPlan::Empty => Found::Done(outcome),
            ReadPlan::Memory(records) => {
                outcome.aborted = aborted(end_of(&records));
                outcome.records = records.into_iter().map(Part::from).collect();
                Found::Done(outcome)
            }
            ReadPlan::File(plan) => {
                // Looked up now: retention may take the segment while it is read. What begins
                // behind the records that are found does no harm.
                outcome.aborted = aborted(up_to.min(partition.log.read_end(from)));
                Found::OnDisk(outcome, Box::new(plan))
            }
            ReadPlan::OutOfRange => out_of_range(),
        }
    }

    /// The answer that sends a reader to a replica in its rack, where that is another one than the
    /// leader's and has what it asks for (KIP-392).
    fn lead_on(&self, part: &ReadPart, place: Option<&ReaderPlace>) -> Option<ReadOutcome> {
        let place = place?;
        let partition = &self.partitions[self.partition_index(&part.partition)?];
        let Role::Leader(leader) = &partition.role else { return None };
        check_epoch(partition, part.current_leader_epoch).ok()?;
        if self.config.rack.as_ref() == Some(&place.rack) {
            return None;
        }
        let is_near = |id: BrokerId| {
            self.image.broker(id).is_some_and(|broker| {
                broker.is_active()
                    && broker.registration.rack.as_ref() == Some(&place.rack)
                    && broker.endpoint(&place.listener).is_some()
            })
        };
        let offset = Offset::from_wire(part.fetch_offset)?;
        let readers = leader.readers_at(offset, self.now).filter(|(id, ..)| is_near(*id));
        let best = readers.max_by_key(|(id, end, lag_us)| (*end, Reverse(*lag_us), *id))?;
        Some(ReadOutcome { preferred: Some(best.0), ..found_nothing(partition) })
    }

    /// Brings read outcomes home.
    fn read_done(&mut self, order: &ReadOrder, outcomes: Vec<(u32, ReadOutcome)>) {
        let ReadOrder { origin, key, pass, stamp, .. } = *order;
        let stamp = self.stages.end(Stage::Read, stamp);
        if origin == self.core {
            self.on_read_done(key, pass, outcomes);
        } else {
            self.send(origin, ShardMessage::ReadDone { key, pass, stamp, outcomes });
        }
    }

    /// One core's share of a pass came in.
    pub fn on_read_done(&mut self, key: ParkedKey, pass: u32, outcomes: Vec<(u32, ReadOutcome)>) {
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        assert!(fetch.pass == pass, "a pass ends before the next begins");
        for (part, outcome) in outcomes {
            fetch.outcomes[part as usize] = Some(outcome);
        }
        assert!(fetch.outstanding > 0);
        fetch.outstanding -= 1;
        if fetch.outstanding == 0 {
            if !fetch.settled.is_timed() {
                fetch.settled = self.stages.mark(fetch.stamp);
            }
            self.finished.push(Finished::Fetch(key.index as usize));
            self.outbox.raise();
        }
    }

    /// Registers a fetch at this core's partitions, or wakes it at once when it missed a rise.
    pub fn watch(&mut self, order: WatchOrder) {
        let mut has_missed = false;
        for (id, seen) in &order.seen {
            let Some(index) = self.partition_index(id) else {
                has_missed = true;
                continue;
            };
            let partition = &mut self.partitions[index];
            has_missed |= partition.readable_end(order.isolation).to_wire() > *seen;
            partition.waiters.watch(order.watch());
        }
        if has_missed {
            self.wake(order.watch());
        }
    }

    /// Readable ends rose: the fetches that watch one of them read again.
    pub fn wake_fetches(&mut self, index: PartitionIndex, rise: Rise) {
        for watch in self.partitions[index].waiters.take_fetches(rise) {
            self.wake(watch);
        }
        if !self.shares.watches.is_empty() {
            let id = self.partitions[index].id;
            self.wake_shares(&id);
        }
    }

    fn wake(&mut self, watch: FetchWatch) {
        if watch.core == self.core {
            self.on_wake(watch.key, watch.pass);
        } else {
            let fetches = vec![(watch.key, watch.pass)];
            self.send(watch.core, ShardMessage::Wake { fetches });
        }
    }

    /// A partition of a parked fetch has more; stale wakes fall on the floor.
    pub fn on_wake(&mut self, key: ParkedKey, pass: u32) {
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        if fetch.pass != pass || fetch.phase != FetchPhase::Watching || fetch.was_woken {
            return;
        }
        fetch.was_woken = true;
        fetch.settled = self.stages.mark(fetch.stamp);
        self.finished.push(Finished::Fetch(key.index as usize));
        self.outbox.raise();
    }
}

/// Checks the leader epoch that a client believes in (KIP-320); -1 skips the check.
pub fn check_epoch<D: Disk>(partition: &Partition<D>, claimed: i32) -> Result<(), KafkaCode> {
    let current = partition.leader_epoch.0;
    match claimed {
        -1 => Ok(()),
        claimed if claimed < current => Err(KafkaCode::FencedLeaderEpoch),
        claimed if claimed > current => Err(KafkaCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn found_nothing<D: Disk>(partition: &Partition<D>) -> ReadOutcome {
    ReadOutcome {
        code: KafkaCode::None,
        high_watermark: partition.high_watermark().to_wire(),
        last_stable_offset: partition.readable_end(Isolation::ReadCommitted).to_wire(),
        log_start_offset: partition.log.log_start().to_wire(),
        diverging: None,
        records: Vec::new(),
        aborted: None,
        preferred: None,
    }
}

fn aborted_between<D: Disk>(
    partition: &Partition<D>,
    from: Offset,
    up_to: Offset,
) -> Vec<AbortedTransaction> {
    let found = partition.log.aborted_between(from, up_to).into_iter();
    found
        .map(|one| AbortedTransaction {
            producer_id: one.producer.0,
            first_offset: one.first.to_wire(),
        })
        .collect()
}

/// Offset behind the last batch of `parts`; a batch may be in two parts.
pub(super) fn end_of(parts: &[Bytes]) -> Offset {
    let mut end = Offset::ZERO;
    let mut left = 0;
    for part in parts {
        let mut part = &part[left.min(part.len())..];
        left = 0;
        while let Ok(header) = BatchHeader::read(part) {
            end = Offset::from_wire(header.last_offset()).map_or(end, |last| last.advance(1));
            match part.get(header.size()..) {
                Some(rest) => part = rest,
                None => {
                    left = header.size() - part.len();
                    break;
                }
            }
        }
    }
    end
}

/// Where the client's log parts from ours, when its last epoch says so (Fetch v12, KIP-595).
fn diverging<D: Disk>(partition: &Partition<D>, part: &ReadPart) -> Option<(i32, i64)> {
    if part.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end) = partition.log.end_offset_for_epoch(LeaderEpoch(part.last_fetched_epoch))?;
    let parts_ways = epoch.0 < part.last_fetched_epoch || end.to_wire() < part.fetch_offset;
    parts_ways.then_some((epoch.0, end.to_wire()))
}
