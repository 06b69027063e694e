//! Kafka's `simple` assignor of share groups (KIP-932): several members may read one partition.
//!
//! The hash of its id gives each member a partition, so members spread before they know of each
//! other; what nobody has then goes round. A member keeps what it had as long as it has no more
//! than its fair share. Pure: the same members, partitions and previous targets give the same
//! result.
//!
//! Invariant: each partition of a topic that somebody subscribes to has a reader.

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::java_hash;
use crate::model::ids::TopicId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The assignor's name in ShareGroupDescribe.
pub const NAME: &str = "simple";

type Partition = (TopicId, i32);

/// One member, as the assignor sees it.
#[derive(Debug)]
pub struct ShareSpec<'a> {
    pub member: &'a str,
    /// Topics it subscribes to.
    pub topics: BTreeSet<TopicId>,
    /// Its target until now.
    pub previous: &'a Assignment,
}

/// The target of each member, in the order of `members`. `partitions` are those that may be read.
pub fn assign(members: &[ShareSpec<'_>], partitions: &Assignment) -> Vec<Assignment> {
    let Some(first) = members.first() else { return Vec::new() };
    let is_alike = members.iter().all(|member| member.topics == first.topics);
    let drafts = match is_alike {
        true => assign_alike(members, &of_topics(&first.topics, partitions)),
        false => assign_each(members, partitions),
    };
    assert!(drafts.len() == members.len());
    drafts.into_iter().map(to_assignment).collect()
}

/// All members subscribe to the same topics: nobody keeps more than a fair share.
fn assign_alike(members: &[ShareSpec<'_>], partitions: &[Partition]) -> Vec<BTreeSet<Partition>> {
    assert!(!members.is_empty());
    let mut drafts = vec![BTreeSet::new(); members.len()];
    let fair = partitions.len().div_ceil(members.len());
    for (member, draft) in members.iter().zip(&mut drafts) {
        draft.extend(by_hash(member.member, partitions));
    }
    let hashed: BTreeSet<Partition> = drafts.iter().flatten().copied().collect();
    let known: BTreeSet<Partition> = partitions.iter().copied().collect();
    for (member, draft) in members.iter().zip(&mut drafts) {
        for partition in flat(member.previous) {
            if draft.len() < fair && known.contains(&partition) && !hashed.contains(&partition) {
                draft.insert(partition);
            }
        }
    }
    let taken: BTreeSet<Partition> = drafts.iter().flatten().copied().collect();
    let mut queue: VecDeque<usize> = (0..members.len()).collect();
    for partition in partitions.iter().filter(|partition| !taken.contains(*partition)) {
        // Hashes collide, so a member may end up with one more than its share.
        while let Some(at) = queue.pop_front() {
            if drafts[at].len() <= fair {
                drafts[at].insert(*partition);
                queue.push_back(at);
                break;
            }
        }
    }
    assert!(drafts.iter().all(|draft| draft.len() <= fair + 1));
    drafts
}

/// Members subscribe to different topics: each keeps what it had of those that it still names.
fn assign_each(members: &[ShareSpec<'_>], partitions: &Assignment) -> Vec<BTreeSet<Partition>> {
    let mut drafts = vec![BTreeSet::new(); members.len()];
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        drafts[at].extend(by_hash(member.member, &of_topics(&member.topics, partitions)));
        for topic in &member.topics {
            subscribers.entry(*topic).or_default().push(at);
        }
    }
    let hashed: BTreeSet<Partition> = drafts.iter().flatten().copied().collect();
    let mut taken = hashed.clone();
    for (member, draft) in members.iter().zip(&mut drafts) {
        for partition in flat(member.previous) {
            let is_readable = partitions.get(&partition.0).is_some_and(|set| {
                member.topics.contains(&partition.0) && set.contains(&partition.1)
            });
            if is_readable && !hashed.contains(&partition) {
                draft.insert(partition);
                taken.insert(partition);
            }
        }
    }
    for (topic, readers) in subscribers {
        let free = partitions.get(&topic).into_iter().flatten().map(|index| (topic, *index));
        let free = free.filter(|partition| !taken.contains(partition));
        assert!(!readers.is_empty());
        for (partition, at) in free.zip(readers.iter().cycle()) {
            drafts[*at].insert(partition);
        }
    }
    drafts
}

/// The partition that a member's id points at.
fn by_hash(member: &str, partitions: &[Partition]) -> Option<Partition> {
    let count = i32::try_from(partitions.len()).ok().filter(|count| *count > 0)?;
    let at = (java_hash(member).cast_signed() % count).unsigned_abs();
    partitions.get(usize::try_from(at).ok()?).copied()
}

fn of_topics(topics: &BTreeSet<TopicId>, partitions: &Assignment) -> Vec<Partition> {
    let readable = topics.iter().filter_map(|topic| Some((*topic, partitions.get(topic)?)));
    readable.flat_map(|(topic, set)| set.iter().map(move |index| (topic, *index))).collect()
}

fn flat(assignment: &Assignment) -> impl Iterator<Item = Partition> + '_ {
    assignment.iter().flat_map(|(topic, set)| set.iter().map(|index| (*topic, *index)))
}

fn to_assignment(partitions: BTreeSet<Partition>) -> Assignment {
    let mut assignment = Assignment::new();
    for (topic, index) in partitions {
        assignment.entry(topic).or_default().insert(index);
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn topic(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn partitions(counts: &[i32]) -> Assignment {
        (1..).zip(counts).map(|(number, count)| (topic(number), (0..*count).collect())).collect()
    }

    /// Targets of members that subscribe to topics by number, given what they had.
    fn targets(
        members: &[(&'static str, &'static [u128])],
        all: &Assignment,
        had: &[Assignment],
    ) -> Vec<Assignment> {
        let none = Assignment::new();
        let spec = |(at, (member, topics)): (usize, &(&'static str, &'static [u128]))| ShareSpec {
            member,
            topics: topics.iter().map(|number| topic(*number)).collect(),
            previous: had.get(at).unwrap_or(&none),
        };
        let specs: Vec<ShareSpec<'_>> = members.iter().enumerate().map(spec).collect();
        assign(&specs, all)
    }

    fn union(targets: &[Assignment]) -> BTreeSet<Partition> {
        targets.iter().flat_map(flat).collect()
    }

    fn sizes(targets: &[Assignment]) -> Vec<usize> {
        targets.iter().map(|target| flat(target).count()).collect()
    }

    #[test]
    fn each_partition_has_a_reader_and_each_member_a_fair_share() {
        const ALL: &[u128] = &[1, 2, 3];
        const MEMBERS: [(&str, &[u128]); 7] = [
            ("a", ALL),
            ("b", ALL),
            ("member-1", ALL),
            ("member-2", ALL),
            ("x", ALL),
            ("y", ALL),
            ("z", ALL),
        ];
        for counts in [&[1][..], &[3], &[7, 2], &[16, 16, 1]] {
            let all = partitions(counts);
            let total = flat(&all).count();
            for size in 1..=MEMBERS.len() {
                let targets = targets(&MEMBERS[..size], &all, &[]);
                assert_eq!(union(&targets).len(), total, "{size} members of {counts:?}");
                let fair = 1..=total.div_ceil(size) + 1;
                assert!(sizes(&targets).iter().all(|own| fair.contains(own)));
            }
        }
    }

    #[test]
    fn members_share_a_partition_when_there_are_more_of_them() {
        let all = partitions(&[1]);
        let members = [("a", &[1][..]), ("b", &[1]), ("c", &[1])];
        assert_eq!(sizes(&targets(&members, &all, &[])), [1, 1, 1]);
    }

    #[test]
    fn a_member_keeps_what_it_has_while_that_is_fair() {
        let all = partitions(&[6]);
        let one = targets(&[("a", &[1])], &all, &[]);
        assert_eq!(sizes(&one), [6]);
        let two = targets(&[("a", &[1]), ("b", &[1])], &all, &one);
        let again = targets(&[("a", &[1]), ("b", &[1])], &all, &two);
        assert_eq!(two, again);
        assert_eq!(union(&two).len(), 6);
        let kept = flat(&two[0]).filter(|own| flat(&one[0]).any(|had| had == *own)).count();
        assert!(kept >= 3);
    }

    #[test]
    fn nobody_gets_what_it_does_not_subscribe_to_or_what_nobody_may_read() {
        let mut all = partitions(&[4, 4]);
        all.get_mut(&topic(1)).unwrap().remove(&3);
        let members = [("a", &[1][..]), ("b", &[1, 2]), ("c", &[3]), ("d", &[])];
        let targets = targets(&members, &all, &[]);
        assert!(flat(&targets[0]).all(|(id, _)| id == topic(1)));
        assert_eq!(union(&targets).len(), 7);
        assert_eq!(sizes(&targets)[2..], [0, 0]);
    }

    #[test]
    fn what_a_member_gives_up_by_its_subscription_goes_to_another() {
        let all = partitions(&[4, 4]);
        let before = targets(&[("a", &[1]), ("b", &[1])], &all, &[]);
        let after = targets(&[("a", &[2]), ("b", &[1])], &all, &before);
        assert_eq!(sizes(&after), [4, 4]);
    }
}
