use super::{Epochs, at_ms, offset};
use crate::model::ids::{BrokerEpoch, LeaderEpoch, Offset};
use crate::model::limits::{REPLICA_EARLY_OPENS, REPLICA_OPEN_RETRY_MS};
use crate::replication::follower::{
    FollowerReplica, FollowerState, LogEnds, OpenStep, PushVerdict,
};
use crate::replication::messages::{
    Close, CloseReason, HighWatermark, Open, OpenOutcome, OpenReply, PushHead, StreamId,
};

const EPOCH: LeaderEpoch = LeaderEpoch(5);

fn follower(high_watermark: u64) -> FollowerReplica {
    FollowerReplica::new(EPOCH, BrokerEpoch(102), offset(high_watermark))
}

fn ends(received: Offset, flushed: Offset) -> LogEnds {
    LogEnds { log_start: Offset::ZERO, received, flushed }
}

fn open(follower: &mut FollowerReplica, log: &Epochs, now_ms: u64) -> Open {
    log.view(|log| follower.tick(log, at_ms(now_ms))).expect("an Open is due")
}

fn answer(follower: &mut FollowerReplica, log: &Epochs, outcome: OpenOutcome) -> OpenStep {
    let open = open(follower, log, 100_000);
    let reply = OpenReply { leader_epoch: EPOCH, stream: open.stream, outcome };
    log.view(|log| follower.on_open_reply(&reply, log))
}

fn start(at: u64, high_watermark: u64) -> OpenOutcome {
    OpenOutcome::Start {
        offset: offset(at),
        high_watermark: offset(high_watermark),
        log_start: Offset::ZERO,
    }
}

fn head(stream: StreamId, from: u64, high_watermark: u64) -> PushHead {
    PushHead {
        leader_epoch: EPOCH,
        stream,
        from: offset(from),
        high_watermark: offset(high_watermark),
        log_start: Offset::ZERO,
    }
}

/// A follower that is fed from 10 on, and its stream.
fn fed() -> (FollowerReplica, StreamId) {
    let mut follower = follower(4);
    let log = Epochs::new(&[(4, 0)], 10);
    let opened = open(&mut follower, &log, 1);
    let outcome = start(10, 20);
    let reply = OpenReply { leader_epoch: EPOCH, stream: opened.stream, outcome };
    let step = log.view(|log| follower.on_open_reply(&reply, log));
    assert_eq!((step, follower.state()), (OpenStep::Stream, FollowerState::CatchingUp));
    (follower, opened.stream)
}

#[test]
fn an_open_is_repeated_until_it_is_answered_and_older_answers_are_passed_over() {
    let mut follower = follower(0);
    let log = Epochs::new(&[(4, 0)], 10);
    let first = open(&mut follower, &log, 1);
    assert_eq!((first.last_epoch, first.log_end), (Some(LeaderEpoch(4)), offset(10)));
    assert_eq!(log.view(|log| follower.tick(log, at_ms(REPLICA_OPEN_RETRY_MS))), None);
    let second = open(&mut follower, &log, 1 + REPLICA_OPEN_RETRY_MS);
    assert!(second.stream > first.stream);
    for (leader_epoch, stream) in [(EPOCH, first.stream), (LeaderEpoch(4), second.stream)] {
        let reply = OpenReply { leader_epoch, stream, outcome: start(10, 0) };
        assert_eq!(log.view(|log| follower.on_open_reply(&reply, log)), OpenStep::Wait);
    }
    assert_eq!(follower.state(), FollowerState::Opening);
}

#[test]
fn a_leader_that_has_not_heard_that_it_leads_is_asked_again_soon_but_not_for_ever() {
    let mut follower = follower(0);
    let log = Epochs::new(&[(4, 0)], 10);
    let mut asked = 0;
    while let Some(open) = log.view(|log| follower.tick(log, at_ms(1))) {
        asked += 1;
        let outcome = OpenOutcome::NotLeader;
        let reply = OpenReply { leader_epoch: EPOCH, stream: open.stream, outcome };
        assert_eq!(log.view(|log| follower.on_open_reply(&reply, log)), OpenStep::Wait);
    }
    assert_eq!(asked, 1 + REPLICA_EARLY_OPENS);
    assert!(log.view(|log| follower.tick(log, at_ms(1 + REPLICA_OPEN_RETRY_MS))).is_some());
}

#[test]
fn a_log_is_cut_where_both_agree_that_the_epoch_ends() {
    let log = Epochs { starts: vec![(1, 5), (3, 20), (4, 30)], log_start: 5, log_end: 40 };
    let cut = |epoch, end| {
        let outcome = OpenOutcome::Diverge { epoch: LeaderEpoch(epoch), end: offset(end) };
        match answer(&mut follower(25), &log, outcome) {
            OpenStep::Truncate { to, is_below_high_watermark } => {
                (to.get(), is_below_high_watermark)
            }
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(cut(4, 35), (35, false));
    assert_eq!(cut(3, 90), (30, false));
    assert_eq!(cut(3, 28), (28, false));
    assert_eq!(cut(2, 28), (20, true), "it has nothing of epoch 2: epoch 1 ended at 20");
    assert_eq!(cut(0, 3), (5, true), "not below its own start");
}

#[test]
fn a_damaged_log_is_fetched_anew_from_the_damage_on_before_any_of_it_is_acknowledged() {
    let (mut follower, _) = fed();
    let ends = LogEnds { log_start: Offset::ZERO, received: offset(10), flushed: offset(10) };
    follower.await_mending();
    assert_eq!(follower.on_ends(ends), None);
    follower.mend_from(offset(6));
    assert_eq!(
        (follower.state(), follower.high_watermark()),
        (FollowerState::Truncating, offset(6))
    );
    assert_eq!(follower.on_ends(ends), None);
    let cut = Epochs::new(&[(4, 0)], 6);
    let open = cut.view(|log| follower.on_truncated(log, at_ms(100_001)));
    assert_eq!(open.log_end, offset(6));
}

#[test]
fn what_the_leader_has_deleted_begins_the_log_anew() {
    let log = Epochs::new(&[(4, 0)], 10);
    let mut follower = follower(10);
    let step = answer(&mut follower, &log, OpenOutcome::OutOfRange { log_start: offset(50) });
    assert_eq!(step, OpenStep::Restart { at: offset(50), is_below_high_watermark: false });
    let empty = Epochs { starts: Vec::new(), log_start: 50, log_end: 50 };
    let open = empty.view(|log| follower.on_truncated(log, at_ms(100_001)));
    assert_eq!((open.last_epoch, open.log_end), (None, offset(50)));
}

#[test]
fn nothing_is_taken_while_the_log_is_being_cut() {
    let log = Epochs::new(&[(4, 0)], 10);
    let mut follower = follower(4);
    let outcome = OpenOutcome::Diverge { epoch: LeaderEpoch(4), end: offset(8) };
    answer(&mut follower, &log, outcome);
    assert_eq!(follower.state(), FollowerState::Truncating);
    follower.on_peer_down();
    assert_eq!(log.view(|log| follower.tick(log, at_ms(900_000))), None);
    let verdict = follower.on_push(&head(StreamId(100_000_000), 10, 10), 1, offset(10));
    assert_eq!(verdict, PushVerdict::Stale);
    assert_eq!(follower.on_ends(ends(offset(10), offset(10))), None);
    let cut = Epochs::new(&[(4, 0)], 8);
    cut.view(|log| follower.on_truncated(log, at_ms(900_000)));
    assert_eq!(follower.state(), FollowerState::Opening);
}

#[test]
fn a_push_counts_only_at_the_log_end_in_its_epoch_and_stream() {
    let (mut follower, stream) = fed();
    let older = PushHead { leader_epoch: LeaderEpoch(4), ..head(stream, 10, 0) };
    assert_eq!(follower.on_push(&older, 1, offset(10)), PushVerdict::Stale);
    let other = head(StreamId(stream.0 - 1), 10, 0);
    assert_eq!(follower.on_push(&other, 1, offset(10)), PushVerdict::Stale);
    assert_eq!(follower.on_push(&head(stream, 10, 0), 1, offset(10)), PushVerdict::Append);
    assert_eq!(follower.on_push(&head(stream, 13, 0), 1, offset(12)), PushVerdict::Reopen);
    assert_eq!(follower.on_push(&head(stream, 12, 0), 1, offset(12)), PushVerdict::Stale);
    let log = Epochs::new(&[(4, 0)], 12);
    assert!(open(&mut follower, &log, 2).stream > stream);
}

#[test]
fn acks_say_news_only_and_count_the_bytes_that_were_taken() {
    let (mut follower, stream) = fed();
    let first = follower.on_ends(ends(offset(10), offset(8))).unwrap();
    assert_eq!((first.received, first.flushed, first.taken_bytes), (offset(10), offset(8), 0));
    assert_eq!(follower.on_ends(ends(offset(10), offset(8))), None);
    follower.on_push(&head(stream, 10, 0), 70, offset(10));
    follower.on_push(&head(stream, 11, 0), 30, offset(11));
    assert_eq!(follower.owed_bytes(), 100);
    follower.grant(60);
    let second = follower.on_ends(ends(offset(12), offset(8))).unwrap();
    assert_eq!((second.received, second.taken_bytes), (offset(12), 60));
    follower.grant(40);
    let third = follower.on_ends(ends(offset(12), offset(8))).unwrap();
    assert_eq!(third.taken_bytes, 100, "a throttled follower makes room later");
}

#[test]
fn the_high_watermark_rises_to_what_is_here_and_no_further() {
    let (mut follower, stream) = fed();
    assert_eq!(follower.high_watermark(), offset(10), "the leader's is 20, the log ends at 10");
    follower.on_push(&head(stream, 10, 20), 1, offset(10));
    assert!(follower.on_appended(&head(stream, 10, 20), offset(15)));
    assert_eq!(
        (follower.high_watermark(), follower.state()),
        (offset(15), FollowerState::CatchingUp)
    );
    follower.on_push(&head(stream, 15, 20), 1, offset(15));
    assert!(follower.on_appended(&head(stream, 15, 20), offset(25)));
    assert_eq!((follower.high_watermark(), follower.state()), (offset(20), FollowerState::InSync));
    let beat = |leader_epoch, high_watermark| HighWatermark {
        leader_epoch,
        stream,
        high_watermark: offset(high_watermark),
        log_start: offset(3),
    };
    assert!(!follower.on_high_watermark(&beat(EPOCH, 12), offset(25)), "never back");
    assert!(!follower.on_high_watermark(&beat(LeaderEpoch(6), 25), offset(25)));
    assert!(follower.on_high_watermark(&beat(EPOCH, 24), offset(25)));
    assert_eq!((follower.high_watermark(), follower.leader_log_start()), (offset(24), offset(3)));
}

#[test]
fn a_close_of_the_own_stream_opens_another() {
    let (mut follower, stream) = fed();
    let log = Epochs::new(&[(4, 0)], 10);
    let close = |stream, reason| Close { leader_epoch: EPOCH, stream, reason };
    let other = close(StreamId(stream.0 - 1), CloseReason::Reopen);
    assert_eq!(log.view(|log| follower.on_close(&other, log, at_ms(2))), None);
    let own = close(stream, CloseReason::Reopen);
    let open = log.view(|log| follower.on_close(&own, log, at_ms(2))).unwrap();
    assert!(open.stream > stream);
    let resigned = close(open.stream, CloseReason::Resigned);
    assert_eq!(log.view(|log| follower.on_close(&resigned, log, at_ms(3))), None);
    assert!(log.view(|log| follower.tick(log, at_ms(3 + REPLICA_OPEN_RETRY_MS))).is_some());
}
