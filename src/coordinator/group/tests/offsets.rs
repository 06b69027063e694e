use super::script::{at_once, check, check_with};
use crate::model::group_config::GroupConfig;
use expect_test::expect;

#[test]
fn a_consumer_without_a_group_membership_commits_and_reads_back() {
    check(
        "commit - t:0=5@2/hello t:1=7 u:0=9
         fetch t:0 t:1 t:2 v:0
         fetch all
         list
         restart
         fetch all
         commit - t:0=6
         fetch t:0",
        expect![[r#"
            > commit - t:0=5@2/hello t:1=7 u:0=9
              log: t:0 = 5@2
              log: t:1 = 7@-1
              log: u:0 = 9@-1
              - <- t:0 NONE, t:1 NONE, u:0 NONE
            > fetch t:0 t:1 t:2 v:0
              t:0 <- t:0 5@2 "hello", t:1 7@-1 "", t:2 -1@-1 "", v:0 -1@-1 ""
            > fetch all
              all <- t:0 5@2 "hello", t:1 7@-1 "", u:0 9@-1 ""
            > list
              - <- ["g \"\" Empty classic"]
            > restart
            > fetch all
              all <- t:0 5@2 "hello", t:1 7@-1 "", u:0 9@-1 ""
            > commit - t:0=6
              log: t:0 = 6@-1
              - <- t:0 NONE
            > fetch t:0
              t:0 <- t:0 6@-1 ""
        "#]],
    );
}

#[test]
fn metadata_above_the_limit_refuses_its_partition_alone() {
    let config = GroupConfig { offset_metadata_bytes_max: 4, ..GroupConfig::default() };
    check_with(
        config,
        "commit - t:0=1/12345 t:1=2/1234\nfetch all",
        expect![[r#"
        > commit - t:0=1/12345 t:1=2/1234
          log: t:1 = 2@-1
          - <- t:0 OFFSET_METADATA_TOO_LARGE, t:1 NONE
        > fetch all
          all <- t:1 2@-1 "1234"
    "#]],
    );
}

#[test]
fn commits_without_membership_are_refused_while_the_group_has_members() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:x
         commit - t:0=1
         commit a t:0=2
         leave a
         commit - t:0=3
         fetch all",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > commit - t:0=1
              - <- UNKNOWN_MEMBER_ID
            > commit a t:0=2
              log: t:0 = 2@-1
              a <- t:0 NONE
            > leave a
              log: generation 2 - leader - []
              a <- NONE
            > commit - t:0=3
              log: t:0 = 3@-1
              - <- t:0 NONE
            > fetch all
              all <- t:0 3@-1 ""
        "#]],
    );
}

#[test]
fn a_commit_keeps_its_member_alive() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:x
         wait 8000
         commit a t:0=1
         wait 8000
         beat a",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > wait 8000
            > commit a t:0=1
              log: t:0 = 1@-1
              a <- t:0 NONE
            > wait 8000
            > beat a
              a <- NONE
        "#]],
    );
}

#[test]
fn offsets_of_topics_in_use_are_kept_and_others_may_be_deleted() {
    check_with(
        at_once(),
        "join a v=3 protocols=range:+t+u
         sync a assign=a:x
         commit a t:0=1 w:0=2
         forget t:0 w:0 w:1 z:0
         fetch all
         leave a
         forget t:0
         fetch all",
        expect![[r#"
            > join a v=3 protocols=range:+t+u
              a <- generation 1 range a-1 leader a-1 ["a-1=\\0\\u{1}\\0\\0\\0\\u{2}\\0\\u{1}t\\0\\u{1}u"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > commit a t:0=1 w:0=2
              log: t:0 = 1@-1
              log: w:0 = 2@-1
              a <- t:0 NONE, w:0 NONE
            > forget t:0 w:0 w:1 z:0
              log: w:0 removed
              t:0 <- t:0 GROUP_SUBSCRIBED_TO_TOPIC, w:0 NONE, w:1 NONE, z:0 NONE
            > fetch all
              all <- t:0 1@-1 ""
            > leave a
              log: generation 2 - leader - []
              a <- NONE
            > forget t:0
              log: t:0 removed
              t:0 <- t:0 NONE
            > fetch all
              all <- 
        "#]],
    );
}

#[test]
fn offsets_of_a_group_whose_format_is_unknown_stay_while_it_has_members() {
    check_with(
        at_once(),
        "join a v=3 type=connect
         sync a assign=a:x
         commit a t:0=1
         forget t:0
         leave a
         forget t:0",
        expect![[r#"
            > join a v=3 type=connect
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > commit a t:0=1
              log: t:0 = 1@-1
              a <- t:0 NONE
            > forget t:0
              t:0 <- NON_EMPTY_GROUP
            > leave a
              log: generation 2 - leader - []
              a <- NONE
            > forget t:0
              log: t:0 removed
              t:0 <- t:0 NONE
        "#]],
    );
}

#[test]
fn a_group_with_members_cannot_be_deleted_and_an_empty_one_goes_with_its_offsets() {
    check_with(
        at_once(),
        "join a v=3
         sync a assign=a:x
         commit a t:0=1 t:1=2
         delete
         leave a
         delete
         restart
         fetch all
         delete",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > commit a t:0=1 t:1=2
              log: t:0 = 1@-1
              log: t:1 = 2@-1
              a <- t:0 NONE, t:1 NONE
            > delete
              - <- NON_EMPTY_GROUP
            > leave a
              log: generation 2 - leader - []
              a <- NONE
            > delete
              log: t:0 removed
              log: t:1 removed
              log: group removed
              - <- NONE
            > restart
            > fetch all
              all <- 
            > delete
              - <- GROUP_ID_NOT_FOUND
        "#]],
    );
}

#[test]
fn offsets_expire_a_while_after_the_group_became_empty_not_after_the_commit() {
    let config = GroupConfig {
        offsets_retention_ms: 100_000,
        offsets_retention_check_ms: 10_000,
        ..at_once()
    };
    check_with(
        config,
        "join a v=3 session=1800000 protocols=range:+t
         sync a assign=a:x
         commit a t:0=1 gone:0=2
         wait 99000
         fetch all
         wait 2000
         fetch all
         leave a
         wait 99000
         fetch all
         wait 10000
         fetch all
         list",
        expect![[r#"
            > join a v=3 session=1800000 protocols=range:+t
              a <- generation 1 range a-1 leader a-1 ["a-1=\\0\\u{1}\\0\\0\\0\\u{1}\\0\\u{1}t"]
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > commit a t:0=1 gone:0=2
              log: t:0 = 1@-1
              log: gone:0 = 2@-1
              a <- t:0 NONE, gone:0 NONE
            > wait 99000
            > fetch all
              all <- gone:0 2@-1 "", t:0 1@-1 ""
            > wait 2000
              at 100000 ms
              log: gone:0 removed
            > fetch all
              all <- t:0 1@-1 ""
            > leave a
              log: generation 2 - leader - []
              a <- NONE
            > wait 99000
            > fetch all
              all <- t:0 1@-1 ""
            > wait 10000
              at 210000 ms
              log: t:0 removed
              log: group removed
            > fetch all
              all <- 
            > list
              - <- []
        "#]],
    );
}

#[test]
fn offsets_of_a_simple_consumer_expire_by_their_own_age() {
    let config = GroupConfig {
        offsets_retention_ms: 100_000,
        offsets_retention_check_ms: 10_000,
        ..at_once()
    };
    check_with(
        config,
        "commit - t:0=1
         wait 60000
         commit - t:1=1
         commit - t:2=1 retention=5000
         restart
         wait 40000
         wait 200000",
        expect![[r#"
            > commit - t:0=1
              log: t:0 = 1@-1
              - <- t:0 NONE
            > wait 60000
            > commit - t:1=1
              log: t:1 = 1@-1
              - <- t:1 NONE
            > commit - t:2=1 retention=5000
              log: t:2 = 1@-1
              - <- t:2 NONE
            > restart
            > wait 40000
              at 70000 ms
              log: t:2 removed
              at 100000 ms
              log: t:0 removed
            > wait 200000
              at 160000 ms
              log: t:1 removed
              log: group removed
        "#]],
    );
}

#[test]
fn offsets_of_a_deleted_topic_go_with_it() {
    check(
        "commit - t:0=1 t:1=2 u:0=3\ngone t\ngone t\nfetch all",
        expect![[r#"
        > commit - t:0=1 t:1=2 u:0=3
          log: t:0 = 1@-1
          log: t:1 = 2@-1
          log: u:0 = 3@-1
          - <- t:0 NONE, t:1 NONE, u:0 NONE
        > gone t
          log: t:0 removed
          log: t:1 removed
        > gone t
        > fetch all
          all <- u:0 3@-1 ""
    "#]],
    );
}
