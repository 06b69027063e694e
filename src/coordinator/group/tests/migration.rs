//! Groups that change their protocol, with members and without.

use super::consumer_script::{check, check_with};
use crate::model::group_config::{GroupConfig, MigrationPolicy};
use expect_test::expect;

#[test]
fn a_classic_group_moves_to_the_consumer_protocol_while_its_member_stays() {
    check(
        "topics t=4
         cjoin c
         csync c assign=c:t:0,1,2,3
         commit c t:0=3
         join m
         cbeat c
         cjoin c owned=t:0,1,2,3
         csync c
         cjoin c owned=t:0,1
         csync c
         beat m
         describe
         list
         cdescribe
         cbeat c
         restart
         cbeat c
         beat m",
        expect![[r#"
            > topics t=4
            > cjoin c
              c: NONE gen 1 range leads
            > csync c assign=c:t:0,1,2,3
              c: NONE [("t", [0, 1, 2, 3])]
            > commit c t:0=3
              c: NONE
            > join m
              m: epoch 2 []
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > cjoin c owned=t:0,1,2,3
              c: NONE gen 1 range
            > csync c
              c: NONE [("t", [0, 1])]
            > cjoin c owned=t:0,1
              c: NONE gen 2 range
            > csync c
              c: NONE [("t", [0, 1])]
            > beat m
              m: epoch 2 [t:2,3]
            > describe
              Stable epoch 2 target 2 by uniform
                c-1 epoch 2 classic t[0, 1] -> t[0, 1]
                m epoch 2 t[2, 3] -> t[2, 3]
                from 1: member m joined
            > list
              g consumer consumer Stable
            > cdescribe
              GROUP_ID_NOT_FOUND Dead 0 members
            > cbeat c
              c: NONE
            > restart
            > cbeat c
              c: NONE
            > beat m
              m: epoch 2
        "#]],
    );
}

#[test]
fn a_static_member_that_changes_its_protocol_amid_a_rebalance_gets_an_assignment() {
    check(
        "topics t=2
         cjoin c instance=i
         join m instance=i
         describe",
        expect![[r#"
            > topics t=2
            > cjoin c instance=i
              c: NONE gen 1 range leads
            > join m instance=i
              m: epoch 2 [t:0,1]
            > describe
              Stable epoch 2 target 2 by uniform
                m epoch 2 t[0, 1] -> t[0, 1]
                from 1: the classic group was rebalancing
        "#]],
    );
}

#[test]
fn a_consumer_group_whose_last_members_are_classic_becomes_a_classic_one() {
    check(
        "topics t=4
         join m
         cjoin c
         csync c
         commit c t:0=3
         leave m
         list
         cbeat c
         cjoin c
         csync c assign=c:t:0,1,2,3
         cdescribe
         fetch -",
        expect![[r#"
            > topics t=4
            > join m
              m: epoch 1 [t:0,1,2,3]
            > cjoin c
              c: NONE gen 2 range
            > csync c
              c: NONE []
            > commit c t:0=3
              c: NONE
            > leave m
              m: epoch -1
            > list
              g classic consumer PreparingRebalance
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > cjoin c
              c: NONE gen 3 range leads
            > csync c assign=c:t:0,1,2,3
              c: NONE [("t", [0, 1, 2, 3])]
            > cdescribe
              NONE Stable 1 members
                the group left the consumer protocol: member m left
            > fetch -
              -: t:0=3
        "#]],
    );
}

#[test]
fn an_empty_group_changes_its_protocol_and_keeps_its_offsets() {
    check(
        "topics t=1
         cjoin c
         csync c assign=c:t:0
         commit c t:0=3
         cleave c
         join m
         list
         fetch -
         leave m
         cjoin c id=none
         list
         restart
         fetch -",
        expect![[r#"
            > topics t=1
            > cjoin c
              c: NONE gen 1 range leads
            > csync c assign=c:t:0
              c: NONE [("t", [0])]
            > commit c t:0=3
              c: NONE
            > cleave c
              c: NONE
            > join m
              m: epoch 1 [t:0]
            > list
              g consumer consumer Stable
            > fetch -
              -: t:0=3
            > leave m
              m: epoch -1
            > cjoin c id=none
              c: NONE gen 1 range leads
            > list
              g classic consumer CompletingRebalance
            > restart
            > fetch -
              -: t:0=3
        "#]],
    );
}

#[test]
fn without_the_policy_a_group_with_members_stays_what_it_is() {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 0,
        migration_policy: MigrationPolicy::Disabled,
        ..GroupConfig::default()
    };
    check_with(
        config,
        "topics t=1
         cjoin c
         csync c assign=c:t:0
         join m
         cbeat c",
        expect![[r#"
            > topics t=1
            > cjoin c
              c: NONE gen 1 range leads
            > csync c assign=c:t:0
              c: NONE [("t", [0])]
            > join m
              m: GROUP_ID_NOT_FOUND Group g is not a consumer group.
            > cbeat c
              c: NONE
        "#]],
    );
}

#[test]
fn a_classic_member_that_does_not_come_back_is_fenced() {
    check(
        "topics t=2
         join m
         cjoin c
         csync c
         beat m
         ack m
         cbeat c
         wait 9000
         cbeat c
         wait 9000
         cbeat c
         wait 3000
         cbeat c
         cleave c
         describe",
        expect![[r#"
            > topics t=2
            > join m
              m: epoch 1 [t:0,1]
            > cjoin c
              c: NONE gen 2 range
            > csync c
              c: NONE []
            > beat m
              m: epoch 1 [t:0]
            > ack m
              m: epoch 2
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > wait 9000
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > wait 9000
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > wait 3000
            > cbeat c
              c: UNKNOWN_MEMBER_ID
            > cleave c
              c: UNKNOWN_MEMBER_ID
            > describe
              Assigning epoch 3 target 2 by uniform
                m epoch 2 t[0] -> t[0]
                from 0: member m joined
                from 1: member c-2 joined
                from 2: member c-2 did not follow within its rebalance timeout
        "#]],
    );
}

#[test]
fn a_group_that_crashes_amid_its_way_back_to_the_classic_protocol_rebalances() {
    check(
        "topics t=4
         cjoin c
         csync c assign=c:t:0,1,2,3
         join m
         cbeat c
         cjoin c owned=t:0,1,2,3
         csync c
         cjoin c owned=t:0,1
         csync c
         beat m
         leave m
         cdescribe
         restart
         cbeat c
         cjoin c owned=t:0,1
         csync c assign=c:t:0,1,2,3
         restart
         cbeat c",
        expect![[r#"
            > topics t=4
            > cjoin c
              c: NONE gen 1 range leads
            > csync c assign=c:t:0,1,2,3
              c: NONE [("t", [0, 1, 2, 3])]
            > join m
              m: epoch 2 []
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > cjoin c owned=t:0,1,2,3
              c: NONE gen 1 range
            > csync c
              c: NONE [("t", [0, 1])]
            > cjoin c owned=t:0,1
              c: NONE gen 2 range
            > csync c
              c: NONE [("t", [0, 1])]
            > beat m
              m: epoch 2 [t:2,3]
            > leave m
              m: epoch -1
            > cdescribe
              NONE PreparingRebalance 1 members
                the group left the consumer protocol: member m left
            > restart
            > cbeat c
              c: REBALANCE_IN_PROGRESS
            > cjoin c owned=t:0,1
              c: NONE gen 3 range leads
            > csync c assign=c:t:0,1,2,3
              c: NONE [("t", [0, 1, 2, 3])]
            > restart
            > cbeat c
              c: NONE
        "#]],
    );
}

#[test]
fn a_group_that_comes_and_goes_knows_what_its_silent_members_still_have() {
    check(
        "topics t=4
         cjoin c
         csync c assign=c:t:0,1,2,3
         join m
         leave m
         cdescribe
         join n
         beat n
         describe",
        expect![[r#"
            > topics t=4
            > cjoin c
              c: NONE gen 1 range leads
            > csync c assign=c:t:0,1,2,3
              c: NONE [("t", [0, 1, 2, 3])]
            > join m
              m: epoch 2 []
            > leave m
              m: epoch -1
            > cdescribe
              NONE PreparingRebalance 1 members
                the group left the consumer protocol: member m left
            > join n
              n: epoch 4 []
            > beat n
              n: epoch 4
            > describe
              Reconciling epoch 4 target 4 by uniform
                c-1 epoch 2 classic t[0, 1, 2, 3] -> t[0, 1]
                n epoch 4  -> t[2, 3]
                from 2: the classic group was rebalancing
                from 3: member n joined
        "#]],
    );
}
