//! Server-side assignors of consumer groups (KIP-848): which member should own which partitions.
//!
//! `uniform` spreads all partitions evenly and moves as few as it can; `range` gives each member a
//! contiguous range of each topic, the same positions in topics of equal size. Both are pure: the
//! same members, topics and previous targets give the same result.
//!
//! Where every member subscribes to the same topics, Kafka's uniform assignor visits members in
//! hash order; here those that hold most come first, so an extra partition stays where it is.

use crate::model::group_config::AssignorNames;
use crate::model::ids::TopicId;
use crate::model::limits::ASSIGNOR_PASSES_MAX;
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by topic. No topic is there without a partition.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// The number of partitions in an assignment.
pub fn partition_count(assignment: &Assignment) -> usize {
    assignment.values().map(BTreeSet::len).sum()
}

/// Leaves out the last topics of an assignment until what is left fits a record of `bytes_max`.
pub fn fit_record(assignment: &mut Assignment, bytes_max: usize) {
    /// Topic id, count, tagged fields.
    const TOPIC_BYTES: usize = 24;
    assert!(bytes_max > TOPIC_BYTES);
    let mut room = bytes_max;
    assignment.retain(|_, set| {
        let size = TOPIC_BYTES + 4 * set.len();
        let fits = size <= room;
        room = if fits { room - size } else { 0 };
        fits
    });
}

/// An assignor by its name in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// The name in ConsumerGroupHeartbeat.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// Those that a broker serves, by `group.consumer.assignors`; the first is the default.
    pub fn served(names: &AssignorNames) -> impl DoubleEndedIterator<Item = Assignor> + '_ {
        names.iter().flatten().filter_map(|name| Assignor::from_name(name))
    }

    pub fn from_name(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The target of each member, in the order of `members`.
    ///
    /// `partitions` gives each topic that a member names with its number of partitions.
    pub fn assign(
        self,
        members: &[MemberSpec<'_>],
        partitions: &BTreeMap<TopicId, i32>,
    ) -> Vec<Assignment> {
        let is_homogeneous = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
        let targets = match self {
            Assignor::Range => assign_ranges(members, partitions),
            Assignor::Uniform if is_homogeneous => assign_evenly(members, partitions),
            Assignor::Uniform => Balancer::new(members, partitions).run(),
        };
        assert!(targets.len() == members.len());
        targets
    }
}

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub struct MemberSpec<'a> {
    pub member: &'a str,
    pub instance: Option<&'a str>,
    /// Topics that exist and that it subscribes to.
    pub topics: BTreeSet<TopicId>,
    /// Its previous target.
    pub previous: &'a Assignment,
}

/// Range: members in the order of instance ids, then of member ids; each takes its share of each
/// of its topics, the first ones one more where it does not divide.
fn assign_ranges(
    members: &[MemberSpec<'_>],
    partitions: &BTreeMap<TopicId, i32>,
) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| {
        let member = &members[index];
        // Without an instance id after all that have one.
        (member.instance.is_none(), member.instance.unwrap_or(member.member))
    });
    let mut targets = vec![Assignment::new(); members.len()];
    for (topic, count) in partitions {
        let takers: Vec<usize> =
            order.iter().copied().filter(|&index| members[index].topics.contains(topic)).collect();
        let Ok(count) = usize::try_from(*count) else { continue };
        let Some(quota) = count.checked_div(takers.len()) else { continue };
        let extras = count % takers.len();
        let mut next = 0..*partitions.get(topic).unwrap_or(&0);
        for (position, taker) in takers.into_iter().enumerate() {
            let share = quota + usize::from(position < extras);
            let range: BTreeSet<i32> = next.by_ref().take(share).collect();
            if !range.is_empty() {
                targets[taker].insert(*topic, range);
            }
        }
        assert!(next.is_empty());
    }
    targets
}

/// Uniform, all members subscribing to the same topics.
fn assign_evenly(
    members: &[MemberSpec<'_>],
    partitions: &BTreeMap<TopicId, i32>,
) -> Vec<Assignment> {
    let Some(first) = members.first() else { return Vec::new() };
    let topics: Vec<(TopicId, i32)> =
        first.topics.iter().filter_map(|id| partitions.get(id).map(|n| (*id, *n))).collect();
    let mut free: BTreeSet<(TopicId, i32)> =
        topics.iter().flat_map(|(id, count)| (0..*count).map(|index| (*id, index))).collect();
    let quota = free.len() / members.len();
    let mut extras = free.len() % members.len();

    let mut kept: Vec<Vec<(TopicId, i32)>> = Vec::with_capacity(members.len());
    for member in members {
        let previous = member.previous.iter();
        let previous = previous.flat_map(|(id, set)| set.iter().map(|index| (*id, *index)));
        // What an earlier member keeps is not there for a later one, whatever a record says.
        kept.push(previous.filter(|partition| free.remove(partition)).collect());
    }
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(kept[index].len()), members[index].member));
    let mut unfilled = Vec::new();
    for index in order {
        let own_quota = quota + usize::from(extras > 0);
        extras = extras.saturating_sub(1);
        let count = kept[index].len();
        free.extend(kept[index].split_off(own_quota.min(count)));
        if kept[index].len() < own_quota {
            unfilled.push((index, own_quota - kept[index].len()));
        }
    }
    unfilled.sort_by_key(|(index, _)| members[*index].member);
    let mut free = free.into_iter();
    for (index, room) in unfilled {
        kept[index].extend(free.by_ref().take(room));
    }
    assert!(free.next().is_none());
    assert!(kept.iter().all(|own| own.len() <= quota + 1));
    kept.into_iter().map(to_assignment).collect()
}

fn to_assignment(partitions: Vec<(TopicId, i32)>) -> Assignment {
    let mut assignment = Assignment::new();
    for (topic, partition) in partitions {
        assignment.entry(topic).or_default().insert(partition);
    }
    assignment
}

/// Uniform, members subscribing to different topics: topics with few subscribers first, each
/// partition to the subscriber with the least; then partitions move from the loaded to the idle
/// while that evens them out.
struct Balancer<'a> {
    partitions: &'a BTreeMap<TopicId, i32>,
    targets: Vec<Assignment>,
    /// Partitions of each member.
    loads: Vec<usize>,
    /// Topics with the members that subscribe to them, few subscribers first.
    topics: Vec<(TopicId, Vec<usize>)>,
}

impl<'a> Balancer<'a> {
    fn new(members: &[MemberSpec<'_>], partitions: &'a BTreeMap<TopicId, i32>) -> Balancer<'a> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            for topic in member.topics.iter().filter(|topic| partitions.contains_key(*topic)) {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        let mut targets = vec![Assignment::new(); members.len()];
        let mut taken = BTreeSet::new();
        for (index, member) in members.iter().enumerate() {
            for (topic, set) in member.previous {
                let count = partitions.get(topic).copied().unwrap_or(0);
                let kept = set.iter().copied().filter(|partition| {
                    member.topics.contains(topic)
                        && *partition < count
                        && taken.insert((*topic, *partition))
                });
                let kept: BTreeSet<i32> = kept.collect();
                if !kept.is_empty() {
                    targets[index].insert(*topic, kept);
                }
            }
        }
        let loads = targets.iter().map(partition_count).collect();
        let mut topics: Vec<(TopicId, Vec<usize>)> = subscribers.into_iter().collect();
        topics.sort_by_key(|(topic, subscribers)| (subscribers.len(), *topic));
        Balancer { partitions, targets, loads, topics }
    }

    fn run(mut self) -> Vec<Assignment> {
        let topics = std::mem::take(&mut self.topics);
        for (topic, subscribers) in &topics {
            self.assign_free(topic, subscribers);
        }
        for _ in 0..ASSIGNOR_PASSES_MAX {
            let moved = topics.iter().map(|(topic, subscribers)| self.even_out(topic, subscribers));
            if moved.sum::<usize>() == 0 {
                break;
            }
        }
        assert!(self.targets.iter().map(partition_count).eq(self.loads.iter().copied()));
        self.targets
    }

    fn by_load(&self, members: &[usize]) -> BTreeSet<(usize, usize)> {
        members.iter().map(|&member| (self.loads[member], member)).collect()
    }

    fn assign_free(&mut self, topic: &TopicId, subscribers: &[usize]) {
        let held: BTreeSet<i32> = subscribers
            .iter()
            .filter_map(|&member| self.targets[member].get(topic))
            .flatten()
            .copied()
            .collect();
        assert!(!subscribers.is_empty());
        let mut by_load = self.by_load(subscribers);
        let count = self.partitions.get(topic).copied().unwrap_or(0);
        for partition in (0..count).filter(|partition| !held.contains(partition)) {
            let (load, member) = by_load.pop_first().expect("a topic here has a subscriber");
            self.targets[member].entry(*topic).or_default().insert(partition);
            self.loads[member] += 1;
            by_load.insert((load + 1, member));
        }
    }

    /// Moves partitions of one topic until no move evens its subscribers out; returns how many.
    fn even_out(&mut self, topic: &TopicId, subscribers: &[usize]) -> usize {
        let mut by_load = self.by_load(subscribers);
        let holders: Vec<usize> = subscribers
            .iter()
            .copied()
            .filter(|&member| self.targets[member].contains_key(topic))
            .collect();
        let mut holders = self.by_load(&holders);
        let mut moved = 0;
        while let Some((most, from)) = holders.pop_last() {
            let Some((least, to)) = by_load.first().copied() else { break };
            if most <= least + 1 {
                break;
            }
            assert!(from != to);
            let set = self.targets[from].get_mut(topic).expect("it holds some");
            let partition = set.pop_last().expect("no topic without a partition");
            if set.is_empty() {
                self.targets[from].remove(topic);
            } else {
                holders.insert((most - 1, from));
            }
            holders.remove(&(least, to));
            holders.insert((least + 1, to));
            by_load.remove(&(most, from));
            by_load.remove(&(least, to));
            by_load.insert((most - 1, from));
            by_load.insert((least + 1, to));
            self.loads[from] -= 1;
            self.loads[to] += 1;
            self.targets[to].entry(*topic).or_default().insert(partition);
            moved += 1;
        }
        moved
    }
}
