//! AddPartitionsToTxn, EndTxn in both flows, markers, and what a restart makes of it.

use super::script::{World, check};
use crate::coordinator::transaction::MarkersToWrite;
use crate::model::transaction_config::TransactionConfig;
use expect_test::expect;

#[test]
fn the_old_flow_keeps_its_epoch_and_repeats_are_answered_by_the_state() {
    check(
        "init
         commit 101,0
         abort 101,0
         add 101,0 a:0
         add 101,0 a:0
         add 101,0 b:1
         commit 101,0
         commit 101,0
         abort 101,0
         add 101,0 c:0
         init
         told
         commit 101,0
         abort 101,0",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            commit 101,0
              INVALID_TXN_STATE
            abort 101,0
              INVALID_TXN_STATE
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            add 101,0 a:0
              NONE
            add 101,0 b:1
              > Ongoing 101,0 a:0 b:1
              NONE
            commit 101,0
              > PrepareCommit 101,0 a:0 b:1
              ! Commit 101,0 a:0 b:1
              101,0
            commit 101,0
              CONCURRENT_TRANSACTIONS
            abort 101,0
              INVALID_TXN_STATE
            add 101,0 c:0
              CONCURRENT_TRANSACTIONS
            init
              CONCURRENT_TRANSACTIONS
            told
              > CompleteCommit 101,0
            commit 101,0
              101,0
            abort 101,0
              INVALID_TXN_STATE
        "#]],
    );
}

#[test]
fn the_next_transaction_of_the_old_flow_keeps_the_epoch_too() {
    check(
        "init
         add 101,0 a:0
         commit 101,0
         told
         add 101,0 a:0
         abort 101,0
         told
         abort 101,0
         commit 101,0
         commit 101,1
         commit 102,0",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            commit 101,0
              > PrepareCommit 101,0 a:0
              ! Commit 101,0 a:0
              101,0
            told
              > CompleteCommit 101,0
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            abort 101,0
              > PrepareAbort 101,0 a:0
              ! Abort 101,0 a:0
              101,0
            told
              > CompleteAbort 101,0
            abort 101,0
              101,0
            commit 101,0
              INVALID_TXN_STATE
            commit 101,1
              PRODUCER_FENCED
            commit 102,0
              INVALID_PRODUCER_ID_MAPPING
        "#]],
    );
}

#[test]
fn the_new_flow_moves_the_epoch_with_each_transaction() {
    check(
        "init
         add 101,0 a:0
         commit 101,0 v2
         commit 101,0 v2
         abort 101,0 v2
         add 101,1 a:0
         told
         commit 101,0 v2
         abort 101,0 v2
         commit 101,1 v2
         add 101,1 a:0
         abort 101,1 v2
         told
         abort 101,1 v2
         commit 101,1 v2
         commit 101,0 v2
         commit 102,2 v2",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            commit 101,0 v2
              > PrepareCommit 101,1 a:0
              ! Commit 101,1 a:0
              101,1
            commit 101,0 v2
              CONCURRENT_TRANSACTIONS
            abort 101,0 v2
              CONCURRENT_TRANSACTIONS
            add 101,1 a:0
              CONCURRENT_TRANSACTIONS
            told
              > CompleteCommit 101,1
            commit 101,0 v2
              101,1
            abort 101,0 v2
              INVALID_TXN_STATE
            commit 101,1 v2
              INVALID_TXN_STATE
            add 101,1 a:0
              > Ongoing 101,1 a:0
              NONE
            abort 101,1 v2
              > PrepareAbort 101,2 a:0
              ! Abort 101,2 a:0
              101,2
            told
              > CompleteAbort 101,2
            abort 101,1 v2
              101,2
            commit 101,1 v2
              PRODUCER_FENCED
            commit 101,0 v2
              PRODUCER_FENCED
            commit 102,2 v2
              INVALID_PRODUCER_ID_MAPPING
        "#]],
    );
}

#[test]
fn the_new_flow_aborts_a_transaction_without_partitions() {
    check(
        "init
         commit 101,0 v2
         abort 101,0 v2
         abort 101,0 v2
         abort 101,1 v2
         commit 101,2 v2",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            commit 101,0 v2
              INVALID_TXN_STATE
            abort 101,0 v2
              > PrepareAbort 101,1
              > CompleteAbort 101,1
              101,1
            abort 101,0 v2
              101,1
            abort 101,1 v2
              > PrepareAbort 101,2
              > CompleteAbort 101,2
              101,2
            commit 101,2 v2
              INVALID_TXN_STATE
        "#]],
    );
}

#[test]
fn verifying_tells_which_partitions_belong_to_the_transaction() {
    check(
        "verify 101,0 a:0
         init
         verify 101,0 a:0
         add 101,0 a:0
         verify 101,0 a:0 a:1
         verify 101,1 a:0
         verify 102,0 a:0
         commit 101,0
         verify 101,0 a:0
         told
         verify 101,0 a:0",
        expect![[r#"
            verify 101,0 a:0
              INVALID_PRODUCER_ID_MAPPING
            init
              > Empty 101,0
              101,0
            verify 101,0 a:0
              TRANSACTION_ABORTABLE
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            verify 101,0 a:0 a:1
              NONE TRANSACTION_ABORTABLE
            verify 101,1 a:0
              PRODUCER_FENCED
            verify 102,0 a:0
              INVALID_PRODUCER_ID_MAPPING
            commit 101,0
              > PrepareCommit 101,0 a:0
              ! Commit 101,0 a:0
              101,0
            verify 101,0 a:0
              CONCURRENT_TRANSACTIONS
            told
              > CompleteCommit 101,0
            verify 101,0 a:0
              TRANSACTION_ABORTABLE
        "#]],
    );
}

#[test]
fn markers_that_are_missing_are_sent_again_and_only_those() {
    check(
        "init
         add 101,0 a:0 a:1 b:0
         commit 101,0
         told a:1
         wait 99
         wait 1
         told b:0
         wait 100
         told
         wait 1000",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            add 101,0 a:0 a:1 b:0
              > Ongoing 101,0 a:0 a:1 b:0
              NONE NONE NONE
            commit 101,0
              > PrepareCommit 101,0 a:0 a:1 b:0
              ! Commit 101,0 a:0 a:1 b:0
              101,0
            told a:1
            wait 99
            wait 1
              ! Commit 101,0 a:0 b:0
            told b:0
            wait 100
              ! Commit 101,0 a:0
            told
              > CompleteCommit 101,0
            wait 1000
        "#]],
    );
}

#[test]
fn a_restart_carries_out_what_was_decided() {
    check(
        "init
         add 101,0 a:0 b:0
         restart
         describe
         commit 101,0 v2
         restart
         commit 101,0 v2
         told
         restart
         commit 101,0 v2
         describe
         list
         list Ongoing
         list CompleteCommit ms=0
         wait 10
         list ms=9
         list like=[s-u]
         list like=.+t",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            add 101,0 a:0 b:0
              > Ongoing 101,0 a:0 b:0
              NONE NONE
            restart
            describe
              Ongoing 101,0 timeout 60000 since 1000 [("a", [0]), ("b", [0])]
            commit 101,0 v2
              > PrepareCommit 101,1 a:0 b:0
              ! Commit 101,1 a:0 b:0
              101,1
            restart
              ! Commit 101,1 a:0 b:0
            commit 101,0 v2
              CONCURRENT_TRANSACTIONS
            told
              > CompleteCommit 101,1
            restart
            commit 101,0 v2
              101,1
            describe
              CompleteCommit 101,1 timeout 60000 since 1000 []
            list
              ["t"]
            list Ongoing
              []
            list CompleteCommit ms=0
              []
            wait 10
            list ms=9
              ["t"]
            list like=[s-u]
              ["t"]
            list like=.+t
              []
        "#]],
    );
}

#[test]
fn the_new_flow_goes_on_with_another_producer_id_behind_the_last_epoch() {
    let mut world = World::new(TransactionConfig::default());
    world.run_all("init");
    world.set_epoch(i16::MAX - 1);
    world.run_all(
        "add 101,32766 a:0
         commit 101,32766 v2
         commit 101,32766 v2
         add 102,0 a:0
         restart
         told
         commit 101,32766 v2
         abort 101,32766 v2
         add 102,0 a:0
         commit 102,0 v2",
    );
    expect![[r#"
        init
          > Empty 101,0
          101,0
        add 101,32766 a:0
          > Ongoing 101,32766 a:0
          NONE
        commit 101,32766 v2
          > PrepareCommit 101,32767 next 102 a:0
          ! Commit 101,32767 a:0
          102,0
        commit 101,32766 v2
          CONCURRENT_TRANSACTIONS
        add 102,0 a:0
          CONCURRENT_TRANSACTIONS
        restart
          ! Commit 101,32767 a:0
        told
          > CompleteCommit 102,0
        commit 101,32766 v2
          102,0
        abort 101,32766 v2
          INVALID_TXN_STATE
        add 102,0 a:0
          > Ongoing 102,0 a:0
          NONE
        commit 102,0 v2
          > PrepareCommit 102,1 a:0
          ! Commit 102,1 a:0
          102,1
    "#]]
    .assert_eq(&world.transcript);
}

#[test]
fn a_transaction_that_no_record_can_hold_has_to_be_aborted() {
    let config = TransactionConfig { record_bytes_max: 30, ..TransactionConfig::default() };
    let mut world = World::new(config);
    world.run_all(
        "init
         add 101,0 a:0 a:1
         add 101,0 bbbbbbbbbb:0
         abort 101,0
         told",
    );
    expect![[r#"
        init
          > Empty 101,0
          101,0
        add 101,0 a:0 a:1
          > Ongoing 101,0 a:0 a:1
          NONE NONE
        add 101,0 bbbbbbbbbb:0
          TRANSACTION_ABORTABLE
        abort 101,0
          > PrepareAbort 101,0 a:0 a:1
          ! Abort 101,0 a:0 a:1
          101,0
        told
          > CompleteAbort 101,0
    "#]]
    .assert_eq(&world.transcript);
}

/// What a leader tells a late marker of a transaction by.
#[test]
fn each_transaction_is_decided_later_than_the_one_before_whatever_the_clock_says() {
    let mut world = World::new(TransactionConfig::default());
    let decided = |world: &World| world.last_order().expect("markers are wanted").decided_ms;
    world.run_all("init\nadd 101,0 a:0\ncommit 101,0");
    let first = decided(&world);
    assert_eq!(first, world.now.wall_ms + 1);
    world.run_all("restart");
    assert_eq!(decided(&world), first, "the same transaction");
    world.now.wall_ms -= 500;
    world.run_all("told\nadd 101,0 a:0\nabort 101,0");
    let second = decided(&world);
    assert!(second > first, "{second} after {first}");
    world.now.wall_ms += 5_000;
    world.run_all("told\nadd 101,0 a:0\ncommit 101,0 v2");
    assert_eq!(decided(&world), world.now.wall_ms + 1);
}

/// The coordinator moved to another broker, which ended the transaction, and came back; a call of
/// its first time here is answered now. That was taken for the next transaction's, whose marker was
/// never written: what came after it decided over its records.
#[test]
fn late_news_of_a_transactions_markers_is_no_news_of_the_next() {
    let mut world = World::new(TransactionConfig::default());
    world.run_all("init\nadd 101,0 a:0 a:1\nabort 101,0");
    let before = world.last_order().expect("markers are wanted");
    world.run_all("told\nadd 101,0 a:0 a:1\ncommit 101,0");
    let order = world.last_order().expect("markers are wanted");
    let producer = |order: &MarkersToWrite| (order.producer_id, order.producer_epoch);
    assert_eq!(producer(&before), producer(&order), "the epoch tells nothing");
    world.tell_of(&before, &before.partitions);
    assert_eq!(world.last_order(), Some(order), "its markers are still wanted");
    world.run_all("told");
    assert_eq!(world.last_order(), None);
}
