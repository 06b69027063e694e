//! Share groups, as their members live through them.

use super::share_script::{check, check_with};
use crate::model::group_config::GroupConfig;
use crate::model::share_config::ShareConfig;
use expect_test::expect;

#[test]
fn a_partition_is_assigned_once_the_share_coordinator_knows_of_it() {
    check(
        "topics t=2
         join a
         beat a
         init
         partitions
         beat a
         beat a
         describe
         list",
        expect![[r#"
            > topics t=2
            > join a
              a: epoch 1 [] new at 1 [t:0,1]
            > beat a
              a: epoch 1
            > init
              done
            > partitions
              t[0, 1]
            > beat a
              a: epoch 2 [t:0,1]
            > beat a
              a: epoch 2
            > describe
              Stable epoch 2 target 2 by simple
                a epoch 2 of t: t[0, 1]
                from 0: member a joined
                from 1: other partitions may be read
            > list
              g share share Stable
        "#]],
    );
}

#[test]
fn members_share_partitions_and_get_those_of_who_leaves() {
    check(
        "topics t=1
         join a
         init
         beat a
         join b
         beat a
         beat b
         leave a
         beat b
         leave b
         describe
         list",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > init
              done
            > beat a
              a: epoch 2 [t:0]
            > join b
              b: epoch 3 [t:0]
            > beat a
              a: epoch 3
            > beat b
              b: epoch 3
            > leave a
              a: epoch -1
            > beat b
              b: epoch 4
            > leave b
              b: epoch -1
            > describe
              Empty epoch 5 target 4 by simple
                from 0: member a joined
                from 1: other partitions may be read
                from 2: member b joined
                from 3: member a left
                from 4: member b left
            > list
              g share share Empty
        "#]],
    );
}

#[test]
fn a_member_is_fenced_by_its_epoch_and_may_repeat_the_last_one() {
    check(
        "topics t=1
         beat a epoch=1
         join a
         init
         beat a
         beat a epoch=1
         beat a epoch=0
         beat a epoch=3
         beat b epoch=1
         leave b
         join a
         beat a epoch=-2",
        expect![[r#"
            > topics t=1
            > beat a epoch=1
              a: GROUP_ID_NOT_FOUND Share group g not found.
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > init
              done
            > beat a
              a: epoch 2 [t:0]
            > beat a epoch=1
              a: epoch 2
            > beat a epoch=0
              a: INVALID_REQUEST SubscribedTopicNames must be set in first request.
            > beat a epoch=3
              a: FENCED_MEMBER_EPOCH The share group member has a greater member epoch (3) than t
            > beat b epoch=1
              b: UNKNOWN_MEMBER_ID Member b is not a member of group g.
            > leave b
              b: UNKNOWN_MEMBER_ID Member b is not a member of group g.
            > join a
              a: FENCED_MEMBER_EPOCH The share group member has a smaller member epoch (0) than t
            > beat a epoch=-2
              a: INVALID_REQUEST MemberEpoch is invalid.
        "#]],
    );
}

#[test]
fn a_silent_member_goes_when_its_session_ends() {
    check(
        "topics t=1
         join a
         init
         wait 30000
         join b
         wait 20000
         describe
         beat a
         own session=50000 interval=7000
         beat b
         wait 49000
         beat b
         restart
         wait 44000
         describe
         wait 1000
         describe",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > init
              done
            > wait 30000
            > join b
              b: epoch 2 [t:0]
            > wait 20000
            > describe
              Stable epoch 3 target 2 by simple
                b epoch 2 of t: t[0]
                from 0: member a joined
                from 1: member b joined
                from 2: member a was silent too long
            > beat a
              a: UNKNOWN_MEMBER_ID Member a is not a member of group g.
            > own session=50000 interval=7000
            > beat b
              b: epoch 3
            > wait 49000
            > beat b
              b: epoch 3
            > restart
            > wait 44000
            > describe
              Stable epoch 3 target 3 by simple
                b epoch 3 of t: t[0]
            > wait 1000
            > describe
              Empty epoch 4 target 3 by simple
                from 3: member b was silent too long
        "#]],
    );
}

#[test]
fn what_could_not_be_initialized_is_tried_again() {
    check(
        "topics t=1
         join a
         fail
         beat a
         beat a
         wait 10000
         beat a
         restart
         beat a
         init
         beat a",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > fail
              done
            > beat a
              a: epoch 1 new at 1 [t:0]
            > beat a
              a: epoch 1
            > wait 10000
            > beat a
              a: epoch 1 new at 1 [t:0]
            > restart
            > beat a
              a: epoch 1 new at 1 [t:0]
            > init
              done
            > beat a
              a: epoch 2 [t:0]
        "#]],
    );
}

#[test]
fn a_group_follows_its_topics() {
    check(
        "topics t=1 u=1
         join a topics=t,u,x
         init
         beat a
         topics t=3 u=1
         beat a
         init
         beat a
         topics t=3 x=1
         partitions
         beat a
         init
         beat a
         beat a topics=x
         beat a
         partitions
         topics u=1
         partitions",
        expect![[r#"
            > topics t=1 u=1
            > join a topics=t,u,x
              a: epoch 1 [] new at 1 [t:0 u:0]
            > init
              done
            > beat a
              a: epoch 2 [t:0 u:0]
            > topics t=3 u=1
            > beat a
              a: epoch 3 new at 3 [t:1,2]
            > init
              done
            > beat a
              a: epoch 4 [t:0,1,2 u:0]
            > topics t=3 x=1
            > partitions
              t[0, 1, 2]
            > beat a
              a: epoch 5 [t:0,1,2] new at 5 [x:0]
            > init
              done
            > beat a
              a: epoch 6 [t:0,1,2 x:0]
            > beat a topics=x
              a: epoch 7 [x:0]
            > beat a
              a: epoch 7
            > partitions
              t[0, 1, 2] x[0]
            > topics u=1
            > partitions
              nothing
        "#]],
    );
}

#[test]
fn a_group_outlives_its_members_and_a_restart() {
    check(
        "topics t=2
         join a
         init
         beat a
         restart
         describe
         beat a
         leave a
         wait 700000000
         restart compacted
         describe
         partitions
         join a
         delete
         leave a
         forget
         forgotten t
         delete
         restart
         list
         describe",
        expect![[r#"
            > topics t=2
            > join a
              a: epoch 1 [] new at 1 [t:0,1]
            > init
              done
            > beat a
              a: epoch 2 [t:0,1]
            > restart
            > describe
              Stable epoch 2 target 2 by simple
                a epoch 2 of t: t[0, 1]
            > beat a
              a: epoch 2
            > leave a
              a: epoch -1
            > wait 700000000
            > restart compacted
            > describe
              Empty epoch 3 target 2 by simple
            > partitions
              t[0, 1]
            > join a
              a: epoch 4 [t:0,1]
            > delete
              NON_EMPTY_GROUP
            > leave a
              a: epoch -1
            > forget
              t[0, 1]
            > forgotten t
              done
            > delete
              NONE
            > restart
            > list
              nothing
            > describe
              GROUP_ID_NOT_FOUND Group g not found.
        "#]],
    );
}

#[test]
fn offsets_are_altered_without_members_only() {
    check(
        "topics t=2 u=1
         join a
         init
         alter t:0=5
         leave a
         alter t:0=5
         alter u:0=7
         alter t:9=7
         alter x:0=7
         partitions",
        expect![[r#"
            > topics t=2 u=1
            > join a
              a: epoch 1 [] new at 1 [t:0,1]
            > init
              done
            > alter t:0=5
              NON_EMPTY_GROUP the group still has members
            > leave a
              a: epoch -1
            > alter t:0=5
              epoch 3 t:0=5 NONE
            > alter u:0=7
              epoch 4 u:0=7 NONE
            > alter t:9=7
              epoch 4 t:9=7 UNKNOWN_TOPIC_OR_PARTITION
            > alter x:0=7
              epoch 4 x:0=7 UNKNOWN_TOPIC_OR_PARTITION
            > partitions
              t[0, 1]
        "#]],
    );
}

#[test]
fn a_group_begins_with_the_offsets_that_are_set_before_its_first_member_comes() {
    check(
        "topics t=2
         alter x:0=7
         list
         alter t:0=5
         list
         restart
         list
         partitions
         join a
         restart compacted
         describe",
        expect![[r#"
            > topics t=2
            > alter x:0=7
              epoch 0 x:0=7 UNKNOWN_TOPIC_OR_PARTITION
            > list
              nothing
            > alter t:0=5
              epoch 1 t:0=5 NONE
            > list
              g share share Empty
            > restart
            > list
              g share share Empty
            > partitions
              nothing
            > join a
              a: epoch 2 [] new at 2 [t:0,1]
            > restart compacted
            > describe
              Stable epoch 2 target 2 by simple
                a epoch 2 of t:
        "#]],
    );
}

#[test]
fn offsets_are_forgotten_without_members_only_and_again_after_a_failure() {
    check(
        "topics t=2 u=1
         join a
         init
         forget t
         leave a
         forget x
         forget u
         forget t
         partitions
         forget t
         join a
         init
         leave a
         forget t
         forgotten t
         forget t",
        expect![[r#"
            > topics t=2 u=1
            > join a
              a: epoch 1 [] new at 1 [t:0,1]
            > init
              done
            > forget t
              NON_EMPTY_GROUP the group still has members
            > leave a
              a: epoch -1
            > forget x
              x: no such topic
            > forget u
              u: nothing
            > forget t
              t[0, 1]
            > partitions
              nothing
            > forget t
              t[0, 1]
            > join a
              a: epoch 3 [] new at 3 [t:0,1]
            > init
              done
            > leave a
              a: epoch -1
            > forget t
              t[0, 1]
            > forgotten t
              done
            > forget t
              t: nothing
        "#]],
    );
}

#[test]
fn other_protocols_are_refused_and_refuse() {
    check(
        "topics t=1
         join a
         consumer c
         classic c
         commit
         fetch
         delete
         leave a
         classic c
         delete
         classic c
         join a
         leave a
         describe",
        expect![[r#"
            > topics t=1
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > consumer c
              c: GROUP_ID_NOT_FOUND Group g is not a consumer group.
            > classic c
              c: INCONSISTENT_GROUP_PROTOCOL
            > commit
              refused GROUP_ID_NOT_FOUND
            > fetch
              refused GROUP_ID_NOT_FOUND
            > delete
              NON_EMPTY_GROUP
            > leave a
              a: epoch -1
            > classic c
              c: INCONSISTENT_GROUP_PROTOCOL
            > delete
              NONE
            > classic c
            > join a
              a: GROUP_ID_NOT_FOUND Group g is not a share group.
            > leave a
              a: GROUP_ID_NOT_FOUND Group g is not a share group.
            > describe
              GROUP_ID_NOT_FOUND Group g is not a share group.
        "#]],
    );
}

#[test]
fn a_group_takes_so_many_members_and_a_first_beat_says_what_it_reads() {
    let share = ShareConfig { size_max: 1, ..ShareConfig::default() };
    check_with(
        GroupConfig { share, ..GroupConfig::default() },
        "topics t=1
         join a topics=
         list
         join a
         join b
         beat a
         leave a
         join b",
        expect![[r#"
            > topics t=1
            > join a topics=
              a: INVALID_REQUEST SubscribedTopicNames must be set in first request.
            > list
              nothing
            > join a
              a: epoch 1 [] new at 1 [t:0]
            > join b
              b: GROUP_MAX_SIZE_REACHED The share group has reached its maximum capacity of 1 member
            > beat a
              a: epoch 1
            > leave a
              a: epoch -1
            > join b
              b: epoch 3 []
        "#]],
    );
}
