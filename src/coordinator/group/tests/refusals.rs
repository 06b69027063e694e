use super::script::{World, at_once, check, check_with, then_two_stable as then};
use crate::model::group_config::GroupConfig;
use expect_test::expect;

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
        world.transcript.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    expect![[r#"
          a <- INVALID_REQUEST
          a <- INVALID_REQUEST
          - <- INVALID_REQUEST"#]]
    .assert_eq(&answers.join("\n"));
}

#[test]
fn a_generation_too_large_for_the_log_is_refused_and_the_group_tries_again() {
    let config = GroupConfig { record_bytes_max: 200, ..at_once() };
    let large = "p".repeat(200);
    let mut world = World::new(config);
    world.run("join a v=3");
    world.run(&format!("sync a assign=a:{large}"));
    world.run("beat a");
    world.run("join a");
    world.run("sync a assign=a:small");
    let answers: Vec<&str> =
        world.transcript.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    expect![[r#"
          a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
          a <- UNKNOWN_SERVER_ERROR
          a <- REBALANCE_IN_PROGRESS
          a <- generation 2 range a-1 leader a-1 ["a-1=sub"]
          log: generation 2 range leader a-1 ["a-1=small"]
          a <- assigned "small""#]]
    .assert_eq(&answers.join("\n"));
}
