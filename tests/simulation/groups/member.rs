//! A member of the group: it outlives its broker, dies and begins anew, leaves, stands still and
//! wakes up as somebody whom the group has given up.

use super::history::{History, Holder};
use super::network::{Endpoint, Network, Patience};
use super::offsets::{self, Author};
use super::{HEARTBEAT_MS, PARTITIONS, SESSION_MS, classic, consumer};
use highwater::sim::executor::SimHandle;
use highwater::sim::random::Random;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use uuid::Uuid;

/// Which of the two protocols a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Classic,
    Consumer,
}

/// What the members of one run are like.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) kinds: Vec<Kind>,
    /// Classic members give up only what they lose, instead of everything at each rebalance.
    pub(crate) is_cooperative: bool,
    /// In milliseconds.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) patience: Patience,
    /// The same for JoinGroup, which is answered late.
    pub(crate) join_patience: Patience,
    /// In percent of a member's turns.
    pub(crate) stalls: u64,
    pub(crate) leaves: u64,
    pub(crate) deaths: u64,
    pub(crate) stale_commits: u64,
}

/// What all members of a run share in one life of the broker.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) network: Network,
    pub(crate) handle: SimHandle,
    pub(crate) history: Rc<RefCell<History>>,
    pub(crate) habits: Rc<Habits>,
    pub(crate) topic: Uuid,
    pub(crate) is_classic_only: bool,
    /// Members do nothing but what a group needs.
    pub(crate) is_calm: Rc<Cell<bool>>,
}

impl Scene {
    pub(crate) fn now_us(&self) -> u64 {
        self.handle.now().monotonic_us
    }

    /// Until when a member that was heard from at `sent_us` is in the group.
    pub(crate) fn lease_us(&self, sent_us: u64) -> u64 {
        sent_us + SESSION_MS * 1000
    }
}

/// Where a member of the classic protocol stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is to join, or to join again.
    Out,
    /// It has joined and is to ask for its assignment; a leader knows what all of them own.
    Joined { subscriptions: Option<BTreeMap<String, super::wire::Subscription>> },
    /// It has its assignment.
    In,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) holder: Holder,
    pub(crate) instance: Option<String>,
    pub(crate) kind: Kind,
    incarnation: u32,
    /// Empty for nobody.
    pub(crate) id: String,
    /// Its generation, or its member epoch.
    pub(crate) generation: i32,
    pub(crate) phase: Phase,
    pub(crate) owned: BTreeSet<i32>,
    /// What it last said that it owns; `None` when it may have missed the answer.
    pub(crate) said: Option<BTreeSet<i32>>,
    /// Whom it was before.
    before: Option<Author>,
}

impl Member {
    pub(crate) fn new(holder: Holder, instance: Option<String>, kind: Kind) -> Member {
        let mut member = Member {
            holder,
            instance,
            kind,
            incarnation: 0,
            id: String::new(),
            generation: -1,
            phase: Phase::Out,
            owned: BTreeSet::new(),
            said: None,
            before: None,
        };
        member.set_out();
        member
    }

    fn set_out(&mut self) {
        self.phase = Phase::Out;
        (self.id, self.generation) = match self.kind {
            Kind::Classic => (String::new(), -1),
            Kind::Consumer => (format!("{}-{}", self.holder.number, self.incarnation), 0),
        };
        self.said = None;
    }

    pub(crate) fn author(&self) -> Author {
        Author {
            member: self.id.clone(),
            instance: self.instance.clone(),
            generation: self.generation,
        }
    }

    /// It is in a new generation, and may still speak in the name of the old one.
    pub(crate) fn enter(&mut self, generation: i32) {
        if self.generation > 0 && self.generation != generation {
            self.before = Some(self.author());
        }
        self.generation = generation;
    }

    /// The group has put it out: it owns nothing, and joins again.
    pub(crate) fn lose(&mut self, scene: &Scene, forgets_id: bool) {
        let owned = std::mem::take(&mut self.owned);
        scene.history.borrow_mut().release(self.holder, &owned);
        if self.generation > 0 {
            self.before = Some(self.author());
        }
        let id = std::mem::take(&mut self.id);
        self.set_out();
        if !forgets_id {
            self.id = id;
        }
    }

    /// The process is gone, and another one begins, maybe with the other protocol.
    pub(crate) fn die(&mut self, scene: &Scene) {
        self.incarnation += 1;
        let kinds = &scene.habits.kinds;
        self.kind = kinds[scene.handle.random(|random| random.index(kinds.len()))];
        self.lose(scene, true);
        self.before = None;
    }

    /// It owns `assigned` from now on, as it was told in an answer to what it sent at `sent_us`.
    pub(crate) fn own(&mut self, scene: &Scene, assigned: BTreeSet<i32>, sent_us: u64) {
        let mut history = scene.history.borrow_mut();
        history.release(self.holder, self.owned.difference(&assigned));
        let gained: BTreeSet<i32> = assigned.difference(&self.owned).copied().collect();
        history.take(self.holder, &gained, scene.now_us(), scene.lease_us(sent_us));
        self.owned = assigned;
    }
}

/// What a member does next.
enum Turn {
    Step,
    Stall(u64),
    Leave,
    Die,
    Commit(Author, i32),
}

fn next_turn(scene: &Scene, member: &Member) -> Turn {
    let draw = |random: &mut Random| {
        let habits = &scene.habits;
        let shares = [habits.stalls, habits.leaves, habits.deaths, habits.stale_commits];
        let mut drawn = random.below(100);
        for (turn, share) in shares.into_iter().enumerate() {
            if drawn < share {
                return (turn, random.below(3 * SESSION_MS * 1000));
            }
            drawn -= share;
        }
        (if drawn < 30 { 4 } else { 5 }, 0)
    };
    if scene.is_calm.get() {
        return Turn::Step;
    }
    match scene.handle.random(draw) {
        (0, stall_us) => Turn::Stall(stall_us),
        (1, _) if member.generation > 0 => Turn::Leave,
        (2, _) => Turn::Die,
        (3, us) => match &member.before {
            Some(before) => Turn::Commit(before.clone(), i32::try_from(us).unwrap() % PARTITIONS),
            None => Turn::Step,
        },
        (4, _) => match offsets::choose(scene, member) {
            Some((author, partition)) => Turn::Commit(author, partition),
            None => Turn::Step,
        },
        _ => Turn::Step,
    }
}

/// A member's life, for as long as its broker lives.
pub(crate) async fn run(scene: Scene, member: Rc<RefCell<Member>>) {
    let mut endpoint = scene.network.endpoint();
    // The last answer may have died with the broker.
    member.borrow_mut().said = None;
    loop {
        let turn = next_turn(&scene, &member.borrow());
        let pause_us = match turn {
            Turn::Step => step(&scene, &mut endpoint, &member).await,
            Turn::Stall(us) => us,
            Turn::Die => {
                member.borrow_mut().die(&scene);
                scene.handle.random(|random| random.below(SESSION_MS * 1000))
            }
            Turn::Leave => {
                leave(&scene, &mut endpoint, &member).await;
                member.borrow_mut().die(&scene);
                scene.handle.random(|random| random.below(SESSION_MS * 500))
            }
            Turn::Commit(author, partition) => {
                offsets::commit(&scene, &mut endpoint, author, partition).await;
                0
            }
        };
        scene.handle.sleep_us(pause_us).await;
    }
}

/// The next thing that the protocol wants; how long to wait then, in microseconds.
async fn step(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) -> u64 {
    let kind = member.borrow().kind;
    let goes_on = match kind {
        Kind::Classic => classic::step(scene, endpoint, member).await,
        Kind::Consumer => consumer::step(scene, endpoint, member).await,
    };
    let interval_us = HEARTBEAT_MS * 1000;
    if goes_on { 0 } else { interval_us / 2 + scene.handle.random(|r| r.below(interval_us / 2)) }
}

async fn leave(scene: &Scene, endpoint: &mut Endpoint, member: &Rc<RefCell<Member>>) {
    let owned = member.borrow().owned.clone();
    scene.history.borrow_mut().release(member.borrow().holder, &owned);
    let kind = member.borrow().kind;
    match kind {
        Kind::Classic => classic::leave(scene, endpoint, member).await,
        Kind::Consumer => consumer::leave(scene, endpoint, member).await,
    }
}
