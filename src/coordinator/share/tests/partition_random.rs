//! A share partition against an array with one entry for each offset.

use crate::coordinator::share::partition::{
    AckBatch, AckKind, Acquisition, BatchSpan, DeliveryRules, PartitionWrite,
};
use crate::coordinator::share::{DeliveryState, SharePartition, ShareState, StateBatch};
use crate::model::errors::KafkaCode;
use crate::model::ids::Offset;
use proptest::prelude::*;

const OFFSETS: u64 = 48;
const RULES: DeliveryRules = DeliveryRules { delivery_count_max: 3, locks_max: 16, lock_us: 10 };
const MEMBERS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Acquire {
        member: usize,
        records_max: usize,
    },
    Acknowledge {
        member: usize,
        first: u64,
        kinds: Vec<u8>,
    },
    Release {
        member: usize,
    },
    Wait(u64),
    BeginWrite,
    EndWrite {
        is_committed: bool,
    },
    LogStart(u64),
    /// The broker is killed and started again.
    Crash,
}

fn any_step() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS.len();
    prop_oneof![
        4 => (member.clone(), 1_usize..12)
            .prop_map(|(member, records_max)| Step::Acquire { member, records_max }),
        4 => (member.clone(), 0..OFFSETS, proptest::collection::vec(0_u8..4, 1..8))
            .prop_map(|(member, first, kinds)| Step::Acknowledge { member, first, kinds }),
        1 => member.prop_map(|member| Step::Release { member }),
        2 => (1_u64..8).prop_map(Step::Wait),
        3 => Just(Step::BeginWrite),
        3 => (0_u8..4).prop_map(|chance| Step::EndWrite { is_committed: chance > 0 }),
        1 => (0..OFFSETS).prop_map(Step::LogStart),
        1 => Just(Step::Crash),
    ]
}

/// One record as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Record {
    holder: Option<(usize, u64)>,
    /// What its holder said of it, and by which write it becomes so.
    said: Option<(DeliveryState, u64)>,
    /// What was said is the end of its session.
    is_taken_back: bool,
    over: bool,
    count: i16,
}

/// What is durable of one record.
type Durable = Option<(DeliveryState, i16)>;

struct World {
    partition: SharePartition,
    model: Vec<Record>,
    durable: Vec<Durable>,
    durable_start: i64,
    under_way: Option<PartitionWrite>,
    now_us: u64,
    start_seen: u64,
    /// Acknowledged, and the acknowledgement was answered.
    accepted: Vec<bool>,
}

/// Batches of three records; the sixth is missing, as after compaction.
fn log_from(from: u64, log_start: u64) -> Vec<BatchSpan> {
    let batches = (0..OFFSETS / 3).filter(|index| index % 6 != 5);
    let spans = batches.map(|index| BatchSpan {
        first: index * 3,
        last: index * 3 + 2,
        is_aborted: index % 6 == 3,
    });
    spans.filter(|batch| batch.last >= from && batch.last >= log_start).collect()
}

impl World {
    fn new() -> World {
        let state = ShareState { state_epoch: 0, start_offset: 0, batches: vec![] };
        let places = usize::try_from(OFFSETS).unwrap();
        World {
            partition: SharePartition::new(&state, Offset::ZERO),
            model: vec![Record::default(); places],
            durable: vec![None; places],
            durable_start: 0,
            under_way: None,
            now_us: 0,
            start_seen: 0,
            accepted: vec![false; places],
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Acquire { member, records_max } => self.acquire(member, records_max),
            Step::Acknowledge { member, first, kinds } => self.acknowledge(member, first, &kinds),
            Step::Release { member } => self.release(member),
            Step::Wait(us) => self.wait(us),
            Step::BeginWrite => {
                if let Some(write) = self.partition.begin_write() {
                    assert!(self.under_way.is_none());
                    self.under_way = Some(write);
                }
            }
            Step::EndWrite { is_committed } => self.end_write(is_committed),
            Step::LogStart(offset) => {
                self.partition.on_log_start(Offset::new(offset));
                let gone = usize::try_from(offset).unwrap();
                for record in &mut self.model[..gone] {
                    *record = Record { over: true, ..Record::default() };
                }
            }
            Step::Crash => self.crash(),
        }
        self.check();
    }

    fn acquire(&mut self, member: usize, records_max: usize) {
        let Some(from) = self.partition.next_fetch(&RULES) else { return };
        let by = Acquisition {
            member: MEMBERS[member],
            session: 1,
            records_max,
            batch_size: 4,
            now_us: self.now_us,
            rules: RULES,
        };
        let log = log_from(from.get(), self.partition.start().get());
        for range in self.partition.acquire(from, &log, &by) {
            for offset in range.first..=range.last {
                let record = &mut self.model[usize::try_from(offset).unwrap()];
                assert!(record.holder.is_none(), "{offset} is another's");
                assert!(!record.over, "{offset} was over");
                assert!(!self.accepted[usize::try_from(offset).unwrap()], "{offset} was accepted");
                record.holder = Some((member, self.now_us + RULES.lock_us));
                record.count += 1;
                assert_eq!(record.count, range.delivery_count, "{offset}");
                assert!(record.count <= RULES.delivery_count_max, "{offset}");
            }
        }
    }

    fn acknowledge(&mut self, member: usize, first: u64, kinds: &[u8]) {
        let kinds: Vec<AckKind> = kinds
            .iter()
            .map(|kind| match kind {
                0 => AckKind::Gap,
                1 => AckKind::Accept,
                2 => AckKind::Release,
                _ => AckKind::Reject,
            })
            .collect();
        let last = first + kinds.len() as u64 - 1;
        let (start, end) = (self.partition.start().get(), self.partition.end().get());
        let batch = AckBatch { first, last, kinds: kinds.clone() };
        let answer = self.partition.acknowledge(MEMBERS[member], &[batch], &RULES);
        if last >= start && last >= end {
            return assert_eq!(answer, Err(KafkaCode::InvalidRequest));
        }
        let counted = (first..=last).zip(kinds).filter(|(offset, _)| *offset >= start);
        let counted: Vec<(usize, AckKind)> =
            counted.map(|(offset, kind)| (usize::try_from(offset).unwrap(), kind)).collect();
        let is_held = |record: &Record| {
            record.holder.is_some_and(|(holder, _)| holder == member) && record.said.is_none()
        };
        if !counted.iter().all(|(place, _)| is_held(&self.model[*place])) {
            return assert_eq!(answer, Err(KafkaCode::InvalidRecordState));
        }
        let write = answer.unwrap();
        for (place, kind) in counted {
            let record = &mut self.model[place];
            let state = match kind {
                AckKind::Accept => DeliveryState::Acknowledged,
                AckKind::Gap | AckKind::Reject => DeliveryState::Archived,
                AckKind::Release if record.count >= RULES.delivery_count_max => {
                    DeliveryState::Archived
                }
                AckKind::Release => DeliveryState::Available,
            };
            record.said = Some((state, write));
        }
    }

    fn release(&mut self, member: usize) {
        let write = self.partition.release(MEMBERS[member], 1);
        let mine = self.model.iter_mut().filter(|record| {
            record.holder.is_some_and(|(holder, _)| holder == member) && record.said.is_none()
        });
        let mut has_any = false;
        for record in mine {
            has_any = true;
            record.said = Some((DeliveryState::Available, write.expect("it holds records")));
            record.is_taken_back = true;
        }
        assert_eq!(write.is_some(), has_any);
    }

    fn wait(&mut self, us: u64) {
        self.now_us += us;
        self.partition.expire(self.now_us, &RULES);
        for record in &mut self.model {
            let is_due = record.holder.is_some_and(|(_, due_us)| due_us <= self.now_us);
            if is_due && record.said.is_none() {
                record.holder = None;
                record.over = record.count >= RULES.delivery_count_max;
            }
        }
    }

    fn end_write(&mut self, is_committed: bool) {
        let Some(write) = self.under_way.take() else { return };
        self.partition.on_written(write.number, is_committed);
        if is_committed {
            self.make_durable(&write);
        }
        for (place, record) in self.model.iter_mut().enumerate() {
            let Some((state, _)) = record.said.filter(|(_, number)| *number == write.number) else {
                continue;
            };
            record.said = None;
            let is_taken_back = std::mem::take(&mut record.is_taken_back);
            if is_committed {
                record.holder = None;
                record.count -= i16::from(is_taken_back);
                record.over = state != DeliveryState::Available;
                self.accepted[place] |= state == DeliveryState::Acknowledged;
            }
        }
    }

    fn make_durable(&mut self, write: &PartitionWrite) {
        for StateBatch { first, last, state, delivery_count } in &write.batches {
            for offset in *first..=*last {
                let place = usize::try_from(offset).unwrap();
                self.durable[place] = Some((*state, *delivery_count));
            }
        }
        self.durable_start = write.start_offset;
    }

    /// What was on its way may have come through or not.
    fn crash(&mut self) {
        if let Some(write) = self.under_way.take()
            && self.now_us.is_multiple_of(2)
        {
            self.make_durable(&write);
        }
        let from = usize::try_from(self.durable_start).unwrap();
        let durable = self.durable.iter().enumerate().skip(from);
        let batches = durable.filter_map(|(place, durable)| {
            let (state, delivery_count) = (*durable)?;
            let offset = i64::try_from(place).unwrap();
            Some(StateBatch { first: offset, last: offset, state, delivery_count })
        });
        let state = ShareState {
            state_epoch: 0,
            start_offset: self.durable_start,
            batches: batches.collect(),
        };
        self.partition = SharePartition::new(&state, Offset::ZERO);
        self.start_seen = self.partition.start().get();
        for (place, record) in self.model.iter_mut().enumerate() {
            let durable = self.durable[place].filter(|_| place >= from);
            *record = Record {
                over: place < from
                    || durable.is_some_and(|(state, _)| state != DeliveryState::Available),
                count: durable.map_or(0, |(_, count)| count),
                ..Record::default()
            };
        }
    }

    fn check(&mut self) {
        let (start, end) = (self.partition.start().get(), self.partition.end().get());
        assert!(start >= self.start_seen, "the start goes back");
        self.start_seen = start;
        assert!(start <= end);
        for (index, member) in MEMBERS.iter().enumerate() {
            let held = self
                .model
                .iter()
                .filter(|record| record.holder.is_some_and(|(holder, _)| holder == index));
            assert_eq!(self.partition.held_by(member), held.count() as u64, "{member}");
        }
        for place in usize::try_from(start).unwrap()..usize::try_from(end).unwrap() {
            assert!(!self.accepted[place] || self.model[place].over, "{place} comes back");
        }
    }

    /// Everybody goes on until nothing is left: each record reaches somebody or its end.
    fn finish(&mut self) {
        for round in 0..400 {
            self.end_write(true);
            self.acquire(round % MEMBERS.len(), 7);
            self.wait(RULES.lock_us);
            self.step(Step::BeginWrite);
        }
        let last_batch = log_from(0, 0).last().unwrap().last;
        assert!(self.partition.start().get() > last_batch, "{:?}", self.partition);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn a_share_partition_is_what_an_array_of_records_would_be(
        steps in proptest::collection::vec(any_step(), 0..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}
