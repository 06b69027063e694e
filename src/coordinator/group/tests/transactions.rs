use super::script::{at_once, check, check_with};
use crate::model::group_config::GroupConfig;
use expect_test::expect;

#[test]
fn offsets_of_a_transaction_count_from_its_commit_marker_on() {
    check(
        "commit - t:0=1
         txn - t:0=5 t:1=6
         fetch t:0 t:1
         stable t:0 t:1 t:2
         restart
         stable t:0
         marker 1 commit
         stable t:0 t:1
         restart
         fetch all",
        expect![[r#"
            > commit - t:0=1
              log: t:0 = 1@-1
              - <- t:0 NONE
            > txn - t:0=5 t:1=6
              log: producer 1: t:0 = 5
              log: producer 1: t:1 = 6
              - <- t:0 NONE, t:1 NONE
            > fetch t:0 t:1
              t:0 <- t:0 1@-1 "", t:1 -1@-1 ""
            > stable t:0 t:1 t:2
              t:0 <- t:0 UNSTABLE_OFFSET_COMMIT, t:1 UNSTABLE_OFFSET_COMMIT, t:2 -1@-1 ""
            > restart
            > stable t:0
              t:0 <- t:0 UNSTABLE_OFFSET_COMMIT
            > marker 1 commit
            > stable t:0 t:1
              t:0 <- t:0 5@-1 "", t:1 6@-1 ""
            > restart
            > fetch all
              all <- t:0 5@-1 "", t:1 6@-1 ""
        "#]],
    );
}

#[test]
fn an_aborted_transaction_leaves_the_offsets_as_they_were() {
    check(
        "commit - t:0=1
         txn - t:0=5
         marker 1 abort
         stable t:0
         marker 1 commit
         stable t:0",
        expect![[r#"
            > commit - t:0=1
              log: t:0 = 1@-1
              - <- t:0 NONE
            > txn - t:0=5
              log: producer 1: t:0 = 5
              - <- t:0 NONE
            > marker 1 abort
            > stable t:0
              t:0 <- t:0 1@-1 ""
            > marker 1 commit
            > stable t:0
              t:0 <- t:0 1@-1 ""
        "#]],
    );
}

#[test]
fn deleting_offsets_takes_undecided_ones_too() {
    check(
        "txn - t:0=5 u:0=6 producer=2
         gone u
         delete
         marker 2 commit
         fetch all",
        expect![[r#"
            > txn - t:0=5 u:0=6 producer=2
              log: producer 2: t:0 = 5
              log: producer 2: u:0 = 6
              - <- t:0 NONE, u:0 NONE
            > gone u
              log: u:0 removed
            > delete
              log: t:0 removed
              log: group removed
              - <- NONE
            > marker 2 commit
            > fetch all
              all <- 
        "#]],
    );
}

#[test]
fn a_member_that_was_replaced_commits_no_transaction_and_a_rebalance_holds_none_up() {
    check_with(
        at_once(),
        "join a v=3
         txn a t:0=1
         sync a assign=a:x
         txn a t:0=2
         txn a t:0=3 gen=7
         txn a t:0=4 id=none gen=1
         txn - t:0=5 gen=-1",
        expect![[r#"
            > join a v=3
              a <- generation 1 range a-1 leader a-1 ["a-1=sub"]
            > txn a t:0=1
              log: producer 1: t:0 = 1
              a <- t:0 NONE
            > sync a assign=a:x
              log: generation 1 range leader a-1 ["a-1=x"]
              a <- assigned "x"
            > txn a t:0=2
              log: producer 1: t:0 = 2
              a <- t:0 NONE
            > txn a t:0=3 gen=7
              a <- ILLEGAL_GENERATION
            > txn a t:0=4 id=none gen=1
              a <- UNKNOWN_MEMBER_ID
            > txn - t:0=5 gen=-1
              log: producer 1: t:0 = 5
              - <- t:0 NONE
        "#]],
    );
}

#[test]
fn an_offset_that_a_transaction_may_still_change_does_not_expire() {
    let config = GroupConfig { offsets_retention_ms: 1000, ..GroupConfig::default() };
    check_with(
        config,
        "commit - t:0=1
         txn - t:0=2
         wait 700000
         fetch t:0
         marker 1 abort
         wait 700000
         fetch t:0",
        expect![[r#"
            > commit - t:0=1
              log: t:0 = 1@-1
              - <- t:0 NONE
            > txn - t:0=2
              log: producer 1: t:0 = 2
              - <- t:0 NONE
            > wait 700000
            > fetch t:0
              t:0 <- t:0 1@-1 ""
            > marker 1 abort
            > wait 700000
              at 1200000 ms
              log: t:0 removed
              log: group removed
            > fetch t:0
              t:0 <- t:0 -1@-1 ""
        "#]],
    );
}
