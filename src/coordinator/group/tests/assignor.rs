//! What the server-side assignors give to whom.

use crate::coordinator::group::assignor::{Assignment, Assignor, MemberSpec, partition_count};
use crate::model::ids::TopicId;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use uuid::Uuid;

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

struct Group {
    /// Member, instance, topics by number.
    members: Vec<(String, Option<String>, BTreeSet<u128>)>,
    partitions: BTreeMap<TopicId, i32>,
    targets: BTreeMap<String, Assignment>,
}

impl Group {
    fn of(members: &[(&str, &[u128])], partitions: &[(u128, i32)]) -> Group {
        let member = |(name, topics): &(&str, &[u128])| {
            let (name, instance) = match name.split_once('@') {
                Some((name, instance)) => (name, Some(instance.to_owned())),
                None => (*name, None),
            };
            (name.to_owned(), instance, topics.iter().copied().collect())
        };
        Group {
            members: members.iter().map(member).collect(),
            partitions: partitions.iter().map(|(id, count)| (topic(*id), *count)).collect(),
            targets: BTreeMap::new(),
        }
    }

    fn assign(&mut self, assignor: Assignor) {
        let none = Assignment::new();
        let specs: Vec<MemberSpec<'_>> = self
            .members
            .iter()
            .map(|(member, instance, topics)| MemberSpec {
                member,
                instance: instance.as_deref(),
                topics: topics
                    .iter()
                    .map(|id| topic(*id))
                    .filter(|id| self.partitions.contains_key(id))
                    .collect(),
                previous: self.targets.get(member).unwrap_or(&none),
            })
            .collect();
        let targets = assignor.assign(&specs, &self.partitions);
        let names = self.members.iter().map(|(member, _, _)| member.clone());
        self.targets = names.zip(targets).collect();
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (member, target) in &self.targets {
            write!(text, "{member}").unwrap();
            for (id, set) in target {
                write!(text, " {}:", id.0.as_u128()).unwrap();
                let indexes: Vec<String> = set.iter().map(ToString::to_string).collect();
                write!(text, "{}", indexes.join(",")).unwrap();
            }
            text.push('\n');
        }
        text
    }

    fn check(&mut self, assignor: Assignor, expected: &Expect) {
        self.assign(assignor);
        expected.assert_eq(&self.text());
    }

    fn total(&self) -> usize {
        self.targets.values().map(partition_count).sum()
    }
}

#[test]
fn range_gives_each_member_the_same_positions_of_equal_topics() {
    let mut group = Group::of(&[("b", &[1, 2]), ("a", &[1, 2])], &[(1, 3), (2, 3)]);
    group.check(
        Assignor::Range,
        &expect![[r#"
            a 1:0,1 2:0,1
            b 1:2 2:2
        "#]],
    );
}

#[test]
fn range_orders_static_members_by_instance_before_the_others() {
    let members: [(&str, &[u128]); 4] = [("a", &[1]), ("z@i1", &[1]), ("b", &[1]), ("y@i2", &[1])];
    let mut group = Group::of(&members, &[(1, 6)]);
    group.check(
        Assignor::Range,
        &expect![[r#"
            a 1:4
            b 1:5
            y 1:2,3
            z 1:0,1
        "#]],
    );
}

#[test]
fn range_counts_the_subscribers_of_each_topic_alone() {
    let mut group =
        Group::of(&[("a", &[1, 2]), ("b", &[2, 3]), ("c", &[9])], &[(1, 3), (2, 3), (3, 2)]);
    group.check(
        Assignor::Range,
        &expect![[r#"
            a 1:0,1,2 2:0,1
            b 2:2 3:0,1
            c
        "#]],
    );
}

#[test]
fn uniform_moves_only_what_evens_out() {
    let mut group = Group::of(&[("a", &[1]), ("b", &[1])], &[(1, 6)]);
    group.check(
        Assignor::Uniform,
        &expect![[r#"
            a 1:0,1,2
            b 1:3,4,5
        "#]],
    );
    group.members.push(("c".into(), None, [1].into()));
    group.check(
        Assignor::Uniform,
        &expect![[r#"
            a 1:0,1
            b 1:3,4
            c 1:2,5
        "#]],
    );
    group.members.remove(0);
    group.targets.remove("a");
    group.check(
        Assignor::Uniform,
        &expect![[r#"
            b 1:0,3,4
            c 1:1,2,5
        "#]],
    );
    group.partitions.insert(topic(1), 7);
    group.check(
        Assignor::Uniform,
        &expect![[r#"
            b 1:0,3,4,6
            c 1:1,2,5
        "#]],
    );
}

#[test]
fn uniform_evens_out_members_with_different_topics() {
    let mut group = Group::of(&[("a", &[1, 2]), ("b", &[2])], &[(1, 2), (2, 4)]);
    group.check(
        Assignor::Uniform,
        &expect![[r#"
            a 1:0,1 2:2
            b 2:0,1,3
        "#]],
    );
}

#[test]
fn nobody_and_nothing_give_nothing() {
    for assignor in Assignor::ALL {
        Group::of(&[], &[(1, 2)]).check(assignor, &expect![[""]]);
        let mut group = Group::of(&[("a", &[]), ("b", &[7])], &[]);
        group.check(
            assignor,
            &expect![[r#"
            a
            b
        "#]],
        );
        let mut group = Group::of(&[("a", &[1]), ("b", &[1])], &[(1, 1)]);
        group.check(
            assignor,
            &expect![[r#"
            a 1:0
            b
        "#]],
        );
    }
}

fn groups() -> impl Strategy<Value = Vec<(Vec<BTreeSet<u128>>, Vec<i32>)>> {
    let topics = prop::collection::btree_set(0..5_u128, 0..5);
    let members = prop_oneof![
        prop::collection::vec(topics.clone(), 1..7),
        (1..9_usize, topics).prop_map(|(count, topics)| vec![topics; count]),
    ];
    let round = (members, prop::collection::vec(0..9_i32, 5));
    prop::collection::vec(round, 1..5)
}

proptest! {
    #[test]
    fn every_subscribed_partition_has_one_owner_who_subscribes(rounds in groups()) {
        for assignor in Assignor::ALL {
            let mut group = Group::of(&[], &[]);
            for (members, partitions) in &rounds {
                let names = (0..).map(|number| format!("m{number}"));
                group.members =
                    names.zip(members).map(|(name, topics)| (name, None, topics.clone())).collect();
                let is_member = |name: &String| group.members.iter().any(|own| own.0 == *name);
                group.targets.retain(|name, _| is_member(name));
                group.partitions = (0..).map(topic).zip(partitions.iter().copied()).collect();
                group.assign(assignor);

                let subscribed: BTreeSet<u128> = members.iter().flatten().copied().collect();
                let wanted: i32 = subscribed.iter().map(|id| group.partitions[&topic(*id)]).sum();
                prop_assert_eq!(group.total(), usize::try_from(wanted).unwrap());
                let mut owned = BTreeSet::new();
                for (name, _, topics) in &group.members {
                    for (id, set) in &group.targets[name] {
                        prop_assert!(topics.contains(&id.0.as_u128()) && !set.is_empty());
                        for partition in set {
                            prop_assert!(*partition < group.partitions[id]);
                            prop_assert!(owned.insert((*id, *partition)));
                        }
                    }
                }
                let is_homogeneous = members.windows(2).all(|pair| pair[0] == pair[1]);
                if assignor == Assignor::Uniform && is_homogeneous {
                    let loads: Vec<usize> = group.targets.values().map(partition_count).collect();
                    let (most, least) = (loads.iter().max(), loads.iter().min());
                    prop_assert!(most.unwrap() - least.unwrap() <= 1);
                    // Again changes nothing.
                    let first = group.targets.clone();
                    group.assign(assignor);
                    prop_assert_eq!(&group.targets, &first);
                }
            }
        }
    }
}
