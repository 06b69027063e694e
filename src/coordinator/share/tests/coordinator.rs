//! What becomes of a state, whatever way its changes come in.

use crate::coordinator::replayed::{Effect, Waiter};
use crate::coordinator::share::records::ShareRecord;
use crate::coordinator::share::{
    DeliveryState, ShareAnswer, ShareCoordinator, ShareKey, ShareRequest, ShareState, StateBatch,
    StateWrite,
};
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::{SHARE_CHECKPOINT_INTERVAL_MS, SHARE_CHECKPOINT_RECORDS_MIN};
use proptest::prelude::*;

const NOW: Now = Now { monotonic_us: 0, wall_ms: 1000 };

/// A coordinator with its log.
struct Kept {
    coordinator: ShareCoordinator,
    log: Vec<ShareRecord>,
}

impl Kept {
    fn new(updates_per_snapshot: usize) -> Kept {
        let mut coordinator = ShareCoordinator::new(updates_per_snapshot);
        coordinator.on_loaded(NOW);
        Kept { coordinator, log: Vec::new() }
    }

    fn ask(&mut self, request: ShareRequest) -> ShareAnswer {
        let mut step = self.coordinator.on_request(request, Waiter(1), NOW);
        self.log.append(&mut step.records);
        match step.effects.pop() {
            Some(Effect::Answer(Waiter(1), answer)) if step.effects.is_empty() => answer,
            other => panic!("one answer, not {other:?}"),
        }
    }

    fn initialize(&mut self, state_epoch: i32, start_offset: i64) -> ShareAnswer {
        self.ask(ShareRequest::Initialize { key: key("g"), state_epoch, start_offset })
    }

    fn write(&mut self, start_offset: i64, batches: Vec<StateBatch>) -> ShareAnswer {
        let write = StateWrite { state_epoch: 0, leader_epoch: 0, start_offset, batches };
        self.ask(ShareRequest::Write { key: key("g"), write })
    }

    fn read(&mut self) -> ShareAnswer {
        self.ask(ShareRequest::Read { key: key("g"), leader_epoch: 0 })
    }

    fn state(&mut self) -> ShareState {
        match self.read() {
            ShareAnswer::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// What a start reads from the log.
    fn replayed(&self) -> Kept {
        let mut other = Kept::new(3);
        for record in &self.log {
            let bytes = record.encode().unwrap();
            let record = ShareRecord::decode(&bytes.key, bytes.value.as_ref()).unwrap().unwrap();
            other.coordinator.replay(record);
        }
        other
    }
}

fn key(group: &str) -> ShareKey {
    ShareKey { group: group.to_owned(), partition: TopicPartition::default() }
}

fn batch(first: i64, last: i64, state: DeliveryState, delivery_count: i16) -> StateBatch {
    StateBatch { first, last, state, delivery_count }
}

#[test]
fn a_state_begins_is_read_and_ends() {
    let mut kept = Kept::new(500);
    assert_eq!(kept.read(), ShareAnswer::Refused(KafkaCode::InvalidRequest));
    assert_eq!(kept.write(0, vec![]), ShareAnswer::Refused(KafkaCode::InvalidRequest));
    assert_eq!(kept.initialize(0, -1), ShareAnswer::Done);
    let state = ShareState { state_epoch: 0, start_offset: -1, batches: vec![] };
    assert_eq!(kept.state(), state);
    assert_eq!(kept.ask(ShareRequest::Delete { key: key("g") }), ShareAnswer::Done);
    assert_eq!(kept.ask(ShareRequest::Delete { key: key("g") }), ShareAnswer::Unchanged);
    assert_eq!(kept.read(), ShareAnswer::Refused(KafkaCode::InvalidRequest));
    assert_eq!(kept.replayed().read(), ShareAnswer::Refused(KafkaCode::InvalidRequest));
}

#[test]
fn newer_batches_win_and_what_lies_below_the_start_is_dropped() {
    use DeliveryState::{Acknowledged, Archived, Available};
    let mut kept = Kept::new(500);
    kept.initialize(0, 10);
    kept.write(10, vec![batch(10, 19, Available, 1)]);
    kept.write(10, vec![batch(12, 13, Acknowledged, 1), batch(16, 22, Archived, 2)]);
    let expected = vec![
        batch(10, 11, Available, 1),
        batch(12, 13, Acknowledged, 1),
        batch(14, 15, Available, 1),
        batch(16, 22, Archived, 2),
    ];
    assert_eq!(kept.state().batches, expected);
    kept.write(13, vec![batch(14, 15, Acknowledged, 1)]);
    let expected = vec![batch(13, 15, Acknowledged, 1), batch(16, 22, Archived, 2)];
    assert_eq!(kept.state(), ShareState { state_epoch: 0, start_offset: 13, batches: expected });
    let ShareAnswer::Summary(summary) = kept.ask(ShareRequest::Summary { key: key("g") }) else {
        panic!("a summary");
    };
    assert_eq!((summary.start_offset, summary.delivery_complete_count), (13, Some(10)));
    assert_eq!(kept.replayed().state(), kept.state());
}

#[test]
fn older_epochs_change_nothing() {
    let mut kept = Kept::new(500);
    kept.initialize(3, 5);
    let fenced = ShareAnswer::Refused(KafkaCode::FencedStateEpoch);
    assert_eq!(kept.initialize(2, 9), fenced);
    assert_eq!(kept.write(7, vec![]), fenced);
    assert_eq!(
        kept.ask(ShareRequest::Read { key: key("g"), leader_epoch: 4 }),
        ShareAnswer::State(ShareState { state_epoch: 3, start_offset: 5, batches: vec![] })
    );
    let fenced = ShareAnswer::Refused(KafkaCode::FencedLeaderEpoch);
    assert_eq!(kept.read(), fenced);
    let write = StateWrite { state_epoch: 3, leader_epoch: 3, start_offset: 7, batches: vec![] };
    assert_eq!(kept.ask(ShareRequest::Write { key: key("g"), write }), fenced);
}

#[test]
fn a_group_that_begins_twice_under_one_epoch_keeps_what_was_delivered() {
    let mut kept = Kept::new(500);
    kept.initialize(0, -1);
    kept.write(4, vec![batch(6, 7, DeliveryState::Acknowledged, 1)]);
    let before = kept.state();
    assert_eq!(kept.initialize(0, -1), ShareAnswer::Unchanged);
    assert_eq!(kept.state(), before);
    assert_eq!(kept.initialize(1, 2), ShareAnswer::Done);
    assert_eq!(kept.state(), ShareState { state_epoch: 1, start_offset: 2, batches: vec![] });
}

#[test]
fn after_so_many_updates_all_of_it_is_written() {
    let mut kept = Kept::new(2);
    kept.initialize(0, 0);
    for start in 1..=6 {
        kept.write(start, vec![]);
    }
    let is_snapshot = |record: &ShareRecord| matches!(record, ShareRecord::Snapshot(..));
    let kinds: Vec<bool> = kept.log.iter().map(is_snapshot).collect();
    assert_eq!(kinds, [true, false, false, true, false, false, true]);
}

#[test]
fn a_checkpoint_writes_every_state_and_then_drops_what_it_supersedes() {
    let mut kept = Kept::new(500);
    kept.initialize(0, 0);
    for start in 0..SHARE_CHECKPOINT_RECORDS_MIN {
        kept.write(i64::try_from(start).unwrap(), vec![]);
    }
    let before = kept.state();
    let later = Now { monotonic_us: SHARE_CHECKPOINT_INTERVAL_MS * 1000, wall_ms: 2000 };
    assert!(kept.coordinator.next_deadline_us() <= later.monotonic_us);
    let mut step = kept.coordinator.on_tick(later);
    assert!(step.effects.is_empty());
    kept.log = std::mem::take(&mut step.records);
    assert_eq!(kept.log.len(), 1);
    kept.coordinator.on_appended(Offset::new(77));
    assert_eq!(kept.coordinator.next_deadline_us(), 0);
    let step = kept.coordinator.on_tick(later);
    assert!(matches!(&step.effects[..], [Effect::Order(prune)] if prune.before.get() == 77));
    assert_eq!(kept.replayed().state(), before);
    assert_eq!(kept.state(), before);
}

fn any_state() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        Just(DeliveryState::Available),
        Just(DeliveryState::Acknowledged),
        Just(DeliveryState::Archived)
    ]
}

fn any_write() -> impl Strategy<Value = (i64, Vec<StateBatch>)> {
    let one = (0_i64..40, 0_i64..9, any_state(), 1_i16..3)
        .prop_map(|(first, len, state, count)| batch(first, first + len, state, count));
    (-1_i64..30, proptest::collection::vec(one, 0..4))
}

proptest! {
    #[test]
    fn a_state_is_what_an_array_of_offsets_would_be(
        writes in proptest::collection::vec(any_write(), 0..12)
    ) {
        let mut kept = Kept::new(3);
        kept.initialize(0, 0);
        let mut model: Vec<Option<(DeliveryState, i16)>> = vec![None; 64];
        let mut start = 0;
        for (start_offset, batches) in writes {
            if (0..start).contains(&start_offset) {
                // Later ones have overtaken it: it changes nothing.
                kept.write(start_offset, batches);
                continue;
            }
            start = if start_offset < 0 { start } else { start_offset };
            for batch in &batches {
                for offset in batch.first..=batch.last {
                    let place = usize::try_from(offset).unwrap();
                    model[place] = Some((batch.state, batch.delivery_count));
                }
            }
            model[..usize::try_from(start).unwrap()].fill(None);
            kept.write(start_offset, batches);
        }
        let state = kept.state();
        prop_assert_eq!(state.start_offset, start);
        let mut found: Vec<Option<(DeliveryState, i16)>> = vec![None; 64];
        for batch in &state.batches {
            for offset in batch.first..=batch.last {
                let place = &mut found[usize::try_from(offset).unwrap()];
                prop_assert_eq!(*place, None);
                *place = Some((batch.state, batch.delivery_count));
            }
        }
        prop_assert_eq!(found, model);
        prop_assert_eq!(kept.replayed().state(), state);
    }
}
