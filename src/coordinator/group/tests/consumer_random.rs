//! Random lives of a group whose members speak either protocol: whatever they do in whatever order,
//! no two of them read one partition, and left alone the group comes to rest with all assigned.

use super::consumer_script::World;
use crate::model::group_config::GroupConfig;
use proptest::prelude::*;

fn lines() -> impl Strategy<Value = Vec<String>> {
    let member = 0..4_usize;
    let topics = prop_oneof![Just("t"), Just("u"), Just("t,u")];
    let line = prop_oneof![
        3 => (member.clone(), topics).prop_map(|(m, topics)| format!("join m{m} topics={topics}")),
        1 => member.clone().prop_map(|m| format!("join m{m} regex=[tu] topics=")),
        2 => Just("join s instance=i".to_owned()),
        1 => Just("away s instance=i".to_owned()),
        3 => Just("ack s instance=i".to_owned()),
        6 => member.clone().prop_map(|m| format!("beat m{m}")),
        6 => member.clone().prop_map(|m| format!("ack m{m}")),
        1 => member.prop_map(|m| format!("leave m{m}")),
        2 => (0..2_usize).prop_map(|c| format!("cjoin c{c}")),
        1 => (0..2_usize).prop_map(|c| format!("cjoin c{c} id=none")),
        3 => (0..2_usize).prop_map(|c| format!("csync c{c}")),
        3 => (0..2_usize).prop_map(|c| format!("cbeat c{c}")),
        1 => (0..2_usize).prop_map(|c| format!("cleave c{c}")),
        2 => prop_oneof![Just(1), Just(4_000), Just(9_000), Just(50_000)]
            .prop_map(|ms| format!("wait {ms}")),
        1 => (1..5_i32, 0..4_i32).prop_map(|(t, u)| match u {
            0 => format!("topics t={t}"),
            _ => format!("topics t={t} u={u}"),
        }),
        1 => Just("restart".to_owned()),
        1 => Just("restart compacted".to_owned()),
    ];
    prop::collection::vec(line, 1..80)
}

/// Words for a client that has not joined yet would have nothing to say.
fn is_known(joined: &mut Vec<String>, line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (verb, name) = (words.next().unwrap(), words.next().unwrap_or_default());
    if matches!(verb, "join" | "cjoin") {
        joined.push(name.to_owned());
    }
    matches!(verb, "wait" | "restart" | "topics") || joined.iter().any(|known| known == name)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_has_two_readers_and_all_have_one_in_the_end(lines in lines()) {
        let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
        let mut world = World::new(config);
        world.run("topics t=3 u=2");
        let mut joined = Vec::new();
        for line in lines {
            if is_known(&mut joined, &line) {
                world.run(&line);
                world.assert_exclusive();
            }
        }
        // Whoever is not heard from any more is fenced; two members carry on.
        world.run("topics t=4 u=3");
        for _ in 0..3 {
            world.run("wait 40000");
        }
        for line in ["join m0 topics=t,u", "join m1 topics=t,u"] {
            world.run(line);
            world.assert_exclusive();
        }
        for _ in 0..4 {
            for line in ["beat m0", "ack m0", "beat m1", "ack m1"] {
                world.run(line);
                world.assert_exclusive();
            }
        }
        let group = world.described().expect("members of the consumer protocol are in it");
        prop_assert_eq!((group.state, group.members.len()), ("Stable", 2));
        let assigned = group.members.iter().flat_map(|member| &member.assigned);
        prop_assert_eq!(assigned.map(|topic| topic.partitions.len()).sum::<usize>(), 7);
    }
}
