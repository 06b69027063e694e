//! Groups under the simulator: members of both protocols join, follow, stand still, leave and die;
//! connections break, requests come late and twice; the process dies or the power goes, and the
//! broker comes back with another number of cores. What members are told and what was acknowledged
//! is compared with what a group promises (`groups::history`, `groups::offsets`).
//!
//! `HIGHWATER_SEED=n cargo test --test simulation_groups` replays one seed,
//! `HIGHWATER_SEEDS=n` runs the first n, `HIGHWATER_SEEDS=n..m` those from n to m.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test stops at the first surprise")]

#[path = "simulation/groups/mod.rs"]
mod groups;
#[path = "simulation/lives.rs"]
mod lives;
#[path = "simulation/seeds.rs"]
mod seeds;

use groups::history::{History, Holder, Scope};
use groups::member::{self, Habits, Kind, Member, Phase, Scene};
use groups::{GROUP, HEARTBEAT_MS, PARTITIONS, SESSION_MS, TOPIC, offsets};
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribed,
};
use highwater::protocol::messages::describe_groups::DescribeGroupsRequest;
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::sim::broker::{SimBroker, SimClient};
use highwater::sim::network::{Network, NetworkFaults, Patience};
use highwater::sim::random::Random;
use lives::Lives;
use seeds::Seeds;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use uuid::Uuid;

/// Each life of a broker is new memory: an allocator that keeps pages halves a run's cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: Seeds = Seeds { target: "simulation_groups", count: 1000 };
const MEMBERS_MAX: usize = 5;
/// Longest time between a start and the next crash, in simulated microseconds.
const LIFE_US_MAX: u64 = 200_000;
/// By then a group that nothing disturbs must have come to rest, in simulated microseconds.
const REST_US_MAX: u64 = 2_000_000;
/// Answers after which something does not merely take its time, but hangs.
const TRIES_MAX: u32 = 20_000;

#[test]
fn a_group_keeps_its_promises_whatever_crashes_and_breaks() {
    let ([assignments, commits], runs) = SEEDS.run(run);
    println!("{runs} seeds: {assignments} assignments, {commits} commits acknowledged");
    let runs = usize::try_from(runs).unwrap();
    let is_enough = runs == 1 || (assignments > 4 * runs && commits > 4 * runs);
    assert!(is_enough, "runs without assignments and commits show nothing");
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    for seed in 0..8 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// What one run is made of.
struct Cast {
    members: Vec<Rc<RefCell<Member>>>,
    habits: Rc<Habits>,
    history: Rc<RefCell<History>>,
    is_classic_only: bool,
    is_consumer_only: bool,
    /// A member that gives something up joins again so that another one can have it. A process that
    /// takes over its instance id in between, a twin or its own next life, is given its part, and
    /// does not: then nobody has what was given up until the next rebalance. That is the protocol's
    /// own (KIP-345 with KIP-429).
    may_leave_some: bool,
}

impl Cast {
    fn draw(random: &mut Random) -> Cast {
        let kinds = match random.below(100) {
            0..35 => vec![Kind::Classic],
            35..70 => vec![Kind::Consumer],
            _ => vec![Kind::Classic, Kind::Consumer],
        };
        // Where members are put out early, speak twice at a time or share an instance id, two may
        // believe for a while that a partition is theirs; only their generation tells.
        let is_strict = random.chance(70);
        let mut share = |most| if random.chance(60) { 1 + random.below(most) } else { 0 };
        let (stalls, leaves, deaths, stale_commits) = (share(4), share(3), share(4), share(10));
        let habits = Habits {
            is_cooperative: random.chance(50),
            rebalance_timeout_ms: if is_strict { 60_000 } else { 40 },
            patience: if is_strict { Patience::UntilGone } else { Patience::Us(8_000) },
            join_patience: if is_strict { Patience::UntilGone } else { Patience::Us(60_000) },
            stalls,
            leaves,
            deaths,
            stale_commits,
            kinds,
        };
        let count = 2 + random.index(MEMBERS_MAX - 1);
        let has_twins = random.chance(15);
        let scope = Scope {
            has_leases: is_strict && !has_twins,
            has_one_coordinator: true,
            is_of_one_kind: habits.kinds.len() == 1,
        };
        let mut has_static = false;
        let members = (0..count).map(|number| {
            let is_twin = has_twins && number + 1 == count;
            let slot = if is_twin { number - 1 } else { number };
            let is_static = random.chance(30) || has_twins && number + 2 >= count;
            has_static |= is_static;
            let instance = is_static.then(|| format!("i{slot}"));
            let kind = habits.kinds[random.index(habits.kinds.len())];
            Rc::new(RefCell::new(Member::new(Holder { slot, number }, instance, kind)))
        });
        let members: Vec<_> = members.collect();
        Cast {
            members,
            history: Rc::new(RefCell::new(History::new(scope))),
            may_leave_some: has_static
                && habits.is_cooperative
                && habits.kinds.contains(&Kind::Classic),
            is_classic_only: habits.kinds == [Kind::Classic],
            is_consumer_only: habits.kinds == [Kind::Consumer],
            habits: Rc::new(habits),
        }
    }

    fn scene(&self, broker: &SimBroker, faults: NetworkFaults, topic: Uuid) -> Scene {
        Scene {
            network: Network::new(broker.door(), faults),
            handle: broker.executor.handle(),
            history: Rc::clone(&self.history),
            habits: Rc::clone(&self.habits),
            topic,
            is_classic_only: self.is_classic_only,
            is_calm: Rc::new(Cell::new(false)),
        }
    }
}

/// How many assignments were told, and how many commits acknowledged.
fn run(seed: u64) -> [usize; 2] {
    let mut random = Random::new(seed);
    let cast = Cast::draw(&mut random);
    let session = SESSION_MS.to_string();
    let mut lives = Lives::new(&[
        ("offsets.topic.num.partitions", "2"),
        ("group.initial.rebalance.delay.ms", if random.chance(50) { "0" } else { "5" }),
        ("group.min.session.timeout.ms", "1"),
        ("group.consumer.min.session.timeout.ms", "1"),
        ("group.consumer.min.heartbeat.interval.ms", "1"),
        ("group.consumer.session.timeout.ms", &session),
        ("group.consumer.heartbeat.interval.ms", &HEARTBEAT_MS.to_string()),
        ("group.consumer.assignors", if random.chance(50) { "uniform" } else { "range" }),
    ]);
    let faults = NetworkFaults::swarm(&mut random);
    let mut topic = None;
    for _ in 0..1 + random.below(3) {
        let mut broker = lives.begin(&mut random);
        let id = *topic.get_or_insert_with(|| lives::create_topic(&mut broker, TOPIC, PARTITIONS));
        check_after_start(&mut broker, &cast);
        let scene = cast.scene(&broker, faults, id);
        for member in &cast.members {
            scene.handle.spawn(member::run(scene.clone(), Rc::clone(member)));
        }
        scene.handle.spawn(watch_offsets(scene.clone()));
        let for_us = 1000 + random.below(LIFE_US_MAX);
        let promises = || cast.history.borrow().promises();
        Lives::last(&mut broker, for_us, &mut random, promises);
        cast.history.borrow_mut().offsets.crash(scene.now_us());
        drop(scene);
        lives.end(broker, &mut random);
    }
    let broker = lives.begin(&mut random);
    come_to_rest(broker, &cast, topic.unwrap(), &mut random);
    let history = cast.history.borrow();
    [history.assignments_seen, history.offsets.acknowledged]
}

async fn watch_offsets(scene: Scene) {
    let mut endpoint = scene.network.endpoint();
    loop {
        offsets::look(&scene, &mut endpoint).await;
        let pause_us = scene.handle.random(|random| random.below(20_000));
        scene.handle.sleep_us(pause_us).await;
    }
}

async fn find_coordinator(client: &mut SimClient) {
    let find =
        FindCoordinatorRequest { coordinator_keys: vec![GROUP.to_owned()], ..Default::default() };
    for _ in 0..TRIES_MAX {
        let code = client.call(&find).await.unwrap().coordinators[0].error_code;
        if code == 0 {
            return;
        }
        assert!(KafkaCode::from_number(code).unwrap().is_retriable());
    }
    panic!("no coordinator after {TRIES_MAX} questions");
}

/// The group as a group of the consumer protocol, if it is one; waits until it is loaded.
async fn describe(client: &mut SimClient) -> Option<ConsumerGroupDescribed> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![GROUP.to_owned()],
        ..ConsumerGroupDescribeRequest::default()
    };
    for _ in 0..TRIES_MAX {
        let group = client.call(&request).await.unwrap().groups.remove(0);
        match KafkaCode::from_number(group.error_code).unwrap() {
            KafkaCode::None => return Some(group),
            KafkaCode::GroupIdNotFound => return None,
            code => assert!(code.is_retriable(), "{code:?}"),
        }
    }
    panic!("not loaded after {TRIES_MAX} questions");
}

/// What a crash must not have changed.
fn check_after_start(broker: &mut SimBroker, cast: &Cast) {
    let mut client = broker.connect(0);
    let group = broker.executor.run_until(async move {
        find_coordinator(&mut client).await;
        describe(&mut client).await
    });
    let history = cast.history.borrow();
    let epoch = group.as_ref().map_or(0, |group| group.group_epoch);
    if cast.is_consumer_only {
        history.generations_never_go_back(history.generation_max(), epoch);
    }
    let members = group.into_iter().flat_map(|group| group.members);
    let members: Vec<String> = members.map(|member| member.member_id).collect();
    history.no_departed_member_is_back(&members);
}

/// Faults end and some members are gone: the others share everything before long, and go on where
/// the last acknowledged commits left them.
fn come_to_rest(mut broker: SimBroker, cast: &Cast, topic: Uuid, random: &mut Random) {
    check_after_start(&mut broker, cast);
    let scene = cast.scene(&broker, NetworkFaults::default(), topic);
    scene.is_calm.set(true);
    let mut slots = BTreeSet::new();
    let stays = |member: &&Rc<RefCell<Member>>| {
        let slot = member.borrow().holder.slot;
        (slots.is_empty() || random.chance(75)) && slots.insert(slot)
    };
    let living: Vec<_> = cast.members.iter().filter(stays).cloned().collect();
    for member in &living {
        scene.handle.spawn(member::run(scene.clone(), Rc::clone(member)));
    }
    let end_us = scene.now_us() + REST_US_MAX;
    while !cast.may_leave_some && !members_finally_share_everything(&mut broker, &living) {
        if scene.now_us() >= end_us {
            let mut client = broker.connect(0);
            let group = broker.executor.run_until(async move { describe(&mut client).await });
            let members: Vec<_> = living.iter().map(|member| member.borrow()).collect();
            panic!("the group does not come to rest: {group:?} {members:?}");
        }
        let until_us = scene.now_us() + HEARTBEAT_MS * 1000;
        while scene.now_us() < until_us && broker.executor.step() {}
    }
    let told = Rc::new(Cell::new(false));
    let (slot, looker) = (Rc::clone(&told), scene);
    broker.executor.run_until(async move {
        let mut endpoint = looker.network.endpoint();
        slot.set(offsets::look(&looker, &mut endpoint).await);
    });
    assert!(told.get(), "the coordinator tells the offsets");
}

fn members_finally_share_everything(
    broker: &mut SimBroker,
    living: &[Rc<RefCell<Member>>],
) -> bool {
    let mut shared = BTreeSet::new();
    for member in living {
        let member = member.borrow();
        let is_in =
            member.generation > 0 && (member.kind == Kind::Consumer || member.phase == Phase::In);
        if !is_in || !member.owned.iter().all(|partition| shared.insert(*partition)) {
            return false;
        }
    }
    if !shared.into_iter().eq(0..PARTITIONS) {
        return false;
    }
    let mut client = broker.connect(0);
    let (state, count) = broker.executor.run_until(async move {
        if let Some(group) = describe(&mut client).await {
            return (group.group_state, group.members.len());
        }
        let request = DescribeGroupsRequest {
            groups: vec![GROUP.to_owned()],
            ..DescribeGroupsRequest::default()
        };
        let group = client.call(&request).await.unwrap().groups.remove(0);
        (group.group_state, group.members.len())
    });
    state == "Stable" && count == living.len()
}
