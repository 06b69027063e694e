//! Whose a record is, step by step.

use crate::coordinator::share::partition::{
    AckBatch, AckKind, AcquiredRange, Acquisition, BatchSpan, DeliveryRules,
};
use crate::coordinator::share::{DeliveryState, SharePartition, ShareState, StateBatch};
use crate::model::errors::KafkaCode;
use crate::model::ids::Offset;
use crate::model::limits::SHARE_IN_FLIGHT_MAX;

const RULES: DeliveryRules = DeliveryRules { delivery_count_max: 2, locks_max: 100, lock_us: 1000 };

fn fresh() -> SharePartition {
    let state = ShareState { state_epoch: 0, start_offset: 0, batches: vec![] };
    SharePartition::new(&state, Offset::ZERO)
}

fn span(first: u64, last: u64) -> BatchSpan {
    BatchSpan { first, last, is_aborted: false }
}

fn by(member: &str) -> Acquisition<'_> {
    Acquisition { member, session: 1, records_max: 500, batch_size: 500, now_us: 0, rules: RULES }
}

/// What a member acquires from batches that lie in the log.
fn take(partition: &mut SharePartition, member: &str, log: &[BatchSpan]) -> Vec<(u64, u64, i16)> {
    take_by(partition, &by(member), log)
}

fn take_by(
    partition: &mut SharePartition,
    by: &Acquisition<'_>,
    log: &[BatchSpan],
) -> Vec<(u64, u64, i16)> {
    let Some(from) = partition.next_fetch(&by.rules) else { return Vec::new() };
    let found: Vec<BatchSpan> =
        log.iter().copied().filter(|batch| batch.last >= from.get()).collect();
    let ranges = partition.acquire(from, &found, by);
    ranges
        .into_iter()
        .map(|AcquiredRange { first, last, delivery_count }| (first, last, delivery_count))
        .collect()
}

fn ack(first: u64, last: u64, kind: AckKind) -> AckBatch {
    AckBatch { first, last, kinds: vec![kind] }
}

fn write(partition: &mut SharePartition, is_committed: bool) -> (i64, Vec<StateBatch>) {
    let write = partition.begin_write().expect("something to write");
    assert_eq!(partition.begin_write(), None, "one at a time");
    partition.on_written(write.number, is_committed);
    (write.start_offset, write.batches)
}

#[test]
fn a_record_has_one_member_and_is_over_once_its_acceptance_is_written() {
    let mut partition = fresh();
    assert_eq!(take(&mut partition, "a", &[span(0, 9)]), [(0, 9, 1)]);
    assert_eq!(take(&mut partition, "b", &[span(0, 9)]), []);
    let accept = [ack(0, 9, AckKind::Accept)];
    assert_eq!(partition.acknowledge("b", &accept, &RULES), Err(KafkaCode::InvalidRecordState));
    let ticket = partition.acknowledge("a", &accept, &RULES).unwrap();
    assert_eq!(partition.acknowledge("a", &accept, &RULES), Err(KafkaCode::InvalidRecordState));
    assert_eq!(partition.start().get(), 0);
    let write = partition.begin_write().unwrap();
    assert_eq!((write.number, write.start_offset), (ticket, 10));
    assert!(write.batches.is_empty(), "the start says it all");
    assert!(partition.on_written(write.number, true));
    assert_eq!((partition.start().get(), partition.end().get()), (10, 10));
    assert!(partition.is_idle());
}

#[test]
fn what_a_member_says_of_each_record_counts() {
    use AckKind::{Accept, Gap, Reject, Release};
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 5)]);
    let batch = AckBatch { first: 0, last: 4, kinds: vec![Release, Accept, Gap, Reject, Accept] };
    partition.acknowledge("a", &[batch], &RULES).unwrap();
    let (start, batches) = write(&mut partition, true);
    let batch =
        |first, last, state, delivery_count| StateBatch { first, last, state, delivery_count };
    let expected = [
        batch(0, 0, DeliveryState::Available, 1),
        batch(1, 1, DeliveryState::Acknowledged, 1),
        batch(2, 3, DeliveryState::Archived, 1),
        batch(4, 4, DeliveryState::Acknowledged, 1),
    ];
    assert_eq!((start, &batches[..]), (0, &expected[..]));
    assert_eq!(take(&mut partition, "b", &[span(0, 5)]), [(0, 0, 2)]);
    assert_eq!(partition.held_by("a"), 1);
}

#[test]
fn a_refused_write_gives_records_back_to_their_member() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 9)]);
    partition.acknowledge("a", &[ack(0, 9, AckKind::Accept)], &RULES).unwrap();
    write(&mut partition, false);
    assert_eq!(partition.start().get(), 0);
    assert_eq!(partition.held_by("a"), 10);
    partition.acknowledge("a", &[ack(0, 9, AckKind::Accept)], &RULES).unwrap();
    assert_eq!(write(&mut partition, true).0, 10);
    assert_eq!(partition.start().get(), 10);
}

#[test]
fn a_lock_that_ends_lets_others_have_the_record_until_it_was_delivered_too_often() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 4)]);
    assert_eq!(partition.next_deadline_us(), Some(1000));
    assert!(!partition.expire(999, &RULES));
    assert!(partition.expire(1000, &RULES));
    let accept = [ack(0, 4, AckKind::Accept)];
    assert_eq!(partition.acknowledge("a", &accept, &RULES), Err(KafkaCode::InvalidRecordState));
    assert_eq!(take(&mut partition, "b", &[span(0, 4)]), [(0, 4, 2)]);
    assert!(partition.expire(1000, &RULES));
    assert_eq!(partition.start().get(), 5, "delivered twice, given up");
    assert_eq!(take(&mut partition, "c", &[span(0, 4)]), []);
}

#[test]
fn a_delivery_that_a_crash_cuts_short_does_not_count() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 4)]);
    partition.expire(1000, &RULES);
    assert_eq!(take(&mut partition, "b", &[span(0, 4)]), [(0, 4, 2)]);
    let (start_offset, batches) = write(&mut partition, true);
    let state = ShareState { state_epoch: 0, start_offset, batches };
    let mut partition = SharePartition::new(&state, Offset::ZERO);
    assert_eq!(take(&mut partition, "c", &[span(0, 4)]), [(0, 4, 2)]);
}

#[test]
fn a_member_that_goes_releases_what_it_holds_and_has_not_settled() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 4)]);
    take(&mut partition, "b", &[span(5, 9)]);
    partition.acknowledge("a", &[ack(0, 1, AckKind::Accept)], &RULES).unwrap();
    assert!(partition.release("a", 1).is_some());
    assert_eq!(partition.release("nobody", 1), None);
    assert_eq!(partition.release("b", 2), None, "of another session");
    assert_eq!(take(&mut partition, "c", &[span(0, 9)]), [], "not before it is written");
    write(&mut partition, true);
    assert_eq!(partition.start().get(), 2);
    assert_eq!(take(&mut partition, "c", &[span(0, 9)]), [(2, 4, 1)]);
    assert_eq!(partition.held_by("b"), 5);
}

#[test]
fn batches_are_acquired_whole_until_there_are_records_enough() {
    let mut partition = fresh();
    let log = [span(0, 3), span(4, 7), span(8, 11)];
    let five = Acquisition { records_max: 5, batch_size: 1, ..by("a") };
    assert_eq!(take_by(&mut partition, &five, &log), [(0, 3, 1), (4, 7, 1)]);
    let rules = DeliveryRules { locks_max: 10, ..RULES };
    let ten = Acquisition { rules, ..by("a") };
    assert_eq!(take_by(&mut partition, &ten, &log), [(8, 11, 1)]);
    assert_eq!(partition.next_fetch(&rules), None, "all that may be under way is");
}

#[test]
fn small_batches_are_told_of_together_up_to_the_size_asked_for() {
    let mut partition = fresh();
    let log: Vec<BatchSpan> = (0..10).map(|offset| span(offset, offset)).collect();
    let four = Acquisition { batch_size: 4, ..by("a") };
    assert_eq!(take_by(&mut partition, &four, &log), [(0, 3, 1), (4, 7, 1), (8, 9, 1)]);
}

#[test]
fn offsets_that_the_log_does_not_have_and_aborted_records_go_to_nobody() {
    let mut partition = fresh();
    let aborted = BatchSpan { is_aborted: true, ..span(6, 8) };
    assert_eq!(
        take(&mut partition, "a", &[span(2, 3), aborted, span(10, 11)]),
        [(2, 3, 1), (10, 11, 1)]
    );
    assert_eq!((partition.start().get(), partition.end().get()), (2, 12));
    partition.acknowledge("a", &[ack(2, 3, AckKind::Accept)], &RULES).unwrap();
    write(&mut partition, true);
    assert_eq!(partition.start().get(), 10);
}

#[test]
fn a_log_that_begins_later_takes_records_from_whoever_holds_them() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 9)]);
    partition.acknowledge("a", &[ack(2, 3, AckKind::Accept)], &RULES).unwrap();
    assert!(partition.on_log_start(Offset::new(5)));
    assert!(!partition.on_log_start(Offset::new(4)));
    assert_eq!((partition.start().get(), partition.held_by("a")), (5, 5));
    // What is gone needs no word; the rest counts.
    partition.acknowledge("a", &[ack(0, 9, AckKind::Accept)], &RULES).unwrap();
    assert_eq!(write(&mut partition, true), (10, vec![]));
    assert!(partition.on_log_start(Offset::new(20)));
    assert_eq!((partition.start().get(), partition.end().get()), (20, 20));
    assert_eq!(take(&mut partition, "a", &[span(20, 20)]), [(20, 20, 1)]);
}

#[test]
fn a_start_goes_on_where_the_coordinator_knows_it() {
    let batch = |first, last, state| StateBatch { first, last, state, delivery_count: 1 };
    let batches = vec![
        batch(12, 13, DeliveryState::Acknowledged),
        batch(16, 16, DeliveryState::Available),
        batch(17, 18, DeliveryState::Archived),
    ];
    let state = ShareState { state_epoch: 4, start_offset: 10, batches };
    let mut partition = SharePartition::new(&state, Offset::new(99));
    assert_eq!((partition.start().get(), partition.end().get()), (10, 19));
    assert_eq!(
        take(&mut partition, "a", &[span(10, 20)]),
        [(10, 11, 1), (14, 15, 1), (16, 16, 2), (19, 20, 1)]
    );
    assert_eq!(partition.state_epoch(), 4);
}

#[test]
fn a_first_start_offset_is_written_before_anything_else() {
    let state = ShareState { state_epoch: 0, start_offset: -1, batches: vec![] };
    let mut partition = SharePartition::new(&state, Offset::new(42));
    assert_eq!(write(&mut partition, true), (42, vec![]));
    assert_eq!(partition.begin_write(), None);
    assert!(partition.is_idle());
}

#[test]
fn records_that_were_never_given_out_cannot_be_acknowledged() {
    let mut partition = fresh();
    take(&mut partition, "a", &[span(0, 4)]);
    for (batch, code) in [
        (ack(3, 5, AckKind::Accept), KafkaCode::InvalidRequest),
        (ack(u64::MAX - 1, u64::MAX, AckKind::Accept), KafkaCode::InvalidRequest),
        (ack(4, 3, AckKind::Accept), KafkaCode::InvalidRequest),
    ] {
        assert_eq!(partition.acknowledge("a", &[batch], &RULES), Err(code));
    }
    assert_eq!(partition.held_by("a"), 5);
}

#[test]
fn a_batch_larger_than_what_a_state_can_describe_is_acquired_in_pieces() {
    let mut partition = fresh();
    let many = SHARE_IN_FLIGHT_MAX as u64;
    let log = [span(0, 2 * many)];
    let all = Acquisition { records_max: usize::MAX, ..by("a") };
    assert_eq!(take_by(&mut partition, &all, &log), [(0, many - 1, 1)]);
    assert_eq!(take_by(&mut partition, &all, &log), []);
    partition.acknowledge("a", &[ack(0, many - 1, AckKind::Accept)], &RULES).unwrap();
    write(&mut partition, true);
    assert_eq!(take_by(&mut partition, &all, &log), [(many, 2 * many - 1, 1)]);
}
