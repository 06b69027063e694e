//! Whole quorums, hundreds of seeds.

use super::model::Quorum;
use crate::controller::quorum::consensus::{Consensus, NotProposed};
use crate::controller::quorum::members::MemberChange;
use crate::controller::quorum::wire::WireError;
use crate::model::ids::BrokerId;
use bytes::Bytes;

/// Which faults a seed has; each seed has some of them.
#[derive(Debug, Clone, Copy)]
struct Faults {
    loses: usize,
    repeats: usize,
    crashes: usize,
    cuts: usize,
    slow_disk: usize,
    members: usize,
    compacts: usize,
}

impl Faults {
    fn of(quorum: &mut Quorum) -> Faults {
        let mut pick = |most: usize| {
            if quorum.chance.percent(60) { quorum.chance.below(most + 1) } else { 0 }
        };
        Faults {
            loses: pick(20),
            repeats: pick(10),
            crashes: pick(3),
            cuts: pick(3),
            slow_disk: pick(70),
            members: pick(3),
            compacts: pick(5),
        }
    }
}

fn unkind_step(quorum: &mut Quorum, faults: Faults) {
    let at = quorum.chance.below(quorum.nodes.len());
    if quorum.chance.percent(30) {
        quorum.tick(at);
    }
    for _ in 0..quorum.wire.len().min(4) {
        let which = quorum.chance.below(quorum.wire.len());
        if quorum.chance.percent(faults.loses) {
            quorum.wire.swap_remove(which);
            continue;
        }
        if quorum.chance.percent(faults.repeats) {
            let again = quorum.wire[which].clone();
            quorum.wire.push(again);
        }
        quorum.deliver(which);
    }
    for at in 0..quorum.nodes.len() {
        if quorum.nodes[at].raft.is_some() && !quorum.chance.percent(faults.slow_disk) {
            quorum.persist(at);
        }
    }
    if quorum.chance.percent(20) {
        let _ = quorum.propose(at);
    }
    disturb(quorum, faults, at);
}

fn disturb(quorum: &mut Quorum, faults: Faults, at: usize) {
    if quorum.chance.percent(faults.crashes) && quorum.nodes[at].raft.is_some() {
        quorum.crash(at);
    } else if quorum.nodes[at].raft.is_none() && quorum.chance.percent(20) {
        quorum.start(at);
    }
    if quorum.chance.percent(faults.compacts) {
        quorum.compact(at);
    }
    if quorum.chance.percent(faults.cuts) {
        let other = quorum.chance.below(quorum.nodes.len());
        let (one, two) = (quorum.nodes[at].id, quorum.nodes[other].id);
        quorum.cut.insert((one, two));
        if quorum.chance.percent(50) {
            quorum.cut.insert((two, one));
        }
    }
    if quorum.chance.percent(5) {
        quorum.cut.clear();
    }
    if quorum.chance.percent(faults.members) {
        let id = quorum.nodes[quorum.chance.below(quorum.nodes.len())].id;
        let change = match quorum.chance.below(3) {
            0 => MemberChange::AddLearner(id),
            1 => MemberChange::AddVoter(id),
            _ => MemberChange::Remove(id),
        };
        if let Some(leader) = quorum.leader() {
            let voters = quorum.nodes[leader].members.voters.len();
            if voters > 2 || !matches!(change, MemberChange::Remove(_)) {
                let _ = quorum.change(leader, change);
            }
        }
    }
}

fn run(voters: i32, spares: i32, seed: u64) -> (u64, usize) {
    let mut quorum = Quorum::new(voters, spares, seed);
    let faults = Faults::of(&mut quorum);
    for _ in 0..400 {
        unkind_step(&mut quorum, faults);
    }
    quorum.converge();
    quorum.check_acknowledged();
    (quorum.trace, quorum.history.acknowledged.len())
}

fn run_seeds(voters: i32, spares: i32, seeds: std::ops::Range<u64>) {
    let mut acknowledged = 0;
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(voters, spares, seed));
        match outcome {
            Ok((_, some)) => acknowledged += some,
            Err(_) => panic!("{voters} voters, {spares} spares, seed {seed}"),
        }
    }
    assert!(acknowledged > 0);
}

#[test]
fn three_voters_lose_nothing_that_was_acknowledged() {
    run_seeds(3, 0, 0..150);
}

#[test]
fn five_voters_lose_nothing_that_was_acknowledged() {
    run_seeds(5, 0, 1000..1080);
}

#[test]
fn members_that_come_and_go_lose_nothing() {
    run_seeds(3, 2, 2000..2100);
}

#[test]
fn a_lone_voter_loses_nothing() {
    run_seeds(1, 0, 3000..3060);
}

#[test]
fn a_seed_gives_the_same_messages_every_time() {
    for seed in 0..5 {
        assert_eq!(run(3, 1, seed), run(3, 1, seed), "seed {seed}");
    }
}

#[test]
fn a_lone_voter_leads_and_commits_at_once_without_time_passing() {
    let mut quorum = Quorum::new(1, 0, 1);
    quorum.nodes[0].raft.as_mut().unwrap().hasten();
    quorum.collect(0);
    assert!(quorum.nodes[0].raft.as_ref().unwrap().role().is_leader);
    quorum.propose(0).unwrap();
    quorum.persist(0);
    quorum.persist(0);
    assert_eq!(quorum.history.acknowledged.len(), 1);
}

#[test]
fn one_of_three_cannot_decide_alone() {
    let mut quorum = Quorum::new(3, 0, 1);
    quorum.nodes[0].raft.as_mut().unwrap().hasten();
    for _ in 0..200 {
        quorum.tick(0);
        quorum.persist(0);
        quorum.wire.clear();
    }
    assert_eq!(quorum.propose(0), Err(NotProposed::NotLeader));
    assert_eq!(quorum.nodes[0].sum.index, 1);
}

#[test]
fn a_leader_that_hears_nobody_steps_down() {
    let mut quorum = Quorum::new(3, 0, 7);
    quorum.converge();
    let leader = quorum.leader().unwrap();
    for _ in 0..100 {
        quorum.tick(leader);
        quorum.persist(leader);
        quorum.wire.clear();
    }
    assert!(!quorum.nodes[leader].raft.as_ref().unwrap().role().is_leader);
}

#[test]
fn a_late_word_of_a_leader_that_was_replaced_accuses_nobody() {
    let mut quorum = Quorum::new(3, 0, 5);
    quorum.converge();
    let old = quorum.leader().unwrap();
    quorum.wire.clear();
    quorum.propose(old).unwrap();
    quorum.persist(old);
    // An entry that nobody else has: it stays under way until another is committed in its place.
    let late = std::mem::take(&mut quorum.wire);
    assert!(!late.is_empty());
    for other in [(old + 1) % 3, (old + 2) % 3] {
        let (one, two) = (quorum.nodes[old].id, quorum.nodes[other].id);
        quorum.cut.extend([(one, two), (two, one)]);
    }
    let before = quorum.nodes[(old + 1) % 3].sum.index;
    for _ in 0..500 {
        let others = [(old + 1) % 3, (old + 2) % 3];
        others.into_iter().for_each(|at| {
            quorum.tick(at);
            quorum.persist(at);
        });
        (0..quorum.wire.len()).for_each(|_| quorum.deliver(0));
    }
    assert!(quorum.nodes[(old + 1) % 3].sum.index > before, "the others have gone on");
    quorum.cut.clear();
    quorum.wire.extend(late);
    // Each delivery asserts that the message is taken.
    (0..quorum.wire.len()).for_each(|_| quorum.deliver(0));
    quorum.converge();
    quorum.check_acknowledged();
}

#[test]
fn a_member_far_behind_is_brought_up_by_a_snapshot() {
    let mut quorum = Quorum::new(3, 0, 9);
    quorum.converge();
    let leader = quorum.leader().unwrap();
    let slow = (leader + 1) % 3;
    quorum.crash(slow);
    for _ in 0..1500 {
        let Some(leader) = quorum.leader() else { break };
        let _ = quorum.propose(leader);
        for at in 0..3 {
            if quorum.nodes[at].raft.is_some() {
                quorum.persist(at);
            }
        }
        for _ in 0..quorum.wire.len() {
            quorum.deliver(0);
        }
    }
    let leader = quorum.leader().unwrap();
    quorum.persist(leader);
    quorum.compact(leader);
    let base = quorum.nodes[leader].disk.snapshot.clone();
    quorum.converge();
    assert!(base.is_some());
    assert!(quorum.nodes[slow].sum.index > 1500);
}

#[test]
fn a_voter_with_an_emptied_disk_is_not_heard() {
    let mut quorum = Quorum::new(3, 0, 11);
    quorum.converge();
    let (from, message) = quorum
        .wire
        .pop()
        .or_else(|| {
            let leader = quorum.leader()?;
            (0..20).for_each(|_| quorum.tick(leader));
            quorum.persist(leader);
            quorum.wire.pop()
        })
        .unwrap();
    let mut bytes = message.bytes.to_vec();
    bytes[15] ^= 1;
    let crc = crc32c::crc32c(&bytes[4..]).to_be_bytes();
    bytes[..4].copy_from_slice(&crc);
    let at = usize::try_from(message.to.0).unwrap();
    let before = quorum.nodes[at].raft.as_ref().unwrap().role();
    let refused = quorum.nodes[at].raft.as_mut().unwrap().step(from, &bytes);
    assert!(matches!(refused, Err(WireError::OtherDirectory { .. })), "{refused:?}");
    assert_eq!(quorum.nodes[at].raft.as_ref().unwrap().role(), before);
}

#[test]
fn a_message_with_any_bit_flipped_or_from_another_sender_is_refused() {
    let mut quorum = Quorum::new(3, 0, 13);
    for _ in 0..60 {
        (0..3).for_each(|at| quorum.tick(at));
        (0..3).for_each(|at| quorum.persist(at));
    }
    let (from, message) = quorum.wire.pop().unwrap();
    let at = usize::try_from(message.to.0).unwrap();
    let raft = quorum.nodes[at].raft.as_mut().unwrap();
    for bit in 0..message.bytes.len() * 8 {
        let mut bytes = message.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(raft.step(from, &bytes).is_err(), "bit {bit}");
    }
    let other = BrokerId(99);
    let refused = raft.step(other, &Bytes::copy_from_slice(&message.bytes));
    assert!(matches!(refused, Err(WireError::Misdirected { .. })));
}
