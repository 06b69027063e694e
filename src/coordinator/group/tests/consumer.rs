//! Groups of the consumer protocol, as their members live through them.

use super::consumer_script::{World, check, check_with};
use crate::model::group_config::{GroupConfig, assignor_names};
use expect_test::expect;

#[test]
fn a_second_member_takes_over_what_the_first_gave_up() {
    check(
        "topics t=4
         join a
         join b
         beat a
         describe
         beat b
         ack a
         beat b
         describe
         commit a t:0=5
         commit b t:2=7
         commit b t:2=8 epoch=1
         commit b t:2=8 v=8
         fetch b
         fetch b epoch=1
         fetch -
         list
         delete",
        expect![[r#"
            > topics t=4
            > join a
              a: epoch 1 [t:0,1,2,3]
            > join b
              b: epoch 2 []
            > beat a
              a: epoch 1 [t:0,1]
            > describe
              Reconciling epoch 2 target 2 by uniform
                a epoch 1 t[0, 1] -> t[0, 1]
                b epoch 2  -> t[2, 3]
                from 0: member a joined
                from 1: member b joined
            > beat b
              b: epoch 2
            > ack a
              a: epoch 2
            > beat b
              b: epoch 2 [t:2,3]
            > describe
              Stable epoch 2 target 2 by uniform
                a epoch 2 t[0, 1] -> t[0, 1]
                b epoch 2 t[2, 3] -> t[2, 3]
                from 0: member a joined
                from 1: member b joined
            > commit a t:0=5
              a: NONE
            > commit b t:2=7
              b: NONE
            > commit b t:2=8 epoch=1
              b: refused STALE_MEMBER_EPOCH
            > commit b t:2=8 v=8
              b: refused UNSUPPORTED_VERSION
            > fetch b
              b: t:0=5,2=7
            > fetch b epoch=1
              b: refused STALE_MEMBER_EPOCH
            > fetch -
              -: t:0=5,2=7
            > list
              g consumer consumer Stable
            > delete
              NON_EMPTY_GROUP
        "#]],
    );
}

#[test]
fn a_transaction_commits_for_a_member_at_its_epoch_or_for_nobody() {
    check(
        "topics t=2
         join a
         txn a t:0=5
         txn a t:0=6 epoch=7
         txn x t:0=6 epoch=1
         txn - t:0=7
         commit - t:0=8",
        expect![[r#"
            > topics t=2
            > join a
              a: epoch 1 [t:0,1]
            > txn a t:0=5
              a: NONE
            > txn a t:0=6 epoch=7
              a: refused ILLEGAL_GENERATION
            > txn x t:0=6 epoch=1
              x: refused UNKNOWN_MEMBER_ID
            > txn - t:0=7
              -: NONE
            > commit - t:0=8
              -: refused UNKNOWN_MEMBER_ID
        "#]],
    );
}

#[test]
fn what_a_member_leaves_is_taken_over_and_the_reasons_are_kept() {
    check(
        "topics t=3
         join a
         join b
         beat a
         ack a
         beat b
         leave b
         describe
         beat a
         beat b
         leave a
         describe
         delete
         describe",
        expect![[r#"
            > topics t=3
            > join a
              a: epoch 1 [t:0,1,2]
            > join b
              b: epoch 2 []
            > beat a
              a: epoch 1 [t:0,1]
            > ack a
              a: epoch 2
            > beat b
              b: epoch 2 [t:2]
            > leave b
              b: epoch -1
            > describe
              Assigning epoch 3 target 2 by uniform
                a epoch 2 t[0, 1] -> t[0, 1]
                from 0: member a joined
                from 1: member b joined
                from 2: member b left
            > beat a
              a: epoch 3 [t:0,1,2]
            > beat b
              b: UNKNOWN_MEMBER_ID Member b is not a member of group g.
            > leave a
              a: epoch -1
            > describe
              Empty epoch 4 target 3 by uniform
                from 0: member a joined
                from 1: member b joined
                from 2: member b left
                from 3: member a left
            > delete
              NONE
            > describe
              GROUP_ID_NOT_FOUND Group g not found.
        "#]],
    );
}

#[test]
fn a_silent_member_and_one_that_does_not_give_up_are_fenced() {
    check(
        "topics t=2
         join a rebalance=10000
         join b
         beat a
         wait 9999
         beat b
         wait 1
         beat a
         beat b
         wait 45000
         beat b
         describe",
        expect![[r#"
            > topics t=2
            > join a rebalance=10000
              a: epoch 1 [t:0,1]
            > join b
              b: epoch 2 []
            > beat a
              a: epoch 1 [t:0]
            > wait 9999
            > beat b
              b: epoch 2
            > wait 1
            > beat a
              a: UNKNOWN_MEMBER_ID Member a is not a member of group g.
            > beat b
              b: epoch 3 [t:0,1]
            > wait 45000
            > beat b
              b: UNKNOWN_MEMBER_ID Member b is not a member of group g.
            > describe
              Empty epoch 4 target 3 by uniform
                from 0: member a joined
                from 1: member b joined
                from 2: member a did not follow within its rebalance timeout
                from 3: member b was silent too long
        "#]],
    );
}

#[test]
fn epochs_of_the_past_and_the_future_are_fenced() {
    check(
        "topics t=2
         join a
         beat a epoch=5
         topics t=3
         beat a
         ack a epoch=1
         beat a epoch=1
         topics t=4
         beat a
         ack a epoch=1
         beat nobody epoch=3
         join a
         beat a epoch=-3",
        expect![[r#"
            > topics t=2
            > join a
              a: epoch 1 [t:0,1]
            > beat a epoch=5
              a: FENCED_MEMBER_EPOCH The consumer group member has a greater
            > topics t=3
            > beat a
              a: epoch 2 [t:0,1,2]
            > ack a epoch=1
              a: epoch 2
            > beat a epoch=1
              a: FENCED_MEMBER_EPOCH The consumer group member has a smaller
            > topics t=4
            > beat a
              a: epoch 3 [t:0,1,2,3]
            > ack a epoch=1
              a: FENCED_MEMBER_EPOCH The consumer group member has a smaller
            > beat nobody epoch=3
              nobody: UNKNOWN_MEMBER_ID Member nobody is not a member of group g
            > join a
              a: epoch 3 [t:0,1,2,3]
            > beat a epoch=-3
              a: INVALID_REQUEST MemberEpoch is invalid.
        "#]],
    );
}

#[test]
fn a_static_member_bounces_without_a_rebalance() {
    check(
        "topics t=4
         join a instance=i
         join b
         beat a instance=i
         ack a instance=i
         beat b
         join a2 instance=i
         away a instance=i
         describe
         join a2 instance=i
         beat a instance=i
         describe
         restart
         beat a2 instance=i
         away a2 instance=i
         wait 45000
         describe",
        expect![[r#"
            > topics t=4
            > join a instance=i
              a: epoch 1 [t:0,1,2,3]
            > join b
              b: epoch 2 []
            > beat a instance=i
              a: epoch 1 [t:0,1]
            > ack a instance=i
              a: epoch 2
            > beat b
              b: epoch 2 [t:2,3]
            > join a2 instance=i
              a2: UNRELEASED_INSTANCE_ID Static member a2 with instance id i cann
            > away a instance=i
              a: epoch -2
            > describe
              Reconciling epoch 2 target 2 by uniform
                a epoch -2 t[0, 1] -> t[0, 1]
                b epoch 2 t[2, 3] -> t[2, 3]
                from 0: member a joined
                from 1: member b joined
            > join a2 instance=i
              a2: epoch 2 [t:0,1]
            > beat a instance=i
              a: FENCED_INSTANCE_ID Static member a with instance id i was f
            > describe
              Stable epoch 2 target 2 by uniform
                a2 epoch 2 t[0, 1] -> t[0, 1]
                b epoch 2 t[2, 3] -> t[2, 3]
                from 0: member a joined
                from 1: member b joined
            > restart
            > beat a2 instance=i
              a2: epoch 2
            > away a2 instance=i
              a2: epoch -2
            > wait 45000
            > describe
              Empty epoch 3 target 2 by uniform
                from 2: member a2 was silent too long; member b was silent too long
        "#]],
    );
}

#[test]
fn topics_that_come_grow_and_go_begin_new_epochs() {
    check(
        "topics t=2
         join a topics=t,u
         topics t=2 v=9
         beat a
         topics t=3 v=9
         beat a
         topics t=3 u=1
         beat a
         topics u=1
         beat a
         describe",
        expect![[r#"
            > topics t=2
            > join a topics=t,u
              a: epoch 1 [t:0,1]
            > topics t=2 v=9
            > beat a
              a: epoch 1
            > topics t=3 v=9
            > beat a
              a: epoch 2 [t:0,1,2]
            > topics t=3 u=1
            > beat a
              a: epoch 3 [t:0,1,2 u:0]
            > topics u=1
            > beat a
              a: epoch 3 [u:0]
            > describe
              Reconciling epoch 4 target 4 by uniform
                a epoch 3 u[0] -> u[0]
                from 0: member a joined
                from 1: a subscribed topic was made, deleted or grown
                from 2: a subscribed topic was made, deleted or grown
                from 3: a subscribed topic was made, deleted or grown
        "#]],
    );
}

#[test]
fn a_regular_expression_follows_the_topics() {
    check(
        "topics apple=1 avocado=1 banana=1
         join a regex=a.* topics=
         topics apple=1 apricot=2 banana=1
         beat a
         join b regex=(
         join b regex=.*an.* topics=
         describe
         restart
         beat a
         beat a regex=b.*
         describe",
        expect![[r#"
            > topics apple=1 avocado=1 banana=1
            > join a regex=a.* topics=
              a: epoch 1 [apple:0 avocado:0]
            > topics apple=1 apricot=2 banana=1
            > beat a
              a: epoch 1 [apple:0]
            > join b regex=(
              b: INVALID_REGULAR_EXPRESSION SubscribedTopicRegex `(` is not a valid
            > join b regex=.*an.* topics=
              b: epoch 3 [banana:0]
            > describe
              Reconciling epoch 3 target 3 by uniform
                a epoch 1 apple[0] -> apple[0] apricot[0, 1]
                b epoch 3 banana[0] -> banana[0]
                from 0: member a joined
                from 1: a subscribed topic was made, deleted or grown
                from 2: member b joined
            > restart
            > beat a
              a: epoch 1
            > beat a regex=b.*
              a: epoch 1
            > describe
              Reconciling epoch 4 target 4 by uniform
                a epoch 1 apple[0] -> 
                b epoch 3 banana[0] -> banana[0]
                from 3: member a changed its subscription
        "#]],
    );
}

#[test]
fn the_assignor_is_what_most_members_ask_for() {
    check(
        "topics t=3 u=3
         join a topics=t,u assignor=range
         join b topics=t,u assignor=range
         join c topics=t,u assignor=uniform
         join d topics=t,u assignor=sticky
         describe",
        expect![[r#"
            > topics t=3 u=3
            > join a topics=t,u assignor=range
              a: epoch 1 [t:0,1,2 u:0,1,2]
            > join b topics=t,u assignor=range
              b: epoch 2 []
            > join c topics=t,u assignor=uniform
              c: epoch 3 []
            > join d topics=t,u assignor=sticky
              d: UNSUPPORTED_ASSIGNOR ServerAssignor sticky is not supported.
            > describe
              Reconciling epoch 3 target 3 by range
                a epoch 1 t[0, 1, 2] u[0, 1, 2] -> t[0] u[0]
                b epoch 2  -> t[1] u[1]
                c epoch 3  -> t[2] u[2]
                from 0: member a joined
                from 1: member b joined
                from 2: member c joined
        "#]],
    );
}

#[test]
fn a_group_is_the_same_after_a_restart() {
    check(
        "topics t=4
         join a
         join b
         beat a
         describe
         restart
         describe
         ack a
         beat b
         commit b t:3=9
         restart
         fetch b
         describe",
        expect![[r#"
            > topics t=4
            > join a
              a: epoch 1 [t:0,1,2,3]
            > join b
              b: epoch 2 []
            > beat a
              a: epoch 1 [t:0,1]
            > describe
              Reconciling epoch 2 target 2 by uniform
                a epoch 1 t[0, 1] -> t[0, 1]
                b epoch 2  -> t[2, 3]
                from 0: member a joined
                from 1: member b joined
            > restart
            > describe
              Reconciling epoch 2 target 2 by uniform
                a epoch 1 t[0, 1] -> t[0, 1]
                b epoch 2  -> t[2, 3]
            > ack a
              a: epoch 2
            > beat b
              b: epoch 2 [t:2,3]
            > commit b t:3=9
              b: NONE
            > restart
            > fetch b
              b: t:3=9
            > describe
              Stable epoch 2 target 2 by uniform
                a epoch 2 t[0, 1] -> t[0, 1]
                b epoch 2 t[2, 3] -> t[2, 3]
        "#]],
    );
}

#[test]
fn a_full_group_takes_nobody_more() {
    let config = GroupConfig { consumer_size_max: 1, ..GroupConfig::default() };
    check_with(
        config,
        "topics t=1
         join a
         join b
         beat a",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [t:0]
            > join b
              b: GROUP_MAX_SIZE_REACHED The consumer group has reached its maxim
            > beat a
              a: epoch 1
        "#]],
    );
}

#[test]
fn no_two_read_one_partition_when_a_static_member_goes_in_the_middle_of_a_handover() {
    let mut world = World::new(GroupConfig::default());
    for line in [
        "topics t=3 u=2",
        "join s instance=i",
        "cjoin c0",
        "join m0 topics=t",
        "wait 9000",
        "ack s instance=i",
        "wait 4000",
        "join m3 topics=t",
        "away s instance=i",
        "ack m3",
    ] {
        world.run(line);
        world.assert_exclusive();
    }
}

#[test]
fn a_session_lasts_as_long_as_the_group_says_from_the_next_heartbeat_on() {
    check_with(
        GroupConfig::default(),
        "topics t=1
         join a
         own session=1000
         wait 2000
         describe
         beat a
         wait 2000
         describe",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [t:0]
            > own session=1000
            > wait 2000
            > describe
              Stable epoch 1 target 1 by uniform
                a epoch 1 t[0] -> t[0]
                from 0: member a joined
            > beat a
              a: epoch 1
            > wait 2000
            > describe
              Empty epoch 2 target 1 by uniform
                from 0: member a joined
                from 1: member a was silent too long
        "#]],
    );
}

#[test]
fn the_first_assignor_that_is_served_is_the_default_and_others_are_refused() {
    let assignors = assignor_names("range");
    check_with(
        GroupConfig { assignors, ..GroupConfig::default() },
        "topics t=2
         join a
         describe
         join b assignor=uniform
         join c assignor=range",
        expect![[r#"
            > topics t=2
            > join a
              a: epoch 1 [t:0,1]
            > describe
              Stable epoch 1 target 1 by range
                a epoch 1 t[0, 1] -> t[0, 1]
                from 0: member a joined
            > join b assignor=uniform
              b: UNSUPPORTED_ASSIGNOR ServerAssignor uniform is not supported.
            > join c assignor=range
              c: epoch 2 []
        "#]],
    );
}
