//! Random lives of a share group: whatever its members do in whatever order, left alone all
//! partitions have a reader in the end, and each member something to read.

use super::share_script::World;
use crate::model::group_config::GroupConfig;
use proptest::prelude::*;

fn lines() -> impl Strategy<Value = Vec<String>> {
    let member = 0..4_usize;
    let topics = prop_oneof![Just("t"), Just("u"), Just("t,u")];
    let line = prop_oneof![
        4 => (member.clone(), topics.clone()).prop_map(|(m, t)| format!("join m{m} topics={t}")),
        6 => member.clone().prop_map(|m| format!("beat m{m}")),
        1 => (member.clone(), topics).prop_map(|(m, t)| format!("beat m{m} topics={t}")),
        2 => member.prop_map(|m| format!("leave m{m}")),
        3 => Just("init".to_owned()),
        1 => Just("fail".to_owned()),
        2 => prop_oneof![Just(1), Just(4_000), Just(9_000), Just(50_000)]
            .prop_map(|ms| format!("wait {ms}")),
        1 => (1..5_i32, 0..4_i32).prop_map(|(t, u)| match u {
            0 => format!("topics t={t}"),
            _ => format!("topics t={t} u={u}"),
        }),
        1 => prop_oneof![Just("alter t:0=5"), Just("forget t"), Just("forgotten t")]
            .prop_map(str::to_owned),
        1 => prop_oneof![Just("restart"), Just("restart compacted")].prop_map(str::to_owned),
    ];
    prop::collection::vec(line, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_partition_has_a_reader_in_the_end(lines in lines()) {
        let mut world = World::new(GroupConfig::default());
        world.run("topics t=3 u=2");
        for line in lines {
            world.run(&line);
        }
        // Whoever is not heard from any more is fenced; three members carry on.
        world.run("topics t=4 u=3");
        world.run("wait 50000");
        let members = ["m0", "m1", "m2"];
        for member in members {
            world.run(&format!("join {member} topics=t,u"));
        }
        for _ in 0..3 {
            world.run("wait 11000");
            for member in members {
                world.run(&format!("beat {member}"));
                world.run("init");
            }
        }
        let group = world.described().expect("three members are in it");
        prop_assert_eq!((group.state, group.members.len()), ("Stable", 3));
        let mut read = std::collections::BTreeSet::new();
        for member in &group.members {
            prop_assert!(!member.assigned.is_empty());
            for topic in &member.assigned {
                read.extend(topic.partitions.iter().map(|index| (topic.name.clone(), *index)));
            }
        }
        prop_assert_eq!(read.len(), 7);
        let epoch = group.epoch;
        members.iter().for_each(|member| world.run(&format!("beat {member}")));
        prop_assert_eq!(world.described().unwrap().epoch, epoch, "it has come to rest");
    }
}
