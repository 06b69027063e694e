//! Who was told to own which partition, and what must hold of it. Each promise of a group is one
//! function here, named after it.

use super::offsets::Register;
use super::{PARTITIONS, wire};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Who owns: members with the same slot share an instance id, so that one follows the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) slot: usize,
    pub(crate) number: usize,
}

/// What a run looks at. A promise that the protocol itself does not give under some fault is not
/// looked for in runs with that fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// No member is put out while its session lasts, none speaks twice at a time, and none has an
    /// instance id that another one takes over.
    pub(crate) has_leases: bool,
    /// Nobody answers as coordinator who is not any more and has not heard of it yet. What such a
    /// one says of members is not in the log, and nothing of it is ever acknowledged.
    pub(crate) has_one_coordinator: bool,
    /// The group never changes its kind, so that its generations have no second beginning.
    pub(crate) is_of_one_kind: bool,
}

#[derive(Debug)]
pub(crate) struct History {
    pub(crate) scope: Scope,
    pub(crate) offsets: Register,
    /// Partition and holder to the time until which it may count on it, in microseconds.
    leases: BTreeMap<i32, BTreeMap<Holder, u64>>,
    /// Generation and partition to the slot that was told to own it.
    told: BTreeMap<(i32, i32), usize>,
    /// What leaders sent: number of the decision to assignments by member.
    decisions: Vec<BTreeMap<String, Bytes>>,
    /// The decision that a generation's members were told of.
    decided: BTreeMap<i32, u64>,
    /// Highest generation that any answer carried which follows from a record.
    generation_max: i32,
    /// The same by member.
    generations: BTreeMap<String, i32>,
    /// Members of the consumer protocol whose leaving was acknowledged.
    departed: BTreeSet<String>,
    pub(crate) assignments_seen: usize,
}

impl History {
    pub(crate) fn new(scope: Scope) -> History {
        History {
            scope,
            offsets: Register::default(),
            leases: BTreeMap::new(),
            told: BTreeMap::new(),
            decisions: Vec::new(),
            decided: BTreeMap::new(),
            generation_max: 0,
            generations: BTreeMap::new(),
            departed: BTreeSet::new(),
            assignments_seen: 0,
        }
    }

    /// Grows with everything that was told or acknowledged.
    pub(crate) fn promises(&self) -> usize {
        self.assignments_seen + self.offsets.acknowledged
    }

    pub(crate) fn generation_max(&self) -> i32 {
        self.generation_max
    }

    /// A leader is about to send these assignments; gives the number of the decision.
    pub(crate) fn decide(
        &mut self,
        owned: &BTreeMap<String, BTreeSet<i32>>,
    ) -> BTreeMap<String, Bytes> {
        let number = u64::try_from(self.decisions.len()).unwrap();
        let encoded: BTreeMap<String, Bytes> = owned
            .iter()
            .map(|(member, set)| (member.clone(), wire::encode_assignment(set, number)))
            .collect();
        self.decisions.push(encoded.clone());
        encoded
    }

    /// The broker's answer with an assignment leaves for a member.
    pub(crate) fn tell(
        &mut self,
        holder: Holder,
        member: &str,
        generation: i32,
        partitions: &BTreeSet<i32>,
        now_us: u64,
    ) {
        self.assignments_seen += 1;
        // Its leaving may have been answered in the moment of a crash, and not heard.
        self.departed.remove(member);
        self.reach(member, generation);
        for partition in partitions {
            assert!((0..PARTITIONS).contains(partition), "{partition} is no partition");
            self.no_two_members_own_a_partition_in_one_generation(generation, *partition, holder);
            self.no_two_members_own_a_partition_at_a_time(*partition, holder, now_us);
        }
    }

    /// A record says that a member is in a generation.
    pub(crate) fn reach(&mut self, member: &str, generation: i32) {
        self.generation_max = self.generation_max.max(generation);
        let own = self.generations.entry(member.to_owned()).or_insert(generation);
        *own = generation.max(*own);
    }

    fn no_two_members_own_a_partition_in_one_generation(
        &mut self,
        generation: i32,
        partition: i32,
        holder: Holder,
    ) {
        if self.scope.is_of_one_kind {
            let known = *self.told.entry((generation, partition)).or_insert(holder.slot);
            let slot = holder.slot;
            assert_eq!(known, slot, "partition {partition} twice in generation {generation}");
        }
    }

    fn no_two_members_own_a_partition_at_a_time(
        &self,
        partition: i32,
        holder: Holder,
        now_us: u64,
    ) {
        if !self.scope.has_leases {
            return;
        }
        let Some(leases) = self.leases.get(&partition) else { return };
        for (other, until_us) in leases {
            assert!(
                other.slot == holder.slot || *until_us <= now_us,
                "partition {partition} goes to {holder:?} at {now_us} and is {other:?}'s until \
                 {until_us}"
            );
        }
    }

    /// A member begins to use partitions.
    pub(crate) fn take(&mut self, holder: Holder, set: &BTreeSet<i32>, now_us: u64, until_us: u64) {
        for partition in set {
            self.no_two_members_own_a_partition_at_a_time(*partition, holder, now_us);
            self.leases.entry(*partition).or_default().insert(holder, until_us);
        }
    }

    /// A member has stopped to use partitions.
    pub(crate) fn release<'a>(&mut self, holder: Holder, set: impl IntoIterator<Item = &'a i32>) {
        for partition in set {
            self.leases.entry(*partition).or_default().remove(&holder);
        }
    }

    /// A member that was heard from may count longer on what it has.
    /// What ran out before may be another one's by now, whether or not this one knows.
    pub(crate) fn renew(&mut self, holder: Holder, until_us: u64, now_us: u64) {
        for leases in self.leases.values_mut() {
            if let Some(lease) = leases.get_mut(&holder)
                && *lease > now_us
            {
                *lease = until_us.max(*lease);
            }
        }
    }

    /// Members of a generation are told what one leader decided, each its own part of it.
    pub(crate) fn assignments_are_relayed_untouched(
        &mut self,
        (member, instance): (&str, Option<&str>),
        generation: i32,
        assignment: &Bytes,
    ) {
        let (_, Some(decision)) = wire::decode_assignment(assignment.clone()) else { return };
        let sent = &self.decisions[usize::try_from(decision).unwrap()];
        // Whoever comes back with its instance id is given the part of the member that it was.
        let is_own =
            |id: &str| id == member || instance.is_some_and(|instance| id.starts_with(instance));
        assert!(
            sent.iter().any(|(id, bytes)| is_own(id) && bytes == assignment),
            "{member} in generation {generation} is told {assignment:?} of {sent:?}"
        );
        if self.scope.is_of_one_kind {
            let known = *self.decided.entry(generation).or_insert(decision);
            assert_eq!(known, decision, "generation {generation} has two assignments");
        }
    }

    /// `before` is the highest generation when the question was sent.
    pub(crate) fn generations_never_go_back(&self, before: i32, generation: i32) {
        if self.scope.is_of_one_kind && self.scope.has_one_coordinator {
            assert!(generation >= before, "generation {generation} after {before}");
        }
    }

    /// A commit that reached the broker after its member was told a newer generation is refused.
    pub(crate) fn no_commit_of_an_older_generation_is_taken(
        &self,
        member: &str,
        before: i32,
        generation: i32,
    ) {
        assert!(
            !self.scope.is_of_one_kind || generation >= before,
            "a commit of {member} in generation {generation} was taken after {before}"
        );
    }

    /// The newest generation that a member, and for a group of classic members anybody, was told.
    pub(crate) fn newest_told_to(&self, member: &str, is_classic_only: bool) -> i32 {
        if is_classic_only && self.scope.is_of_one_kind {
            return self.generation_max;
        }
        self.generations.get(member).copied().unwrap_or(-1)
    }

    pub(crate) fn depart(&mut self, member: &str) {
        self.departed.insert(member.to_owned());
    }

    /// `members` are those that the group is said to have.
    pub(crate) fn no_departed_member_is_back(&self, members: &[String]) {
        if self.scope.has_leases {
            let back = members.iter().find(|member| self.departed.contains(*member));
            assert_eq!(back, None, "its leaving was acknowledged");
        }
    }
}
