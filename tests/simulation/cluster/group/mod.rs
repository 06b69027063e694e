//! Members of one group among several brokers: those of the simulation of groups, with another
//! network and the times of a cluster.

#[path = "../../groups/classic.rs"]
pub(crate) mod classic; // members that join, sync and lead
#[path = "../../groups/consumer.rs"]
pub(crate) mod consumer; // members that follow the coordinator's assignment (KIP-848)
#[path = "../../groups/history.rs"]
pub(crate) mod history; // who was told to own what, and when
#[path = "../../groups/member.rs"]
pub(crate) mod member; // what members of both protocols have in common
pub(crate) mod network; // how members reach their coordinator
#[path = "../../groups/offsets.rs"]
pub(crate) mod offsets; // commits, and what fetches of them may show
#[path = "../../groups/wire.rs"]
pub(crate) mod wire; // subscriptions and assignments as Kafka's consumers write them

use super::caller::Net;
use super::swarm::Rates;
use highwater::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use highwater::sim::random::Random;
use history::{History, Holder, Scope};
use member::{Habits, Kind, Member, Phase, Scene};
use network::{Ask, Network, Patience};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// The group's id.
pub(crate) const GROUP: &str = "members";
/// What the group reads.
pub(crate) const TOPIC: &str = "shared";
/// Partitions of [`TOPIC`].
pub(crate) const PARTITIONS: i32 = 4;
/// Silence after which a member is taken for dead, in milliseconds.
pub(crate) const SESSION_MS: u64 = 800;
/// How often a member says that it is there, in milliseconds.
pub(crate) const HEARTBEAT_MS: u64 = 80;
/// How long a client waits for the answer to a commit or a fetch of offsets, in microseconds.
pub(crate) const PATIENCE_US: u64 = 200_000;
const MEMBERS_MAX: usize = 3;
/// Longest pause between two looks at committed offsets, in microseconds.
const LOOK_US_MAX: u64 = 200_000;

/// What a group of one run is like.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    habits: Habits,
    has_static: Vec<bool>,
    scope: Scope,
    pub(crate) assignor: &'static str,
}

impl Cast {
    pub(crate) fn draw(random: &mut Random, rates: &Rates) -> Cast {
        let kinds = match random.below(100) {
            0..35 => vec![Kind::Classic],
            35..70 => vec![Kind::Consumer],
            _ => vec![Kind::Classic, Kind::Consumer],
        };
        let is_strict = random.chance(70);
        let mut share = |most| if random.chance(60) { 1 + random.below(most) } else { 0 };
        let (stalls, leaves, deaths, stale_commits) = (share(4), share(3), share(4), share(10));
        let is_of_one_kind = kinds.len() == 1;
        let has_one_coordinator = !rates.can_part_brokers();
        Cast {
            habits: Habits {
                is_cooperative: random.chance(50),
                rebalance_timeout_ms: if is_strict { 60_000 } else { 400 },
                patience: if is_strict { Patience::UntilGone } else { Patience::Us(150_000) },
                join_patience: if is_strict { Patience::UntilGone } else { Patience::Us(700_000) },
                stalls,
                leaves,
                deaths,
                stale_commits,
                kinds,
            },
            has_static: (0..1 + random.index(MEMBERS_MAX)).map(|_| random.chance(30)).collect(),
            // Whoever coordinates no more and does not know it tells its members to go on.
            scope: Scope {
                has_leases: is_strict && has_one_coordinator,
                has_one_coordinator,
                is_of_one_kind,
            },
            assignor: if random.chance(50) { "uniform" } else { "range" },
        }
    }

    /// A member that comes back with its instance id while another gives something up leaves that
    /// to nobody until the next rebalance (KIP-345 with KIP-429).
    fn may_leave_some(&self) -> bool {
        self.has_static.contains(&true)
            && self.habits.is_cooperative
            && self.habits.kinds.contains(&Kind::Classic)
    }
}

/// The members of one run, at work.
pub(crate) struct Group {
    cast: Cast,
    scene: Scene,
    members: Vec<Rc<RefCell<Member>>>,
}

impl Group {
    /// Members begin, for ever.
    pub(crate) fn start(net: &Net, cast: Cast, topic: uuid::Uuid) -> Group {
        let scene = Scene {
            network: Network { net: net.clone() },
            handle: net.handle.clone(),
            history: Rc::new(RefCell::new(History::new(cast.scope))),
            is_classic_only: cast.habits.kinds == [Kind::Classic],
            habits: Rc::new(cast.habits.clone()),
            topic,
            is_calm: Rc::clone(&net.is_calm),
        };
        let kinds = &cast.habits.kinds;
        let member = |(number, is_static): (usize, &bool)| {
            let instance = is_static.then(|| format!("i{number}"));
            let kind = kinds[number % kinds.len()];
            Rc::new(RefCell::new(Member::new(Holder { slot: number, number }, instance, kind)))
        };
        let members: Vec<_> = cast.has_static.iter().enumerate().map(member).collect();
        for member in &members {
            scene.handle.spawn(member::run(scene.clone(), Rc::clone(member)));
        }
        scene.handle.spawn(watch_offsets(scene.clone()));
        Group { cast, scene, members }
    }

    /// Assignments that were told, and commits that were acknowledged.
    pub(crate) fn promises(&self) -> usize {
        self.scene.history.borrow().promises()
    }

    pub(crate) fn members_finally_share_everything(&self) -> bool {
        let mut shared = BTreeSet::new();
        let is_part = |member: &Rc<RefCell<Member>>| {
            let member = member.borrow();
            let is_in = member.kind == Kind::Consumer || member.phase == Phase::In;
            let is_own = |partition: &i32| shared.insert(*partition);
            is_in && member.generation > 0 && member.owned.iter().all(is_own)
        };
        self.cast.may_leave_some()
            || self.members.iter().all(is_part) && shared.into_iter().eq(0..PARTITIONS)
    }

    /// What is told in the end, when nothing is under way any more.
    pub(crate) fn judge(&self) -> impl Future<Output = ()> + 'static {
        let scene = self.scene.clone();
        scene.history.borrow_mut().offsets.crash(scene.now_us());
        async move {
            let mut endpoint = scene.network.endpoint();
            while !offsets::look(&scene, &mut endpoint).await {}
            let request = ConsumerGroupDescribeRequest {
                group_ids: vec![GROUP.to_owned()],
                ..Default::default()
            };
            let patience = Patience::Us(PATIENCE_US);
            let ask = Ask { request, version: 1, patience, is_resent: true };
            let answer = endpoint.call(ask).await.unwrap();
            let members = answer.groups.into_iter().flat_map(|group| group.members);
            let members: Vec<String> = members.map(|member| member.member_id).collect();
            scene.history.borrow().no_departed_member_is_back(&members);
        }
    }

    /// For whoever looks at a failure.
    pub(crate) fn describe(&self) -> String {
        self.members.iter().map(|member| format!("{:?}\n", member.borrow())).collect()
    }
}

async fn watch_offsets(scene: Scene) {
    let mut endpoint = scene.network.endpoint();
    loop {
        offsets::look(&scene, &mut endpoint).await;
        scene.network.net.pause(LOOK_US_MAX).await;
    }
}
