use super::{Epochs, at_ms, offset, state};
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use crate::model::limits::{PUSH_BYTES_IN_FLIGHT_MAX, PUSH_BYTES_MAX, PUSH_SILENCE_MS};
use crate::replication::leader::{
    LeaderReplica, LeaderStart, PartitionState, ProposalOutcome, PushFailure, PushOrder,
};
use crate::replication::messages::{Ack, CloseReason, Open, OpenOutcome, StreamId};

const EPOCH: LeaderEpoch = LeaderEpoch(5);
const LAG_MAX_MS: u64 = 10_000;

fn leader(log_end: u64, high_watermark: u64, state: &PartitionState) -> LeaderReplica {
    let start = LeaderStart {
        local: BrokerId(1),
        epoch: EPOCH,
        epoch_start: offset(log_end),
        log_end: offset(log_end),
        safe_end: offset(log_end),
        high_watermark: offset(high_watermark),
        lag_max_ms: LAG_MAX_MS,
        now: at_ms(0),
    };
    LeaderReplica::new(start, state)
}

fn open(stream: u64, last_epoch: Option<i32>, log_end: u64) -> Open {
    Open {
        leader_epoch: EPOCH,
        stream: StreamId(stream),
        broker_epoch: BrokerEpoch(102),
        last_epoch: last_epoch.map(LeaderEpoch),
        log_end: offset(log_end),
    }
}

fn ack(stream: u64, received: u64, flushed: u64) -> Ack {
    Ack {
        leader_epoch: EPOCH,
        stream: StreamId(stream),
        broker_epoch: BrokerEpoch(102),
        received: offset(received),
        flushed: offset(flushed),
        taken_bytes: 0,
        log_start: Offset::ZERO,
    }
}

/// A leader whose log ends at 10, all of it by epoch 4, with broker 2 opened there.
fn feeding(isr: &[i32], min_isr: usize) -> LeaderReplica {
    let mut leader = leader(10, 6, &state(1, 2, isr, min_isr));
    let log = Epochs::new(&[(4, 0)], 10);
    let reply = log.view(|log| leader.on_open(BrokerId(2), &open(1, Some(4), 10), log, at_ms(0)));
    assert!(matches!(reply.outcome, OpenOutcome::Start { .. }));
    leader
}

fn push_all(leader: &mut LeaderReplica, to: u64, now_ms: u64) -> PushOrder {
    let order = leader.next_push(usize::MAX).expect("something to push");
    let head = leader.push_head(&order, Offset::ZERO).expect("the stream is open");
    leader.pushed(&order, &head, (offset(to), 100), at_ms(now_ms));
    order
}

#[test]
fn followers_that_are_not_in_sync_get_no_more_than_they_may() {
    let mut leader = feeding(&[1], 1);
    leader.on_local(offset(20), offset(20));
    assert_eq!(leader.next_push(0), None);
    assert_eq!(leader.next_push(77).map(|order| order.bytes_max), Some(77));
    let mut leader = feeding(&[1, 2], 1);
    leader.on_local(offset(20), offset(20));
    assert!(leader.next_push(0).is_some(), "one in sync is never held up");
}

#[test]
fn a_partition_with_one_replica_commits_what_is_safe_here() {
    let mut leader = leader(10, 3, &state(0, 1, &[1], 2));
    assert_eq!(leader.high_watermark(), offset(10));
    assert!(!leader.on_local(offset(20), offset(10)));
    assert!(leader.on_local(offset(20), offset(20)));
    assert!(!leader.is_below_min_isr());
    assert_eq!((leader.next_push(usize::MAX), leader.proposal(at_ms(0))), (None, None));
}

#[test]
fn an_open_is_answered_by_where_the_logs_part_ways() {
    let log = Epochs { starts: vec![(1, 5), (3, 20), (5, 30)], log_start: 5, log_end: 40 };
    let mut leader = leader(40, 30, &state(1, 2, &[1, 2], 1));
    let mut stream = 0;
    let mut outcome = |last_epoch, log_end| {
        stream += 1;
        let open = open(stream, last_epoch, log_end);
        log.view(|log| leader.on_open(BrokerId(2), &open, log, at_ms(0))).outcome
    };
    let start = |at| OpenOutcome::Start {
        offset: offset(at),
        high_watermark: offset(30),
        log_start: offset(5),
    };
    let diverge = |epoch, end| OpenOutcome::Diverge { epoch: LeaderEpoch(epoch), end: offset(end) };
    let out_of_range = OpenOutcome::OutOfRange { log_start: offset(5) };
    assert_eq!(outcome(Some(5), 40), start(40));
    assert_eq!(outcome(Some(5), 41), diverge(5, 40));
    assert_eq!(outcome(Some(3), 25), start(25));
    assert_eq!(outcome(Some(3), 31), diverge(3, 30));
    assert_eq!(outcome(Some(4), 25), diverge(3, 30));
    assert_eq!(outcome(Some(1), 4), out_of_range);
    assert_eq!(outcome(Some(0), 3), out_of_range);
    assert_eq!(outcome(Some(0), 9), diverge(0, 5));
    assert_eq!(outcome(Some(6), 99), diverge(5, 40));
    assert_eq!(outcome(None, 5), start(5));
    assert_eq!(outcome(None, 0), out_of_range);
    assert_eq!(outcome(None, 41), out_of_range);
}

#[test]
fn another_epoch_an_unknown_broker_or_an_older_attempt_moves_nothing() {
    let mut leader = feeding(&[1, 2], 1);
    let log = Epochs::new(&[(4, 0)], 10);
    let mut outcome = |from, open: Open| {
        log.view(|log| leader.on_open(BrokerId(from), &open, log, at_ms(0))).outcome
    };
    let older = Open { leader_epoch: LeaderEpoch(4), ..open(2, Some(4), 10) };
    let newer = Open { leader_epoch: LeaderEpoch(6), ..older };
    assert_eq!(outcome(2, older), OpenOutcome::Fenced);
    assert_eq!(outcome(2, newer), OpenOutcome::UnknownEpoch);
    assert_eq!(outcome(9, open(2, Some(4), 10)), OpenOutcome::NotReplica);
    assert_eq!(outcome(2, open(0, Some(4), 10)), OpenOutcome::NotReplica);
    let acks = [
        Ack { leader_epoch: LeaderEpoch(4), ..ack(1, 10, 10) },
        Ack { leader_epoch: LeaderEpoch(6), ..ack(1, 10, 10) },
        Ack { broker_epoch: BrokerEpoch(101), ..ack(1, 10, 10) },
        ack(2, 10, 10),
    ];
    for ack in acks {
        assert!(!leader.on_ack(BrokerId(2), &ack, at_ms(0)), "{ack:?}");
    }
    assert!(!leader.on_ack(BrokerId(9), &ack(1, 10, 10), at_ms(0)));
    assert_eq!(leader.high_watermark(), offset(6));
    assert!(leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(0)));
}

#[test]
fn committed_is_what_every_in_sync_replica_has_made_safe() {
    let mut leader = feeding(&[1, 2], 2);
    assert_eq!(leader.high_watermark(), offset(6));
    assert!(leader.on_ack(BrokerId(2), &ack(1, 10, 9), at_ms(1)));
    assert_eq!(leader.high_watermark(), offset(9));
    assert!(leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1)));
    leader.on_local(offset(20), offset(12));
    push_all(&mut leader, 20, 2);
    assert!(leader.on_ack(BrokerId(2), &ack(1, 20, 20), at_ms(3)));
    assert_eq!(leader.high_watermark(), offset(12), "not safe here yet");
    assert!(leader.on_local(offset(20), offset(20)));
    assert_eq!(leader.high_watermark(), offset(20));
}

#[test]
fn below_min_insync_replicas_nothing_is_committed() {
    let mut leader = feeding(&[1], 2);
    assert!(leader.is_below_min_isr());
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    assert_eq!(leader.high_watermark(), offset(6));
    let proposal = leader.proposal(at_ms(1)).expect("broker 2 has everything");
    let isr = [(BrokerId(1), BrokerEpoch(101)), (BrokerId(2), BrokerEpoch(102))];
    assert_eq!(proposal.isr, isr);
    let accepted =
        ProposalOutcome::Accepted { partition_epoch: 2, isr: vec![BrokerId(1), BrokerId(2)] };
    assert!(leader.on_proposal(&proposal, accepted, at_ms(2)));
    assert!(!leader.is_below_min_isr());
    assert_eq!(leader.high_watermark(), offset(10));
}

#[test]
fn a_replica_joins_only_with_everything_committed_and_as_it_is_registered() {
    let mut leader = feeding(&[1], 1);
    assert_eq!(leader.high_watermark(), offset(10));
    leader.on_ack(BrokerId(2), &ack(1, 10, 9), at_ms(1));
    assert_eq!(leader.proposal(at_ms(1)), None, "not safe up to the high watermark");
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    let mut restarted = state(1, 2, &[1], 1);
    restarted.replicas[1].broker_epoch = Some(BrokerEpoch(200));
    leader.on_partition_state(&restarted, at_ms(1));
    assert_eq!(leader.proposal(at_ms(1)), None, "the incarnation that acknowledged is gone");
    restarted.replicas[1].broker_epoch = None;
    leader.on_partition_state(&restarted, at_ms(1));
    assert_eq!(leader.proposal(at_ms(1)), None, "fenced");
    leader.on_partition_state(&state(1, 2, &[1], 1), at_ms(1));
    assert!(leader.proposal(at_ms(1)).is_some());
}

#[test]
fn one_that_is_to_join_holds_the_high_watermark_from_the_proposal_on() {
    let mut leader = feeding(&[1], 1);
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    let proposal = leader.proposal(at_ms(1)).expect("broker 2 has everything");
    assert_eq!(leader.proposal(at_ms(1)), None, "one at a time");
    assert!(!leader.on_local(offset(20), offset(20)));
    leader.on_proposal(&proposal, ProposalOutcome::Unknown, at_ms(2));
    assert_eq!(leader.high_watermark(), offset(10), "it may be committed");
    assert_eq!(leader.proposal(at_ms(600)).as_ref(), Some(&proposal), "the same again");
    leader.on_proposal(&proposal, ProposalOutcome::Superseded, at_ms(601));
    assert_eq!(leader.high_watermark(), offset(10), "the first one may have been what did it");
    assert_eq!(leader.proposal(at_ms(9000)), None);
    assert!(leader.on_partition_state(&state(2, 2, &[1], 1), at_ms(9001)));
    assert_eq!(leader.high_watermark(), offset(20));
}

#[test]
fn one_that_lags_too_long_leaves_but_counts_until_that_is_committed() {
    let mut leader = feeding(&[1, 2], 1);
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    leader.tick(at_ms(60_000));
    leader.on_local(offset(20), offset(20));
    assert_eq!(leader.proposal(at_ms(60_001)), None, "idle time is no lag");
    assert_eq!(leader.proposal(at_ms(60_000 + LAG_MAX_MS)), None);
    let proposal = leader.proposal(at_ms(60_001 + LAG_MAX_MS)).expect("it lags");
    assert_eq!(proposal.isr, [(BrokerId(1), BrokerEpoch(101))]);
    assert_eq!(leader.high_watermark(), offset(10));
    let accepted = ProposalOutcome::Accepted { partition_epoch: 2, isr: vec![BrokerId(1)] };
    assert!(leader.on_proposal(&proposal, accepted, at_ms(80_000)));
    assert_eq!(leader.high_watermark(), offset(20));
}

#[test]
fn a_follower_that_keeps_up_with_a_steady_flow_does_not_lag() {
    let mut leader = feeding(&[1, 2], 1);
    let mut sent = 10;
    for second in 1..60 {
        leader.on_local(offset(sent + 10), offset(sent + 10));
        push_all(&mut leader, sent + 10, second * 1000);
        // What it acknowledges is always what was the end one second ago.
        leader.on_ack(BrokerId(2), &ack(1, sent, sent), at_ms(second * 1000));
        assert_eq!(leader.proposal(at_ms(second * 1000)), None);
        sent += 10;
    }
}

#[test]
fn pushes_stop_at_the_bound_and_go_on_with_what_was_taken() {
    let mut leader = feeding(&[1, 2], 1);
    leader.on_local(offset(1000), offset(10));
    let mut end = 10;
    let mut bytes = 0;
    while let Some(order) = leader.next_push(usize::MAX) {
        assert_eq!(order.from, offset(end));
        assert!(order.bytes_max <= PUSH_BYTES_MAX);
        assert_eq!(leader.next_push(usize::MAX), None, "one order at a time");
        end += 1;
        let head = leader.push_head(&order, Offset::ZERO).unwrap();
        leader.pushed(&order, &head, (offset(end), order.bytes_max), at_ms(1));
        bytes += order.bytes_max;
    }
    assert_eq!(bytes, PUSH_BYTES_IN_FLIGHT_MAX);
    let taken_bytes = 10;
    leader.on_ack(BrokerId(2), &Ack { taken_bytes, ..ack(1, 11, 10) }, at_ms(2));
    assert_eq!(leader.next_push(usize::MAX).map(|order| order.bytes_max), Some(10));
}

#[test]
fn an_order_that_came_to_nothing_is_given_again_or_opens_anew() {
    let mut leader = feeding(&[1, 2], 1);
    leader.on_local(offset(20), offset(10));
    let order = leader.next_push(usize::MAX).unwrap();
    leader.push_failed(&order, PushFailure::NoRoom);
    assert_eq!(leader.next_push(usize::MAX), Some(order));
    leader.push_failed(&order, PushFailure::NotReadable);
    assert_eq!(leader.next_push(usize::MAX), None);
    assert_eq!(leader.push_head(&order, Offset::ZERO), None);
    let closes = leader.tick(at_ms(1));
    assert_eq!((closes[0].0, closes[0].1.reason), (BrokerId(2), CloseReason::Reopen));
    assert!(leader.tick(at_ms(2)).is_empty(), "not told too often");
    assert_eq!(leader.tick(at_ms(1000)).len(), 1, "told again: the first may be lost");
}

#[test]
fn pushes_that_lead_to_nothing_end_the_stream() {
    let mut leader = feeding(&[1, 2], 1);
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    assert!(leader.tick(at_ms(1000 * PUSH_SILENCE_MS)).is_empty(), "idle is not silent");
    let now_ms = 1000 * PUSH_SILENCE_MS;
    leader.on_local(offset(20), offset(10));
    push_all(&mut leader, 20, now_ms);
    assert!(leader.tick(at_ms(now_ms + PUSH_SILENCE_MS - 1)).is_empty());
    assert_eq!(leader.tick(at_ms(now_ms + PUSH_SILENCE_MS)).len(), 1);
}

#[test]
fn an_ack_of_what_was_never_sent_ends_the_stream() {
    let mut leader = feeding(&[1, 2], 1);
    assert!(!leader.on_ack(BrokerId(2), &ack(1, 11, 11), at_ms(1)));
    assert_eq!(leader.tick(at_ms(1)).len(), 1);
    assert_eq!(leader.high_watermark(), offset(6));
}

#[test]
fn a_follower_with_everything_is_told_of_the_high_watermark_once() {
    let mut leader = feeding(&[1, 2], 1);
    leader.on_ack(BrokerId(2), &ack(1, 10, 10), at_ms(1));
    let (to, beat) = leader.next_beat(offset(2)).unwrap();
    assert_eq!((to, beat.high_watermark, beat.log_start), (BrokerId(2), offset(10), offset(2)));
    assert_eq!(leader.next_beat(offset(2)), None);
    assert!(leader.next_beat(offset(3)).is_some());
    leader.on_local(offset(11), offset(11));
    assert_eq!(leader.next_beat(offset(4)), None, "the push will say it");
}

#[test]
fn a_leader_that_resigns_tells_whom_it_fed() {
    let mut leader = feeding(&[1, 2], 1);
    let closes = leader.resign();
    assert_eq!((closes.len(), closes[0].1.reason), (1, CloseReason::Resigned));
    assert_eq!(leader.next_push(usize::MAX), None);
}
