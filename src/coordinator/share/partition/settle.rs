//! What becomes of acquired records: acknowledged, released, timed out; and its way to the
//! coordinator.

use super::{DeliveryRules, Hold, Run, Settling, SharePartition, WriteUnderWay};
use crate::coordinator::share::records::{DeliveryState, StateBatch};
use crate::model::errors::KafkaCode;

/// What a member says of a record (KIP-932).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// There is none at this offset.
    Gap,
    Accept,
    /// It shall be delivered again.
    Release,
    /// It shall not.
    Reject,
}

/// What a member says of some records, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckBatch {
    pub first: u64,
    pub last: u64,
    /// One for all, or one for each.
    pub kinds: Vec<AckKind>,
}

impl AckBatch {
    /// Stretches of one kind, at and behind `start`.
    fn stretches(&self, start: u64) -> Vec<(u64, u64, AckKind)> {
        let from = self.first.max(start);
        if from > self.last {
            return Vec::new();
        }
        if let [kind] = self.kinds[..] {
            return vec![(from, self.last, kind)];
        }
        let mut stretches: Vec<(u64, u64, AckKind)> = Vec::new();
        for (offset, kind) in (self.first..=self.last).zip(&self.kinds) {
            match stretches.last_mut() {
                _ if offset < from => {}
                Some((_, last, before)) if before == kind => *last = offset,
                Some(_) | None => stretches.push((offset, offset, *kind)),
            }
        }
        stretches
    }
}

/// A change of the durable state, for the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionWrite {
    /// For [`SharePartition::on_written`].
    pub number: u64,
    pub state_epoch: i32,
    pub start_offset: i64,
    pub batches: Vec<StateBatch>,
}

/// How a record goes on that is not acknowledged.
fn again(delivery_count: i16, rules: &DeliveryRules) -> DeliveryState {
    match delivery_count >= rules.delivery_count_max {
        true => DeliveryState::Archived,
        false => DeliveryState::Available,
    }
}

impl SharePartition {
    /// Settles records of a member. The number of the write that carries it: once that is done, so
    /// is this.
    ///
    /// # Errors
    /// Nothing is settled: INVALID_RECORD_STATE when the member does not hold all of the records,
    /// or has settled some; INVALID_REQUEST for records that nobody was ever given.
    pub fn acknowledge(
        &mut self,
        member: &str,
        batches: &[AckBatch],
        rules: &DeliveryRules,
    ) -> Result<u64, KafkaCode> {
        for batch in batches {
            self.check_acknowledged(member, batch)?;
        }
        let write = self.next_write;
        for batch in batches {
            for (first, last, kind) in batch.stretches(self.start) {
                for (_, run) in self.cut(first..=last) {
                    let to = match kind {
                        AckKind::Accept => DeliveryState::Acknowledged,
                        AckKind::Gap | AckKind::Reject => DeliveryState::Archived,
                        AckKind::Release => again(run.delivery_count, rules),
                    };
                    settle(run, Settling { to, is_delivery: true, write });
                }
                self.dirty.push((first, last));
            }
        }
        self.is_write_awaited = true;
        Ok(write)
    }

    fn check_acknowledged(&self, member: &str, batch: &AckBatch) -> Result<(), KafkaCode> {
        if batch.last < self.start {
            return Ok(()); // Gone from the log meanwhile, and so is what to say of them.
        }
        if batch.last >= self.end || batch.first > batch.last {
            return Err(KafkaCode::InvalidRequest);
        }
        let from = batch.first.max(self.start);
        let before = self.runs.range(..from).next_back().filter(|(_, run)| run.last >= from);
        let is_held = |run: &Run| match &run.hold {
            Hold::Acquired { member: holder, settling: None, .. } => **holder == *member,
            Hold::Acquired { settling: Some(_), .. } | Hold::Free(_) => false,
        };
        let mut runs = before.into_iter().chain(self.runs.range(from..=batch.last));
        match runs.all(|(_, run)| is_held(run)) {
            true => Ok(()),
            false => Err(KafkaCode::InvalidRecordState),
        }
    }

    /// Ends a member's session: what it acquired there may be had by others, once that is written,
    /// as if it had not been delivered.
    /// The number of the write; `None` when it holds nothing of that.
    pub fn release(&mut self, member: &str, session: u64) -> Option<u64> {
        let write = self.next_write;
        let before = self.dirty.len();
        for (first, run) in &mut self.runs {
            let is_held = match &run.hold {
                Hold::Acquired { member: holder, session: of, settling: None, .. } => {
                    *of == session && **holder == *member
                }
                Hold::Acquired { settling: Some(_), .. } | Hold::Free(_) => false,
            };
            if is_held {
                let to = DeliveryState::Available;
                settle(run, Settling { to, is_delivery: false, write });
                self.dirty.push((*first, run.last));
            }
        }
        let has_released = self.dirty.len() > before;
        self.is_write_awaited |= has_released;
        has_released.then_some(write)
    }

    /// Ends the locks whose time is up; true when records may be had again or the start moved.
    pub fn expire(&mut self, now_us: u64, rules: &DeliveryRules) -> bool {
        let before = self.dirty.len();
        let mut first_available = None;
        for (first, run) in &mut self.runs {
            match run.hold {
                Hold::Acquired { due_us, settling: None, .. } if due_us <= now_us => {}
                Hold::Acquired { .. } | Hold::Free(_) => continue,
            }
            let state = again(run.delivery_count, rules);
            run.hold = Hold::Free(state);
            self.dirty.push((*first, run.last));
            if state == DeliveryState::Available {
                first_available = first_available.or(Some(*first));
            }
        }
        if let Some(first) = first_available {
            self.note_available(first);
        }
        self.advance_start();
        self.dirty.len() > before
    }

    /// True when the durable state is behind.
    pub fn has_news(&self) -> bool {
        self.is_write_awaited
            || !self.dirty.is_empty()
            || self.durable_start != Some(self.planned_start())
    }

    /// The start once everything that is settled is committed.
    fn planned_start(&self) -> u64 {
        let mut open =
            self.runs.iter().filter(|(_, run)| run.planned() == DeliveryState::Available);
        open.next().map_or(self.end, |(first, _)| *first)
    }

    /// The next write, unless one is under way or there is nothing to write.
    pub fn begin_write(&mut self) -> Option<PartitionWrite> {
        if self.under_way.is_some() || !self.has_news() {
            return None;
        }
        let number = self.next_write;
        self.next_write += 1;
        self.is_write_awaited = false;
        let start = self.planned_start();
        assert!(self.start <= start && start <= self.end);
        let ranges = joined(std::mem::take(&mut self.dirty));
        let mut batches = Vec::new();
        for (first, last) in &ranges {
            self.plan_range((*first).max(start), *last, &mut batches);
        }
        self.under_way = Some(WriteUnderWay { number, ranges, start });
        let start_offset = i64::try_from(start).expect("an offset of the log");
        Some(PartitionWrite { number, state_epoch: self.state_epoch, start_offset, batches })
    }

    fn plan_range(&self, first: u64, last: u64, batches: &mut Vec<StateBatch>) {
        if first > last {
            return;
        }
        let before = self.runs.range(..first).next_back().filter(|(_, run)| run.last >= first);
        for (at, run) in before.into_iter().chain(self.runs.range(first..=last)) {
            let wire = |offset: u64| i64::try_from(offset).expect("an offset of the log");
            let batch = StateBatch {
                first: wire((*at).max(first)),
                last: wire(run.last.min(last)),
                state: run.planned(),
                delivery_count: run.counted(),
            };
            match batches.last_mut() {
                Some(before)
                    if before.last + 1 == batch.first
                        && before.state == batch.state
                        && before.delivery_count == batch.delivery_count =>
                {
                    before.last = batch.last;
                }
                Some(_) | None => batches.push(batch),
            }
        }
    }

    /// The write under way is committed, or was refused: then its records are the members' again.
    /// True when records may be had again or the start moved.
    pub fn on_written(&mut self, number: u64, is_committed: bool) -> bool {
        let Some(under_way) = self.under_way.take_if(|write| write.number == number) else {
            return false;
        };
        assert!(number < self.next_write);
        let start_before = self.start;
        let mut first_available = None;
        for (first, last) in &under_way.ranges {
            for (first, run) in self.runs.range_mut(first..=last) {
                let Hold::Acquired { settling, .. } = &mut run.hold else { continue };
                let settled = settling.take_if(|one| one.write == number);
                let Some(Settling { to, is_delivery, .. }) = settled else { continue };
                if !is_committed {
                    continue;
                }
                if !is_delivery {
                    run.delivery_count -= 1;
                }
                run.hold = Hold::Free(to);
                if to == DeliveryState::Available {
                    first_available = first_available.or(Some(*first));
                }
            }
        }
        match is_committed {
            true => self.durable_start = Some(under_way.start),
            false => self.dirty.extend(under_way.ranges),
        }
        if let Some(first) = first_available {
            self.note_available(first);
        }
        self.advance_start();
        assert!(self.start >= start_before);
        first_available.is_some() || self.start > start_before
    }
}

fn settle(run: &mut Run, settled: Settling) {
    let Hold::Acquired { settling, .. } = &mut run.hold else {
        unreachable!("the caller saw that a member holds it");
    };
    assert!(settling.is_none() || *settling == Some(settled));
    *settling = Some(settled);
}

/// Ranges in order, those that touch in one.
fn joined(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            Some(_) | None => joined.push((first, last)),
        }
    }
    joined
}
