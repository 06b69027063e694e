use super::script::{at_once, check, check_with, then_two_stable as then};

use expect_test::expect;

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
