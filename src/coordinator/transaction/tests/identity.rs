//! InitProducerId: new ids, fencing, resumption, epochs that run out; and expiry.

use super::script::{World, check};
use crate::model::transaction_config::TransactionConfig;
use expect_test::expect;

#[test]
fn each_init_of_an_id_fences_the_one_before() {
    check(
        "init
         init
         add 101,0 a:0
         add 101,1 a:0
         add 102,1 a:0",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            init
              > Empty 101,1
              101,1
            add 101,0 a:0
              PRODUCER_FENCED
            add 101,1 a:0
              > Ongoing 101,1 a:0
              NONE
            add 102,1 a:0
              INVALID_PRODUCER_ID_MAPPING
        "#]],
    );
}

#[test]
fn an_init_during_a_transaction_aborts_it_first() {
    check(
        "init
         add 101,0 a:0 b:1
         init
         init
         told a:0
         wait 100
         told
         init
         commit 101,0
         add 101,2 a:0",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            add 101,0 a:0 b:1
              > Ongoing 101,0 a:0 b:1
              NONE NONE
            init
              > PrepareAbort 101,1 a:0 b:1
              ! Abort 101,1 a:0 b:1
              CONCURRENT_TRANSACTIONS
            init
              CONCURRENT_TRANSACTIONS
            told a:0
            wait 100
              ! Abort 101,1 b:1
            told
              > CompleteAbort 101,1
            init
              > Empty 101,2
              101,2
            commit 101,0
              PRODUCER_FENCED
            add 101,2 a:0
              > Ongoing 101,2 a:0
              NONE
        "#]],
    );
}

#[test]
fn a_producer_that_names_its_epoch_goes_on_with_the_next_one() {
    check(
        "init
         init 101,0
         init 101,0
         init 101,1
         init 101,0
         init 77,2",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            init 101,0
              > Empty 101,1
              101,1
            init 101,0
              > Empty 101,1
              101,1
            init 101,1
              > Empty 101,2
              101,2
            init 101,0
              PRODUCER_FENCED
            init 77,2
              PRODUCER_FENCED
        "#]],
    );
}

#[test]
fn a_fenced_producer_cannot_abort_its_successors_transaction() {
    check(
        "init
         init
         add 101,1 a:0
         init 101,0
         verify 101,1 a:0",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            init
              > Empty 101,1
              101,1
            add 101,1 a:0
              > Ongoing 101,1 a:0
              NONE
            init 101,0
              PRODUCER_FENCED
            verify 101,1 a:0
              NONE
        "#]],
    );
}

#[test]
fn a_timeout_is_positive_and_within_the_bound() {
    check(
        "init timeout=0\ninit timeout=-1\ninit timeout=900001\ninit timeout=900000",
        expect![[r#"
            init timeout=0
              INVALID_TRANSACTION_TIMEOUT
            init timeout=-1
              INVALID_TRANSACTION_TIMEOUT
            init timeout=900001
              INVALID_TRANSACTION_TIMEOUT
            init timeout=900000
              > Empty 101,0
              101,0
        "#]],
    );
}

#[test]
fn a_transaction_is_aborted_when_its_time_is_up() {
    check(
        "init timeout=5000
         add 101,0 a:0
         wait 4000
         add 101,0 a:1
         wait 1000
         wait 1
         told
         commit 101,0
         commit 101,0 v2
         abort 101,0 v2
         init 101,0",
        expect![[r#"
            init timeout=5000
              > Empty 101,0
              101,0
            add 101,0 a:0
              > Ongoing 101,0 a:0
              NONE
            wait 4000
            add 101,0 a:1
              > Ongoing 101,0 a:0 a:1
              NONE
            wait 1000
            wait 1
              > PrepareAbort 101,1 a:0 a:1
              ! Abort 101,1 a:0 a:1
            told
              > CompleteAbort 101,1
            commit 101,0
              PRODUCER_FENCED
            commit 101,0 v2
              PRODUCER_FENCED
            abort 101,0 v2
              101,1
            init 101,0
              > Empty 101,1
              101,1
        "#]],
    );
}

#[test]
fn an_id_without_a_transaction_expires() {
    check(
        "init
         wait 604799999
         describe
         wait 1
         describe
         init
         add 102,0 a:0
         commit 102,0
         wait 604800000
         told
         wait 604800000
         restart
         describe",
        expect![[r#"
            init
              > Empty 101,0
              101,0
            wait 604799999
            describe
              Empty 101,0 timeout 60000 since -1 []
            wait 1
              > forgotten
            describe
              TRANSACTIONAL_ID_NOT_FOUND
            init
              > Empty 102,0
              102,0
            add 102,0 a:0
              > Ongoing 102,0 a:0
              NONE
            commit 102,0
              > PrepareCommit 102,0 a:0
              ! Commit 102,0 a:0
              102,0
            wait 604800000
            told
              > CompleteCommit 102,0
            wait 604800000
              > forgotten
            restart
            describe
              TRANSACTIONAL_ID_NOT_FOUND
        "#]],
    );
}

#[test]
fn an_id_whose_epochs_are_used_up_gets_another_producer_id() {
    let mut world = World::new(TransactionConfig::default());
    world.run_all("init");
    world.set_epoch(i16::MAX - 2);
    world.run_all(
        "init
         init 101,32766
         init 101,32766
         init 101,32765",
    );
    expect![[r#"
        init
          > Empty 101,0
          101,0
        init
          > Empty 101,32766
          101,32766
        init 101,32766
          > Empty 102,0
          102,0
        init 101,32766
          > Empty 102,0
          102,0
        init 101,32765
          PRODUCER_FENCED
    "#]]
    .assert_eq(&world.transcript);
}

#[test]
fn fencing_at_the_last_epoch_leads_to_another_producer_id() {
    let mut world = World::new(TransactionConfig::default());
    world.run_all("init");
    world.set_epoch(i16::MAX - 1);
    world.run_all(
        "add 101,32766 a:0
         init
         told
         init",
    );
    expect![[r#"
        init
          > Empty 101,0
          101,0
        add 101,32766 a:0
          > Ongoing 101,32766 a:0
          NONE
        init
          > PrepareAbort 101,32767 a:0
          ! Abort 101,32767 a:0
          CONCURRENT_TRANSACTIONS
        told
          > CompleteAbort 101,32767
        init
          > Empty 102,0
          102,0
    "#]]
    .assert_eq(&world.transcript);
}
