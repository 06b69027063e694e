use super::script::{at_once, check_with};
use expect_test::expect;

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
