//! Random lives of a group: whatever clients do in whatever order, the promises hold.

use super::script::GROUP;
use crate::coordinator::group::calls::{
    CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, Heartbeat, Join, Leave,
    LeavingMember, Protocol, Sync,
};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupRequest, Step};
use crate::coordinator::replayed::KeyValue;
use crate::coordinator::replayed::Waiter;
use crate::model::clock::Now;
use crate::model::errors::KafkaCode;
use crate::model::group_config::GroupConfig;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

const CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Event {
    Join { client: usize, protocols: u8, is_static: bool, version: i16 },
    Sync { client: usize },
    Beat { client: usize },
    Leave { client: usize },
    Commit { client: usize, partition: i32, offset: i64 },
    Forget { client: usize },
    Wait { ms: u64 },
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let client = 0..CLIENTS;
    let event = prop_oneof![
        6 => (client.clone(), 1_u8..4, any::<bool>(), prop_oneof![Just(3_i16), Just(9)]).prop_map(
            |(client, protocols, is_static, version)| Event::Join {
                client, protocols, is_static: is_static && client == 0, version,
            }
        ),
        6 => client.clone().prop_map(|client| Event::Sync { client }),
        3 => client.clone().prop_map(|client| Event::Beat { client }),
        1 => client.clone().prop_map(|client| Event::Leave { client }),
        2 => (client.clone(), 0..3_i32, 0..100_i64)
            .prop_map(|(client, partition, offset)| Event::Commit { client, partition, offset }),
        1 => client.prop_map(|client| Event::Forget { client }),
        3 => prop_oneof![Just(1_u64), Just(3_000), Just(7_000), Just(60_000)]
            .prop_map(|ms| Event::Wait { ms }),
        1 => Just(Event::Restart),
    ];
    prop::collection::vec(event, 1..120)
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Join(usize),
    Sync { client: usize, generation: i32 },
    Other,
}

/// What one life has shown so far.
#[derive(Default)]
struct Seen {
    /// Generation to leader and protocol.
    generations: BTreeMap<i32, (String, Option<String>)>,
    /// Generation and member to what its leader assigned.
    assigned: HashMap<(i32, String), Bytes>,
    generation_max: i32,
    offsets: BTreeMap<i32, i64>,
}

struct Life {
    coordinator: GroupCoordinator,
    now: Now,
    log: Vec<KeyValue>,
    asked: BTreeMap<Waiter, Asked>,
    ids: [String; CLIENTS],
    generations: [i32; CLIENTS],
    leads: [Vec<String>; CLIENTS],
    count: u64,
    seen: Seen,
}

impl Life {
    fn new() -> Life {
        Life {
            coordinator: GroupCoordinator::new(config()),
            now: Now::default(),
            log: Vec::new(),
            asked: BTreeMap::new(),
            ids: Default::default(),
            generations: [-1; CLIENTS],
            leads: Default::default(),
            count: 0,
            seen: Seen::default(),
        }
    }

    fn live(&mut self, event: &Event) {
        match *event {
            Event::Wait { ms } => self.wait(ms),
            Event::Restart => self.restart(),
            Event::Forget { client } => self.ids[client].clear(),
            Event::Join { client, protocols, is_static, version } => {
                let join = self.join(client, protocols, is_static, version);
                self.ask(GroupRequest::Join(Box::new(join)), Asked::Join(client));
            }
            Event::Sync { client } => self.sync(client),
            Event::Beat { client } => {
                let beat = Heartbeat {
                    group: GROUP.into(),
                    generation: self.generations[client],
                    member: self.ids[client].clone(),
                    instance: None,
                };
                self.ask(GroupRequest::Heartbeat(beat), Asked::Other);
            }
            Event::Leave { client } => {
                let member = LeavingMember { member: self.ids[client].clone(), instance: None };
                let leave = Leave { group: GROUP.into(), members: vec![member] };
                self.ask(GroupRequest::Leave(leave), Asked::Other);
            }
            Event::Commit { client, partition, offset } => self.commit(client, partition, offset),
        }
    }

    fn join(&self, client: usize, protocols: u8, is_static: bool, version: i16) -> Join {
        let protocol = |(bit, name): (u8, &str)| {
            (protocols & bit != 0).then(|| Protocol {
                name: name.to_owned(),
                metadata: Bytes::from(format!("{client}/{name}")),
            })
        };
        Join {
            group: GROUP.into(),
            member: self.ids[client].clone(),
            instance: is_static.then(|| "instance".to_owned()),
            client_id: format!("c{client}"),
            client_host: "/h".into(),
            session_timeout_ms: 6_000 + 1_000 * i32::try_from(client).unwrap(),
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".into(),
            protocols: [(1, "range"), (2, "sticky")].into_iter().filter_map(protocol).collect(),
            needs_member_id: version >= 4,
            knows_skip_assignment: version >= 9,
            fresh: Uuid::from_u128(u128::from(self.count)),
        }
    }

    fn sync(&mut self, client: usize) {
        let generation = self.generations[client];
        self.count += 1;
        let assignment = |member: &String| {
            (member.clone(), Bytes::from(format!("{generation}/{member}/{}", self.count)))
        };
        let sync = Sync {
            group: GROUP.into(),
            generation,
            member: self.ids[client].clone(),
            instance: None,
            protocol_type: None,
            protocol: None,
            assignments: self.leads[client].iter().map(assignment).collect(),
        };
        self.ask(GroupRequest::Sync(sync), Asked::Sync { client, generation });
    }

    fn commit(&mut self, client: usize, partition: i32, offset: i64) {
        let commit = CommitPartition { partition, offset, leader_epoch: -1, metadata: None };
        let commit = CommitOffsets {
            group: GROUP.into(),
            generation: self.generations[client],
            member: self.ids[client].clone(),
            instance: None,
            retention_ms: None,
            topics: vec![CommitTopic { name: "t".into(), partitions: vec![commit] }],
            names_missing_group: false,
        };
        let answer = self.ask(GroupRequest::CommitOffsets(commit), Asked::Other);
        if let Some(GroupAnswer::CommitOffsets(_)) = answer {
            self.seen.offsets.insert(partition, offset);
        }
    }

    /// Asks; the answer, if it came at once.
    fn ask(&mut self, request: GroupRequest, asked: Asked) -> Option<GroupAnswer> {
        self.count += 1;
        let waiter = Waiter(self.count);
        self.asked.insert(waiter, asked);
        let step = self.coordinator.on_request(request, waiter, self.now);
        let own = step.answers.iter().find(|(to, _)| *to == waiter);
        let own = own.map(|(_, answer)| answer.clone());
        self.take(step);
        own
    }

    fn wait(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        let mut turns = 0;
        while self.coordinator.next_deadline_us() <= end_us {
            let due_us = self.coordinator.next_deadline_us().max(self.now.monotonic_us);
            self.now = Now { monotonic_us: due_us, wall_ms: i64::try_from(due_us / 1000).unwrap() };
            let step = self.coordinator.on_tick(self.now);
            self.take(step);
            turns += 1;
            assert!(turns < 1000, "a deadline that never goes away");
        }
        self.now = Now { monotonic_us: end_us, wall_ms: i64::try_from(end_us / 1000).unwrap() };
    }

    fn restart(&mut self) {
        for waiter in self.coordinator.take_waiters() {
            self.asked.remove(&waiter).expect("parked once");
        }
        assert!(self.asked.is_empty(), "a parked request got lost: {:?}", self.asked);
        self.coordinator = GroupCoordinator::new(config());
        for record in &self.log {
            let record = GroupRecord::decode(&record.key, record.value.as_ref()).unwrap();
            self.coordinator.replay(record.unwrap());
        }
        self.coordinator.on_loaded(self.now);
        // What was not recorded may be used again: an unfinished generation never had an
        // assignment.
        let assigned: BTreeSet<i32> = self.seen.assigned.keys().map(|key| key.0).collect();
        self.seen.generations.retain(|generation, _| assigned.contains(generation));
        self.seen.generation_max = assigned.last().copied().unwrap_or(0);
    }

    fn take(&mut self, step: Step) {
        for record in &step.records {
            self.log.push(record.encode().unwrap());
            if let GroupRecord::Group { value: Some(value), .. } = record {
                for member in &value.members {
                    let key = (value.generation, member.member.clone());
                    self.seen.assigned.insert(key, member.assignment.clone());
                }
            }
        }
        for (waiter, answer) in step.answers {
            let asked = self.asked.remove(&waiter).expect("each waiter is answered once");
            self.judge(asked, answer);
        }
    }

    fn judge(&mut self, asked: Asked, answer: GroupAnswer) {
        match (asked, answer) {
            (Asked::Join(client), GroupAnswer::Join(joined)) => {
                if joined.code == KafkaCode::MemberIdRequired {
                    self.ids[client] = joined.member;
                    return;
                }
                if joined.code != KafkaCode::None {
                    return;
                }
                // One leader and one protocol per generation, and generations only grow.
                assert!(joined.generation >= self.seen.generation_max);
                self.seen.generation_max = joined.generation;
                let of_generation = self.seen.generations.entry(joined.generation);
                let known =
                    of_generation.or_insert((joined.leader.clone(), joined.protocol.clone()));
                assert_eq!(known.1, joined.protocol);
                let is_leader = joined.leader == joined.member;
                assert!(joined.members.is_empty() || is_leader);
                if !joined.members.is_empty() {
                    known.0 = joined.leader.clone();
                }
                self.ids[client] = joined.member;
                self.generations[client] = joined.generation;
                let lead = joined.members.into_iter().map(|member| member.member);
                self.leads[client] = lead.collect();
            }
            (Asked::Sync { client, generation }, GroupAnswer::Sync(synced)) => {
                if synced.code == KafkaCode::None {
                    // What the leader assigned to this member in this generation, nothing else.
                    let assigned = self.seen.assigned.get(&(generation, self.ids[client].clone()));
                    if let Some(assigned) = assigned {
                        assert_eq!(assigned, &synced.assignment);
                    }
                }
            }
            (_, GroupAnswer::Refused(_)) | (Asked::Other, _) => {}
            (asked, answer) => panic!("{asked:?} was answered {answer:?}"),
        }
    }

    /// The committed offsets, as the coordinator tells them.
    fn offsets(&mut self) -> BTreeMap<i32, i64> {
        let fetch = FetchOffsets {
            group: GROUP.into(),
            member: None,
            member_epoch: -1,
            require_stable: false,
            topics: None,
        };
        let answer = self.ask(GroupRequest::FetchOffsets(fetch), Asked::Other);
        let Some(GroupAnswer::FetchOffsets(topics)) = answer else { panic!("{answer:?}") };
        let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|partition| (partition.partition, partition.offset)).collect()
    }
}

fn config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 500, ..GroupConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_group_keeps_its_promises(events in events()) {
        let mut life = Life::new();
        for event in &events {
            life.live(event);
            let offsets = life.offsets();
            prop_assert_eq!(&offsets, &life.seen.offsets, "an acknowledged commit was lost");
        }
        life.restart();
        let offsets = life.offsets();
        prop_assert_eq!(&offsets, &life.seen.offsets);
        // Left alone, every group comes to rest and nobody waits for ever.
        life.wait(10 * 60_000);
        prop_assert!(life.asked.is_empty());
    }
}
