use super::script::{World, check, check_with};
use crate::coordinator::group::GroupConfig;
use expect_test::expect;

/// Without the initial delay, so that scripts stay short.
fn at_once() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }
}

/// Two members, a leads, stable in generation 2.
const TWO_STABLE: &str = "
    join a v=3
    sync a assign=a:x
    join b v=3
    join a
    sync a assign=a:x1,b:y1
    sync b
";

fn then(rest: &str) -> String {
    format!("{TWO_STABLE}\n{rest}")
}

#[test]
fn a_first_member_is_given_an_id_waits_out_the_delay_and_gets_its_assignment() {
    check(
        "join a
         describe
         join a
         describe
         wait 3000
         describe
         beat a
         sync a assign=a:p0,ghost:p1
         describe
         beat a
         list",
        expect![[r#"
            > join a
              a <- MEMBER_ID_REQUIRED "a-1"
            > describe
              - <- NONE Empty "" "" []
            > join a
            > describe
              - <- NONE PreparingRebalance "consumer" "" ["a-1 a/127.0.0.1 ="]
            > wait 3000
              at 3000 ms
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > describe
              - <- NONE CompletingRebalance "consumer" "" ["a-1 a/127.0.0.1 ="]
            > beat a
              a <- NONE
            > sync a assign=a:p0,ghost:p1
              log: generation 1 range leader a-1 ["a-1=p0"]
              a <- assigned "p0"
            > describe
              - <- NONE Stable "consumer" "range" ["a-1 a/127.0.0.1 sub=p0"]
            > beat a
              a <- NONE
            > list
              - <- ["g \"consumer\" Stable classic"]
        "#]],
    );
}

#[test]
fn the_initial_delay_is_extended_by_each_newcomer_up_to_the_rebalance_timeout() {
    check(
        "join a v=3 rebalance=8000
         wait 2000
         join b v=3 rebalance=8000
         wait 2000
         join c v=3 rebalance=8000
         wait 9000",
        expect![[r#"
            > join a v=3 rebalance=8000
            > wait 2000
            > join b v=3 rebalance=8000
            > wait 2000
            > join c v=3 rebalance=8000
            > wait 9000
              at 8000 ms
              a <- generation 1 range a-1 leader a-1 ["a-1=sub", "b-2=sub", "c-3=sub"]
              b <- generation 1 range b-2 leader a-1 []
              c <- generation 1 range c-3 leader a-1 []
        "#]],
    );
}

#[test]
fn a_second_member_makes_the_first_rejoin() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:all
         join b
         join b
         beat a
         commit a t:0=5
         join a
         beat a
         commit a t:0=6
         sync b
         sync a assign=a:half,b:other
         commit a t:0=7
         beat b",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:all
              log: generation 1 range leader a-1 ["a-1=all"]
              a <- assigned "all"
            > join b
              b <- MEMBER_ID_REQUIRED "b-2"
            > join b
            > beat a
              a <- REBALANCE_IN_PROGRESS
            > commit a t:0=5
              log: t:0 = 5@-1
              a <- t:0 NONE
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > beat a
              a <- NONE
            > commit a t:0=6
              a <- REBALANCE_IN_PROGRESS
            > sync b
            > sync a assign=a:half,b:other
              log: generation 2 range leader a-1 ["a-1=half", "b-2=other"]
              a <- assigned "half"
              b <- assigned "other"
            > commit a t:0=7
              log: t:0 = 7@-1
              a <- t:0 NONE
            > beat b
              b <- NONE
        "#]],
    );
}

#[test]
fn a_leader_that_leaves_hands_over() {
    check_with(
        at_once(),
        &then("leave a\nbeat b\njoin b\nsync b assign=b:all"),
        expect![[r#"
        > join a v=3
          a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
        > sync a assign=a:x
          log: generation 1 range leader a-1 ["a-1=x"]
          a <- assigned "x"
        > join b v=3
        > join a
          a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
          b <- generation 2 range b-2 leader a-1 []
        > sync a assign=a:x1,b:y1
          log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
          a <- assigned "x1"
        > sync b
          b <- assigned "y1"
        > leave a
          a <- NONE
        > beat b
          b <- REBALANCE_IN_PROGRESS
        > join b
          b <- generation 3 range b-2 leader b-2 ["b-2=sub"]
        > sync b assign=b:all
          log: generation 3 range leader b-2 ["b-2=all"]
          b <- assigned "all"
    "#]],
    );
}

#[test]
fn the_last_to_leave_leaves_an_empty_group_behind() {
    check_with(
        at_once(),
        &then("leave a b\ndescribe\nlist\ndelete\nlist"),
        expect![[r#"
        > join a v=3
          a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
        > sync a assign=a:x
          log: generation 1 range leader a-1 ["a-1=x"]
          a <- assigned "x"
        > join b v=3
        > join a
          a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
          b <- generation 2 range b-2 leader a-1 []
        > sync a assign=a:x1,b:y1
          log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
          a <- assigned "x1"
        > sync b
          b <- assigned "y1"
        > leave a b
          log: generation 3 - leader - []
          a <- NONE, NONE
        > describe
          - <- NONE Empty "consumer" "" []
        > list
          - <- ["g \"consumer\" Empty classic"]
        > delete
          log: group removed
          - <- NONE
        > list
          - <- []
    "#]],
    );
}

#[test]
fn a_member_that_falls_silent_is_out_after_its_session() {
    check_with(
        at_once(),
        &then(
            "wait 9000
             beat b
             wait 2000
             beat b
             join b
             beat a",
        ),
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x1,b:y1
              log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
              a <- assigned "x1"
            > sync b
              b <- assigned "y1"
            > wait 9000
            > beat b
              b <- NONE
            > wait 2000
            > beat b
              b <- REBALANCE_IN_PROGRESS
            > join b
              b <- generation 3 range b-2 leader b-2 ["b-2=sub"]
            > beat a
              a <- UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn whoever_does_not_rejoin_in_time_is_out_and_a_joined_member_leads() {
    check_with(
        at_once(),
        "join a v=3 rebalance=5000 session=30000
         sync a assign=a:x
         join b v=3 rebalance=5000
         wait 5000
         sync b assign=b:all
         beat a",
        expect![[r#"
            > join a v=3 rebalance=5000 session=30000
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3 rebalance=5000
            > wait 5000
              at 5000 ms
              b <- generation 2 range b-2 leader b-2 ["b-2=sub"]
            > sync b assign=b:all
              log: generation 2 range leader b-2 ["b-2=all"]
              b <- assigned "all"
            > beat a
              a <- UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn whoever_does_not_sync_in_time_is_out() {
    check_with(
        at_once(),
        "join a v=3 rebalance=5000 session=30000
         sync a assign=a:x
         join b v=3 rebalance=5000 session=30000
         join a rebalance=5000 session=30000
         sync a assign=a:x,b:y
         wait 5000
         join a rebalance=5000 session=30000
         beat b",
        expect![[r#"
            > join a v=3 rebalance=5000 session=30000
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3 rebalance=5000 session=30000
            > join a rebalance=5000 session=30000
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x,b:y
              log: generation 2 range leader a-1 ["a-1=x", "b-2=y"]
              a <- assigned "x"
            > wait 5000
            > join a rebalance=5000 session=30000
              a <- generation 3 range a-1 leader a-1 ["a-1=sub"]
            > beat b
              b <- UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn members_without_a_common_protocol_do_not_meet() {
    check_with(
        at_once(),
        "join a v=3 protocols=
         join a v=3 type=connect protocols=eager:x,compatible:y
         join b v=3 type=connect protocols=compatible:z
         join a type=connect protocols=eager:x,compatible:y
         join c v=3 type=connect protocols=eager:w
         join c v=3 type=consumer protocols=compatible:w
         sync b protocols=eager type=connect
         sync b protocols=compatible type=consumer",
        expect![[r#"
            > join a v=3 protocols=
              a <- INCONSISTENT_GROUP_PROTOCOL ""
            > join a v=3 type=connect protocols=eager:x,compatible:y
              a <- generation 1 eager a-2 leader a-2 ["a-2=x"]
            > join b v=3 type=connect protocols=compatible:z
            > join a type=connect protocols=eager:x,compatible:y
              a <- generation 2 compatible a-2 leader a-2 ["a-2=y", "b-3=z"]
              b <- generation 2 compatible b-3 leader a-2 []
            > join c v=3 type=connect protocols=eager:w
              c <- INCONSISTENT_GROUP_PROTOCOL ""
            > join c v=3 type=consumer protocols=compatible:w
              c <- INCONSISTENT_GROUP_PROTOCOL ""
            > sync b protocols=eager type=connect
              b <- INCONSISTENT_GROUP_PROTOCOL
            > sync b protocols=compatible type=consumer
              b <- INCONSISTENT_GROUP_PROTOCOL
        "#]],
    );
}

#[test]
fn members_vote_for_the_protocol_they_prefer() {
    check_with(
        at_once(),
        "join a v=3 protocols=range:1,sticky:2,rr:3
         join b v=3 protocols=sticky:4,range:5
         join a protocols=range:1,sticky:2,rr:3
         join c v=3 protocols=sticky:6,range:7
         join a protocols=range:1,sticky:2,rr:3
         join b protocols=sticky:4,range:5",
        expect![[r#"
            > join a v=3 protocols=range:1,sticky:2,rr:3
              a <- generation 1 range a-1 leader a-1 ["a-1=1"]
            > join b v=3 protocols=sticky:4,range:5
            > join a protocols=range:1,sticky:2,rr:3
              a <- generation 2 range a-1 leader a-1 ["a-1=1", "b-2=5"]
              b <- generation 2 range b-2 leader a-1 []
            > join c v=3 protocols=sticky:6,range:7
            > join a protocols=range:1,sticky:2,rr:3
            > join b protocols=sticky:4,range:5
              a <- generation 3 sticky a-1 leader a-1 ["a-1=2", "b-2=4", "c-4=6"]
              b <- generation 3 sticky b-2 leader a-1 []
              c <- generation 3 sticky c-4 leader a-1 []
        "#]],
    );
}

#[test]
fn subscriptions_and_assignments_of_any_bytes_are_relayed_untouched() {
    check_with(
        at_once(),
        "join a v=3 protocols=cooperative-sticky:\u{1}\u{0}owned{partitions}+generation
         sync a assign=a:\u{7f}{any}bytes
         sync a",
        expect![[r#"
            > join a v=3 protocols=cooperative-sticky:\u{1}\0owned{partitions}+generation
              a <- generation 1 cooperative-sticky a-1 leader a-1 ["a-1=\\u{1}\\0owned{partitions}+generation"]
            > sync a assign=a:\u{7f}{any}bytes
              log: generation 1 cooperative-sticky leader a-1 ["a-1=\\u{7f}{any}bytes"]
              a <- assigned "\\u{7f}{any}bytes"
            > sync a
              a <- assigned "\\u{7f}{any}bytes"
        "#]],
    );
}

#[test]
fn a_repeated_join_gets_the_same_answer_and_starts_nothing() {
    check_with(
        at_once(),
        &then("join b\nbeat a\njoin b protocols=range:new\nbeat a"),
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x1,b:y1
              log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
              a <- assigned "x1"
            > sync b
              b <- assigned "y1"
            > join b
              b <- generation 2 range b-2 leader a-1 []
            > beat a
              a <- NONE
            > join b protocols=range:new
            > beat a
              a <- REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn a_leader_may_ask_for_a_rebalance_by_joining_again() {
    check_with(
        at_once(),
        &then("join a\nbeat b\njoin b"),
        expect![[r#"
        > join a v=3
          a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
        > sync a assign=a:x
          log: generation 1 range leader a-1 ["a-1=x"]
          a <- assigned "x"
        > join b v=3
        > join a
          a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
          b <- generation 2 range b-2 leader a-1 []
        > sync a assign=a:x1,b:y1
          log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
          a <- assigned "x1"
        > sync b
          b <- assigned "y1"
        > join a
        > beat b
          b <- REBALANCE_IN_PROGRESS
        > join b
          a <- generation 3 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
          b <- generation 3 range b-2 leader a-1 []
    "#]],
    );
}

#[test]
fn a_join_during_the_sync_phase_turns_the_waiting_syncs_away() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:x
         join b v=3
         join a
         sync b
         join c v=3",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync b
            > join c v=3
              b <- REBALANCE_IN_PROGRESS
        "#]],
    );
}

#[test]
fn wrong_generations_and_strangers_are_refused_and_the_group_is_unharmed() {
    check_with(
        at_once(),
        &then(
            "beat a gen=1
             beat a id=stranger
             sync a gen=7
             sync a id=stranger
             join x id=stranger
             leave x
             commit a t:0=1 gen=1
             commit a t:0=1 id=stranger
             commit - t:0=1
             beat a
             beat b",
        ),
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x1,b:y1
              log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
              a <- assigned "x1"
            > sync b
              b <- assigned "y1"
            > beat a gen=1
              a <- ILLEGAL_GENERATION
            > beat a id=stranger
              a <- UNKNOWN_MEMBER_ID
            > sync a gen=7
              a <- ILLEGAL_GENERATION
            > sync a id=stranger
              a <- UNKNOWN_MEMBER_ID
            > join x id=stranger
              x <- UNKNOWN_MEMBER_ID "stranger"
            > leave x
              x <- UNKNOWN_MEMBER_ID
            > commit a t:0=1 gen=1
              a <- ILLEGAL_GENERATION
            > commit a t:0=1 id=stranger
              a <- UNKNOWN_MEMBER_ID
            > commit - t:0=1
              - <- UNKNOWN_MEMBER_ID
            > beat a
              a <- NONE
            > beat b
              b <- NONE
        "#]],
    );
}

#[test]
fn a_group_that_is_not_there_knows_nobody() {
    check(
        "join a id=a-9
         sync a id=a-9 gen=1
         beat a id=a-9 gen=1
         leave a
         describe
         delete
         forget t:0
         fetch t:0 t:1
         fetch all
         commit a t:0=1 id=a-9 gen=1
         commit a t:0=1 id=a-9 gen=1 v=9",
        expect![[r#"
            > join a id=a-9
              a <- UNKNOWN_MEMBER_ID "a-9"
            > sync a id=a-9 gen=1
              a <- UNKNOWN_MEMBER_ID
            > beat a id=a-9 gen=1
              a <- UNKNOWN_MEMBER_ID
            > leave a
              a <- UNKNOWN_MEMBER_ID
            > describe
              - <- GROUP_ID_NOT_FOUND Dead "" "" []
            > delete
              - <- GROUP_ID_NOT_FOUND
            > forget t:0
              t:0 <- GROUP_ID_NOT_FOUND
            > fetch t:0 t:1
              t:0 <- t:0 -1@-1 "", t:1 -1@-1 ""
            > fetch all
              all <- 
            > commit a t:0=1 id=a-9 gen=1
              a <- ILLEGAL_GENERATION
            > commit a t:0=1 id=a-9 gen=1 v=9
              a <- GROUP_ID_NOT_FOUND
        "#]],
    );
}

#[test]
fn session_timeouts_out_of_range_are_refused() {
    check(
        "join a session=5999
         join a session=1800001
         join a session=-1
         join a session=6000
         join b session=1800000",
        expect![[r#"
            > join a session=5999
              a <- INVALID_SESSION_TIMEOUT ""
            > join a session=1800001
              a <- INVALID_SESSION_TIMEOUT ""
            > join a session=-1
              a <- INVALID_SESSION_TIMEOUT ""
            > join a session=6000
              a <- MEMBER_ID_REQUIRED "a-4"
            > join b session=1800000
              b <- MEMBER_ID_REQUIRED "b-5"
        "#]],
    );
}

#[test]
fn a_full_group_refuses_newcomers_and_keeps_its_members() {
    check_with(
        GroupConfig { size_max: 2, ..at_once() },
        &then("join c\njoin c v=3\nbeat a\njoin a\njoin b\njoin c v=3"),
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x1,b:y1
              log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
              a <- assigned "x1"
            > sync b
              b <- assigned "y1"
            > join c
              c <- GROUP_MAX_SIZE_REACHED ""
            > join c v=3
              c <- GROUP_MAX_SIZE_REACHED ""
            > beat a
              a <- NONE
            > join a
            > join b
              a <- generation 3 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 3 range b-2 leader a-1 []
            > join c v=3
              c <- GROUP_MAX_SIZE_REACHED ""
        "#]],
    );
}

#[test]
fn an_id_that_is_never_used_lapses_and_holds_nobody_up_for_long() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:x
         join b
         join a
         wait 9999
         wait 1
         join b",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b
              b <- MEMBER_ID_REQUIRED "b-2"
            > join a
            > wait 9999
            > wait 1
              at 10000 ms
              a <- generation 2 range a-1 leader a-1 ["a-1=sub"]
            > join b
              b <- UNKNOWN_MEMBER_ID "b-2"
        "#]],
    );
}

#[test]
fn a_static_member_returns_to_its_place_without_a_rebalance() {
    check_with(
        at_once(),
        "join a instance=i1
         sync a instance=i1 assign=a:x
         join b instance=i2
         join a instance=i1
         sync a instance=i1 assign=a:x,b:y
         sync b instance=i2
         join b2 instance=i2
         sync b2 instance=i2
         beat b instance=i2
         beat b
         sync b instance=i2
         commit b t:0=1 instance=i2
         join b instance=i2
         beat a instance=i1
         describe
         restart
         beat b2 instance=i2
         beat a instance=i1",
        expect![[r#"
            > join a instance=i1
              a <- generation 1 range i1-1 leader i1-1 ["i1-1=sub"]
            > sync a instance=i1 assign=a:x
              log: generation 1 range leader i1-1 ["i1-1=x"]
              a <- assigned "x"
            > join b instance=i2
            > join a instance=i1
              a <- generation 2 range i1-1 leader i1-1 ["i1-1=sub", "i2-2=sub"]
              b <- generation 2 range i2-2 leader i1-1 []
            > sync a instance=i1 assign=a:x,b:y
              log: generation 2 range leader i1-1 ["i1-1=x", "i2-2=y"]
              a <- assigned "x"
            > sync b instance=i2
              b <- assigned "y"
            > join b2 instance=i2
              log: generation 2 range leader i1-1 ["i1-1=x", "i2-4=y"]
              b2 <- generation 2 range i2-4 leader i1-1 []
            > sync b2 instance=i2
              b2 <- assigned "y"
            > beat b instance=i2
              b <- FENCED_INSTANCE_ID
            > beat b
              b <- UNKNOWN_MEMBER_ID
            > sync b instance=i2
              b <- FENCED_INSTANCE_ID
            > commit b t:0=1 instance=i2
              b <- FENCED_INSTANCE_ID
            > join b instance=i2
              b <- FENCED_INSTANCE_ID "i2-2"
            > beat a instance=i1
              a <- NONE
            > describe
              - <- NONE Stable "consumer" "range" ["i1-1 a/127.0.0.1 sub=x", "i2-4 b/127.0.0.1 sub=y"]
            > restart
            > beat b2 instance=i2
              b2 <- NONE
            > beat a instance=i1
              a <- NONE
        "#]],
    );
}

#[test]
fn a_static_leader_returns_as_leader_and_is_told_to_keep_the_assignment() {
    check_with(
        at_once(),
        "join a instance=i1
         sync a instance=i1 assign=a:x
         join a9 instance=i1
         sync a9 instance=i1
         join a8 instance=i1 v=8
         sync a8 instance=i1",
        expect![[r#"
            > join a instance=i1
              a <- generation 1 range i1-1 leader i1-1 ["i1-1=sub"]
            > sync a instance=i1 assign=a:x
              log: generation 1 range leader i1-1 ["i1-1=x"]
              a <- assigned "x"
            > join a9 instance=i1
              log: generation 1 range leader i1-2 ["i1-2=x"]
              a9 <- generation 1 range i1-2 leader i1-2 ["i1-2=sub"] skip assignment
            > sync a9 instance=i1
              a9 <- assigned "x"
            > join a8 instance=i1 v=8
              log: generation 1 range leader i1-3 ["i1-3=x"]
              a8 <- generation 1 range i1-3 leader i1-2 []
            > sync a8 instance=i1
              a8 <- assigned "x"
        "#]],
    );
}

#[test]
fn a_static_member_that_returns_with_another_subscription_rebalances() {
    check_with(
        at_once(),
        "join a instance=i1 protocols=range:s,rr:s
         sync a instance=i1 assign=a:x
         join a2 instance=i1 protocols=rr:s
         join a3 instance=i1 protocols=rr:s
         sync a2 instance=i1
         sync a3 instance=i1 assign=a3:y",
        expect![[r#"
            > join a instance=i1 protocols=range:s,rr:s
              a <- generation 1 range i1-1 leader i1-1 ["i1-1=s"]
            > sync a instance=i1 assign=a:x
              log: generation 1 range leader i1-1 ["i1-1=x"]
              a <- assigned "x"
            > join a2 instance=i1 protocols=rr:s
              a2 <- generation 2 rr i1-2 leader i1-2 ["i1-2=s"]
            > join a3 instance=i1 protocols=rr:s
              a3 <- generation 3 rr i1-3 leader i1-3 ["i1-3=s"]
            > sync a2 instance=i1
              a2 <- FENCED_INSTANCE_ID
            > sync a3 instance=i1 assign=a3:y
              log: generation 3 rr leader i1-3 ["i1-3=y"]
              a3 <- assigned "y"
        "#]],
    );
}

#[test]
fn a_static_member_is_removed_by_its_instance_id() {
    check_with(
        at_once(),
        "join a instance=i1
         sync a instance=i1 assign=a:x
         leave - id=none instance=i9
         leave a instance=i9
         leave - id=none instance=i1
         describe",
        expect![[r#"
            > join a instance=i1
              a <- generation 1 range i1-1 leader i1-1 ["i1-1=sub"]
            > sync a instance=i1 assign=a:x
              log: generation 1 range leader i1-1 ["i1-1=x"]
              a <- assigned "x"
            > leave - id=none instance=i9
              - <- UNKNOWN_MEMBER_ID
            > leave a instance=i9
              a <- UNKNOWN_MEMBER_ID
            > leave - id=none instance=i1
              log: generation 2 - leader - []
              - <- NONE
            > describe
              - <- NONE Empty "consumer" "" []
        "#]],
    );
}

#[test]
fn a_restart_brings_back_the_last_stable_generation() {
    check_with(
        at_once(),
        &then(
            "commit a t:0=42@3/note
             join c v=3
             restart
             describe
             beat a
             beat b
             sync b
             fetch all
             wait 10001
             describe",
        ),
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > join b v=3
            > join a
              a <- generation 2 range a-1 leader a-1 ["a-1=sub", "b-2=sub"]
              b <- generation 2 range b-2 leader a-1 []
            > sync a assign=a:x1,b:y1
              log: generation 2 range leader a-1 ["a-1=x1", "b-2=y1"]
              a <- assigned "x1"
            > sync b
              b <- assigned "y1"
            > commit a t:0=42@3/note
              log: t:0 = 42@3
              a <- t:0 NONE
            > join c v=3
            > restart
              c <- lost
            > describe
              - <- NONE Stable "consumer" "range" ["a-1 a/127.0.0.1 sub=x1", "b-2 b/127.0.0.1 sub=y1"]
            > beat a
              a <- NONE
            > beat b
              b <- NONE
            > sync b
              b <- assigned "y1"
            > fetch all
              all <- t:0 42@3 "note"
            > wait 10001
              at 10000 ms
              log: generation 3 - leader - []
            > describe
              - <- NONE Empty "consumer" "" []
        "#]],
    );
}

#[test]
fn names_too_long_for_a_record_are_refused() {
    let long = "x".repeat(20_000);
    let mut world = World::new(at_once());
    world.run(&format!("join a v=3 type={long}"));
    world.run(&format!("join a v=3 protocols={long}:s"));
    world.run(&format!("commit - {long}:0=1"));
    let answers: Vec<&str> =
        world.transcript.lines().filter(|line| line.starts_with("  ")).collect();
    expect![[r#"
          a <- INVALID_REQUEST
          a <- INVALID_REQUEST
          - <- INVALID_REQUEST"#]]
    .assert_eq(&answers.join("\n"));
}
